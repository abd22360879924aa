"""Choice of the backend that computes block sums: compiled C, Numba, or the NumPy reference.

The three share one signature, so this module only picks one (``FASTRECOVER_KERNELS``, :func:`set_kernels`, or
the first that can be imported) and allocates the results.
"""

from __future__ import annotations

import importlib
import os
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from .op import LARGEST_BLOCK, Extent, Op, RowFunction, extent, layout

__all__ = [
    "Op",
    "Job",
    "LARGEST_BLOCK",
    "RowFunction",
    "Extent",
    "extent",
    "layout",
    "sweep",
    "share",
    "activate",
    "set_kernels",
    "get_kernels",
]


class Job(Protocol):
    """A sweep whose parts the backend hands out to the threads that work on it."""

    def work(self) -> None:
        """Do parts until none is left, as a helper."""
        ...

    def stop(self) -> None:
        """End the sweep soon."""
        ...

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Work, wait for the others, and return the sums of all blocks."""
        ...


class Backend(Protocol):
    """What the modules of the backends have in common."""

    LOSSES: frozenset[int]

    def sweep(
        self,
        x: np.ndarray,
        y: np.ndarray | None,
        w: np.ndarray | None,
        p: np.ndarray,
        op: RowFunction,
        tile: int,
        block: int,
        first: int,
        count: int,
        a: np.ndarray,
        s: np.ndarray,
        out: np.ndarray | None = None,
    ) -> None:
        """Sums of blocks ``first .. first + count - 1`` into `a` and `s`."""
        ...

    def activate(self, code: int, slope: float, z: np.ndarray, u: np.ndarray, d1: np.ndarray, d2: np.ndarray) -> None:
        """Activation `code` and its first two derivatives at `z`."""
        ...


_MODULES = {"compiled": "._compiled", "numba": ".numba_kernels", "reference": ".reference"}
_active: tuple[str, Backend] | None = None


def _load(name: str) -> Backend:
    if name not in _MODULES:
        raise ValueError(f"kernels must be one of {sorted(_MODULES)}, got {name!r}")
    try:
        return cast(Backend, importlib.import_module(_MODULES[name], __name__))
    except ImportError as error:
        raise ImportError(f"the {name!r} kernels cannot be loaded: {error}") from error


def set_kernels(name: str | None = None) -> None:
    """Select the kernels used from now on.

    Parameters
    ----------
    name : {"compiled", "numba", "reference"} or None
        None: the environment variable ``FASTRECOVER_KERNELS`` if set, otherwise the compiled extension if it
        was built, otherwise Numba.

    Raises
    ------
    ValueError
        Unknown name.
    ImportError
        The backend is not installed.
    """
    global _active
    name = name or os.environ.get("FASTRECOVER_KERNELS")
    if name:
        _active = (name, _load(name))
        return
    try:
        _active = ("compiled", _load("compiled"))
    except ImportError:
        _active = ("numba", _load("numba"))


def get_kernels() -> str:
    """Name of the kernels in use."""
    return _backend(None)[0]


def _backend(name: str | None) -> tuple[str, Backend]:
    if name is not None:
        return name, _load(name)
    if _active is None:
        set_kernels()
    assert _active is not None
    return _active


def sweep(
    x: np.ndarray,
    y: np.ndarray | None,
    w: np.ndarray | None,
    p: np.ndarray,
    op: RowFunction,
    first: int,
    count: int,
    *,
    blocks: tuple[int, int] | None = None,
    out: np.ndarray | None = None,
    backend: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a range of blocks.

    Parameters
    ----------
    x : ndarray (n, d), float32 or float64
        Rows, unit column stride, any row stride (rows may overlap).
    y : ndarray (n,) or (n, op.outputs) of float64, C-contiguous, or None
        Responses (None: zeros).
    w : ndarray (n,) of float64, C-contiguous, or None
        Weights (None: ones).
    p : ndarray (q, d) or (q, d + 1) of float64, C-contiguous
        Directions, in the order `op` asks for; with d + 1 columns rows are (x, 1).
    op : RowFunction
    first, count : int
        Blocks ``first .. first + count - 1`` of ``layout(op, d, itemsize)[1]`` rows each; for the canonical
        tree the range must be an aligned subtree.
    blocks : tuple of int, optional
        (tile, block) rows in place of those of :func:`layout`.
    out : ndarray (n, op.reps * op.outputs) of float64, optional
        Where PREDICT writes.
    backend : str, optional
        Backend for this call only.

    Returns
    -------
    a : ndarray (g, l)
    s : ndarray (s,)
        Back-projected and scalar sums; shapes from ``op.shapes(p.shape[1])``.

    Raises
    ------
    ValueError
        A loss that the backend does not have, columns that are not those of the rows, or a constant where rows
        themselves are meant.
    """
    d = p.shape[1]
    _, (g, left, sums), usual = extent(op, d, x.itemsize)
    tile, block = blocks or usual
    a, s = np.empty((g, left)), np.empty(sums)
    _able(backend, op, x, d).sweep(x, y, w, p, op, tile, block, first, count, a, s, out)
    return a, s


