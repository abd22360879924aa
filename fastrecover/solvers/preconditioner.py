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

from ..linalg import orthonormal, pieces, roots
from ..models import Parameters
from ..sweeps import MomentSweeps, Objective

_DENSE_COVARIANCE = 400  # features above which S is taken to be the identity
_ROWS_PER_PARAMETER, _MOST_ROWS_PER_PARAMETER, _ROWS_PER_FEATURE, _FEWEST_ROWS = 20, 200, 50, 2000
_WORK = 1 << 29  # multiply-adds of the matrix in the span
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
        sizes = k * d, self.hidden_bias * k, self.n_output_weights, self.linear_term * d
        flat, biases, v, linear, c = pieces(g, (*sizes, len(g) - sum(sizes)))
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
        biases, v, c = pieces(rest, (len(biases), len(v), len(c)))
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
        Of a fully connected network of one output; its rows give S and the law of the projections.
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
    size = max(min(inside, inside_limit), 1)
    wanted = min(_MOST_ROWS_PER_PARAMETER * size, max(_ROWS_PER_PARAMETER * size, _WORK // size**2))
    wanted = max(_FEWEST_ROWS, wanted, 0 if white else _ROWS_PER_FEATURE * d)
    few = objective.engine.with_ones(False).sample(wanted, seed)
    weights, linear, inverse = found.weights, found.linear, None
    if not white:
        s = MomentSweeps(few).covariance(np.eye(d))
        # A feature that does not vary among n rows may have a variance of 1 / n.
        root, inverse, _ = roots(s + np.trace(s) / (d * few.shape[0]) * np.eye(d))
        weights, linear = weights @ root, None if linear is None else linear @ root
    basis = orthonormal(weights)
    # A bias is what a unit does where x says nothing, so K is the matrix of the biases (and, for a linear term, of the
    # intercept) on the projections, with the curvature of any loss.
    whole = model.changed(hidden_bias=True, fit_intercept=model.fit_intercept or model.linear_term)
    projected = Objective(few.projected(basis if inverse is None else basis @ inverse), whole)
    linear = None if linear is None else linear @ basis.T
    at = Parameters(weights @ basis.T, found.output_weights, linear, found.intercept, biases=found.biases)
    matrix = projected.gauss_newton(whole.pack(at))[2]
    units, biases, v, line, c = pieces(np.arange(len(matrix)), whole.sizes(len(basis)))
    outer = np.concatenate([biases, c[:1] if model.linear_term else c[:0]])
    within = np.concatenate(
        [units, line, biases if model.hidden_bias else biases[:0], v, c if model.fit_intercept else c[:0]]
    )
    inner = _inverse(matrix[np.ix_(within, within)]) if inside <= inside_limit else None
    return GaussianCurvature(
        basis,
        inverse,
        _inverse(matrix[np.ix_(outer, outer)]),
        inner,
        k,
        model.free_v * k,
        model.linear_term,
        model.hidden_bias,
    )


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a positive semidefinite matrix, with a small ridge."""
    ridge = _RIDGE * np.trace(matrix) / len(matrix) or 1.0  # units that are nowhere active have no curvature
    return np.linalg.inv(matrix + ridge * np.eye(len(matrix)))
