"""Cross entropy of a mean of sigmoids in 60 digits, where H is within 1e-300 of 0 or 1 and beyond.

The oracle differentiates H itself, not its logarithms as the kernels do.  Rows carry their projections and an
identity next to them, so that the back-projected sums show the coefficient of every unit at every row.
"""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest

from fastrecover import kernels
from fastrecover.activations import get_activation
from fastrecover.kernels import Op, RowFunction
from fastrecover.losses import CROSS_ENTROPY

DIGITS = 60
ONE = [[z] for z in (-800.0, -690.0, -37.5, -1.25, 0.0, 0.5, 38.0, 690.0, 800.0)]
THREE = [
    [-800, -800, -799], [-691, -690, -700], [-800, -2, -800], [800, -800, 0.5], [800, 799, 801],
    [690, 692, 690], [800, 3, 40], [-0.25, 0.5, 1.5], [0, 0, 0], [-745, 1, -745],
]  # fmt: skip
#: Projections whose probability, and its root, are far below the least double.
FAR_ONE = [[sign * z] for z in (700.0, 1480.0, 1500.0, 1e4, 1e6, 1e100, 1e300) for sign in (1, -1)]
FAR_THREE = [
    [-1500, -1490, -1600], [1480, 1500, 1480.5], [1e4, 1e4 + 1, 2e4], [-1e4, -1e6, -1e4], [1e6, -1e6, 0],
    [-1e6, -1e6, -1e6 - 1], [1e100, 1e100, 1500], [-1e100, -1500, -1e100], [-1e300, 1, 1e300], [-1e300, -1e300, -1e300],
    [1e300, 1e300, 1e300],
]  # fmt: skip
RESPONSES = (0.0, 1.0, 0.5, 0.125, 1.0 - 2.0**-40)


def exact(z, step, y):
    """Loss, its gradient in z, and Fisher and Hessian products with `step`, as floats."""
    return _exact(tuple(z), tuple(step), float(y))


@cache
def _exact(z, step, y):
    with mpmath.workdps(DIGITS):
        z, step, y = [mpmath.mpf(each) for each in z], [mpmath.mpf(each) for each in step], mpmath.mpf(y)
        k = len(z)
        sigma = [1 / (1 + mpmath.exp(-each)) for each in z]
        other = [1 / (1 + mpmath.exp(each)) for each in z]
        h, rest = mpmath.fsum(sigma) / k, mpmath.fsum(other) / k
        first = [s * o / k for s, o in zip(sigma, other, strict=True)]
        second = [s * o * (o - s) / k for s, o in zip(sigma, other, strict=True)]
        turn = mpmath.fdot(first, step)
        slope, bend = (1 - y) / rest - y / h, (1 - y) / rest**2 + y / h**2
        loss = -y * mpmath.log(h) - (1 - y) * mpmath.log(rest)
        gradient = [slope * each for each in first]
        fisher = [each * turn / (h * rest) for each in first]
        hessian = [bend * a * turn + slope * b * c for a, b, c in zip(first, second, step, strict=True)]
        return float(loss), *(np.array([float(g) for g in each]) for each in (gradient, fisher, hessian))


def cases(k, far=False):
    """Projections, directions and responses: every row of the table with every response."""
    table = np.array({(1, False): ONE, (3, False): THREE, (1, True): FAR_ONE, (3, True): FAR_THREE}[k, far], float)
    z, y = np.repeat(table, len(RESPONSES), 0), np.tile(RESPONSES, len(table))
    return z, np.random.default_rng(0).integers(-8, 9, z.shape) / 4 + 0.125, y


def row_function(op, k, **more):
    model = dict(v=np.full((1, k), 1 / k), dv=np.zeros(k), **more)
    return RowFunction(op, get_activation("sigmoid"), loss=CROSS_ENTROPY.code, k=k, **model)


def projected_sums(backend, row, z, step, y, w, dtype):
    """Sums over rows [z, step, 1 at the row's own place], projected to z and, for CURVATURE, step."""
    n, k = z.shape
    x = np.concatenate([z, step, np.eye(n)], 1).astype(dtype)
    p = np.eye(2 * k, x.shape[1])[: row.columns]
    return kernels.sweep(x, y, w, p, row, 0, -(-n // 16), blocks=(8, 16), backend=backend)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_gradient_and_curvature_equal_the_exact_ones(backend, dtype, k, weighted, far):
    z, step, y = cases(k, far)
    fits = (np.abs(z) < np.finfo(dtype).max).all(axis=1)
    z, step, y = z[fits].astype(dtype).astype(float), step[fits], y[fits]
    n = len(z)
    w = np.linspace(0.5, 2, n) if weighted else None
    factor = np.ones(n) if w is None else w
    loss, *expected = (np.array(each) for each in zip(*map(exact, z, step, y), strict=True))
    eps, floor = (1e-12, 1e-300) if dtype == np.float64 else (1e-6, 1e-37)
    # A difference of two terms is as accurate as the larger one.
    mixed = np.where((y == 0) | (y == 1), floor, 1e-14 if dtype == np.float64 else 1e-7)[:, None]
    rows = [
        (row_function(Op.LOSS, k, grad=True), mixed),
        (row_function(Op.CURVATURE, k), floor),
        (row_function(Op.CURVATURE, k, newton=True), 1e-13 if dtype == np.float64 else 1e-6),
    ]
    for (row, least), exactly in zip(rows, expected, strict=True):
        a, s = projected_sums(backend, row, z, step, y, w, dtype)
        mine, theirs = a[:, 2 * k :].T, factor[:, None] * exactly
        assert (np.abs(mine - theirs) <= eps * np.abs(theirs) + least).all(), row.op.name
        assert np.isfinite(a).all()
        if row.op == Op.LOSS:
            np.testing.assert_allclose(s[:2], [factor.sum(), factor @ loss], rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("far", [False, True])
def test_loss_of_every_single_row_equals_the_exact_one(backend, k, far):
    z, step, y = cases(k, far)
    row = row_function(Op.LOSS, k)
    for i in range(len(z)):
        s = projected_sums(backend, row, z[i : i + 1], step[i : i + 1], y[i : i + 1], None, np.float64)[1]
        np.testing.assert_allclose(s[1], exact(z[i], step[i], y[i])[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("far", [False, True])
def test_gram_matrix_holds_information_gradient_and_loss(backend, k, far):
    (z, step, y), weight = cases(k, far), 2.5
    for i in range(len(z)):
        loss, gradient, _, _ = exact(z[i], step[i], y[i])
        information = np.stack([exact(z[i], unit, y[i])[2] for unit in np.eye(k)])
        # The last feature of a row on its own is 1, so that feature's columns of J are the units' own.
        a, s = projected_sums(
            backend,
            row_function(Op.GRAM, k),
            z[i : i + 1],
            step[i : i + 1],
            y[i : i + 1],
            np.full(1, weight),
            np.float64,
        )
        units = np.arange(k) * (2 * k + 1) + 2 * k
        np.testing.assert_allclose(s / weight, [1.0, loss], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(a[units, -1] / weight, gradient, rtol=1e-12, atol=1e-14)
        upper = np.triu(a[np.ix_(units, units)]) / weight
        np.testing.assert_allclose(upper, np.triu(information), rtol=1e-12, atol=1e-300)
        assert not np.isnan(a).any()
