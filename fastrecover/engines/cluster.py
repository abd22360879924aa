"""Rows at the workers of a Dask cluster: one task for each member and sweep, and its shard as what the task depends on.

Shards are results of tasks, so the scheduler makes them again where a worker was lost, from the chunks that they were
made of; parameters travel inside the task.  Nobody waits without a limit: work that no worker can do ends in an error
that says what was lost.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from distributed import Client, Future, KilledWorker, wait
from distributed.client import ClosedClientError

from ..exceptions import ClusterError
from .teams import Moves

#: Seconds for which a cluster may have no worker that does anything, while tasks of a fit are waited for.
PATIENCE = 60.0
_TURN = 1.0  # seconds between two looks at the cluster
_ANSWER = 5.0  # seconds for an answer of the scheduler

_LOST = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    ClosedClientError,
    KilledWorker,
    OSError,
    TimeoutError,
)


class Workers:
    """Members at the workers of a cluster.

    Parameters
    ----------
    client : Client
    parts : sequence of Future
        What each member holds.
    homes : sequence of str
        Addresses of the workers that should hold them, as long as they are there.
    """

    agreement = None

    def __init__(self, client: Client, parts: Sequence[Future], homes: Sequence[str]) -> None:
        self.client, self.parts, self.homes = client, tuple(parts), tuple(homes)

    @property
    def count(self) -> int:
        """Members."""
        return len(self.parts)

    def _submitted(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Future]:
        triples = zip(self.parts, self.homes, args, strict=True)
        with _named():
            return [self._task(function, home, _called, function, part, *mine) for part, home, mine in triples]

    def _task(self, function: Callable[..., Any], home: str, *call: Any) -> Future:
        """A task of a name of its own, under which the dashboard shows it with its like."""
        key = f"fastrecover.{getattr(function, '__name__', 'task').strip('_<>')}-{uuid4().hex}"
        return self.client.submit(*call, key=key, workers=[home], allow_other_workers=True)

    def each(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What a function returns of every member's part."""
        return self.each_of(function, [args] * self.count)

    def each_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a function returns of every member's part and arguments.

        Raises
        ------
        ClusterError
            Rows were lost, or the cluster was.
        Exception
            What the function of the first member that failed has raised.
        """
        futures = self._submitted(function, args)
        try:
            waited(self.client, futures)
            for future in futures:
                error = future.exception(timeout=_ANSWER) if future.status == "error" else None
                if error is not None and not isinstance(error, KilledWorker):
                    raise error
            with _named():
                found: list[Any] = self.client.gather(futures)
        finally:
            for future in futures:
                future.release()
        return found

    def made(self, function: Callable[..., Any], *args: Any) -> Workers:
        """The team of the parts that a function makes."""
        return self.made_of(function, [args] * self.count)

    def made_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Workers:
        """The team of the parts that a function makes of every member's part and arguments."""
        return Workers(self.client, self._submitted(function, args), self.homes)

    def exchanged(
        self, cut: Callable[..., Any], join: Callable[..., Any], moves: Moves, plans: Sequence[Any]
    ) -> Workers:
        """The team after members have given rows to one another, from worker to worker."""
        received: list[dict[int, Future]] = [{} for _ in self.parts]
        with _named():
            for (who, to), pieces in moves.items():
                received[to][who] = self._task(cut, self.homes[who], _called, cut, self.parts[who], pieces)
            quadruples = zip(self.parts, self.homes, plans, received, strict=True)
            futures = [
                self._task(join, home, _joined, join, part, plan, list(got), list(got.values()))
                for part, home, plan, got in quadruples
            ]
        return Workers(self.client, futures, self.homes)


def waited(client: Client, futures: Sequence[Future]) -> None:
    """Wait for tasks as long as some worker does something.

    Parameters
    ----------
    client : Client
    futures : sequence of Future

    Raises
    ------
    ClusterError
        They were lost, or nothing has been done for :data:`PATIENCE` seconds.
    """
    seen = time.monotonic()
    with _named():
        while True:
            try:
                wait(futures, timeout=_TURN)
                return
            except TimeoutError:
                pass
            if _is_busy(client):
                seen = time.monotonic()
            if time.monotonic() - seen >= PATIENCE:
                left = sum(not future.done() for future in futures)
                raise ClusterError(
                    f"no worker of the cluster has done anything for {PATIENCE:g} s: the rows of {left} of "
                    f"{len(futures)} members are lost"
                )


def _is_busy(client: Client) -> bool:
    """Whether some worker has a task, as far as the scheduler answers."""
    if client.scheduler is None:
        return False
    try:
        tasks = client.sync(client.scheduler.processing, callback_timeout=_ANSWER)
    except _LOST:
        return False
    return any(tasks.values())


@contextmanager
def _named() -> Iterator[None]:
    """Errors of the cluster as what they mean for a fit."""
    try:
        yield
    except ClusterError:
        raise
    except _LOST as error:
        raise ClusterError(f"the rows at the workers were lost: {type(error).__name__}: {error}") from error


def _called(function: Callable[..., Any], part: Any, *args: Any) -> Any:
    return function(part, *args)


def _joined(join: Callable[..., Any], part: Any, plan: Any, members: list[int], blocks: list[Any]) -> Any:
    return join(part, plan, dict(zip(members, blocks, strict=True)))
