"""Third moments of the responses: projected on a few directions, and all of them in packed form.

The peers sum ``y_i z_i (x) z_i (x) z_i`` over rows z they are given; ours reads the rows of X, projects them and takes
off the identity terms of the Hermite polynomial, which for the comparison is done to the peers' result too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .harness import Context, median, quietest, ratio
from .peers import gaussian_rows, hold_threads

GOAL_PEER, GOAL_PEAK = 10.0, 0.6
_D = 128
_PROJECTED = ((100_000, 5), (100_000, 10), (50_000, 20), (10_000, 50))  # einsum writes n k^2 numbers
_PACKED = ((20_000, 32), (8_000, 64), (4_000, 128))
_AGREE = {"float64": 1e-10, "float32": 1e-3}
_BUDGET = 4.0
PEERS = ("einsum", "tensorly", "numpy blocks")


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: projected moments over k, then packed ones over d, in both dtypes."""
    import fastrecover as fr

    hold_threads(context.threads)
    for n, k in [(2_000, 5)] if context.quick else _PROJECTED:
        for dtype in ("float64", "float32"):
            context.say(f"projected moment, n={n:,} d={_D} k={k} {dtype}")
            yield _projected(n, k, dtype, context)
    if not hasattr(fr.moments, "third_packed"):
        context.leave_out("packed moment", "fastrecover.moments has no third_packed")
        return
    for n, d in [(500, 16)] if context.quick else _PACKED:
        for dtype in ("float64", "float32"):
            context.say(f"packed moment, n={n:,} d={d} {dtype}")
            yield _packed(n, d, dtype, context)


