"""Where rows live.  A source hands out numbered rows; it knows nothing of models or solvers."""

from __future__ import annotations

from .array import ArraySource
from .lagged import lagged

__all__ = ["ArraySource", "lagged"]
