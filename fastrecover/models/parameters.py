"""Parameters of one network and their comparison up to the symmetries of its model.

Two networks that compute the same function may store different numbers (units in another order, a scale moved
from the output weight into the direction, a sign moved through an odd activation), so every comparison starts
from one canonical form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..activations import Activation

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Parameters:
    """Parameters of ``f(x) = sum_j v_j phi(w_j . x) + b . x + c``.

    Attributes
    ----------
    weights : ndarray (n_hidden, n_features)
        One row per hidden unit.
    output_weights : ndarray (n_hidden,)
    linear : ndarray (n_features,) or None
        The linear term b, None when the model has none.
    intercept : float
        c, 0.0 when the model has none.
    errors : Parameters or None
        Standard errors in place of parameters, where they are known.  They follow their units through changes of
        order, sign and known scale, and are dropped where parameters are mixed with one another.
    """

    weights: np.ndarray
    output_weights: np.ndarray
    linear: np.ndarray | None = None
    intercept: float = 0.0
    errors: Parameters | None = None

    @property
    def slope(self) -> np.ndarray:
        """The linear term, zeros where there is none."""
        return np.zeros(self.weights.shape[1]) if self.linear is None else self.linear

    def canonical(self, activation: Activation, free: bool, intercept: bool = True) -> Parameters:
        """One representative of all parameters that compute the same function, up to the order of units.

        Positively homogeneous activations of degree p: with free output weights the rows have unit length and
        ``v_j`` carries ``|w_j|^p``, otherwise ``|v_j| = 1``.  Odd activations: ``v_j > 0``.  Even ones: the
        largest entry of a row is positive.  Units that reflect into the intercept, with free output weights and an
        intercept: ``v_j > 0``, since ``v phi(t) = 2 v phi(0) - v phi(-t)`` moves a sign there.

        Parameters
        ----------
        activation : Activation
        free : bool
            Whether the model's output weights are free real numbers.
        intercept : bool
            Whether the model has an intercept that may change.

        Returns
        -------
        Parameters
        """
        w, v, c, errors = self.weights.copy(), self.output_weights.copy(), self.intercept, self.errors
        if activation.degree is not None:
            size = lengths(w)
            amplitude = np.abs(v) * size**activation.degree
            scale = np.ones_like(size) if free else np.abs(v) ** (1.0 / activation.degree) * size
            factor = np.divide(scale, size, out=np.zeros_like(size), where=size > 0)[:, None]
            w *= factor
            v = np.sign(v) * (amplitude if free else 1.0)
            errors = errors and errors._scaled(factor, free)
        if activation.parity == "even":
            largest = np.take_along_axis(w, np.abs(w).argmax(axis=1)[:, None], axis=1)
            w *= np.where(largest < 0, -1.0, 1.0)
        reflects = free and intercept and activation.reflects_into_intercept
        if activation.parity == "odd" or reflects:
            flip = v < 0
            w[flip] *= -1.0
            if reflects and flip.any():
                errors = None
                c += float(v[flip].sum()) * 2.0 * float(activation.value(0.0))
            v = np.abs(v)
        return replace(self, weights=w, output_weights=v, intercept=c, errors=errors)

    def _scaled(self, factor: np.ndarray, free: bool) -> Parameters | None:
        """Errors of rows that are multiplied by `factor`, None if that is estimated itself."""
        if np.abs(factor - 1.0).max(initial=0.0) <= _ROUNDING:
            return self
        return None if free or self.output_weights.any() else replace(self, weights=self.weights * factor)

    def absorbed(self, activation: Activation) -> Parameters:
        """The same network with ``|v_j| = 1``, the sizes moved into the rows (homogeneous activations only)."""
        size = np.abs(self.output_weights) ** (1.0 / (activation.degree or 1))
        weights = self.weights * size[:, None]
        return replace(self, weights=weights, output_weights=np.sign(self.output_weights), errors=None)

    def reordered(self, order: np.ndarray) -> Parameters:
        """The same network with units taken in `order`."""
        errors = self.errors and self.errors.reordered(order)
        return replace(self, weights=self.weights[order], output_weights=self.output_weights[order], errors=errors)

    def flat(self) -> np.ndarray:
        """All numbers in one vector: weights, output weights, linear term, intercept."""
        linear = np.zeros(0) if self.linear is None else self.linear
        return np.concatenate([self.weights.ravel(), self.output_weights, linear, [self.intercept]])

    def like(self, flat: np.ndarray) -> Parameters:
        """Parameters of the same shapes from one vector, as :meth:`flat` makes it.

        Raises
        ------
        ValueError
            Of another length.
        """
        k, d = self.weights.shape
        linear = 0 if self.linear is None else d
        if flat.shape != (k * d + k + linear + 1,):
            raise ValueError(f"there must be {k * d + k + linear + 1} numbers, got shape {flat.shape}")
        w, v, b, c = np.split(flat, np.cumsum([k * d, k, linear]))
        return Parameters(w.reshape(k, d), v, b if linear else None, float(c[0]))


def lengths(rows: np.ndarray) -> np.ndarray:
    """Lengths of rows whose squares may be no numbers any more."""
    power = np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1]
    return np.asarray(np.ldexp(np.linalg.norm(np.ldexp(rows, -power[:, None]), axis=1), power))


def align(estimate: Parameters, truth: Parameters, activation: Activation, free: bool) -> tuple[Parameters, Parameters]:
    """Match the units of an estimate to those of the truth.

    For a quadratic activation the units are not identifiable, only ``M = W' diag(v) W`` is, and the rows are
    turned (Procrustes, within each sign) onto those of the truth as well as they can be.

    Parameters
    ----------
    estimate, truth : Parameters
        The same numbers of units and features.
    activation : Activation
    free : bool
        Whether output weights are free real numbers.

    Returns
    -------
    estimate, truth : Parameters
        Canonical, the estimate's units in the order of the truth's.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    from scipy.optimize import linear_sum_assignment

    if estimate.weights.shape != truth.weights.shape:
        raise ValueError(
            f"cannot compare weights of shape {estimate.weights.shape} with {truth.weights.shape}: "
            "both must have the same numbers of hidden units and features"
        )
    estimate, truth = (p.canonical(activation, free and not activation.is_quadratic) for p in (estimate, truth))
    if activation.is_quadratic:
        return _turned(estimate, truth), truth

    slope = None if estimate.linear is None else activation.odd_slope
    signs = (1.0, -1.0) if activation.parity == "even" or slope is not None else (1.0,)
    cost = np.min([_distances(estimate, truth, sign, free) for sign in signs], axis=0)
    order = np.empty(len(cost), int)
    est, true = linear_sum_assignment(cost)
    order[true] = est
    estimate = estimate.reordered(order)
    if len(signs) > 1:
        # Matched units may point the other way; phi(z) - phi(-z) = slope z then goes to the linear term.
        back = (estimate.weights * truth.weights).sum(axis=1) < 0
        if slope is not None:
            moved = (estimate.output_weights[back] * slope) @ estimate.weights[back]
            errors = None if back.any() else estimate.errors
            estimate = replace(estimate, linear=estimate.slope + moved, errors=errors)
        estimate = replace(estimate, weights=np.where(back[:, None], -estimate.weights, estimate.weights))
    return estimate, truth


