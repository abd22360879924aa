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
from .numba_arrays import accumulate, add, add_scaled, copy, dot, fill, jit, lane, line, products, scaled, total
from .numba_losses import CROSS_ENTROPY, SOFTMAX, cross_entropy, curve, residual, score, weights
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
    """Outputs of parameter set `rep` into f, with the derivatives of its units that the operation needs."""
    k, ld, first = op.k, work.ld, rep * (op.k + op.linear)
    z, u = line(work.lanes, work.z + first, k * ld, ld), line(work.lanes, work.u, k * ld, ld)
    d1, d2 = line(work.lanes, work.d1, k * ld, ld), line(work.lanes, work.d2, k * ld, ld)
    order = 1 if op.grad or op.op == GRAM or op.op == CURVATURE else 0
    if op.newton:
        order = 2
    if op.user:
        first_two = d1.ctypes.data if order else np.uintp(0), d2.ctypes.data if order == 2 else np.uintp(0)
        _call_user(op.user, z.ctypes.data, u.ctypes.data, *first_two, z.size)  # type: ignore[call-arg]
    elif k:
        numba_activations.activate(op.activation, op.slope, z, u, d1, d2, order)
    for o in range(op.outputs):
        f, of = lane(work, work.f + o, rows), rep * op.outputs + o
        fill(op.c[of], f)
        for j in range(k):
            add(op.v[of * k + j], lane(work, work.u + j, rows), f)
        if op.linear:
            add(1.0, lane(work, work.z + first + k + o, rows), f)


@jit
def _back(op, rep, rows, work, e, s, at):
    """Coefficients of set `rep`, and from s[at] on its sums by V and c, for derivatives e by the outputs."""
    k, m, column = op.k, op.outputs, work.g + rep * (op.k + op.linear)
    for o in range(m):
        one, first = lane(work, e + o, rows), (rep * m + o) * k
        for j in range(k):
            accumulate(o, op.v[first + j], one, lane(work, work.d1 + j, rows), lane(work, column + j, rows))
            s[at + o * k + j] += dot(one, lane(work, work.u + j, rows))
        if op.linear:
            copy(one, lane(work, column + k + o, rows))
        s[at + m * k + o] += total(one)


@jit
def along(op, rows, work, at):
    """Derivatives of outputs in the direction after their set, into the lanes from `at` on."""
    k, direction = op.k, work.z + op.k + op.linear
    for o in range(op.outputs):
        df = lane(work, at + o, rows)
        fill(op.dc[o], df)
        for j in range(k):
            zd, d1 = lane(work, direction + j, rows), lane(work, work.d1 + j, rows)
            add_scaled(op.v[o * k + j], d1, zd, df)
            add(op.dv[o * k + j], lane(work, work.u + j, rows), df)
        if op.linear:
            add(1.0, lane(work, direction + k + o, rows), df)


@jit
def _curvature(op, rows, w, work, s):
    k, direction, t = op.k, work.z + op.k + op.linear, lane(work, work.t, rows)
    along(op, rows, work, work.r)
    curve(op, rows, w, work)
    _back(op, 0, rows, work, work.r, s, 1)
    if not op.newton:
        return
    for j in range(k):
        zd, d1, d2 = lane(work, direction + j, rows), lane(work, work.d1 + j, rows), lane(work, work.d2 + j, rows)
        g = lane(work, work.g + j, rows)
        scaled(1.0, d1, zd, t)
        for o in range(op.outputs):
            e, v, dv = lane(work, work.e + o, rows), op.v[o * k + j], op.dv[o * k + j]
            s[1 + o * k + j] += dot(e, t)
            for i in range(rows):
                g[i] += e[i] * (v * d2[i] * zd[i] + dv * d1[i])


@jit
def _add_gram(rows, w, work, a):
    """a += g w g', of the feature rows g; afterwards these are in `left`, and g is w g."""
    ld, count = work.ld, work.he - work.left
    left, g = work.lanes[work.left * ld : work.he * ld], work.lanes[work.g * ld : work.left * ld]
    copy(g, left)
    if w.size:
        for j in range(count):
            scaled(1.0, w, lane(work, work.left + j, rows), lane(work, work.g + j, rows))
    products(rows, left, 0, ld, count, g, ld, count, a, count, True, True)


@jit
def _own(own, shares, a, out):
    """out = a in the features of its `own` output, 1, or of another, 0; of softmax less the mean over outputs."""
    if shares.size:
        for i in range(out.size):
            out[i] = (own - shares[i]) * a[i]
    else:
        for i in range(out.size):
            out[i] = own * a[i]


