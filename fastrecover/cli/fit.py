"""recover a network from a data file

Rows and responses come from X.npy y.npy, or from one file of arrays (.npz, .zarr, .h5) or a table (.parquet, .arrow,
.feather, .csv). What is large is read in blocks, so a fit needs little memory. The exit code is 0 when the fit
converged, 1 when it did not (the result is written all the same) and 2 for bad usage or input.

examples:
  fastrecover fit X.npy y.npy --model relu --n-hidden 5 -o rec.npz
  fastrecover fit table.csv --y-key price --model softplus --n-hidden 3 --output-weights free --intercept
  fastrecover fit trials.parquet --y-key answer --columns left,right,speed --model fcn --n-hidden 3 --test-rows -1000:
  fastrecover fit iris.csv --y-key species --loss logistic --model tanh --n-hidden 3 --alpha 1 --class-weight balanced
  fastrecover fit table.csv --y-key height,weight --model relu --n-hidden 8 --output-weights free --hidden-bias
      --intercept --alpha auto
  fastrecover fit X.npy counts.npy --loss poisson --link softplus --model relu --n-hidden 2 --hidden-bias
  fastrecover fit d.npz --model zhong2017 --activation squared_relu --n-hidden 5
  fastrecover fit cell.h5 --x-key stim --y-key spikes --lags 10 --lag-shift 3 --model quadratic --n-hidden 12
      --output-weights signs --intercept --linear-term --tol 0.01 --test-rows -30000: --plot cell.png
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .._progress import notice
from .._validation import check_finite, check_weights
from ..api import fit
from ..losses import encode_labels
from ..models import ModelOptions, Network, OutputWeights, get_model
from ..models.parameters import lengths
from ..papers import PRESETS
from ..plan import INITS, SOLVERS
from ..recovery import Recovery
from ..request import INPUTS
from ..sources import read_all
from ..storage import check_destination
from . import data
from .layout import ModelAction
from .picture import check_picture
from .terminal import StatusLine, table

_TITLES = {"r2": "R^2", "d2": "D^2", "log_loss": "log loss"}

_TAKE_ACTIVATION = tuple(name for name, preset in PRESETS.items() if preset.takes_activation)

#: Options of models and of :func:`fastrecover.fit`, and the arguments of the command that give them.
_OF_MODEL = {
    "output_weights": "output_weights",
    "slope": "slope",
    "fit_intercept": "intercept",
    "linear_term": "linear_term",
    "hidden_bias": "hidden_bias",
    "n_patches": "n_patches",
    "activation": "activation",
    "loss": "loss",
    "delta": "delta",
    "link": "link",
}
_OF_FIT = {
    "init": "init",
    "solver": "solver",
    "restarts": "restarts",
    "inputs": "inputs",
    "n_jobs": "jobs",
    "random_state": "seed",
    "tol": "tol",
    "max_passes": "max_passes",
    "max_seconds": "max_seconds",
    "verbose": "verbose",
    "alpha": "alpha",
    "class_weight": "class_weight",
    "checkpoint": "checkpoint",
}
_ARGUMENTS = _OF_MODEL | _OF_FIT | {"n_hidden": "n_hidden", "sample_weight": "weight_key"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover fit``; those that are not given are left to :func:`fastrecover.fit`."""
    data.add_arguments(parser)
    add = parser.add_argument_group("model").add_argument
    add(
        "--model",
        default="relu",
        action=ModelAction,
        metavar="NAME",
        help="activation of the hidden units (default relu); fcn or cnn for two labels by the mean of sigmoid units; "
        f"or a paper's algorithm as published: {', '.join(PRESETS)}; 'list' shows all and ends",
    )
    add("-k", "--n-hidden", type=_count, metavar="K", help="number of hidden units, or auto; not for cnn")
    add("--n-patches", type=int, metavar="P", help="patches that the features are cut into, for cnn")
    add("--activation", metavar="NAME", help=f"activation of {', '.join(_TAKE_ACTIVATION)}, in place of their own")
    add(
        "--output-weights",
        metavar="V",
        help="signs (default; ones for sigmoid, free with --loss logistic and poisson), ones, free, or numbers like "
        "1,1,-1; several responses need free",
    )
    add(
        "--hidden-bias", action="store_true", default=None, help="fit biases of the units (always with --loss logistic)"
    )
    add(
        "--intercept",
        action="store_true",
        default=None,
        help="fit an intercept (always with --loss logistic and poisson)",
    )
    add("--linear-term", action="store_true", default=None, help="fit a linear term")
    add("--slope", type=float, metavar="X", help="negative-side slope of leaky_relu")
    add(
        "--loss",
        choices=("squared", "huber", "logistic", "poisson"),
        metavar="NAME",
        help="squared (default), huber (wild responses count for little), logistic (labels of two classes or more) or "
        "poisson (counts)",
    )
    add("--delta", type=float, metavar="X", help="residual from which huber is linear (default 1)")
    add("--link", choices=("log", "softplus"), metavar="NAME", help="of poisson: log (default) or softplus")
    add = parser.add_argument_group("fit").add_argument
    add("--init", metavar="NAME", help=f"{', '.join(INITS)}, or a .npy file of weights")
    add("--solver", metavar="NAME", help=", ".join(SOLVERS))
    add("--restarts", type=_count, metavar="R", help="the best of so many random starts (default auto: a search)")
    add(
        "--alpha",
        type=_alpha,
        metavar="A",
        help="penalty on the squares of all weights: a number (default 0), or several like 0.1,1,10, of which the one "
        "that is best on held-out rows is taken, or auto: of eleven",
    )
    add("--class-weight", choices=("balanced",), metavar="W", help="balanced: all classes weigh the same")
    add(
        "--inputs",
        choices=INPUTS,
        metavar="NAME",
        help=f"what starts make of rows that are not N(0, I): {', '.join(INPUTS)}",
    )
    add("--tol", type=float, metavar="X", help="stop at this fraction of the statistical error (default 1e-3)")
    add("--max-passes", type=float, metavar="N", help="stop after this many passes over the rows")
    add("--max-seconds", type=float, metavar="S", help="stop after so many seconds")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of all random numbers (default 0, so that a call can be repeated)",
    )
    add("--jobs", type=int, metavar="N", help="threads (default: all); results do not depend on it")
    add("--kernels", metavar="NAME", help="compiled, numba or reference")
    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", type=Path, metavar="FILE", help="write the recovery here; fastrecover.load reads it")
    add("--plot", type=Path, metavar="FILE", help="write a picture of the fit here")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep here what passes over the rows find, so that the same command goes on from there after Ctrl-C or a "
        "crash",
    )
    add("-v", "--verbose", action="count", help="a line for each stage; twice: for each step")
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
    with _told_by_option():
        model, options = _model(args)
    given = _given(args)
    _check_outputs(args)
    rows = data.read(args, labelled=model.loss.takes_labels)
    train, test = data.split(args, len(rows.y))
    fitted, held = rows.part(train), None if test is None else rows.part(test)
    classes = _classes(args, model, fitted)
    if held is not None:
        _check_held(held, model, classes)
    with _told_by_option(), warnings.catch_warnings(), StatusLine() as line:
        warnings.simplefilter("ignore", UserWarning)  # the summary says whether the fit converged
        warnings.filterwarnings("always", "checkpoint ", UserWarning)
        warnings.showwarning = lambda message, *_, **__: notice(str(message))  # each in a line of its own
        recovery = fit(
            *(fitted.X, fitted.y, args.model, args.n_hidden),
            sample_weight=fitted.weight,
            callback=None if args.verbose else line.follow("fitting"),
            **given,
            **options,
        )
    figures = {"fitted": _figures(recovery, fitted, args.jobs)}
    if held is not None:
        figures["held back"] = _figures(recovery, held, args.jobs)
    ranges = {"fitted": train} | ({} if test is None else {"held back": test})
    written: list[str] = []
    try:
        # A shared filter is no image of a whole row.
        written.extend(_written(args, recovery, rows.shape if model.n_patches == 1 else None))
    finally:  # a file that cannot be written takes nothing of the fit with it
        print((_json if args.json else _text)(recovery, figures, ranges, written), flush=True)
    return 0 if recovery.converged else 1


