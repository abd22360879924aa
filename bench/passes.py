"""How many passes over the data a fit needs to be as good as the full-data minimiser.

A run stopped after p passes is the beginning of the longer run, so the fit at any pass comes from a repeated run
with a budget.  Distances are between outputs: the excess loss would cancel below 1e-8.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from .harness import Context, Row
from .planted import planted

_PROBLEMS = (
    *((name, noise) for name in ("relu", "squared_relu", "tanh", "quadratic") for noise in (0.1, 0.0)),
    ("fcn", 0.0),
)
GOALS = {"to 1%": 1e-2, "to 1e-8": 1e-8}
_STRICT = 1e-9


def run(context: Context) -> Iterator[Row]:
    """Rows for each problem and seed, then one for each problem."""
    d, k, seeds = (10, 2, 2) if context.quick else (50, 5, 5)
    cells = [
        {"model": model, "noise": noise, "d": d, "k": 3 if model == "fcn" else k, "seed": seed}
        for model, noise in _PROBLEMS
        for seed in range(seeds)
    ]
    rows = []
    for row in context.each(cells, measure):
        rows.append(row)
        yield row
    for at in range(0, len(rows), seeds):
        yield summary(rows[at : at + seeds])


def summary(rows: list[Row]) -> Row:
    """Medians and maxima over the seeds of one problem; one that never gets there counts as infinitely many passes."""
    found: Row = {"all seeds of": rows[0]["model"], "noise": rows[0]["noise"], "seeds": len(rows)}
    found["error, most"] = max(row["error"] for row in rows)
    for name in ("passes", "sweeps", "outside sweeps", *GOALS):
        if name in rows[0]:
            passes = [np.inf if row[name] is None else row[name] for row in rows]
            found |= {f"{name}, median": statistics.median(passes), f"{name}, most": max(passes)}
    return found


def measure(context: Context, model: str, noise: float, d: int, k: int, seed: int) -> Row:
    """A fit with the default tolerance and, where there is a statistical error, the passes to fractions of it."""
    import fastrecover as fr

    n = 1000 * k * d
    teacher, X, y = planted(model, d, k, n, seed, rows=100 + seed, noise=noise)

    def fit(**options: Any) -> Any:
        return fr.fit(X, y, teacher.model, n_jobs=context.threads, random_state=seed, **options)

    full = fit()
    row: Row = {"n": n, "passes": full.n_passes, "seconds": full.seconds, "error": full.error(teacher)}
    if noise == 0.0 and model != "fcn":
        return row
    near = fit(init=teacher.parameters, solver="gauss-newton", tol=1e-12)
    flat = k * (k - 1) // 2 if model == "quadratic" else 0
    distance = distance_to(X, y, near, None if model == "fcn" else noise, flat)
    strict = fit(tol=_STRICT)
    ends = {float(p) for p, rows in zip(strict.history["pass"], strict.history["rows"], strict=True) if rows == n}
    stops = sorted(ends | {strict.n_passes})

    @cache
    def distance_at(stop: float) -> float:
        return distance(strict if stop == strict.n_passes else fit(tol=_STRICT, max_passes=stop))

    row |= {name: first_within(stops, distance_at, bound) for name, bound in GOALS.items()}
    return row | {"distance at end": distance(full)}


def first_within(stops: list[float], distance_at: Callable[[float], float], bound: float) -> float | None:
    """First of increasing stops within the bound, None if there is none; distances are taken to fall."""
    if distance_at(stops[-1]) > bound:
        return None
    at = bisect_left(stops, True, key=lambda stop: distance_at(stop) <= bound)
    return stops[min(at, len(stops) - 1)]


def minimiser(objective: Any, theta: np.ndarray) -> np.ndarray:
    """Stationary point next to theta, by steps with one Gauss-Newton matrix as long as they shorten the gradient."""
    _, grad, matrix = objective.gauss_newton(theta)
    inverse = np.linalg.pinv(matrix, rcond=1e-10, hermitian=True)  # rotations of a quadratic network are flat
    best, least = theta, grad @ inverse @ grad
    for _ in range(40):
        theta = theta - inverse @ grad
        grad = objective.value_and_grad(theta)[1]
        size = grad @ inverse @ grad
        if not size < least:
            break
        best, least = theta, size
    return best


def distance_to(X: np.ndarray, y: np.ndarray, near: Any, noise: float | None, flat: int) -> Callable[[Any], float]:
    """Distance of a fit to the minimiser next to another fit, in units of the statistical error ``sigma sqrt(p / n)``.

    The noise is None for a classification; `flat` directions of theta do not change the network.
    """
    import fastrecover as fr

    objective = fr.objective(X, y, near.model.with_output_weights(near.output_weights))
    centre = objective.predict(minimiser(objective, objective.model.pack(near.parameters)))
    weight = 1.0 / (centre * (1.0 - centre)) if noise is None else 1.0
    unit = (noise or 1.0) * np.sqrt((objective.n_parameters - flat) / len(X))

    def distance(rec: Any) -> float:
        f = rec.predict(X) if noise else rec.predict_proba(X)[:, 1]
        return float(np.sqrt(np.mean(weight * (f - centre) ** 2)) / unit)

    return distance
