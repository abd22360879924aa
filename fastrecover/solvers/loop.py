"""The one loop around every solver: when a run has converged, stalled, or used its budget."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..sweeps import Function
from .monitor import Monitor
from .state import Solver, State

#: Kinks blur the distance to the minimiser: so many times the tolerance (for many parameters, whose passes are dear),
#: and so many statistical errors at most, are not worth the passes in which steps are refused.
_BLURRED, _BLURRED_OF_MANY, _MANY, _MOST_BLURRED = 30.0, 100.0, 1500, 0.3

_ROUNDING = 16  # units in the last place by which losses of equal points may differ
DIVERGED = "the steps diverge: loss or weights grow beyond all bounds"
_FAR = 1e8  # length of theta, in units in which rows and responses are about 1, or relative to the start's
#: A step at rounding level counts where what is left of the gradient is below this fraction.
SHRUNK = 0.7

G = TypeVar("G", bound=Function)


def indistinct(old: float, new: float, rows: float = 0.0) -> bool:
    """Whether two losses differ by rounding only, so that gradients must tell which point is nearer the minimiser.

    Parameters
    ----------
    old, new : float
    rows : float
        Share of the loss that rounding of single precision rows adds (:meth:`Objective.rounding`).
    """
    return bool(abs(new - old) <= (_ROUNDING * np.finfo(np.float64).eps + rows) * abs(old))


def run(
    solver: Solver[G],
    objective: G,
    theta: np.ndarray,
    *,
    monitor: Monitor,
    stage: str,
    tol: float,
    exact_loss: float,
    max_iterations: int,
    begun: State | None = None,
) -> State:
    """Run a solver from theta until it has converged, stalled or used its budget.

    Converged means: the loss is at rounding level (`exact_loss`); or the Newton decrement is below `tol` times
    the statistical error of the minimiser in the same metric, ``sqrt(2 loss p / n)``; or several steps
    in a row have changed nothing measurable (for kinked activations: nothing above what their kinks blur, which
    also bounds `tol` from below; for others neither the loss nor the decrement, which is
    measurable far below the rounding of the loss).

    Parameters
    ----------
    solver : Solver
    objective : Function
    theta : ndarray (n_parameters,)
    monitor : Monitor
    stage : str
        Name written to the history.
    tol : float
    exact_loss : float
    max_iterations : int
    begun : State, optional
        Where an earlier run ended, to go on from.

    Returns
    -------
    State
        With ``converged`` and ``message`` set.
    """
    patience = 3 if objective.kinked else 6
    sampled = getattr(solver, "sampled", False)
    patience = max(max_iterations, 1) if sampled else patience

    def level(state: State) -> float:
        """Loss of an exact fit; that of a batch says nothing of all rows."""
        return -np.inf if sampled and not state.stopped else exact_loss

    if begun is None and objective.runs_off(theta):
        state = solver.begin(objective, objective.pulled_back(theta))
        state.stopped, state.message = True, objective.divergence_message
        monitor.record(objective, stage, state.loss, state.grad, state.theta)
        return state
    state = solver.begin(objective, theta) if begun is None else replace(begun, message="")
    first, nearest = state.loss, state.decrement
    farthest = _FAR * max(1.0, float(np.linalg.norm(state.theta)))
    if begun is None:
        monitor.record(objective, stage, state.loss, state.grad, state.theta)
    blur = _blur(objective, state, tol)
    for _ in range(max_iterations):
        if _settled(state, objective, max(tol, blur), level(state), patience, first):
            return state
        if limit := monitor.limit(objective.passes):
            return _on_all_rows(state, objective, sampled, limit)
        before, state = state, solver.step(objective, state)
        # Relative decrease that counts as one: beyond rounding, and beyond what kinks hide.
        least = 1e-12
        if objective.kinked:
            least = max(objective.resolution, blur**2) * objective.n_parameters / objective.n_rows
        blur = _blur(objective, state, tol)
        if not (np.isfinite(state.loss) and np.linalg.norm(state.theta) <= farthest):
            before.stopped = True
            return _on_all_rows(before, objective, sampled, DIVERGED)
        if objective.runs_off(state.theta):
            before.stopped, before.message = True, objective.divergence_message
            return before
        state.iteration += 1
        moved = state.theta is not before.theta  # a decrement also falls with more damping
        nearer = moved and not objective.kinked and state.decrement < SHRUNK * nearest
        nearest = state.decrement if nearer else nearest
        state.stalled = 0 if nearer or before.loss - state.loss > least * abs(before.loss) else state.stalled + 1
        monitor.record(objective, stage, state.loss, state.grad, state.theta)
    if not _settled(state, objective, max(tol, blur), level(state), patience, first):
        return _on_all_rows(state, objective, sampled, f"not converged after {max_iterations} iterations")
    return state


def _blur(objective: Function, state: State, tol: float) -> float:
    """Distance that kinks hide, in statistical errors; 0 where there are none."""
    if not objective.kinked:
        return 0.0
    most = _BLURRED if objective.n_parameters <= _MANY else _BLURRED_OF_MANY
    return min(objective.blur(state.theta, state.loss), most * tol, _MOST_BLURRED)


def _on_all_rows(state: State, objective: Function, sampled: bool, message: str) -> State:
    """Where a run is ended from outside: with the loss of all rows."""
    if sampled:
        state.loss, state.grad = objective.value_and_grad(state.theta)
    state.message = message
    return state


def _settled(
    state: State,
    objective: Function,
    tol: float,
    exact_loss: float,
    patience: int,
    first: float,
) -> bool:
    if not np.isfinite(state.loss):
        state.stopped, state.message = True, DIVERGED
        return True
    noise = objective.noise(state.loss)
    if state.loss <= exact_loss:
        state.converged, state.message = True, "exact fit: the loss is at rounding level"
    elif state.iteration == 0 and not np.any(state.grad):
        state.stopped, state.message = True, "the start is a stationary point that is no fit: begin elsewhere"
    elif state.decrement <= tol * noise * np.sqrt(objective.n_parameters / objective.n_rows):
        state.converged, state.message = True, "converged: the distance to the minimiser is below tol"
    elif state.stopped or state.stalled >= patience:
        # Kinks bound what any step can gain; a smooth loss must show it by its gradient.
        statistical = noise * np.sqrt(objective.n_parameters / objective.n_rows)
        with np.errstate(over="ignore"):  # of steps that diverge
            small = np.linalg.norm(state.grad) <= 1e-6 * max(noise, np.sqrt(max(exact_loss, 0.0)))
        small = small or objective.kinked or state.decrement <= 0.01 * statistical
        near = np.isinf(state.decrement) or state.decrement <= 0.1 * statistical
        settled = state.loss <= 100.0 * exact_loss or (small and near)
        fallen = state.loss <= first or indistinct(first, state.loss)
        state.converged, state.stopped = bool(settled and fallen), True
        if state.converged:
            state.message = "converged: no further decrease is measurable"
        else:
            state.message = state.message or "stalled: no step decreases the loss"
    return state.converged or state.stopped
