"""Conjugate gradients on quadratic networks, against quadrature, dense polynomials and SciPy's least_squares.

The Hessian of the population comes from a Gauss-Hermite rule with three points in each dimension, which is exact
for the polynomials of degree four that it consists of.
"""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from scipy import optimize

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import ThreadEngine
from fastrecover.models import ConvRegression, Parameters, Quadratic, Regression
from fastrecover.solvers import FactoredDescent, Monitor, QuarticConjugateGradients, run
from fastrecover.solvers.quadratic_cg import Polynomial, null_directions, population_solve, smallest_eigenvalue
from fastrecover.sources import ArraySource
from fastrecover.starts import small_random_start, spectral_start
from fastrecover.sweeps import Objective

V = {"ones": "ones", "mixed": (1.0, -1.0), "sizes": (2.0, -0.5)}


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def go(objective, theta, *, dense=None, tol=1e-8, exact=0.0, iterations=400):
    solver = QuarticConjugateGradients(dense)
    options = dict(monitor=Monitor(), stage="test", tol=tol, exact_loss=exact, max_iterations=iterations)
    return run(solver, objective, theta, **options)


def planted(d, k, n, seed, v="ones", noise=0.0, **options):
    teacher = fr.datasets.make_teacher("quadratic", d, k, output_weights=v, random_state=seed, **options)
    x, y = teacher.sample(n, noise=noise, random_state=seed + 1000, n_jobs=1)
    return teacher, Objective(ThreadEngine(ArraySource(x, y), 1), teacher.model)


def near(teacher, seed, distance=0.3):
    """Flat parameters at a relative distance from the teacher's rows, without linear term and intercept."""
    rng = np.random.default_rng(seed)
    off = rng.standard_normal(teacher.weights.shape)
    off *= distance * np.linalg.norm(teacher.weights) / np.linalg.norm(off)
    return teacher.model.pack(Parameters(teacher.weights + off, teacher.output_weights))


def exact_loss(objective, relative):
    """Loss at which the relative error of M is about `relative`."""
    return 0.5 * relative**2 * objective.engine.response_variance()


def population_hessian(model, at):
    """``E[J J']`` at an exact fit, J the gradient of the output: by quadrature."""
    d = at.weights.shape[1]
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    x = np.array(list(itertools.product(nodes, repeat=d)))
    mass = np.array([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=d)])
    rows = 2.0 * (at.output_weights * (x @ at.weights.T))[:, :, None] * x[:, None, :]
    jac = [rows.reshape(len(x), -1)]
    jac += [x] if model.linear_term else []
    jac += [np.ones((len(x), 1))] if model.fit_intercept else []
    jac = np.concatenate(jac, axis=1)
    return jac.T @ (mass[:, None] * jac)


@pytest.mark.parametrize("v", V)
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_population_solve_inverts_the_population_hessian(v, linear, intercept):
    model = Quadratic(2, V[v], linear_term=linear, fit_intercept=intercept)
    rng = np.random.default_rng(7)
    at = Parameters(rng.standard_normal((2, 5)), model.known_v, np.zeros(5) if linear else None)
    hessian = population_hessian(model, at)
    rank = len(hessian) - 1  # k (k - 1) / 2 null directions
    assert np.linalg.matrix_rank(hessian, tol=1e-9) == rank
    for _ in range(5):
        grad = hessian @ rng.standard_normal(len(hessian))
        found = model.pack(population_solve(model, at, model.unpack(grad, 5)))
        np.testing.assert_allclose(hessian @ found, grad, rtol=0, atol=2e-14 * np.linalg.norm(grad))


@pytest.mark.parametrize("v", V)
def test_null_directions_change_nothing(v):
    teacher, objective = planted(6, 2, 200, 3, V[v], linear_term=1.0, intercept=0.5)
    theta = near(teacher, 0)
    null = null_directions(objective, theta)
    assert null.shape == (1, len(theta))
    assert np.linalg.norm(null[0]) == pytest.approx(1.0)
    matrix = objective.gauss_newton(theta)[2]
    assert np.linalg.norm(matrix @ null[0]) < 1e-12 * np.linalg.norm(matrix)
    grad = objective.value_and_grad(theta)[1]
    assert abs(null[0] @ grad) < 1e-12 * np.linalg.norm(grad)


