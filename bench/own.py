"""Activations of the user's own functions against built-in ones of equal arithmetic: sweeps, fits, and the first call.

The functions are written as one would write them: by ``math``, the derivative from the formula in the book.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from .harness import Context, Row, ratio
from .peers import gaussian_rows, hold_threads
from .planted import planted
from .startup import in_new_process

GOAL = 1.5
_SHAPES = ((200_000, 16, 16), (200_000, 64, 8), (200_000, 256, 8), (50_000, 1024, 32))
_ROOT_PI = math.sqrt(math.pi)


def relu(z: float) -> float:
    return max(z, 0.0)


def relu_by_where(z: float) -> Any:
    return np.where(z > 0, z, 0.0)


def step(z: float) -> float:
    return 1.0 if z > 0 else 0.0


def zero(z: float) -> float:
    return 0.0


def square(z: float) -> float:
    return z * z


def twice(z: float) -> float:
    return 2.0 * z


def two(z: float) -> float:
    return 2.0


def sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


def sigmoid_slope(z: float) -> float:
    s = 1.0 / (1.0 + math.exp(-z))
    return s * (1.0 - s)


def sigmoid_bend(z: float) -> float:
    s = 1.0 / (1.0 + math.exp(-z))
    return s * (1.0 - s) * (1.0 - 2.0 * s)


def tanh(z: float) -> float:
    return math.tanh(z)


def tanh_slope(z: float) -> float:
    return 1.0 - math.tanh(z) ** 2


def tanh_bend(z: float) -> float:
    t = math.tanh(z)
    return -2.0 * t * (1.0 - t * t)


def erf(z: float) -> float:
    return math.erf(z)


def erf_slope(z: float) -> float:
    return 2.0 / _ROOT_PI * math.exp(-z * z)


def erf_bend(z: float) -> float:
    return -4.0 / _ROOT_PI * z * math.exp(-z * z)


def softplus(z: float) -> Any:
    return np.logaddexp(0.0, z)


def softplus_by_log(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def cube(z: float) -> float:
    return z**3


def cube_slope(z: float) -> float:
    return 3.0 * z * z


def cube_bend(z: float) -> float:
    return 6.0 * z


def swish(z: float) -> float:
    return z / (1.0 + math.exp(-z))


def swish_slope(z: float) -> float:
    s = 1.0 / (1.0 + math.exp(-z))
    return s + z * s * (1.0 - s)


def swish_bend(z: float) -> float:
    s = 1.0 / (1.0 + math.exp(-z))
    return s * (1.0 - s) * (2.0 + z * (1.0 - 2.0 * s))


#: Name, functions, and the built-in activation of the same or (cube, swish, softplus by a logarithm of any number and
#: another exponential) of less arithmetic.
FUNCTIONS: dict[str, tuple[tuple[Callable[[float], Any], ...], str]] = {
    "relu": ((relu, step, zero), "relu"),
    "relu by where": ((relu_by_where, step, zero), "relu"),
    "square": ((square, twice, two), "quadratic"),
    "cube": ((cube, cube_slope, cube_bend), "quadratic"),
    "sigmoid": ((sigmoid, sigmoid_slope, sigmoid_bend), "sigmoid"),
    "swish": ((swish, swish_slope, swish_bend), "sigmoid"),
    "tanh": ((tanh, tanh_slope, tanh_bend), "tanh"),
    "erf": ((erf, erf_slope, erf_bend), "erf"),
    "softplus": ((softplus, sigmoid, sigmoid_slope), "softplus"),
    "softplus by log": ((softplus_by_log, sigmoid, sigmoid_slope), "softplus"),
}
_FITS = ("tanh", "sigmoid", "softplus", "relu")
_FIRST = """
import json, time, warnings
import fastrecover as fr
from bench.own import made
warnings.simplefilter("ignore")
teacher = fr.datasets.make_teacher("tanh", n_features=10, n_hidden=3, random_state=0)
X, y = teacher.sample(2000, random_state=1)
start = time.perf_counter()
fr.fit(X, y, {model}, n_hidden=3, n_jobs={threads}, random_state=0)
print(json.dumps(time.perf_counter() - start))
"""


def made(name: str) -> Any:
    """The activation of one's own functions."""
    import fastrecover as fr

    functions, _ = FUNCTIONS[name]
    return fr.Activation.from_functions(*functions, name=f"my {name}")


