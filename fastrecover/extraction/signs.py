"""On which side of its kink each unit is active, read off the linear function that is left when the units are known.

``relu(z) = relu(-z) + z``, so kinks alone do not tell.  But a network without a linear term must leave none, and every
unit that is turned round changes what is left by its own row: a linear system for numbers that are 0 or 1.
"""

from __future__ import annotations

import numpy as np

_CLEAR = 0.2  # of a solution from 0 or 1
_SECONDS = 20.0  # for the search among whole numbers


def turned(rows: np.ndarray, left: np.ndarray, error: float) -> np.ndarray | None:
    """Which units have to be turned round so that nothing linear is left: ``rows' s = left``, s of zeros and ones.

    As many equations as units give s by least squares; fewer leave a search among whole numbers, begun by linear
    programming, which for random rows is at the end already where there are at most twice as many units as equations.

    Parameters
    ----------
    rows : ndarray (k, n)
        What each unit changes.
    left : ndarray (n,)
    error : float
        Length of the error of `left`.

    Returns
    -------
    ndarray of bool (k,), or None
        None where no choice leaves as little as the error.
    """
    k = len(rows)
    if not k:
        return np.zeros(0, bool) if np.linalg.norm(left) <= error else None
    scale = np.maximum(np.linalg.norm(rows, axis=1), np.finfo(float).tiny)
    basis, sizes, across = np.linalg.svd(rows / scale[:, None], full_matrices=False)
    kept = sizes > 1e-12 * sizes[0]
    if kept.sum() == k:  # the only solution there is
        solution = (basis @ ((across @ left) / sizes)) / scale
        if np.abs(solution - np.rint(np.clip(solution, 0.0, 1.0))).max() > _CLEAR:
            return None
    else:
        solution = _whole(rows @ across[kept].T, across[kept] @ left)
        if solution is None:
            return None
    found = solution > 0.5
    return found if np.linalg.norm(found @ rows - left) <= error else None


def _whole(rows: np.ndarray, left: np.ndarray) -> np.ndarray | None:
    """Zeros and ones of the least sum of absolute differences."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    k, n = rows.shape
    size = max(float(np.abs(rows).max()), np.finfo(float).tiny)
    equations = np.hstack([rows.T / size, np.eye(n), -np.eye(n)])
    done = milp(
        np.concatenate([np.zeros(k), np.ones(2 * n)]),
        integrality=np.concatenate([np.ones(k), np.zeros(2 * n)]),
        bounds=Bounds(0.0, np.concatenate([np.ones(k), np.full(2 * n, np.inf)])),
        constraints=LinearConstraint(equations, left / size, left / size),
        options={"time_limit": _SECONDS},
    )
    return None if done.x is None else np.asarray(done.x[:k])
