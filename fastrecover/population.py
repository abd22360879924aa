"""Infinite-data squared loss of one network against another, for independent standard normal inputs.

The loss is a sum of pair terms E[phi(u.x) psi(v.x)], which cannot tell a loss of 1e-17 from none.  Close to the truth
the gradient, which cancels one order less, is therefore integrated along the straight line from the truth.
"""

from __future__ import annotations

import math
from typing import Literal, overload

import numpy as np

from ._validation import check_moderate
from .activations import Activation, Array
from .activations.traits import jumps
from .models import HasParameters, Network, Parameters, align
from .pair_terms import LEAST_TERMS, Terms, Units, pair_terms, reduced

#: Below this share of the networks' sizes the loss is integrated from the truth, where no row moves by more
#: than _NEAR of its length.
_SMALL, _NEAR = 1e-6, 0.03


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
    1996), and for the square ``|u|^2 |v|^2 + 2 (u.v)^2``.  Every function of degree 1 is a multiple of relu plus a
    linear function.  Other pairs use ``sum_j a_j b_j cos(t)^j`` with the Hermite coefficients a, b of the two units.
    Gradients follow from Stein's identity, ``E[phi'(u.x) psi(v.x) x] = E[phi'' psi] u + E[phi' psi'] v``.

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
    if phi.is_quadratic and psi.is_quadratic:
        value = _quadratic_value(phi, mine, psi, truth)
    else:
        value = residual.value()
        if value < _SMALL * residual.size and phi == psi:
            value = _value_near(phi, mine, truth, value)
    value = max(value, 0.0)
    if grad is None:
        return value
    k, patches = model.n_hidden, model.n_patches
    blocks = grad.weights.reshape(k, patches, patches, -1)
    weights, v = np.einsum("kppm->km", blocks), grad.output_weights.reshape(k, patches).sum(axis=1)
    return value, model.pack(Parameters(weights, v, grad.linear, grad.intercept))


def _checked(network: object, name: str) -> Parameters:
    """Parameters of the fully connected network that computes the same, or an error."""
    model, p = getattr(network, "model", None), getattr(network, "parameters", None)
    if not isinstance(model, Network) or not isinstance(p, Parameters):
        raise TypeError(
            f"{name} must be a Teacher, a Recovery or another object with model and parameters, "
            f"got {type(network).__name__}"
        )
    if model.loss.takes_labels:
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
    """Raise ValueError where a function jumps: its derivative then lacks a part."""
    if phi.smoothness == 0:
        raise ValueError(
            f"{name}: activation {phi.name!r} jumps at {jumps(phi, 0)[0]:g}; population_risk needs a continuous one"
        )


class _Residual:
    """``r(x) = f_student(x) - f_teacher(x)`` and its expectations against units."""

    def __init__(self, phi: Activation, student: Parameters, psi: Activation, teacher: Parameters) -> None:
        self.pairs = [(reduced(phi), student, 1.0), (reduced(psi), teacher, -1.0)]
        self.units: list[Units] = []
        self._terms: dict[tuple[int, int], Terms] = {}
        self.linear, self.intercept, self.size = np.zeros(student.weights.shape[1]), 0.0, 0.0
        for (plain, factor, slope), p, sign in self.pairs:
            units = Units(plain, p.weights, sign * factor * p.output_weights)
            self.units.append(units)
            self.linear = self.linear + sign * (p.slope + slope * p.output_weights @ p.weights)
            self.intercept += sign * p.intercept
            moved = np.linalg.norm(p.slope) + abs(slope) * np.abs(p.output_weights) @ units.length
            self.size += float(np.abs(units.v) @ units.rms + moved + abs(p.intercept))
        self.size = self.size**2
        # E[phi'] u is the first moment of a unit.
        first = [(u.v * u.coefficients(LEAST_TERMS)[0]) @ u.rows for u in self.units]
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

    def terms(self, side: int, other: int, gradient: bool) -> Terms:
        """Pair terms of the units of two sides; without `gradient` perhaps only their values."""
        if (side, other) not in self._terms and (other, side) in self._terms and not gradient:
            return Terms(*(each.T for each in self._terms[other, side]))
        if gradient or (side, other) not in self._terms:
            self._terms[side, other] = pair_terms(self.units[side], self.units[other], gradient)
        return self._terms[side, other]

    def against(self, side: int, gradient: bool) -> tuple[Array, Array]:
        """E[r phi(u.x)], (k,), for the rows of the student (0) or the teacher (1), and E[r phi'(u.x) x], (k, d).

        The second is right only with `gradient`.
        """
        u, (_, factor, slope) = self.units[side], self.pairs[side][0]
        d0, d1, d2 = u.coefficients(LEAST_TERMS)[:3]
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
        along = factor * along + slope * (u.rows @ self.first)
        return along, factor * (back + radial[:, None] * u.unit) + slope * self.first


def _quadratic_value(phi: Activation, student: Parameters, psi: Activation, teacher: Parameters) -> float:
    """|M|_F^2 + (tr M + c)^2 / 2 + |b|^2 / 2, of the differences; M in a basis of the rows, never d x d."""
    rows = np.concatenate([student.weights, teacher.weights])
    v = np.concatenate([reduced(phi).factor * student.output_weights, -reduced(psi).factor * teacher.output_weights])
    r = np.linalg.qr(rows.T)[1]
    core = (r * v) @ r.T
    linear, intercept = student.slope - teacher.slope, student.intercept - teacher.intercept
    return float((core**2).sum() + 0.5 * (np.trace(core) + intercept) ** 2 + 0.5 * linear @ linear)


def _value_near(phi: Activation, student: Parameters, teacher: Parameters, otherwise: float) -> float:
    """The loss as the integral of its gradient from the truth, or `otherwise` for networks that are not close."""
    if student.weights.shape != teacher.weights.shape:
        return otherwise
    end, start = align(student, teacher, phi, True)
    moved = _shifted(end, start, -1.0)
    if (np.linalg.norm(moved.weights, axis=1) > _NEAR * np.linalg.norm(start.weights, axis=1)).any():
        return otherwise
    abscissae, weights = np.polynomial.legendre.leggauss(6)
    parts = []
    for t, weight in zip((1.0 + abscissae) / 2.0, weights / 2.0, strict=True):
        grad = _Residual(phi, _shifted(start, moved, t), phi, start).gradient()
        parts.append(weight * float(np.sum(grad.flat() * moved.flat())))
    return math.fsum(parts)


def _shifted(p: Parameters, by: Parameters, t: float) -> Parameters:
    """``p + t by``, number by number."""
    return Parameters(
        p.weights + t * by.weights,
        p.output_weights + t * by.output_weights,
        p.slope + t * by.slope,
        p.intercept + t * by.intercept,
    )
