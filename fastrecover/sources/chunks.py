"""Arrays and frames of Dask: their chunks as tasks, and as rows that this process reads where there is no cluster.

Chunks are computed one by one, by whoever reads ahead, and forgotten; a pass computes them anew unless the user has
persisted them.  No graph is made per pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


def is_chunked(data: Any) -> bool:
    """Whether something is a collection of Dask."""
    return hasattr(data, "__dask_graph__") and data.__dask_graph__() is not None


@dataclass(frozen=True, eq=False)
class Chunks:
    """Chunks of rows, and those of the responses and weights that go with them.

    Attributes
    ----------
    rows, y, weight : list of Delayed, or None
    futures : list of Future
        Of the chunks of rows, where they are at workers already.
    titles : list of str or None
    lengths : ndarray of float
        Rows of every chunk; nan where only its computation will tell.
    shape : tuple
        Of all rows.
    dtype : dtype
    """

    rows: list[Any]
    y: list[Any] | None
    weight: list[Any] | None
    futures: list[Any]
    titles: list[str] | None
    lengths: np.ndarray
    shape: tuple[Any, Any]
    dtype: np.dtype


def as_chunks(X: Any, y: Any = None, sample_weight: Any = None) -> Chunks:
    """The chunks of rows, responses and weights, cut alike.

    Parameters
    ----------
    X : dask.array.Array (n, d) or dask.dataframe.DataFrame
    y, sample_weight : collections of Dask, array_like, or None

    Raises
    ------
    TypeError, ValueError
        Not two-dimensional, or chunks that do not fit together.
    """
    titles = [str(name) for name in X.columns] if hasattr(X, "columns") else None
    rows = _array(X, "X")
    if rows.ndim != 2:
        hint = "; use X.reshape(-1, 1) for a single feature" if rows.ndim == 1 else ""
        raise ValueError(f"X must have shape (n_rows, n_features), got {rows.shape}{hint}")
    if rows.shape[1] == 0 or rows.shape[0] == 0:
        raise ValueError(f"X must have at least one row and one feature, got shape {rows.shape}")
    rows = rows.rechunk({1: -1}) if rows.numblocks[1] > 1 else rows
    more = [_cut_alike(values, rows, name) for values, name in ((y, "y"), (sample_weight, "sample_weight"))]
    tasks = [None if each is None else each.to_delayed().ravel().tolist() for each in (rows, *more)]
    lengths = np.array(rows.chunks[0], float)
    return Chunks(tasks[0] or [], tasks[1], tasks[2], _futures(rows), titles, lengths, rows.shape, rows.dtype)


def _futures(rows: Any) -> list[Any]:
    """Futures that the chunks of an array are, after ``persist``; none where some are still to be made."""
    graph, keys = rows.__dask_graph__(), [key for row in rows.__dask_keys__() for key in row]
    found = [graph[key] for key in keys]
    return found if all(hasattr(each, "client") and hasattr(each, "key") for each in found) else []


def _array(data: Any, name: str) -> Any:
    if hasattr(data, "to_dask_array"):
        return data.to_dask_array()
    if hasattr(data, "to_delayed") and hasattr(data, "chunks"):
        return data
    raise TypeError(f"{name} must be an array or a frame of Dask, got {type(data).__name__}")


def _cut_alike(values: Any, rows: Any, name: str) -> Any:
    """Responses or weights in chunks of as many entries as those of the rows."""
    if values is None:
        return None
    if not is_chunked(values):
        import dask.array

        if np.isnan(rows.chunks[0]).any():
            raise ValueError(
                f"{name} must be of Dask too where the lengths of X's chunks are unknown (or call "
                "X.compute_chunk_sizes() first)"
            )
        values = np.asarray(values)
        if not values.ndim:
            raise ValueError(f"{name} must have an entry for each of the {rows.shape[0]} rows of X, got a single value")
        if len(values) != rows.shape[0]:
            raise ValueError(f"{name} has {len(values)} entries but X has {rows.shape[0]} rows")
        return dask.array.from_array(values, chunks=(rows.chunks[0], *((each,) for each in values.shape[1:])))
    values = _array(values, name)
    if values.ndim == 2 and values.numblocks[1] > 1:
        values = values.rechunk({1: -1})
    known = not (np.isnan(rows.chunks[0]).any() or np.isnan(values.chunks[0]).any())
    if known and values.shape[0] != rows.shape[0]:
        raise ValueError(f"{name} has {values.shape[0]} entries but X has {rows.shape[0]} rows")
    if known and values.chunks[0] != rows.chunks[0]:
        return values.rechunk({0: rows.chunks[0]})
    if values.numblocks[0] != rows.numblocks[0]:
        raise ValueError(
            f"{name} has {values.numblocks[0]} chunks and X {rows.numblocks[0]}, and their lengths are unknown: call "
            "compute_chunk_sizes() on both first"
        )
    return values


class ChunkRows:
    """Rows of chunks that this process computes, as they are read ahead.

    Parameters
    ----------
    chunks : Chunks
        Of known lengths.
    columns : sequence of int, optional
    """

    name, direct = "X", False

    def __init__(self, chunks: Chunks, columns: Sequence[int] | None = None) -> None:
        self._chunks, self._columns = chunks, columns
        self.titles = chunks.titles if columns is None or chunks.titles is None else [chunks.titles[j] for j in columns]
        self.shape = int(chunks.lengths.sum()), chunks.shape[1] if columns is None else len(columns)
        self.dtype = chunks.dtype
        # An empty chunk is no unit.
        self._numbers = np.flatnonzero(chunks.lengths)
        self.edges = np.append(0, np.cumsum(chunks.lengths[self._numbers])).astype(int)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start .. stop - 1``, which are some chunks."""
        first, last = np.searchsorted(self.edges, [start, stop])
        found = []
        for unit in range(int(first), int(last)):
            # One thread each: those that read ahead are enough.
            x = np.asarray(self._chunks.rows[self._numbers[unit]].compute(scheduler="synchronous"))
            wanted = int(self.edges[unit + 1] - self.edges[unit])
            if len(x) != wanted:
                raise ValueError(f"chunk {self._numbers[unit]} of X should have {wanted} rows and has {len(x)}")
            found.append(x if self._columns is None else x[:, list(self._columns)])
        return found[0] if len(found) == 1 else np.concatenate(found)

    def only(self, columns: Sequence[int]) -> ChunkRows:
        """The same rows with some of their columns."""
        return ChunkRows(self._chunks, columns)


def chunk_rows(X: Any) -> ChunkRows:
    """Rows of a collection of Dask; chunks of unknown length are computed once to see how long they are."""
    array = _array(X, "X")
    if np.isnan(np.array(array.chunks[0], float)).any():
        array = array.compute_chunk_sizes()
    rows = as_chunks(array)
    if hasattr(X, "columns"):
        rows = replace(rows, titles=[str(name) for name in X.columns])
    return ChunkRows(rows)
