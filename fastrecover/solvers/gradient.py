"""Gradient descent: constant step as the papers run it, or a line search of several steps in one pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..sweeps import Objective
from .state import State

_LADDER = 4.0 ** np.arange(1, -4, -1)


class GradientDescent:
    """Gradient descent (solver ``gd``).

    Parameters
    ----------
    step_size : float or "curvature", optional
        Constant step, or 1 over the largest curvature at the start.  By default each step is the best of five
        between 4 and 1/64 times the last one, their
        losses taken in one pass, and the first is the inverse of the curvature along the gradient.
    """

    name = "gd"

    def __init__(self, step_size: float | str | None = None) -> None:
        known = step_size is None or step_size == "curvature"
        if not known and not (isinstance(step_size, (int, float)) and np.isfinite(step_size) and step_size > 0):
            raise ValueError(f"step_size must be a positive number, 'curvature' or None, got {step_size!r}")
        self.step_size = step_size

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass."""
        loss, grad = objective.value_and_grad(theta)
        constant = self.step_size
        if constant == "curvature":
            constant = safe_step(objective, theta)
        state = State(theta, loss, grad, memory={} if constant is None else {"constant": constant})
        return replace(state, decrement=_bound(state.memory.get("constant"), grad))

    def resume(self, objective: Objective, theta: np.ndarray, memory: dict[str, Any]) -> State:
        """State at theta with the step that an earlier run has ended with, if it was one of this solver."""
        state = self.begin(objective, theta)
        known = {"t": memory["t"]} if "t" in memory and "constant" not in state.memory else {}
        return replace(state, memory=state.memory | known)

    def step(self, objective: Objective, state: State) -> State:
        """One step downhill."""
        t, memory = state.memory.get("constant"), state.memory
        if t is None:
            t = self._search(objective, state)
            if t == 0:
                return replace(state, stopped=True, message="stalled: no step along the gradient decreases the loss")
            memory = {"t": t}
        theta = state.theta - t * state.grad
        loss, grad = objective.value_and_grad(theta)
        return replace(state, theta=theta, loss=loss, grad=grad, memory=memory, decrement=_bound(t, grad))

    @staticmethod
    def _search(objective: Objective, state: State) -> float:
        t = state.memory.get("t")
        if t is None:
            product = objective.hessp(state.theta, state.grad, gauss_newton=True)
            t = float(state.grad @ state.grad) / max(float(state.grad @ product), 1e-300)
        for _ in range(4):
            ladder = t * _LADDER
            losses = objective.values(state.theta - ladder[:, None] * state.grad)
            best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.inf)))
            if losses[best] < state.loss:
                return float(ladder[best])
            t = ladder[-1]
        return 0.0


def _bound(t: float | None, grad: np.ndarray) -> float:
    """Bound on the Newton decrement where the step t is near the inverse of the largest curvature.

    It holds for condition numbers up to 100: ``g' H^-1 g <= cond |g|^2 / largest``.
    """
    with np.errstate(over="ignore"):  # of steps that diverge: inf says so
        return np.inf if t is None else 10.0 * float(np.sqrt(t) * np.linalg.norm(grad))


