"""Gradient descent: constant step as the papers run it, or a line search of several steps in one pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..sweeps import Objective
from .loop import State

_LADDER = 4.0 ** np.arange(1, -4, -1)


class GradientDescent:
    """Gradient descent (solver ``gd``).

    Parameters
    ----------
    step_size : float, optional
        Constant step; by default each step is the best of five between 4 and 1/64 times the last one, their
        losses taken in one pass, and the first is the inverse of the curvature along the gradient.
    """

    name = "gd"

    def __init__(self, step_size: float | None = None) -> None:
        if step_size is not None and not (np.isfinite(step_size) and step_size > 0):
            raise ValueError(f"step_size must be a positive number, got {step_size!r}")
        self.step_size = step_size

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after one pass."""
        loss, grad = objective.value_and_grad(theta)
        return State(theta, loss, grad)

    def step(self, objective: Objective, state: State) -> State:
        """One step downhill."""
        t, memory = self.step_size, state.memory
        if t is None:
            t = self._search(objective, state)
            if t == 0:
                return replace(state, stopped=True, message="stalled: no step along the gradient decreases the loss")
            memory = {"t": t}
        theta = state.theta - t * state.grad
        loss, grad = objective.value_and_grad(theta)
        return replace(state, theta=theta, loss=loss, grad=grad, memory=memory)

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
