"""Where refinement begins: moments (tensor), the quadratic part alone (spectral), or random rows."""

from __future__ import annotations

from .affine import affine_fit
from .published import published_start
from .random import random_start
from .tensor import StartError, check_resolvable, inertia, tensor_start, with_output_weights

__all__ = [
    "StartError",
    "affine_fit",
    "check_resolvable",
    "inertia",
    "published_start",
    "random_start",
    "tensor_start",
    "with_output_weights",
]