class StochasticGradientDescent:
    """Gradient descent on batches (solver ``sgd``).

    The rows are cut into consecutive batches that are taken in order, again and again.  After half of all steps the
    step size is divided by `cut` at every eighth of them.

    Parameters
    ----------
    step_size : float or "curvature"
        First step, or 1 over the largest curvature at the start.
    batch_size : int
        Rows of a batch, at least; fewer where there are fewer.
    steps : int
        Steps in all.
    cut : float
        1 keeps the step constant.
    """

    name = "sgd"
    sampled = True  # losses are of batches, which cannot be compared

    def __init__(
        self, step_size: float | str = "curvature", batch_size: int = 4096, steps: int = 2000, cut: float = 4.0
    ) -> None:
        for label, count in (("batch_size", batch_size), ("steps", steps)):
            if count < 1:
                raise ValueError(f"{label} must be at least 1, got {count}")
        if not cut >= 1:
            raise ValueError(f"cut must be at least 1, got {cut!r}")
        self.constant, self.batch_size, self.steps, self.cut = GradientDescent(step_size), batch_size, steps, cut

    def batches(self, n_rows: int) -> int:
        """Batches that the rows are cut into."""
        return max(1, n_rows // self.batch_size)

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta: loss on all rows, step size where none was given."""
        state = self.constant.begin(objective, theta)
        return replace(state, memory={"t": state.memory["constant"], "taken": 0})

    def step(self, objective: Objective, state: State) -> State:
        """One step on the next batch; after the last one the loss on all rows."""
        taken = state.memory["taken"]
        if taken == self.steps:
            return self.finished(objective, state, self.end)
        count = self.batches(objective.n_rows)
        return self.moved(objective if count == 1 else objective.on(objective.engine.part(taken % count, count)), state)

    def moved(self, objective: Objective, state: State) -> State:
        """One step along the gradient on all rows of an objective."""
        t, taken = state.memory["t"], state.memory["taken"]
        loss, grad = objective.value_and_grad(state.theta)
        late = max(0, 8 * taken // self.steps - 3)
        theta = objective.projected(state.theta - t * self.cut**-late * grad)
        memory = {"t": t, "taken": taken + 1}
        return replace(state, theta=theta, loss=loss, grad=grad, memory=memory, decrement=np.inf)

    @staticmethod
    def finished(objective: Objective, state: State, message: str) -> State:
        """The end, with loss and gradient on all rows of an objective."""
        loss, grad = objective.value_and_grad(state.theta)
        bound = _bound(state.memory["t"], grad)
        return replace(state, loss=loss, grad=grad, decrement=bound, stopped=True, message=message)

    @property
    def end(self) -> str:
        """What is said after the last step."""
        return f"all {self.steps} steps were taken"


class ResampledGradientDescent(StochasticGradientDescent):
    """Gradient descent that takes fresh rows for every step (solver ``resampled-gd``; Zhong et al. 2017).

    The rows are cut into as many consecutive batches as there are steps and each batch is used once, so every
    step is independent of the point it is taken from, as the proof requires.

    Parameters
    ----------
    step_size : float or "curvature"
        Constant step, or 1 over the largest curvature at the start.
    n_batches : int
        Batches, and so steps; fewer where there are fewer rows.
    """

    name = "resampled-gd"
    end = "every batch was used once"

    def __init__(self, step_size: float | str = "curvature", n_batches: int = 100) -> None:
        if n_batches < 1:
            raise ValueError(f"n_batches must be at least 1, got {n_batches}")
        super().__init__(step_size, 1, n_batches, 1.0)

    def batches(self, n_rows: int) -> int:
        """One for each step, none of them empty."""
        return min(self.steps, n_rows)

    def step(self, objective: Objective, state: State) -> State:
        """One step on the next batch; after the last one the loss on all rows."""
        if state.memory["taken"] == self.batches(objective.n_rows):
            return self.finished(objective, state, self.end)
        return super().step(objective, state)


def safe_step(objective: Objective, theta: np.ndarray) -> float:
    """Inverse of the largest curvature, 1 where there is none: units that are off on every row."""
    return 1.0 / (largest_curvature(objective, theta) or 1.0)


def largest_curvature(objective: Objective, theta: np.ndarray, iterations: int = 12) -> float:
    """Largest eigenvalue of the Gauss-Newton matrix, by power iteration (one pass each)."""
    v = np.random.default_rng(0).standard_normal(len(theta))
    size = float(np.linalg.norm(v))
    for _ in range(iterations):
        v = objective.hessp(theta, v / (size or 1.0), gauss_newton=True)
        size = float(np.linalg.norm(v))
    return size
