"""Limited-memory BFGS on one or many parameter vectors at once.

Restarts are extra columns of the same sweep: every pass evaluates loss and gradient of one trial point of each
run.  With a preconditioner the initial curvature is already right up to sampling error, and a handful of full passes
reach the minimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..sweeps import Objective
from .loop import indistinct
from .preconditioner import Preconditioner
from .state import State

_ARMIJO = 1e-4
_FLATTER = 0.9  # where losses differ by rounding only, the slope must fall below this fraction
_TELLING_PAIRS = 5


#: A curvature pair: step s, change y of the gradient, 1 / (s . y).
Pair: TypeAlias = tuple[np.ndarray, np.ndarray, float]


class LBFGS:
    """L-BFGS with backtracking by quadratic interpolation (solver ``lbfgs``).

    Parameters
    ----------
    memory : int
        Curvature pairs kept.
    preconditioner : Preconditioner, optional
        Inverse of an approximate Hessian; :meth:`begin` puts it into the state, where later steps find it.
    """

    name = "lbfgs"

    def __init__(self, memory: int = 20, preconditioner: Preconditioner | None = None) -> None:
        self.memory, self.preconditioner = memory, preconditioner

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass."""
        loss, grad = objective.value_and_grad(theta)
        return with_direction(State(theta, loss, grad), [], self.preconditioner)

    def step(self, objective: Objective, state: State) -> State:
        """One step: usually one pass, more when the trial point must be pulled back."""
        g, pairs, direction = state.grad, state.memory["pairs"], state.memory["direction"]
        preconditioner: Preconditioner | None = state.memory["preconditioner"]
        slope = float(direction @ g)
        if slope >= 0:
            direction, slope, pairs = -g, -float(g @ g), []
        known = bool(pairs) or preconditioner is not None
        first = 1.0 if known else min(1.0, np.sqrt(2 * abs(state.loss)) / np.linalg.norm(g))
        trials = self._trials(objective, state, direction, slope, first)
        found = next((trial for trial in trials if self._lower(state.loss, slope, direction, *trial)), None)
        if found is None:
            if pairs:
                return with_direction(replace(state), [], preconditioner)
            return replace(
                state, stopped=True, message="stalled: no step along the search direction decreases the loss"
            )
        t, loss, grad = found
        new = State(state.theta + t * direction, loss, grad, iteration=state.iteration, stalled=state.stalled)
        return with_direction(new, extended(pairs, t * direction, grad - g, self.memory), preconditioner)

    @staticmethod
    def _lower(before: float, slope: float, direction: np.ndarray, t: float, loss: float, grad: np.ndarray) -> bool:
        """Armijo's condition or, at rounding level, that the gradient along the direction has shrunk."""
        if loss <= before + _ARMIJO * t * slope:
            return True
        return indistinct(before, loss) and abs(float(direction @ grad)) <= _FLATTER * abs(slope)

    @staticmethod
    def _trials(
        objective: Objective, state: State, direction: np.ndarray, slope: float, t: float
    ) -> Iterator[tuple[float, float, np.ndarray]]:
        """Step lengths with their losses and gradients, each length from a parabola through the last."""
        for _ in range(12):
            loss, grad = objective.value_and_grad(state.theta + t * direction)
            if not np.isfinite(loss):
                loss = np.inf
            yield t, loss, grad
            curved = 2 * (loss - state.loss - t * slope)
            guess = -slope * t * t / curved if np.isfinite(curved) and curved > 0 else 0.0
            t = float(np.clip(guess, 0.1 * t, 0.5 * t))


def with_direction(state: State, pairs: list[Pair], preconditioner: Preconditioner | None) -> State:
    """A new state, given its search direction, and the decrement along it."""
    direction = -_applied(state.grad, pairs, preconditioner)
    state.memory = {"pairs": pairs, "direction": direction, "preconditioner": preconditioner}
    # The curvature pairs alone tell the metric once there are a few of them.
    has_metric = preconditioner is not None or len(pairs) >= _TELLING_PAIRS
    state.decrement = math.sqrt(max(-float(state.grad @ direction), 0.0)) if has_metric else np.inf
    return state


def _applied(g: np.ndarray, pairs: list[Pair], preconditioner: Preconditioner | None) -> np.ndarray:
    """The inverse of the curvature model times g, by the two-loop recursion."""
    q, alphas = g.copy(), []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * (s @ q))
        q -= alphas[-1] * y
    if preconditioner is not None:
        q = preconditioner.apply(q)
    elif pairs:
        s, y, _ = pairs[-1]
        q *= (s @ y) / (y @ y)
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - rho * (y @ q)) * s
    return q


def extended(pairs: list[Pair], s: np.ndarray, y: np.ndarray, memory: int) -> list[Pair]:
    """Curvature pairs with a new one, if it has positive curvature."""
    sy = float(s @ y)
    if sy <= 1e-10 * float(np.linalg.norm(s) * np.linalg.norm(y)):
        return pairs
    return [*pairs, (s, y, 1.0 / sy)][-memory:]


