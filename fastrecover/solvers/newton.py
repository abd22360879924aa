"""Gauss-Newton with Levenberg-Marquardt damping.

Up to DENSE_LIMIT parameters the matrix is formed (one sweep) and factored; above, the damped system is solved
by conjugate gradients whose products are sweeps.  Several damping values are tried in one pass, since loading
the rows costs more than evaluating a few more columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..linalg import damped_solve
from ..sweeps import Objective, damped_steps, distances, triangular_factors
from .loop import SHRUNK, indistinct
from .state import State

DENSE_LIMIT = 600
_TRIALS = (0.1, 1.0, 10.0)
_FIRST_DAMPING, _LEAST_DAMPING, _HOPELESS = 1e-1, 1e-20, 1e12  # of many runs
_WORTH, _BOLD = 1e-4, 0.2  # share of a promised gain that is taken, and least factor of a damping
_FEWEST = 8  # runs that go on to the end
_FLOOR = 1e-16  # of a squared column, relative to the longest
_SLIGHT, _SLOW = 1e-6, 10  # a gain of which so many in a row end a run
_GIVE_UP = 1e12
_LEAST = 1e-10  # keeps steps bounded along null directions, such as the rotations of a quadratic network


class GaussNewton:
    """Levenberg-Marquardt (solver ``gauss-newton``).

    Parameters
    ----------
    dense : bool, optional
        Form the matrix; by default where there are at most DENSE_LIMIT parameters.
    damping : float
        First damping, relative to the diagonal (dense) or to the curvature along the gradient.
    cg_iterations : int
        Most products spent on one step when the matrix is not formed.
    factored : bool
        Whether a dense matrix is kept as the triangular factor of the Jacobian: twice the digits, for small problems.
    """

    name = "gauss-newton"

    def __init__(
        self, dense: bool | None = None, damping: float = 1e-2, cg_iterations: int = 50, factored: bool = False
    ) -> None:
        self.dense, self.damping, self.cg_iterations, self.factored = dense, damping, cg_iterations, factored

    @property
    def _least(self) -> float:
        return _LEAST_DAMPING if self.factored else _LEAST

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass."""
        dense = objective.n_parameters <= DENSE_LIMIT if self.dense is None else self.dense
        return self._at(objective, theta, {"mu": self.damping, "dense": dense, "failed": 0})

    def resume(self, objective: Objective, theta: np.ndarray, memory: dict[str, Any]) -> State:
        """State at theta with the damping that an earlier run has ended with, if it was one of this solver."""
        state = self.begin(objective, theta)
        return replace(state, memory=state.memory | {"mu": memory.get("mu", self.damping)})

    def _at(self, objective: Objective, theta: np.ndarray, memory: dict) -> State:
        if not memory["dense"]:
            loss, grad = objective.value_and_grad(theta)
            return State(theta, loss, grad, memory=memory)
        if self.factored:
            losses, factors = triangular_factors(objective, theta[None])
            r, q = factors[0, :-1, :-1], factors[0, :-1, -1]
            state = State(theta, float(losses[0]), r.T @ q, memory={**memory, "matrix": r.T @ r, "factor": factors[0]})
            state.decrement = float(distances(factors)[0])
            return state
        loss, grad, matrix = objective.gauss_newton(theta)
        state = State(theta, loss, grad, memory={**memory, "matrix": matrix})
        state.decrement = decrement(matrix, grad)
        return state

    @staticmethod
    def _damped(state: State, mus: list[float]) -> np.ndarray:
        """Steps for several dampings, relative to the diagonal of the matrix."""
        factor = state.memory.get("factor")
        if factor is None:
            return np.array([-damped_solve(state.memory["matrix"], state.grad, mu) for mu in mus])
        damping = np.multiply.outer(mus, _squares(factor[None])[0])
        return damped_steps(np.repeat(factor[None], len(mus), axis=0), damping)

    def step(self, objective: Objective, state: State) -> State:
        """One accepted step, or the old state with more damping."""
        new = self._bold(objective, state) if state.memory.get("bold") else state
        if new.loss < state.loss:
            return new
        propose = self._dense_steps if state.memory["dense"] else self._cg_step
        mus, steps, state = propose(objective, state)
        losses = objective.values(state.theta + steps)
        losses = np.where(np.isfinite(losses), losses, np.inf)
        best = int(np.argmin(losses))
        memory = {k: v for k, v in state.memory.items() if k not in ("matrix", "factor")}
        # Where losses differ by rounding only, the full step is taken if it shortens the gradient.
        level = state.memory["dense"] and indistinct(state.loss, losses[0]) and indistinct(state.loss, losses[best])
        best = 0 if level else best
        if level or losses[best] < state.loss:
            bold = state.memory["dense"] and best == 0
            memory |= {"mu": max(mus[best] * (0.3 if best else 1.0), self._least), "failed": 0, "bold": bold}
            new = self._at(objective, state.theta + steps[best], memory)
            if not level or new.decrement < SHRUNK * state.decrement:
                return replace(new, iteration=state.iteration, stalled=state.stalled)
        failed = state.memory["failed"] + 1
        mu = max(mus) * 10.0
        done = mu > _GIVE_UP
        message = "no damping decreases the loss" if done else state.message
        return replace(state, memory={**state.memory, "mu": mu, "failed": failed}, stopped=done, message=message)

    def _bold(self, objective: Objective, state: State) -> State:
        """Evaluate the Gauss-Newton matrix at the least-damped step, which won last time."""
        mu = max(state.memory["mu"] * _TRIALS[0], self._least)
        theta = state.theta + self._damped(state, [mu])[0]
        new = self._at(objective, theta, {**state.memory, "mu": mu})
        return replace(new, iteration=state.iteration, stalled=state.stalled)

    def _dense_steps(self, objective: Objective, state: State) -> tuple[list[float], np.ndarray, State]:
        mus = [state.memory["mu"] * t for t in _TRIALS]
        return mus, self._damped(state, mus), state

    def _cg_step(self, objective: Objective, state: State) -> tuple[list[float], np.ndarray, State]:
        """Truncated conjugate gradients on ``(G + mu c I) p = -g``, c the curvature along g."""
        g = state.grad
        norm = np.linalg.norm(g)
        if norm == 0:
            return [state.memory["mu"]], np.zeros((1, len(g))), replace(state, decrement=0.0)
        norm0 = max(state.memory.get("norm0", norm), norm)
        first = objective.hessp(state.theta, g, gauss_newton=True)
        mu = state.memory["mu"] * max(float(g @ first) / norm**2, 1e-300)
        p, r, q, product = np.zeros_like(g), -g, -g, -first
        rr = float(r @ r)
        goal = min(0.1, np.sqrt(norm / norm0)) * norm
        for i in range(self.cg_iterations):
            if i:
                product = objective.hessp(state.theta, q, gauss_newton=True)
            curved = float(q @ product) + mu * float(q @ q)
            if curved <= 0:
                break
            p = p + rr / curved * q
            r = r - rr / curved * (product + mu * q)
            rr, old = float(r @ r), rr
            if np.sqrt(rr) <= goal:
                break
            q = r + rr / old * q
        steps = np.array([p, 0.3 * p, 0.05 * p])
        mu = state.memory["mu"]
        return (
            [0.2 * mu, mu, 3 * mu],
            steps,
            replace(state, decrement=float(np.sqrt(max(-g @ p, 0.0))), memory={**state.memory, "norm0": norm0}),
        )


