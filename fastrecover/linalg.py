"""Small dense problems that several parts solve alike; SciPy's LAPACK does the work.

A Cholesky factor is taken where its pivots allow it and an orthogonal method elsewhere, since starts and solvers
solve many small systems and the factor costs a tenth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np

_PIVOT = 1e-6  # of a Cholesky factor that needs no look at the singular values
_FLOOR = 1e-8  # variance of a direction without any, relative to the largest


def least_squares(matrix: np.ndarray, right: np.ndarray, rcond: float = 1e-12) -> np.ndarray:
    """Solution of a positive semidefinite system, the shortest one where the matrix is singular.

    Parameters
    ----------
    matrix : ndarray (n, n)
    right : ndarray (n,) or (n, m)
    rcond : float
        Singular values below this part of the largest count as zero.

    Returns
    -------
    ndarray shaped as `right`
    """
    from scipy.linalg import lapack

    if not len(matrix):
        return np.zeros(right.shape)
    factor, info = lapack.dpotrf(matrix)
    if info == 0 and factor.diagonal().min() ** 2 > _PIVOT * matrix.diagonal().max():
        return lapack.dpotrs(factor, right)[0]
    return np.linalg.lstsq(matrix, right, rcond=rcond)[0]


def damped_solve(matrix: np.ndarray, right: np.ndarray, mu: float) -> np.ndarray:
    """Solve ``(G + mu diag G) p = right``, raising mu where G is numerically singular.

    Parameters
    ----------
    matrix : ndarray (n, n)
        G, symmetric and positive semidefinite.
    right : ndarray (n,)
    mu : float
        Damping, not negative.

    Returns
    -------
    ndarray (n,)
    """
    from scipy.linalg import lapack

    diagonal = matrix.diagonal()
    floor = 1e-14 * max(float(diagonal.max(initial=0.0)), 1e-300)
    while True:
        damped = matrix.copy()
        damped.ravel()[:: len(matrix) + 1] += mu * diagonal + floor
        factor, info = lapack.dpotrf(damped)
        if info == 0:
            return lapack.dpotrs(factor, right)[0]
        mu = max(10 * mu, 1e-12)


def pieces(flat: np.ndarray, sizes: Iterable[int]) -> list[np.ndarray]:
    """Views of consecutive pieces of a vector, each of its own length; ``np.split`` takes ten times as long."""
    found, at = [], 0
    for size in sizes:
        found.append(flat[at : at + size])
        at += size
    return found


def times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rows times a matrix, or times a diagonal one given as a vector."""
    return rows * matrix if matrix.ndim == 1 else rows @ matrix


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span the given ones, (m, d) with m <= d."""
    return np.linalg.qr(rows.T)[0].T


def leading_eigenvectors(
    product: Callable[[np.ndarray], np.ndarray],
    d: int,
    count: int,
    rng: np.random.Generator,
    positive: int | None = None,
    depth: int = 8,
    block: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Leading eigenvalues and eigenvectors of a symmetric matrix, by block Lanczos or, in few dimensions, outright.

    Parameters
    ----------
    product : callable
        ``product(v)`` multiplies the rows of v (m, d) by the matrix: one pass.
    d : int
    count : int
        Eigenvectors wanted.
    rng : Generator
    positive : int, optional
        So many of the largest eigenvalues, and the rest from the lower end; by default the largest in size.
    depth : int
        Passes.
    block : int, optional
        Vectors of a pass, by default twice those wanted and four more.

    Returns
    -------
    values : ndarray (count,)
    vectors : ndarray (count, d)
        Orthonormal rows.
    """
    block = min(2 * count + 4 if block is None else block, d)
    if d <= 2 * block * depth:
        basis = np.eye(d)
        images = product(basis)
    else:
        blocks = [orthonormal(rng.standard_normal((block, d)))]
        products = [product(blocks[0])]
        for _ in range(depth - 1):
            before = np.concatenate(blocks)
            new = products[-1]
            for _ in range(2):  # once is not orthogonal to rounding
                new = new - (new @ before.T) @ before
            blocks.append(orthonormal(new))
            products.append(product(blocks[-1]))
        basis, images = np.concatenate(blocks), np.concatenate(products)
    small = basis @ images.T
    values, vectors = np.linalg.eigh(0.5 * (small + small.T))
    chosen = leading(values, count, positive)
    return values[chosen], vectors[:, chosen].T @ basis


def leading(values: np.ndarray, count: int, positive: int | None = None) -> np.ndarray:
    """Places of the `count` largest of rising values in size, or of the `positive` largest and the smallest.

    Parameters
    ----------
    values : ndarray (n,)
    count : int
    positive : int, optional

    Returns
    -------
    ndarray of int (count,)
    """
    if positive is None:
        return np.argsort(-np.abs(values), kind="stable")[:count]
    return np.r_[len(values) - positive : len(values), 0 : count - positive]


def mirrored(upper: np.ndarray) -> np.ndarray:
    """Symmetric matrices of the upper triangles of square ones.

    Parameters
    ----------
    upper : ndarray (..., n, n)
        What lies below the diagonal is not used.

    Returns
    -------
    ndarray (..., n, n)
    """
    return np.where(_above(upper.shape[-1]), upper, np.swapaxes(upper, -1, -2))


@lru_cache(maxsize=8)
def _above(n: int) -> np.ndarray:
    above = np.triu(np.ones((n, n), bool))
    above.setflags(write=False)
    return above


def roots(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Root of a covariance and its inverse, both zero in directions without variance.

    Parameters
    ----------
    covariance : ndarray (d, d), or (d,) for a diagonal one

    Returns
    -------
    root, inverse : ndarray
        Of the shape of `covariance`; ``root root'`` is the covariance.
    left_out : int
        Directions without variance.
    """
    from scipy.linalg import eigh, lapack

    diagonal = covariance.ndim == 1
    variance = covariance if diagonal else covariance.diagonal()
    some = variance > 0
    scale = np.sqrt(variance)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=some)
    if diagonal:
        return scale, inverse, int((~some).sum())
    # Of correlations, since features may have different units.
    correlations = covariance * inverse[:, None] * inverse  # the product of two may overflow
    root, info = lapack.dpotrf(correlations, lower=1, clean=1)
    if info == 0 and root.diagonal().min() ** 2 > _PIVOT:
        triangular = lapack.dtrtri(root, lower=1)[0]
        return scale[:, None] * root, triangular * inverse, 0
    values, vectors = eigh(correlations)
    kept = values > _FLOOR * values[-1]
    vectors, size = vectors[:, kept], np.sqrt(values[kept])
    root = scale[:, None] * ((vectors * size) @ vectors.T)
    return root, ((vectors / size) @ vectors.T) * inverse, int((~kept).sum())
