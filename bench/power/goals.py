"""From how few rows the weights come back to 1e-8: the hardest cells aimed at, thresholds, and the start alone.

Signs are unknown, the condition number is 2, and a cell counts as met when 19 of 20 seeds succeed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .methods import Found, ours, published, restarts
from .phase import summary
from .planted import median, planted, tensor_started
from .workers import Workers

NEEDED = 0.95
_GOALS = (
    *((name, 5, d, 1.5) for name in ("squared_relu", "relu") for d in (10, 20, 50)),
    ("relu", 10, 20, 3),
    ("relu", 20, 40, 3),
)
_METHODS = {"ours": ours, "L-BFGS": restarts, "published": published}
_PEER_SEEDS = {"L-BFGS": {5: 20, 10: 10, 20: 6}, "published": {5: 20}}  # by k; fewer where one takes long
_THRESHOLDS, _GRID = ("tanh", "erf", "leaky_relu"), (3, 2.5, 2, 1.75, 1.5)
_STARTS, _START_GRID = ("squared_relu", "relu"), (10, 20, 50, 100, 200)
_START_SHAPE = (5, 20)
START_RATE = 0.45


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: goal cells for each method, then thresholds (downwards to the first n that is not met), then starts."""
    seeds = 2 if context.quick else 20
    goals = [("squared_relu", 5, 6, 4)] if context.quick else _GOALS
    with Workers(context) as workers:
        yield from workers.cells(context, [_cell("goal", *one, "ours", seeds) for one in goals], attempt, summary)
        for name, most in _PEER_SEEDS.items():
            peers = [_cell("goal", *one, name, min(seeds, most.get(one[1], 0))) for one in goals]
            yield from workers.cells(context, [cell for cell in peers if cell[1]], attempt, summary)
        k, d = _START_SHAPE
        for activation in _THRESHOLDS[:1] if context.quick else _THRESHOLDS:
            for ratio in _GRID[:1] if context.quick else _GRID:
                cell = _cell("threshold", activation, k, d, ratio, "ours", seeds)
                row = next(workers.cells(context, [cell], attempt, summary))
                yield row
                if row["success"] < NEEDED:
                    break
        cells = [
            (
                {"part": "start", "activation": activation, "k": k, "d": d, "n/(dk)": ratio, "n": ratio * d * k},
                [(activation, k, d, ratio * d * k, seed) for seed in range(seeds)],
            )
            for activation in _STARTS
            for ratio in (_START_GRID[:1] if context.quick else _START_GRID)
        ]
        yield from workers.cells(context, cells, _start, _start_summary)


def _cell(part: str, activation: str, k: int, d: int, ratio: float, method: str, seeds: int) -> tuple:
    n = round(ratio * d * k)
    head = {"part": part, "activation": activation, "k": k, "d": d, "n/(dk)": ratio, "n": n, "who": method}
    return head, [(activation, k, d, n, method, seed) for seed in range(seeds)]


def attempt(activation: str, k: int, d: int, n: int, method: str, seed: int) -> tuple[float, float, bool]:
    """Error, seconds and what a method says of itself on one planted problem.

    Parameters
    ----------
    activation : str
    k, d, n : int
    method : {"ours", "L-BFGS", "published"}
    seed : int
    """
    teacher, X, y = planted(activation, k, d, n, seed)
    found = _METHODS[method](X, y, activation, k, seed)
    return found.error(teacher), found.seconds, found.converged


def _start(activation: str, k: int, d: int, n: int, seed: int) -> tuple[float, float]:
    teacher, X, y = planted(activation, k, d, n, seed)
    found = Found(tensor_started(X, y, activation, k, seed), 0.0, 0.0, False)
    return found.error(teacher), START_RATE * float(np.sqrt(d * k / n))


def _start_summary(found: list[tuple[float, float]]) -> dict[str, Any]:
    errors = [error for error, _ in found]
    return {
        "seeds": len(found),
        "error": median(errors),
        "90 %": float(np.quantile(errors, 0.9)),
        "0.45 sqrt(dk/n)": found[0][1],
    }
