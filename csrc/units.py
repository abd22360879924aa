"""The translation units of the extension and of the C library: each C file with the macros that it is compiled with.

One file makes several units, one for each instruction set and data type, so that the compiler can work on all of them
at once.  ``python csrc/units.py`` says what a build is about to do, for installers that do not show what it prints.
"""

from __future__ import annotations

import os
from typing import NamedTuple

LEVELS = (4, 3, 0)  # of x86-64, as in isa.h, the slowest to compile first
SECONDS = 60  # of one slow processor, for all of them


class Unit(NamedTuple):
    """One call of the compiler."""

    source: str
    macros: dict[str, str]

    @property
    def folder(self) -> str:
        """Where its object file lies, apart from those of the same source."""
        return "-".join(["unit", *self.macros.values()])


UNITS = (
    *(Unit("csrc/products.c", {"FR_LEVEL": str(level), "FR_BITS": bits}) for level in LEVELS for bits in ("32", "64")),
    *(Unit("csrc/rows.c", {"FR_LEVEL": str(level)}) for level in LEVELS),
    Unit("csrc/dispatch.c", {}),
    Unit("csrc/job.c", {}),
)
LIBRARY = (Unit("csrc/library.c", {}), Unit("csrc/xla.c", {}))  # of which the extension knows nothing


def processors() -> int:
    """Processors that a build may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def notice() -> str:
    """What a build does and for about how long, as one line."""
    count = len(UNITS) + len(LIBRARY) + 1  # and Cython's
    used = min(processors(), count)
    return (
        f"fastrecover: compiling {count} files on {used} processor{'s' * (used > 1)}, "
        f"which takes about {max(SECONDS // used, 15)} seconds"
    )


if __name__ == "__main__":
    print(notice(), flush=True)
