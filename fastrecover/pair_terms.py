"""Expectations of products of two hidden units, ``E[phi(u.x) psi(v.x)]`` and its gradient, for x ~ N(0, I).

A term depends only on two lengths and an angle.  Four activations have closed forms.  All other pairs are summed as
Hermite series, whose truncation error is bounded by energies (Bessel) and not guessed; what is left over, nearly
parallel rows of kinked or steep units, is integrated in two dimensions on panels graded towards every kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .activations import Activation, Array, get_activation
from .activations.gaussian import quadrature

#: Terms of the Hermite series, tried in turn, and the bound on what they leave out, in units of |phi'| |psi'|.
_TERMS = (64, 128, 256, 512, 1024)
LEAST_TERMS = _TERMS[0]
_TRUNCATION = 1e-13
#: Relative rounding error of |phi'|^2, generously.
_HIDDEN = 1e-14
#: Below this sine two rows count as parallel, which moves no pair term by more.
_PARALLEL = 1e-13
_REACH = 10.0


class Reduced(NamedTuple):
    """``phi(z) = factor plain(z) + slope z``, with a plain function that has a closed form if there is one."""

    plain: Activation
    factor: float
    slope: float


def reduced(phi: Activation) -> Reduced:
    """A function of degree 1 as a multiple of relu, and every other square as one of z^2."""
    if phi.degree == 1:
        up, down = phi.value([1.0, -1.0]).tolist()
        return Reduced(get_activation("relu"), up + down, 0.0 - down)
    if phi.quadratic_coefficient is not None:
        return Reduced(get_activation("quadratic"), phi.quadratic_coefficient, 0.0)
    return Reduced(phi, 1.0, 0.0)


class _Line(NamedTuple):
    """Nodes of some units, phi' there times the quadrature weights, and the last two Hermite polynomials."""

    chunk: slice
    z: Array
    slopes: Array
    last: Array


class Units:
    """Rows that share an activation, with the one-dimensional expectations that do not involve other rows."""

    def __init__(self, phi: Activation, rows: Array, v: Array) -> None:
        self.phi, self.rows, self.v = phi, rows, v
        largest = np.abs(rows).max(axis=1, keepdims=True)
        scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        self.unit = np.divide(scaled, norms, out=np.zeros_like(rows), where=largest > 0)
        self.length = (largest * norms)[:, 0]
        k = len(rows)
        self.mean, self.rms, self.energy = np.empty(k), np.empty(k), np.empty(k)
        self._coefficients: Array = np.empty((1, k))
        self._lines: list[_Line] = []
        for chunk, kinks in self._chunks():
            z, table = quadrature(kinks, 0)
            weight, argument = table[:, 0], np.multiply.outer(self.length[chunk], z)
            values, slopes = phi.value(argument), phi.derivative(argument)
            self.mean[chunk], self.rms[chunk] = values @ weight, np.sqrt(values**2 @ weight)
            self.energy[chunk] = slopes**2 @ weight
            self._coefficients[0, chunk] = slopes @ weight
            self._lines.append(_Line(chunk, z, slopes * weight, np.stack([np.zeros_like(z), np.ones_like(z)])))

    def _chunks(self) -> list[tuple[slice, tuple[float, ...]]]:
        """Units that share their nodes, and kinks in units of x: those away from 0 move with the length."""
        if not any(self.phi.kinks):
            return [(slice(None), ())]
        kinks = [tuple(kink / s for kink in self.phi.kinks if kink) if s > 0 else () for s in self.length]
        return [(slice(i, i + 1), each) for i, each in enumerate(kinks)]

    def coefficients(self, count: int) -> Array:
        """E[phi'(s z) h_j(z)], h_j = He_j / sqrt(j!), (count, k); of phi they are s times those shifted / sqrt(j)."""
        have = len(self._coefficients)
        if have < count:
            more = np.empty((count - have, len(self.rows)))
            for line in self._lines:
                table = _hermite(line.z, line.last, have, count)
                more[:, line.chunk] = table @ line.slopes.T
                line.last[:] = table[-2:]
            self._coefficients = np.concatenate([self._coefficients, more])
        return self._coefficients[:count]

    def missed(self, count: int) -> Array:
        """|phi' - its series of `count` terms| / |phi'|, (k,), not below what rounding hides of it."""
        seen = (self.coefficients(count) ** 2).sum(axis=0)
        share = np.divide(seen, self.energy, out=np.ones_like(seen), where=self.energy > 0)
        return np.sqrt(np.maximum(1.0 - share, _HIDDEN))


