"""Data that a team holds between them: agreed upon by a few numbers of every member, never brought together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from ..engines import (
    Agreement,
    Engine,
    Gathered,
    Meter,
    ShardedEngine,
    Team,
    at_edges,
    contiguous,
    of_source,
    resolve_jobs,
)
from ..losses import Loss
from ..models import Network
from . import held, looks
from .base import Given, Range
from .weights import weight_of_each


@dataclass(frozen=True, eq=False)
class Spread(Given):
    """Rows, responses and weights at the members of a team.

    Attributes
    ----------
    sharded : ShardedEngine
        On them, patches cut.
    responses : Range
    """

    sharded: ShardedEngine
    model: Network
    classes: np.ndarray | None
    weight_unit: float
    responses: Range

    @property
    def range(self) -> Range:
        """Of the responses."""
        return self.responses

    @property
    def shape(self) -> tuple[int, int]:
        """Samples that count, and features before patches are cut."""
        n, d = self.sharded.shape
        return n, d * self.model.n_patches

    def engine(self, n_jobs: int | None, meter: Meter | None = None) -> Engine:
        """The engine that sweeps them, counted by a meter that others share if given."""
        meter = meter or Meter(self.n_rows)
        if n_jobs is None:
            return replace(self.sharded, meter=meter)
        resolve_jobs(n_jobs)
        return self.sharded.with_jobs(n_jobs, meter)

    @property
    def agreement(self) -> Agreement | None:
        """What ends a fit, where several processes must agree on that."""
        return self.sharded.team.agreement

    @property
    def is_first(self) -> bool:
        """Whether this process is the first, or the only one."""
        return getattr(self.sharded.team, "index", 0) == 0

    def same(self, value: Any) -> Any:
        """A value of this process, or of the first of several, so that all have the same."""
        return value if self.agreement is None else self.sharded.team.each(_constant, value)[0]

    def some(self, samples: np.ndarray) -> Spread:
        """The same of some samples, by their numbers in rising order."""
        return replace(self, sharded=self.sharded.some(samples))

    def mean_response(self) -> float:
        """Weighted mean of responses of one column."""
        return self.sharded.average()

    def few(self, m: int) -> np.ndarray:
        """At least `m` rows, patches not cut, or all that there are."""
        return self.sharded.peek(m).reshape(-1, self.shape[1])

    def _all(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        return [found for each in self.sharded.team.each(of_source, function, *args) for found in each]

    def still(self, row: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Those of some columns that have the entry of `row` in every row."""
        for found in self._all(looks.still_columns, row, columns):
            columns = np.intersect1d(columns, found)
        return columns

    def largest(self) -> np.ndarray:
        """Largest absolute entry of every column."""
        return np.max(self._all(looks.largest_entries), axis=0)

    def check_entries(self) -> None:
        """Raise ValueError naming an entry of the rows that is not finite or too large, by a look at all."""
        self._all(looks.check_all)

    def check_responses(self) -> None:
        """They were checked where they are."""


def _constant(part: Any, value: Any) -> Any:
    return value


def of_processes(
    gather: Callable[[Any], Sequence[Any]], X: Any, y: Any, sample_weight: Any, model: Network, class_weight: Any
) -> Spread:
    """Data of processes that run the same program, each on rows of its own.

    Parameters
    ----------
    gather : callable
        ``gather(value)`` returns the list of the values of all processes, in the same order everywhere.
    X, y, sample_weight : any
        Those of this process, as for :class:`Data`.
    model : Network
    class_weight : any

    Returns
    -------
    Spread
    """
    team = Gathered(gather, (X, y, sample_weight))
    said = [(f"the rows of process {i} of {team.count}",) for i in range(team.count)]
    return spread(team.made_of(held.opened_here, said), [[i] for i in range(team.count)], model, class_weight)


