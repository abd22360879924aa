"""Wider networks and other units as ways out of wrong minima: how often they find one, and where the search ends."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.optimize import minimize

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import engine_on
from fastrecover.models import Quadratic
from fastrecover.plan import Problem, Search, carry_out, quadratic
from fastrecover.plan.quadratic import Spectral
from fastrecover.solvers import Monitor
from fastrecover.sources import ArraySource


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def planted(d, k, n, seed, v="ones", noise=0.0, model=None):
    """A teacher, and the problem of finding it from few rows."""
    teacher = fr.datasets.make_teacher("quadratic", d, k, output_weights=v, random_state=seed)
    x, y = teacher.sample(n, noise=noise, random_state=seed + 1000, n_jobs=1)
    engine = engine_on(ArraySource(x, y), 1)
    return teacher, Problem(engine, model or teacher.model, np.random.SeedSequence(seed), Monitor(), 1e-3)


def solved(model, *case):
    """Whether the spectral start leads to the teacher, and whether it does with wider networks."""
    found = []
    for init in ("spectral", "auto"):
        teacher, problem = planted(*case, model=model)
        outcome = carry_out(problem, init, "auto")
        found.append(teacher.model.error(problem.parameters(outcome.candidate), teacher.parameters) < 1e-6)
        assert found[-1] or not outcome.exact
    return found


def test_local_minima_are_left():
    """At n = 1.8 d, k = 1: of 40 other seeds 33 are solved without and 38 with added rows."""
    found = np.array([solved(Quadratic(1), 20, 1, 36, seed) for seed in range(8)])
    assert found[:, 0].sum() <= 7  # otherwise there is nothing to see
    assert found[:, 1].sum() >= 7
    assert (found[:, 1] >= found[:, 0]).all()


@pytest.mark.parametrize("d, k, n", [(20, 3, 78), (20, 2, 54), (30, 1, 48)])
def test_message_passing_stands_behind(d, k, n):
    """At 1.37, 1.38 and 1.6 rows for each free number: of 40 other seeds 20, 13 and 17 are solved without, all with."""
    found = np.array([solved(Quadratic(k), d, k, n, seed) for seed in range(6)])
    assert found[:, 0].sum() <= 5  # otherwise there is nothing to see
    assert found[:, 1].all()


@pytest.mark.parametrize("d, k, n, condition", [(20, 3, 100, 5.0), (20, 2, 60, 6.0)])
def test_a_weak_direction_that_is_wrong_is_not_believed(d, k, n, condition):
    """Its loss is small beside the variance: by that alone 11 and 22 of 40 seeds were taken for found."""
    for seed in range(8):
        teacher = fr.datasets.make_teacher(
            "quadratic", d, k, output_weights="ones", condition_number=condition, random_state=seed
        )
        x, y = teacher.sample(n, random_state=seed + 1000, n_jobs=1)
        rec = fr.fit(x, y, teacher.model, k, random_state=seed, n_jobs=1)
        assert rec.converged and rec.error(teacher) < 1e-6


@pytest.mark.parametrize("v", [(1.0, 1.0, -1.0), (1.0, 1.0, 1.0)])
def test_signs_are_found(v):
    """Unknown signs at n = 1.6 d k: of 40 other seeds 27 and 36 are solved without added rows, and all with them."""
    found = np.array([solved(Quadratic(3, "signs"), 20, 3, 96, seed, v) for seed in range(8)])
    assert found[:, 1].all()


@pytest.mark.parametrize("noise, attempts", [(0.01, 0), (0.5, 3)])
def test_the_search_ends_where_nothing_is_gained(noise, attempts):
    """With little noise the first minimum is believed; with much, three attempts lead back to it."""
    teacher, problem = planted(20, 2, 240, 0, noise=noise * np.sqrt(2 * (1 + 2**4)))
    search = Search(problem, [Spectral()])
    tried, minima = [], []
    while True:
        search.advance()
        progress = search.position.progress
        if search.position.ended:
            break
        tried.append(progress.attempt)
        minima += [] if progress.here is None or progress.here in minima else [progress.here]
    assert max(tried) == attempts and len(minima) == 1 + attempts
    (best,) = search.position.candidates
    assert best.state.loss == min(each.state.loss for each in minima)
    first = problem.parameters(minima[0])
    assert teacher.model.error(problem.parameters(best), first) < 1e-2


def noisy(d, k, n, seed, noise, condition, v="signs"):
    """A teacher with a weak unit, and responses with noise of a share of their deviation."""
    teacher = fr.datasets.make_teacher(
        "quadratic", d, k, output_weights=v, condition_number=condition, random_state=seed
    )
    x, y = teacher.sample(n, random_state=seed + 1000, n_jobs=1)
    return teacher, x, y + noise * y.std() * np.random.default_rng(seed).standard_normal(n)


def lowest_of_all_signs(teacher, x, y, seed):
    """Sum of squared residuals of the best quadratic form of rank k with any signs, by quasi-Newton from six starts."""
    (k, d), rng = teacher.weights.shape, np.random.default_rng(seed)

    def loss(flat, v):
        w = flat.reshape(k, d)
        z = x @ w.T
        r = (z * z) @ v - y
        return r @ r / len(y), 4.0 * ((r[:, None] * z * v).T @ x).ravel() / len(y)

    found = []
    for v in combinations_with_replacement((1.0, -1.0), k):
        signs = np.array(v)
        near = teacher.weights[np.argsort(-teacher.output_weights, kind="stable")]
        starts = [near, *(near + 0.3 * rng.standard_normal((k, d)) for _ in range(5))]
        found += [
            minimize(loss, w.ravel(), (signs,), "L-BFGS-B", jac=True, options={"maxiter": 2000, "ftol": 1e-13}).fun
            for w in starts
        ]
    return min(found)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_no_signs_leave_less_noise(seed):
    """Fits that kept the signs of their start ended 2e-3 to 3e-2 above it."""
    teacher, x, y = noisy(20, 3, 1200, seed, 0.6, 6.0)
    rec = fr.fit(x, y, "quadratic", 3, output_weights="signs", random_state=seed, n_jobs=1)
    left = np.mean((rec.predict(x, n_jobs=1) - y) ** 2)
    assert rec.converged and left <= (1.0 + 1e-6) * lowest_of_all_signs(teacher, x, y, seed)


# Kept signs were wrong in so many of these.
@pytest.mark.parametrize(
    "d, k, n, noise, condition, kept",
    [
        (20, 3, 1200, 0.6, 6.0, 7),  # of all rows
        (20, 3, 12_000, 0.4, 9.0, 12),  # of a sub-sample; more rows say more of a third of them
        (10, 2, 400, 0.8, 5.0, 3),
    ],
)
def test_noise_hides_no_sign_from_a_fit(d, k, n, noise, condition, kept):
    """Of 40 seeds all end no higher than the fit that begins at the truth; 12, 22 and 3 did with the start's signs."""
    lower = 0
    for seed in range(20):
        teacher, x, y = noisy(d, k, n, seed, noise, condition)
        rec = fr.fit(x, y, "quadratic", k, output_weights="signs", random_state=seed, n_jobs=1)
        known = fr.fit(x, y, teacher.model, k, init=teacher.parameters, random_state=seed, n_jobs=1)
        assert rec.converged and rec.loss <= (1.0 + 1e-6) * known.loss
        lower += "other units" in rec.history["stage"]
    assert lower >= kept


