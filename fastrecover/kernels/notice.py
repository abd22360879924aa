"""One line on standard error where a user would otherwise wait without knowing for what."""

from __future__ import annotations

import sys


def notice(text: str) -> None:
    """Print a line, as the progress of a fit is printed."""
    print(f"[fastrecover] {text}", file=sys.stderr, flush=True)
