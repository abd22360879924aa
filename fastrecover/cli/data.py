"""Rows and responses from files, and ranges of them.

Files are opened as the library opens them, so that a fit holds blocks of what is large; only .csv files, which must be
looked at whole to be understood, and series that are cut into windows have ways of their own.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..sources import KINDS, ArraySource, WrongName, as_source, as_values, lagged
from ..sources import open as opened
from ..sources.flat import unreadable
from .csv_file import from_csv, rows_from_csv

TABLES = (".parquet", ".pq", ".arrow", ".feather", "")  # "": a folder of them
_OPTIONS = {"key": "--x-key: ", "target": "--y-key: ", "weight": "--weight-key: ", "columns": "--columns: "}
#: What DATA may be, for help.
WHAT = ".npy (rows); .npz, .zarr or .h5 (named arrays); .parquet, .arrow, .feather or .csv (one row a line)"


@dataclass
class Table:
    """Rows, a source of n samples, responses (n,) or (n, m), or labels, weights (n,) or None, and a row's shape."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    shape: tuple[int, int] | None = None

    def part(self, rows: slice) -> Table:
        """Some of the rows, without a copy."""
        weight = None if self.weight is None else self.weight[rows]
        return Table(self.X.between(rows.start, rows.stop), self.y[rows], weight, self.shape)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what to read."""
    add = parser.add_argument_group("data").add_argument
    add("data", metavar="DATA", type=Path, help=WHAT)
    add("responses", metavar="DATA2", type=Path, nargs="?", help="file of responses, where DATA is one array of rows")
    add("--x-key", metavar="NAME", help="array of rows in a file of several (default X)")
    add(
        "--y-key",
        metavar="NAME",
        help="responses or labels: array in a file of several (default y), or column of a table (default: last), or "
        "columns like a,b,c",
    )
    add("--weight-key", metavar="NAME", help="row weights: array in a file of several, or column of a table")
    add("--columns", metavar="A,B", help="columns that are features (default: all others; not of a .csv file)")
    add("--dtype", metavar="TYPE", choices=("float32", "float64"), help="convert the rows to float32 or float64")
    add("--lags", type=int, metavar="N", help="DATA is a time series: one row for each window of N frames")
    add(
        "--lag-shift",
        type=int,
        metavar="S",
        help="pair the window that ends at frame t-S with the response of frame t (default 0)",
    )
    add("--train-rows", metavar="A:B", help="rows to fit (default: all but the test rows)")
    add("--test-rows", metavar="C:D", help="rows to hold back and report on; -1000: are the last 1000")


def read(args: argparse.Namespace, labelled: bool = False) -> Table:
    """What the options of :func:`add_arguments` ask for.

    Parameters
    ----------
    args : Namespace
    labelled : bool
        Whether a .csv file may hold text in place of responses.

    Raises
    ------
    ImportError, OSError
        A file cannot be read.
    TypeError, ValueError
        It does not hold what was asked for.
    """
    kind = args.data.suffix.lower()
    if args.responses is not None and kind in (".npz", ".csv", *TABLES[:-1]):
        raise ValueError(f"DATA2 goes with a .npy DATA; {args.data.name} holds its responses (see --y-key)")
    if args.lag_shift is not None and args.lags is None:
        raise ValueError("--lag-shift needs --lags")
    for path in filter(None, (args.data, args.responses)):
        check_there(path)
        _check_kind(path)
    with _told_by_option():
        X, y, weight = _from_csv(args, labelled) if kind == ".csv" else _from_file(args, kind)
    n = len(X) if isinstance(X, np.ndarray) else X.shape[0]
    y = _flat(y)
    if y.ndim not in (1, 2) or len(y) != n or 0 in y.shape[1:]:
        raise ValueError(f"the responses must be a value, or several, for each of {n} rows, got shape {y.shape}")
    if weight is not None:
        weight = _flat(weight)
        if weight.shape != (n,):
            raise ValueError(f"the row weights must be one value for each of {n} rows, got shape {weight.shape}")
    if args.lags is None:
        return Table(X, y, weight)
    return _windows(X, y, weight, args)


def rows(args: argparse.Namespace, columns: list[str] | None) -> Any:
    """Rows alone, a source of n samples, for predictions.

    Parameters
    ----------
    args : Namespace
        With ``data``, ``x_key``, ``drop`` and ``lags``.
    columns : list of str or None
        Features that a table must have, where they are known.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        A file cannot be read, or does not hold rows.
    """
    kind = args.data.suffix.lower()
    if args.drop is not None and kind not in (".csv", *TABLES):
        raise ValueError(f"--drop goes with .csv files and tables, and {args.data.name} is none")
    if args.x_key is not None and kind in (".npy", *TABLES):
        raise ValueError(f"--x-key goes with files of several arrays, and {args.data.name} is none")
    check_there(args.data)
    _check_kind(args.data)
    X: Any
    if kind == ".csv":
        X = as_source(rows_from_csv(args, columns)) if args.lags is None else rows_from_csv(args)
    elif args.lags is not None:
        X = _frames(args, kind)
    elif kind in TABLES:
        dropped = None if args.drop is None else _columns(args.drop)
        with _told_by_option({"target": "--drop: ", "columns": ""}, "leave it out with --drop"):
            X = opened(args.data, columns=None if dropped else columns, target=dropped or ())
    else:
        with _told_by_option():
            X = opened(args.data, args.x_key, target=())
    if args.lags is None:
        return X
    if not 1 <= args.lags <= len(X):
        raise ValueError(f"--lags must be at least 1 and at most {len(X)} frames, got {args.lags}")
    return as_source(lagged(X, args.lags))


def split(args: argparse.Namespace, n: int) -> tuple[slice, slice | None]:
    """Training rows, and test rows if any, of n.

    Raises
    ------
    ValueError
        Ranges that are no ranges, are empty, or overlap.
    """
    test = None if args.test_rows is None else _range("--test-rows", args.test_rows, n)
    if args.train_rows is not None:
        train = _range("--train-rows", args.train_rows, n)
    elif test is None:
        train = slice(0, n)
    elif 0 in (test.start, n - test.stop):
        train = slice(0, test.start) if test.start else slice(test.stop, n)
    else:
        raise ValueError("--test-rows lie in the middle: say with --train-rows which rows to fit")
    if train.start == train.stop:
        raise ValueError("--test-rows leave no row to fit")
    if test is not None and test.start < train.stop and train.start < test.stop:
        raise ValueError(f"--test-rows {test.start}:{test.stop} overlap the fitted rows {train.start}:{train.stop}")
    return train, test


def _range(option: str, text: str, n: int) -> slice:
    match = re.fullmatch(r"(-?\d*):(-?\d*)", text)
    if not match or "-" in match.groups():
        raise ValueError(f"{option} must be a range of rows like 0:1000 or -500:, got {text!r}")
    ends = [int(end) if end else None for end in match.groups()]
    if any(end is not None and not -n <= end <= n for end in ends):
        raise ValueError(f"{option} {text} reaches beyond the {n} rows that there are")
    start, stop, _ = slice(*ends).indices(n)
    if start >= stop:
        raise ValueError(f"{option} {text} holds no row")
    return slice(start, stop)


def _check_kind(path: Path) -> None:
    """Raise ValueError where the name of a file does not say what it is."""
    known = (".npy", ".npz", ".csv", *(kind for kind in KINDS if kind not in (".npy", ".npz")))
    if path.suffix.lower() not in known and not path.is_dir():
        raise ValueError(f"cannot tell what {path.name} is: its name must end in {', '.join(known)}")


def check_there(path: Path) -> None:
    """Raise FileNotFoundError where there is no such file, and for folders of a kind that is a file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir() and path.suffix.lower() not in (".zarr", *TABLES):
        raise FileNotFoundError(f"{path} is a folder, not a file")