def run(context: Context) -> Iterator[Row]:
    """Rows: each function in each sweep, shape and dtype; fits; the first fit of a process."""
    hold_threads(context.threads)
    for n, d, k in [(4_000, 16, 4)] if context.quick else _SHAPES:
        for dtype in ("float64", "float32"):
            x = gaussian_rows(n, d, dtype)
            for name in FUNCTIONS:
                context.say(f"n {n}, d {d}, k {k}, {dtype}, {name}")
                yield from measure(context, x, k, name)
    for name in _FITS[:1] if context.quick else _FITS:
        context.say(f"fits, {name}")
        yield fits(context, name)
    yield from first_calls(context)


def sweeps_of(x: np.ndarray, k: int, activation: Any, threads: int) -> dict[str, Callable[[], Any]]:
    """Every kind of sweep of k units."""
    import fastrecover as fr

    rng = np.random.default_rng(2)
    model = fr.models.Regression(activation, k, "free")
    objective = fr.objective(x, rng.standard_normal(len(x)), model, n_jobs=threads)
    theta, direction = rng.standard_normal((2, objective.n_parameters)) / math.sqrt(x.shape[1])
    calls: dict[str, Callable[[], Any]] = {
        "loss": lambda: objective.value(theta),
        "gradient": lambda: objective.value_and_grad(theta),
        "Gauss-Newton product": lambda: objective.hessp(theta, direction, gauss_newton=True),
        "Hessian product": lambda: objective.hessp(theta, direction),
        "predict": lambda: objective.predict(theta),
    }
    if theta.size <= 400:  # beyond, its own sums are all of its time
        calls["Gram"] = lambda: objective.gauss_newton(theta)
    return calls


def measure(context: Context, x: np.ndarray, k: int, name: str) -> Iterator[Row]:
    """All sweeps of one function, in turn with those of the built-in one."""
    built_in = FUNCTIONS[name][1]
    own, plain = (sweeps_of(x, k, activation, context.threads) for activation in (made(name), built_in))
    calls = {f"own {sweep}": call for sweep, call in own.items()}
    calls |= {f"built-in {sweep}": call for sweep, call in plain.items()}
    times, others = context.timed(calls, 6.0)
    for sweep in own:
        found = ratio(times, f"own {sweep}", f"built-in {sweep}")
        row: Row = {"function": name, "against": built_in, "sweep": sweep, "n": len(x), "d": x.shape[1], "k": k}
        row |= {"dtype": str(x.dtype), "ms": 1e3 * float(np.median(times[f"own {sweep}"])), "own / built-in": found}
        yield row | {f"within {GOAL}": found <= GOAL, "others": others}


def fits(context: Context, name: str) -> Row:
    """A whole fit of each."""
    import fastrecover as fr

    built_in = FUNCTIONS[name][1]
    n, d, k = (2_000, 10, 3) if context.quick else (50_000, 32, 6)
    teacher, X, y = planted(built_in, d, k, n, 0, rows=1, noise=0.1)
    fit = partial(fr.fit, X, y, n_hidden=k, output_weights=teacher.model.output_weights)
    calls = {
        "own": lambda: fit(model=made(name), n_jobs=context.threads, random_state=0),
        "built-in": lambda: fit(model=built_in, n_jobs=context.threads, random_state=0),
    }
    found = {who: call() for who, call in calls.items()}
    times, others = context.timed(calls, 20.0)
    row: Row = {"function": name, "against": built_in, "what": "fit", "n": n, "d": d, "k": k}
    row |= {f"{who} s": float(np.median(times[who])) for who in calls}
    row |= {f"{who} passes": rec.n_passes for who, rec in found.items()}
    row |= {f"{who} error": rec.error(teacher) for who, rec in found.items()}
    return row | {"own / built-in": ratio(times, "own", "built-in"), "others": others}


def first_calls(context: Context) -> Iterator[Row]:
    """Seconds of the first fit in a new process, with an empty cache and with a full one."""
    root = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, NUMBA_CACHE_DIR=folder):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        own, built_in = (_FIRST.format(model=model, threads=context.threads) for model in ("made('tanh')", "'tanh'"))
        calls = {"built-in": built_in, "own, empty cache": own, "own, kept": own}
        if not context.quick:
            numba = "import fastrecover as fr; fr.set_kernels('numba')\n" + built_in
            calls |= {"numba, empty cache": numba, "numba, kept": numba}
        for what, code in calls.items():
            context.say(f"first call, {what}")
            began = time.perf_counter()
            seconds = json.loads(in_new_process(code))
            yield {"what": "first fit", "of": what, "s": seconds, "process s": time.perf_counter() - began}
