"""recover a network from a data file

Rows and responses come from X.npy y.npy, from one .npz file, or from one .csv file. The exit code is 0 when
the fit converged, 1 when it did not (the result is written all the same) and 2 for bad usage or input.

examples:
  fastrecover fit X.npy y.npy --model relu --n-hidden 5 -o rec.npz
  fastrecover fit table.csv --y-key price --model softplus --n-hidden 3 --output-weights free --intercept
  fastrecover fit cell.npz --x-key stim --y-key spikes --lags 10 --lag-shift 3 --model quadratic --n-hidden 12
      --output-weights signs --intercept --linear-term --tol 0.01 --test-rows -30000: --plot cell.png
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..api import fit
from ..models import Network, get_model
from ..recovery import Recovery
from ..storage import check_destination
from . import data
from .picture import check_picture
from .terminal import StatusLine, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover fit``."""
    data.add_arguments(parser)
    add = parser.add_argument_group("model").add_argument
    add("--model", default="relu", metavar="NAME", help="activation of the hidden units (default relu)")
    add("-k", "--n-hidden", type=int, required=True, metavar="K", help="number of hidden units")
    add("--output-weights", metavar="V", help="ones (default), signs, free, or numbers like 1,1,-1")
    add("--intercept", action="store_true", help="fit an intercept")
    add("--linear-term", action="store_true", help="fit a linear term")
    add("--slope", type=float, help="negative-side slope of leaky_relu")
    add = parser.add_argument_group("fit").add_argument
    add("--init", default="auto", help="auto (default), tensor, spectral, random, or a .npy file of weights")
    add("--solver", default="auto", help="auto (default), gauss-newton, lbfgs or gd")
    add("--tol", type=float, help="stop at this fraction of the statistical error (default 1e-6)")
    add("--max-passes", type=float, metavar="N", help="stop after this many passes over the rows")
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    add("--jobs", type=int, metavar="N", help="threads (default: all); results do not depend on it")
    add("--kernels", metavar="NAME", help="compiled, numba or reference")
    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", type=Path, metavar="FILE", help="write the recovery here; fastrecover.load reads it")
    add("--plot", type=Path, metavar="FILE", help="write a picture of the fit here")
    add("-v", "--verbose", action="count", default=0, help="a line for each stage; twice: for each step")
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Fit, report, write.

    Returns
    -------
    int
        0 if the fit converged, else 1.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        Bad input, found before the fit begins wherever that can be.
    """
    model = _model(args)
    _check_outputs(args)
    rows = data.read(args)
    train, test = data.split(args, len(rows.X))
    fitted, held = rows.part(train), None if test is None else rows.part(test)
    init = _init(args.init)
    with warnings.catch_warnings(), StatusLine() as line:
        warnings.simplefilter("ignore", UserWarning)  # the summary says whether the fit converged
        recovery = fit(
            *(fitted.X, fitted.y, model),
            sample_weight=fitted.weight,
            init=init,
            solver=args.solver,
            n_jobs=args.jobs,
            random_state=args.seed,
            tol=args.tol,
            max_passes=args.max_passes,
            callback=None if args.verbose else line.follow("fitting"),
            verbose=args.verbose,
        )
    figures = {"fitted": _figures(recovery, fitted, args.jobs)}
    if held is not None:
        figures["held back"] = _figures(recovery, held, args.jobs)
    written = _write(args, recovery, rows.shape)
    report = _json if args.json else _text
    print(report(recovery, figures, {"fitted": train, "held back": test}, written))
    return 0 if recovery.converged else 1


def _model(args: argparse.Namespace) -> Network:
    options: dict[str, Any] = {"output_weights": _numbers(args.output_weights), "slope": args.slope}
    options |= {"fit_intercept": args.intercept or None, "linear_term": args.linear_term or None}
    given = {name: value for name, value in options.items() if value is not None}
    model = get_model(args.model, args.n_hidden, **given)
    if model.is_classifier:
        raise ValueError(f"--model {args.model} is a classification, and this command fits regressions only")
    return model


def _numbers(value: str | None) -> Any:
    """A name as it is, or the numbers in ``1,1,-1``."""
    if value is None or value.lstrip()[:1] not in set("0123456789+-."):
        return value
    try:
        return [float(part) for part in value.split(",")]
    except ValueError:
        raise ValueError(f"--output-weights must be a name or numbers like 1,1,-1, got {value!r}") from None


def _check_outputs(args: argparse.Namespace) -> None:
    inputs = {path.resolve() for path in (args.data, args.responses) if path is not None}
    outputs = [path for path in (args.output, args.plot) if path is not None]
    for path in outputs:
        check_destination(path)
        if path.resolve() in inputs:
            raise ValueError(f"{path} is an input and would be overwritten")
    if len(outputs) == 2 and outputs[0].resolve() == outputs[1].resolve():
        raise ValueError(f"--output and --plot are the same file, {outputs[0]}")
    if args.plot is not None:
        check_picture(args.plot)


def _init(value: str) -> Any:
    if not value.endswith(".npy"):
        return value
    path = Path(value)
    if not path.is_file():
        raise FileNotFoundError(f"--init: {path} does not exist")
    return data.array(path)


def _figures(recovery: Recovery, rows: data.Table, jobs: int | None) -> dict[str, Any]:
    """Number of rows, R^2 and correlation of prediction and response."""
    f = recovery.predict(rows.X, n_jobs=jobs)
    y = np.asarray(rows.y, np.float64)
    w = np.ones(len(y)) if rows.weight is None else np.asarray(rows.weight, np.float64)
    w = w / max(float(w.sum()), 1e-300)
    dy, df = y - w @ y, f - w @ f
    spread = float(w @ dy**2)
    both = math.sqrt(spread * float(w @ df**2))
    r2 = 1.0 - float(w @ (y - f) ** 2) / spread if spread > 0 else math.nan
    return {"rows": len(y), "r2": r2, "correlation": float(w @ (dy * df)) / both if both > 0 else math.nan}


def _write(args: argparse.Namespace, recovery: Recovery, shape: tuple[int, int] | None) -> list[str]:
    if args.output is not None:
        recovery.save(args.output)
    if args.plot is not None:
        recovery.plot(args.plot, shape=shape)
    return [str(path) for path in (args.output, args.plot) if path is not None]


def _text(recovery: Recovery, figures: dict, ranges: dict, written: list[str]) -> str:
    rows: list[tuple[str, ...]] = [
        (
            name,
            f"{ranges[name].start}:{ranges[name].stop}",
            f"{found['r2']:.4f}",
            f"{found['correlation']:.4f}",
        )
        for name, found in figures.items()
    ]
    state = "converged" if recovery.converged else "NOT CONVERGED"
    lines = [recovery.summary(), "", table(("", "rows", "R^2", "correlation"), rows), "", state]
    return "\n".join(lines + [f"wrote {path}" for path in written])


def _json(recovery: Recovery, figures: dict, ranges: dict, written: list[str]) -> str:
    norms = np.linalg.norm(recovery.weights, axis=1)
    units = zip(norms, recovery.output_weights, strict=True)
    linear = recovery.linear
    found = {
        "model": recovery.model.describe(),
        "n_features": recovery.n_features,
        "n_rows": recovery.n_rows,
        "converged": recovery.converged,
        "message": recovery.message,
        "loss": recovery.loss,
        "n_passes": recovery.n_passes,
        "seconds": recovery.seconds,
        "units": [{"norm": float(norm), "output_weight": float(v)} for norm, v in units],
        "linear_norm": None if linear is None else float(np.linalg.norm(linear)),
        "intercept": recovery.intercept,
        **{
            name.replace(" ", "_"): {"range": [ranges[name].start, ranges[name].stop], **_finite(part)}
            for name, part in figures.items()
        },
        "written": written,
    }
    return json.dumps(found, indent=2)


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