def decrement(matrix: np.ndarray, grad: np.ndarray) -> float:
    """``sqrt(g' G^-1 g)``."""
    return float(np.sqrt(max(grad @ damped_solve(matrix, grad, 0.0), 0.0)))


def newton_many(
    objective: Objective,
    thetas: np.ndarray,
    *,
    iterations: int,
    exact_loss: float = 0.0,
    output_weights: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
    halved: int = 0,
    tol: float = 0.0,
    tell: Callable[[np.ndarray, np.ndarray], None] = lambda thetas, losses: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt from several starts side by side: one pass an iteration, whatever their number.

    Steps come from triangular factors, and dampings follow the ratio of a gain to what the linear model promised
    (Nielsen 1999), on scales that never shrink (More 1978).  For small networks on few rows.

    Parameters
    ----------
    objective : Objective
    thetas : ndarray (m, n_parameters)
    iterations : int
        At most.
    exact_loss : float
        End as soon as one run is at or below it.
    output_weights : ndarray (m, n_hidden), optional
        Fixed output weights of each run, in place of the model's.
    stop : callable
        Asked before every iteration; true ends all runs where they are.
    halved : int
        Iterations after which the worse half of the runs is left where it is, and again after as many more as there
        have been (successive halving); 0 for never.
    tol : float
        Distance to a minimiser, in its statistical errors, at which a run ends.
    tell : callable
        Told after every iteration where the runs are, (m, n_parameters), and their losses (m,).

    Returns
    -------
    thetas : ndarray (m, n_parameters)
    losses : ndarray (m,)
    """
    theta, v = np.array(thetas, np.float64), output_weights
    m, slow = len(theta), np.zeros(len(theta), int)
    loss, factor = triangular_factors(objective, theta, v)
    scale = _squares(factor)
    mu, nu, done = np.full(m, _FIRST_DAMPING), np.full(m, 2.0), ~np.isfinite(loss)

    def near(runs: np.ndarray) -> np.ndarray:
        """Which runs are at a minimum, by the length of what the linear model can take off."""
        distance = distances(factor[runs])
        noise = np.array([objective.noise(max(each, 0.0)) for each in loss[runs]])
        return distance <= tol * noise * np.sqrt(objective.n_parameters / objective.n_rows)

    for iteration in range(iterations):
        if halved and iteration == halved:
            done[np.argsort(loss)[max(_FEWEST, int((~done).sum()) // 2) :]] = True
            halved *= 2
        at = np.flatnonzero(~done)
        if not at.size or loss.min() <= exact_loss or stop():
            break
        damping = mu[at, None] * scale[at]
        with np.errstate(all="ignore"):
            step = damped_steps(factor[at], damping)
            linear = np.einsum("mqp,mp->mq", factor[at, :, :-1], step)
            promised = 0.5 * (linear**2).sum(axis=1) + (damping * step**2).sum(axis=1)
            trial = theta[at] + step
            new, triangle = triangular_factors(objective, trial, None if v is None else v[at])
            ratio = (loss[at] - new) / np.maximum(promised, 1e-300)
        good = np.isfinite(new) & np.isfinite(triangle).all(axis=(1, 2)) & (ratio > _WORTH)
        to, bad = at[good], at[~good]
        slow[to] = np.where(loss[to] - new[good] <= _SLIGHT * np.abs(loss[to]), slow[to] + 1, 0)
        theta[to], loss[to], factor[to] = trial[good], new[good], triangle[good]
        scale[to] = np.maximum(scale[to], _squares(triangle[good]))
        mu[to] = np.maximum(mu[to] * np.maximum(_BOLD, 1.0 - (2.0 * ratio[good] - 1.0) ** 3), _LEAST_DAMPING)
        nu[to] = 2.0
        mu[bad], nu[bad] = mu[bad] * nu[bad], 2.0 * nu[bad]
        done[to[(slow[to] >= _SLOW) | near(to)]] = True
        done[bad[mu[bad] > _HOPELESS]] = True
        tell(theta, loss)
    return theta, loss


def _squares(factors: np.ndarray) -> np.ndarray:
    """Squared lengths of the columns of the Jacobian, none nearly zero beside the longest."""
    squares = (factors[:, :, :-1] ** 2).sum(axis=1)
    return np.maximum(squares, _FLOOR * squares.max(axis=1, keepdims=True)) + 1e-300
