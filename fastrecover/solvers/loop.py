"""The one loop around every solver, and the record it keeps.

A solver is ``begin(objective, theta) -> State`` and ``step(objective, state) -> State``; everything it must
remember is plain data in the state, so a run can be stopped, looked at and continued between any two steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from ..sweeps import Landscape, Objective

#: With a kinked activation the empirical gradient jumps where a row crosses a kink; decreases below this fraction
#: of the statistical excess loss ``loss p / n`` are those jumps and end a run after three steps.
_KINK_RESOLUTION = 1e-4

#: So the gradient tells the distance to the minimiser only to about KINK_DISTANCE / sqrt(n) of its statistical error;
#: a tolerance within KINK_SLACK of that is not worth the passes in which steps are refused.
_KINK_DISTANCE, _KINK_SLACK = 5.0, 20.0

_SILENCE = 1.0  # seconds that a callback is left without a word

T = TypeVar("T")

#: A loss below (EXACT * eps)^2 of the mean square of y is rounding: the fit is exact.
EXACT = 30.0

_ROUNDING = 16  # units in the last place by which losses of equal points may differ
#: A step at rounding level counts where what is left of the gradient is below this fraction.
SHRUNK = 0.7


@dataclass
class State:
    """Where a solver is.

    Attributes
    ----------
    theta, grad : ndarray (n_parameters,)
    loss : float
    decrement : float
        Newton decrement ``sqrt(g' B^-1 g)`` with the solver's curvature model B: the distance to the minimiser
        in the metric of the loss; inf where the solver cannot tell.
    iteration, stalled : int
    converged, stopped : bool
    message : str
    memory : dict
        What the solver itself remembers.
    """

    theta: np.ndarray
    loss: float
    grad: np.ndarray
    decrement: float = np.inf
    iteration: int = 0
    stalled: int = 0
    converged: bool = False
    stopped: bool = False
    message: str = ""
    memory: dict[str, Any] = field(default_factory=dict)


class Solver(Protocol):
    """What the loop needs of a solver; the objective is a loss, or a landscape, of one flat vector."""

    name: str

    def begin(self, objective: Any, theta: np.ndarray) -> State: ...

    def step(self, objective: Any, state: State) -> State: ...


class _Ended(Exception):
    """The callback or the budget ended a piece of work between two sweeps."""


class Monitor:
    """History, progress callback and budget of one fit, shared by all its stages.

    Parameters
    ----------
    callback : callable, optional
        Called with a dict (stage, pass, loss, grad_norm, rows, seconds) after every step, and every second between
        steps; returning True ends the fit.
    max_passes : float
        Passes after which stages stop.
    """

    columns = ("stage", "pass", "loss", "grad_norm", "rows", "seconds")

    def __init__(self, callback: Callable[[dict], Any] | None = None, max_passes: float = np.inf) -> None:
        self.callback, self.max_passes = callback, max_passes
        self.history: dict[str, list] = {name: [] for name in self.columns}
        self.started = time.perf_counter()
        self.ended = False
        self._last: tuple[str, float] = ("start", np.nan)
        self._told, self._endable = 0.0, False

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self.started

    def record(
        self, objective: Objective | Landscape, stage: str, loss: float, grad: np.ndarray | float = np.nan
    ) -> None:
        """Add one line to the history and tell the callback."""
        norm = float(np.linalg.norm(grad))
        line = (stage, objective.passes, float(loss), norm, objective.n_rows, self.seconds)
        for name, value in zip(self.columns, line, strict=True):
            self.history[name].append(value)
        self._last = stage, float(loss)
        self._tell(line)

    def _tell(self, line: tuple) -> None:
        if self.callback is None or self.ended:
            return
        answer = self.callback(dict(zip(self.columns, line, strict=True)))
        self._told = self.seconds
        self.ended = isinstance(answer, (bool, np.bool_)) and bool(answer)

    @contextmanager
    def watching(self, meter: Any) -> Iterator[None]:
        """Hear of every sweep that a meter counts, since a start may take longer than all that follows.

        The callback is told of them where it has not been called for a second: the stage of the last step ("start"
        before the first) and its loss.  The history is of steps alone.
        """

        def swept(rows: int) -> None:
            if self.seconds >= self._told + _SILENCE:
                stage, loss = self._last
                self._tell((stage, meter.passes, loss, np.nan, rows, self.seconds))
            if self._endable and self.spent(meter):
                raise _Ended

        meter.tell = swept
        try:
            yield
        finally:
            meter.tell = None

    def spent(self, meter: Any) -> bool:
        """Whether the callback or the budget has ended the fit."""
        return self.ended or meter.passes >= self.max_passes

    def unless_ended(self, work: Callable[[], T], otherwise: Callable[[], T]) -> T:
        """What `work` returns, or `otherwise` where the fit is ended before one of its sweeps."""
        before, self._endable = self._endable, True
        try:
            return work()
        except _Ended:
            pass
        finally:
            self._endable = before
        return otherwise()


def tolerance(objective: Objective, y_square: float, dtype: np.dtype) -> float:
    """Loss at and below which a fit counts as exact; no likelihood does."""
    if objective.model.is_classifier:
        return -1.0
    return (EXACT * float(np.finfo(dtype).eps)) ** 2 * y_square


def indistinct(old: float, new: float) -> bool:
    """Whether two losses differ by rounding only, so that gradients must tell which point is nearer the minimiser."""
    return bool(abs(new - old) <= _ROUNDING * np.finfo(np.float64).eps * abs(old))


def run(
    solver: Solver,
    objective: Objective | Landscape,
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
    in a row have changed nothing measurable (for kinked activations: nothing above the resolution of the kinks, which
    also bounds `tol` from below where it is not far above it; for others neither the loss nor the decrement, which is
    measurable far below the rounding of the loss).

    Parameters
    ----------
    solver : Solver
    objective : Objective or Landscape
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
    least, patience = 1e-12, 6
    if objective.kinked:
        least, patience = _KINK_RESOLUTION * objective.n_parameters / objective.n_rows, 3
        resolved = _KINK_DISTANCE / np.sqrt(objective.n_rows)
        tol = max(tol, resolved) if resolved <= _KINK_SLACK * tol else tol
    patience = getattr(solver, "patience", patience)
    if begun is None and objective.runs_off(theta):
        state = solver.begin(objective, objective.pulled_back(theta))
        state.stopped, state.message = True, objective.off
        monitor.record(objective, stage, state.loss, state.grad)
        return state
    state = solver.begin(objective, theta) if begun is None else replace(begun, message="")
    first, nearest = state.loss, state.decrement
    if begun is None:
        monitor.record(objective, stage, state.loss, state.grad)
    for _ in range(max_iterations):
        if _settled(state, objective, tol, exact_loss, patience, first):
            return state
        if monitor.ended:
            state.message = "stopped by the callback"
            return state
        if objective.passes >= monitor.max_passes:
            state.message = f"max_passes={monitor.max_passes:g} reached"
            return state
        before, state = state, solver.step(objective, state)
        if objective.runs_off(state.theta):
            before.stopped, before.message = True, objective.off
            return before
        state.iteration += 1
        moved = state.theta is not before.theta  # a decrement also falls with more damping
        nearer = moved and not objective.kinked and state.decrement < SHRUNK * nearest
        nearest = state.decrement if nearer else nearest
        state.stalled = 0 if nearer or before.loss - state.loss > least * before.loss else state.stalled + 1
        monitor.record(objective, stage, state.loss, state.grad)
    if not _settled(state, objective, tol, exact_loss, patience, first):
        state.message = f"not converged after {max_iterations} iterations"
    return state


def _settled(
    state: State,
    objective: Objective | Landscape,
    tol: float,
    exact_loss: float,
    patience: int,
    first: float,
) -> bool:
    if not np.isfinite(state.loss):
        state.stopped, state.message = True, "the loss is not finite: the steps diverge"
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
