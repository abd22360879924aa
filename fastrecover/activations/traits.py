"""What the package must know of an activation beside its values, found on the function itself.

Built-in functions and users' own go through the same lines, so that a copy of a built-in one behaves like it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .gaussian import Array

if TYPE_CHECKING:
    from .registry import Activation

#: Where functions are tried; not symmetric, so that no kink at a round number is met.
POINTS = np.linspace(-3.9, 4.1, 48) + 0.0123

_ZERO = 1e-10
_JUMP = 1e-5  # change across no width, in units of the values around, that is a jump
_REMOTE, _UNBOUNDED = 1e8, 1e4  # a value so large so far out belongs to a function without a bound
_SIDE, _AROUND = 1e-10, 1e-3  # distances from a kink: of one-sided limits, and of what belongs to it


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
def bounds(activation: Activation) -> tuple[float, float]:
    """See :attr:`Activation.bounds`."""
    try:
        with np.errstate(all="ignore"):
            values = activation.value(
                np.concatenate([POINTS, 10.0 * POINTS, [0.0], activation.kinks, [-_REMOTE, _REMOTE]])
            )
    except (ArithmeticError, ValueError):  # a user's function of Python's own, which overflows far out
        return -np.inf, np.inf
    ends = values[-2:]
    low = -np.inf if not ends.min() > -_UNBOUNDED else float(values.min())
    return low, np.inf if not ends.max() < _UNBOUNDED else float(values.max())


@lru_cache(maxsize=128)
def smoothness(activation: Activation) -> int | None:
    """See :attr:`Activation.smoothness`."""
    known = 3 if activation.has_second_derivative else 2
    lowest = next((order for order in range(known) if jumps(activation, order)), None)
    return 2 if lowest is None and known == 2 and activation.kinks else lowest


def jumps(activation: Activation, order: int) -> tuple[float, ...]:
    """Kinks at which the derivative of an order jumps.

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
    scale = np.maximum(1.0, np.abs(kinks))
    limits, around = (
        [activation.evaluate(order, kinks + side * distance * scale) for side in (-1.0, 1.0)]
        for distance in (_SIDE, _AROUND)
    )
    return tuple(kinks[is_jump(*limits, *around)].tolist())


def is_jump(below: Array, above: Array, *around: Array) -> NDArray[np.bool_]:
    """Whether values on the two sides of some points differ by more than a continuous function's would."""
    sizes = np.max(np.abs([below, above, *around]), axis=0)
    # Rounding of a function that has levelled off is no jump.
    return np.abs(above - below) > _JUMP * np.maximum(sizes, 1e-9 * sizes.max(initial=0.0))
