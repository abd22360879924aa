"""How far every row alone pulls a fit: its leverage, and its part in the gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..kernels import Op
from ..losses import SQUARED
from .objective import Objective

_NUMBERS = 1 << 21  # of a Jacobian that is held at a time


def leverages(objective: Objective, theta: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Leverages ``h_i = w_i J_i H^-1 J_i'`` of all samples under squared loss, in one pass, O(n n_parameters^2).

    Parameters
    ----------
    objective : Objective
        Of one output.
    theta : ndarray (n_parameters,)
    root : ndarray (n_parameters, n_parameters)
        ``root root'`` is the inverse of ``H = sum_i w_i J_i' J_i``.

    Returns
    -------
    ndarray (n,)
        Numbers in [0, 1], that sum to n_parameters.
    """
    found = np.empty(objective.n_rows)
    for rows, jacobian, _, w in _jacobians(objective, theta):
        turned = jacobian[:, 0] @ root
        squares = np.einsum("ij,ij->i", turned, turned)
        found[rows] = squares if w is None else w * squares
    return found


def score_products(objective: Objective, theta: np.ndarray) -> np.ndarray:
    """``sum_i w_i^2 s_i s_i'`` over gradients ``s_i = sum_o l'_io J_io`` of all samples, in two passes.

    Parameters
    ----------
    objective : Objective
    theta : ndarray (n_parameters,)

    Returns
    -------
    ndarray (n_parameters, n_parameters)
    """
    from ..kernels.reference_losses import LOSSES

    loss, m = objective.model.loss, objective.model.n_outputs
    kernel = LOSSES[loss.code]
    f = objective.predict(theta).reshape(-1, m)
    total = np.zeros((len(theta), len(theta)))
    for rows, jacobian, y, w in _jacobians(objective, theta):
        slopes = kernel.slope(f[rows], y.reshape(-1, m), loss.delta)  # type: ignore[union-attr]
        scores = np.einsum("io,iop->ip", slopes, jacobian)
        scores = scores if w is None else scores * w[:, None]
        total += scores.T @ scores
    return total


def _jacobians(
    objective: Objective, theta: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Samples block by block: which, the Jacobian of the outputs (m, outputs, n_parameters), responses, weights."""
    from ..kernels.reference import jacobian

    model, engine, order = objective.model, objective.engine, objective.order
    outputs = objective.with_model(model.changed(loss=SQUARED, penalty=None))
    p, op = outputs.op(Op.GRAM, theta, free_v=model.free_v, free_c=model.fit_intercept)
    n, step = engine.shape[0], max(1, _NUMBERS // (len(theta) * model.n_outputs))
    engine.meter.count(n)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        x, y, w = engine.rows(rows.start, rows.stop)
        if engine.has_ones:
            x = x[:, :-1]
        found = jacobian(x, p, op)
        yield rows, found if order is None else found[:, :, order[:-1]], np.zeros(len(x)) if y is None else y, w
