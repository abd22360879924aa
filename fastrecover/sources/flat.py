"""Rows of .npy files, and of arrays in .npz archives, read by their place in the file.

They are read rather than mapped: pages of a map count as memory of the process and fault in the midst of sums, and a
file that somebody shortens ends the process where a read says in which row it ends.
"""

from __future__ import annotations

import math
import os
import weakref
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from .ahead import Rows, even_edges
from .stored import ArrayRows

_CHECKED = 64 << 20  # bytes up to which an array of an archive is read whole, and its checksum compared

#: Arrays by their names, each opened when it is asked for.
Group: TypeAlias = dict[str, Callable[[], Rows]]


class FlatRows:
    """Rows that lie one after the other, or column after column, in a file.

    Parameters
    ----------
    path : Path
    name : str
    place : tuple of int
        Byte of the file at which they begin, and that at which they must have ended.
    shape : tuple of int
        (n,) for a single column.
    by_columns : bool
        Whether a column is contiguous rather than a row.
    dtype : dtype
    columns : sequence of int, optional
        Those that are given, all if None.
    """

    titles = None

    def __init__(
        self,
        path: Path,
        name: str,
        place: tuple[int, int],
        shape: tuple[int, ...],
        by_columns: bool,
        dtype: np.dtype,
        columns: Sequence[int] | None = None,
    ) -> None:
        self._given = (path, name, place, shape, by_columns, dtype)
        self.name, self.dtype, self._begin, self._columns = name, dtype, place[0], columns
        n, self._width = shape[0], shape[1] if len(shape) == 2 else 1
        self.shape = (n, self._width if columns is None else len(columns))
        self.direct = not by_columns or self._width == 1
        self.edges = even_edges(n, self._width)
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._file)
        missing = place[0] + n * self._width * dtype.itemsize - min(place[1], os.fstat(self._file).st_size)
        if missing > 0:
            whole = n - -(-missing // (self._width * dtype.itemsize))
            raise ValueError(f"{name} ends early: its head says {n} rows, and {_said_whole(whole, self.direct)}")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start .. stop - 1``."""
        m, n, size = stop - start, self.shape[0], self.dtype.itemsize
        if self.direct:
            x = np.empty((m, self._width), self.dtype)
            self._fill(x, self._begin + start * self._width * size, start)
            return x if self._columns is None else x[:, self._columns]
        columns = range(self._width) if self._columns is None else self._columns
        x = np.empty((len(columns), m), self.dtype)
        for place, j in zip(x, columns, strict=True):
            self._fill(place, self._begin + (j * n + start) * size, start)
        return x.T

    def _fill(self, x: np.ndarray, at: int, start: int) -> None:
        """Read into an array the bytes from `at` on."""
        view, got = x.reshape(-1).view(np.uint8).data.cast("B"), 0
        while got < x.nbytes:
            some = os.preadv(self._file, [view[got:]], at + got)
            if some == 0:
                row = start + got // (x.nbytes // len(x))
                raise ValueError(f"{self.name} ends early: it has become shorter, and ends in row {row}")
            got += some

    def only(self, columns: Sequence[int]) -> FlatRows:
        """The same rows with some of their columns."""
        return FlatRows(*self._given, [(self._columns or range(self._width))[j] for j in columns])


def _said_whole(rows: int, direct: bool) -> str:
    return f"only {max(rows, 0)} are there" if direct else "its columns do not all fit"


def npy(path: Path) -> Rows:
    """Rows of a .npy file."""
    with open(path, "rb") as file:
        shape, by_columns, dtype = _head(file, path.name)
        return FlatRows(path, path.name, (file.tell(), os.fstat(file.fileno()).st_size), shape, by_columns, dtype)


def npz(path: Path) -> Group:
    """Arrays of a .npz archive; one that is packed is read whole when it is asked for."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        except Exception as error:  # bytes from anywhere may raise anything in what reads them
            raise ValueError(unreadable(path.name, ".npz file", error)) from None
    return {info.filename[:-4]: lambda info=info: _member(path, info) for info in infos}  # type: ignore[misc]


def _member(path: Path, info: zipfile.ZipInfo) -> Rows:
    key = info.filename[:-4]
    name = f"{key!r} in {path.name}"
    whole = info.compress_type != zipfile.ZIP_STORED or info.file_size <= _CHECKED
    try:
        if info.flag_bits & 1:
            raise ValueError("it is encrypted")
        if whole:
            with np.load(path, allow_pickle=False) as archive:
                packed = archive[key]
    except OSError:
        raise
    except Exception as error:
        raise ValueError(unreadable(name, "array", error)) from None
    if whole:
        return ArrayRows(packed, name)
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)
        lengths = [int.from_bytes(file.read(2), "little") for _ in range(2)]
        file.seek(sum(lengths), os.SEEK_CUR)
        end = file.tell() + info.file_size
        shape, by_columns, dtype = _head(file, name)
        return FlatRows(path, name, (file.tell(), end), shape, by_columns, dtype)


def _head(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns are contiguous, and data type of the array that begins here."""
    read: dict[tuple[int, int], Callable[[Any], Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
        (3, 0): np.lib.format.read_array_header_2_0,  # in UTF-8, which only names of fields need
    }
    try:
        shape, by_columns, dtype = read[np.lib.format.read_magic(file)](file)
    except Exception as error:
        raise ValueError(unreadable(name, ".npy file", error)) from None
    if dtype.hasobject:
        raise ValueError(unreadable(name, ".npy file", ValueError("Python objects")))
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(f"{name} must have shape (n_rows, n_features), got {shape}")
    return shape, by_columns and math.prod(shape) > max(shape), dtype


def unreadable(name: str, kind: str, error: Exception) -> str:
    """What is said of a file that is not what its name says."""
    text = str(error)
    if "bject arrays" in text or "Python objects" in text:
        return f"{name} holds Python objects: save it as an array of numbers or strings"
    # NumPy takes whatever it does not know for a pickle, which no reader should be told to trust.
    return f"{name} is not a readable {kind}" + ("" if "pickle" in text else f": {text or type(error).__name__}")
