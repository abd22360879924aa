"""How far every row alone pulls a fit towards itself."""

from __future__ import annotations

import numpy as np

from ..kernels import Op
from .objective import Objective

_NUMBERS = 1 << 21  # of a Jacobian that is held at a time


def leverages(objective: Objective, theta: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Leverages ``h_i = w_i J_i H^-1 J_i'`` of all samples under squared loss, in one pass, O(n n_parameters^2).

    Parameters
    ----------
    objective : Objective
    theta : ndarray (n_parameters,)
    root : ndarray (n_parameters, n_parameters)
        ``root root'`` is the inverse of ``H = sum_i w_i J_i' J_i``.

    Returns
    -------
    ndarray (n,)
        Numbers in [0, 1], that sum to n_parameters.
    """
    from ..kernels.reference import jacobian

    model, engine = objective.model, objective.engine
    p, op = objective.op(Op.GRAM, theta, free_v=model.free_v, free_c=model.fit_intercept)
    order = objective.order
    n = engine.shape[0]
    found, step = np.empty(n), max(1, _NUMBERS // len(theta))
    engine.meter.count(n)
    for start in range(0, n, step):
        x, _, w = engine.rows(start, min(start + step, n))
        rows = jacobian(x, p, op)[:, 0]
        turned = (rows if order is None else rows[:, order[:-1]]) @ root
        squares = np.einsum("ij,ij->i", turned, turned)
        found[start : start + step] = squares if w is None else w * squares
    return found
