"""Time to recovery, start included: ours against L-BFGS of scikit-learn, PyTorch and JAX on the same rows.

All run until the same error of the parameters: without noise 1e-8, with noise a hundredth more than that of the
full-data minimiser (a tenth for scikit-learn, which fits output weights and biases besides).  The peers are given
what helps them: PyTorch and JAX the true output weights and float64, scikit-learn the smallest tolerance it takes.
Each restarts from new weights until a run has arrived or the budget is spent, which is twice the time that the goal
allows, within limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .harness import Context, Neighbours
from .minimisers import PEERS, SKLEARN_ACTIVATIONS, Watch
from .peers import hold_threads

EXACT, WITH_NOISE, GOAL = 1e-8, 1.01, 30.0
_ALLOWED = {"scikit-learn": 1.1}
_SHAPES = ((100_000, 50, 5), (1_000_000, 50, 5), (200_000, 500, 10))
_BUDGETS = (5.0, 30.0)  # seconds: least and most
_PATIENCE = 30.0  # seconds after which ours is told to end


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: for each problem ours, each peer, and the ratio to the fastest of them."""
    hold_threads(context.threads)
    for n, d, k in [(5_000, 10, 2)] if context.quick else _SHAPES:
        for activation in ("relu", "tanh"):
            for noise in (0.1, 0.0):
                if d < 500 or (activation, noise) in (("relu", 0.1), ("tanh", 0.0)):
                    yield from _problem(activation, noise, n, d, k, context)


def _problem(activation: str, noise: float, n: int, d: int, k: int, context: Context) -> Iterator[dict[str, Any]]:
    import fastrecover as fr

    head = {"activation": activation, "noise": noise, "n": n, "d": d, "k": k}
    kept = context.again(head)
    if any("ratio" in row for row in kept):
        yield from kept
        return
    teacher = fr.datasets.make_teacher(activation, n_features=d, n_hidden=k, random_state=0)
    X, y = teacher.sample(n, noise=noise, random_state=1)
    context.say(f"recovery of {activation}, noise {noise}, n={n:,} d={d} k={k}: ours")
    least = _minimum(teacher, X, y, context) if noise else EXACT
    ours = _ours(teacher, X, y, WITH_NOISE * least if noise else EXACT, context)
    yield head | ours
    budget = float(np.clip(2 * GOAL * ours["seconds"], *_BUDGETS)) if not context.quick else 1.0
    times = {}
    for name, peer in PEERS.items():
        if name == "scikit-learn" and activation not in SKLEARN_ACTIVATIONS:
            continue
        context.say(f"recovery of {activation}, noise {noise}, n={n:,} d={d} k={k}: {name}, {budget:.0f} s")
        try:
            attempt = peer(teacher, X, y)
        except (ImportError, AttributeError) as error:
            context.leave_out(name, str(error))
            continue
        target = _ALLOWED.get(name, WITH_NOISE) * least if noise else EXACT
        found = restarted(attempt, target, budget)
        times[name] = found["seconds"], found["reached"]
        yield head | {"who": name} | found | {"target": target, "times ours": found["seconds"] / ours["seconds"]}
    if times:
        yield head | {"ours s": ours["seconds"], "ours reached": ours["reached"]} | verdict(times, ours["seconds"])


def verdict(times: dict[str, tuple[float, bool]], ours: float) -> dict[str, Any]:
    """Fastest peer over ours; a lower bound where none has arrived.

    Parameters
    ----------
    times : dict of (float, bool)
        Seconds of each peer and whether it arrived.
    ours : float

    Returns
    -------
    dict
    """
    arrived = {name: seconds for name, (seconds, reached) in times.items() if reached}
    if not arrived:
        return {"fastest peer": None, "ratio": min(seconds for seconds, _ in times.values()) / ours, "at least": True}
    best = min(arrived, key=lambda name: arrived[name])
    return {"fastest peer": best, "ratio": arrived[best] / ours, "at least": False}


def _fit(teacher: Any, X: np.ndarray, y: np.ndarray, context: Context, **options: Any) -> Any:
    import fastrecover as fr

    return fr.fit(X, y, model=teacher.model, n_jobs=context.threads, random_state=0, **options)


def _minimum(teacher: Any, X: np.ndarray, y: np.ndarray, context: Context) -> float:
    """Error of the minimiser of all rows, reached from the truth."""
    return _fit(teacher, X, y, context, init=teacher.parameters, tol=1e-6).error(teacher)


def _ours(teacher: Any, X: np.ndarray, y: np.ndarray, target: float, context: Context) -> dict[str, Any]:
    seconds: list[float] = []
    with Neighbours() as others:
        while not seconds or (len(seconds) < 6 and sum(seconds) < (0.5 if context.quick else 5.0)):
            start = time.perf_counter()
            rec = _fit(teacher, X, y, context, callback=lambda line: line["seconds"] > _PATIENCE)
            seconds.append(time.perf_counter() - start)
    error = rec.error(teacher)
    return {
        "who": "fastrecover",
        "seconds": float(np.median(seconds[1:] or seconds)),
        "passes": rec.n_passes,
        "starts": 1,
        "error": error,
        "reached": error <= target,
        "others": others.cores,
        "target": target,
        "times ours": 1.0,
    }


def restarted(attempt: Callable[[int, float, float], Watch], target: float, budget: float) -> dict[str, Any]:
    """Repeat ``attempt(seed, target, seconds left)`` until the target is met or the budget is spent.

    Parameters
    ----------
    attempt : callable
        Returns its watch.
    target, budget : float

    Returns
    -------
    dict
        Seconds, evaluations and starts in all, and the best error.
    """
    spent, best, evaluations, starts = 0.0, float("inf"), 0, 0
    with Neighbours() as others:
        while best > target and spent < budget:
            watch = attempt(starts, target, budget - spent)
            starts, spent, evaluations = starts + 1, spent + watch.spent, evaluations + watch.evaluations
            best = min(best, watch.error)
    return {
        "seconds": spent,
        "passes": float(evaluations),
        "starts": starts,
        "error": best,
        "reached": best <= target,
        "others": others.cores,
    }
