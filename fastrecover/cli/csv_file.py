"""Rows and responses, or labels, from a .csv file, without being told its separator or whether it has titles.

The csv module takes lines apart.  No row is guessed away: a first line is titles only if no field of it is a number,
and whatever is not as it should be is refused with its line, since a table read wrongly is worse than one refused.
"""

from __future__ import annotations

import argparse
import codecs
import csv
import itertools
import re
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

import numpy as np

from ..models import nearest

_SEPARATORS = (";", "\t", ",", " ")
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",  # the mark of UTF-32 begins with it
    codecs.BOM_UTF16_BE: "utf-16",
}
_LOOKED_AT = 100  # lines that the decimal mark, and whether the first is titles, are told from
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # which may also be one and a bit
_INTEGER = re.compile(r"[+-]?\d+")
#: What may be a number with a slip, or stand for a missing one.
_NO_TITLE = re.compile(r"[+-]?\.?\d.*|na|n/a|nan|null|none|true|false|[?.-]*", re.IGNORECASE)
_MISSING = {"", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"}
#: What stands over an index: nothing, or what pandas makes of nothing.
_INDEX = re.compile(r"(Unnamed: \d+)?")

T = TypeVar("T")
Lines = Iterable[tuple[int, list[str]]]


@dataclass
class _Table:
    """How a file is written."""

    first: int  # number of its first line
    width: int
    titles: list[str] | None
    comma: bool  # whether decimals are marked by it

    def number(self, field: str) -> float:
        """The number that a field is; ValueError for anything else."""
        if "_" in field or (self.comma and "." in field):
            raise ValueError
        return float(field.replace(",", ".") if self.comma else field)

    def is_number(self, field: str) -> bool:
        """Whether a field is a number."""
        try:
            self.number(field)
        except ValueError:
            return False
        return True

    def column(self, option: str, key: str) -> int:
        """Number of the column that an option names by title or by number."""
        names = [str(j) for j in range(self.width)] if self.titles is None else self.titles
        if key in names:
            return names.index(key)
        if re.fullmatch(r"-?\d+", key) and -len(names) <= int(key) < len(names):
            return int(key) % len(names)
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        kind = (
            f"has columns 0 to {len(names) - 1} and no titles" if self.titles is None else f"has the columns: {shown}"
        )
        hint = "" if self.titles is None else nearest(key, tuple(names))
        raise ValueError(f"{option}: no column {key!r}{hint} (the file {kind})")

    def columns(self, option: str, key: str) -> list[int]:
        """Numbers of the columns that an option names, separated by commas unless a title is all of it."""
        keys = [key] if self.titles is not None and key in self.titles else key.split(",")
        found = [self.column(option, each.strip()) for each in keys]
        again = next((j for i, j in enumerate(found) if j in found[:i]), None)
        if again is not None:
            raise ValueError(f"{option}: {key!r} names column {again} twice")
        return found

    def check_width(self, line: int, fields: list[str]) -> None:
        """Raise ValueError for a line of another length than the first."""
        if len(fields) != self.width:
            hint = " (separators must be the same in all lines, and comments removed)"
            raise ValueError(f"line {line} has {len(fields)} fields, and line {self.first} has {self.width}{hint}")

    def wrong(self, line: int, j: int, field: str, what: str = "number") -> ValueError:
        """The error for a field that is not what it should be."""
        title = "" if self.titles is None else f" ({self.titles[j]})"
        hint = "; a first line is titles only where no field of it is a number" if line == self.first else ""
        return ValueError(f"line {line}, column {j + 1}{title}: {field!r} is no {what}{hint}")


class _Codes(dict[str, str]):
    """Numbers standing for the texts of a column, in the order of their appearance."""

    def of(self, field: str) -> str:
        """The number of a text, as text."""
        return self.setdefault(field.strip(), str(len(self)))

    def decoded(self, column: np.ndarray, table: _Table) -> np.ndarray:
        """The numbers that the texts are, if all of them are numbers, else the texts."""
        numbers = all(map(table.is_number, self))
        return np.array([table.number(text) if numbers else text for text in self])[column.astype(int)]


class Read(NamedTuple):
    """Rows (n, d), responses (n,), which may be text, or (n, m) of several columns, weights, titles of features."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    titles: list[str] | None


def from_csv(args: argparse.Namespace, labelled: bool) -> Read:
    """What a fit reads of a file; `labelled` allows responses that are text.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or does not hold what was asked for.
    """
    return _told_by_file(args, lambda file: _read(file, args, labelled))


def rows_from_csv(args: argparse.Namespace, features: list[str] | None = None) -> np.ndarray:
    """Rows (n, d): the features where they are known and columns have titles, else all but ``--drop`` and an index.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or does not hold what was asked for.
    """

    def read(file: TextIO) -> np.ndarray:
        head, lines, table = _begun(file)
        dropped = set() if args.drop is None else set(table.columns("--drop", args.drop))
        if features and table.titles is not None:
            wanted = [table.column("the features of the fit", title) for title in features]
            if dropped.intersection(wanted):
                raise ValueError(f"--drop: {args.drop!r} names a feature of the fit")
            rest = set(range(table.width)).difference(wanted)
            rows = _columns(args, head, lines, table, rest, [], None)[0]
            return np.ascontiguousarray(rows[:, [sorted(wanted).index(j) for j in wanted]])
        return _columns(args, head, lines, table, dropped, [], None)[0]

    return _told_by_file(args, read)


def _told_by_file(args: argparse.Namespace, read: Callable[[TextIO], T]) -> T:
    """What is read of the file; errors begin with its name."""
    if args.x_key is not None:
        raise ValueError("--x-key goes with .npz files; a .csv file gives all columns but the responses")
    try:
        with _opened(args.data) as file:
            return read(file)
    except UnicodeError:
        raise ValueError(f"{args.data.name} is not a text file in UTF-8 or UTF-16: save it as UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{args.data.name}: {error}") from None


def _opened(path: Path) -> TextIO:
    with open(path, "rb") as file:
        start = file.readline(4)
    encoding = next((name for mark, name in _ENCODINGS.items() if start.startswith(mark)), "utf-8-sig")
    return open(path, encoding=encoding, newline="")


def _read(file: TextIO, args: argparse.Namespace, labelled: bool) -> Read:
    head, lines, table = _begun(file)
    ys = [table.width - 1] if args.y_key is None else table.columns("--y-key", args.y_key)
    w = None if args.weight_key is None else table.column("--weight-key", args.weight_key)
    if w in ys:
        raise ValueError("--y-key and --weight-key name the same column")
    labelled, codes = labelled and len(ys) == 1, _Codes()  # several columns are probabilities
    numbers = [j for j in (w, *(() if labelled else ys)) if j is not None]
    X, values, titles = _columns(args, head, lines, table, {*ys, w}, numbers, (ys[0], codes) if labelled else None)
    y = values[:, ys[0]] if len(ys) == 1 else values[:, ys]
    responses = codes.decoded(y, table) if labelled else y
    return Read(X, responses, None if w is None else values[:, w], titles)


def _begun(file: TextIO) -> tuple[list[tuple[int, list[str]]], Lines, _Table]:
    """The first lines, those that follow, and how they are written."""
    lines = _lines(file)
    head = list(itertools.islice(lines, _LOOKED_AT))
    if not head:
        raise ValueError("the file has no rows")
    return head, lines, _layout(head)


def _columns(
    args: argparse.Namespace,
    head: list[tuple[int, list[str]]],
    lines: Lines,
    table: _Table,
    others: Collection[int | None],
    numbers: list[int],
    labels: tuple[int, _Codes] | None,
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Features (n, d), all columns, and the features' titles.

    Of the `others` those that are neither `numbers` nor `labels` are not read.
    """
    index = _index(table).difference(j for j in others if j is not None)
    features = [j for j in range(table.width) if j not in others and j not in index]
    if not features:
        what = "one column: at least one feature and the responses are needed" if table.width == 1 else "no features"
        raise ValueError(f"the file has {what}")
    _check_first(table, head, [*features, *numbers])
    away = {j for j in others if j is not None and j not in numbers} - ({labels[0]} if labels else set())
    values = _numbers(itertools.chain(head[table.titles is not None :], lines), table, index | away, labels)
    if not len(values):
        raise ValueError("the file has no rows")
    if index:
        untitled = f"the first {len(index)} columns have" if len(index) > 1 else "the first column has"
        note = f"{args.data.name}: {untitled} no title: left out as an index"
        print(f"fastrecover {args.command}: note: {note}", file=sys.stderr)
    titles = None if table.titles is None else [table.titles[j] for j in features]
    return np.ascontiguousarray(values[:, features]), values, titles


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every line that is not blank."""
    separator = _separator(file)
    text = (line.strip() for line in file) if separator == " " else file
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            if len(fields) > 1 or "".join(fields).strip():
                yield reader.line_num, fields
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _separator(file: TextIO) -> str:
    """What stands in both of the first two lines, outside quotes; leaves the file at its beginning."""
    two = list(itertools.islice((line.strip() for line in iter(file.readline, "") if line.strip()), 2))
    file.seek(0)
    if "\0" in "".join(two):
        raise UnicodeError("two bytes or more a letter, and no mark that says so")
    bare = [re.sub('"[^"]*"', "", line) for line in two]
    return next((s for s in _SEPARATORS if bare and all(s in line for line in bare)), ",")


def _layout(head: list[tuple[int, list[str]]]) -> _Table:
    """How a file with these first lines is written."""
    first, fields = head[0]
    texts = (field.strip() for _, fields in head for field in fields)
    comma = any(_DECIMAL_COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text) for text in texts)
    table = _Table(first, len(fields), None, comma)
    for line, others in head:
        table.check_width(line, others)
    if any(map(table.is_number, fields)):
        return table
    titles = [field.strip() for field in fields]
    unnamed = len(titles) - len(list(itertools.dropwhile(_INDEX.fullmatch, titles)))
    blank = next((j for j in range(unnamed, len(titles)) if not titles[j]), None)
    if blank is not None:
        raise ValueError(f"line {first}, column {blank + 1} has no title: give one, or remove the column")
    again = next((j for j in range(unnamed, len(titles)) if titles[j] in titles[:j]), None)
    if again is not None:
        raise ValueError(f"line {first} has the title {titles[again]!r} twice: columns must differ in their titles")
    table.titles = titles
    return table


def _index(table: _Table) -> set[int]:
    """Columns that stand before all titles, which hold numbers or names of rows."""
    if table.titles is None:
        return set()
    return set(range(table.width - len(list(itertools.dropwhile(_INDEX.fullmatch, table.titles)))))


def _check_first(table: _Table, head: list[tuple[int, list[str]]], columns: list[int]) -> None:
    """Refuse a first line that may be titles as well as a row, seen in the columns that must hold numbers."""
    first = [head[0][1][j].strip() for j in columns]
    if table.titles is not None:
        unclear = all(map(_NO_TITLE.fullmatch, first))
    else:
        rows = [fields for _, fields in head[1:]]
        others = [not any(_INTEGER.fullmatch(fields[j].strip()) for fields in rows) for j in columns]
        counting = all(map(_INTEGER.fullmatch, first)) and len(set(first)) == len(first)
        unclear = bool(rows) and counting and 2 * sum(others) >= len(others)
    if unclear:
        raise ValueError(
            f"line {table.first} may be titles or a row ({', '.join(first[:5])}{', ...' if len(first) > 5 else ''}): "
            "give titles that are words, and rows that are numbers with a decimal point"
        )


def _numbers(lines: Lines, table: _Table, index: set[int], labels: tuple[int, _Codes] | None) -> np.ndarray:
    """The fields of all lines as numbers, labels as their codes, zero for an index."""
    values = array("d")
    for line, fields in lines:
        table.check_width(line, fields)
        if labels is not None:
            at, codes = labels
            if fields[at].strip() in _MISSING:
                raise table.wrong(line, at, fields[at], "label")
            fields[at] = codes.of(fields[at])
        for j in index:
            fields[j] = "0"
        try:
            if table.comma or "_" in "".join(fields):
                values.extend([table.number(field) for field in fields])
            else:
                values.extend(map(float, fields))
        except ValueError:
            j = next(j for j, field in enumerate(fields) if not table.is_number(field))
            raise table.wrong(line, j, fields[j]) from None
    return np.frombuffer(values).reshape(-1, table.width)
