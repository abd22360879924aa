"""What a user waits for before anything is large: import and first fit of a new process, a small fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from .harness import Context, Row, alternate
from .planted import planted

_PROGRAMS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "fastrecover": "import fastrecover",
    "fastrecover.fit": "import fastrecover; fastrecover.fit",
}
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


def run(context: Context) -> Iterator[Row]:
    """Rows: imports, then for each model the first fit of a process and later ones."""
    import fastrecover as fr

    repeats = 2 if context.quick else 7
    calls = {name: lambda code=code: in_new_process(code) for name, code in _PROGRAMS.items()}
    times = alternate(calls, repeats, pause=0.0, lead=0)
    row: Row = {"what": "import"} | {f"{name} ms": 1e3 * median(values) for name, values in times.items()}
    over = (a - b for a, b in zip(times["fastrecover"], times["nothing"], strict=True))
    yield row | {"over nothing ms": 1e3 * median(over)}
    for model in ("relu", "tanh"):
        code = _FIRST.format(model=model, threads=context.threads)
        found = [json.loads(in_new_process(code)) for _ in range(repeats)]
        yield {"what": "first fit", "model": model, "ms": 1e3 * median(one[0] for one in found), "error": found[0][1]}
        for noise in (0.0, 0.1):
            teacher, X, y = planted(model, 10, 3, 2000, 0, rows=1, noise=noise)
            fit = partial(fr.fit, X, y, teacher.model, n_jobs=context.threads, random_state=0)
            rec, times = fit(), alternate({"fit": fit}, 4 if context.quick else 41, pause=0.0)
            row = {"what": "small fit", "model": model, "noise": noise, "ms": 1e3 * median(times["fit"])}
            yield row | {"passes": rec.n_passes, "error": rec.error(teacher)}


def in_new_process(code: str) -> str:
    """What Python code prints in a new process that imports the same fastrecover; RuntimeError if it fails."""
    import fastrecover

    path = [str(Path(fastrecover.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a new process failed: {done.stderr.strip()[-500:]}")
    return done.stdout
