"""Rows and responses, or labels, from a .csv file, without being told whether it has a line of titles.

NumPy's reader does the work; text is let through in the column of labels alone, so that a stray word in any
other column is still reported with its line.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from ..models import nearest

_SEPARATORS = (",", ";", "\t")


class _Codes(dict[str, float]):
    """Numbers standing for the texts of a column, in the order of their appearance."""

    def __call__(self, field: str) -> float:
        text = _bare(field)
        if not text:
            raise ValueError("a row without a label")
        return self.setdefault(text, float(len(self)))

    def decoded(self, column: np.ndarray) -> np.ndarray:
        """The numbers that the texts are, if all of them are numbers, else the texts."""
        kind = float if all(map(_is_number, self)) else str
        return np.array([kind(text) for text in self])[column.astype(int)]


def from_csv(args: argparse.Namespace, labelled: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows (n, d), responses (n,), text where `labelled` allows it, and weights (n,) or None.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or does not hold what was asked for.
    """
    if args.x_key is not None:
        raise ValueError("--x-key goes with .npz files; a .csv file gives all columns but the responses")
    name, codes, titled = args.data.name, _Codes(), False
    try:
        with open(args.data, encoding="utf-8-sig") as file:
            titles, titled, separator = _first_line(file)
            names = titles if titled else [str(i) for i in range(len(titles))]
            values = _numbers(file, separator, {_responses(args, names, titled): codes} if labelled else None)
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not a text file") from None
    except ValueError as error:
        raise ValueError(f"{name}: {_where(str(error), titled)}") from None
    if not values.size:
        raise ValueError(f"{name} has no rows")
    if values.shape[1] < 2:
        raise ValueError(f"{name} has one column: at least one feature and the responses are needed")
    y = _responses(args, names, titled)
    w = None if args.weight_key is None else _column("--weight-key", args.weight_key, names, titled)
    if y == w:
        raise ValueError("--y-key and --weight-key name the same column")
    features = [j for j in range(values.shape[1]) if j not in (y, w)]
    if not features:
        raise ValueError(f"{name} has no column left for the features")
    responses = codes.decoded(values[:, y]) if labelled else values[:, y]
    return np.ascontiguousarray(values[:, features]), responses, None if w is None else values[:, w]


def _first_line(file: TextIO) -> tuple[list[str], bool, str]:
    """Fields of the first line, whether they are titles, and the separator; leaves `file` before the rows."""
    first = file.readline().rstrip("\r\n")
    after = file.tell()
    second = next((line for line in iter(file.readline, "") if line.strip()), "").rstrip("\r\n")
    separator = next((s for s in _SEPARATORS if s in first), ",")
    fields = [_bare(field) for field in first.split(separator)]
    below = [_bare(field) for field in second.split(separator)] if second else ["0"] * len(fields)
    # Text over text may be two labels, text over a number is a title.
    titled = any(not _is_number(top) and _is_number(field) for top, field in zip(fields, below, strict=False))
    if titled and len(fields) != len(below):
        raise ValueError(f"{len(fields)} titles for {len(below)} columns")
    file.seek(after if titled else 0)
    return fields, titled, separator


def _numbers(file: TextIO, separator: str, converters: dict[int | str, Callable[[str], float]] | None) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty file is reported by the caller
        layout: dict[str, Any] = dict(delimiter=separator, ndmin=2, comments=None, encoding=None)
        return np.loadtxt(file, converters=converters, **layout)


def _bare(field: str) -> str:
    return field.strip().strip('"')


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _responses(args: argparse.Namespace, names: list[str], titled: bool) -> int:
    return len(names) - 1 if args.y_key is None else _column("--y-key", args.y_key, names, titled)


def _where(message: str, titled: bool) -> str:
    """NumPy's complaint with the line of the file, counted from 1, in place of its row."""

    def line(match: re.Match) -> str:
        return f"line {int(match[1]) + 1 + titled}"

    first = message.split(";")[0]
    if "could not convert" in first:
        return re.sub(r"row (\d+)", line, first)
    return re.sub(r"row (\d+)", lambda match: f"line {int(match[1]) + titled}", first)


def _column(option: str, key: str, names: list[str], titled: bool) -> int:
    if key in names:
        return names.index(key)
    if re.fullmatch(r"-?\d+", key) and -len(names) <= int(key) < len(names):
        return int(key) % len(names)
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    kind = f"has the columns: {shown}" if titled else f"has columns 0 to {len(names) - 1} and no titles"
    hint = nearest(key, tuple(names)) if titled else ""
    raise ValueError(f"{option}: no column {key!r}{hint} (the file {kind})")
