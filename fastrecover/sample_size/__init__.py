"""How many rows an experiment needs: chances of recovery, errors and times, told before there are data."""

from __future__ import annotations

from .api import RequiredRows, required_rows

__all__ = ["RequiredRows", "required_rows"]


def __dir__() -> list[str]:
    return __all__
