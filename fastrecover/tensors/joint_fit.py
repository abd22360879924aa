"""Symmetric tensors that share their unit vectors, fitted by least squares.

For tensors T_m of one or several orders o, sum_m |T_m - sum_r c_mr u_r^(x)o|^2 with the c eliminated (variable
projection) is minimised over the unit vectors by Levenberg and Marquardt's method; its matrices come from Gram
identities, never from a Jacobian with k^o rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..linalg import mirrored
from .symmetric import Array

EXACT = 1e-14  # share of a tensor's size that is rounding
_GRAM_TOL = 1e-13
_PIVOT = 1e-3  # of the Gram matrix of unit vectors that needs no look at its eigenvalues


@dataclass(frozen=True)
class Block:
    """Tensors `target` (m, k, ..., k) of one order that share unit vectors, with a coefficient each."""

    target: Array
    order: int

    @property
    def size(self) -> float:
        return 0.5 * float(np.sum(self.target**2))

    def model(self, vectors: Array, coefficients: Array) -> Array:
        left = _powers(vectors, self.order // 2)
        right = _powers(vectors, self.order - self.order // 2)
        return ((left.T * coefficients[:, None, :]) @ right).reshape(self.target.shape)

    def contract(self, tensors: Array, vectors: Array) -> Array:
        """Return E_m(I, u_r, ..., u_r), shape (m, k, rank)."""
        count, k = tensors.shape[:2]
        powers = _powers(vectors, self.order - 1)
        return (tensors.reshape(count * k, -1) @ powers.T).reshape(count, k, -1)

    def fit(self, vectors: Array) -> Fit:
        gram = vectors @ vectors.T
        inverse = _inverse(gram**self.order)
        coefficients = _full(self.contract(self.target, vectors), vectors) @ inverse
        error = self.target - self.model(vectors, coefficients)
        return Fit(self, vectors, gram, inverse, coefficients, error)


@dataclass(frozen=True)
class Solution:
    """Fits of all blocks at common unit vectors, and whether the solver that found them converged."""

    fits: list[Fit]
    converged: bool

    @property
    def vectors(self) -> Array:
        return self.fits[0].vectors

    @property
    def loss(self) -> float:
        return sum(fit.loss for fit in self.fits)

    @property
    def residual(self) -> float:
        return float(np.sqrt(self.fits[0].loss / self.fits[0].block.size))


@dataclass(frozen=True)
class Fit:
    """A block at given unit vectors with its best coefficients, and the normal equations there."""

    block: Block
    vectors: Array
    gram: Array
    inverse: Array
    coefficients: Array
    error: Array

    @property
    def loss(self) -> float:
        flat = self.error.ravel()
        return 0.5 * float(flat @ flat)

    def descent(self) -> Array:
        """Return minus the gradient by the vectors, shape (rank, k)."""
        contracted = self.block.contract(self.error, self.vectors)
        return self.block.order * np.asarray(np.einsum("mr,mkr->rk", self.coefficients, contracted))

    def normal(self) -> Array:
        """Return Kaufman's Gauss-Newton matrix J^T (I - A A^+) J, shape (rank, k, rank, k).

        The loss ignores the lengths of the vectors, so each of them is a null direction of its own block; a
        term along it fixes the length.
        """
        o, u, gram = self.block.order, self.vectors, self.gram
        rank, k = u.shape
        near = gram ** (o - 1)
        coupling = (near[:, :, None] * u[:, None, :]).reshape(rank, rank * k)
        removed = (coupling.T @ (self.inverse @ coupling)).reshape(rank, k, rank, k)
        weight = o * (o - 1) * gram ** (o - 2)
        matrix = weight[:, None, :, None] * u.T[None, :, :, None] * u[:, None, None, :] - o**2 * removed
        each, axis = np.arange(rank), np.arange(k)
        matrix[:, axis, :, axis] += o * near
        matrix[each, :, each, :] += o * u[:, :, None] * u[:, None, :]
        matrix *= (self.coefficients.T @ self.coefficients)[:, None, :, None]
        return matrix


def _powers(vectors: Array, power: int) -> Array:
    """Return rows u_r (x) ... (x) u_r, shape (rank, k^power)."""
    out = vectors
    for _ in range(power - 1):
        out = (out[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
    return out


def _full(contracted: Array, vectors: Array) -> Array:
    return np.asarray(np.einsum("mkr,rk->mr", contracted, vectors))


def _inverse(gram: Array) -> Array:
    """Invert a positive semidefinite matrix, dropping directions that parallel components leave undefined."""
    from scipy.linalg import lapack

    factor, info = lapack.dpotrf(gram)
    if info == 0 and factor.diagonal().min() > _PIVOT:
        upper = lapack.dpotri(factor)[0]
        return mirrored(upper)
    values, basis = np.linalg.eigh(gram)
    keep = values > _GRAM_TOL * values[-1]
    return (basis * np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)) @ basis.T


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def minimise(blocks: list[Block], start: Array, max_iter: int, tol: float) -> Solution:
    """Levenberg-Marquardt on the unit vectors."""
    fits = [block.fit(_unit(start)) for block in blocks]
    loss = sum(fit.loss for fit in fits)
    total = sum(block.size for block in blocks)
    damping, converged = 1e-3, False
    for _ in range(max_iter):
        vectors = fits[0].vectors
        descent = np.sum([fit.descent() for fit in fits], axis=0)
        step = _solve(np.sum([fit.normal() for fit in fits], axis=0), descent, damping)
        trial = [block.fit(_unit(vectors + step)) for block in blocks]
        trial_loss = sum(fit.loss for fit in trial)
        gain = float(np.sum(step * descent))
        flat = gain <= 1e-13 * loss or loss <= EXACT**2 * total
        if trial_loss < loss or (flat and trial_loss <= (1 + 1e-12) * loss):
            fits, loss, damping = trial, trial_loss, max(damping / 5, 1e-12)
            converged = flat or float(np.abs(step).max()) <= tol
        else:
            damping *= 4
            converged = flat or damping > 1e12
        if converged:
            break
    return Solution(fits, converged)


def _solve(normal: Array, descent: Array, damping: float) -> Array:
    n = descent.size
    matrix = normal.reshape(n, n)
    diagonal = matrix.diagonal()
    damped = matrix + np.diag(damping * np.maximum(diagonal, 1e-9 * diagonal.max()))
    return np.asarray(np.linalg.solve(damped, descent.ravel())).reshape(descent.shape)
