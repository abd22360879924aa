"""``fastrecover.objective`` under other people's optimisers: residuals, Jacobian, starts and flat vectors."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, least_squares, minimize

import fastrecover as fr
from fastrecover import kernels
from fastrecover.models import ConvRegression, Regression

RNG = np.random.default_rng(7)
N, D = 57, 4
X, W = RNG.standard_normal((N, D)), RNG.random(N) + 0.1
FULL = dict(hidden_bias=True, output_weights="free", fit_intercept=True)
MODELS = {
    "full": (Regression("tanh", 2, linear_term=True, **FULL), 1),
    "several outputs": (Regression("sigmoid", 3, **FULL), 3),
    "known weights": (Regression("softplus", 2, output_weights=np.array([1.5, -0.5])), 1),
    "patches": (ConvRegression(2, "tanh"), 1),
    "quadratic": (fr.models.Quadratic(2, output_weights="ones", linear_term=True, fit_intercept=True), 1),
}


def responses(m):
    rng = np.random.default_rng(8)
    return rng.standard_normal((N, m)) if m > 1 else rng.standard_normal(N)


def objective(name, weights=None, alpha=0.0, **options):
    model, m = MODELS[name]
    return fr.objective(X, responses(m), model, sample_weight=weights, alpha=alpha, **options)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("weights", [None, W], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", MODELS)
def test_residuals_and_jacobian_are_those_of_the_value(name, weights, alpha):
    o = objective(name, weights, alpha)
    rng = np.random.default_rng(9)
    theta, v = rng.standard_normal((2, o.n_parameters))
    r, J = o.residuals(theta), o.jacobian(theta)
    value, grad = o.value_and_grad(theta)
    v0 = o.model.known_v if alpha else None
    constant = 0.0 if v0 is None else alpha * float(v0 @ v0) / (2.0 * (N if weights is None else W.sum()))
    assert J.shape == (len(r), o.n_parameters) and len(r) == N * o.model.n_outputs + (alpha > 0) * o.n_parameters
    assert 0.5 * r @ r + constant == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(J.rmatvec(r), grad, rtol=1e-11, atol=1e-13)
    dense = J.toarray()
    np.testing.assert_allclose(dense, approx_fprime(theta, o.residuals, 1e-7), atol=2e-6)
    np.testing.assert_allclose(J @ v, dense @ v, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(J.T @ r[::-1], dense.T @ r[::-1], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(J.T @ (J @ v), o.hessp(theta, v, gauss_newton=True), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(J @ np.stack([v, theta], axis=1), dense @ np.stack([v, theta], axis=1), atol=1e-12)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_other_kernels_have_the_same_jacobian(backend):
    o = objective("full", W)
    theta, v = np.random.default_rng(3).standard_normal((2, o.n_parameters))
    u = o.residuals(theta)
    wanted = o.jacobian(theta) @ v, o.jacobian(theta).T @ u
    before = kernels.get_kernels()
    try:
        fr.set_kernels(backend)
        found = o.jacobian(theta) @ v, o.jacobian(theta).T @ u
    finally:
        fr.set_kernels(before)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_a_product_is_one_pass_and_has_the_same_bits_on_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((70_000, 6))
    y = np.tanh(x[:, 0]) - np.tanh(x @ np.arange(6.0))
    results = []
    for jobs in (1, 3):
        o = fr.objective(x, y, "tanh", 2, n_jobs=jobs)
        theta = np.linspace(-1.0, 1.0, o.n_parameters)
        J, u, before = o.jacobian(theta), o.residuals(theta), o.passes
        results += [(J @ theta, J.T @ u)]
        assert o.passes - before == 2
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_matrix_is_made_block_by_block(monkeypatch):
    o = objective("several outputs", W, 1.0)
    theta = np.random.default_rng(4).standard_normal(o.n_parameters)
    whole = o.jacobian(theta).toarray()
    monkeypatch.setattr("fastrecover.sweeps.jacobian._NUMBERS", 100)
    np.testing.assert_allclose(o.jacobian(theta).toarray(), whole, rtol=1e-14)


def test_values_at_many_points_are_one_pass():
    o = objective("full", W, 0.5)
    thetas = np.random.default_rng(2).standard_normal((5, o.n_parameters))
    before = o.passes
    values = o.values(thetas)
    assert o.passes - before == 1
    np.testing.assert_allclose(values, [o.value(theta) for theta in thetas], rtol=1e-13)


@pytest.fixture(scope="module")
def planted():
    teacher = fr.datasets.make_teacher("tanh", n_features=5, n_hidden=2, output_weights="ones", random_state=1)
    return teacher, *teacher.sample(800, random_state=2)


def test_scipy_finds_the_teacher_from_theta0(planted):
    teacher, x, y = planted
    o = fr.objective(x, y, "tanh", 2)
    start = o.theta0(random_state=0)
    assert o.model.error(o.unpack(start), teacher.parameters) < 0.3  # moments, of 80 rows a weight
    runs = {
        "least_squares": least_squares(o.residuals, start, jac=o.jacobian, xtol=1e-14, ftol=1e-14, gtol=1e-14).x,
        "trust-ncg": minimize(o.value_and_grad, start, jac=True, hessp=o.hessp, method="trust-ncg", tol=1e-12).x,
        "L-BFGS-B": minimize(
            o.value_and_grad, start, jac=True, method="L-BFGS-B", options=dict(ftol=1e-16, gtol=1e-12)
        ).x,
    }
    for name, theta in runs.items():
        assert o.model.error(o.unpack(theta), teacher.parameters) < 1e-6, name


def test_theta0_takes_what_a_fit_takes(planted):
    teacher, x, y = planted
    o = fr.objective(x, y, "tanh", 2)
    given = teacher.weights + 0.1
    np.testing.assert_allclose(o.theta0(given), given.ravel(), rtol=1e-12)
    np.testing.assert_allclose(o.theta0(teacher.parameters), o.pack(teacher.parameters), rtol=1e-12)
    random = o.theta0("random", random_state=3)
    np.testing.assert_array_equal(random, o.theta0("random", random_state=3))
    assert np.abs(random - o.theta0("random", random_state=4)).max() > 0.1
    with pytest.raises(ValueError, match="unknown init 'tensors'; did you mean 'tensor'"):
        o.theta0("tensors")
    with pytest.raises(ValueError, match="init"):
        o.theta0(np.ones((3, 5)))


def test_theta0_is_in_the_units_of_the_caller():
    teacher = fr.datasets.make_teacher("relu", n_features=4, n_hidden=2, output_weights="signs", random_state=5)
    x, y = teacher.sample(4000, random_state=6)
    scale = np.array([1.0, 1e3, 1e-3, 10.0])
    plain = fr.objective(x, y, "relu", 2, output_weights="free")
    other = fr.objective(x * scale, 100.0 * y, "relu", 2, output_weights="free")
    one, two = (o.value(o.theta0(random_state=0)) for o in (plain, other))
    assert two == pytest.approx(1e4 * one, rel=0.05)


def test_pack_and_unpack_are_inverse(planted):
    teacher, x, y = planted
    o = fr.objective(x, y, "tanh", 2)
    np.testing.assert_array_equal(o.pack(o.unpack(np.arange(10.0))), np.arange(10.0))
    with pytest.raises(ValueError, match="do not fit a model of 10"):
        o.pack(fr.datasets.make_teacher("tanh", 6, 2, random_state=0).parameters)


@pytest.mark.parametrize(
    ("loss", "y"), [("huber", responses(1)), ("logistic", responses(1) > 0), ("poisson", np.abs(np.rint(responses(1))))]
)
def test_residuals_of_other_losses_are_refused(loss, y):
    o = fr.objective(X, y, "tanh", 2, output_weights="free", loss=loss)
    theta = np.ones(o.n_parameters)
    for ask in (o.residuals, o.jacobian):
        with pytest.raises(ValueError, match=f"squared loss, and this model has the {loss} loss"):
            ask(theta)
