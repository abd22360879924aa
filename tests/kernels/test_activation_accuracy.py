"""Every activation and its two derivatives against mpmath, to 4 units in the last place.

The arguments run over the whole double range, because each formula has its own place to fail: cancellation
near zero, the change of formula inside, underflow of the tails, and infinities.
"""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest

from fastrecover import kernels
from fastrecover.activations import get_activation
from fastrecover.kernels import Op, RowFunction

NAMES = ["relu", "abs", "leaky_relu", "squared_relu", "quadratic", "sigmoid", "tanh", "erf", "softplus"]
BACKENDS = ["compiled", "numba"]
SLOPE = 0.1
TOLERANCE = 4.0
ORACLE = mpmath.MPContext()
ORACLE.prec = 160


def arguments() -> np.ndarray:
    """Finite arguments: all binades, both signs, and denser where the formulas are delicate."""
    rng = np.random.default_rng(20240611)
    binades = np.ldexp(rng.uniform(1.0, 2.0, 2098), np.arange(-1074, 1024))
    binades *= np.where(rng.random(binades.size) < 0.5, -1.0, 1.0)
    spans = [(1.0, 500), (3.0, 400), (7.0, 400), (40.0, 700)]
    dense = [rng.uniform(-width, width, count) for width, count in spans]
    # e^-z, e^-2z and e^(-z^2) leave the normal range
    tails = [(690.0, 760.0, 300), (345.0, 380.0, 200), (26.3, 27.5, 200)]
    dense += [rng.uniform(low, high, count) * rng.choice([-1.0, 1.0], count) for low, high, count in tails]
    edges = [5e-324, 2.0**-1022, 1.0, np.nextafter(1.0, 0.0), 6.0, 745.1, 745.2, np.finfo(float).max]
    edges = np.array(edges)
    return np.concatenate([binades, *dense, edges, -edges, [0.0]])


def exact(name: str, z: float) -> tuple:
    """Value, first and second derivative in 160 bits; arguments beyond all tails are cut to 2000."""
    ctx = ORACLE
    x = ctx.mpf(z)
    if name == "relu":
        return max(x, 0), int(x > 0), 0
    if name == "leaky_relu":
        return (x, 1, 0) if x > 0 else (ctx.mpf(SLOPE) * x, ctx.mpf(SLOPE), 0)
    if name == "abs":
        return abs(x), 1 if x > 0 else -1, 0
    if name == "squared_relu":
        return max(x, 0) ** 2, 2 * max(x, 0), 2 * int(x > 0)
    if name == "quadratic":
        return x * x, 2 * x, 2
    cut = max(min(x, ctx.mpf(2000)), ctx.mpf(-2000))
    if name == "tanh":
        bell = ctx.sech(cut) ** 2
        return ctx.tanh(cut), bell, -2 * ctx.tanh(cut) * bell
    if name == "erf":
        bell = 2 / ctx.sqrt(ctx.pi) * ctx.exp(-cut * cut)
        return (ctx.erf(cut) if abs(cut) < 30 else ctx.sign(cut)), bell, -2 * cut * bell
    logistic, bell = 1 / (1 + ctx.exp(-cut)), ctx.sech(cut / 2) ** 2 / 4
    if name == "sigmoid":
        return logistic, bell, -bell * ctx.tanh(cut / 2)
    return max(x, 0) + ctx.log1p(ctx.exp(-abs(cut))), logistic, bell


def spacing(x: np.ndarray) -> np.ndarray:
    """Unit in the last place of finite doubles, down to that of subnormal ones."""
    exponent = np.where(x == 0.0, -1074, np.frexp(x)[1] - 53)
    return np.ldexp(1.0, np.maximum(exponent, -1074))


