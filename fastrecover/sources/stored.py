"""Rows of arrays that other libraries keep: Zarr arrays and groups, HDF5 data sets; and of plain arrays.

All of them are sliced like arrays and say which rows are packed together, so one class reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .ahead import Rows, even_edges


class ArrayRows:
    """Rows of something that is sliced like an array.

    Parameters
    ----------
    array : zarr.Array, h5py.Dataset or ndarray
    name : str
    columns : sequence of int, optional
        Those that are given, all if None.
    """

    titles = None

    def __init__(self, array: Any, name: str, columns: Sequence[int] | None = None) -> None:
        if len(array.shape) not in (1, 2) or 0 in array.shape:
            raise ValueError(f"{name} must have shape (n_rows, n_features), got {tuple(array.shape)}")
        self.array, self.name, self._columns = array, name, columns
        n, width = array.shape[0], array.shape[1] if len(array.shape) == 2 else 1
        self.shape = (n, width if columns is None else len(columns))
        # Text of any length has a type of its own in each library, and a plain one once it is read.
        self.dtype = array.dtype if isinstance(array.dtype, np.dtype) else np.dtype(object)
        packed = getattr(array, "shards", None) or getattr(array, "chunks", None)
        self.direct = packed is None
        self.edges = even_edges(n, width, packed[0] if packed else 1)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start .. stop - 1``."""
        try:
            x = np.asarray(self.array[start:stop])
        except Exception as error:  # of whichever library and codec
            said = str(error) or type(error).__name__
            raise ValueError(f"{self.name}: rows {start} to {stop - 1} cannot be read: {said}") from error
        x = x.reshape(len(x), -1)
        if len(x) != stop - start:
            raise ValueError(f"{self.name} ends early: rows {start + len(x)} to {stop - 1} are not there")
        return x if self._columns is None else x[:, self._columns]

    def only(self, columns: Sequence[int]) -> ArrayRows:
        """The same rows with some of their columns."""
        return ArrayRows(self.array, self.name, [(self._columns or range(self.shape[1]))[j] for j in columns])


def is_stored(data: Any) -> bool:
    """Whether something is an array that is kept in chunks on a disk, of a library that need not be there."""
    return type(data).__module__.partition(".")[0] in ("zarr", "h5py") and hasattr(data, "shape")


def zarr(path: Path) -> Rows | dict[str, Any]:
    """The array, or the group of arrays, of a Zarr store."""
    zarr = wanted("zarr", path)
    try:
        node = zarr.open(str(path), mode="r")
    except Exception as error:
        raise ValueError(f"{path.name} is not a readable Zarr store: {error or type(error).__name__}") from None
    if hasattr(node, "shape"):
        return ArrayRows(node, path.name)
    return {key: lambda key=key: ArrayRows(node[key], f"{key!r} in {path.name}") for key in sorted(node.array_keys())}


def hdf5(path: Path) -> dict[str, Any]:
    """The data sets of an HDF5 file, also those in groups, by their paths in it."""
    h5py = wanted("h5py", path, "hdf5")
    try:
        file = h5py.File(path, "r")
    except Exception as error:
        raise ValueError(f"{path.name} is not a readable HDF5 file: {error or type(error).__name__}") from None
    found: dict[str, Any] = {}

    def see(key: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            array = node.asstr() if h5py.check_string_dtype(node.dtype) else node
            found[key] = lambda: ArrayRows(array, f"{key!r} in {path.name}")

    file.visititems(see)
    return found


def wanted(module: str, path: Path, extra: str | None = None) -> Any:
    """A module that reads a kind of file; ImportError says how to get it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        extra = extra or module
        raise ImportError(
            f"{path.name} is read by {module}, which is not installed: pip install 'fastrecover[{extra}]'"
        ) from error
