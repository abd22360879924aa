"""Every loss with biases, several outputs, linear terms and a penalty, against formulas written out in NumPy.

The oracle knows nothing of sweeps: it takes theta apart by hand, and its derivatives are complex steps, which are exact
to rounding, of the value and of the outputs.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import Engine, MappedEngine, ThreadEngine
from fastrecover.losses import Huber
from fastrecover.models import Classification, Logistic, Network, Parameters, Poisson, Regression
from fastrecover.sources import ArraySource
from fastrecover.sweeps import Objective
from fastrecover.sweeps.factors import damped_steps, distances, triangular_factors


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


N, D, K, DELTA = 83, 4, 3, 0.6
UNITS = {
    "tanh": np.tanh,
    "relu": lambda z: z * (z.real > 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


def huber(f, y):
    e = f - y
    size = np.where(e.real > 0, e, -e)
    return np.where(size.real <= DELTA, e * e / 2, DELTA * (size - DELTA / 2)).sum(axis=1)


def huber_weight(f, y):
    return np.minimum(1.0, DELTA / np.abs(f - y))


def softmax_weight(f, y):
    p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    return np.einsum("io,oq->ioq", p, np.eye(f.shape[1])) - p[:, :, None] * p[:, None, :]


def expit(f):
    return 1 / (1 + np.exp(-f))


def rate(f):
    return np.log(1 + np.exp(f))


# Loss of a row by outputs and responses (n, m), and weights of Gauss-Newton (n, m) or (n, m, m).
TABLE = {
    "squared": (lambda f, y: ((f - y) ** 2).sum(axis=1) / 2, lambda f, y: np.ones_like(f)),
    "huber": (huber, huber_weight),
    "logistic": (lambda f, y: (np.log(1 + np.exp(f)) - y * f)[:, 0], lambda f, y: expit(f) * (1 - expit(f))),
    "softmax": (lambda f, y: np.log(np.exp(f).sum(axis=1)) - (y * f).sum(axis=1), softmax_weight),
    "poisson": (lambda f, y: (np.exp(f) - y * f)[:, 0], lambda f, y: np.exp(f)),
    "poisson-softplus": (
        lambda f, y: (rate(f) - y * np.log(rate(f)))[:, 0],
        lambda f, y: expit(f) ** 2 / rate(f),
    ),
    "cross-entropy": (
        lambda f, y: (-y * np.log(f) - (1 - y) * np.log(1 - f))[:, 0],
        lambda f, y: 1 / (f * (1 - f)),
    ),
}
CASES = [("squared", 1), ("squared", 3), ("huber", 1), ("huber", 3), ("logistic", 1), ("softmax", 3), ("poisson", 1)]
CASES += [("poisson-softplus", 1), ("cross-entropy", 1)]
every_loss = pytest.mark.parametrize("loss, m", CASES)
units = pytest.mark.parametrize("units", ["tanh", "relu"])


def model_of(loss: str, units: str, intercept: bool, linear: bool, bias: bool) -> Network:
    if loss == "cross-entropy":
        return Classification(K, hidden_bias=bias)
    if loss in ("logistic", "softmax"):
        return Logistic(units, K, "free", intercept, linear, bias)
    if loss.startswith("poisson"):
        return Poisson(units, K, "softplus" if "softplus" in loss else "log", "free", intercept, linear, bias)
    return Regression(units, K, "free", intercept, linear, bias, Huber(DELTA) if loss == "huber" else "squared")


def responses(loss: str, m: int, rng: np.random.Generator) -> np.ndarray:
    if loss == "softmax":
        return rng.dirichlet(np.ones(m), N)
    if loss in ("logistic", "cross-entropy"):
        return rng.random((N, 1))
    return rng.poisson(1.5, (N, 1)).astype(float) if loss.startswith("poisson") else rng.standard_normal((N, m))


@dataclass
class Oracle:
    """Loss and outputs as functions of theta, which may be complex."""

    loss: str
    units: str
    m: int
    bias: bool
    linear: bool
    intercept: bool
    alpha: float
    x: np.ndarray
    y: np.ndarray
    w: np.ndarray

    def parts(self, theta):
        """W, b, V, B, c."""
        rest, found, k, m = theta, [], K, self.m
        free = self.loss != "cross-entropy"
        for shape, there in (((k, D), True), ((k,), self.bias), ((m, k), free), ((m, D), self.linear)):
            size = math.prod(shape) * there
            found.append(rest[:size].reshape(shape) if there else np.zeros(shape))
            rest = rest[size:]
        if not free:
            found[2] = np.full((1, k), 1.0 / k)
        assert len(rest) == m * self.intercept
        return (*found, rest if self.intercept else np.zeros(m))

    def outputs(self, theta):
        w, b, v, linear, c = self.parts(theta)
        return UNITS[self.units](self.x @ w.T + b) @ v.T + self.x @ linear.T + c

    def value(self, theta):
        w, _, v, linear, _ = self.parts(theta)
        squares = (w**2).sum() + (v**2).sum() + (linear**2).sum()
        rows = TABLE[self.loss][0](self.outputs(theta), self.y)
        return (self.w @ rows + self.alpha / 2 * squares) / self.w.sum()

    def grad(self, theta):
        return np.array([self.value(theta + 1e-30j * e).imag * 1e30 for e in np.eye(len(theta))])

    def jacobian(self, theta):
        return np.stack([self.outputs(theta + 1e-30j * e).imag * 1e30 for e in np.eye(len(theta))], axis=2)

    def penalised(self, theta):
        """Places of theta that the penalty holds."""
        ends = np.cumsum([K * D, K * self.bias, self.m * K * (self.loss != "cross-entropy"), self.m * D * self.linear])
        at = np.arange(len(theta))
        return (at < ends[0]) | ((at >= ends[1]) & (at < ends[3]))

    def curvature(self, theta):
        """``J' H J / n`` without the penalty."""
        f, jac = self.outputs(theta), self.jacobian(theta)
        h = TABLE[self.loss][1](f, self.y)
        h = np.einsum("io,oq->ioq", h, np.eye(self.m)) if h.ndim == 2 else h
        weighted = (self.w / self.w.sum())[:, None, None] * (h @ jac)
        return jac.reshape(-1, len(theta)).T @ weighted.reshape(-1, len(theta))

    def gauss_newton(self, theta):
        return self.curvature(theta) + np.diag(self.alpha / self.w.sum() * self.penalised(theta))


