"""One loss-and-gradient sweep of the cross entropy: ours against PyTorch's forward and backward, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..harness import Context, Neighbours, alternate, median, ratio
from ..peers import hold_threads
from .planted import model_of

_SHAPE, _QUICK = (200_000, 256, 8), (4000, 256, 8)


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: for each network and dtype, ours and PyTorch."""
    hold_threads(context.threads)
    n, d, k = _QUICK if context.quick else _SHAPE
    for dtype in ("float64", "float32"):
        rng = np.random.default_rng(0)
        X = np.empty((n, d), dtype)
        for start in range(0, n, 20_000):
            X[start : start + 20_000] = rng.standard_normal(X[start : start + 20_000].shape, np.float32)
        y = rng.integers(0, 2, n).astype(float)
        for network in ("fcn", "cnn"):
            context.say(f"{network}, {dtype}")
            theta = rng.standard_normal((k, d) if network == "fcn" else (1, d // k)) / 4.0
            yield {
                "network": network,
                "n": n,
                "d": d,
                "k": k,
                "dtype": dtype,
                "threads": context.threads,
            } | _measure(X, y, theta, network, k, context)


def _measure(X: np.ndarray, y: np.ndarray, theta: np.ndarray, network: str, k: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    objective = fr.objective(X, y, model_of(network, k), n_jobs=context.threads)
    sweeps: dict[str, Callable] = {"ours": lambda: objective.value_and_grad(theta.ravel())}
    try:
        sweeps["torch"] = _torch(X, y, theta, network, k)
    except ImportError as error:
        context.leave_out("torch", str(error))
    results = {name: sweep() for name, sweep in sweeps.items()}
    value, grad = results["ours"]
    for name, (other, slope) in results.items():
        off = np.linalg.norm(np.ravel(slope) - grad) / np.linalg.norm(grad)
        if off > (1e-9 if X.dtype == np.float64 else 1e-3) or abs(other / value - 1) > 1e-4:
            raise ArithmeticError(f"{name} computes another gradient: relative difference {off:.1e}")
    with Neighbours() as others:
        times = alternate(sweeps, rounds=context.rounds, budget=20.0)
    row: dict[str, Any] = {f"{name} ms": 1e3 * median(seconds) for name, seconds in times.items()}
    if "torch" in times:
        row["torch / ours"] = ratio(times, "torch", "ours")
    return row | {"rounds": len(times["ours"]), "others": others.cores}


def _torch(X: np.ndarray, y: np.ndarray, theta: np.ndarray, network: str, k: int) -> Callable:
    import torch

    x = torch.from_numpy(X)
    targets, w = (torch.from_numpy(a).to(x.dtype) for a in (y, theta))
    rows = x if network == "fcn" else x.view(len(x) * k, -1)
    w.requires_grad_()

    def sweep() -> tuple[float, np.ndarray]:
        w.grad = None
        h = torch.sigmoid(rows @ w.T).view(len(x), k).mean(1)
        loss = torch.nn.functional.binary_cross_entropy(h, targets)
        loss.backward()
        return loss.item(), w.grad.numpy()

    return sweep
