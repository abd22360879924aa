"""Types and array loops that the modules of the Numba backend share.

None of these functions is cached on disk: Numba looks for changes in the file of the cached function alone,
so only the outermost ones are cached, with the sources of all they call in their key.
"""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

import numpy as np
from numba import njit

from .op import FIELDS

jit = njit(nogil=True, error_model="numpy")
# The sums may be re-associated, otherwise they stay scalar; NaN and infinity keep their meaning.
jit_sum = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})


#: The record of a ``RowFunction``, arrays in the place of addresses.
Row = namedtuple("Row", [name for name, _ in FIELDS])  # type: ignore[misc]


class Work(NamedTuple):
    """Flat work arrays of one call; names as in ``csrc/rowfn.h``, `left` holding feature rows."""

    ld: int
    z: np.ndarray
    u: np.ndarray
    d1: np.ndarray
    d2: np.ndarray
    f: np.ndarray
    r: np.ndarray
    e: np.ndarray
    t: np.ndarray
    g: np.ndarray
    left: np.ndarray
    he: np.ndarray


@jit_sum
def dot(a, b):
    out = 0.0
    for i in range(a.size):
        out += a[i] * b[i]
    return out


@jit_sum
def total(a):
    out = 0.0
    for i in range(a.size):
        out += a[i]
    return out


@jit
def fill(c, out):
    for i in range(out.size):
        out[i] = c


@jit
def copy(a, out):
    """out = a, without the checks of a slice assignment."""
    for i in range(out.size):
        out[i] = a[i]


@jit
def scaled(c, a, b, out):
    """out = c a b."""
    for i in range(out.size):
        out[i] = c * a[i] * b[i]


@jit
def add(c, a, out):
    """out += c a."""
    for i in range(out.size):
        out[i] += c * a[i]


@jit
def add_scaled(c, a, b, out):
    """out += c a b."""
    for i in range(out.size):
        out[i] += c * a[i] * b[i]


@jit
def line(array, j, rows, ld):
    return array[j * ld : j * ld + rows]