@pytest.mark.parametrize("v", V)
def test_smallest_eigenvalue_is_that_of_the_whole_matrix(v):
    rng = np.random.default_rng(5)
    half = fr.Activation.from_functions(lambda z: 0.5 * z * z, lambda z: z, name="half square", parity="even")
    model = Regression(half, 2, V[v])
    at = Parameters(rng.standard_normal((2, 6)), model.known_v)
    values = np.linalg.eigvalsh(0.5 * at.weights.T @ (at.output_weights[:, None] * at.weights))
    assert smallest_eigenvalue(model, at) == pytest.approx(np.sort(np.abs(values))[-2], rel=1e-12)


def test_lowest_point_of_quartics():
    """Against a fine grid: slopes of quartics with one minimum and with two, in either order of depth."""
    rng = np.random.default_rng(0)
    points = (0.0, 0.5, 1.0, 2.0)
    left = 0
    for _ in range(100):
        roots = np.sort(rng.uniform(-3, 4, 3))
        slope = np.polynomial.Polynomial.fromroots(roots) * rng.uniform(0.1, 5)
        line = Polynomial(points, slope(np.array(points)))
        height = slope.integ()
        grid = np.linspace(-8, 8, 2001)
        s = line.lowest()
        left += abs(s - roots[0]) < 1e-6
        assert height(s) <= height(grid).min() + 1e-9 * np.ptp(height(roots))
        assert line.integral(0.5, 1.7) == pytest.approx(height(1.7) - height(0.5), rel=1e-9, abs=1e-11)
        assert line.weights(1.3) @ slope(np.array(points)) == pytest.approx(slope(1.3), rel=1e-9, abs=1e-11)
    assert 30 < left < 70  # each end is the lower one about as often
    # A slope that never changes sign: all the way, and no further.
    assert Polynomial(points, np.array([-1.0, -1.0, -1.0, -1.0])).lowest() == 8.0


