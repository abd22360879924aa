"""Sweeps on threads.

Rows are cut into blocks and blocks into parts, aligned subtrees of the canonical merge tree, which threads take as they
come free; because sums are merged by number, the result does not depend on who did what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .. import kernels
from .._validation import check_finite
from ..kernels import Op, RowFunction
from ..sources import ArraySource, Block, Source, WhitenedSource
from .base import Elementwise, Meter, Weights
from .pool import Parts, run
from .processors import resolve_jobs

_HELD = 1 << 20  # numbers of rows that a thread holds at a time where reading makes them
_TURNS = 16  # parts for each thread, so that all end at nearly the same time


class ThreadEngine:
    """Runs row functions over a source that this process can read.

    Parameters
    ----------
    source : Source
    n_jobs : int or None
        Threads; None for all processors.
    meter : Meter, optional
        Counter shared with other engines on the same data.
    least_work : int
        Multiply-adds of a sweep for each thread; waking another for less costs more than it saves.
    has_ones : bool
        Whether rows are (x, 1); the kernels add the column.
    """

    def __init__(
        self,
        source: Source,
        n_jobs: int | None = None,
        meter: Meter | None = None,
        *,
        least_work: int = 1 << 20,
        has_ones: bool = False,
    ) -> None:
        self.source, self.n_jobs, self.least_work = source, resolve_jobs(n_jobs), least_work
        self.meter, self.has_ones = meter or Meter(source.shape[0]), has_ones

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features, the column of ones counted."""
        n, d = self.source.shape
        return n, d + self.has_ones

    def with_ones(self, wanted: bool = True) -> ThreadEngine:
        """Engine on the same rows with the column of ones, or without it."""
        if wanted == self.has_ones:
            return self
        return ThreadEngine(self.source, self.n_jobs, self.meter, least_work=self.least_work, has_ones=wanted)

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.source.dtype

    def _on(self, source: Source) -> ThreadEngine:
        return self if source is self.source else self._made(source, self.meter).with_ones(self.has_ones)

    def _made(self, source: Source, meter: Meter | None = None) -> ThreadEngine:
        meter = meter or Meter(source.shape[0], record=self.meter.record)
        return ThreadEngine(source, self.n_jobs, meter, least_work=self.least_work)

    def rows(self, start: int, stop: int) -> Block:
        """Rows, responses and weights of samples ``start .. stop - 1``, few enough to come to the caller."""
        x, y, w = self.source.read(start, stop)
        return Block(np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1) if self.has_ones else x, y, w)

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        return self.source.targets()

    def _responses(self) -> np.ndarray:
        y = self.source.targets()[0]
        return np.zeros(self.shape[0]) if y is None else y

    def average(self, function: Elementwise | None = None) -> float:
        """Weighted mean over the responses y of ``function(y)``, or of y."""
        y, w = self._responses(), self.source.targets()[1]
        return float(np.sum(np.average(y if function is None else function(y), axis=0, weights=w)))

    def mean_response(self) -> np.ndarray | float:
        """Weighted mean of the responses, one number for each output."""
        mean = np.average(self._responses(), axis=0, weights=self.source.targets()[1])
        return mean if np.ndim(mean) else float(mean)

    def response_variance(self) -> float:
        """Weighted variance of the responses, summed over outputs."""
        mean = self.mean_response()
        return self.average(lambda y: (y - mean) ** 2)

    def smallest_response(self) -> float:
        """Least response of all."""
        return float(self._responses().min())

    def weights(self) -> Weights:
        """Sums over the weights of samples."""
        n, w = self.shape[0], self.source.targets()[1]
        if w is None:
            return Weights(n, float(n), float(n))
        return Weights(int(np.count_nonzero(w)), float(w.sum()), float(w @ w))

    def patches(self) -> ThreadEngine:
        """Engine whose samples are the patches of this one's, each with its sample's response."""
        return self if self.source.group == 1 else self._on(self.source.patches())

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> ThreadEngine:
        """Engine on `m` random rows, counted by the same meter; itself where there are not more.

        Rows that are `spaced` are there to be looked at, and are counted now.
        """
        few = self._on(self.source.sample(m, seed, spaced=spaced))
        if spaced:
            self.meter.count(-(-few.shape[0] // self.source.group))
        return few

    def part(self, i: int, count: int) -> ThreadEngine:
        """Engine on part i of `count` consecutive parts of the rows, counted by the same meter."""
        return self._on(self.source.part(i, count))

    def with_responses(self, function: Elementwise) -> ThreadEngine:
        """Engine on the same rows with responses ``function(y)``."""
        y = np.ascontiguousarray(function(self._responses()), np.float64)
        return self._on(self.source.changed(y=y))

    def with_weights(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> ThreadEngine:
        """Engine on the same rows with weights ``function(y, w)``."""
        y, w = self._responses(), self.source.targets()[1]
        return self._on(self.source.changed(w=function(y, np.ones(len(y)) if w is None else w)))

    def residual(self, p: np.ndarray, op: RowFunction) -> ThreadEngine:
        """Engine on the same rows with responses ``y - f``, f the output of a PREDICT: one sweep."""
        y, f = self._responses(), self.output(p, op)
        return self._on(self.source.changed(y=y - f.reshape(y.shape)))

    def projected(self, v: np.ndarray) -> ThreadEngine:
        """Engine whose rows are Vx, with the same responses and weights: one sweep; its own are not counted."""
        m = len(v)
        z = self.output(v, RowFunction(Op.PREDICT, reps=m, linear=1, v=np.zeros((m, 0)), c=np.zeros(m)))
        return self._made(ArraySource(z, *self.source.targets()))

    def whitened(self, shift: np.ndarray, inverse: np.ndarray, *, copy: bool) -> ThreadEngine:
        """Engine on rows ``inverse (x - shift)``, held as a copy or made again as often as they are swept."""
        if self.has_ones:
            raise ValueError("rows with a column of ones are whitened without it: see with_ones")
        white = WhitenedSource(self.source, shift, inverse)
        if not copy:
            return self._on(white)
        self.meter.count(self.shape[0])
        return self._on(white.copied())

    def local(self, x: np.ndarray, y: np.ndarray) -> ThreadEngine:
        """Engine on rows at the caller, that were computed from some of these; its sweeps are not counted."""
        return self._made(ArraySource(x, y))

    def run(self, p: np.ndarray, op: RowFunction) -> tuple[np.ndarray, np.ndarray]:
        """Sums of `op` over all rows.

        Parameters
        ----------
        p : ndarray (op.columns, d)
        op : RowFunction

        Returns
        -------
        a, s : ndarray
            Back-projected and scalar sums; see :func:`fastrecover.kernels.sweep`.
        """
        return self.meter.recorded(p, op, self.shape[0], lambda: self._swept(p, op, None))

    def output(self, p: np.ndarray, op: RowFunction) -> np.ndarray:
        """What a PREDICT writes for every sample, (n, op.reps * op.outputs)."""
        out = np.empty((self.shape[0], op.reps * op.outputs))
        self._swept(p, op, out)
        return out

    def _swept(self, p: np.ndarray, op: RowFunction, out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        source, (n, d) = self.source, self.shape
        if op.group != source.group:  # kernels trust the number of samples
            raise ValueError(f"samples have {source.group} patches and the sweep wants {op.group}: see patches()")
        y = source.targets()[0]
        seen = op.op != Op.PREDICT and not op.unit_response
        if y is not None and seen and y.size != n * op.outputs:
            raise ValueError(f"the sweep wants {op.outputs} responses a row, and there are {y.size // max(n, 1)}")
        if self.has_ones and op.op == Op.THIRD and op.m == 0:  # kernels take X itself, without the column
            p, op = np.eye(d), replace(op, m=d)
        p = np.ascontiguousarray(p, np.float64)
        columns, (g, left, sums), (_, block) = kernels.extent(op, d, source.dtype.itemsize)
        samples = block // source.group
        n_blocks = -(-n // samples)
        self.meter.count(n)

        work = n * source.group * (d * columns + g * left + sums)
        threads = min(self.n_jobs, n_blocks, max(1, work // self.least_work))
        most = n_blocks if threads <= 1 else n_blocks // (threads * _TURNS)
        if source.gives_views:
            x, y, w = source.read(0, n)
            job = kernels.share(x, y if seen else None, w, p, op, n_blocks, _part(n_blocks, most), out=out)
            if job is not None:
                return run(job, threads)
        else:
            most = min(most, _HELD // (samples * source.group * d))
        size = _part(n_blocks, most)

        def part(i: int) -> tuple[np.ndarray, np.ndarray]:
            count = min(size, n_blocks - i * size)
            start, stop = i * size * samples, min((i * size + count) * samples, n)
            x, y, w = source.read(start, stop)
            into = None if out is None else out[start:stop]
            a, s = kernels.sweep(x, y if seen else None, w, p, op, 0, count, out=into)
            if not (np.isfinite(a).all() and np.isfinite(s).all()):  # rows that are read may not be what they were
                check_finite(x, getattr(source, "name", "X"), start * source.group)
            return a, s

        return run(Parts(part, -(-n_blocks // size)), threads) if size < n_blocks else part(0)


def _part(n_blocks: int, most: int) -> int:
    """Blocks of a part, up to `most`: a power of two, or all of them."""
    return n_blocks if most >= n_blocks else 1 << max(0, most.bit_length() - 1)
