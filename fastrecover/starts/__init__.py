"""Where refinement begins: moments (tensor), the quadratic part alone (spectral), or random rows."""

from __future__ import annotations

from .affine import affine_fit
from .landscape import Descent, check_landscape, landscape_start
from .published import published_start
from .random import random_start
from .tensor import StartError, check_resolvable, inertia, tensor_start, with_output_weights

__all__ = [
    "Descent",
    "StartError",
    "affine_fit",
    "check_landscape",
    "check_resolvable",
    "inertia",
    "landscape_start",
    "published_start",
    "random_start",
    "tensor_start",
    "with_output_weights",
]
