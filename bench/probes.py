"""The machine's limits, measured where and when they are needed.

``probes.c`` is compiled with the system's C compiler into a temporary folder.  The reading probe runs over
the very array that a kernel sweeps, in the same round, so caches and neighbours weigh on both.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_SOURCE = Path(__file__).with_name("probes.c")
_VARIANTS = ((1, 0), (4, 0), (1, 2048), (4, 512))  # streams, bytes of prefetch
_PIECES, _STEPS, _CHAINS = 256, 30_000, 12
_WIDTH = {"avx512": 64, "avx2": 32, "base": 16}  # bytes


class Measured(float):
    """Seconds that a candidate measured itself: returned by it, they stand for the time of the call."""


class Probes:
    """Read bandwidth and multiply-add peak; OSError where no C compiler can build the probes."""

    def __init__(self) -> None:
        self._lib = _build()
        self._lib.probe_name.restype = ctypes.c_char_p
        self._lib.probe_fma.restype = self._lib.probe_read.restype = ctypes.c_double
        self._lib.probe_fma.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_int)
        size, number = ctypes.c_size_t, ctypes.c_int
        self._lib.probe_read.argtypes = (ctypes.c_void_p, size, number, number, size)
        self._peaks: dict[tuple[str, int], float] = {}
        self.instructions = self._lib.probe_name().decode()

    def reader(self, x: np.ndarray, threads: int) -> Callable[[], Measured]:
        """Callable that reads all of x (contiguous) once, in the fastest way found for this array."""

        def read(variant: tuple[int, int]) -> Measured:
            return Measured(self._lib.probe_read(x.ctypes.data, x.nbytes, threads, *variant))

        chosen = min(_VARIANTS, key=lambda variant: min(read(variant) for _ in range(3)))
        return lambda: read(chosen)

    def multiplier(self, dtype: Any, threads: int) -> Callable[[], Measured]:
        """Callable that does a fixed number of multiply-adds; :meth:`peak` knows the best rate shown."""
        size = np.dtype(dtype).itemsize
        flops = 2.0 * _CHAINS * (_WIDTH[self.instructions] // size) * _PIECES * _STEPS
        key = str(np.dtype(dtype)), threads

        def multiply() -> Measured:
            seconds = Measured(self._lib.probe_fma(int(size == 4), _PIECES, _STEPS, threads))
            self._peaks[key] = max(self._peaks.get(key, 0.0), flops / seconds)
            return seconds

        return multiply

    def peak(self, dtype: Any, threads: int) -> float:
        """Most operations a second that :meth:`multiplier` has shown in this run."""
        return self._peaks[str(np.dtype(dtype)), threads]

    def limits(self, x: np.ndarray, threads: int) -> dict[str, Callable[[], Measured]]:
        """Both, as candidates that take part in the rounds."""
        return {"read": self.reader(x, threads), "fma": self.multiplier(x.dtype, threads)}

    def share(
        self, times: dict[str, list[float]], name: str, flops: float, dtype: Any, threads: int, more: float = 1.0
    ) -> dict[str, Any]:
        """What the limits allow over what a candidate reached, best round against best round.

        `more` is how many times the array's bytes have to be read.
        """
        reading, computing, best = more * min(times["read"]), flops / self.peak(dtype, threads), min(times[name])
        bound = "memory" if reading > computing else "compute"
        return {"of peak": computing / best, "of roofline": max(reading, computing) / best, "bound": bound}

    def summary(self, threads: int, megabytes: int) -> dict[str, Any]:
        """GB/s from memory and GFLOP/s for one and all threads, best of several calls."""
        x = np.ones(megabytes << 17)
        found: dict[str, Any] = {"instructions": self.instructions, "megabytes": megabytes}
        for count in sorted({1, threads}):
            read = self.reader(x, count)
            found[f"read GB/s, {count} threads"] = x.nbytes / min(read() for _ in range(3)) / 1e9
            for dtype in ("float64", "float32"):
                multiply = self.multiplier(dtype, count)
                for _ in range(5):
                    multiply()
                found[f"{dtype} GFLOP/s, {count} threads"] = self.peak(dtype, count) / 1e9
        return found


def _build() -> ctypes.CDLL:
    named = os.environ.get("CC", "").split()
    compiler = named or [path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))][:1]
    if not compiler:
        raise OSError("no C compiler was found (cc, gcc, clang; or name one in CC)")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "probes.so"
        command = [*compiler, "-O3", "-std=gnu11", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread"]
        done = subprocess.run([*command, "-o", str(target), str(_SOURCE)], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"the C compiler cannot build the probes: {done.stderr.strip()[-300:]}")
        return ctypes.CDLL(str(target))
