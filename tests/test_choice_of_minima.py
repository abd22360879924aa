"""Noisy rows whose least squares have many minima, or none: the one is taken that is lowest under a chosen penalty.

Teachers of two or three units with as much noise as signal and 10 or 15 rows a weight; SciPy and plain NumPy say what
least squares does from where these fits end.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import erf

import fastrecover as fr
from fastrecover import penalised
from fastrecover.data import Data, given
from fastrecover.engines import Meter, ThreadEngine
from fastrecover.models import Parameters
from fastrecover.plan import ALL, Candidate, Problem
from fastrecover.plan.judge import Judge
from fastrecover.request import ALPHAS, Request
from fastrecover.solvers import Monitor, State
from fastrecover.sources import ArraySource

# Those of which one minimum is lowest by far under the penalty, so that rounding does not decide what is found.
RUNS_OFF = ("erf", 3, 120, 20)
RUN_OFF = [RUNS_OFF, ("squared_relu", 2, 120, 6)]
VOUCHED = ("relu", 3, 180, 38)
SEVERAL = ("relu", 3, 180, 4)
STAYS = ("tanh", 3, 180, 25)


@cache
def rows(activation, k, n, seed):
    teacher = fr.datasets.make_teacher(activation, 4, k, random_state=seed, condition_number=3.0)
    X, y = teacher.sample(n, random_state=seed + 1)
    return teacher, X, y + np.std(y) * np.random.default_rng(seed).standard_normal(n)


def quietly(X, y, model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X, y, model, n_jobs=1, random_state=0, **options)


def fit(case, **options):
    teacher, X, y = rows(*case)
    return quietly(X, y, teacher.model, **options)


@cache
def found(case):
    return fit(case)


@cache
def searched(case):
    """The search of least squares alone, and the pass at which it ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(penalised, "_is_open", lambda *args: False)
        return fit(case)


def on_from(recovery, case):
    """Where SciPy's least squares goes from a recovery, with its weights."""
    _, X, y = rows(*case)
    o = fr.objective(X, y, recovery.model.with_resolved_signs(recovery.output_weights))
    theta = o.pack(recovery.parameters)
    return o.unpack(least_squares(o.residuals, theta, jac=lambda t: o.jacobian(t) @ np.eye(len(t)), max_nfev=200).x)


def same_bits(a, b):
    return np.array_equal(a.parameters.flat(), b.parameters.flat()) and a.loss == b.loss


@pytest.mark.parametrize("case", RUN_OFF, ids=lambda case: case[0])
def test_weights_that_run_off_are_held_and_it_is_said(case):
    teacher = rows(*case)[0]
    rec, before = found(case), searched(case)
    assert not rec.converged and "run off" in rec.message and f"alpha={rec.info['alpha']:g}" in rec.message
    assert rec.info["alpha"] == rec.info["chosen_under"] and rec.info["standardise"]
    # The largest weights of these teachers are 1 to 2.
    assert np.abs(rec.weights).max() < 3.0
    assert rec.error(teacher) < min(0.8, before.error(teacher))
    assert np.linalg.norm(on_from(rec, case).weights, axis=1).max() > 1.5 * np.linalg.norm(rec.weights, axis=1).max()


def test_what_holds_them_is_the_penalised_fit_of_that_alpha():
    teacher, X, y = rows(*RUNS_OFF)
    rec = found(RUNS_OFF)
    options = dict(alpha=rec.info["alpha"], standardise=True)
    assert same_bits(rec, fit(RUNS_OFF, **options)) or rec.loss < fit(RUNS_OFF, **options).loss
    squares = np.square(rec.weights * X.std(axis=0)).sum() * np.var(y) + np.square(rec.output_weights).sum()
    half = 0.5 * np.mean((erf(X @ rec.weights.T) @ rec.output_weights - y) ** 2)
    assert rec.loss == pytest.approx(half + 0.5 * options["alpha"] / len(X) * squares, rel=1e-12)
    assert rec.loss == pytest.approx(fit(RUNS_OFF, init=rec.parameters, **options).loss, rel=1e-9)
    assert rec.history["stage"][-1] == "chosen" and rec.history["loss"][-1] == pytest.approx(rec.loss, rel=1e-12)
    assert rec.standard_errors().weights.shape == rec.weights.shape


