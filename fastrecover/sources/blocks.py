"""Rows that some function reads, a block at a time: all that a new kind of source has to say.

Sub-samples are gathered once and held; parts and patches are views of the same function.  So no caller needs to know
where rows come from, and nothing but blocks of them is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .array import ArraySource, choose, thin
from .base import Block, gathered


@dataclass(frozen=True, eq=False)
class BlockSource:
    """Rows from a function.

    Attributes
    ----------
    rows : callable
        ``rows(start, stop)`` returns samples ``start .. stop - 1`` as an array (stop - start, n_features), from any
        thread; float32 and float64 are swept as they are, other numbers are converted.
    n_samples, n_features : int
    y, w : ndarray (n_samples,) of float64, or None
        Responses and weights.
    type : dtype
        float32 or float64: what rows are converted to.
    group : int
        Patches that a sample is cut into.
    largest_copy : int
        Bytes of rows up to which a sub-sample is held in memory; of more every s-th sample is read when it is swept.
    """

    rows: Callable[[int, int], np.ndarray]
    n_samples: int
    n_features: int
    y: np.ndarray | None = None
    w: np.ndarray | None = None
    type: np.dtype = np.dtype(np.float64)
    group: int = 1
    largest_copy: int = 32 << 20

    gives_views: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        return self.n_samples, self.n_features // self.group

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.type

    def read(self, start: int, stop: int) -> Block:
        """Samples ``start .. stop - 1``.

        Raises
        ------
        ValueError
            The function returned another number of rows or features.
        """
        x = np.ascontiguousarray(self.rows(start, stop), self.type)
        if x.shape != (stop - start, self.n_features):
            raise ValueError(
                f"rows {start} to {stop - 1} of the source must have shape {(stop - start, self.n_features)}, "
                f"got {x.shape}"
            )
        y, w = (None if a is None else a[start:stop] for a in (self.y, self.w))
        return Block(x.reshape(-1, self.shape[1]), y, w)

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        return self.y, self.w

    def changed(self, *, y: np.ndarray | None = None, w: np.ndarray | None = None) -> BlockSource:
        """The same rows with other responses or weights, where given."""
        return replace(self, y=self.y if y is None else y, w=self.w if w is None else w)

    def grouped(self, count: int) -> BlockSource:
        """The same samples, each cut into `count` patches."""
        return replace(self, group=count)

    def part(self, i: int, count: int) -> BlockSource:
        """Part i of `count` nearly equal consecutive parts."""
        n = self.n_samples
        return self._every(1, n * i // count, n * (i + 1) // count)

    def patches(self) -> BlockSource:
        """Every patch as a sample of its own, with the response and weight of its sample."""
        if self.group == 1:
            return self
        g = self.group

        def rows(start: int, stop: int) -> np.ndarray:
            first = start // g
            return self.read(first, -(-stop // g)).x[start - first * g : stop - first * g]

        y, w = (None if a is None else np.repeat(a, g) for a in (self.y, self.w))
        return BlockSource(rows, self.n_samples * g, self.shape[1], y, w, self.type)

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> BlockSource | ArraySource:
        """`m` samples, those that an array of the same rows would give."""
        if spaced:
            patches = self.patches()
            return patches._gathered(thin(patches.n_samples, 1, self.w, self.group, m, seed), weighted=False)
        large = self.group == 1 and m * self.n_features * self.type.itemsize > self.largest_copy
        chosen = choose(self.n_samples, self.w, m, seed, large)
        if chosen is None:
            return self
        if isinstance(chosen, slice):
            return self._every(chosen.step, chosen.start, self.n_samples)
        return self._gathered(chosen, weighted=True)

    def _every(self, step: int, start: int, stop: int) -> BlockSource:
        """Every `step`-th sample of a range, read with those between."""
        count = -(-(stop - start) // step)

        def rows(first: int, last: int) -> np.ndarray:
            return self.rows(start + first * step, min(start + (last - 1) * step + 1, stop))[::step]

        y, w = (None if a is None else np.ascontiguousarray(a[start:stop:step]) for a in (self.y, self.w))
        return replace(self, rows=rows, n_samples=count, y=y, w=w)

    def _gathered(self, samples: np.ndarray, weighted: bool) -> ArraySource:
        """Some samples, in rising order, in memory."""
        x = gathered(self, samples).reshape(len(samples), self.n_features)
        y, w = (None if a is None else a[samples] for a in (self.y, self.w if weighted else None))
        return ArraySource(x, y, w, self.group, largest_copy=self.largest_copy)
