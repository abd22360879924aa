"""Numba's compiler told which functions are only parts of others.

Numba optimises every function with all that it calls, and makes machine code of it, before it does so again with each
of its callers.  Only the outermost needs all of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import config as numba_config
from numba.core.compiler_lock import global_compiler_lock

config: Any = numba_config  # whose names are made as it is imported
_LEVEL = 1  # simplified, so that there is less to link; neither vectorised nor unrolled


@contextmanager
def as_parts() -> Iterator[None]:
    """Compile what is compiled in this block for the sake of its callers alone; meanwhile no other thread compiles."""
    with global_compiler_lock:
        kept = config.OPT, config.LOOP_VECTORIZE
        config.OPT, config.LOOP_VECTORIZE = type(config.OPT)(_LEVEL), 0
        try:
            yield
        finally:
            config.OPT, config.LOOP_VECTORIZE = kept
