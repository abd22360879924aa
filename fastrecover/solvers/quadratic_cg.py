"""Conjugate gradients for quadratic networks, which know two things in closed form.

For Gaussian inputs the Hessian of a quadratic network has an inverse of O(d k^2), which makes the number of steps
independent of the condition number of the weights and of the factor W of M = W' V W that they happen to be.  And
along any line the loss is a polynomial of degree four and the whole gradient vector one of degree three, so three
trial points with their gradients, taken in one pass, give the exact minimiser along the line and loss and gradient
there: a step costs one pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..linalg import orthonormal
from ..models import Network, Parameters
from ..sweeps import Objective
from .gradient import GradientDescent, safe_step
from .loop import indistinct
from .newton import DENSE_LIMIT
from .preconditioner import FactoredMatrix
from .state import State

_FAR = (0.5, 1.0, 2.0)  # trial points, in units of the expected step
_NEAR = (1.0,)  # where the gradient is linear along the step
_NONLINEAR = 0.02
_FURTHEST = 8.0
_TRUSTED = 3.0  # beyond, interpolated gradients lose three digits and more
_CANCELLED = 1e-9
_LEAST_EIGENVALUE = 1e-10
_NEARLY_SINGULAR = 1e-9
_USEFUL, _PATIENCE = 0.2, 3
_FEW = 2.5  # rows for each parameter
#: Parameters up to which a matrix is worth its cost where rows are hardly more: other steps are slow there.
DENSE_LIMIT_OF_FEW, _HARDLY_MORE = 1500, 1.3


class _Matrix(NamedTuple):
    """When a matrix is formed and doubted."""

    close: float  # error of M over its smallest eigenvalue
    nearer: float  # factor of that after a matrix that was of no use
    slow: float  # ratio of decrements above which a step with one was


# With few rows the population's curvature says less of the distance, and steps are shorter.
_OF_MANY_ROWS, _OF_FEW_ROWS = _Matrix(0.2, 0.1, 0.08), _Matrix(0.05, 0.5, 0.2)


class QuarticConjugateGradients:
    """Preconditioned Polak-Ribiere+ conjugate gradients with exact line search (solver ``pncg``).

    For quadratic networks with fixed output weights; sizes of free ones belong into the rows.

    Parameters
    ----------
    dense : bool, optional
        Form the Gauss-Newton matrix as soon as M is within a fifth of its smallest eigenvalue, a twentieth with less
        than 2.5 rows for each parameter, and let it take the place of the population's: that trades the time of a few
        dense passes for more than half of the others, nine tenths where rows hardly determine M.  Farther away the
        exact curvature of so few rows leads to the nearest minimum, and the population's past poor ones.
        By default where there are at most DENSE_LIMIT parameters, or DENSE_LIMIT_OF_FEW and at most 1.3 rows for each.
    """

    name = "pncg"

    def __init__(self, dense: bool | None = None) -> None:
        self.dense = dense

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass.

        Raises
        ------
        ValueError
            The model is no quadratic network, or its output weights are free.
        """
        _check(objective.model)
        theta = np.asarray(theta, np.float64)
        loss, grad = objective.value_and_grad(theta)
        p, n = objective.n_parameters, objective.n_rows
        dense = p <= (DENSE_LIMIT_OF_FEW if n <= _HARDLY_MORE * p else DENSE_LIMIT)
        dense = dense if self.dense is None else self.dense
        memory = {"close": _habits(objective).close if dense else 0.0, "nodes": _FAR}
        state = _with_direction(objective, State(theta, loss, grad, memory=memory))
        length = float(np.linalg.norm(state.memory["direction"]))
        # From small weights the full step would be as much too long as they are small.
        state.memory["scale"] = min(1.0, float(np.linalg.norm(theta)) / max(length, 1e-300)) or 1.0
        return state

    def step(self, objective: Objective, state: State) -> State:
        """The minimiser along the search direction: one pass, a second one where it lies far off."""
        memory = state.memory
        if "factor" not in memory and memory["close"] and _distance(objective, state) <= memory["close"]:
            state = self._factored(objective, state)
            memory = state.memory
        direction, scale, nodes = memory["direction"], memory["scale"], memory["nodes"]
        losses, grads = objective.values_and_grads(state.theta + (scale * np.array(nodes))[:, None] * direction)
        if not (np.isfinite(losses).all() and np.isfinite(grads).all()):
            return replace(state, memory={**memory, "scale": 0.01 * scale})
        grads = np.concatenate([state.grad[None], grads])
        line = Polynomial((0.0, *nodes), scale * (grads @ direction))  # derivative along the line
        s = line.lowest()
        if len(nodes) == 1 and abs(s - 1.0) > 0.5:
            return replace(state, memory={**memory, "nodes": _FAR})
        theta = state.theta + (s * scale) * direction
        near = int(np.argmin(np.abs(s - np.array(nodes))))
        loss, grad = float(losses[near] + line.integral(nodes[near], s)), line.weights(s) @ grads
        if abs(s) > _TRUSTED or loss <= _CANCELLED * losses[near]:
            loss, grad = objective.value_and_grad(theta)
        if s == 0.0 or not (loss <= state.loss or indistinct(state.loss, loss)):
            return self._again(objective, state)
        new = State(theta, loss, grad, iteration=state.iteration, stalled=state.stalled, memory=dict(memory))
        new.memory |= {"scale": abs(s) * scale, "nodes": _NEAR if line.curvature(s) < _NONLINEAR else _FAR}
        new = _with_direction(objective, new, state)
        if "factor" in memory and new.decrement > _habits(objective).slow * state.decrement:
            return self._doubt(new, _habits(objective).nearer)
        return new

    @staticmethod
    def _factored(objective: Objective, state: State) -> State:
        """The same point with the Gauss-Newton matrix as preconditioner, null directions filled up."""
        loss, grad, matrix = objective.gauss_newton(state.theta)
        size = float(np.trace(matrix)) / len(matrix)
        null = null_directions(objective, state.theta)
        factor = FactoredMatrix.of(matrix + size * (null.T @ null), _NEARLY_SINGULAR * size)
        memory = {**state.memory, "factor": factor, "scale": 1.0, "nodes": _FAR, "slow": 0, "formed": np.inf}
        state = _with_direction(objective, replace(state, loss=loss, grad=grad, memory=memory))
        state.memory["formed"] = state.decrement
        return state

    @staticmethod
    def _doubt(new: State, nearer: float) -> State:
        """After slow steps: form the matrix anew where it was of use, otherwise do without it for a while."""
        memory = new.memory
        slow, kept = memory["slow"] + 1, {name: value for name, value in memory.items() if name != "factor"}
        if new.decrement <= _USEFUL * memory["formed"]:
            return replace(new, memory={**kept, "close": np.inf})
        if slow > _PATIENCE:
            return replace(new, memory={**kept, "close": nearer * memory["close"]})
        return replace(new, memory={**memory, "slow": slow})

    @staticmethod
    def _again(objective: Objective, state: State) -> State:
        """Without memory of earlier directions; the end where that is nothing new."""
        if not state.memory["conjugate"] and state.memory["nodes"] == _FAR:
            return replace(state, stopped=True, message="stalled: no step along the gradient decreases the loss")
        return _with_direction(objective, replace(state, memory={**state.memory, "scale": 1.0, "nodes": _FAR}))


