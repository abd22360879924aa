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
from pathlib import Path

import numpy as np

from .harness import Measured

_SOURCE = Path(__file__).with_name("probes.c")
_VARIANTS = ((1, 0), (4, 0), (1, 2048), (4, 512))  # streams, bytes of prefetch
_PIECES, _STEPS = 256, 30_000


class Probes:
    """Read bandwidth and multiply-add peak.

    Raises
    ------
    OSError
        No C compiler, or it cannot build the probes.
    """

    def __init__(self) -> None:
        self._lib = _build()
        self._peaks: dict[tuple[int, int], float] = {}
        self._lib.probe_name.restype = ctypes.c_char_p
        self._lib.probe_fma.restype = self._lib.probe_read.restype = ctypes.c_double
        self._lib.probe_fma.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_int)
        self._lib.probe_read.argtypes = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_size_t,
        )
        self.instructions = self._lib.probe_name().decode()

    def reader(self, x: np.ndarray, threads: int):
        """Callable that reads all of `x` once, in the fastest way found for this array.

        Parameters
        ----------
        x : ndarray
            Contiguous.
        threads : int

        Returns
        -------
        callable
        """
        if not x.flags.c_contiguous:
            raise ValueError("x must be contiguous")

        def read(variant: tuple[int, int]) -> Measured:
            return Measured(self._lib.probe_read(x.ctypes.data, x.nbytes, threads, *variant))

        chosen = min(_VARIANTS, key=lambda variant: min(read(variant) for _ in range(3)))
        return lambda: read(chosen)

    def multiplier(self, dtype, threads: int):
        """Callable that does :meth:`multiplier_flops` operations."""
        single = int(np.dtype(dtype) == np.float32)

        def multiply() -> Measured:
            seconds = Measured(self._lib.probe_fma(single, _PIECES, _STEPS, threads))
            self._peaks[single, threads] = max(self._peaks.get((single, threads), 0.0), 1.0 / seconds)
            return seconds

        return multiply

    def peak(self, dtype, threads: int) -> float:
        """Most operations a second that :meth:`multiplier` has shown in this run."""
        return self._peaks[int(np.dtype(dtype) == np.float32), threads] * self.multiplier_flops(dtype)

    def multiplier_flops(self, dtype) -> float:
        """Floating-point operations of one call of :meth:`multiplier`."""
        width = {"avx512": 64, "avx2": 32, "base": 16}[self.instructions]
        return 2.0 * 12.0 * (width // np.dtype(dtype).itemsize) * _PIECES * _STEPS

    def summary(self, threads: int, megabytes: int = 1024) -> dict:
        """GB/s from memory and GFLOP/s for one and all threads, best of several calls."""
        x = np.ones(megabytes << 17)
        found: dict = {"instructions": self.instructions, "megabytes": megabytes}
        for count in sorted({1, threads}):
            found[f"read GB/s, {count} threads"] = x.nbytes / _best(self.reader(x, count), 3) / 1e9
            for dtype in ("float64", "float32"):
                seconds = _best(self.multiplier(dtype, count), 5)
                found[f"{dtype} GFLOP/s, {count} threads"] = self.multiplier_flops(dtype) / seconds / 1e9
        return found


def _best(call, times: int) -> float:
    return min(call() for _ in range(times))


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
