"""Passes until M has a relative error of 1e-10, noiseless.

The loss says when: ``sqrt(2 loss / var y)`` is the relative error of M to within a factor near one.  "fit" counts
its start; the others begin at the same spectral start, which took two passes more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import planted, recovered

EXACT = 1e-10
_CELLS = (
    (50, 1, 6.0, 1.0),
    (50, 5, 3.0, 1.0),
    (100, 5, 6.0, 1.0),
    (100, 5, 6.0, 5.0),
    (100, 10, 10.0, 1.0),
    (500, 10, 6.0, 1.0),
)
_QUICK = ((20, 2, 6.0, 1.0),)
_SLOW = 3000
_SEEDS = 5


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each problem and solver."""
    for d, r, ratio, condition in _QUICK if context.quick else _CELLS:
        for name in ("fit", "pncg", "pncg, no matrix", "gauss-newton", "lbfgs", "gd"):
            if (name == "gd" and d > 100) or (name == "gauss-newton" and d * r > 600):
                continue
            context.say(f"d = {d}, r = {r}, n/(dr) = {ratio:g}, condition number {condition:g}: {name}")
            head = {"d": d, "r": r, "n/(dr)": ratio, "condition": condition, "solver": name}
            few = context.quick or name == "gd" or d > 100
            yield head | _cell(d, r, ratio, condition, name, 2 if few else _SEEDS, context)


def _cell(d: int, r: int, ratio: float, condition: float, name: str, seeds: int, context: Context) -> dict[str, Any]:
    passes, errors, seconds = [], [], []
    for seed in range(seeds):
        teacher, X, y = planted(d, r, ratio, seed, condition_number=condition)
        rec = _recovered(name, X, y, teacher.model, seed, context)
        passes.append(_until(rec, float(np.var(y)), counting_start=name == "fit"))
        errors.append(rec.error(teacher))
        seconds.append(rec.seconds)
    return {
        "seeds": seeds,
        "passes": float(np.median(passes)),
        "most": float(np.max(passes)),
        "final error": float(np.median(errors)),
        "seconds": float(np.median(seconds)),
    }


def _recovered(name: str, X: np.ndarray, y: np.ndarray, model: Any, seed: int, context: Context) -> Any:
    from fastrecover.solvers.quartic import FactoredDescent, QuarticConjugateGradients

    import fastrecover as fr
    from fastrecover.starts.spectral import spectral_start

    if name == "fit":
        return recovered("ours", X, y, model, seed, context, 0)[0]
    solver: Any = {
        "pncg": QuarticConjugateGradients(),
        "pncg, no matrix": QuarticConjugateGradients(dense=False),
        "gd": FactoredDescent(),
    }.get(name, name)
    engine = fr.objective(X, y, model, n_jobs=context.threads).engine
    start = spectral_start(engine, model, np.random.SeedSequence(seed)).weights
    return fr.fit(X, y, model, init=start, solver=solver, max_passes=_SLOW, n_jobs=context.threads)


def _until(rec: Any, variance: float, counting_start: bool) -> float:
    """Passes at the first line of the history with a small enough loss; inf where there is none."""
    passes, losses = np.array(rec.history["pass"]), np.array(rec.history["loss"])
    reached = np.flatnonzero(losses <= 0.5 * EXACT**2 * variance)
    if not reached.size:
        return float("inf")
    return float(passes[reached[0]] - (0.0 if counting_start else passes[0] - 1.0))
