"""Data frames of any library, through Narwhals where scikit-learn does not read their titles by itself.

From 1.9 on it does; before, it knows those of pandas, and of frames with the interchange protocol, which polars has
left.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import sklearn
from sklearn.utils.fixes import parse_version

_READS_ALL = parse_version(sklearn.__version__) >= parse_version("1.9.0.dev0")


class _Titled:
    """Rows, and titles as the interchange protocol tells them."""

    def __init__(self, values: np.ndarray, columns: list[str]) -> None:
        self._values, self._columns, self.shape = values, columns, values.shape

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._values, dtype)

    def __dataframe__(self) -> _Titled:
        return self

    def column_names(self) -> list[str]:
        return self._columns


def titled(X: Any) -> Any:
    """X, or a stand-in for a frame whose titles scikit-learn would not see.

    Parameters
    ----------
    X : any

    Returns
    -------
    any
    """
    known = _READS_ALL or isinstance(X, (np.ndarray, list, tuple, _Titled)) or hasattr(X, "__dataframe__")
    if known or importlib.util.find_spec("narwhals") is None:
        return X
    import narwhals

    frame = narwhals.from_native(X, eager_only=True, pass_through=True)
    return _Titled(frame.to_numpy(), list(frame.columns)) if isinstance(frame, narwhals.DataFrame) else X
