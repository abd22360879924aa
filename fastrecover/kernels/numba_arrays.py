"""Types and array loops that the modules of the Numba backend share.

None of these functions is cached on disk: Numba looks for changes in the file of the cached function alone,
so only the outermost ones are cached, with the sources of all they call in their key.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .op import FIELDS

# Only compiled code calls these: wrappers for other callers would take longer to compile than the functions.
_INSIDE: Any = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
jit = njit(**_INSIDE)
# The sums may be re-associated, otherwise they stay scalar; NaN and infinity keep their meaning.
jit_sum = njit(**_INSIDE, fastmath={"contract", "reassoc"})


#: The record of a ``RowFunction``, arrays in the place of addresses.
Row = namedtuple("Row", [name for name, _ in FIELDS])  # type: ignore[misc]


class Work(NamedTuple):
    """Work memory of one call: lanes of `ld` numbers, one a row of the tile, in one array that is cheap to hand on.

    The other fields say at which lane each kind begins; names as in ``csrc/rowfn.h``, `left` holding feature rows.  Of
    y, f, r, e and h, responses, outputs and what becomes of them under the loss, there is one an output.
    """

    lanes: np.ndarray
    ld: int
    y: int
    z: int
    u: int
    d1: int
    d2: int
    f: int
    r: int
    e: int
    h: int
    t: int
    g: int
    left: int
    he: int


@intrinsic
def borrowed(typingctx, values):
    """Arrays, or tuples of them, without their owner, whose slices then cost no counting of references.

    For arguments: the caller has them until the function returns, and so may the function and those it calls.
    """

    def lend(context, builder, kind, value):
        if isinstance(kind, types.Array):
            array = make_array(kind)(context, builder, value)
            array.meminfo, array.parent = (cgutils.get_null_value(each.type) for each in (array.meminfo, array.parent))
            return array._getvalue()
        parts: tuple = tuple(kind) if isinstance(kind, types.BaseTuple) else ()  # type: ignore[arg-type]
        for i, each in enumerate(parts):
            item = lend(context, builder, each, builder.extract_value(value, i))
            value = builder.insert_value(value, item, i)
        return value

    return values(values), lambda context, builder, signature, args: lend(context, builder, values, args[0])


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
def accumulate(j, c, a, b, out):
    """Term j of a sum of c a b in `out`."""
    if j:
        add_scaled(c, a, b, out)
    else:
        scaled(c, a, b, out)


@jit
def line(array, j, rows, ld):
    return array[j * ld : j * ld + rows]


@jit
def lane(work, j, rows):
    return line(work.lanes, j, rows, work.ld)


@jit_sum
def _corner(n, a, at0, at1, at2, at3, b, to0, to1):
    """Eight dot products, as many as keep both multipliers busy and still fit the registers.

    Unsigned offsets in place of slices spare the loops around it the reference counts of the slices, and the
    loop inside the test for negative indices.
    """
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = a.dtype.type(0)
    at0, at1, at2, at3 = np.uintp(at0), np.uintp(at1), np.uintp(at2), np.uintp(at3)
    to0, to1 = np.uintp(to0), np.uintp(to1)
    for i in range(np.uintp(n)):
        p, q = b[to0 + i], b[to1 + i]
        a0, a1, a2, a3 = a[at0 + i], a[at1 + i], a[at2 + i], a[at3 + i]
        s0 += a0 * p
        s1 += a1 * p
        s2 += a2 * p
        s3 += a3 * p
        s4 += a0 * q
        s5 += a1 * q
        s6 += a2 * q
        s7 += a3 * q
    return (s0, s1, s2, s3), (s4, s5, s6, s7)


@jit
def _store(sums, out, at, width, add):
    if not add:
        for i in range(at, at + width):
            out[i] = 0.0
    out[at] += sums[0]
    if width > 1:
        out[at + 1] += sums[1]
    if width > 2:
        out[at + 2] += sums[2]
    if width > 3:
        out[at + 3] += sums[3]


@jit
def products(n, a, origin, stride, count_a, b, ldb, count_b, out, ldo, add, upper):
    """out[j, i] = or += sum over n of a_i b_j, in float64; `upper` skips what lies wholly below the diagonal.

    Missing vectors of a last group repeat an earlier one, and their products are dropped.
    """
    last = origin + (count_a - 1) * stride
    for i in range(0, count_a, 4):
        at, width = origin + i * stride, min(4, count_a - i)
        at1 = at + stride if width > 1 else last
        at2 = at + 2 * stride if width > 2 else last
        at3 = at + 3 * stride if width > 3 else last
        for j in range(0, min(count_b, i + 4) if upper else count_b, 2):
            second = min(j + 1, count_b - 1)
            first_row, second_row = _corner(n, a, at, at1, at2, at3, b, j * ldb, second * ldb)
            _store(first_row, out, j * ldo + i, width, add)
            if second > j:
                _store(second_row, out, second * ldo + i, width, add)
