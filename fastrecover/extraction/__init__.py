"""Networks behind a function that answers: which queries to ask, and what the answers say of the hidden units."""

from __future__ import annotations

from .api import extract

__all__ = ["extract"]


def __dir__() -> list[str]:
    return __all__
