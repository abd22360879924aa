"""Estimators of scikit-learn: a face of ``fit`` and ``Recovery`` for pipelines, searches and other tools.

They are loaded when first used, and need scikit-learn, which nothing else in the package does.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "OneHiddenLayerRegressor and OneHiddenLayerClassifier need scikit-learn: pip install fastrecover[sklearn]"
    ) from error

from ._recovery import of_recovery
from .classifier import OneHiddenLayerClassifier
from .regressor import OneHiddenLayerRegressor

__all__ = ["OneHiddenLayerClassifier", "OneHiddenLayerRegressor", "of_recovery"]
