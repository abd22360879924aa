"""Timing in turn, the record of the machine, and the result file.

On a machine that others use too, only times taken within the same second compare: every round times each
candidate once, ratios are taken within a round, and medians over rounds are what is reported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "scipy", "numba", "torch", "jax", "scikit-learn", "tensorly", "matplotlib")
_FLAGS = ("avx512f", "avx2", "fma", "asimd", "sve")
_QUIET, _TRIES = 0.25, 2
_AWAKE = 0.05


class Measured(float):
    """Seconds that a candidate measured itself: returned by it, they stand for the time of the call."""


def alternate(
    candidates: dict[str, Callable[[], Any]],
    *,
    rounds: int = 7,
    warmup: int = 1,
    lead: int = 1,
    budget: float = float("inf"),
    least: int = 3,
    pause: float = 0.03,
    awake: float = float("inf"),
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Any] = time.sleep,
) -> dict[str, list[float]]:
    """Time callables in turn: A B C, A B C, ...

    Parameters
    ----------
    candidates : dict of callables
        One that returns :class:`Measured` is taken at its word.
    rounds, warmup : int
        Timed rounds, and untimed ones before them.
    lead : int
        Untimed calls right before each timed one, which wake the candidate's own threads again.
    budget : float
        Seconds (pauses included) after which no further round begins, once there are `least`.
    pause : float
        Seconds of rest before each turn: thread pools of the one before (OpenMP, OpenBLAS) spin for tens of
        milliseconds after their work and would take the processor from whoever comes next.
    awake : float
        Seconds from which on a call is too long for waking to show: it is not called before being timed.
    clock, sleep : callable
        For tests.

    Returns
    -------
    dict of list of float
        Seconds of each candidate, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(warmup):
        for call in candidates.values():
            call()
    begun = clock()
    for done in range(rounds):
        if done >= least and clock() - begun >= budget:
            break
        for name, call in candidates.items():
            sleep(pause)
            for _ in range(lead if max(times[name], default=0.0) < awake else 0):
                call()
            start = clock()
            result = call()
            took = clock() - start
            times[name].append(float(result) if isinstance(result, Measured) else took)
    return times


