"""Triangular factors of Jacobians: Gauss-Newton steps to full precision, where a matrix J'J would lose half of it.

Units that nearly cancel make the condition of J 1e8 and more, and its square is then no number any more.  Rows are
taken a few at a time and each time turned into a triangle with what was there before (Golub 1965), so nothing of the
size of J is held.
"""

from __future__ import annotations

import numpy as np

from .objective import Objective

_NUMBERS = 1 << 22  # of Jacobians held at a time
_DEPENDENT = 1e-13  # of a direction, relative to the longest


def triangular_factors(
    objective: Objective, thetas: np.ndarray, output_weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (s,) and upper triangular R (s, p + 1, p + 1) with ``R'R = [J, r]' H [J, r] / n`` at several points.

    H are the weights of rows in the Gauss-Newton matrix, so ``R[:p, :p]'R[:p, :p]`` is that matrix and
    ``R[:p, :p]'R[:p, p]`` the gradient.  One pass, O(n p^2) for each point; for small problems, since rows come to the
    caller.

    Parameters
    ----------
    objective : Objective
    thetas : ndarray (s, n_parameters)
    output_weights : ndarray (s, n_hidden), optional
        Fixed output weights of each point, in place of the model's.

    Returns
    -------
    losses : ndarray (s,)
    factors : ndarray (s, p + 1, p + 1)
    """
    from ..kernels.reference import weighted_rows

    engine, model, order = objective.engine, objective.model, objective.order
    p, op = objective.gram_of(thetas, output_weights)
    size = objective.n_parameters + 1
    n, total = engine.shape[0], engine.weights().total
    step = max(1, _NUMBERS // (len(thetas) * size * model.n_outputs))
    losses, found = np.zeros(len(thetas)), np.zeros((len(thetas), 0, size))
    engine.meter.count(n)
    with np.errstate(all="ignore"):
        for start in range(0, n, step):
            x, y, w = engine.rows(start, min(start + step, n))
            if engine.has_ones:
                x = x[:, :-1]
            part, rows = weighted_rows(x, y, w, p, op)
            rows = rows if order is None else rows[:, :, order]
            losses += part
            found = _triangles(np.concatenate([found, rows / np.sqrt(total)], axis=1))
        values, root = objective.penalty_rows(thetas, output_weights)
        if root is not None:
            found = _triangles(np.concatenate([found, root], axis=1))
    missing = size - found.shape[1]
    if missing > 0:  # fewer rows than parameters
        found = np.concatenate([found, np.zeros((len(found), missing, size))], axis=1)
    return losses / total + values, found


def damped_steps(factors: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Steps ``-(G + diag(damping))^-1 g`` of several points from their factors, without forming G.

    Parameters
    ----------
    factors : ndarray (s, p + 1, p + 1)
    damping : ndarray (s, p)
        Positive.

    Returns
    -------
    ndarray (s, p)
    """
    s, size = factors.shape[:2]
    below = np.zeros((s, size - 1, size))
    at = np.arange(size - 1)
    below[:, at, at] = np.sqrt(damping)
    r = _triangles(np.concatenate([factors, below], axis=1))
    return -np.linalg.solve(r[:, :-1, :-1], r[:, :-1, -1:])[:, :, 0]


def distances(factors: np.ndarray) -> np.ndarray:
    """Lengths of what linear models can take off: Newton decrements ``sqrt(g' G^-1 g)`` of several points.

    Directions that change nothing, such as one function added to all outputs of a softmax, are left out.

    Parameters
    ----------
    factors : ndarray (s, p + 1, p + 1)

    Returns
    -------
    ndarray (s,)
    """
    right = factors[:, :-1, -1]
    found = np.sqrt((right**2).sum(axis=1))
    diagonal = np.abs(np.einsum("sii->si", factors)[:, :-1])
    singular = diagonal.min(axis=1, initial=np.inf) < _DEPENDENT * diagonal.max(axis=1, initial=0.0)
    for i in np.flatnonzero(singular & np.isfinite(found)):
        basis, values, _ = np.linalg.svd(factors[i, :-1, :-1])
        found[i] = np.linalg.norm(basis[:, values > _DEPENDENT * values[0]].T @ right[i])
    return found


def _triangles(rows: np.ndarray) -> np.ndarray:
    finite = np.isfinite(rows).all(axis=(1, 2))
    if finite.all():
        return np.asarray(np.linalg.qr(rows, mode="r"))
    found = np.asarray(np.linalg.qr(np.where(finite[:, None, None], rows, 0.0), mode="r"))
    return np.where(finite[:, None, None], found, np.nan)