@pytest.mark.parametrize(("case", "converged"), [(VOUCHED, True), (SEVERAL, False)])
def test_a_minimum_of_least_squares_in_the_chosen_basin_is_returned(case, converged):
    teacher, X, y = rows(*case)
    rec, before = found(case), searched(case)
    assert rec.converged == converged and "rows held out have chosen" in rec.message
    assert "alpha" not in rec.info and rec.info["chosen_under"] in ALPHAS
    assert rec.loss == pytest.approx(0.5 * np.mean((rec.predict(X) - y) ** 2), rel=1e-12)
    assert rec.error(on_from(rec, case)) < 1e-3  # SciPy stays
    assert rec.error(teacher) < before.error(teacher)
    assert rec.history["loss"][-1] == pytest.approx(rec.loss, rel=1e-12)
    if not converged:
        assert before.loss < rec.loss and "no minimum can be vouched for" in rec.message


def test_the_minimum_stays_whose_basin_is_the_lowest():
    rec, before = found(STAYS), searched(STAYS)
    assert same_bits(rec, before) and rec.message == before.message and "alpha" not in rec.info
    kept = len(before.history["loss"])
    assert [*rec.history["stage"][:kept]] == [*before.history["stage"]] and rec.history["stage"][-1] == "chosen"
    np.testing.assert_array_equal(rec.history["loss"][:kept], before.history["loss"])
    assert (np.diff(rec.history["pass"]) >= 0).all() and rec.history["pass"][-1] <= rec.n_passes


def test_units_that_are_steps_stay_where_rows_held_out_want_them():
    """Rows of length 30 planted with little noise: they run off by any measure, and are vouched for as ever."""
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((2, 5))
    steps *= 30.0 / np.linalg.norm(steps, axis=1)[:, None]
    X = rng.standard_normal((2000, 5))
    y = np.tanh(X @ steps.T).sum(axis=1) + 0.1 * rng.standard_normal(2000)
    rec = quietly(X, y, "tanh", n_hidden=2)
    assert rec.converged and "alpha" not in rec.info and rec.info["chosen_under"] <= 1e-2
    signed = rec.weights * np.sign(rec.output_weights)[:, None]
    for step in steps:
        assert np.linalg.norm(signed - step, axis=1).min() < 0.1 * 30.0


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_budget_that_ends_in_between_leaves_the_earlier_minimum(share):
    rec, before = found(RUNS_OFF), searched(RUNS_OFF)
    most = before.n_passes + share * (rec.history["pass"][-1] - before.n_passes)
    cut = fit(RUNS_OFF, max_passes=most)
    assert same_bits(cut, before) and not cut.converged and "alpha" not in cut.info
    assert cut.message.startswith(f"max_passes={most:g} reached before the minimum could be judged")
    assert cut.history["loss"][-1] == pytest.approx(cut.loss, rel=1e-12)


@pytest.mark.parametrize("stage", [", rows held out", ", alpha="])
def test_a_callback_may_end_it_in_between(stage):
    before, seen = searched(RUNS_OFF), []

    def told(step):
        seen.append(step["stage"])
        return stage in step["stage"]

    cut = fit(RUNS_OFF, callback=told)
    assert same_bits(cut, before) and "stopped by the callback" in cut.message and stage in seen[-1]
    assert not any("held out" in each for each in cut.history["stage"])


