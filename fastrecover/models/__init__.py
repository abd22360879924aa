"""What is planted: frozen descriptions of networks that know their parameters and symmetries, never data."""

from __future__ import annotations

from .classification import Classification, ConvClassification, Logistic
from .names import NAMES, ModelOptions, default_output_weights, get_model
from .network import Network, OutputWeights, check_count, nearest, rebuilt
from .parameters import Parameters, align
from .penalty import Penalty
from .regression import ConvRegression, Poisson, Quadratic, Regression
from .views import HasParameters

__all__ = [
    "NAMES",
    "Classification",
    "ConvClassification",
    "ConvRegression",
    "HasParameters",
    "Logistic",
    "ModelOptions",
    "Network",
    "OutputWeights",
    "Parameters",
    "Penalty",
    "Poisson",
    "Quadratic",
    "Regression",
    "align",
    "check_count",
    "default_output_weights",
    "get_model",
    "nearest",
    "rebuilt",
]


def __dir__() -> list[str]:
    return __all__
