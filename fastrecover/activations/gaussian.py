"""Gaussian (Hermite) moments of an activation and the scales that belong to them.

Moments are taken from the highest derivative that is a plain function, m_j(s) = s^i E[phi^(i)(s z) He_{j-i}(z)],
because the defining integral cancels as s -> 0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from .registry import Activation

Array: TypeAlias = NDArray[np.float64]

MIN_SCALE, MAX_SCALE = 1e-3, 20.0

_OUTER_EDGE = 14.0
_SCALES_AT_ONCE, _GRID_POINTS = 128, 64
_ZERO = 1e-9
_GRADES = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 25)])


@lru_cache(maxsize=8)
def legendre(count: int) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss-Legendre rule on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


@lru_cache(maxsize=32)
def quadrature(kinks: tuple[float, ...], max_order: int) -> tuple[Array, Array]:
    """Composite Gauss-Legendre rule for a standard normal z, on panels graded towards 0 and towards every kink.

    Parameters
    ----------
    kinks : tuple of float
        Points in units of z, beside 0, where the integrand or a derivative jumps.
    max_order : int

    Returns
    -------
    nodes : ndarray (q,)
    table : ndarray (q, max_order + 1)
        Weight times normal density times He_j at the nodes.
    """
    half = np.concatenate([_GRADES, np.arange(1.5, _OUTER_EDGE + 0.25, 0.5)])
    near = [kink + sign * _GRADES for kink in kinks if abs(kink) < _OUTER_EDGE for sign in (-1.0, 1.0)]
    edges = np.unique(np.clip(np.concatenate([-half, half, *near]), -_OUTER_EDGE, _OUTER_EDGE))
    abscissae, weights = legendre(20)
    middle, radius = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    nodes = (middle[:, None] + radius[:, None] * abscissae).ravel()
    density = (radius[:, None] * weights).ravel() * np.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)
    table = np.polynomial.hermite_e.hermevander(nodes, max_order) * density[:, None]
    nodes.setflags(write=False)
    table.setflags(write=False)
    return nodes, table


def moments(activation: Activation, s: ArrayLike, max_order: int) -> Array:
    """See :meth:`Activation.moments`."""
    scales = _finite("s", s)
    if scales.min(initial=0.0) < 0:
        raise ValueError(f"s must hold scales >= 0, got {scales.min()}")
    if max_order < 0:
        raise ValueError(f"max_order must be >= 0, got {max_order}")
    flat = scales.ravel()
    out = np.empty((flat.size, max_order + 1))
    # Kinks away from 0 move with the scale, so that every scale needs nodes of its own.
    step = 1 if any(activation.kinks) else _SCALES_AT_ONCE
    for start in range(0, flat.size, step):
        chunk = slice(start, start + step)
        out[chunk] = _moments(activation, flat[chunk], max_order)
    return out.reshape(*scales.shape, max_order + 1)


def _moments(activation: Activation, scales: Array, max_order: int) -> Array:
    kinks = (kink / scales[0] for kink in activation.kinks if kink) if scales[0] > 0 else ()
    nodes, polynomials = quadrature(tuple(kinks), max_order)
    out = np.empty((scales.size, max_order + 1))
    argument = np.multiply.outer(scales, nodes)
    lift = min(_lift(activation), max_order)
    for order in range(lift + 1):
        stop = order + 1 if order < lift else max_order + 1
        values = activation.evaluate(order, argument)
        scale = (scales**order)[:, None]
        out[:, order:stop] = scale * (values @ polynomials[:, : stop - order])
    return out


def _lift(activation: Activation) -> int:
    """How many derivatives are plain functions, no jump being differentiated."""
    known = 2 if activation.has_second_derivative else 1
    return known if activation.smoothness is None else min(known, activation.smoothness)


@lru_cache(maxsize=128)
def first_order(activation: Activation, lowest: int) -> int | None:
    """First j >= `lowest` whose moment is not zero; None if none up to 4."""
    sizes = np.max([np.abs(activation.hermite_coefficients(4, s)) for s in (0.5, 1.0, 2.0, 5.0)], axis=0)
    present = np.flatnonzero(sizes[lowest:] > _ZERO * sizes.max())
    return lowest + int(present[0]) if present.size else None


def scale_from_moment(
    activation: Activation, order: int, target: ArrayLike, max_scale: float
) -> tuple[Array, NDArray[np.bool_]]:
    """See :meth:`Activation.scale_from_moment`."""
    wanted = _finite("target", target)
    if activation.degree is not None:
        unit = float(moments(activation, 1.0, order)[order])
        if abs(unit) < _ZERO:
            raise ValueError(f"order: m_{order} of {activation.name} is zero for every scale and fixes none")
        ratio = wanted / unit
        return np.maximum(ratio, 0.0) ** (1.0 / activation.degree), ratio < 0
    return _invert(activation, order, wanted, max_scale)


def _finite(label: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{label} must be finite numbers")
    return array


def _curve(activation: Activation, order: int, log_scale: Array) -> tuple[Array, Array]:
    """The moment at exp(log_scale) and its derivative by log s, m_{j+2} + j m_j."""
    m = moments(activation, np.exp(log_scale), order + 2)
    return m[..., order], m[..., order + 2] + order * m[..., order]


@lru_cache(maxsize=64)
def _grid(activation: Activation, order: int, max_scale: float) -> tuple[Array, Array, float]:
    """Log scales, the moment there made increasing, and the sign that made it so."""
    if order < 0:
        raise ValueError(f"order must be >= 0, got {order}")
    if not MIN_SCALE < max_scale < math.inf:
        raise ValueError(f"max_scale must be finite and above {MIN_SCALE}, got {max_scale!r}")
    grid = np.linspace(math.log(MIN_SCALE), math.log(max_scale), _GRID_POINTS)
    sizes = np.abs(moments(activation, np.exp(grid), order))
    if sizes[:, order].max() < _ZERO * sizes.max():
        raise ValueError(f"m_{order} of {activation.name} is zero for every scale and fixes none")
    values = _curve(activation, order, grid)[0]
    sign = 1.0 if values[-1] > values[0] else -1.0
    spread = abs(values[-1] - values[0])
    if not (spread > _ZERO * np.abs(values).max() and (np.diff(sign * values) > 0).all()):
        raise ValueError(f"m_{order} of {activation.name} is not strictly monotone in the scale: no inverse")
    return grid, sign * values, sign


def _invert(activation: Activation, order: int, target: Array, max_scale: float) -> tuple[Array, NDArray[np.bool_]]:
    """Solve the monotone curve for the scale: bracket from a grid, then Newton safeguarded by bisection."""
    grid, table, sign = _grid(activation, order, float(max_scale))
    wanted = sign * target.ravel()
    clipped = (wanted < table[0]) | (wanted > table[-1])
    cell = np.clip(np.searchsorted(table, wanted), 1, grid.size - 1)
    low, high = grid[cell - 1].copy(), grid[cell].copy()
    fraction = (wanted - table[cell - 1]) / (table[cell] - table[cell - 1])
    x = low + np.clip(fraction, 0.0, 1.0) * (high - low)
    for _ in range(60):
        value, slope = _curve(activation, order, x)
        gap = wanted - sign * value
        low, high = np.where(gap > 0, x, low), np.where(gap > 0, high, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x + gap / (sign * slope)
        last, x = x, np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
        if (clipped | (np.abs(x - last) <= 1e-15 * np.maximum(1.0, np.abs(x)))).all():
            break
    scale = np.where(clipped, np.where(wanted < table[0], MIN_SCALE, max_scale), np.exp(x))
    return scale.reshape(target.shape), clipped.reshape(target.shape)
