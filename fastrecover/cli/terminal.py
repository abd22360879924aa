"""One line of progress that overwrites itself, and tables.

The line appears only where somebody watches (a terminal on standard error); logs and pipes get a line of their own
every ten seconds, so that what is soon done leaves them clean.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

_EVERY = 0.1  # seconds between two changes of the line
_LOGGED = 10.0  # seconds between two lines where nobody watches


class StatusLine:
    """The line at the bottom of a terminal; a context manager that clears it in the end."""

    def __init__(self) -> None:
        self.stream = sys.stderr
        self.watched = self.stream.isatty()
        self.last = -_EVERY if self.watched else time.perf_counter()

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.show("", now=True)

    def show(self, text: str, now: bool = False) -> None:
        """Replace the line, unless it has just been replaced."""
        if self.watched and (now or time.perf_counter() - self.last >= _EVERY):
            self.last = time.perf_counter()
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\x1b[K{text[:width]}")
            self.stream.flush()
        elif not self.watched and text and time.perf_counter() - self.last >= _LOGGED:
            self.last = time.perf_counter()
            print(text, file=self.stream, flush=True)

    def follow(self, label: str) -> Callable[[dict[str, Any]], None]:
        """Callback for a fit that shows its steps after `label`."""

        def tell(event: dict[str, Any]) -> None:
            place = f"{event['stage']}, pass {event['pass']:.1f}, loss {event['loss']:.3e}"
            self.show(f"{label}: {place}, {event['seconds']:.1f} s")

        self.show(f"{label}: reading the rows", now=True)
        return tell


def table(header: tuple[str, ...], rows: list[tuple[str, ...]], left: int = 1) -> str:
    """Aligned columns, the first `left` flush left and the others flush right.

    Parameters
    ----------
    header : tuple of str
    rows : list of tuple of str
    left : int

    Returns
    -------
    str
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    sides = ["<" if i < left else ">" for i in range(len(widths))]
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in (header, tuple("-" * width for width in widths), *rows)
    ]
    return "\n".join(lines)
