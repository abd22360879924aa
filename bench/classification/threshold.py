"""Smallest n at which a fit that knows nothing ends where one that begins at the truth does.

A seed counts when the fit from the truth converges and the other's error is at most two per cent larger;
where the likelihood has no maximum there is nothing to reach, and such seeds never count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import planted

WITHIN, NEEDED = 1.02, 0.95
_ROWS = {
    "fcn": (1500, 2000, 2500, 3000, 4000, 5000, 5500, 6000, 8000),
    "cnn": (200, 300, 400, 500, 600, 700, 800, 1000, 1500),
}
_INPUTS = 20
_INITS = ("tensor", "auto")


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each network and n."""
    for network in ("fcn", "cnn"):
        for n in _ROWS[network][-2:] if context.quick else _ROWS[network]:
            context.say(f"{network}, {_INPUTS} inputs, {n} rows")
            yield {"network": network, "inputs": _INPUTS, "n": n} | _cell(
                network, n, 2 if context.quick else 20, context
            )


def _cell(network: str, n: int, seeds: int, context: Context) -> dict[str, Any]:
    found = [_seed(network, n, seed, context) for seed in range(seeds)]
    finite = np.array([one["finite"] for one in found])
    row: dict[str, Any] = {"seeds": seeds, "finite optimum": int(finite.sum())}
    for init in _INITS:
        ratio = np.array([one[init] / one["truth"] for one in found])
        row[init] = int((finite & (ratio <= WITHIN)).sum())
        row[f"{init}: same"] = int((finite & (np.abs(ratio - 1) <= WITHIN - 1)).sum())
    row["error from the truth"] = float(np.median([one["truth"] for one in found]))
    row["error of the start"] = float(np.median([one["start"] for one in found]))
    row["seconds"] = float(np.median([one["seconds"] for one in found]))
    return row


def _seed(network: str, n: int, seed: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr
    from fastrecover.starts import tensor_start

    teacher, X, y = planted(network, _INPUTS, n, seed)
    model = teacher.model
    best = fr.fit(X, y, model, init=teacher.weights, n_jobs=context.threads)
    one: dict[str, Any] = {"finite": best.converged, "truth": best.error(teacher)}
    start = tensor_start(best.objective.engine, model, np.random.SeedSequence(0))
    one["start"] = model.error(start, teacher.parameters)
    for init in _INITS:
        rec = fr.fit(X, y, model, init=init, random_state=0, n_jobs=context.threads)
        one[init] = rec.error(teacher) if rec.converged else float("inf")
        if init == "auto":
            one["seconds"] = rec.seconds
    return one
