"""Every other sweep against the plain gradient's time for the same bytes and flops.

A sweep's flops are those of its two products, ``2 n d`` for each column projected on and each row of sums
projected back.  The gradient of k relu units has ``4 n d k`` of them, so any sweep over an array has the flops of
a gradient over the very same array with a number of units that need not be whole; its time is interpolated
between the gradients of the neighbouring whole numbers, measured in the same rounds.  What a row function
computes between the products is on top, for the gradient (hardly anything) as for the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .harness import Context, median, quietest, ratio
from .peers import gaussian_rows, hold_threads

GOAL = 1.3
_CELLS = ((200_000, 256, 8), (50_000, 1024, 32))
_BACKENDS_AT, _SMALL_AT = (8_000, 256, 8), (100_000, 16, 4)
_BUDGET = 9.0
_CHECKED = 3000  # rows on which a sweep must agree with the reference
_AGREE = {"float64": 1e-11, "float32": 1e-3}
_PATCHES = 8


@dataclass(frozen=True)
class Case:
    """A sweep.

    Attributes
    ----------
    name : str
    p : ndarray (columns, d)
    row : RowFunction
    """

    name: str
    p: np.ndarray
    row: Any

    @property
    def products(self) -> int:
        """Columns projected on and rows projected back."""
        d = self.p.shape[1]
        return self.row.columns + self.row.shapes(d)[0]

    def flops(self, values: int) -> float:
        """Flops of the two products over an array of so many numbers."""
        return 2.0 * values * self.products


def cases_of(d: int, k: int) -> list[Case]:
    """The sweeps that are a projection, a row function and a back-projection, of k units or directions."""
    from fastrecover.activations import get_activation
    from fastrecover.kernels import CROSS_ENTROPY, Op, RowFunction

    rng = np.random.default_rng(2)
    w, v = (rng.standard_normal((k, d)) / math.sqrt(d) for _ in range(2))
    patch = rng.standard_normal((1, d // _PATCHES)) / math.sqrt(d // _PATCHES)
    relu, sigmoid, tanh = map(get_activation, ("relu", "sigmoid", "tanh"))

    def net(op: Op, activation: Any, **fields: Any) -> RowFunction:
        return RowFunction(op, activation, **{"k": k, "v": np.ones((1, k)), **fields})

    mean = {"v": np.full((1, k), 1.0 / k), "loss": CROSS_ENTROPY}
    conv = {"k": _PATCHES, "group": _PATCHES, "v": np.full((1, _PATCHES), 1.0 / _PATCHES)}
    step = {"dv": np.zeros(k)}
    trials = {"reps": 4, "v": np.ones((4, k)), "c": np.zeros(4)}
    found = [
        Case("gradient, sigmoid", w, net(Op.LOSS, sigmoid, grad=True)),
        Case("gradient, tanh", w, net(Op.LOSS, tanh, grad=True)),
        Case("four trial losses, relu", np.concatenate([w, v, -w, -v]), net(Op.LOSS, relu, **trials)),
        Case("Gauss-Newton product, relu", np.concatenate([w, v]), net(Op.CURVATURE, relu, **step)),
        Case("Hessian product, tanh", np.concatenate([w, v]), net(Op.CURVATURE, tanh, newton=True, **step)),
        Case("cross entropy, fcn", w, net(Op.LOSS, sigmoid, grad=True, **mean)),
        Case("Fisher product, fcn", np.concatenate([w, v]), net(Op.CURVATURE, sigmoid, **step, **mean)),
        Case("cross entropy, cnn", patch, net(Op.LOSS, sigmoid, grad=True, **conv, loss=CROSS_ENTROPY)),
        Case("gradient, cnn, relu", patch, net(Op.LOSS, relu, grad=True, **conv)),
        Case("M2 V", v, RowFunction(Op.MOMENT, m=k)),
        Case("M3(., V, alpha)", np.concatenate([v, w[:1]]), RowFunction(Op.MOMENT, m=k, order=3)),
    ]
    if hasattr(Op, "LANDSCAPE"):
        found.append(Case("landscape", v, RowFunction(Op.LANDSCAPE, m=k, pair=1.0, single=-2.0)))
    return found


def small_matrices(d: int, k: int) -> list[tuple[Case, float]]:
    """The sweeps that sum a matrix over rows, with the multiply-adds of a row that its symmetry leaves."""
    from fastrecover.activations import get_activation
    from fastrecover.kernels import Op, RowFunction
    from fastrecover.sweeps.moments import hermite_factors

    w = np.random.default_rng(2).standard_normal((k, d)) / math.sqrt(d)
    q = np.linalg.qr(w.T)[0].T
    gram = Case("Gauss-Newton matrix", w, RowFunction(Op.GRAM, get_activation("relu"), k=k, v=np.ones((1, k))))
    features = hermite_factors(k, (0, 1, 2, 3))
    hermite = Case("Hermite regression", q, RowFunction(Op.HERMITE_GRAM, m=k, order=3, factors=features))
    pairs = Case("M3(., V, V)", q, RowFunction(Op.PAIRS, m=k))

    def triangle(case: Case) -> float:
        size = case.row.shapes(d)[0]
        return size * (size + 1) / 2

    return [
        (gram, k * d + triangle(gram)),
        (hermite, k * d + triangle(hermite)),
        (pairs, k * d + d * pairs.row.shapes(d)[0]),
    ]


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: each sweep in each cell and dtype; matrices; all backends in one cell."""
    hold_threads(context.threads)
    for n, d, k in [(4_000, 64, 4)] if context.quick else _CELLS:
        for dtype in ("float64", "float32"):
            context.say(f"row functions at n={n:,} d={d} k={k} {dtype}")
            yield from _against_gradient(gaussian_rows(n, d, dtype), k, context)
    n, d, k = (4_000, 8, 2) if context.quick else _SMALL_AT
    context.say(f"matrices at n={n:,} d={d} k={k}")
    yield from _matrices(gaussian_rows(n, d, "float64"), k, context)
    yield from _backends(gaussian_rows(n // 10, d, "float64"), [case for case, _ in small_matrices(d, k)], context)
    n, d, k = (4_000, 64, 4) if context.quick else _BACKENDS_AT
    context.say(f"backends at n={n:,} d={d} k={k}")
    yield from _backends(gaussian_rows(n, d, "float64"), [gradient(d, k), *cases_of(d, k)], context)


def interpolated(at: float, sizes: list[int], times: list[float]) -> float:
    """Time at a size between the measured ones, linear; proportional beyond them."""
    if not sizes[0] <= at <= sizes[-1]:
        end = 0 if at < sizes[0] else -1
        return times[end] * at / sizes[end]
    return float(np.interp(at, sizes, times))


def _against_gradient(x: np.ndarray, k: int, context: Context) -> Iterator[dict[str, Any]]:
    cases = cases_of(x.shape[1], k)
    for case in cases:
        _check(case, x)
    equal = {case.name: case.flops(x.size) / (4.0 * x.size) for case in cases}
    units = sorted({k} | {max(1, f(units)) for units in equal.values() for f in (math.floor, math.ceil)})
    calls: dict[str, Callable[[], Any]] = {}
    for size in units:
        calls[f"gradient {size}"] = _call(gradient(x.shape[1], size), x, context.threads)
    for case in cases:
        calls[case.name] = _call(case, x, context.threads)
        if context.threads > 1:
            calls[f"{case.name} 1"] = _call(case, x, 1)
    _limits(calls, x, context)
    times, others = quietest(calls, context, _BUDGET)
    plain = [median(times[f"gradient {size}"]) for size in units]
    for case in cases:
        seconds = median(times[case.name])
        row = {
            "sweep": case.name,
            "n": len(x),
            "d": x.shape[1],
            "k": k,
            "dtype": str(x.dtype),
            "ms": 1e3 * seconds,
            "same flops as k": equal[case.name],
            "gradient ms": 1e3 * interpolated(equal[case.name], units, plain),
        }
        row["/ gradient"] = row["ms"] / row["gradient ms"]
        row["within 1.3"] = row["/ gradient"] <= GOAL
        row["GFLOP/s"] = case.flops(x.size) / seconds / 1e9
        if context.threads > 1:
            row["speed-up"] = ratio(times, f"{case.name} 1", case.name)
        yield row | _roofline(case.flops(x.size), case.name, x, times, context) | {"others": others}


def gradient(d: int, k: int) -> Case:
    """The plain gradient: squared loss, relu."""
    from fastrecover.activations import get_activation
    from fastrecover.kernels import Op, RowFunction

    w = np.random.default_rng(3).standard_normal((k, d)) / math.sqrt(d)
    row = RowFunction(Op.LOSS, get_activation("relu"), k=k, v=np.ones((1, k)), grad=True)
    return Case(f"gradient {k}", w, row)


def _matrices(x: np.ndarray, k: int, context: Context) -> Iterator[dict[str, Any]]:
    work = [(case, 2.0 * len(x) * each) for case, each in small_matrices(x.shape[1], k)]
    for case, _ in work:
        _check(case, x)
    calls = {case.name: _call(case, x, context.threads) for case, _ in work}
    _limits(calls, x, context)
    times, others = quietest(calls, context, _BUDGET)
    for case, flops in work:
        row = {
            "matrix": case.name,
            "n": len(x),
            "d": x.shape[1],
            "k": k,
            "ms": 1e3 * median(times[case.name]),
            "GFLOP/s": flops / median(times[case.name]) / 1e9,
        }
        yield row | _roofline(flops, case.name, x, times, context) | {"others": others}


def _backends(x: np.ndarray, cases: list[Case], context: Context) -> Iterator[dict[str, Any]]:
    names = [name for name in ("compiled", "numba", "reference") if _loads(name, context)]
    for case in cases:
        calls = {name: _call(case, x, context.threads, name) for name in names}
        for call in calls.values():
            call()  # Numba compiles
        times, _ = quietest(calls, context, 1.0)
        row: dict[str, Any] = {"in every backend": case.name, "n": len(x), "d": x.shape[1]}
        row |= {f"{name} ms": 1e3 * median(times[name]) for name in names}
        yield row | {f"{name} / compiled": ratio(times, name, "compiled") for name in names[1:] if "compiled" in names}


def _loads(name: str, context: Context) -> bool:
    import fastrecover as fr

    try:
        fr.set_kernels(name)
    except ImportError as error:
        context.leave_out(name, str(error))
        return False
    finally:
        fr.set_kernels()
    return True


def _engine(case: Case, x: np.ndarray, threads: int) -> Any:
    from fastrecover.engines import ThreadEngine
    from fastrecover.sources import ArraySource

    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, len(x)).astype(float) if case.row.loss else rng.standard_normal(len(x))
    return ThreadEngine(ArraySource(x, y, None, case.row.group), threads)


def _call(case: Case, x: np.ndarray, threads: int, kernels: str | None = None) -> Callable[[], Any]:
    import fastrecover as fr

    engine = _engine(case, x, threads)

    def call() -> Any:
        fr.set_kernels(kernels)
        try:
            return engine.run(case.p, case.row)
        finally:
            fr.set_kernels()

    return call


def _check(case: Case, x: np.ndarray) -> None:
    """Raise ArithmeticError unless the kernels agree with the reference."""
    from fastrecover.kernels import Op

    few = x[:_CHECKED]
    ours = _call(case, few, 1)()
    reference = _call(case, few, 1, "reference")()
    square = case.row.op in (Op.GRAM, Op.HERMITE_GRAM)  # of which only the upper triangle is filled
    for mine, theirs in zip(ours, reference, strict=True):
        if square and mine.ndim == 2:
            mine, theirs = np.triu(mine), np.triu(theirs)
        if mine.size and np.linalg.norm(mine - theirs) > _AGREE[str(x.dtype)] * np.linalg.norm(theirs):
            raise ArithmeticError(f"{case.name}: the kernels differ from the reference")


def _limits(calls: dict[str, Callable[[], Any]], x: np.ndarray, context: Context) -> None:
    if context.probes is not None:
        calls["read"] = context.probes.reader(x, context.threads)
        calls["fma"] = context.probes.multiplier(x.dtype, context.threads)


def _roofline(flops: float, name: str, x: np.ndarray, times: dict[str, list[float]], context: Context) -> dict:
    if context.probes is None:
        return {}
    reading, computing = min(times["read"]), flops / context.probes.peak(x.dtype, context.threads)
    return {
        "of roofline": max(reading, computing) / min(times[name]),
        "bound": "memory" if reading > computing else "compute",
    }
