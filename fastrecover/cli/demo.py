"""plant networks, recover them, and show how well and how fast that went

Each planted network is recovered twice: from exact responses, where the relative error must fall below 1e-8,
and from noisy ones, where it is compared with the error that the standard errors of the fit predict.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import kernels
from ..api import fit
from ..datasets import Teacher, make_teacher
from ..recovery import Recovery
from ..storage import check_destination
from .layout import ModelAction
from .picture import check_picture, draw
from .terminal import StatusLine, table

EXACT = 1e-8  # relative error that a recovery from exact responses must reach
_STAGES = ("start", "sub-sample", "all rows")
CLOSE = 2.0  # times the predicted error that a recovery from noisy responses may have


@dataclass
class Trial:
    """One recovery of a planted network; `predicted` is nan where standard errors do not exist."""

    teacher: Teacher
    noise: float
    recovery: Recovery
    error: float
    predicted: float

    @property
    def succeeded(self) -> bool:
        """Whether the network was recovered as well as the responses allow."""
        if not self.noise:
            return self.error <= EXACT
        return bool(np.isnan(self.predicted) or self.error <= CLOSE * self.predicted)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover demo``."""
    add = parser.add_argument
    add("--plot", type=Path, metavar="FILE", help="write a picture here")
    add(
        "--model",
        nargs="+",
        action=ModelAction,
        only_activations=True,
        default=["relu", "squared_relu", "tanh"],
        metavar="NAME",
        help="activations of the planted networks (default: relu squared_relu tanh); 'list' shows all and ends",
    )
    add("--n", type=int, default=100_000, help="rows (default 100000)")
    add("--features", type=int, default=50, metavar="D", help="inputs (default 50)")
    add("--hidden", type=int, default=5, metavar="K", help="hidden units (default 5)")
    add("--noise", type=float, default=0.1, help="standard deviation of the noise (default 0.1; 0: none)")
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    add("--jobs", type=int, metavar="N", help="threads (default: all); results do not depend on it")
    add("--kernels", metavar="NAME", help="compiled, numba or reference")


def run(args: argparse.Namespace) -> int:
    """Plant, recover, report.

    Returns
    -------
    int
        0 if every network was recovered, else 1.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        Bad input, found before the first fit.
    """
    if args.plot is not None:
        check_destination(args.plot)
        check_picture(args.plot)
    started = time.perf_counter()
    teachers = [
        make_teacher(name, args.features, args.hidden, random_state=seed)
        for seed, name in enumerate(args.model, args.seed)
    ]
    with StatusLine() as line, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table says whether a fit converged
        line.show("loading SciPy and the kernels", now=True)
        _first_use(args.jobs)
        loaded = time.perf_counter()
        trials = [trial for teacher in teachers for trial in _trials(teacher, args, line)]
        if args.plot is not None:
            line.show(f"drawing {args.plot}", now=True)
            draw([(t.teacher, t.noise, t.recovery, t.error) for t in trials], args.plot)
    print(
        f"Planted networks: {args.hidden} hidden units, {args.features} inputs, {args.n} rows; "
        f"{kernels.get_kernels()} kernels\n"
    )
    print(table(*_rows(trials), left=2))
    print("\nError: relative, of all weights, up to the order of units and other symmetries.")
    print("Predicted: the same from the standard errors of the fit. A pass reads all rows once.")
    print("Seconds: start (moments), refinement on a sub-sample, corrections on all rows.")
    total = time.perf_counter() - started
    print(f"\n{total:.1f} s in all, {loaded - started:.1f} s of them for loading SciPy and the kernels.")
    if args.plot is not None:
        print(f"Picture: {args.plot}")
    failed = [trial for trial in trials if not trial.succeeded]
    for trial in failed:
        print(f"NOT RECOVERED: {_name(trial)}, relative error {trial.error:.1e} ({trial.recovery.message})")
    return 1 if failed else 0


def _first_use(jobs: int | None) -> None:
    rows, y = make_teacher("relu", 4, 2).sample(500, random_state=0)
    fit(rows, y, n_hidden=2, output_weights="signs", random_state=0, n_jobs=jobs, max_passes=20)


def _trials(teacher: Teacher, args: argparse.Namespace, line: StatusLine) -> Iterator[Trial]:
    for noise in dict.fromkeys((0.0, args.noise)):
        label = f"{teacher.model.activation.name}, noise {noise:g}"
        line.show(f"{label}: drawing {args.n} rows", now=True)
        seed = np.random.SeedSequence(args.seed)
        X, y = teacher.sample(args.n, noise, random_state=seed, n_jobs=args.jobs)
        recovery = fit(X, y, teacher.model, random_state=args.seed, n_jobs=args.jobs, callback=line.follow(label))
        line.show(f"{label}: standard errors", now=True)
        predicted = _predicted(recovery, teacher) if noise else 0.0
        yield Trial(teacher, noise, recovery, recovery.error(teacher), predicted)


def _predicted(recovery: Recovery, teacher: Teacher) -> float:
    """Root of the summed squares of the standard errors, relative to the size of the true parameters."""
    truth = teacher.parameters.canonical(teacher.model.activation, teacher.model.free_v)
    try:
        errors = recovery.standard_errors().flat()
    except ValueError:
        # Quadratic networks of rank above one, or too many parameters.
        return float("nan")
    return float(np.linalg.norm(errors) / np.linalg.norm(truth.flat()))


def _name(trial: Trial) -> str:
    noise = f"noise {trial.noise:g}" if trial.noise else "no noise"
    return f"{trial.teacher.model.activation.name}, {noise}"


def _rows(trials: list[Trial]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    header = ("network", "responses", "error", "predicted", "converged", "passes", *_STAGES)
    rows = []
    for trial in trials:
        known = trial.noise and not np.isnan(trial.predicted)
        rows.append(
            (
                trial.teacher.model.activation.name,
                f"noise {trial.noise:g}" if trial.noise else "exact",
                f"{trial.error:.1e}",
                f"{trial.predicted:.1e}" if known else "-",
                "yes" if trial.recovery.converged else "NO",
                f"{trial.recovery.n_passes:.1f}",
                *(f"{seconds:.2f} s" for seconds in stage_seconds(trial.recovery)),
            )
        )
    return header, rows


def stage_seconds(recovery: Recovery) -> tuple[float, float, float]:
    """Time until the first recorded step, then on the sub-sample, then on all rows; together the whole fit.

    Parameters
    ----------
    recovery : Recovery

    Returns
    -------
    tuple of three floats
    """
    seconds, rows = recovery.history["seconds"], recovery.history["rows"]
    if not len(seconds):
        return recovery.seconds, 0.0, 0.0
    start = float(seconds[0])
    small = float(max(seconds[rows < recovery.n_rows], default=start))
    return start, small - start, recovery.seconds - small
