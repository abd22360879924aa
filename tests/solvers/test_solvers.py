"""Every solver against SciPy's least_squares, and what the loop promises: plain state, budget, honest ends.

The residuals and Jacobian handed to SciPy are written out here, so both sides share only the data.
"""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy import optimize, special

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.linalg import damped_solve
from fastrecover.models import Regression
from fastrecover.solvers import (
    LBFGS,
    FactoredMatrix,
    GaussNewton,
    GradientDescent,
    Monitor,
    StochasticGradientDescent,
    minimise_many,
    run,
)
from fastrecover.solvers.gradient import largest_curvature
from fastrecover.solvers.lbfgs import _Batch
from fastrecover.solvers.newton import decrement

PHI = {
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
    "sigmoid": special.expit,
    "relu": lambda z: np.maximum(z, 0),
}
K, D, N = 2, 4, 300


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def problem(name="tanh", v="ones", seed=0, noise=0.1, n=N):
    """Objective, a start near the truth, and the minimiser that SciPy finds from it."""
    teacher = fr.datasets.make_teacher(name, D, K, output_weights="ones", intercept=0.3, random_state=seed)
    x, y = teacher.sample(n, noise=noise, random_state=seed + 1)
    model = Regression(name, K, v, fit_intercept=True)
    rng = np.random.default_rng(seed)
    truth = model.pack(teacher.parameters)
    start = truth + 0.05 * rng.standard_normal(len(truth))

    def residuals(theta):
        w, rest = theta[: K * D].reshape(K, D), theta[K * D :]
        out = rest[:K] if v == "free" else np.ones(K)
        return (PHI[name](x @ w.T) @ out + rest[-1] - y) / np.sqrt(len(y))

    found = optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale=1.0)
    return fr.objective(x, y, model, n_jobs=1), start, found


def go(solver, objective, theta, *, tol=1e-7, iterations=3000, exact=0.0, monitor=None, stage="test"):
    monitor = monitor or Monitor()
    return run(
        solver,
        objective,
        theta,
        monitor=monitor,
        stage=stage,
        tol=tol,
        exact_loss=exact,
        max_iterations=iterations,
    )


def preconditioned(objective, start):
    matrix = objective.gauss_newton(start)[2] + 1e-9 * np.eye(len(start))
    return LBFGS(preconditioner=FactoredMatrix.of(matrix, 0.0))


SOLVERS = {
    "dense": lambda o, t: GaussNewton(dense=True),
    "cg": lambda o, t: GaussNewton(dense=False),
    "lbfgs": lambda o, t: LBFGS(),
    "lbfgs short": lambda o, t: LBFGS(memory=3),
    "preconditioned": preconditioned,
    "gd": lambda o, t: GradientDescent(),
}


