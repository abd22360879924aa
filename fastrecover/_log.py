"""A log of arrays in a file that may break off anywhere: entries are added at the end, and each has a checksum.

Little-endian.  A :data:`_HEAD` (what it is, version of the format, length of the text), a text, and the CRC-32 of both;
then entries, each an :data:`_ENTRY` (kind, rows and columns of the first array, length of the second, number, seconds,
digest), the numbers of both arrays in float64, and the CRC-32 of both.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from .exceptions import CheckpointError

_MAGIC, _VERSION = b"fr-sums\n", 1
_HEAD = Struct("<8sII")
_ENTRY = Struct("<4IQd16s")
_CHECK = Struct("<I")
_MOST_TEXT = 1 << 24
_SYNC, _SHORT = 30.0, 1.0  # seconds after which the disk is asked to have what was written: on the way, and in the end


class Entry(NamedTuple):
    """An entry: what kind it is of, its number, seconds, a digest of 16 bytes, and arrays of two and one dimensions."""

    kind: int
    number: int
    seconds: float
    digest: bytes
    a: np.ndarray
    s: np.ndarray


class Log:
    """Entries of a file, read one after the other and then added to.

    A tail that is damaged is cut off, and a file that cannot be written to ends before what failed; both are told in a
    warning and cost what is missing, nothing else.

    Parameters
    ----------
    file : binary file, unbuffered, or BytesIO
        Begins with a header.
    name : str
        What messages call it.
    writes : bool
        Whether anything in the file may be changed.

    Attributes
    ----------
    text : str
        Of the header.
    next : Entry or None
        The first entry that was not used yet; None at the end.

    Raises
    ------
    CheckpointError
        It is no such log, or of a newer format.
    """

    def __init__(self, file: Any, name: str, writes: bool = True) -> None:
        self._file, self.name, self.writes = file, name, writes
        self._size, self._at = file.seek(0, os.SEEK_END), file.seek(0)
        self._last: dict[int, int] = {}  # number by kind
        self._dirty, self._synced = False, time.perf_counter()
        self.text = self._header()
        self.next: Entry | None = None

    def _header(self) -> str:
        head = self._bytes(_HEAD.size)
        magic, version, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0)
        if magic != _MAGIC:
            raise CheckpointError(f"{self.name} is not a checkpoint of a fit: give another path, or remove it")
        if version > _VERSION:
            raise CheckpointError(
                f"checkpoint {self.name} has format version {version}, newer than version {_VERSION}, which is "
                "understood here: upgrade fastrecover"
            )
        text, check = self._bytes(min(length, _MOST_TEXT)), self._bytes(_CHECK.size)
        if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != crc32(text, crc32(head)):
            raise CheckpointError(f"checkpoint {self.name} is damaged in its header: remove it, and begin anew")
        return text.decode()

    def content(self) -> bytes:
        """All bytes of the file, from wherever it is read."""
        before = self._file.tell()
        self._file.seek(0)
        found = bytes(self._bytes(self._size))
        self._file.seek(before)
        return found

    @property
    def length(self) -> int:
        """Bytes of the file, but for what was cut off."""
        return self._size

    @property
    def used(self) -> int:
        """Bytes up to the last entry that was used."""
        return self._at

    def advance(self) -> None:
        """Go to the next entry."""
        self._at = begin = self._file.tell()
        self.next = None
        if begin < self._size and (damage := self._read(self._size - begin)):
            self.cut(f"the entry at byte {begin} of {self._size} is damaged ({damage})")

    def _read(self, left: int) -> str:
        """Read an entry of at most so many bytes; what is wrong with it, or nothing."""
        head = self._bytes(_ENTRY.size)
        if len(head) < _ENTRY.size:
            return "it breaks off"
        kind, m, d, scalars, number, seconds, digest = _ENTRY.unpack(head)
        length = 8 * (m * d + scalars)
        if _ENTRY.size + length + _CHECK.size > left:
            return "it breaks off"
        body, check = self._bytes(length), self._bytes(_CHECK.size)
        if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != crc32(body, crc32(head)):
            return "its checksum is wrong"
        if number <= self._last.get(kind, -1):
            return "it is out of order"
        numbers = np.frombuffer(body, "<f8").astype(np.float64, copy=False)
        self._last[kind] = number
        self.next = Entry(kind, number, seconds, digest, numbers[: m * d].reshape(m, d), numbers[m * d :])
        return ""

    def _bytes(self, count: int) -> bytearray:
        """So many bytes from here on, or as many as there are."""
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count and (more := self._file.readinto(view[got:])):
            got += more
        return data[:got]

    def append(self, entry: Entry) -> None:
        """Add an entry after the last one, by one write."""
        if self.writes:
            m, d = entry.a.shape
            head = _ENTRY.pack(entry.kind, m, d, entry.s.size, entry.number, entry.seconds, entry.digest)
            body = b"".join(np.ascontiguousarray(each, "<f8").tobytes() for each in (entry.a, entry.s))
            data = b"".join([head, body, _CHECK.pack(crc32(body, crc32(head)))])
            self._guarded(lambda: self._append(data), f"it ends at entry {entry.number}")

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._at += len(data)
        self._size = self._at
        self._dirty = True
        if time.perf_counter() - self._synced > _SYNC:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced, self._dirty = time.perf_counter(), False

    def cut(self, why: str = "") -> None:
        """End the log where the last entry ended that was used; a warning says why."""
        self.next, self._size = None, self._at
        if why:
            self._warn(f"{why}: what it holds from there on is dropped, and computed again")
        if self.writes:
            self._guarded(lambda: self._file.truncate(self._at), "what it holds cannot be dropped")
        self._file.seek(self._at)

    def close(self) -> None:
        """See to it that the disk has what was written, and close the file."""
        if self._dirty and self.writes and time.perf_counter() - self._synced > _SHORT:
            self._guarded(self._sync, "the disk may not have all of it")
        self._file.close()

    def _guarded(self, work: Callable[[], Any], what: str) -> None:
        """Work on the file; where that fails, as on a full disk, whoever asked goes on, and the log ends before it."""
        try:
            work()
        except OSError as error:
            self.writes = False
            try:
                self._file.truncate(self._at)
            except OSError:
                pass  # what is torn is cut off when it is read
            self._warn(f"{what}, and the fit goes on without it: {error}")

    def _warn(self, text: str) -> None:
        warnings.warn(f"checkpoint {self.name}: {text}", UserWarning, stacklevel=2)


def header(text: str) -> bytes:
    """What a log begins with."""
    begin = _HEAD.pack(_MAGIC, _VERSION, len(text.encode())) + text.encode()
    return begin + _CHECK.pack(crc32(begin))


def is_empty(file: Any) -> bool:
    """Whether a file has no byte, or is a log without a byte of an entry."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    try:
        log = Log(file, "", writes=False)
    except CheckpointError:
        return False
    return file.tell() == log.length
