"""Normal equations of a few variables: a Cholesky factor where its pivots allow it.

Starts solve many small systems, and an orthogonal method costs ten times as much as the factor.
"""

from __future__ import annotations

import numpy as np

_PIVOT = 1e-6


def least_squares(matrix: np.ndarray, right: np.ndarray, rcond: float = 1e-12) -> np.ndarray:
    """Solution of a positive semidefinite system, the shortest one where the matrix is singular.

    Parameters
    ----------
    matrix : ndarray (n, n)
    right : ndarray (n,)
    rcond : float
        Singular values below this part of the largest count as zero.

    Returns
    -------
    ndarray (n,)
    """
    from scipy.linalg import lapack

    if not len(matrix):
        return np.zeros(0)
    factor, info = lapack.dpotrf(matrix)
    if info == 0 and factor.diagonal().min() ** 2 > _PIVOT * matrix.diagonal().max():
        return lapack.dpotrs(factor, right)[0]
    return np.linalg.lstsq(matrix, right, rcond=rcond)[0]
