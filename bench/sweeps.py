"""One gradient sweep: ours against NumPy, PyTorch, JAX, scikit-learn and the machine's limits.

The limits are part of the rounds: the very array is read, and multiply-adds are done, between the candidates.
Times and ratios are medians; the share of the roofline sets our best round against the limit's best.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import report
from .harness import Context, median, quietest, ratio
from .peers import (
    Problem,
    gaussian_rows,
    hold_threads,
    jax_sweep,
    numpy_sweep,
    our_sweep,
    sklearn_sweep,
    torch_sweep,
)

PEERS = ("numpy", "torch", "torch compiled", "jax", "scikit-learn")

CELLS = (
    (400_000, 128, 4),
    (200_000, 256, 8),
    (100_000, 512, 16),
    (50_000, 1024, 64),
    (100_000, 512, 8),
    (50_000, 1024, 32),
    (2_000_000, 20, 3),
    (20_000, 10_000, 10),
)
GOAL_PEER = {"float64": 3.0, "float32": 2.0}
GOAL_ROOFLINE = {"memory": 0.85, "compute": 0.8}
_QUICK_CELLS = ((20_000, 128, 4), (2_000, 1024, 64))
# In float32 a projection may fall on the other side of a kink, which moves a whole row.
_AGREE = {"float64": 1e-9, "float32": 1e-2}
_BUDGET = 4.0
shown = report.sweeps


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows of the case, one for each cell, dtype and activation."""
    hold_threads(context.threads)
    for shape in _QUICK_CELLS if context.quick else CELLS:
        for dtype in ("float64", "float32"):
            n, d, k = shape
            kept = context.again({"n": n, "d": d, "k": k, "dtype": dtype})
            yield from kept
            missing = [name for name in ("relu", "sigmoid") if name not in [row["activation"] for row in kept]]
            if missing:
                rng, x = np.random.default_rng(1), gaussian_rows(n, d, dtype)
                w, y = rng.standard_normal((k, d)) / np.sqrt(d), rng.standard_normal(n)
            for activation in missing:
                context.say(f"sweep {shape} {dtype} {activation}")
                yield measure(Problem(x, y, w, activation), context)


def measure(problem: Problem, context: Context) -> dict[str, Any]:
    """Time one cell in turn with its peers and its limits."""
    dtype, threads = str(problem.x.dtype), context.threads
    sweeps = _agreeing(problem, context, _candidates(problem, context))
    calls: dict[str, Any] = dict(sweeps)
    if context.probes is not None:
        for count in {1, threads}:
            calls[f"read {count}"] = context.probes.reader(problem.x, count)
            calls[f"fma {count}"] = context.probes.multiplier(dtype, count)
    times, others = quietest(calls, context, _BUDGET)
    row: dict[str, Any] = {
        "n": problem.x.shape[0],
        "d": problem.x.shape[1],
        "k": len(problem.w),
        "dtype": dtype,
        "activation": problem.activation,
        "threads": threads,
        "rounds": len(times["ours"]),
        "others": others,
        "seconds": {name: median(values) for name, values in times.items()},
        "gflops": problem.flops / median(times["ours"]) / 1e9,
        "gbytes": problem.bytes / median(times["ours"]) / 1e9,
        "intensity": problem.flops / problem.bytes,
    }
    if "ours 1" in times:
        row["speedup"] = ratio(times, "ours 1", "ours")
    peers = [name for name in PEERS if name in times]
    if peers:
        row["fastest peer"] = min(peers, key=lambda name: median(times[name]))
        row["ratio"] = ratio(times, row["fastest peer"], "ours")
        row["ratio goal"] = GOAL_PEER[dtype]
        row["ratios"] = {name: ratio(times, name, "ours") for name in (*peers, *({"numba"} & set(times)))}
    if context.probes is not None:
        row.update(_roofline(problem, times, context))
        row["roofline goal"] = GOAL_ROOFLINE[row["bound"]]
    return row


def _candidates(problem: Problem, context: Context) -> dict[str, Any]:
    threads = context.threads
    makers = {
        "ours": lambda: our_sweep(problem, threads),
        "ours 1": lambda: our_sweep(problem, 1),
        "numba": lambda: our_sweep(problem, threads, "numba"),
        "numpy": lambda: numpy_sweep(problem),
        "torch": lambda: torch_sweep(problem),
        "torch compiled": lambda: torch_sweep(problem, compiled=True),
        "jax": lambda: jax_sweep(problem),
        "scikit-learn": lambda: sklearn_sweep(problem),
    }
    if threads == 1:
        del makers["ours 1"]
    if context.quick:
        del makers["torch compiled"]
    if problem.x.dtype == np.float32:
        del makers["scikit-learn"]  # the slowest, and the time is better spent on rounds
    return {name: make for name, make in makers.items() if name not in context.missing}


def _agreeing(problem: Problem, context: Context, makers: dict[str, Any]) -> dict[str, Any]:
    """Candidates that run; that they compute the same is checked, and is each one's warm-up."""
    sweeps, reference = {}, None
    for name, make in makers.items():
        try:
            sweep = make()
            value, grad = sweep()
            sweep()
        except Exception as error:
            if name == "ours" and "compiled" not in str(error):
                raise
            context.leave_out(name, f"{type(error).__name__}: {error}")
            continue
        if reference is None:
            reference = value, grad
        off = np.linalg.norm(grad - reference[1]) / np.linalg.norm(reference[1])
        if off > _AGREE[str(problem.x.dtype)] or abs(value / reference[0] - 1) > _AGREE[str(problem.x.dtype)]:
            raise ArithmeticError(f"{name} computes another gradient: relative difference {off:.1e}")
        sweeps[name] = sweep
    return sweeps


def _roofline(problem: Problem, times: dict[str, list[float]], context: Context) -> dict[str, Any]:
    """Share of the bound: best round against best round, since a bound is what can be reached."""
    dtype, row = problem.x.dtype, {}
    for key, name, count in (("roofline", "ours", context.threads), ("roofline, 1 thread", "ours 1", 1)):
        if name not in times:
            continue
        reading = min(times[f"read {count}"]) * problem.bytes / problem.x.nbytes
        computing = problem.flops / context.probes.peak(dtype, count)
        row[key] = max(reading, computing) / min(times[name])
        if name == "ours":
            row["bound"] = "memory" if reading > computing else "compute"
            row["read GB/s"] = problem.bytes / reading / 1e9
            row["peak GFLOP/s"] = problem.flops / computing / 1e9
    return row
