"""Looks at all rows of a source, for checks that something suspicious has asked for."""

from __future__ import annotations

import numpy as np

from .._validation import check_finite, check_moderate
from ..sources import Source, read_all


def still_columns(rows: Source, first: int, row: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Those of some columns that have the entry of `row` in every row.

    Parameters
    ----------
    rows : Source
    first : int
        Number of the first of them.
    row : ndarray (d,)
    columns : ndarray of int

    Returns
    -------
    ndarray of int
    """
    for _, x in read_all(rows) if len(columns) else ():
        columns = columns[[bool((x[:, j] == row[j]).all()) for j in columns]]
    return columns


def largest_entries(rows: Source, first: int = 0) -> np.ndarray:
    """Largest absolute entry of every column, (d,)."""
    largest = np.zeros(rows.shape[1])
    for _, x in read_all(rows):
        largest = np.maximum(largest, np.abs(x).max(axis=0, initial=0.0))
    return largest


def check_all(rows: Source, first: int = 0) -> None:
    """Raise ValueError naming an entry that is not finite or too large, rows counted from `first`."""
    name, titles = getattr(rows, "name", "X"), getattr(rows, "column_names", None)
    for start, x in read_all(rows):
        check_finite(x, name, first + start, titles)
        check_moderate(x, name, first + start)
