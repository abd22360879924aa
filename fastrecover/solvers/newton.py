"""Gauss-Newton with Levenberg-Marquardt damping.

Up to DENSE_LIMIT parameters the matrix is formed (one sweep) and factored; above, the damped system is solved
by conjugate gradients whose products are sweeps.  Several damping values are tried in one pass, since loading
the rows costs more than evaluating a few more columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..linalg import damped_solve
from ..sweeps import Objective
from .loop import SHRUNK, indistinct
from .state import State

DENSE_LIMIT = 600
_TRIALS = (0.1, 1.0, 10.0)
_FIRST_DAMPING, _HOPELESS = 1e-1, 1e9  # of many runs: where they begin, and where they are given up
_FEWEST = 8  # runs that go on to the end
_FLOOR = 1e-8  # of a diagonal, relative to its mean
_SLIGHT, _SLOW = 1e-5, 6  # a gain of which so many in a row end a run
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
    """

    name = "gauss-newton"

    def __init__(self, dense: bool | None = None, damping: float = 1e-2, cg_iterations: int = 50) -> None:
        self.dense, self.damping, self.cg_iterations = dense, damping, cg_iterations

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass."""
        dense = objective.n_parameters <= DENSE_LIMIT if self.dense is None else self.dense
        return self._at(objective, theta, {"mu": self.damping, "dense": dense, "failed": 0})

    def _at(self, objective: Objective, theta: np.ndarray, memory: dict) -> State:
        if not memory["dense"]:
            loss, grad = objective.value_and_grad(theta)
            return State(theta, loss, grad, memory=memory)
        loss, grad, matrix = objective.gauss_newton(theta)
        state = State(theta, loss, grad, memory={**memory, "matrix": matrix})
        state.decrement = decrement(matrix, grad)
        return state

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
        memory = {k: v for k, v in state.memory.items() if k != "matrix"}
        # Where losses differ by rounding only, the full step is taken if it shortens the gradient.
        level = state.memory["dense"] and indistinct(state.loss, losses[0]) and indistinct(state.loss, losses[best])
        best = 0 if level else best
        if level or losses[best] < state.loss:
            bold = state.memory["dense"] and best == 0
            memory |= {"mu": max(mus[best] * (0.3 if best else 1.0), _LEAST), "failed": 0, "bold": bold}
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
        mu = max(state.memory["mu"] * _TRIALS[0], _LEAST)
        theta = state.theta - damped_solve(state.memory["matrix"], state.grad, mu)
        new = self._at(objective, theta, {**state.memory, "mu": mu})
        return replace(new, iteration=state.iteration, stalled=state.stalled)

    def _dense_steps(self, objective: Objective, state: State) -> tuple[list[float], np.ndarray, State]:
        mus = [state.memory["mu"] * t for t in _TRIALS]
        return mus, np.array([-damped_solve(state.memory["matrix"], state.grad, mu) for mu in mus]), state

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
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt from several starts side by side: two passes an iteration, whatever their number.

    One pass makes the matrices of all runs, the other tries three dampings of each; the linear systems are solved as
    one stack.  For small networks, whose matrices cost little more than their gradients.

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

    Returns
    -------
    thetas : ndarray (m, n_parameters)
    losses : ndarray (m,)
    """
    theta, v = np.array(thetas, np.float64), output_weights
    (m, p), slow = theta.shape, np.zeros(len(theta), int)
    loss, grad, matrix = objective.gauss_newtons(theta, v)
    mu, done = np.full(m, _FIRST_DAMPING), ~np.isfinite(loss)
    for iteration in range(iterations):
        if halved and iteration == halved:
            done[np.argsort(loss)[max(_FEWEST, int((~done).sum()) // 2) :]] = True
            halved *= 2
        at = np.flatnonzero(~done)
        if not at.size or loss.min() <= exact_loss or stop():
            break
        with np.errstate(all="ignore"):
            steps = _damped_steps(matrix[at], grad[at], mu[at])  # (runs, trials, p)
            trials = theta[at, None] + steps
            own = None if v is None else np.repeat(v[at], len(_TRIALS), axis=0)
            values = objective.values(trials.reshape(-1, p), own).reshape(len(at), -1)
        values = np.where(np.isfinite(values), values, np.inf)
        best = np.argmin(values, axis=1)
        least = values[np.arange(len(at)), best]
        lower = least < loss[at]
        # A step as bold as was tried asks for a bolder one, a cautious one keeps its damping.
        factor = np.where(lower, np.array(_TRIALS)[best] * np.where(best == 0, 0.3, 1.0), 30.0)
        mu[at] = np.maximum(mu[at] * factor, _LEAST)
        gone = at[lower]
        gain = loss[gone] - least[lower]
        slow[gone] = np.where(gain <= _SLIGHT * np.abs(loss[gone]), slow[gone] + 1, 0)
        theta[gone] = trials[lower, best[lower]]
        done[at[~lower & (mu[at] > _HOPELESS)]] = True
        done[gone[slow[gone] >= _SLOW]] = True
        loss[gone] = least[lower]
        more = gone[~done[gone]]
        if more.size:
            loss[more], grad[more], matrix[more] = objective.gauss_newtons(theta[more], None if v is None else v[more])
    return theta, loss


def _damped_steps(matrix: np.ndarray, grad: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Steps ``-(G + mu diag G)^-1 g`` of every run for every trial damping, (runs, trials, p)."""
    diagonal = np.einsum("mpp->mp", matrix)
    diagonal = diagonal + _FLOOR * diagonal.mean(axis=1, keepdims=True) + 1e-300
    p, count = grad.shape[1], len(_TRIALS)
    damped = np.repeat(matrix[:, None], count, axis=1)
    damped[:, :, np.arange(p), np.arange(p)] += (mu[:, None] * np.array(_TRIALS))[:, :, None] * diagonal[:, None]
    right = np.broadcast_to(-grad[:, None, :, None], (len(grad), count, p, 1))
    return np.linalg.solve(damped, right)[..., 0]
