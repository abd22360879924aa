"""Peak memory of a fit beyond X, y and what is loaded anyway.

Each row comes from a new process that fits something small and noisy first (modules, thread pools), draws X and y,
gives freed memory back to the system and then has the kernel forget its high-water mark, so that what the mark
gains is the fit's.  The mark misses no peak, however short; where a system does not let a process reset it,
anonymous memory is sampled every millisecond instead.  X lies in ordinary memory, all its pages touched: pages of
a mapped file would count as they are first read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from .harness import Context

SHAPES = (
    (2_000_000, 20, 3),
    (1_000_000, 50, 5),
    (400_000, 128, 4),
    (200_000, 256, 8),
    (100_000, 512, 8),
    (100_000, 512, 16),
    (50_000, 1024, 32),
    (50_000, 1024, 64),
    (20_000, 10_000, 10),
)
_PATIENCE = 12.0  # seconds after which a fit is told to end
_SHUT = 40.0  # seconds after which it is cut off, and the mark is a lower bound

_PROBE = """
import ctypes, gc, json, os, re, threading, time

def status(name):
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(name + r":\\s+(\\d+)", file.read())[1])

def forget():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return status("VmHWM") <= status("VmRSS") + (1 << 20)

def sample():
    global top
    while not done.is_set():
        top = max(top, status("RssAnon"))
        time.sleep(0.001)

def report(whole):
    print(json.dumps([(status("VmHWM") if exact else top) - before, exact, whole, said]), flush=True)

def cut():
    report(False)
    os._exit(0)

{setup}
gc.collect()
try:
    ctypes.CDLL(None).malloc_trim(0)
except AttributeError:
    pass
exact, done, said = forget(), threading.Event(), None
before = top = status("VmRSS" if exact else "RssAnon")
if not exact:
    threading.Thread(target=sample, daemon=True).start()
timer = threading.Timer({patience}, cut)
timer.daemon = True
timer.start()
{work}
timer.cancel()
done.set()
report(True)
"""

_SETUP = """
import warnings
import fastrecover as fr
warnings.simplefilter("ignore")
n, d, k, threads = {n}, {d}, {k}, {threads}
small = fr.datasets.make_teacher({model!r}, n_features=5, n_hidden=2, random_state=0)
fr.fit(*small.sample(1000, noise=0.1, random_state=1), model=small.model, n_jobs=threads, random_state=0)
fr.ConvergenceWarning  # scikit-learn's, which is imported with the first warning
teacher = fr.datasets.make_teacher({model!r}, n_features=d, n_hidden=k, random_state=0)
X, y = teacher.sample(n, noise=0.1, random_state=1)
"""
_FIT = """
end = time.monotonic() + {patience}
late = lambda line: time.monotonic() > end
rec = fr.fit(X, y, model=teacher.model, n_jobs=threads, random_state=0, callback=late)
said = [rec.n_passes, rec.converged]
"""


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each size that has more rows than parameters."""
    for n, d, k in [(20_000, 20, 3)] if context.quick else SHAPES:
        if k * d >= n:
            context.say(f"memory at n={n:,} d={d} k={k}: left out, {k * d:,} weights cannot be told from {n:,} rows")
            continue
        for model in ("relu", "tanh") if d < 50 else ("relu",):
            kept = context.again({"model": model, "n": n, "d": d, "k": k})
            if kept:
                yield from kept
                continue
            context.say(f"memory of {model} at n={n:,} d={d} k={k}")
            setup = _SETUP.format(n=n, d=d, k=k, threads=context.threads, model=model)
            try:
                used, exact, whole, said = peak(setup, _FIT.format(patience=_PATIENCE), _SHUT)
            except FileNotFoundError as error:
                context.leave_out("memory", str(error))
                return
            limit = 64e6 + 16 * n
            yield {
                "model": model,
                "n": n,
                "d": d,
                "k": k,
                "X MB": n * d * 8 / 1e6,
                "beyond X MB": used / 1e6,
                "limit MB": limit / 1e6,
                "within": used <= limit if whole or used > limit else None,
                "passes": said[0] if whole else None,
                "converged": whole and said[1],
                "cut off": not whole,
                "sampled": not exact,
            }


def peak(setup: str, work: str, patience: float) -> tuple[int, bool, bool, Any]:
    """Most bytes that a piece of code holds at once in a new process, over what was there before.

    Parameters
    ----------
    setup, work : str
        Python statements; what `work` assigns to ``said`` comes back.
    patience : float
        Seconds after which the work is cut off.

    Returns
    -------
    used : int
    exact : bool
        From the system's high-water mark, not from samples.
    whole : bool
        The work was not cut off.
    said : object

    Raises
    ------
    FileNotFoundError
        The system does not tell a process its memory in ``/proc``.
    RuntimeError
        The process failed.
    """
    from .startup import surroundings

    open("/proc/self/status").close()
    code = _PROBE.replace("{setup}", setup).replace("{work}", work).replace("{patience}", repr(patience))
    done = subprocess.run([sys.executable, "-c", code], env=surroundings(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a new process failed: {done.stderr.strip()[-500:]}")
    used, exact, whole, said = json.loads(done.stdout)
    return used, exact, whole, said
