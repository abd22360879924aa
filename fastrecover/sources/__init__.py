"""Where rows live.  A source hands out numbered rows; it knows nothing of models or solvers."""

from __future__ import annotations

from .array import ArraySource
from .base import Block, Source, peek, read_all
from .blocks import BlockSource
from .kept import KeptSource, kept
from .lagged import lagged
from .whitened import WhitenedSource

__all__ = [
    "ArraySource",
    "Block",
    "BlockSource",
    "KeptSource",
    "Source",
    "WhitenedSource",
    "kept",
    "lagged",
    "peek",
    "read_all",
]
