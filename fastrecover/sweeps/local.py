"""Rows that a caller looks at one by one: samples small enough to be held where the decision is made."""

from __future__ import annotations

import numpy as np

from ..engines import Engine

#: Numbers that rows may hold which come to a caller.
MOST_NUMBERS = 1 << 26


def local_rows(engine: Engine) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows, responses and weights of a small sample as float64 arrays.

    Parameters
    ----------
    engine : Engine
        On a sample (:meth:`Engine.sample`), or on projections of one; at most 67 million numbers.

    Returns
    -------
    x : ndarray (n, d)
    y : ndarray (n,)
        Zeros where there are no responses.
    w : ndarray (n,) or None

    Raises
    ------
    ValueError
        More rows than may come to the caller.
    """
    n, d = engine.shape
    if n * d > MOST_NUMBERS:
        raise ValueError(f"{n} rows of {d} features are too many to be looked at one by one: take a sample")
    x, y, w = engine.rows(0, n)
    return np.asarray(x, np.float64), np.zeros(n) if y is None else y, w
