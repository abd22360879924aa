"""Outputs of a network with given parameters on rows that a user hands in.

Rows that the kernels can read are swept where they lie; anything else is converted a slice at a time, so that
predicting for integers, column-major arrays or foreign byte orders never holds a second copy of the data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import as_numbers
from ._validation import check_rows
from .losses import SQUARED
from .models import Network, Parameters
from .sources import ArraySource, Source, is_source, opened, read_all

_NUMBERS_AT_ONCE = 1 << 22


def is_sweepable(x: np.ndarray) -> bool:
    """Whether the kernels can read the rows of a two-dimensional `x` where they lie."""
    fits = x.dtype in (np.float32, np.float64) and x.dtype.isnative and x.flags.aligned
    spaced = x.strides[0] >= 0 and x.strides[0] % x.itemsize == 0
    return bool(fits and spaced and (x.shape[1] == 1 or x.strides[1] == x.itemsize))


def predict(model: Network, parameters: Parameters, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray:
    """``f(x) = sum_j v_j phi(w_j . x + a_j) + b . x + c`` for every row, of every output.

    Parameters
    ----------
    model : Network
        Only its activation and number of units matter.
    parameters : Parameters
    X : array_like (n, n_features), path or Source
        float32 and float64 rows are read in place.
    n_jobs : int, optional
        Threads, None for all processors.

    Returns
    -------
    ndarray (n,) or (n, n_outputs) of float64

    Raises
    ------
    TypeError
        `X` is not a dense array of real numbers.
    ValueError
        `X` is not two-dimensional, has the wrong number of columns, or has masked or missing entries.
    """
    given, d = opened(X), parameters.weights.shape[1] * model.n_patches
    x = given if is_source(given) else as_numbers(given, "X")
    if len(x.shape) != 2 or x.shape[1] != d:
        raise ValueError(f"X must have shape (n, {d}), one column for each feature, got {x.shape}")
    # Everything free: also output weights of zero are then numbers like any other.
    m = parameters.n_outputs
    model = model.changed(
        output_weights="free",
        fit_intercept=True,
        linear_term=parameters.linear is not None,
        hidden_bias=parameters.biases is not None,
        loss=SQUARED,
        penalty=None,
    )
    if not isinstance(x, np.ndarray):
        return _swept(model, parameters, x.grouped(model.n_patches), n_jobs)
    step = len(x) if is_sweepable(x) else _NUMBERS_AT_ONCE // d
    out = np.empty((len(x), m) if m > 1 else len(x))
    for start in range(0, len(x), max(step, 1)):
        rows = slice(start, start + max(step, 1))
        out[rows] = _swept(model, parameters, ArraySource(check_rows(x[rows]), group=model.n_patches), n_jobs)
    return out


def hidden(model: Network, parameters: Parameters, X: ArrayLike) -> np.ndarray:
    """``phi(w_j . x + a_j)`` for every row, of every unit, or of every patch of the one filter.

    Parameters
    ----------
    model : Network
    parameters : Parameters
    X : array_like (n, n_features), path or Source

    Returns
    -------
    ndarray (n, n_hidden) or (n, n_patches) of float64

    Raises
    ------
    TypeError, ValueError
        As :func:`predict`.
    """
    given = opened(X)
    if is_source(given):
        return np.concatenate([hidden(model, parameters, rows) for _, rows in read_all(given)])
    x, (k, d), patches = as_numbers(given, "X"), parameters.weights.shape, model.n_patches
    if x.ndim != 2 or x.shape[1] != d * patches:
        raise ValueError(f"X must have shape (n, {d * patches}), one column for each feature, got {x.shape}")
    z = x.reshape(len(x) * patches, d) @ parameters.weights.T
    z = z if parameters.biases is None else z + parameters.biases
    return np.asarray(model.activation.value(z)).reshape(len(x), k * patches)


def _swept(model: Network, parameters: Parameters, rows: Source, n_jobs: int | None) -> np.ndarray:
    from .engines import engine_on
    from .sweeps import Objective

    return Objective(engine_on(rows, n_jobs), model).predict(model.pack(parameters))