@pytest.mark.parametrize("v", V)
def test_a_step_ends_at_the_lowest_point_of_its_line(v):
    teacher, objective = planted(8, 2, 200, 1, V[v], noise=0.3)
    theta = near(teacher, 2, distance=1.0)
    solver = QuarticConjugateGradients(dense=False)
    state = solver.begin(objective, theta)
    for _ in range(4):
        new = solver.step(objective, state)
        along = state.memory["direction"]
        t = (new.theta - state.theta) @ along / (along @ along)
        x, y = objective.engine.source.x, objective.engine.source.y
        w, move = (a.reshape(2, 8) for a in (state.theta, along))
        v_ = teacher.output_weights
        z, dz = x @ w.T, x @ move.T
        # Residuals are a + b t + c t^2.
        a, b, c = (z**2) @ v_ - y, 2 * (z * dz) @ v_, (dz**2) @ v_
        quartic = np.array([c @ c, 2 * b @ c, b @ b + 2 * a @ c, 2 * a @ b, a @ a]) / (2 * len(y))
        roots = np.roots(np.polyder(quartic))
        lowest = min(np.polyval(quartic, roots.real[np.abs(roots.imag) < 1e-9]))
        assert np.polyval(quartic, t) == pytest.approx(lowest, rel=1e-9)
        loss, grad = objective.value_and_grad(new.theta)
        assert new.loss == pytest.approx(loss, rel=1e-10)
        if state.memory["nodes"] == (0.5, 1.0, 2.0):
            np.testing.assert_allclose(new.grad, grad, atol=1e-11 * np.linalg.norm(state.grad))
        state = new


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("v", V)
def test_minimum_of_least_squares(v, dense):
    teacher, objective = planted(6, 2, 240, 5, V[v], noise=0.4, linear_term=0.7, intercept=0.5)
    theta = near(teacher, 1)
    x, y = objective.engine.source.x, objective.engine.source.y

    def residuals(theta):
        w, b, c = theta[:12].reshape(2, 6), theta[12:18], theta[18]
        return ((x @ w.T) ** 2 @ teacher.output_weights + x @ b + c - y) / np.sqrt(len(y))

    found = optimize.least_squares(residuals, theta, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    state = go(objective, theta, dense=dense)
    assert state.converged, state.message
    assert state.loss == pytest.approx(found.cost, rel=1e-10)
    mine, best = objective.unpack(state.theta), objective.unpack(found.x)
    assert teacher.model.error(mine, best) < 1e-6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_noise_and_precision(dtype):
    """A fit to noisy rows converges in single precision as well, to the same accuracy."""
    teacher = fr.datasets.make_teacher("quadratic", 20, 3, output_weights="ones", random_state=0)
    x, y = teacher.sample(1200, noise=0.5, random_state=1, dtype=dtype, n_jobs=1)
    objective = Objective(ThreadEngine(ArraySource(x, y), 1), teacher.model)
    state = go(objective, near(teacher, 0), tol=1e-3)
    assert state.converged and state.iteration < 25, state.message
    dof = 20 * 3 - 3
    predicted = 0.5 * np.sqrt(dof / (2 * (1200 - dof))) / np.linalg.norm(teacher.weights.T @ teacher.weights)
    # dof = 57 squared normal deviates: standard deviation 9 % of the root of their sum.
    assert teacher.model.error(objective.unpack(state.theta), teacher.parameters) == pytest.approx(predicted, rel=0.4)


@pytest.mark.parametrize("dense", [False, True])
def test_state_is_plain_data(dense):
    """Stored before and after the matrix is formed, and continued by a solver made afresh."""
    teacher, objective = planted(20, 3, 600, 0, noise=0.1)
    solver, stored = QuarticConjugateGradients(dense), []
    state = solver.begin(objective, near(teacher, 0))
    for _ in range(8):
        stored.append(pickle.dumps(state))
        state = solver.step(objective, state)
    assert ("factor" in state.memory) == dense
    for i in (2, 6):
        again = pickle.loads(stored[i])
        for _ in range(8 - i):
            again = QuarticConjugateGradients().step(objective, again)
        np.testing.assert_array_equal(again.theta, state.theta)


@pytest.mark.parametrize("dense, most", [(None, 12), (False, 34)])
def test_passes_to_rounding(dense, most):
    """Relative error 1e-10 at n = 6 d k from the spectral start; each of 20 seeds took 9 or 10, and 30 to 32."""
    for seed in range(3):
        teacher, objective = planted(100, 5, 3000, seed, condition_number=1.0)
        start = spectral_start(objective.engine, teacher.model, np.random.SeedSequence(seed))
        before = objective.passes
        state = go(objective, teacher.model.pack(start), dense=dense, tol=0.0, exact=exact_loss(objective, 1e-10))
        assert state.converged and "exact" in state.message
        assert teacher.model.error(objective.unpack(state.theta), teacher.parameters) < 2e-10
        assert objective.passes - before <= most


def test_passes_to_rounding_from_hardly_more_rows_than_unknowns():
    """At n = 1.43 d k: of 20 seeds 19 end there, with a matrix after 28 to 97 passes, without one after 223 to 363."""
    for seed in range(3):
        teacher, objective = planted(50, 3, 215, seed, condition_number=1.0)
        start = spectral_start(objective.engine, teacher.model, np.random.SeedSequence(seed))
        passes = []
        for dense in (None, False):
            before = objective.passes
            state = go(objective, teacher.model.pack(start), dense=dense, tol=0.0, exact=exact_loss(objective, 1e-13))
            assert state.converged and "exact" in state.message
            passes.append(objective.passes - before)
        assert passes[0] < 100 and passes[1] > 200


def test_gradients_are_right_after_a_matrix_was_formed():
    """The first step by a new matrix may be long, and the gradient along it bent."""
    formed = 0
    for seed in range(4):
        teacher, objective = planted(20, 2, 60, seed)
        solver = QuarticConjugateGradients(dense=True)
        state = solver.begin(objective, near(teacher, seed, distance=0.7))
        for _ in range(30):
            new = solver.step(objective, state)
            if "factor" in new.memory and "factor" not in state.memory:
                formed += 1
                loss, grad = objective.value_and_grad(new.theta)
                assert new.loss == pytest.approx(loss, rel=1e-6, abs=1e-20)
                np.testing.assert_allclose(new.grad, grad, rtol=0, atol=1e-9 * np.linalg.norm(state.grad))
            state = new
    assert formed >= 4


def test_the_choice_of_factor_does_not_matter():
    """Rows mixed by a hyperbolic rotation give the same M, the same steps and the same losses."""
    teacher, objective = planted(20, 2, 240, 0, V["mixed"])
    weights = near(teacher, 4).reshape(2, 20)
    sides = []
    for angle in (0.0, 3.0):
        mixed = np.array([[np.cosh(angle), np.sinh(angle)], [np.sinh(angle), np.cosh(angle)]]) @ weights
        solver = QuarticConjugateGradients(dense=False)
        state, losses = solver.begin(objective, mixed.ravel()), []
        for _ in range(8):
            state = solver.step(objective, state)
            losses.append(state.loss)
        sides.append((np.array(losses), objective.unpack(state.theta)))
    np.testing.assert_allclose(sides[0][0], sides[1][0], rtol=1e-6)
    assert teacher.model.error(sides[0][1], sides[1][1]) < 1e-6


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e3])
def test_far_starts(size):
    """Losses never rise, whatever the size of the start, and an easy problem is solved from all of them."""
    teacher, objective = planted(20, 3, 1200, 2)
    weights = np.random.default_rng(0).standard_normal((3, 20)) * size
    monitor = Monitor()
    state = run(
        QuarticConjugateGradients(),
        objective,
        weights.ravel(),
        monitor=monitor,
        stage="test",
        tol=0.0,
        exact_loss=exact_loss(objective, 1e-9),
        max_iterations=200,
    )
    assert state.converged, state.message
    assert (np.diff(monitor.history["loss"]) <= 0).all()
    assert teacher.model.error(objective.unpack(state.theta), teacher.parameters) < 1e-8