def _model(args: argparse.Namespace) -> tuple[Network, ModelOptions]:
    """The model that the fit will be asked for, and its options as they were given."""
    all_options = {name: getattr(args, argument) for name, argument in _OF_MODEL.items()}
    all_options["output_weights"] = _numbers(args.output_weights)
    options: Any = {name: value for name, value in all_options.items() if value is not None}
    if args.n_hidden is None and not args.model.endswith("cnn"):
        raise ValueError("--n-hidden (or -k) is required: the number of hidden units to recover")
    if args.activation is not None and args.model not in _TAKE_ACTIVATION:
        raise ValueError(
            f"--activation goes with --model {', '.join(_TAKE_ACTIVATION)}; other activations are models by themselves"
        )
    if args.model in PRESETS:
        if args.n_hidden == "auto":
            raise ValueError(f"--n-hidden auto is for activations, not for preset {args.model}")
        return PRESETS[args.model].model(args.n_hidden, options), options
    n_hidden = 1 if args.n_hidden == "auto" else args.n_hidden
    return get_model(args.model, n_hidden, also=tuple(PRESETS), **options), options


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`fastrecover.fit` beside data and model, where they were given."""
    options = {name: getattr(args, argument) for name, argument in _OF_FIT.items()}
    options["init"] = None if args.init is None else _init(args.init)
    return {name: value for name, value in options.items() if value is not None}


def _count(text: str) -> int | str:
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, or auto, got {text!r}") from None


def _alpha(text: str) -> str | float | list[float]:
    """``auto``, a number, or the numbers in ``0.1,1,10``."""
    if text == "auto":
        return text
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        wanted = "must be a number, several like 0.1,1,10, or auto"
        raise argparse.ArgumentTypeError(f"{wanted}, got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


@contextmanager
def _told_by_option() -> Iterator[None]:
    """Errors that name an argument of the library name the option that gives it as well."""
    try:
        yield
    except (TypeError, ValueError) as error:
        # A name is told from a word by its place, by what it equals, or by its underscore.
        names = re.findall(r"^\w+|(?<=option ')\w+|\w+(?==)|\w+_\w+", str(error))
        known = next((_ARGUMENTS[name] for name in names if name in _ARGUMENTS), None)
        if known is None:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"--{known.replace('_', '-')}: {error}") from None


def _classes(args: argparse.Namespace, model: Network, rows: data.Table) -> np.ndarray | None:
    """The labels that are fitted, None for a regression or counts."""
    if not model.loss.takes_labels:
        if rows.y.dtype.kind in "US":
            what = f"--model {args.model}" if args.loss is None else f"--loss {args.loss}"
            fits = "--loss logistic fits labels, and --model fcn two of them"
            raise ValueError(f"the responses are text, and {what} fits numbers: {fits}")
        return None
    try:
        return model.loss.targets(rows.y, len(rows.y))[1]
    except ValueError as error:
        if args.loss is None:
            hint = f"--model {args.model} is for two labels; --loss logistic is for any number of them"
        else:
            hint = f"--loss {args.loss} is for labels"
        raise ValueError(f"{error} ({hint}, and regressions are called by their activation, such as relu)") from None


def _check_held(rows: data.Table, model: Network, classes: np.ndarray | None) -> None:
    """Refuse rows that are held back, and so not seen by the fit, before the fit and not after it."""
    try:
        if classes is None:
            model.loss.targets(rows.y, len(rows.y))
        else:
            encode_labels(rows.y, classes)
        check_weights(rows.weight, len(rows.y))
        for first, x in read_all(rows.X):
            check_finite(x, "X", first)
    except (TypeError, ValueError) as error:
        raise type(error)(f"in --test-rows, {error}") from None


def _numbers(value: str | None) -> OutputWeights | None:
    """A name as it is, or the numbers in ``1,1,-1``."""
    if value is None or value.lstrip()[:1] not in set("0123456789+-."):
        return value
    try:
        return [float(part) for part in value.split(",")]
    except ValueError:
        raise ValueError(f"--output-weights must be a name or numbers like 1,1,-1, got {value!r}") from None


def _check_outputs(args: argparse.Namespace) -> None:
    inputs = {os.path.realpath(path) for path in (args.data, args.responses) if path is not None}
    outputs = {"--output": args.output, "--plot": args.plot, "--checkpoint": args.checkpoint}
    outputs = {option: path for option, path in outputs.items() if path is not None}
    for path in outputs.values():
        check_destination(path)
        if os.path.realpath(path) in inputs:
            raise ValueError(f"{path} is an input and would be overwritten")
    for (one, path), (other, same) in combinations(outputs.items(), 2):
        if os.path.realpath(path) == os.path.realpath(same):
            raise ValueError(f"{one} and {other} are the same file, {path}")
    if args.plot is not None:
        check_picture(args.plot)


def _init(value: str) -> str | np.ndarray:
    if not value.endswith(".npy"):
        return value
    path = Path(value)
    if not path.is_file():
        raise FileNotFoundError(f"--init: {path} does not exist")
    return data.array(path)


def _figures(recovery: Recovery, rows: data.Table, jobs: int | None) -> dict[str, Any]:
    """Number of rows, and accuracy and log loss of labels, or explained share and correlation of responses."""
    if recovery.classes is not None:
        given = (rows.X, rows.y, rows.weight)
        return {"rows": len(rows.y), "accuracy": recovery.score(*given), "log_loss": recovery.log_loss(*given)}
    mean, y, loss = recovery.predict(rows.X, n_jobs=jobs), np.asarray(rows.y, np.float64), recovery.model.loss
    w = np.ones(len(y)) if rows.weight is None else np.asarray(rows.weight, np.float64)
    mean, y, w = mean[w > 0], y[w > 0], w[w > 0]
    share = "r2" if loss.in_response_units else "d2"
    return {"rows": len(rows.y), share: loss.score(y, mean, w), "correlation": _correlation(y, mean, w)}


def _correlation(y: np.ndarray, mean: np.ndarray, w: np.ndarray) -> float:
    """Of responses and predictions, the mean over outputs; nan where one is constant."""
    found = []
    for column, f in zip(y.reshape(len(y), -1).T, mean.reshape(len(y), -1).T, strict=True):
        dy, df = column - np.average(column, weights=w), f - np.average(f, weights=w)
        both = math.sqrt(float(w @ dy**2) * float(w @ df**2))
        found.append(float(w @ (dy * df)) / both if both > 0 else math.nan)
    return float(np.mean(found))


def _written(args: argparse.Namespace, recovery: Recovery, shape: tuple[int, int] | None) -> Iterator[str]:
    """Write the files that are asked for, and name each once it is there."""
    if args.output is not None:
        recovery.save(args.output)
        yield str(args.output)
    if args.plot is not None:
        recovery.plot(args.plot, shape=shape)
        yield str(args.plot)


def _text(recovery: Recovery, figures: dict[str, dict[str, Any]], ranges: dict[str, slice], written: list[str]) -> str:
    measures = [name for name in figures["fitted"] if name != "rows"]
    rows: list[tuple[str, ...]] = [
        (part, f"{ranges[part].start}:{ranges[part].stop}", *(f"{found[name]:.4f}" for name in measures))
        for part, found in figures.items()
    ]
    header = ("", "rows", *(_TITLES.get(name, name) for name in measures))
    lines = [recovery.summary(), "", table(header, rows), ""]
    if recovery.classes is not None:
        lines.append(f"classes {', '.join(map(str, recovery.classes))}: {_meaning(recovery.model)}")
    lines.append("converged" if recovery.converged else "NOT CONVERGED")
    return "\n".join(lines + [f"wrote {path}" for path in written])


def _meaning(model: Network) -> str:
    """What outputs have to do with classes."""
    if model.n_outputs > 1:
        return "an output for each, whose softmax is their probabilities"
    what = "logarithm of the odds" if model.loss.of_output else "probability"
    return f"the output is the {what} of the second"


def _json(recovery: Recovery, figures: dict[str, dict[str, Any]], ranges: dict[str, slice], written: list[str]) -> str:
    p = recovery.parameters
    columns = {"norm": lengths(p.weights), "bias": p.biases, "output_weight": p.output_weights.T}
    each = {name: column.tolist() for name, column in columns.items() if column is not None}
    units = [dict(zip(each, numbers, strict=True)) for numbers in zip(*each.values(), strict=True)]
    found = {
        "model": recovery.model.describe(),
        "n_features": recovery.n_features,
        "n_rows": recovery.n_rows,
        "converged": recovery.converged,
        "message": recovery.message,
        "loss": recovery.loss,
        "n_passes": recovery.n_passes,
        "seconds": recovery.seconds,
        "alpha": recovery.info.get("alpha", 0.0),
        "units": units,
        "weights": p.weights.tolist(),
        "linear_norm": None if p.linear is None else math.hypot(*p.linear.ravel()),
        "intercept": np.asarray(p.intercept).tolist(),
        "classes": None if recovery.classes is None else recovery.classes.tolist(),
        **{
            name.replace(" ", "_"): {"range": [ranges[name].start, ranges[name].stop], **_finite(part)}
            for name, part in figures.items()
        },
        "written": written,
    }
    return json.dumps(found, indent=2)


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
