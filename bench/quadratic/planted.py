"""Planted sums of squares, and the ways in which they are recovered.

The published method is gradient descent with a constant step from small random rows; the paper's constants could
not be read, so the size of the start (a hundredth of the truth's) and the step (1 over the largest curvature) are
ours.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from ..harness import Context

METHODS = ("ours", "L-BFGS", "published")


def planted(d: int, r: int, ratio: float, seed: int, noise: float = 0.0, condition_number: float = 1.0):
    """Teacher of all positive signs and singular values between 1 and the condition number, and ``ratio d r`` rows."""
    import fastrecover as fr

    teacher = fr.datasets.make_teacher(
        "quadratic", d, r, condition_number=condition_number, output_weights="ones", random_state=seed
    )
    return teacher, *teacher.sample(math.ceil(ratio * d * r), noise=noise, random_state=100_000 + seed)


def small_start(X: np.ndarray, y: np.ndarray, model: Any, seed: int) -> np.ndarray:
    """Random rows a tenth as long as the truth's, (r, d)."""
    import fastrecover as fr
    from fastrecover.starts.spectral import small_random_start

    engine = fr.objective(X, y, model, n_jobs=1).engine
    return small_random_start(engine, model, np.random.default_rng([29, seed])).weights


def recovered(method: str, X: np.ndarray, y: np.ndarray, model: Any, seed: int, context: Context, most: int):
    """Recovery by one of METHODS, and seconds; those from random rows may take `most` passes."""
    from fastrecover.solvers.quartic import FactoredDescent

    import fastrecover as fr

    options: dict[str, Any] = dict(random_state=seed, n_jobs=context.threads)
    if method != "ours":
        solver = "lbfgs" if method == "L-BFGS" else FactoredDescent()
        options |= dict(init=small_start(X, y, model, seed), solver=solver, max_passes=most)
    begun = time.perf_counter()
    return fr.fit(X, y, model, **options), time.perf_counter() - begun
