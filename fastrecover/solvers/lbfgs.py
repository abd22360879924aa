"""Limited-memory BFGS on one or many parameter vectors at once.

Restarts are extra columns of the same sweep: every pass evaluates loss and gradient of one trial point of each
run.  With a preconditioner the initial curvature is already right up to sampling error, and a handful of full passes
reach the minimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

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

    def resume(self, objective: Objective, theta: np.ndarray, memory: dict[str, Any]) -> State:
        """State at theta with the curvature that an earlier run has learned, if it was one of this solver."""
        state = self.begin(objective, theta)
        pairs = memory.get("pairs", [])
        return with_direction(state, pairs, memory.get("preconditioner") or self.preconditioner) if pairs else state

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
        rounding = objective.rounding(state.loss)
        found = next((trial for trial in trials if self._lower(state.loss, rounding, slope, direction, *trial)), None)
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
    def _lower(
        before: float, rounding: float, slope: float, direction: np.ndarray, t: float, loss: float, grad: np.ndarray
    ) -> bool:
        """Armijo's condition or, at rounding level, that the gradient along the direction has shrunk."""
        if loss <= before + _ARMIJO * t * slope:
            return True
        return indistinct(before, loss, rounding) and abs(float(direction @ grad)) <= _FLATTER * abs(slope)

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


class Many(Protocol):
    """What gives losses and gradients at several points in one pass."""

    def values_and_grads(self, thetas: np.ndarray, own: Any, /) -> tuple[np.ndarray, np.ndarray]:
        """Losses (m,) and gradients (m, n_parameters), with what each point has of its own."""
        ...


