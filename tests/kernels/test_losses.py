"""Losses of the output in 50 digits: values, slopes and both curvatures, where outputs and responses are extreme.

The oracle writes each loss down and differentiates it by series, knowing nothing of the closed forms of the kernels.
Its value and derivatives are compared at every point by itself: the model is the identity, ``f = c + b . x``, so that
the sums of a row show them.  An error counts against the size of the terms that the definition adds up.
"""

from __future__ import annotations

import math
from functools import cache, partial

import mpmath
import numpy as np
import pytest

from fastrecover import kernels
from fastrecover.kernels import Op, RowFunction

DIGITS, EPS = 50, 2e-13
HUBER, LOGISTIC, SOFTMAX, POISSON, POISSON_SOFTPLUS = 2, 3, 4, 5, 6
LEAST = 1e-30  # what a curvature of Gauss-Newton is raised to
COPIES = 5  # of every point, so that it passes through lanes of vectors and what is left of them

OUTPUTS = (0.0, 0.5, 1.0, 3.0, 17.0, 29.9, 30.1, 36.5, 300.0, 709.0, 709.7, 709.8, 1e3, 1e5)
OUTPUTS += tuple(-f for f in OUTPUTS) + (1e-9, -1e-9, 1e-300, 1e300, -1e300, 0.541324854612918, -744.4, -708.5)
COUNTS = (0.0, 1.0, 7.0, 1e6, 1e12)
POINTS = {
    LOGISTIC: [(f, y) for f in OUTPUTS for y in (0.0, 1.0, 0.25)],
    POISSON: [(f, y) for f in OUTPUTS for y in COUNTS],
    POISSON_SOFTPLUS: [(f, y) for f in OUTPUTS for y in COUNTS],
    HUBER: [(f, y) for f in (0.0, 0.5, -0.5, 3.0, 1e3, -1e3, 1e300) for y in (0.0, 0.5, -1.0, 0.5 + 2.0**-50, 1e12)],
}


def softplus(f):
    return mpmath.log1p(mpmath.exp(f))


def sigmoid(f):
    return 1 / (1 + mpmath.exp(-f))


def logistic(f, y):
    return softplus(f), -y * f


def poisson(f, y):
    return mpmath.exp(f), -y * f


def poisson_softplus(f, y):
    mean = softplus(f)
    return mean, -y * mpmath.log(mean)


def huber(f, y, delta=0.5):
    r = abs(f - y)
    return (r * r / 2 if r <= delta else delta * r - delta * delta / 2,)


#: The terms of a loss, and the curvature of Gauss-Newton (that of Fisher; of Huber the weight of a step).
TERMS = {
    LOGISTIC: (logistic, lambda f, y: sigmoid(f) * sigmoid(-f)),
    POISSON: (poisson, lambda f, y: mpmath.exp(f)),
    POISSON_SOFTPLUS: (poisson_softplus, lambda f, y: sigmoid(f) ** 2 / softplus(f)),
    HUBER: (huber, lambda f, y: mpmath.mpf(0.5) / max(abs(f - y), mpmath.mpf(0.5))),
}


@cache
def exact(code, f, y):
    """(value, slope, weight, second derivative), each with the size of its terms."""
    terms, weight = TERMS[code]
    with mpmath.workdps(DIGITS + int(abs(math.log10(abs(f) + 1e-320)) + min(abs(f), 1e3))):
        f, y = mpmath.mpf(f), mpmath.mpf(y)
        if code == HUBER:  # has no series at its joints
            delta, r = mpmath.mpf(0.5), f - y
            inside = abs(r) <= delta
            parts = terms(f, y), (r if inside else mpmath.sign(r) * delta,), (mpmath.mpf(bool(inside)),)
        elif abs(f) > 1e4:  # the limits; series take forever
            parts = _far(code, f, y)
        else:
            each = [partial(lambda at, i: terms(at, y)[i], i=i) for i in range(len(terms(f, y)))]
            parts = terms(f, y), *([mpmath.diff(g, f, n) for g in each] for n in (1, 2))
        rows = [(mpmath.fsum(part), mpmath.fsum(map(abs, part))) for part in parts]
        if code == POISSON_SOFTPLUS:  # a mean near 1 is rounded as 1 is, and so is its logarithm
            rows[0] = rows[0][0], rows[0][1] + y
        h = _far_weight(code, f) if abs(f) > 1e4 and code != HUBER else weight(f, y)
        rows.insert(2, (max(h, mpmath.mpf(LEAST)),) * 2)
        return tuple((float(value), float(size)) for value, size in rows)


