"""What is summed over rows.  Solvers and starts ask these objects and never see a row."""

from __future__ import annotations

from .anchored import Anchored
from .factors import damped_steps, distances, triangular_factors
from .function import Function
from .jacobian import directional, pulled_back
from .kinks import KinkedModel, kinked_model
from .landscape import Landscape, TensorLandscape, population_tensor
from .leverage import leverages, score_products
from .local import MOST_NUMBERS, local_rows
from .moments import MomentSweeps
from .objective import Objective
from .penalty import penalty_on
from .powers import paired, power_sums

__all__ = [
    "MOST_NUMBERS",
    "Anchored",
    "Function",
    "KinkedModel",
    "Landscape",
    "MomentSweeps",
    "Objective",
    "TensorLandscape",
    "damped_steps",
    "directional",
    "distances",
    "kinked_model",
    "leverages",
    "local_rows",
    "paired",
    "penalty_on",
    "population_tensor",
    "power_sums",
    "pulled_back",
    "score_products",
    "triangular_factors",
]
