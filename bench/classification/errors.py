"""Distance of the minimiser from the truth against n and d: cross entropy against squared loss.

Both are fitted to the same labels, and every fit begins at the truth, so that what is measured is the
estimator and not the search.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import K, planted

_ROWS = {
    "fcn": (2000, 4000, 8000, 16_000, 32_000, 64_000),
    "cnn": (250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000),
}
_INPUTS = {"fcn": (5, 10, 20), "cnn": (10, 20, 40)}
_ASYMPTOTIC = 0.2


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each network, size and n, then a slope of log error over log n for each size."""
    trials = 2 if context.quick else 8
    for network in ("fcn", "cnn"):
        for inputs in _INPUTS[network][:1] if context.quick else _INPUTS[network]:
            context.say(f"{network}, {inputs} inputs")
            cells = []
            for n in _ROWS[network][1:4] if context.quick else _ROWS[network]:
                cells.append(
                    {"network": network, "inputs": inputs, "n": n} | _cell(network, inputs, n, trials, context)
                )
                yield cells[-1]
            yield {"network": network, "inputs": inputs} | _slopes(cells)


def _cell(network: str, inputs: int, n: int, trials: int, context: Context) -> dict[str, Any]:
    errors = np.array([_pair(network, inputs, n, seed, context) for seed in range(trials)])
    cross, squared = np.median(errors, axis=0)
    return {
        "trials": trials,
        "cross entropy": float(cross),
        "squared loss": float(squared),
        "squared / cross": float(np.median(errors[:, 1] / errors[:, 0])),
        "error / sqrt(log n / n)": float(cross / np.sqrt(np.log(n) / n)),
    }


def _pair(network: str, inputs: int, n: int, seed: int, context: Context) -> tuple[float, float]:
    import fastrecover as fr

    teacher, X, y = planted(network, inputs, n, seed)
    squared = (
        fr.models.Regression("sigmoid", K, output_weights=[1.0 / K] * K)
        if network == "fcn"
        else fr.models.ConvRegression(K, "sigmoid")
    )
    # On all rows from the start: the smaller sample of the default may have its minimum at infinity.
    options = dict(init=teacher.weights, solver="gauss-newton", n_jobs=context.threads)
    return tuple(fr.fit(X, y, model, **options).error(teacher) for model in (teacher.model, squared))


def _slopes(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Exponents of n, from the cells with a small error, where the asymptotics can hold."""
    found: dict[str, Any] = {}
    for loss in ("cross entropy", "squared loss"):
        points = [(cell["n"], cell[loss]) for cell in cells if cell[loss] < _ASYMPTOTIC]
        if len(points) < 3:
            found |= {f"{loss}: exponent": float("nan"), f"{loss}: of log n / n": float("nan")}
            continue
        n, error = np.array(points).T
        exponents = (np.polyfit(np.log(x), np.log(error), 1)[0] for x in (n, np.log(n) / n))
        found |= dict(zip((f"{loss}: exponent", f"{loss}: of log n / n"), map(float, exponents), strict=True))
    return found