def test_a_small_loss_does_not_hide_a_wrong_sign():
    """Without noise, at 5 rows a parameter: 8 of these, 12 of 40 seeds, were believed with a weak unit reversed."""
    for seed in range(16):
        teacher, x, y = noisy(40, 3, 600, seed, 0.0, 8.0)
        rec = fr.fit(x, y, "quadratic", 3, output_weights="signs", random_state=seed, n_jobs=1)
        assert rec.converged and rec.error(teacher) < 1e-6


@pytest.mark.parametrize("v", ["ones", (1.0, -1.0)])
def test_known_signs_are_kept(v, monkeypatch):
    monkeypatch.setattr(quadratic, "exchanges", None)
    teacher, x, y = noisy(10, 2, 400, 0, 0.8, 5.0, v)
    rec = fr.fit(x, y, teacher.model, 2, random_state=0, n_jobs=1)
    assert (rec.output_weights == teacher.output_weights).all()


def test_a_budget_that_ends_before_all_units_are_tried_is_said():
    teacher, x, y = noisy(20, 3, 1200, 4, 0.6, 6.0)
    options = dict(output_weights="signs", random_state=4, n_jobs=1)
    whole = fr.fit(x, y, "quadratic", 3, **options)
    tried = whole.history["pass"][whole.history["stage"] == "other units"]
    with pytest.warns(fr.ConvergenceWarning, match="before the minimum could be judged"):
        cut = fr.fit(x, y, "quadratic", 3, max_passes=int(tried[0]), **options)
    assert whole.converged and not cut.converged and cut.loss > 1.001 * whole.loss
