"""Rows in memory or in a memory map.

The class is the whole contract between data and the engine: shape, dtype, the block of arrays to sweep, and a
random sub-sample as a new source.
"""

from __future__ import annotations

import copy

import numpy as np


class ArraySource:
    """Rows of an array with responses and weights.

    Parameters
    ----------
    x : ndarray (n, d), float32 or float64
        Unit column stride, any row stride.
    y : ndarray (n,) of float64 or None
    w : ndarray (n,) of float64 or None
        Sample weights, None for all ones.
    group : int
        Patches of a sample: x is cut into `group` equal parts that are swept as rows of their own, without a
        copy where its rows are contiguous.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray | None = None, w: np.ndarray | None = None, group: int = 1) -> None:
        self.x = x if group == 1 else x.reshape(len(x) * group, x.shape[1] // group)
        self.y, self.w, self.group = y, w, group

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        return len(self.x) // self.group, self.x.shape[1]

    def changed(self, **arrays: np.ndarray | None) -> ArraySource:
        """The same source with another x (as it is swept), y or w."""
        new = copy.copy(self)
        for name, array in arrays.items():
            setattr(new, name, array)
        return new

    def part(self, i: int, count: int) -> ArraySource:
        """Part i of `count` nearly equal consecutive parts, without a copy."""
        n = self.shape[0]
        rows = slice(n * i // count, n * (i + 1) // count)
        new = copy.copy(self)
        new.x = self.x[rows.start * self.group : rows.stop * self.group]
        new.y, new.w = (None if a is None else a[rows] for a in (self.y, self.w))
        return new

    def response_variance(self) -> float:
        """Weighted variance of y."""
        if self.y is None:
            return 0.0
        return float(np.average((self.y - np.average(self.y, weights=self.w)) ** 2, weights=self.w))

    def patches(self) -> ArraySource:
        """Every patch as a sample of its own, with the response and weight of its sample."""
        y, w = (None if a is None else np.repeat(a, self.group) for a in (self.y, self.w))
        return ArraySource(self.x, y, w)

    def sample(self, m: int, seed: np.random.SeedSequence) -> ArraySource:
        """`m` samples of positive weight drawn without replacement, copied in order; all of them if there are fewer.

        Parameters
        ----------
        m : int
        seed : SeedSequence

        Returns
        -------
        ArraySource
        """
        n = self.shape[0]
        counting = n if self.w is None else int(np.count_nonzero(self.w))
        if m >= n or (m >= counting and 2 * counting > n):
            return self
        rows = np.random.Generator(np.random.PCG64(seed)).choice(counting, min(m, counting), replace=False)
        rows.sort()
        if self.w is not None and counting < n:
            rows = np.flatnonzero(self.w)[rows]
        new = copy.copy(self)
        new.y, new.w = (None if a is None else a[rows] for a in (self.y, self.w))
        patches = rows[:, None] * self.group + np.arange(self.group)
        new.x = self.x[patches.ravel()]
        return new
