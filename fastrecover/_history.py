"""The history of a fit: its columns, as a fit records them and a recovery holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Name of each column and the NumPy type that holds it.
COLUMNS = {"stage": "U", "pass": "d", "loss": "d", "grad_norm": "d", "rows": "q", "seconds": "d"}


def as_arrays(history: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns as arrays of their types.

    Raises
    ------
    ValueError
        A column is missing, or their lengths differ.
    """
    missing = [name for name in COLUMNS if name not in history]
    if missing:
        raise ValueError(f"history lacks the columns {missing}")
    columns = {name: np.array(history[name], dtype).reshape(-1) for name, dtype in COLUMNS.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("history: all columns must have the same length")
    return columns
