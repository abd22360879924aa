"""Noisy ReLU with v = 1, the setting of Zhang et al. (arXiv 1806.07808): plain gradient descent from the tensor start.

The claim is linear convergence down to a statistical floor of order sigma sqrt(d k / n).  Descent runs on all
rows at every step, with a constant step and no resampling; the start is the one by regression, since the
published one needs more than 100,000 rows for a ReLU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .methods import STEPS, Recorded, ours
from .planted import median, planted
from .workers import Workers

K = 5
_INPUTS, _NOISE, _RATIOS = (10, 20, 50), (0.1, 0.5), (6, 20, 60, 200)
_MOST_PASSES = 1500.0
_CURVE_SEED = 0


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each d, sigma and n, with the curve of its first seed."""
    trials = 2 if context.quick else 8
    grid = (
        [(10, 0.1, 20)]
        if context.quick
        else [(d, sigma, ratio) for d in _INPUTS for sigma in _NOISE for ratio in _RATIOS]
    )
    cells = [
        (
            {"d": d, "sigma": sigma, "n/(dk)": ratio, "n": ratio * d * K, "trials": trials},
            [(d, sigma, ratio * d * K, seed) for seed in range(trials)],
        )
        for d, sigma, ratio in grid
    ]
    with Workers(context) as workers:
        for row in workers.cells(context, cells, _descent, _medians):
            if "unit" not in row:
                row["unit"] = row["sigma"] * float(np.sqrt(row["d"] * K / row["n"]))
                row["floor / unit"] = row["floor"] / row["unit"]
            yield row


def _descent(d: int, sigma: float, n: int, seed: int) -> dict[str, Any]:
    import fastrecover as fr

    teacher, X, y = planted("relu", K, d, n, seed, sigma, output_weights="ones")
    ones, visited = {"output_weights": "ones"}, []
    solver = Recorded(fr.solvers.GradientDescent(STEPS["relu"]), visited.append)
    gd = ours(X, y, "relu", K, seed, init="tensor", solver=solver, max_passes=_MOST_PASSES, **ones)
    fit = ours(X, y, "relu", K, seed, **ones)
    best = ours(X, y, "relu", K, seed, init=teacher.weights, **ones)
    error, away = [], []
    for one in visited:
        error.append(float(teacher.model.error(one, teacher.parameters)))
        away.append(float(np.linalg.norm(one.weights - visited[-1].weights)))
    found = {"floor": error[-1], "start": error[0], "iterations": len(error) - 1, "GD s": gd.seconds}
    found |= {"ours": fit.error(teacher), "ours s": fit.seconds, "from the truth": best.error(teacher)}
    # To within a tenth of the floor, and the contraction of the distance to where the descent ends.
    found["to the floor"] = int(np.argmax(np.array(error) <= 1.1 * error[-1]))
    found["contraction"], found["straightness"] = contraction(np.array(away))
    if seed == _CURVE_SEED:
        found["errors"], found["distances"] = error, away
    return found


def contraction(away: np.ndarray) -> tuple[float, float]:
    """Factor by which a distance falls in each step, and how straight its logarithm is (squared correlation).

    Taken where the distance is between half and a thousandth of the first; both are nan for fewer than four steps
    there.

    Parameters
    ----------
    away : ndarray (steps,)
        Distances to the end.

    Returns
    -------
    factor, squared_correlation : float
    """
    at = np.flatnonzero((away <= 0.5 * away[0]) & (away >= 1e-3 * away[0]) & (away > 0))
    if len(at) < 4:
        return float("nan"), float("nan")
    logs = np.log(away[at])
    return float(np.exp(np.polyfit(at, logs, 1)[0])), float(np.corrcoef(at, logs)[0, 1] ** 2)


def _medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    row = {key: median([one[key] for one in found]) for key in found[-1] if not isinstance(found[-1][key], list)}
    reached = [one["floor"] <= 2.0 * one["from the truth"] for one in found]
    curves = next((one for one in found if "errors" in one), {"errors": [], "distances": []})
    return row | {
        "GD within twice": float(np.mean(reached)),
        "ours within 2 %": float(np.mean([one["ours"] <= 1.02 * one["from the truth"] for one in found])),
        "errors": curves["errors"],
        "distances": curves["distances"],
    }
