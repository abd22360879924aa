"""Planted networks of the studies: the teacher and its rows depend on a seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np


def planted(model: str, k: int, d: int, n: int, seed: int, noise: float = 0.0, **options: Any):
    """Teacher with condition number 2 (unless `options` of ``make_teacher`` say otherwise), rows and responses."""
    import fastrecover as fr

    teacher = fr.datasets.make_teacher(model, n_features=d, n_hidden=k, random_state=seed, **options)
    return teacher, *teacher.sample(n, noise, random_state=500_000 + seed, n_jobs=1)


def tensor_started(X: np.ndarray, y: np.ndarray, model: str, k: int, seed: int, **options: Any):
    """The unrefined tensor start on all rows."""
    import fastrecover as fr
    from fastrecover.starts import tensor_start

    engine = fr.objective(X, y, model, k, output_weights="free", n_jobs=1).engine
    recipe = fr.models.get_model(model, k, **{"output_weights": "signs", **options})
    return tensor_start(engine, recipe, np.random.SeedSequence(seed))


def median(values: list[float]) -> float:
    """Median that takes infinities."""
    return float(np.sort(values)[(len(values) - 1) // 2 : len(values) // 2 + 1].mean()) if values else float("nan")