def problem(loss, m, units, bias, intercept, linear, alpha, seed=0):
    if loss == "cross-entropy":
        units, intercept, linear = "sigmoid", False, False
    rng = np.random.default_rng(seed)
    x, w, y = rng.standard_normal((N, D)), rng.uniform(0.5, 2.0, N), responses(loss, m, rng)
    model = model_of(loss, units, intercept, linear, bias)
    objective = fr.objective(x, y if m > 1 else y[:, 0], model, sample_weight=w, alpha=alpha)
    theta = 0.6 * rng.standard_normal(objective.n_parameters)
    return objective, Oracle(loss, units, m, bias, linear, intercept, alpha, x, y, w), theta, rng


def problems(loss, m, units, seed=0):
    bits = itertools.product((False, True), repeat=3)
    seen = [b for b in bits if loss != "cross-entropy" or not (b[1] or b[2])]
    for (bias, intercept, linear), alpha in itertools.product(seen, (0.0, 3.0)):
        yield problem(loss, m, units, bias, intercept, linear, alpha, seed)


@every_loss
@units
def test_values_and_gradients(loss, m, units):
    for o, oracle, theta, rng in problems(loss, m, units):
        assert o.model.loss.name == loss and o.model.n_outputs == m
        value, grad = o.value_and_grad(theta)
        assert value == pytest.approx(oracle.value(theta), rel=1e-13)
        assert o.value(theta) == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(grad, oracle.grad(theta), atol=1e-13)
        f = oracle.outputs(theta)
        np.testing.assert_allclose(o.predict(theta), f if m > 1 else f[:, 0], atol=1e-13)
        several = theta + 0.3 * rng.standard_normal((3, len(theta)))
        values, grads = o.values_and_grads(several)
        np.testing.assert_allclose(values, [oracle.value(each) for each in several], rtol=1e-13)
        np.testing.assert_allclose(o.values(several), values, rtol=1e-14)
        np.testing.assert_allclose(grads[2], oracle.grad(several[2]), atol=1e-13)


@every_loss
@units
def test_products_with_the_hessian(loss, m, units):
    for o, oracle, theta, rng in problems(loss, m, units, seed=1):
        u = rng.standard_normal(len(theta))
        step = 1e-6
        slope = (oracle.grad(theta + step * u) - oracle.grad(theta - step * u)) / (2 * step)
        np.testing.assert_allclose(o.hessp(theta, u), slope, atol=2e-9)
        np.testing.assert_allclose(o.hessp(theta, u, gauss_newton=True), oracle.gauss_newton(theta) @ u, atol=1e-12)


