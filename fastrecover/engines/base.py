"""What starts, solvers and inference may ask of whoever runs the blocks.

Sums over all rows come from :meth:`Engine.run`.  Whatever else is needed of rows, responses and weights is a summary,
an engine on other rows that stay where they are, or a sample small enough to be looked at (:meth:`Engine.sample`,
:func:`fastrecover.sweeps.local_rows`).  So an engine may keep its rows on other machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from ..kernels import RowFunction
from ..sources import Block

#: Of an array, entry by entry.
Elementwise: TypeAlias = Callable[[np.ndarray], np.ndarray]


#: Back-projected and scalar sums of a sweep.
Sums: TypeAlias = tuple[np.ndarray, np.ndarray]


class Recorded(Protocol):
    """What knows sums of sweeps from an earlier run of the same fit."""

    def sums(
        self, p: np.ndarray, op: RowFunction, rows: int, count: Callable[[int], None], sweep: Callable[[], Sums]
    ) -> Sums:
        """Sums of the next sweep over so many rows: known ones, whose rows it has counted, or those of `sweep`."""
        ...


@dataclass
class Meter:
    """Rows touched so far, in units of one full pass over `total` rows.

    `tell`, where there is one, is called with the rows of every sweep before it begins; what it raises ends the sweep.
    `record`, where there is one, is asked for the sums of every sweep; meters of engines that are made of one another
    share it.
    """

    total: int
    rows: int = field(default=0)
    tell: Callable[[int], None] | None = None
    record: Recorded | None = None

    def count(self, rows: int) -> None:
        """Count the rows of a sweep that is about to begin."""
        if self.tell is not None:
            self.tell(rows)
        self.rows += rows

    def recorded(self, p: np.ndarray, op: RowFunction, rows: int, sweep: Callable[[], Sums]) -> Sums:
        """Sums of :meth:`Engine.run` over so many rows: those of the record, or what `sweep` counts and returns."""
        return sweep() if self.record is None else self.record.sums(p, op, rows, self.count, sweep)

    @property
    def passes(self) -> float:
        """Full passes over the data, sub-samples counted by their share."""
        return self.rows / max(self.total, 1)


class Weights(NamedTuple):
    """Sums over the weights of samples: how many are positive, their sum and that of their squares."""

    counting: int
    total: float
    squares: float


class Engine(Protocol):
    """Runs row functions over the samples of a source.

    Attributes
    ----------
    meter : Meter
        Shared with all engines on the same data.
    has_ones : bool
        Whether a last column of ones, which nobody stores, belongs to the rows: what a bias is the weight of.
    """

    @property
    def has_ones(self) -> bool:
        """Whether rows are (x, 1)."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes must ask for the same at the same time."""
        ...

    def with_ones(self, wanted: bool = True) -> Engine:
        """Engine on the same rows with the column of ones, or without it."""
        ...

    @property
    def meter(self) -> Meter:
        """Counter of rows."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        ...

    def run(self, p: np.ndarray, op: RowFunction) -> tuple[np.ndarray, np.ndarray]:
        """Sums of `op` over all rows: back-projected (g, l) and scalar (s,); p is (op.columns, d)."""
        ...

    def output(self, p: np.ndarray, op: RowFunction) -> np.ndarray:
        """What a PREDICT writes for every sample, (n, op.reps * op.outputs): the one array so long at the caller."""
        ...

    def rows(self, start: int, stop: int) -> Block:
        """Rows, responses and weights of samples ``start .. stop - 1``, few enough to come to the caller."""
        ...

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples, for callers that hold an array so long anyway."""
        ...

    def average(self, function: Elementwise | None = None) -> float:
        """Weighted mean over the responses y of ``function(y)``, or of y; summed over several outputs."""
        ...

    def mean_response(self) -> np.ndarray | float:
        """Weighted mean of the responses, one number for each output."""
        ...

    def response_variance(self) -> float:
        """Weighted variance of the responses, summed over outputs."""
        ...

    def digests(self) -> tuple[str, str | None]:
        """Digests of all responses, and of all weights where there are any: the same wherever the rows are."""
        ...

    def smallest_response(self) -> float:
        """Least response of all."""
        ...

    def weights(self) -> Weights:
        """Sums over the weights of samples."""
        ...

    def patches(self) -> Engine:
        """Engine whose samples are the patches of this one's, each with its sample's response."""
        ...

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> Engine:
        """Engine on `m` random rows, counted by the same meter; itself where there are not more."""
        ...

    def part(self, i: int, count: int) -> Engine:
        """Engine on part i of `count` consecutive parts of the rows, counted by the same meter."""
        ...

    def with_responses(self, function: Elementwise) -> Engine:
        """Engine on the same rows with responses ``function(y)``, of all outputs at once."""
        ...

    def with_targets(self, y: np.ndarray) -> Engine:
        """Engine on the same rows with responses y, (n,) or (n, n_outputs), of a caller that holds so many."""
        ...

    def with_weights(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Engine:
        """Engine on the same rows with weights ``function(y, w)``."""
        ...

    def residual(self, p: np.ndarray, op: RowFunction) -> Engine:
        """Engine on the same rows with responses ``y - f``, f the output of a PREDICT: one sweep."""
        ...

    def projected(self, v: np.ndarray) -> Engine:
        """Engine whose rows are Vx, with the same responses and weights: one sweep; its own are not counted."""
        ...

    def whitened(self, shift: np.ndarray, inverse: np.ndarray, *, copy: bool) -> Engine:
        """Engine on rows ``inverse (x - shift)``, held as a copy or made again as often as they are swept."""
        ...

    def local(self, x: np.ndarray, y: np.ndarray) -> Engine:
        """Engine on rows at the caller, that were computed from some of these; its sweeps are not counted."""
        ...
