"""Checks of user input, all made before any long work.

Every error names the argument, what was wrong and what would be right.  Whether X is finite is read off the
column sums that a fit needs anyway, so a clean matrix is not scanned twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._arrays import as_numbers

#: Eighth powers, which moments of order four need, still fit into float64.
LARGEST = 1e35


def check_rows(X: Any, name: str = "X") -> np.ndarray:
    """`X` as a float32 or float64 matrix with unit column stride; nothing is copied where it already is one.

    Raises
    ------
    TypeError
        Not numeric.
    ValueError
        Not two-dimensional, or empty.
    """
    X = as_numbers(X, name)
    if X.ndim != 2:
        hint = f"; use {name}.reshape(-1, 1) for a single feature" if X.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (n_rows, n_features), got {X.shape}{hint}")
    if X.shape[1] == 0 or X.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row and one feature, got shape {X.shape}")
    if X.dtype not in (np.float32, np.float64) or not X.dtype.isnative:
        X = X.astype(np.float32 if X.dtype.kind == "f" and X.dtype.itemsize <= 4 else np.float64)
    aligned = X.strides[0] % X.itemsize == 0 and X.flags.aligned
    if X.strides[0] < 0 or not aligned or (X.shape[1] > 1 and X.strides[1] != X.itemsize):
        X = np.require(X, requirements=["C", "A"])
    return X


def check_vector(v: Any, n: int, name: str) -> np.ndarray:
    """`v` as a finite contiguous float64 vector of length n.

    Raises
    ------
    TypeError, ValueError
    """
    v = np.require(flat(as_numbers(v, name), n, name), np.float64, ["C", "A"])
    check_finite(v, name)
    return v


def flat(v: np.ndarray, n: int, name: str) -> np.ndarray:
    """`v`, which may be a matrix of one row or column, as a vector of length n.

    Raises
    ------
    ValueError
    """
    if v.ndim == 2 and 1 in v.shape:
        v = v.ravel()
    if v.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {v.shape}")
    if len(v) != n:
        rows = f"X has {n} rows" if name in ("y", "sample_weight") else f"{n} are needed"
        raise ValueError(f"{name} has {len(v)} entries but {rows}")
    return v


def check_finite(a: np.ndarray, name: str, first: int = 0, titles: list[str] | None = None) -> None:
    """Raise ValueError naming the first entry that is not finite: rows counted from `first`, columns by `titles`."""
    block = max(1, (1 << 22) // max(a.shape[1] if a.ndim == 2 else 1, 1))
    for start in range(0, len(a), block):
        bad = ~np.isfinite(a[start : start + block])
        if bad.any():
            where = np.argwhere(bad)[0]
            where[0] += start
            value = a[tuple(where)]
            column = "" if a.ndim < 2 else f", column {where[1] if titles is None else repr(titles[where[1]])}"
            position = f"row {first + where[0]}{column}"
            raise ValueError(f"{name} must be finite, but {position} is {value}; drop or fill such rows")


def check_weights(w: Any, n: int) -> np.ndarray | None:
    """Sample weights, None for all equal, times the power of two that brings the largest to about 1.

    Only their ratios matter, and squares of very small or large ones would be lost.

    Raises
    ------
    TypeError, ValueError
        Wrong length, not finite, negative, or all zero.
    """
    if w is None:
        return None
    w = check_vector(w, n, "sample_weight")
    if (w < 0).any():
        at = int(np.argmax(w < 0))
        raise ValueError(f"sample_weight must not be negative, but row {at} is {w[at]:g}")
    if not w.any():
        raise ValueError("sample_weight must not be zero everywhere: no row would count")
    return np.asarray(np.ldexp(w, -int(np.frexp(w.max())[1])))


def check_varies(low: np.ndarray, high: np.ndarray, labels: bool, each: bool) -> None:
    """Raise ValueError where y is constant, or where some column of it is and `each` must vary.

    Parameters
    ----------
    low, high : ndarray (columns,)
        Least and largest entry of every column.
    labels : bool
        Whether columns are classes.
    each : bool
    """
    still = np.flatnonzero(low == high) if len(low) > 1 else np.zeros(0, int)
    if still.size and (each or still.size == len(low)):
        what = f"class {still[0]}" if labels else f"column {still[0]}"
        raise ValueError(f"y must vary, but {what} is {low[still[0]]:g} on every row")
    if low.min() == high.max():
        what = "it has one class only (every target" if labels else "every response"
        raise ValueError(f"y must vary, but {what} is {low[0]:g}{')' * labels}: there is nothing to recover")


def check_moderate(a: np.ndarray, name: str, first: int = 0) -> None:
    """Raise ValueError where powers would overflow, rows counted from `first`."""
    largest = float(np.abs(a).max(initial=0.0))
    if np.isfinite(largest) and largest > LARGEST:
        at = np.unravel_index(int(np.abs(a).argmax()), a.shape)
        where = f"row {first + at[0]}" + (f", column {at[1]}" if a.ndim == 2 else "")
        raise ValueError(
            f"{name} has entries as large as {largest:.3g} ({where}), whose powers overflow: rescale {name}, or drop "
            "such rows"
        )


def check_columns(few: np.ndarray, still: Callable[[np.ndarray, np.ndarray], np.ndarray], twice: str) -> None:
    """Raise ValueError naming constant columns, which no weight can be read from.

    Of zeros none can; of another constant one can, where the model has no other parameter for it.

    Parameters
    ----------
    few : ndarray (m, d)
        Some rows.
    still : callable
        ``still(row, columns)``: those of some columns that have the entry of a row in every row; called only where
        some columns do not vary among the few.
    twice : str
        Why a constant column stands for a parameter that the model has already; empty where it does not.
    """
    constant = np.flatnonzero((few == few[0]).all(axis=0))
    constant = still(few[0], constant) if len(constant) else constant
    if not twice:
        zeros = constant[few[0, constant] == 0]
        constant = constant if len(constant) > 1 else zeros  # two constants are one parameter twice
    if len(constant):
        shown = ", ".join(str(int(j)) for j in constant[:5]) + (", ..." if len(constant) > 5 else "")
        why = f" ({twice})" if twice else ""
        raise ValueError(
            f"X has constant columns ({shown}): their weights cannot be recovered{why}; drop these columns"
        )


def check_not_tiny(few: np.ndarray, largest_of_all: Callable[[], np.ndarray]) -> None:
    """Raise ValueError where a column is so small that powers of its weights would overflow.

    Parameters
    ----------
    few : ndarray (m, d)
        Some rows.
    largest_of_all : callable
        Returns the largest absolute entry of every column; called only where some are tiny in these few.
    """
    largest = np.abs(few).max(axis=0)
    if not ((largest > 0) & (largest < 1.0 / LARGEST)).any():
        return
    largest = largest_of_all()
    tiny = np.flatnonzero((largest > 0) & (largest < 1.0 / LARGEST))
    if len(tiny):
        at = int(tiny[0])
        raise ValueError(
            f"X has columns without an entry above {largest[at]:.3g} (column {at}), whose weights would overflow: "
            "rescale X"
        )


def check_enough_rows(n: int, parameters: int) -> None:
    """Raise ValueError with fewer rows than parameters."""
    if n < parameters:
        raise ValueError(
            f"X has {n} rows that count, which cannot determine {parameters} parameters: give at least as many "
            "rows as parameters, or a smaller n_hidden"
        )


def check_positive(value: Any, name: str, most: float = np.finfo(float).max) -> float:
    """A positive number, by default a finite one.

    Raises
    ------
    TypeError, ValueError
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < value <= most:
        raise ValueError(f"{name} must be positive{'' if most == np.inf else ' and finite'}, got {value!r}")
    return float(value)
