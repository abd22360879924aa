"""Predictions and scores of rows in chunks of Dask: made lazily where the chunks are, of scores only sums come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._validation import check_vector
from .data import as_chunks
from .losses import Loss, explained


def few_rows(X: Any, d: int) -> np.ndarray:
    """A row of zeros as those of a collection of Dask, to see what is made of them.

    Raises
    ------
    TypeError, ValueError
        No matrix of numbers, or one of another number of features than `d`.
    """
    chunks = as_chunks(X)
    if chunks.shape[1] != d:
        raise ValueError(f"X must have shape (n, {d}), one column for each feature, got {chunks.shape}")
    return np.zeros((1, d), np.float32 if chunks.dtype == np.float32 else np.float64)


def mapped(function: Callable[[Any], np.ndarray], X: Any, like: np.ndarray) -> Any:
    """An array of Dask of what a function makes of every chunk of rows.

    Parameters
    ----------
    function : callable
        Of rows (m, n_features); returns (m,) or (m, columns).
    X : collection of Dask
    like : ndarray (0,) or (0, columns)
        What it makes of no rows.

    Returns
    -------
    dask.array.Array
    """
    import dask
    import dask.array as da

    chunks, made = as_chunks(X), dask.delayed(function)
    parts = [
        da.from_delayed(made(rows), (int(m) if m == m else np.nan, *like.shape[1:]), dtype=like.dtype)
        for rows, m in zip(chunks.rows, chunks.lengths, strict=True)
    ]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def score(mean: Callable[[Any], np.ndarray], targets: Callable[[Any], np.ndarray], loss: Loss, given: Any) -> float:
    """The score of a loss, by two passes over chunks.

    Parameters
    ----------
    mean : callable
        Expected responses of rows.
    targets : callable
        Responses as the loss takes them.
    loss : Loss
    given : tuple
        Rows, responses and weights, collections of Dask; weights may be None.

    Returns
    -------
    float
    """
    import dask

    chunks = as_chunks(*given)
    if chunks.y is None:
        raise ValueError("y is missing: give the responses, one for each row of X")
    weights = chunks.weight or [None] * len(chunks.rows)
    parts = [
        dask.delayed(_misses)(x, y, w, mean, targets, loss)
        for x, y, w in zip(chunks.rows, chunks.y, weights, strict=True)
    ]
    left, sums, total, n = (sum(each) for each in zip(*dask.compute(*parts), strict=True))
    if loss.takes_labels:
        return 1.0 - float(left[0] / total)
    around = [dask.delayed(_around)(y, w, sums / total, targets, loss) for y, w in zip(chunks.y, weights, strict=True)]
    return explained(left / total, sum(dask.compute(*around)) / total, n)


def _columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _misses(
    x: Any, y: Any, w: Any, mean: Callable[[Any], np.ndarray], targets: Callable[[Any], np.ndarray], loss: Loss
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Sums of what is missed and of targets, of the weights, and how many rows."""
    found = targets(y)
    weight = np.ones(len(found)) if w is None else check_vector(w, len(found), "sample_weight")
    if (weight < 0).any():
        raise ValueError(f"sample_weight must not be negative, got {weight.min():g}")
    expected = mean(x) if len(found) else found
    if found.shape != expected.shape:
        raise ValueError(f"y must have the shape of what is predicted, {expected.shape}, got {found.shape}")
    missed = _columns(loss.missed(found, expected))
    return weight @ missed, weight @ _columns(found), float(weight.sum()), len(found)


def _around(y: Any, w: Any, centre: np.ndarray, targets: Callable[[Any], np.ndarray], loss: Loss) -> np.ndarray:
    """Sums of what the mean of the targets misses."""
    found = _columns(targets(y))
    weight = np.ones(len(found)) if w is None else np.asarray(w, np.float64)
    return np.asarray(weight @ loss.missed(found, np.broadcast_to(centre, found.shape)))
