"""Gaussian moments of the responses, by products with a few vectors: nothing of size d^2 or d^3 is formed.

Every method may first subtract the output of a fitted model from the responses ("residual"), in the same pass.
That leaves higher moments unchanged in expectation and takes most of their variance away, which is worth one to
two orders of magnitude in samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..kernels import Op, RowFunction
from ..linalg import least_squares, mirrored, pieces
from ..models import Parameters
from ..tensors import exponents
from .local import local_rows

_KERNEL_ROWS = 32
_GRAM_FEATURES, _COLUMNS = 1000, 512  # above, sums of a block are held for so many columns at a time
_HEAVIEST = 200.0  # weight of a row, relative to the mean, up to which it is believed
_NO_UNITS = np.zeros((1, 0))
_NO_NETWORK: dict[str, Any] = {}
_BACK_PROJECTED = (Op.MOMENT, Op.PAIRS, Op.LANDSCAPE)


class MomentSweeps:
    """Moments ``E[r He_j(x)]`` of the residual r = y - f(x), contracted with given vectors.

    Parameters
    ----------
    engine : Engine
    activation : Activation, optional
    parameters : Parameters, optional
        The network whose output is subtracted from y; it may have no hidden units, only a linear term and an
        intercept.
    """

    def __init__(
        self, engine: Engine, parameters: Parameters | None = None, activation: Activation | None = None
    ) -> None:
        self.engine = engine = engine.patches().with_ones(False)
        self.n_rows, self.n_features = engine.shape
        self._p, self._fields = np.zeros((0, self.n_features)), _NO_NETWORK
        if parameters is None:
            return
        w, linear = parameters.rows, parameters.linear
        self.engine = engine.with_ones(parameters.biases is not None)
        self._p = w if linear is None else np.concatenate([w, self._directions(linear[None])])
        self._fields = {
            "k": len(w),
            "linear": int(linear is not None),
            "v": np.array(parameters.output_weights, np.float64)[None],
            "c": np.array([parameters.intercept], np.float64),
        }
        if activation is not None:
            self._fields["activation"] = activation

    def _run(self, kind: Op, v: np.ndarray, m: int, **fields: Any) -> tuple[np.ndarray, np.ndarray]:
        op = RowFunction(kind, m=m, **self._fields, **fields)
        a, s = self.engine.run(np.concatenate([self._p, self._directions(v)]), op)
        return (a[:, : self.n_features] if kind in _BACK_PROJECTED else a), s

    def _directions(self, v: np.ndarray) -> np.ndarray:
        """Rows v as directions of the engine's rows, which may have a column of ones."""
        return np.concatenate([v, np.zeros((len(v), 1))], axis=1) if self.engine.has_ones else v

    def first(self) -> tuple[float, np.ndarray, float]:
        """Mean of r, ``E[r x]`` (d,) and mean square of r."""
        a, s = self._run(Op.MOMENT, np.zeros((0, self.n_features)), 0)
        return s[1] / s[0], a[-1] / s[0], s[4] / s[0]

    def covariance(self, v: np.ndarray) -> np.ndarray:
        """``E[x x^T] V^T`` for rows v (m, d): (m, d)."""
        return self.covariance_and_mean(v)[0]

    def covariance_and_mean(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`covariance`, and ``E[x]`` (d,) from the same pass."""
        a, s = self._run(Op.MOMENT, v, len(v), unit_response=True)
        return a[: len(v)] / s[0], a[-1] / s[0]

    def gram(self) -> np.ndarray:
        """Second moments of ``[x, 1, y]``, (d + 2, d + 2): all that an affine fit of the responses needs."""
        op = RowFunction(Op.GRAM, linear=1, v=_NO_UNITS, free_w=False, free_c=True)
        a, s = self.engine.with_ones(False).run(np.zeros((1, self.n_features)), op)
        gram = mirrored(a) / s[0]
        gram[-1, :-1] *= -1.0  # the residual of a network without output is -y
        gram[:-1, -1] *= -1.0
        return gram

    def second_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """``E[x]`` (d,) and ``E[x x^T]`` (d, d), in one pass for up to 1000 features."""
        d = self.n_features
        if d <= _GRAM_FEATURES:
            gram = MomentSweeps(self.engine.with_responses(_nothing)).gram()
            return gram[-2, :d], gram[:d, :d]
        unit = (np.eye(min(_COLUMNS, d - i), d, i) for i in range(0, d, _COLUMNS))
        return self.mean(), np.concatenate([self.covariance(v) for v in unit])

    def mean(self) -> np.ndarray:
        """``E[x]``, (d,)."""
        return self.covariance_and_mean(np.zeros((0, self.n_features)))[1]

    def second(self, v: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """``M_2 v_j = E[r (x x^T - I)] v_j`` for rows v (m, d), with the mean of r and ``E[r x]``.

        Returns
        -------
        product : ndarray (m, d)
        mean : float
        first : ndarray (d,)
        """
        a, s = self._run(Op.MOMENT, v, len(v))
        return (a[: len(v)] - s[1] * v) / s[0], s[1] / s[0], a[-1] / s[0]

    def product(self, v: np.ndarray, order: int = 2, alpha: np.ndarray | None = None) -> np.ndarray:
        """``M_order(., v_j, alpha, ..)`` for every row of v.

        With c = r (1, t, t^2 - |alpha|^2), t = alpha.x (Zhong et al. 2017, the matrix P2):
        ``X'(c V X)`` less the terms of the Hermite polynomial that involve the identity.

        Parameters
        ----------
        v : ndarray (m, d)
        order : {2, 3, 4}
        alpha : ndarray (d,)
            Needed for order 3 and 4.

        Returns
        -------
        ndarray (m, d)
        """
        return self.product_and_first(v, order, alpha)[0]

    def product_and_first(
        self, v: np.ndarray, order: int = 2, alpha: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`product` and, for order 2 or 3, ``E[r x]`` (d,) from the same pass."""
        m = len(v)
        if order == 2:
            image, _, first = self.second(v)
            return image, first
        if alpha is None:
            raise ValueError(f"order {order} needs a direction alpha")
        norm2 = float(alpha @ alpha)
        a, s = self._run(Op.MOMENT, np.concatenate([v, alpha[None]]), m, order=order, alpha2=norm2)
        a, s = a / s[0], s / s[0]
        b, va = a[m + 1], v @ alpha
        times = order - 2
        cross = times * (va[:, None] * b + (v @ b)[:, None] * alpha)
        product = a[:m] - cross - s[order - 1] * v
        return product if order == 3 else product + 2.0 * s[1] * va[:, None] * alpha, b

    def slices(self, v: np.ndarray) -> np.ndarray:
        """``M_3(., v_a, v_b)`` for all a <= b, orthonormal rows v (m, d): (m (m + 1) / 2, d)."""
        a, s = self._run(Op.PAIRS, v, len(v))
        a = a / s[0]
        b, beta = a[-1], v @ a[-1]
        i, j = np.triu_indices(len(v))
        return a[:-1] - (i == j)[:, None] * b - beta[j][:, None] * v[i] - beta[i][:, None] * v[j]

    def reduced(self, v: np.ndarray) -> Engine:
        """Engine whose rows are the projections Vx (n, m) and whose responses are r, in two passes.

        Parameters
        ----------
        v : ndarray (m, d)

        Returns
        -------
        Engine
        """
        return self.engine.residual(self._p, RowFunction(Op.PREDICT, **self._fields)).projected(self._directions(v))

    def hermite_dual(self, v: np.ndarray, degree: int, ridge: float) -> Engine:
        """The ridge regression of :meth:`hermite_regression` where there are more features than rows.

        Its coefficients are averages ``E[alpha_i h_m(Vx_i)]`` against responses alpha that solve the n x n system
        ``(K / n + ridge) alpha = r``, K the kernel of all h_m of degree 0 .. degree.

        Parameters
        ----------
        v : ndarray (m, d)
            Orthonormal rows.
        degree : int
        ridge : float

        Returns
        -------
        Engine
            Rows Vx, responses alpha.
        """
        reduced = self.reduced(v)
        z, r, w = local_rows(reduced)
        penalty = np.full(len(z), ridge)
        if w is not None:
            z, r, w = z[w > 0], r[w > 0], w[w > 0] / w[w > 0].mean()
            penalty = ridge / np.minimum(w, _HEAVIEST)
        return reduced.local(z, _dual_solved(z, degree, penalty, r))

    def quartic(self, v: np.ndarray, pair: float, single: float) -> tuple[tuple, tuple]:
        """Raw sums of the quartic ``q = pair |u|^4 / 2 - single / 24 sum_j u_j^4``, u = Vx, of every row.

        Parameters
        ----------
        v : ndarray (m, d)
        pair, single : float

        Returns
        -------
        slope, image : ndarray (m, d)
            ``E[r x dq/du_j]`` and ``E[r x u_j]``.
        mean, value : float
            ``E[r]`` and ``E[r q]``.
        """
        a, s = self._run(Op.LANDSCAPE, v, len(v), pair=pair, single=single)
        a = a / s[0]
        return (a[: len(v)], a[len(v) :]), (s[1] / s[0], s[2] / s[0])

    def third_packed(self, v: np.ndarray | None = None) -> np.ndarray:
        """Distinct entries of ``M_3(v_a, v_b, v_c)`` for rows v (m, d), or of ``M_3`` itself, in one pass.

        The raw moment ``E[r z_a z_b z_c]``, z = Vx, less ``E[r z_a] G_bc + E[r z_b] G_ac + E[r z_c] G_ab`` with
        G = V V' (Zhong et al. 2017, section 3: ``M_3 = E[r (x^(x)3 - sym(x, I))]``).

        Parameters
        ----------
        v : ndarray (m, d), optional
            Directions, m >= 1, not necessarily orthonormal.

        Returns
        -------
        ndarray (m (m + 1) (m + 2) / 6,)
            In the order of ``tensors.multi_indices(m, 3)``; m = d without directions.
        """
        if v is None and self.engine.has_ones:
            v = np.eye(self.n_features)
        m = 0 if v is None else len(v)
        a, s = self._run(Op.THIRD, np.zeros((0, self.n_features)) if v is None else v, m)
        packed, first = a[0] / s[0], s[3:] / s[0]
        gram, at = np.eye(self.n_features) if v is None else v @ v.T, 0
        for i in range(len(first)):  # the entries whose least index is i
            b, g = first[i:], gram[i, i:]
            term = (b[0] * gram[i:, i:] + np.outer(b, g) + np.outer(g, b))[np.triu_indices(len(b))]
            packed[at : at + len(term)] -= term
            at += len(term)
        return packed

    def hermite(self, v: np.ndarray, degrees: tuple[int, ...]) -> list[np.ndarray]:
        """Averages ``E[r h_m(Vx)]`` over all products h_m of the given degrees, orthonormal rows v.

        Returns
        -------
        list of ndarray
            One vector for each degree, in the order of ``tensors.exponents(m, degree)``.
        """
        factors = hermite_factors(len(v), tuple(degrees))
        s = self._run(Op.HERMITE, v, len(v), order=max(degrees), factors=factors)[1]
        return pieces(s[3:] / s[0], _counts(len(v), degrees))

    def hermite_regression(self, v: np.ndarray, degree: int, ridge: float = 0.0) -> tuple[list[np.ndarray], float]:
        """Least squares of r on all h_m(Vx) of degree 0 .. degree, orthonormal rows v.

        Estimates the same numbers as :meth:`hermite` with the variance of what is left after the fit instead
        of the variance of r.

        Parameters
        ----------
        v : ndarray (m, d)
        degree : int
        ridge : float
            Added to the diagonal of the features' Gram matrix, whose population value is the identity.

        Returns
        -------
        coefficients : list of ndarray
            One vector for each degree 0 .. degree.
        loss : float
            Half the mean square of what is left.
        """
        solution, loss = _regressed(self._hermite_gram(v, degree), ridge)
        return pieces(solution, _counts(len(v), range(degree + 1))), loss

    def hermite_losses(self, v: np.ndarray, degrees: tuple[int, ...], ridge: float = 0.0) -> list[float]:
        """Losses of :meth:`hermite_regression` for several degrees, increasing, in one pass."""
        gram, m = self._hermite_gram(v, degrees[-1]), len(v)
        sizes = [math.comb(m + degree, degree) for degree in degrees]
        kept = [np.append(np.arange(size), len(gram) - 1) for size in sizes]
        return [_regressed(gram[np.ix_(rows, rows)], ridge)[1] for rows in kept]

    def _hermite_gram(self, v: np.ndarray, degree: int) -> np.ndarray:
        """Second moments of all h_m(Vx) of degree 0 .. degree, low degrees first, and r."""
        factors = hermite_factors(len(v), tuple(range(degree + 1)))
        a, s = self._run(Op.HERMITE_GRAM, v, len(v), order=degree, factors=factors)
        return mirrored(a) / s[0]


def _regressed(gram: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Least squares of the last variable of a Gram matrix on the others: coefficients, and half of what is left."""
    features, rhs = gram[:-1, :-1], gram[:-1, -1]
    ridged = features + ridge * np.eye(len(rhs))
    scale = 1.0 / np.sqrt(np.maximum(ridged.diagonal(), 1e-300))  # features of one size
    solution = least_squares(ridged * scale * scale[:, None], rhs * scale) * scale
    left = max(gram[-1, -1] - 2 * rhs @ solution + solution @ (features @ solution), 0.0)
    return solution, 0.5 * float(left)


def _counts(m: int, degrees: Iterable[int]) -> list[int]:
    """Numbers of products of Hermite polynomials of m variables, by degree."""
    return [math.comb(m + p - 1, p) for p in degrees]


def _dual_solved(z: np.ndarray, degree: int, ridge: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Solution of ``(K / n + diag(ridge)) alpha = r``, K the :func:`hermite_kernel` of z.

    The matrix, its diagonal made 1, is held once and in single precision, in LAPACK's rectangular full packed format:
    32 MB for 4000 rows.  A step of refinement with the kernel made again gives back the digits (error 1e-6, then
    1e-12).
    """
    from scipy.linalg import lapack

    n = len(z)
    square = (z**2).sum(axis=1)
    size = np.sqrt(_mehler(square, 2.0 * square, z.shape[1], degree) / n + ridge)
    half, even = (n + 1) // 2, 1 - n % 2
    packed = np.empty((half, n + even), np.float32)
    for i, row in _dual_rows(z, degree, ridge):
        row /= size * size[i]
        if i < half:
            packed[i, even:] = row
        else:  # the lower right triangle, transposed, takes the room above the diagonal
            j = i - half + 1 - even
            packed[j, : j + even] = row[half : half + j + even]
    factor, failed = lapack.spftrf(n, packed.ravel(), uplo="L", overwrite_a=True)
    if failed:
        raise np.linalg.LinAlgError("the kernel of the Hermite features is singular")

    def solved(right: np.ndarray) -> np.ndarray:
        right = right / size
        largest = float(np.abs(right).max()) or 1.0
        right = (right / largest).astype(np.float32)
        return lapack.spftrs(n, factor, right[:, None], uplo="L")[0][:, 0].astype(np.float64) * largest / size

    alpha = solved(r)
    return np.asarray(alpha + solved(r - np.array([row @ alpha for _, row in _dual_rows(z, degree, ridge)])))


def _dual_rows(z: np.ndarray, degree: int, ridge: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Numbered rows of ``K / n + diag(ridge)``."""
    for start in range(0, len(z), _KERNEL_ROWS):  # a few rows at a time stay in cache
        for i, row in enumerate(hermite_kernel(z, degree, z[start : start + _KERNEL_ROWS]) / len(z), start):
            row[i] += ridge[i]
            yield i, row


def hermite_kernel(z: np.ndarray, degree: int, some: np.ndarray | None = None) -> np.ndarray:
    """``sum_m h_m(z_i) h_m(z_j)`` over all products of normalised Hermite polynomials up to a degree.

    Mehler's formula sums the kernels k_p of degree p in closed form, ``F(t) = sum_p t^p k_p = (1 - t^2)^(-m/2)
    exp((t z.z' - t^2 (|z|^2 + |z'|^2) / 2) / (1 - t^2))``; the recursion compares powers of t in ``(1 - t^2)^2 F'``.

    Parameters
    ----------
    z : ndarray (n, m)
    degree : int
    some : ndarray (n', m), optional
        Points in the place of z_i.

    Returns
    -------
    ndarray (n', n)
    """
    some = z if some is None else some
    return _mehler(some @ z.T, (some**2).sum(axis=1)[:, None] + (z**2).sum(axis=1), z.shape[1], degree)


def _mehler(g: np.ndarray, s: np.ndarray, m: int, degree: int) -> np.ndarray:
    """The kernel of points whose products are g and the sums of whose squared lengths are s, in m dimensions."""
    kernels = [np.ones_like(g), g]
    for p in range(1, degree):
        new = (2 * (p - 1) + m - s) * kernels[p - 1] + g * kernels[p]
        if p >= 2:
            new += g * kernels[p - 2]
        if p >= 3:
            new -= (m + p - 3) * kernels[p - 3]
        kernels.append(new / (p + 1))
    return np.asarray(sum(kernels[: degree + 1]))


@lru_cache(maxsize=64)
def hermite_factors(m: int, degrees: tuple[int, ...]) -> np.ndarray:
    """Kernel's feature table for all products of the given degrees in m variables.

    Rows hold indices ``a (max degree + 1) + p`` of normalised Hermite rows, padded with -1.
    """
    powers, degree = np.concatenate([exponents(m, p) for p in degrees]), max(degrees)
    table = np.full((len(powers), 4), -1, np.int32)
    for i, row in enumerate(powers):
        used = np.flatnonzero(row)
        table[i, : len(used)] = used * (degree + 1) + row[used]
    return table


def _nothing(y: np.ndarray) -> np.ndarray:
    return np.zeros(len(y))
