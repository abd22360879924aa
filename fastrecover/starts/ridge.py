"""Start from moments for units with biases, several outputs, or a link: directions first, then each unit as a ridge.

``E[phi(w.x + a) He_m(x)] = gamma_m u^(x)m``, so biases change the weights of the rank-one terms and not their
directions.  Orders two, three and four of all outputs share these, and are diagonalised together; every unit is then a
function of ``u_j . x`` alone, whose Hermite coefficients tell its length, its bias and its output weights.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..linalg import damped_solve, orthonormal
from ..models import Network, Parameters
from ..sweeps import MomentSweeps, Objective
from ..tensors import decompose, hermite_to_tensor
from .affine import affine_fit
from .base import StartError, network, ridge_lengths
from .quadratic_fit import quadratic_fit

_MOST_FEATURES = 700  # of a regression that looks for directions, and of one inside their span
_MOST_OUTPUTS = 4  # combinations of outputs that directions are looked for in
_RIDGE = 0.05  # of these regressions, whose Gram matrices are the identity in expectation
_STEPS = 8  # inside the span of the units
_MOST_INSIDE = 400  # numbers of units there
_SCALES = np.geomspace(0.15, 6.0, 20)
_OFFSETS = np.linspace(-3.0, 3.0, 121)  # biases over lengths; of units farther out moments show next to nothing
_NODES = np.linspace(-8.0, 8.0, 1601)


def ridge_start(engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """Parameters from moments of orders one to four of all outputs.

    Parameters
    ----------
    engine : Engine
        Usually on a sub-sample: ten to twenty rows for each parameter are enough.
    model : Network
        Fully connected, with at most as many units as features.
    seed : SeedSequence

    Returns
    -------
    Parameters
        With definite output weights.

    Raises
    ------
    StartError
        Moments that are zero to rounding.
    """
    rng, k = np.random.default_rng(seed), model.n_hidden
    engine = engine.with_ones(False)
    engines = [engine.with_responses(each) for each in _combinations(model.n_outputs, rng)]
    basis = _subspace(engines, k, rng)
    degree = 4 if math.comb(k + 4, 4) <= _MOST_FEATURES else 3
    tensors = [_tensors(each, basis, degree) for each in engines]
    directions = _directions(tensors, rng)
    found = np.array([_ridges(each, directions) for each in tensors])  # (outputs, degree + 1, k)
    return _polished(engine, model, ridge_lengths(engine, model, _units(model, directions @ basis, found)))


def _polished(engine: Engine, model: Network, found: Parameters) -> Parameters:
    """A few Gauss-Newton steps inside the span of the units, where there are k inputs in place of d."""
    if model.linear_term:  # which may lie outside
        return found
    basis = orthonormal(found.weights)
    model = model.changed(penalty=None)
    inside = model.with_resolved_signs(found.output_weights)
    if len(basis) ** 2 > _MOST_INSIDE:
        return found
    at = replace(found, weights=found.weights @ basis.T)
    objective = Objective(engine.projected(basis), inside)
    theta = inside.pack(at.absorbed(model.activation) if inside is not model and model.absorbs else at)
    loss, grad, matrix = objective.gauss_newton(theta)
    mu = 1e-2
    for _ in range(_STEPS):
        trials = np.array([theta - damped_solve(matrix, grad, mu * factor) for factor in (0.1, 1.0, 10.0)])
        losses = objective.values(trials)
        best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.inf)))
        mu *= (0.1, 1.0, 10.0)[best]
        if losses[best] < loss:
            theta = trials[best]
            loss, grad, matrix = objective.gauss_newton(theta)
    done = inside.unpack(theta, len(basis))
    return replace(done, weights=done.weights @ basis)


def _combinations(m: int, rng: np.random.Generator) -> list[_Combination]:
    """Ways to make one response of m: each of a few, or as many random combinations of many."""
    if m == 1:
        return [_Combination(np.ones(1))]
    rows = np.eye(m) if m <= _MOST_OUTPUTS else orthonormal(rng.standard_normal((_MOST_OUTPUTS, m)))
    return [_Combination(row) for row in rows]


class _Combination:
    """A linear combination of the outputs of every row."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Responses (n,) of responses (n,) or (n, m)."""
        return y if y.ndim == 1 else np.ascontiguousarray(y @ self.weights)


def _subspace(engines: list[Engine], k: int, rng: np.random.Generator) -> np.ndarray:
    """k orthonormal directions that second and third moments of all responses agree on."""
    d = engines[0].shape[1]
    if k == d:
        return np.eye(d)
    wide = np.eye(d)
    if math.comb(d + 3, 3) > _MOST_FEATURES:
        from .tensor import cubic_subspace

        parts = []
        for engine in engines:
            affine = affine_fit(engine)
            fit = quadratic_fit(engine, affine, k, rng)
            sizes = np.abs(fit.eigenvalues)
            parts.append(fit.basis * (sizes / max(float(sizes.max()), 1e-300))[:, None])
            if math.comb(2 * k + 3, 3) <= _MOST_FEATURES:
                parts.append(cubic_subspace(engine, affine, k, rng))
        rows = np.concatenate(parts)
        most = k
        while most < min(len(rows), d) and math.comb(most + 4, 3) <= _MOST_FEATURES:
            most += 1
        wide = np.linalg.svd(rows, full_matrices=False)[2][:most]
    if len(wide) == k:
        return wide
    sides = []
    for engine in engines:
        tensors = _tensors(engine, wide, 3 if math.comb(len(wide) + 3, 3) <= _MOST_FEATURES else 2)
        sides += [each.reshape(len(wide), -1) / math.sqrt(math.factorial(each.ndim)) for each in tensors[2:]]
    return np.linalg.svd(np.concatenate(sides, axis=1), full_matrices=False)[0][:, :k].T @ wide


