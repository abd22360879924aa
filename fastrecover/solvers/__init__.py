"""What is done with the sums: each solver turns a plain-data state into the next one by asking for sweeps."""

from __future__ import annotations

from .fresh import OnFreshRows
from .gradient import GradientDescent, ResampledGradientDescent, StochasticGradientDescent
from .kinks import KinkedGaussNewton
from .landscape import OnLandscape
from .lbfgs import LBFGS, minimise_many
from .loop import run
from .monitor import Clock, Monitor, SharedClock
from .newton import DENSE_LIMIT, GaussNewton, newton_many
from .preconditioner import FactoredMatrix, GaussianCurvature, Preconditioner, gaussian_curvature
from .quadratic_cg import DENSE_LIMIT_OF_FEW, FactoredDescent, QuarticConjugateGradients
from .state import Solver, State

__all__ = [
    "DENSE_LIMIT",
    "DENSE_LIMIT_OF_FEW",
    "FactoredDescent",
    "FactoredMatrix",
    "GaussNewton",
    "GaussianCurvature",
    "GradientDescent",
    "KinkedGaussNewton",
    "LBFGS",
    "Clock",
    "SharedClock",
    "Monitor",
    "OnFreshRows",
    "OnLandscape",
    "Preconditioner",
    "QuarticConjugateGradients",
    "ResampledGradientDescent",
    "Solver",
    "State",
    "StochasticGradientDescent",
    "gaussian_curvature",
    "minimise_many",
    "newton_many",
    "run",
]
