"""Where refinement begins: moments, the designed landscape, eigenvectors, or random rows."""

from __future__ import annotations

from .affine import affine_fit
from .base import Start, StartError, beyond_plain, network, ridge_lengths, with_output_weights
from .landscape import Descent, landscape_start
from .message_passing import message_passing_start
from .published import magnitudes, published_start
from .quadratic_fit import QuadraticFit, inertia, quadratic_network
from .random import anchors, light_start, random_start, small_random_start, with_kinks
from .registry import STARTS, NamedStart
from .spectral import spectral_start
from .tensor import assigned, check_resolvable, components, lengths_from_moments, tensor_start

__all__ = [
    "STARTS",
    "Descent",
    "NamedStart",
    "QuadraticFit",
    "Start",
    "StartError",
    "affine_fit",
    "anchors",
    "assigned",
    "beyond_plain",
    "check_resolvable",
    "components",
    "inertia",
    "landscape_start",
    "lengths_from_moments",
    "light_start",
    "magnitudes",
    "message_passing_start",
    "network",
    "published_start",
    "quadratic_network",
    "random_start",
    "ridge_lengths",
    "small_random_start",
    "spectral_start",
    "tensor_start",
    "with_kinks",
    "with_output_weights",
]
