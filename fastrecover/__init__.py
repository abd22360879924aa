"""Recover the weights of one-hidden-layer networks from inputs and responses.

Names are loaded when first used, so that importing the package costs little more than importing NumPy.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "fit": "api",
    "objective": "api",
    "Recovery": "recovery",
    "load": "recovery",
    "lagged": "sources",
    "Activation": "activations",
    "population_risk": "population",
    "CheckpointError": "exceptions",
    "set_kernels": "kernels",
    "get_kernels": "kernels",
}
_MODULES = ("activations", "datasets", "kernels", "models", "moments", "solvers", "tensors")

__all__ = ["ConvergenceWarning", *_WHERE, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
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
    return sorted([*globals(), *__all__])
