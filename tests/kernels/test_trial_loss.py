"""A further loss: a record in ``losses.py`` and an entry in the table of a backend are all it takes.

The reference backend is given the logarithm of the hyperbolic cosine here; everything above the kernels then works with
it, and the backends that do not have it say so.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastrecover as fr
from fastrecover import kernels, losses
from fastrecover.kernels import reference_losses
from fastrecover.kernels.reference_losses import OutputLoss
from fastrecover.models import Regression

D, N, CODE = 5, 300, 17


class LogCosh(losses.SquaredLoss):
    """``log cosh(f - y)``."""

    name, code, least_squares = "log-cosh", CODE, False


def log_cosh(r):
    return np.logaddexp(r, -r) - np.log(2.0)


def bend(r):
    return 1.0 / np.cosh(r) ** 2


ROWS = OutputLoss(
    lambda f, y, delta: log_cosh(f - y),
    lambda f, y, delta: np.tanh(f - y),
    lambda f, y, delta: bend(f - y),
    lambda f, y, delta: bend(f - y),
)


@pytest.fixture
def trial(monkeypatch):
    """The loss in the table of losses and in that of the reference backend, which is in use."""
    monkeypatch.setitem(losses.LOSSES, "log-cosh", LogCosh())
    monkeypatch.setitem(reference_losses.LOSSES, CODE, ROWS)
    before = kernels.get_kernels()
    kernels.set_kernels("reference")
    yield LogCosh()
    kernels.set_kernels(before)


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)), 2.0 * rng.standard_normal(N), rng.uniform(0.5, 2.0, N)


def objective(loss, **options):
    x, y, w = data()
    model = Regression("tanh", 2, **{"output_weights": "free", **options}).changed(loss=loss)
    return fr.objective(x, y, model, sample_weight=w, n_jobs=1)


@pytest.mark.parametrize("options", [{}, {"fit_intercept": True, "linear_term": True}])
def test_value_gradient_and_products(trial, options):
    ours = objective("log-cosh", **options)
    theta, step = np.random.default_rng(1).standard_normal((2, ours.n_parameters))
    x, y, w = data()
    at = ours.unpack(theta)
    f = np.tanh(x @ at.weights.T) @ at.output_weights + x @ at.slope + at.intercept
    assert ours.value(theta) == pytest.approx(w @ log_cosh(f - y) / w.sum(), rel=1e-12)
    grad, h = ours.value_and_grad(theta)[1], 1e-6

    def ahead(direction, size):
        return ours.value_and_grad(theta + size * direction)

    assert (ahead(step, h)[0] - ahead(step, -h)[0]) / (2 * h) == pytest.approx(grad @ step, rel=1e-6)
    product = (ahead(step, h)[1] - ahead(step, -h)[1]) / (2 * h)
    np.testing.assert_allclose(ours.hessp(theta, step), product, rtol=1e-5, atol=1e-7)
    jac = np.array([(ours_f(ours, theta + h * e) - ours_f(ours, theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
    expected = jac @ (w * bend(f - y) * jac).T / w.sum()
    np.testing.assert_allclose(ours.hessp(theta, step, gauss_newton=True), expected @ step, rtol=1e-6, atol=1e-8)


def ours_f(objective, theta):
    x, at = data()[0], objective.unpack(theta)
    return np.tanh(x @ at.weights.T) @ at.output_weights + x @ at.slope + at.intercept


def test_the_dense_matrix_is_that_of_the_products(trial):
    x, y, w = data()
    model = Regression("tanh", 2, "free").changed(loss="log-cosh")
    ours = fr.objective(x, 0.2 * np.tanh(y), model, sample_weight=w, n_jobs=1)
    theta = 0.1 * np.random.default_rng(1).standard_normal(ours.n_parameters)
    loss, grad, matrix = ours.gauss_newton(theta)
    assert loss == pytest.approx(ours.value(theta), rel=1e-12)
    np.testing.assert_allclose(grad, ours.value_and_grad(theta)[1], rtol=1e-10, atol=1e-14)
    products = [ours.hessp(theta, e, gauss_newton=True) for e in np.eye(len(theta))]
    np.testing.assert_allclose(matrix, products, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("backend", ["compiled", "numba"])
def test_backends_without_it_say_so(trial, backend):
    if backend == "compiled":
        pytest.importorskip("fastrecover.kernels._compiled")
    kernels.set_kernels(backend)
    with pytest.raises(ValueError, match=rf"the {backend} kernels have no loss of code {CODE}"):
        objective("log-cosh").value(np.zeros(2 * D + 2))


def test_c_refuses_what_python_lets_through():
    """The check in C is behind that of ``kernels.sweep``."""
    compiled = pytest.importorskip("fastrecover.kernels._compiled")
    op = kernels.RowFunction(kernels.Op.LOSS, loss=CODE, reps=1, k=1, v=np.ones((1, 1)), c=np.zeros(1))
    a, s = np.zeros((0, D)), np.zeros(4)
    with pytest.raises(ValueError, match="do not have"):
        compiled.sweep(data()[0], None, None, np.zeros((1, D)), op, 8, 64, 0, 1, a, s)


def test_every_backend_has_every_loss():
    known = {loss.code for loss in losses.LOSSES.values()}
    for name in ("reference", "numba", "compiled"):
        if name == "compiled":
            pytest.importorskip("fastrecover.kernels._compiled")
        assert set(kernels._load(name).LOSSES) >= known
