"""Sweeps on a pool of threads.

Kernels release the GIL for a whole aligned subtree of blocks, so plain threads scale; subtrees are handed out
as threads come free, and because sums are merged by block number the result does not depend on who did what.
The two halves of a subtree are merged as soon as both are there, so that a sweep holds the sums of a few subtrees
for each thread, not those of all of them.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ..kernels import RowFunction, layout, sweep
from ..kernels.tree import merge
from ..sources import ArraySource

_SMALL = 1 << 20  # multiply-adds below which waking another thread costs more than it saves
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_jobs(n_jobs: int | None) -> int:
    """Number of threads meant by `n_jobs` (None: all processors; negative: counted from the end).

    Raises
    ------
    TypeError, ValueError
        Not an integer, or zero.
    """
    if n_jobs is None:
        return cpu_count()
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)):
        raise TypeError(f"n_jobs must be an integer or None, got {n_jobs!r}")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: give a number of threads, -1 or None for all processors")
    return max(1, cpu_count() + 1 + int(n_jobs)) if n_jobs < 0 else int(n_jobs)


def _pool(threads: int) -> ThreadPoolExecutor:
    # Keyed by process: threads do not survive a fork.
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="fastrecover")
    return _pools[key]


@dataclass
class Meter:
    """Rows touched so far, in units of one full pass over `total` rows.

    `tell`, where there is one, is called with the rows of every sweep before it begins; what it raises ends the sweep.
    """

    total: int
    rows: int = field(default=0)
    tell: Callable[[int], None] | None = None

    def count(self, rows: int) -> None:
        """Count the rows of a sweep that is about to begin."""
        if self.tell is not None:
            self.tell(rows)
        self.rows += rows

    @property
    def passes(self) -> float:
        """Full passes over the data, sub-samples counted by their share."""
        return self.rows / max(self.total, 1)


class ThreadEngine:
    """Runs row functions over a source.

    Parameters
    ----------
    source : ArraySource
    n_jobs : int or None
        Threads; None for all processors.
    meter : Meter, optional
        Counter shared with other engines on the same data.
    """

    def __init__(self, source: ArraySource, n_jobs: int | None = None, meter: Meter | None = None) -> None:
        self.source, self.n_jobs = source, resolve_jobs(n_jobs)
        self.meter = meter or Meter(source.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.source.x.dtype

    def response_variance(self) -> float:
        """Weighted variance of the responses."""
        return self.source.response_variance()

    def patches(self) -> ThreadEngine:
        """Engine whose samples are the patches of this one's, each with its sample's response."""
        if self.source.group == 1:
            return self
        return ThreadEngine(self.source.patches(), self.n_jobs, self.meter)

    def sample(self, m: int, seed: np.random.SeedSequence) -> ThreadEngine:
        """Engine on `m` random rows, counted by the same meter."""
        source = self.source.sample(m, seed)
        return self if source is self.source else ThreadEngine(source, self.n_jobs, self.meter)

    def part(self, i: int, count: int) -> ThreadEngine:
        """Engine on part i of `count` consecutive parts of the rows, counted by the same meter."""
        return ThreadEngine(self.source.part(i, count), self.n_jobs, self.meter)

    def with_rows(self, x: np.ndarray) -> ThreadEngine:
        """Engine on other rows, one for each of the old, with the same responses and weights."""
        return ThreadEngine(self.source.changed(x=x), self.n_jobs, self.meter)

    def with_responses(self, y: np.ndarray) -> ThreadEngine:
        """Engine on the same rows with other responses."""
        return ThreadEngine(self.source.changed(y=np.ascontiguousarray(y, np.float64)), self.n_jobs, self.meter)

    def derived(self, x: np.ndarray, y: np.ndarray, w: np.ndarray | None = None) -> ThreadEngine:
        """Engine on rows computed from these, with responses and weights of their own.

        Its passes are not counted: they do not read the data.
        """
        return ThreadEngine(ArraySource(x, y, w), self.n_jobs)

    def run(self, p: np.ndarray, row: RowFunction, out: np.ndarray | None = None) -> tuple:
        """Sums of `row` over all rows of the source.

        Parameters
        ----------
        p : ndarray (row.columns, d)
        row : RowFunction
        out : ndarray (n, reps), optional
            Where PREDICT writes.

        Returns
        -------
        a, s : ndarray
            See :func:`fastrecover.kernels.sweep`.
        """
        source = self.source
        n, d = source.x.shape
        p = np.ascontiguousarray(p, np.float64)
        blocks = layout(row, d, source.x.itemsize)
        n_blocks = -(-n // blocks[1])
        self.meter.count(source.shape[0])

        def part(start: int, count: int) -> tuple:
            return sweep(source.x, source.y, source.w, p, row, start, count, blocks=blocks, out=out)

        g, left, sums = row.shapes(d)
        work = n * (d * row.columns + g * left + sums)
        threads = min(self.n_jobs, n_blocks, max(1, work // _SMALL))
        if threads <= 1:
            return part(0, n_blocks)
        size = 1 << max(0, (n_blocks // (threads * 8)).bit_length() - 1)
        return self._spread(part, n_blocks, size, threads)

    @staticmethod
    def _spread(part, n_blocks: int, size: int, threads: int) -> tuple:
        starts = range(0, n_blocks, size)
        sums, turn = _Sums(), itertools.count()

        def work() -> None:
            while (i := next(turn)) < len(starts):
                sums.add(i, part(starts[i], min(size, n_blocks - starts[i])))

        others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
        try:
            work()
        except BaseException:
            next(itertools.dropwhile(lambda i: i < len(starts), turn))  # nobody starts another part
            raise
        finally:
            for other in others:
                other.cancel()
        for other in others:
            if not other.cancelled():
                other.result()
        return sums.total()


class _Sums:
    """Sums of numbered parts, added by several threads in any order and merged by the canonical tree."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.subtrees: dict[tuple[int, int], tuple] = {}  # by level and number

    def add(self, i: int, part: tuple) -> None:
        """Add part i, and merge upwards while the other half of a subtree is there."""
        level = 0
        while True:
            with self.lock:
                other = self.subtrees.pop((level, i ^ 1), None)
                if other is None:
                    self.subtrees[level, i] = part
                    return
            part = merge((other, part) if i & 1 else (part, other))
            level, i = level + 1, i >> 1

    def total(self) -> tuple:
        """Sum of all parts; incomplete subtrees are merged from the right."""
        *rest, total = (part for _, part in sorted(self.subtrees.items(), key=lambda item: item[0][1] << item[0][0]))
        for part in reversed(rest):
            total = merge((part, total))
        return total
