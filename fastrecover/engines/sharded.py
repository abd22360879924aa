"""Sweeps over rows that a team holds between them.

Every member sums the largest subtrees of the canonical tree that lie in its rows, and the caller merges them: the bits
are those of one process with all rows.  For that rows are handed on until every run of them begins at the edge of a
block, so that it does not matter either who was given which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..kernels import LARGEST_BLOCK, Op, RowFunction
from ..sources import ArraySource, Block, choose, drawn
from . import shards
from .averages import average as averaged
from .averages import joint_digest, squared_distance
from .base import Elementwise, Meter, Weights
from .shards import Piece
from .teams import Team
from .threads import Runs, ThreadEngine

_LARGEST_COPY = 32 << 20  # bytes of a sub-sample up to which it comes to the caller


@dataclass(frozen=True, eq=False)
class ShardedEngine:
    """Runs row functions over the shards of a team.

    Attributes
    ----------
    team : Team
        Whose parts are shards.
    runs : tuple of Runs
        Of every member, each beginning at a multiple of ``LARGEST_BLOCK``.
    n_features : int
        Of a row that is swept.
    dtype : dtype
    meter : Meter
    group : int
        Patches of a sample.
    several : bool
        Whether responses have several columns.
    n_jobs : int or None
        Threads of the caller, for small samples.
    has_ones : bool
        Whether rows are (x, 1).
    """

    team: Team
    runs: tuple[Runs, ...]
    n_features: int
    dtype: np.dtype
    meter: Meter
    group: int = 1
    several: bool = False
    n_jobs: int | None = None
    has_ones: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features, the column of ones counted."""
        return total(self.runs), self.n_features + self.has_ones

    @property
    def is_shared(self) -> bool:
        """Whether other processes must ask for the same at the same time."""
        return self.team.agreement is not None

    def with_ones(self, wanted: bool = True) -> ShardedEngine:
        """Engine on the same rows with the column of ones, or without it."""
        return self if wanted == self.has_ones else replace(self, has_ones=wanted)

    def _made(self, function: Callable[..., Any], *args: Any, **changes: Any) -> ShardedEngine:
        return replace(self, team=self.team.made(function, *args), **changes)

    def run(self, p: np.ndarray, op: RowFunction) -> tuple[np.ndarray, np.ndarray]:
        """Sums of `op` over all rows."""
        if op.op == Op.THIRD and op.m == 0 and self.has_ones:  # kernels take X itself, without the column
            p, op = np.eye(self.shape[1]), replace(op, m=self.shape[1])
        p = np.ascontiguousarray(p, np.float64)
        return self.meter.recorded(p, op, self.shape[0], partial(self._swept, p, op))

    def _swept(self, p: np.ndarray, op: RowFunction) -> tuple[np.ndarray, np.ndarray]:
        self.meter.count(self.shape[0])
        return shards.merged(self.team.each(shards.swept, p, op, self.has_ones))

    def output(self, p: np.ndarray, op: RowFunction) -> np.ndarray:
        """What a PREDICT writes for every sample, (n, op.reps * op.outputs)."""
        self.meter.count(self.shape[0])
        return self._whole(self.team.each(shards.outputs, np.ascontiguousarray(p, np.float64), op, self.has_ones))

    def _whole(self, parts: list[np.ndarray]) -> np.ndarray:
        """One array of what every member has of each of its samples."""
        out = np.empty((self.shape[0], *parts[0].shape[1:]))
        for runs, part in zip(self.runs, parts, strict=True):
            begin = 0
            for first, count in runs:
                out[first : first + count] = part[begin : begin + count]
                begin += count
        return out

    def rows(self, start: int, stop: int) -> Block:
        """Rows, responses and weights of samples ``start .. stop - 1``, few enough to come to the caller."""
        x, y, w = self._fetched(slice(start, stop))
        return Block(np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1) if self.has_ones else x, y, w)

    def _fetched(self, which: slice | np.ndarray) -> Block:
        """Some samples, from wherever they are."""
        wanted = [list(_wanted(which, runs)) for runs in self.runs]
        pieces = [([local(which, *each) for each in member],) for member in wanted]
        found = self.team.each_of(shards.cut, pieces)
        blocks: dict[int, Block] = {}
        for each, held in zip(wanted, found, strict=True):
            blocks |= {a: block for (a, *_), block in zip(each, held, strict=True)}
        parts = [blocks[a] for a in sorted(blocks)]
        if not parts:
            return Block(np.empty((0, self.n_features), self.dtype), np.empty(0), None)
        x, y, w = zip(*parts, strict=True)
        joined = (None if each[0] is None else np.concatenate(each) for each in (y, w))
        return Block(np.concatenate(x), *joined)

    def peek(self, m: int) -> np.ndarray:
        """At least `m` rows, or all that there are."""
        return self._fetched(slice(0, self.shape[0], max(1, self.shape[0] // m))).x

    def with_jobs(self, n_jobs: int | None, meter: Meter) -> ShardedEngine:
        """Engine on the same rows, swept by so many threads of every member."""
        return self._made(shards.with_jobs, n_jobs, n_jobs=n_jobs, meter=meter)

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        ys, ws = zip(*self.team.each(shards.targets), strict=True)
        y, w = (None if any(a is None for a in each) else self._whole(list(each)) for each in (ys, ws))
        return y, w

    def _sums(self, function: Elementwise | None = None) -> np.ndarray:
        return averaged(shards.merged(self.team.each(shards.response_sums, function)))

    def average(self, function: Elementwise | None = None) -> float:
        """Weighted mean over the responses y of ``function(y)``, or of y; summed over several outputs."""
        return float(self._sums(function).sum())

    def mean_response(self) -> np.ndarray | float:
        """Weighted mean of the responses, one number for each output."""
        mean = self._sums()
        return mean if self.several else float(mean[0])

    def response_variance(self) -> float:
        """Weighted variance of the responses, summed over outputs."""
        return self.average(partial(squared_distance, centre=self.mean_response()))

    def digests(self) -> tuple[str, str | None]:
        """Digests of all responses, and of all weights where there are any."""
        ys, ws = zip(*self.team.each(shards.digests), strict=True)
        y, w = ({k: v for each in all_of_them if each for k, v in each.items()} for all_of_them in (ys, ws))
        return joint_digest(y), joint_digest(w) if w else None

    def smallest_response(self) -> float:
        """Least response of all."""
        return min(self.team.each(shards.least_response))

    def weights(self) -> Weights:
        """Sums over the weights of samples."""
        counts, sums = zip(*self.team.each(shards.squares_of_weights), strict=True)
        if all(each is None for each in sums):
            return Weights(sum(counts), float(sum(counts)), float(sum(counts)))
        squares, whole = shards.merged(list(sums))
        return Weights(sum(counts), float(whole[0]), float(squares[0]))

    def patches(self) -> ShardedEngine:
        """Engine whose samples are the patches of this one's, each with its sample's response."""
        if self.group == 1:
            return self
        g = self.group
        runs = tuple([(first * g, count * g) for first, count in each] for each in self.runs)
        return self._made(shards.patches, runs=runs, group=1)

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> ShardedEngine | ThreadEngine:
        """Engine on `m` random rows, counted by the same meter; at the caller where these are small.

        They are those that an array of all rows would give.
        """
        if spaced:
            return self._spaced(m, seed)
        n, size = self.shape[0], m * self.group * self.n_features * self.dtype.itemsize
        weights = self.weights()
        w = None if weights.counting == n else self.targets()[1]
        chosen = choose(n, w, m, seed, self.group == 1 and size > _LARGEST_COPY)
        if chosen is None:
            return self
        return self._here(chosen) if size <= _LARGEST_COPY else self._taken(chosen)

    def _spaced(self, m: int, seed: np.random.SeedSequence) -> ThreadEngine:
        """Independent samples of equal weight."""
        whole, weights = self.patches(), self.weights()
        largest = max(self.team.each(shards.largest_weight))
        share = weights.total / (self.shape[0] * largest) if largest else np.inf
        rows, chances = drawn(whole.shape[0], 1, share, m, seed)
        x, y, w = whole._fetched(rows)
        if w is not None:
            kept = chances * largest < w
            x, y = x[kept], None if y is None else y[kept]
        self.meter.count(-(-len(x) // self.group))
        return ThreadEngine(ArraySource(x, y), self.n_jobs, self.meter).with_ones(self.has_ones)

    def _here(self, which: slice | np.ndarray) -> ThreadEngine:
        x, y, w = self._fetched(which)
        source = ArraySource(x.reshape(-1, self.group * self.n_features), y, w, self.group)
        return ThreadEngine(source, self.n_jobs, self.meter).with_ones(self.has_ones)

    def part(self, i: int, count: int) -> ShardedEngine:
        """Engine on part i of `count` consecutive parts of the rows, counted by the same meter."""
        n = self.shape[0]
        return self._taken(slice(n * i // count, n * (i + 1) // count))

    def some(self, samples: np.ndarray) -> ShardedEngine:
        """Engine on samples of these rising numbers."""
        return self._taken(samples)

    def _taken(self, which: slice | np.ndarray) -> ShardedEngine:
        """Engine on some samples, which stay with the members but for those that begin or end a block elsewhere."""
        team, runs = at_edges(self.team, self.runs, which)
        return replace(self, team=team, runs=runs)

    def with_responses(self, function: Elementwise) -> ShardedEngine:
        """Engine on the same rows with responses ``function(y)``, of all outputs at once."""
        made = self._made(shards.changed, "with_responses", function)
        return replace(made, several=any(made.team.each(shards.has_several)))

    def with_targets(self, y: np.ndarray) -> ShardedEngine:
        """Engine on the same rows with responses y, (n,) or (n, n_outputs)."""
        y = np.ascontiguousarray(y, np.float64)
        parts = [("with_targets", np.concatenate([y[:0], *(y[a : a + m] for a, m in runs)])) for runs in self.runs]
        return replace(self, team=self.team.made_of(shards.changed, parts), several=y.ndim == 2)

    def with_weights(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> ShardedEngine:
        """Engine on the same rows with weights ``function(y, w)``."""
        return self._made(shards.changed, "with_weights", function)

    def residual(self, p: np.ndarray, op: RowFunction) -> ShardedEngine:
        """Engine on the same rows with responses ``y - f``, f the output of a PREDICT: one sweep."""
        self.meter.count(self.shape[0])
        return self._made(shards.residual, np.ascontiguousarray(p, np.float64), op, self.has_ones)

    def projected(self, v: np.ndarray) -> ShardedEngine:
        """Engine whose rows are Vx, with the same responses and weights: one sweep; its own are not counted."""
        self.meter.count(self.shape[0])
        meter = Meter(self.shape[0], record=self.meter.record)
        changes: dict[str, Any] = {"n_features": len(v), "dtype": np.dtype(np.float64), "meter": meter}
        return self._made(shards.projected, v, self.has_ones, has_ones=False, **changes)

    def whitened(self, shift: np.ndarray, inverse: np.ndarray, *, copy: bool) -> ShardedEngine:
        """Engine on rows ``inverse (x - shift)``, held as a copy or made again as often as they are swept."""
        if self.has_ones:
            raise ValueError("rows with a column of ones are whitened without it: see with_ones")
        if copy:
            self.meter.count(self.shape[0])
        changes = {"n_features": len(inverse), "dtype": np.dtype(np.float64)}
        return self._made(shards.whitened, shift, inverse, copy, **changes)

    def local(self, x: np.ndarray, y: np.ndarray) -> ThreadEngine:
        """Engine on rows at the caller, that were computed from some of these; its sweeps are not counted."""
        return ThreadEngine(ArraySource(x, y), self.n_jobs)


def total(runs: tuple[Runs, ...]) -> int:
    """Samples of all members."""
    return sum(count for each in runs for _, count in each)


def at_edges(
    team: Team, runs: tuple[Runs, ...], which: slice | np.ndarray | None = None
) -> tuple[Team, tuple[Runs, ...]]:
    """Some samples, or all, where every run begins at a multiple of ``LARGEST_BLOCK`` of their own numbers.

    A block belongs to the member that has its first sample; others give it theirs.

    Parameters
    ----------
    team : Team
    runs : tuple of Runs
        Of all samples, beginning anywhere.
    which : slice or ndarray of int, rising
        Samples that are wanted.

    Returns
    -------
    team : Team
    runs : tuple of Runs
    """
    which = slice(0, total(runs)) if which is None else which
    # Of every run what is wanted, by the numbers among those that are: first, stop, member, number of its first, local.
    old = sorted(
        (a, b, member, first, begin) for member, each in enumerate(runs) for a, b, first, begin in _wanted(which, each)
    )
    n = old[-1][1] if old else 0
    plans: list[Any] = [[] for _ in runs]
    moves: dict[tuple[int, int], list[Piece]] = {}
    for i, (a, b, owner, _, _) in enumerate(old):
        start, stop = _edge(a), min(_edge(b), n)
        if start >= stop:
            continue
        pieces: list[Any] = []
        for a2, b2, member, first, begin in old[i:]:
            if a2 >= stop:
                break
            piece: Any = local(which, max(a2, start), min(b2, stop), first, begin)
            if member != owner:
                given = moves.setdefault((member, owner), [])
                given.append(piece)
                piece = (member, len(given) - 1)
            pieces.append(piece)
        plans[owner].append(((start, stop - start), pieces))
    new = tuple(tuple(run for run, _ in plan) for plan in plans)
    whole = isinstance(which, slice) and which == slice(0, total(runs))
    return (team if whole and not moves and new == runs else team.exchanged(shards.cut, shards.join, moves, plans)), new


def _edge(a: int) -> int:
    """The next edge of a block."""
    return -(-a // LARGEST_BLOCK) * LARGEST_BLOCK


def contiguous(runs: Runs) -> tuple[tuple[int, int], ...]:
    """Runs that begin where the one before them ends as one."""
    found: list[tuple[int, int]] = []
    for first, count in runs:
        if found and sum(found[-1]) == first:
            first, count = found[-1][0], found.pop()[1] + count
        found.append((first, count))
    return tuple(run for run in found if run[1])


def _wanted(which: slice | np.ndarray, runs: Runs) -> Iterator[tuple[int, int, int, int]]:
    """What some runs hold of some samples.

    Yields
    ------
    a, b : int
        By the numbers among these samples, ``a .. b - 1``.
    first, begin : int
        Number of the run's first sample among all, and here.
    """
    begin = 0
    for first, count in runs:
        if isinstance(which, slice):
            start, step = which.start or 0, which.step or 1
            stop = first + count if which.stop is None else min(first + count, which.stop)
            a, b = max(-(-(first - start) // step), 0), max(-(-(stop - start) // step), 0)
        else:
            a, b = (int(i) for i in np.searchsorted(which, [first, first + count]))
        if a < b:
            yield a, b, first, begin
        begin += count


def local(which: slice | np.ndarray, a: int, b: int, first: int, begin: int) -> Piece:
    """Local numbers of the samples ``a .. b - 1`` of some, in a run that begins with sample `first` at `begin`."""
    if isinstance(which, slice):
        start, step = which.start or 0, which.step or 1
        at = start + step * a - first + begin
        return slice(at, at + step * (b - a - 1) + 1, step)
    return np.asarray(which[a:b] - (first - begin))