def share(
    x: np.ndarray,
    y: np.ndarray | None,
    w: np.ndarray | None,
    p: np.ndarray,
    op: RowFunction,
    count: int,
    size: int,
    *,
    out: np.ndarray | None = None,
    backend: str | None = None,
    blocks: tuple[int, int] | None = None,
) -> Job | None:
    """A sweep over blocks ``0 .. count - 1`` that threads share in parts of `size` blocks.

    Parameters
    ----------
    x, y, w, p, op, out, backend, blocks
        As for :func:`sweep`.
    count : int
        Blocks in all.
    size : int
        A power of two, or `count`.

    Returns
    -------
    Job or None
        None where the backend sweeps one range at a time.

    Raises
    ------
    ValueError
        As for :func:`sweep`.
    """
    d = p.shape[1]
    make = getattr(_able(backend, op, x, d), "Job", None)
    if make is None:
        return None
    _, shapes, usual = extent(op, d, x.itemsize)
    job: Job = make(x, y, w, p, op, *(blocks or usual), 0, count, size, *shapes, out)
    return job


def _able(backend: str | None, op: RowFunction, x: np.ndarray, d: int) -> Backend:
    """The backend, if it can sweep rows x of d features, a constant counted."""
    name, module = _backend(backend)
    if x.ndim != 2 or not 0 <= d - x.shape[1] <= 1:
        raise ValueError(f"P must have the columns of X, or one more: it has {d}, and X the shape {x.shape}")
    if op.op == Op.THIRD and not op.m and d > x.shape[1]:
        raise ValueError("the third moment of rows themselves takes rows without a constant")
    if op.loss not in module.LOSSES:
        raise ValueError(f"the {name} kernels have no loss of code {op.loss}: they know {sorted(module.LOSSES)}")
    return module


def activate(
    name: str, z: ArrayLike, *, slope: float = 0.1, backend: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, first and second derivative of a built-in activation, by the kernels' own code.

    Parameters
    ----------
    name : str
        Activation name.
    z : array_like of float64
    slope : float, default 0.1
        Negative-side slope of ``leaky_relu``.
    backend : str, optional
        Backend for this call only.

    Returns
    -------
    tuple of three ndarrays shaped like `z`
    """
    from ..activations import get_activation

    points = np.ascontiguousarray(z, np.float64)
    flat = points.reshape(-1)
    results = [np.empty_like(flat) for _ in range(3)]
    act = get_activation(name)
    _backend(backend)[1].activate(act.code, slope if act.takes_slope else act.slope, flat, *results)
    u, d1, d2 = (each.reshape(points.shape) for each in results)
    return u, d1, d2
