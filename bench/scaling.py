"""Time of a fit against n and against d, and memory beyond X.

Each memory row comes from a new process that fits something small first, so that modules and thread pools are
not counted, and then lets the system forget its peak before the fit that is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .harness import Context, Neighbours

_PATIENCE = 15.0  # seconds after which a fit is not repeated

_MEMORY = """
import json, resource, sys, warnings
import fastrecover as fr
warnings.simplefilter("ignore")
n, d, k, threads = map(int, sys.argv[1:])

def peak():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used

def forget():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False

small = fr.datasets.make_teacher("relu", n_features=5, n_hidden=2, random_state=0)
fr.fit(*small.sample(1000, random_state=1), model=small.model, n_jobs=threads, random_state=0)
teacher = fr.datasets.make_teacher("relu", n_features=d, n_hidden=k, random_state=0)
X, y = teacher.sample(n, noise=0.1, random_state=1)
forgot = forget()
before = peak()
fr.fit(X, y, model=teacher.model, n_jobs=threads, random_state=0)
print(json.dumps([peak() - before, forgot]))
"""


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: fits over two decades of n, then of d, with slopes; then memory."""
    ns = (5_000, 20_000) if context.quick else (20_000, 63_000, 200_000, 630_000, 2_000_000)
    ds = (5, 10) if context.quick else (5, 16, 50, 160, 500)
    many = 5_000 if context.quick else 100_000
    yield from _curve("n", [(n, 20, 3) for n in ns], context)
    yield from _curve("d", [(many, d, 3) for d in ds], context)
    for n, d, k in [(2_000, 5, 2)] if context.quick else [(100_000, 50, 5), (1_000_000, 50, 5), (200_000, 200, 8)]:
        context.say(f"memory at n={n:,} d={d} k={k}")
        yield _memory(n, d, k, context.threads)


def _curve(name: str, shapes: list[tuple[int, int, int]], context: Context) -> Iterator[dict[str, Any]]:
    sizes, fits, sweeps = [], [], []
    for n, d, k in shapes:
        context.say(f"fit time at n={n:,} d={d} k={k}")
        row = _timed(name, n, d, k, context)
        sizes.append(n if name == "n" else d)
        fits.append(row["fit ms"])
        sweeps.append(row["sweep ms"])
        yield row
    yield {"slope in": name, "fit": slope(sizes, fits), "sweep": slope(sizes, sweeps)}


def _timed(name: str, n: int, d: int, k: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    teacher = fr.datasets.make_teacher("relu", n_features=d, n_hidden=k, random_state=0)
    X, y = teacher.sample(n, noise=0.1, random_state=1)
    fits, sweeps, rec = [], [], None
    with Neighbours() as others:
        for _ in range(2 if context.quick else 4):
            start = time.perf_counter()
            rec = fr.fit(X, y, model=teacher.model, n_jobs=context.threads, random_state=0)
            fits.append(time.perf_counter() - start)
            if sum(fits) > _PATIENCE:
                break
        theta = np.array(rec.objective.model.pack(rec.parameters))
        for _ in range(7):
            start = time.perf_counter()
            rec.objective.value_and_grad(theta)
            sweeps.append(time.perf_counter() - start)
    return {
        "over": name,
        "n": n,
        "d": d,
        "k": k,
        "fit ms": 1e3 * float(np.median(fits[1:] or fits)),
        "sweep ms": 1e3 * float(np.median(sweeps)),
        "passes": rec.n_passes,
        "converged": rec.converged,
        "others": others.cores,
    }


def slope(sizes: list[float], values: list[float]) -> float:
    """Least-squares slope of log values over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _memory(n: int, d: int, k: int, threads: int) -> dict[str, Any]:
    from .startup import surroundings

    command = [sys.executable, "-c", _MEMORY, *map(str, (n, d, k, threads))]
    done = subprocess.run(command, env=surroundings(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a new process failed: {done.stderr.strip()[-500:]}")
    used, exact = json.loads(done.stdout)
    limit = 64e6 + 16 * n
    return {
        "memory at n": n,
        "d": d,
        "k": k,
        "X MB": n * d * 8 / 1e6,
        "beyond X MB": used / 1e6,
        "limit MB": limit / 1e6,
        "within": used <= limit,
        "lower bound only": not exact,
    }
