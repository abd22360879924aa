"""How often the 95 % intervals of the Fisher information hold the true weight.

One planted network and many samples of it; every weight of every fit counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..harness import Context
from ..power import intervals
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
    scores = []
    for seed in range(fits):
        X, y = teacher.sample(n, random_state=300_000 + seed)
        rec = fr.fit(X, y, teacher.model, init=teacher.weights, n_jobs=context.threads)
        scores.append(intervals.z_scores(rec, teacher) if rec.converged else None)
    return intervals.summary(scores)