@jit
def _less_mean(op, rep, o, rows, work):
    """Derivatives of output o by the units, less their mean over the shares of softmax, in the place of d2."""
    k, m = op.k, op.outputs
    for j in range(k):
        out = lane(work, work.d2 + j, rows)
        fill(op.v[(rep * m + o) * k + j], out)
        for q in range(m):
            add(-op.v[(rep * m + q) * k + j], lane(work, work.f + q, rows), out)
        scaled(1.0, lane(work, work.d1 + j, rows), out, out)


@jit
def _jacobian(op, first, rows, d, work, xt):
    """Columns of the hidden weights: for every filter and feature, the sum over the patches of a sample."""
    group, column = op.group, work.g
    plain = op.loss != CROSS_ENTROPY and op.loss != SOFTMAX  # of these two, by_unit says it all
    by_unit = work.d2 if op.loss == SOFTMAX else work.d1
    for j in range(op.k // group):
        for i in range(d):
            for p in range(group):
                unit = j * group + p
                v, x = op.v[first + unit] if plain else 1.0, line(xt, i * group + p, rows, work.ld)
                accumulate(p, v, lane(work, by_unit + unit, rows), x, lane(work, column, rows))
            column += 1


@jit
def _features(op, rep, o, rows, d, work, xt):
    """Jacobian and residual of one output, parameter by parameter in g."""
    k, m, at = op.k, op.outputs, work.g
    if op.free_w:
        if op.loss == SOFTMAX:
            _less_mean(op, rep, o, rows, work)
        _jacobian(op, (rep * m + o) * k, rows, d, work, xt)
        at += k // op.group * d
    after = at + op.free_v * m * k  # linear rows, and then intercepts
    for q in range(m):
        own = 1.0 if q == o else 0.0
        shares = lane(work, work.f + q, rows if op.loss == SOFTMAX else 0)
        if op.free_v:
            for j in range(k):
                _own(own, shares, lane(work, work.u + j, rows), lane(work, at + q * k + j, rows))
        if op.linear:
            for i in range(d):
                _own(own, shares, line(xt, i, rows, work.ld), lane(work, after + q * d + i, rows))
        if op.free_c:
            one = lane(work, after + op.linear * d + q, rows)
            fill(1.0, one)
            _own(own, shares, one, one)
    copy(lane(work, work.r + o, rows), lane(work, work.left - 1, rows))


@jit
def _gram(op, rep, rows, d, w, work, xt, a):
    size = work.left - work.g
    for o in range(op.outputs):
        _features(op, rep, o, rows, d, work, xt)
        _add_gram(rows, weights(op, o, rows, w, work), work, a[rep * size * size :])


@jit
def _moment(op, rows, w, work, s):
    m, first = op.m, work.z + op.k + op.linear
    e, c, b = lane(work, work.e, rows), lane(work, work.g + m, rows), lane(work, work.g + m + 1, rows)
    if not op.unit_response:
        s[4] += dot(e, lane(work, work.r, rows))
    elif w.size:
        copy(w, e)
    else:
        fill(1.0, e)
    copy(e, c)
    copy(e, b)
    if op.order > 2:
        t = lane(work, first + m, rows)
        scaled(1.0, e, t, c)
        s[2] += total(c)
        if op.order == 4:
            copy(c, b)
            for i in range(rows):
                c[i] = e[i] * (t[i] * t[i] - op.alpha2)
    for j in range(m):
        scaled(1.0, c, lane(work, first + j, rows), lane(work, work.g + j, rows))
    s[1] += total(e)
    s[3] += total(c)


@jit
def _pairs(op, rows, work, s):
    first, at = work.z + op.k + op.linear, work.g
    e, t = lane(work, work.e, rows), lane(work, work.t, rows)
    for a in range(op.m):
        scaled(1.0, e, lane(work, first + a, rows), t)
        for b in range(a, op.m):
            scaled(1.0, t, lane(work, first + b, rows), lane(work, at, rows))
            at += 1
    copy(e, lane(work, at, rows))
    s[1] += total(e)
    s[2] += dot(e, lane(work, work.r, rows))


@jit
def _landscape(op, rows, work, s):
    m, first = op.m, work.z + op.k + op.linear
    e, q, t = lane(work, work.e, rows), lane(work, work.f, rows), lane(work, work.t, rows)
    s[1] += total(e)
    s[3] += dot(e, lane(work, work.r, rows))
    fill(0.0, q)
    fill(0.0, t)
    for j in range(m):
        u = lane(work, first + j, rows)
        for i in range(rows):
            u2 = u[i] * u[i]
            t[i] += u2
            q[i] += u2 * u2
    for i in range(rows):
        q[i] = 0.5 * op.pair * t[i] * t[i] - op.single / 24.0 * q[i]
    s[2] += dot(e, q)
    for j in range(m):
        u, slope, plain = lane(work, first + j, rows), lane(work, work.g + j, rows), lane(work, work.g + m + j, rows)
        for i in range(rows):
            plain[i] = e[i] * u[i]
            slope[i] = plain[i] * (2.0 * op.pair * t[i] - op.single / 6.0 * u[i] * u[i])


@jit
def _hermite_rows(op, rows, work):
    """Rows a (order + 1) + p of he: h_{p+1} = (z h_p - sqrt(p) h_{p-1}) / sqrt(p + 1)."""
    for a in range(op.m):
        z, at = lane(work, work.z + op.k + op.linear + a, rows), work.he + a * (op.order + 1)
        fill(1.0, lane(work, at, rows))
        for p in range(op.order):
            up = 1.0 / math.sqrt(p + 1.0)
            h = lane(work, at + p + 1, rows)
            scaled(up, z, lane(work, at + p, rows), h)
            if p:
                add(-math.sqrt(p) * up, lane(work, at + p - 1, rows), h)


@jit
def _feature(factor, rows, work, out):
    """Product of at most four Hermite rows."""
    fill(1.0, out)
    for index in factor:
        if index < 0:
            break
        scaled(1.0, lane(work, work.he + index, rows), out, out)


@jit
def _hermite(op, rows, w, work, a, s):
    e, r, t = lane(work, work.e, rows), lane(work, work.r, rows), lane(work, work.t, rows)
    count = op.n_features
    s[1] += total(e)
    s[2] += dot(e, r)
    _hermite_rows(op, rows, work)
    for j in range(count):
        if op.op == HERMITE:
            _feature(op.factors[4 * j : 4 * j + 4], rows, work, t)
            s[3 + j] += dot(e, t)
        else:
            _feature(op.factors[4 * j : 4 * j + 4], rows, work, lane(work, work.g + j, rows))
    if op.op == HERMITE_GRAM:
        copy(r, lane(work, work.g + count, rows))
        _add_gram(rows, w, work, a)


@jit
def _network(op, rep, rows, d, w, work, xt, a, s):
    """LOSS, CURVATURE and GRAM of a network under its loss."""
    curvature, gram = op.op == CURVATURE, op.op == GRAM
    at = 1 + rep * (1 if gram else 1 + op.outputs * (op.k + 1))
    if op.loss == CROSS_ENTROPY:
        cross_entropy(op, rep, rows, w, work, s, at, curvature, gram)
    else:
        forward(op, rep, rows, work)
        score(op, rows, w, work, s, -1 if curvature else at, curvature and op.newton, gram)
        if curvature:
            _curvature(op, rows, w, work, s)
        elif op.grad:
            _back(op, rep, rows, work, work.e, s, at + 1)
    if gram:
        _gram(op, rep, rows, d, w, work, xt, a)


@jit
def row_function(op, rep, rows, d, w, work, xt, a, s):
    """From the projections of set `rep`: fill g, or add Gram matrices to `a`; add to the sums `s`."""
    if rep == 0:
        s[0] += total(w) if w.size else float(rows)
    if op.op <= GRAM:
        _network(op, rep, rows, d, w, work, xt, a, s)
        return
    forward(op, rep, rows, work)
    residual(0, rows, w, work)
    r, e = lane(work, work.r, rows), lane(work, work.e, rows)
    for i in range(rows):  # the response of moments is y - f
        r[i] = -r[i]
        e[i] = -e[i]
    if op.op == MOMENT:
        _moment(op, rows, w, work, s)
    elif op.op == PAIRS:
        _pairs(op, rows, work, s)
    elif op.op == LANDSCAPE:
        _landscape(op, rows, work, s)
    elif op.op == THIRD:  # the rest is in numba_kernels.py
        s[1] += total(lane(work, work.e, rows))
        s[2] += dot(lane(work, work.e, rows), lane(work, work.r, rows))
    else:
        _hermite(op, rows, w, work, a, s)
