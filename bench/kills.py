"""Fits that are killed: does a checkpoint bring back the same bits, and what does it cost to keep one?"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .harness import Context, Row, alternate, ratio
from .planted import planted
from .startup import in_new_process

_FITS: dict[str, dict[str, Any]] = {
    "relu": {"model": "relu", "d": 20, "k": 3, "n": 200_000, "noise": 0.1},
    "tanh, free": {"model": "tanh", "d": 10, "k": 3, "n": 20_000, "noise": 0.1, "output_weights": "free"},
    "lbfgs": {"model": "tanh", "d": 20, "k": 4, "n": 30_000, "noise": 0.3, "solver": "lbfgs", "init": "random"},
}
_SIZES = ((100_000, 50, 5), (1_000_000, 100, 10))


def run(context: Context) -> Iterator[Row]:
    """Rows: for each fit kills and same results, then what a checkpoint costs."""
    fits = dict(list(_FITS.items())[:1]) if context.quick else _FITS
    each = 2 if context.quick else -(-100 // len(fits))
    for name, options in fits.items():
        code = (
            f"import json; from bench.kills import killed; print(json.dumps(killed({each}, {len(name)}, **{options})))"
        )
        row = json.loads(in_new_process(code))
        context.say(f"{name}: {row['kills']} kills, {row['same results']} same results")
        yield {"what": "kills", "fit": name} | row
    for n, d, k in _SIZES[:1] if context.quick else _SIZES:
        yield {"what": "cost", "n": n, "d": d, "k": k} | cost(n // 50 if context.quick else n, d, k, context)


def killed(count: int, seed: int, **options: Any) -> Row:
    """Kills of a fit at moments drawn from its whole length, each followed by the same call until it ends.

    Every fit is a child of this process, which must have no threads; so it costs no import.
    """
    fit = _prepared(**options)
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "fit.checkpoint")
        wanted = fit(None)  # and all is imported before there are children
        length = _length(fit, place)
        same, found, unfinished = 0, [], 0
        for _ in range(count):
            place.unlink(missing_ok=True)
            left = _ended(fit, place, moments.uniform(0.0, length))
            unfinished += left == b""
            found.append(place.stat().st_size if place.exists() else 0)
            same += _ended(fit, place, None) == wanted
    whole = {"kills": count, "of a fit under way": unfinished, "same results": same, "s a fit": length}
    return whole | {"kB kept, least": min(found) / 1e3, "kB kept, most": max(found) / 1e3}


def _prepared(model: str, d: int, k: int, n: int, noise: float, **options: Any) -> Any:
    """A fit of a planted network, as a function of a checkpoint that returns all that it found."""
    import numpy as np

    import fastrecover as fr

    teacher, X, y = planted(model, d, k, n, 0, rows=1, noise=noise)

    def fit(place: Path | None) -> bytes:
        rec = fr.fit(X, y, model, k, n_jobs=1, random_state=0, checkpoint=place, **options)
        found = np.concatenate([rec.parameters.flat(), [rec.loss, rec.n_passes], rec.history["loss"]])
        return hashlib.sha256(found.tobytes() + rec.message.encode()).digest()

    return fit


def _ended(fit: Any, place: Path | None, seconds: float | None) -> bytes:
    """What a child finds that is killed after so many seconds, if it is not done; nothing where it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, fit(place))
            os._exit(0)
        except BaseException as error:
            print(f"kills: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with open(reader, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


def _length(fit: Any, place: Path) -> float:
    """Seconds that a fit takes with a new checkpoint."""
    times = []
    for _ in range(3):
        place.unlink(missing_ok=True)
        begun = time.perf_counter()
        _ended(fit, place, None)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def cost(n: int, d: int, k: int, context: Context) -> Row:
    """Time of a fit with a new checkpoint, and of the same call once it has ended, over that without one."""
    import fastrecover as fr

    teacher, X, y = planted("relu", d, k, n, 0, rows=1, noise=0.1)
    fit = partial(fr.fit, X, y, "relu", k, n_jobs=context.threads, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        done, new = Path(folder, "done"), Path(folder, "new")
        fit(checkpoint=done)

        def anew() -> None:
            new.unlink(missing_ok=True)
            fit(checkpoint=new)

        calls = {"plain": fit, "kept": anew, "again": partial(fit, checkpoint=done)}
        times = alternate(calls, 3 if context.quick else 25, budget=120.0)
        row: Row = {f"{name} s": statistics.median(values) for name, values in times.items()}
        row |= {"kept / plain": ratio(times, "kept", "plain"), "again / plain": ratio(times, "again", "plain")}
        return row | {"MB": done.stat().st_size / 1e6}
