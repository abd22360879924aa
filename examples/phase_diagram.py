"""
A phase diagram
===============

From how many rows does a network come back?  Plant networks over a grid of inputs and rows, and count.

This is ``fastrecover phase`` of the command line, called from Python on a small grid.  Given ``-o phase.csv`` it writes
its table network by network, and goes on where a table ends.

::

    python examples/phase_diagram.py [picture.png]
"""

from __future__ import annotations

import sys

from fastrecover.cli import main as fastrecover


def main(trials: int = 4, rows: str = "1.1 1.5 2 3", out: str | None = None) -> int:
    """Plant `trials` relu networks in each cell; returns the exit code of the command."""
    command = f"phase --model relu --hidden 2 --features 4 8 --rows {rows} --trials {trials} --jobs 1".split()
    return fastrecover(command + ([] if out is None else ["--plot", out]))


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
