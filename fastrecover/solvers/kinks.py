"""Gauss-Newton steps that know the kinks of the loss nearby, and may end in them.

Between kinks the loss is smooth and its Gauss-Newton model good; a step that crosses some meets gradients that have
jumped, and descent along gradients then zigzags and stalls.  Here the model keeps every convex kink nearby as what it
is, a ``max`` of two slopes, so that its minimum lies in as many kinks as it should (a box-constrained dual problem).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..sweeps import KinkedModel, Objective, kinked_model
from .state import State

_LENGTHS = np.array([1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3])
_FIRST_DAMPING, _MORE, _GIVE_UP = 1e-8, 100.0, 1.0
_KINKS = 3  # for each parameter


class KinkedGaussNewton:
    """Damped steps to the minimum of a piecewise quadratic model.

    For small problems with a loss of the output, from a point near the minimum.
    """

    name = "kinks"

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, after two passes."""
        return self._at(objective, theta, _FIRST_DAMPING)

    def step(self, objective: Objective, state: State) -> State:
        """The lowest of some points along the step to the model's minimum, or more damping."""
        losses = objective.values(state.theta + _LENGTHS[:, None] * state.memory["step"])
        best = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
        damping = state.memory["damping"]
        if losses[best] < state.loss:
            new = self._at(objective, state.theta + _LENGTHS[best] * state.memory["step"], damping)
            return replace(new, iteration=state.iteration, stalled=state.stalled)
        if damping >= _GIVE_UP:
            return replace(state, stopped=True, message="stalled: no step decreases the loss")
        # The point is kept, so that the loop sees that nothing has moved.
        step = _to_minimum(state.memory["model"], damping * _MORE)[0]
        return replace(state, memory={**state.memory, "step": step, "damping": damping * _MORE})

    @staticmethod
    def _at(objective: Objective, theta: np.ndarray, damping: float) -> State:
        model = kinked_model(objective, theta, _KINKS * len(theta))
        step, fall = _to_minimum(model, damping)
        memory = {"step": step, "damping": damping, "model": model, "matrix": model.matrix}
        return State(theta, model.loss, model.grad, float(np.sqrt(2.0 * max(fall, 0.0))), memory=memory)


def _to_minimum(model: KinkedModel, damping: float) -> tuple[np.ndarray, float]:
    """Step to the minimum of a model, and how far it falls; `damping` is relative to the diagonal of its matrix."""
    from scipy.linalg import solve_triangular

    diagonal = np.diag(model.matrix)
    least = np.finfo(np.float64).eps * len(diagonal) * float(diagonal.max(initial=0.0)) + 1e-300
    root = np.linalg.cholesky(model.matrix + np.diag(damping * diagonal + least))
    behind = model.offsets > 0.0
    before = model.grad - model.jumps[behind].sum(axis=0)  # the gradient without the jumps that lie behind
    turned = solve_triangular(root, np.column_stack([model.jumps.T, before]), lower=True, check_finite=False)
    jumps, rest = turned[:, :-1], turned[:, -1]
    shares = _box_minimum(jumps.T @ jumps, jumps.T @ rest - model.offsets, behind.astype(float))
    pull = rest + jumps @ shares
    fall = model.offsets[behind].sum() - model.offsets @ shares + 0.5 * float(pull @ pull)
    return -solve_triangular(root, pull, lower=True, trans=1, check_finite=False), float(fall)


def _box_minimum(matrix: np.ndarray, linear: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The minimum of ``t' M t / 2 + q' t`` with all t in [0, 1]."""
    from scipy.optimize import minimize

    if not len(start):
        return start

    def value_and_grad(t: np.ndarray) -> tuple[float, np.ndarray]:
        product = matrix @ t
        return float(t @ (0.5 * product + linear)), product + linear

    scale = max(float(np.abs(linear).max()), 1e-300)
    bounds, tight = [(0.0, 1.0)] * len(start), {"maxiter": 500, "ftol": 1e-15, "gtol": 1e-10 * scale}
    t = minimize(value_and_grad, start, jac=True, method="L-BFGS-B", bounds=bounds, options=tight).x
    free = (t > 1e-6) & (t < 1.0 - 1e-6)
    if free.any():  # to full precision where the box does not hold
        fixed = np.where(t > 0.5, 1.0, 0.0)
        right = -(linear + matrix[:, ~free] @ fixed[~free])[free]
        exact = fixed.copy()
        exact[free] = np.linalg.lstsq(matrix[np.ix_(free, free)], right, rcond=None)[0]
        rounding = 1e-12 * scale
        if (exact == np.clip(exact, 0.0, 1.0)).all() and value_and_grad(exact)[0] <= value_and_grad(t)[0] + rounding:
            return exact
    return np.asarray(t)
