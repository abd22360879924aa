"""Smallest n at which the landscape start, alone or refined, finds every row, beside other ways to begin.

"stage": the start alone, all cosines above 0.9.  "refined": init="landscape" to 1e-4.  "fit": the default fit.
"random": L-BFGS from one random start, "random 6": the best of six by their loss, both on the first seeds only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from ..power.workers import Workers
from .planted import planted, worst_row

RECOVERED, FOUND, NEEDED = 1e-4, 0.9, 0.95
_CASES = {
    (10, 10, 1.0): (200, 250, 400, 500, 700),
    (10, 10, 2.0): (200, 250, 500, 700, 1000),
    (5, 20, 1.0): (200, 250, 300, 400),
    (5, 20, 2.0): (200, 250, 300, 400, 500),
}
_METHODS = ("stage", "refined", "fit", "random", "random 6")
_SEEDS, _PEER_SEEDS = 20, 6


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each teacher and n."""
    with Workers(context) as workers:
        for (m, d, condition), grid in list(_CASES.items())[2 if context.quick else 0 :]:
            for n in grid[-1:] if context.quick else grid:
                head = {"m": m, "d": d, "condition": condition, "n": n, "unknowns": m * d}
                tasks = [(m, d, condition, n, seed) for seed in range(2 if context.quick else _SEEDS)]
                yield from workers.cells(context, [(head, tasks)], attempt, _summary)


def attempt(m: int, d: int, condition: float, n: int, seed: int) -> dict[str, bool]:
    """What each method finds on one problem."""
    import fastrecover as fr
    from fastrecover.starts import StartError, landscape_start

    from ..power.methods import ours, restarts

    teacher, X, y = planted(m, d, condition, n, seed)
    engine = fr.objective(X, y, teacher.model, n_jobs=1).engine
    try:
        start = landscape_start(engine, teacher.model, np.random.SeedSequence(seed))
        one = {"stage": worst_row(start.weights, teacher.weights) > FOUND}
    except StartError:
        one = {"stage": False}

    def recovered(found: Any) -> bool:
        return bool(found.error(teacher) < RECOVERED)

    one["refined"] = recovered(ours(X, y, teacher.model, m, seed, init="landscape"))
    one["fit"] = recovered(ours(X, y, teacher.model, m, seed))
    if seed >= _PEER_SEEDS:
        return one
    one["random"] = recovered(restarts(X, y, "relu", m, seed, 1))
    one["random 6"] = one["random"] or recovered(restarts(X, y, "relu", m, seed, 6))
    return one


def _summary(found: list[dict[str, bool]]) -> dict[str, Any]:
    row: dict[str, Any] = {"seeds": len(found)}
    for name in _METHODS:
        tried = [one[name] for one in found if name in one]
        row |= {name: sum(tried), f"{name} of": len(tried)}
    return row
