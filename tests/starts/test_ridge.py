"""Starts of units with biases and of several outputs, from moments of rows that are Gaussian.

The bounds of errors hold for the median of five fixed seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.activations import get_activation
from fastrecover.engines import ThreadEngine
from fastrecover.models import Parameters
from fastrecover.sources import ArraySource
from fastrecover.starts import tensor_start
from fastrecover.starts.ridge import ridge_start, shifted_moments


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def engine(x, y):
    return ThreadEngine(ArraySource(x, y), 2)


def hermite(m, t):
    """Probabilists' Hermite polynomials."""
    return (np.ones_like(t), t, t**2 - 1, t**3 - 3 * t, t**4 - 6 * t**2 + 3)[m]


def test_moments_of_relu_are_the_closed_forms():
    s, a, gamma = shifted_moments(get_activation("relu"))
    assert (s == 1.0).all()
    pdf, cdf = np.exp(-0.5 * a * a) / math.sqrt(2 * math.pi), special.ndtr(a)
    closed = [pdf + a * cdf, cdf, pdf, -a * pdf, (a * a - 1) * pdf]
    np.testing.assert_allclose(gamma, np.transpose(closed), atol=2e-5)


@pytest.mark.parametrize("name, phi", [("tanh", np.tanh), ("softplus", lambda z: np.logaddexp(0, z))])
def test_moments_of_smooth_units_by_quadrature(name, phi):
    s, a, gamma = shifted_moments(get_activation(name))
    assert len(np.unique(s)) > 1 and (a > 0).any() and (a < 0).any()
    for i in np.random.default_rng(0).choice(len(s), 12, replace=False):
        for m in range(5):

            def integrand(t, i=i, m=m):
                return phi(s[i] * t + a[i]) * hermite(m, t) * math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)

            edge = -a[i] / s[i]
            expected = integrate.quad(integrand, -12, 12, points=[edge] if abs(edge) < 12 else None, limit=200)[0]
            assert gamma[i, m] == pytest.approx(expected, abs=1e-8)


def test_grid_of_erf_against_its_closed_form():
    """``E erf(s t + a) = erf(a / sqrt(1 + 2 s^2))``, and the first moment is its derivative by a, times s."""
    s, a, gamma = shifted_moments(get_activation("erf"))
    root = np.sqrt(1 + 2 * s * s)
    np.testing.assert_allclose(gamma[:, 0], special.erf(a / root), atol=1e-9)
    slope = 2 / math.sqrt(math.pi) / root * np.exp(-((a / root) ** 2))
    np.testing.assert_allclose(gamma[:, 1], s * slope, atol=1e-9)


def errors(name, d, k, rows, seeds, **options):
    found = []
    for seed in seeds:
        teacher = fr.datasets.make_teacher(name, d, k, hidden_bias=True, random_state=seed, **options)
        model = teacher.model.changed(fit_intercept=True)
        x, y = teacher.sample(rows * d * k, random_state=seed + 1000)
        at = tensor_start(engine(x, y), model, np.random.SeedSequence(seed))
        assert at.biases.shape == (k,) and np.isfinite(at.flat()).all()
        found.append(model.error(at, teacher.parameters))
    return np.array(found)


def test_five_relu_units_with_biases_and_an_unknown_intercept():
    teacher = fr.datasets.make_teacher("relu", 20, 5, hidden_bias=True, output_weights="free", random_state=0)
    assert teacher.biases.any()
    assert np.median(errors("relu", 20, 5, 20, range(5), output_weights="free")) < 0.15


@pytest.mark.parametrize("name", ["tanh", "softplus", "squared_relu"])
def test_other_units_with_biases(name):
    found = errors(name, 8, 2, 200, range(5), output_weights="free")
    assert np.median(found) < 0.35


def test_errors_fall_with_rows():
    few, many = (np.median(errors("relu", 6, 2, rows, range(5), output_weights="free")) for rows in (50, 5000))
    assert many < 0.3 * few


def test_outputs_that_cancel_one_by_one():
    """No output needs all units with one sign: in each some are missing or cancel, and all together tell them."""
    rng = np.random.default_rng(0)
    d = 6
    w = np.linalg.qr(rng.standard_normal((d, 3)))[0].T
    v = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, -1.0, 0.0]])
    truth = Parameters(w, v, None, np.zeros(4), biases=np.array([0.3, -0.4, 0.5]))
    x = rng.standard_normal((20_000, d))
    y = np.maximum(x @ w.T + truth.biases, 0.0) @ v.T
    model = fr.models.Regression("relu", 3, "free", True, hidden_bias=True).for_targets(y)
    found = ridge_start(engine(x, y), model, np.random.SeedSequence(0))
    assert found.output_weights.shape == (4, 3)
    assert model.error(found, truth) < 0.1


def test_same_bits_for_the_same_seed():
    teacher = fr.datasets.make_teacher("relu", 6, 3, hidden_bias=True, n_outputs=2, random_state=1)
    x, y = teacher.sample(3000, noise=0.1, random_state=2)
    one, two = (ridge_start(engine(x, y), teacher.model, np.random.SeedSequence(5)) for _ in range(2))
    np.testing.assert_array_equal(one.flat(), two.flat())


def test_moments_that_are_zero_are_refused():
    x = np.random.default_rng(0).standard_normal((500, 4))
    model = fr.models.Regression("relu", 2, "free", True, hidden_bias=True)
    with pytest.raises(fr.starts.StartError, match="nothing in y depends on X"):
        ridge_start(engine(x, np.zeros(500)), model, np.random.SeedSequence(0))
