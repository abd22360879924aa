"""Who runs the blocks of a sweep, and how many rows were touched."""

from __future__ import annotations

from ..sources import Source
from .base import Engine, Meter, Weights
from .mapped import MappedEngine
from .processors import resolve_jobs
from .sharded import ShardedEngine, at_edges, contiguous
from .shards import Shard, of_source
from .teams import Agreement, Gathered, Team, agreed
from .threads import Runs, ThreadEngine

__all__ = [
    "Agreement",
    "Engine",
    "Gathered",
    "MappedEngine",
    "Meter",
    "Runs",
    "Shard",
    "ShardedEngine",
    "Team",
    "ThreadEngine",
    "Weights",
    "agreed",
    "at_edges",
    "contiguous",
    "engine_on",
    "of_source",
    "resolve_jobs",
]


def engine_on(source: Source, n_jobs: int | None = None, meter: Meter | None = None) -> Engine:
    """The engine that sweeps a source: who runs the blocks depends on where they are.

    Parameters
    ----------
    source : Source
    n_jobs : int, optional
        Threads; None for all processors.
    meter : Meter, optional
        Counter of rows, where other engines share one.

    Returns
    -------
    Engine
    """
    return ThreadEngine(source, n_jobs, meter)
