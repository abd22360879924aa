"""What the package must know of an activation beside its values, found on the function itself.

Built-in functions and users' own go through the same lines, so that a copy of a built-in one behaves like it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .gaussian import Array

if TYPE_CHECKING:
    from .registry import Activation

#: Where functions are tried; not symmetric, so that no kink at a round number is met.
POINTS = np.linspace(-3.9, 4.1, 48) + 0.0123

_ZERO = 1e-10
_JUMP = 1e-5  # change across no width, in units of the values around, that is a jump
_SIDE = 1e-12  # distance from a kink at which one-sided limits are taken
_AROUND = 1e-3  # distance from a kink that belongs to it
_HALVINGS = 30


def agree(found: Array, wanted: Array) -> bool:
    """Whether values are equal but for rounding."""
    return bool(np.allclose(found, wanted, 1e-8, 1e-10 * min(1.0, float(np.abs(wanted).max()))))


@lru_cache(maxsize=128)
def reflects_into_intercept(activation: Activation) -> bool:
    """See :attr:`Activation.reflects_into_intercept`."""
    values, mirrored = activation.value(POINTS), activation.value(-POINTS)
    total = 2.0 * float(activation.value(0.0))
    return abs(total) > _ZERO * np.abs(values).max() and agree(values + mirrored, np.full(len(POINTS), total))


@lru_cache(maxsize=128)
def odd_slope(activation: Activation) -> float | None:
    """See :attr:`Activation.odd_slope`."""
    values, mirrored = activation.value(POINTS), activation.value(-POINTS)
    slope = float(activation.value(1.0) - activation.value(-1.0))
    given = abs(slope) > _ZERO * np.abs(values).max() and agree(values - mirrored, slope * POINTS)
    return slope if given else None


@lru_cache(maxsize=128)
def smoothness(activation: Activation) -> int | None:
    """See :attr:`Activation.smoothness`."""
    known = 3 if activation.has_second_derivative else 2
    lowest = next((order for order in range(known) if jumps(activation, order)), None)
    return 2 if lowest is None and known == 2 and activation.kinks else lowest


@lru_cache(maxsize=128)
def jumps(activation: Activation, order: int) -> tuple[float, ...]:
    """Where the derivative of an order jumps: of the kinks that are declared, and beside them on [-4, 4].

    Parameters
    ----------
    activation : Activation
    order : int
        0 for phi itself, 1 or 2.

    Returns
    -------
    tuple of float
    """
    kinks = np.array(activation.kinks)
    around = _AROUND * np.maximum(1.0, np.abs(kinks))
    near = [activation.evaluate(order, kinks + side * around) for side in (-1.0, 1.0)]
    limits = [activation.evaluate(order, kinks + _SIDE * side * around) for side in (-1.0, 1.0)]
    declared = kinks[_is_jump(*limits, *near)]

    edges = POINTS[np.abs(POINTS[:, None] - kinks).min(axis=1, initial=1.0) >= _AROUND]
    low, high = edges[:-1], edges[1:]
    free = ~((low[:, None] < kinks) & (kinks < high[:, None])).any(axis=1)
    low, high = low[free], high[free]
    values = ends = [activation.evaluate(order, each) for each in (low, high)]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        at = activation.evaluate(order, middle)
        left = np.abs(at - values[0]) >= np.abs(values[1] - at)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
        values = [np.where(left, values[0], at), np.where(left, at, values[1])]
    return (*declared.tolist(), *high[_is_jump(*values, *ends)].tolist())


def _is_jump(below: Array, above: Array, *around: Array) -> np.ndarray:
    sizes = np.max(np.abs([below, above, *around]), axis=0)
    # Rounding of a function that has levelled off is no jump.
    return np.abs(above - below) > _JUMP * np.maximum(sizes, 1e-9 * sizes.max(initial=0.0))
