"""Registry of hidden-unit activations: values, derivatives, symmetries and Gaussian (Hermite) moments.

These NumPy formulas are the specification that every compiled kernel is tested against, so they are written
for accuracy (no cancelling differences, limits at infinity) rather than speed.  Moments are taken from the
highest derivative that is a plain function, m_j(s) = s^i E[phi^(i)(s z) He_{j-i}(z)], because the defining
integral cancels as s -> 0.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Scalar: TypeAlias = Callable[[float], float]

USER_CODE = 8
DEFAULT_SLOPE = 0.1
MIN_SCALE, MAX_SCALE = 1e-3, 20.0

_OUTER_EDGE = 14.0
_SCALES_AT_ONCE, _GRID_POINTS = 128, 64
_ZERO = 1e-9


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

NAMES: tuple[str, ...] = tuple(_FORMULAS)


@dataclass(frozen=True)
class Activation:
    """An activation phi: a built-in one (:func:`get_activation`) or yours (:meth:`from_functions`).

    Parameters
    ----------
    name : str
        One of ``NAMES``, or a name of your own.
    code : int
        Number that compiled kernels dispatch on; 8 for a user's function.
    slope : float
        Negative-side slope of ``leaky_relu``, 0 otherwise.
    degree : int or None
        p where phi(c z) = c^p phi(z) for every c > 0, else None.
    parity : {"even", "odd"} or None
        Symmetry of phi under z -> -z.
    kinks : tuple of float
        Points where phi or its first two derivatives are not continuous.
    functions : tuple of callables, optional
        A user's scalar (phi, phi') or (phi, phi', phi''); None for built-in activations.
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
        kinks: tuple[float, ...] = (),
    ) -> Activation:
        """Make an activation of scalar Python functions that Numba can compile.

        Parameters
        ----------
        function, derivative : callable
            Take and return one float.
        second_derivative : callable, optional
            Without it only first-order and Gauss-Newton methods apply (``has_second_derivative`` is False).
        name : str
            Any name that is not a built-in one.
        degree, parity
            As for the class; checked on the function.
        kinks : sequence of float
            Points where phi or a derivative jumps; moments need them to be exact.

        Returns
        -------
        Activation
            With ``code`` 8.

        Raises
        ------
        TypeError, ValueError
            If a function is not callable or not finite on [-4, 4], or contradicts a derivative or symmetry.
        """
        functions = (function, derivative) + (() if second_derivative is None else (second_derivative,))
        labels = ("function", "derivative", "second_derivative")
        for label, each in zip(labels, functions, strict=False):
            if not callable(each):
                raise TypeError(f"{label} must be callable (float -> float), got {type(each).__name__}")
        if name in _FORMULAS:
            raise ValueError(f"name {name!r} is a built-in activation; choose another name")
        if parity not in (None, "even", "odd"):
            raise ValueError(f"parity must be 'even', 'odd' or None, got {parity!r}")
        if degree is not None and (isinstance(degree, bool) or not isinstance(degree, int) or degree < 1):
            raise ValueError(f"degree must be a positive integer or None, got {degree!r}")
        points = tuple(float(kink) for kink in np.atleast_1d(np.asarray(kinks, dtype=np.float64)))
        if not all(math.isfinite(point) for point in points):
            raise ValueError(f"kinks must be finite numbers, got {kinks!r}")
        made = cls(name, USER_CODE, 0.0, degree, parity, tuple(sorted(set(points))), functions)
        _check_user(made)
        return made

    @property
    def has_second_derivative(self) -> bool:
        """Whether :meth:`second_derivative` can be called (False: Gauss-Newton only)."""
        return self.functions is None or len(self.functions) == 3

    def value(self, z: ArrayLike) -> Array:
        """Return phi(z), float64, shape of `z`; nan gives nan and +-inf give the limits."""
        return self._evaluate(0, z)

    def derivative(self, z: ArrayLike) -> Array:
        """Return phi'(z), float64, shape of `z`; at 0 relu gives 0 and leaky_relu gives `slope`."""
        return self._evaluate(1, z)

    def second_derivative(self, z: ArrayLike) -> Array:
        """Return phi''(z) almost everywhere, float64, shape of `z` (squared_relu: 2 [z > 0]).

        A user's activation that came without one raises ValueError.
        """
        if not self.has_second_derivative:
            raise ValueError(
                f"activation {self.name!r} has no second derivative: pass second_derivative= to "
                "Activation.from_functions, or use a Gauss-Newton or first-order method"
            )
        return self._evaluate(2, z)

    def _evaluate(self, order: int, z: ArrayLike) -> Array:
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
        scales = _finite("s", s)
        if scales.min(initial=0.0) < 0:
            raise ValueError(f"s must hold scales >= 0, got {scales.min()}")
        if max_order < 0:
            raise ValueError(f"max_order must be >= 0, got {max_order}")
        flat = scales.ravel()
        out = np.empty((flat.size, max_order + 1))
        step = _SCALES_AT_ONCE if not any(self.kinks) else 1
        for start in range(0, flat.size, step):
            chunk = slice(start, start + step)
            out[chunk] = self._moments(flat[chunk], max_order)
        return out.reshape(*scales.shape, max_order + 1)

    def _moments(self, scales: Array, max_order: int) -> Array:
        kinks = (k / scales[0] for k in self.kinks if k) if scales[0] > 0 else ()
        nodes, polynomials = _quadrature(tuple(kinks), max_order)
        out = np.empty((scales.size, max_order + 1))
        argument = np.multiply.outer(scales, nodes)
        lift = min(self._lift(), max_order)
        for order in range(lift + 1):
            stop = order + 1 if order < lift else max_order + 1
            values = self._evaluate(order, argument)
            scale = (scales**order)[:, None]
            out[:, order:stop] = scale * (values @ polynomials[:, : stop - order])
        return out

    def _lift(self) -> int:
        """Return how many derivatives are plain functions, no jump being differentiated; 0 if unknown."""
        return 0 if self.functions is not None else 1 if self.degree == 1 else 2

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
        return _first_order(self, 2)

    @property
    def tensor_order(self) -> int | None:
        """First j >= 3 with m_j != 0 (j3 of Zhong et al., arXiv 1706.03175); None if none up to 4."""
        return _first_order(self, 3)

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
        wanted = _finite("target", target)
        if self.degree is not None:
            unit = float(self.moments(1.0, order)[order])
            if abs(unit) < _ZERO:
                raise ValueError(f"order: m_{order} of {self.name} is zero for every scale and fixes none")
            ratio = wanted / unit
            return np.maximum(ratio, 0.0) ** (1.0 / self.degree), ratio < 0
        return _invert(self, (order,), wanted, max_scale)

    def scale_from_ratio(
        self, target: ArrayLike, orders: tuple[int, int] = (1, 3), *, max_scale: float = MAX_SCALE
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Invert s -> m_b(s) / m_a(s), (a, b) = `orders`, which needs no output weight.

        `target`, `max_scale`, the result and the errors are as in :meth:`scale_from_moment`; for homogeneous
        phi, whose ratios do not depend on the scale, it is always an error.
        """
        return _invert(self, (int(orders[0]), int(orders[1])), _finite("target", target), max_scale)


_BUILT_IN: dict[str, Activation] = {
    "relu": Activation("relu", 0, 0.0, 1, None, (0.0,)),
    "leaky_relu": Activation("leaky_relu", 1, DEFAULT_SLOPE, 1, None, (0.0,)),
    "squared_relu": Activation("squared_relu", 2, 0.0, 2, None, (0.0,)),
    "quadratic": Activation("quadratic", 3, 0.0, 2, "even"),
    "sigmoid": Activation("sigmoid", 4),
    "tanh": Activation("tanh", 5, 0.0, None, "odd"),
    "erf": Activation("erf", 6, 0.0, None, "odd"),
    "softplus": Activation("softplus", 7),
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
        raise TypeError(f"activation must be a name or an Activation, got {type(spec).__name__}")
    if slope is None:
        return found
    if found.code != _BUILT_IN["leaky_relu"].code:
        raise ValueError(f"slope belongs to leaky_relu; {found.name} takes none")
    if not isinstance(slope, Real):
        raise TypeError(f"slope must be a number in [0, 1), got {type(slope).__name__}")
    if not 0.0 <= slope < 1.0:
        raise ValueError(f"slope must be in [0, 1), got {slope!r}")
    return replace(found, slope=float(slope))


@lru_cache(maxsize=32)
def _quadrature(kinks: tuple[float, ...], max_order: int) -> tuple[Array, Array]:
    """Return nodes (q,) and weight * normal density * He_j (q, max_order + 1); kinks become panel edges."""
    grades = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 25)])
    half = np.concatenate([grades, np.arange(1.5, _OUTER_EDGE + 0.25, 0.5)])
    near = [kink + sign * grades for kink in kinks if abs(kink) < _OUTER_EDGE for sign in (-1.0, 1.0)]
    edges = np.unique(np.clip(np.concatenate([-half, half, *near]), -_OUTER_EDGE, _OUTER_EDGE))
    abscissae, weights = np.polynomial.legendre.leggauss(20)
    middle, radius = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    nodes = (middle[:, None] + radius[:, None] * abscissae).ravel()
    density = (radius[:, None] * weights).ravel() * np.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)
    table = np.polynomial.hermite_e.hermevander(nodes, max_order) * density[:, None]
    nodes.setflags(write=False)
    table.setflags(write=False)
    return nodes, table


@lru_cache(maxsize=128)
def _first_order(activation: Activation, lowest: int) -> int | None:
    sizes = np.max([np.abs(activation.hermite_coefficients(4, s)) for s in (0.5, 1.0, 2.0, 5.0)], axis=0)
    present = np.flatnonzero(sizes[lowest:] > _ZERO * sizes.max())
    return lowest + int(present[0]) if present.size else None


def _finite(label: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{label} must be finite numbers")
    return array


def _curve(activation: Activation, orders: tuple[int, ...], log_scale: Array) -> tuple[Array, Array]:
    """Return the moment (or the ratio of two) at exp(log_scale) and its derivative by log s.

    d m_j / d log s = m_{j+2} + j m_j.
    """
    m = activation.moments(np.exp(log_scale), max(orders) + 2)
    value, slope = (lambda j: m[..., j]), (lambda j: m[..., j + 2] + j * m[..., j])
    if len(orders) == 1:
        return value(orders[0]), slope(orders[0])
    a, b = orders
    ratio = value(b) / value(a)
    return ratio, (slope(b) - ratio * slope(a)) / value(a)


@lru_cache(maxsize=64)
def _grid(activation: Activation, orders: tuple[int, ...], max_scale: float) -> tuple[Array, Array, float]:
    """Return log scales, the curve there made increasing, and the sign that made it so."""
    if min(orders) < 0:
        raise ValueError(f"orders must be >= 0, got {orders}")
    if not MIN_SCALE < max_scale < math.inf:
        raise ValueError(f"max_scale must be finite and above {MIN_SCALE}, got {max_scale!r}")
    grid = np.linspace(math.log(MIN_SCALE), math.log(max_scale), _GRID_POINTS)
    sizes = np.abs(activation.moments(np.exp(grid), max(orders)))
    for order in orders:
        if sizes[:, order].max() < _ZERO * sizes.max():
            raise ValueError(f"m_{order} of {activation.name} is zero for every scale and fixes none")
    values = _curve(activation, orders, grid)[0]
    sign = 1.0 if values[-1] > values[0] else -1.0
    spread = abs(values[-1] - values[0])
    if not (spread > _ZERO * np.abs(values).max() and (np.diff(sign * values) > 0).all()):
        label = " / ".join(f"m_{order}" for order in reversed(orders))
        raise ValueError(f"{label} of {activation.name} is not strictly monotone in the scale: no inverse")
    return grid, sign * values, sign


def _invert(
    activation: Activation, orders: tuple[int, ...], target: Array, max_scale: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Solve the monotone curve for the scale: bracket from a grid, then Newton safeguarded by bisection."""
    grid, table, sign = _grid(activation, orders, float(max_scale))
    wanted = sign * target.ravel()
    clipped = (wanted < table[0]) | (wanted > table[-1])
    cell = np.clip(np.searchsorted(table, wanted), 1, grid.size - 1)
    low, high = grid[cell - 1].copy(), grid[cell].copy()
    fraction = (wanted - table[cell - 1]) / (table[cell] - table[cell - 1])
    x = low + np.clip(fraction, 0.0, 1.0) * (high - low)
    for _ in range(60):
        value, slope = _curve(activation, orders, x)
        gap = wanted - sign * value
        low, high = np.where(gap > 0, x, low), np.where(gap > 0, high, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x + gap / (sign * slope)
        last, x = x, np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
        if (clipped | (np.abs(x - last) <= 1e-15 * np.maximum(1.0, np.abs(x)))).all():
            break
    scale = np.where(clipped, np.where(wanted < table[0], MIN_SCALE, max_scale), np.exp(x))
    return scale.reshape(target.shape), clipped.reshape(target.shape)


def _check_user(activation: Activation) -> None:
    """Raise unless the user's derivatives, degree and parity agree with the function at 48 points."""
    points = np.linspace(-3.9, 4.1, 48) + 0.0123
    points = points[[all(abs(z - kink) >= 1e-3 for kink in activation.kinks) for z in points]]
    labels = ("function", "derivative", "second_derivative")[: len(activation.functions or ())]
    values = [_user_values(activation, order, label, points) for order, label in enumerate(labels)]
    step = 1e-5 * np.maximum(1.0, np.abs(points))
    for order in range(1, len(labels)):
        given, below = values[order], values[order - 1]
        ahead, behind = (activation._evaluate(order - 1, points + sign * step) for sign in (1, -1))
        difference = (ahead - behind) / (2 * step)
        gap = np.abs(difference - given) / np.maximum(1.0, np.maximum(np.abs(given), np.abs(below)))
        worst = int(np.argmax(gap))
        if not gap[worst] <= 1e-5:
            raise ValueError(
                f"{labels[order]} disagrees with finite differences of {labels[order - 1]} at z = "
                f"{points[worst]:.4g}: {given[worst]:.6g} against {difference[worst]:.6g}"
            )
    sign, power = (-1.0 if activation.parity == "odd" else 1.0), 1.7 ** (activation.degree or 0)
    for label, factor, expected in (("parity", -1.0, sign), ("degree", 1.7, power)):
        claim, wanted = getattr(activation, label), expected * values[0]
        if claim is not None and not np.allclose(activation.value(factor * points), wanted, 1e-8, 1e-10):
            raise ValueError(f"{label} is given as {claim!r}, but the function disagrees: correct or drop it")


def _user_values(activation: Activation, order: int, label: str, points: Array) -> Array:
    try:
        values = activation._evaluate(order, points)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TypeError(f"{label} must take one float and return one float: {error}") from error
    if not np.isfinite(values).all():
        bad = points[~np.isfinite(values)][0]
        raise ValueError(f"{label} must be finite on [-4, 4], but it is not at z = {bad:.4g}")
    return values
