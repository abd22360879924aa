"""The studies of recovery power: what they plant, how they judge it, and that an interrupted one goes on.

Judgements (errors, contraction, coverage, counts) are held against cases worked out by hand or by SciPy.  The
studies themselves run in their quick forms, which measure nothing.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

import fastrecover as fr
from bench.harness import Context
from bench.power import STUDIES, intervals, methods, noise, phase, planted, zoo
from bench.power.pictures import pictures
from bench.power.workers import Workers
from fastrecover.models import Parameters


def first_is_slow(i: int) -> int:
    time.sleep(0.2 * (i == 0))
    return i * i


def fails(i: int) -> int:
    raise ValueError(f"task {i}")


@pytest.fixture(scope="module")
def studies():
    """Rows of every quick form."""
    found = {}
    for study in STUDIES:
        found[study] = list(importlib.import_module(f"bench.power.{study}").run(Context(1, quick=True)))
    return found


# ------------------------------------------------------------------------------------------------- workers


def test_processes_answer_in_the_order_of_the_tasks_and_pass_errors_on():
    with Workers(Context(2)) as workers:
        assert list(workers.map(first_is_slow, [(i,) for i in range(6)])) == [0, 1, 4, 9, 16, 25]
        with pytest.raises(ValueError, match="task 3"):
            list(workers.map(fails, [(3,)]))
    assert not multiprocessing.active_children()


def test_leaving_early_ends_the_processes():
    with pytest.raises(KeyboardInterrupt), Workers(Context(2)) as workers:
        next(workers.map(time.sleep, [(0,), (600,), (600,)]))
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


def test_cells_queue_their_tasks_and_take_kept_rows():
    context, asked = Context(1, quick=True), []
    context.kept = [{"n": 2, "sum": -1}, {"m": 3}]

    def task(i):
        asked.append(i)
        return i

    cells = [({"n": n}, [(10 * n + i,) for i in range(n)]) for n in (1, 2, 3)]
    with Workers(context) as workers:
        rows = list(workers.cells(context, cells, task, lambda found: {"sum": sum(found)}))
    assert rows == [{"n": 1, "sum": 10}, {"n": 2, "sum": -1}, {"n": 3, "sum": 93}]
    assert asked == [10, 30, 31, 32]


def test_an_interrupted_study_measures_only_what_is_missing(monkeypatch):
    whole = list(phase.run(Context(1, quick=True)))
    context, real, asked = Context(1, quick=True), phase.ours, []
    context.kept = json.loads(json.dumps(whole[:1]))
    monkeypatch.setattr(phase, "ours", lambda X, *rest: (asked.append(len(X)), real(X, *rest))[1])
    again = list(phase.run(context))
    assert again[0] == whole[0] and len(again) == len(whole)
    assert asked == [whole[1]["n"]] * whole[1]["seeds"]


# ------------------------------------------------------------------------------------------------- methods


def test_worst_unit_by_hand():
    weights = np.array([[3.0, 0.0], [0.0, 2.0]])
    model = fr.models.Regression("squared_relu", 2, output_weights="signs")
    teacher = fr.datasets.Teacher(model, Parameters(weights, np.array([1.0, -1.0])))
    # Units swapped; one is 3 % too long, the other 1 %; the size of an output weight belongs to its row.
    found = Parameters(np.array([[0.0, 2.06], [1.515, 0.0]]), np.array([-1.0, 4.0]))
    assert methods.worst_unit(found, teacher) == pytest.approx(0.03)
    wrong = replace(found, output_weights=np.array([1.0, 4.0]))
    assert methods.worst_unit(wrong, teacher) == np.inf
    assert methods.worst_unit(None, teacher) == np.inf


def test_restarts_recover_a_planted_network_and_stop_there():
    teacher, X, y = planted.planted("relu", 3, 6, 180, 0)
    with Workers(Context(1, quick=True)):
        found = methods.restarts(X, y, "relu", 3, 0)
    assert found.error(teacher) < 1e-9 and found.converged and found.starts < 10


def test_restarts_from_a_point_end_in_the_least_squares_minimiser():
    teacher, X, y = planted.planted("tanh", 2, 4, 200, 1, 0.2, output_weights="ones")
    with Workers(Context(1, quick=True)):
        found = methods.restarts(X, y, "tanh", 2, 0, exact=False, begin=teacher.parameters)

    def residual(theta):
        return np.tanh(X @ theta[:8].reshape(2, 4).T) @ theta[8:] - y

    truth = np.concatenate([teacher.weights.ravel(), teacher.output_weights])
    oracle = least_squares(residual, truth, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert found.starts == 1 and not found.converged
    # A run ends when 100 iterations gain less than a thousandth, so its loss is the oracle's to that and far closer.
    assert found.loss == pytest.approx(oracle.cost / len(y), rel=1e-6)
    assert found.parameters.weights == pytest.approx(oracle.x[:8].reshape(2, 4), abs=1e-3)


def test_refusals_and_divergence_count_as_nothing_found():
    teacher, X, y = planted.planted("squared_relu", 2, 4, 300, 0)
    refused = methods.ours(X, y, "quadratic", 5, 0, init="tensor-published")
    assert refused.parameters is None and refused.error(teacher) == np.inf and refused.note
    steep = fr.solvers.GradientDescent(1e3)
    assert methods.ours(X, y, "squared_relu", 2, 0, init="tensor", solver=steep).error(teacher) == np.inf


def test_recorded_descent_is_that_of_numpy():
    teacher, X, y = planted.planted("squared_relu", 2, 4, 300, 0, output_weights="ones")
    visited = []
    solver = methods.Recorded(fr.solvers.GradientDescent(0.02), visited.append)
    found = methods.ours(
        X, y, "squared_relu", 2, 0, init=1.1 * teacher.weights, solver=solver, max_passes=6, output_weights="ones"
    )
    w = 1.1 * teacher.weights
    for point in visited:
        assert point.weights == pytest.approx(w, rel=1e-12)
        z = np.maximum(X @ w.T, 0.0)
        w = w - 0.02 * (2.0 * z * ((z**2).sum(axis=1) - y)[:, None]).T @ X / len(X)
    assert len(visited) > 3 and found.error(teacher) < 0.1


# ------------------------------------------------------------------------------------------------- judgements


def test_contraction_of_a_geometric_sequence():
    factor, straight = noise.contraction(3.0 * 0.9 ** np.arange(200))
    assert factor == pytest.approx(0.9) and straight == pytest.approx(1.0)
    assert np.isnan(noise.contraction(np.array([1.0, 0.1, 0.0]))).all()


def test_median_takes_infinities():
    assert planted.median([3.0, 1.0, np.inf]) == 3.0
    assert planted.median([1.0, 2.0]) == 1.5
    assert planted.median([np.inf, np.inf, 0.0]) == np.inf


def test_counts_of_a_phase_cell():
    row = phase.summary([(1e-9, 1.0, True), (0.3, 5.0, True), (0.4, 2.0, False), (1e-12, 3.0, False)])
    assert (row["success"], row["exact"], row["wrong but converged"]) == (0.5, 2, 1)
    assert (row["seconds"], row["longest"]) == (2.5, 5.0)


def test_counts_of_the_zoo():
    common = {"L-BFGS": True, "L-BFGS s": 4.0}
    row = zoo.summary(
        [
            {"ours": True, "ours s": 1.0, "ours converged": True, **common},
            {"ours": False, "ours s": 2.0, "ours converged": True, **common},
            {"ours": False, "ours s": 3.0, "ours converged": True, "loss over that of the truth": 0.99, **common},
            {"ours": False, "ours s": 4.0, "ours converged": False, "scikit-learn": False, "scikit-learn s": 9.0}
            | common,
        ]
    )
    assert (row["ours"], row["L-BFGS"], row["scikit-learn"], row["scikit-learn tried"]) == (1, 4, 0, 1)
    assert (row["wrong but converged"], row["of these, loss not above the truth's"]) == (2, 1)
    assert (row["ours total s"], row["ours median s"], row["scikit-learn total s"]) == (10.0, 2.5, 9.0)
    assert row["L-BFGS s / ours s"] == pytest.approx((4 / 2 + 4 / 3) / 2)


def test_hundred_teachers_are_as_described():
    easy, hard = ([zoo.drawn(half, i) for i in range(50)] for half in zoo.HALVES)
    assert easy == [zoo.drawn("easy", i) for i in range(50)]
    assert {one.activation for one in easy} == set(fr.activations.NAMES)
    assert all(one.k <= 8 and one.d <= 200 and one.n == 20 * one.d * one.k for one in easy)
    assert max(one.d for one in easy) > 150 and max(one.condition_number for one in easy) > 9
    assert all(0.0 <= one.noise <= 1.0 and 1.0 <= one.condition_number <= 10.0 for one in easy)
    for odd in ("unequal", "noise", "correlation"):
        assert 15 <= sum(bool(getattr(one, odd)) for one in easy) <= 40
    assert 15 <= sum(one.output_weights == "free" for one in easy) <= 35
    assert {one.k for one in hard} == {5, 8, 12, 16, 20} and all(one.k <= one.d <= 3 * one.k for one in hard)
    assert all(4 * one.d * one.k - 1 <= one.n <= 10 * one.d * one.k + 1 for one in hard)
    assert all(1.0 <= one.condition_number <= 4.0 and one.noise == 0.0 and not one.known for one in hard)


def test_a_teacher_of_the_zoo_has_the_noise_and_correlation_that_it_says():
    draw = next(one for i in range(50) if (one := zoo.drawn("easy", i)).noise > 0.2 and one.correlation > 0.4)
    teacher, X, y = zoo.problem(draw)
    f = teacher.predict(X)
    assert X.shape == (draw.n, draw.d) and teacher.model.output_weights == draw.output_weights
    # Sampling errors: 1 / sqrt(2 n) of a standard deviation, below 1 / sqrt(n d) of the mean correlation; four each.
    assert np.std(y - f) / np.std(f) == pytest.approx(draw.noise, rel=4 / np.sqrt(2 * draw.n))
    neighbours = np.mean(X[:, 1:] * X[:, :-1])
    assert neighbours == pytest.approx(draw.correlation, abs=4 * 1.5 / np.sqrt(X.size))
    assert np.mean(X**2) == pytest.approx(1.0, abs=4 * 2.0 / np.sqrt(X.size))


def test_z_scores_are_those_of_a_sandwich_by_finite_differences():
    weights = np.array([[0.4, 0.1, 0.0], [0.2, -1.5, 0.7]])  # the fit sorts them the other way round
    model = fr.models.Regression("tanh", 2, output_weights="ones")
    teacher = fr.datasets.Teacher(model, Parameters(weights, np.ones(2)))
    X, y = teacher.sample(400, 0.3, random_state=3)
    rec = fr.fit(X, y, model, init=teacher.parameters, tol=1e-8)
    z = intervals.z_scores(rec, teacher)

    def predicted(theta):
        return np.tanh(X @ theta.reshape(2, 3).T).sum(axis=1)

    at = rec.weights[np.argsort(np.linalg.norm(rec.weights, axis=1))].ravel()
    jacobian = np.array([(predicted(at + 1e-6 * e) - predicted(at - 1e-6 * e)) / 2e-6 for e in np.eye(6)]).T
    bread = np.linalg.inv(jacobian.T @ jacobian)
    covariance = bread @ (jacobian.T * (predicted(at) - y) ** 2) @ jacobian @ bread * 400 / 394
    assert z == pytest.approx((at - weights.ravel()) / np.sqrt(covariance.diagonal()), rel=1e-5)


def test_coverage_by_hand():
    row = intervals.summary([np.array([0.0, 1.0]), None, np.array([3.0, 1.0])])
    assert (row["fits"], row["converged"], row["coverage"]) == (3, 2, 0.75)
    assert row["its error"] == pytest.approx(0.25 / np.sqrt(2)) and row["bias in errors"] == 1.5
    assert np.isnan(intervals.summary([None])["coverage"])


# ------------------------------------------------------------------------------------------------- quick forms


def test_quick_forms_give_plain_rows(studies):
    for study, rows in studies.items():
        assert rows and json.loads(json.dumps(rows))[0].keys() == rows[0].keys(), study
    assert all(row["success"] == 1.0 for row in studies["phase"])
    curves = {row["from"]: row for row in studies["experiments"] if row["part"] == "curve"}
    assert curves["tensor, ours"]["last error"] < 0.5 * curves["tensor, ours"]["first error"] < 0.1
    assert curves["tensor, ours, Gauss-Newton"]["last error"] < 1e-9
    assert {row["part"] for row in studies["goals"]} == {"goal", "threshold", "start"}
    start = next(row for row in studies["goals"] if row["part"] == "start")
    assert start["0.45 sqrt(dk/n)"] == pytest.approx(0.45 / np.sqrt(10))
    assert sum(row.get("teachers", 0) for row in studies["zoo"]) == 4
    # Descent and fit minimise the same loss, so their floors agree to a fraction of the statistical error.
    assert studies["noise"][0]["floor"] == pytest.approx(studies["noise"][0]["ours"], rel=0.1)


def test_every_study_has_its_picture(studies, tmp_path):
    drawn = pictures({f"power.{study}": {"rows": rows} for study, rows in studies.items()}, tmp_path)
    assert sorted(path.name for path in drawn) == sorted(f"power-{study}.png" for study in STUDIES if study != "large")
    assert all(path.stat().st_size > 10_000 for path in drawn)
    assert pictures({}, tmp_path) == []
