"""Phase diagram of exact recovery: n / (d k) against k, signs unknown, d = 2k, condition number 2.

Each column is walked from many rows to few and ends where no problem is recovered: cells below that are given as
zero without being measured, which keeps the long failures short.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..harness import Context
from .methods import ours, restarts
from .planted import median, planted
from .workers import Workers

EXACT = 1e-8
RATIOS = (10, 6, 4, 3, 2, 1.5)
_SEEDS = {3: 10, 5: 10, 10: 8, 20: 4}
ACTIVATIONS = ("relu", "squared_relu")
METHODS = ("ours", "L-BFGS")


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each activation, k, method and n / (d k)."""
    units = {3: 2} if context.quick else _SEEDS
    with Workers(context) as workers:
        for activation in ACTIVATIONS[:1] if context.quick else ACTIVATIONS:
            for k, seeds in units.items():
                for method in METHODS:
                    lost = False
                    for ratio in RATIOS[1:3] if context.quick else RATIOS:
                        n = round(ratio * 2 * k * k)
                        head = {"activation": activation, "k": k, "d": 2 * k, "n/(dk)": ratio, "n": n, "who": method}
                        if lost:
                            yield head | {"seeds": 0, "success": 0.0}
                            continue
                        tasks = [(activation, k, n, method, seed) for seed in range(seeds)]
                        row = next(workers.cells(context, [(head, tasks)], _attempt, summary))
                        lost = row["success"] == 0.0
                        yield row


def _attempt(activation: str, k: int, n: int, method: str, seed: int) -> tuple[float, float, bool]:
    teacher, X, y = planted(activation, k, 2 * k, n, seed)
    found = (ours if method == "ours" else restarts)(X, y, activation, k, seed)
    return found.error(teacher), found.seconds, found.converged


def summary(found: list[tuple[float, float, bool]]) -> dict[str, Any]:
    """Share and number of exact recoveries, seconds, and fits that call a wrong answer converged.

    Parameters
    ----------
    found : list of (error, seconds, converged)
    """
    exact = [error < EXACT for error, _, _ in found]
    seconds = [one[1] for one in found]
    return {
        "seeds": len(found),
        "success": sum(exact) / len(found),
        "exact": sum(exact),
        "seconds": median(seconds),
        "longest": max(seconds),
        "error": median([one[0] for one in found]),
        "wrong but converged": sum(
            converged and not good for (_, _, converged), good in zip(found, exact, strict=True)
        ),
    }
