"""Rows and responses from .npy, .npz and .csv files, and ranges of them.

Arrays in .npy files are mapped rather than read, so that a fit touches a large file only as often as it
sweeps it; nothing that a file contains is ever executed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models import nearest
from ..sources import lagged
from ..storage import said
from .csv_file import from_csv, rows_from_csv


@dataclass
class Table:
    """Rows (n, d), responses (n,) or (n, m), or labels, weights (n,) or None, and the shape of a row as an image."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    shape: tuple[int, int] | None = None

    def part(self, rows: slice) -> Table:
        """The same arrays on some rows, as views."""
        weight = None if self.weight is None else self.weight[rows]
        return Table(self.X[rows], self.y[rows], weight, self.shape)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what to read."""
    add = parser.add_argument_group("data").add_argument
    add("data", metavar="DATA", type=Path, help=".npy (rows), .npz (named arrays) or .csv (one row a line)")
    add("responses", metavar="DATA2", type=Path, nargs="?", help=".npy file of responses, beside a .npy DATA")
    add("--x-key", help="array of rows in the .npz file (default X)")
    add(
        "--y-key",
        help="responses or labels: array in the .npz file (default y), or column of the .csv file (default: last), or "
        "several like a,b,c",
    )
    add("--weight-key", help="row weights: array in the .npz file or column of the .csv file")
    add("--dtype", choices=("float32", "float64"), help="convert the rows")
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
    OSError
        A file cannot be read.
    TypeError, ValueError
        It does not hold what was asked for.
    """
    if args.responses is not None and args.data.suffix != ".npy":
        raise ValueError(f"DATA2 goes with a .npy DATA; {args.data.name} holds its responses (see --y-key)")
    if args.lag_shift is not None and args.lags is None:
        raise ValueError("--lag-shift needs --lags")
    for path in filter(None, (args.data, args.responses)):
        if not path.is_file():
            problem = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {problem}")
    readers = {".npy": _from_npy, ".npz": _from_npz, ".csv": lambda args: from_csv(args, labelled)}
    if args.data.suffix not in readers:
        raise ValueError(f"cannot tell what {args.data.name} is: its name must end in {', '.join(readers)}")
    X, y, weight = readers[args.data.suffix](args)
    if X.ndim not in (1, 2) or (X.ndim == 1 and args.lags is None):
        raise ValueError(f"the rows must be a matrix (n_rows, n_features), got shape {X.shape}")
    y = _flat(y)
    if y.ndim not in (1, 2) or len(y) != len(X) or 0 in y.shape[1:]:
        raise ValueError(f"the responses must be a value, or several, for each of {len(X)} rows, got shape {y.shape}")
    if weight is not None:
        weight = _flat(weight)
        if weight.shape != (len(X),):
            raise ValueError(f"the row weights must be one value for each of {len(X)} rows, got shape {weight.shape}")
    if args.dtype is not None and X.dtype.kind in "fiub":
        X = X.astype(args.dtype, copy=False)
    table = Table(X, y, weight)
    return table if args.lags is None else _windows(table, args.lags, args.lag_shift or 0)


def rows(args: argparse.Namespace) -> np.ndarray:
    """Rows alone (n, d), for predictions.

    Parameters
    ----------
    args : Namespace
        With ``data``, ``x_key``, ``drop`` and ``lags``.

    Raises
    ------
    OSError, ValueError
        A file cannot be read, or does not hold rows.
    """
    if args.drop is not None and args.data.suffix != ".csv":
        raise ValueError(f"--drop goes with .csv files, and {args.data.name} is none")
    if args.x_key is not None and args.data.suffix == ".npy":
        raise ValueError(f"--x-key goes with .npz files, and {args.data.name} is none")
    readers = {".npy": lambda args: array(args.data), ".npz": _rows_of_npz, ".csv": rows_from_csv}
    if args.data.suffix not in readers:
        raise ValueError(f"cannot tell what {args.data.name} is: its name must end in {', '.join(readers)}")
    X = readers[args.data.suffix](args)
    if args.lags is not None:
        if not 1 <= args.lags <= len(X):
            raise ValueError(f"--lags must be at least 1 and at most {len(X)} frames, got {args.lags}")
        X = lagged(X, args.lags)
    return X


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


def _flat(values: np.ndarray) -> np.ndarray:
    """A single column as a vector."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


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


def _windows(table: Table, lags: int, shift: int) -> Table:
    if shift < 0:
        raise ValueError(f"--lag-shift must not be negative, got {shift}")
    frames = len(table.X)
    if lags < 1 or lags + shift > frames:
        raise ValueError(f"--lags must be at least 1 and, with --lag-shift, at most {frames} frames, got {lags}")
    windows = lagged(table.X, lags)
    windows = windows[: len(windows) - shift]
    skipped = slice(lags - 1 + shift, None)
    weight = None if table.weight is None else table.weight[skipped]
    return Table(windows, table.y[skipped], weight, (lags, windows.shape[1] // lags))


def _from_npy(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    for option in ("x_key", "y_key", "weight_key"):
        if getattr(args, option) is not None:
            flag = option.replace("_", "-")
            raise ValueError(f"--{flag} goes with .npz and .csv files, and {args.data.name} is none")
    if args.responses is None:
        raise ValueError(f"{args.data.name} holds rows only: name the .npy file of responses after it")
    if args.responses.suffix != ".npy":
        raise ValueError(f"DATA2 must be a .npy file, got {args.responses.name}")
    return array(args.data), array(args.responses), None


def array(path: Path) -> np.ndarray:
    """Array in a .npy file, mapped read-only; ValueError for anything else."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # bytes from anywhere may raise anything in what reads them
        raise ValueError(_unreadable(path.name, ".npy file", error)) from None


@contextmanager
def _archive(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            archive.files  # noqa: B018  (an array under the name of an archive has none)
        except Exception as error:
            raise ValueError(_unreadable(path.name, ".npz file", error)) from None
        yield archive


def _rows_of_npz(args: argparse.Namespace) -> np.ndarray:
    with _archive(args.data) as archive:
        return _member(archive, "--x-key", args.x_key or "X", args.data)


def _from_npz(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    with _archive(args.data) as archive:
        return (
            _member(archive, "--x-key", args.x_key or "X", args.data),
            _member(archive, "--y-key", args.y_key or "y", args.data),
            _member(archive, "--weight-key", args.weight_key, args.data) if args.weight_key else None,
        )


def _member(archive: np.lib.npyio.NpzFile, option: str, key: str, path: Path) -> np.ndarray:
    if key not in archive.files:
        known = tuple(archive.files)
        held = f"it has: {', '.join(known) or 'nothing'}"
        raise ValueError(f"{option}: {path.name} has no array {key!r}{nearest(key, known)} ({held})")
    try:
        return archive[key]
    except Exception as error:
        raise ValueError(_unreadable(f"{key!r} in {path.name}", "array of numbers", error)) from None


def _unreadable(name: str, kind: str, error: Exception) -> str:
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return f"{name} holds Python objects: save it as an array of numbers or strings"
    # NumPy takes whatever it does not know for a pickle, which no reader should be told to trust.
    return f"{name} is not a readable {kind}" + ("" if "pickle" in str(error) else f": {said(error)}")
