"""Parameters of one network and their comparison up to the symmetries of its model.

Two networks that compute the same function may store different numbers (units in another order, a scale moved
from the output weight into the direction, a sign moved through an odd activation), so every comparison starts
from one canonical form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..activations import Activation

#: With a linear term these units may be reversed: phi(z) - phi(-z) = (1 + slope) z.
_REVERSIBLE = ("relu", "leaky_relu", "softplus")


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
    """

    weights: np.ndarray
    output_weights: np.ndarray
    linear: np.ndarray | None = None
    intercept: float = 0.0

    @property
    def slope(self) -> np.ndarray:
        """The linear term, zeros where there is none."""
        return np.zeros(self.weights.shape[1]) if self.linear is None else self.linear

    def canonical(self, activation: Activation, free: bool, intercept: bool = True) -> Parameters:
        """One representative of all parameters that compute the same function, up to the order of units.

        Positively homogeneous activations of degree p: with free output weights the rows have unit length and
        ``v_j`` carries ``|w_j|^p``, otherwise ``|v_j| = 1``.  Odd activations: ``v_j > 0``.  Even ones: the
        largest entry of a row is positive.  Sigmoid with free output weights and an intercept: ``v_j > 0``,
        since ``v s(t) = v - v s(-t)`` moves a sign into the intercept.

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
        w, v, c = self.weights.copy(), self.output_weights.copy(), self.intercept
        if activation.degree is not None:
            size = np.linalg.norm(w, axis=1)
            amplitude = np.abs(v) * size**activation.degree
            scale = np.ones_like(size) if free else amplitude ** (1.0 / activation.degree)
            w *= np.divide(scale, size, out=np.zeros_like(size), where=size > 0)[:, None]
            v = np.sign(v) * (amplitude if free else 1.0)
        if activation.parity == "even":
            largest = np.take_along_axis(w, np.abs(w).argmax(axis=1)[:, None], axis=1)
            w *= np.where(largest < 0, -1.0, 1.0)
        if activation.parity == "odd" or (activation.name == "sigmoid" and free and intercept):
            flip = v < 0
            w[flip] *= -1.0
            if activation.name == "sigmoid":
                c += float(v[flip].sum())
            v = np.abs(v)
        return replace(self, weights=w, output_weights=v, intercept=c)

    def absorbed(self, activation: Activation) -> Parameters:
        """The same network with ``|v_j| = 1``, the sizes moved into the rows (homogeneous activations only)."""
        size = np.abs(self.output_weights) ** (1.0 / (activation.degree or 1))
        return replace(self, weights=self.weights * size[:, None], output_weights=np.sign(self.output_weights))

    def reordered(self, order: np.ndarray) -> Parameters:
        """The same network with units taken in `order`."""
        return replace(self, weights=self.weights[order], output_weights=self.output_weights[order])

    def flat(self) -> np.ndarray:
        """All numbers in one vector: weights, output weights, linear term, intercept."""
        linear = np.zeros(0) if self.linear is None else self.linear
        return np.concatenate([self.weights.ravel(), self.output_weights, linear, [self.intercept]])


def align(estimate: Parameters, truth: Parameters, activation: Activation, free: bool) -> tuple:
    """Match the units of an estimate to those of the truth.

    For the quadratic activation the units are not identifiable, only ``M = W' diag(v) W`` is, and the rows are
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
    estimate, truth = (p.canonical(activation, free and activation.name != "quadratic") for p in (estimate, truth))
    if activation.name == "quadratic":
        return _turned(estimate, truth), truth

    reversible = estimate.linear is not None and activation.name in _REVERSIBLE
    signs = (1.0, -1.0) if activation.parity == "even" or reversible else (1.0,)
    cost = np.min([_distances(estimate, truth, sign, free) for sign in signs], axis=0)
    order = np.empty(len(cost), int)
    est, true = linear_sum_assignment(cost)
    order[true] = est
    estimate = estimate.reordered(order)
    if len(signs) > 1:
        # Matched units may point the other way; phi(z) - phi(-z) = (1 + slope) z then goes to the linear term.
        back = (estimate.weights * truth.weights).sum(axis=1) < 0
        if reversible:
            moved = (estimate.output_weights[back] * (1.0 + activation.slope)) @ estimate.weights[back]
            estimate = replace(estimate, linear=estimate.linear + moved)
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
    return replace(estimate, weights=weights, output_weights=signs)


def relative_error(estimate: Parameters, truth: Parameters, activation: Activation, free: bool) -> float:
    """Relative Frobenius error of all parameters after alignment.

    Quadratic networks are compared by ``|M - M*|_F / |M*|_F`` of ``M = W' diag(v) W`` (with the linear term
    and intercept appended), everything else by the concatenated parameter vectors; with free output weights of
    a homogeneous activation the row of a unit is ``v_j |w_j|^p`` times its direction.

    Returns
    -------
    float
    """
    if (estimate.linear is None) != (truth.linear is None):
        raise ValueError("only one of the two networks has a linear term")
    a, b = align(estimate, truth, activation, free)
    if activation.name == "quadratic":
        a, b = (p.canonical(activation, False) for p in (estimate, truth))
        return _quadratic_error(a, b)
    if free and activation.degree is not None:
        a, b = (replace(p, weights=p.weights * p.output_weights[:, None]) for p in (a, b))
        a, b = (replace(p, output_weights=np.sign(p.output_weights)) for p in (a, b))
    return float(np.linalg.norm(a.flat() - b.flat()) / np.linalg.norm(b.flat()))


def _quadratic_error(a: Parameters, b: Parameters) -> float:
    """|M_a - M_b| / |M_b| from the k x k Gram matrices: no d x d array."""
    w = np.concatenate([a.weights, b.weights])
    gram = (w @ w.T) ** 2
    ka = len(a.weights)
    va, vb = a.output_weights, b.output_weights
    v = np.concatenate([va, -vb])
    rest_a, rest_b = (np.concatenate([np.zeros(0) if p.linear is None else p.linear, [p.intercept]]) for p in (a, b))
    below = float(vb @ gram[ka:, ka:] @ vb) + float(rest_b @ rest_b)
    # Orthonormal coordinates of both row spaces: the plain v' gram v would cancel at 1e-8.
    q, r = np.linalg.qr(w.T)
    core = (r * v) @ r.T
    above = float((core**2).sum()) + float(((rest_a - rest_b) ** 2).sum())
    return float(np.sqrt(above / below))
