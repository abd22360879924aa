"""What is done with the data of one member of a team, where they are, on the way to a shard.

Every step is a function of what the step before it left there; what all members must agree on (features, classes, the
largest weight) goes to the caller as a few numbers and comes back as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .._arrays import feature_names
from .._validation import check_moderate, check_vector
from ..engines import Runs, Shard, ThreadEngine
from ..losses import Loss, as_labels, encode_labels
from ..sources import ArraySource, KeptSource, Source, as_source, as_values, cast
from .base import Range
from .weights import by_class, class_counts

T = TypeVar("T")
_MOST_LABELS = 4096


@dataclass(frozen=True, eq=False)
class Held:
    """Rows, responses and weights of one member.

    Attributes
    ----------
    rows : Source or None
        None where there are none.
    y : ndarray or any
    weight : ndarray or None
    counts : tuple of int
        Samples of each of its runs.
    said : str
        What errors call them.
    titles : list of str or None
        Of the columns.
    """

    rows: Source | None
    y: Any
    weight: np.ndarray | None
    counts: tuple[int, ...]
    said: str
    titles: list[str] | None = None


class Facts(NamedTuple):
    """What the others must know.

    Attributes
    ----------
    counts : tuple of int
    d : int
    dtype : dtype
    outputs : int or None
        Columns of the responses, None of a vector.
    kind : str
        Of the responses' type: "U" for text, "n" for numbers.
    largest : float or None
        Weight; None without weights.
    said : str
    titles : list of str or None
    """

    counts: tuple[int, ...]
    d: int
    dtype: np.dtype
    outputs: int | None
    kind: str
    largest: float | None
    said: str
    titles: list[str] | None


def told(function: Callable[..., T]) -> Callable[..., T]:
    """The function, whose errors say whose rows they are about."""

    @wraps(function)
    def called(held: Held, *args: Any) -> T:
        try:
            return function(held, *args)
        except (TypeError, ValueError) as error:
            raise type(error)(f"in {held.said}: {error}") from None

    return called


def opened_here(given: tuple[Any, Any, Any], said: str) -> Held:
    """What a process was given."""
    X, y, sample_weight = given
    try:
        if np.shape(X)[:1] == (0,):
            return Held(None, None, None, (0,), said)
        rows = as_source(X)
        own_y, own_w = rows.targets()
        y, w = own_y if y is None else as_values(y), own_w if sample_weight is None else as_values(sample_weight)
    except (TypeError, ValueError) as error:
        raise type(error)(f"in {said}: {error}") from None
    return Held(rows, y, w, (rows.shape[0],), said, feature_names(X))


def _vector(y: Any) -> np.ndarray:
    """Responses as an array, a single column as a vector."""
    array = y if isinstance(y, np.ma.MaskedArray) else np.asarray(y)
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array


@told
def facts(held: Held, loss: Loss) -> Facts | None:
    """What the others must know; None of a member without rows."""
    n = sum(held.counts)
    if held.rows is None or not n:
        return None
    if held.y is None:
        raise ValueError("y is missing: give the responses, one for each row of X")
    y = _vector(held.y)
    if not y.ndim or len(y) != n:
        raise ValueError(f"y has {len(y) if y.ndim else 'no'} entries but X has {n} rows")
    largest, counting = None, y
    if held.weight is not None:
        w = check_vector(held.weight, n, "sample_weight")
        if (w < 0).any():
            at = int(np.argmax(w < 0))
            raise ValueError(f"sample_weight must not be negative, but row {at} is {w[at]:g}")
        largest, counting = float(w.max()), y[w > 0]
    text = loss.takes_labels and y.ndim == 1 and as_labels(counting, len(counting)).dtype.kind == "U"
    outputs, kind = None if y.ndim == 1 else y.shape[1], "U" if text else "n"
    return Facts(held.counts, held.rows.shape[1], held.rows.dtype, outputs, kind, largest, held.said, held.titles)


@told
def alike(held: Held, dtype: np.dtype, exponent: int | None) -> Held:
    """Rows of one data type, weights divided by a power of two, and without the samples that weigh nothing."""
    if held.rows is None or not sum(held.counts):
        return held
    rows, n = cast(held.rows, dtype), held.rows.shape[0]
    y = _vector(held.y)
    if exponent is None:
        return replace(held, rows=rows, y=y, weight=None)
    w = np.ldexp(check_vector(held.weight, n, "sample_weight"), -exponent)
    if w.all():
        return replace(held, rows=rows, y=y, weight=w)
    counts = tuple(int(np.count_nonzero(part)) for part in np.split(w, np.cumsum(held.counts)[:-1]))
    which = np.flatnonzero(w)
    return replace(held, rows=KeptSource(rows, which), y=y[which], weight=w[which], counts=counts)


@told
def labels(held: Held) -> np.ndarray | None:
    """Labels that there are; of very many some of them, the least and the largest."""
    if held.rows is None or not sum(held.counts):
        return None
    found = np.unique(as_labels(held.y, sum(held.counts)))
    return found if len(found) <= _MOST_LABELS else np.append(found[: _MOST_LABELS - 1], found[-1])


@told
def encoded(held: Held, loss: Loss, classes: np.ndarray | None, outputs: int | None) -> Held:
    """Responses as the loss takes them."""
    n = sum(held.counts)
    if held.rows is None or not n:
        return replace(held, y=np.empty((0,) if outputs is None else (0, outputs)))
    if classes is None or held.y.ndim == 2:
        y = loss.targets(held.y, n)[0]
    else:
        y = encode_labels(held.y, classes, n)
    check_moderate(y, "y")
    return replace(held, y=y)


def range_of(held: Held) -> Range:
    """Least and largest response."""
    return Range.of(held.y)


@told
def counted(held: Held) -> np.ndarray:
    """Weight of the samples of every class."""
    return class_counts(held.y, held.weight)


def largest_by_class(held: Held, each: np.ndarray) -> float:
    """Largest weight times that of a class."""
    return float(_by_class(held, each).max(initial=0.0))


def weighed_by_class(held: Held, each: np.ndarray, exponent: int) -> Held:
    """Weights times those of classes, over a power of two."""
    return replace(held, weight=np.ldexp(_by_class(held, each), -exponent))


def _by_class(held: Held, each: np.ndarray) -> np.ndarray:
    own = by_class(held.y, each)
    return own if held.weight is None else own * held.weight


def counts(held: Held) -> tuple[int, ...]:
    """Samples of every run."""
    return held.counts


def shard(held: Held, runs: Runs, d: int, dtype: np.dtype, patches: int, weighted: bool) -> Shard:
    """The shard that these data are, each run with its number among all samples."""
    if held.rows is None or not sum(held.counts):
        rows: Source = ArraySource(np.empty((0, d), dtype), held.y, np.empty(0) if weighted else None)
    else:
        rows = held.rows.changed(y=held.y, w=held.weight)
    return Shard(ThreadEngine(rows if patches == 1 else rows.grouped(patches)), runs)
