"""How sure a fit is: standard errors and a certificate, from a few passes over the data.

Both work in coordinates without flat directions: where the size of an output weight can move into its row,
it is moved there.  The dense Gauss-Newton matrix of what remains is inverted, and standard errors are carried
back by the delta method.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ._validation import check_rows
from .data import Data
from .losses import EXACT_SLACK
from .models import Network, Parameters
from .sweeps import Objective, leverages

MAX_DENSE = 5000
_SINGULAR = 1e-10
_MANY_ROWS = 50  # a parameter, from where on leverages are small
_FITTED = 1e-8  # least 1 - h: a row that determines a parameter alone has a residual of rounding, and keeps it


def on_data(X: Any, y: Any, sample_weight: Any, model: Network, n_features: int) -> Objective:
    """Objective of known output weights on rows that a user hands in.

    Parameters
    ----------
    X : array_like (n, n_features)
    y : array_like (n,)
    sample_weight : array_like (n,) or None
    model : Network
    n_features : int

    Returns
    -------
    Objective

    Raises
    ------
    TypeError, ValueError
        Wrong shapes or types, no rows, numbers that are not finite, negative weights.
    """
    x = check_rows(X)
    if x.shape[1] != n_features:
        raise ValueError(f"X must have {n_features} columns, one for each feature, got {x.shape[1]}")
    data = Data.of(x, y, sample_weight, model)
    engine = data.engine(None)
    data.check_finite(engine)
    return Objective(engine, model)


def standard_errors(objective: Objective, model: Network, parameters: Parameters) -> tuple[Parameters, int]:
    """Standard errors of canonical parameters, by the sandwich ``H^-1 S H^-1``, or the inverse Fisher information.

    ``H = sum w J'J`` (the Hessian almost everywhere at a good fit) and ``S = sum (w r / (1 - h))^2 J'J`` over rows with
    Jacobian J, residual r, weight w and leverage ``h = w J H^-1 J'`` (MacKinnon and White 1985, HC3); valid whether
    or not the noise has the same variance on every row.  With at least 50 rows a parameter the mean leverage p / n is
    at most 0.02, and the factor ``n / (n - p)`` takes the place of ``1 / (1 - h)^2``: the two differ by p / n, so
    standard errors by one in a hundred or less, and the pass for leverages is saved.  For cross entropy the inverse
    of the Fisher information, ``F^-1 sum w^2 / (sum w)^2``.

    Parameters
    ----------
    objective : Objective
        On the data; its model does not matter.
    model : Network
        The model asked for.
    parameters : Parameters
        Canonical.

    Returns
    -------
    errors : Parameters
        Standard errors in place of parameters; 0 where nothing was estimated.
    degrees : int
        Degrees of freedom that are left, n - p.

    Raises
    ------
    ValueError
        Not more rows than parameters, more than 5000 parameters, or parameters that the data (or the model,
        as with a quadratic one of rank above 1) do not determine.
    """
    if model.n_flat:
        raise ValueError(
            "a quadratic model of rank above 1 determines only M = W' diag(v) W: its weights have no standard errors"
        )
    at, theta, objective = _coordinates(objective, model, parameters)
    n, p = objective.engine.weights().counting, len(theta)
    if n <= p:
        raise ValueError(f"standard errors need more rows than parameters, got {n} rows and {p} parameters")
    theta, objective, unit = _in_units(objective, at, theta)
    root = _inverse_root(objective.gauss_newton(theta)[2])
    engine, size = objective.engine, 1.0
    weights = engine.weights()
    if not model.loss.least_squares:
        covariance = root @ root.T * (weights.squares / weights.total**2)
    else:
        left = objective.residual(theta)
        size = left.engine.average(np.abs) or 1.0
        few = n < _MANY_ROWS * p
        kept = 1.0 - leverages(objective, theta, root / np.sqrt(weights.total)) if few else np.sqrt(1.0 - p / n)
        kept = np.maximum(kept, _FITTED)
        scores = left.on(left.engine.with_weights(lambda r, w: (w * (r / size) / kept) ** 2))
        total = scores.engine.weights().total
        middle = scores.gauss_newton(theta)[2] * (total / weights.total**2) if total > 0 else np.zeros((p, p))
        covariance = root @ (root.T @ middle @ root) @ root.T
    found = _carried_back(covariance, objective.model, parameters, model)
    return _times(found, size, size * unit), n - p


def certificate(objective: Objective, model: Network, parameters: Parameters) -> dict[str, Any]:
    """What the data say about a fit at the given parameters; see :meth:`Recovery.certificate`.

    Parameters
    ----------
    objective, model, parameters
        As for :func:`standard_errors`.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        More than 5000 parameters.
    """
    _, theta, objective = _coordinates(objective, model, parameters)
    flat = model.n_flat
    n, p = objective.engine.weights().counting, len(theta) - flat
    loss, grad, hessian = objective.gauss_newton(theta)
    values, vectors = np.linalg.eigh(hessian)
    values, vectors = np.maximum(values[flat:], 0.0), vectors[:, flat:]
    smallest, largest = np.sqrt(values[[0, -1]])
    steep = values > 1e-14 * values[-1]
    decrement = float(np.sqrt(((vectors[:, steep].T @ grad) ** 2 / values[steep]).sum()))
    spread, engine = float(np.sqrt(2.0 * loss)), objective.engine
    exact = loss <= EXACT_SLACK * model.loss.exact_loss(engine.response_variance(), engine.dtype)
    away = 0.0 if exact else decrement / (objective.noise(loss) * np.sqrt(p / _size(objective)))
    return dict(
        n_parameters=int(p),
        rows_per_parameter=float(n / p),
        loss=float(loss),
        residual_std=float(spread * np.sqrt(n / (n - p))) if n > p else spread,
        smallest_singular_value=float(smallest),
        largest_singular_value=float(largest),
        condition_number=float(largest / smallest) if smallest > 0 else float("inf"),
        locally_strongly_convex=bool(values[0] > _SINGULAR * values[-1]),
        newton_decrement=decrement,
        distance_in_standard_errors=float(away),
        exact=bool(exact),
    )


def _coordinates(objective: Objective, model: Network, parameters: Parameters) -> tuple:
    """Parameters, theta and objective in coordinates without flat scales, units as in `parameters`."""
    if not isinstance(model.output_weights, str) and parameters.intercept == 0.0:
        return parameters, model.pack(parameters), _within_limit(objective.with_model(model))
    free = model.free_v and model.activation.degree is None
    at = parameters.canonical(model.activation, free) if model.free_v else parameters
    model = model.changed(
        output_weights="free" if free else np.where(at.output_weights == 0, 1.0, at.output_weights),
        fit_intercept=model.fit_intercept or at.intercept != 0.0,
    )
    return at, model.pack(at), _within_limit(objective.with_model(model))


def _within_limit(objective: Objective) -> Objective:
    if objective.n_parameters > MAX_DENSE:
        raise ValueError(
            f"there are {objective.n_parameters} parameters, but standard errors and certificates need a dense "
            f"matrix of at most {MAX_DENSE}"
        )
    return objective


def _in_units(objective: Objective, at: Parameters, theta: np.ndarray) -> tuple[np.ndarray, Objective, float]:
    """Theta and objective with responses in units of free output weights and weights up to 1, and that unit.

    So no square is lost to the units of the data.
    """
    model, engine = objective.model, objective.engine
    unit = float(np.abs(at.output_weights).max()) if model.free_v else 0.0
    if unit > 0:
        theta = model.pack(_times(at, 1.0, 1.0 / unit))
        engine = engine.with_responses(lambda y: y / unit)
    return theta, objective.on(engine.with_weights(lambda _, w: w / w.max())), unit or 1.0


def _times(p: Parameters, rows: float, rest: float) -> Parameters:
    """Rows times one number, and everything that is linear in the output times another."""
    linear = None if p.linear is None else p.linear * rest
    return Parameters(p.weights * rows, p.output_weights * rest, linear, p.intercept * rest)


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    """R with ``R R'`` the inverse of a positive definite matrix, whatever the units of its rows.

    Raises
    ------
    ValueError
        It is singular.
    """
    scale = np.sqrt(matrix.diagonal())
    if scale.all():
        values, vectors = np.linalg.eigh(matrix / scale / scale[:, None])
        if values[0] > max(1e-14, len(values) * np.finfo(float).eps) * values[-1]:
            return np.asarray(vectors / np.sqrt(values) / scale[:, None])
    raise ValueError(
        "the data do not determine all parameters (the Jacobian is singular): take more rows, or fewer hidden units"
    )


def _size(objective: Objective) -> float:
    """Rows of equal weight that would give the same variance (Kish)."""
    w = objective.engine.weights()
    return w.total**2 / w.squares


def _carried_back(covariance: np.ndarray, inner: Network, parameters: Parameters, model: Network) -> Parameters:
    k, d = parameters.weights.shape
    errors = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    found = inner.unpack(errors, d)
    if not inner.free_v:
        found = replace(found, output_weights=np.zeros(k))
    degree = model.activation.degree
    if not (model.free_v and degree is not None):
        return found
    # w = u / |u| and v = +-|u|^p of the row u that was fitted.
    weights, output_weights = np.empty((k, d)), np.empty(k)
    for j, direction in enumerate(parameters.weights):
        block = covariance[j * d : (j + 1) * d, j * d : (j + 1) * d]
        size, along = np.abs(parameters.output_weights[j]) ** (1.0 / degree), block @ direction
        variance = direction @ along
        across = block.diagonal() - 2.0 * direction * along + direction**2 * variance
        weights[j] = np.sqrt(np.maximum(across, 0.0)) / size
        output_weights[j] = degree * size ** (degree - 1) * np.sqrt(max(variance, 0.0))
    return replace(found, weights=weights, output_weights=output_weights)
