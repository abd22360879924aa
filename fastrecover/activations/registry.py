"""The record of an activation, and the built-in ones: values, derivatives and symmetries.

These NumPy formulas are the specification that every compiled kernel is tested against, so they are written
for accuracy (no cancelling differences, limits at infinity) rather than speed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import gaussian, traits, user
from .gaussian import MAX_SCALE, Array

Scalar: TypeAlias = Callable[[float], float]

USER_CODE = -1  # of no built-in function, however many there will be
DEFAULT_SLOPE = 0.1


def _step(z: Array, below: float, above: float) -> Array:
    return np.where(np.isnan(z), z, np.where(z > 0, above, below))


def _leaky(z: Array, slope: float) -> Array:
    positive = np.maximum(z, 0.0)
    return positive + slope * np.minimum(z, 0.0) if slope else positive


def _special(name: str, z: Array) -> Array:
    from scipy import special

    return np.asarray(getattr(special, name)(z))


def _expit(z: Array) -> Array:
    return _special("expit", z)


def _bell(z: Array) -> Array:
    """Return exp(-z^2) to an ulp or two: the square is split so that its rounding is not amplified."""
    short = np.minimum(np.abs(z), 28.0)
    head = short.astype(np.float32).astype(np.float64)
    return np.exp(-head * head) * np.exp(-(short - head) * (short + head))


def _erf_slope(z: Array) -> Array:
    return 2.0 / math.sqrt(math.pi) * _bell(z)


def _sech2(z: Array) -> Array:
    decay = np.exp(-2.0 * np.abs(z))
    return 4.0 * decay / np.square(1.0 + decay)


# name -> (value, derivative, second derivative), each of (z, slope)
_FORMULAS: dict[str, tuple[Callable[[Array, float], Array], ...]] = {
    "relu": (
        lambda z, a: np.maximum(z, 0.0),
        lambda z, a: _step(z, 0.0, 1.0),
        lambda z, a: _step(z, 0.0, 0.0),
    ),
    "leaky_relu": (_leaky, lambda z, a: _step(z, a, 1.0), lambda z, a: _step(z, 0.0, 0.0)),
    "squared_relu": (
        lambda z, a: np.square(np.maximum(z, 0.0)),
        lambda z, a: 2.0 * np.maximum(z, 0.0),
        lambda z, a: _step(z, 0.0, 2.0),
    ),
    "quadratic": (lambda z, a: np.square(z), lambda z, a: 2.0 * z, lambda z, a: _step(z, 2.0, 2.0)),
    "sigmoid": (
        lambda z, a: _expit(z),
        lambda z, a: _expit(z) * _expit(-z),
        lambda z, a: -_expit(z) * _expit(-z) * np.tanh(0.5 * z),
    ),
    "tanh": (lambda z, a: np.tanh(z), lambda z, a: _sech2(z), lambda z, a: -2.0 * np.tanh(z) * _sech2(z)),
    "erf": (
        lambda z, a: _special("erf", z),
        lambda z, a: _erf_slope(z),
        lambda z, a: -2.0 * np.clip(z, -28.0, 28.0) * _erf_slope(z),
    ),
    "softplus": (
        lambda z, a: np.logaddexp(0.0, z),
        lambda z, a: _expit(z),
        lambda z, a: _expit(z) * _expit(-z),
    ),
}
_FORMULAS["abs"] = _FORMULAS["leaky_relu"]

NAMES: tuple[str, ...] = tuple(_FORMULAS)


@dataclass(frozen=True)
class Activation:
    """An activation phi: a built-in one (:func:`get_activation`) or yours (:meth:`from_functions`).

    Parameters
    ----------
    name : str
        One of ``NAMES``, or a name of your own.
    code : int
        Number that compiled kernels dispatch on; ``USER_CODE`` for a user's function.
    slope : float
        Negative-side slope of ``leaky_relu``, -1 of ``abs``, 0 otherwise.
    degree : int or None
        p where phi(c z) = c^p phi(z) for every c > 0, else None.
    parity : {"even", "odd"} or None
        Symmetry of phi under z -> -z.
    kinks : tuple of float
        Points where phi or its first two derivatives are not continuous.
    functions : tuple of callables, optional
        A user's scalar (phi, phi') or (phi, phi', phi''); None for built-in activations.

    Attributes
    ----------
    is_quadratic : bool
        Whether phi(z) = c z^2: of the units of such a network only the sum of their squares is identifiable.
    quadratic_coefficient : float or None
        That c; None for all others.
    smoothness : int or None
        Order of the lowest derivative that jumps, 0 for phi itself; None where neither phi nor its first two do.
    reflects_into_intercept : bool
        Whether phi(z) + phi(-z) is a constant that is not zero, so that the sign of an output weight moves into
        the intercept: v phi(z) = 2 v phi(0) - v phi(-z).
    odd_slope : float or None
        s where phi(z) - phi(-z) = s z and s is not zero: beside a linear term such a unit may be reversed.
    subspace_order, tensor_order : int or None
        First orders whose Gaussian moments resolve directions and units.
    has_second_derivative : bool
    """

    name: str
    code: int
    slope: float = 0.0
    degree: int | None = None
    parity: Literal["even", "odd"] | None = None
    kinks: tuple[float, ...] = ()
    functions: tuple[Scalar, ...] | None = None

    @classmethod
    def from_functions(
        cls,
        function: Scalar,
        derivative: Scalar,
        second_derivative: Scalar | None = None,
        *,
        name: str = "user",
        degree: int | None = None,
        parity: Literal["even", "odd"] | None = None,
        kinks: ArrayLike = (),
    ) -> Activation:
        """Make an activation of scalar Python functions that Numba can compile.

        They are compiled at the first fit or prediction, which is said in one line on standard error, into loops over
        whole arrays, and found on disk by later processes until they, or what they refer to, change.  Elementary
        functions of ``math``, NumPy and ``scipy.special`` (exp, expm1, log, log1p, sinh, cosh, tanh, erf, expit,
        logaddexp, where, maximum, minimum, clip) have vectorised code of ours, within 3 units in the last place, in
        helpers as well; a loop with any other call (sin, a power that is no whole number) costs several times as much.

        Parameters
        ----------
        function, derivative : callable
            Take and return one float.  What they refer to is read when they are compiled.  Branches should be
            conditional expressions: where they become a choice between two values, both sides are computed.
        second_derivative : callable, optional
            Without it only first-order and Gauss-Newton methods apply (``has_second_derivative`` is False).
        name : str
            Any name that is not a built-in one.
        degree, parity
            As for the class; checked on the function, and found on it where they are not given.
        kinks : sequence of float
            Points where phi or a derivative jumps, which moments must know to be exact.  Those on [-4, 4] where one
            of the given functions jumps are found as well.

        Returns
        -------
        Activation
            With ``code`` ``USER_CODE``.

        Raises
        ------
        TypeError, ValueError
            If a function is not callable or not finite on [-4, 4], or contradicts a derivative or symmetry.
        """
        functions = (function, derivative) + (() if second_derivative is None else (second_derivative,))
        user.check_functions(functions)
        if name in _FORMULAS:
            raise ValueError(f"name {name!r} is a built-in activation; choose another name")
        user.check_claims(degree, parity)
        made = cls(name, USER_CODE, 0.0, degree, parity, user.checked_kinks(kinks), functions)
        user.check_derivatives(made)
        made = replace(made, kinks=user.found_kinks(made))
        return replace(made, degree=user.checked_degree(made), parity=user.checked_parity(made))

    @property
    def is_quadratic(self) -> bool:
        """Whether phi(z) = c z^2."""
        return self.degree == 2 and self.parity == "even"

    @property
    def quadratic_coefficient(self) -> float | None:
        """c where phi(z) = c z^2, else None."""
        return float(self.value(1.0)) if self.is_quadratic else None

    @property
    def smoothness(self) -> int | None:
        """Order of the lowest derivative that jumps (relu 1, squared_relu 2); None for smooth functions.

        Found by one-sided limits at the kinks; a kink that neither phi nor phi' shows counts as one of phi'' where that
        is not given.
        """
        return traits.smoothness(self)

    @property
    def reflects_into_intercept(self) -> bool:
        """Whether phi(z) + phi(-z) is a constant that is not zero (sigmoid)."""
        return traits.reflects_into_intercept(self)

    @property
    def odd_slope(self) -> float | None:
        """s where phi(z) - phi(-z) = s z and s is not zero (relu 1, leaky_relu 1 + slope, softplus 1), else None."""
        return traits.odd_slope(self)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value, as far as some hundred points show; infinite where it grows without end."""
        return traits.bounds(self)

    @property
    def has_second_derivative(self) -> bool:
        """Whether :meth:`second_derivative` can be called (False: Gauss-Newton only)."""
        return self.functions is None or len(self.functions) == 3

    @property
    def takes_slope(self) -> bool:
        """Whether ``slope`` is one of its parameters."""
        return self.name == "leaky_relu"

    def value(self, z: ArrayLike) -> Array:
        """Return phi(z), float64, shape of `z`; nan gives nan and +-inf give the limits."""
        return self.evaluate(0, z)

    def derivative(self, z: ArrayLike) -> Array:
        """Return phi'(z), float64, shape of `z`; at 0 relu gives 0, leaky_relu gives `slope` and abs -1."""
        return self.evaluate(1, z)

    def second_derivative(self, z: ArrayLike) -> Array:
        """Return phi''(z) almost everywhere, float64, shape of `z` (squared_relu: 2 [z > 0]).

        A user's activation that came without one raises ValueError.
        """
        if not self.has_second_derivative:
            raise ValueError(
                f"activation {self.name!r} has no second derivative: pass second_derivative= to "
                "Activation.from_functions, or use a Gauss-Newton or first-order method"
            )
        return self.evaluate(2, z)

    def evaluate(self, order: int, z: ArrayLike) -> Array:
        """Return phi (`order` 0), phi' (1) or phi'' (2) at `z`."""
        points = np.asarray(z, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.functions is None:
                return _FORMULAS[self.name][order](points, self.slope)
            return np.asarray(np.vectorize(self.functions[order], otypes=[np.float64])(points))

    def moments(self, s: ArrayLike, max_order: int = 4) -> Array:
        """Return m_j(s) = E[phi(s z) He_j(z)], z standard normal, j = 0..max_order.

        Composite Gauss-Legendre quadrature on panels graded towards 0 and towards every kink; relative error
        about 1e-14 for built-in activations and scales up to 1000.  The m_j are the coefficients of the
        moment tensors of Zhong et al. (arXiv 1706.03175).

        Parameters
        ----------
        s : array_like, shape (...)
            Scales (norms of the weight vectors), finite and >= 0; ValueError otherwise.
        max_order : int
            Largest j, >= 0; ValueError otherwise.

        Returns
        -------
        ndarray, shape (..., max_order + 1)
        """
        return gaussian.moments(self, s, max_order)

    def hermite_coefficients(self, max_order: int = 4, scale: float = 1.0) -> Array:
        """Return E[phi(scale z) h_j(z)] with h_j = He_j / sqrt(j!), j = 0..max_order: m_j(scale) / sqrt(j!).

        Returns
        -------
        ndarray, shape (max_order + 1,)
        """
        roots = np.sqrt([math.factorial(j) for j in range(max_order + 1)])
        return self.moments(float(scale), max_order) / roots

    @property
    def subspace_order(self) -> int | None:
        """First j >= 2 with m_j != 0 (j2 of Zhong et al., arXiv 1706.03175); None if none up to 4."""
        return gaussian.first_order(self, 2)

    @property
    def tensor_order(self) -> int | None:
        """First j >= 3 with m_j != 0 (j3 of Zhong et al., arXiv 1706.03175); None if none up to 4."""
        return gaussian.first_order(self, 3)

    def scale_from_moment(
        self, order: int, target: ArrayLike, *, max_scale: float = MAX_SCALE
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Invert s -> m_order(s).

        Homogeneous activations use s = (target / m_order(1))^(1/degree), without an upper cap.  For others
        the result lies in [MIN_SCALE, max_scale]: the moments of saturating activations are flat beyond that,
        so a noisy target above the range says no more than "large".

        Parameters
        ----------
        order : int
            Order j of the moment.
        target : array_like, shape (...)
            Values of m_order, finite.
        max_scale : float
            Upper cap, > MIN_SCALE.

        Returns
        -------
        scale : ndarray, shape (...)
        clipped : ndarray of bool, shape (...)
            True where `target` was out of range and `scale` is the nearer end (0 or MIN_SCALE below).

        Raises
        ------
        ValueError
            If m_order is zero, constant or not monotone, or a target is not finite.
        """
        return gaussian.scale_from_moment(self, order, target, max_scale)


_BUILT_IN: dict[str, Activation] = {
    "relu": Activation("relu", 0, 0.0, 1, None, (0.0,)),
    "leaky_relu": Activation("leaky_relu", 1, DEFAULT_SLOPE, 1, None, (0.0,)),
    "squared_relu": Activation("squared_relu", 2, 0.0, 2, None, (0.0,)),
    "quadratic": Activation("quadratic", 3, 0.0, 2, "even"),
    "sigmoid": Activation("sigmoid", 4),
    "tanh": Activation("tanh", 5, 0.0, None, "odd"),
    "erf": Activation("erf", 6, 0.0, None, "odd"),
    "softplus": Activation("softplus", 7),
    "abs": Activation("abs", 1, -1.0, 1, "even", (0.0,)),  # to kernels a leaky_relu
}


def get_activation(spec: str | Activation, slope: float | None = None) -> Activation:
    """Return the activation called `spec`, or `spec` itself if it is an Activation.

    Parameters
    ----------
    spec : str or Activation
        One of ``NAMES`` or an Activation.
    slope : float, optional
        Negative-side slope of ``leaky_relu``, in [0, 1); 0.1 if not given.

    Returns
    -------
    Activation

    Raises
    ------
    TypeError, ValueError
        For a wrong type, an unknown name, or a slope out of range or for another activation.
    """
    if isinstance(spec, str):
        if spec not in _BUILT_IN:
            near = difflib.get_close_matches(spec, NAMES, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown activation {spec!r}{hint} (known: {', '.join(NAMES)})")
        found = _BUILT_IN[spec]
    elif isinstance(spec, Activation):
        found = spec
    else:
        hint = ": make one of it by Activation.from_functions" if callable(spec) else ""
        raise TypeError(f"activation must be a name or an Activation, got {type(spec).__name__}{hint}")
    if slope is None:
        return found
    if not found.takes_slope:
        raise ValueError(f"slope belongs to leaky_relu; {found.name} takes none")
    if not isinstance(slope, Real):
        raise TypeError(f"slope must be a number in [0, 1), got {type(slope).__name__}")
    if not 0.0 <= slope < 1.0:
        raise ValueError(f"slope must be in [0, 1), got {slope!r}")
    return replace(found, slope=float(slope))
