"""Rows at the workers of a Dask cluster: one task for each member and sweep, and its shard as what the task depends on.

Shards are results of tasks, so the scheduler makes them again where a worker was lost, from the chunks that they were
made of; parameters travel inside the task.  Nobody waits without a limit: work that no worker can do ends in an error
that says what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distributed import Client, Future, wait
from distributed.client import FutureCancelledError

from ..exceptions import ClusterError
from .teams import Moves

#: Seconds for which a cluster may have no worker that could go on.
PATIENCE = 60.0
_TURN = 1.0  # seconds between two looks at the cluster while a task is waited for


class Workers:
    """Members at the workers of a cluster.

    Parameters
    ----------
    client : Client
    parts : sequence of Future
        What each member holds.
    """

    def __init__(self, client: Client, parts: Sequence[Future]) -> None:
        self.client, self.parts = client, tuple(parts)

    agreement = None

    @property
    def count(self) -> int:
        """Members."""
        return len(self.parts)

    def _submitted(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Future]:
        pairs = zip(self.parts, args, strict=True)
        return [self.client.submit(_called, function, part, *mine, pure=False) for part, mine in pairs]

    def each(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What a function returns of every member's part."""
        return self.each_of(function, [args] * self.count)

    def each_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a function returns of every member's part and arguments."""
        futures = self._submitted(function, args)
        try:
            self._wait(futures)
            found: list[Any] = self.client.gather(futures)
        except (FutureCancelledError, OSError, TimeoutError) as error:
            raise ClusterError(f"the rows at the workers were lost: {error}") from error
        finally:
            for future in futures:
                future.release()
        return found

    def made(self, function: Callable[..., Any], *args: Any) -> Workers:
        """The team of the parts that a function makes."""
        return self.made_of(function, [args] * self.count)

    def made_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Workers:
        """The team of the parts that a function makes of every member's part and arguments."""
        return Workers(self.client, self._submitted(function, args))

    def exchanged(
        self, cut: Callable[..., Any], join: Callable[..., Any], moves: Moves, plans: Sequence[Any]
    ) -> Workers:
        """The team after members have given rows to one another, from worker to worker."""
        received: list[dict[int, Future]] = [{} for _ in self.parts]
        for (who, to), pieces in moves.items():
            received[to][who] = self.client.submit(_called, cut, self.parts[who], pieces, pure=False)
        futures = [
            self.client.submit(_joined, join, part, plan, list(got), list(got.values()), pure=False)
            for part, plan, got in zip(self.parts, plans, received, strict=True)
        ]
        return Workers(self.client, futures)

    def _wait(self, futures: list[Future]) -> None:
        """Wait for tasks as long as there are workers for them."""
        idle = 0.0
        while True:
            try:
                wait(futures, timeout=_TURN)
                return
            except TimeoutError:
                pass
            running = self.client.scheduler_info(n_workers=-1)["workers"] if self.client.status == "running" else {}
            idle = 0.0 if running else idle + _TURN
            if idle >= PATIENCE:
                left = sum(not future.done() for future in futures)
                raise ClusterError(
                    f"no worker of the cluster has come back for {PATIENCE:g} s: the rows of {left} of "
                    f"{self.count} members are lost"
                )


def _called(function: Callable[..., Any], part: Any, *args: Any) -> Any:
    return function(part, *args)


def _joined(join: Callable[..., Any], part: Any, plan: Any, members: list[int], blocks: list[Any]) -> Any:
    return join(part, plan, dict(zip(members, blocks, strict=True)))
