"""Files opened as sources: what kinds there are, and which array or columns of a file are rows, responses and weights.

A kind of file is a function of its path in the table below; it gives rows, or a group of arrays by their names.  What
is small is then read whole, so that sweeps run over memory; of the rest a few units are held (:mod:`.ahead`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._validation import check_rows
from ..models import nearest
from .ahead import FunctionRows, ReadAhead, Rows
from .array import ArraySource
from .base import Source
from .blocks import BlockSource
from .chunks import chunk_rows, is_chunked
from .flat import npy, npz
from .stored import ArrayRows, hdf5, is_stored, zarr
from .tables import ARROW, PARQUET, table

_SMALL = 64 << 20  # bytes of rows, as they are swept, up to which a file is read whole

#: Rows of a file, or arrays of a file by their names, by the end of its name.
KINDS: dict[str, Callable[[Path], Any]] = {
    ".npy": npy,
    ".npz": npz,
    ".zarr": zarr,
    ".h5": hdf5,
    ".hdf5": hdf5,
    **dict.fromkeys((*PARQUET, *ARROW), table),
}


class WrongName(ValueError):
    """There is no such array or column; `argument` of :func:`open` named it."""

    argument = ""


def open(  # noqa: A001  (sources.open, as gzip.open)
    data: str | os.PathLike[str] | Any,
    key: str | None = None,
    *,
    columns: Sequence[str] | Sequence[int] | None = None,
    target: str | int | Sequence[str] | Sequence[int] | None = None,
    weight: str | int | None = None,
    dtype: DTypeLike | None = None,
) -> Source:
    """Rows of a file, read in blocks while they are swept, and the responses that lie with them.

    Up to 64 MB of rows are read whole.  Of more, units are read ahead on threads of their own, and 64 MB of them are
    held, or two where they are larger: a million numbers of .npy files, uncompressed .npz archives and contiguous data
    sets; else the rows that share a chunk (of several chunks where these are small), a row group, or a record batch.
    Beside them a fit holds up to 32 bytes a row and response, and sub-samples of up to 64 MB.  Results have the bits of
    those on an array of the same rows and data type.

    Parameters
    ----------
    data : path, zarr.Array or h5py.Dataset
        ``.npy``; ``.npz`` (members that are compressed are read whole); ``.zarr`` (version 2 and 3); ``.h5`` and
        ``.hdf5``; ``.parquet``, ``.pq``, ``.arrow`` and ``.feather``, or a folder of these, read in the order of their
        names.
    key : str, optional
        Array of rows in an .npz archive, a Zarr group or an HDF5 file; default "X", or the only array that there is.
    columns : sequence of str or int, optional
        Columns that are features: names of a table's, numbers of an array's.  Default: all but `target` and `weight`.
    target, weight : str, int or sequence, optional
        Responses (several: the outputs) and sample weights: names or numbers of columns, or in a file of several arrays
        their keys.  Default: none, or without a `key` the array "y" where a file has one; (): none.
    dtype : float32 or float64, optional
        What rows are converted to, block by block.  Default: float32 for float16 and float32, else float64.

    Returns
    -------
    Source
        With the names of a table's columns as ``column_names``; :func:`fastrecover.fit` and whatever takes rows takes
        it in their place.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportError
        What reads it is not installed; the message names the extra.
    TypeError, ValueError
        The file is not what its name says, ends early, has no such array or column, or holds no numbers there.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "d.npz")
    >>> np.savez(path, stim=np.eye(3, dtype=np.int8), spikes=np.arange(3))
    >>> source = open(path, "stim", target="spikes")
    >>> source.shape, source.targets()[0]
    ((3, 3), array([0, 1, 2]))
    """
    found = _opened(data)
    if isinstance(found, dict):
        name = Path(data).name
        rows = found[_key(found, key, "X", name, "key")]()
        alone = "y" if key is None and "y" in found else None
        target = alone if target is None else target
        y, w = (_named(found, k, name, said) for said, k in (("target", target), ("weight", weight)))
        chosen = None if columns is None else _numbers(rows, columns, "columns")
    else:
        rows = found
        if key is not None:
            raise ValueError(f"{rows.name} is one array or table without keys, got key={key!r}: leave it out")
        ys = [] if target is None else _numbers(rows, target, "target")
        ws = [] if weight is None else _numbers(rows, weight, "weight")
        y, w = (_values(rows.only(k)) if k else None for k in (ys, ws))
        chosen = [j for j in range(rows.shape[1]) if j not in (*ys, *ws)]
        chosen = chosen if columns is None else _numbers(rows, columns, "columns")
        for said, some, others in (("columns", chosen, (*ys, *ws)), ("weight", ws, ys)):
            if set(some).intersection(others):
                raise _wrong(said, f"{rows.name}: {said} names a column of the responses or weights: name it once")
        if not chosen:
            raise ValueError(f"{rows.name} has no column left for features")
    rows = rows if chosen is None or chosen == list(range(rows.shape[1])) else rows.only(chosen)
    return _source(rows, y, w, dtype)


def from_blocks(
    function: Callable[[int, int], ArrayLike],
    n_rows: int,
    y: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Source:
    """Rows that a function makes, called ahead of the sweep on threads of its own.

    Parameters
    ----------
    function : callable
        ``function(start, stop)`` returns rows ``start .. stop - 1`` as an array (stop - start, n_features) of numbers;
        called from several threads at once, and once now, for the first row.
    n_rows : int
    y : array_like (n_rows,) or (n_rows, n_outputs), optional
        Responses, which :func:`fastrecover.fit` may also be given.
    sample_weight : array_like (n_rows,), optional
    dtype : float32 or float64, optional
        What rows are converted to; default as for :func:`open`.

    Returns
    -------
    Source

    Raises
    ------
    TypeError, ValueError
        No rows, or what the function returns are none.

    Examples
    --------
    >>> import numpy as np
    >>> source = from_blocks(lambda start, stop: np.arange(3 * start, 3 * stop).reshape(-1, 3), 1000)
    >>> source.shape, source.dtype
    ((1000, 3), dtype('float64'))
    """
    if isinstance(n_rows, bool) or not isinstance(n_rows, (int, np.integer)) or n_rows < 1:
        raise ValueError(f"n_rows must be a positive integer, got {n_rows!r}")
    if not callable(function):
        raise TypeError(f"function must be callable as function(start, stop), got {function!r}")
    first = np.asarray(function(0, 1))
    if first.ndim != 2 or len(first) != 1 or not first.shape[1]:
        raise ValueError(f"function(0, 1) must return an array of shape (1, n_features), got shape {first.shape}")
    rows = FunctionRows(function, (int(n_rows), first.shape[1]), first.dtype)
    own_y, own_w = (None if a is None else np.asarray(a) for a in (y, sample_weight))
    return _source(rows, own_y, own_w, dtype, read_whole=False)


def is_source(data: Any) -> bool:
    """Whether something is a source already."""
    return all(hasattr(data, name) for name in ("read", "targets", "grouped"))


def is_path(data: Any) -> bool:
    """Whether something names a file."""
    return isinstance(data, (str, os.PathLike))


def opened(data: Any) -> Any:
    """A file, or an array on a disk, as a source; anything else as it is."""
    return open(data) if is_path(data) or is_stored(data) else data


def of_chunks(X: Any) -> Source:
    """Rows of a collection of Dask, chunk by chunk in this process."""
    return _source(chunk_rows(X), None, None, None)


def as_source(X: Any) -> Source:
    """Whatever rows are given as, as a source: files, arrays, sources themselves.

    Raises
    ------
    OSError, TypeError, ValueError
        It cannot be read, or is no matrix of numbers.
    """
    X = of_chunks(X) if is_chunked(X) else opened(X)
    return X if is_source(X) else ArraySource(check_rows(X))


def as_values(y: Any, key: str | None = None, default: str = "y") -> Any:
    """Responses, labels or weights as an array where they are in a file or a source, else as they are.

    Parameters
    ----------
    y : any
    key, default : str
        Of a file of several arrays the one that is meant, and the one that is taken without a key.

    Raises
    ------
    OSError, ValueError
    """
    if is_source(y):
        x = y.read(0, y.shape[0]).x
        return x.reshape(y.shape[0], -1)
    if is_chunked(y):
        return y.compute()
    if not (is_path(y) or is_stored(y)):
        return y
    found = _opened(y)
    return _values(found[_key(found, key, default, Path(y).name, "key")]() if isinstance(found, dict) else found)


def _opened(data: Any) -> Any:
    """Rows, or a group of arrays."""
    if is_stored(data):
        return ArrayRows(data, getattr(data, "name", None) or type(data).__name__)
    if not is_path(data):
        raise TypeError(f"data must be a path, a zarr.Array or a h5py.Dataset, got {type(data).__name__}")
    path = Path(data)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    kind = path.suffix.lower()
    if kind not in KINDS and path.is_dir():
        kind = ".zarr" if any((path / name).exists() for name in (".zarray", ".zgroup", "zarr.json")) else PARQUET[0]
    if kind == ".csv":
        raise ValueError(f"{path.name}: .csv files are read on the command line; here give a data frame of its columns")
    if kind not in KINDS:
        raise ValueError(f"cannot tell what {path.name} is: its name must end in {', '.join(KINDS)}")
    if path.is_dir() and kind not in (".zarr", *PARQUET, *ARROW):
        raise ValueError(f"{path} is a folder, not a file")
    return KINDS[kind](path)


def _key(found: dict[str, Any], key: Any, default: str, name: str, argument: str) -> str:
    """The array that is meant; without a key the default, or the only one there is."""
    if key is None and (default in found or len(found) == 1):
        return default if default in found else next(iter(found))
    wanted = default if key is None else key
    if wanted not in found:
        hint = f"; name one with {argument}=" if key is None else ""
        known = tuple(found)
        held = f"it has: {', '.join(known) or 'nothing'}"
        raise _wrong(argument, f"{name} has no array {wanted!r}{nearest(str(wanted), known)} ({held}){hint}")
    return str(wanted)


def _named(found: dict[str, Any], keys: Any, name: str, argument: str) -> np.ndarray | None:
    """The array of a key, those of several side by side, or none."""
    if keys is None or (isinstance(keys, (tuple, list)) and not keys):
        return None
    several = [keys] if isinstance(keys, str) else keys
    if not isinstance(several, (tuple, list)) or not all(isinstance(key, str) for key in several):
        raise _wrong(argument, f"arrays of {name} are named by their keys ({', '.join(found)}), got {keys!r}")
    values = [_values(found[_key(found, key, "", name, argument)]()) for key in several]
    return values[0] if isinstance(keys, str) else np.column_stack(values)


def _numbers(rows: Rows, columns: Any, argument: str) -> list[int]:
    """Numbers of columns that are named by title or by number."""
    found: list[int] = []
    titles, d = rows.titles, rows.shape[1]
    held = f"it has: {', '.join((titles or [])[:20])}{', ...' if d > 20 else ''}" if titles else f"it has: 0 to {d - 1}"
    for column in [columns] if isinstance(columns, (str, int, np.integer)) else columns:
        if titles is not None and column in titles:
            found.append(titles.index(str(column)))
            continue
        number = int(column) if isinstance(column, str) and re.fullmatch(r"-?\d+", column) else column
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not -d <= number < d:
            near = nearest(str(column), tuple(titles or ()))
            raise _wrong(argument, f"{rows.name} has no column {column!r}{near} ({held})")
        found.append(int(number) % d)
    if len(set(found)) < len(found):
        raise _wrong(argument, f"{rows.name}: columns are named twice in {columns!r}")
    return found


def _wrong(argument: str, text: str) -> WrongName:
    error = WrongName(text)
    error.argument = argument
    return error


def _values(rows: Rows) -> np.ndarray:
    """All rows in memory, of a single column as a vector; text of any kind as text."""
    values = np.concatenate([rows.read(int(a), int(b)) for a, b in zip(rows.edges[:-1], rows.edges[1:], strict=True)])
    if values.dtype == object:
        values = np.array([v.decode() if isinstance(v, bytes) else v for v in values.ravel()]).reshape(values.shape)
    return values[:, 0] if values.shape[1] == 1 else values


def _source(
    rows: Rows, y: np.ndarray | None, w: np.ndarray | None, dtype: DTypeLike | None, read_whole: bool = True
) -> Source:
    kind = rows.dtype.kind
    if kind not in "fiub":
        why = getattr(rows, "said_of_type", lambda: f"got dtype {rows.dtype}")()
        raise TypeError(f"{rows.name} must hold real numbers: {why}")
    n, d = rows.shape
    own = np.float32 if kind == "f" and rows.dtype.itemsize <= 4 else np.float64
    try:
        wanted = np.dtype(own if dtype is None else dtype)
    except TypeError:
        wanted = np.dtype(object)
    if wanted not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    for name, values in (("responses", y), ("weights", w)):
        if values is not None and (not values.ndim or len(values) != n):
            raise ValueError(
                f"{rows.name} has {n} rows, and the {name} have shape {values.shape}: one for each is needed"
            )
    if w is not None:
        if w.ndim != 1 or w.dtype.kind not in "fiub":
            raise ValueError(f"{rows.name}: weights must be one number for each row, got shape {w.shape}, {w.dtype}")
        w = np.ascontiguousarray(w, np.float64)
    source = BlockSource(ReadAhead(rows), n, d, y, w, wanted, name=rows.name, column_names=rows.titles)
    return source.copied() if read_whole and n * d * wanted.itemsize <= _SMALL else source
