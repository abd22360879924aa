"""Arrays as users have them, read in one place: lists, matrices, masked arrays, sparse rows, data frames.

Frames are known by what they can do, so that no frame library is needed here.  What would be read wrongly, such as
masked or missing entries, is refused with its place.
"""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np

_NUMBERS = "fiub"
_LOOKED_AT = 10_000  # objects among which one that is no number is looked for


def as_array(a: Any, name: str) -> np.ndarray:
    """`a` as a plain array of whatever type its entries have; nothing is copied where it already is one.

    Raises
    ------
    TypeError
        Sparse rows, columns of a frame that are no numbers, or no array at all.
    ValueError
        Masked or missing entries, or rows of different lengths.
    """
    masked = _first_masked(a)
    if masked is not None:
        raise ValueError(f"{name} has masked entries, the first in {_place(masked)}: drop or fill such rows")
    if hasattr(a, "toarray") and not hasattr(a, "__array__"):
        raise TypeError(f"{name} is sparse, and dense rows are needed: give {name}.toarray()")
    if hasattr(a, "iloc") and hasattr(a, "columns"):
        return _frame(a, name)
    if hasattr(a, "isna") and hasattr(a, "dtype"):
        return _column(a, name)
    try:
        found = np.asarray(a)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array of numbers: {error}") from None
    except (TypeError, RuntimeError) as error:  # tensors that live elsewhere, or that gradients are taken of
        raise TypeError(f"{name} cannot be read as an array: {error}") from None
    # Arrays out of .mat files name the byte order of this machine, which is the same type, but no kernel knows it.
    named = found.dtype.isnative and found.dtype.byteorder in "<>"
    return found.view(found.dtype.newbyteorder("=")) if named else found


def as_numbers(a: Any, name: str) -> np.ndarray:
    """`a` as a plain array of real numbers of whatever type, see :func:`as_array`.

    Raises
    ------
    TypeError, ValueError
    """
    a = as_array(a, name)
    if a.dtype.kind == "O":
        raise TypeError(f"{name} has dtype object{_odd_entry(a, name)}")
    if a.dtype.kind not in _NUMBERS:
        raise TypeError(f"{name} must be real numbers, got dtype {a.dtype}")
    return a


def first_missing(values: np.ndarray) -> int | None:
    """Index of the first entry of an array of objects that stands for no value: None, nan, NA or NaT."""
    for i, value in enumerate(values):
        nan = isinstance(value, (float, np.floating)) and np.isnan(value)
        if value is None or nan or type(value).__name__ in ("NAType", "NaTType"):
            return i
    return None


def missing(name: str, place: str) -> ValueError:
    """The error for a missing value at `place`."""
    return ValueError(f"{name} has missing values, the first in {place}: drop or fill such rows")


def feature_names(X: Any) -> list[str] | None:
    """Titles of the columns of a data frame or an Arrow table, None for rows without titles."""
    framed = hasattr(X, "to_numpy") or hasattr(X, "to_dask_array")
    names = getattr(X, "columns", None) if framed else getattr(X, "column_names", None)
    return None if names is None else [str(name) for name in names]


def check_feature_names(X: Any, known: list[str] | None) -> None:
    """Raise ValueError where both X and the fit had titles, and other ones, or in another order."""
    given = feature_names(X)
    if given is None or known is None or given == known:
        return
    if sorted(given) == sorted(known):
        at = next(j for j, (new, old) in enumerate(zip(given, known, strict=True)) if new != old)
        raise ValueError(
            f"X has its columns in another order than the fit had: column {at} is {given[at]!r} and was "
            f"{known[at]!r}; give X[recovery.feature_names]"
        )
    parts = [
        f"{what} {', '.join(map(repr, names[:3]))}{', ...' if len(names) > 3 else ''}"
        for what, names in (
            ("it lacks", [name for name in known if name not in given]),
            ("the fit did not have", [name for name in given if name not in known]),
        )
        if names
    ]
    raise ValueError(f"X has other columns than the fit had: {'; '.join(parts) or 'some are there more than once'}")


def _frame(frame: Any, name: str) -> np.ndarray:
    """Column by column where a frame holds more than plain numbers, which it would make objects of."""
    if all(isinstance(each, np.dtype) and each.kind in "fiu" for each in frame.dtypes) and frame.shape[1]:
        return np.asarray(frame)
    columns = [_column(frame.iloc[:, j], name, title) for j, title in enumerate(frame.columns)]
    if len(columns) == 1:
        return columns[0][:, None]
    for title, kind, column in zip(frame.columns, frame.dtypes, columns, strict=True):
        if column.dtype.kind not in _NUMBERS:
            raise TypeError(f"{name} must be real numbers, but column {title!r} has dtype {kind}: convert or drop it")
    out = np.empty(frame.shape, np.result_type(*columns) if columns else float)
    for j, column in enumerate(columns):
        out[:, j] = column
    return out


def _column(column: Any, name: str, title: Any = None) -> np.ndarray:
    if isinstance(column.dtype, np.dtype):
        return np.asarray(column)
    gaps = np.asarray(column.isna())
    if gaps.any():
        raise missing(name, ("" if title is None else f"column {title!r}, ") + f"row {int(np.argmax(gaps))}")
    plain = getattr(column.dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in _NUMBERS:
        return column.to_numpy(dtype=plain)
    return np.asarray(column)


def _first_masked(a: Any) -> tuple[int, ...] | None:
    if isinstance(a, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(a)
        return tuple(np.argwhere(mask)[0].tolist()) if mask.dtype == bool and mask.any() else None
    if isinstance(a, (list, tuple)):
        for i, part in enumerate(a):
            within = _first_masked(part)
            if within is not None:
                return i, *within
    return None


def _place(index: tuple[Any, ...]) -> str:
    return ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column", "layer"), index, strict=False)) or "itself"


def _odd_entry(a: np.ndarray, name: str) -> str:
    """What is wrong with an array of objects, and what would be right."""
    for i, value in enumerate(a.flat[:_LOOKED_AT]):
        if not isinstance(value, (Number, np.bool_)):
            return f", and {_place(np.unravel_index(i, a.shape))} is {value!r}: give real numbers"
    return f": convert it to real numbers first, e.g. np.asarray({name}, dtype=float)"