def _hermite(z: Array, last: Array, start: int, stop: int) -> Array:
    """h_j = He_j / sqrt(j!) for start <= j < stop, one a row, from the two orders before (h_-1 = 0)."""
    table = np.concatenate([last, np.empty((stop - start, len(z)))])
    for j, row in enumerate(table[2:], start):
        np.multiply(z, table[j - start + 1], out=row)
        row -= math.sqrt(j - 1) * table[j - start]
        row /= math.sqrt(j)
    return table[2:]


class _Angles(NamedTuple):
    """Angle of every pair of rows and what is missing to pi, both to full relative precision."""

    t: Array
    rest: Array
    cos: Array
    sin: Array


class Terms(NamedTuple):
    """Pair terms (k, k'): E[phi psi], and the two numbers of its gradient ``radial u / |u| + slopes v``.

    By Stein's identity ``radial = |u| E[phi'' psi]`` and ``slopes = E[phi' psi']``.
    """

    value: Array
    radial: Array
    slopes: Array


def pair_terms(a: Units, b: Units, gradient: bool) -> Terms:
    """Terms of every unit of `a` with every one of `b`, (k, k'); without `gradient` perhaps only their values."""
    from scipy.spatial.distance import cdist

    # From u.v an angle of 1e-8 would be read as 0.  A row of zeros is at right angles to all.
    nothing = np.multiply.outer(a.length, b.length) == 0
    apart, together = (np.where(nothing, 1.0, cdist(a.unit, unit)) for unit in (b.unit, -b.unit))
    t, rest = 2.0 * np.arctan2(apart, together), 2.0 * np.arctan2(together, apart)
    angles = _Angles(t, rest, np.cos(t), np.sin(np.minimum(t, rest)))
    closed = _CLOSED.get(a.phi) if a.phi == b.phi else None
    if closed is not None:
        return closed(a.length[:, None], b.length[None, :], angles)
    return _by_series(a, b, angles, gradient)


def _relu_terms(s: Array, r: Array, at: _Angles) -> Terms:
    value = s * r * (at.sin + at.rest * at.cos) / (2.0 * np.pi)
    return Terms(value, r * at.sin / (2.0 * np.pi), np.where(s > 0, at.rest, 0.0) / (2.0 * np.pi))


def _squared_relu_terms(s: Array, r: Array, at: _Angles) -> Terms:
    value = (s * r) ** 2 * (3.0 * at.sin * at.cos + at.rest * (1.0 + 2.0 * at.cos**2)) / (2.0 * np.pi)
    radial = s * r**2 * (at.rest + at.sin * at.cos) / np.pi
    return Terms(value, radial, 2.0 * s * r * (at.sin + at.rest * at.cos) / np.pi)


def _quadratic_terms(s: Array, r: Array, at: _Angles) -> Terms:
    return Terms((s * r) ** 2 * (1.0 + 2.0 * at.cos**2), 2.0 * s * r**2 + 0.0 * at.t, 4.0 * s * r * at.cos)


def _erf_terms(s: Array, r: Array, at: _Angles) -> Terms:
    inner, ours = 2.0 * s * r * at.cos, 1.0 + 2.0 * s**2
    # sqrt((1 + 2 s^2)(1 + 2 r^2) - inner^2) without the difference
    root = np.sqrt(ours + 2.0 * r**2 + (2.0 * s * r * at.sin) ** 2)
    slopes = 4.0 / np.pi / root
    return Terms(2.0 / np.pi * np.arctan2(inner, root), -s * inner / ours * slopes, slopes)


_CLOSED = {
    get_activation("relu"): _relu_terms,
    get_activation("squared_relu"): _squared_relu_terms,
    get_activation("quadratic"): _quadratic_terms,
    get_activation("erf"): _erf_terms,
}


