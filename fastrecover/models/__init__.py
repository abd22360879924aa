"""What is planted: frozen descriptions of networks that know their parameters and symmetries, never data."""

from __future__ import annotations

from .parameters import Parameters, align
from .regression import NAMES, Model, Quadratic, Regression, get_model

__all__ = ["NAMES", "Model", "Parameters", "Quadratic", "Regression", "align", "get_model"]