def _windows(frames: np.ndarray, y: np.ndarray, weight: np.ndarray | None, args: argparse.Namespace) -> Table:
    lags, shift = args.lags, args.lag_shift or 0
    if shift < 0:
        raise ValueError(f"--lag-shift must not be negative, got {shift}")
    if lags < 1 or lags + shift > len(frames):
        raise ValueError(f"--lags must be at least 1 and, with --lag-shift, at most {len(frames)} frames, got {lags}")
    windows = lagged(frames, lags)
    windows = windows[: len(windows) - shift]
    skipped = slice(lags - 1 + shift, None)
    weight = None if weight is None else weight[skipped]
    return Table(as_source(windows), y[skipped], weight, (lags, windows.shape[1] // lags))


def _from_csv(args: argparse.Namespace, labelled: bool) -> tuple[Any, np.ndarray, np.ndarray | None]:
    if args.columns is not None:
        raise ValueError("--columns goes with tables and arrays; a .csv file gives all columns but the responses")
    X, y, weight, titles = from_csv(args, labelled)
    X = X if args.dtype is None else X.astype(args.dtype, copy=False)
    return (X if args.lags is not None else ArraySource(X, column_names=titles)), y, weight


def _from_file(args: argparse.Namespace, kind: str) -> tuple[Any, np.ndarray, np.ndarray | None]:
    if kind == ".npy" or args.responses is not None:
        return _from_two(args, kind)
    table = kind in TABLES
    if table and args.x_key is not None:
        raise ValueError(f"--x-key goes with files of several arrays, and {args.data.name} is a table")
    target: Any = ("y" if args.y_key is None else args.y_key) if not table else _columns(args.y_key or "-1")
    source = opened(
        args.data,
        args.x_key,
        columns=None if args.columns is None else _columns(args.columns),
        target=target,
        weight=args.weight_key,
        dtype=args.dtype,
    )
    y, weight = source.targets()
    assert y is not None
    return (source if args.lags is None else _frames(args, kind, source)), y, weight


def _from_two(args: argparse.Namespace, kind: str) -> tuple[Any, np.ndarray, None]:
    """Rows from one file, responses from another."""
    for option in ("y_key", "weight_key", *(("x_key",) if kind == ".npy" else ())):
        if getattr(args, option) is not None:
            flag, name = option.replace("_", "-"), args.data.name
            raise ValueError(f"--{flag} goes with files of several arrays and tables, and {name} is none")
    if args.responses is None:
        raise ValueError(f"{args.data.name} holds rows only: name the .npy file of responses after it")
    if args.responses.suffix.lower() not in (".npy", ".zarr", ".h5", ".hdf5"):
        raise ValueError(f"DATA2 must be a .npy file, or another of one array, got {args.responses.name}")
    columns = None if args.columns is None else _columns(args.columns)
    source = opened(args.data, args.x_key, columns=columns, dtype=args.dtype)
    return (source if args.lags is None else _frames(args, kind, source)), as_values(args.responses), None


def _frames(args: argparse.Namespace, kind: str, source: Any = None) -> np.ndarray:
    """A series as an array, mapped where it is one in a .npy file: windows of it are views."""
    if getattr(args, "columns", None) is not None or kind in TABLES:
        found = as_values(opened(args.data, args.x_key) if source is None else source)
    else:
        found = array(args.data) if kind == ".npy" else as_values(args.data, args.x_key, "X")
    if getattr(args, "dtype", None) is not None and found.dtype.kind in "fiub":
        found = found.astype(args.dtype, copy=False)
    return found


def _columns(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _flat(values: np.ndarray) -> np.ndarray:
    """A single column as a vector."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


@contextmanager
def _told_by_option(
    options: dict[str, str] = _OPTIONS, remedy: str = "name the columns that are numbers with --columns"
) -> Iterator[None]:
    """Errors that name an argument of the library name the option in its place, or what to do."""
    try:
        yield
    except WrongName as error:
        text = re.sub(r"; name one with \w+=", "", str(error))
        raise ValueError(f"{options.get(error.argument, '')}{text}") from None
    except TypeError as error:
        raise TypeError(re.sub("name the columns that are numbers with columns=", remedy, str(error))) from None


def array(path: Path) -> np.ndarray:
    """Array in a .npy file, mapped read-only; ValueError for anything else."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # bytes from anywhere may raise anything in what reads them
        raise ValueError(unreadable(path.name, ".npy file", error)) from None
