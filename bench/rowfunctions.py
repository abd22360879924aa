"""Every other sweep against the plain gradient's time for the same bytes and flops.

A sweep's flops are those of its two products, ``2 n d`` for each column projected on and each row of sums projected
back: those of a gradient, ``4 n d k``, with a number of units that need not be whole.  Its time is interpolated between
gradients of the neighbouring whole numbers, measured in the same rounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .harness import Context, Row
from .peers import Problem, gaussian_rows, hold_threads, our_sweep

GOAL = 1.3
_SHAPES = ((200_000, 256, 8), (50_000, 1024, 32))
_PATCHES = 8


def run(context: Context) -> Iterator[Row]:
    """Rows: each sweep in each shape and dtype."""
    hold_threads(context.threads)
    for n, d, k in [(4_000, 64, 4)] if context.quick else _SHAPES:
        for dtype in ("float64", "float32"):
            context.say(f"n {n}, d {d}, k {k}, {dtype}")
            yield from measure(gaussian_rows(n, d, dtype), k, context)


def sweeps_of(x: np.ndarray, k: int, threads: int) -> dict[str, tuple[float, Callable[[], Any]]]:
    """Columns projected on and rows projected back (of length d), and the call, of each sweep of k units."""
    import fastrecover as fr
    from fastrecover.sweeps import Landscape, MomentSweeps

    n, d = x.shape
    rng = np.random.default_rng(2)
    w, v = (rng.standard_normal((k, d)) / math.sqrt(d) for _ in range(2))
    patch = rng.standard_normal(d // _PATCHES) / math.sqrt(d // _PATCHES)
    y = rng.standard_normal(n)
    labels = (y > 0).astype(float)
    four = np.array([a.ravel() for a in (w, v, -w, -v)])

    def on(model: str, units: int | None = k, responses: np.ndarray = y, **options: Any) -> Any:
        return fr.objective(x, responses, model, units, n_jobs=threads, **options)

    relu, sigmoid, tanh, fcn = on("relu"), on("sigmoid"), on("tanh"), on("fcn", responses=labels)
    cnn = on("cnn", None, labels, n_patches=_PATCHES)
    patches = fr.objective(x, y, fr.models.ConvRegression(_PATCHES, "relu"), n_jobs=threads)
    moments, landscape = MomentSweeps(relu.engine), Landscape(relu.engine, k, -1.0)
    theta, u = w.ravel(), v.ravel()
    return {
        "gradient, sigmoid": (2 * k, lambda: sigmoid.value_and_grad(theta)),
        "gradient, tanh": (2 * k, lambda: tanh.value_and_grad(theta)),
        "four trial losses, relu": (4 * k, lambda: relu.values(four)),
        "Gauss-Newton product, relu": (3 * k, lambda: relu.hessp(theta, u, gauss_newton=True)),
        "Hessian product, tanh": (3 * k, lambda: tanh.hessp(theta, u)),
        "cross entropy, fcn": (2 * k, lambda: fcn.value_and_grad(theta)),
        "Fisher product, fcn": (3 * k, lambda: fcn.hessp(theta, u, gauss_newton=True)),
        "cross entropy, cnn": (2, lambda: cnn.value_and_grad(patch)),
        "gradient, cnn, relu": (2, lambda: patches.value_and_grad(patch)),
        # The means of y x and of x come with each moment.
        "M2 V": (2 * k + 2, lambda: moments.product(v)),
        "M3(., V, alpha)": (2 * k + 3, lambda: moments.product(v, 3, w[0])),
        "landscape": (3 * k, lambda: landscape.value_and_grad(theta)),
    }


def measure(x: np.ndarray, k: int, context: Context) -> Iterator[Row]:
    """All sweeps over one array, in turn with gradients of as many units."""
    sweeps = sweeps_of(x, k, context.threads)
    equal = {name: products / 2 for name, (products, _) in sweeps.items()}
    units = sorted({k} | {max(1, round_(size)) for size in equal.values() for round_ in (math.floor, math.ceil)})
    rng, calls = np.random.default_rng(3), {name: call for name, (_, call) in sweeps.items()}
    for size in units:
        plain = Problem(x, rng.standard_normal(len(x)), rng.standard_normal((size, x.shape[1])), "relu")
        calls[f"gradient {size}"] = our_sweep(plain, context.threads)
    if context.probes:
        calls |= context.probes.limits(x, context.threads)
    times, others = context.timed(calls, 9.0)
    gradients = [statistics.median(times[f"gradient {size}"]) for size in units]
    for name, size in equal.items():
        seconds, flops = statistics.median(times[name]), 4.0 * x.size * size
        row: Row = {"sweep": name, "n": len(x), "d": x.shape[1], "k": k, "dtype": str(x.dtype), "ms": 1e3 * seconds}
        row |= {"same flops as k": size, "/ gradient": seconds / float(np.interp(size, units, gradients))}
        row |= {f"within {GOAL}": row["/ gradient"] <= GOAL, "GFLOP/s": flops / seconds / 1e9}
        if context.probes:
            row |= context.probes.share(times, name, flops, x.dtype, context.threads)
        yield row | {"others": others}
