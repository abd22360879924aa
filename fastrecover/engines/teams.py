"""Who holds the rows of one fit between them, and how something is asked of all of them.

A member holds a :class:`Shard`; what is done with it is a function of the shard and small arguments, whose results come
to the caller, or stay where the rows are.  That is all that Dask, MPI and others must be able to do.
"""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np

#: From a member to another: where the rows are that it gives away.
Moves: TypeAlias = dict[tuple[int, int], list[Any]]


class Agreement:
    """What ends a fit from outside, as all processes agree on it at every sweep: else only some of them would end.

    Attributes
    ----------
    seconds : float
        Since the fit began, in the slowest process.
    wants_end : bool
        Whether this process has been told to end.
    ended : bool
        Whether some process has.
    failure : Exception or None
        What this process will tell the others at the next sweep.
    """

    def __init__(self) -> None:
        self.started, self.seconds = time.perf_counter(), 0.0
        self.wants_end = self.ended = False
        self.failure: Exception | None = None

    def own(self) -> tuple[float, bool]:
        """What this process says."""
        return time.perf_counter() - self.started, self.wants_end

    def agree(self, everyone: Sequence[tuple[float, bool]]) -> None:
        """Take note of what all say."""
        seconds, ends = zip(*everyone, strict=True)
        self.seconds, self.ended = max(seconds), any(ends)


@contextmanager
def agreed(gather: Callable[[Any], Sequence[Any]]) -> Iterator[None]:
    """Work that every process does for itself: an error of one is raised in all, since the others would wait for it.

    Parameters
    ----------
    gather : callable
        ``gather(value)`` returns the list of the values of all processes.
    """
    if not callable(gather):
        raise TypeError(f"gather must be callable as gather(value), got {gather!r}")
    found: Exception | None = None
    try:
        yield
    except Exception as error:
        found = error
    for told in gather(_portable(found)) or ():
        if isinstance(told, Exception):
            raise found or told


def _portable(error: Exception | None) -> Exception | None:
    """An error that may be sent to others."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Team(Protocol):
    """Members that hold a part of the rows each; what a function leaves with them is another team."""

    @property
    def count(self) -> int:
        """Members."""
        ...

    @property
    def agreement(self) -> Agreement | None:
        """What ends a fit, where it does not end by itself at the caller alone."""
        ...

    def each(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What ``function(part, *args)`` returns of every member's part, in their order, at the caller.

        Raises
        ------
        Exception
            What was raised for the first member whose function failed.
        """
        ...

    def made(self, function: Callable[..., Any], *args: Any) -> Team:
        """The team whose parts are ``function(part, *args)``."""
        ...

    def each_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What ``function(part, *args[i])`` returns of member i."""
        ...

    def made_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Team:
        """The team whose parts are ``function(part, *args[i])`` of member i."""
        ...

    def exchanged(self, cut: Callable[..., Any], join: Callable[..., Any], moves: Moves, plans: Sequence[Any]) -> Team:
        """The team after members have given rows to one another.

        Parameters
        ----------
        cut : callable
            ``cut(part, pieces)`` returns what is given away of a member's part.
        join : callable
            ``join(part, plan, received)``: the new part; `received` holds what came from each member, by its number.
        moves : dict
            Pieces by (from, to).
        plans : sequence
            What :func:`join` is told at each member.
        """
        ...


class Gathered:
    """Processes that run the same program, each on rows of its own.

    Parameters
    ----------
    gather : callable
        ``gather(value)`` returns the list of the values of all processes, in the same order everywhere.
    part : any
        What this process holds.

    Raises
    ------
    TypeError, ValueError
        `gather` is not such a function.
    """

    def __init__(self, gather: Callable[[Any], Sequence[Any]], part: Any) -> None:
        self.gather, self.part, self.agreement = gather, part, Agreement()
        mine = (time.time_ns(), np.random.SeedSequence().entropy)
        try:
            everyone = list(gather(mine))
        except TypeError as error:
            raise TypeError(
                f"gather must be callable as gather(value) and return the values of all processes: {error}"
            ) from error
        if everyone.count(mine) != 1:
            raise ValueError(
                f"gather(value) must return the list of the values of all processes, this one's among them, got "
                f"{str(everyone)[:80]}"
            )
        self.index, self.count = everyone.index(mine), len(everyone)

    def _on(self, part: Any) -> Gathered:
        new = object.__new__(Gathered)
        new.__dict__.update(self.__dict__, part=part)
        return new

    def _agreed(self, what: str, work: Callable[[], Any]) -> list[Any]:
        """Results of everybody's work; an error of one is raised everywhere, since others would wait for ever."""
        error: Exception | None = None
        try:
            value = work()
        except Exception as caught:
            value, error = None, caught
        error = error or self.agreement.failure
        everyone = self.gather((what, self.agreement.own(), value, _portable(error)))
        self.agreement.agree([each[1] for each in everyone])
        for i, (asked, _, _, found) in enumerate(everyone):
            if asked != what:
                raise RuntimeError(
                    f"processes {self.index} and {i} of {self.count} are at different sweeps ({what}; {asked}): they "
                    "must run the same program with the same arguments on processors of one kind"
                )
            if found is not None:
                raise found
        return [value for _, _, value, _ in everyone]

    def each(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What a function returns of every process's part."""
        return self._agreed(_told(function, args), lambda: function(self.part, *args))

    def made(self, function: Callable[..., Any], *args: Any) -> Gathered:
        """The team of the parts that a function makes."""
        return self.made_of(function, [args] * self.count)

    def each_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a function returns of every process's part and arguments."""
        return self._agreed(function.__name__, lambda: function(self.part, *args[self.index]))

    def made_of(self, function: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Gathered:
        """The team of the parts that a function makes of every process's part and arguments."""
        made: list[Any] = []

        def work() -> None:
            made.append(function(self.part, *args[self.index]))

        self._agreed(function.__name__, work)
        return self._on(made[0])

    def exchanged(
        self, cut: Callable[..., Any], join: Callable[..., Any], moves: Moves, plans: Sequence[Any]
    ) -> Gathered:
        """The team after processes have given rows to one another; each takes what is meant for it."""

        def given() -> dict[int, Any]:
            return {to: cut(self.part, pieces) for (who, to), pieces in moves.items() if who == self.index}

        everyone = self._agreed("exchange", given) if moves else [{}] * self.count
        received = {i: given[self.index] for i, given in enumerate(everyone) if self.index in given}
        return self.made_of(join, [(plan, received) for plan in plans])


def _told(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What is asked, in few bytes: the same everywhere unless processes have gone different ways."""
    sums = [zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data) for a in args if isinstance(a, np.ndarray)]
    return f"{getattr(function, '__name__', 'function')} {sums}"
