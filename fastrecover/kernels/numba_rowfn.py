"""Row functions of the Numba backend: from the projections of one tile of rows to coefficients and sums.

They mirror ``csrc/rowfn.h``: everything is float64 and laid out with rows contiguous (row j of a work array
is ``array[j * ld : j * ld + rows]``), so every loop vectorises and one compilation serves both data types.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from . import numba_activations
from .row import Op

_jit = njit(cache=True, nogil=True, error_model="numpy")
# The sums may be re-associated, otherwise they stay scalar; NaN and infinity keep their meaning.
_jit_sum = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})

LOSS, CURVATURE, GRAM, PREDICT, MOMENT, PAIRS, HERMITE, HERMITE_GRAM = (int(op) for op in Op)


class Row(NamedTuple):
    """A ``RowFunction`` as numbers and read-only arrays; `user` is an address or 0."""

    op: int
    activation: int
    slope: float
    user: int
    reps: int
    k: int
    linear: int
    v: np.ndarray
    c: np.ndarray
    grad: int
    newton: int
    dv: np.ndarray
    dc: float
    free_w: int
    free_v: int
    free_c: int
    m: int
    order: int
    unit_response: int
    alpha2: float
    factors: np.ndarray


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


@intrinsic
def _call_user(typingctx, address, z, u, d1, d2, n):
    """Call the C function at `address` on arrays given by their addresses."""

    def codegen(context, builder, signature, args):
        pointer, integer = ir.DoubleType().as_pointer(), ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [pointer] * 4 + [integer])
        target = builder.inttoptr(args[0], function.as_pointer())
        builder.call(target, [builder.inttoptr(each, pointer) for each in args[1:5]] + [args[5]])
        return context.get_dummy_value()

    arrays = (types.uintp,) * 4
    return types.void(types.int64, *arrays, types.int64), codegen


@_jit_sum
def _dot(a, b):
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@_jit_sum
def _sum(a):
    total = 0.0
    for i in range(a.size):
        total += a[i]
    return total


@_jit
def fill(c, out):
    for i in range(out.size):
        out[i] = c


@_jit
def copy(a, out):
    """out = a, without the checks of a slice assignment."""
    for i in range(out.size):
        out[i] = a[i]


@_jit
def _scaled(c, a, b, out):
    """out = c a b."""
    for i in range(out.size):
        out[i] = c * a[i] * b[i]


@_jit
def _add(c, a, out):
    """out += c a."""
    for i in range(out.size):
        out[i] += c * a[i]


@_jit
def _at(array, j, rows, ld):
    return array[j * ld : j * ld + rows]


@_jit
def forward(row, rep, rows, work):
    """Output of parameter set `rep` into f, with the derivatives of its units that the operation needs."""
    k, ld, first = row.k, work.ld, rep * (row.k + row.linear)
    f, z, u, d1, d2 = work.f[:rows], work.z[first * ld : (first + k) * ld], work.u, work.d1, work.d2
    order = 1 if row.grad or row.op == GRAM or row.op == CURVATURE else 0
    if row.newton:
        order = 2
    if row.user:
        second = d2.ctypes.data if order == 2 else np.uintp(0)
        _call_user(row.user, z.ctypes.data, u.ctypes.data, d1.ctypes.data, second, z.size)  # type: ignore[call-arg]
    elif k:
        numba_activations.activate(row.activation, row.slope, z, u, d1, d2, order)
    fill(row.c[rep], f)
    for j in range(k):
        _add(row.v[rep, j], _at(u, j, rows, ld), f)
    if row.linear:
        _add(1.0, _at(work.z, first + k, rows, ld), f)


@_jit
def residual(rows, y, w, work):
    """r = f - y and e = w r; arrays of size 0 stand for zeros and ones."""
    f, r, e = work.f[:rows], work.r[:rows], work.e[:rows]
    copy(f, r)
    if y.size:
        _add(-1.0, y, r)
    if w.size:
        _scaled(1.0, w, r, e)
    else:
        copy(r, e)


@_jit
def _loss(row, rep, rows, work, s):
    k, ld, at, column = row.k, work.ld, 1 + rep * (row.k + 2), rep * (row.k + row.linear)
    e = work.e[:rows]
    s[at] += 0.5 * _dot(e, work.r[:rows])
    if not row.grad:
        return
    for j in range(k):
        _scaled(row.v[rep, j], e, _at(work.d1, j, rows, ld), _at(work.g, column + j, rows, ld))
        s[at + 1 + j] += _dot(e, _at(work.u, j, rows, ld))
    if row.linear:
        copy(e, _at(work.g, column + k, rows, ld))
    s[at + 1 + k] += _sum(e)


@_jit
def _curvature(row, rows, w, work, s):
    k, ld, direction = row.k, work.ld, row.k + row.linear
    h, r, e = work.t[:rows], work.r[:rows], work.e[:rows]
    fill(row.dc, h)
    for j in range(k):
        zd, d1 = _at(work.z, direction + j, rows, ld), _at(work.d1, j, rows, ld)
        _scaled(row.v[0, j], d1, zd, r)
        _add(1.0, r, h)
        _add(row.dv[j], _at(work.u, j, rows, ld), h)
    if row.linear:
        _add(1.0, _at(work.z, direction + k, rows, ld), h)
    if w.size:
        _scaled(1.0, w, h, h)
    for j in range(k):
        v, dv = row.v[0, j], row.dv[j]
        zd, d1, g = _at(work.z, direction + j, rows, ld), _at(work.d1, j, rows, ld), _at(work.g, j, rows, ld)
        _scaled(v, h, d1, g)
        s[1 + j] += _dot(h, _at(work.u, j, rows, ld))
        if row.newton:
            _scaled(1.0, d1, zd, r)
            s[1 + j] += _dot(e, r)
            d2 = _at(work.d2, j, rows, ld)
            for i in range(rows):
                g[i] += e[i] * (v * d2[i] * zd[i] + dv * d1[i])
    if row.linear:
        copy(h, _at(work.g, k, rows, ld))
    s[1 + k] += _sum(h)


@_jit
def _gram_factors(rows, w, work):
    """Keep the feature rows of g in `left`, then weight those of g."""
    left, g, ld = work.left, work.g, work.ld
    copy(g, left)
    if w.size:
        for j in range(g.size // ld):
            _scaled(1.0, w, _at(left, j, rows, ld), _at(g, j, rows, ld))


@_jit
def _gram(row, rows, d, w, work, xt, s):
    k, ld, at = row.k, work.ld, 0
    r, g = work.r[:rows], work.g
    s[1] += 0.5 * _dot(work.e[:rows], r)
    for j in range(k * row.free_w):
        for i in range(d):
            _scaled(row.v[0, j], _at(work.d1, j, rows, ld), _at(xt, i, rows, ld), _at(g, at + i, rows, ld))
        at += d
    if row.free_v:
        copy(work.u, g[at * ld : (at + k) * ld])
        at += k
    if row.linear:
        copy(xt, g[at * ld : (at + d) * ld])
        at += d
    if row.free_c:
        fill(1.0, _at(g, at, rows, ld))
        at += 1
    copy(r, _at(g, at, rows, ld))
    _gram_factors(rows, w, work)


@_jit
def _moment(row, rows, w, work, s):
    ld, m, first = work.ld, row.m, row.k + row.linear
    e, c, b = work.e[:rows], _at(work.g, m, rows, ld), _at(work.g, m + 1, rows, ld)
    if not row.unit_response:
        s[4] += _dot(e, work.r[:rows])
    elif w.size:
        copy(w, e)
    else:
        fill(1.0, e)
    copy(e, c)
    copy(e, b)
    if row.order > 2:
        t = _at(work.z, first + m, rows, ld)
        _scaled(1.0, e, t, c)
        s[2] += _sum(c)
        if row.order == 4:
            copy(c, b)
            for i in range(rows):
                c[i] = e[i] * (t[i] * t[i] - row.alpha2)
    for j in range(m):
        _scaled(1.0, c, _at(work.z, first + j, rows, ld), _at(work.g, j, rows, ld))
    s[1] += _sum(e)
    s[3] += _sum(c)


@_jit
def _pairs(row, rows, work, s):
    ld, first, at = work.ld, row.k + row.linear, 0
    e, t = work.e[:rows], work.t[:rows]
    for a in range(row.m):
        _scaled(1.0, e, _at(work.z, first + a, rows, ld), t)
        for b in range(a, row.m):
            _scaled(1.0, t, _at(work.z, first + b, rows, ld), _at(work.g, at, rows, ld))
            at += 1
    copy(e, _at(work.g, at, rows, ld))
    s[1] += _sum(e)
    s[2] += _dot(e, work.r[:rows])


@_jit
def _hermite_rows(row, rows, work):
    """Rows a (order + 1) + p of he: h_{p+1} = (z h_p - sqrt(p) h_{p-1}) / sqrt(p + 1)."""
    ld = work.ld
    for a in range(row.m):
        z, at = _at(work.z, row.k + row.linear + a, rows, ld), a * (row.order + 1)
        fill(1.0, _at(work.he, at, rows, ld))
        for p in range(row.order):
            up = 1.0 / math.sqrt(p + 1.0)
            h = _at(work.he, at + p + 1, rows, ld)
            _scaled(up, z, _at(work.he, at + p, rows, ld), h)
            if p:
                _add(-math.sqrt(p) * up, _at(work.he, at + p - 1, rows, ld), h)


@_jit
def _feature(factor, rows, work, out):
    """Product of at most four Hermite rows."""
    fill(1.0, out)
    for index in factor:
        if index < 0:
            break
        _scaled(1.0, _at(work.he, index, rows, work.ld), out, out)


@_jit
def _hermite(row, rows, w, work, s):
    ld, e, r, t = work.ld, work.e[:rows], work.r[:rows], work.t[:rows]
    count = len(row.factors)
    s[1] += _sum(e)
    s[2] += _dot(e, r)
    _hermite_rows(row, rows, work)
    for j in range(count):
        if row.op == HERMITE:
            _feature(row.factors[j], rows, work, t)
            s[3 + j] += _dot(e, t)
        else:
            _feature(row.factors[j], rows, work, _at(work.g, j, rows, ld))
    if row.op == HERMITE_GRAM:
        copy(r, _at(work.g, count, rows, ld))
        _gram_factors(rows, w, work)


@_jit
def row_function(row, rep, rows, d, w, work, xt, s):
    """From f, r and e of set `rep`: fill g and, for the Gram matrices, `left`; add to the sums `s`."""
    if rep == 0:
        s[0] += _sum(w) if w.size else float(rows)
    if row.op >= MOMENT:  # their response is y - f
        for i in range(rows):
            work.r[i] = -work.r[i]
            work.e[i] = -work.e[i]
    if row.op == LOSS:
        _loss(row, rep, rows, work, s)
    elif row.op == CURVATURE:
        _curvature(row, rows, w, work, s)
    elif row.op == GRAM:
        _gram(row, rows, d, w, work, xt, s)
    elif row.op == MOMENT:
        _moment(row, rows, w, work, s)
    elif row.op == PAIRS:
        _pairs(row, rows, work, s)
    else:
        _hermite(row, rows, w, work, s)
