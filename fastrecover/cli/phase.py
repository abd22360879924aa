"""plant networks over a grid of rows and inputs, and show from how many rows they come back

Every line of the table of results is one planted network: it is written as soon as it is known, and a call that finds
a table of its own goes on where that one ends.  A network is recovered when the relative error of its weights, up to
symmetries, is below --within; from noisy responses when it is at most 1.5 times that of a fit that begins at the truth.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..api import fit
from ..datasets import make_teacher
from ..storage import check_destination
from .layout import add_activation
from .picture import check_picture
from .terminal import StatusLine, table

_NEAR = 1.5
_CELL = ("model", "hidden", "features", "rows_a_weight", "rows", "noise", "condition", "seed")
_FOUND = ("recovered", "error", "converged", "passes", "seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover phase``."""
    add = parser.add_argument
    add_activation(parser)
    add("--hidden", type=int, default=5, metavar="K", help="hidden units (default 5)")
    add("--features", type=int, nargs="+", default=[10, 20, 50], metavar="D", help="inputs (default 10 20 50)")
    add(
        "--rows",
        type=float,
        nargs="+",
        default=[1.25, 1.5, 2.0, 3.0, 5.0],
        metavar="R",
        help="rows for each weight, of which there are K D (default 1.25 1.5 2 3 5)",
    )
    add("--noise", type=float, default=0.0, help="standard deviation of the noise (default 0)")
    add("--condition", type=float, default=2.0, metavar="C", help="condition number of the weights (default 2)")
    add("--trials", type=int, default=10, metavar="T", help="networks for each cell of the grid (default 10)")
    add("--within", type=float, default=1e-6, metavar="E", help="error below which one is recovered (default 1e-6)")
    add("--max-seconds", type=float, default=60.0, metavar="S", help="seconds for each network (default 60)")
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    add("--jobs", type=int, metavar="N", help="threads (default: all); results do not depend on it")
    add("--kernels", metavar="NAME", help="compiled, numba or reference")
    add("-o", "--output", type=Path, metavar="FILE", help="table of results, .csv; one that is there is gone on with")
    add("--plot", type=Path, metavar="FILE", help="write a picture here")


