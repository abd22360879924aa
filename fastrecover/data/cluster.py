"""Arrays and frames of Dask whose chunks are, or come to be, at the workers of a cluster.

The chunks of a worker are gathered there by one task each that holds them as they are; chunks that nobody has yet are
given out in consecutive stretches, so that a worker sums few large subtrees.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .._arrays import as_numbers
from ..models import Network
from ..sources import as_values, is_chunked, joined_arrays
from ..sources.chunks import Chunks, as_chunks
from .held import Held
from .spread import Spread, spread


def client() -> Any:
    """The client of the cluster that a user has connected to, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        pass
    else:
        return None  # in a task, which would wait for tasks that wait for its thread
    try:
        return distributed.Client.current()
    except ValueError:
        return None


def of_workers(X: Any, y: Any, sample_weight: Any, model: Network, class_weight: Any) -> Spread:
    """Data of a Dask collection, at the workers of the cluster of the current client.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
    y, sample_weight : collections of Dask, arrays, or None
    model : Network
    class_weight : any

    Returns
    -------
    Spread

    Raises
    ------
    TypeError, ValueError
    """
    import dask

    from ..engines.cluster import Workers, waited

    if y is None:
        raise ValueError("y is missing: give the responses, one for each row of X")
    y, sample_weight = (values if is_chunked(values) else as_values(values) for values in (y, sample_weight))
    here, chunks = client(), as_chunks(X, y, sample_weight)
    if chunks.futures:
        waited(here, chunks.futures)  # else nobody knows where they will be
    gathered = dask.delayed(_held, pure=False)
    futures, places = [], _places(here, chunks)
    for worker, numbers in places:
        parts = [
            None if each is None else [each[i] for i in numbers] for each in (chunks.rows, chunks.y, chunks.weight)
        ]
        futures.append(here.compute(gathered(*parts, numbers), workers=[worker], allow_other_workers=True))
    team = Workers(here, futures, [worker for worker, _ in places])
    return spread(team, [numbers for _, numbers in places], model, class_weight)


def _places(here: Any, chunks: Chunks) -> list[tuple[str, list[int]]]:
    """Which worker has which chunks, or is to have them."""
    threads = here.nthreads()
    if not threads:
        raise ValueError("the cluster has no workers: start some, or wait for them with client.wait_for_workers(1)")
    known = here.who_has(chunks.futures) if chunks.futures else {}
    holders = [sorted(known.get(future.key, ())) for future in chunks.futures]
    if holders and all(holders):
        found: dict[str, list[int]] = {}
        for i, each in enumerate(holders):
            found.setdefault(each[0], []).append(i)
        return sorted(found.items())
    workers = sorted(threads)
    shares = np.cumsum([0, *(threads[worker] for worker in workers)]) / sum(threads.values())
    edges = np.rint(shares * len(chunks.rows)).astype(int)
    stretches = zip(workers, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return [(worker, list(range(a, b))) for worker, a, b in stretches if a < b]


def _held(xs: list[Any], ys: list[Any] | None, ws: list[Any] | None, numbers: list[int]) -> Held:
    """Chunks as they are, at the worker that has them."""
    said = f"chunk {numbers[0]} of X" if len(numbers) == 1 else f"chunks {numbers[0]} to {numbers[-1]} of X"
    try:
        rows = [as_numbers(x, "X") for x in xs]
    except (TypeError, ValueError) as error:
        raise type(error)(f"in {said}: {error}") from None
    y, w = (None if each is None else np.concatenate([np.asarray(a) for a in each]) for each in (ys, ws))
    return Held(joined_arrays(rows), y, w, tuple(len(x) for x in rows), said)