def _far(code, f, y):
    up, exp = f > 0, mpmath.inf if f > 0 else mpmath.mpf(0)
    if code == LOGISTIC:
        return (max(f, 0), -y * f), (mpmath.mpf(up), -y), (mpmath.mpf(0),)
    if code == POISSON:
        return (exp, -y * f), (exp, -y), (exp,)
    return (max(f, 0), -y * (mpmath.log(f) if up else f)), (mpmath.mpf(up), -y / f if up else -y), (y / f**2 * up,)


def _far_weight(code, f):
    up = f > 0
    return {LOGISTIC: mpmath.mpf(0), POISSON: mpmath.inf if up else mpmath.mpf(0), POISSON_SOFTPLUS: up / abs(f)}[code]


def sums(backend, op, loss, f, y, w=None, **more):
    """Sums over copies of one row with outputs f, which are rows of P times x = 1."""
    f, y = np.atleast_1d(f), np.atleast_1d(y)
    m = len(f)
    p = np.concatenate([f[:, None]] + [np.zeros((m, 1))] * (op == Op.CURVATURE))
    row = RowFunction(
        op, loss=loss, linear=m, outputs=m, v=np.zeros((1, 0)), c=np.zeros((1, m)), delta=0.5, free_w=False, **more
    )
    x, y = np.ones((COPIES, 1)), np.tile(y, (COPIES, 1))
    weights = None if w is None else np.full(COPIES, w)
    a, s = kernels.sweep(x, y, weights, p, row, 0, 1, blocks=(8, 8), backend=backend)
    scale = COPIES * (1.0 if w is None else w)
    return a / scale, s / scale


def assert_near(mine, value, size, what):
    """Within EPS of the size of the terms, or subnormal; what is infinite may be a nan, but nothing finite.

    The sum over copies may be infinite where no term is.
    """
    if not np.isfinite(value):
        assert not np.isfinite(mine), what
    elif np.isfinite(mine) or size < np.finfo(float).max / (4 * COPIES):
        assert abs(mine - value) <= EPS * size + 1e-307, f"{what}: {mine!r} in place of {value!r}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("weight", [None, 2.5])
@pytest.mark.parametrize("loss", POINTS)
def test_scalar_losses_equal_the_exact_ones(backend, loss, weight):
    for f, y in POINTS[loss]:
        value, slope, curvature, second = exact(loss, f, y)
        at = f"loss {loss} at f={f!r} y={y!r}"
        call = partial(sums, backend, loss=loss, f=f, y=y, w=weight)
        assert_near(call(Op.LOSS)[1][1], *value, f"value of {at}")
        a, s = call(Op.LOSS, grad=True)
        assert_near(s[1], *value, f"value of {at}")
        assert_near(a[0, 0], *slope, f"slope of {at}")
        for newton, expected in ((False, curvature), (True, second)):
            a, s = call(Op.CURVATURE, dc=np.ones(1), newton=newton)
            assert_near(a[0, 0], *expected, f"{'second derivative' if newton else 'curvature'} of {at}")
            assert_near(s[1], *expected, f"{'second derivative' if newton else 'curvature'} of {at}")
        a, s = call(Op.GRAM, free_c=True)
        assert_near(s[1], *value, f"value of {at}")
        assert_near(a[0, 1], *curvature, f"matrix of {at}")
        if curvature[0] < 1e300:
            assert_near(a[1, 2], slope[0], slope[1], f"gradient of {at}")


