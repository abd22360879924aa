"""Loss, gradient and curvature against formulas written out in NumPy and against finite differences.

The oracle keeps the whole Jacobian in memory and knows nothing of sweeps, blocks or row functions.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, special

import fastrecover as fr
from fastrecover.models import Parameters, Regression

# value, first and second derivative
FORMULAS = {
    "relu": (lambda z: z * (z > 0), lambda z: 1.0 * (z > 0), lambda z: 0 * z),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.2 * z), lambda z: np.where(z > 0, 1, 0.2), lambda z: 0 * z),
    "squared_relu": (lambda z: z * z * (z > 0), lambda z: 2 * z * (z > 0), lambda z: 2.0 * (z > 0)),
    "quadratic": (lambda z: z * z, lambda z: 2 * z, lambda z: 2 + 0 * z),
    "sigmoid": (
        special.expit,
        lambda z: special.expit(z) * (1 - special.expit(z)),
        lambda z: special.expit(z) * (1 - special.expit(z)) * (1 - 2 * special.expit(z)),
    ),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)),
    "erf": (
        special.erf,
        lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z),
        lambda z: -4 / math.sqrt(math.pi) * z * np.exp(-z * z),
    ),
    "softplus": (
        lambda z: np.log(1 + np.exp(z)),
        special.expit,
        lambda z: special.expit(z) * (1 - special.expit(z)),
    ),
}
SMOOTH = ("quadratic", "sigmoid", "tanh", "erf", "softplus")
GIVEN = (0.7, -1.3, 2.0)
K, D = 3, 5


class Oracle:
    """Everything about one model at one theta, from the full Jacobian."""

    def __init__(self, model, x, y, w, theta):
        self.phi, self.d1, self.d2 = FORMULAS[model.activation.name]
        self.model, self.x = model, np.asarray(x, np.float64)
        k, d = model.n_hidden, x.shape[1]
        w = np.ones(len(y)) if w is None else w
        self.w = w / w.sum()
        rest = theta[k * d :]
        self.weights = theta[: k * d].reshape(k, d)
        self.v = np.ones(k) if model.output_weights == "ones" else np.array(GIVEN[:k])
        if model.free_v:
            self.v, rest = rest[:k], rest[k:]
        b = rest[:d] if model.linear_term else np.zeros(d)
        c = rest[-1] if model.fit_intercept else 0.0
        self.t = self.x @ self.weights.T
        self.f = self.phi(self.t) @ self.v + self.x @ b + c
        self.r = self.f - y

    @property
    def jacobian(self):
        parts = [self.v[j] * self.d1(self.t[:, j])[:, None] * self.x for j in range(len(self.v))]
        parts += [self.phi(self.t)] if self.model.free_v else []
        parts += [self.x] if self.model.linear_term else []
        parts += [np.ones((len(self.x), 1))] if self.model.fit_intercept else []
        return np.concatenate(parts, axis=1)

    @property
    def value(self):
        return 0.5 * self.w @ self.r**2

    @property
    def grad(self):
        return self.jacobian.T @ (self.w * self.r)

    @property
    def gauss_newton(self):
        return self.jacobian.T @ (self.w[:, None] * self.jacobian)

    @property
    def hessian(self):
        """Block by block as in section "squared loss": J'J and the residual times second derivatives."""
        h, d, k = self.gauss_newton, self.x.shape[1], len(self.v)
        e = self.w * self.r
        for j in range(k):
            rows = slice(j * d, (j + 1) * d)
            h[rows, rows] += self.x.T @ ((e * self.v[j] * self.d2(self.t[:, j]))[:, None] * self.x)
            if self.model.free_v:
                cross = self.x.T @ (e * self.d1(self.t[:, j]))
                h[rows, k * d + j] += cross
                h[k * d + j, rows] += cross
        return h


