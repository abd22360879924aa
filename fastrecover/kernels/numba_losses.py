"""Losses of the Numba backend, which mirror ``csrc/losses.h``.

One of the output f is a branch of `score`.  The cross entropy of ``H = mean_j sigma(z_j)`` is in log-sum form: every
sum is scaled by its largest term, so nothing over- or underflows and no H is clipped.  With -t the largest projection
where all are negative, the smallest where all are positive, else 0, each derivative is a number of the row times one of
the unit, ``p_j = sigma(z_j) sigma(-z_j) e^|t|``, which takes one exponential.
"""

from __future__ import annotations

import math

from .. import losses
from .numba_activations import exp_negative
from .numba_arrays import add, add_scaled, copy, dot, fill, jit, line, scaled, total

SQUARED, CROSS_ENTROPY = losses.SQUARED.code, losses.CROSS_ENTROPY.code
LOSSES = frozenset((SQUARED, CROSS_ENTROPY))


@jit
def residual(rows, y, w, work):
    """r = f - y and e = w r; arrays of size 0 stand for zeros and ones."""
    f, r, e = work.f[:rows], work.r[:rows], work.e[:rows]
    copy(f, r)
    if y.size:
        add(-1.0, y, r)
    if w.size:
        scaled(1.0, w, r, e)
    else:
        copy(r, e)


@jit
def score(op, rows, y, w, work, s, at):
    """e = w l' and r = l' / l'', primes by f; adds the sum of w l to s[at], unless `at` is negative.

    Returns w l'', the weights of rows in the Gauss-Newton matrix; an array of size 0 stands for ones.
    """
    if op.loss == SQUARED:
        residual(rows, y, w, work)
        if at >= 0:
            s[at] += 0.5 * dot(work.e[:rows], work.r[:rows])
    return w


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
        out[i] = (y[i] - 1.0) * log_not - y[i] * log_h if y.size else -log_not


@jit
def _slopes(t, decay, s1, s0):
    """s1, s0 = a, b: ``d log H / d z_j = a p_j`` and ``-d log(1 - H) / d z_j = b p_j``."""
    for i in range(t.size):
        s1[i] = (decay[i] if t[i] < 0.0 else 1.0) / s1[i]
        s0[i] = (decay[i] if t[i] > 0.0 else 1.0) / s0[i]


@jit
def _pull(a, b, y, w, out):
    """out_i p_j = dl / dz_j, weighted."""
    if y.size:
        for i in range(out.size):
            out[i] = (1.0 - y[i]) * b[i] - y[i] * a[i]
    else:
        copy(b, out)
    if w.size:
        scaled(1.0, w, out, out)


@jit
def _bend(a, b, y, w, newton, out):
    """Scale of ``p_j sum_l p_l dz_l``: Fisher information a b, or the Hessian's first part."""
    if not newton:
        scaled(1.0, a, b, out)
    elif y.size:
        for i in range(out.size):
            out[i] = y[i] * a[i] * a[i] + (1.0 - y[i]) * b[i] * b[i]
    else:
        scaled(1.0, b, b, out)
    if w.size:
        scaled(1.0, w, out, out)


@jit
def _curvature(op, z, rows, y, w, work):
    k, ld = op.k, work.ld
    a, b, pull, bend = work.r[:rows], work.f[:rows], work.e[:rows], work.t[:rows]
    _pull(a, b, y, w, pull)
    _bend(a, b, y, w, op.newton, bend)
    fill(0.0, a)
    for j in range(k):
        add_scaled(1.0, line(work.d1, j, rows, ld), line(z, k + j, rows, ld), a)
    scaled(1.0, bend, a, bend)
    for j in range(k):
        p, g, zj = line(work.d1, j, rows, ld), line(work.g, j, rows, ld), line(z, j, rows, ld)
        copy(bend, g)
        if op.newton:
            q, step = line(work.u, j, rows, ld), line(z, k + j, rows, ld)
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
        r[i] = (1.0 - y[i]) / rho - y[i] * rho if y.size else 1.0 / rho


@jit
def cross_entropy(op, rep, rows, y, w, work, s, curvature, gram):
    """Add the loss of set `rep` to s and fill g, or for the Gram matrix d1 (Jacobian by unit) and r."""
    k, ld = op.k, work.ld
    z = work.z[rep * k * ld :]
    t, s1, s0, decay = work.t[:rows], work.r[:rows], work.f[:rows], work.e[:rows]
    _tilt(z, k, ld, t, decay)
    for i in range(rows):
        decay[i] = exp_negative(-abs(t[i]))
    fill(0.0, s1)
    fill(0.0, s0)
    for j in range(k):
        p, q = line(work.d1, j, rows, ld), line(work.u, j, rows, ld)
        _unit(line(z, j, rows, ld), t, decay, p, q, s1, s0)
    if not curvature:
        loss = work.d2[:rows]
        _losses(t, s1, s0, y, math.log(k), loss)
        s[1 + rep * (k + 2)] += dot(w, loss) if w.size else total(loss)
    if gram:
        _gram_scale(t, s1, s0, y, s1, decay)
        for j in range(k):
            p = line(work.d1, j, rows, ld)
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
        scaled(1.0, decay, line(work.d1, j, rows, ld), line(work.g, rep * k + j, rows, ld))
