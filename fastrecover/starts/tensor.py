"""Start from Gaussian moments, by regression where the papers average.

A subspace of k directions comes from second-order moments (third-order for odd activations), the components
inside it from a k x k x k or k^4 tensor, their lengths and signs from a small regression or from the scalar
moment functions.  Each moment is estimated on labels from which everything of lower order has been fitted away,
and inside the subspace all Hermite coefficients are fitted together; averages of the raw labels need one to two
orders of magnitude more samples for the same error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..activations import Activation
from ..models import Network, Parameters
from ..sweeps import MomentSweeps, Objective
from ..tensors import decompose, hermite_to_tensor
from .affine import affine_fit

#: Ridge of the Hermite regression, whose Gram matrix is the identity in expectation.
RIDGE = 0.2
_MOST_FEATURES = 1500
_DUAL_ROWS = 4000
_DUAL_GAIN = 8  # an average needs about as many times the rows of a regression
#: Saturating units longer than this look alike to a noisy moment.
MAX_LENGTH = 6.0
_SCALES = np.geomspace(0.05, MAX_LENGTH, 200)


class StartError(ValueError):
    """The start cannot resolve the weights; the message says why."""


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
    if (act.parity == "even" and act.degree == 2) or model.n_patches > 1:
        return
    if act.subspace_order is None or act.tensor_order is None:
        raise StartError(
            f"activation {act.name!r} has no Gaussian moment of order 3 or 4, so its units cannot be told apart by "
            "moments; use init='random'"
        )


def tensor_start(engine: Any, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """Parameters from moments of the rows of an engine (Zhong et al. 2017, with regression for averaging).

    Parameters
    ----------
    engine : ThreadEngine
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
    if model.known_v is not None and np.ptp(model.known_v) > 0:
        found = tensor_start(engine, model.with_output_weights("free"), seed)
        return _assigned(found, model)
    rng = np.random.default_rng(seed)
    affine = affine_fit(engine)
    act, k = model.activation, model.n_hidden
    if model.n_patches > 1:
        return filter_start(engine, model, affine, rng)
    if act.subspace_order == 2:
        fit = quadratic_fit(engine, affine, k, rng)
        if act.name == "quadratic":
            return quadratic_network(fit, model)
        basis, fitted = fit.basis, fit.parameters()
    else:
        basis = cubic_subspace(engine, affine, k, rng)
        fitted = replace(affine, weights=np.zeros((1, d)), output_weights=np.zeros(1))
    coefficients = hermite_tensor(engine, fitted, basis, int(act.tensor_order or 4), rng)
    coefficients[1] = coefficients[1] + basis @ fitted.slope
    if act.subspace_order == 2:
        coefficients[2] = coefficients[2] + np.diag(2.0 * fit.eigenvalues)
    directions, leading = _components(coefficients, act, rng)
    rows = directions @ basis
    if act.degree is not None:
        return ridge_lengths(engine, model, rows)
    return lengths_from_moments(model, rows, directions, coefficients, leading, affine.intercept)


def _assigned(found: Parameters, model: Network) -> Parameters:
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


def filter_start(engine: Any, model: Network, affine: Parameters, rng: np.random.Generator) -> Parameters:
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


@dataclass(frozen=True)
class QuadraticFit:
    """``y ~ c + b.x + sum_a l_a (z_a^2 - 1)``, z = basis x, and half the mean square of what is left."""

    basis: np.ndarray
    eigenvalues: np.ndarray
    affine: Parameters
    loss: float

    def parameters(self) -> Parameters:
        """The fit as a quadratic network."""
        c = self.affine.intercept - float(self.eigenvalues.sum())
        return Parameters(self.basis, self.eigenvalues, self.affine.slope, c)


def quadratic_fit(engine: Any, affine: Parameters, k: int, rng: np.random.Generator, rounds: int = 12) -> QuadraticFit:
    """Low-rank quadratic fit of the responses, rank k, by products with at most 3k vectors.

    Each round adds the image of the current basis under the residual's second moment (the direction of steepest
    descent) to the basis, fits all quadratic features of the wider basis by least squares and keeps the k
    largest eigenvalues: iterative hard thresholding with an exact fit in every subspace.

    Parameters
    ----------
    engine : ThreadEngine
    affine : Parameters
        Affine part of the responses.
    k : int
    rng : Generator
    rounds : int

    Returns
    -------
    QuadraticFit
    """
    sweeps, d = MomentSweeps(engine, affine), engine.shape[1]
    basis = orthonormal(rng.standard_normal((min(k + 5, d), d)))
    for _ in range(6):
        basis = orthonormal(sweeps.product(basis))
    best: QuadraticFit | None = None
    previous = np.zeros((0, d))
    for _ in range(rounds):
        sweeps = MomentSweeps(engine, affine)
        (mean, first, second), loss = sweeps.hermite_regression(basis, 2, ridge=1e-6)
        core = hermite_to_tensor(second, len(basis), 2) / 2.0
        values, vectors = np.linalg.eigh(core)
        top = np.argsort(-np.abs(values))[:k]
        kept = vectors[:, top].T @ basis
        linear = affine.slope + first @ basis
        if best is not None and loss > best.loss * (1 - 1e-3):
            break
        best = QuadraticFit(
            kept, values[top], replace(affine, linear=linear, intercept=affine.intercept + mean[0]), loss
        )
        fitted = best.parameters()
        image, mean_r, first_r = MomentSweeps(engine, fitted, QUADRATIC).second(kept)
        affine = replace(best.affine, linear=best.affine.slope + first_r, intercept=best.affine.intercept + mean_r)
        basis = orthonormal(np.concatenate([kept, image, previous])[: min(3 * k, d)])
        previous = kept
    assert best is not None
    return best


