"""Regressions whose best known fits are published: does the best of r starts find them, and how long does it take?

The nine sets of NNbenchmark (Mahdi, Verma, Dutang and Kiener; tanh units with biases) that a folder of the user's
holds are compared with what sixty packages reached there, and with MINPACK's Levenberg-Marquardt from random starts
in this very run: errors are the root mean squares of the residuals of all rows, without penalty.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .harness import Context, Row

FILE = "nnbenchmark.npz"
_STARTS, _FEW, _SEEDS = 200, 10, 10
_TIMED = 10  # starts of MINPACK whose seconds are taken for those of all
_EXACT = 1e-3  # of the best known error where that is zero


@dataclass(frozen=True)
class Known:
    """Units; least error known and the share of MINPACK's starts that find it; best published median of ten runs."""

    units: int
    best: float
    share: float
    median: float


SETS = {
    "uDreyfus1": Known(3, 0.0, 0.62, 0.0),
    "uDreyfus2": Known(3, 0.09057, 0.51, 0.0906),
    "uGauss1": Known(5, 2.22151, 0.055, 2.233),
    "uGauss2": Known(4, 2.33138, 0.195, 2.365),
    "uDmod1": Known(6, 0.04005, 0.005, 0.0433),
    "mRef153": Known(3, 3.0850, 0.025, 3.18),
    "mFriedman": Known(5, 0.00367, 0.10, 0.0052),
    "mDette": Known(5, 0.02436, 0.005, 0.315),
}


def run(context: Context) -> Iterator[Row]:
    """One row for each set: the best of 200 starts, medians of the best of ten, and MINPACK's seconds over ours."""
    path = context.file(FILE)
    if path is None:
        return
    with np.load(path) as file:
        held = {name: file[name] for name in file.files if name in SETS}
    names = [name for name in SETS if name in held][: 1 if context.quick else None]
    cells = [{"set": name, "n": len(held[name]), "d": held[name].shape[1] - 1} for name in names]
    yield from context.each(cells, lambda context, set, n, d: measure(context, set, held[set]))


def measure(context: Context, name: str, table: np.ndarray) -> Row:
    """Errors and seconds of one set, whose last column is the response."""
    known, (X, y) = SETS[name], (np.ascontiguousarray(table[:, :-1]), table[:, -1].copy())
    _fitted(X, y, known.units, 1, 0)  # what a process pays once
    many = 8 if context.quick else _STARTS
    error, seconds = _fitted(X, y, known.units, many, 0)
    row: Row = {"best known": known.best, f"best of {many}": error, "seconds": seconds}
    row |= {"above best": error - known.best if known.best < _EXACT else error / known.best - 1.0}
    few = [_fitted(X, y, known.units, _FEW, seed) for seed in range(2 if context.quick else _SEEDS)]
    row |= {"median published": known.median, f"median of {_FEW}": statistics.median(error for error, _ in few)}
    row[f"seconds of {_FEW}"] = statistics.median(seconds for _, seconds in few)
    alone = [_alone(X, y, known.units, seed) for seed in range(2 if context.quick else _TIMED)]
    each = statistics.fmean(seconds for _, seconds in alone)
    return row | {"MINPACK, one start": each, "MINPACK / ours": each * many / seconds, "share": known.share}


def _fitted(X: np.ndarray, y: np.ndarray, units: int, restarts: int, seed: int) -> tuple[float, float]:
    import fastrecover as fr

    model = fr.models.Regression("tanh", units, "free", hidden_bias=True, fit_intercept=True)
    begun = time.perf_counter()
    rec = fr.fit(X, y, model, restarts=restarts, random_state=seed, n_jobs=1)
    return float(np.sqrt(np.mean((rec.predict(X) - y) ** 2))), time.perf_counter() - begun


def _alone(X: np.ndarray, y: np.ndarray, units: int, seed: int) -> tuple[float, float]:
    """MINPACK on standardised columns from one start: rows of length 1, 2 or 4 with kinks at rows of the data."""
    from scipy.optimize import least_squares

    rng, scale = np.random.default_rng([53, seed]), float(y.std())
    x, target = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / scale
    n, d = x.shape
    weights = rng.standard_normal((units, d))
    weights *= (rng.choice([1.0, 2.0, 4.0], units) / np.linalg.norm(weights, axis=1))[:, None]
    biases = -np.einsum("kd,kd->k", x[rng.integers(n, size=units)], weights)
    start = np.concatenate([weights.ravel(), biases, rng.standard_normal(units), [0.0]])

    def parts(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, (b, v) = theta[: units * d].reshape(units, d), theta[units * d : -1].reshape(2, units)
        return np.tanh(x @ w.T + b), v

    def residuals(theta: np.ndarray) -> np.ndarray:
        u, v = parts(theta)
        return np.asarray(u @ v + theta[-1] - target)

    def jacobian(theta: np.ndarray) -> np.ndarray:
        u, v = parts(theta)
        slopes = v * (1.0 - u**2)
        return np.column_stack([(slopes[:, :, None] * x[:, None]).reshape(n, -1), slopes, u, np.ones(n)])

    begun = time.perf_counter()
    end = least_squares(residuals, start, jacobian, method="lm", max_nfev=2000)
    return scale * float(np.sqrt(np.mean(end.fun**2))), time.perf_counter() - begun
