"""The Jacobian of a network's outputs: as products with vectors, one sweep each, and as blocks of rows.

Its products are row functions like any other: the derivative of a PREDICT in a direction, and the gradient of the loss
``y f``, whose responses are the vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..kernels import Op
from ..losses import LINEAR_CODE, SQUARED
from .objective import Objective

_NUMBERS = 1 << 21  # of a Jacobian that is held at a time


def directional(objective: Objective, theta: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Derivatives ``J_i v`` of the outputs of all samples in a direction, in one pass.

    Parameters
    ----------
    objective : Objective
    theta, v : ndarray (n_parameters,)

    Returns
    -------
    ndarray (n, n_outputs)
    """
    rows, dv, dc = objective.direction(v)
    p, op = objective.op(Op.PREDICT, theta, grad=True, dv=dv, dc=dc)
    return objective.engine.output(np.concatenate([p, rows]), op)


def pulled_back(objective: Objective, theta: np.ndarray, u: np.ndarray) -> np.ndarray:
    """``sum_i w_i u_i J_i`` over all samples, w their weights, in one pass.

    Parameters
    ----------
    objective : Objective
    theta : ndarray (n_parameters,)
    u : ndarray (n,) or (n, n_outputs)

    Returns
    -------
    ndarray (n_parameters,)
    """
    p, op = objective.op(Op.LOSS, theta, grad=True)
    a, s = objective.engine.with_targets(u).run(p, replace(op, loss=LINEAR_CODE))
    weights = 1 + op.outputs * op.k
    sums = s[None, 1:]
    return objective.model.pack_many(a[None], sums[:, 1:weights], sums[:, weights:])[0]


def jacobians(
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