def _tensors(engine: Engine, basis: np.ndarray, degree: int) -> list[np.ndarray]:
    """``E[y He_m(z)]``, m = 0 .. degree, z = basis x, by regression on all of them together."""
    affine = affine_fit(engine)
    found, _ = MomentSweeps(engine, affine).hermite_regression(basis, degree, ridge=_RIDGE)
    k = len(basis)
    tensors = [hermite_to_tensor(c * (1.0 + _RIDGE), k, j) if j else c for j, c in enumerate(found)]
    tensors[0] = tensors[0] + affine.intercept
    tensors[1] = tensors[1] + basis @ affine.slope
    return tensors


def _directions(tensors: list[list[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Unit directions (k, k) that diagonalise all orders of all outputs."""
    cores = [each[-1] for each in tensors]
    largest = max(cores, key=lambda core: float(np.linalg.norm(core)))
    k, order = len(largest), largest.ndim
    if k == 1:
        return np.ones((1, 1))
    matrices, weights = [], []
    for each in tensors:
        for tensor in each[2:]:
            slices = tensor.reshape(-1, k, k)
            if tensor is largest or not np.any(slices):
                continue
            if len(slices) > k:  # of order four: as many combinations as hold most of it
                _, values, rows = np.linalg.svd(slices.reshape(len(slices), -1), full_matrices=False)
                slices = (values[:k, None] * rows[:k]).reshape(-1, k, k)
                slices = 0.5 * (slices + slices.transpose(0, 2, 1))
            matrices.append(slices)
            weights += [math.sqrt(math.factorial(order) / math.factorial(tensor.ndim))] * len(slices)
    if not np.any(largest):
        raise StartError("the moments of the responses are zero: nothing in y depends on X beyond a linear term")
    found = decompose(
        largest,
        k,
        matrices=np.concatenate(matrices) if matrices else None,
        matrix_weights=np.array(weights) if matrices else 1.0,
        n_starts=3 if k <= 5 else 6,
        tol=1e-2,
        random_state=rng,
    )
    return found.vectors


def _ridges(tensors: list[np.ndarray], directions: np.ndarray) -> np.ndarray:
    """Coefficients of every unit in every order, (degree + 1, k), by least squares."""
    k = len(directions)
    found, products = np.zeros((len(tensors), k)), np.ones((k, 1))
    for order, tensor in enumerate(tensors[1:], 1):
        products = (products[:, :, None] * directions[:, None, :]).reshape(k, -1)
        found[order] = np.linalg.lstsq(products.T, tensor.ravel(), rcond=1e-6)[0]
    return found


@lru_cache(maxsize=16)
def shifted_moments(act: Activation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``gamma_m(s, a) = E[phi(s t + a) He_m(t)]``, m = 0 .. 4, on a grid of lengths s and biases a.

    Homogeneous units have length 1.

    Parameters
    ----------
    act : Activation

    Returns
    -------
    s, a : ndarray (count,)
    gamma : ndarray (count, 5)
    """
    scales = _SCALES if act.degree is None else np.ones(1)
    s, beta = (each.ravel() for each in np.meshgrid(scales, _OFFSETS, indexing="ij"))
    density = np.exp(-0.5 * _NODES**2) / math.sqrt(2.0 * math.pi) * (_NODES[1] - _NODES[0])
    table = np.polynomial.hermite_e.hermevander(_NODES, 4) * density[:, None]
    gamma = np.concatenate(
        [act.value(s[i : i + 64, None] * (_NODES + beta[i : i + 64, None])) @ table for i in range(0, len(s), 64)]
    )
    return s, s * beta, gamma


def _units(model: Network, rows: np.ndarray, found: np.ndarray) -> Parameters:
    """Length, side, bias and output weights of each unit: the point of the grid whose coefficients fit best.

    Parameters
    ----------
    model : Network
    rows : ndarray (k, d)
    found : ndarray (outputs, degree + 1, k)
        Coefficients of each unit; output weights are fitted to them at every point, unless they are known.
    """
    act, k, known = model.activation, len(rows), model.known_v
    s, a, gamma = shifted_moments(act)
    if not model.hidden_bias:
        s, a, gamma = (each[a == 0.0] for each in (s, a, gamma))
    orders = np.arange(2 if model.linear_term else 1, found.shape[1])
    size = np.sqrt([math.factorial(order) for order in orders])
    target = found[:, orders] / size[:, None]
    plain = gamma[:, orders] / size
    weights, biases, v = np.empty(rows.shape), np.empty(k), np.empty((found.shape[0], k))
    for j in range(k):
        best = np.inf
        for side in (1.0, -1.0):
            shape = plain * side**orders
            own = (shape**2).sum(axis=1)
            fitted = target[:, :, j] @ shape.T / np.maximum(own, 1e-300)
            if act.degree is None and found.shape[0] == 1 and not model.free_v:
                fitted = np.sign(fitted) if known is None else np.full(fitted.shape, known[j])
            left = ((target[:, None, :, j] - fitted[:, :, None] * shape) ** 2).sum(axis=(0, 2))
            at = int(np.argmin(left))
            if left[at] < best:
                best = float(left[at])
                weights[j], biases[j], v[:, j] = side * s[at] * rows[j], a[at], fitted[:, at]
    # They are fitted again, of several outputs to all of these.
    units = network(model, weights, v[0] if model.n_outputs == 1 else np.zeros((model.n_outputs, k)))
    return replace(units, biases=biases) if model.hidden_bias else units
