"""Who runs the blocks of a sweep, and how many rows were touched."""

from __future__ import annotations

import numpy as np

from ..sources import ArraySource
from .base import Engine, Meter, Weights
from .threads import ThreadEngine

__all__ = ["Engine", "Meter", "ThreadEngine", "Weights", "engine_on"]


def engine_on(
    x: np.ndarray,
    y: np.ndarray | None = None,
    w: np.ndarray | None = None,
    *,
    group: int = 1,
    n_jobs: int | None = None,
) -> Engine:
    """The engine for rows that a user hands in.

    Parameters
    ----------
    x : ndarray (n, d), float32 or float64
        Unit column stride.
    y, w : ndarray (n,) of float64, optional
        Responses and weights.
    group : int
        Patches of a sample.
    n_jobs : int, optional
        Threads; None for all processors.

    Returns
    -------
    Engine
    """
    return ThreadEngine(ArraySource(x, y, w, group), n_jobs)