def run(args: argparse.Namespace) -> int:
    """Plant, recover, count.

    Returns
    -------
    int
        0 once the grid is full.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        Bad input, found before the first fit.
    """
    _check(args)
    cells = [_cell(args, d, ratio, trial) for d in args.features for ratio in args.rows for trial in range(args.trials)]
    done = _read(args.output)
    left = [cell for cell in cells if _key(cell) not in done]
    with StatusLine() as line, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a fit that did not converge is a trial like others
        for number, cell in enumerate(left, 1):
            name = f"{number} of {len(left)}: {cell['features']} inputs, {cell['rows']} rows"
            line.show(name, now=True)
            found = cell | _trial(args, cell, line, name)
            done[_key(found)] = found
            if args.output is not None:
                _append(args.output, found)
    results = [done[_key(cell)] for cell in cells]
    print(
        f"Planted {args.model} networks, {args.hidden} hidden units, noise {args.noise:g}, condition number "
        f"{args.condition:g}.\nRecovered of {args.trials}, and median seconds, by inputs and by rows for each weight:\n"
    )
    print(table(*_counted(args, results)))
    if args.plot is not None:
        _draw(args, results)
    for path in (args.output, args.plot):
        if path is not None:
            print(f"wrote {path}")
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ("hidden", "trials"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    for name in ("rows", "features"):
        if min(getattr(args, name)) <= 0:
            raise ValueError(f"--{name} must be positive, got {min(getattr(args, name)):g}")
    make_teacher(args.model, max(args.features), args.hidden, condition_number=args.condition, random_state=0)
    if args.output is not None:
        if args.output.suffix != ".csv":
            raise ValueError(f"--output: {args.output.name} must end in .csv")
        check_destination(args.output)
    if args.plot is not None:
        check_destination(args.plot)
        check_picture(args.plot)


def _cell(args: argparse.Namespace, d: int, ratio: float, trial: int) -> dict[str, Any]:
    rows = max(round(ratio * d * args.hidden), 1)
    values = (args.model, args.hidden, d, ratio, rows, args.noise, args.condition, args.seed + trial)
    return dict(zip(_CELL, values, strict=True))


def _trial(args: argparse.Namespace, cell: dict[str, Any], line: StatusLine, name: str) -> dict[str, Any]:
    """One planted network."""
    seed = np.random.SeedSequence([cell["seed"], cell["features"], cell["rows"]])
    planted, drawn = seed.spawn(2)
    teacher = make_teacher(
        args.model, cell["features"], args.hidden, condition_number=args.condition, random_state=planted
    )
    if cell["rows"] < teacher.model.n_parameters(cell["features"]) - teacher.model.n_flat:
        return dict(zip(_FOUND, (False, float("nan"), False, 0.0, 0.0), strict=True))  # no fit could tell
    X, y = teacher.sample(cell["rows"], args.noise, random_state=drawn, n_jobs=args.jobs)
    started = time.perf_counter()
    options: dict[str, Any] = dict(random_state=cell["seed"], n_jobs=args.jobs)
    rec = fit(X, y, teacher.model, max_seconds=args.max_seconds, callback=line.follow(name), **options)
    seconds, missed = time.perf_counter() - started, rec.error(teacher)
    within = args.within
    if args.noise:
        within = _NEAR * fit(X, y, teacher.model, init=teacher.parameters, **options).error(teacher)
    return dict(zip(_FOUND, (bool(missed < within), missed, rec.converged, rec.n_passes, seconds), strict=True))


def _key(cell: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{value:g}" if isinstance(value, float) else str(value) for value in (cell[name] for name in _CELL))


def _read(path: Path | None) -> dict[tuple[str, ...], dict[str, Any]]:
    """Results that a table holds; a last line that was being written when its call was ended is left out."""
    if path is None or not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows = list(csv.reader(whole.splitlines()))
    if not rows or tuple(rows[0]) != (*_CELL, *_FOUND):
        raise ValueError(f"--output: {path.name} is no table of this command: remove it or choose another name")
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    found = {}
    for row in rows[1:]:
        one: dict[str, Any] = dict(zip((*_CELL, *_FOUND), row, strict=True))
        for name in (*_CELL[1:3], "rows", "seed"):
            one[name] = int(one[name])
        for name in ("rows_a_weight", "noise", "condition", "error", "passes", "seconds"):
            one[name] = float(one[name])
        for name in ("recovered", "converged"):
            one[name] = one[name] == "True"
        found[_key(one)] = one
    return found


def _append(path: Path, found: dict[str, Any]) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow((*_CELL, *_FOUND))
        writer.writerow([found[name] for name in (*_CELL, *_FOUND)])


def _counted(args: argparse.Namespace, results: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Counts and seconds, a line for each number of inputs and a column for each number of rows."""
    lines = []
    for d in args.features:
        line = [str(d)]
        for ratio in args.rows:
            some = [one for one in results if one["features"] == d and one["rows_a_weight"] == ratio]
            seconds = float(np.median([one["seconds"] for one in some]))
            line.append(f"{sum(one['recovered'] for one in some)} ({seconds:.2g} s)")
        lines.append(tuple(line))
    return ("inputs", *(f"{ratio:g}" for ratio in args.rows)), lines


def _draw(args: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Shares recovered over rows a weight, a line for each number of inputs."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from ..plotting import STYLE

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 4.2), layout="constrained")
        axes = figure.subplots()
        for d in args.features:
            shares = [
                np.mean([one["recovered"] for one in results if (one["features"], one["rows_a_weight"]) == (d, ratio)])
                for ratio in sorted(args.rows)
            ]
            axes.plot(sorted(args.rows), shares, "o-", label=f"{d} inputs")
        axes.set_xscale("log")
        axes.set_xticks(sorted(args.rows), [f"{ratio:g}" for ratio in sorted(args.rows)])
        axes.minorticks_off()
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("rows for each weight")
        axes.set_ylabel("share recovered")
        axes.set_title(f"{args.model}, {args.hidden} hidden units, noise {args.noise:g}")
        axes.legend()
        figure.savefig(args.plot, dpi=130)