def make(name, v, intercept, linear, weighted, n=203, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    slope = {"slope": 0.2} if name == "leaky_relu" else {}
    model = Regression(name, K, GIVEN if v == "array" else v, intercept, linear, **slope)
    x, y = rng.standard_normal((n, D)).astype(dtype), rng.standard_normal(n)
    w = rng.uniform(0, 2, n) if weighted else None
    theta = rng.standard_normal(model.n_parameters(D)) * 0.7
    objective = fr.objective(x, y, model, sample_weight=w)
    return objective, Oracle(model, x, y, w, theta), theta, (x, y, w, rng)


CASES = list(itertools.product((False, True), repeat=3))
everything = pytest.mark.parametrize("name", FORMULAS)
output_weights = pytest.mark.parametrize("v", ["ones", "free", "array"])


@everything
@output_weights
def test_brute_force(name, v):
    for case in CASES:
        o, oracle, theta, (*_, rng) = make(name, v, *case)
        assert o.n_parameters == len(theta)
        value, grad = o.value_and_grad(theta)
        assert o.value(theta) == pytest.approx(oracle.value, rel=1e-13)
        assert value == pytest.approx(oracle.value, rel=1e-13)
        np.testing.assert_allclose(grad, oracle.grad, atol=1e-13)
        u = rng.standard_normal(len(theta))
        np.testing.assert_allclose(o.hessp(theta, u), oracle.hessian @ u, atol=1e-12)
        np.testing.assert_allclose(o.hessp(theta, u, gauss_newton=True), oracle.gauss_newton @ u, atol=1e-12)
        value, grad, matrix = o.gauss_newton(theta)
        assert value == pytest.approx(oracle.value, rel=1e-13)
        np.testing.assert_allclose(grad, oracle.grad, atol=1e-13)
        np.testing.assert_allclose(matrix, oracle.gauss_newton, atol=1e-12)
        np.testing.assert_allclose(o.predict(theta), oracle.f, atol=1e-13)


@everything
@output_weights
def test_gradient_by_finite_differences(name, v):
    o, _, theta, _ = make(name, v, True, True, True, seed=1)
    step = 1e-6 * np.eye(len(theta))
    numeric = [(o.value(theta + h) - o.value(theta - h)) / 2e-6 for h in step]
    np.testing.assert_allclose(o.value_and_grad(theta)[1], numeric, atol=3e-8)


@pytest.mark.parametrize("name", SMOOTH)
@output_weights
def test_hessian_by_finite_differences(name, v):
    o, _, theta, (*_, rng) = make(name, v, True, True, True, seed=2)
    for _ in range(3):
        u = rng.standard_normal(len(theta))
        ahead, behind = (o.value_and_grad(theta + s * u)[1] for s in (1e-5, -1e-5))
        np.testing.assert_allclose(o.hessp(theta, u), (ahead - behind) / 2e-5, atol=1e-7)


@everything
def test_hessian_is_symmetric(name):
    o, _, theta, (*_, rng) = make(name, "free", True, True, True, seed=3)
    u, s = rng.standard_normal((2, len(theta)))
    assert s @ o.hessp(theta, u) == pytest.approx(u @ o.hessp(theta, s), rel=1e-11)


@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_blocks(name, dtype):
    o, oracle, theta, (*_, rng) = make(name, "free", True, True, True, n=20_011, dtype=dtype, seed=4)
    tight = 1e-12 if dtype == np.float64 else 2e-6
    value, grad = o.value_and_grad(theta)
    assert value == pytest.approx(oracle.value, rel=tight)
    np.testing.assert_allclose(grad, oracle.grad, atol=tight * np.abs(oracle.grad).max())
    matrix = o.gauss_newton(theta)[2]
    np.testing.assert_allclose(matrix, oracle.gauss_newton, atol=tight * np.abs(matrix).max())
    np.testing.assert_allclose(o.predict(theta), oracle.f, atol=10 * tight)


@everything
@output_weights
def test_batches_are_single_evaluations(name, v):
    o, _, theta, (*_, rng) = make(name, v, True, True, True, n=5003, seed=5)
    thetas = theta + 0.3 * rng.standard_normal((7, len(theta)))
    values, grads = o.values_and_grads(thetas)
    for i, each in enumerate(thetas):
        value, grad = o.value_and_grad(each)
        assert values[i] == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(grads[i], grad, atol=1e-13)
    np.testing.assert_allclose(o.values(thetas), values, rtol=1e-13)


@pytest.mark.parametrize("name", ["relu", "tanh", "quadratic"])
def test_weights_count_rows(name):
    _, _, theta, (x, y, _, rng) = make(name, "free", True, True, False, n=911, seed=6)
    model = make(name, "free", True, True, False)[0].model
    counts = rng.integers(0, 3, len(y))
    weighted = fr.objective(x, y, model, sample_weight=counts)
    repeated = fr.objective(np.repeat(x, counts, axis=0), np.repeat(y, counts), model)
    u = rng.standard_normal(len(theta))
    for ask in (
        lambda o: o.value(theta),
        lambda o: o.value_and_grad(theta)[1],
        lambda o: o.hessp(theta, u),
        lambda o: o.gauss_newton(theta)[2],
        lambda o: o.output_regression(o.unpack(theta))[0].flat(),
    ):
        np.testing.assert_allclose(ask(weighted), ask(repeated), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_weights_have_no_unit(scale):
    o, oracle, theta, (x, y, w, _) = make("tanh", "free", True, True, True, seed=7)
    scaled = fr.objective(x, y, o.model, sample_weight=w * scale)
    assert scaled.value(theta) == pytest.approx(oracle.value, rel=1e-12)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("name", ["relu", "tanh", "squared_relu"])
def test_output_regression(name, intercept, linear):
    o, oracle, theta, (x, y, w, _) = make(name, "free", intercept, linear, True, seed=8)
    features = [oracle.phi(oracle.t)] + ([x] if linear else []) + ([np.ones((len(y), 1))] if intercept else [])
    root = np.sqrt(w)[:, None]
    expected, *_ = np.linalg.lstsq(root * np.concatenate(features, axis=1), root[:, 0] * y, rcond=None)
    found, loss, gram = o.output_regression(Parameters(oracle.weights, np.zeros(K)))
    got = [found.output_weights] + ([found.linear] if linear else []) + ([[found.intercept]] if intercept else [])
    np.testing.assert_allclose(np.concatenate(got), expected, atol=1e-11)
    left = y - np.concatenate(features, axis=1) @ expected
    assert loss == pytest.approx(0.5 * np.average(left**2, weights=w), rel=1e-11)
    assert gram[-1, -1] == pytest.approx(np.average(y**2, weights=w), rel=1e-12)
    assert gram.shape == (len(expected) + 1,) * 2


@pytest.mark.parametrize(
    "name, method",
    [("tanh", "trust-ncg"), ("softplus", "L-BFGS-B"), ("tanh", "L-BFGS-B"), ("sigmoid", "trust-ncg")],
)
def test_scipy_reaches_the_minimum_of_fit(name, method):
    teacher = fr.datasets.make_teacher(name, 4, 2, output_weights="ones", random_state=3)
    x, y = teacher.sample(400, noise=0.05, random_state=4)
    o = fr.objective(x, y, name, 2, output_weights="ones")
    start = teacher.weights.ravel() + 0.1
    hessp = {"hessp": o.hessp} if method == "trust-ncg" else {}
    options = {"gtol": 1e-9} | ({"ftol": 1e-15} if method == "L-BFGS-B" else {})
    theirs = optimize.minimize(o.value_and_grad, start, jac=True, method=method, options=options, **hessp)
    ours = fr.fit(x, y, name, 2, output_weights="ones", tol=1e-6, random_state=0)
    assert ours.loss == pytest.approx(theirs.fun, rel=1e-9)
    there = ours.align(o.unpack(theirs.x)).weights
    np.testing.assert_allclose(there.ravel(), theirs.x, atol=2e-6)


def test_passes_are_counted():
    o, _, theta, _ = make("relu", "free", True, True, False)
    asks = (
        o.value,
        o.value_and_grad,
        o.gauss_newton,
        lambda t: o.hessp(t, t),
        lambda t: o.values(t[None]),
        o.predict,
    )
    for number, ask in enumerate(asks, 1):
        ask(theta)
        assert o.passes == number


def test_unknown_signs_have_no_theta():
    x, y = np.eye(9)[:, :5], np.arange(9.0)
    with pytest.raises(ValueError, match="output_weights='signs'"):
        fr.objective(x, y, "relu", 2, output_weights="signs")


def test_theta_of_the_wrong_length():
    o, _, theta, _ = make("relu", "free", True, True, False)
    for ask in (o.value, o.value_and_grad, o.gauss_newton, o.predict):
        with pytest.raises(ValueError, match="theta must have shape"):
            ask(theta[:-1])
    with pytest.raises(ValueError, match="must have shape"):
        o.hessp(theta, theta[:-1])


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(y=np.ones(7)), "y has 7 entries"),
        (dict(y=np.full(8, np.nan)), "y must be finite"),
        (dict(sample_weight=-np.ones(8)), "sample_weight must not be negative"),
        (dict(sample_weight=np.zeros(8)), "sample_weight must not be zero everywhere"),
        (dict(X=np.ones(8)), "X must have shape"),
        (dict(model="rleu"), "did you mean 'relu'"),
        (dict(n_hidden=0), "n_hidden must be at least 1"),
        (dict(n_hidden=None), "n_hidden is required"),
    ],
)
def test_bad_input(change, match):
    given = dict(X=np.eye(8)[:, :3], y=np.arange(8.0), model="relu", n_hidden=2) | change
    with pytest.raises(ValueError, match=match):
        fr.objective(**given)


