"""Parameters of one network and their comparison up to the symmetries of its model.

Two networks that compute the same function may store different numbers (units in another order, a scale moved
from the output weight into the direction, a sign moved through an odd activation), so every comparison starts
from one canonical form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ..activations import Activation
from ..linalg import pieces

_ROUNDING = 1e-12
_NOTHING = 1e-30  # of a bias: weights that small would make a number of it that has no powers


@dataclass(frozen=True, eq=False)
class Parameters:
    """Parameters of ``f_o(x) = c_o + b_o . x + sum_j v_oj phi(w_j . x + a_j)``, o = 1 .. n_outputs.

    Attributes
    ----------
    weights : ndarray (n_hidden, n_features)
        One row per hidden unit.
    output_weights : ndarray (n_hidden,), or (n_outputs, n_hidden) for several outputs
    linear : ndarray (n_features,) or (n_outputs, n_features), or None
        The linear term b, None when the model has none.
    intercept : float, or ndarray (n_outputs,)
        c, 0.0 when the model has none.
    errors : Parameters or None
        Standard errors in place of parameters, where they are known.  They follow their units through changes of
        order, sign and known scale, and are dropped where parameters are mixed with one another.
    biases : ndarray (n_hidden,) or None
        The biases a of hidden units, None when the model has none.
    """

    weights: np.ndarray
    output_weights: np.ndarray
    linear: np.ndarray | None = None
    intercept: float | np.ndarray = 0.0
    errors: Parameters | None = None
    biases: np.ndarray | None = None

    @property
    def slope(self) -> np.ndarray:
        """The linear term, zeros where there is none."""
        shape = (*self.output_weights.shape[:-1], self.weights.shape[1])
        return np.zeros(shape) if self.linear is None else self.linear

    @property
    def rows(self) -> np.ndarray:
        """All that a unit sees its inputs by: its weights and, where it has one, its bias as the last number."""
        return self.weights if self.biases is None else np.concatenate([self.weights, self.biases[:, None]], axis=1)

    def with_rows(self, rows: np.ndarray) -> Parameters:
        """The same network with other :attr:`rows`."""
        weights, biases = (rows, None) if self.biases is None else (rows[:, :-1], rows[:, -1])
        return Parameters(weights, self.output_weights, self.linear, self.intercept, self.errors, biases)

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.columns)

    @property
    def columns(self) -> np.ndarray:
        """Output weights as a matrix (n_outputs, n_hidden)."""
        return np.atleast_2d(self.output_weights)

    @property
    def sizes(self) -> np.ndarray:
        """Length of the output weights of every unit, ``|v_j|``."""
        v = self.output_weights
        return np.abs(v) if v.ndim == 1 else lengths(v.T)

    def canonical(
        self,
        activation: Activation,
        free: bool,
        intercept: bool = True,
        shares: bool = False,
        scales: bool = True,
    ) -> Parameters:
        """One representative of all parameters that compute the same function, up to the order of units.

        Positively homogeneous activations of degree p: with free output weights the rows have unit length and
        ``v_j`` carries ``|w_j|^p``, otherwise ``|v_j| = 1``; biases are scaled as weights are.  Odd activations:
        ``v_j > 0``.  Even ones: the largest entry of a row is positive.  Units that reflect into the intercept, with
        free output weights and an intercept: ``v_j > 0``, since ``v phi(t) = 2 v phi(0) - v phi(-t)`` moves a sign
        there.  Of several outputs the largest ``v_oj`` of a unit is positive.

        Parameters
        ----------
        activation : Activation
        free : bool
            Whether the model's output weights are free real numbers.
        intercept : bool
            Whether the model has an intercept that may change.
        shares : bool
            Whether outputs matter up to a function added to all of them (softmax), which then sum to zero.
        scales : bool
            Whether the length of a row may be changed; not where a penalty determines it.

        Returns
        -------
        Parameters
        """
        rows, v, c, errors = self.rows.copy(), self.output_weights.copy(), self.intercept, self.errors
        linear = self.linear
        if shares:
            v, c = v - v.mean(axis=0), np.asarray(c - np.mean(c))
            linear = None if linear is None else linear - linear.mean(axis=0)
        if activation.degree is not None and scales:
            size = lengths(self.weights)
            if self.biases is not None:  # a unit without weights is a constant, in the scale of its bias
                size = np.where(size > _NOTHING * np.abs(self.biases), size, np.abs(self.biases))
            amplitude = np.abs(v) * size**activation.degree
            scale = np.ones_like(size) if free else np.abs(v) ** (1.0 / activation.degree) * size
            factor = np.divide(scale, size, out=np.zeros_like(size), where=size > 0)[:, None]
            rows *= factor
            v = np.sign(v) * (amplitude if free else 1.0)
            errors = errors and errors._scaled(factor, free)
        if activation.parity == "even":
            largest = np.take_along_axis(rows, np.abs(self.weights).argmax(axis=1)[:, None], axis=1)
            rows *= np.where(largest < 0, -1.0, 1.0)
        reflects = free and intercept and activation.reflects_into_intercept
        if activation.parity == "odd" or reflects:
            columns = np.atleast_2d(v)
            flip = np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], axis=0)[0] < 0
            rows[flip] *= -1.0
            if reflects and flip.any():
                errors = None
                moved = v[..., flip].sum(axis=-1) * (2.0 * float(activation.value(0.0)))
                c = c + (float(moved) if v.ndim == 1 else moved)
            v = np.where(flip, -v, v)
        return replace(self, output_weights=v, linear=linear, intercept=c, errors=errors).with_rows(rows)

    def _scaled(self, factor: np.ndarray, free: bool) -> Parameters | None:
        """Errors of rows that are multiplied by `factor`, None if that is estimated itself."""
        if np.abs(factor - 1.0).max(initial=0.0) <= _ROUNDING:
            return self
        return None if free or self.output_weights.any() else self.with_rows(self.rows * factor)

    def absorbed(self, activation: Activation) -> Parameters:
        """The same network with ``|v_j| = 1``, the sizes moved into the rows (homogeneous activations only)."""
        size = np.abs(self.output_weights) ** (1.0 / (activation.degree or 1))
        found = self.with_rows(self.rows * size[:, None])
        return replace(found, output_weights=np.sign(self.output_weights), errors=None)

    def reordered(self, order: np.ndarray) -> Parameters:
        """The same network with units taken in `order`."""
        errors = self.errors and self.errors.reordered(order)
        found = self.with_rows(self.rows[order])
        return replace(found, output_weights=self.output_weights[..., order], errors=errors)

    def flat(self) -> np.ndarray:
        """All numbers in one vector: weights, biases, output weights, linear term, intercepts."""
        return np.concatenate([np.ravel(part) for part in self._parts() if part is not None])

    def _parts(self) -> tuple[np.ndarray | float | None, ...]:
        return self.weights, self.biases, self.output_weights, self.linear, self.intercept

    def read_only(self) -> Parameters:
        """The same numbers in arrays of their own that cannot be written to."""
        w, a, v, b, c = (part if part is None or np.ndim(part) == 0 else locked(part) for part in self._parts())
        errors = self.errors and self.errors.read_only()
        return Parameters(w, v, b, c, errors, a)  # type: ignore[arg-type]

    def like(self, flat: np.ndarray) -> Parameters:
        """Parameters of the same shapes from one vector, as :meth:`flat` makes it.

        Raises
        ------
        ValueError
            Of another length.
        """
        shapes = [() if part is None else np.shape(part) for part in self._parts()]
        sizes = [0 if part is None else np.size(part) for part in self._parts()]
        if flat.shape != (sum(sizes),):
            raise ValueError(f"there must be {sum(sizes)} numbers, got shape {flat.shape}")
        w, a, v, b, c = (
            None if not size else part.reshape(shape)
            for part, shape, size in zip(pieces(flat, sizes), shapes, sizes, strict=True)
        )
        return Parameters(w, v, b, c if c.ndim else float(c), None, a)  # type: ignore[arg-type, union-attr]


def locked(array: ArrayLike) -> np.ndarray:
    """A copy that cannot be written to."""
    copied = np.array(array)
    copied.flags.writeable = False
    return copied


def lengths(rows: np.ndarray) -> np.ndarray:
    """Lengths of rows whose squares may be no numbers any more."""
    power = np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1]
    return np.asarray(np.ldexp(np.linalg.norm(np.ldexp(rows, -power[:, None]), axis=1), power))


def align(
    estimate: Parameters, truth: Parameters, activation: Activation, free: bool, shares: bool = False
) -> tuple[Parameters, Parameters]:
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
    shares : bool
        Whether outputs matter up to a function added to all of them.

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

    if estimate.weights.shape != truth.weights.shape or estimate.n_outputs != truth.n_outputs:
        raise ValueError(
            f"cannot compare weights of shape {_shapes(estimate)} with {_shapes(truth)}: "
            "both must have the same numbers of hidden units, features and outputs"
        )
    if estimate.biases is None and truth.biases is not None:
        estimate = replace(estimate, biases=np.zeros(len(estimate.weights)), errors=None)
    elif truth.biases is None and estimate.biases is not None:
        truth = replace(truth, biases=np.zeros(len(truth.weights)))
    estimate, truth = (
        p.canonical(activation, free and not activation.is_quadratic, shares=shares) for p in (estimate, truth)
    )
    if activation.is_quadratic:
        return _turned(estimate, truth), truth

    slope = None if estimate.linear is None else activation.odd_slope
    reflects = free and activation.reflects_into_intercept
    # The sign of one output weight is canonical, of several not.
    turns = truth.n_outputs > 1 and (activation.parity == "odd" or reflects)
    signs = (1.0, -1.0) if activation.parity == "even" or turns or slope is not None else (1.0,)
    cost = np.min([_distances(estimate, truth, sign, sign if turns else 1.0, free) for sign in signs], axis=0)
    order = np.empty(len(cost), int)
    est, true = linear_sum_assignment(cost)
    order[true] = est
    estimate = estimate.reordered(order)
    if len(signs) > 1:
        # Matched units may point the other way; phi(z) - phi(-z) = slope z then goes to linear term and intercept.
        back = (estimate.rows * truth.rows).sum(axis=1) < 0
        if turns:
            v, c, errors = estimate.output_weights, estimate.intercept, estimate.errors
            if reflects and back.any():
                c, errors = c + v[..., back].sum(axis=-1) * (2.0 * float(activation.value(0.0))), None
            estimate = replace(estimate, output_weights=np.where(back, -v, v), intercept=c, errors=errors)
        elif slope is not None:
            moved = (estimate.output_weights[..., back] * slope) @ estimate.rows[back]
            errors, d = (None if back.any() else estimate.errors), estimate.weights.shape[1]
            c = estimate.intercept if estimate.biases is None else estimate.intercept + moved[..., d]
            estimate = replace(estimate, linear=estimate.slope + moved[..., :d], intercept=c, errors=errors)
        estimate = estimate.with_rows(np.where(back[:, None], -estimate.rows, estimate.rows))
    return estimate, truth


def _shapes(p: Parameters) -> str:
    return str(p.weights.shape) + (f" and {p.n_outputs} outputs" if p.n_outputs > 1 else "")


def _distances(a: Parameters, b: Parameters, sign: float, outward: float, free: bool) -> np.ndarray:
    """Squared distances of all pairs of units, with the rows of the first turned by `sign`."""
    va, vb = a.columns.T, b.columns.T
    if free and va.shape[1] == 1:
        rows_a, rows_b = sign * outward * a.rows * va, b.rows * vb
    else:
        rows_a, rows_b = np.c_[sign * a.rows, outward * va], np.c_[b.rows, vb]
    return ((rows_a[:, None, :] - rows_b[None, :, :]) ** 2).sum(axis=2)


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


def relative_error(
    estimate: Parameters,
    truth: Parameters,
    activation: Activation,
    free: bool,
    shares: bool = False,
    *,
    either: bool = False,
) -> float:
    """Relative Frobenius error of all parameters after alignment.

    Quadratic networks are compared by ``|M - M*|_F / |M*|_F`` of ``M = c W' diag(v) W``, phi(z) = c z^2 (with the
    linear term and intercept appended), everything else by the concatenated parameter vectors; with free output
    weights of a homogeneous activation the row of a unit (bias included) is ``v_j |w_j|^p`` times its direction, one
    for every output.  With `either` the distance is told by the size of the smaller of the two.

    Returns
    -------
    float
    """
    if (estimate.linear is None) != (truth.linear is None):
        raise ValueError("only one of the two networks has a linear term")
    a, b = align(estimate, truth, activation, free, shares)
    if activation.quadratic_coefficient is not None:
        a, b = (p.canonical(activation, False) for p in (estimate, truth))
        errors = [_quadratic_error(*pair, activation.quadratic_coefficient) for pair in ((a, b), (b, a))[: 1 + either]]
        return max(errors)
    if free and activation.degree is not None:
        x, z = (_ridges(p) for p in (a, b))
    else:
        x, z = a.flat(), b.flat()
    size = np.linalg.norm(z)
    return float(np.linalg.norm(x - z) / (min(np.linalg.norm(x), size) if either else size))


def _ridges(p: Parameters) -> np.ndarray:
    """All numbers, with units as rows times output weights and the signs of these.

    Of several outputs some weights of a unit may be zero, whose signs say nothing, and they stand for themselves.
    """
    v = np.sign(p.columns) if p.n_outputs == 1 else p.columns
    rows = (p.columns[:, :, None] * p.rows).ravel()
    rest = np.zeros(0) if p.linear is None else p.linear.ravel()
    return np.concatenate([rows, v.ravel(), rest, np.ravel(p.intercept)])


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
