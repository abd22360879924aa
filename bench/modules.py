"""PyTorch modules: epochs of a loop whose one line became ours, and ``fit_module`` against ``torch.optim.LBFGS``.

Of loops the whole epoch is timed, optimiser and batching included, in turn.  Fits are of responses that a module of the
same shape gave, with noise; LBFGS restarts from new parameters until its loss is at most a thousandth above that of
``fit_module``, or until its budget ends.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from .harness import Context, Row, ratio
from .peers import hold_threads

_LOOPS = (
    (100_000, 50, 10, 1, "float32", 256),
    (100_000, 50, 10, 1, "float32", 4096),
    (100_000, 50, 10, 1, "float32", 100_000),
    (200_000, 256, 8, 1, "float64", 200_000),
    (60_000, 784, 128, 10, "float32", 1024),
)
_FITS = (
    (100_000, 50, 5, 1, "tanh"),
    (100_000, 50, 5, 1, "relu"),
    (1_000_000, 50, 5, 1, "tanh"),
    (50_000, 200, 10, 1, "relu"),
    (50_000, 30, 8, 3, "tanh"),
)
_BUDGET, _LEAST, _MOST, _WORSE = 60.0, 5.0, 30.0, 1.001
_STEPS, _MEMORY = 100_000, 20


def run(context: Context) -> Iterator[Row]:
    """Rows: loops on one thread and on all, then fits; none where PyTorch is missing."""
    try:
        import torch  # noqa: F401
    except ImportError as reason:
        context.leave_out("torch", reason)
        return
    loops = [(2_000, 20, 4, 1, "float32", 500)] if context.quick else _LOOPS
    for threads in sorted({1, context.threads}):
        cells = (dict(zip(("n", "d", "k", "m", "dtype", "batch"), each, strict=True)) for each in loops)
        yield from context.each((cell | {"threads": threads} for cell in cells), epoch)
    fits = [(2_000, 10, 2, 1, "tanh")] if context.quick else _FITS
    yield from context.each((dict(zip(("n", "d", "k", "m", "activation"), each, strict=True)) for each in fits), fit)


def epoch(context: Context, n: int, d: int, k: int, m: int, dtype: str, batch: int, threads: int) -> Row:
    """Milliseconds of an epoch of SGD on random batches, and the ratio of both within a round."""
    import torch
    from torch import nn

    import fastrecover.torch as ours

    hold_threads(threads)
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    X = torch.randn(n, d, dtype=kind)
    y = torch.randint(0, m, (n,)) if m > 1 else torch.randn(n, 1, dtype=kind)
    named = "cross_entropy" if m > 1 else "mse"
    theirs = nn.functional.cross_entropy if m > 1 else nn.functional.mse_loss

    def loop(loss: Callable[..., Any]) -> Callable[[], None]:
        torch.manual_seed(1)
        module = nn.Sequential(nn.Linear(d, k), nn.ReLU(), nn.Linear(k, m)).to(kind)
        optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)

        def one() -> None:
            for at in torch.randperm(n).split(batch) if batch < n else [slice(None)]:
                optimiser.zero_grad()
                loss(module, X[at], y[at]).backward()
                optimiser.step()

        return one

    calls = {
        "torch": loop(lambda module, x, t: theirs(module(x), t)),
        "ours": loop(lambda module, x, t: ours.loss(module, x, t, named)),
    }
    times, others = context.timed(calls, 20.0)
    row: Row = {f"{name} ms": 1e3 * statistics.median(times[name]) for name in calls}
    return row | {"torch / ours": ratio(times, "torch", "ours"), "others": others}


def fit(context: Context, n: int, d: int, k: int, m: int, activation: str) -> Row:
    """Seconds of both to the same loss."""
    import torch
    from torch import nn

    import fastrecover.torch as ours

    hold_threads(context.threads)
    acts = {"relu": nn.ReLU(), "tanh": nn.Tanh()}

    def module(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(d, k), acts[activation], nn.Linear(k, m)).double()

    truth = module(0)
    with torch.no_grad():
        truth[0].weight.mul_(2.0)
        truth[2].weight.mul_(3.0)
        X = torch.randn(n, d, dtype=torch.float64)
        y = truth(X) + 0.1 * torch.randn(n, m, dtype=torch.float64)
    found, began = module(1), time.perf_counter()
    rec = ours.fit_module(found, X, y, random_state=0)
    seconds, mse = time.perf_counter() - began, nn.functional.mse_loss
    least = mse(found(X), y).item()
    row: Row = {"ours s": seconds, "passes": rec.n_passes, "loss": least, "of the truth": mse(truth(X), y).item()}
    budget = 1.0 if context.quick else min(max(_BUDGET * seconds, _LEAST), _MOST)
    best, starts, began = float("inf"), 0, time.perf_counter()
    while best > _WORSE * least and time.perf_counter() - began < budget:
        best, starts = min(best, _lbfgs(module(2 + starts), X, y, _WORSE * least, began + budget)), starts + 1
    spent = time.perf_counter() - began
    reached = best <= _WORSE * least
    return row | {
        "torch s": spent, "torch starts": starts, "torch loss": best, "torch reached": reached,
        "torch / ours": spent / seconds, "at least": not reached,
    }  # fmt: skip


def _lbfgs(module: Any, X: Any, y: Any, target: float, until: float) -> float:
    """Smallest loss of one run, which ends at the target or when time is up."""
    import torch
    from torch.nn.functional import mse_loss

    class Over(Exception):
        pass

    solver = torch.optim.LBFGS(
        module.parameters(), max_iter=_STEPS, max_eval=_STEPS, tolerance_grad=1e-12, tolerance_change=0.0,
        history_size=_MEMORY, line_search_fn="strong_wolfe",
    )  # fmt: skip
    least = [float("inf")]

    def closure() -> Any:
        solver.zero_grad()
        loss = mse_loss(module(X), y)
        least[0] = min(least[0], loss.item())
        if least[0] <= target or time.perf_counter() > until:
            raise Over
        loss.backward()
        return loss

    try:
        solver.step(closure)
    except Over:
        pass
    return least[0]
