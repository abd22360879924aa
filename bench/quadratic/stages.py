"""Loss against iteration: the descent from small random rows has two stages, ours one.

While the rows grow and turn, the loss barely falls; near the truth the rate is linear.  The first stage ends where
the loss is a tenth of what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import METHODS, planted, recovered
from .success import RANKS

_RATIO, _MOST, _POINTS = 10.0, 3000, 300


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each r and method, with the curve."""
    for r in (2,) if context.quick else RANKS:
        context.say(f"r = {r}")
        for method in METHODS:
            d = 15 if context.quick else 50
            teacher, X, y = planted(d, r, _RATIO, 0)
            rec, _ = recovered(method, X, y, teacher.model, 0, context, 200 if context.quick else _MOST)
            relative = np.array(rec.history["loss"]) / (0.5 * float(np.mean(y**2)))
            yield {"d": d, "r": r, "n/(dr)": _RATIO, "who": method} | _summary(relative, np.array(rec.history["pass"]))


def _summary(relative: np.ndarray, passes: np.ndarray) -> dict[str, Any]:
    first = np.flatnonzero(relative <= 0.1)
    linear = np.flatnonzero((relative <= 1e-4) & (relative > 1e-20))
    rate = np.nan
    if len(linear) > 1:
        a, b = linear[0], linear[-1]
        rate = float((relative[b] / relative[a]) ** (1.0 / (b - a)))
    kept = np.unique(np.linspace(0, len(relative) - 1, _POINTS).astype(int))
    return {
        "iterations": len(relative) - 1,
        "first stage": int(first[0]) if first.size else None,
        "rate of the loss": rate,
        "last": float(relative[-1]),
        "at": kept.tolist(),
        "pass": passes[kept].tolist(),
        "loss": relative[kept].tolist(),
    }