def minimise_many(
    objective: Objective,
    thetas: np.ndarray,
    *,
    iterations: int,
    memory: int = 20,
    exact_loss: float = 0.0,
    output_weights: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS from several starts side by side: one pass evaluates one trial point of every run.

    The runs share passes but nothing else; all their linear algebra is done on stacked arrays, so a hundred
    small runs cost little more than one.

    Parameters
    ----------
    objective : Objective
    thetas : ndarray (m, n_parameters)
    iterations : int
        Passes at most.
    memory : int
    exact_loss : float
        End as soon as one run is at or below it.
    output_weights : ndarray (m, n_hidden), optional
        Fixed output weights of each run, in place of the model's.
    stop : callable
        Asked before every pass; true ends all runs where they are.

    Returns
    -------
    thetas : ndarray (m, n_parameters)
    losses : ndarray (m,)
    """
    batch = _Batch(objective, np.array(thetas, np.float64), memory, output_weights)
    for _ in range(iterations):
        if batch.done.all() or batch.loss.min() <= exact_loss or stop():
            break
        batch.advance()
    return batch.theta, batch.loss


class _Batch:
    """Several L-BFGS runs as rows of stacked arrays; absent curvature pairs have rho = 0 and drop out."""

    def __init__(self, objective: Objective, thetas: np.ndarray, memory: int, v: np.ndarray | None) -> None:
        self.objective, self.theta, self.v = objective, thetas, v
        m, p = thetas.shape
        self.loss, self.grad = objective.values_and_grads(thetas, v)
        self.s, self.y, self.rho = np.zeros((memory, m, p)), np.zeros((memory, m, p)), np.zeros((memory, m))
        self.slow, self.fails = np.zeros(m, int), np.zeros(m, int)
        self.done = ~np.isfinite(self.loss)
        self.direction, self.slope, self.t = np.zeros((m, p)), np.zeros(m), np.zeros(m)
        self.fresh = np.ones(m, bool)  # runs that need a new direction

    def advance(self) -> None:
        """One pass: a trial point of every run that is not done."""
        with np.errstate(
            over="ignore", invalid="ignore", divide="ignore"
        ):  # a run may go anywhere before it is pulled back
            self._advance()

    def _advance(self) -> None:
        aim = np.flatnonzero(self.fresh & ~self.done)
        if aim.size:
            self._aim(aim)
        at = np.flatnonzero(~self.done)
        if not at.size:
            return
        trial = self.theta[at] + self.t[at, None] * self.direction[at]
        loss, grad = self.objective.values_and_grads(trial, None if self.v is None else self.v[at])
        good = (
            np.isfinite(loss)
            & np.isfinite(grad).all(axis=1)
            & (loss <= self.loss[at] + _ARMIJO * self.t[at] * self.slope[at])
        )
        self._accept(at[good], trial[good], loss[good], grad[good])
        self._pull_back(at[~good], loss[~good])

    def _aim(self, at: np.ndarray) -> None:
        grad = self.grad[at]
        q, alphas = grad.copy(), []
        used = max(1, int(self.rho[:, at].any(axis=1).sum()))  # pairs of a run are its first ones
        s, y, rho = (a[:used, at] for a in (self.s, self.y, self.rho))
        for i in range(used):
            alphas.append(rho[i] * np.einsum("mp,mp->m", s[i], q))
            q -= alphas[-1][:, None] * y[i]
        yy = np.einsum("mp,mp->m", y[0], y[0])
        has = rho[0] > 0
        gamma = np.divide(1.0, rho[0] * yy, out=np.ones(len(at)), where=has)
        q *= np.where(np.isfinite(gamma), gamma, 1.0)[:, None]
        for i in reversed(range(used)):
            beta = rho[i] * np.einsum("mp,mp->m", y[i], q)
            q += (alphas[i] - beta)[:, None] * s[i]
        slope = -np.einsum("mp,mp->m", q, grad)
        bad = ~(slope < 0)
        q[bad] = grad[bad]
        slope[bad] = -(q[bad] ** 2).sum(axis=1)
        norm = np.sqrt((grad**2).sum(axis=1))
        first = np.minimum(1.0, np.sqrt(2 * np.abs(self.loss[at])) / np.maximum(norm, 1e-300))
        self.direction[at], self.slope[at] = -q, slope
        self.t[at] = np.where(has & ~bad, 1.0, first)
        self.done[at[norm == 0]] = True
        self.fresh[at] = False

    def _accept(self, at: np.ndarray, trial: np.ndarray, loss: np.ndarray, grad: np.ndarray) -> None:
        if not at.size:
            return
        s, y = trial - self.theta[at], grad - self.grad[at]
        sy = np.einsum("mp,mp->m", s, y)
        curved = sy > 1e-10 * np.sqrt((s**2).sum(axis=1) * (y**2).sum(axis=1))
        new = at[curved]
        for stack, value in ((self.s, s[curved]), (self.y, y[curved]), (self.rho, 1.0 / sy[curved])):
            stack[1:, new] = stack[:-1, new]
            stack[0, new] = value
        self.slow[at] = np.where(self.loss[at] - loss < 1e-9 * np.abs(self.loss[at]), self.slow[at] + 1, 0)
        self.theta[at], self.loss[at], self.grad[at] = trial, loss, grad
        self.fresh[at], self.fails[at] = True, 0
        self.done[at[self.slow[at] > 5]] = True

    def _pull_back(self, at: np.ndarray, loss: np.ndarray) -> None:
        if not at.size:
            return
        t, slope = self.t[at], self.slope[at]
        curved = 2 * (loss - self.loss[at] - t * slope)
        usable = np.isfinite(curved) & (curved > 0)
        guess = np.divide(-slope * t * t, curved, out=0.1 * t, where=usable)
        self.t[at] = np.clip(guess, 0.1 * t, 0.5 * t)
        self.fails[at] += 1
        lost = at[self.fails[at] > 10]
        # A run that fails even along its gradient is at a minimum (or a kink).
        self.done[lost[self.rho[0, lost] == 0]] = True
        self.rho[:, lost], self.fails[lost], self.fresh[lost] = 0.0, 0, True
