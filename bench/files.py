"""Rows beyond memory: a sweep of a file against merely reading it, and the memory and passes of a whole fit.

The file is written here and removed again.  Before each reading the system is told to forget what it holds of it, so
that both candidates read the disk; of packed rows the other candidate unpacks the same units on as many threads.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .harness import Context, Row, alternate, ratio
from .memory import status
from .probes import Measured

_D, _K = 500, 5
_AT_ONCE = 4 << 20  # bytes of a plain read
_LEAST = 0.64  # GB, of which no part is so small that it is read whole
_PACKED = 8  # what is written packed is this part of the whole


def run(context: Context) -> Iterator[Row]:
    """Rows: sweeps of a .npy file, a fit of it, and sweeps of a packed Zarr array; none where the disk is short."""
    size = _LEAST if context.quick else max(context.gigabytes, _LEAST)
    disk, needed = tempfile.gettempdir(), 1.2 * size + 2.0
    free = shutil.disk_usage(disk).free / 1e9
    if free < needed:
        context.leave_out("files", f"{disk} has {free:.0f} GB left, and {needed:.0f} are needed")
        return
    cells = [{"file": kind, "GB": size / part} for kind, part in (("npy", 1), ("zarr", _PACKED))]
    for cell in cells:
        row = context.again(cell)
        if row is None:
            context.say(cell)
            with tempfile.TemporaryDirectory() as folder:
                row = cell | {"npy": _flat, "zarr": _packed}[cell["file"]](context, Path(folder), cell["GB"])
        yield row


def _flat(context: Context, folder: Path, size: float) -> Row:
    path, n = folder / "x.npy", int(size * 1e9 / 4 / _D)
    _written(np.lib.format.open_memmap(path, "w+", np.float32, (n, _D)), folder, lambda x: x)
    row = _compared(context, path, lambda: _read(path, context.threads))
    row["sweep / read"] = row.pop("share")
    forget(path)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return row | pool.submit(_fit, str(folder), context.threads).result()


def _packed(context: Context, folder: Path, size: float) -> Row:
    """Rows rounded to sixteenths, as measured ones are, in chunks of two megabytes."""
    try:
        import zarr
    except ImportError as error:
        context.leave_out("zarr", error)
        return {}
    path, n = folder / "x.zarr", int(size * 1e9 / 4 / _D)
    array = zarr.create_array(str(path), shape=(n, _D), chunks=(1024, _D), dtype="float32")
    _written(array, folder, lambda x: np.rint(16.0 * x) / np.float32(16.0))
    row = _compared(context, path, lambda: _unpacked(path, context.threads))
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return row | {"sweep / unpack": row.pop("share"), "packed to": stored / (4 * n * _D)}


def _written(out: Any, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rows of a planted network, and its responses beside them."""
    n, y = out.shape[0], np.empty(out.shape[0])
    teacher = _teacher()
    for start in range(0, n, step := 1 << 15):
        rows = slice(start, min(start + step, n))
        x = np.random.default_rng(start).standard_normal((rows.stop - rows.start, _D), np.float32)
        out[rows] = x = change(x)
        y[rows] = teacher.predict(x)
    y += 0.1 * np.random.default_rng(1).standard_normal(n)
    np.save(folder / "y.npy", y)
    if isinstance(out, np.memmap):
        out.flush()


def _teacher() -> Any:
    from fastrecover.datasets import make_teacher

    return make_teacher("relu", _D, _K, output_weights="ones", random_state=0)


def _compared(context: Context, path: Path, other: Callable[[], Any]) -> Row:
    """GB/s of a sweep for loss and gradient and of the other candidate, in turn, from the disk."""
    import fastrecover as fr

    teacher = _teacher()
    objective = fr.objective(str(path), str(path.parent / "y.npy"), teacher.model, n_jobs=context.threads)
    theta = teacher.model.pack(teacher.parameters)
    n, d = objective.engine.shape

    def cold(work: Callable[[], Any]) -> Callable[[], Measured]:
        def timed() -> Measured:
            forget(path)
            start = time.perf_counter()
            work()
            return Measured(time.perf_counter() - start)

        return timed

    calls = {"sweep": cold(lambda: objective.value_and_grad(theta)), "other": cold(other)}
    times = alternate(calls, 3 if context.quick else 5, lead=0)
    sweep, plain = (4e-9 * n * d / median(times[name]) for name in ("sweep", "other"))
    row: Row = {"n": n, "d": d, "k": _K, "sweep GB/s": sweep, "plain GB/s": plain}
    return row | {"share": ratio(times, "other", "sweep")}


def _read(path: Path, threads: int) -> None:
    """All bytes of a file, into buffers that are used again."""
    file, size = os.open(path, os.O_RDONLY), path.stat().st_size

    def read(first: int) -> None:
        buffer = bytearray(_AT_ONCE)
        for at in range(first * _AT_ONCE, size, threads * _AT_ONCE):
            os.preadv(file, [buffer], at)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(threads)))
    os.close(file)


def _unpacked(path: Path, threads: int) -> None:
    """All rows of a Zarr array, in the units of the source."""
    import fastrecover as fr

    edges = fr.sources.open(path).rows.edges
    rows = fr.sources.open(path).rows.rows
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda ends: rows.read(*map(int, ends)) is None, zip(edges[:-1], edges[1:], strict=True)):
            pass


def forget(path: Path) -> None:
    """Let the system drop what it holds of a file, or of those in a folder."""
    for each in path.rglob("*") if path.is_dir() else [path]:
        if each.is_file():
            file = os.open(each, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def _fit(folder: str, threads: int) -> Row:
    """A whole fit, in a process of its own."""
    import fastrecover as fr

    warnings.simplefilter("ignore")
    teacher, start = _teacher(), time.perf_counter()
    model = teacher.model
    rec = fr.fit(f"{folder}/x.npy", f"{folder}/y.npy", model, n_jobs=threads, random_state=0)
    row: Row = {"fit s": time.perf_counter() - start, "passes": rec.n_passes, "converged": rec.converged}
    return row | {"error": rec.error(teacher), "peak MB": status("VmHWM") / 1e6}