@pytest.mark.parametrize("name", ["tanh", "softplus", "sigmoid"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_minimum_of_least_squares(solver, name):
    objective, start, found = problem(name)
    state = go(SOLVERS[solver](objective, start), objective, start, iterations=20_000)
    assert state.converged, state.message
    assert state.loss == pytest.approx(found.cost, rel=1e-8)
    np.testing.assert_allclose(state.theta, found.x, atol=2e-4 if solver == "gd" else 2e-5)
    loss, grad = objective.value_and_grad(state.theta)
    assert state.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(state.grad, grad, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "softplus"])
@pytest.mark.parametrize("solver", ["dense", "lbfgs", "preconditioned"])
def test_digits_below_the_rounding_of_the_loss(solver, name):
    """Losses of points 1e-8 apart are equal to rounding; the root of the gradient, written out here, is not."""
    objective, start, found = problem(name, noise=0.3)
    x, y = objective.engine.source.x, objective.engine.source.y
    slope = {"tanh": lambda z: 1 - np.tanh(z) ** 2, "softplus": special.expit}[name]

    def gradient(theta):
        z = x @ theta[:-1].reshape(K, D).T
        r = PHI[name](z).sum(axis=1) + theta[-1] - y
        return np.append((slope(z) * r[:, None]).T @ x / len(y), r.mean())

    root = optimize.root(gradient, found.x, tol=1e-14)
    state = go(SOLVERS[solver](objective, start), objective, start, tol=1e-10)
    assert state.converged and "below tol" in state.message
    np.testing.assert_allclose(state.theta, root.x, atol=1e-10)


def test_a_minimum_cannot_be_improved():
    """Begun where it ended, a run ends there again, although no loss falls any more."""
    objective, start, _ = problem("tanh", noise=0.3)
    end = go(preconditioned(objective, start), objective, start, tol=1e-10)
    for solver in (preconditioned(objective, end.theta), GaussNewton()):
        again = go(solver, objective, end.theta, tol=1e-30, iterations=200)
        assert again.converged and again.iteration < 60, again.message
        np.testing.assert_allclose(again.theta, end.theta, atol=1e-9)


def test_a_run_in_legs_is_one_run():
    objective, start, _ = problem("tanh", noise=0.3)
    solver, settings = preconditioned(objective, start), {"stage": "test", "tol": 1e-9, "exact_loss": 0.0}
    whole, legs = Monitor(), Monitor()
    end = run(solver, objective, start, monitor=whole, max_iterations=100, **settings)
    state = run(solver, objective, start, monitor=legs, max_iterations=0, **settings)
    while not state.converged:
        assert state.message.startswith("not converged after")
        state = run(solver, objective, state.theta, monitor=legs, max_iterations=2, begun=state, **settings)
    np.testing.assert_array_equal(state.theta, end.theta)
    assert (state.iteration, state.message) == (end.iteration, end.message)
    assert legs.history["loss"] == whole.history["loss"]


def test_constant_step():
    objective, start, found = problem("tanh")
    largest = np.linalg.eigvalsh(objective.gauss_newton(found.x)[2])[-1]
    state = go(GradientDescent(1.5 / largest), objective, start, tol=1e-6, iterations=20_000)
    assert state.converged
    np.testing.assert_allclose(state.theta, found.x, atol=2e-4)
    one = GradientDescent(0.01)
    first = one.begin(objective, start)
    np.testing.assert_array_equal(one.step(objective, first).theta, start - 0.01 * first.grad)


@pytest.mark.parametrize("v", ["ones", "free"])
def test_kinks(v):
    """The empirical loss of relu units has kinks at its minimiser: losses agree, to the kinks' resolution."""
    objective, start, found = problem("relu", v, n=2000)
    for solver in (GaussNewton(), LBFGS()):
        state = go(solver, objective, start)
        assert state.converged, state.message
        assert state.loss <= found.cost * (1 + 1e-3 * len(start) / 2000)


def test_kinks_bound_the_tolerance_where_rows_are_many():
    """5 / sqrt(40,000) = 0.025 of the statistical error: taken for a tolerance of 0.01, too far from one of 1e-4."""
    objective, start, found = problem("relu", n=40_000)
    state = GaussNewton().begin(objective, start)
    unit = np.sqrt(2 * found.cost * len(start) / 40_000)
    state.loss, state.decrement = found.cost, 0.02 * unit

    class Still:
        name = "still"

        def begin(self, objective, theta):
            return copy.copy(state)

        def step(self, objective, state):
            return copy.copy(state)

    smooth = problem("tanh", n=40_000)[0]
    for loss, tol, met in ((objective, 1e-2, True), (objective, 1e-4, False), (smooth, 1e-2, False)):
        assert (go(Still(), loss, start, tol=tol, iterations=2).iteration == 0) == met


def test_gauss_newton_takes_one_pass_a_step_while_the_least_damping_wins():
    objective, start, found = problem("tanh", n=2000)
    solver = GaussNewton(dense=True)
    state = solver.begin(objective, start)
    rows = []
    for _ in range(4):
        before = objective.engine.meter.rows
        state = solver.step(objective, state)
        rows.append((objective.engine.meter.rows - before) // 2000)
    assert rows[0] == 2 and rows[1] == 1, rows
    assert state.loss == pytest.approx(found.cost, rel=1e-9)


def test_minimise_many():
    objective, start, found = problem("tanh")
    rng = np.random.default_rng(5)
    thetas = start + 0.1 * rng.standard_normal((6, len(start)))
    before = thetas.copy()
    ends, losses = minimise_many(objective, thetas, iterations=200)
    np.testing.assert_array_equal(thetas, before)
    np.testing.assert_allclose(losses, found.cost, rtol=1e-8)
    np.testing.assert_allclose(ends, np.tile(found.x, (6, 1)), atol=1e-3)
    np.testing.assert_allclose(losses, objective.values(ends), rtol=1e-12)


def test_minimise_many_counts_one_pass_for_all_runs():
    objective, start, _ = problem("tanh")
    minimise_many(objective, np.array([start, start + 0.1, start - 0.1]), iterations=7)
    assert objective.passes <= 8


def test_minimise_many_ends_with_the_first_exact_run():
    objective, start, _ = problem("tanh", noise=0.0)
    far = start + np.random.default_rng(1).standard_normal(len(start))
    ends, losses = minimise_many(objective, np.array([far, start]), iterations=500, exact_loss=1e-20)
    assert losses.min() <= 1e-20
    assert objective.passes < 100


class Bowls:
    """Convex, of curvatures that change along the way and differ between runs, so that each is pulled back."""

    curvatures = np.logspace(0, 3, 9)

    def values_and_grads(self, thetas, own):
        size = self.curvatures ** own[:, None]
        return (size * np.cosh(3 * thetas)).sum(axis=1), 3 * size * np.sinh(3 * thetas)


def test_directions_side_by_side_are_those_of_the_two_loop_recursion():
    """Of Nocedal's two loops over the same pairs: more steps than pairs, and passes in which some runs go nowhere."""
    rng, memory, objective = np.random.default_rng(0), 4, Bowls()
    batch = _Batch(objective, rng.standard_normal((3, 9)), memory, np.array([0.5, 1.0, 1.5]))
    moves, compared, still = [], 0, 0
    for _ in range(25):
        before, grad = batch.theta.copy(), batch.grad.copy()
        batch.advance()
        moved = (batch.theta != before).any(axis=1)
        if moved.any():  # a slot for all runs
            moves.append((moved, batch.theta - before, batch.grad - grad))
        still += moved.any() and not moved.all()
        expected = batch.grad.copy()
        for i, q in enumerate(expected):
            pairs = [(s[i], y[i]) for on, s, y in moves[-memory:] if on[i]]
            shares = []
            for s, y in reversed(pairs):
                shares.append((s @ q) / (s @ y))
                q -= shares[-1] * y
            if pairs:
                q *= (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1])
            for (s, y), share in zip(pairs, reversed(shares), strict=True):
                q += (share - (y @ q) / (s @ y)) * s
        fresh = batch.fresh.copy()
        batch._aim()
        full = fresh & np.array([any(on[i] for on, *_ in moves[-memory:]) for i in range(3)])
        np.testing.assert_allclose(batch.direction[full], -expected[full], rtol=1e-6, atol=1e-9)
        compared += full.sum()
    assert compared > 40 and still > 3 and len(moves) > 2 * memory


@pytest.mark.parametrize("solver", SOLVERS)
def test_state_is_plain_data(solver):
    """A run stopped anywhere, stored and continued by a new solver ends in the same bits; steps leave old states alone.

    The preconditioner is in the state: a new L-BFGS needs none.
    """
    objective, start, _ = problem("tanh", noise=0.3)
    chosen, anew = SOLVERS[solver](objective, start), (SOLVERS | {"preconditioned": SOLVERS["lbfgs"]})[solver]
    state = chosen.begin(objective, start)
    for _ in range(3):
        state = chosen.step(objective, state)
    stored = pickle.dumps(state)
    copies = [state, copy.deepcopy(state), pickle.loads(stored)]
    ends = []
    for each, runner in zip(copies, (chosen, anew(objective, start), anew(objective, start)), strict=True):
        for _ in range(4):
            each = runner.step(objective, each)
        ends.append(each)
    for end in ends[1:]:
        np.testing.assert_array_equal(end.theta, ends[0].theta)
        np.testing.assert_array_equal(end.grad, ends[0].grad)
        assert end.loss == ends[0].loss
    assert pickle.dumps(pickle.loads(stored)) == pickle.dumps(pickle.loads(pickle.dumps(state)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_first_step_leaves_the_first_state_alone(solver):
    objective, start, _ = problem("tanh")
    chosen = SOLVERS[solver](objective, start)
    state = chosen.begin(objective, start)
    before = pickle.dumps(state)
    chosen.step(objective, state)
    assert pickle.dumps(state) == before


@pytest.mark.parametrize("solver", SOLVERS)
def test_budget(solver):
    """A step may overshoot the budget by its own passes and no more."""
    objective, start, _ = problem("tanh", noise=0.3)
    chosen, monitor = SOLVERS[solver](objective, start), Monitor(max_passes=objective.passes + 6)
    state = go(chosen, objective, start + 0.3, tol=1e-12, monitor=monitor)
    assert not state.converged
    assert "max_passes" in state.message
    used = np.diff(monitor.history["pass"])
    assert objective.passes <= monitor.max_passes + used.max()


@pytest.mark.parametrize("answer", [True, np.True_])
def test_callback_ends_the_run(answer):
    objective, start, _ = problem("tanh", noise=0.3)
    events = []

    def callback(event):
        events.append(event)
        return answer if len(events) == 3 else None

    state = go(GaussNewton(), objective, start + 0.3, tol=1e-12, monitor=Monitor(callback))
    assert len(events) == 3
    assert not state.converged and state.message == "stopped by the callback"
    assert set(events[0]) == {"stage", "pass", "loss", "grad_norm", "rows", "seconds"}
    assert events[0]["stage"] == "test" and events[0]["rows"] == N
    assert events[0]["grad_norm"] == pytest.approx(np.linalg.norm(objective.value_and_grad(start + 0.3)[1]))
    losses = [event["loss"] for event in events]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus"])
def test_steps_that_diverge_are_reported(name):
    objective, start, _ = problem(name)
    with np.errstate(all="ignore"):
        state = go(GradientDescent(1e6), objective, start, iterations=500)
    assert not state.converged, state.message
    assert state.loss > objective.value(start) or not np.isfinite(state.loss)


def test_infinite_loss_is_reported():
    teacher = fr.datasets.make_teacher("quadratic", D, K, random_state=0)
    x, y = teacher.sample(N, random_state=1)
    objective = fr.objective(x, y, "quadratic", K)
    with np.errstate(all="ignore"):
        state = go(GradientDescent(10.0), objective, teacher.weights.ravel() + 1.0)
    assert state.stopped and not state.converged
    assert "diverge" in state.message


@pytest.mark.parametrize("solver", ["dense", "cg", "lbfgs", "gd"])
def test_a_start_without_gradient_is_no_minimum(solver):
    """All rows zero: the gradient of relu units vanishes though the loss is far from its minimum."""
    teacher = fr.datasets.make_teacher("relu", D, K, output_weights="ones", random_state=0)
    x, y = teacher.sample(N, random_state=1)
    objective = fr.objective(x, y, "relu", K, output_weights="ones")
    state = go(SOLVERS[solver](objective, None), objective, np.zeros(K * D))
    assert not state.converged, state.message


@pytest.mark.parametrize("solver", SOLVERS)
def test_exact_fit(solver):
    objective, start, _ = problem("tanh", noise=0.0)
    state = go(SOLVERS[solver](objective, start), objective, start, exact=1e-22, iterations=20_000, tol=1e-12)
    assert state.converged and state.loss <= 1e-22
    assert "exact" in state.message
    again = go(SOLVERS[solver](objective, start), objective, state.theta, exact=1e-22)
    assert again.iteration == 0


def test_history_has_one_line_for_each_state():
    objective, start, _ = problem("tanh")
    monitor = Monitor()
    state = go(GaussNewton(), objective, start, monitor=monitor)
    lines = [len(column) for column in monitor.history.values()]
    assert lines == [state.iteration + 1] * 6
    assert (np.diff(monitor.history["pass"]) > 0).all()
    assert monitor.history["loss"][-1] == state.loss


def test_iterations_run_out():
    objective, start, _ = problem("tanh")
    state = go(GradientDescent(1e-4), objective, start, iterations=5)
    assert not state.converged
    assert state.message == "not converged after 5 iterations"


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_bad_step_sizes(step):
    with pytest.raises(ValueError, match="step_size"):
        GradientDescent(step)


def test_damped_solve():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 6))
    g = rng.standard_normal(6)
    matrix = a.T @ a
    expected = np.linalg.solve(matrix + 0.2 * np.diag(np.diag(matrix)), g)
    np.testing.assert_allclose(damped_solve(matrix, g, 0.2), expected, atol=1e-10)
    assert decrement(matrix, g) == pytest.approx(np.sqrt(g @ np.linalg.solve(matrix, g)), rel=1e-9)
    singular = np.outer(g, g)
    assert np.isfinite(damped_solve(singular, g, 0.0)).all()
    np.testing.assert_array_equal(damped_solve(np.zeros((6, 6)), np.zeros(6), 0.0), np.zeros(6))


def test_stochastic_descent_by_hand():
    """Batches in order, the step divided by `cut` at every eighth of the steps from the middle on."""
    X, y = np.random.default_rng(1).standard_normal((10, 2)), np.random.default_rng(2).standard_normal(10)
    objective = fr.objective(X, y, "quadratic", 1, n_jobs=1)
    solver = StochasticGradientDescent(0.01, batch_size=4, steps=8, cut=2.0)
    theta = by_hand = np.array([0.3, -0.2])
    state = solver.begin(objective, theta)
    for i in range(8):
        state = solver.step(objective, state)
        rows = slice(0, 5) if i % 2 == 0 else slice(5, 10)
        z = X[rows] @ by_hand
        step = 0.01 * 2.0 ** -max(0, i - 3)
        by_hand = by_hand - step * 2.0 * ((z**2 - y[rows]) * z) @ X[rows] / 5
        np.testing.assert_allclose(state.theta, by_hand, rtol=1e-12)
    last = solver.step(objective, state)
    assert last.stopped and last.message == "all 8 steps were taken"
    assert last.loss == pytest.approx(objective.value(by_hand), rel=1e-12)


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"steps": 0}, {"cut": 0.5}])
def test_bad_settings_of_stochastic_descent(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} must be at least 1"):
        StochasticGradientDescent(0.1, **bad)


def test_fresh_batches_are_never_empty():
    """Of five rows there are five batches, not a hundred."""
    x = np.random.default_rng(0).standard_normal((5, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fr.ConvergenceWarning)
        rec = fr.fit(x, np.arange(5.0), "tanh", 1, init=np.eye(1, 2), solver="resampled-gd")
    assert np.isfinite(rec.loss) and "every batch was used once" in rec.message
    assert len(rec.history["loss"]) == 1 + 5 + 1


def test_a_flat_start_has_no_curvature_to_divide_by():
    objective = fr.objective(np.ones((4, 2)), np.arange(4.0), "relu", 1)
    assert largest_curvature(objective, np.zeros(2)) == 0.0
    assert np.isfinite(GradientDescent("curvature").begin(objective, np.zeros(2)).memory["constant"])
