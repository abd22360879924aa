"""Time to recovery, start included: ours against L-BFGS of scikit-learn, PyTorch and JAX on the same rows.

All run until the same error of the parameters: without noise 1e-8, with noise a hundredth more than that of the
full-data minimiser (a tenth for scikit-learn, which fits output weights and biases besides).  A peer restarts from new
weights until a run has arrived or the budget is spent.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .harness import Context, Neighbours, Row
from .peers import LBFGS, Run, Watch, hold_threads
from .planted import planted

_EXACT, _WITH_NOISE, _MLP_WITH_NOISE = 1e-8, 1.01, 1.1
_SHAPES = ((100_000, 50, 5), (1_000_000, 50, 5), (200_000, 500, 10))
_BUDGET, _LEAST, _MOST = 60.0, 5.0, 30.0  # times our seconds, and seconds
_PATIENCE = 30.0  # seconds after which ours is told to end


def run(context: Context) -> Iterator[Row]:
    """Rows: one for each problem."""
    hold_threads(context.threads)
    cells = (
        {"activation": activation, "noise": noise, "n": n, "d": d, "k": k}
        for n, d, k in ([(5_000, 10, 2)] if context.quick else _SHAPES)
        for activation in ("relu", "tanh")
        for noise in (0.1, 0.0)
        if d < 500 or (activation == "relu") == (noise > 0)
    )
    yield from context.each(cells, measure)


def measure(context: Context, activation: str, noise: float, n: int, d: int, k: int) -> Row:
    """Ours, each peer until it arrives or its budget is spent, and the fastest that arrived over ours."""
    import fastrecover as fr

    teacher, X, y = planted(activation, d, k, n, 0, rows=1, noise=noise)

    def fit(**options: Any) -> Any:
        return fr.fit(X, y, teacher.model, n_jobs=context.threads, random_state=0, **options)

    least = fit(init=teacher.parameters, tol=1e-6).error(teacher) if noise else _EXACT
    seconds: list[float] = []
    with Neighbours() as others:
        while not seconds or (len(seconds) < 6 and sum(seconds) < (0.5 if context.quick else 5.0)):
            start = time.perf_counter()
            rec = fit(callback=lambda line: line["seconds"] > _PATIENCE)
            seconds.append(time.perf_counter() - start)
    ours, error = statistics.median(seconds[1:] or seconds), rec.error(teacher)
    target = _WITH_NOISE * least if noise else _EXACT
    row: Row = {"ours s": ours, "passes": rec.n_passes, "ours error": error, "ours reached": error <= target}
    found = {}
    for name, peer in LBFGS.items():
        try:
            one = peer(teacher, activation, X, y)
        except (ImportError, AttributeError) as reason:
            context.leave_out(name, reason)
            continue
        allowed = _MLP_WITH_NOISE * least if noise and name == "scikit-learn" else target
        budget = 1.0 if context.quick else float(np.clip(_BUDGET * ours, _LEAST, _MOST))
        found[name] = restarted(one, allowed, budget)
        row |= {f"{name} {key}": value for key, value in found[name].items()}
        row[f"{name} / ours"] = found[name]["s"] / ours
    return row | verdict(found, ours) | {"others": others.cores}


def restarted(attempt: Run, target: float, budget: float) -> Row:
    """Seconds and starts until a run has arrived or the budget of seconds is spent, and the smallest error."""
    spent, best, starts = 0.0, float("inf"), 0
    while best > target and spent < budget:
        with Watch(target, budget - spent) as watch:
            attempt(watch, starts)
        starts, spent, best = starts + 1, spent + watch.spent, min(best, watch.error)
    return {"s": spent, "starts": starts, "error": best, "reached": best <= target}


def verdict(found: dict[str, Row], ours: float) -> Row:
    """Fastest peer over ours; a lower bound where none has arrived."""
    if not found:
        return {}
    arrived = {name: one["s"] for name, one in found.items() if one["reached"]}
    best = min(arrived, key=arrived.__getitem__) if arrived else None
    seconds = arrived[best] if best else min(one["s"] for one in found.values())
    return {"fastest peer": best, "/ peer": seconds / ours, "at least": best is None}
