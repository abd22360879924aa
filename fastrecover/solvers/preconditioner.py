"""Inverses of approximate Hessians, as plain data that solver states carry.

For rows of N(0, S) a network sees x through the k projections Wx, and what is orthogonal to them in the metric of S
is independent of them.  In coordinates that make S the identity the Gauss-Newton matrix is therefore a small dense
matrix inside the span of the units and ``K (x) I`` outside, ``K_jl = E[v_j v_l phi'(z_j) phi'(z_l)]``.  Both come
from n x k projections, cost less than a gradient, and are nearer to the matrix of all rows than the dense one of a
sub-sample.  For other rows the inverse is a preconditioner like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..linalg import roots
from ..models import Network
from ..sweeps import MomentSweeps, Objective, local_rows

_DENSE_COVARIANCE = 400  # features above which S is taken to be the identity
_ROWS_PER_PARAMETER, _ROWS_PER_FEATURE, _FEWEST_ROWS = 20, 50, 2000
_RIDGE = 1e-3  # relative to the mean diagonal; units that hardly differ make both matrices near singular


class Preconditioner(Protocol):
    """Approximate inverse of a Hessian."""

    def apply(self, g: np.ndarray) -> np.ndarray:
        """Minus a step, for a gradient (n_parameters,)."""
        ...


@dataclass(frozen=True, eq=False)
class FactoredMatrix:
    """A positive definite matrix by its Cholesky factor.

    Attributes
    ----------
    factor : ndarray (n_parameters, n_parameters)
    lower : bool
    """

    factor: np.ndarray
    lower: bool

    @classmethod
    def of(cls, matrix: np.ndarray, ridge: float) -> FactoredMatrix:
        """Of a symmetric positive semidefinite matrix, with `ridge` added to its diagonal.

        Parameters
        ----------
        matrix : ndarray (n_parameters, n_parameters)
        ridge : float
        """
        from scipy.linalg import cho_factor

        matrix = np.array(matrix, order="F")  # which is factored in place
        matrix[np.diag_indices(len(matrix))] += ridge
        return cls(*cho_factor(matrix, overwrite_a=True, check_finite=False))

    def apply(self, g: np.ndarray) -> np.ndarray:
        """The solution of a system with right-hand side g (n_parameters,)."""
        from scipy.linalg import cho_solve

        return cho_solve((self.factor, self.lower), g, check_finite=False)


@dataclass(frozen=True, eq=False)
class GaussianCurvature:
    """Inverse of the Gauss-Newton matrix that Gaussian rows would give.

    Attributes
    ----------
    basis : ndarray (m, d)
        Orthonormal rows that span the units, in the coordinates in which S is the identity.
    whitening : ndarray (d, d) or None
        Inverse of the root of S; None where S is the identity.
    outer : ndarray (units, units)
        Inverse of K, the linear term counted as a unit.
    inner : ndarray or None
        Inverse of the matrix inside the span; None where K stands for it as well.
    n_hidden, n_output_weights : int
        Hidden units, and output weights that are free.
    linear_term, hidden_bias : bool
    """

    basis: np.ndarray
    whitening: np.ndarray | None
    outer: np.ndarray
    inner: np.ndarray | None
    n_hidden: int
    n_output_weights: int
    linear_term: bool
    hidden_bias: bool = False

    def apply(self, g: np.ndarray) -> np.ndarray:
        """Minus a step, for a gradient (n_parameters,) in the order of :meth:`Network.pack`."""
        k, d = self.n_hidden, self.basis.shape[1]
        ends = np.cumsum([k * d, self.hidden_bias * k, self.n_output_weights, self.linear_term * d])
        flat, biases, v, linear, c = np.split(g, ends)
        gradient = np.concatenate([flat, linear]).reshape(-1, d)
        gradient = gradient if self.whitening is None else gradient @ self.whitening.T
        within = gradient @ self.basis.T
        if self.inner is None:
            step, rest = (
                self.outer @ gradient,
                np.concatenate([biases @ self.outer[:k, :k] if len(biases) else biases, v, c]),
            )
        else:
            small = self.inner @ np.concatenate([within.ravel(), biases, v, c])
            inside = within.size
            step = self.outer @ (gradient - within @ self.basis) + small[:inside].reshape(within.shape) @ self.basis
            rest = small[inside:]
        step = step if self.whitening is None else step @ self.whitening
        biases, v, c = np.split(rest, np.cumsum([len(biases), len(v)]))
        return np.concatenate([step[:k].ravel(), biases, v, step[k:].ravel(), c])


def gaussian_curvature(
    objective: Objective,
    theta: np.ndarray,
    seed: np.random.SeedSequence,
    white: bool = False,
    inside_limit: int = 600,
) -> GaussianCurvature:
    """The Gauss-Newton matrix at theta, as it would be for Gaussian rows.

    Parameters
    ----------
    objective : Objective
        Squared loss of a fully connected network; its rows, usually a sub-sample, give S and the law of the
        projections.
    theta : ndarray (n_parameters,)
    seed : SeedSequence
        Of the rows whose projections are looked at.
    white : bool
        Whether S is known to be the identity.
    inside_limit : int
        Parameters inside the span of the units above which K stands for them as well.

    Returns
    -------
    GaussianCurvature
    """
    model, d, found = objective.model, objective.n_features, objective.unpack(theta)
    white = white or d > _DENSE_COVARIANCE
    k, m = len(found.weights), min(len(found.weights), d)
    inside = (k + model.linear_term) * m
    rows = max(_FEWEST_ROWS, _ROWS_PER_PARAMETER * min(inside, inside_limit), 0 if white else _ROWS_PER_FEATURE * d)
    few = objective.engine.with_ones(False).sample(rows, seed)
    weights, inverse = found.weights, None
    if not white:
        s = MomentSweeps(few).covariance(np.eye(d))
        # A feature that does not vary among n rows may have a variance of 1 / n.
        root, inverse, _ = roots(s + np.trace(s) / (d * few.shape[0]) * np.eye(d))
        weights = weights @ root
    basis = np.linalg.qr(weights.T)[0].T
    z, _, w = local_rows(few.projected(basis if inverse is None else basis @ inverse))
    u = z @ (basis @ weights.T)
    u = u if found.biases is None else u + found.biases
    slopes = model.activation.derivative(u) * found.output_weights
    if model.linear_term:
        slopes = np.concatenate([slopes, np.ones((len(z), 1))], axis=1)
    outer = _inverse(slopes, w)
    inner = _inverse(_jacobian(model, slopes, z, u), w) if inside <= inside_limit else None
    return GaussianCurvature(basis, inverse, outer, inner, k, model.free_v * k, model.linear_term, model.hidden_bias)


def _jacobian(model: Network, slopes: np.ndarray, z: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Derivatives of the output by the rows inside the span, all else but them, of every row of z."""
    parts = [(slopes[:, :, None] * z[:, None, :]).reshape(len(z), -1)]
    if model.hidden_bias:
        parts.append(slopes[:, : model.n_hidden])
    if model.free_v:
        parts.append(model.activation.value(u))
    if model.fit_intercept:
        parts.append(np.ones((len(z), 1)))
    return np.concatenate(parts, axis=1)


def _inverse(columns: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    """Inverse of the mean of the products of columns, with a small ridge."""
    total = len(columns) if w is None else w.sum()
    gram = columns.T @ (columns if w is None else columns * w[:, None]) / total
    ridge = _RIDGE * np.trace(gram) / len(gram) or 1.0  # units that are nowhere active have no curvature
    return np.linalg.inv(gram + ridge * np.eye(len(gram)))
