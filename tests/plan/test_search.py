"""A search is saved between any two rounds and goes on elsewhere, on rows that are opened anew, to the same bits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import ThreadEngine
from fastrecover.plan import Policy, Problem, Search
from fastrecover.plan.search import strategies_for
from fastrecover.solvers import Monitor
from fastrecover.sources import ArraySource

#: Model, rows, noise, init and policy of searches that take several rounds.
CASES = {
    "moments, then students": ("relu", (8, 3, 40), 0.0, "auto", {"fewest_chains": 2, "round_work": 0.0}),
    "students in noise": ("relu", (8, 2, 160), 0.5, "expand", {"expand_rounds": 4, "round_work": 0.0}),
    "restarts": ("tanh", (6, 2, 300), 0.5, "random", {"restarts": 1, "restart_numbers": 0}),
    "wider networks": ("quadratic", (12, 2, 45), 0.1, "auto", {}),
    "labels": ("fcn", (4, 2, 1500), 0.0, "random", {"restarts": 1, "restart_numbers": 0}),
}


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def problem(case: str) -> Problem:
    name, (d, k, n), noise, _, numbers = CASES[case]
    teacher = fr.datasets.make_teacher(name, n_features=d, n_hidden=k, random_state=4)
    X, y = teacher.sample(n, noise=noise, random_state=5)
    model = teacher.model if name == "fcn" else teacher.model.with_output_weights("signs")
    policy = Policy(**numbers)
    return Problem(ThreadEngine(ArraySource(X, y), 1), model, np.random.SeedSequence(0), Monitor(), 1e-3, policy=policy)


def search(case: str, position: bytes | None = None) -> Search:
    fresh = problem(case)
    return Search(fresh, strategies_for(fresh, CASES[case][3]), None if position is None else pickle.loads(position))


@pytest.mark.parametrize("case", CASES)
def test_a_search_goes_on_from_any_round(case):
    whole, saved = search(case), []
    while not whole.position.ended:
        whole.advance()
        saved.append(pickle.dumps(whole.position))
    best = whole.run()
    assert len(saved) >= 2, "the case must take several rounds to say anything"
    for position in saved[:: max(1, len(saved) // 3)]:
        resumed = search(case, position)
        found = resumed.run()
        np.testing.assert_array_equal(found.state.theta, best.state.theta)
        assert (found.state.loss, found.state.message, found.label) == (
            best.state.loss,
            best.state.message,
            best.label,
        )
        assert resumed.problem.report == whole.problem.report
        assert resumed.position.trusted == whole.position.trusted