LOGITS = [
    (0.0, 0.0, 0.0), (1.0, -2.0, 0.5), (1e3, -1e3, 0.0), (-1e3, -1e3, -1e3), (700.0, 710.0, 720.0), (40.0, 0.0, -40.0),
    (-745.0, 0.0, -745.5), (1e-9, 0.0, -1e-9), (1e300, 0.0, 1e300),
]  # fmt: skip
SHARES = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.25, 0.25, 0.5)]


@cache
def exact_softmax(f, y, step):
    """Value, slopes, products of the curvature with a step, and the curvature, each with the size of its terms."""
    with mpmath.workdps(700):
        f, y, step = ([mpmath.mpf(each) for each in row] for row in (f, y, step))
        top = max(f)
        e = [mpmath.exp(each - top) if each - top > -1e4 else mpmath.mpf(0) for each in f]
        p = [each / mpmath.fsum(e) for each in e]
        below = [-t * (each - top) for t, each in zip(y, f, strict=True)]
        log_sum = mpmath.log(mpmath.fsum(e))
        pairs = range(len(f))
        matrix = [[p[i] * ((i == j) - p[j]) for j in pairs] for i in pairs]
        sizes = [[p[i] * ((i == j) + p[j]) for j in pairs] for i in pairs]
        return [
            np.array(each, float)
            for each in (
                [log_sum + mpmath.fsum(below), 1 + log_sum + mpmath.fsum(map(abs, below))],  # of a sum, rounded as 1 is
                [[a - b for a, b in zip(p, y, strict=True)], [a + b for a, b in zip(p, y, strict=True)]],
                [[mpmath.fdot(row, step) for row in matrix], [mpmath.fdot(row, map(abs, step)) for row in sizes]],
                [matrix, sizes],
            )
        ]


@pytest.mark.parametrize("weight", [None, 2.5])
def test_softmax_equals_the_exact_one(backend, weight):
    step = (0.5, -2.0, 1.25)
    for f in LOGITS:
        for y in SHARES:
            value, slope, product, matrix = exact_softmax(f, y, step)
            at, m = f"f={f} y={y}", len(f)
            call = partial(sums, backend, loss=SOFTMAX, f=f, y=y, w=weight)
            a, s = call(Op.LOSS, grad=True)
            assert_near(s[1], *value, f"value at {at}")
            for o in range(m):
                assert_near(a[o, 0], slope[0][o], slope[1][o], f"slope {o} at {at}")
            for newton in (False, True):
                a, s = call(Op.CURVATURE, dc=np.array(step), newton=newton)
                for o in range(m):
                    assert_near(a[o, 0], product[0][o], product[1][o], f"product {o} at {at}")
                    assert_near(s[1 + o], product[0][o], product[1][o], f"product {o} at {at}")
            a, s = call(Op.GRAM, free_c=True)
            assert_near(s[1], *value, f"value at {at}")
            for o in range(m):
                assert_near(a[m + o, 2 * m], slope[0][o], slope[1][o] + 1e-3 * LEAST, f"gradient {o} at {at}")
                for q in range(o, m):
                    for i, j in ((o, q), (o, m + q), (m + o, m + q)):
                        assert_near(a[i, j], matrix[0][o, q], matrix[1].max(), f"matrix {o} {q} at {at}")


@pytest.mark.parametrize("loss", [HUBER, LOGISTIC, SOFTMAX, POISSON, POISSON_SOFTPLUS])
def test_an_output_that_is_no_number_gives_no_loss(backend, loss):
    m = 3 if loss == SOFTMAX else 1
    with np.errstate(all="ignore"):
        for op, more in ((Op.LOSS, {}), (Op.LOSS, {"grad": True}), (Op.GRAM, {"free_c": True})):
            f = np.zeros(m)
            f[-1] = np.nan
            assert np.isnan(sums(backend, op, loss, f, np.full(m, 1.0 / m), **more)[1][1])
