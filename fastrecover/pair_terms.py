"""Expectations of products of two hidden units, ``E[phi(u.x + a) psi(v.x + b)]`` and its gradient, for x ~ N(0, I).

A term depends only on two lengths, two biases and an angle.  Four activations have closed forms.  All other pairs are
summed as Hermite series, whose truncation error is bounded by energies (Bessel) and not guessed; what is left over,
nearly parallel rows of kinked or steep units, is integrated in two dimensions on panels graded towards every kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .activations import Activation, Array, get_activation
from .activations.gaussian import legendre, quadrature

#: Terms of the Hermite series, tried in turn, and the bound on what they leave out, in units of |phi'| |psi'|.
_TERMS = (64, 128, 256, 512, 1024)
_TRUNCATION = 1e-13
#: Relative rounding error of |phi'|^2, generously.
_HIDDEN = 1e-14
#: Below this sine two rows count as parallel, which moves no pair term by more.
_PARALLEL = 1e-13
_REACH = 10.0
#: Standard deviations from which on a normal variable does not reach at all: its density is no float64 there.
_NEVER = 40.0
#: Cosine up to which a fixed rule integrates the bivariate normal density over correlations to rounding.
_GENTLE = 0.5


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

    members: NDArray[np.intp]
    z: Array
    slopes: Array
    last: Array


class Units:
    """Units ``phi(w.x + a)`` of one activation, with the one-dimensional expectations that involve no other units."""

    def __init__(self, phi: Activation, rows: Array, biases: Array) -> None:
        self.phi, self.rows, self.biases = phi, rows, biases
        largest = np.abs(rows).max(axis=1, keepdims=True)
        scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        self.unit = np.divide(scaled, norms, out=np.zeros_like(rows), where=largest > 0)
        self.length = (largest * norms)[:, 0]
        # Where the argument is 0 or at a kink, in standard deviations of w.x.
        points = np.unique([0.0, *phi.kinks]) - biases[:, None]
        with np.errstate(over="ignore"):
            self.knots = np.divide(points, self.length[:, None], out=points, where=self.length[:, None] > 0)
        k = len(rows)
        self.mean, self.rms, self.energy = np.empty(k), np.empty(k), np.empty(k)
        self._coefficients: Array = np.empty((1, k))
        self._lines: list[_Line] = []
        for knots, members in self._shared().items():
            z, table = quadrature(knots, 0)
            weight = table[:, 0]
            argument = np.multiply.outer(self.length[members], z)
            argument += biases[members, None]
            values, slopes = phi.value(argument), phi.derivative(argument)
            self.mean[members], self.rms[members] = values @ weight, np.sqrt(values**2 @ weight)
            self.energy[members] = slopes**2 @ weight
            self._coefficients[0, members] = slopes @ weight
            last = np.stack([np.zeros_like(z), np.ones_like(z)])
            self._lines.append(_Line(np.array(members), z, slopes * weight, last))

    def _shared(self) -> dict[tuple[float, ...], list[int]]:
        """Units that share their nodes, by the knots away from 0 that these are graded towards."""
        shared: dict[tuple[float, ...], list[int]] = {}
        for i, (s, knots) in enumerate(zip(self.length, self.knots.tolist(), strict=True)):
            shared.setdefault(tuple(knot for knot in knots if knot) if s > 0 else (), []).append(i)
        return shared

    def coefficients(self, count: int) -> Array:
        """E[phi'(s z + a) h_j(z)], h_j = He_j / sqrt(j!), (count, k); of phi: s times those shifted / sqrt(j)."""
        have = len(self._coefficients)
        if have < count:
            more = np.empty((count - have, len(self.rows)))
            for line in self._lines:
                table = _hermite(line.z, line.last, have, count)
                more[:, line.members] = table @ line.slopes.T
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

    def past(self, x: Array, y: Array) -> Array:
        """``y - cos x``, without a cosine near 1 in size."""
        ahead, back = (2.0 * np.sin(0.5 * angle) ** 2 * x for angle in (self.t, self.rest))
        return np.where(self.cos > 0, (y - x) + ahead, (y + x) - back)


class Terms(NamedTuple):
    """Pair terms (k, k'): E[phi psi], and its derivatives: ``rise`` by a, and ``radial u / |u| + slopes v`` by u.

    By Stein's identity ``rise = E[phi' psi]``, ``radial = |u| E[phi'' psi]`` and ``slopes = E[phi' psi']``.
    """

    value: Array
    rise: Array
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
        lengths, biases = ((one[:, None], two[None, :]) for one, two in ((a.length, b.length), (a.biases, b.biases)))
        return closed(*lengths, *biases, angles)
    return _by_series(a, b, angles, gradient)


class _Corner(NamedTuple):
    """The quadrant ``z1 > -x, z2 > -y`` of two standard normal variables of correlation cos t.

    Attributes
    ----------
    one, two : ndarray
        Densities n(x) and n(y) of the two sides.
    c, d : ndarray
        ``(y - cos x) / sin`` and ``(x - cos y) / sin``: Phi(c) is the share of the side z1 = -x that belongs to the
        quadrant, and Phi(d) that of the other one.
    density : ndarray
        n(x) n(c) = n(y) n(d): sin times the joint density at the corner.
    """

    one: Array
    two: Array
    c: Array
    d: Array
    density: Array


def _corner(x: Array, y: Array, at: _Angles) -> _Corner:
    one, two = _normal(x), _normal(y)
    if not (x.any() or y.any()):
        none = np.zeros((1, 1))
        return _Corner(one, two, none, none, one * two)
    # On parallel sides the signs of c and d are all that counts.
    sin = np.maximum(at.sin, 1e-300)
    c, d = (np.clip(past / sin, -_NEVER, _NEVER) for past in (at.past(x, y), at.past(y, x)))
    return _Corner(one, two, c, d, one * _normal(c))


def _mass(x: Array, y: Array, at: _Angles, corner: _Corner) -> Array:
    """Probability of the quadrant, the bivariate normal distribution at (x, y), exactly rest / 2 pi at (0, 0).

    Each side is turned away from 0 first.  What lies beyond two sides at distances h and k is seen from 0 as two
    wedges, one between each side and the ray to the corner, so that nothing cancels.
    """
    flat = np.broadcast_to(at.rest, np.broadcast_shapes(x.shape, y.shape, at.rest.shape)) / (2.0 * np.pi)
    if not (x.any() or y.any()):
        return flat
    from scipy.special import ndtr

    h, k = np.abs(x), np.abs(y)
    signs = np.where(x > 0, -1.0, 1.0), np.where(y > 0, -1.0, 1.0)
    beyond = _wedge(h, -signs[1] * corner.c) + _wedge(k, -signs[0] * corner.d)
    beyond = np.where((h == 0) & (k == 0), flat, beyond)
    # 1[z > -x] = 1 - 1[-z > x] for x > 0.
    on = x > 0, y > 0
    single = (on[0] & on[1]) + on[1] * signs[0] * ndtr(-h) + on[0] * signs[1] * ndtr(-k)
    return np.asarray(single + signs[0] * signs[1] * beyond)


def _wedge(h: Array, c: Array) -> Array:
    """P(z1 > h, z2 > (c / h) z1) of two independent variables, h >= 0: N(-h) / 2 - T(h, c / h) with Owen's T."""
    from scipy.special import erf, ndtr, owens_t

    far = np.abs(c)
    base = np.maximum(h, far)
    owen = owens_t(base, np.divide(np.minimum(h, far), base, out=np.zeros_like(base), where=base > 0))
    # T(h, c / h) + T(c, h / c) is known, and one of the two is small where the other is not.
    thin = np.where(far > h, owen - 0.5 * ndtr(-far) * erf(math.sqrt(0.5) * h), 0.5 * ndtr(-h) - owen)
    return np.where(c < 0, ndtr(-h) - thin, thin)


def _normal(x: Array) -> Array:
    """Density of a standard normal variable."""
    return np.exp(-0.5 * x**2) / math.sqrt(2.0 * np.pi)


class _Ramps(NamedTuple):
    """``M_ij = E[X^i Y^j]`` over the quadrant X, Y > 0 of ``X = s z1 + a, Y = r z2 + b``.

    Integration by parts raises an order, ``M_{i+1,j} = a M_ij + i s^2 M_{i-1,j} + j s r cos M_{i,j-1}`` and what the
    sides of the quadrant add where i or j is 0: ``side`` is s E[delta(X) Y], ``edges`` E[z1] over the quadrant.
    """

    m00: Array
    m01: Array
    m11: Array
    side: Array
    edges: Array


def _ramps(s: Array, r: Array, a: Array, b: Array, at: _Angles) -> _Ramps:
    from scipy.special import ndtr

    x, y = _distances(a, s), _distances(b, r)
    corner = _corner(x, y, at)
    m00 = _mass(x, y, at, corner)
    here, there = corner.one * ndtr(corner.c), corner.two * ndtr(corner.d)
    reach, corners = r * at.cos, r * at.sin * corner.density
    m01 = b * m00 + r * there + reach * here
    m11 = (a * b + s * reach) * m00 + a * (r * there) + b * (s * here) + s * corners
    return _Ramps(m00, m01, m11, (b - reach * x) * here + corners, here + at.cos * there)


def _distances(bias: Array, length: Array) -> Array:
    """a / s, within the reach of a normal variable; a unit without weights that is 0 counts as off."""
    with np.errstate(over="ignore"):
        ratio = np.divide(bias, length, out=np.where(bias > 0, _NEVER, -_NEVER), where=length > 0)
    return np.clip(ratio, -_NEVER, _NEVER)


def _relu_terms(s: Array, r: Array, a: Array, b: Array, at: _Angles) -> Terms:
    m = _ramps(s, r, a, b, at)
    return Terms(m.m11, m.m01, m.side, m.m00)


def _squared_relu_terms(s: Array, r: Array, a: Array, b: Array, at: _Angles) -> Terms:
    m, cross = _ramps(s, r, a, b, at), s * r * at.cos
    m10 = a * m.m00 + s * m.edges
    m02 = b * m.m01 + r**2 * m.m00 + r * at.cos * m.side
    m12 = b * m.m11 + r**2 * m10 + cross * m.m01
    m22 = a * m12 + s**2 * m02 + 2.0 * cross * m.m11
    return Terms(m22, 2.0 * m12, 2.0 * s * m02, 4.0 * m.m11)


def _quadratic_terms(s: Array, r: Array, a: Array, b: Array, at: _Angles) -> Terms:
    cross, theirs = s * r * at.cos, r**2 + b**2
    value = (s**2 + a**2) * theirs + 4.0 * a * b * cross + 2.0 * cross**2
    return Terms(value, 2.0 * a * theirs + 4.0 * b * cross, 2.0 * s * theirs + 0.0 * at.t, 4.0 * (cross + a * b))


def _erf_terms(s: Array, r: Array, a: Array, b: Array, at: _Angles) -> Terms:
    """``erf(z) = E sign(z + e / sqrt(2))``: signs of two normal variables of variances s^2 + 1 / 2 and r^2 + 1 / 2."""
    from scipy.special import erf

    inner, ours, theirs = 2.0 * s * r * at.cos, 1.0 + 2.0 * s**2, 1.0 + 2.0 * r**2
    # sqrt((1 + 2 s^2)(1 + 2 r^2) - inner^2) without the difference
    root, size = np.sqrt(ours + 2.0 * r**2 + (2.0 * s * r * at.sin) ** 2), np.sqrt(ours * theirs)
    x, y = (np.clip(z * np.sqrt(2.0 / of), -_NEVER, _NEVER) for z, of in ((a, ours), (b, theirs)))
    noisy = _Angles(np.arctan2(root, inner), np.arctan2(root, -inner), inner / size, root / size)
    corner = _corner(x, y, noisy)
    slopes = 8.0 / root * corner.density
    rise = 2.0 * corner.one * np.sqrt(2.0 / ours) * erf(math.sqrt(0.5) * corner.c) + 0.0 * root
    return Terms(_signs(x, y, noisy, corner), rise, -s * (inner * slopes + 2.0 * a * rise) / ours, slopes)


def _signs(x: Array, y: Array, at: _Angles, corner: _Corner) -> Array:
    """``E sign(z1 + x) sign(z2 + y)``, where it is small by its integral over correlations from 0."""
    if not (x.any() or y.any()):
        return 2.0 / np.pi * np.arctan2(at.cos, at.sin)
    from scipy.special import erf, ndtr

    value = 4.0 * _mass(x, y, at, corner) - 2.0 * (ndtr(x) + ndtr(y)) + 1.0
    angle = np.arctan2(at.cos, at.sin)
    tilted = np.zeros_like(angle)
    for node, weight in zip(*legendre(16), strict=True):
        sin = np.sin(0.5 * (1.0 + node) * angle)
        tilted += 0.5 * weight * np.exp(-0.5 * (x**2 + y**2 - 2.0 * x * y * sin) / (1.0 - sin**2))
    apart = erf(math.sqrt(0.5) * x) * erf(math.sqrt(0.5) * y) + 2.0 / np.pi * angle * tilted
    return np.where(np.abs(at.cos) <= _GENTLE, apart, value)


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
        terms = _integrated(a, i, b, j, at.cos[i, j], at.sin[i, j], gradient)
        for target, term in zip(out, terms, strict=True):
            target[i, j] = term
    return out


def _series(
    a: Units, b: Units, i: NDArray[np.intp], j: NDArray[np.intp], cos: Array, count: int, gradient: bool
) -> Terms:
    """Sums over the pairs (i, j), by Horner's rule in cos, from the coefficients of the derivatives."""
    d, e = a.coefficients(count), b.coefficients(count)
    value, rise, radial, slopes = (np.zeros_like(cos) for _ in Terms._fields)
    for n in range(count - 1, -1, -1):
        second = e[n, j]
        product = d[n, i] * second
        value = value * cos + product / (n + 1.0)
        if gradient:
            slopes = slopes * cos + product
            if n + 1 < count:
                rise = rise * cos + d[n + 1, i] * second / math.sqrt(n + 1.0)
            if n + 2 < count:
                radial = radial * cos + math.sqrt((n + 2.0) / (n + 1.0)) * d[n + 2, i] * second
    reach, mean = b.length[j] * cos, b.mean[j]
    value = a.mean[i] * mean + a.length[i] * reach * value
    return Terms(value, d[0, i] * mean + reach * rise, d[1, i] * mean + reach * radial, slopes)


def _integrated(
    a: Units, i: int, b: Units, j: int, cos: float, sin: float, gradient: bool
) -> tuple[float, float, float, float]:
    """One pair term of nearly parallel rows: x along u, and around it y in the part of v orthogonal to u."""
    sin = sin if sin > _PARALLEL else 0.0
    s, r, ours, theirs = a.length[i], b.length[j], a.knots[i], b.knots[j]
    finest = 0.1 * min(1.0, 1.0 / s, 1.0 / r, sin or 1.0)
    x, weight = (each[0] for each in _panels(np.unique(np.concatenate([ours, theirs / cos]))[None], finest))
    if sin:
        centres = (theirs - cos * x[:, None]) / sin
        y, inner = _panels(centres, 0.1 / max(1.0, r * sin))
        argument = r * (cos * x[:, None] + sin * y) + b.biases[j]
    else:
        argument, inner = r * cos * x[:, None] + b.biases[j], np.ones((len(x), 1))
    # Panels that lie out of reach have no width.
    counts = inner > 0

    def smoothed(function: Callable[[Array], Array]) -> Array:
        values = np.zeros_like(argument)
        values[counts] = function(argument[counts])
        return (values * inner).sum(axis=1)

    smooth, outer = smoothed(b.phi.value), s * x + a.biases[i]
    value = float(weight @ (a.phi.value(outer) * smooth))
    if not gradient:
        return value, 0.0, 0.0, 0.0
    slope = weight * a.phi.derivative(outer)
    slopes = float(slope @ smoothed(b.phi.derivative))
    return value, float(slope @ smooth), float((slope * x) @ smooth) - r * cos * slopes, slopes


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
    abscissae, weights = legendre(12)
    middle, radius = (edges[:, 1:] + edges[:, :-1]) / 2, np.diff(edges, axis=1) / 2
    nodes = (middle[:, :, None] + radius[:, :, None] * abscissae).reshape(len(edges), -1)
    measure = (radius[:, :, None] * weights).reshape(len(edges), -1)
    return nodes, measure * np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * np.pi)
