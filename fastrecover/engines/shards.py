"""What is done where some of the rows are: functions of a shard, whose small results go to the caller.

A shard is an engine on rows of its own and the numbers that these have among all rows.  So everything that leaves rows
where they are is done by the engine that a single process has, and only sums and row numbers need code here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..kernels import RowFunction
from ..kernels.tree import Tree
from ..sources import Block, Source, joined
from .averages import add_sums, block_digests
from .base import Elementwise
from .threads import Runs, ThreadEngine

#: Some samples of a shard, by their local numbers.
Piece: TypeAlias = "slice | np.ndarray"


@dataclass(frozen=True, eq=False)
class Shard:
    """Rows that are here, some of many more.

    Attributes
    ----------
    engine : ThreadEngine
        On these rows.
    runs : sequence of tuple of int
        Numbers among all samples: of the first one, and how many follow it, in the order of the rows here.
    """

    engine: ThreadEngine
    runs: Runs

    def __sizeof__(self) -> int:
        """Bytes of responses and weights: rows are views of chunks, of which copies would free nothing."""
        return 256 + sum(a.nbytes for a in self.engine.targets() if a is not None)

    @property
    def begins(self) -> list[int]:
        """Local number of the first sample of every run."""
        return list(accumulate((count for _, count in self.runs[:-1]), initial=0)) if self.runs else []


class Subtrees(NamedTuple):
    """Sums of subtrees, stacked.

    Attributes
    ----------
    places : ndarray (m, 2) of int
        Level and number.
    sums : tuple of ndarray (m, ...)
    """

    places: np.ndarray
    sums: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, tree: Tree) -> Subtrees | None:
        """Those that a tree is left with; None where there are none."""
        if not tree.subtrees:
            return None
        places, sums = zip(*tree.subtrees.items(), strict=True)
        return cls(np.array(places), tuple(np.stack(each) for each in zip(*sums, strict=True)))


def merged(parts: list[Subtrees | None]) -> tuple[np.ndarray, np.ndarray]:
    """Sums of all subtrees, in the canonical tree."""
    tree = Tree()
    for part in (each for each in parts if each is not None):
        for j, (level, number) in enumerate(part.places.tolist()):
            tree.add(number, tuple(each[j] for each in part.sums), level)
    left, right = tree.total()
    return left, right


def swept(shard: Shard, p: np.ndarray, op: RowFunction, ones: bool) -> Subtrees | None:
    """Sums of `op` over the rows of a shard."""
    return Subtrees.of(shard.engine.with_ones(ones).subtrees(p, op, shard.runs))


def outputs(shard: Shard, p: np.ndarray, op: RowFunction, ones: bool) -> np.ndarray:
    """What a PREDICT writes for every sample of a shard."""
    return shard.engine.with_ones(ones).output(p, op)


def response_sums(shard: Shard, function: Elementwise | None) -> Subtrees | None:
    """Sums for the average of a function of the responses."""
    tree, w = Tree(), shard.engine.targets()[1]
    y = shard.engine.responses()
    for (first, count), begin in zip(shard.runs, shard.begins, strict=True):
        rows = slice(begin, begin + count)
        add_sums(tree, first, y[rows], None if w is None else w[rows], function)
    return Subtrees.of(tree)


def squares_of_weights(shard: Shard) -> tuple[int, Subtrees | None]:
    """How many weights are positive, and sums of their squares and of them."""
    tree, w = Tree(), shard.engine.targets()[1]
    if w is None:
        return shard.engine.shape[0], None
    for (first, count), begin in zip(shard.runs, shard.begins, strict=True):
        rows = slice(begin, begin + count)
        add_sums(tree, first, w[rows], w[rows], None)
    return int(np.count_nonzero(w)), Subtrees.of(tree)


def digests(shard: Shard) -> tuple[dict[int, bytes], dict[int, bytes] | None]:
    """Digests of blocks of responses and weights, by number."""
    y, w = shard.engine.responses(), shard.engine.targets()[1]
    found: list[dict[int, bytes]] = [{}, {}]
    for (first, count), begin in zip(shard.runs, shard.begins, strict=True):
        for all_of_them, values in zip(found, (y, w), strict=True):
            if values is not None:
                all_of_them |= block_digests(values[begin : begin + count], first)
    return found[0], None if w is None else found[1]


def least_response(shard: Shard) -> float:
    """Least response of a shard, inf where it has none."""
    return float(shard.engine.responses().min(initial=np.inf))


def targets(shard: Shard) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Responses and weights of a shard."""
    return shard.engine.targets()