def inertia(engine: Any, k: int, rng: np.random.Generator) -> int:
    """Number of positive output weights by Sylvester's law, from the rank-k quadratic fit of the responses."""
    fit = quadratic_fit(engine, affine_fit(engine), k, rng)
    return int((fit.eigenvalues > 0).sum())


def cubic_subspace(engine: Any, affine: Parameters, k: int, rng: np.random.Generator, rounds: int = 12) -> np.ndarray:
    """k directions from third-order moments: higher-order orthogonal iteration.

    The first guess multiplies by ``M_3(., ., alpha)`` with alpha along the first moment, since a random alpha
    loses a factor of about sqrt(d); then the basis becomes the leading left singular vectors of all slices
    ``M_3(., v_a, v_b)``.

    Returns
    -------
    ndarray (k, d)
    """
    sweeps, d = MomentSweeps(engine, affine), engine.shape[1]
    alpha = affine.slope / max(float(np.linalg.norm(affine.slope)), 1e-300)
    basis = orthonormal(np.concatenate([alpha[None], rng.standard_normal((min(k + 5, d) - 1, d))]))
    for _ in range(6):
        basis = orthonormal(sweeps.product(basis, 3, alpha))
    basis = basis[: min(2 * k, len(basis))]
    for _ in range(rounds):
        i, j = np.triu_indices(len(basis))
        slices = sweeps.slices(basis) * np.where(i == j, 1.0, math.sqrt(2.0))[:, None]
        new = np.linalg.svd(slices.T, full_matrices=False)[0][:, :k].T
        moved = 1.0 - np.linalg.svd(basis @ new.T, compute_uv=False).min(initial=1.0)
        settled = len(basis) == k and moved < 1e-4
        basis = new
        if settled:
            break
    return basis


