"""The paper's size, d = m = 50 orthogonal: rows found by the start alone, by the number of samples (one seed each).

The paper descends with 262,144 fresh samples a step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import planted, worst_row

_M, _ROWS = 50, (15_000, 20_000, 25_000, 30_000)


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each n."""
    import fastrecover as fr
    from fastrecover.starts import StartError, landscape_start

    m, grid = (8, (4000,)) if context.quick else (_M, _ROWS)
    for n in grid:
        context.say(f"{m} orthogonal rows, {n} samples")
        teacher, X, y = planted(m, m, 1.0, n, 0)
        began = time.perf_counter()
        row = {"m": m, "n": n}
        try:
            engine = fr.objective(X, y, teacher.model, n_jobs=context.threads).engine
            start = landscape_start(engine, teacher.model, np.random.SeedSequence(0))
        except StartError as reason:
            yield row | {"found": 0, "refused": str(reason)}
            continue
        row["seconds"] = time.perf_counter() - began
        unit = start.weights / np.linalg.norm(start.weights, axis=1)[:, None]
        row["found"] = int((np.abs(unit @ teacher.weights.T).max(axis=0) > 0.9).sum())
        row["worst cosine"] = worst_row(start.weights, teacher.weights)
        began = time.perf_counter()
        rec = fr.fit(X, y, teacher.model, init=start.weights, n_jobs=context.threads, max_passes=2000)
        yield row | {"refined error": rec.error(teacher), "refinement": time.perf_counter() - began}
