from __future__ import annotations

import contextlib

import pytest

TARGETS = ("reference", "numba", "base", "avx2", "avx512")


@pytest.fixture(params=TARGETS)
def backend(request):
    """Name of a backend, at every instruction set of the compiled one that this processor has."""
    if request.param in ("reference", "numba"):
        yield request.param
        return
    compiled = pytest.importorskip("fastrecover.kernels._compiled")
    with contextlib.suppress(ValueError):  # the widest one this processor has stands in for a missing one
        compiled.select_instruction_set(request.param)
    yield "compiled"
    compiled.select_instruction_set(None)
