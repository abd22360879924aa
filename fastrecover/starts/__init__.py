"""Where refinement begins: moments, the designed landscape, wide students, or random rows."""

from __future__ import annotations

from .affine import affine_fit
from .expand import Starts, check_expandable, default_extra, expanded_starts, regrown
from .inputs import InputLaw, Whitening, examine, needs_whitening, whiten
from .landscape import Descent, check_landscape, landscape_start
from .published import published_start
from .random import random_start
from .spectral import small_random_start, spectral_start
from .tensor import (
    StartError,
    check_resolvable,
    inertia,
    ridge_lengths,
    tensor_start,
    with_output_weights,
)

__all__ = [
    "Descent",
    "InputLaw",
    "StartError",
    "Starts",
    "Whitening",
    "affine_fit",
    "check_expandable",
    "check_landscape",
    "check_resolvable",
    "default_extra",
    "examine",
    "expanded_starts",
    "inertia",
    "landscape_start",
    "needs_whitening",
    "published_start",
    "random_start",
    "regrown",
    "ridge_lengths",
    "small_random_start",
    "spectral_start",
    "tensor_start",
    "whiten",
    "with_output_weights",
]
