"""Choice of the backend that computes block sums: compiled C, Numba, or the NumPy reference.

The three share one signature, so this module only picks one (``FASTRECOVER_KERNELS``, :func:`set_kernels`, or
the first that can be imported) and allocates the results.
"""

from __future__ import annotations

import importlib
import os

import numpy as np

from .row import CROSS_ENTROPY, SQUARED, Op, RowFunction, layout

__all__ = [
    "CROSS_ENTROPY",
    "SQUARED",
    "Op",
    "RowFunction",
    "layout",
    "sweep",
    "activate",
    "set_kernels",
    "get_kernels",
]

_MODULES = {"compiled": "._compiled", "numba": ".numba_kernels", "reference": ".reference"}
_active: tuple[str, object] | None = None


def _load(name: str):
    if name not in _MODULES:
        raise ValueError(f"kernels must be one of {sorted(_MODULES)}, got {name!r}")
    try:
        return importlib.import_module(_MODULES[name], __name__)
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


def _backend(name: str | None):
    if name is not None:
        return name, _load(name)
    if _active is None:
        set_kernels()
    return _active


def sweep(x, y, w, p, row: RowFunction, first: int, count: int, *, blocks=None, out=None, backend=None):
    """Sums of a range of blocks.

    Parameters
    ----------
    x : ndarray (n, d), float32 or float64
        Rows, unit column stride, any row stride (rows may overlap).
    y, w : ndarray (n,) of float64, C-contiguous, or None
        Responses (None: zeros) and weights (None: ones).
    p : ndarray (q, d) of float64, C-contiguous
        Directions, in the order `row` asks for.
    row : RowFunction
    first, count : int
        Blocks ``first .. first + count - 1`` of ``layout(row, d, itemsize)[1]`` rows each; for the canonical
        tree the range must be an aligned subtree.
    blocks : tuple of int, optional
        (tile, block) rows in place of those of :func:`layout`.
    out : ndarray (n, reps) of float64, optional
        Where PREDICT writes.
    backend : str, optional
        Backend for this call only.

    Returns
    -------
    a : ndarray (g, l)
    s : ndarray (s,)
        Back-projected and scalar sums; shapes from ``row.shapes(d)``.
    """
    d = x.shape[1]
    tile, block = blocks or layout(row, d, x.itemsize)
    g, left, sums = row.shapes(d)
    a, s = np.empty((g, left)), np.empty(sums)
    _backend(backend)[1].sweep(x, y, w, p, row, tile, block, first, count, a, s, out)
    return a, s


def activate(name, z, *, slope: float = 0.1, backend=None):
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

    z = np.ascontiguousarray(z, np.float64)
    flat = z.reshape(-1)
    results = [np.empty_like(flat) for _ in range(3)]
    _backend(backend)[1].activate(get_activation(name).code, slope, flat, *results)
    return tuple(r.reshape(z.shape) for r in results)
