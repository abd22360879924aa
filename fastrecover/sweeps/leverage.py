"""How far every row alone pulls a fit: its leverage, and its part in the gradient."""

from __future__ import annotations

import numpy as np

from .jacobian import jacobians
from .objective import Objective


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
    for rows, jacobian, _, w in jacobians(objective, theta):
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
    for rows, jacobian, y, w in jacobians(objective, theta):
        slopes = kernel.slope(f[rows], y.reshape(-1, m), loss.delta)  # type: ignore[union-attr]
        scores = np.einsum("io,iop->ip", slopes, jacobian)
        scores = scores if w is None else scores * w[:, None]
        total += scores.T @ scores
    return total
