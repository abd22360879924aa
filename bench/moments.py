"""Third moments of the responses: projected on a few directions, and all of them in packed form.

The peers sum ``y_i z_i (x) z_i (x) z_i`` over rows z they are given; ours reads the rows of X, projects them and takes
off the identity terms of the Hermite polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .harness import Context, Row
from .peers import gaussian_rows, hold_threads

_D = 128
_PROJECTED = ((100_000, 5), (100_000, 10), (50_000, 20), (10_000, 50))  # einsum writes n k^2 numbers
_PACKED = ((20_000, 32), (8_000, 64), (4_000, 128))


def run(context: Context) -> Iterator[Row]:
    """Rows: projected moments over k, then packed ones over d, in both dtypes."""
    hold_threads(context.threads)
    shapes = [("projected", n, _D, k) for n, k in _PROJECTED] + [("packed", n, d, d) for n, d in _PACKED]
    if context.quick:
        shapes = [("projected", 2_000, _D, 5), ("packed", 500, 16, 16)]
    cells = (
        {"moment": moment, "n": n, "d": d, "k": k, "dtype": dtype}
        for moment, n, d, k in shapes
        for dtype in ("float64", "float32")
    )
    yield from context.each(cells, measure)


def measure(context: Context, moment: str, n: int, d: int, k: int, dtype: str) -> Row:
    """One moment in turn with its peers."""
    import fastrecover as fr

    x, y = gaussian_rows(n, d, dtype), np.random.default_rng(5).standard_normal(n)
    v = np.random.default_rng(6).standard_normal((k, d)) / math.sqrt(d) if moment == "projected" else None
    take = fr.moments.third_packed if v is None else fr.moments.third
    z = x if v is None else x @ v.T.astype(dtype)
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: take(x, y, v, n_jobs=context.threads)}
    if context.threads > 1:
        calls["ours 1"] = lambda: take(x, y, v, n_jobs=1)
    for name, make in (("einsum", einsum), ("tensorly", tensorly)):
        try:
            calls[name] = make(z, y.astype(dtype))
        except ImportError as error:
            context.leave_out(name, error)
    # Operations that symmetry leaves, and those of the projection.
    flops = 2.0 * n * (math.comb(k + 2, 3) + (0 if v is None else d * k))
    return context.in_turn(calls, x, flops)


def einsum(z: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """``numpy.einsum`` through BLAS; the path that it finds by itself spares a table and takes ten times as long."""
    path = ["einsum_path", (0, 1), (1, 2), (0, 1)]
    return lambda: np.einsum("n,na,nb,nc->abc", y, z, z, z, optimize=path)


def tensorly(z: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """TensorLy: the sum is a CP tensor with a component for each row."""
    import tensorly as tl

    factor = np.ascontiguousarray(z.T)
    return lambda: tl.cp_to_tensor((y, [factor, factor, factor]))
