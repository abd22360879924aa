"""One gradient sweep: ours against NumPy, PyTorch, JAX, Numba and the machine's limits.

The limits are part of the rounds: the very array is read, and multiply-adds are done, between the candidates.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import peers
from .harness import Context, Row

SHAPES = (
    (400_000, 128, 4),
    (200_000, 256, 8),
    (100_000, 512, 16),
    (50_000, 1024, 64),
    (100_000, 512, 8),
    (50_000, 1024, 32),
    (2_000_000, 20, 3),
    (20_000, 10_000, 10),
)
_LABELLED = ((200_000, 256, 8),)
_LAGS, _LAGGED = 10, ((300_000, 240, 2), (300_000, 240, 4), (300_000, 240, 16))
# In float32 a projection may fall on the other side of a kink, which moves a whole row.
_AGREE = {"float64": 1e-9, "float32": 1e-2}
_BOTH = ("float64", "float32")


def run(context: Context) -> Iterator[Row]:
    """Rows: regressions, classifications, overlapping rows against their copy; then the ratios to the fastest peer."""
    peers.hold_threads(context.threads)
    cells = [
        {"n": n // (100 if context.quick else 1), "d": d, "k": k, "dtype": dtype, "model": model}
        for shapes, dtypes, models in (
            (SHAPES[: 2 if context.quick else None], _BOTH, ("relu", "sigmoid")),
            (_LABELLED, _BOTH, ("fcn", "cnn")),
            (_LAGGED, ("float32",), ("relu, lagged",)),
        )
        for n, d, k in shapes
        for dtype in dtypes
        for model in models
    ]
    rows = []
    for row in context.each(cells, measure):
        rows.append(row)
        yield row
    for dtype in _BOTH:
        found = [row["/ peer"] for row in rows if row["dtype"] == dtype and row["model"] in ("relu", "sigmoid")]
        counts = {"below 1": sum(ratio < 1.0 for ratio in found), "of": len(found)}
        yield {"dtype": dtype, "geometric mean": statistics.geometric_mean(found), "least": min(found)} | counts


def measure(context: Context, n: int, d: int, k: int, dtype: str, model: str) -> Row:
    """Candidates of one cell in turn."""
    import fastrecover as fr

    name, _, lagged = model.partition(", ")
    rng, labelled = np.random.default_rng(1), name in ("fcn", "cnn")
    w = rng.standard_normal((1, d // k) if name == "cnn" else (k, d)) / np.sqrt(d)
    y = rng.integers(0, 2, n).astype(float) if labelled else rng.standard_normal(n)
    x = peers.gaussian_rows(n + _LAGS - 1, d // _LAGS, dtype) if lagged else peers.gaussian_rows(n, d, dtype)
    x = fr.lagged(x, _LAGS) if lagged else x
    mine, problem = (peers.Problem(rows, y, w, name) for rows in (x, np.ascontiguousarray(x)))
    makers: dict[str, Any] = {"ours": partial(peers.our_sweep, mine, context.threads)}
    if context.threads > 1:
        makers["ours 1"] = partial(peers.our_sweep, mine, 1)
    if lagged:
        makers["copy"] = partial(peers.our_sweep, problem, context.threads)
    else:
        makers["torch"] = partial(peers.torch_sweep, problem)
    if not (lagged or labelled):
        makers["numba"] = partial(peers.our_sweep, problem, context.threads, "numba")
        makers["numpy"] = partial(peers.numpy_sweep, problem)
        makers["jax"] = partial(peers.jax_sweep, problem)
        if not context.quick:
            makers["torch compiled"] = partial(peers.torch_sweep, problem, compiled=True)
    # Blocks are cut by row number alone, so overlapping rows and their copy agree to the last bit.
    sweeps = agreeing(context, makers, 0.0 if lagged else _AGREE[dtype])
    row = context.in_turn(sweeps, problem.x, problem.flops, beside=y.nbytes)
    others = [other for other in sweeps if other not in ("ours", "ours 1", "numba", "copy")]
    if others:
        best = min(others, key=lambda other: row[f"{other} ms"])
        row |= {"fastest peer": best, "/ peer": row[f"{best} / ours"]}
    return row


def agreeing(context: Context, makers: dict[str, Any], tolerance: float) -> dict[str, peers.Sweep]:
    """Candidates that run; ArithmeticError unless they compute the same, which is each one's warm-up too."""
    sweeps: dict[str, peers.Sweep] = {}
    for name in [name for name in makers if name not in context.missing]:
        try:
            sweep = makers[name]()
            value, grad = sweep()
            sweep()
        except Exception as error:
            if name == "ours":
                raise
            context.leave_out(name, f"{type(error).__name__}: {error}")
            continue
        if not sweeps:
            loss, slope = value, np.ravel(grad)
        off = np.linalg.norm(np.ravel(grad) - slope) / np.linalg.norm(slope)
        if off > tolerance or abs(value / loss - 1) > tolerance:
            raise ArithmeticError(f"{name} computes another gradient: relative difference {off:.1e}")
        sweeps[name] = sweep
    return sweeps
