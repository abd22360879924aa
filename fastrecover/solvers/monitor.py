"""History, progress callback and budget of one fit, shared by all its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from .._history import COLUMNS
from ..engines import Agreement, Meter
from ..models import Network, Parameters
from ..sweeps import Function, Objective

T = TypeVar("T")


class _Ended(Exception):
    """The callback or the budget ended a piece of work between two sweeps."""


class Step(dict[str, Any]):
    """What a callback is told: stage, pass, loss, grad_norm, rows and seconds, and the network there.

    Parameters
    ----------
    line : dict
    network : callable, optional
        Returns the parameters, for the rows as they were given.
    """

    def __init__(self, line: dict[str, Any], network: Callable[[], Parameters] | None = None) -> None:
        super().__init__(line)
        self._network = network

    def network(self) -> Parameters | None:
        """The network after this step; None where there is none yet, as in a start."""
        return None if self._network is None else self._network()


class Clock:
    """Seconds of a fit, and whether they are up: the one place where a fit depends on time."""

    def __init__(self) -> None:
        self.started, self.stopped = time.perf_counter(), False

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self.started

    def is_up(self, limit: float, ended: bool) -> bool:
        """Whether so many seconds are up; asked whether something else has `ended` the fit or not."""
        return self.seconds >= limit

    def stop(self) -> None:
        """Somebody wants the fit to end."""
        self.stopped = True

    def fails(self, error: Exception) -> bool:
        """Whether an error will be raised everywhere at the next sweep, and so not here and now."""
        return False


class SharedClock(Clock):
    """The clock of several processes, which end at one place.

    Parameters
    ----------
    agreement : Agreement
        Of these processes.
    """

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement

    @property
    def seconds(self) -> float:
        """Time since the fit began, in the slowest process."""
        return self._agreement.seconds

    @property
    def stopped(self) -> bool:  # type: ignore[override]
        """Whether somebody wants the fit to end, and all know."""
        return self._agreement.ended

    def stop(self) -> None:
        """Tell the others with the next sweep."""
        self._agreement.wants_end = True

    def fails(self, error: Exception) -> bool:
        """Tell the others with the next sweep."""
        self._agreement.failure = error
        return True


class Monitor:
    """History, progress callback and budget of one fit.

    Parameters
    ----------
    callback : callable, optional
        Called with a :class:`Step` after every step; returning True ends the fit.
    max_passes, max_seconds : float
        Passes and seconds after which stages stop.
    interval : float
        Seconds after which the callback is called between two sweeps as well, where no step ends.
    clock : Clock, optional
        Of the fit; by default one that starts now.
    """

    def __init__(
        self,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        max_passes: float = np.inf,
        max_seconds: float = np.inf,
        interval: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.callback, self.interval, self.clock = callback, interval, clock or Clock()
        self.max_passes, self.max_seconds = max_passes, max_seconds
        self.note = ""  # added to the names of stages
        self.unit = 1.0  # of the responses, which losses are recorded in
        self.back: Callable[[Parameters, Network], Parameters] | None = None  # from the units of the fit
        self.history: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._last: tuple[str, float] = ("start", np.nan)
        self._called, self._interruptible = 0.0, False

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return self.clock.seconds

    def unseen(self) -> Monitor:
        """Monitor of work under the same budget of seconds that is neither told nor recorded, nor made of passes."""
        return Monitor(max_seconds=self.max_seconds, interval=np.inf, clock=self.clock)

    def record(
        self,
        objective: Function,
        stage: str,
        loss: float,
        grad: np.ndarray | float = np.nan,
        theta: np.ndarray | None = None,
    ) -> None:
        """Add one line to the history and call the callback with it, and with the network at theta if there is one."""
        with np.errstate(over="ignore"):  # of steps that diverge: inf says so
            norm, loss = float(np.linalg.norm(grad)), float(loss) * self.unit**objective.response_degree
        stage += self.note
        line = (stage, objective.passes, loss, norm, objective.n_rows, self.seconds)
        for name, value in zip(COLUMNS, line, strict=True):
            self.history[name].append(value)
        self._last = stage, loss
        known = isinstance(objective, Objective) and theta is not None
        self._call(line, partial(self._network, cast(Objective, objective), np.asarray(theta)) if known else None)

    def _network(self, objective: Objective, theta: np.ndarray) -> Parameters:
        """The network at theta, for the rows as they were given."""
        found = objective.unpack(theta)
        return found if self.back is None else self.back(found, objective.model)

    def _call(self, line: tuple[Any, ...], network: Callable[[], Parameters] | None = None) -> None:
        if self.callback is None or self.clock.stopped:
            return
        try:
            answer = self.callback(Step(dict(zip(COLUMNS, line, strict=True)), network))
        except Exception as error:
            if not self.clock.fails(error):
                raise
            return
        self._called = self.seconds
        if isinstance(answer, (bool, np.bool_)) and answer:
            self.clock.stop()

    @contextmanager
    def watching(self, meter: Meter) -> Iterator[None]:
        """Hear of every sweep that a meter counts, since a start may take longer than all that follows.

        The callback is called where it has not been for the interval, with the stage of the last step ("start" before
        the first) and its loss.  The history is of steps alone.
        """

        def swept(rows: int) -> None:
            if self.seconds >= self._called + self.interval:
                stage, loss = self._last
                self._call((stage, meter.passes, loss, np.nan, rows, self.seconds))
            if self._interruptible and self.spent(meter):
                raise _Ended

        meter.tell = swept
        try:
            yield
        finally:
            meter.tell = None

    def spent(self, meter: Meter) -> bool:
        """Whether the callback or the budget has ended the fit."""
        return bool(self.limit(meter.passes))

    def limit(self, passes: float) -> str:
        """What has ended the fit, in words; empty where nothing has."""
        found = ""
        if self.clock.stopped:
            found = "stopped by the callback"
        elif passes >= self.max_passes:
            found = f"max_passes={self.max_passes:g} reached"
        late = self.clock.is_up(self.max_seconds, bool(found))  # asked each time, since a record counts the questions
        return found or (f"max_seconds={self.max_seconds:g} reached" if late else "")

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What `work` returns, or None where the fit is ended before one of its sweeps.

        Long work that has no steps, such as a start, is made interruptible by this alone.
        """
        before, self._interruptible = self._interruptible, True
        try:
            return work()
        except _Ended:
            return None
        finally:
            self._interruptible = before
