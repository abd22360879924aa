"""Rows read before they are asked for, by threads of their own, so that reading and unpacking overlap with sums.

A file is read in units: what must be unpacked together (a chunk, a row group, a record batch), or about a million
numbers where any rows can be read.  Few units are held at a time, those that were just used and those that come next; a
row that is asked for alone does not bring its neighbours where it can be read without them.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

_MEMORY = 64 << 20  # bytes of units that are held
_FEWEST, _MOST = 2, 32  # of them
_NUMBERS = 1 << 20  # of a unit that may be of any size; a thread of a sweep takes as many at a time
_APART = 64 << 10  # bytes that are sooner read than skipped
_PIECES = 16  # that some rows are shared out in

T = TypeVar("T")


class Rows(Protocol):
    """Rows as they are stored: all that a new kind of file has to say."""

    @property
    def name(self) -> str:
        """What errors call them."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Data type of what :meth:`read` gives."""
        ...

    @property
    def titles(self) -> list[str] | None:
        """Names of the columns, None where they have none."""
        ...

    @property
    def edges(self) -> np.ndarray:
        """Number of the first row of every unit, and the number of rows."""
        ...

    @property
    def direct(self) -> bool:
        """Whether rows cost no more than their own bytes."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start .. stop - 1``: some units, or any rows where these are direct.  Called from several threads.

        Raises
        ------
        OSError, ValueError
            They cannot be read.
        """
        ...

    def only(self, columns: Sequence[int]) -> Rows:
        """The same rows with some of their columns."""
        ...


def even_edges(n: int, d: int, height: int = 1) -> np.ndarray:
    """Edges of units of about a million numbers, of a power of two times `height` rows.

    Parts of a sweep, which are powers of two of rows too, then lie in one unit each.
    """
    count = max(_NUMBERS // (d * height), 1)
    return np.append(np.arange(0, n, height << (count.bit_length() - 1)), n)


class ReadAhead:
    """Rows for a :class:`BlockSource`, some of them read already.

    Parameters
    ----------
    rows : Rows
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.edges = rows, rows.edges
        d, size = rows.shape[1], rows.dtype.itemsize
        largest = int(np.diff(self.edges).max()) * d * size
        self.most = min(max(_MEMORY // max(largest, 1), _FEWEST), _MOST)
        self.apart = max(_APART // (d * size), 1)
        self._begin()

    def _begin(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()
        self._held: OrderedDict[int, Future[np.ndarray]] = OrderedDict()

    def _forget(self) -> None:
        with self._lock:  # other threads may be in the middle of asking
            self._held.clear()

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start .. stop - 1`` as they are stored."""
        edges = self.edges
        first, last = (int(i) for i in np.searchsorted(edges, [start, stop - 1], side="right") - 1)
        near = first == 0 or first in self._held or first - 1 in self._held
        if self.rows.direct and not near and 4 * (stop - start) < edges[first + 1] - edges[first]:
            return self.rows.read(start, stop)
        units, parts = range(first, len(edges) - 1 if near else last + 1), []
        for i, x in zip(range(first, last + 1), self._each(units), strict=False):
            parts.append(x[max(start - int(edges[i]), 0) : stop - int(edges[i])])
        if stop == edges[-1] and len(edges) > self.most + 1:
            self._forget()  # a pass is over, and none of it will be held when the next one comes
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Rows of these numbers, which rise, as they are stored; of a unit that must be read whole only what is wanted.

        Parameters
        ----------
        numbers : ndarray (m,) of int

        Returns
        -------
        ndarray (m, d)
        """
        out = np.empty((len(numbers), self.rows.shape[1]), self.rows.dtype)
        if self.rows.direct:
            cuts = np.linspace(0, len(numbers), min(_PIECES, len(numbers)) + 1).astype(int)
            pieces = [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
            for piece in [_threads().submit(self._gather, numbers[rows], out[rows]) for rows in pieces]:
                piece.result()
            return out
        at = np.searchsorted(self.edges, numbers, side="right") - 1
        units, begins = np.unique(at, return_index=True)
        ends = np.append(begins[1:], len(numbers))
        for unit, a, b, x in zip(units, begins, ends, self._each(units.tolist()), strict=True):
            out[a:b] = x[numbers[a:b] - self.edges[unit]]
        return out

    def _gather(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """Rows that lie near one another are read with those between."""
        begins = np.append(0, np.flatnonzero(np.diff(numbers) > self.apart) + 1)
        longest = max(_NUMBERS // self.rows.shape[1], 1)
        for a, b in zip(begins, np.append(begins[1:], len(numbers)), strict=True):
            while a < b:
                c = a + int(np.searchsorted(numbers[a:b], numbers[a] + longest))
                first = int(numbers[a])
                out[a:c] = self.rows.read(first, int(numbers[c - 1]) + 1)[numbers[a:c] - first]
                a = c

    def _each(self, units: Sequence[int]) -> Iterator[np.ndarray]:
        """Units in turn, while those that come next are being read."""
        for i in range(len(units)):
            wanted = self._asked(units[i : i + max(self.most // 2, 2)])
            try:
                x = wanted.result()
            except BaseException:
                self._forget()  # it may be tried again
                raise
            yield x

    def _asked(self, units: Sequence[int]) -> Future[np.ndarray]:
        """The first of some units, all of which are being read now."""
        if self._process != os.getpid():  # a forked child has none of the threads
            self._begin()
        with self._lock:
            for unit in units:
                if unit not in self._held:
                    self._held[unit] = _threads().submit(self._unit, unit)
            found = self._held[units[0]]
            while len(self._held) > self.most:
                self._held.popitem(last=False)
        return found

    def _unit(self, unit: int) -> np.ndarray:
        return self.rows.read(int(self.edges[unit]), int(self.edges[unit + 1]))


class FunctionRows:
    """Rows that a function of the user makes.

    Parameters
    ----------
    function : callable
        ``function(start, stop)`` returns samples ``start .. stop - 1``.
    shape : tuple of int
    dtype : dtype
    """

    name, titles, direct = "the function's rows", None, True

    def __init__(self, function: Callable[[int, int], ArrayLike], shape: tuple[int, int], dtype: np.dtype) -> None:
        self._function, self.shape, self.dtype = function, shape, dtype
        self.edges = even_edges(*shape)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start .. stop - 1``."""
        x, wanted = np.asarray(self._function(start, stop)), (stop - start, self.shape[1])
        if x.shape != wanted:
            raise ValueError(f"rows {start} to {stop - 1} of the source must have shape {wanted}, got {x.shape}")
        return x

    def only(self, columns: Sequence[int]) -> FunctionRows:
        """The same rows with some of their columns."""
        return FunctionRows(lambda a, b: self.read(a, b)[:, list(columns)], (self.shape[0], len(columns)), self.dtype)


_pool: ThreadPoolExecutor | None = None


def _threads() -> ThreadPoolExecutor:
    """Threads that read, for all sources together: as many as processors, which is enough to unpack."""
    global _pool
    if _pool is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _pool = ThreadPoolExecutor(max(count, 2), "fastrecover-read")
    return _pool


def _no_threads() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_no_threads)
