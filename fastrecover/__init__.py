"""Recover the weights of one-hidden-layer networks from inputs and responses.

Names are loaded when first used, so that importing the package costs little more than importing NumPy; type checkers
read them as the plain imports that they stand for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import activations as activations
    from . import datasets as datasets
    from . import jax as jax
    from . import kernels as kernels
    from . import models as models
    from . import moments as moments
    from . import solvers as solvers
    from . import sources as sources
    from . import tensors as tensors
    from . import torch as torch
    from ._library import get_include as get_include
    from ._library import get_library as get_library
    from .activations import Activation as Activation
    from .api import fit as fit
    from .api import objective as objective
    from .estimators import OneHiddenLayerClassifier as OneHiddenLayerClassifier
    from .estimators import OneHiddenLayerRegressor as OneHiddenLayerRegressor
    from .exceptions import CheckpointError as CheckpointError
    from .exceptions import ClusterError as ClusterError
    from .exceptions import _ConvergenceWarning as ConvergenceWarning
    from .extraction import extract as extract
    from .kernels import get_kernels as get_kernels
    from .kernels import set_kernels as set_kernels
    from .population import population_risk as population_risk
    from .recovery import Recovery as Recovery
    from .recovery import load as load
    from .sample_size import RequiredRows as RequiredRows
    from .sample_size import required_rows as required_rows
    from .sources import lagged as lagged

__version__ = "0.1.0"

_WHERE = {
    "fit": "api",
    "extract": "extraction",
    "objective": "api",
    "Recovery": "recovery",
    "load": "recovery",
    "lagged": "sources",
    "Activation": "activations",
    "CheckpointError": "exceptions",
    "ClusterError": "exceptions",
    "population_risk": "population",
    "required_rows": "sample_size",
    "RequiredRows": "sample_size",
    "set_kernels": "kernels",
    "get_kernels": "kernels",
    "get_include": "_library",
    "get_library": "_library",
    "OneHiddenLayerClassifier": "estimators",
    "OneHiddenLayerRegressor": "estimators",
}
_MODULES = ("activations", "datasets", "jax", "kernels", "models", "moments", "solvers", "sources", "tensors", "torch")

_NEED_MORE = ("OneHiddenLayerClassifier", "OneHiddenLayerRegressor", "jax", "torch")  # which * does not import

__all__ = ["ConvergenceWarning", *(name for name in (*_WHERE, *_MODULES) if name not in _NEED_MORE), "__version__"]

if not TYPE_CHECKING:  # to a checker this would make every name Any

    def __getattr__(name: str) -> object:
        if name == "ConvergenceWarning":
            from .exceptions import convergence_warning

            return convergence_warning()
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name in _WHERE:
            value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_NEED_MORE])
