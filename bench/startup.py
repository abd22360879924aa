"""What a user waits for before anything is large: import, the first fit of a process, a small fit.

Imports and first fits are timed in new processes, imports in turn with an empty one and with NumPy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from .harness import Context, alternate

_PROGRAMS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "fastrecover": "import fastrecover",
    "fastrecover.fit": "import fastrecover; fastrecover.fit",
}
_INSIDE = """
import json, time
start = time.perf_counter()
import fastrecover
print(json.dumps(time.perf_counter() - start))
"""
_FIRST = """
import json, time, warnings
import fastrecover as fr
warnings.simplefilter("ignore")
teacher = fr.datasets.make_teacher({model!r}, n_features=10, n_hidden=3, random_state=0)
X, y = teacher.sample(2000, random_state=1)
start = time.perf_counter()
rec = fr.fit(X, y, model=teacher.model, n_jobs={threads}, random_state=0)
print(json.dumps([time.perf_counter() - start, rec.error(teacher)]))
"""


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: import, first fit, small fit."""
    repeats = 2 if context.quick else 7
    context.say("import in new processes")
    yield _imports(repeats)
    for model in ("relu", "tanh"):
        context.say(f"first and later small fits, {model}")
        yield _first_fit(model, repeats, context)
        for noise in (0.0, 0.1):
            yield _small_fit(model, noise, context)


def _imports(repeats: int) -> dict[str, Any]:
    calls = {name: lambda code=code: _python(code) for name, code in _PROGRAMS.items()}
    times = alternate(calls, rounds=repeats, lead=0, pause=0.0)
    inside = median(json.loads(_python(_INSIDE)) for _ in range(repeats))
    row: dict[str, Any] = {"what": "import"}
    row.update({f"{name} ms": 1e3 * median(values) for name, values in times.items()})
    over = [a - b for a, b in zip(times["fastrecover"], times["nothing"], strict=True)]
    return row | {"over nothing ms": 1e3 * median(over), "statement ms": 1e3 * inside}


def _first_fit(model: str, repeats: int, context: Context) -> dict[str, Any]:
    code = _FIRST.format(model=model, threads=context.threads)
    found = [json.loads(_python(code)) for _ in range(repeats)]
    return {
        "what": "first fit",
        "model": model,
        "n": 2000,
        "d": 10,
        "k": 3,
        "ms": 1e3 * median(seconds for seconds, _ in found),
        "error": max(error for _, error in found),
    }


def _small_fit(model: str, noise: float, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    teacher = fr.datasets.make_teacher(model, n_features=10, n_hidden=3, random_state=0)
    X, y = teacher.sample(2000, noise=noise, random_state=1)
    seconds, rec = [], None
    for _ in range(4 if context.quick else 41):
        start = time.perf_counter()
        rec = fr.fit(X, y, model=teacher.model, n_jobs=context.threads, random_state=0)
        seconds.append(time.perf_counter() - start)
    return {
        "what": "small fit",
        "model": model,
        "noise": noise,
        "n": 2000,
        "d": 10,
        "k": 3,
        "ms": 1e3 * median(seconds[1:]),
        "fastest ms": 1e3 * min(seconds[1:]),
        "passes": rec.n_passes,
        "error": rec.error(teacher),
    }


def surroundings() -> dict[str, str]:
    """Environment in which a new process imports the same fastrecover."""
    import fastrecover

    path = [str(Path(fastrecover.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=surroundings(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a new process failed: {done.stderr.strip()[-500:]}")
    return done.stdout
