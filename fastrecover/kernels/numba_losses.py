"""Losses of the Numba backend, which mirror ``csrc/losses.h``.

One of the output f is a function like `huber` and a branch of `_by_code`.

The cross entropy of ``H = mean_j sigma(z_j)`` is in log-sum form: every sum is scaled by its largest term, so nothing
over- or underflows and no H is clipped.  With -t the largest projection where all are negative, the smallest where all
are positive, else 0, each derivative is a number of the row times one of the unit, ``p_j = sigma(z_j) sigma(-z_j)
e^|t|``, which takes one exponential.
"""

from __future__ import annotations

import math

from numba import njit

from .numba_activations import exp_negative, exponential, log1p_gap, logarithm, sigmoid, softplus
from .numba_arrays import add, add_scaled, copy, dot, fill, jit, lane, line, scaled, total

#: Codes, those of ``reference_losses.py``.
SQUARED, CROSS_ENTROPY, HUBER, LOGISTIC, SOFTMAX, POISSON, POISSON_SOFTPLUS, LINEAR = range(8)
LOSSES = frozenset(range(8))

#: Least weight of a row in a Gauss-Newton matrix, as in ``reference_losses.py``.
_LEAST = 1e-30

_scalar = njit(forceinline=True, nogil=True, error_model="numpy")


@_scalar
def huber(f, y, delta):
    """Half the square of f - y, linear from delta on, as (value, first, Gauss-Newton weight, second)."""
    r = f - y
    size = abs(r)
    near = size <= delta
    value = 0.5 * size * size if near else delta * (size - 0.5 * delta)
    first = delta if r > delta else (-delta if r < -delta else r)
    return value, first, 1.0 if near else delta / size, 1.0 if near else 0.0


@_scalar
def logistic(f, y, delta):
    """``log(1 + e^f) - y f`` and its derivatives, as (value, first, Gauss-Newton weight, second)."""
    q, bell, _ = sigmoid(f, 0.0)
    return (f if f > 0.0 else 0.0) - y * f + softplus(-abs(f), 0.0)[0], q - y, bell, bell


@_scalar
def poisson(f, y, delta):
    """``e^f - y f`` and its derivatives, as (value, first, Gauss-Newton weight, second)."""
    rate = exponential(f)
    return rate - y * f, rate - y, rate, rate


@_scalar
def poisson_softplus(f, y, delta):
    """``q - y log q`` of q = softplus(f) and its derivatives, as (value, first, Gauss-Newton weight, second)."""
    rate, first, second = softplus(f, 0.0)
    far = f < -30.0
    log_rate = f if far else logarithm(rate)
    ratio = 1.0 if far else first / rate
    e = exp_negative(-abs(f))
    # For f < 0 ratio and sigmoid(-f) nearly cancel; with e = e^f their difference is (e - log(1 + e)) / ((1 + e) q).
    fall = 0.5 * e if far else (log1p_gap(e) if f < 0.0 else 1.0 - e * rate) / ((1.0 + e) * rate)
    bend = second + y * ratio * fall
    return rate - y * log_rate, first - y * ratio, first * ratio, bend


@_scalar
def linear(f, y, delta):
    """``y f`` and its derivatives, as (value, first, Gauss-Newton weight, second)."""
    return y * f, y, 1.0, 0.0


@njit(inline="always")
def _jet(code, f, y, delta):
    """(value, first, Gauss-Newton weight, second) of one loss; ``code`` is a constant wherever this is inlined."""
    if code == HUBER:
        return huber(f, y, delta)
    elif code == LOGISTIC:
        return logistic(f, y, delta)
    elif code == POISSON:
        return poisson(f, y, delta)
    elif code == LINEAR:
        return linear(f, y, delta)
    return poisson_softplus(f, y, delta)


@njit(inline="always")
def _each(code, delta, bent, y, f, e, h):
    """f = l, e = l', h = the second derivative or the weight, for a ``code`` that is a constant here as well."""
    for i in range(f.size):
        f[i], e[i], weight, second = _jet(code, f[i], y[i], delta)
        h[i] = second if bent else (_LEAST if weight < _LEAST else weight)


@jit
def _by_code(op, bent, y, f, e, h):
    if op.loss == HUBER:
        _each(HUBER, op.delta, bent, y, f, e, h)
    elif op.loss == LOGISTIC:
        _each(LOGISTIC, op.delta, bent, y, f, e, h)
    elif op.loss == POISSON:
        _each(POISSON, op.delta, bent, y, f, e, h)
    elif op.loss == POISSON_SOFTPLUS:
        _each(POISSON_SOFTPLUS, op.delta, bent, y, f, e, h)
    elif op.loss == LINEAR:
        _each(LINEAR, op.delta, bent, y, f, e, h)


