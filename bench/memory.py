"""Peak memory of a fit beyond X, y and what is loaded anyway: what the kernel's high-water mark gains.

Each fit has a new process, which has fitted something small and noisy before (modules, thread pools).  X lies in
ordinary memory, since pages of a mapped file would count as they are first read.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .harness import Context, Row
from .planted import planted
from .sweeps import SHAPES

_PATIENCE = 12.0  # seconds after which a fit is told to end


def run(context: Context) -> Iterator[Row]:
    """Rows: one for each size and model; none where the system does not let a process forget its mark."""
    shapes = [(20_000, 20, 3)] if context.quick else [(1_000_000, 50, 5), *SHAPES]
    models = {n: ("relu", "tanh") if d < 50 else ("relu",) for n, d, k in shapes}
    cells = [{"model": m, "n": n, "d": d, "k": k} for n, d, k in shapes if k * d < n for m in models[n]]
    try:
        yield from context.each(cells, measure)
    except OSError as error:
        context.leave_out("memory", error)


def measure(context: Context, **cell: Any) -> Row:
    """Megabytes of one fit, in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_fit, threads=context.threads, **cell).result()


def _fit(threads: int, model: str, n: int, d: int, k: int) -> Row:
    import fastrecover as fr

    warnings.simplefilter("ignore")
    options: dict[str, Any] = dict(n_jobs=threads, random_state=0)
    teacher, X, y = planted(model, 5, 2, 1000, 0, rows=1, noise=0.1)
    fr.fit(X, y, teacher.model, **options)
    _ = fr.ConvergenceWarning  # scikit-learn's, which is imported with the first warning
    teacher, X, y = planted(model, d, k, n, 0, rows=1, noise=0.1)
    end = time.monotonic() + _PATIENCE
    used, rec = peak(lambda: fr.fit(X, y, teacher.model, callback=lambda _: time.monotonic() > end, **options))
    row: Row = {"X MB": X.nbytes / 1e6, "beyond X MB": used / 1e6, "64 MB + 16 n bytes": 64 + 16e-6 * n}
    return row | {"passes": rec.n_passes, "converged": rec.converged}


def peak(work: Callable[[], Any]) -> tuple[int, Any]:
    """Most bytes that this process has held at once during the work over those before, and the work's result."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the mark
    before = status("VmRSS")
    result = work()
    return status("VmHWM") - before, result


def status(name: str) -> int:
    """Bytes that the kernel states for this process."""
    return 1024 * int(re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())[1])