def hermite_tensor(
    engine: Any, fitted: Parameters, basis: np.ndarray, degree: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Tensors ``E[r He_j(z)]``, j = 0 .. degree, of what a quadratic network leaves of y, z = basis x.

    All Hermite features of z are regressed on together, with a ridge: the low degrees are all but gone from r, so it
    shrinks the highest one evenly and lets there be more features than rows.  Primal or dual, whichever is the
    smaller system; where both are too large, averages.

    Parameters
    ----------
    engine : ThreadEngine
    fitted : Parameters
        Of a quadratic network.
    basis : ndarray (k, d)
        Orthonormal rows.
    degree : int
    rng : Generator

    Returns
    -------
    list of ndarray
        Shapes (1,), (k,), (k, k), ...; degrees that an average would only add noise to are zero.
    """
    k, n = len(basis), engine.shape[0]
    features = math.comb(k + degree, degree)
    if features <= max(min(n, _MOST_FEATURES), 200):
        found, _ = MomentSweeps(engine, fitted, QUADRATIC).hermite_regression(basis, degree, ridge=RIDGE)
    else:
        if n <= _DUAL_ROWS * _DUAL_GAIN:
            few = engine.sample(_DUAL_ROWS, np.random.SeedSequence(int(rng.integers(1 << 63))))
            dual = MomentSweeps(few, fitted, QUADRATIC).hermite_dual(basis, degree, RIDGE)
            sweeps, basis = MomentSweeps(dual), np.eye(k)
        else:
            sweeps = MomentSweeps(engine, fitted, QUADRATIC)
        zeros = [np.zeros(math.comb(k + j - 1, j)) for j in range(degree)]
        found = [*zeros, sweeps.hermite(basis, (degree,))[0]]
    return [hermite_to_tensor(c * (1.0 + RIDGE), k, j) if j else c for j, c in enumerate(found)]


def _components(tensors: list[np.ndarray], act: Activation, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions in the basis and their coefficients in the tensor of order j3."""
    core = tensors[int(act.tensor_order or 4)]
    k = len(core)
    if not np.any(core):
        raise StartError("the moments of the responses are zero: nothing in y depends on X beyond a linear term")
    matrices = tensors[2][None] if act.subspace_order == 2 else None
    # The tensor's entries carry sqrt(j!) times the noise of an orthonormal coefficient, the matrix sqrt(2).
    weight = math.sqrt(math.factorial(core.ndim) / 2.0)
    found = decompose(core, k, matrices=matrices, matrix_weights=weight, n_starts=3 if k <= 5 else 6, random_state=rng)
    return found.vectors, found.coefficients


def ridge_lengths(engine: Any, model: Network, rows: np.ndarray) -> Parameters:
    """Sides, output weights and lengths of unit rows by least squares of y on ``phi(+-u.x)``.

    Exact for exact directions.  The rows of an activation that is not homogeneous keep their unit length.

    Parameters
    ----------
    engine : ThreadEngine
    model : Network
    rows : ndarray (n_hidden, d)
        Unit directions, their signs unknown.

    Returns
    -------
    Parameters
    """
    act, k, d = model.activation, len(rows), rows.shape[1]
    linear = np.zeros(d) if model.linear_term else None
    if act.parity is None:
        both = Parameters(np.concatenate([rows, -rows]), np.ones(2 * k), linear)
        fitted, _, _ = Objective(engine, replace_free(model, 2 * k)).output_regression(both, ridge=1e-6)
        a = np.abs(fitted.output_weights.reshape(2, k))
        rows = np.where((a[1] > a[0])[:, None], -rows, rows)
    single = Parameters(rows, np.ones(k), linear)
    fitted, _, _ = Objective(engine, replace_free(model, k)).output_regression(single, ridge=1e-6)
    a, v = fitted.output_weights, model.known_v
    if act.degree is None and v is None:
        return replace(fitted, output_weights=a if model.free_v else np.where(a < 0, -1.0, 1.0))
    if v is None:
        v = np.where(a < 0, -1.0, 1.0)
        size = np.abs(a)
    else:
        size = np.maximum(a * np.sign(v), 0.0) / np.abs(v)
    if act.degree is None:
        return replace(fitted, output_weights=v)
    typical = float(np.median(size[size > 0])) if (size > 0).any() else 1.0
    size = np.clip(size, 0.05 * typical, 5.0 * typical)
    weights = rows * (size ** (1.0 / (act.degree or 1)))[:, None]
    return Parameters(weights, v, fitted.linear, fitted.intercept)


def with_output_weights(engine: Any, model: Network, rows: np.ndarray) -> Parameters:
    """Given rows with output weights: the model's, or those of least squares (their signs where only these are free).

    Parameters
    ----------
    engine : ThreadEngine
    model : Network
    rows : ndarray (n_hidden, d)

    Returns
    -------
    Parameters
    """
    linear = np.zeros(rows.shape[1]) if model.linear_term else None
    if model.known_v is not None:
        return Parameters(rows, model.known_v, linear)
    k = len(rows)
    free = Objective(engine, replace_free(model, k))
    v = free.output_regression(Parameters(rows, np.ones(k), linear), ridge=1e-6)[0].output_weights
    if model.free_v and model.activation.degree is None:
        return Parameters(rows, v, linear)
    return Parameters(rows, np.where(v < 0, -1.0, 1.0), linear)


def replace_free(model: Network, k: int) -> Network:
    """`model` with k units and free output weights."""
    return model.changed(n_hidden=k, output_weights="free")


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
    known = model.known_v
    weights, v = np.empty_like(rows), np.empty(k)
    for i in range(k):
        best = np.inf
        for side in (1.0, -1.0):
            shape = table * side ** np.array(orders)
            options = _output_weight_options(model, known, i, shape, target[i])
            for value in options:
                misfit = ((target[i] - np.asarray(value).reshape(-1, 1) * shape) ** 2).sum(axis=1)
                at = int(np.argmin(misfit))
                if misfit[at] < best:
                    best = misfit[at]
                    weights[i] = side * _SCALES[at] * rows[i]
                    v[i] = np.broadcast_to(value, len(_SCALES))[at]
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


def _output_weight_options(model: Network, known, i: int, shape: np.ndarray, target: np.ndarray) -> list:
    if known is not None:
        return [known[i]]
    if model.output_weights == "signs":
        return [1.0, -1.0]
    fitted = (shape @ target) / np.maximum((shape**2).sum(axis=1), 1e-300)
    return [fitted]


def quadratic_network(fit: QuadraticFit, model: Network) -> Parameters:
    """Rows sqrt|l| times the eigenvectors; with all-positive units negative eigenvalues are cut off."""
    values, v = fit.eigenvalues, model.known_v
    if v is None:
        v = np.where(values < 0, -1.0, 1.0)
    else:
        order = np.argsort(-values)[np.argsort(np.argsort(-v))]
        fit, values = replace(fit, basis=fit.basis[order]), values[order]
    size = np.maximum(values / v, 1e-3 * np.abs(values).max(initial=1e-300))
    c = fit.parameters().intercept if model.fit_intercept else 0.0
    linear = fit.affine.slope if model.linear_term else None
    return Parameters(fit.basis * np.sqrt(size)[:, None], np.asarray(v, np.float64), linear, c)


def orthonormal(rows: np.ndarray) -> np.ndarray:
    return np.linalg.qr(rows.T)[0].T


QUADRATIC = Activation("quadratic", 3, degree=2, parity="even")