def _by_series(a: Units, b: Units, at: _Angles, gradient: bool) -> Terms:
    """Pair terms from Hermite series, each as long as its bound asks for, or from quadrature."""
    shape = at.t.shape
    out = Terms(*(np.zeros(shape) for _ in Terms._fields))
    # On a line every term is a single integral, and the series would be at its slowest.
    apart = at.sin > _PARALLEL
    waiting = apart.copy()
    for count in _TERMS:
        if not waiting.any():
            break
        missed = np.multiply.outer(a.missed(count), b.missed(count)) * np.abs(at.cos) ** count
        done = waiting & (missed <= _TRUNCATION)
        waiting &= ~done
        if done.any():
            i, j = np.nonzero(done)
            for target, sums in zip(out, _series(a, b, i, j, at.cos[done], count, gradient), strict=True):
                target[done] = sums
    for i, j in np.argwhere(waiting | ~apart):
        terms = _integrated(a.phi, a.length[i], b.phi, b.length[j], at.cos[i, j], at.sin[i, j], gradient)
        for target, term in zip(out, terms, strict=True):
            target[i, j] = term
    return out


def _series(
    a: Units, b: Units, i: NDArray[np.intp], j: NDArray[np.intp], cos: Array, count: int, gradient: bool
) -> Terms:
    """Sums over the pairs (i, j), by Horner's rule in cos, from the coefficients of the derivatives."""
    d, e = a.coefficients(count), b.coefficients(count)
    value, radial, slopes = np.zeros_like(cos), np.zeros_like(cos), np.zeros_like(cos)
    for n in range(count - 1, -1, -1):
        second = e[n, j]
        product = d[n, i] * second
        value = value * cos + product / (n + 1.0)
        if gradient:
            slopes = slopes * cos + product
            if n + 2 < count:
                radial = radial * cos + math.sqrt((n + 2.0) / (n + 1.0)) * d[n + 2, i] * second
    reach = b.length[j] * cos
    value = a.mean[i] * b.mean[j] + a.length[i] * reach * value
    return Terms(value, d[1, i] * b.mean[j] + reach * radial, slopes)


def _integrated(
    phi: Activation, s: float, psi: Activation, r: float, cos: float, sin: float, gradient: bool
) -> tuple[float, float, float]:
    """One pair term of nearly parallel rows: x along u, and around it y in the part of v orthogonal to u."""
    sin = sin if sin > _PARALLEL else 0.0
    ours, theirs = (np.unique([0.0, *each.kinks]) / size for each, size in ((phi, s), (psi, r)))
    finest = 0.1 * min(1.0, 1.0 / s, 1.0 / r, sin or 1.0)
    x, weight = (each[0] for each in _panels(np.unique(np.concatenate([ours, theirs / cos]))[None], finest))
    if sin:
        centres = (theirs - cos * x[:, None]) / sin
        y, inner = _panels(centres, 0.1 / max(1.0, r * sin))
        argument = r * (cos * x[:, None] + sin * y)
    else:
        argument, inner = r * cos * x[:, None], np.ones((len(x), 1))
    # Panels that lie out of reach have no width.
    counts = inner > 0

    def smoothed(function: Callable[[Array], Array]) -> Array:
        values = np.zeros_like(argument)
        values[counts] = function(argument[counts])
        return (values * inner).sum(axis=1)

    smooth = smoothed(psi.value)
    value = float(weight @ (phi.value(s * x) * smooth))
    if not gradient:
        return value, 0.0, 0.0
    slope = weight * phi.derivative(s * x)
    slopes = float(slope @ smoothed(psi.derivative))
    return value, float((slope * x) @ smooth) - r * cos * slopes, slopes


def _panels(centres: Array, finest: float) -> tuple[Array, Array]:
    """Nodes and weights (times the normal density) on panels that halve towards the centres of each line.

    Parameters
    ----------
    centres : ndarray (n, m)
    finest : float
        Length of the panels next to a centre.

    Returns
    -------
    nodes, weights : ndarray (n, q)
    """
    steps = np.geomspace(finest, 1.0, 1 + math.ceil(math.log2(1.0 / finest)))
    offsets = np.concatenate([-steps, [0.0], steps])
    near = (centres[:, :, None] + offsets).reshape(len(centres), -1)
    base = np.broadcast_to(np.arange(-_REACH, _REACH + 0.5), (len(centres), int(2 * _REACH) + 1))
    edges = np.sort(np.clip(np.concatenate([base, near], axis=1), -_REACH, _REACH), axis=1)
    abscissae, weights = np.polynomial.legendre.leggauss(12)
    middle, radius = (edges[:, 1:] + edges[:, :-1]) / 2, np.diff(edges, axis=1) / 2
    nodes = (middle[:, :, None] + radius[:, :, None] * abscissae).reshape(len(edges), -1)
    measure = (radius[:, :, None] * weights).reshape(len(edges), -1)
    return nodes, measure * np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * np.pi)