@cache
def oracle(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arguments, nearest doubles (3, n), and what those fall short of the exact values, in ulp (3, n)."""
    z = arguments()
    values = [[ORACLE.mpf(value) for value in exact(name, argument)] for argument in z]
    nearest = np.array(values, dtype=float).T
    finite = np.where(np.isfinite(nearest), nearest, 0.0)
    ulp = spacing(finite)
    rest = np.zeros_like(finite)
    for k, i in np.argwhere(np.isfinite(nearest)):
        rest[k, i] = (values[i][k] - ORACLE.mpf(finite[k, i])) / ORACLE.mpf(ulp[k, i])
    return z, nearest, rest


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_within_four_ulp(name, backend):
    z, nearest, rest = oracle(name)
    results = kernels.activate(name, z, slope=SLOPE, backend=backend)
    whats = ("value", "first", "second")
    for what, result, target, fraction in zip(whats, results, nearest, rest, strict=True):
        overflow = np.isinf(target)
        np.testing.assert_array_equal(result[overflow], target[overflow])
        finite = ~overflow
        error = np.abs((result[finite] - target[finite]) / spacing(target[finite]) - fraction[finite])
        worst = int(np.argmax(error))
        assert error[worst] <= TOLERANCE, f"{name} {what}: {error[worst]:.3g} ulp at {z[finite][worst]!r}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("relu", (0, 0, 0), (np.inf, 1, 0)),
        ("abs", (np.inf, -1, 0), (np.inf, 1, 0)),
        ("leaky_relu", (-np.inf, SLOPE, 0), (np.inf, 1, 0)),
        ("squared_relu", (0, 0, 0), (np.inf, np.inf, 2)),
        ("quadratic", (np.inf, -np.inf, 2), (np.inf, np.inf, 2)),
        ("sigmoid", (0, 0, 0), (1, 0, 0)),
        ("tanh", (-1, 0, 0), (1, 0, 0)),
        ("erf", (-1, 0, 0), (1, 0, 0)),
        ("softplus", (0, 0, 0), (np.inf, 1, 0)),
    ],
)
def test_limits_and_nan(name, below, above, backend):
    # long enough that vector lanes and the loop's remainder both see them
    z = np.tile([-np.inf, np.inf, np.nan], 19)
    results = kernels.activate(name, z, slope=SLOPE, backend=backend)
    for result, low, high in zip(results, below, above, strict=True):
        np.testing.assert_array_equal(result, np.tile([low, high, np.nan], 19))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", (0, 0, 0)),
        ("abs", (0, -1, 0)),
        ("leaky_relu", (0, SLOPE, 0)),
        ("squared_relu", (0, 0, 0)),
        ("quadratic", (0, 0, 2)),
        ("sigmoid", (0.5, 0.25, 0)),
        ("tanh", (0, 1, 0)),
        ("erf", (0, 2 / np.sqrt(np.pi), 0)),
        ("softplus", (np.log(2.0), 0.5, 0.25)),
    ],
)
def test_at_zero_of_either_sign(name, expected, backend):
    results = kernels.activate(name, np.array([0.0, -0.0]), slope=SLOPE, backend=backend)
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=4 * np.finfo(float).eps, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_keep_the_sign_of_zero(name, backend):
    value, _, _ = kernels.activate(name, np.array([0.0, -0.0]), slope=SLOPE, backend=backend)
    np.testing.assert_array_equal(np.signbit(value), [False, True])


@pytest.mark.parametrize("backend", BACKENDS)
def test_flat_leaky_relu_is_relu(backend):
    z = np.array([-np.inf, -1.0, 0.0, 2.0, np.inf])
    flat = kernels.activate("leaky_relu", z, slope=0.0, backend=backend)
    for ours, relu in zip(flat, kernels.activate("relu", z, slope=SLOPE, backend=backend), strict=True):
        np.testing.assert_array_equal(ours, relu)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_result_does_not_depend_on_position_or_length(name, backend):
    """Lanes of a vector and the remainder of the loop agree, and any shape of z will do."""
    z = np.random.default_rng(5).normal(size=(7, 33)) * 3.0
    whole = kernels.activate(name, z, slope=SLOPE, backend=backend)
    for length in (1, 3, 13):
        part = kernels.activate(name, z[2, :length].copy(), slope=SLOPE, backend=backend)
        for ours, reference in zip(part, whole, strict=True):
            assert reference.shape == z.shape
            np.testing.assert_allclose(ours, reference[2, :length], rtol=4 * np.finfo(float).eps, atol=0)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("name", NAMES)
def test_sweeps_are_finite_as_far_as_squares_of_squares_are(backend, name):
    activation = get_activation(name)
    grows = activation.degree == 2
    for far in (1e4, 1e6, 1e50) if grows else (1e4, 1e6, 1e50, 1e74, 1e100):
        z = far * np.array([[1, 1e-9], [-1, 1], [1, -1], [-1, -1], [1e-9, 1]])
        x = np.concatenate([z, np.ones((5, 1))], axis=1)
        model = dict(k=2, v=np.array([[1.0, 0.5]]), c=np.zeros(1))
        step = dict(dv=np.array([0.5, 0.25]), dc=0.125)
        for row in (
            RowFunction(Op.LOSS, activation, grad=True, **model),
            RowFunction(Op.CURVATURE, activation, **model, **step),
            RowFunction(Op.CURVATURE, activation, newton=True, **model, **step),
            RowFunction(Op.GRAM, activation, free_v=True, free_c=True, **model),
        ):
            p = np.concatenate([np.eye(2, 3), [[0, 0, 0.5], [0, 0, -0.25]]])[: row.columns]
            a, s = kernels.sweep(x, np.zeros(5), None, p, row, 0, 1, blocks=(8, 16), backend=backend)
            assert np.isfinite(a).all(), (far, row.op)
            assert np.isfinite(s).all(), (far, row.op)
    # Where the square of the output overflows, the loss is infinite, and no nan is mistaken for a number.
    with np.errstate(over="ignore"):
        x = np.array([[1e155, 1e155], [1e155, -1e155]])
        row = RowFunction(Op.LOSS, activation, **model)
        s = kernels.sweep(x, np.zeros(2), None, np.eye(2), row, 0, 1, blocks=(8, 16), backend=backend)[1]
    assert np.isfinite(s[1]) if name in ("sigmoid", "tanh", "erf") else s[1] == np.inf
