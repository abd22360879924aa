"""Rows and responses that a user hands in: opened, and checked before any long work."""

from __future__ import annotations

from typing import Any

from ..models import Network
from ..sources import as_chunks, as_values, is_chunked, opened
from .arrays import Data
from .base import Given
from .weights import class_weights

__all__ = ["Data", "Given", "as_chunks", "as_values", "class_weights", "given", "is_chunked", "opened"]


def given(X: Any, y: Any, sample_weight: Any, model: Network, class_weight: Any = None, gather: Any = None) -> Given:
    """Whatever rows and responses are given as, wherever they are.

    Parameters
    ----------
    X, y, sample_weight : any
        Arrays, files, sources, or arrays and frames of Dask.
    model : Network
    class_weight : "balanced", dict of label to weight, or None
    gather : callable or None
        ``gather(value)`` returns the values of all processes, of which each has rows of its own.

    Returns
    -------
    Given

    Raises
    ------
    OSError, TypeError, ValueError
        They cannot be read, or do not fit together or to the model.
    """
    if gather is not None:
        from .spread import of_processes

        return of_processes(gather, X, y, sample_weight, model, class_weight)
    if _on_workers(X):
        from .cluster import of_workers

        return of_workers(X, y, sample_weight, model, class_weight)
    return Data.of(X, y, sample_weight, model, class_weight)


def _on_workers(X: Any) -> bool:
    """Whether rows are a collection of Dask, and there are workers that may hold them."""
    if not is_chunked(X):
        return False
    from .cluster import client

    return client() is not None
