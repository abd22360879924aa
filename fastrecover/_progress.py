"""Lines on standard error: progress of a fit, one a stage or a step, and what else a user waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def printed(callback: Callable[[dict], Any] | None, verbose: int) -> Callable[[dict], Any]:
    """A callback that prints what it is told and passes it on.

    Parameters
    ----------
    callback : callable or None
    verbose : int
        1: the first step of each stage; 2: every step.

    Returns
    -------
    callable
    """
    seen: list[str] = []

    def tell(event: dict) -> Any:
        if verbose > 1 or event["stage"] not in seen:
            seen.append(event["stage"])
            print(
                f"[fastrecover] {event['seconds']:7.2f} s  {event['stage']:<18} pass {event['pass']:8.2f}  "
                f"loss {event['loss']:.6e}  |grad| {event['grad_norm']:.2e}",
                file=sys.stderr,
                flush=True,
            )
        return callback(event) if callback is not None else None

    return tell


def notice(text: str) -> None:
    """Print one line about something that takes a while."""
    print(f"[fastrecover] {text}", file=sys.stderr, flush=True)
