"""Threads that wait for work, and the sweeps they share.

A thread that starts a sweep works on it itself, lets others help, and leaves when all is done: nobody waits for a
helper that is busy elsewhere, so any number of threads may sweep at once.  What is shared is a job of the compiled
kernels, which then run without Python, or the :class:`Parts` below.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TypeAlias

import numpy as np

from ..kernels import Job
from ..kernels.tree import Tree

Sums: TypeAlias = tuple[np.ndarray, np.ndarray]


class Parts:
    """Parts of a sweep that Python hands out: of sources that make rows, and of kernels that do not share.

    Parameters
    ----------
    part : callable
        ``part(level, number, run)`` returns the sums of a subtree of the run of that number.
    places : list of tuple of int
        Level, number and run of every part, at least one.
    """

    def __init__(self, part: Callable[[int, int, int], Sums], places: list[tuple[int, int, int]]) -> None:
        self.part, self.places = part, places
        self.tree, self.turn = Tree(), itertools.count()
        self.idle, self.working = threading.Condition(), 0
        self.error: BaseException | None = None

    def work(self) -> None:
        """Do parts until none is left, or one has failed."""
        with self.idle:
            self.working += 1
        try:
            while self.error is None and (i := next(self.turn)) < len(self.places):
                level, number, run = self.places[i]
                self.tree.add(number, self.part(level, number, run), level)
        except BaseException as error:
            self.error = self.error or error
        with self.idle:
            self.working -= 1
            self.idle.notify_all()

    def stop(self) -> None:
        """Let nobody begin another part."""
        self.error = self.error or RuntimeError("the sweep was stopped")

    def finish(self) -> Sums:
        """Work, wait for the others, and return all sums or raise what went wrong."""
        self.wait()
        return self.tree.total()

    def wait(self) -> None:
        """Work, wait for the others, and raise what went wrong."""
        self.work()
        if self.error is None:
            with self.idle:
                self.idle.wait_for(lambda: not self.working)
        if self.error is not None:
            raise self.error


class _Pool:
    """Threads that end with the process; a forked child begins with none."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.lock, self.size = threading.Lock(), 0

    def ask(self, job: Job, helpers: int) -> None:
        """Let so many threads help with a job, as they come free; fewer where no more are to be had."""
        if self.size < helpers:
            with self.lock, contextlib.suppress(RuntimeError):
                while self.size < helpers:
                    threading.Thread(target=self._serve, args=(self.jobs,), name="fastrecover", daemon=True).start()
                    self.size += 1
        for _ in range(min(helpers, self.size)):
            self.jobs.put(job)

    @staticmethod
    def _serve(jobs: SimpleQueue[Job]) -> None:
        while True:
            job = jobs.get()
            job.work()
            del job  # which holds the rows


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.clear)


def run(job: Job, threads: int) -> Sums:
    """Sums of a job on so many threads, this one among them."""
    with _helped(job, threads):
        return job.finish()


def subtrees(parts: Parts, threads: int) -> Tree:
    """What is left of the tree of some parts on so many threads: sums of the largest subtrees that are complete."""
    with _helped(parts, threads):
        parts.wait()
    return parts.tree


@contextlib.contextmanager
def _helped(job: Job, threads: int) -> Iterator[None]:
    try:
        if threads > 1:
            _pool.ask(job, threads - 1)
        yield
    except BaseException:
        job.stop()
        raise
