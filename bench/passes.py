"""How many passes over the data a fit needs to be as good as the full-data minimiser.

A run stopped after p passes is the beginning of the longer run, so the fit at any pass comes from a repeated run
with a budget: at every pass for the first seed of a problem, where bisection asks for the others.

Distances are between outputs, ``sqrt(mean (f - f*)^2)``, for a classification weighted by ``1 / (f* (1 - f*))``: to
first order the root of twice the excess loss, but free of the cancellation that hides it below 1e-8 and of the
model's symmetries.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

from .classification.planted import K, teacher_of
from .harness import Context

_PROBLEMS = (
    *((name, noise) for name in ("relu", "squared_relu", "tanh", "quadratic") for noise in (0.1, 0.0)),
    ("fcn", 0.0),
)
GOALS = {"to 1%": (1e-2, 10.0), "to 1e-8": (1e-8, 20.0)}
SEEDS = 5
_MOST = 60
_STRICT = 1e-9


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows for each problem and seed, then one for each problem."""
    d, k = (10, 2) if context.quick else (50, 5)
    summaries = []
    for model, noise in _PROBLEMS:
        k = K if model == "fcn" else k
        rows = []
        for seed in range(2 if context.quick else SEEDS):
            kept = context.again({"model": model, "noise": noise, "seed": seed, "n": 1000 * k * d})
            if not kept:
                context.say(f"passes of {model}, noise {noise}, seed {seed}")
            rows += kept or [_row(model, noise, 1000 * k * d, d, k, seed, context)]
            yield rows[-1]
        summaries.append(summary(rows))
    yield from summaries


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the seeds of one problem have in common.

    Parameters
    ----------
    rows : list of dict
        At least one.

    Returns
    -------
    dict
        Medians and maxima; a seed that never gets there counts as infinitely many passes.
    """
    found: dict[str, Any] = {
        "all seeds of": rows[0]["model"],
        "noise": rows[0]["noise"],
        "n": rows[0]["n"],
        "seeds": len(rows),
        "converged": sum(row["converged"] for row in rows),
        "passes, median": median(row["passes"] for row in rows),
        "passes, most": max(row["passes"] for row in rows),
        "error, most": max(row["error"] for row in rows),
    }
    for name, (_, most) in GOALS.items():
        if f"passes {name}" in rows[0]:
            passes = [np.inf if row[f"passes {name}"] is None else row[f"passes {name}"] for row in rows]
            found |= {f"{name}, median": median(passes), f"{name}, most": max(passes)}
            found[f"{name} in {most:.0f}"] = sum(p <= most for p in passes)
    return found


def first_within(stops: list[float], distance_at: Callable[[float], float], bound: float) -> float | None:
    """First stop at which the distance is at most `bound`, by bisection: distances are taken to fall.

    Parameters
    ----------
    stops : list of float
        Increasing, not empty.
    distance_at : callable
    bound : float

    Returns
    -------
    float or None
        None if the last stop is not within the bound.
    """
    if distance_at(stops[-1]) > bound:
        return None
    at = bisect_left(stops, True, key=lambda stop: distance_at(stop) <= bound)
    return stops[min(at, len(stops) - 1)]


def _row(model: str, noise: float, n: int, d: int, k: int, seed: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    if model == "fcn":
        teacher = teacher_of(model, d, seed, k)
    else:
        teacher = fr.datasets.make_teacher(model, n_features=d, n_hidden=k, random_state=seed)
    X, y = teacher.sample(n, noise=noise, random_state=100 + seed)

    def fit(**options: Any):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fr.fit(X, y, model=teacher.model, n_jobs=context.threads, random_state=seed, **options)

    full = fit()
    row: dict[str, Any] = {
        "model": model,
        "noise": noise,
        "seed": seed,
        "n": n,
        "d": d,
        "k": k,
        "passes": full.n_passes,
        "seconds": full.seconds,
        "converged": full.converged,
        "error": full.error(teacher),
    }
    if noise == 0.0 and not teacher.model.is_classifier:
        return row
    distance = Distance(X, y, fit(init=teacher.parameters, solver="gauss-newton", tol=1e-12), noise)
    strict = fit(tol=_STRICT)
    ends = {float(p) for p, rows in zip(strict.history["pass"], strict.history["rows"], strict=True) if rows == n}
    stops = sorted(ends | {strict.n_passes})
    path = {strict.n_passes: distance(strict)}

    def distance_at(stop: float) -> float:
        if stop not in path:
            path[stop] = distance(fit(tol=_STRICT, max_passes=stop))
        return path[stop]

    if seed == 0:
        for stop in stops[:_MOST]:
            distance_at(stop)
    row["start passes"] = stops[0]
    row |= {f"passes {name}": first_within(stops, distance_at, bound) for name, (bound, _) in GOALS.items()}
    row["distance at end"] = distance(full)
    row["strict end"] = distance(strict)
    row["path"] = sorted(path.items())
    return row


def minimiser(objective: Any, theta: np.ndarray) -> np.ndarray:
    """Stationary point next to theta.

    A solver ends where the loss cannot fall measurably, 1e-8 of it away from the minimiser's; the gradient says more.
    Steps with one Gauss-Newton matrix are taken as long as they shorten it, in the norm of that matrix.

    Parameters
    ----------
    objective : Objective
    theta : ndarray (n_parameters,)

    Returns
    -------
    ndarray (n_parameters,)
    """
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


class Distance:
    """Distance of a fit to the minimiser, in units of the statistical error.

    Parameters
    ----------
    X : ndarray (n, d)
    y : ndarray (n,)
    near : Recovery
        Of all rows, next to the minimiser.
    noise : float
        Standard deviation of the noise; without meaning for a classification.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, near: Any, noise: float) -> None:
        import fastrecover as fr

        self.X, model, k = X, near.model.with_output_weights(near.output_weights), near.n_hidden
        objective = fr.objective(X, y, model)
        self.centre, self.weight = objective.predict(minimiser(objective, model.pack(near.parameters))), 1.0
        if model.is_classifier:
            noise, self.weight = 1.0, 1.0 / (self.centre * (1.0 - self.centre))
        turns = k * (k - 1) // 2 if model.activation.name == "quadratic" else 0
        self.unit = noise * np.sqrt((objective.n_parameters - turns) / len(X))

    def __call__(self, rec: Any) -> float:
        """``sqrt(mean (f - f*)^2) / (sigma sqrt(p / n))``."""
        f = rec.predict_proba(self.X)[:, 1] if rec.model.is_classifier else rec.predict(self.X)
        return float(np.sqrt(np.mean(self.weight * (f - self.centre) ** 2)) / self.unit)