@jit
def _softmax(m, rows, work):
    """f = p, e = p - y and h = p, kept from zero; t = the losses of rows."""
    t, norm = lane(work, work.t, rows), lane(work, work.r, rows)
    copy(lane(work, work.f, rows), t)
    for o in range(1, m):
        f = lane(work, work.f + o, rows)
        for i in range(rows):
            t[i] = f[i] if f[i] > t[i] else t[i]
    for o in range(m):
        add(-1.0, t, lane(work, work.f + o, rows))
    fill(0.0, norm)
    fill(0.0, t)
    for o in range(m):
        f = lane(work, work.f + o, rows)
        add_scaled(-1.0, lane(work, work.y + o, rows), f, t)
        for i in range(rows):
            f[i] = exp_negative(f[i])
            norm[i] += f[i]
    for i in range(rows):
        t[i] += logarithm(norm[i])
    for o in range(m):
        f, e, h = lane(work, work.f + o, rows), lane(work, work.e + o, rows), lane(work, work.h + o, rows)
        for i in range(rows):
            f[i] /= norm[i]
            h[i] = _LEAST if f[i] < _LEAST else f[i]
        copy(f, e)
        add(-1.0, lane(work, work.y + o, rows), e)


@jit
def residual(o, rows, w, work):
    """r = f - y and e = w r; a w of size 0 stands for ones."""
    r, e = lane(work, work.r + o, rows), lane(work, work.e + o, rows)
    copy(lane(work, work.f + o, rows), r)
    add(-1.0, lane(work, work.y + o, rows), r)
    if w.size:
        scaled(1.0, w, r, e)
    else:
        copy(r, e)


@jit
def score(op, rows, w, work, s, at, bent, divide):
    """e = w l' and h = w l'' of each output, primes by f, or with Gauss-Newton's weight in place of l'' unless `bent`.

    Adds the sum of w l to s[at], unless `at` is negative; fills r = l' / l'' if it is asked to `divide`.  Of softmax f
    is then the shares.  Of the squared loss r is there always and h never: see `weights`.
    """
    t = lane(work, work.t, rows)
    if op.loss == SQUARED:
        for o in range(op.outputs):
            residual(o, rows, w, work)
            if at >= 0:
                s[at] += 0.5 * dot(lane(work, work.e + o, rows), lane(work, work.r + o, rows))
        return
    if op.loss == SOFTMAX:
        _softmax(op.outputs, rows, work)
    else:
        fill(0.0, t)
        for o in range(op.outputs):
            y, f = lane(work, work.y + o, rows), lane(work, work.f + o, rows)
            _by_code(op, bent, y, f, lane(work, work.e + o, rows), lane(work, work.h + o, rows))
            add(1.0, f, t)
    if at >= 0:
        s[at] += dot(w, t) if w.size else total(t)
    for o in range(op.outputs):
        e, h = lane(work, work.e + o, rows), lane(work, work.h + o, rows)
        if divide:
            r = lane(work, work.r + o, rows)
            for i in range(rows):
                r[i] = e[i] / h[i]
        if w.size:
            scaled(1.0, w, e, e)
            scaled(1.0, w, h, h)


@jit
def weights(op, o, rows, w, work):
    """w l'' of one output after `score`; an array of size 0 stands for ones."""
    if op.loss == SQUARED or op.loss == CROSS_ENTROPY:
        return w
    return lane(work, work.h + o, rows)


@jit
def curve(op, rows, w, work):
    """r = what a change r of the outputs makes of e, in the place of it."""
    t = lane(work, work.t, rows)
    if op.loss == SOFTMAX:  # by the shares themselves: h is kept from zero
        fill(0.0, t)
        for o in range(op.outputs):
            add_scaled(1.0, lane(work, work.f + o, rows), lane(work, work.r + o, rows), t)
    for o in range(op.outputs):
        r, h = lane(work, work.r + o, rows), weights(op, o, rows, w, work)
        if op.loss == SOFTMAX:
            f = lane(work, work.f + o, rows)
            for i in range(rows):
                r[i] = f[i] * (r[i] - t[i])
            h = w
        if h.size:
            scaled(1.0, h, r, r)


@jit
def _tilt(z, k, ld, t, low):
    """The row's t; `low` is scratch."""
    rows = t.size
    copy(line(z, 0, rows, ld), t)
    copy(t, low)
    for j in range(1, k):
        zj = line(z, j, rows, ld)
        for i in range(rows):
            t[i] = zj[i] if zj[i] > t[i] else t[i]
            low[i] = zj[i] if zj[i] < low[i] else low[i]
    for i in range(rows):
        t[i] = -t[i] if t[i] < 0.0 else (-low[i] if low[i] > 0.0 else 0.0)


@jit
def _unit(z, t, decay, p, q, s1, s0):
    """p and ``q = sigma(|z|)`` of one unit; s1, s0 += sigma(z), sigma(-z), each scaled by its largest term.

    Few arrays a loop: beyond that the compiler gives up proving that they are apart, and vectors with it.
    """
    for i in range(z.size):
        p[i] = exp_negative(abs(t[i]) - abs(z[i]))
    for i in range(z.size):
        q[i] = 1.0 / (1.0 + p[i] * decay[i])
    for i in range(z.size):
        small = p[i] * q[i]
        s1[i] += small if z[i] < 0.0 else q[i]
        s0[i] += q[i] if z[i] < 0.0 else small
    for i in range(z.size):
        p[i] *= q[i] * q[i]