def test_other_fits_are_left_alone(monkeypatch):
    """Those that have converged, were ended, have few rows, nothing of noise, or a penalty, restarts or solver."""
    monkeypatch.setattr(penalised, "_chosen", lambda *args: pytest.fail("a penalty was chosen"))
    teacher, X, y = rows(*RUNS_OFF)
    options = [dict(max_passes=50), dict(restarts=2), dict(alpha=1.0), dict(init=teacher.parameters)]
    options += [dict(solver="lbfgs"), dict(model=fr.models.Regression("tanh", 3, "free", loss="huber"))]
    for each in options:
        quietly(X, y, each.pop("model", teacher.model), **each)
    quietly(X[:20], y[:20], teacher.model, init="random")
    quietly(X, teacher.predict(X) + 1e-3 * (y - teacher.predict(X)), teacher.model)
    quietly(X, y + 50.0, teacher.model, max_passes=300)


def test_units_decide_nothing():
    teacher, X, y = rows(*RUNS_OFF)
    scales = np.array([4.0, 0.5, 16.0, 1.0])
    rec, other = found(RUNS_OFF), quietly(X * scales, y, teacher.model)
    assert other.info["alpha"] == rec.info["alpha"] and other.message == rec.message
    np.testing.assert_allclose(other.predict(X * scales), rec.predict(X), rtol=1e-4, atol=1e-4)


def test_penalties_are_told_apart_on_few_of_many_rows(monkeypatch):
    teacher, X, y = rows(*RUNS_OFF)
    data, sizes, some = given(X, y, None, teacher.model), [], Data.some

    def noted(self, samples):
        assert (np.diff(samples) > 0).all()
        sizes.append(len(samples))
        return some(self, samples)

    monkeypatch.setattr(Data, "some", noted)
    options = dict.fromkeys(("tol", "max_passes", "max_seconds", "callback"))
    request = Request.parsed(
        teacher.model,
        None,
        init="auto",
        solver="auto",
        restarts="auto",
        inputs="auto",
        random_state=0,
        verbose=0,
        alpha=[1.0, 10.0],
        model_options={},
        **options,
    )
    meter, monitor = Meter(len(X)), Monitor()
    choice = penalised.penalty_of(data, request, 1, monitor, meter, 100)
    assert sizes == [100, *(5 * [80, 20])] and [len(losses) for losses in choice.losses.values()] == [5, 5]
    assert monitor.history["stage"] == [] and monitor.note == ""


@pytest.mark.parametrize(
    ("activation", "rows_of_units", "outer", "off"),
    [
        ("relu", [[1.0, 0.0], [-1.0, 0.0]], [1.0, 1.0], False),  # |x|
        ("relu", [[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], False),  # x
        ("relu", [[9.0, 0.0], [8.0, 0.1]], [1.0, -1.0], True),
        ("relu", [[9.0, 0.0], [8.0, 0.1]], [1.0, 1.0], False),
        ("squared_relu", [[2.0, 0.0], [1.9, 0.1]], [1.0, -1.0], True),
        ("squared_relu", [[4.0, 0.0], [0.0, 1.0]], [1.0, -1.0], True),
        ("tanh", [[2.0, 0.0], [-2.0, 0.1]], [3.0, 3.0], True),
        ("tanh", [[2.0, 0.0], [-2.0, 0.1]], [3.0, -3.0], False),
        ("tanh", [[30.0, 0.0], [0.0, 1.0]], [1.0, 1.0], True),
        ("abs", [[5.0, 0.0], [-5.0, 0.1]], [1.0, -1.0], True),
    ],
)
def test_what_runs_off_is_a_step_or_cancels(activation, rows_of_units, outer, off):
    """For responses of deviation 1."""
    X = np.random.default_rng(0).standard_normal((2000, 2))
    model = fr.models.Regression(activation, 2, "free")
    engine = ThreadEngine(ArraySource(X, X[:, 0].copy()), 1)
    problem = Problem(engine, model, np.random.SeedSequence(0), Monitor(), 1e-3)
    known, theta = problem.with_signs(Parameters(np.array(rows_of_units), np.array(outer)))
    state = State(theta, 1.0, np.zeros_like(theta))
    assert Judge(problem).runs_off(Candidate(state, known, ALL, "")) == off
