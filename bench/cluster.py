"""Rows at the workers of a Dask cluster: what a pass costs beside its sums, and beside the threads of one process.

Two workers of one thread each hold the rows; the other candidate has the same rows in its memory and two threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np

from .harness import Context, Row, alternate, ratio

_D, _K, _WORKERS = 50, 5, 2
_FEW = 4096 * _WORKERS  # rows whose sums take no time


def run(context: Context) -> Iterator[Row]:
    """Rows: numbers of chunks; none where Dask is missing."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        context.leave_out("cluster", error)
        return
    n = 200_000 if context.quick else 4_000_000
    cells = [{"chunks": chunks, "n": n} for chunks in (10, 100, 1000)]
    with LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        yield from context.each(cells, measure)


def measure(context: Context, chunks: int, n: int) -> Row:
    """Milliseconds of a gradient sweep by workers and by threads, and of one over next to no rows."""
    import dask.array as da

    import fastrecover as fr

    size = -(-n // chunks)
    X = da.random.default_rng(0).standard_normal((n, _D), chunks=(size, _D)).persist()
    y = X.sum(axis=1).persist()
    local, model = fr.objective(X.compute(), y.compute(), "relu", _K, n_jobs=_WORKERS), ("relu", _K)
    everywhere, few = fr.objective(X, y, *model), fr.objective(X[:_FEW], y[:_FEW], *model)
    theta = np.random.default_rng(1).standard_normal(local.n_parameters)
    found, expected = everywhere.value_and_grad(theta), local.value_and_grad(theta)
    calls: dict[str, Any] = {
        name: lambda o=o: o.value_and_grad(theta)
        for name, o in (("workers", everywhere), ("threads", local), ("few", few))
    }
    times = alternate(calls, 5 if context.quick else 25)
    row: Row = {f"{name} ms": 1e3 * median(times[name]) for name in calls}
    row |= {"workers / threads": ratio(times, "workers", "threads"), "overhead ms a worker": row["few ms"] / _WORKERS}
    return row | {"same bits": bool(found[0] == expected[0] and (found[1] == expected[1]).all())}