class FactoredDescent(GradientDescent):
    """Constant-step gradient descent from small rows, as Xia and Shi (2019) run it.

    The step is 1 over the largest curvature at the same rows scaled to ``|W|_F^2 = mean |y|``: near the start itself
    the curvature is as small as the rows are, and a step of its inverse would diverge.
    """

    def __init__(self) -> None:
        super().__init__("curvature")

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after the passes that measure the curvature and one more.

        Raises
        ------
        ValueError
            The model is no quadratic network, or its output weights are free.
        """
        _check(objective.model)
        at = objective.unpack(theta)
        size = float(np.linalg.norm(at.weights))
        c = objective.model.activation.quadratic_coefficient or 1.0
        scale = np.sqrt(objective.engine.average(np.abs) / abs(c)) / max(size, 1e-300)
        full = objective.model.pack(replace(at, weights=at.weights * scale))
        return GradientDescent(safe_step(objective, full)).begin(objective, theta)


def _habits(objective: Objective) -> _Matrix:
    return _OF_FEW_ROWS if objective.n_rows < _FEW * objective.n_parameters else _OF_MANY_ROWS


def _check(model: Network) -> None:
    if not model.is_quadratic_form or not model.loss.least_squares:
        raise ValueError(
            "solver 'pncg' needs a fully connected network of quadratic units under squared loss, "
            f"got {model.n_patches} patches of {model.activation.name!r} units: use solver='lbfgs'"
        )
    if model.known_v is None:
        raise ValueError("solver 'pncg' needs fixed output weights: give signs as an array and sizes to the rows")


def _with_direction(objective: Objective, state: State, old: State | None = None) -> State:
    """Preconditioned gradient, decrement and search direction; `old` is the state that the last step began at."""
    if "factor" in state.memory:
        z = state.memory["factor"].apply(state.grad)
    else:
        at, grad = objective.unpack(state.theta), objective.unpack(state.grad)
        z = objective.model.pack(population_solve(objective.model, at, grad))
    direction, beta = -z, 0.0
    if old is not None:
        change = float(z @ (state.grad - old.grad)) / max(float(old.memory["z"] @ old.grad), 1e-300)
        beta = max(change, 0.0)
        direction = direction + beta * old.memory["direction"]
        if direction @ state.grad >= 0:
            direction, beta = -z, 0.0
    memory = {**state.memory, "z": z, "direction": direction, "conjugate": beta > 0}
    return replace(state, decrement=float(np.sqrt(max(state.grad @ z, 0.0))), memory=memory)


def _distance(objective: Objective, state: State) -> float:
    """Newton decrement, ``sqrt(2) |Delta|_F`` for an error Delta of M, over that of M's smallest eigenvalue."""
    smallest = smallest_eigenvalue(objective.model, objective.unpack(state.theta))
    return state.decrement / max(np.sqrt(2.0) * smallest, 1e-300)


