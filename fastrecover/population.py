"""Infinite-data squared loss of one network against another, for independent standard normal inputs.

The loss is a sum of pair terms E[phi(u.x + a) psi(v.x + b)], which cannot tell a loss of 1e-17 from none.  Close to
the truth the gradient, which cancels one order less, is therefore integrated along the straight line from the truth.
"""

from __future__ import annotations

import math
from typing import Literal, overload

import numpy as np

from ._validation import check_moderate
from .activations import Activation, Array
from .activations.gaussian import legendre
from .activations.traits import jumps
from .models import HasParameters, Network, Parameters, align
from .pair_terms import Terms, Units, pair_terms, reduced

#: Below this share of the networks' sizes the loss is integrated from the truth, where no row moves by more
#: than _NEAR of its length.
_SMALL, _NEAR = 1e-6, 0.03
#: Share of that way within which two rows that pass one another count as crossing, and so many are looked at.
_CLOSE, _MOST = 0.5, 8
#: Coefficients of a unit that its expectations against linear functions take.
_FEW = 3


@overload
def population_risk(student: HasParameters, teacher: HasParameters, *, gradient: Literal[False] = False) -> float: ...


@overload
def population_risk(
    student: HasParameters, teacher: HasParameters, *, gradient: Literal[True]
) -> tuple[float, Array]: ...


@overload
def population_risk(
    student: HasParameters, teacher: HasParameters, *, gradient: bool
) -> float | tuple[float, Array]: ...


