"""Row functions of the Numba backend: from the projections of one tile of rows to coefficients and sums.

They mirror ``csrc/rowfn.h``: everything is float64 and laid out with rows contiguous (row j of a work array
is ``array[j * ld : j * ld + rows]``), so every loop vectorises and one compilation serves both data types.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import numba_activations
from .numba_arrays import add, add_scaled, copy, dot, fill, jit, line, scaled, total
from .numba_losses import CROSS_ENTROPY, cross_entropy, residual, score
from .op import Op

LOSS, CURVATURE, GRAM, PREDICT, MOMENT, PAIRS, HERMITE, HERMITE_GRAM, LANDSCAPE, THIRD = (int(op) for op in Op)


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


@jit
def forward(op, rep, rows, work):
    """Output of parameter set `rep` into f, with the derivatives of its units that the operation needs."""
    k, ld, first = op.k, work.ld, rep * (op.k + op.linear)
    f, z, u, d1, d2 = work.f[:rows], work.z[first * ld : (first + k) * ld], work.u, work.d1, work.d2
    order = 1 if op.grad or op.op == GRAM or op.op == CURVATURE else 0
    if op.newton:
        order = 2
    if op.user:
        second = d2.ctypes.data if order == 2 else np.uintp(0)
        _call_user(op.user, z.ctypes.data, u.ctypes.data, d1.ctypes.data, second, z.size)  # type: ignore[call-arg]
    elif k:
        numba_activations.activate(op.activation, op.slope, z, u, d1, d2, order)
    fill(op.c[rep], f)
    for j in range(k):
        add(op.v[rep, j], line(u, j, rows, ld), f)
    if op.linear:
        add(1.0, line(work.z, first + k, rows, ld), f)


@jit
def _loss(op, rep, rows, work, s):
    k, ld, at, column = op.k, work.ld, 1 + rep * (op.k + 2), rep * (op.k + op.linear)
    e = work.e[:rows]
    if not op.grad:
        return
    for j in range(k):
        scaled(op.v[rep, j], e, line(work.d1, j, rows, ld), line(work.g, column + j, rows, ld))
        s[at + 1 + j] += dot(e, line(work.u, j, rows, ld))
    if op.linear:
        copy(e, line(work.g, column + k, rows, ld))
    s[at + 1 + k] += total(e)


@jit
def _curvature(op, rows, bend, work, s):
    k, ld, direction = op.k, work.ld, op.k + op.linear
    h, r, e = work.t[:rows], work.r[:rows], work.e[:rows]
    fill(op.dc, h)
    for j in range(k):
        zd, d1 = line(work.z, direction + j, rows, ld), line(work.d1, j, rows, ld)
        scaled(op.v[0, j], d1, zd, r)
        add(1.0, r, h)
        add(op.dv[j], line(work.u, j, rows, ld), h)
    if op.linear:
        add(1.0, line(work.z, direction + k, rows, ld), h)
    if bend.size:
        scaled(1.0, bend, h, h)
    for j in range(k):
        v, dv = op.v[0, j], op.dv[j]
        zd, d1 = line(work.z, direction + j, rows, ld), line(work.d1, j, rows, ld)
        g = line(work.g, j, rows, ld)
        scaled(v, h, d1, g)
        s[1 + j] += dot(h, line(work.u, j, rows, ld))
        if op.newton:
            scaled(1.0, d1, zd, r)
            s[1 + j] += dot(e, r)
            d2 = line(work.d2, j, rows, ld)
            for i in range(rows):
                g[i] += e[i] * (v * d2[i] * zd[i] + dv * d1[i])
    if op.linear:
        copy(h, line(work.g, k, rows, ld))
    s[1 + k] += total(h)


@jit
def _gram_factors(rows, w, work):
    """Keep the feature rows of g in `left`, then weight those of g."""
    left, g, ld = work.left, work.g, work.ld
    copy(g, left)
    if w.size:
        for j in range(g.size // ld):
            scaled(1.0, w, line(left, j, rows, ld), line(g, j, rows, ld))


@jit
def _jacobian(op, rows, d, work, xt):
    """Columns of the hidden weights: for every filter and feature, the sum over the patches of a sample."""
    ld, group, g, at = work.ld, op.group, work.g, 0
    for j in range(op.k // group):
        for i in range(d):
            column = line(g, at, rows, ld)
            for p in range(group):
                unit = j * group + p
                v = 1.0 if op.loss == CROSS_ENTROPY else op.v[0, unit]
                d1, x = line(work.d1, unit, rows, ld), line(xt, i * group + p, rows, ld)
                if p == 0:
                    scaled(v, d1, x, column)
                else:
                    add_scaled(v, d1, x, column)
            at += 1


@jit
def _gram(op, rows, d, weight, work, xt):
    k, ld, at, g = op.k, work.ld, 0, work.g
    if op.free_w:
        _jacobian(op, rows, d, work, xt)
        at += k // op.group * d
    if op.free_v:
        copy(work.u, g[at * ld : (at + k) * ld])
        at += k
    if op.linear:
        copy(xt, g[at * ld : (at + d) * ld])
        at += d
    if op.free_c:
        fill(1.0, line(g, at, rows, ld))
        at += 1
    copy(work.r[:rows], line(g, at, rows, ld))
    _gram_factors(rows, weight, work)


@jit
def _moment(op, rows, w, work, s):
    ld, m, first = work.ld, op.m, op.k + op.linear
    e, c, b = work.e[:rows], line(work.g, m, rows, ld), line(work.g, m + 1, rows, ld)
    if not op.unit_response:
        s[4] += dot(e, work.r[:rows])
    elif w.size:
        copy(w, e)
    else:
        fill(1.0, e)
    copy(e, c)
    copy(e, b)
    if op.order > 2:
        t = line(work.z, first + m, rows, ld)
        scaled(1.0, e, t, c)
        s[2] += total(c)
        if op.order == 4:
            copy(c, b)
            for i in range(rows):
                c[i] = e[i] * (t[i] * t[i] - op.alpha2)
    for j in range(m):
        scaled(1.0, c, line(work.z, first + j, rows, ld), line(work.g, j, rows, ld))
    s[1] += total(e)
    s[3] += total(c)


@jit
def _pairs(op, rows, work, s):
    ld, first, at = work.ld, op.k + op.linear, 0
    e, t = work.e[:rows], work.t[:rows]
    for a in range(op.m):
        scaled(1.0, e, line(work.z, first + a, rows, ld), t)
        for b in range(a, op.m):
            scaled(1.0, t, line(work.z, first + b, rows, ld), line(work.g, at, rows, ld))
            at += 1
    copy(e, line(work.g, at, rows, ld))
    s[1] += total(e)
    s[2] += dot(e, work.r[:rows])


@jit
def _landscape(op, rows, work, s):
    ld, m, first = work.ld, op.m, op.k + op.linear
    e, q, t = work.e[:rows], work.f[:rows], work.t[:rows]
    s[1] += total(e)
    s[3] += dot(e, work.r[:rows])
    fill(0.0, q)
    fill(0.0, t)
    for j in range(m):
        u = line(work.z, first + j, rows, ld)
        for i in range(rows):
            u2 = u[i] * u[i]
            t[i] += u2
            q[i] += u2 * u2
    for i in range(rows):
        q[i] = 0.5 * op.pair * t[i] * t[i] - op.single / 24.0 * q[i]
    s[2] += dot(e, q)
    for j in range(m):
        u, slope, plain = line(work.z, first + j, rows, ld), line(work.g, j, rows, ld), line(work.g, m + j, rows, ld)
        for i in range(rows):
            plain[i] = e[i] * u[i]
            slope[i] = plain[i] * (2.0 * op.pair * t[i] - op.single / 6.0 * u[i] * u[i])


@jit
def _hermite_rows(op, rows, work):
    """Rows a (order + 1) + p of he: h_{p+1} = (z h_p - sqrt(p) h_{p-1}) / sqrt(p + 1)."""
    ld = work.ld
    for a in range(op.m):
        z, at = line(work.z, op.k + op.linear + a, rows, ld), a * (op.order + 1)
        fill(1.0, line(work.he, at, rows, ld))
        for p in range(op.order):
            up = 1.0 / math.sqrt(p + 1.0)
            h = line(work.he, at + p + 1, rows, ld)
            scaled(up, z, line(work.he, at + p, rows, ld), h)
            if p:
                add(-math.sqrt(p) * up, line(work.he, at + p - 1, rows, ld), h)


@jit
def _feature(factor, rows, work, out):
    """Product of at most four Hermite rows."""
    fill(1.0, out)
    for index in factor:
        if index < 0:
            break
        scaled(1.0, line(work.he, index, rows, work.ld), out, out)


@jit
def _hermite(op, rows, w, work, s):
    ld, e, r, t = work.ld, work.e[:rows], work.r[:rows], work.t[:rows]
    count = len(op.factors)
    s[1] += total(e)
    s[2] += dot(e, r)
    _hermite_rows(op, rows, work)
    for j in range(count):
        if op.op == HERMITE:
            _feature(op.factors[j], rows, work, t)
            s[3 + j] += dot(e, t)
        else:
            _feature(op.factors[j], rows, work, line(work.g, j, rows, ld))
    if op.op == HERMITE_GRAM:
        copy(r, line(work.g, count, rows, ld))
        _gram_factors(rows, w, work)


@jit
def _network(op, rep, rows, d, y, w, work, xt, s):
    """LOSS, CURVATURE and GRAM of a network under its loss."""
    curvature, gram = op.op == CURVATURE, op.op == GRAM
    if op.loss == CROSS_ENTROPY:
        cross_entropy(op, rep, rows, y, w, work, s, curvature, gram)
        if gram:
            _gram(op, rows, d, w, work, xt)
        return
    forward(op, rep, rows, work)
    bend = score(op, rows, y, w, work, s, -1 if curvature else 1 + rep * (op.k + 2))
    if gram:
        _gram(op, rows, d, bend, work, xt)
    elif curvature:
        _curvature(op, rows, bend, work, s)
    else:
        _loss(op, rep, rows, work, s)


@jit
def row_function(op, rep, rows, d, y, w, work, xt, s):
    """From the projections of set `rep`: fill g and, for the Gram matrices, `left`; add to the sums `s`."""
    if rep == 0:
        s[0] += total(w) if w.size else float(rows)
    if op.op <= GRAM:
        _network(op, rep, rows, d, y, w, work, xt, s)
        return
    forward(op, rep, rows, work)
    residual(rows, y, w, work)
    for i in range(rows):  # the response of moments is y - f
        work.r[i] = -work.r[i]
        work.e[i] = -work.e[i]
    if op.op == MOMENT:
        _moment(op, rows, w, work, s)
    elif op.op == PAIRS:
        _pairs(op, rows, work, s)
    elif op.op == LANDSCAPE:
        _landscape(op, rows, work, s)
    elif op.op == THIRD:  # the rest is in numba_kernels.py
        s[1] += total(work.e[:rows])
        s[2] += dot(work.e[:rows], work.r[:rows])
    else:
        _hermite(op, rows, w, work, s)
