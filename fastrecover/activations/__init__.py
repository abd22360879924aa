"""Activations of hidden units: the registry, their Gaussian moments, and functions of a user's own."""

from __future__ import annotations

from .gaussian import MAX_SCALE, MIN_SCALE, Array
from .registry import DEFAULT_SLOPE, NAMES, USER_CODE, Activation, Scalar, get_activation

__all__ = [
    "DEFAULT_SLOPE",
    "MAX_SCALE",
    "MIN_SCALE",
    "NAMES",
    "USER_CODE",
    "Activation",
    "Array",
    "Scalar",
    "get_activation",
]


def __dir__() -> list[str]:
    return __all__
