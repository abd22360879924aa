"""What a gradient sweep pays for biases, for another loss and for several outputs, against the plain one in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .harness import Context, Row, ratio
from .peers import gaussian_rows, hold_threads

#: Name, what it is compared with, and the most that the ratio of their times should be.
PAIRS = {
    "biases, relu": ("relu", 1.02),
    "biases, tanh": ("tanh", 1.02),
    "logistic, relu": ("biases, relu", 1.15),
    "logistic, tanh": ("biases, tanh", 1.15),
    "poisson, softplus of relu": ("biases, relu", 1.15),
    "poisson, log of tanh": ("biases, tanh", 1.15),
    "huber, relu": ("biases, relu", 1.15),
}
_SHAPES, _OUTPUTS, _MANY = ((200_000, 256, 8), (50_000, 1024, 32)), 10, (50_000, 256, 32)


def run(context: Context) -> Iterator[Row]:
    """Rows: each loss in each shape and dtype; then ten outputs and ten classes against one."""
    hold_threads(context.threads)
    shapes, many = ([(4_000, 64, 4)], (4_000, 64, 8)) if context.quick else (_SHAPES, _MANY)
    for dtype in ("float64", "float32"):
        for n, d, k in shapes:
            x = gaussian_rows(n, d, dtype)
            yield from measure(context, x, k, single(x, k, context.threads), PAIRS)
        x, k = gaussian_rows(*many[:2], dtype), many[2]
        pairs = {name: ("biases, tanh", 1.3) for name in (f"{_OUTPUTS} outputs, tanh", f"{_OUTPUTS} classes, tanh")}
        yield from measure(context, x, k, several(x, k, context.threads), pairs)


def single(x: np.ndarray, k: int, threads: int) -> dict[str, Callable[[], Any]]:
    """Gradients of networks with one output."""
    import fastrecover as fr

    counts = np.random.default_rng(5).poisson(1.0, len(x)).astype(float)
    labels, models = (counts > 0).astype(float), fr.models
    free: dict[str, Any] = {"hidden_bias": True, "fit_intercept": True}
    return {
        "relu": _sweep(x, counts, models.Regression("relu", k, "free", fit_intercept=True), threads),
        "tanh": _sweep(x, counts, models.Regression("tanh", k, "free", fit_intercept=True), threads),
        "biases, relu": _sweep(x, counts, models.Regression("relu", k, "free", **free), threads),
        "biases, tanh": _sweep(x, counts, models.Regression("tanh", k, "free", **free), threads),
        "logistic, relu": _sweep(x, labels, models.Logistic("relu", k), threads),
        "logistic, tanh": _sweep(x, labels, models.Logistic("tanh", k), threads),
        "poisson, softplus of relu": _sweep(x, counts, models.Poisson("relu", k, "softplus", "free", **free), threads),
        "poisson, log of tanh": _sweep(x, counts, models.Poisson("tanh", k, "log", "free", **free), threads),
        "huber, relu": _sweep(x, counts, models.Regression("relu", k, "free", loss="huber", **free), threads),
    }


def several(x: np.ndarray, k: int, threads: int) -> dict[str, Callable[[], Any]]:
    """Gradients of networks with ten outputs, and of one with one."""
    import fastrecover as fr

    rng, m = np.random.default_rng(6), _OUTPUTS
    y, classes = rng.standard_normal((len(x), m)), rng.integers(0, m, len(x))
    model = fr.models.Regression("tanh", k, "free", hidden_bias=True, fit_intercept=True)
    return {
        "biases, tanh": _sweep(x, y[:, 0].copy(), model, threads),
        f"{m} outputs, tanh": _sweep(x, y, model, threads),
        f"{m} classes, tanh": _sweep(x, classes, fr.models.Logistic("tanh", k), threads),
    }


def measure(
    context: Context,
    x: np.ndarray,
    k: int,
    sweeps: dict[str, Callable[[], Any]],
    pairs: dict[str, tuple[str, float]],
) -> Iterator[Row]:
    """All sweeps over one array in turn, and the ratios of pairs of them within a round."""
    context.say(f"n {len(x)}, d {x.shape[1]}, k {k}, {x.dtype}")
    times, others = context.timed(sweeps, 20.0)
    for name, (plain, goal) in pairs.items():
        found = ratio(times, name, plain)
        row: Row = {"sweep": name, "against": plain, "n": len(x), "d": x.shape[1], "k": k, "dtype": str(x.dtype)}
        row |= {"ms": 1e3 * float(np.median(times[name])), "ratio": found, "goal": goal, "within": found <= goal}
        yield row | {"others": others}


def _sweep(x: np.ndarray, y: np.ndarray, model: Any, threads: int) -> Callable[[], Any]:
    import fastrecover as fr

    objective = fr.objective(x, y, model, n_jobs=threads)
    theta = np.random.default_rng(7).standard_normal(objective.n_parameters) / np.sqrt(x.shape[1])
    return lambda: objective.value_and_grad(theta)
