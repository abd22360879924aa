"""How often the 95 % intervals of the sandwich hold the true parameters of a regression.

One planted network and many noisy samples of it.  In one cell the noise grows with an input, which the sandwich
allows for and the classical formula does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from . import intervals
from .workers import Workers

_MODELS = (
    ("relu", "signs", "even"),
    ("relu", "signs", "uneven"),
    ("relu", "free", "even"),
    ("squared_relu", "signs", "even"),
    ("leaky_relu", "signs", "even"),
    ("tanh", "ones", "even"),
    ("tanh", "free", "even"),
)
_K, _D, _ROWS, _NOISE = 3, 8, (500, 2000), 0.3


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each model and n."""
    fits = 5 if context.quick else 250
    cells = [
        (
            {"activation": name, "output weights": v, "noise": noise, "k": _K, "d": _D, "n": n},
            [(name, v, noise, n, seed) for seed in range(fits)],
        )
        for name, v, noise in (_MODELS[:2] if context.quick else _MODELS)
        for n in (_ROWS[-1:] if context.quick else _ROWS)
    ]
    with Workers(context) as workers:
        yield from workers.cells(context, cells, _fit, intervals.summary)


def _fit(name: str, v: str, noise: str, n: int, seed: int) -> np.ndarray | None:
    import fastrecover as fr

    teacher = fr.datasets.make_teacher(name, n_features=_D, n_hidden=_K, output_weights=v, random_state=1)
    X, y = teacher.sample(n, random_state=300_000 + seed, n_jobs=1)
    scale = _NOISE if noise == "even" else _NOISE * np.abs(X[:, 0])
    y = y + scale * np.random.default_rng([31, seed]).standard_normal(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rec = fr.fit(X, y, teacher.model, init=teacher.parameters, n_jobs=1)
    return intervals.z_scores(rec, teacher) if rec.converged else None
