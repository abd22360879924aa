"""What is planted: frozen descriptions of networks that know their parameters and symmetries, never data."""

from __future__ import annotations

from .classification import Classification, ConvClassification
from .names import NAMES, get_model
from .network import Network, nearest, rebuilt
from .parameters import Parameters, align
from .regression import ConvRegression, Quadratic, Regression

__all__ = [
    "NAMES",
    "Classification",
    "ConvClassification",
    "ConvRegression",
    "Network",
    "Parameters",
    "Quadratic",
    "Regression",
    "align",
    "get_model",
    "nearest",
    "rebuilt",
]