def _distances(a: Parameters, b: Parameters, sign: float, free: bool) -> np.ndarray:
    va, vb = a.output_weights[:, None], b.output_weights[:, None]
    wa, wb = (a.weights * va, b.weights * vb) if free else (np.c_[a.weights, va], np.c_[b.weights, vb])
    wa = wa * np.r_[np.full(a.weights.shape[1], sign), np.ones(wa.shape[1] - a.weights.shape[1])]
    return ((wa[:, None, :] - wb[None, :, :]) ** 2).sum(axis=2)


def _turned(estimate: Parameters, truth: Parameters) -> Parameters:
    weights = np.zeros_like(truth.weights)
    signs = np.zeros_like(truth.output_weights)
    free_rows = list(range(len(signs)))
    for sign in (1.0, -1.0):
        mine = np.flatnonzero(estimate.output_weights == sign)
        theirs = np.flatnonzero(truth.output_weights == sign)
        common = min(len(mine), len(theirs))
        if not common:
            continue
        u, _, vt = np.linalg.svd(truth.weights[theirs] @ estimate.weights[mine].T, full_matrices=False)
        turned = (u @ vt) @ estimate.weights[mine]
        weights[theirs[:common]], signs[theirs[:common]] = turned[:common], sign
        free_rows = [r for r in free_rows if r not in theirs[:common]]
    signs[free_rows] = -truth.output_weights[free_rows]
    # One unit is turned by its sign at most.
    errors = estimate.errors if len(signs) == 1 and not free_rows else None
    return replace(estimate, weights=weights, output_weights=signs, errors=errors)


def relative_error(estimate: Parameters, truth: Parameters, activation: Activation, free: bool) -> float:
    """Relative Frobenius error of all parameters after alignment.

    Quadratic networks are compared by ``|M - M*|_F / |M*|_F`` of ``M = c W' diag(v) W``, phi(z) = c z^2 (with the
    linear term and intercept appended), everything else by the concatenated parameter vectors; with free output
    weights of a homogeneous activation the row of a unit is ``v_j |w_j|^p`` times its direction.

    Returns
    -------
    float
    """
    if (estimate.linear is None) != (truth.linear is None):
        raise ValueError("only one of the two networks has a linear term")
    a, b = align(estimate, truth, activation, free)
    if activation.quadratic_coefficient is not None:
        a, b = (p.canonical(activation, False) for p in (estimate, truth))
        return _quadratic_error(a, b, activation.quadratic_coefficient)
    if free and activation.degree is not None:
        a, b = (replace(p, weights=p.weights * p.output_weights[:, None]) for p in (a, b))
        a, b = (replace(p, output_weights=np.sign(p.output_weights)) for p in (a, b))
    return float(np.linalg.norm(a.flat() - b.flat()) / np.linalg.norm(b.flat()))


def _quadratic_error(a: Parameters, b: Parameters, coefficient: float) -> float:
    """|M_a - M_b| / |M_b| from the k x k Gram matrices: no d x d array."""
    w = np.concatenate([a.weights, b.weights])
    gram = (w @ w.T) ** 2
    ka = len(a.weights)
    va, vb = coefficient * a.output_weights, coefficient * b.output_weights
    v = np.concatenate([va, -vb])
    rest_a, rest_b = (np.concatenate([np.zeros(0) if p.linear is None else p.linear, [p.intercept]]) for p in (a, b))
    below = float(vb @ gram[ka:, ka:] @ vb) + float(rest_b @ rest_b)
    # Orthonormal coordinates of both row spaces: the plain v' gram v would cancel at 1e-8.
    q, r = np.linalg.qr(w.T)
    core = (r * v) @ r.T
    above = float((core**2).sum()) + float(((rest_a - rest_b) ** 2).sum())
    return float(np.sqrt(above / below))
