"""Full recovery to 1e-8, noiseless: ours against scikit-learn and PyTorch on the same rows.

The peers are given what helps them: PyTorch the true output weights and float64, scikit-learn the smallest
tolerance it takes.  Both restart from new weights until a run reaches the truth or the budget is spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .harness import Context, Neighbours
from .peers import hold_threads

TARGET = 1e-8
_ACTIVATIONS = ("relu", "squared_relu", "tanh")
_SKLEARN = {"relu": "relu", "tanh": "tanh"}


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: for each activation ours, then each peer."""
    import fastrecover as fr

    hold_threads(context.threads)
    n, d, k = (10_000, 20, 3) if context.quick else (100_000, 50, 5)
    restarts, budget = (2, 5.0) if context.quick else (10, 40.0)
    for activation in _ACTIVATIONS:
        teacher = fr.datasets.make_teacher(activation, n_features=d, n_hidden=k, random_state=0)
        X, y = teacher.sample(n, random_state=1)
        context.say(f"recovery of {activation}: ours")
        ours = _ours(teacher, X, y, context)
        head = {"activation": activation, "n": n, "d": d, "k": k}
        yield head | ours
        for name, peer in (("scikit-learn", _sklearn), ("torch", _torch)):
            if name == "scikit-learn" and activation not in _SKLEARN:
                continue
            context.say(f"recovery of {activation}: {name}")
            try:
                found = _restarted(partial(peer, teacher, X, y), restarts, budget)
            except ImportError as error:
                context.leave_out(name, str(error))
                continue
            times = found["seconds"] / ours["seconds"]
            yield head | {"who": name} | found | {"times ours": times, "reached": found["error"] <= TARGET}


def _ours(teacher, X: np.ndarray, y: np.ndarray, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    seconds, rec = [], None
    with Neighbours() as others:
        for _ in range(2 if context.quick else 6):
            start = time.perf_counter()
            rec = fr.fit(X, y, model=teacher.model, n_jobs=context.threads, random_state=0)
            seconds.append(time.perf_counter() - start)
    error = rec.error(teacher)
    return {
        "who": "fastrecover",
        "seconds": float(np.median(seconds[1:])),
        "first": seconds[0],
        "passes": rec.n_passes,
        "error": error,
        "reached": error <= TARGET,
        "others": others.cores,
    }


def _restarted(attempt: Callable[[int, float], tuple[float, float, int]], restarts: int, budget: float) -> dict:
    """Repeat (error, seconds, evaluations) = attempt(seed, seconds left) until the target is met."""
    total, best, evaluations, seed = 0.0, float("inf"), 0, 0
    with Neighbours() as others:
        for seed in range(restarts):
            error, seconds, count = attempt(seed, budget - total)
            total, evaluations, best = total + seconds, evaluations + count, min(best, error)
            if best <= TARGET or total >= budget:
                break
    return {
        "seconds": total,
        "passes": evaluations,
        "starts": seed + 1,
        "error": best,
        "others": others.cores,
    }


def _sklearn(teacher, X: np.ndarray, y: np.ndarray, seed: int, left: float) -> tuple[float, float, int]:
    """One run of ``MLPRegressor(solver="lbfgs")``, which cannot be stopped half-way."""
    from sklearn.neural_network import MLPRegressor

    mlp = MLPRegressor(
        hidden_layer_sizes=(teacher.n_hidden,),
        activation=_SKLEARN[teacher.model.activation.name],
        solver="lbfgs",
        alpha=0.0,
        tol=1e-14,
        max_iter=2000,
        max_fun=100_000,
        random_state=seed,
    )
    start = time.perf_counter()
    mlp.fit(X, y)
    spent = time.perf_counter() - start
    return mlp_error(mlp, teacher), spent, mlp.n_iter_


def mlp_error(mlp, teacher) -> float:
    """Relative error of an MLPRegressor's parameters up to symmetries, hidden biases counted as error."""
    from fastrecover.models import Parameters
    from fastrecover.models.parameters import relative_error

    v = mlp.coefs_[1][:, 0]
    found = Parameters(np.ascontiguousarray(mlp.coefs_[0].T), v, None, float(mlp.intercepts_[1][0]))
    error = relative_error(found, teacher.parameters, teacher.model.activation, True)
    truth = replace(teacher.parameters, linear=None).flat()
    return float(np.hypot(error, np.linalg.norm(v * mlp.intercepts_[0]) / np.linalg.norm(truth)))


def _torch(teacher, X: np.ndarray, y: np.ndarray, seed: int, left: float) -> tuple[float, float, int]:
    """One run of ``torch.optim.LBFGS`` with strong Wolfe steps, at most 500 iterations, judged every 10."""
    import torch

    from fastrecover.models import Parameters

    phi = {"relu": torch.relu, "squared_relu": lambda z: torch.relu(z) ** 2, "tanh": torch.tanh}
    activation, (k, d) = phi[teacher.model.activation.name], teacher.weights.shape
    rows, responses, v = (torch.from_numpy(a) for a in (X, y, np.array(teacher.output_weights)))
    start = np.random.default_rng(seed).normal(0.0, 1.5 / np.sqrt(d), (k, d))
    w = torch.from_numpy(start).requires_grad_()
    solver = torch.optim.LBFGS(
        [w], max_iter=10, max_eval=100, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-16, tolerance_change=0.0,
    )  # fmt: skip
    count = 0

    def closure():
        nonlocal count
        count += 1
        solver.zero_grad()
        loss = 0.5 * ((activation(rows @ w.T) @ v - responses) ** 2).mean()
        loss.backward()
        return loss

    spent, error = 0.0, float("inf")
    for _ in range(50):
        before, begun = count, time.perf_counter()
        solver.step(closure)
        spent += time.perf_counter() - begun
        found = Parameters(w.detach().numpy().copy(), teacher.output_weights)
        error = teacher.model.error(found, teacher.parameters)
        if error <= TARGET or count - before <= 1 or spent >= left:
            break
    return error, spent, count
