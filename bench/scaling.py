"""Time of a fit and of one sweep against n and against d, two decades each: is the slope one?

A fit's start works on a sub-sample whose size does not grow with n, so a fit's time is a constant plus a part that
is linear; the slope over the last decade is given besides that over both, and the time of one sweep, which is the
linear part alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .harness import Context, Neighbours

GOAL = (0.95, 1.05)
_PATIENCE = 10.0  # seconds after which a fit is not repeated
_LONGEST = 40.0  # seconds after which one is told to end, and then has not converged


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: fits and sweeps over two decades of n, then of d, with slopes."""
    ns = (5_000, 20_000) if context.quick else (50_000, 158_000, 500_000, 1_580_000, 5_000_000)
    ds = (5, 10) if context.quick else (10, 32, 100, 320, 1_000)
    many = 5_000 if context.quick else 100_000
    for name, shapes in (("n", [(n, 20, 3) for n in ns]), ("d", [(many, d, 3) for d in ds])):
        rows = []
        for n, d, k in shapes:
            context.say(f"fit time at n={n:,} d={d} k={k}")
            rows.append(_timed(name, n, d, k, context))
            yield rows[-1]
        yield from slopes(name, rows)


def slopes(name: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Log-log slopes over a curve and over its last decade, of a sweep and of a fit."""
    low, high = GOAL
    last = [row for row in rows if 10.5 * row[name] >= rows[-1][name]]
    for what in ("sweep", "fit"):
        whole, end = (slope([row[name] for row in part], [row[f"{what} ms"] for row in part]) for part in (rows, last))
        yield {
            "slope in": name,
            "of": what,
            "from": rows[0][name],
            "to": rows[-1][name],
            "slope": whole,
            f"within {low} to {high}": low <= whole <= high,
            "last decade": end,
            "last decade within": low <= end <= high,
        }


def _timed(name: str, n: int, d: int, k: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    teacher = fr.datasets.make_teacher("relu", n_features=d, n_hidden=k, random_state=0)
    X, y = teacher.sample(n, noise=0.1, random_state=1)
    fits: list[float] = []
    sweeps: list[float] = []
    with Neighbours() as others:
        for _ in range(2 if context.quick else 4):
            start = time.perf_counter()
            rec = fr.fit(
                X,
                y,
                model=teacher.model,
                n_jobs=context.threads,
                random_state=0,
                callback=lambda line: line["seconds"] > _LONGEST,
            )
            fits.append(time.perf_counter() - start)
            if sum(fits) > _PATIENCE:
                break
        theta = np.array(rec.objective.model.pack(rec.parameters))
        for _ in range(7):
            start = time.perf_counter()
            rec.objective.value_and_grad(theta)
            sweeps.append(time.perf_counter() - start)
    return {
        "over": name,
        "n": n,
        "d": d,
        "k": k,
        "fit ms": 1e3 * float(np.median(fits[1:] or fits)),
        "sweep ms": 1e3 * float(np.median(sweeps)),
        "ns a number": 1e9 * float(np.median(sweeps)) / (n * d),
        "passes": rec.n_passes,
        "converged": rec.converged,
        "others": others.cores,
    }


def slope(sizes: list[float], values: list[float]) -> float:
    """Least-squares slope of log values over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
