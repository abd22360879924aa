"""Five hundred problems as users have them, half of them with something wrong: what may be called converged?

All activations, rows of every law and unit, noise from none to as much as signal, and fits with too few or too many
units, another activation, or responses that a few rows spoil.  Besides, fits of fewer rows under penalties.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .harness import Row
from .planted import planted
from .tasks import timed

_MODELS = ("relu", "leaky_relu", "squared_relu", "sigmoid", "tanh", "erf", "softplus", "quadratic", "fcn")
_LAWS = ("normal", "correlated", "units", "far", "heavy", "binary", "mixed")
_WRONG = ("", "", "", "", "fewer units", "more units", "activation", "outliers")
_OTHER = {"relu": "tanh", "leaky_relu": "squared_relu", "squared_relu": "tanh", "tanh": "squared_relu"}
_PENALISED = ("relu", "tanh", "softplus", "squared_relu", "leaky_relu", "erf")
_NOISES = (0.0, 0.1, 0.3, 1.0)
_ROUNDING, _ABOVE = 1e-24, 1e-2
_SECONDS = 120.0


def rows(law: str, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Inputs of a law: N(0, I); AR(0.6); columns in units of their own; means of a few deviations; t with 5 degrees of
    freedom; fair signs; or a mixture of normal, binary and skewed columns."""
    x = rng.standard_normal((n, d))
    if law == "correlated":
        for j in range(1, d):
            x[:, j] = 0.6 * x[:, j - 1] + 0.8 * x[:, j]
    elif law == "units":
        x *= 10.0 ** rng.uniform(-6, 6, d)
    elif law == "far":
        x += rng.uniform(-4, 4, d)
    elif law == "heavy":
        x = rng.standard_t(5, (n, d)) * np.sqrt(0.6)
    elif law == "binary":
        x = np.sign(x)
    elif law == "mixed":
        x[:, ::3], x[:, 1::3] = np.sign(x[:, ::3]), np.exp(x[:, 1::3]) - 1.6
    return x


def wild(number: int) -> tuple[Row, Any, Any, np.ndarray, np.ndarray]:
    """What was drawn, the teacher, the model that is fitted, rows and responses."""
    import fastrecover as fr

    rng = np.random.default_rng([97, number])
    name, law = _MODELS[number % len(_MODELS)], str(rng.choice(_LAWS))
    wrong = str(rng.choice(_WRONG)) if name != "fcn" else ""
    k, labels = int(rng.integers(1, 5)), name == "fcn"
    d = int(rng.integers(max(3, k + 1), 13))
    teacher = fr.datasets.make_teacher(name, d, k, condition_number=float(rng.uniform(1, 3)), random_state=number)
    each = 500 if labels else float(rng.uniform(8, 100))
    n = max(int(each * d * k), 100)
    x = rows(law, n, d, rng)
    weights = teacher.weights / np.sqrt((x * x).mean(axis=0))
    teacher = fr.datasets.Teacher(teacher.model, replace(teacher.parameters, weights=weights))
    noise = 0.0 if labels or rng.random() < 0.3 else float(rng.uniform(0.01, 1.0))
    if labels:
        y = (rng.random(n) < teacher.predict(x, n_jobs=1)).astype(float)
        y[:2] = 0.0, 1.0  # however sure the units are
    else:
        y = teacher.predict(x, n_jobs=1)
        y = y + noise * np.std(y) * rng.standard_normal(n)
    if wrong == "outliers":
        y[rng.integers(0, n, max(1, n // 200))] += 20.0 * np.std(y)
    model = teacher.model.with_output_weights("signs" if name not in ("sigmoid", "fcn") else "ones")
    if wrong == "fewer units" and k > 1:
        model = model.changed(n_hidden=k - 1)
    elif wrong == "more units":
        model = model.changed(n_hidden=k + 1)
    elif wrong == "activation":
        model = model.changed(activation=_OTHER.get(name, "relu"), output_weights="signs")
    else:
        wrong = wrong if wrong == "outliers" else ""
    head: Row = {
        "model": name,
        "law": law,
        "wrong": wrong or "nothing",
        "k": k,
        "d": d,
        "n": n,
        "noise": round(noise, 2),
    }
    return head, teacher, model, x, y


def verdict(cell: Row, seed: int) -> Row:
    """Whether a fit that says it converged has found the minimum, and whether one of a wrong model has a note.

    The minimum is what a fit from the truth ends at; more units than the truth have more of them, so these count as
    misspecified.
    """
    import fastrecover as fr

    head, teacher, model, x, y = wild(cell["number"])
    rec, seconds = timed(fr.fit, x, y, model, random_state=cell["number"], n_jobs=1, max_seconds=_SECONDS)
    well = head["wrong"] in ("nothing", "outliers")
    noted = not rec.converged or "not noise" in rec.message or "fewer fits" in rec.message or not rec.determined.all()
    one = head | {"seconds": seconds, "passes": rec.n_passes, "converged": rec.converged}
    if well:
        best = fr.fit(x, y, teacher.model, init=teacher.parameters, random_state=0, n_jobs=1)
        least = _ROUNDING * float(np.mean(y * y))
        above = max(rec.loss, least) / max(best.loss, least) - 1.0
        found = above < _ABOVE
        one |= {"found": found, "above the truth's": above}
        one["wrong and converged"] = bool(rec.converged and not found and rec.determined.all())
    else:
        one["wrong without a note"] = not noted
    return one | {"message": rec.message[:60]}


def penalised(cell: Row, seed: int) -> Row:
    """Whether a fit of few rows under a penalty, if it says that it converged, has the least loss that is known.

    Known are its own, those of three fits with other random numbers, and that of the best of two hundred starts.
    """
    import fastrecover as fr

    number = cell["number"]
    rng = np.random.default_rng([5, number])
    name, k = _PENALISED[number % len(_PENALISED)], int(rng.integers(1, 6))
    d, each = int(rng.integers(max(k, 3), 14)), float(rng.uniform(1.1, 2.5))
    noise, alpha = float(rng.choice(_NOISES)), float(10.0 ** rng.uniform(-3.0, 1.5))
    teacher, x, y = planted(name, d, k, math.ceil(each * d * k), number)
    y = y + noise * np.std(y) * rng.standard_normal(len(y))
    fit = partial(fr.fit, x, y, teacher.model, alpha=alpha, n_jobs=1)
    rec, seconds = timed(fit, random_state=number)
    others = [fit(random_state=1000 + i).loss for i in range(3)]
    least = min(rec.loss, *others, fit(random_state=number, restarts=200).loss)
    one: Row = {
        "model": name,
        "k": k,
        "d": d,
        "n": len(x),
        "noise": noise,
        "alpha": round(alpha, 4),
        "seconds": seconds,
    }
    one |= {"passes": rec.n_passes, "converged": rec.converged, "above the least": rec.loss / least - 1.0}
    one["found"] = one["above the least"] < _ABOVE
    return one | {"wrong and converged": rec.converged and not one["found"]}


def totals(found: list[Row]) -> Iterator[Row]:
    """Counts over all problems of either kind, with median and longest seconds."""
    for kind, counted in (("well specified", "wrong and converged"), ("misspecified", "wrong without a note")):
        some = [row for row in found if counted in row]
        if not some:
            continue
        seconds = [row["seconds"] for row in some]
        one: Row = {"all of": kind, "problems": len(some), counted: sum(row[counted] for row in some)}
        if kind == "well specified":
            one["found"] = sum(row["found"] for row in some)
        yield one | {
            "converged": sum(row["converged"] for row in some),
            "seconds": statistics.median(seconds),
            "longest": max(seconds),
        }