def einsum(z: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """``numpy.einsum`` through a table of ``n k^2`` numbers and BLAS.

    The path is given: the one that NumPy finds by itself spares the table and takes ten times as long.
    """
    path = ["einsum_path", (0, 1), (1, 2), (0, 1)]
    return lambda: np.einsum("n,na,nb,nc->abc", y, z, z, z, optimize=path)


def tensorly(z: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """TensorLy: the sum is a CP tensor with a component for each row."""
    import tensorly as tl

    factor = np.ascontiguousarray(z.T)
    return lambda: tl.cp_to_tensor((y, [factor, factor, factor]))


def numpy_blocks(z: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """NumPy by blocks of rows whose table of ``k^2`` products a row stays in cache."""
    k = z.shape[1]
    block = max(64, (1 << 20) // (z.itemsize * k * k))

    def moment() -> np.ndarray:
        total = np.zeros((k, k * k), z.dtype)
        for start in range(0, len(z), block):
            rows = z[start : start + block]
            pairs = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
            total += (rows * y[start : start + block, None]).T @ pairs
        return total.reshape(k, k, k)

    return moment


def centred(raw: np.ndarray, first: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The moment of Hermite polynomials from the raw one (Zhong et al. 2017, definition of M_3).

    Parameters
    ----------
    raw : ndarray (k, k, k)
        Mean of ``y z (x) z (x) z``, z = V x.
    first : ndarray (k,)
        Mean of ``y z``.
    gram : ndarray (k, k)
        V V'.

    Returns
    -------
    ndarray (k, k, k)
    """
    term = first[:, None, None] * gram
    return raw - term - term.transpose(1, 0, 2) - term.transpose(1, 2, 0)


def _projected(n: int, k: int, dtype: str, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    x = gaussian_rows(n, _D, dtype)
    y = np.random.default_rng(5).standard_normal(n)
    v = np.random.default_rng(6).standard_normal((k, _D)) / math.sqrt(_D)
    ours = {
        "ours": _ours(lambda jobs: fr.moments.third(x, y, v, n_jobs=jobs), context.threads),
        "ours 1": _ours(lambda jobs: fr.moments.third(x, y, v, n_jobs=jobs), 1),
        "numba": _ours(lambda jobs: fr.moments.third(x, y, v, n_jobs=jobs), context.threads, "numba"),
    }
    z = x @ v.T.astype(dtype)
    flops = 2.0 * n * (_D * k + math.comb(k + 2, 3))
    head = {"moment": "projected", "n": n, "d": _D, "k": k, "dtype": dtype}
    return head | _measure(ours, x, z, y, v @ v.T, flops, lambda t: t, context)


def _packed(n: int, d: int, dtype: str, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    x = gaussian_rows(n, d, dtype)
    y = np.random.default_rng(5).standard_normal(n)
    ours = {
        "ours": _ours(lambda jobs: fr.moments.third_packed(x, y, n_jobs=jobs), context.threads),
        "ours 1": _ours(lambda jobs: fr.moments.third_packed(x, y, n_jobs=jobs), 1),
        "numba": _ours(lambda jobs: fr.moments.third_packed(x, y, n_jobs=jobs), context.threads, "numba"),
    }
    flops = 2.0 * n * math.comb(d + 2, 3)
    head = {"moment": "packed", "n": n, "d": d, "k": d, "dtype": dtype}
    row: dict[str, Any] = head | _measure(ours, x, x, y, np.eye(d), flops, fr.tensors.pack, context)
    if "of peak" in row:
        row["peak goal met"] = row["of peak"] >= GOAL_PEAK
    return row


def _ours(call: Callable[[int], np.ndarray], threads: int, kernels: str | None = None) -> Callable[[], np.ndarray]:
    import fastrecover as fr

    def moment() -> np.ndarray:
        fr.set_kernels(kernels)
        try:
            return call(threads)
        finally:
            fr.set_kernels()

    return moment


def _measure(
    ours: dict[str, Callable[[], np.ndarray]],
    x: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    gram: np.ndarray,
    flops: float,
    form: Callable[[np.ndarray], np.ndarray],
    context: Context,
) -> dict[str, Any]:
    dtype = z.dtype
    calls: dict[str, Callable[[], Any]] = {}
    for name, call in ours.items():
        if name == "ours 1" and context.threads == 1:
            continue
        try:
            call()
        except Exception as error:
            if name == "ours":
                raise
            context.leave_out(name, f"{type(error).__name__}: {error}")
            continue
        calls[name] = call
    mine, first = calls["ours"](), z.T.astype(np.float64) @ y / len(y)
    responses = y.astype(dtype)
    for name, make in zip(PEERS, (einsum, tensorly, numpy_blocks), strict=True):
        try:
            call = make(z, responses)
        except ImportError as error:
            context.leave_out(name, str(error))
            continue
        theirs = form(centred(call().astype(np.float64) / len(y), first, gram))
        if np.linalg.norm(mine - theirs) > _AGREE[str(dtype)] * np.linalg.norm(theirs):
            raise ArithmeticError(f"{name} computes another moment")
        calls[name] = call
    if context.probes is not None:
        calls["read"] = context.probes.reader(x, context.threads)
        calls["fma"] = context.probes.multiplier(dtype, context.threads)
    times, others = quietest(calls, context, _BUDGET)
    row: dict[str, Any] = {f"{name} ms": 1e3 * median(times[name]) for name in (*ours, *PEERS) if name in times}
    row |= {f"{name} / ours": ratio(times, name, "ours") for name in PEERS if name in times}
    goal = [row[f"{name} / ours"] for name in ("einsum", "tensorly") if name in times]
    row["peer goal met"] = min(goal) >= GOAL_PEER
    row["speed-up"] = ratio(times, "ours 1", "ours") if "ours 1" in times else None
    row["GFLOP/s"] = flops / median(times["ours"]) / 1e9
    if context.probes is not None:
        computing = flops / context.probes.peak(dtype, context.threads)
        row["of peak"] = computing / min(times["ours"])
        row["of roofline"] = max(computing, min(times["read"])) / min(times["ours"])
    return row | {"others": others}
