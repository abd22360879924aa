"""A lag-embedded series swept as a view against its materialised copy.

Neighbouring rows of the view share all but one frame, so a sweep needs a tenth of the copy's traffic; the two
must agree to the last bit, since blocks are cut by row number alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .harness import Context, Neighbours, alternate, median, ratio

FRAMES, CHANNELS, LAGS = 300_009, 24, 10


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows for each activation and k."""
    import fastrecover as fr

    rng = np.random.default_rng(0)
    stim = rng.standard_normal((20_009 if context.quick else FRAMES, CHANNELS), np.float32)
    view = fr.lagged(stim, LAGS)
    copy = np.ascontiguousarray(view)
    y = rng.standard_normal(len(view))
    for activation in ("relu", "quadratic"):
        for k in (2, 4, 16):
            context.say(f"lagged {view.shape} {activation} k={k}")
            yield _measure(stim, view, copy, y, activation, k, context)


def _measure(stim, view, copy, y, activation: str, k: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    w = np.random.default_rng(k).standard_normal(k * view.shape[1]) / np.sqrt(view.shape[1])
    ours = {
        name: fr.objective(rows, y, activation, k, n_jobs=context.threads)
        for name, rows in (("view", view), ("copy", copy))
    }
    calls: dict[str, Any] = {name: lambda o=o: o.value_and_grad(w) for name, o in ours.items()}
    same = all(np.array_equal(a, b) for a, b in zip(calls["view"](), calls["copy"](), strict=True))
    if context.probes is not None:
        calls["read copy"] = context.probes.reader(copy, context.threads)
        calls["fma"] = context.probes.multiplier(copy.dtype, context.threads)
    with Neighbours() as others:
        times = alternate(calls, rounds=context.rounds)
    flops = 4.0 * copy.size * k
    row: dict[str, Any] = {
        "n": len(view),
        "d": view.shape[1],
        "k": k,
        "activation": activation,
        "view ms": 1e3 * median(times["view"]),
        "copy ms": 1e3 * median(times["copy"]),
        "copy / view": ratio(times, "copy", "view"),
        "view MB": stim.nbytes / 1e6,
        "copy MB": copy.nbytes / 1e6,
        "same bits": same,
        "GFLOP/s": flops / median(times["view"]) / 1e9,
        "others": others.cores,
    }
    if context.probes is not None:
        row["read copy ms"] = 1e3 * median(times["read copy"])
        row["fma bound ms"] = 1e3 * median(times["fma"]) * flops / context.probes.multiplier_flops(copy.dtype)
    return row
