"""Rows in memory or in a memory map, read where they lie.

A sub-sample is a copy as long as it is small, and otherwise a view with a larger stride, so that memory beside the
data does not grow with them.
"""

from __future__ import annotations

import copy
import math
import mmap
from typing import Any

import numpy as np

from .base import Block, aligned

_PAGE = 4096


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
    largest_copy : int
        Bytes of rows up to which a sub-sample is a copy; of more it is a view.
    name : str
        What errors call the rows.
    column_names : list of str or None
        Titles of the features.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray | None = None,
        w: np.ndarray | None = None,
        group: int = 1,
        *,
        largest_copy: int = 32 << 20,
        name: str = "X",
        column_names: list[str] | None = None,
    ) -> None:
        self.x = x if group == 1 else x.reshape(len(x) * group, x.shape[1] // group)
        self.y, self.w, self.group, self.largest_copy = y, w, group, largest_copy
        self.name, self.column_names = name, column_names

    def __setstate__(self, state: dict[str, Any]) -> None:
        named = {name: aligned(a) for name, a in state.items() if isinstance(a, np.ndarray)}
        self.__dict__.update(state, **named)

    gives_views = True

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        return len(self.x) // self.group, self.x.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.x.dtype

    def read(self, start: int, stop: int) -> Block:
        """Samples ``start .. stop - 1`` as views."""
        y, w = self.y, self.w
        x = self.x[start * self.group : stop * self.group]
        return Block(x, None if y is None else y[start:stop], None if w is None else w[start:stop])

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        return self.y, self.w

    def changed(self, *, y: np.ndarray | None = None, w: np.ndarray | None = None) -> ArraySource:
        """The same rows with other responses or weights, where given."""
        new = copy.copy(self)
        new.y, new.w = self.y if y is None else y, self.w if w is None else w
        return new

    def grouped(self, count: int) -> ArraySource:
        """The same samples, each cut into `count` patches."""
        whole = self.x.reshape(self.shape[0], -1) if self.group > 1 else self.x
        named: dict[str, Any] = {"name": self.name, "column_names": self.column_names}
        return ArraySource(whole, self.y, self.w, count, largest_copy=self.largest_copy, **named)

    def part(self, i: int, count: int) -> ArraySource:
        """Part i of `count` nearly equal consecutive parts, without a copy."""
        n = self.shape[0]
        return self.between(n * i // count, n * (i + 1) // count)

    def between(self, start: int, stop: int) -> ArraySource:
        """Samples ``start .. stop - 1``, without a copy."""
        new = copy.copy(self)
        new.x, new.y, new.w = self.read(start, stop)
        return new

    def patches(self) -> ArraySource:
        """Every patch as a sample of its own, with the response and weight of its sample."""
        y, w = (None if a is None else np.repeat(a, self.group) for a in (self.y, self.w))
        return ArraySource(self.x, y, w, largest_copy=self.largest_copy)

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> ArraySource:
        """`m` samples of positive weight as a copy, or more as a view; all of them if there are not more.

        Up to `largest_copy` bytes of rows are drawn without replacement and copied in order.  A larger sub-sample is
        systematic: a view of every s-th sample from a random one on, s as large as leaves `m` that count.  So a fit
        needs no memory that grows with parameters times features.  Such a sub-sample represents the rows as well as a
        random one, unless their order has a period that shares a factor with s.  Copied at any size are samples of
        several patches, whose rows would not lie at equal distances, rows where most weights are zero, and rows of a
        file that are shorter than a page, of which every pass would read the pages between as well.

        Parameters
        ----------
        m : int
        seed : SeedSequence
        spaced : bool
            Independent rows of equal weight instead, for tests of their law: patches count as samples, rows that
            overlap in memory (lag-embedded series) are taken so far apart that no two share an entry, and a row is
            drawn with a chance in proportion to its weight.  There may then be fewer than `m`.

        Returns
        -------
        ArraySource
        """
        if spaced:
            return self._spaced(m, seed)
        large = self._is_strided() and m * self.x.shape[1] * self.x.itemsize > self.largest_copy
        chosen = choose(self.shape[0], self.w, m, seed, large)
        return self if chosen is None else self.taken(chosen)

    def _spaced(self, m: int, seed: np.random.SeedSequence) -> ArraySource:
        x, span = self.x, self.x.shape[1] * self.x.itemsize
        apart = max(1, -(-span // x.strides[0]) if x.strides[0] else len(x))
        rows = thin(len(x), apart, self.w, self.group, m, seed)
        y = None if self.y is None else self.y[rows // self.group]
        return ArraySource(x if len(rows) == len(x) else x[rows], y, largest_copy=self.largest_copy)

    def taken(self, which: slice | np.ndarray) -> ArraySource:
        """Samples of a list as a copy, those of a slice as a view of their rows where that is one."""
        new = copy.copy(self)
        new.y, new.w = (None if a is None else np.ascontiguousarray(a[which]) for a in (self.y, self.w))
        if self.group > 1 and isinstance(which, slice):
            start, stop, step = which.indices(self.shape[0])
            which = slice(start * self.group, stop * self.group) if step == 1 else np.arange(start, stop, step)
        if self.group > 1 and isinstance(which, np.ndarray):
            which = (which[:, None] * self.group + np.arange(self.group)).ravel()
        new.x = self.x[which]
        return new

    def _is_strided(self) -> bool:
        """Whether every s-th sample is a view whose rows are read alone."""
        return self.group == 1 and not (self.x.strides[0] < _PAGE and _is_mapped(self.x))


def choose(
    n: int, w: np.ndarray | None, m: int, seed: np.random.SeedSequence, systematic: bool
) -> slice | np.ndarray | None:
    """Which `m` of n samples make a sub-sample; None where there are not more.

    Parameters
    ----------
    n : int
    w : ndarray (n,) or None
        Only samples of positive weight are drawn.
    m : int
    seed : SeedSequence
    systematic : bool
        Every s-th sample, as a slice, unless most weights are zero.

    Returns
    -------
    slice, ndarray of int (rising), or None
    """
    rng = np.random.default_rng(seed)
    counting = n if w is None else int(np.count_nonzero(w))
    mostly = 2 * counting > n
    if m >= n or (m >= counting and mostly):
        return None
    if mostly and systematic:
        step = counting // m
        return None if step == 1 else slice(int(rng.integers(step)), None, step)
    rows = rng.choice(counting, min(m, counting), replace=False)
    rows.sort()
    return np.flatnonzero(w)[rows] if w is not None and counting < n else rows


def thin(n: int, apart: int, w: np.ndarray | None, group: int, m: int, seed: np.random.SeedSequence) -> np.ndarray:
    """About `m` of n rows, each `apart`-th at most, drawn with chances in proportion to their weights.

    Parameters
    ----------
    n, apart : int
    w : ndarray (n / group,) or None
    group : int
        Rows that share a weight.
    m : int
    seed : SeedSequence

    Returns
    -------
    ndarray of int, rising
    """
    if w is None:
        return drawn(n, apart, 1.0, m, seed)[0]
    largest = float(w.max())
    rows, chances = drawn(n, apart, float(w.mean()) / largest if largest else math.inf, m, seed)
    return rows[chances * largest < w[rows // group]]


def drawn(n: int, apart: int, share: float, m: int, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which `share` will be left if one stays where its chance is below its weight over the largest.

    Parameters
    ----------
    n, apart, m, seed
        As for :func:`thin`.
    share : float
        The mean weight over the largest one.

    Returns
    -------
    rows : ndarray of int, rising
    chances : ndarray of float
        Uniform in [0, 1).
    """
    rng, count = np.random.default_rng(seed), -(-n // apart)
    tries = math.ceil(m / (share or 1.0))
    rows = np.arange(count) if tries >= count else np.sort(rng.choice(count, tries, replace=False))
    return rows * apart, rng.random(len(rows))


def _is_mapped(x: np.ndarray) -> bool:
    """Whether an array lies in a file."""
    owner: object = x
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = getattr(owner, "base", None)
    return owner is not None
