"""Rows that some function reads, a block at a time: all that a new kind of source has to say.

Sub-samples are gathered once and held, or read where they lie when they are large; parts and patches are views of the
same function.  So no caller needs to know where rows come from, and nothing but blocks of them is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .array import ArraySource, choose, thin
from .base import Block, Source, gathered
from .kept import KeptSource

_HELD = 64 << 20  # bytes of every s-th sample up to which they are gathered once


@dataclass(frozen=True, eq=False)
class BlockSource:
    """Rows from a function.

    Attributes
    ----------
    rows : callable
        ``rows(start, stop)`` returns samples ``start .. stop - 1`` as an array (stop - start, n_features), from any
        thread; float32 and float64 are swept as they are, other numbers are converted.  If it has a method ``take``,
        ``rows.take(numbers)`` returns the samples of these rising numbers, and those between are not read.
    n_samples, n_features : int
    y, w : ndarray (n_samples,) of float64, or None
        Responses and weights.
    type : dtype
        float32 or float64: what rows are converted to.
    group : int
        Patches that a sample is cut into.
    largest_copy : int
        Bytes of rows up to which a sub-sample is drawn at random; of more it is every s-th sample, gathered or, where
        that is too much to hold, read when it is swept.
    name : str
        What errors call the rows.
    column_names : list of str or None
        Titles of the features.
    first, step : int
        Sample i is number ``first + i step`` of the function.
    """

    rows: Callable[[int, int], np.ndarray]
    n_samples: int
    n_features: int
    y: np.ndarray | None = None
    w: np.ndarray | None = None
    type: np.dtype = np.dtype(np.float64)
    group: int = 1
    largest_copy: int = 32 << 20
    name: str = "X"
    column_names: list[str] | None = None
    first: int = 0
    step: int = 1

    gives_views: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        return self.n_samples, self.n_features // self.group

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.type

    @property
    def seams(self) -> np.ndarray:
        """Samples at which rows begin that no view has together with those before them."""
        found = np.asarray(getattr(self.rows, "seams", ()), int)
        return found - self.first if self.step == 1 else found[:0]

    def read(self, start: int, stop: int) -> Block:
        """Samples ``start .. stop - 1``.

        Raises
        ------
        ValueError
            The function returned another number of rows or features.
        """
        x = self._read(start, stop)
        if x.shape != (stop - start, self.n_features):
            raise ValueError(
                f"rows {start} to {stop - 1} of the source must have shape {(stop - start, self.n_features)}, "
                f"got {x.shape}"
            )
        y, w = (None if a is None else a[start:stop] for a in (self.y, self.w))
        return Block(x.reshape(-1, self.shape[1]), y, w)

    def _read(self, start: int, stop: int) -> np.ndarray:
        first, last = self.first + start * self.step, self.first + (stop - 1) * self.step
        if self.step == 1:
            x = self.rows(first, last + 1)
        elif hasattr(self.rows, "take"):
            x = self.rows.take(np.arange(first, last + 1, self.step))
        else:
            x = self.rows(first, last + 1)[:: self.step]
        return np.ascontiguousarray(x, self.type)

    def gathered(self, samples: np.ndarray) -> np.ndarray | None:
        """Samples of these rising numbers (m, n_features); None where the function cannot be asked for them."""
        if not hasattr(self.rows, "take"):
            return None
        return np.ascontiguousarray(self.rows.take(self.first + samples * self.step), self.type)

    def copied(self) -> ArraySource:
        """The same samples, in memory."""
        x, y, w = self.read(0, self.n_samples)
        x = x.reshape(self.n_samples, self.n_features)
        named: dict[str, Any] = {"name": self.name, "column_names": self.column_names}
        return ArraySource(x, y, w, self.group, largest_copy=self.largest_copy, **named)

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
        return self.between(n * i // count, n * (i + 1) // count)

    def between(self, start: int, stop: int) -> BlockSource:
        """Samples ``start .. stop - 1``."""
        return self._every(1, start, stop)

    def taken(self, which: slice | np.ndarray) -> Source:
        """Samples of a slice, or of a list of rising numbers, read when they are swept."""
        if isinstance(which, slice):
            start, stop, step = which.indices(self.n_samples)
            return self._every(step, start, max(stop, start))
        y, w = (None if a is None else a[which] for a in (self.y, self.w))
        return KeptSource(self, which, y, w)

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
        size = self.n_features * self.type.itemsize
        chosen = choose(self.n_samples, self.w, m, seed, self.group == 1 and m * size > self.largest_copy)
        if chosen is None:
            return self
        if isinstance(chosen, slice):
            few = self._every(chosen.step, chosen.start, self.n_samples)
            return few.copied() if few.n_samples * size <= _HELD and hasattr(self.rows, "take") else few
        return self._gathered(chosen, weighted=True)

    def _every(self, step: int, start: int, stop: int) -> BlockSource:
        """Every `step`-th sample of a range."""
        y, w = (None if a is None else np.ascontiguousarray(a[start:stop:step]) for a in (self.y, self.w))
        first, count = self.first + start * self.step, -(-(stop - start) // step)
        return replace(self, n_samples=count, y=y, w=w, first=first, step=self.step * step)

    def _gathered(self, samples: np.ndarray, weighted: bool) -> ArraySource:
        """Some samples, in rising order, in memory."""
        x = gathered(self, samples).reshape(len(samples), self.n_features)
        y, w = (None if a is None else a[samples] for a in (self.y, self.w if weighted else None))
        return ArraySource(x, y, w, self.group, largest_copy=self.largest_copy)
