"""Rows of tables in Parquet and Arrow files: columns by name, a row group or a record batch at a time.

Of a folder all files are read, in the order of their names, as one table; nothing but the wanted columns is unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from .stored import wanted

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather")


@dataclass(frozen=True)
class _Part:
    """Rows that are read together: number `group` of a file."""

    file: str
    n_rows: int
    read: Callable[[Sequence[str]], Any]


@dataclass(frozen=True, eq=False)
class TableRows:
    """Rows of a table.

    Attributes
    ----------
    name : str
    parts : list of _Part
    types : dict
        Arrow type of every column.
    titles : list of str
        Columns that are given.
    """

    name: str
    parts: list[_Part] = field(repr=False)
    types: dict[str, Any] = field(repr=False)
    titles: list[str]

    direct = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.edges[-1]), len(self.titles)

    @cached_property
    def edges(self) -> np.ndarray:
        """Number of the first row of every part, and the number of rows."""
        return np.array([0, *accumulate(part.n_rows for part in self.parts)])

    @cached_property
    def dtype(self) -> np.dtype:
        """What all columns fit into; object where some are no numbers."""
        import pyarrow as pa

        kinds = [self.types[title] for title in self.titles]
        plain = all(pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_boolean(t) for t in kinds)
        return np.result_type(*(t.to_pandas_dtype() for t in kinds)) if plain and kinds else np.dtype(object)

    def said_of_type(self) -> str:
        """Which column is no number, for an error."""
        import pyarrow as pa

        for title in self.titles:
            t = self.types[title]
            if not (pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_boolean(t)):
                return f"column {title!r} has type {t}: name the columns that are numbers with columns="
        return "there are no columns"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows of the parts from `start` to `stop`."""
        first, last = np.searchsorted(self.edges, [start, stop])
        out = np.empty((stop - start, len(self.titles)), self.dtype)
        for number in range(first, last):
            part, at = self.parts[number], int(self.edges[number])
            try:
                table = part.read(self.titles)
            except Exception as error:  # a damaged file may raise anything
                said = str(error) or type(error).__name__
                rows = f"rows {at} to {self.edges[number + 1] - 1}"
                raise ValueError(f"{part.file}: {rows} cannot be read: {said}") from error
            for j, title in enumerate(self.titles):
                column = table.column(title)
                if column.null_count:
                    row = at + int(np.argmax(np.asarray(column.is_null())))
                    place = f"column {title!r}, row {row}"
                    raise ValueError(f"{part.file} has missing values, the first in {place}: drop or fill such rows")
                kind = self.types[title]
                plain = column.cast(kind.value_type) if hasattr(kind, "index_type") else column
                out[at - start : at - start + part.n_rows, j] = plain.to_numpy()
        return out

    def only(self, columns: Sequence[int]) -> TableRows:
        """The same rows with some of their columns."""
        return replace(self, titles=[self.titles[j] for j in columns])


def table(path: Path) -> TableRows:
    """The table of a file, or of all files in a folder.

    Raises
    ------
    ImportError, ValueError
        pyarrow is not there, or a file is not what its name says, or lacks a column that another has.
    """
    wanted("pyarrow", path, "parquet")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PARQUET + ARROW)
        if not files:
            raise ValueError(f"{path.name} is a folder without a file whose name ends in {', '.join(PARQUET + ARROW)}")
    types: dict[str, Any] = {}
    parts: list[_Part] = []
    for file in files:
        try:
            schema, some = (_parquet if file.suffix.lower() in PARQUET else _arrow)(file)
        except OSError as error:
            if error.errno:
                raise
            raise ValueError(f"{file.name} is not a readable {_kind(file)} file: {error}") from None
        except Exception as error:
            raise ValueError(
                f"{file.name} is not a readable {_kind(file)} file: {error or type(error).__name__}"
            ) from None
        twice = next((title for title in schema.names if schema.names.count(title) > 1), None)
        if twice is not None:
            raise ValueError(f"{file.name} has the column {twice!r} twice: columns must differ in their names")
        found = {each.name: each.type for each in schema if not each.name.startswith("__index_level_")}
        types = types or found
        for title, kind in types.items():
            if title not in found:
                raise ValueError(f"{file.name} has no column {title!r}, which {files[0].name} has")
            if found[title] != kind:
                was = f"type {found[title]}, and {kind} in {files[0].name}"
                raise ValueError(f"{file.name}: column {title!r} has {was}")
        parts += [part for part in some if part.n_rows]
    if not parts:
        raise ValueError(f"{path.name} has no rows")
    return TableRows(path.name, parts, types, list(types))


def _kind(file: Path) -> str:
    return "Parquet" if file.suffix.lower() in PARQUET else "Arrow"


def _parquet(file: Path) -> tuple[Any, list[_Part]]:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        schema, metadata = opened.schema_arrow, opened.metadata

    def reader(group: int) -> Callable[[Sequence[str]], Any]:
        def read(titles: Sequence[str]) -> Any:
            # Every thread has a file of its own; its description is read once.
            with parquet.ParquetFile(file, metadata=metadata) as opened:
                return opened.read_row_group(group, columns=list(titles), use_threads=False)

        return read

    count = metadata.num_row_groups
    return schema, [_Part(file.name, metadata.row_group(i).num_rows, reader(i)) for i in range(count)]


def _arrow(file: Path) -> tuple[Any, list[_Part]]:
    import pyarrow as pa

    def batch(group: int, schema: Any, titles: Sequence[str]) -> Any:
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(t) for t in titles], use_threads=False)
        with pa.memory_map(str(file)) as mapped, pa.ipc.open_file(mapped, options=options) as opened:
            return pa.Table.from_batches([opened.get_batch(group)])

    with pa.memory_map(str(file)) as mapped, pa.ipc.open_file(mapped) as opened:
        schema, count = opened.schema, opened.num_record_batches

    def reader(group: int) -> Callable[[Sequence[str]], Any]:
        return lambda titles: batch(group, schema, titles)

    counts = (batch(i, schema, schema.names[:1]).num_rows for i in range(count))
    return schema, [_Part(file.name, rows, reader(i)) for i, rows in enumerate(counts)]