class Neighbours:
    """Processor time that other processes took while the ``with`` block ran.

    Attributes
    ----------
    cores : float or None
        Processors busy for others on average; None where the system does not say.
    """

    cores: float | None = None

    def __enter__(self) -> Neighbours:
        self._start = time.perf_counter(), _busy(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, busy, own = self._start
        now = _busy()
        if busy is not None and now is not None:
            spent = (now - busy) - (time.process_time() - own)
            self.cores = round(max(spent / max(time.perf_counter() - wall, 1e-9), 0.0), 2)


def _busy() -> float | None:
    """Seconds all processors have worked since the system started (user, nice, system, interrupts, steal)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    ticks = sum(int(value) for i, value in enumerate(fields[:8]) if i not in (3, 4))
    return ticks / os.sysconf("SC_CLK_TCK")


def median(values: list[float]) -> float:
    """Median of one candidate's seconds."""
    return statistics.median(values)


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over rounds of the time of `slow` over that of `fast` in the same round."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def packages(path: Iterable[str], module: str = "") -> list[Any]:
    """Sub-packages of this one in alphabetical order, or the module of that name in each that has it."""
    found = []
    for package in sorted(info.name for info in pkgutil.iter_modules(path) if info.ispkg):
        name = f"{__package__}.{package}" + (f".{module}" if module else "")
        if importlib.util.find_spec(name) is not None:
            found.append(importlib.import_module(name))
    return found


@dataclass
class Context:
    """What a case needs to know.

    Attributes
    ----------
    threads : int
        Threads given to every candidate.
    quick : bool
        Small sizes and few rounds: shows that everything runs, measures nothing.
    cores : int
        Processors of the machine.
    missing : dict
        Peers that were left out, with the reason.
    kept : list of dict
        Rows that an interrupted run of the case has left; a case may give them again instead of measuring.
    """

    threads: int
    quick: bool = False
    cores: int = field(default_factory=cpu_count)
    missing: dict[str, str] = field(default_factory=dict)
    probes: Any = None
    kept: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """Timed rounds of a sweep."""
        return 3 if self.quick else 9

    def again(self, head: dict[str, Any]) -> list[dict[str, Any]]:
        """The kept rows that say the same as this head."""
        return [row for row in self.kept if all(row.get(key) == value for key, value in head.items())]

    def say(self, text: str) -> None:
        """One progress line, with the time of day."""
        print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def leave_out(self, peer: str, reason: str) -> None:
        """Name a peer that cannot take part, once."""
        if peer not in self.missing:
            self.missing[peer] = reason.strip().splitlines()[0][:200] if reason.strip() else "failed"
            self.say(f"without {peer}: {self.missing[peer]}")


def quietest(
    calls: dict[str, Callable[[], Any]], context: Context, budget: float
) -> tuple[dict[str, list[float]], float | None]:
    """Rounds of the try that others disturbed least; those on processors we leave idle do not count.

    Returns
    -------
    times : dict of list of float
        As from :func:`alternate`.
    others : float or None
        Processors that were busy for others.
    """
    tries: list[tuple[float | None, dict[str, list[float]]]] = []
    for _ in range(1 if context.quick else _TRIES):
        with Neighbours() as others:
            times = alternate(calls, rounds=context.rounds, warmup=0, budget=budget, awake=_AWAKE)
        tries.append((others.cores, times))
        if (others.cores or 0.0) <= context.cores - context.threads + _QUIET:
            break
        context.say(f"{others.cores:.2f} processors were busy for others")
    cores, times = min(tries, key=lambda t: t[0] or 0.0)
    return times, cores


def environment() -> dict[str, Any]:
    """Processor, versions and kernels, without names of hosts, users or folders."""
    import fastrecover as fr

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": _processor(),
        "cores": cpu_count(),
        "caches": _caches(),
        "instructions": _instructions(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fastrecover": fr.__version__,
        "kernels": fr.get_kernels(),
        "kernel instructions": _kernel_instructions(),
        "versions": versions,
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def _kernel_instructions() -> str | None:
    try:
        from fastrecover.kernels import _compiled
    except ImportError:
        return None
    return _compiled.instruction_set()


def _cpuinfo(*keys: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split("\t")[0] in keys), "")


def _processor() -> str:
    return _cpuinfo("model name", "Model") or platform.processor() or platform.machine()


def _instructions() -> list[str]:
    flags = _cpuinfo("flags", "Features").split()
    return [flag for flag in _FLAGS if flag in flags]


def _caches() -> dict[str, str]:
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        found[f"L{level} {kind.lower()}"] = size
    return found


class Results:
    """The result file: one entry for each case, written again after every row.

    Parameters
    ----------
    folder : Path
    quick : bool
    threads : int
    """

    def __init__(self, folder: Path, quick: bool, threads: int) -> None:
        self.path = folder / "results.json"
        self.settings = {"quick": quick, "threads": threads}
        self.data: dict[str, Any] = {"environment": environment(), "cases": {}}
        if self.path.exists():
            try:
                self.data["cases"] = json.loads(self.path.read_text())["cases"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{self.path} is no result file: remove it or choose another --out") from None

    def finished(self, case: str) -> bool:
        """Whether the file holds this case, complete and with the same settings."""
        entry = self.data["cases"].get(case, {})
        return bool(entry.get("complete")) and entry.get("settings") == self.settings

    def rows(self, case: str) -> list[dict[str, Any]]:
        """What the file holds of this case, complete or not, if it was measured with the same settings."""
        entry = self.data["cases"].get(case, {})
        return list(entry.get("rows", [])) if entry.get("settings") == self.settings else []

    def run(self, case: str, rows: Iterator[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """Run a case, keeping each row as it comes."""
        entry: dict[str, Any] = {"settings": self.settings, "complete": False, "rows": []}
        previous, self.data["cases"][case] = self.data["cases"].get(case), entry
        start = time.perf_counter()
        try:
            for row in rows:
                entry["rows"].append(row)
                self.save(entry, start, context)
            entry["complete"] = True
            self.save(entry, start, context)
        except BaseException:
            if previous is not None and previous.get("complete"):
                self.data["cases"][case] = previous  # an interrupted repeat must not cost the earlier result
                self.save(previous, None, context)
            raise
        return entry["rows"]

    def save(self, entry: dict[str, Any], start: float | None, context: Context) -> None:
        """Write the file in one piece."""
        if start is not None:
            entry["seconds"] = round(time.perf_counter() - start, 1)
            entry["left out"] = dict(context.missing)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, indent=1, default=float, allow_nan=True))
        os.replace(part, self.path)
