"""Limited-memory BFGS on one or many parameter vectors at once.

Restarts are extra columns of the same sweep: every pass evaluates loss and gradient of one trial point of each
run.  With a preconditioner (the factored Gauss-Newton matrix of a sub-sample) the initial curvature is already
right up to sampling error, and a handful of full passes reach the minimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..sweeps import Objective
from .loop import State

_ARMIJO = 1e-4
_MAX_GROWTH = 10.0


class LBFGS:
    """L-BFGS with backtracking by cubic interpolation (solver ``lbfgs``).

    Parameters
    ----------
    memory : int
        Curvature pairs kept.
    precondition : callable, optional
        ``precondition(g)`` applies the inverse of an approximate Hessian.
    """

    name = "lbfgs"

    def __init__(self, memory: int = 20, precondition: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.memory, self.precondition = memory, precondition

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass."""
        loss, grad = objective.value_and_grad(theta)
        state = State(theta, loss, grad, memory={"pairs": []})
        return replace(state, decrement=self._decrement(state))

    def step(self, objective: Objective, state: State) -> State:
        """One step: usually one pass, more when the trial point must be pulled back."""
        g, pairs = state.grad, state.memory["pairs"]
        direction = -self._apply(g, pairs)
        slope = float(direction @ g)
        if slope >= 0:
            direction, slope, pairs = -g, -float(g @ g), []
        first = 1.0 if pairs or self.precondition else min(1.0, np.sqrt(2 * state.loss) / np.linalg.norm(g))
        for t, loss, grad in self._trials(objective, state, direction, slope, first):
            if loss <= state.loss + _ARMIJO * t * slope:
                break
        else:
            if pairs:
                return replace(state, memory={"pairs": []})
            return replace(state, stopped=True, message="stalled: no step along the search direction decreases the loss")
        new = State(state.theta + t * direction, loss, grad, iteration=state.iteration, stalled=state.stalled)
        new.memory = {"pairs": extended(pairs, t * direction, grad - g, self.memory)}
        new.decrement = self._decrement(new)
        return new

    def _trials(self, objective, state, direction, slope, t):
        for _ in range(12):
            loss, grad = objective.value_and_grad(state.theta + t * direction)
            if not np.isfinite(loss):
                loss = np.inf
            yield t, loss, grad
            curved = 2 * (loss - state.loss - t * slope)
            guess = -slope * t * t / curved if np.isfinite(curved) and curved > 0 else 0.0
            t = float(np.clip(guess, 0.1 * t, 0.5 * t))

    def _apply(self, g: np.ndarray, pairs: list) -> np.ndarray:
        q, alphas = g.copy(), []
        for s, y, rho in reversed(pairs):
            alphas.append(rho * (s @ q))
            q -= alphas[-1] * y
        if self.precondition:
            q = self.precondition(q)
        elif pairs:
            s, y, _ = pairs[-1]
            q *= (s @ y) / (y @ y)
        for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
            q += (alpha - rho * (y @ q)) * s
        return q

    def _decrement(self, state: State) -> float:
        if not self.precondition:
            return np.nan
        return float(np.sqrt(max(state.grad @ self._apply(state.grad, state.memory["pairs"]), 0.0)))


def extended(pairs: list, s: np.ndarray, y: np.ndarray, memory: int) -> list:
    """Curvature pairs with a new one, if it has positive curvature."""
    sy = float(s @ y)
    if sy <= 1e-10 * float(np.linalg.norm(s) * np.linalg.norm(y)):
        return pairs
    return [*pairs, (s, y, 1.0 / sy)][-memory:]


def minimise_many(
    objective: Objective, thetas: np.ndarray, *, iterations: int, memory: int = 20, exact_loss: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS from several starts side by side, one pass for one trial point of every run.

    Parameters
    ----------
    objective : Objective
    thetas : ndarray (m, n_parameters)
    iterations : int
        Passes.
    memory : int
    exact_loss : float
        End as soon as one run is at or below it.

    Returns
    -------
    thetas : ndarray (m, n_parameters)
    losses : ndarray (m,)
    """
    solver = LBFGS(memory)
    losses, grads = objective.values_and_grads(thetas)
    runs = [_Run(*each) for each in zip(thetas.copy(), losses, grads, strict=True)]
    for _ in range(iterations):
        active = [run for run in runs if not run.done]
        if not active or min(run.loss for run in runs) <= exact_loss:
            break
        for run in active:
            run.aim(solver)
        losses, grads = objective.values_and_grads(np.array([run.trial for run in active]))
        for run, loss, grad in zip(active, losses, grads, strict=True):
            run.judge(loss, grad, memory)
    return np.array([run.theta for run in runs]), np.array([run.loss for run in runs])


class _Run:
    """One of several L-BFGS runs that share their passes."""

    def __init__(self, theta: np.ndarray, loss: float, grad: np.ndarray) -> None:
        self.theta, self.loss, self.grad = theta, loss, grad
        self.pairs: list = []
        self.direction: np.ndarray | None = None
        self.trial, self.t, self.slope, self.fails, self.done, self.slow = theta, 1.0, 0.0, 0, False, 0

    def aim(self, solver: LBFGS) -> None:
        """Set the next trial point."""
        if self.direction is None:
            self.direction = -solver._apply(self.grad, self.pairs)
            self.slope = float(self.direction @ self.grad)
            norm = np.linalg.norm(self.grad)
            self.t = 1.0 if self.pairs else min(1.0, np.sqrt(2 * self.loss) / max(norm, 1e-300))
            if self.slope >= 0:
                self.done = True
        self.trial = self.theta + self.t * self.direction

    def judge(self, loss: float, grad: np.ndarray, memory: int) -> None:
        """Accept the trial point or pull it back."""
        if np.isfinite(loss) and loss <= self.loss + _ARMIJO * self.t * self.slope:
            self.slow = self.slow + 1 if loss > self.loss * (1 - 1e-9) else 0
            self.pairs = extended(self.pairs, self.trial - self.theta, grad - self.grad, memory)
            self.theta, self.loss, self.grad = self.trial, float(loss), grad
            self.direction, self.fails = None, 0
            self.done = self.done or self.slow > 5
            return
        curved = 2 * (loss - self.loss - self.t * self.slope)
        guess = -self.slope * self.t**2 / curved if np.isfinite(curved) and curved > 0 else 0.0
        self.t = float(np.clip(guess, 0.1 * self.t, 0.5 * self.t))
        self.fails += 1
        if self.fails > 10:
            self.direction, self.fails, self.done = None, 0, not self.pairs
            self.pairs = []