def test_no_second_derivative():
    soft = fr.Activation.from_functions(lambda z: math.tanh(z), lambda z: 1.0 - math.tanh(z) ** 2, name="bare")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    o = fr.objective(x, y, Regression(soft, 2))
    theta, u = rng.standard_normal((2, 6))
    twin = fr.objective(x, y, Regression("tanh", 2))
    with pytest.raises(ValueError, match="no second derivative"):
        o.hessp(theta, u)
    np.testing.assert_allclose(
        o.hessp(theta, u, gauss_newton=True), twin.hessp(theta, u, gauss_newton=True), atol=1e-13
    )
    np.testing.assert_allclose(o.value_and_grad(theta)[1], twin.value_and_grad(theta)[1], atol=1e-13)


def test_kinks_blur_what_noise_and_features_hide():
    """Nothing without kinks; with them 5 / sqrt(n), and more in proportion to noise and the root of the features."""
    rng = np.random.default_rng(0)

    def blur(activation, n, d, loss, size=1.0):
        x = rng.standard_normal((n, d))
        objective = fr.objective(x, x[:, 0], activation, 2, output_weights="ones")
        return objective.blur(size * np.eye(2, d).ravel(), loss)

    assert blur("tanh", 100, 4, 0.5) == blur("squared_relu", 100, 4, 0.5) == 0.0
    assert blur("relu", 100, 4, 1e-9) == pytest.approx(0.5)
    wide = blur("relu", 100, 100, 0.5)
    assert wide > 0.5
    assert blur("relu", 400, 100, 0.5) == pytest.approx(wide / 2)
    assert blur("relu", 100, 400, 0.5) == pytest.approx(wide * 2)
    assert blur("relu", 100, 100, 0.5, size=0.5) == pytest.approx(wide * 2)
    assert blur("relu", 100, 100, 2.0) == pytest.approx(wide * 2)


def test_rounding_bounds_what_single_precision_does_to_differences_of_losses():
    """Of 20 steps so short that losses differ by less than rounding: most errors are far below, none above."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((20_000, 50)).astype(np.float32), rng.standard_normal((3, 50)) / 5.0
    y = np.maximum(x @ w.T.astype(np.float64), 0.0).sum(axis=1) + 0.1 * rng.standard_normal(len(x))
    single, double = (fr.objective(a, y, "relu", 3, output_weights="ones") for a in (x, x.astype(np.float64)))
    theta = w.ravel()
    loss, errors = double.value(theta), []
    for _ in range(20):
        near = theta + 1e-5 * rng.standard_normal(len(theta))
        errors.append(abs((single.value(near) - single.value(theta)) - (double.value(near) - loss)) / loss)
    assert double.rounding(loss) == 0.0
    assert 0.01 * single.rounding(loss) < np.median(errors) and max(errors) < single.rounding(loss)