@every_loss
def test_gauss_newton_matrices(loss, m, units="relu"):
    for o, oracle, theta, rng in problems(loss, m, units, seed=2):
        value, grad, matrix = o.gauss_newton(theta)
        assert value == pytest.approx(oracle.value(theta), rel=1e-13)
        np.testing.assert_allclose(grad, oracle.grad(theta), atol=1e-13)
        np.testing.assert_allclose(matrix, oracle.gauss_newton(theta), atol=1e-12)
        several = theta + 0.3 * rng.standard_normal((2, len(theta)))
        values, grads, matrices = o.gauss_newtons(several)
        for i, each in enumerate(several):
            assert values[i] == pytest.approx(oracle.value(each), rel=1e-13)
            np.testing.assert_allclose(grads[i], oracle.grad(each), atol=1e-13)
            np.testing.assert_allclose(matrices[i], oracle.gauss_newton(each), atol=1e-12)


@every_loss
def test_triangular_factors_and_damped_steps(loss, m, units="tanh"):
    for o, oracle, theta, rng in problems(loss, m, units, seed=3):
        several = theta + 0.3 * rng.standard_normal((2, len(theta)))
        losses, factors = triangular_factors(o, several)
        damping = rng.uniform(0.01, 1.0, several.shape)
        steps = damped_steps(factors, damping)
        for i, each in enumerate(several):
            r, size = factors[i], len(each)
            assert losses[i] == pytest.approx(oracle.value(each), rel=1e-13)
            assert not np.tril(r, -1).any()
            matrix, grad = oracle.gauss_newton(each), oracle.grad(each)
            np.testing.assert_allclose(r[:, :size].T @ r[:, :size], matrix, atol=1e-12)
            np.testing.assert_allclose(r[:, :size].T @ r[:, size], grad, atol=1e-12)
            expected = -np.linalg.solve(matrix + np.diag(damping[i]), grad)
            np.testing.assert_allclose(steps[i], expected, atol=1e-11 * max(1.0, np.abs(expected).max()))


def test_the_penalty_is_divided_by_the_sum_of_the_weights_as_they_are_given():
    """Weights of 1, 2, .. are rows given once, twice, .., under a penalty too."""
    o, oracle, theta, rng = problem("squared", 1, "tanh", True, True, True, 0.0)
    counts = rng.integers(1, 8, N)
    for scale in (1, 3, 1e-3):
        repeated = fr.objective(np.repeat(oracle.x, counts, axis=0), np.repeat(oracle.y, counts), o.model, alpha=2.0)
        weighted = fr.objective(oracle.x, oracle.y, o.model, sample_weight=scale * counts, alpha=scale * 2.0)
        assert weighted.value(theta) == pytest.approx(repeated.value(theta), rel=1e-13)
    values = [
        fr.objective(oracle.x, oracle.y, o.model, sample_weight=w, alpha=2.0).value(theta)
        for w in (None, 0 * counts + 1)
    ]
    assert values[0] == values[1]


def test_factors_of_fewer_rows_than_parameters():
    o, oracle, theta, rng = problem("squared", 1, "tanh", True, True, True, 0.0)
    o = fr.objective(oracle.x[:7], oracle.y[:7, 0], o.model)
    loss, r = triangular_factors(o, theta[None])
    value, grad, matrix = o.gauss_newton(theta)
    assert loss[0] == pytest.approx(value, rel=1e-13)
    assert r.shape == (1, len(theta) + 1, len(theta) + 1)
    np.testing.assert_allclose((r[0].T @ r[0])[:-1, :-1], matrix, atol=1e-13)
    np.testing.assert_allclose((r[0].T @ r[0])[:-1, -1], grad, atol=1e-13)


@every_loss
def test_order_of_theta(loss, m):
    for o, oracle, theta, _ in problems(loss, m, "tanh", seed=4):
        at = o.unpack(theta)
        w, b, v, linear, c = oracle.parts(theta)
        np.testing.assert_array_equal(at.weights, w)
        np.testing.assert_array_equal(b, np.zeros(K) if at.biases is None else at.biases)
        np.testing.assert_allclose(at.output_weights, v if m > 1 else v[0], rtol=1e-15)
        np.testing.assert_array_equal(at.slope, linear if m > 1 else linear[0])
        np.testing.assert_array_equal(at.intercept, c if m > 1 else c[0])
        assert (at.biases is None) == (not oracle.bias) and (at.linear is None) == (not oracle.linear)
        np.testing.assert_array_equal(o.model.pack(at), theta)
        assert o.n_parameters == o.model.n_parameters(D) == len(theta)


# ------------------------------------------------------------------------- output weights by least squares


