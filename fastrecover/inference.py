"""How sure a fit is: standard errors and a certificate, from a few passes over the data.

Both work in coordinates without flat directions: where the size of an output weight can move into its row,
it is moved there.  The dense Gauss-Newton matrix of what remains is inverted, and standard errors are carried
back by the delta method.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .data import Data
from .losses import EXACT_SLACK, SQUARED, Huber
from .models import Network, Parameters
from .sources import as_source
from .sweeps import Objective, leverages, local_rows, penalty_on, score_products

MAX_DENSE = 5000
_SINGULAR = 1e-10
_LOOKED_AT, _FLAT = 4000, 1e-6  # rows whose units are looked at, and the slope, or its range, that is none
_MANY_ROWS = 50  # a parameter, from where on leverages are small
_FITTED = 1e-8  # least 1 - h: a row that determines a parameter alone has a residual of rounding, and keeps it


def on_data(
    X: Any,
    y: Any,
    sample_weight: Any,
    model: Network,
    n_features: int,
    alpha: float = 0.0,
    standardise: bool = False,
) -> Objective:
    """Objective of known output weights on rows that a user hands in.

    Parameters
    ----------
    X : array_like (n, n_features), path or Source
    y : array_like (n,)
    sample_weight : array_like (n,) or None
    model : Network
    n_features : int
    alpha : float
        Penalty, as that of a fit.
    standardise : bool
        Whether it is one on standard units.

    Returns
    -------
    Objective

    Raises
    ------
    TypeError, ValueError
        Wrong shapes or types, no rows, numbers that are not finite, negative weights.
    """
    x = as_source(X)
    if x.shape[1] != n_features:
        raise ValueError(f"X must have {n_features} columns, one for each feature, got {x.shape[1]}")
    data = Data.of(x, y, sample_weight, model)
    engine = data.engine(None)
    data.check_finite(engine)
    penalty = penalty_on(engine, data.model, data.in_units(alpha), standardise)
    return Objective(engine, data.model.changed(penalty=penalty))


def standard_errors(objective: Objective, model: Network, parameters: Parameters) -> tuple[Parameters, int]:
    """Standard errors of canonical parameters, by the sandwich ``H^-1 S H^-1``, or the inverse Fisher information.

    ``H = sum w J'J`` (the Hessian almost everywhere at a good fit) and ``S = sum (w r / (1 - h))^2 J'J`` over rows with
    Jacobian J, residual r, weight w and leverage ``h = w J H^-1 J'`` (MacKinnon and White 1985, HC3); valid whether
    or not the noise has the same variance on every row.  With at least 50 rows a parameter the mean leverage p / n is
    at most 0.02, and the factor ``n / (n - p)`` takes the place of ``1 / (1 - h)^2``: the two differ by p / n, so
    standard errors by one in a hundred or less, and the pass for leverages is saved.  So it does for the Huber loss,
    with ``l'`` for r and the rows below delta in H (Huber 1967), for counts, and for several outputs.  For labels the
    inverse of the Fisher information, ``F^-1 sum w^2 / (sum w)^2``.  Under a penalty H has its second derivatives.

    Lengths that the outputs do not determine are held while H is inverted, and the errors are carried to canonical
    parameters by the delta method.

    Parameters
    ----------
    objective : Objective
        On the data; its model does not matter, but for its penalty.
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
    penalty = objective.model.penalty
    at, model = parameters, _estimated(model, parameters).changed(penalty=penalty)
    theta, objective = model.pack(at), _within_limit(objective.with_model(model))
    gauge = model.gauge(at)
    n, p = objective.engine.weights().counting, len(theta) - len(gauge)
    if n <= p:
        raise ValueError(f"standard errors need more rows than parameters, got {n} rows and {p} parameters")
    if penalty is None:
        theta, objective, unit = _in_units(objective, at, theta)
        gauge = model.gauge(model.unpack(theta, at.weights.shape[1]))
    else:
        unit = 1.0
    covariance, size = _covariance(objective, theta, gauge, n, p)
    canonical = objective.model.canonical_jacobian(model.unpack(theta, at.weights.shape[1]))
    covariance = canonical @ covariance @ canonical.T
    found = objective.model.unpack(np.sqrt(np.maximum(covariance.diagonal(), 0.0)), at.weights.shape[1])
    if not model.free_v:
        found = replace(found, output_weights=np.zeros(found.output_weights.shape))
    return _times(found, size, size * unit), n - p


def _estimated(model: Network, at: Parameters) -> Network:
    """The model with what its parameters say of it: definite output weights, and an intercept where there is one."""
    known = not isinstance(model.output_weights, str)
    v = at.output_weights
    return model.changed(
        output_weights="free" if model.free_v else model.output_weights if known else np.where(v == 0, 1.0, v),
        fit_intercept=model.fit_intercept or bool(np.any(at.intercept)),
    )


