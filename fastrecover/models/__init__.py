"""What is planted: frozen descriptions of networks that know their parameters and symmetries, never data."""

from __future__ import annotations

from .classification import Classification, ConvClassification
from .names import NAMES, ModelOptions, default_output_weights, get_model
from .network import Network, OutputWeights, check_count, nearest, rebuilt
from .parameters import Parameters, align
from .regression import ConvRegression, Quadratic, Regression
from .views import HasParameters

__all__ = [
    "NAMES",
    "Classification",
    "ConvClassification",
    "ConvRegression",
    "HasParameters",
    "ModelOptions",
    "Network",
    "OutputWeights",
    "Parameters",
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
