"""Spike counts under white noise: subunits by squared loss against Poisson likelihoods, on windows held out.

The folder of the user's holds one cell of macaque visual cortex (Rust, Schwartz, Movshon and Simoncelli 2005) with 24
bars of -1 or +1 a frame; a window is ten frames, and ends three frames before its count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .harness import Context, Row

FILE = "v1_white_noise.npz"
_LAGS, _DELAY, _TRAINED, _SECONDS = 10, 3, 200_000, 300.0
_LEAST = 1e-3  # a squared loss may predict rates below zero: its likelihood is that of no less than this
_LOSSES = ("squared", "poisson, softplus", "poisson, log")


def run(context: Context) -> Iterator[Row]:
    """One row for each number of quadratic units and loss."""
    path = context.file(FILE)
    if path is None:
        return
    with np.load(path) as file:
        frames, counts = file["stim"].astype(np.float32), file["spikes"].astype(np.float64)
    if context.quick:
        frames, counts = frames[:6000], counts[:6000]
    cells = [{"units": k, "loss": loss} for k in ((2,) if context.quick else (6, 12)) for loss in _LOSSES]
    yield from context.each(cells, lambda context, units, loss: measure(context, frames, counts, units, loss))


def measure(context: Context, frames: np.ndarray, counts: np.ndarray, units: int, loss: str) -> Row:
    """Correlation and mean log likelihood (without its constant, in nats a frame) on the windows after the first."""
    import fastrecover as fr

    y = counts[_LAGS - 1 + _DELAY :]
    X = fr.lagged(frames, _LAGS)[: len(y)]
    first = min(_TRAINED, 3 * len(y) // 4)
    begun = time.perf_counter()
    rec = fr.fit(
        X[:first],
        y[:first],
        _model(loss, units),
        random_state=0,
        tol=0.05,
        n_jobs=context.threads,
        max_passes=100 if context.quick else None,
        max_seconds=_SECONDS,
    )
    row: Row = {"seconds": time.perf_counter() - begun, "passes": rec.n_passes, "converged": rec.converged}
    for name, part in (("trained", slice(first)), ("held out", slice(first, None))):
        rates = rec.predict(X[part])
        row[f"correlation, {name}"] = float(np.corrcoef(rates, y[part])[0, 1])
        rates = np.maximum(rates, _LEAST)
        row[f"log likelihood, {name}"] = float(np.mean(y[part] * np.log(rates) - rates))
    return row


def _model(loss: str, units: int) -> Any:
    import fastrecover as fr

    kind, _, link = loss.partition(", ")
    if kind == "squared":
        return fr.models.Quadratic(units, "signs", True, True)
    return fr.models.Poisson("quadratic", units, link, "signs", True, True)