def _covariance(objective: Objective, theta: np.ndarray, gauge: np.ndarray, n: int, p: int) -> tuple[np.ndarray, float]:
    """Covariance of theta but for what `gauge` leaves open, in units of the square of a size, and that size."""
    model, engine, size = objective.model, objective.engine, 1.0
    loss, weights = model.loss, engine.weights()
    squares = model.changed(loss=SQUARED)
    if loss.in_response_units and model.n_outputs == 1:
        left = Objective(engine, squares).residual(theta)
        size = left.engine.average(np.abs) or 1.0
        delta = loss.delta if isinstance(loss, Huber) else np.inf
        matrix = _matrix(objective, theta)
        if delta < np.inf:  # rows beyond it pull with a constant force, which has no derivative
            near = Objective(left.engine.with_weights(lambda r, w: w * (np.abs(r) <= delta)), squares)
            share = near.engine.weights().total / weights.total
            matrix = share * (_matrix(near, theta) - near.penalty_matrix) + near.penalty_matrix
        root = _inverse_root(matrix, gauge)
        few = n < _MANY_ROWS * p
        kept = 1.0 - leverages(objective, theta, root / np.sqrt(weights.total)) if few else np.sqrt(1.0 - p / n)
        kept = np.maximum(kept, _FITTED)
        scored = left.engine.with_weights(lambda r, w: (w * (np.clip(r, -delta, delta) / size) / kept) ** 2)
        scores = Objective(scored, squares.changed(penalty=None))
        total = scored.weights().total
        middle = (
            scores.gauss_newton(theta)[2] * (total / weights.total**2) if total > 0 else np.zeros((len(theta),) * 2)
        )
    else:
        root = _inverse_root(_matrix(objective, theta), gauge)
        if loss.takes_labels:
            plain = objective.with_model(model.changed(penalty=None))
            middle = plain.gauss_newton(theta)[2] * (weights.squares / weights.total**2)
        else:
            middle = score_products(objective, theta) * (n / (n - p) / weights.total**2)
    return root @ (root.T @ middle @ root) @ root.T, size


def _matrix(objective: Objective, theta: np.ndarray) -> np.ndarray:
    return objective.gauss_newton(theta)[2]


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
    theta, objective, flat = _coordinates(objective, model, parameters)
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
        **_flat_units(objective, parameters),
    )


def _flat_units(objective: Objective, at: Parameters) -> dict[str, list[int]]:
    """Units that some rows show no bend of: constant or zero (off), or linear on all of them."""
    act = objective.model.activation
    few = objective.engine.sample(_LOOKED_AT, np.random.SeedSequence(0))
    slopes = np.abs(act.derivative(local_rows(few.projected(at.rows))[0]))
    steepest, largest = float(np.abs(act.derivative(np.linspace(-4.0, 4.0, 81))).max()), slopes.max(axis=0)
    off = largest <= _FLAT * steepest
    linear = ~off & (np.ptp(slopes, axis=0) <= _FLAT * largest)
    return {"units_off": np.flatnonzero(off).tolist(), "units_linear": np.flatnonzero(linear).tolist()}


def _coordinates(objective: Objective, model: Network, parameters: Parameters) -> tuple[np.ndarray, Objective, int]:
    """Theta and objective in coordinates without flat scales where there are such, and how many flat ones are left."""
    model = _estimated(model, parameters).changed(penalty=objective.model.penalty)
    if model.absorbs:
        parameters = parameters.canonical(model.activation, False)
        model = model.with_resolved_signs(parameters.output_weights)
    objective = _within_limit(objective.with_model(model))
    return model.pack(parameters), objective, model.n_flat + len(model.gauge(parameters))


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
    unit = float(np.abs(at.output_weights).max()) if model.free_v and model.loss.in_response_units else 0.0
    if unit > 0:
        theta = model.pack(_times(at, 1.0, 1.0 / unit))
        engine = engine.with_responses(lambda y: y / unit)
        objective = objective.with_model(model.changed(loss=model.loss.in_units(unit)))
    return theta, objective.on(engine.with_weights(lambda _, w: w / w.max())), unit or 1.0


def _times(p: Parameters, rows: float, rest: float) -> Parameters:
    """Rows times one number, and everything that is linear in the output times another."""
    linear = None if p.linear is None else p.linear * rest
    found = replace(p, output_weights=p.output_weights * rest, linear=linear, intercept=p.intercept * rest)
    return found.with_rows(p.rows * rows)


def _inverse_root(matrix: np.ndarray, gauge: np.ndarray) -> np.ndarray:
    """R with ``R R'`` the inverse of a positive definite matrix, whatever the units of its rows.

    It is singular along the directions `gauge`, orthonormal rows, which are held.

    Raises
    ------
    ValueError
        It is singular.
    """
    scale = np.sqrt(matrix.diagonal())
    matrix = matrix + gauge.T @ gauge * float(np.mean(matrix.diagonal()))
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
