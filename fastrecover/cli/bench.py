"""run the benchmarks of a source checkout

The benchmarks come with the source repository, not with an installed package: call this in its folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows ``bench`` is handed on."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="handed on to the benchmarks")


def run(args: argparse.Namespace) -> int:
    """Run ``python -m bench`` in the current folder.

    Raises
    ------
    FileNotFoundError
        The current folder is not a source checkout.
    """
    here = Path.cwd()
    if not ((here / "bench" / "__main__.py").is_file() and (here / "fastrecover" / "__init__.py").is_file()):
        raise FileNotFoundError(
            "the benchmarks live in the source repository: change to its folder and call this again"
        )
    return subprocess.call([sys.executable, "-m", "bench", *args.arguments])
