"""Fits of many features: passes of the whole fit, its time in gradient sweeps, and what is spent outside sweeps.

Passes count rows and not what is done with them, so the second number keeps the first honest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .harness import Context, Row
from .passes import summary
from .planted import planted

#: Rows, features, units, data type, and the most passes that a fit should take.
_SHAPES = (
    (200_000, 500, 10, "float64", 12),
    (200_000, 1000, 10, "float64", 14),
    (50_000, 5000, 3, "float32", 16),
)
_SMALL = ((20_000, 120, 3, "float32", 12),)
_LABELS, _FEW_LABELS = (400_000, 200, 3, "float64", 20), (20_000, 20, 2, "float64", 20)
_MODELS = ("relu", "squared_relu", "tanh")
_BUDGET = 60.0  # seconds


def run(context: Context) -> Iterator[Row]:
    """Rows for each problem and seed, then one for each problem."""
    measure(context, "relu", 0.1, 20_000, 60, 2, "float64", 0, 0)  # what the first fit of a process imports
    shapes, labels, seeds = (_SMALL, _FEW_LABELS, 1) if context.quick else (_SHAPES, _LABELS, 5)
    problems = [(model, noise, *shape) for shape in shapes for model in _MODELS for noise in (0.1, 0.0)]
    names = ("model", "noise", "n", "d", "k", "dtype", "goal")
    for problem in [*problems, ("fcn", 0.0, *labels)]:
        cell = dict(zip(names, problem, strict=True))
        rows = []
        for row in context.each([cell | {"seed": seed} for seed in range(seeds)], measure):
            rows.append(row)
            yield row
        shape = {name: cell[name] for name in ("n", "d", "k", "dtype", "goal")}
        yield shape | summary(rows)


def measure(
    context: Context, model: str, noise: float, n: int, d: int, k: int, dtype: str, goal: int, seed: int
) -> Row:
    """One fit with the default tolerance, and the gradient sweep of its array."""
    import fastrecover as fr

    teacher, X, y = planted(model, d, k, n, seed, rows=100 + seed, noise=noise)
    X = X.astype(dtype, copy=False)
    objective = fr.objective(X, y, teacher.model.with_resolved_signs(teacher.output_weights), n_jobs=context.threads)
    theta = objective.model.pack(teacher.parameters)
    sweep = min(_seconds(lambda: objective.value_and_grad(theta)) for _ in range(4))
    with _swept() as inside:
        start = time.perf_counter()
        found = fr.fit(X, y, teacher.model, n_jobs=context.threads, random_state=seed, max_seconds=_BUDGET)
        took = time.perf_counter() - start
    return {
        "passes": found.n_passes,
        "sweeps": took / sweep,
        "seconds": took,
        "outside sweeps": 1.0 - sum(inside) / took,
        "error": found.error(teacher),
        "converged": found.converged,
    }


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def _swept() -> Iterator[list[float]]:
    """Seconds of the sweeps that are made meanwhile."""
    from fastrecover.engines import ThreadEngine

    taken: list[float] = []
    plain = ThreadEngine._swept

    def timed(self: Any, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        start = time.perf_counter()
        try:
            return plain(self, *arguments)
        finally:
            taken.append(time.perf_counter() - start)

    ThreadEngine._swept = timed  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        ThreadEngine._swept = plain  # type: ignore[method-assign]
