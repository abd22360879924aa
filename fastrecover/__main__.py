"""The program, also as ``python -m fastrecover``: nothing is imported before Ctrl-C has one line to say."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit code: that of :func:`fastrecover.cli.main`, or 130 where Ctrl-C came before it.
    """
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("fastrecover: interrupted, nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
