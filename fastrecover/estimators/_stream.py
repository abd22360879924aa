"""``partial_fit``: the first rows are kept and fitted together, later ones leave their sums and are forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import Data
from ..increments import Increments
from ._base import of_network
from ._rows import merged

_KEPT = 1 << 20  # numbers of X up to which rows are kept
_PASSES = 20.0  # over kept rows, once a first fit is there


@dataclass(eq=False)
class Stream:
    """Rows so far: themselves, or what is left of them.

    Attributes
    ----------
    rows : tuple of ndarray, or None
        Rows, responses and weights.
    sums : Increments or None
    begun : int
        Rows of the last fit that began anew.
    """

    rows: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    sums: Increments | None = None
    begun: int = 0


def go_on(
    estimator: Any, X: np.ndarray, targets: np.ndarray, weight: np.ndarray | None, class_weight: Any = None
) -> None:
    """Take in another batch.

    Parameters
    ----------
    estimator : OneHiddenLayer
    X : ndarray (n, d)
    targets : ndarray (n,) or (n, n_outputs)
    weight : ndarray (n,) or None
    class_weight : dict or None
        By numbers of classes.
    """
    stream: Stream | None = getattr(estimator, "_stream", None)
    if stream is None:
        stream = Stream(None)
        fitted = getattr(estimator, "recovery_", None)
        if fitted is not None and fitted.left is not None and fitted.objective is not None:
            stream.sums = Increments.of(fitted.left, fitted.objective.engine)  # of an earlier fit
    w = np.ones(len(X)) if weight is None else weight
    if stream.sums is None:
        new = (X, targets, w)
        if stream.rows is not None:
            before, last, own = stream.rows
            new = np.concatenate([before, X]), np.concatenate([last, targets]), np.concatenate([own, w])
        stream.rows = new
        _fit_kept(estimator, stream, *new, class_weight)
        found = estimator.recovery_
        if new[0].size > _KEPT and found.left is not None:
            stream.rows, stream.sums = None, Increments.of(found.left, found.objective.engine)
    else:
        _add(estimator, stream, X, targets, w, class_weight)
    estimator._stream = stream


def _fit_kept(
    estimator: Any, stream: Stream, X: np.ndarray, targets: np.ndarray, weight: np.ndarray, class_weight: Any
) -> None:
    """Fit all rows so far: some passes further and, where they have doubled, from anew; the lower loss is kept."""
    rows = merged(X, targets, weight)
    further = None
    if hasattr(estimator, "recovery_"):
        estimator._fitted(*rows, class_weight, further=_PASSES)
        if len(X) < 2 * stream.begun:
            return
        further = {name: value for name, value in vars(estimator).items() if name in estimator._FITTED}
    stream.begun = len(X)
    estimator._fitted(*rows, class_weight)
    if further is not None and not further["recovery_"].loss >= estimator.recovery_.loss:
        vars(estimator).update(further)


def _add(
    estimator: Any, stream: Stream, X: np.ndarray, targets: np.ndarray, weight: np.ndarray, class_weight: Any
) -> None:
    """Add the sums of a batch."""
    assert stream.sums is not None
    columns, before = estimator._columns, estimator.recovery_
    if not weight.any():
        return
    data = Data.of(X[:, columns], targets, weight, before.model, class_weight)
    stream.sums = stream.sums.added(data.engine(estimator.n_jobs), data.weight_unit)
    d = before.model.filter_length(int(columns.sum()))
    found = of_network(before.model, stream.sums.parameters(d), len(X))
    found.loss = stream.sums.loss
    found.history = {**found.history, "loss": np.array([found.loss])}
    for name, value in estimator._attributes(found, columns).items():
        setattr(estimator, name, value)