def smallest_eigenvalue(model: Network, at: Parameters) -> float:
    """Smallest modulus among the eigenvalues of M on the span of its rows.

    Parameters
    ----------
    model : Network
        Quadratic network.
    at : Parameters

    Returns
    -------
    float
    """
    r, c = np.linalg.qr(at.weights.T)[1], model.activation.quadratic_coefficient or 1.0
    return abs(c) * float(np.abs(np.linalg.eigvalsh((r * at.output_weights) @ r.T)).min())


def population_solve(model: Network, at: Parameters, grad: Parameters) -> Parameters:
    """Solve with the Hessian that the loss of a quadratic network has at an exact fit of Gaussian inputs.

    With rows W, weights V of squares (output weights, times c where ``phi(z) = c z^2``) and directions D, delta b,
    delta c the Hessian's quadratic form is ``2 |Delta|_F^2 + (tr Delta + delta c)^2 + |delta b|^2``,
    ``Delta = W' V D + D' V W``.  It vanishes where Delta does, along ``D = V^-1 K W`` with K antisymmetric (rotations
    of the rows, hyperbolic ones between rows of different sign).  Gradients of any data set are orthogonal to these,
    and for such the solution, with H = V^-1 G / 4 less the part of the trace, G the gradient and ``A = (W W')^-1``,
    is ``D = V^-1 (A H - A H W' A W / 2)``.

    Parameters
    ----------
    model : Network
    at : Parameters
        Rows W (k, d) of full rank; lower ranks are treated as nearly full.
    grad : Parameters
        Gradient in the same places.

    Returns
    -------
    Parameters
        The solution that has no part along the null directions in the form above.
    """
    w, v = at.weights, at.output_weights * (model.activation.quadratic_coefficient or 1.0)
    values, vectors = np.linalg.eigh(w @ w.T)
    values = np.maximum(values, max(_LEAST_EIGENVALUE * float(values[-1]), 1e-300))
    inverse = (vectors / values) @ vectors.T
    h = grad.weights / (4.0 * v[:, None])
    if model.fit_intercept:
        h = h - 0.5 * grad.intercept * w
    else:
        h = h - float(np.sum(inverse * (h @ w.T))) / (2.0 + len(w)) * w
    y = inverse @ h
    core = y @ w.T @ inverse
    core = 0.5 * (core + core.T)
    rows = (y - 0.5 * core @ w) / v[:, None]
    c = grad.intercept - float(np.sum(core * (w @ w.T))) if model.fit_intercept else 0.0
    return Parameters(rows, at.output_weights, grad.linear, c)


def null_directions(objective: Objective, theta: np.ndarray) -> np.ndarray:
    """Orthonormal directions that leave a quadratic network as it is, ``V^-1 K W`` with K antisymmetric.

    Returns
    -------
    ndarray (k (k - 1) / 2, n_parameters)
    """
    at, model = objective.unpack(theta), objective.model
    k, pairs = model.n_hidden, list(zip(*np.triu_indices(model.n_hidden, 1), strict=True))
    rows = np.zeros((len(pairs), *at.weights.shape))
    for row, (i, j) in zip(rows, pairs, strict=True):
        row[i], row[j] = at.weights[j] / at.output_weights[i], -at.weights[i] / at.output_weights[j]
    packed = np.zeros((len(pairs), len(theta)))
    packed[:, : at.weights.size] = rows.reshape(len(pairs), k * at.weights.shape[1])
    return orthonormal(packed)


class Polynomial:
    """The polynomial through values at given points, made for derivatives of a loss along a line.

    Parameters
    ----------
    points : tuple of float
        Two or four points, the first of them 0.
    values : ndarray (len(points),)
    """

    def __init__(self, points: tuple[float, ...], values: np.ndarray) -> None:
        self.from_values = np.linalg.inv(np.vander(np.array(points), increasing=True))
        self.coefficients = self.from_values @ values

    def weights(self, s: float) -> np.ndarray:
        """Weights of the values in the polynomial's value at s."""
        return s ** np.arange(len(self.coefficients)) @ self.from_values

    def integral(self, a: float, b: float) -> float:
        """Integral from a to b."""
        power = np.arange(1, len(self.coefficients) + 1)
        return float(self.coefficients @ ((b**power - a**power) / power))

    def curvature(self, s: float) -> float:
        """Sum of the terms of degree two and three over the linear one, at s."""
        c = np.abs(self.coefficients * s ** np.arange(len(self.coefficients)))
        return float(c[2:].sum() / max(c[1], 1e-300))

    def lowest(self) -> float:
        """Where the integral from 0 is lowest within [-8, 8]."""
        c = self.coefficients
        roots = np.roots(c[::-1]) if np.any(c[1:]) else np.zeros(0)
        real = roots.real[np.abs(roots.imag) <= 1e-7 * np.abs(roots)]
        candidates = np.concatenate([real[np.abs(real) < _FURTHEST], [-_FURTHEST, 0.0, _FURTHEST]])
        return float(candidates[int(np.argmin([self.integral(0.0, s) for s in candidates]))])
