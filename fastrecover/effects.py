"""What a recovery says of features and units, as numbers that can be drawn: how responses depend on one of them.

Rows that a user hands in are thinned out first, since a picture shows no more of millions than of some thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import as_array, as_numbers, check_feature_names
from .losses import encode_labels
from .models import HasParameters

_ROWS = 20_000  # at most that are looked at
_POINTS_DRAWN, _AVERAGED = 1000, 500  # of these
_POINTS = 41  # of a curve
_BINS = 15
_STEP = 1e-5


class Fitted(HasParameters, Protocol):
    """What is asked: a Recovery."""

    classes: np.ndarray | None
    feature_names: list[str] | None

    def decision_function(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class Rows:
    """Rows, and responses where there are any, as a picture shows them.

    Attributes
    ----------
    x : ndarray (n, n_features)
    targets : ndarray (n, n_outputs) or None
    """

    x: np.ndarray
    targets: np.ndarray | None

    @classmethod
    def of(cls, recovery: Fitted, X: ArrayLike | None, y: ArrayLike | None) -> Rows | None:
        """Some of the rows that a user hands in, at even distances; None where there are none.

        Raises
        ------
        TypeError, ValueError
            Responses without rows, rows of another shape, titles or type, fewer than two, or numbers that are not
            finite.
        """
        if X is None:
            if y is not None:
                raise TypeError("y needs X beside it")
            return None
        check_feature_names(X, recovery.feature_names)
        x, d = as_numbers(X, "X"), recovery.parameters.weights.shape[1] * recovery.model.n_patches
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(f"X must have shape (n, {d}), one column for each feature, got {x.shape}")
        if len(x) < 2:
            raise ValueError(f"X must have two rows or more to show what depends on them, got {len(x)}")
        few = _thinned(np.arange(len(x)), _ROWS)
        rows = np.asarray(x[few], np.float64)
        if not np.isfinite(rows).all():
            raise ValueError("X must be finite: drop or fill such rows")
        return cls(rows, None if y is None else _targets(recovery, y, len(x))[few])


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of some rows, at even distances."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(int))]


def _targets(recovery: Fitted, y: ArrayLike, n: int) -> np.ndarray:
    model, classes = recovery.model, recovery.classes
    if classes is None:
        targets = model.loss.targets(as_array(y, "y"), n)[0]
    else:
        targets = encode_labels(y, classes, n)
    targets = targets.reshape(n, -1)
    if targets.shape[1] != model.n_outputs:
        raise ValueError(f"y must have {model.n_outputs} columns, one for each output, got {targets.shape[1]}")
    return targets


def outputs_told(recovery: Fitted) -> list[str]:
    """What each column of :func:`mean_of` is called."""
    classes, m = recovery.classes, recovery.model.n_outputs
    if classes is not None:
        return [f"probability of {label}" for label in (classes if m > 1 else classes[1:])]
    what = "response" if recovery.model.loss.in_response_units else "rate"
    return [f"{what} {o}" for o in range(m)] if m > 1 else [what]


def mean_of(recovery: Fitted, x: np.ndarray) -> np.ndarray:
    """Expected responses (n, n_outputs)."""
    return recovery.model.loss.mean(recovery.decision_function(x)).reshape(len(x), -1)


def partial_dependence(recovery: Fitted, x: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean prediction where one feature is set to a value on all rows (Friedman 2001).

    Parameters
    ----------
    recovery : Recovery
    x : ndarray (n, n_features)
    feature : int

    Returns
    -------
    values : ndarray (m,)
        Of the feature, over the middle 98 % of what it is on the rows.
    means : ndarray (m, n_outputs)
    """
    low, high = np.quantile(x[:, feature], (0.01, 0.99))
    values = np.linspace(low, high, _POINTS)
    few, means = _thinned(x, _AVERAGED).copy(), []
    for value in values:
        few[:, feature] = value
        means.append(mean_of(recovery, few).mean(axis=0))
    return values, np.array(means)