def features_of(oracle: Oracle, theta: np.ndarray) -> np.ndarray:
    w, b, *_ = oracle.parts(theta)
    parts = [UNITS[oracle.units](oracle.x @ w.T + b)]
    parts += [oracle.x] if oracle.linear else []
    parts += [np.ones((N, 1))] if oracle.intercept else []
    return np.concatenate(parts, axis=1)


def solved(features: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Weighted least squares, (columns of y, features)."""
    root = np.sqrt(w)[:, None]
    return np.linalg.lstsq(root * features, root * y, rcond=None)[0].T


def columns(p: Parameters, oracle: Oracle) -> np.ndarray:
    """Output weights, linear terms and intercepts, (m, features)."""
    parts = [p.columns] + ([np.atleast_2d(p.slope)] if oracle.linear else [])
    return np.concatenate(parts + ([np.reshape(p.intercept, (-1, 1))] if oracle.intercept else []), axis=1)


@pytest.mark.parametrize("m", [1, 3])
@units
def test_least_squares_of_outputs(m, units):
    for o, oracle, theta, _ in problems("squared", m, units, seed=5):
        at, features = o.unpack(theta), features_of(oracle, theta)
        expected = solved(features, oracle.y, oracle.w)
        left = oracle.y - features @ expected.T
        found, loss, gram = o.output_regression(at)
        np.testing.assert_allclose(columns(found, oracle), expected, atol=1e-11)
        np.testing.assert_array_equal(found.rows, at.rows)
        assert loss == pytest.approx(np.average((left**2).sum(axis=1), weights=oracle.w) / 2, rel=1e-11)
        weights = oracle.w / oracle.w.sum()
        size = features.shape[1]
        np.testing.assert_allclose(gram[:size, :size], features.T @ (weights[:, None] * features), atol=1e-12)
        np.testing.assert_allclose(gram[:size, size:], features.T @ (weights[:, None] * oracle.y), atol=1e-12)
        np.testing.assert_allclose(np.trace(gram[size:, size:]), weights @ (oracle.y**2).sum(axis=1), rtol=1e-12)
        again = o.unpack(o.with_fitted_outputs(theta[None], 0.0)[0])
        np.testing.assert_allclose(columns(again, oracle), expected, atol=1e-10)
        np.testing.assert_array_equal(again.rows, at.rows)


@pytest.mark.parametrize("loss, m", [case for case in CASES if case[0] not in ("squared", "cross-entropy")])
def test_a_step_of_reweighted_least_squares_from_zero(loss, m):
    for o, oracle, theta, _ in problems(loss, m, "tanh", seed=6):
        first = K * D + K * oracle.bias
        zero = np.r_[theta[:first], np.zeros(len(theta) - first)]
        plain = Oracle(**{**oracle.__dict__, "alpha": 0.0})
        matrix, grad = plain.gauss_newton(zero)[first:, first:], plain.grad(zero)[first:]
        damped = matrix + 0.1 * np.mean(matrix.diagonal()) * np.eye(len(grad))
        found = o.with_fitted_outputs(np.array([zero, theta]), 0.1)
        for each in found:
            np.testing.assert_array_equal(each[:first], theta[:first])
            np.testing.assert_allclose(each[first:], -np.linalg.solve(damped, grad), atol=1e-11)


@pytest.mark.parametrize("loss", ["logistic", "poisson", "poisson-softplus", "huber"])
@pytest.mark.parametrize("working", [False, True])
def test_regression_of_working_responses(loss, working):
    """One step of reweighted least squares is a regression of ``f - l' / h``, with weights h."""
    for o, oracle, theta, _ in problems(loss, 1, "tanh", seed=7):
        at, features = o.unpack(theta), features_of(oracle, theta)
        f = oracle.outputs(theta) * working
        slope = TABLE[loss][0](f + 1e-30j, oracle.y).imag[:, None] * 1e30
        h = TABLE[loss][1](f, oracle.y)
        expected = solved(features, f - slope / h, oracle.w * h[:, 0])
        found, lost, _ = o.output_regression(at, working=working)
        np.testing.assert_allclose(columns(found, oracle), expected, atol=1e-9)
        left = (f - slope / h - features @ expected.T)[:, 0] ** 2
        assert lost == pytest.approx(oracle.w @ (h[:, 0] * left) / oracle.w.sum() / 2, rel=1e-9)


def test_regression_of_classes():
    """At outputs of zero the probabilities are 1 / m, and the curvature about that: responses are ``m y - 1``."""
    for o, oracle, theta, _ in problems("softmax", 3, "tanh", seed=8):
        expected = solved(features_of(oracle, theta), 3.0 * oracle.y - 1.0, oracle.w)
        found = o.output_regression(o.unpack(theta))[0]
        np.testing.assert_allclose(columns(found, oracle), expected, atol=1e-11)


# ----------------------------------------------------------------------------------- rows in other coordinates

CENTRE = np.array([3.0, -20.0, 0.0, 1.0])
MAPS = {
    "square": np.random.default_rng(0).standard_normal((D, D)),
    "fewer rows": np.random.default_rng(1).standard_normal((D - 1, D)),
    "diagonal": np.array([0.2, 3.0, -1.0, 40.0]),
}


def pair(name: str, y: np.ndarray, w: np.ndarray) -> tuple[Engine, Engine]:
    """A map of shifted rows, and an engine on rows that are mapped."""
    t, x = MAPS[name], CENTRE + np.random.default_rng(2).standard_normal((N, D)) / MAPS["diagonal"]
    root = 1.0 / t if t.ndim == 1 else np.linalg.pinv(t)
    z = (x - CENTRE) * t if t.ndim == 1 else (x - CENTRE) @ t.T
    return MappedEngine(ThreadEngine(ArraySource(x, y, w), 1), t, root, CENTRE), ThreadEngine(ArraySource(z, y, w), 1)


def close(a, b) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max(initial=1e-300))


