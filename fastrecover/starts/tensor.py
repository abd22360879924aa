"""Start from Gaussian moments, by regression where the papers average.

A subspace of k directions comes from second-order moments (third-order for odd activations), the components
inside it from a k x k x k or k^4 tensor, their lengths and signs from a small regression or from the scalar
moment functions.  Each moment is estimated on labels from which everything of lower order has been fitted away,
and inside the subspace all Hermite coefficients are fitted together; averages of the raw labels need one to two
orders of magnitude more samples for the same error.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..models import Network, Parameters
from ..sweeps import MomentSweeps
from ..tensors import decompose, hermite_to_tensor
from .affine import WIDE, affine_fit
from .base import StartError, network, ridge_lengths
from .quadratic_fit import QUADRATIC, leading_directions, quadratic_fit, quadratic_network
from .ridge import ridge_start

#: Ridge of the Hermite regression, whose Gram matrix is the identity in expectation.
RIDGE = 0.2
_MOST_FEATURES = 1500
_ROUNDS, _QUICK = 12, 3
_GRAM_WORK, _LEAST_ROWS_PER_FEATURE = 1 << 33, 8  # multiply-adds of a regression on all features
_ROWS_OF_WIDE = 10_000  # where a pass costs more than the regression
_ROWS_TO_BEGIN = 100  # for each weight: enough for iterations that are then repeated on all rows
_DUAL_ROWS = 4000
_DUAL_GAIN = 8  # an average needs about as many times the rows of a regression
#: Saturating units longer than this look alike to a noisy moment.
MAX_LENGTH = 6.0
_STILL = 1e-3  # one minus the cosine by which the subspace moves; sampling moves it by ten times as much
_UNEVEN = 2.0  # what is left of y varies most where the features are large, and their coefficients with it
_NEAR = 1e-2  # last move of the components; the tensor's own error moves them by far more
_SCALES = np.geomspace(0.05, MAX_LENGTH, 200)


def check_resolvable(model: Network, n_features: int) -> None:
    """Raise StartError where moments cannot determine the weights.

    Parameters
    ----------
    model : Network
    n_features : int
    """
    act, k, d = model.activation, model.n_hidden, n_features
    if k > d:
        raise StartError(
            f"n_hidden={k} exceeds the number of features {d}: moments resolve at most as many units as features; "
            "use init='random'"
        )
    if model.n_patches > 1 and model.hidden_bias:
        raise StartError("the filter start has no bias: use init='random'")
    if act.is_quadratic or model.n_patches > 1 or model.hidden_bias:
        return
    if act.subspace_order is None or act.tensor_order is None:
        raise StartError(
            f"activation {act.name!r} has no Gaussian moment of order 3 or 4, so its units cannot be told apart by "
            "moments; use init='random'"
        )


def tensor_start(engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """Parameters from moments of the rows of an engine (Zhong et al. 2017, with regression for averaging).

    Parameters
    ----------
    engine : Engine
        Usually on a sub-sample: ten to twenty rows for each parameter are enough.
    model : Network
    seed : SeedSequence

    Returns
    -------
    Parameters
        With definite output weights.

    Raises
    ------
    StartError
        Too many units, an activation without the moments, or moments that are zero to rounding.
    """
    n, d = engine.shape
    check_resolvable(model, d)
    if model.n_patches == 1 and (model.hidden_bias or model.n_outputs > 1):
        return ridge_start(engine, model, seed)
    if model.known_v is not None and np.ptp(model.known_v) > 0:
        found = tensor_start(engine, model.with_output_weights("free"), seed)
        return assigned(found, model)
    rng = np.random.default_rng(seed)
    act, k = model.activation, model.n_hidden
    cubic = act.subspace_order != 2 and model.n_patches == 1
    few = engine.sample(_ROWS_TO_BEGIN * k * d, seed) if cubic else engine
    affine = affine_fit(few, rough=True)
    if model.n_patches > 1:
        return filter_start(engine, model, affine, rng)
    if act.subspace_order == 2:
        fit = quadratic_fit(engine, affine, k, rng)
        if act.is_quadratic:
            return quadratic_network(fit, model)
        basis, fitted = fit.basis, fit.parameters()
    else:
        basis = cubic_subspace(engine, affine, k, rng, few=few)
        fitted = replace(affine, weights=np.zeros((1, d)), output_weights=np.zeros(1))
    degree = int(act.tensor_order or 4)
    engine = _few_for_regression(engine, math.comb(k + degree, degree), rng)
    coefficients, spread = hermite_tensor(engine, fitted, basis, degree, rng)
    coefficients[1] = coefficients[1] + basis @ fitted.slope
    if act.subspace_order == 2:
        coefficients[2] = coefficients[2] + np.diag(2.0 * fit.eigenvalues)
    directions, leading = components(coefficients, spread, act, rng)
    rows = directions @ basis
    if act.degree is not None:
        return ridge_lengths(engine, model, network(model, rows, np.ones(len(rows))))
    return lengths_from_moments(model, rows, directions, coefficients, leading, float(affine.intercept))


def _few_for_regression(engine: Engine, features: int, rng: np.random.Generator) -> Engine:
    """As many rows as a regression on so many features can afford; all of them for averages."""
    affordable = _ROWS_OF_WIDE if engine.shape[1] > WIDE else _GRAM_WORK // features**2
    rows = max(_LEAST_ROWS_PER_FEATURE * features, affordable)
    if features > _MOST_FEATURES or rows >= engine.shape[0]:
        return engine
    return engine.sample(rows, np.random.SeedSequence(int(rng.integers(1 << 63))))


def assigned(found: Parameters, model: Network) -> Parameters:
    """Units found with free output weights, in the places of known ones that they fit best."""
    from scipy.optimize import linear_sum_assignment

    act, v = model.activation, np.asarray(model.known_v)
    a = found.output_weights
    if act.parity == "odd":
        cost = (np.abs(a)[None] - np.abs(v)[:, None]) ** 2
    elif act.degree is None:
        cost = (a[None] - v[:, None]) ** 2
    else:
        size = np.linalg.norm(found.weights, axis=1) ** act.degree
        cost = np.where(np.sign(a)[None] == np.sign(v)[:, None], 0.0, size[None])
    found = found.reordered(linear_sum_assignment(cost)[1])
    weights, flip = found.weights, np.sign(found.output_weights) != np.sign(v)
    if act.parity == "odd":
        weights = np.where(flip[:, None], -weights, weights)
    if act.degree is not None:
        weights = weights / (np.abs(v) ** (1.0 / (act.degree or 1)))[:, None]
    return replace(found, weights=weights, output_weights=v)


def filter_start(engine: Engine, model: Network, affine: Parameters, rng: np.random.Generator) -> Parameters:
    """Filter of a convolutional network: every patch has first moment ``v m_1(|w|) w / |w|``.

    Where phi is even the first moment is zero and the leading eigenvector of the second moment takes its place.
    """
    act, v = model.activation, float(np.asarray(model.known_v)[0])
    if act.parity == "even":
        fit = quadratic_fit(engine, affine, 1, rng)
        direction, order, found = fit.basis[0], 2, 2.0 * float(fit.eigenvalues[0]) / v
    else:
        size = float(np.linalg.norm(affine.slope))
        direction, order, found = affine.slope / max(size, 1e-300), 1, size / v
    scale = float(act.scale_from_moment(order, found, max_scale=5.0)[0])
    c = affine.intercept - float(act.moments(scale, 0)[0]) if model.fit_intercept else 0.0
    return Parameters(scale * direction[None], np.array([v]), None, c)


def cubic_subspace(
    engine: Engine,
    affine: Parameters,
    k: int,
    rng: np.random.Generator,
    rounds: int | None = None,
    few: Engine | None = None,
) -> np.ndarray:
    """k directions from third-order moments: higher-order orthogonal iteration.

    The first guess multiplies by ``M_3(., ., alpha)`` with alpha along the first moment, since a random alpha
    loses a factor of about sqrt(d); then the basis becomes the leading left singular vectors of all slices
    ``M_3(., v_a, v_b)``.

    Parameters
    ----------
    engine : Engine
    affine : Parameters
        Affine part of the responses.
    k : int
    rng : Generator
    rounds : int, optional
        At most so many, by default 12, and 3 where there are many features.
    few : Engine, optional
        Some of the rows, for the first guess.

    Returns
    -------
    ndarray (k, d)
    """
    few = engine if few is None else few
    still = _STILL if few is engine else 10 * _STILL  # with rows to spare a coarser end is still below their noise
    sweeps, d = MomentSweeps(few, affine), engine.shape[1]
    alpha = affine.slope / max(float(np.linalg.norm(affine.slope)), 1e-300)
    basis, sweeps = leading_directions(sweeps, min(2 * k, d), rng, 3, alpha), MomentSweeps(engine, affine)
    for _ in range(rounds or (_ROUNDS if d <= WIDE else _QUICK)):
        i, j = np.triu_indices(len(basis))
        slices = sweeps.slices(basis) * np.where(i == j, 1.0, math.sqrt(2.0))[:, None]
        new = np.linalg.svd(slices.T, full_matrices=False)[0][:, :k].T
        moved = 1.0 - np.linalg.svd(basis @ new.T, compute_uv=False).min(initial=1.0)
        settled = len(basis) == k and moved < still
        basis = new
        if settled:
            break
    return basis


def hermite_tensor(
    engine: Engine, fitted: Parameters, basis: np.ndarray, degree: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], float]:
    """Tensors ``E[r He_j(z)]``, j = 0 .. degree, of what a quadratic network leaves of y, z = basis x.

    All Hermite features of z are regressed on together, with a ridge: the low degrees are all but gone from r, so it
    shrinks the highest one evenly and lets there be more features than rows.  Primal or dual, whichever is the
    smaller system; where both are too large, averages.

    Parameters
    ----------
    engine : Engine
    fitted : Parameters
        Of a quadratic network.
    basis : ndarray (k, d)
        Orthonormal rows.
    degree : int
    rng : Generator

    Returns
    -------
    tensors : list of ndarray
        Shapes (1,), (k,), (k, k), ...; degrees that an average would only add noise to are zero.
    spread : float
        Standard deviation of the coefficient of a feature, 0 where it is not known.
    """
    (k, _), n, loss = basis.shape, engine.shape[0], 0.0
    features = math.comb(k + degree, degree)
    if features <= max(min(n, _MOST_FEATURES), 200):
        found, loss = MomentSweeps(engine, fitted, QUADRATIC).hermite_regression(basis, degree, ridge=RIDGE)
    else:
        if n <= _DUAL_ROWS * _DUAL_GAIN:
            few = engine.sample(_DUAL_ROWS, np.random.SeedSequence(int(rng.integers(1 << 63))))
            dual = MomentSweeps(few, fitted, QUADRATIC).hermite_dual(basis, degree, RIDGE)
            sweeps, basis = MomentSweeps(dual), np.eye(k)
        else:
            sweeps = MomentSweeps(engine, fitted, QUADRATIC)
        zeros = [np.zeros(math.comb(k + j - 1, j)) for j in range(degree)]
        found = [*zeros, sweeps.hermite(basis, (degree,))[0]]
    tensors = [hermite_to_tensor(c * (1.0 + RIDGE), k, j) if j else c for j, c in enumerate(found)]
    return tensors, math.sqrt(2.0 * loss / n)


def components(
    tensors: list[np.ndarray], spread: float, act: Activation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Units from the tensors of the responses in a basis, all those of order 0 .. j3.

    Parameters
    ----------
    tensors : list of ndarray
        Of j axes of length k each, j = 0, 1, ...
    spread : float
        Standard deviation of an average of r times a normalised Hermite polynomial, 0 where it is not known.
    act : Activation
    rng : Generator

    Returns
    -------
    directions : ndarray (k, k)
        Unit rows.
    coefficients : ndarray (k,)
        In the tensor of order j3.

    Raises
    ------
    StartError
        A tensor of zeros.
    """
    core = tensors[int(act.tensor_order or 4)]
    k = len(core)
    if not np.any(core):
        raise StartError("the moments of the responses are zero: nothing in y depends on X beyond a linear term")
    matrices = tensors[2][None] if act.subspace_order == 2 else None
    # The tensor's entries carry sqrt(j!) times the noise of an orthonormal coefficient, the matrix sqrt(2).
    size = math.factorial(core.ndim)
    entries = math.comb(k + core.ndim - 1, core.ndim) + (0 if matrices is None else math.comb(k + 1, 2))
    found = decompose(
        core,
        k,
        matrices=matrices,
        matrix_weights=math.sqrt(size / 2.0),
        noise=_UNEVEN * spread * math.sqrt(size * entries),
        n_starts=3 if k <= 5 else 6,
        tol=_NEAR,
        random_state=rng,
    )
    return found.vectors, found.coefficients