def test_more_rows_than_needed():
    """Rows that M does not need shrink; the fit is exact all the same."""
    teacher, _ = planted(15, 2, 600, 0)
    x, y = teacher.sample(600, random_state=9, n_jobs=1)
    objective = Objective(ThreadEngine(ArraySource(x, y), 1), Quadratic(4))
    start = np.random.default_rng(0).standard_normal(60)
    state = go(objective, start, dense=False, tol=0.0, exact=exact_loss(objective, 1e-4), iterations=400)
    found = objective.unpack(state.theta).weights
    truth = teacher.weights.T @ teacher.weights
    assert np.linalg.norm(found.T @ found - truth) < 1e-3 * np.linalg.norm(truth)


def test_a_start_without_gradient_is_no_minimum():
    _, objective = planted(6, 2, 100, 0)
    state = go(objective, np.zeros(12))
    assert not state.converged and "stationary" in state.message


def test_refuses_what_is_not_quadratic():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)), rng.standard_normal(50)
    solver = QuarticConjugateGradients()
    for model, words in (
        (Regression("relu", 2), r"quadratic units under squared loss.*'relu' units: use solver='lbfgs'"),
        (ConvRegression(2, "quadratic"), "2 patches of 'quadratic' units"),
        (Quadratic(2, "free"), "fixed output weights"),
    ):
        objective = fr.objective(x, y, model, n_jobs=1)
        with pytest.raises(ValueError, match=words):
            solver.begin(objective, np.ones(objective.n_parameters))


def test_descent_from_small_rows():
    """The step is that of rows of full size: the loss falls from the start on, slowly, then at a linear rate."""
    teacher, objective = planted(15, 2, 400, 0)
    start = small_random_start(objective.engine, teacher.model, np.random.default_rng(0))
    monitor = Monitor()
    state = run(
        FactoredDescent(),
        objective,
        teacher.model.pack(start),
        monitor=monitor,
        stage="test",
        tol=0.0,
        exact_loss=exact_loss(objective, 1e-8),
        max_iterations=2000,
    )
    assert state.converged and teacher.model.error(objective.unpack(state.theta), teacher.parameters) < 1e-7
    losses = np.array(monitor.history["loss"])
    assert (np.diff(losses) < 0).all()
    rates = losses[1:] / losses[:-1]
    assert rates[0] > 0.98 and np.ptp(rates[-20:]) < 1e-3
    # E[J J'] at the start, scaled to |W|^2 = mean y, by the Gram matrix of all rows.
    x, y = objective.engine.source.x, objective.engine.source.y
    w = start.weights * np.sqrt(y.mean()) / np.linalg.norm(start.weights)
    jac = (2.0 * (x @ w.T)[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    largest = np.linalg.eigvalsh(jac.T @ jac / len(x))[-1]
    assert state.memory["constant"] == pytest.approx(1.0 / largest, rel=0.1)  # twelve power iterations
