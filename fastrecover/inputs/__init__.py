"""Are the rows drawn from N(0, I), as starts assume, and what to do where they are not."""

from __future__ import annotations

from .coordinates import Coordinates, coordinates
from .diagnosis import DENSE_LIMIT, InputDiagnosis, diagnose, needs_whitening
from .whitening import Whitening, whiten

__all__ = [
    "DENSE_LIMIT",
    "Coordinates",
    "InputDiagnosis",
    "Whitening",
    "coordinates",
    "diagnose",
    "needs_whitening",
    "whiten",
]
