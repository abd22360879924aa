"""Checks of users' functions: what they claim of derivatives and symmetries is tried at a few points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from .gaussian import Array
from .traits import POINTS, agree, is_jump

if TYPE_CHECKING:
    from .registry import Activation

_STRETCH = 1.7
_HALVINGS = 40
_MOST_DEGREE = 6  # looked for where none is claimed
_CONTRADICTED = "{} is given as {!r}, but the function disagrees: correct or drop it"
_LABELS = ("function", "derivative", "second_derivative")


def check_functions(functions: tuple[object, ...]) -> None:
    """Raise TypeError unless all of (phi, phi') or (phi, phi', phi'') can be called."""
    for label, each in zip(_LABELS, functions, strict=False):
        if not callable(each):
            raise TypeError(f"{label} must be callable (float -> float), got {type(each).__name__}")


def check_claims(degree: object, parity: object) -> None:
    """Raise ValueError for a degree or parity that no function has."""
    if parity not in (None, "even", "odd"):
        raise ValueError(f"parity must be 'even', 'odd' or None, got {parity!r}")
    if degree is not None and (isinstance(degree, bool) or not isinstance(degree, int) or degree < 1):
        raise ValueError(f"degree must be a positive integer or None, got {degree!r}")


def checked_kinks(kinks: object) -> tuple[float, ...]:
    """Kinks in rising order, each once; ValueError unless they are finite."""
    points = tuple(float(kink) for kink in np.atleast_1d(np.asarray(kinks, dtype=np.float64)))
    if not all(math.isfinite(point) for point in points):
        raise ValueError(f"kinks must be finite numbers, got {kinks!r}")
    return tuple(sorted(set(points)))


def check_derivatives(activation: Activation) -> None:
    """Raise unless the user's derivatives are finite and those of the function."""
    points = POINTS[[all(abs(z - kink) >= 1e-3 for kink in activation.kinks) for z in POINTS]]
    labels = _LABELS[: len(activation.functions or ())]
    values = [_values(activation, order, label, points) for order, label in enumerate(labels)]
    step = 1e-5 * np.maximum(1.0, np.abs(points))
    for order in range(1, len(labels)):
        given, below = values[order], values[order - 1]
        ahead, behind = (activation.evaluate(order - 1, points + sign * step) for sign in (1, -1))
        difference = (ahead - behind) / (2 * step)
        gap = np.abs(difference - given) / np.maximum(1.0, np.maximum(np.abs(given), np.abs(below)))
        worst = int(np.argmax(gap))
        if not gap[worst] <= 1e-5:
            raise ValueError(
                f"{labels[order]} disagrees with finite differences of {labels[order - 1]} at z = "
                f"{points[worst]:.4g}: {given[worst]:.6g} against {difference[worst]:.6g}"
            )


def found_kinks(activation: Activation) -> tuple[float, ...]:
    """The kinks that are declared, and jumps between the check points that the given functions show.

    Intervals are halved towards their larger change, which shrinks with them unless the function jumps.
    """
    found = set(activation.kinks)
    apart = [all(abs(z - kink) >= 1e-3 for kink in found) for z in POINTS]
    edges = POINTS[apart]
    pairs = zip(edges[:-1], edges[1:], strict=True)
    free = np.array([pair for pair in pairs if not any(pair[0] < kink < pair[1] for kink in found)]).T
    for order in range(len(activation.functions or ())):
        low, high = free
        below, above = ends = activation.evaluate(order, free)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            at = activation.evaluate(order, middle)
            left = np.abs(at - below) >= np.abs(above - at)
            low, high = np.where(left, low, middle), np.where(left, middle, high)
            below, above = np.where(left, below, at), np.where(left, at, above)
        found.update(round(kink, 11) + 0.0 for kink in high[is_jump(below, above, *ends)].tolist())
    return tuple(sorted(found))


def checked_parity(activation: Activation) -> Literal["even", "odd"] | None:
    """The parity that is claimed, or the one that the function shows.

    Raises
    ------
    ValueError
        A claim that the function contradicts.
    """
    values, mirrored = _tried(activation, 1.0), _tried(activation, -1.0)
    shown = {"even": agree(mirrored, values), "odd": agree(mirrored, -values)}
    claim = activation.parity
    if claim is None:
        return "even" if shown["even"] else "odd" if shown["odd"] else None
    if not shown[claim]:
        raise ValueError(_CONTRADICTED.format("parity", claim))
    return claim


def checked_degree(activation: Activation) -> int | None:
    """The degree that is claimed, or the one that the function shows.

    Raises
    ------
    ValueError
        A claim that the function contradicts.
    """
    values, stretched = _tried(activation, 1.0), _tried(activation, _STRETCH)
    claim = activation.degree
    if claim is None:
        # Away from 0 a homogeneous function has no kinks.
        degrees = () if any(activation.kinks) else range(1, _MOST_DEGREE + 1)
        return next((p for p in degrees if agree(stretched, _STRETCH**p * values)), None)
    if not agree(stretched, _STRETCH**claim * values):
        raise ValueError(_CONTRADICTED.format("degree", claim))
    return claim


def _tried(activation: Activation, factor: float) -> Array:
    """phi at multiples of the check points, which may lie beyond where it must be finite."""
    try:
        return activation.value(factor * POINTS)
    except (ValueError, ArithmeticError):
        return np.full(len(POINTS), np.nan)


def _values(activation: Activation, order: int, label: str, points: Array) -> Array:
    try:
        values = activation.evaluate(order, points)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TypeError(f"{label} must take one float and return one float: {error}") from error
    if not np.isfinite(values).all():
        bad = points[~np.isfinite(values)][0]
        raise ValueError(f"{label} must be finite on [-4, 4], but it is not at z = {bad:.4g}")
    return values