def population_risk(
    student: HasParameters, teacher: HasParameters, *, gradient: bool = False
) -> float | tuple[float, Array]:
    """Expected loss ``E 0.5 |f_student(x) - f_teacher(x)|^2`` for x ~ N(0, I), without sampling.

    It is what ``fastrecover.objective(X, y, model).value(theta)`` tends to as the rows of Gaussian X and
    noise-free y grow in number: half the squared error, summed over outputs.

    Parameters
    ----------
    student, teacher : Teacher, Recovery, or any object with ``model`` and ``parameters``
        Regressions under the squared loss on the same number of features, with the same number of outputs; numbers of
        units and activations may differ.  A convolutional network is taken as the network of all its patches.
    gradient : bool
        Whether to return the gradient by the student's parameters as well.

    Returns
    -------
    value : float
        Not negative.
    grad : ndarray (n_parameters,)
        Only with `gradient`: in the order of ``student.model.pack``, that is weights, then biases, output weights,
        linear terms and intercepts where the model frees them.  At kinks phi' is that of
        :meth:`~fastrecover.activations.Activation.derivative`, so a relu row of zeros without a bias has gradient
        zero.

    Raises
    ------
    TypeError
        An argument without a model and parameters, or `gradient` is no bool.
    ValueError
        Different numbers of features or outputs, parameters that are not finite or above 1e35, another loss than the
        squared one (whose expectation is no sum of pair terms), or a user's activation that jumps.

    Notes
    -----
    With t the angle of u and v, E[phi(u.x) phi(v.x)] is for relu ``|u||v| (sin t + (pi - t) cos t) / (2 pi)``
    and for squared relu ``|u|^2 |v|^2 (3 sin t cos t + (pi - t)(1 + 2 cos^2 t)) / (2 pi)`` (half the arc-cosine
    kernels of orders 1 and 2: Cho and Saul, Kernel methods for deep learning, NIPS 2009, section 2), for erf
    ``(2 / pi) arcsin(2 u.v / sqrt((1 + 2 |u|^2)(1 + 2 |v|^2)))`` (Williams, Computing with infinite networks, NIPS
    1996), and for the square ``|u|^2 |v|^2 + 2 (u.v)^2``.  Every function of degree 1 is a multiple of relu plus a
    linear function.

    Biases a and b make of the share (pi - t) / 2 pi of inputs with u.x, v.x > 0 the bivariate normal distribution
    P = N2(A, B; cos t), ``A = a / |u|`` and ``B = b / |v|``.  With c = (B - A cos t) / sin t and
    d = (A - B cos t) / sin t,
    ``E[relu relu] = |u||v| ((cos t + A B) P + B n(A) N(c) + A n(B) N(d) + sin t n(A) n(c))``; for squared relu
    integration by parts goes up from there, ``M_i+1,j = A M_ij + i M_i-1,j + j cos t M_i,j-1`` for
    ``M_ij = E[relu(x + A)^i relu(y + B)^j]``, i and j > 0.  P is a sum of two of Owen's T functions (Owen, Tables for
    computing bivariate normal probabilities, Annals of Mathematical Statistics 27, 1956).  Since
    ``erf(z) = E sign(z + e / sqrt(2))`` with e normal, E[erf erf] is ``4 P - 2 N(A) - 2 N(B) + 1`` with
    ``A = sqrt(2) a / sqrt(1 + 2 |u|^2)``, B likewise, and the sine above as cosine.

    Other pairs use ``sum_j a_j b_j cos(t)^j`` with the Hermite coefficients ``E[phi(|u| z + a) He_j(z)] / sqrt(j!)``
    of the two units.  Gradients follow from Stein's identity, ``E[phi'(u.x + a) psi(v.x + b) x] = E[phi'' psi] u +
    E[phi' psi'] v``, and by a bias it is E[phi' psi].

    Errors are in units of S^2, S the sum of the root mean squares of all units, linear terms and intercepts:
    about 1e-15 for pairs with a closed form, 1e-12 for all others with rows of length up to 1000 (a user's
    function must list its kinks, and be smooth over distances of 0.1 between them), and the same for the
    gradient.  That holds with biases too, but for the closed forms of units that are nearly always off: where both
    are the same relu, on for 0.5 % of all inputs, its square has a relative error of 3e-14, on for 1 in 10^5 one of
    5e-13; squared relu 4e-13 and 2e-11.  Close to a teacher of the same shape and activation, at a relative distance
    e, the error of the value falls to about e times that (with kinks, and rows that pass one another on the way, to
    1e-6 e of the value if that is more), and to nothing at the teacher itself; for two quadratic networks it is
    1e-15 sqrt(value) S wherever they are.

    The cost is O((k + k')^2 d) for closed forms; a unit with a bias takes some 0.3 ms beside.  A series adds 64 to
    1024 terms for each pair; rows of kinked or steep units within some 13 degrees of parallel or antiparallel take
    about 10^5 evaluations a pair.  Several outputs cost no more than one.

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
    counts = [(p.weights.shape[1], p.n_outputs) for p in (mine, truth)]
    for what, one, other in zip(("features", "outputs"), *counts, strict=True):
        if one != other:
            raise ValueError(f"student and teacher must have equally many {what}, got {one} and {other}")
    model, phi, psi = student.model, student.model.activation, teacher.model.activation
    residual = _Residual(phi, mine, psi, truth)
    grad = residual.gradient() if gradient else None
    if phi.is_quadratic and psi.is_quadratic:
        value = _quadratic_value(residual)
    else:
        value = residual.value()
        if value < _SMALL * residual.size and reduced(phi).plain == reduced(psi).plain:
            value = _value_near(residual, value)
    value = max(value, 0.0)
    if grad is None:
        return value
    return value, model.pack(_gathered(grad, model))


def _checked(network: object, name: str) -> Parameters:
    """Parameters of the fully connected network that computes the same, or an error."""
    model, p = getattr(network, "model", None), getattr(network, "parameters", None)
    if not isinstance(model, Network) or not isinstance(p, Parameters):
        raise TypeError(
            f"{name} must be a Teacher, a Recovery or another object with model and parameters, "
            f"got {type(network).__name__}"
        )
    loss = model.loss
    if not loss.least_squares:
        kind = "classification, whose expected cross entropy" if loss.takes_labels else f"{loss.name} model, whose loss"
        raise ValueError(
            f"{name} is a {kind} is no sum of pair terms of hidden units: population_risk is for regressions under the "
            "squared loss"
        )
    if p.linear is not None and model.n_patches > 1:
        raise ValueError(f"{name} has a linear term beside its patches, which no convolutional model has")
    if not np.isfinite(p.flat()).all():
        raise ValueError(f"{name} has parameters that are not finite")
    check_moderate(p.flat(), f"{name}.parameters")
    _check_continuous(model.activation, name)
    n, biases = model.n_patches, np.zeros(len(p.weights)) if p.biases is None else p.biases
    rows = np.einsum("pq,km->kpqm", np.eye(n), p.weights).reshape(n * len(p.weights), -1)
    v = np.repeat(p.output_weights, n, axis=-1)
    linear = np.zeros((*v.shape[:-1], rows.shape[1])) if p.linear is None else p.linear
    return Parameters(rows, v, linear, p.intercept, biases=np.repeat(biases, n))


def _gathered(grad: Parameters, model: Network) -> Parameters:
    """The gradient by the parameters of a model of patches, from that of the network of its patches."""
    k, n = model.n_hidden, model.n_patches
    weights = np.einsum("kppm->km", grad.weights.reshape(k, n, n, -1))
    biases = grad.rows[:, -1].reshape(k, n).sum(axis=1)
    v = grad.output_weights.reshape(-1, k, n).sum(axis=2)
    return Parameters(weights, v, grad.linear, grad.intercept, biases=biases)


def _check_continuous(phi: Activation, name: str) -> None:
    """Raise ValueError where a function jumps: its derivative then lacks a part."""
    if phi.smoothness == 0:
        raise ValueError(
            f"{name}: activation {phi.name!r} jumps at {jumps(phi, 0)[0]:g}; population_risk needs a continuous one"
        )


class _Side:
    """One of the two networks, and the same as a network of the plain function, ``phi(z) = factor plain(z) + slope z``.

    Attributes
    ----------
    units : Units
        Of the plain function.
    plain : Parameters
    columns, linear, intercept : ndarray (n_outputs, ...)
        The network's own, as rows of outputs.
    v : ndarray (n_outputs, k)
        Multiples of the plain units in the residual, where the network has this sign.
    """

    def __init__(self, phi: Activation, p: Parameters, sign: float) -> None:
        plain, self.factor, self.slope = reduced(phi)
        self.units, self.sign = Units(plain, p.weights, p.rows[:, -1]), sign
        self.columns, self.linear, self.intercept = p.columns, np.atleast_2d(p.slope), np.atleast_1d(p.intercept)
        moved = (self.slope * p.output_weights) @ p.rows
        self.plain = Parameters(
            p.weights,
            self.factor * p.output_weights,
            p.slope + moved[..., :-1],
            p.intercept + moved[..., -1],
            biases=p.biases,
        )
        self.v = sign * self.plain.columns

    def size(self) -> Array:
        """Sums of the root mean squares of all that is added up, (n_outputs,)."""
        units = self.units
        moved = np.abs(self.slope * self.columns) @ np.hypot(units.length, units.biases)
        return np.abs(self.v) @ units.rms + np.linalg.norm(self.linear, axis=1) + moved + np.abs(self.intercept)


class _Residual:
    """``r(x) = f_student(x) - f_teacher(x)``, (n_outputs,), and its expectations against units."""

    def __init__(self, phi: Activation, student: Parameters, psi: Activation, teacher: Parameters) -> None:
        self.sides = _Side(phi, student, 1.0), _Side(psi, teacher, -1.0)
        self._terms: dict[tuple[int, int], Terms] = {}
        self.size = float(np.sum((self.sides[0].size() + self.sides[1].size()) ** 2))
        mine, truth = (side.plain for side in self.sides)
        self.linear = np.atleast_2d(mine.slope - truth.slope)
        self.intercept = np.atleast_1d(mine.intercept - truth.intercept)
        # E[phi'] u is the first moment of a unit.
        first = [(side.v * side.units.coefficients(_FEW)[0]) @ side.units.rows for side in self.sides]
        self.first: Array = self.linear + first[0] + first[1]
        self.mean: Array = self.intercept + sum(side.v @ side.units.mean for side in self.sides)

    def value(self) -> float:
        """0.5 E|r|^2, as the difference of E[r f] over the two networks."""
        parts = []
        for which, side in enumerate(self.sides):
            products = side.columns * self.along(which), self.first * side.linear, self.mean * side.intercept
            parts += [side.sign * float(each.sum()) for each in products]
        return 0.5 * math.fsum(parts)

    def along(self, which: int) -> Array:
        """E[r phi(u.x + a)] for the units of the student (0) or the teacher (1), (n_outputs, k)."""
        side, units = self.sides[which], self.sides[which].units
        along = np.multiply.outer(self.intercept, units.mean)
        along += units.coefficients(_FEW)[0] * units.length * (self.linear @ units.unit.T)
        for other, theirs in enumerate(self.sides):
            along += (self.terms(which, other, False).value @ theirs.v.T).T
        inclined = self.first @ units.rows.T + np.multiply.outer(self.mean, units.biases)
        return side.factor * along + side.slope * inclined

    def gradient(self) -> Parameters:
        """Gradient of 0.5 E|r|^2 by all parameters of the student, outputs as rows."""
        side, units = self.sides[0], self.sides[0].units
        d0, d1, d2 = units.coefficients(_FEW)
        back = side.columns.T @ self.linear
        level, toward = side.columns.T @ self.intercept, (back * units.unit).sum(axis=1)
        back = d0[:, None] * back
        rise, radial = level * d0 + toward * d1, level * d1 + math.sqrt(2.0) * toward * d2
        for other, theirs in enumerate(self.sides):
            terms, shared = self.terms(0, other, True), side.columns.T @ theirs.v
            rise = rise + (shared * terms.rise).sum(axis=1)
            radial = radial + (shared * terms.radial).sum(axis=1)
            back = back + (shared * terms.slopes) @ theirs.units.rows
        weights = side.factor * (back + radial[:, None] * units.unit) + side.slope * (side.columns.T @ self.first)
        biases = side.factor * rise + side.slope * (side.columns.T @ self.mean)
        return Parameters(weights, self.along(0), self.first, self.mean, biases=biases)

    def terms(self, which: int, other: int, gradient: bool) -> Terms:
        """Pair terms of the units of two sides; without `gradient` perhaps only their values."""
        if (which, other) not in self._terms and (other, which) in self._terms and not gradient:
            return Terms(*(each.T for each in self._terms[other, which]))
        if gradient or (which, other) not in self._terms:
            self._terms[which, other] = pair_terms(self.sides[which].units, self.sides[other].units, gradient)
        return self._terms[which, other]


def _quadratic_value(residual: _Residual) -> float:
    """|M|_F^2 + (tr M + c)^2 / 2 + |b|^2 / 2, of the differences; M in a basis of the rows, never d x d."""
    rows, biases = (np.concatenate([getattr(s.units, part) for s in residual.sides]) for part in ("rows", "biases"))
    v = np.concatenate([side.v for side in residual.sides], axis=1)
    # (w.x + a)^2 = (w.x)^2 + 2 a w.x + a^2
    linear, intercept = residual.linear + (2.0 * v * biases) @ rows, residual.intercept + v @ biases**2
    r = np.linalg.qr(rows.T)[1]
    core = (r * v[:, None]) @ r.T
    trace = np.trace(core, axis1=1, axis2=2)
    return float((core**2).sum() + 0.5 * ((trace + intercept) ** 2).sum() + 0.5 * (linear**2).sum())


def _value_near(residual: _Residual, otherwise: float) -> float:
    """The loss as the integral of its gradient from the truth, or `otherwise` for networks that are not close."""
    phi, (student, teacher) = residual.sides[0].units.phi, (side.plain for side in residual.sides)
    if student.weights.shape != teacher.weights.shape:
        return otherwise
    end, start = align(student, teacher, phi, True)
    moved = _shifted(end, start, -1.0)
    # A change of a bias counts like one of the weights: by what it does to the argument of the unit.
    if (np.linalg.norm(moved.rows, axis=1) > _NEAR * np.linalg.norm(start.weights, axis=1)).any():
        return otherwise
    edges = [0.0, *(_crossings(start, moved) if phi.kinks else ()), 1.0]
    abscissae, weights = legendre(8)
    parts = []
    for low, high in zip(edges, edges[1:], strict=False):
        for t, weight in zip(low + (high - low) * (1.0 + abscissae) / 2.0, (high - low) * weights / 2.0, strict=True):
            grad = _Residual(phi, _shifted(start, moved, float(t)), phi, start).gradient()
            parts.append(weight * float(np.sum(grad.flat() * moved.flat())))
    return math.fsum(parts)


def _crossings(start: Parameters, moved: Parameters) -> list[float]:
    """Where on the way from `start` kinks of two units nearly meet and the gradient bends, in (0, 1) and rising.

    Directions of the student's rows move along straight lines, to first order, past those of the teacher, which stand
    still, and past one another.
    """
    size = np.linalg.norm(start.weights, axis=1, keepdims=True)
    u, du = (np.divide(each, size, out=np.zeros_like(each), where=size > 0) for each in (start.weights, moved.weights))
    du = du - (du * u).sum(axis=1, keepdims=True) * u
    found: list[tuple[float, float]] = []
    for sign in (1.0, -1.0):
        apart = u[:, None] - sign * u[None]
        for other in (np.zeros_like(du), du):
            past = du[:, None] - sign * other[None]
            speed, between = (past**2).sum(axis=2), (apart * past).sum(axis=2)
            t = np.divide(-between, speed, out=np.zeros_like(speed), where=speed > 0)
            closest = ((apart + t[:, :, None] * past) ** 2).sum(axis=2)
            meets = (t > 0) & (t < 1) & (closest < _CLOSE**2 * speed)
            found += zip(np.sqrt(closest[meets] / speed[meets]).tolist(), t[meets].tolist(), strict=True)
    return sorted({t for _, t in sorted(found)[:_MOST]})


def _shifted(p: Parameters, by: Parameters, t: float) -> Parameters:
    """``p + t by``, number by number."""
    return p.like(p.flat() + t * by.flat())
