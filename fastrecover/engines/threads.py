"""Sweeps on threads.

Rows are cut into blocks and blocks into parts, aligned subtrees of the canonical merge tree, which threads take as they
come free; because sums are merged by number, the result does not depend on who did what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import NamedTuple, TypeAlias

import numpy as np

from .. import kernels
from .._validation import check_finite
from ..kernels import Op, RowFunction
from ..kernels.tree import Tree, aligned_subtrees
from ..sources import ArraySource, Block, Source, WhitenedSource, aligned
from .averages import average as averaged
from .averages import block_digests, joint_digest, squared_distance, totals
from .base import Elementwise, Meter, Weights
from .pool import Parts, run, subtrees
from .processors import resolve_jobs

#: Number of a first sample, and how many samples follow it.
Runs: TypeAlias = Sequence[tuple[int, int]]

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

    @property
    def is_shared(self) -> bool:
        """Whether other processes must ask for the same at the same time."""
        return False

    def with_ones(self, wanted: bool = True) -> ThreadEngine:
        """Engine on the same rows with the column of ones, or without it."""
        if wanted == self.has_ones:
            return self
        return ThreadEngine(self.source, self.n_jobs, self.meter, least_work=self.least_work, has_ones=wanted)

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.source.dtype

    def on(self, source: Source) -> ThreadEngine:
        """Engine on other rows, counted by the same meter."""
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

    def responses(self) -> np.ndarray:
        """Responses of all samples, zeros where there are none."""
        y = self.source.targets()[0]
        return np.zeros(self.shape[0]) if y is None else y

    def average(self, function: Elementwise | None = None) -> float:
        """Weighted mean over the responses y of ``function(y)``, or of y."""
        return float(averaged(totals(self.responses(), self.source.targets()[1], function)).sum())

    def mean_response(self) -> np.ndarray | float:
        """Weighted mean of the responses, one number for each output."""
        y, w = self.responses(), self.source.targets()[1]
        mean = averaged(totals(y, w))
        return mean if y.ndim == 2 else float(mean[0])

    def response_variance(self) -> float:
        """Weighted variance of the responses, summed over outputs."""
        return self.average(partial(squared_distance, centre=self.mean_response()))

    def digests(self) -> tuple[str, str | None]:
        """Digests of all responses, and of all weights where there are any."""
        w = self.source.targets()[1]
        return joint_digest(block_digests(self.responses(), 0)), None if w is None else joint_digest(
            block_digests(w, 0)
        )

    def smallest_response(self) -> float:
        """Least response of all."""
        return float(self.responses().min())

    def weights(self) -> Weights:
        """Sums over the weights of samples."""
        n, w = self.shape[0], self.source.targets()[1]
        if w is None:
            return Weights(n, float(n), float(n))
        squares, total = totals(w, w)
        return Weights(int(np.count_nonzero(w)), float(total[0]), float(squares[0]))

    def patches(self) -> ThreadEngine:
        """Engine whose samples are the patches of this one's, each with its sample's response."""
        return self if self.source.group == 1 else self.on(self.source.patches())

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> ThreadEngine:
        """Engine on `m` random rows, counted by the same meter; itself where there are not more.

        Rows that are `spaced` are there to be looked at, and are counted now.
        """
        few = self.on(self.source.sample(m, seed, spaced=spaced))
        if spaced:
            self.meter.count(-(-few.shape[0] // self.source.group))
        return few

    def part(self, i: int, count: int) -> ThreadEngine:
        """Engine on part i of `count` consecutive parts of the rows, counted by the same meter."""
        return self.on(self.source.part(i, count))

    def with_responses(self, function: Elementwise) -> ThreadEngine:
        """Engine on the same rows with responses ``function(y)``."""
        return self.with_targets(function(self.responses()))

    def with_targets(self, y: np.ndarray) -> ThreadEngine:
        """Engine on the same rows with responses y, (n,) or (n, n_outputs)."""
        return self.on(self.source.changed(y=np.require(y, np.float64, ["C", "A"])))

    def with_weights(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> ThreadEngine:
        """Engine on the same rows with weights ``function(y, w)``."""
        y, w = self.responses(), self.source.targets()[1]
        return self.on(self.source.changed(w=function(y, np.ones(len(y)) if w is None else w)))

    def residual(self, p: np.ndarray, op: RowFunction) -> ThreadEngine:
        """Engine on the same rows with responses ``y - f``, f the output of a PREDICT: one sweep."""
        y, f = self.responses(), self.output(p, op)
        return self.on(self.source.changed(y=y - f.reshape(y.shape)))

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
            return self.on(white)
        self.meter.count(self.shape[0])
        return self.on(white.copied())

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

    def subtrees(self, p: np.ndarray, op: RowFunction, runs: Runs) -> Tree:
        """Sums of `op` over these rows where they are some of many more, in the tree of all of them.

        Parameters
        ----------
        p : ndarray (op.columns, d)
        op : RowFunction
        runs : sequence of tuple of int
            Number of the first sample of all, a multiple of ``LARGEST_BLOCK``, and how many follow it here.

        Returns
        -------
        Tree
            Of the largest subtrees that lie in these rows.
        """
        if any(first % kernels.LARGEST_BLOCK for first, _ in runs):
            raise ValueError(f"runs of rows must begin at multiples of {kernels.LARGEST_BLOCK}, got {runs}")
        sweep = self._prepared(p, op)
        most = max(sum(count for _, count in runs) // (sweep.samples * sweep.threads * _TURNS), 1)
        return subtrees(self._parts(sweep, runs, most, None), sweep.threads)

    def _swept(self, p: np.ndarray, op: RowFunction, out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sweep, source, n = self._prepared(p, op), self.source, self.shape[0]
        n_blocks = -(-n // sweep.samples)
        most = n_blocks if sweep.threads <= 1 else n_blocks // (sweep.threads * _TURNS)
        if source.gives_views:
            x, y, w = source.read(0, n)
            size = n_blocks if most >= n_blocks else _power(most)
            job = kernels.share(x, y if sweep.seen else None, w, sweep.p, sweep.op, n_blocks, size, out=out)
            if job is not None:
                return run(job, sweep.threads)
        return run(self._parts(sweep, [(0, n)], most, out), sweep.threads)

    def _prepared(self, p: np.ndarray, op: RowFunction) -> _Sweep:
        """A sweep that fits the rows, which are counted now."""
        source, (n, d) = self.source, self.shape
        if op.group != source.group:  # kernels trust the number of samples
            raise ValueError(f"samples have {source.group} patches and the sweep wants {op.group}: see patches()")
        y = source.targets()[0]
        seen = op.op != Op.PREDICT and not op.unit_response
        if y is not None and seen and y.size != n * op.outputs:
            raise ValueError(f"the sweep wants {op.outputs} responses a row, and there are {y.size // max(n, 1)}")
        if self.has_ones and op.op == Op.THIRD and op.m == 0:  # kernels take X itself, without the column
            p, op = np.eye(d), replace(op, m=d)
        p = np.require(p, np.float64, ["C", "A"])  # it may have come over a wire
        columns, (g, left, sums), (_, block) = kernels.extent(op, d, source.dtype.itemsize)
        samples = block // source.group
        self.meter.count(n)
        work = n * source.group * (d * columns + g * left + sums)
        threads = max(1, min(self.n_jobs, -(-n // samples), work // self.least_work))
        return _Sweep(p, op, samples, threads, seen)

    def _parts(self, sweep: _Sweep, runs: Runs, most: int, out: np.ndarray | None) -> Parts:
        """Parts of up to `most` blocks of some runs of all rows, which lie here one after another."""
        source, samples = self.source, sweep.samples
        if not source.gives_views:
            most = min(most, _HELD // (samples * source.group * self.shape[1]))
        most = _power(most)
        begins = list(accumulate((count for _, count in runs), initial=0))
        seams = np.asarray(getattr(source, "seams", ()), int)
        places = [
            (level, number, i)
            for i, (first, count) in enumerate(runs)
            if count
            for a, b in _between(first, first + count, samples, seams - begins[i] + first)
            for level, number in aligned_subtrees(a, b, most)
        ]

        def part(level: int, number: int, i: int) -> tuple[np.ndarray, np.ndarray]:
            (first, count), begin = runs[i], begins[i]
            start, stop = (number << level) * samples - first, ((number + 1) << level) * samples - first
            rows = slice(begin + start, begin + min(stop, count))
            x, y, w = source.read(rows.start, rows.stop)
            blocks = -(-(rows.stop - rows.start) // samples)
            into = None if out is None else out[rows]
            y, w = (None if a is None else aligned(a) for a in (y if sweep.seen else None, w))
            a, s = kernels.sweep(x, y, w, sweep.p, sweep.op, 0, blocks, out=into)
            if not (np.isfinite(a).all() and np.isfinite(s).all()):  # rows that are read may not be what they were
                titles = getattr(source, "column_names", None) if source.group == 1 else None
                check_finite(x, getattr(source, "name", "X"), (first + start) * source.group, titles)
            return a, s

        return Parts(part, places)


class _Sweep(NamedTuple):
    """A sweep as its parts need it.

    Attributes
    ----------
    p : ndarray
    op : RowFunction
    samples : int
        Of a block.
    threads : int
    seen : bool
        Whether it looks at responses.
    """

    p: np.ndarray
    op: RowFunction
    samples: int
    threads: int
    seen: bool


def _between(first: int, stop: int, samples: int, seams: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of blocks between the seams of a source; a block with a seam inside stands alone, since it is copied."""
    at, end = first // samples, -(-stop // samples)
    for seam in seams[np.searchsorted(seams, first, side="right") : np.searchsorted(seams, stop)].tolist():
        block = seam // samples
        if block > at:
            yield at, block
            at = block
        if seam % samples and block == at:
            yield block, block + 1
            at = block + 1
    if at < end:
        yield at, end


def _power(most: int) -> int:
    """The largest power of two that is not above `most`, and at least 1."""
    return 1 << max(0, most.bit_length() - 1)
