"""BLAS held to one thread while a fit runs.

The matrices of the solvers are small, the sweeps bring their own threads, and a fixed number of BLAS threads
keeps the bits the same everywhere.  The limit is global to the process, so concurrent users share it and the
last one restores it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

_lock = Lock()
_users = 0
_limit: Any = None


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread inside the ``with`` block."""
    global _users, _limit
    with _lock:
        if _users == 0:
            import scipy.linalg  # noqa: F401  (loads the BLAS that is to be limited)

            _limit = _controller().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()
