"""How often M is recovered exactly, against n / (d r), noiseless.

(r + 1) / r is where the positive semi-definite matrix that fits the responses becomes unique.  The method as
published needs thousands of passes, so it has fewer seeds and larger n / (d r).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import METHODS, planted, recovered

EXACT = 1e-6
RANKS = (1, 3, 5, 10)
_SEEDS = {"ours": 20, "L-BFGS": 10, "published": 4}
_MOST = {"ours": 0, "L-BFGS": 1000, "published": 2000}


def ratios(method: str, d: int, r: int) -> tuple[float, ...]:
    """n / (d r) to be tried."""
    least = (r + 1) / r
    if method == "published":
        return (3.0, 6.0, 10.0) if d == 50 else (3.0, 6.0)
    if method == "L-BFGS":
        return tuple(round(x, 3) for x in (least + 0.1, 2.5, 4.0, 6.0))
    below = (max(least - 0.15, 1.0),) if d == 50 else ()  # a fit refuses fewer rows than parameters
    return tuple(round(x, 3) for x in (*below, least, least + 0.1, 3.0))


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each method, d, r and n / (d r)."""
    for d in (20,) if context.quick else (50, 100):
        for r in (1, 3) if context.quick else RANKS:
            for method in METHODS:
                context.say(f"d = {d}, r = {r}, {method}")
                for ratio in (4.0,) if context.quick else ratios(method, d, r):
                    seeds = 2 if context.quick else _SEEDS[method]
                    yield {"d": d, "r": r, "who": method, "n/(dr)": ratio} | _cell(method, d, r, ratio, seeds, context)


def _cell(method: str, d: int, r: int, ratio: float, seeds: int, context: Context) -> dict[str, Any]:
    errors, passes, seconds, wrong = [], [], [], 0
    for seed in range(seeds):
        teacher, X, y = planted(d, r, ratio, seed)
        rec, took = recovered(method, X, y, teacher.model, seed, context, _MOST[method])
        errors.append(rec.error(teacher))
        passes.append(rec.n_passes)
        seconds.append(took)
        wrong += bool(rec.converged and errors[-1] > EXACT)
    return {
        "seeds": seeds,
        "exact": int(np.sum(np.array(errors) < EXACT)),
        "error": float(np.median(errors)),
        "passes": float(np.median(passes)),
        "most passes": float(np.max(passes)),
        "seconds": float(np.median(seconds)),
        "longest": float(np.max(seconds)),
        "wrong but converged": wrong,
    }
