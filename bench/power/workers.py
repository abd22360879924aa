"""Many small problems side by side: one process for each processor, results in the order of the tasks.

Problems of a few thousand rows gain nothing from threads, so every process works with one thread and seeds are
handed out one by one.  ``multiprocessing.Pool`` is used for its ``terminate``: Ctrl-C ends a study at once and
not when the tasks in hand are done.  Processes are spawned, since forking a process with threads is unsafe.
"""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from ..harness import Context

_LONGEST = 3600.0  # seconds that one task may take: one whose process was killed would be waited for forever

Cell = tuple[dict[str, Any], Sequence[Any]]


class Workers:
    """Processes of one study.

    Parameters
    ----------
    context : Context
        As many processes as it has threads; the quick form runs in this process.

    Notes
    -----
    While it is open BLAS has one thread here too: on vectors as short as these, threads cost ten times the work.
    """

    def __init__(self, context: Context) -> None:
        self.count = 0 if context.quick else context.threads
        self._pool: Any = None
        self._limits: Any = None

    def __enter__(self) -> Workers:
        self._limits = _one_blas_thread()
        if self.count:
            self._pool = multiprocessing.get_context("spawn").Pool(self.count, _prepare)
        return self

    def __exit__(self, *_: object) -> None:
        self._limits.restore_original_limits()
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool = None

    def map(self, task: Callable[..., Any], arguments: Iterable[tuple]) -> Iterator[Any]:
        """``task(*arguments)`` for each, in order.

        Parameters
        ----------
        task : callable
            A function of a module.
        arguments : iterable of tuple

        Raises
        ------
        multiprocessing.TimeoutError
            Nothing came back for an hour.
        """
        if self._pool is None:
            yield from (task(*one) for one in arguments)
            return
        results = self._pool.imap(_call, [(task, one) for one in arguments])
        while True:
            try:
                yield results.next(_LONGEST)
            except StopIteration:
                return

    def cells(
        self,
        context: Context,
        cells: Sequence[Cell],
        task: Callable[..., Any],
        summary: Callable[[list[Any]], dict[str, Any]],
    ) -> Iterator[dict[str, Any]]:
        """A row for each cell, ``head | summary(results)``, in order; those the context has kept are not measured.

        Parameters
        ----------
        context : Context
            Its ``kept`` rows are taken where they hold everything that a head says.
        cells : sequence of (head, arguments)
            The tasks of all cells are queued at once, so that no process waits at the end of a cell.
        task, summary : callable

        Returns
        -------
        iterator of dict
        """
        known = [next(iter(context.again(head)), None) for head, _ in cells]
        queue = self.map(task, [a for (_, given), row in zip(cells, known, strict=True) if row is None for a in given])
        for number, ((head, given), row) in enumerate(zip(cells, known, strict=True), 1):
            if row is None:
                row = head | summary(list(islice(queue, len(given))))
                of = f" ({number} of {len(cells)})" if len(cells) > 1 else ""
                context.say(", ".join(f"{key} {value}" for key, value in head.items()) + of)
            yield row


def _one_blas_thread() -> Any:
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be limited)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    warnings.simplefilter("ignore")
    _one_blas_thread()


def _call(one: tuple[Callable[..., Any], tuple]) -> Any:
    task, arguments = one
    return task(*arguments)