@jit
def _losses(t, s1, s0, y, log_k, out):
    for i in range(out.size):
        log_h = min(-t[i], 0.0) + math.log(s1[i]) - log_k
        log_not = min(t[i], 0.0) + math.log(s0[i]) - log_k
        out[i] = (y[i] - 1.0) * log_not - y[i] * log_h


@jit
def _slopes(t, decay, s1, s0):
    """s1, s0 = a, b: ``d log H / d z_j = a p_j`` and ``-d log(1 - H) / d z_j = b p_j``."""
    for i in range(t.size):
        s1[i] = (decay[i] if t[i] < 0.0 else 1.0) / s1[i]
        s0[i] = (decay[i] if t[i] > 0.0 else 1.0) / s0[i]


@jit
def _pull(a, b, y, w, out):
    """out_i p_j = dl / dz_j, weighted."""
    for i in range(out.size):
        out[i] = (1.0 - y[i]) * b[i] - y[i] * a[i]
    if w.size:
        scaled(1.0, w, out, out)


@jit
def _bend(a, b, y, w, newton, out):
    """Scale of ``p_j sum_l p_l dz_l``: Fisher information a b, or the Hessian's first part."""
    if not newton:
        scaled(1.0, a, b, out)
    else:
        for i in range(out.size):
            out[i] = y[i] * a[i] * a[i] + (1.0 - y[i]) * b[i] * b[i]
    if w.size:
        scaled(1.0, w, out, out)


@jit
def _curvature(op, z, rows, y, w, work):
    k, ld = op.k, work.ld
    a, b = lane(work, work.r, rows), lane(work, work.f, rows)
    pull, bend = lane(work, work.e, rows), lane(work, work.t, rows)
    _pull(a, b, y, w, pull)
    _bend(a, b, y, w, op.newton, bend)
    fill(0.0, a)
    for j in range(k):
        add_scaled(1.0, lane(work, work.d1 + j, rows), line(z, k + j, rows, ld), a)
    scaled(1.0, bend, a, bend)
    for j in range(k):
        p, g, zj = lane(work, work.d1 + j, rows), lane(work, work.g + j, rows), line(z, j, rows, ld)
        copy(bend, g)
        if op.newton:
            q, step = lane(work, work.u + j, rows), line(z, k + j, rows, ld)
            for i in range(rows):
                bow = 2.0 * q[i] - 1.0
                g[i] += pull[i] * step[i] * (bow if zj[i] < 0.0 else -bow)
        scaled(1.0, p, g, g)


@jit
def _gram_scale(t, s1, s0, y, r, scale):
    """``scale p_j``: square root of the information; r = (1 - y) / rho - y rho with rho^2 = (1 - H) / H."""
    for i in range(t.size):
        half = math.exp(-0.5 * min(abs(t[i]), 700.0))  # whose square is a normal number: rho is never 0 or infinite
        scale[i] = half / math.sqrt(s1[i] * s0[i])
        ratio = math.sqrt(s0[i] / s1[i])
        rho = ratio * half if t[i] < 0.0 else ratio / half
        r[i] = (1.0 - y[i]) / rho - y[i] * rho


@jit
def cross_entropy(op, rep, rows, w, work, s, at, curvature, gram):
    """Add the loss of set `rep` to s[at] and fill g, or for the Gram matrix d1 (Jacobian by unit) and r."""
    k, ld, y = op.k, work.ld, lane(work, work.y, rows)
    z = work.lanes[(work.z + rep * k) * ld :]
    t, decay = lane(work, work.t, rows), lane(work, work.e, rows)
    s1, s0 = lane(work, work.r, rows), lane(work, work.f, rows)
    _tilt(z, k, ld, t, decay)
    for i in range(rows):
        decay[i] = exp_negative(-abs(t[i]))
    fill(0.0, s1)
    fill(0.0, s0)
    for j in range(k):
        p, q = lane(work, work.d1 + j, rows), lane(work, work.u + j, rows)
        _unit(line(z, j, rows, ld), t, decay, p, q, s1, s0)
    if not curvature:
        loss = lane(work, work.d2, rows)
        _losses(t, s1, s0, y, math.log(k), loss)
        s[at] += dot(w, loss) if w.size else total(loss)
    if gram:
        _gram_scale(t, s1, s0, y, s1, decay)
        for j in range(k):
            p = lane(work, work.d1 + j, rows)
            scaled(1.0, decay, p, p)
        return
    if not (curvature or op.grad):
        return
    _slopes(t, decay, s1, s0)
    if curvature:
        _curvature(op, z, rows, y, w, work)
        return
    _pull(s1, s0, y, w, decay)
    for j in range(k):
        scaled(1.0, decay, lane(work, work.d1 + j, rows), lane(work, work.g + rep * k + j, rows))
