"""What is done with the sums: each solver turns a plain-data state into the next one by asking for sweeps."""

from __future__ import annotations

from .gradient import GradientDescent, ResampledGradientDescent, StochasticGradientDescent
from .landscape import OnLandscape
from .lbfgs import LBFGS
from .loop import Monitor, State, run
from .newton import DENSE_LIMIT, GaussNewton

__all__ = [
    "DENSE_LIMIT",
    "GaussNewton",
    "GradientDescent",
    "LBFGS",
    "Monitor",
    "OnLandscape",
    "ResampledGradientDescent",
    "State",
    "StochasticGradientDescent",
    "run",
]
