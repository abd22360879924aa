"""The curvature of Gaussian rows against the Gauss-Newton matrix that a sweep forms from all of them."""

from __future__ import annotations

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.models import Parameters, Regression
from fastrecover.solvers import gaussian_curvature

N, D, K = 40_000, 12, 3


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def problem(activation, correlated=False, weighted=False, **options):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((N, D))
    if correlated:
        x = x @ np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(np.arange(D), np.arange(D)))).T
    w = rng.integers(0, 3, N).astype(float) if weighted else None
    model = Regression(activation, K, **{"output_weights": [1.0, -1.0, 1.0], **options})
    linear = rng.standard_normal(D) if model.linear_term else None
    rows = rng.standard_normal((K, D)) * 1.5 / np.sqrt(D)
    found = Parameters(rows, np.array([1.0, -1.3, 0.8]) if model.free_v else model.known_v, linear, 0.2)
    return fr.objective(x, rng.standard_normal(N), model, sample_weight=w, n_jobs=1), model.pack(found)


def spectrum(objective, theta, **options):
    """Eigenvalues of the preconditioned matrix, and of the matrix itself."""
    curvature = gaussian_curvature(objective, theta, np.random.SeedSequence(0), **options)
    matrix = objective.gauss_newton(theta)[2]
    solved = np.linalg.eigvals(np.array([curvature.apply(row) for row in matrix]).T)
    return np.sort(solved.real), np.linalg.eigvalsh(matrix)


@pytest.mark.parametrize(
    ("activation", "options"),
    [
        ("relu", {}),
        ("tanh", {"output_weights": "free", "fit_intercept": True}),
        ("softplus", {"linear_term": True, "fit_intercept": True}),
        ("leaky_relu", {"linear_term": True}),
        ("squared_relu", {}),
    ],
)
@pytest.mark.parametrize("correlated", [False, True])
def test_gaussian_rows_have_this_matrix(activation, options, correlated):
    """Up to the spread of 40,000 rows, and of the 2000 whose projections are looked at (a quarter for squares)."""
    solved, plain = spectrum(*problem(activation, correlated, **options), white=not correlated)
    ridge = 1e-3 * plain.mean() / plain[0]  # pulls the flattest directions
    assert solved[0] > 0.65 / (1.0 + 2.0 * ridge) and solved[-1] < 1.3
    assert plain[-1] / plain[0] > 8.0


@pytest.mark.parametrize("kind", ["fcn", "fcn with biases", "logistic", "poisson", "relu with biases"])
def test_gaussian_rows_have_the_curvature_of_any_loss(kind):
    rng = np.random.default_rng(4)
    x, rows = rng.standard_normal((N, D)), rng.standard_normal((K, D)) * 1.5 / np.sqrt(D)
    free = {"hidden_bias": True, "fit_intercept": True}
    model = {
        "fcn": fr.models.Classification(K),
        "fcn with biases": fr.models.Classification(K, hidden_bias=True),
        "logistic": fr.models.Logistic("tanh", K),
        "poisson": fr.models.Poisson("tanh", K, "log", "free", **free),
        "relu with biases": Regression("relu", K, "free", **free),
    }[kind]
    v = model.known_v if model.known_v is not None else np.array([1.0, -1.3, 0.8])
    biases = np.array([0.3, -0.5, 0.2]) if model.hidden_bias else None
    found = Parameters(rows, v, None, -0.4 if model.fit_intercept else 0.0, biases=biases)
    y = rng.integers(0, 2, N).astype(float)
    solved, plain = spectrum(fr.objective(x, y, model, n_jobs=1), model.pack(found), white=True)
    flat = K if kind == "relu with biases" else 0  # sizes move between the layers at no cost
    assert np.abs(solved[:flat]).max(initial=0.0) < 1e-9
    ridge = 1e-3 * plain.mean() / plain[flat]
    assert solved[flat] > 0.65 / (1.0 + 2.0 * ridge) and solved[-1] < 1.35


def test_weights_count():
    solved, _ = spectrum(*problem("relu", weighted=True))
    assert solved[0] > 0.75 and solved[-1] < 1.3


def test_it_is_symmetric():
    objective, theta = problem("tanh", True, output_weights="free", fit_intercept=True, linear_term=True)
    curvature = gaussian_curvature(objective, theta, np.random.SeedSequence(0))
    inverse = np.array([curvature.apply(row) for row in np.eye(len(theta))])
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-12 * np.abs(inverse).max())


def test_many_units_leave_out_the_matrix_inside():
    """At most k (k + 1) / 2 = 6 directions on either side are special: two for each pair of units, in their span."""
    solved, plain = spectrum(*problem("relu", output_weights=[1.0, 1.0, -1.0]), white=True, inside_limit=0)
    assert ((solved > 0.8) & (solved < 1.25)).sum() >= K * D - 12
    assert solved[-1] / solved[0] < 0.7 * plain[-1] / plain[0]


def test_a_unit_that_is_nowhere_active():
    objective, theta = problem("relu")
    x = objective.engine.source.x
    x[:, 0] = -np.abs(x[:, 0])
    theta[: K * D] = np.tile(np.eye(D)[0], K)
    step = gaussian_curvature(objective, theta, np.random.SeedSequence(0)).apply(np.ones(K * D))
    assert np.isfinite(step).all()
