"""How many threads a process should use: the processors it may run on, and no more than a container pays for.

A container is often given a share of the time of many processors; threads beyond that share are stopped in the middle
of a sweep until the next period begins.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np


def cpu_count() -> int:
    """Processors this process may use, not more than its control groups allow the time of."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(found, math.ceil(min(_quota(), found))))


def resolve_jobs(n_jobs: int | None) -> int:
    """Number of threads meant by `n_jobs`: None for all, of a Dask worker those that it has; negative from the end.

    Raises
    ------
    TypeError, ValueError
        Not an integer, or zero.
    """
    all_of_them = _of_worker() or cpu_count()
    if n_jobs is None:
        return all_of_them
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)):
        raise TypeError(f"n_jobs must be an integer or None, got {n_jobs!r}")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: give a number of threads, -1 or None for all processors")
    return max(1, all_of_them + 1 + int(n_jobs)) if n_jobs < 0 else int(n_jobs)


def _of_worker() -> int:
    """Threads of the Dask worker in whose task this is, else 0: several workers share the processors of a machine."""
    distributed = sys.modules.get("distributed")
    try:
        return 0 if distributed is None else int(distributed.get_worker().state.nthreads)
    except (ValueError, AttributeError):
        return 0


@lru_cache(maxsize=1)
def _quota() -> float:
    return quota(Path("/"))


def quota(root: Path) -> float:
    """Processors' worth of time that the control groups of this process allow, infinite where they do not say.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return math.inf
    return min((share for line in lines for share in _shares(root, line)), default=math.inf)


def _shares(root: Path, line: str) -> Iterator[float]:
    """What one line ``number:controllers:group`` allows, of the group and all groups that it lies in.

    Inside a container the group may be named as the host sees it, and lie at the top all the same; of the folders on
    the way there those that do not exist say nothing.
    """
    _, _, rest = line.partition(":")
    controllers, _, group = rest.partition(":")
    if controllers and "cpu" not in controllers.split(","):
        return
    top = root / "sys/fs/cgroup"
    folders = [top / controllers, top / "cpu"] if controllers else [top, top / "unified"]
    path = PurePosixPath(group.lstrip("/"))
    for folder in folders:
        for at in (path, *path.parents):
            yield _first_version(folder / at) if controllers else _second_version(folder / at)


def _second_version(folder: Path) -> float:
    return _ratio(*_words(folder / "cpu.max"))


def _first_version(folder: Path) -> float:
    return _ratio(*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us"))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def _ratio(*words: str) -> float:
    """Microseconds of time in a period over its length; "max" and -1 stand for no limit."""
    try:
        allowed, period = (float(word) for word in words)
    except ValueError:
        return math.inf
    return allowed / period if allowed > 0 and period > 0 else math.inf
