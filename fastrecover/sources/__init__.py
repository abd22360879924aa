"""Where rows live.  A source hands out numbered rows; it knows nothing of models or solvers."""

from __future__ import annotations

from .array import ArraySource, choose, drawn
from .base import Block, Source, aligned, peek, read_all
from .blocks import BlockSource
from .chunks import as_chunks, is_chunked
from .files import KINDS, WrongName, as_source, as_values, from_blocks, is_path, is_source, open, opened
from .joined import cast, joined, joined_arrays
from .kept import KeptSource, kept
from .lagged import lagged
from .whitened import WhitenedSource

__all__ = [
    "ArraySource",
    "Block",
    "KINDS",
    "BlockSource",
    "KeptSource",
    "Source",
    "WhitenedSource",
    "WrongName",
    "aligned",
    "as_chunks",
    "as_source",
    "as_values",
    "cast",
    "choose",
    "drawn",
    "from_blocks",
    "is_chunked",
    "is_path",
    "is_source",
    "joined",
    "joined_arrays",
    "kept",
    "lagged",
    "open",
    "opened",
    "peek",
    "read_all",
]
