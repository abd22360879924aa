"""ReLU with k = 50, d = 100 and n = 8 d k: 5,000 unknowns, signs unknown, ours alone.

A case of its own because one problem takes as long as a whole cell of the other studies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..harness import Context
from .goals import attempt
from .phase import summary
from .workers import Workers

_SHAPE, _QUICK, _SEEDS = (50, 100, 8), (8, 16, 8), 4


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each seed, so that an interruption costs one problem, then the cell."""
    k, d, ratio = _QUICK if context.quick else _SHAPE
    n, seeds = ratio * d * k, 1 if context.quick else _SEEDS
    head = {"activation": "relu", "k": k, "d": d, "n/(dk)": ratio, "n": n}
    cells = [({**head, "seed": seed}, [("relu", k, d, n, "ours", seed)]) for seed in range(seeds)]
    found = []
    with Workers(context) as workers:
        for row in workers.cells(context, cells, attempt, _one):
            found.append((row["error"], row["seconds"], row["converged"]))
            yield row
    yield head | summary(found)


def _one(found: list[tuple[float, float, bool]]) -> dict[str, Any]:
    return dict(zip(("error", "seconds", "converged"), found[0], strict=True))
