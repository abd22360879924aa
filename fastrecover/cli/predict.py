"""predict responses for new rows by a recovery that fit has written

The result is a value for each row, or several side by side: means of a regression, rates of counts, or labels.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..recovery import Recovery, load
from ..storage import check_destination
from . import data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover predict``."""
    add = parser.add_argument
    add("recovery", metavar="RECOVERY", type=Path, help=".npz file that 'fastrecover fit --output' has written")
    add("data", metavar="DATA", type=Path, help=data.WHAT)
    add("--x-key", metavar="NAME", help="array of rows in a file of several (default X)")
    add(
        "--drop",
        metavar="A,B",
        help="columns of a table that are no features, such as the responses (default: what the fit did not see, where "
        "columns have titles)",
    )
    add("--lags", type=int, metavar="N", help="DATA is a time series: one row for each window of N frames")
    add("--proba", action="store_true", help="probabilities of the classes, in place of labels")
    add("--jobs", type=int, metavar="N", help="threads (default: all); results do not depend on it")
    add("--kernels", metavar="NAME", help="compiled, numba or reference")
    add("-o", "--output", type=Path, metavar="FILE", help=".npy or .csv; without it the predictions are printed")


def run(args: argparse.Namespace) -> int:
    """Read, predict, write.

    Returns
    -------
    int
        0.

    Raises
    ------
    OSError, TypeError, ValueError
        Bad input.
    """
    if args.output is not None:
        if args.output.suffix not in (".npy", ".csv"):
            raise ValueError(f"--output: {args.output.name} must end in .npy or .csv")
        check_destination(args.output)
        if os.path.realpath(args.output) in map(os.path.realpath, (args.recovery, args.data)):
            raise ValueError(f"{args.output} is an input and would be overwritten")
    for path in (args.recovery, args.data):
        data.check_there(path)
    recovery = load(args.recovery)
    if args.proba and recovery.classes is None:
        raise ValueError("--proba is for classifications, and this recovery is of numbers")
    found = _predicted(recovery, data.rows(args, recovery.feature_names), args)
    if args.output is None:
        for row in found.reshape(len(found), -1).tolist():
            print(",".join(map(str, row)))
    elif args.output.suffix == ".npy":
        np.save(args.output, found, allow_pickle=False)
    else:
        with open(args.output, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_titles(recovery, found, args.proba))
            writer.writerows(found.reshape(len(found), -1).tolist())
    if args.output is not None:
        print(f"wrote {args.output}")
    return 0


def _predicted(recovery: Recovery, X: Any, args: argparse.Namespace) -> np.ndarray:
    if args.proba:
        return recovery.predict_proba(X, n_jobs=args.jobs)
    return recovery.predict(X, n_jobs=args.jobs)


def _titles(recovery: Recovery, found: np.ndarray, proba: bool) -> list[str]:
    if proba:
        assert recovery.classes is not None
        return [str(label) for label in recovery.classes]
    return ["prediction"] if found.ndim == 1 else [f"prediction {o}" for o in range(found.shape[1])]