@pytest.mark.parametrize("name", MAPS)
@every_loss
@pytest.mark.parametrize("bias", [False, True])
def test_mapped_rows_with_a_centre(name, loss, m, bias):
    rng = np.random.default_rng(3)
    y, w = responses(loss, m, rng), rng.uniform(0.5, 2.0, N)
    model = model_of(loss, "tanh", True, True, bias).for_targets(y if m > 1 else y[:, 0])
    mapped, plain = (Objective(e, model) for e in pair(name, y if m > 1 else y[:, 0], w))
    assert mapped.n_parameters == plain.n_parameters and mapped.engine.shape == plain.engine.shape
    assert mapped.engine.has_ones == bias
    theta, u = 0.3 * rng.standard_normal((2, plain.n_parameters))
    for one, other in zip(mapped.value_and_grad(theta), plain.value_and_grad(theta), strict=True):
        close(one, other)
    for one, other in zip(mapped.gauss_newton(theta), plain.gauss_newton(theta), strict=True):
        close(one, other)
    for one, other in zip(
        mapped.gauss_newtons(np.array([theta, u])), plain.gauss_newtons(np.array([theta, u])), strict=True
    ):
        close(one, other)
    close(mapped.hessp(theta, u), plain.hessp(theta, u))
    close(mapped.hessp(theta, u, gauss_newton=True), plain.hessp(theta, u, gauss_newton=True))
    close(mapped.predict(theta), plain.predict(theta))
    r, s = (triangular_factors(o, theta[None])[1][0] for o in (mapped, plain))
    close(r.T @ r, s.T @ s)
    close(mapped.engine.rows(5, 9).x, plain.engine.rows(5, 9).x)
    if loss == "cross-entropy":
        return
    close(mapped.with_fitted_outputs(theta[None], 0.1), plain.with_fitted_outputs(theta[None], 0.1))
    at = plain.unpack(theta)
    found, expected = (o.output_regression(at, ridge=1e-3)[0].flat() for o in (mapped, plain))
    close(found, expected)
    if loss == "squared":
        close(mapped.residual(theta).value(u), plain.residual(theta).value(u))


@pytest.mark.parametrize("kind", ["softmax", "squared"])
def test_distances_leave_out_what_changes_nothing(kind):
    """Newton decrements by a pseudo-inverse; a softmax leaves a function open that is added to all outputs."""
    rng = np.random.default_rng(0)
    x, m = rng.standard_normal((60, 3)), 3
    if kind == "softmax":
        objective = fr.objective(x, rng.integers(0, m, 60), fr.models.Logistic("tanh", 2))
    else:
        model = fr.models.Regression("tanh", 2, "free", True, hidden_bias=True)
        objective = fr.objective(x, rng.standard_normal((60, m)), model)
    thetas = rng.standard_normal((4, objective.n_parameters))
    found = distances(triangular_factors(objective, thetas)[1])
    for theta, length in zip(thetas, found, strict=True):
        _, grad, matrix = objective.gauss_newton(theta)
        # Output weights of two units and the intercept, added to all outputs.
        open_ = 3 if kind == "softmax" else 0
        assert np.linalg.matrix_rank(matrix, tol=1e-12) == len(theta) - open_
        expected = np.sqrt(grad @ np.linalg.pinv(matrix, rcond=1e-12, hermitian=True) @ grad)
        assert length == pytest.approx(expected, rel=1e-6)
