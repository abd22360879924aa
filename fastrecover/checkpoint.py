"""Fits that are stopped and go on: a record of the sums of their sweeps.

A fit is a function of its arguments and of sums over rows, to the last bit.  So these sums are all that has to be kept:
whoever goes on runs the plan from its beginning, with sums from the record in place of passes until the record ends.
No state of a solver is written, and no solver has to know.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._log import Entry, Log, header, is_empty
from .engines import Meter
from .engines.base import Sums
from .exceptions import CheckpointError
from .fingerprint import differences, seeds_of, sweep_digest
from .kernels import RowFunction, get_kernels
from .solvers import Clock, Monitor
from .storage import put

if sys.platform != "win32":
    import fcntl

#: A sweep is recorded where it takes so many times the seconds of writing its sums, and more the larger the file is: in
#: an hour of sweeps that are all worth it, it grows to 3.4 GB.
WORTH = 10.0
_PER_BYTE, _PER_ENTRY = 2e-9, 2e-5  # seconds
_LARGE = 32 << 20  # bytes with which that doubles
_SUMS, _END = 1, 2  # kinds of entries: sums of a sweep; the question at which the budget was first found to be used up
_ROUNDING = 1e-5  # of sums, relative to the largest: more is other data
_NONE = np.zeros((0, 0))


class Record(Clock):
    """Sums of the sweeps of one fit, in the order in which they are asked for.

    Sweeps are counted, and a digest tells whether what is asked for is what was recorded; where it is not, what follows
    is dropped and computed again.  The first sweep is always made and compared, since its sums are a fingerprint of the
    rows.  As the clock of the fit it stands still on recorded time until the record ends, and decides as it did then
    when the budget was used up.

    Parameters
    ----------
    file : binary file, unbuffered, or BytesIO
    name : str
        What messages call it.
    asked : dict
        Plain values of all arguments that results depend on, and of the data, by name.
    seeds : SeedSequence or None
        Root of the random numbers where it was given; None for that of the record.
    writes : bool
        Whether sums are added; of several processes that make the same fit one does, and the others have its bytes.
    worth : float
        A sweep is recorded where it takes so many times the seconds of writing its sums.
    tell : callable, optional
        Told in one line that a fit has gone on.

    Attributes
    ----------
    seeds : SeedSequence
        Of the fit that began the record.

    Raises
    ------
    CheckpointError
        Not a checkpoint, or that of another fit: the message names what differs.
    """

    def __init__(
        self,
        file: Any,
        name: str,
        asked: dict[str, Any],
        seeds: np.random.SeedSequence | None = None,
        *,
        writes: bool = True,
        worth: float | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._inner, self._shift = Clock(), 0.0
        self._log, self._tell = Log(file, name, writes), tell
        self._worth = WORTH if worth is None else worth
        self.seeds = self._checked(asked, seeds)
        self._sweeps = self._questions = self._found = 0  # so far; sums from the record
        self._known = 0.0  # seconds of the entry used last
        self._ended = self._left = False
        self._log.advance()

    def _checked(self, asked: dict[str, Any], seeds: np.random.SeedSequence | None) -> np.random.SeedSequence:
        """The seeds of the record, if it is that of the same fit."""
        known = json.loads(self._log.text)
        here = json.loads(json.dumps(_with_kernels(asked)))
        here["random_state"] = known["random_state"] if seeds is None else seeds_of(seeds)
        if differing := differences(known, here):
            raise CheckpointError(
                f"checkpoint {self._log.name} is that of another fit: {differing}. Give another path, or remove it"
            )
        found = known["random_state"]
        return np.random.SeedSequence(
            found["entropy"], spawn_key=tuple(found["spawn_key"]), pool_size=found["pool_size"]
        )

    @classmethod
    def at(
        cls,
        path: str | os.PathLike[str],
        asked: dict[str, Any],
        seeds: np.random.SeedSequence,
        *,
        drawn: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> Record:
        """The record in a file, which is made where there is none.

        Parameters
        ----------
        path : str or path-like
        asked, tell
            As above.
        seeds : SeedSequence
            Root of the random numbers.
        drawn : bool
            Whether that was drawn by chance, so that one in the file takes its place.

        Raises
        ------
        CheckpointError
            As above, or another process is using the file.
        OSError
            The file cannot be made, or written to.
        """
        name, place = repr(os.fspath(path)), Path(path)
        content = header(json.dumps(_with_kernels(asked) | {"random_state": seeds_of(seeds)}))
        if new := not place.is_file():
            put(place, lambda file: file.write(content))
        file = _held(place, name)
        try:
            if not new and is_empty(file):  # as a fit leaves it that was refused: nothing is lost
                put(place, lambda file: file.write(content))
                file.close()
                file = _held(place, name)
            return cls(file, name, asked, None if drawn else seeds, tell=tell)
        except BaseException:
            file.close()
            raise

    def content(self) -> bytes:
        """The file as it is, for processes that make the same fit."""
        return self._log.content()

    @contextmanager
    def of(self, monitor: Monitor, meter: Meter) -> Iterator[None]:
        """Keep the sweeps that a meter counts, and the time of a monitor; closed when the fit has ended, however.

        Parameters
        ----------
        monitor : Monitor
        meter : Meter
        """
        self._inner = monitor.clock
        monitor.clock, meter.record = self, self
        try:
            yield
        finally:
            meter.record, self._tell = None, None
            self._leave()
            self._log.close()

    @property
    def seconds(self) -> float:
        """Time since the fit began, that of earlier processes counted up to what they have left."""
        return self._inner.seconds + self._shift if self._log.next is None or self._left else self._known

    @property
    def stopped(self) -> bool:  # type: ignore[override]
        """Whether somebody wants the fit to end."""
        return self._inner.stopped

    def stop(self) -> None:
        """Somebody wants the fit to end."""
        self._inner.stop()

    def fails(self, error: Exception) -> bool:
        """Whether others will hear of an error at the next sweep."""
        return self._inner.fails(error)

    def is_up(self, limit: float, ended: bool) -> bool:
        """Whether so many seconds are up; in the record they are at the question at which they were found to be."""
        self._questions += 1
        late, entry = self.seconds >= limit, self._log.next
        if self._ended or self._left:
            return late
        if entry is None:
            if late or ended:
                self._ended = True
                self._log.append(Entry(_END, self._questions, self.seconds, bytes(16), _NONE, _NONE.ravel()))
        elif entry.kind == _END and entry.number == self._questions:
            self._known, late = entry.seconds, entry.seconds >= limit
            if late or ended:
                self._ended = True
                self._advance()
            else:  # a larger budget: what followed was the end of the fit
                self._drop()
        elif late or ended:  # a smaller budget ends the fit where the record goes on: it is left as it is
            self._leave()
        return late

    def sums(
        self, p: np.ndarray, op: RowFunction, rows: int, count: Callable[[int], None], sweep: Callable[[], Sums]
    ) -> Sums:
        """Sums of the next sweep, from the record where it has them.

        Parameters
        ----------
        p : ndarray (op.columns, d)
        op : RowFunction
        rows : int
            Samples that are swept.
        count : callable
            Counts them, where the sweep is not made.
        sweep : callable
            Makes the sweep, counts its rows, and returns its sums.

        Returns
        -------
        a, s : ndarray
            Back-projected and scalar sums.

        Raises
        ------
        CheckpointError
            The sums of the first sweep are those of other rows.
        """
        number, entry = self._sweeps, self._log.next
        self._sweeps += 1
        if self._left or (entry is not None and (entry.kind != _SUMS or entry.number != number)):
            return sweep()  # one that was not worth recording
        digest = b""
        if entry is not None:
            digest = sweep_digest(p, op, rows)
            if digest != entry.digest:
                self._drop(f"sweep {number} is not the one that was recorded, as after a change of the budget")
            elif number:
                count(rows)
                if not self._left:
                    self._use(entry)
                return entry.a, entry.s
        begun = time.perf_counter()
        made = sweep()
        took = time.perf_counter() - begun
        if self._left:
            return made
        if (entry := self._log.next) is not None:  # the first one
            self._compare((entry.a, entry.s), made)
        if self._log.next is not None:
            self._use(self._log.next)
        elif number == 0 or took > self._least(made[0].nbytes + made[1].nbytes):
            # What is not finite may come from a failing disk, and is no part of any minimum.
            if self._log.writes and all(np.isfinite(each).all() for each in made):
                self._log.append(Entry(_SUMS, number, self.seconds, digest or sweep_digest(p, op, rows), *made))
        return made

    def _least(self, size: int) -> float:
        """Seconds from which a sweep is recorded, by the bytes of its sums."""
        return self._worth * (1.0 + self._log.used / _LARGE) * (_PER_BYTE * size + _PER_ENTRY)

    def _compare(self, recorded: Sums, made: Sums) -> None:
        """Raise CheckpointError where the sums of the first sweep are others; drop the record where rounding is."""
        pairs = list(zip(recorded, made, strict=True))
        if not all(_near(*pair) for pair in pairs):
            raise CheckpointError(
                f"checkpoint {self._log.name} is that of another fit: X has other values. "
                "Give another path, or remove it"
            )
        if not all(np.array_equal(*pair) for pair in pairs):
            self._drop("its sums were rounded otherwise, as by another processor or other libraries")

    def _use(self, entry: Entry) -> None:
        self._known, self._found = entry.seconds, self._found + 1
        self._advance()

    def _advance(self) -> None:
        self._log.advance()
        if self._log.next is None:
            self._go_on()

    def _drop(self, why: str = "") -> None:
        """Give up the next entry and all after it."""
        self._log.cut(why)
        self._go_on()

    def _leave(self) -> None:
        """From now on look up and record nothing."""
        if not self._left and self._log.next is not None:
            self._go_on()
        self._left = True

    def _go_on(self) -> None:
        """The record has ended: time goes on from where it has it."""
        if self._found:
            self._shift = self._known - self._inner.seconds
        if self._found and self._tell is not None:
            self._tell(f"resumed: {self._found} sweeps ({self._known:.1f} s) from {self._log.name}")
        self._tell = None


def shared_record(
    path: str | os.PathLike[str],
    asked: dict[str, Any],
    seeds: np.random.SeedSequence,
    *,
    same: Callable[[Any], Any],
    agreed: Callable[[], AbstractContextManager[None]],
    is_first: bool,
    drawn: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Record:
    """The record of several processes that make the same fit: the first has the file, and the others what is in it.

    Parameters
    ----------
    path, asked, seeds, drawn, tell
        As for :meth:`Record.at`.
    same : callable
        Returns the first process's value everywhere.
    agreed : callable
        Makes the context of work whose errors are raised everywhere.
    is_first : bool
        Whether this is the first process.

    Raises
    ------
    CheckpointError, OSError
        As :meth:`Record.at` in the first process, everywhere.
    """
    record: Record | None = None
    found: Any = None
    if is_first:
        try:
            record = Record.at(path, asked, seeds, drawn=drawn, tell=tell)
            found = record.content()
        except (OSError, ValueError) as error:
            found = error
    found = same(found)
    if isinstance(found, Exception):
        raise found
    with agreed():
        if record is None:
            record = Record(io.BytesIO(found), repr(os.fspath(path)), asked, None if drawn else seeds, writes=False)
    return record


def _with_kernels(asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked, with what else sums depend on."""
    release = getattr(sys.modules[__package__ or ""], "__version__", "")
    return asked | {"the release of fastrecover": release, "kernels": get_kernels()}


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether sums are the same but for rounding."""
    return a.shape == b.shape and (a.size == 0 or bool(np.abs(a - b).max() <= _ROUNDING * np.abs(a).max()))


def _held(place: Path, name: str) -> io.FileIO:
    """A file that is ours until it is closed, or this process ends; CheckpointError where another process has it."""
    file = io.FileIO(os.fspath(place), "r+b")
    if sys.platform != "win32":
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            raise CheckpointError(
                f"checkpoint {name} is in use by another process: give another path, or wait"
            ) from None
        except OSError:
            pass  # a file system without locks
    return file
