"""A search saved between any two rounds goes on elsewhere to the same bits; who proposes, who accepts, who ends it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import engine_on
from fastrecover.models import Quadratic, Regression
from fastrecover.plan import Policy, Problem, Search, carry_out
from fastrecover.plan.quadratic import Spectral
from fastrecover.plan.search import strategies_for
from fastrecover.plan.strategies import Expand, Moments, Restarts
from fastrecover.plan.thinning import Thin
from fastrecover.solvers import Monitor
from fastrecover.sources import ArraySource


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def problem(model, d, n, *, seed=0, noise=0.0, shift=0.0, **options):
    """A problem made afresh, as another process would make it."""
    teacher = fr.datasets.make_teacher(model, d, random_state=seed)
    x, y = teacher.sample(n, noise=noise, random_state=seed + 1000, n_jobs=1)
    x[:, 0] += shift
    return Problem(engine_on(ArraySource(x, y), 1), model, np.random.SeedSequence(seed), Monitor(), 1e-3, **options)


CASES = {
    # Nothing exact is found in the first rounds.
    "expand": (lambda: problem(Regression("relu", 5), 12, 84, seed=3), lambda p: [Expand()]),
    "restarts": (
        lambda: problem(Regression("tanh", 3, "free"), 6, 90, noise=0.5, policy=Policy(restarts=2, restart_numbers=1)),
        lambda p: [Restarts()],
    ),
    "moments, then expand": (lambda: problem(Regression("relu", 4), 10, 80), lambda p: strategies_for(p, "auto")),
    "thin": (
        lambda: problem(
            Regression("relu", 4),
            12,
            58,
            seed=1,
            policy=Policy(thin_steps=30, thin_iterations=50, thin_between=10, thin_gradients=2e4),
        ),
        lambda p: [Thin()],
    ),
    "whitened": (
        lambda: problem(Regression("relu", 3), 6, 5000, noise=0.5, shift=3.0),
        lambda p: strategies_for(p, "auto"),
    ),
    "spectral": (lambda: problem(Quadratic(2), 20, 90, noise=3.0), lambda p: [Spectral()]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_search_goes_on_from_its_position(case):
    made, chosen = CASES[case]
    whole = made()
    search, saved = Search(whole, chosen(whole)), []
    while not search.position.ended:
        saved.append(pickle.dumps(search.position))
        search.advance()
    best = search.run()
    assert len(saved) > 1
    for stored in (saved[len(saved) // 2], saved[-1], pickle.dumps(search.position)):
        again = made()
        found = Search(again, chosen(again), pickle.loads(stored)).run()
        np.testing.assert_array_equal(found.state.theta, best.state.theta)
        assert (found.state.loss, found.label, found.rows) == (best.state.loss, best.label, best.rows)
        assert again.report == whole.report and again.known_white == whole.known_white


def test_a_strategy_is_asked_until_one_is_trusted():
    """The second one sees what the first has found; a third is not asked."""
    given = problem(Regression("relu", 2), 6, 600)
    seen = []

    class Doubtful(Moments):
        def advance(self, problem, judge, known, progress):
            super().advance(problem, judge, known, progress)
            seen.append(len(known))
            progress.trusted = len(known) == 1

    search = Search(given, [Doubtful(), Doubtful(), Doubtful()])
    search.advance()
    assert not search.position.ended
    search.advance()
    assert search.position.ended
    assert seen == [0, 1] and search.position.trusted and search.run() in search.position.candidates
    assert given.report.candidates == given.report.agreeing == 2


def test_a_spent_budget_ends_a_search_that_has_something():
    given = problem(Regression("relu", 2), 6, 600, noise=0.5)
    given.monitor.max_passes = 0.5
    search = Search(given, [Moments(), Restarts()])
    with given.monitor.watching(given.engine.meter):
        search.advance()
        assert search.position.ended
    (only,) = search.position.candidates
    assert only.label == "random" and np.isfinite(only.state.loss)


def test_the_policy_steers():
    """Rows of the first sub-sample, and how many restarts run side by side, are numbers of the policy."""
    few = Policy(rows_per_parameter=5, fewest_rows=100)
    given = problem(Regression("relu", 2), 6, 3000, noise=0.3, policy=few)
    carry_out(given, "tensor", "auto")
    assert given.monitor.history["rows"][0] == 100 and given.report.sample_rows >= 100
    spy = replace(few, restart_rounds=1, restart_iterations=3)
    given = problem(Regression("relu", 2), 6, 3000, noise=0.3, policy=spy)
    carry_out(given, "random", "auto")
    assert {stage for stage in given.monitor.history["stage"] if "restarts" in stage} == {"random restarts 1"}


def test_unknown_signs_become_definite_and_free_sizes_go_into_rows():
    given = problem(Regression("relu", 3, "free"), 6, 900)
    outcome = carry_out(given, "auto", "auto")
    assert outcome.exact and outcome.candidate.model.known_v is not None
    assert set(np.abs(outcome.candidate.model.known_v)) == {1.0}
