"""What is summed over rows.  Solvers and starts ask these objects and never see a row."""

from __future__ import annotations

from .landscape import Landscape, TensorLandscape, population_tensor
from .moments import MomentSweeps
from .objective import Objective

__all__ = ["Landscape", "MomentSweeps", "Objective", "TensorLandscape", "population_tensor"]
