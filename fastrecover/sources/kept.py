"""Some samples of a source, as if the others had never been given.

Rows that do not count must not be seen by anything, neither by sums, where 0 times nan is nan, nor by whoever draws a
sub-sample; so they are left out here, once, rather than weighed everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .array import ArraySource, choose
from .base import Block, Source, gathered

_LARGEST_COPY = 32 << 20


@dataclass(frozen=True, eq=False)
class KeptSource:
    """Numbered samples of another source, gathered whenever they are read.

    Attributes
    ----------
    source : Source
        Its own responses and weights do not matter.
    samples : ndarray (n,) of int
        Which of its samples, in rising order.
    y, w : ndarray (n,) of float64, or None
        Their responses and weights.
    """

    source: Source
    samples: np.ndarray
    y: np.ndarray | None = None
    w: np.ndarray | None = None

    gives_views: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        return len(self.samples), self.source.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.source.dtype

    @property
    def group(self) -> int:
        """Rows of a sample."""
        return self.source.group

    def read(self, start: int, stop: int) -> Block:
        """Samples ``start .. stop - 1``, gathered now."""
        y, w = (None if a is None else a[start:stop] for a in (self.y, self.w))
        return Block(gathered(self.source, self.samples[start:stop]), y, w)

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        return self.y, self.w

    def changed(self, *, y: np.ndarray | None = None, w: np.ndarray | None = None) -> KeptSource:
        """The same rows with other responses or weights, where given."""
        return replace(self, y=self.y if y is None else y, w=self.w if w is None else w)

    def grouped(self, count: int) -> KeptSource:
        """The same samples, each cut into `count` patches."""
        return replace(self, source=self.source.grouped(count))

    def part(self, i: int, count: int) -> KeptSource:
        """Part i of `count` nearly equal consecutive parts."""
        n = len(self.samples)
        return self.taken(slice(n * i // count, n * (i + 1) // count))

    def patches(self) -> KeptSource:
        """Every row of a sample as a sample of its own, with the response and weight of its sample."""
        g = self.group
        y, w = (None if a is None else np.repeat(a, g) for a in (self.y, self.w))
        rows = (self.samples[:, None] * g + np.arange(g)).ravel()
        return KeptSource(self.source.patches(), rows, y, w)

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> Source:
        """`m` samples, drawn as by an :class:`ArraySource`; those that are `spaced` as by the source beneath."""
        if spaced:
            n = self.source.shape[0]
            y, w = np.zeros(n), np.zeros(n)
            y[self.samples] = 0.0 if self.y is None else self.y
            w[self.samples] = 1.0 if self.w is None else self.w
            return self.source.changed(y=y, w=w).sample(m, seed, spaced=True)
        chosen = choose(len(self.samples), self.w, m, seed, systematic=False)
        return self if chosen is None else kept(self.taken(chosen))

    def taken(self, which: slice | np.ndarray) -> KeptSource:
        """Samples of a slice, or of a list of rising numbers."""
        y, w = (None if a is None else np.ascontiguousarray(a[which]) for a in (self.y, self.w))
        return KeptSource(self.source, self.samples[which], y, w)


def kept(some: KeptSource) -> Source:
    """The same samples, in memory where these are few."""
    n, d = some.shape
    if n * some.group * d * some.dtype.itemsize > _LARGEST_COPY:
        return some
    x, y, w = some.read(0, n)
    return ArraySource(x.reshape(n, -1), y, w, some.group)