def minimise_many(
    objective: Many,
    thetas: np.ndarray,
    *,
    iterations: int,
    memory: int = 20,
    exact_loss: float = 0.0,
    own: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS from several starts side by side: one pass evaluates one trial point of every run.

    The runs share passes but nothing else; all their linear algebra is done on stacked arrays, so a hundred
    small runs cost little more than one.

    Parameters
    ----------
    objective : Many
        An Objective, or what gives the same.
    thetas : ndarray (m, n_parameters)
    iterations : int
        Passes at most.
    memory : int
    exact_loss : float
        End as soon as one run is at or below it.
    own : ndarray (m, ...), optional
        What each run has of its own: fixed output weights (m, n_hidden) in place of the model's.
    stop : callable
        Asked before every pass; true ends all runs where they are.
    tell : callable, optional
        Told after every pass where the runs are, (m, n_parameters), and their losses (m,).

    Returns
    -------
    thetas : ndarray (m, n_parameters)
    losses : ndarray (m,)
    """
    batch = _Batch(objective, np.array(thetas, np.float64), memory, own)
    for _ in range(iterations):
        if not batch.run.size or batch.lowest <= exact_loss or stop():
            break
        batch.advance()
        if tell is not None:
            tell(*batch.ends())
    return batch.ends()


class _Batch:
    """L-BFGS runs that go on, as rows of stacked arrays.

    The inverse of the curvature is held as a product of small matrices with the pairs (Byrd, Nocedal and Schnabel 1994,
    eq. 3.1), so that a direction is a few products for all runs whatever the number of pairs.  Every pass writes one
    slot of the history for all runs: one that has taken no step gets a pair whose row and column of `inverse` are
    zero, which drops out.  So no pair is ever moved, and no run is looked up.
    """

    def __init__(self, objective: Many, thetas: np.ndarray, memory: int, own: np.ndarray | None) -> None:
        self.objective, self.left = objective, thetas
        self.losses, grad = objective.values_and_grads(thetas, own)
        going = np.isfinite(self.losses)
        self.run, self.own = np.flatnonzero(going), None if own is None else own[going]
        m, p = len(self.run), thetas.shape[1]
        self.theta, self.loss, self.grad = thetas[going], self.losses[going], grad[going]
        self.lowest = float(self.losses.min(initial=np.inf, where=going))
        self.memory, self.newest = memory, 0
        self.pairs = np.zeros((m, 2 * memory, p))  # steps s, and changes y of the gradient
        self.inverse = np.zeros((m, memory, memory))  # of s_i . y_j, i no newer than j, and 0 elsewhere
        self.curvature = np.zeros((m, memory))  # s_i . y_i
        self.grams = np.zeros((m, memory, memory))  # y_i . y_j
        self.gamma = np.zeros(m)  # 1 / curvature of the newest pair; 0 without one
        self.slow, self.fails = np.zeros(m, int), np.zeros(m, int)
        self.direction, self.slope, self.t = np.zeros((m, p)), np.zeros(m), np.zeros(m)
        self.fresh = np.ones(m, bool)  # runs that need a new direction

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Where all runs are, (m, p), and their losses (m,)."""
        self.left[self.run], self.losses[self.run] = self.theta, self.loss
        return self.left, self.losses

    def advance(self) -> None:
        """One pass: a trial point of every run that goes on."""
        # A run may go anywhere before it is pulled back.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._leave(self._aim())
            if not self.run.size:
                return
            trial = self.theta + self.t[:, None] * self.direction
            loss, grad = self.objective.values_and_grads(trial, self.own)
            good = (loss <= self.loss + _ARMIJO * self.t * self.slope) & np.isfinite(_dots(grad, grad))
            done = self._accept(good, trial, loss, grad) if good.any() else good
            self.lowest = float(self.loss.min())
            self._leave(done if good.all() else done | self._pull_back(~good, loss))

    def _aim(self) -> np.ndarray:
        """New directions where there is none; runs whose gradient is zero."""
        grad, new, memory = self.grad, self.fresh, self.memory
        has = self.gamma > 0
        gamma = np.where(has, self.gamma, 1.0)[:, None]
        along = _times(self.pairs, grad)
        u = _times(self.inverse, along[:, :memory])
        inner = self.curvature * u + gamma * (_times(self.grams, u) - along[:, memory:])
        each = np.concatenate([_times(self.inverse.transpose(0, 2, 1), inner), -gamma * u], axis=1)
        q = gamma * grad + _times(self.pairs.transpose(0, 2, 1), each)
        slope, steepest = -_dots(q, grad), _dots(grad, grad)
        bad = ~(slope < 0)
        if bad.any():
            q[bad], slope[bad] = grad[bad], -steepest[bad]
        norm = np.sqrt(steepest)
        first = np.minimum(1.0, np.sqrt(2 * np.abs(self.loss)) / np.maximum(norm, 1e-300))
        # A run on its way back keeps the direction it began with, whose pairs may be forgotten.
        self.direction = np.where(new[:, None], -q, self.direction)
        self.slope = np.where(new, slope, self.slope)
        self.t = np.where(new, np.where(has & ~bad, 1.0, first), self.t)
        self.fresh[:] = False
        return norm == 0

    def _accept(self, good: np.ndarray, trial: np.ndarray, loss: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """Go to the points that are lower; runs that gain nothing any more."""
        slot, memory = (self.newest + 1) % self.memory, self.memory
        self.newest = slot
        s, y = trial - self.theta, grad - self.grad
        sy, yy = _dots(s, y), _dots(y, y)
        curved = good & (sy > 1e-10 * np.sqrt(_dots(s, s) * yy)) & np.isfinite(sy / yy)
        s[~curved], y[~curved], sy[~curved] = 0.0, 0.0, 1.0
        self.pairs[:, slot], self.pairs[:, memory + slot] = s, y
        along = _times(self.pairs, y)
        # The oldest pair is the first row and column of a triangle, without which its inverse is that of the rest.
        self.inverse[:, slot] = self.inverse[:, :, slot] = 0.0
        self.inverse[:, :, slot] = -_times(self.inverse, along[:, :memory]) / sy[:, None]
        self.inverse[:, slot, slot] = np.where(curved, 1.0 / sy, 0.0)
        self.grams[:, slot] = self.grams[:, :, slot] = along[:, memory:]
        self.curvature[:, slot] = np.where(curved, sy, 0.0)
        self.gamma = np.where(curved, sy / yy, self.gamma)
        little = self.loss - loss < 1e-9 * np.abs(self.loss)
        self.slow = np.where(good, np.where(little, self.slow + 1, 0), self.slow)
        self.theta, self.grad = np.where(good[:, None], trial, self.theta), np.where(good[:, None], grad, self.grad)
        self.loss = np.where(good, loss, self.loss)
        self.fresh |= good
        self.fails[good] = 0
        return good & (self.slow > 5)

    def _pull_back(self, bad: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Shorten the steps that led no lower; runs that fail even along their gradient: at a minimum, or a kink."""
        t = self.t
        curved = 2 * (loss - self.loss - t * self.slope)
        usable = np.isfinite(curved) & (curved > 0)
        guess = np.divide(-self.slope * t * t, curved, out=0.1 * t, where=usable)
        self.t = np.where(bad, np.clip(guess, 0.1 * t, 0.5 * t), t)
        self.fails[bad] += 1
        lost = bad & (self.fails > 10)
        ended = lost & ~self.curvature.any(axis=1)
        self.inverse[lost], self.curvature[lost], self.gamma[lost], self.fails[lost] = 0.0, 0.0, 0.0, 0
        self.fresh |= lost
        return ended

    def _leave(self, done: np.ndarray) -> None:
        """Write down where runs are that are done, and go on without them."""
        if not done.any():
            return
        self.ends()
        on = ~done
        for name in ("run", "theta", "loss", "grad", "gamma", "slow", "fails", "direction", "slope", "t", "fresh"):
            setattr(self, name, getattr(self, name)[on])
        for name in ("pairs", "inverse", "curvature", "grams"):
            setattr(self, name, getattr(self, name)[on])
        self.own = None if self.own is None else self.own[on]


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("mp,mp->m", a, b))


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A matrix times a vector of each run."""
    return np.asarray((matrices @ vectors[:, :, None])[:, :, 0])
