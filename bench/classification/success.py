"""How often starts near the truth end in one and the same minimiser, against n and d.

The paper's own experiment: ten starts at a distance of a tenth of the weights' norm, success when the spread
of where they end is at most 1e-4.  Gradient descent with a constant step runs all starts side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import planted

RADIUS, SPREAD, STARTS = 0.1, 1e-4, 10
_ROWS = {"fcn": (500, 1000, 2000, 4000, 8000, 16_000), "cnn": (60, 125, 250, 500, 1000, 2000)}
_INPUTS = {"fcn": (5, 10, 20), "cnn": (10, 20, 40)}
_DESCENT = {"fcn": 10, "cnn": 20}  # one size: constant steps cost thousands of passes
_ITERATIONS = 4000


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each network, size, solver and n."""
    trials = 2 if context.quick else 10
    for network in ("fcn", "cnn"):
        for inputs in _INPUTS[network][:1] if context.quick else _INPUTS[network]:
            solvers = ("fisher scoring", *(("gd",) if inputs == _DESCENT[network] else ()))
            for solver in solvers:
                context.say(f"{network}, {inputs} inputs, {solver}")
                for n in _ROWS[network][1:3] if context.quick else _ROWS[network]:
                    yield {"network": network, "inputs": inputs, "n": n, "solver": solver} | _cell(
                        network, inputs, n, solver, trials if solver != "gd" else (trials + 1) // 2, context
                    )


def _cell(network: str, inputs: int, n: int, solver: str, trials: int, context: Context) -> dict[str, Any]:
    spreads, errors = [], []
    for seed in range(trials):
        teacher, X, y = planted(network, inputs, n, seed)
        rng = np.random.default_rng([23, seed])
        away = rng.standard_normal((STARTS, *teacher.weights.shape))
        size = np.linalg.norm(teacher.weights)
        away *= RADIUS * size / np.linalg.norm(away, axis=(1, 2), keepdims=True)
        ends = (_descent if solver == "gd" else _scoring)(teacher, X, y, teacher.weights + away, context)
        spreads.append(np.sqrt(((ends - ends.mean(axis=0)) ** 2).sum(axis=(1, 2)).mean()) / size)
        errors.append(np.median(np.linalg.norm(ends - teacher.weights, axis=(1, 2))) / size)
    return {
        "trials": trials,
        "success": float(np.mean(np.array(spreads) <= SPREAD)),
        "error": float(np.median(errors)),
        "spread": float(np.median(spreads)),
    }


def _scoring(teacher, X: np.ndarray, y: np.ndarray, starts: np.ndarray, context: Context) -> np.ndarray:
    import fastrecover as fr

    options = dict(solver="gauss-newton", tol=1e-7, n_jobs=context.threads)
    fits = (fr.fit(X, y, teacher.model, init=start, **options) for start in starts)
    return np.array([rec.weights for rec in fits])


def _descent(teacher, X: np.ndarray, y: np.ndarray, starts: np.ndarray, context: Context) -> np.ndarray:
    import fastrecover as fr

    objective = fr.objective(X, y, teacher.model, n_jobs=context.threads)
    thetas = starts.reshape(len(starts), -1).copy()
    _, _, fisher = objective.gauss_newton(teacher.weights.ravel())
    step = 1.0 / np.linalg.eigvalsh(fisher)[-1]
    for _ in range(_ITERATIONS):
        grads = objective.values_and_grads(thetas)[1]
        thetas -= step * grads
        if step * np.abs(grads).max() < 1e-8:
            break
    return thetas.reshape(starts.shape)