def lengths_from_moments(
    model: Network,
    rows: np.ndarray,
    directions: np.ndarray,
    tensors: list[np.ndarray],
    found: np.ndarray,
    mean: float,
) -> Parameters:
    """Length, orientation and output weight of each unit from its coefficients ``v m_j(s) (+-1)^j``.

    The coefficient of every order in the decomposition's directions is compared with the scalar moment
    functions on a grid of lengths; with unknown real v the best v for each length is taken.
    """
    act, k = model.activation, len(rows)
    kr = (directions[:, :, None] * directions[:, None, :]).reshape(k, -1)
    q = np.zeros((k, 5))
    q[:, 1] = np.linalg.lstsq(directions.T, tensors[1], rcond=1e-6)[0]
    q[:, 2] = np.linalg.lstsq(kr.T, tensors[2].ravel(), rcond=1e-6)[0]
    q[:, len(tensors) - 1] = found
    # A linear term of the model hides the units' own first moments.
    lowest = 2 if model.linear_term else 1
    orders = [j for j in range(lowest, len(tensors)) if np.abs(act.hermite_coefficients(4)[j]) > 1e-9]
    table = _moment_table(act)[:, orders] / np.sqrt([math.factorial(j) for j in orders])
    target = q[:, orders] / np.sqrt([math.factorial(j) for j in orders])
    shapes = np.array([1.0, -1.0])[:, None, None] ** np.array(orders) * table
    values = _output_weight_options(model, shapes, target)
    misfit = ((target[:, None, None, None] - values[..., None] * shapes[:, None]) ** 2).sum(axis=-1)
    side, option, at = np.unravel_index(misfit.reshape(k, -1).argmin(axis=1), misfit.shape[1:])
    weights = (np.where(side, -1.0, 1.0) * _SCALES[at])[:, None] * rows
    v = np.broadcast_to(values, misfit.shape)[np.arange(k), side, option, at]
    # A bad direction has a nearly flat misfit and would run off to the end of the grid.
    size = np.linalg.norm(weights, axis=1)
    weights *= (np.clip(size, np.median(size) / 4.0, np.median(size) * 3.0) / size)[:, None]
    linear = np.zeros(rows.shape[1]) if model.linear_term else None
    c = 0.0
    if model.fit_intercept:
        c = float(mean - v @ act.moments(np.linalg.norm(weights, axis=1), 0)[:, 0])
    return Parameters(weights, v, linear, c)


@lru_cache(maxsize=32)
def _moment_table(act: Activation) -> np.ndarray:
    return act.moments(_SCALES, 4)


def _output_weight_options(model: Network, shapes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Output weights to try, to be broadcast to (units, sides, options, lengths)."""
    if model.known_v is not None:
        return model.known_v[:, None, None, None]
    if model.output_weights == "signs":
        return np.array([1.0, -1.0])[None, None, :, None]
    fitted = np.einsum("slo,uo->usl", shapes, target) / np.maximum((shapes**2).sum(axis=2), 1e-300)
    return fitted[:, :, None]
