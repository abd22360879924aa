"""Where refinement begins: moments, the designed landscape, eigenvectors, or random rows."""

from __future__ import annotations

from .affine import affine_fit
from .base import Start, StartError, network, ridge_lengths, with_output_weights
from .landscape import Descent, landscape_start
from .published import published_start
from .quadratic_fit import inertia
from .random import anchors, light_start, random_start, small_random_start, with_kinks
from .registry import STARTS, NamedStart
from .spectral import spectral_start
from .tensor import tensor_start

__all__ = [
    "STARTS",
    "Descent",
    "NamedStart",
    "Start",
    "StartError",
    "affine_fit",
    "anchors",
    "inertia",
    "landscape_start",
    "light_start",
    "network",
    "published_start",
    "random_start",
    "ridge_lengths",
    "small_random_start",
    "spectral_start",
    "tensor_start",
    "with_kinks",
    "with_output_weights",
]
