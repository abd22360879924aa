"""The loss near a point, with its kinks: where minima of kinked units lie, once rows are few or a penalty pulls.

A row next to the kink of a unit adds ``a max(0, s + x'd)`` to the loss as the unit's row moves by d, linear on either
side; where a > 0 the loss is convex there and may be smallest in the kink.  Everything comes from one set of rows and
projections, since two roundings of a projection may lie on two sides of a kink.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .objective import Objective

_BESIDE = 1e-9  # of a kink, where slopes on both sides are taken


@dataclass(frozen=True, eq=False)
class KinkedModel:
    """Gauss-Newton model of the loss at a point, and the convex kinks nearby.

    Attributes
    ----------
    loss : float
    grad : ndarray (n_parameters,)
    matrix : ndarray (n_parameters, n_parameters)
    jumps : ndarray (m, n_parameters)
        Gradient of the loss behind a kink less that before it.
    offsets : ndarray (m,)
        ``a s``: how far the loss has risen since the kink by its jump; negative before the kink.
    """

    loss: float
    grad: np.ndarray
    matrix: np.ndarray
    jumps: np.ndarray
    offsets: np.ndarray


def kinked_model(objective: Objective, theta: np.ndarray, most: int) -> KinkedModel:
    """The model with the nearest convex kinks, in one pass; for small problems, since rows come to the caller.

    Parameters
    ----------
    objective : Objective
        Of fully connected units with a loss of the output.
    theta : ndarray (n_parameters,)
    most : int
        Kinks.

    Returns
    -------
    KinkedModel
    """
    from ..kernels.reference import forward, projected, weighted_rows
    from ..kernels.reference_losses import LOSSES, OutputLoss

    model, act, k, m = objective.model, objective.model.activation, objective.model.n_hidden, objective.model.n_outputs
    total, order = objective.engine.weights().total, objective.order
    p, op = objective.gram_of(theta[None])
    objective.engine.meter.count(objective.n_rows)
    x, y, w = objective.engine.rows(0, objective.n_rows)
    assert y is not None
    x = x[:, :-1] if objective.engine.has_ones else x
    losses, rows = weighted_rows(x, y, w, p, op)
    square = (rows[0] if order is None else rows[0][:, order]) / np.sqrt(total)
    value, root = objective.penalty_rows(theta[None])
    square = square if root is None else np.concatenate([square, root[0]])
    gram = square.T @ square

    x, z = projected(op, x, p)
    x, z, y = x[:, 0], z[:, : k + m * model.linear_term], y.reshape(-1, m)
    loss = LOSSES[model.loss.code]
    assert isinstance(loss, OutputLoss) or m > 1
    slopes = loss.slope(forward(op, z), y, model.loss.delta)  # type: ignore[union-attr]
    pulls = slopes @ np.reshape(op.v, (m, k)) / total
    pulls = pulls if w is None else w[:, None] * pulls
    units, rises, offsets = [], [], []
    for kink in act.kinks:
        before, behind = act.derivative(np.array([kink - _BESIDE, kink + _BESIDE]))
        units.append(np.argwhere(pulls * (behind - before) > 0.0))
        at = tuple(units[-1].T)
        rises.append((behind - before) * pulls[at])
        offsets.append(z[at] - kink)
    (row, unit), rise, offset = np.concatenate(units).T, np.concatenate(rises), np.concatenate(offsets)
    away = np.abs(offset) / np.maximum(np.linalg.norm(x[row], axis=1), 1e-300)
    best = np.argsort(away, kind="stable")[:most]
    row, unit, rise = row[best], unit[best], rise[best]
    blocks = np.zeros((len(best), k + m * model.linear_term, x.shape[1]))
    blocks[np.arange(len(best)), unit] = rise[:, None] * x[row]
    jumps = model.pack_many(blocks, np.zeros((len(best), m * k)), np.zeros((len(best), m)))
    return KinkedModel(
        float(losses[0]) / total + float(np.sum(value)), gram[:-1, -1], gram[:-1, :-1], jumps, rise * offset[best]
    )
