"""What is summed over rows.  Solvers and starts ask these objects and never see a row."""

from __future__ import annotations

from .moments import MomentSweeps
from .objective import Objective

__all__ = ["MomentSweeps", "Objective"]
