"""Infinite-data squared loss of one network against another, for independent standard normal inputs.

The loss is a sum of pair terms E[phi(u.x) psi(v.x)], and each term depends only on two lengths and an angle.
Four activations have closed forms.  All other pairs are summed as Hermite series, whose truncation error is
bounded by energies (Bessel) and not guessed; what is left over, nearly parallel rows of kinked or steep units,
is integrated in two dimensions on panels graded towards every kink.

A sum of pair terms cannot tell a loss of 1e-17 from none.  Close to the truth the gradient, which cancels one
order less, is therefore integrated along the straight line from the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._validation import check_moderate
from .activations import Activation, Array, get_activation
from .activations.gaussian import quadrature
from .models import Network, Parameters, align

Indices = NDArray[np.intp]

#: Terms of the Hermite series, tried in turn, and the bound on what they leave out, in units of |phi'| |psi'|.
_TERMS = (64, 128, 256, 512, 1024)
_TRUNCATION = 1e-13
#: Relative rounding error of |phi'|^2, generously.
_HIDDEN = 1e-14
#: Below this sine two rows count as parallel, which moves no pair term by more.
_PARALLEL = 1e-13
#: Below this share of the networks' sizes the loss is integrated from the truth, where no row moves by more
#: than _NEAR of its length.
_SMALL, _NEAR = 1e-6, 0.03
_REACH = 10.0


def population_risk(student: Any, teacher: Any, *, gradient: bool = False) -> float | tuple[float, Array]:
    """Expected loss ``E 0.5 (f_student(x) - f_teacher(x))^2`` for x ~ N(0, I), without sampling.

    It is what ``fastrecover.objective(X, y, model).value(theta)`` tends to as the rows of Gaussian X and
    noise-free y grow in number.

    Parameters
    ----------
    student, teacher : Teacher, Recovery, or any object with ``model`` and ``parameters``
        Regressions on the same number of features; numbers of units and activations may differ.  A
        convolutional network is taken as the network of all its patches.
    gradient : bool
        Whether to return the gradient by the student's parameters as well.

    Returns
    -------
    value : float
        Not negative.
    grad : ndarray (n_parameters,)
        Only with `gradient`: in the order of ``student.model.pack``, that is weights, then output weights,
        linear term and intercept where the model frees them.  At kinks phi' is that of
        :meth:`~fastrecover.activations.Activation.derivative`, so a relu row of zeros has gradient zero.

    Raises
    ------
    TypeError
        An argument without a model and parameters, or `gradient` is no bool.
    ValueError
        Different numbers of features, parameters that are not finite or above 1e35, a classification (the
        expected cross entropy is no sum of pair terms), or a user's activation that jumps.

    Notes
    -----
    With t the angle of u and v, E[phi(u.x) phi(v.x)] is for relu ``|u||v| (sin t + (pi - t) cos t) / (2 pi)``
    and for squared relu ``|u|^2 |v|^2 (3 sin t cos t + (pi - t)(1 + 2 cos^2 t)) / (2 pi)`` (half the arc-cosine
    kernels of orders 1 and 2: Cho and Saul, Kernel methods for deep learning, NIPS 2009, section 2), for erf
    ``(2 / pi) arcsin(2 u.v / sqrt((1 + 2 |u|^2)(1 + 2 |v|^2)))`` (Williams, Computing with infinite networks, NIPS
    1996), and for the quadratic ``|u|^2 |v|^2 + 2 (u.v)^2``.  Leaky relu is relu plus a linear function.  Other
    pairs use ``sum_j a_j b_j cos(t)^j`` with the Hermite coefficients a, b of the two units.  Gradients follow
    from Stein's identity, ``E[phi'(u.x) psi(v.x) x] = E[phi'' psi] u + E[phi' psi'] v``.

    Errors are in units of S^2, S the sum of the root mean squares of all units, linear terms and intercepts:
    about 1e-15 for pairs with a closed form, 1e-12 for all others with rows of length up to 1000 (a user's
    function must list its kinks, and be smooth over distances of 0.1 between them), and the same for the
    gradient.  Close to a teacher of the same shape and activation, at a relative distance e, the error of the
    value falls to about e times that, and to nothing at the teacher itself; for two quadratic networks it is
    1e-15 sqrt(value) S wherever they are.

    The cost is O((k + k')^2 d) for closed forms.  A series adds 64 to 1024 terms for each pair; rows of
    kinked or steep units within some 13 degrees of parallel or antiparallel take about 10^5 evaluations a pair.

    Examples
    --------
    >>> from fastrecover.datasets import make_teacher
    >>> teacher = make_teacher("relu", n_features=4, n_hidden=2)
    >>> population_risk(teacher, teacher)
    0.0
    """
    if not isinstance(gradient, (bool, np.bool_)):
        raise TypeError(f"gradient must be True or False, got {gradient!r}")
    mine, truth = (_checked(*pair) for pair in ((student, "student"), (teacher, "teacher")))
    widths = [p.weights.shape[1] for p in (mine, truth)]
    if widths[0] != widths[1]:
        raise ValueError(f"student and teacher must have equally many features, got {widths[0]} and {widths[1]}")
    model, phi, psi = student.model, student.model.activation, teacher.model.activation
    residual = _Residual(phi, mine, psi, truth)
    grad = residual.gradient() if gradient else None
    value = _quadratic_value(mine, truth) if phi.name == psi.name == "quadratic" else residual.value()
    if value < _SMALL * residual.size and phi == psi and phi.name != "quadratic":
        value = _value_near(phi, mine, truth, value)
    value = max(value, 0.0)
    if grad is None:
        return value
    k, patches = model.n_hidden, model.n_patches
    blocks = grad.weights.reshape(k, patches, patches, -1)
    weights, v = np.einsum("kppm->km", blocks), grad.output_weights.reshape(k, patches).sum(axis=1)
    return value, model.pack(Parameters(weights, v, grad.linear, grad.intercept))


def _checked(network: Any, name: str) -> Parameters:
    """Parameters of the fully connected network that computes the same, or an error."""
    model, p = getattr(network, "model", None), getattr(network, "parameters", None)
    if not isinstance(model, Network) or not isinstance(p, Parameters):
        raise TypeError(
            f"{name} must be a Teacher, a Recovery or another object with model and parameters, "
            f"got {type(network).__name__}"
        )
    if model.is_classifier:
        raise ValueError(
            f"{name} is a classification, whose expected cross entropy is no sum of pair terms of hidden units: "
            "population_risk is for regressions"
        )
    if p.linear is not None and model.n_patches > 1:
        raise ValueError(f"{name} has a linear term beside its patches, which no convolutional model has")
    if not np.isfinite(p.flat()).all():
        raise ValueError(f"{name} has parameters that are not finite")
    check_moderate(p.flat(), f"{name}.parameters")
    _check_continuous(model.activation, name)
    rows = np.einsum("pq,km->kpqm", np.eye(model.n_patches), p.weights).reshape(model.n_patches * len(p.weights), -1)
    linear = np.zeros(rows.shape[1]) if p.linear is None else p.linear
    return Parameters(rows, np.repeat(p.output_weights, model.n_patches), linear, p.intercept)


def _check_continuous(phi: Activation, name: str) -> None:
    """Raise ValueError where a user's function jumps: its derivative then lacks a part."""
    for kink in phi.kinks if phi.functions is not None else ():
        step = 1e-7 * max(1.0, abs(kink))
        around = np.array([kink - step, kink + step])
        low, high = phi.value(around)
        allowed = 4.0 * step * np.abs(phi.derivative(around)).max() + 1e-5 * max(abs(low), abs(high))
        if abs(high - low) > allowed:
            raise ValueError(
                f"{name}: activation {phi.name!r} jumps at {kink:g}; population_risk needs a continuous one"
            )


class _Line(NamedTuple):
    """Nodes of some units, phi' there times the quadrature weights, and the last two Hermite polynomials."""

    chunk: slice
    z: Array
    slopes: Array
    last: Array


class _Units:
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


class _Residual:
    """``r(x) = f_student(x) - f_teacher(x)`` and its expectations against units."""

    def __init__(self, phi: Activation, student: Parameters, psi: Activation, teacher: Parameters) -> None:
        self.pairs = [(phi, student, 1.0), (psi, teacher, -1.0)]
        self.units: list[_Units] = []
        self._terms: dict[tuple[int, int], _Terms] = {}
        self.linear, self.intercept, self.size = np.zeros(student.weights.shape[1]), 0.0, 0.0
        for activation, p, sign in self.pairs:
            plain, slope = _without_leak(activation)
            units = _Units(plain, p.weights, sign * (1.0 - slope) * p.output_weights)
            self.units.append(units)
            self.linear = self.linear + sign * (p.slope + slope * p.output_weights @ p.weights)
            self.intercept += sign * p.intercept
            moved = np.linalg.norm(p.slope) + slope * np.abs(p.output_weights) @ units.length
            self.size += float(np.abs(units.v) @ units.rms + moved + abs(p.intercept))
        self.size = self.size**2
        # E[phi'] u is the first moment of a unit.
        first = [(u.v * u.coefficients(_TERMS[0])[0]) @ u.rows for u in self.units]
        self.first: Array = self.linear + first[0] + first[1]
        self.mean = self.intercept + sum(float(u.v @ u.mean) for u in self.units)

    def value(self) -> float:
        """0.5 E[r^2], as the difference of E[r f] over the two networks."""
        parts = []
        for side, (_, p, sign) in enumerate(self.pairs):
            parts += [sign * float(p.output_weights @ self.against(side, False)[0])]
            parts += [sign * float(self.first @ p.slope), sign * self.mean * p.intercept]
        return 0.5 * math.fsum(parts)

    def gradient(self) -> Parameters:
        """Gradient of 0.5 E[r^2] by all parameters of the student."""
        p = self.pairs[0][1]
        along, back = self.against(0, True)
        return Parameters(p.output_weights[:, None] * back, along, self.first, self.mean)

    def terms(self, side: int, other: int, gradient: bool) -> _Terms:
        """Pair terms of the units of two sides; without `gradient` perhaps only their values."""
        if (side, other) not in self._terms and (other, side) in self._terms and not gradient:
            return _Terms(*(each.T for each in self._terms[other, side]))
        if gradient or (side, other) not in self._terms:
            self._terms[side, other] = _pair_terms(self.units[side], self.units[other], gradient)
        return self._terms[side, other]

    def against(self, side: int, gradient: bool) -> tuple[Array, Array]:
        """E[r phi(u.x)], (k,), for the rows of the student (0) or the teacher (1), and E[r phi'(u.x) x], (k, d).

        The second is right only with `gradient`.
        """
        u, slope = self.units[side], _without_leak(self.pairs[side][0])[1]
        d0, d1, d2 = u.coefficients(_TERMS[0])[:3]
        toward = u.unit @ self.linear
        along = self.intercept * u.mean + d0 * u.length * toward
        radial = self.intercept * d1 + math.sqrt(2.0) * d2 * toward
        back = d0[:, None] * self.linear
        for other, theirs in enumerate(self.units):
            terms = self.terms(side, other, gradient)
            along = along + terms.value @ theirs.v
            if gradient:
                radial = radial + terms.radial @ theirs.v
                back = back + terms.slopes @ (theirs.v[:, None] * theirs.rows)
        along = (1.0 - slope) * along + slope * (u.rows @ self.first)
        return along, (1.0 - slope) * (back + radial[:, None] * u.unit) + slope * self.first


def _without_leak(activation: Activation) -> tuple[Activation, float]:
    """Leaky relu is ``(1 - slope) relu(z) + slope z``."""
    return (get_activation("relu"), activation.slope) if activation.name == "leaky_relu" else (activation, 0.0)


class _Angles(NamedTuple):
    """Angle of every pair of rows and what is missing to pi, both to full relative precision."""

    t: Array
    rest: Array
    cos: Array
    sin: Array


class _Terms(NamedTuple):
    """Pair terms (k, k'): E[phi psi], and the two numbers of its gradient ``radial u / |u| + slopes v``.

    By Stein's identity ``radial = |u| E[phi'' psi]`` and ``slopes = E[phi' psi']``.
    """

    value: Array
    radial: Array
    slopes: Array


def _pair_terms(a: _Units, b: _Units, gradient: bool) -> _Terms:
    from scipy.spatial.distance import cdist

    # From u.v an angle of 1e-8 would be read as 0.  A row of zeros is at right angles to all.
    nothing = np.multiply.outer(a.length, b.length) == 0
    apart, together = (np.where(nothing, 1.0, cdist(a.unit, unit)) for unit in (b.unit, -b.unit))
    t, rest = 2.0 * np.arctan2(apart, together), 2.0 * np.arctan2(together, apart)
    angles = _Angles(t, rest, np.cos(t), np.sin(np.minimum(t, rest)))
    closed = _CLOSED.get(a.phi.name) if a.phi.name == b.phi.name else None
    if closed is not None:
        return closed(a.length[:, None], b.length[None, :], angles)
    return _by_series(a, b, angles, gradient)


def _relu_terms(s: Array, r: Array, at: _Angles) -> _Terms:
    value = s * r * (at.sin + at.rest * at.cos) / (2.0 * np.pi)
    return _Terms(value, r * at.sin / (2.0 * np.pi), np.where(s > 0, at.rest, 0.0) / (2.0 * np.pi))


def _squared_relu_terms(s: Array, r: Array, at: _Angles) -> _Terms:
    value = (s * r) ** 2 * (3.0 * at.sin * at.cos + at.rest * (1.0 + 2.0 * at.cos**2)) / (2.0 * np.pi)
    radial = s * r**2 * (at.rest + at.sin * at.cos) / np.pi
    return _Terms(value, radial, 2.0 * s * r * (at.sin + at.rest * at.cos) / np.pi)


def _quadratic_terms(s: Array, r: Array, at: _Angles) -> _Terms:
    return _Terms((s * r) ** 2 * (1.0 + 2.0 * at.cos**2), 2.0 * s * r**2 + 0.0 * at.t, 4.0 * s * r * at.cos)


def _erf_terms(s: Array, r: Array, at: _Angles) -> _Terms:
    inner, ours = 2.0 * s * r * at.cos, 1.0 + 2.0 * s**2
    # sqrt((1 + 2 s^2)(1 + 2 r^2) - inner^2) without the difference
    root = np.sqrt(ours + 2.0 * r**2 + (2.0 * s * r * at.sin) ** 2)
    slopes = 4.0 / np.pi / root
    return _Terms(2.0 / np.pi * np.arctan2(inner, root), -s * inner / ours * slopes, slopes)


_CLOSED = {
    "relu": _relu_terms,
    "squared_relu": _squared_relu_terms,
    "quadratic": _quadratic_terms,
    "erf": _erf_terms,
}


def _by_series(a: _Units, b: _Units, at: _Angles, gradient: bool) -> _Terms:
    """Pair terms from Hermite series, each as long as its bound asks for, or from quadrature."""
    shape = at.t.shape
    out = _Terms(*(np.zeros(shape) for _ in _Terms._fields))
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


def _series(a: _Units, b: _Units, i: Indices, j: Indices, cos: Array, count: int, gradient: bool) -> _Terms:
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
    return _Terms(value, d[1, i] * b.mean[j] + reach * radial, slopes)


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


def _quadratic_value(student: Parameters, teacher: Parameters) -> float:
    """|M|_F^2 + (tr M + c)^2 / 2 + |b|^2 / 2, of the differences; M in a basis of the rows, never d x d."""
    rows = np.concatenate([student.weights, teacher.weights])
    v = np.concatenate([student.output_weights, -teacher.output_weights])
    r = np.linalg.qr(rows.T)[1]
    core = (r * v) @ r.T
    linear, intercept = student.slope - teacher.slope, student.intercept - teacher.intercept
    return float((core**2).sum() + 0.5 * (np.trace(core) + intercept) ** 2 + 0.5 * linear @ linear)


def _value_near(phi: Activation, student: Parameters, teacher: Parameters, otherwise: float) -> float:
    """The loss as the integral of its gradient from the truth, or `otherwise` for networks that are not close."""
    if student.weights.shape != teacher.weights.shape:
        return otherwise
    end, start = align(student, teacher, phi, True)
    moved = [e - s for e, s in zip(_numbers(end), _numbers(start), strict=True)]
    if (np.linalg.norm(moved[0], axis=1) > _NEAR * np.linalg.norm(start.weights, axis=1)).any():
        return otherwise
    abscissae, weights = np.polynomial.legendre.leggauss(6)
    parts = []
    for t, weight in zip((1.0 + abscissae) / 2.0, weights / 2.0, strict=True):
        at = Parameters(*(s + t * m for s, m in zip(_numbers(start), moved, strict=True)))
        grad = _Residual(phi, at, phi, start).gradient()
        parts += [weight * float(np.sum(g * m)) for g, m in zip(_numbers(grad), moved, strict=True)]
    return math.fsum(parts)


def _numbers(p: Parameters) -> list[Any]:
    return [p.weights, p.output_weights, p.slope, p.intercept]
