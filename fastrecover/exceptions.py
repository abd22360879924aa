"""Warnings and errors of the public interface."""

from __future__ import annotations

import importlib.util
from functools import lru_cache


class _ConvergenceWarning(UserWarning):
    """A fit ended before it had converged."""


class ClusterError(RuntimeError):
    """Rows at the workers of a cluster were lost, and nobody could make them again."""


@lru_cache(maxsize=1)
def convergence_warning() -> type[Warning]:
    """scikit-learn's ConvergenceWarning where scikit-learn is installed, else our own.

    Looked up when first needed, so that importing fastrecover does not import scikit-learn.
    """
    if importlib.util.find_spec("sklearn") is not None:
        from sklearn.exceptions import ConvergenceWarning

        return ConvergenceWarning
    return _ConvergenceWarning


class CheckpointError(ValueError):
    """A file cannot be the checkpoint of this fit: it is none, that of another fit, or in use."""
