"""The experiments of Zhong et al. (arXiv 1706.03175, section 6): squared ReLU, k = 5, condition number 2.

Recovery rate over d and n, error of the start over d and n, and how the error falls from different starts.
Success is theirs: every unit within one per cent and every sign right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .methods import PASSES, STEPS, Found, Recorded, ours, published, restarts, worst_unit
from .planted import median, planted, tensor_started
from .workers import Workers

MODEL, K, WITHIN = "squared_relu", 5, 0.01
METHODS = ("published", "zhong2017", "ours", "L-BFGS")
_RATE = ((10, 25, 50, 100), (1000, 2000, 5000, 10_000))
_START = ((10, 20, 50), (1000, 10_000, 30_000, 100_000))
_CURVE = (10, 10_000)
_POINTS = 200  # of a curve


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: rate for each d and n, error of the starts for each d and n, and a curve for each way to begin."""
    trials = 2 if context.quick else 10
    with Workers(context) as workers:
        for part, (inputs, rows), task, summary in (
            ("rate", _RATE, _rate, _rates),
            ("start", _START, _start, _starts),
        ):
            sizes = [(10, 2000)] if context.quick else [(d, n) for d in inputs for n in rows]
            cells = [
                ({"part": part, "d": d, "n": n, "trials": trials}, [(d, n, seed) for seed in range(trials)])
                for d, n in sizes
            ]
            yield from workers.cells(context, cells, task, summary)
        d, n = (10, 2000) if context.quick else _CURVE
        for begin in BEGINNINGS:
            head = {"part": "curve", "from": begin, "d": d, "n": n}
            yield next(iter(context.again(head)), None) or head | _curve(
                begin, d, n, 100.0 if context.quick else PASSES
            )
            context.say(f"curve from {begin}")


def _rate(d: int, n: int, seed: int) -> dict[str, tuple[float, float]]:
    teacher, X, y = planted(MODEL, K, d, n, seed)
    found = {
        "published": published(X, y, MODEL, K, seed),
        "zhong2017": ours(X, y, "zhong2017", K, seed),
        "ours": ours(X, y, MODEL, K, seed),
        "L-BFGS": restarts(X, y, MODEL, K, seed),
    }
    return {name: (worst_unit(one.parameters, teacher), one.seconds) for name, one in found.items()}


def _rates(found: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in METHODS:
        errors, seconds = zip(*(one[name] for one in found), strict=True)
        row |= {name: float(np.mean(np.array(errors) <= WITHIN)), f"{name} s": median(list(seconds))}
    return row


def _start(d: int, n: int, seed: int) -> dict[str, tuple[float, float]]:
    import fastrecover as fr

    teacher, X, y = planted(MODEL, K, d, n, seed)
    # A budget of one pass ends the descent before its first step.
    gd = fr.solvers.GradientDescent(STEPS[MODEL])
    averages = ours(X, y, MODEL, K, seed, init="tensor-published", solver=gd, max_passes=1)
    regression = Found(tensor_started(X, y, MODEL, K, seed), 0.0, 0.0, False)
    return {
        name: (one.error(teacher), worst_unit(one.parameters, teacher))
        for name, one in (("published", averages), ("ours", regression))
    }


def _starts(found: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Median error; share of trials with all signs right, and the mean error of the worst unit over those (theirs)."""
    row: dict[str, Any] = {}
    for name in ("published", "ours"):
        errors, worst = (np.array(column) for column in zip(*(one[name] for one in found), strict=True))
        right = np.isfinite(worst)
        row |= {
            name: median(list(errors)),
            f"{name}: signs": float(right.mean()),
            f"{name}: worst unit": float(worst[right].mean()) if right.any() else float("nan"),
        }
    return row


BEGINNINGS = (
    "tensor, published",
    "tensor, ours",
    "random, v known",
    "random, v guessed",
    "random, L-BFGS",
    "tensor, ours, Gauss-Newton",
)


def _curve(begin: str, d: int, n: int, passes: float) -> dict[str, Any]:
    """Error after every step, thinned; a step of gradient descent is one pass."""
    import fastrecover as fr

    teacher, X, y = planted(MODEL, K, d, n, 0)
    rng = np.random.default_rng(5)
    weights = rng.normal(0.0, 1.5 / np.sqrt(d), (K, d))
    errors: list[float] = []

    def visit(parameters: Any) -> None:
        errors.append(float(teacher.model.error(parameters, teacher.parameters)))

    gd = Recorded(fr.solvers.GradientDescent(STEPS[MODEL]), visit)
    if begin == "random, L-BFGS":
        found = restarts(X, y, MODEL, K, 0, starts=1, visit=visit)
    elif begin == "random, v known":
        found = ours(
            X, y, MODEL, K, 0, init=weights, output_weights=teacher.output_weights, solver=gd, max_passes=passes
        )
    elif begin == "random, v guessed":
        v = rng.choice([-1.0, 1.0], K)
        found = ours(X, y, MODEL, K, 0, init=weights, output_weights=v, solver=gd, max_passes=passes)
    elif begin == "tensor, ours, Gauss-Newton":
        found = ours(X, y, MODEL, K, 0, init="tensor", solver=Recorded(fr.solvers.GaussNewton(), visit))
    else:
        init = "tensor-published" if begin == "tensor, published" else "tensor"
        found = ours(X, y, MODEL, K, 0, init=init, solver=gd, max_passes=passes)
    at = np.unique(np.geomspace(1, max(len(errors), 1), _POINTS).astype(int)) - 1
    return {
        "steps": len(errors) - 1,
        "seconds": found.seconds,
        "first error": errors[0] if errors else float("nan"),
        "last error": errors[-1] if errors else float("nan"),
        "iterations": at.tolist(),
        "errors": [errors[i] for i in at],
    }
