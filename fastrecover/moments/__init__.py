"""Moments of responses for use outside a fit: averages over arrays, and sums that can be kept, added and sent.

:func:`first` to :func:`fourth` answer for the rows at hand; a :class:`MomentSummary` outlives its rows.
"""

from __future__ import annotations

from .averages import first, fourth, second, third, third_packed
from .summary import MomentSummary

__all__ = ["MomentSummary", "first", "fourth", "second", "third", "third_packed"]


def __dir__() -> list[str]:
    return __all__