def spread(team: Team, places: Sequence[Sequence[int]], model: Network, class_weight: Any) -> Spread:
    """Data of a team whose parts are :class:`Held`.

    Parameters
    ----------
    team : Team
    places : sequence
        Of the runs of every member, among those of all.
    model : Network
    class_weight : "balanced", dict or None

    Returns
    -------
    Spread

    Raises
    ------
    TypeError, ValueError
        Rows or responses that are wrong, or do not fit to those of other members.
    """
    loss = model.loss
    known = [each for each in team.each(held.facts, loss) if each is not None]
    if not known:
        raise ValueError("X has no rows")
    first = known[0]
    for name, of in (("features", 1), ("columns of y", 3), ("kinds of y (text, numbers)", 4)):
        for other in known:
            if other[of] != first[of]:
                raise ValueError(
                    f"X and y must be alike everywhere, but {first.said} have {first[of]} {name}, and {other.said} "
                    f"{other[of]}"
                )
    for other in known:
        if None not in (other.titles, first.titles) and other.titles != first.titles:
            raise ValueError(
                f"X must have the same columns everywhere, but {first.said} have {first.titles}, and {other.said} "
                f"{other.titles}"
            )
    d, dtype = first.d, np.result_type(*(each.dtype for each in known))
    model.filter_length(d)
    largest = [each.largest for each in known]
    if any(each is None for each in largest) and not all(each is None for each in largest):
        raise ValueError("sample_weight must be given for all rows, or for none")
    weights = [each for each in largest if each is not None]
    if weights and not max(weights):
        raise ValueError("sample_weight must not be zero everywhere: no row would count")
    exponent = int(np.frexp(max(weights))[1]) if weights else None
    team = team.made(held.alike, dtype, exponent)
    unit = 1.0 if exponent is None else float(np.ldexp(1.0, exponent))
    classes = _classes(team, loss) if loss.takes_labels and first.outputs is None else None
    if loss.takes_labels and first.outputs is not None:
        classes = np.arange(first.outputs)
    outputs = first.outputs if classes is None or len(classes) == 2 else len(classes)
    team = team.made(held.encoded, loss, classes, outputs)
    ranges = team.each(held.range_of)
    whole = ranges[0]
    for each in ranges[1:]:
        whole = whole.with_(each)
    if class_weight is not None:
        if classes is None:
            raise ValueError("class_weight is for classifications: leave it out, or give sample_weight")
        each = weight_of_each(np.sum(team.each(held.counted), axis=0), classes, class_weight)
        scale = int(np.frexp(max(team.each(held.largest_by_class, each)))[1])
        team, unit = team.made(held.weighed_by_class, each, scale), unit * float(np.ldexp(1.0, scale))
    model = model.for_targets(np.empty((0,) if outputs is None else (0, outputs)))
    shape = (d, dtype, model.n_patches, bool(weights) or class_weight is not None)
    return Spread(_engine(team, places, shape, outputs is not None), model, classes, unit, whole)


def _classes(team: Team, loss: Loss) -> np.ndarray | None:
    """Classes of the labels of all members."""
    found = [each for each in team.each(held.labels) if each is not None]
    some = np.concatenate(found)
    # Twice, since a class needs two rows on average.
    return loss.targets(np.tile(some, 2), 2 * len(some))[1]


def _engine(team: Team, places: Sequence[Sequence[int]], shape: Any, several: bool) -> ShardedEngine:
    """The engine on data that all members agree on."""
    counts = team.each(held.counts)
    sizes = {
        place: count for own, each in zip(places, counts, strict=True) for place, count in zip(own, each, strict=True)
    }
    ends = dict(zip(sorted(sizes), accumulate(sizes[place] for place in sorted(sizes)), strict=True))
    runs = tuple(contiguous([(ends[place] - sizes[place], sizes[place]) for place in own]) for own in places)
    team, new = at_edges(team.made_of(held.shard, [(own, *shape) for own in runs]), runs)
    d, dtype, patches, _ = shape
    return ShardedEngine(team, new, d // patches, dtype, Meter(sum(sizes.values())), patches, several)
