"""Who runs the blocks of a sweep, and how many rows were touched."""

from __future__ import annotations

from .threads import Meter, ThreadEngine

__all__ = ["Meter", "ThreadEngine"]