def leading_features(recovery: Fitted, x: np.ndarray, count: int) -> list[int]:
    """Features on which outputs depend most: by the mean square of the derivative, in units of their spread.

    Parameters
    ----------
    recovery : Recovery
    x : ndarray (n, n_features)
    count : int

    Returns
    -------
    list of int
        By falling size.
    """
    x = _thinned(x, _AVERAGED)
    p, patches = recovery.parameters, recovery.model.n_patches
    z = x.reshape(len(x), patches, -1) @ p.weights.T + (0.0 if p.biases is None else p.biases)
    slopes = recovery.model.activation.derivative(z)  # (n, patches, k)
    size = np.zeros(x.shape[1])
    for o, v in enumerate(p.columns):
        gradient = ((slopes * v) @ p.weights).reshape(len(x), -1)
        gradient = gradient if p.linear is None else gradient + np.atleast_2d(p.linear)[o]
        size += np.square(gradient).mean(axis=0)
    return [int(j) for j in np.argsort(-np.sqrt(size) * x.std(axis=0), kind="stable")[:count]]


@dataclass(frozen=True)
class Ridge:
    """What one unit adds to an output, as a function of its projection, and what the rows say of it.

    Attributes
    ----------
    z, curve : ndarray (m,)
        Projections ``w . x`` and ``v phi(w . x + a)``.
    seen : ndarray (n,)
        Projections of some of the rows.
    output : int
        The output that the unit adds most to.
    points : ndarray (n,) or None
        ``v phi`` and the residual of each of these, where responses are in the unit of outputs.
    bins : ndarray (3, b) or None
        Projections, means and standard errors of such points of rows in a row.
    """

    z: np.ndarray
    curve: np.ndarray
    seen: np.ndarray
    output: int
    points: np.ndarray | None
    bins: np.ndarray | None


def ridge(recovery: Fitted, rows: Rows, unit: int) -> Ridge:
    """The ridge function of a unit with the partial residuals of rows (Friedman and Stuetzle 1981).

    For labels and counts the residual is one step of iterative weighting, ``(y - mean) / mean'``, taken over rows of
    a bin together, as of a single label it is nothing that can be drawn.

    Parameters
    ----------
    recovery : Recovery
    rows : Rows
    unit : int
        Of the one filter on patches 0, which then has no residuals of its own.

    Returns
    -------
    Ridge
    """
    p, model = recovery.parameters, recovery.model
    seen = (rows.x.reshape(-1, p.weights.shape[1]) @ p.weights[unit]).astype(np.float64)
    output = int(np.abs(p.columns[:, unit]).argmax())
    v, bias = float(p.columns[output, unit]), 0.0 if p.biases is None else float(p.biases[unit])
    z = np.linspace(seen.min(), seen.max(), 4 * _POINTS)
    curve = v * model.activation.value(z + bias)
    few = _thinned(np.arange(len(seen)), _POINTS_DRAWN)
    if rows.targets is None or model.n_patches > 1:
        return Ridge(z, curve, seen[few], output, None, None)
    f = recovery.decision_function(rows.x)
    own = v * model.activation.value(seen + bias)
    away, slope = (part.reshape(len(f), -1)[:, output] for part in _steps(model.loss, f, rows.targets))
    points = (own + away)[few] if model.loss.in_response_units else None
    bins: list[Any] = []
    for part in np.array_split(np.argsort(seen, kind="stable"), min(_BINS, max(1, len(seen) // 5))):
        total = slope[part].sum()
        if total > 0:
            error = float(np.sqrt(np.square(away[part] - away[part].mean()).sum())) / total
            bins.append((seen[part].mean(), own[part].mean() + away[part].sum() / total, error))
    return Ridge(z, curve, seen[few], output, points, np.array(bins).T if bins else None)


def _steps(loss: Any, f: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What responses differ from their means by, and the derivatives of these by their outputs."""
    left = targets.reshape(f.shape) - loss.mean(f)
    if f.ndim == 1:
        return left, (loss.mean(f + _STEP) - loss.mean(f - _STEP)) / (2.0 * _STEP)
    slopes = np.empty(f.shape)
    for o, step in enumerate(_STEP * np.eye(f.shape[1])):
        slopes[:, o] = ((loss.mean(f + step) - loss.mean(f - step)) / (2.0 * _STEP))[:, o]
    return left, slopes
