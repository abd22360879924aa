"""What `compare` times: calls of the public interface, most of them one sweep over the same rows.

A case is made by name, so that a revision which lacks what one case needs still takes part in all others.  Arrays are
tens of megabytes: larger than a core's own cache, small enough that two processes hold theirs side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .peers import gaussian_rows

Call = Callable[[], Any]
Make = Callable[[np.ndarray, int, int], Call]  # from rows, units and threads

SHAPES = ((100_000, 128, 4), (50_000, 256, 8), (20_000, 1024, 32), (500_000, 20, 3))
_MIDDLE = SHAPES[1]
_SMALL = (4_000, 10, 3)
_OUTPUTS = 10


def _problem(
    x: np.ndarray, k: int, threads: int, model: str | Callable[..., Any], outputs: int = 1
) -> tuple[Any, np.ndarray]:
    """An objective on labels (for fcn and logistic) or normal responses, and parameters of the usual size."""
    import fastrecover as fr

    rng = np.random.default_rng(1)
    y = rng.standard_normal(len(x) if outputs == 1 else (len(x), outputs))
    if model in ("fcn", _logistic):
        y = (y > 0).astype(float)
    named = (model, k) if isinstance(model, str) else (model(fr.models, k),)
    objective = fr.objective(x, y, *named, n_jobs=threads)
    return objective, rng.standard_normal(objective.n_parameters) / math.sqrt(x.shape[1])


def _logistic(models: Any, k: int) -> Any:
    return models.Logistic("relu", k)


def _biased(models: Any, k: int) -> Any:
    return models.Regression("tanh", k, "free", hidden_bias=True, fit_intercept=True)


def _gradient(model: str | Callable[..., Any], outputs: int = 1) -> Make:
    def make(x: np.ndarray, k: int, threads: int) -> Call:
        objective, theta = _problem(x, k, threads, model, outputs)
        return lambda: objective.value_and_grad(theta)

    return make


def _trial_losses(x: np.ndarray, k: int, threads: int) -> Call:
    objective, theta = _problem(x, k, threads, "relu")
    four = np.array([theta, -theta, 0.5 * theta, 2.0 * theta])
    return lambda: objective.values(four)


def _product(model: str, gauss_newton: bool) -> Make:
    def make(x: np.ndarray, k: int, threads: int) -> Call:
        objective, theta = _problem(x, k, threads, model)
        return lambda: objective.hessp(theta, theta[::-1].copy(), gauss_newton=gauss_newton)

    return make


def _third_moment(x: np.ndarray, k: int, threads: int) -> Call:
    import fastrecover as fr

    rng = np.random.default_rng(2)
    y, v = rng.standard_normal(len(x)), rng.standard_normal((k, x.shape[1])) / math.sqrt(x.shape[1])
    return lambda: fr.moments.third(x, y, v, n_jobs=threads)


def _fit(x: np.ndarray, k: int, threads: int) -> Call:
    import fastrecover as fr

    rng = np.random.default_rng(3)
    w = rng.standard_normal((k, x.shape[1])) * 1.5 / math.sqrt(x.shape[1])
    y = np.tanh(x @ w.T).sum(axis=1) + 0.1 * rng.standard_normal(len(x))
    return lambda: fr.fit(x, y, "tanh", k, n_jobs=threads, random_state=0)


_EVERYWHERE: dict[str, Make] = {"gradient relu": _gradient("relu")}
_ONCE: dict[str, Make] = {
    "gradient sigmoid": _gradient("sigmoid"),
    "gradient tanh": _gradient("tanh"),
    "gradient tanh with biases": _gradient(_biased),
    f"gradient tanh, {_OUTPUTS} outputs": _gradient(_biased, _OUTPUTS),
    "gradient logistic relu": _gradient(_logistic),
    "gradient fcn": _gradient("fcn"),
    "trial losses relu": _trial_losses,
    "Gauss-Newton product relu": _product("relu", True),
    "Hessian product tanh": _product("tanh", False),
    "third moment": _third_moment,
}


def cases(threads: int, quick: bool = False) -> dict[str, Callable[[], Call]]:
    """What makes the call of each case, by name; a `quick` one has a hundredth of the rows."""
    found: dict[str, Callable[[], Call]] = {}
    work = [(name, make, shape) for shape in SHAPES for name, make in _EVERYWHERE.items()]
    work += [(name, make, _MIDDLE) for name, make in _ONCE.items()] + [("fit tanh", _fit, _SMALL)]
    for name, make, (n, d, k) in work:
        for dtype in ("float64", "float32"):
            rows = n if n == _SMALL[0] or not quick else n // 100
            found[f"{name} {n}x{d}x{k} {dtype}"] = partial(_made, make, rows, d, k, dtype, threads)
    return found


def _made(make: Make, n: int, d: int, k: int, dtype: str, threads: int) -> Call:
    return make(gaussian_rows(n, d, dtype), k, threads)