def changed(shard: Shard, how: str, *args: Any) -> Shard:
    """The shard after a method of its engine that leaves the samples what they are."""
    return Shard(getattr(shard.engine, how)(*args), shard.runs)


def residual(shard: Shard, p: np.ndarray, op: RowFunction, ones: bool) -> Shard:
    """The shard with responses ``y - f``."""
    return Shard(shard.engine.with_ones(ones).residual(p, op).with_ones(False), shard.runs)


def projected(shard: Shard, v: np.ndarray, ones: bool) -> Shard:
    """The shard whose rows are Vx."""
    return Shard(shard.engine.with_ones(ones).projected(v), shard.runs)


def whitened(shard: Shard, shift: np.ndarray, inverse: np.ndarray, copy: bool) -> Shard:
    """The shard whose rows are ``inverse (x - shift)``."""
    return Shard(shard.engine.whitened(shift, inverse, copy=copy), shard.runs)


def patches(shard: Shard) -> Shard:
    """The shard whose samples are patches."""
    group = shard.engine.source.group
    return Shard(shard.engine.patches(), [(first * group, count * group) for first, count in shard.runs])


def of_source(shard: Shard, function: Callable[..., Any], *args: Any) -> Any:
    """What ``function(rows, first, *args)`` returns of every run, patches not cut; `first` numbers its first sample."""
    whole = shard.engine.source.grouped(1)
    pairs = zip(shard.runs, shard.begins, strict=True)
    return [function(whole.taken(slice(b, b + count)), first, *args) for (first, count), b in pairs]


def with_jobs(shard: Shard, n_jobs: int | None) -> Shard:
    """The shard, swept by so many threads; None for all that its process may use."""
    return Shard(ThreadEngine(shard.engine.source, n_jobs), shard.runs)


def cut(shard: Shard, pieces: list[Piece]) -> list[Block]:
    """Some samples of a shard, to be given away."""
    source = shard.engine.source
    return [_held(source.taken(piece)) for piece in pieces]


def _held(source: Source) -> Block:
    x, y, w = source.read(0, source.shape[0])
    return Block(x, *(None if a is None else np.ascontiguousarray(a) for a in (y, w)))


def largest_weight(shard: Shard) -> float:
    """Largest weight of a shard; 1 where all are."""
    w = shard.engine.targets()[1]
    return 1.0 if w is None else float(w.max(initial=0.0))


def has_several(shard: Shard) -> bool:
    """Whether responses have several columns."""
    return shard.engine.responses().ndim == 2


#: Runs of a new shard, and what each is made of: own samples, or the number of a block from some member.
Plan: TypeAlias = "list[tuple[tuple[int, int], list[Piece | tuple[int, int]]]]"


def join(shard: Shard, plan: Plan, received: dict[int, list[Block]]) -> Shard:
    """The shard of some own samples and some of others, consecutive ones side by side."""
    engine, source = shard.engine, shard.engine.source
    parts: list[Source] = []
    for _, pieces in plan:
        for piece in pieces:
            if isinstance(piece, tuple):
                parts.append(joined([received[piece[0]][piece[1]]], like=source))
            else:
                parts.append(source.taken(piece))
    return Shard(engine.on(joined(parts, like=source)), [run for run, _ in plan])
