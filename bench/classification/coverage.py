"""How often the 95 % intervals of the Fisher information hold the true weight.

One planted network and many samples of it; every weight of every fit counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import teacher_of

_CELLS = (
    ("fcn", 2, 5, (1000, 2000, 4000, 16_000)),
    ("cnn", 3, 10, (250, 500, 1000, 4000)),
)


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each network and n."""
    for network, k, inputs, rows in _CELLS:
        context.say(f"{network}, {inputs} inputs, k = {k}")
        for n in rows[-1:] if context.quick else rows:
            head = {"network": network, "k": k, "inputs": inputs, "n": n}
            yield head | _cell(network, k, inputs, n, 20 if context.quick else 400, context)


def _cell(network: str, k: int, inputs: int, n: int, fits: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    teacher = teacher_of(network, inputs, 1, k)
    inside, scaled, converged = [], [], 0
    for seed in range(fits):
        X, y = teacher.sample(n, random_state=300_000 + seed)
        rec = fr.fit(X, y, teacher.model, init=teacher.weights, n_jobs=context.threads)
        converged += rec.converged
        if not rec.converged:
            continue
        z = (rec.weights - teacher.weights) / rec.standard_errors().weights
        inside.append(np.mean(np.abs(z) < 1.959964))
        scaled.append(z)
    # Weights of one fit are correlated: the standard error is that of the fits' means.
    return {
        "fits": fits,
        "converged": int(converged),
        "coverage": float(np.mean(inside)),
        "its error": float(np.std(inside) / np.sqrt(len(inside))),
        "std of z": float(np.std(scaled)),
        "bias in errors": float(np.abs(np.mean(scaled, axis=0)).max()),
    }
