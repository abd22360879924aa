"""The landscape start: figures of the method, what it refuses, and the published descent with its read-out."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.engines import ThreadEngine
from fastrecover.models import Parameters, Regression
from fastrecover.sources import ArraySource
from fastrecover.starts import Descent, StartError, landscape_start
from fastrecover.starts.landscape import check_landscape
from fastrecover.sweeps import TensorLandscape, population_tensor


def unit_rows(m, d, condition, seed):
    rng = np.random.default_rng(seed)
    rows = np.linalg.qr(rng.standard_normal((d, m)))[0].T
    if condition > 1:
        rows = np.linalg.qr(rng.standard_normal((m, m)))[0] @ (np.linspace(1.0, condition, m)[:, None] * rows)
    return rows / np.linalg.norm(rows, axis=1)[:, None]


def drawn(rows, n, seed, activation="relu", a=None):
    x = np.random.default_rng(1000 + seed).standard_normal((n, rows.shape[1]))
    a = np.ones(len(rows)) if a is None else a
    return x, fr.activations.get_activation(activation).value(x @ rows.T) @ a


def started(x, y, model, seed=0):
    return landscape_start(ThreadEngine(ArraySource(x, y), 1), model, np.random.SeedSequence(seed))


def least_cosine(found, rows):
    unit = found.weights / np.linalg.norm(found.weights, axis=1)[:, None]
    cosines = unit @ rows.T
    return min(cosines.max(axis=0).min(), cosines.max(axis=1).min())


# All twenty seeds succeed at these sizes; were the true rate 0.9, ten would pass one time in three.
@pytest.mark.parametrize(
    ("m", "d", "condition", "n"), [(10, 10, 1.0, 1000), (10, 10, 2.0, 1500), (5, 20, 1.0, 600), (5, 20, 2.0, 800)]
)
def test_all_rows_are_found_before_any_refinement(m, d, condition, n):
    for seed in range(10):
        rows = unit_rows(m, d, condition, seed)
        x, y = drawn(rows, n, seed)
        assert least_cosine(started(x, y, Regression("relu", m)), rows) > 0.9


def test_more_than_twenty_units_go_by_sweeps_of_projected_rows():
    """Averages at m = 22 want many rows; the same start from a tensor would build 12,650 features."""
    rows = unit_rows(22, 24, 1.0, 0)
    x, y = drawn(rows, 20_000, 0)
    assert least_cosine(started(x, y, Regression("relu", 22)), rows) > 0.9


def test_fit_recovers_rows_and_weights_of_unit_rows():
    rows, a = unit_rows(4, 12, 2.0, 3), np.array([0.5, 1.0, 1.5, 2.0])
    x, y = drawn(rows, 1500, 3, a=a)
    rec = fr.fit(x, y, "landscape", n_hidden=4, random_state=0)
    truth = Parameters(rows, a)
    assert rec.converged and rec.model.error(rec.parameters, truth) < 1e-10
    np.testing.assert_allclose(np.sort(rec.output_weights), a, rtol=1e-10)


def test_negative_output_weights_of_one_sign_are_found_too():
    rows = unit_rows(3, 8, 1.5, 4)
    x, y = drawn(rows, 1500, 4, a=-np.ones(3))
    found = started(x, y, Regression("relu", 3, "signs"))
    assert (found.output_weights == -1).all() and least_cosine(found, rows) > 0.9


def test_activation_that_is_not_homogeneous_is_taken_to_have_unit_rows():
    rows, a = unit_rows(3, 6, 1.0, 5), np.array([1.0, 2.0, 1.5])
    x, y = drawn(rows, 60_000, 5, "softplus", a)
    found = started(x, y, Regression("softplus", 3, "free"))
    assert least_cosine(found, rows) > 0.9
    np.testing.assert_allclose(np.linalg.norm(found.weights, axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.sort(found.output_weights), np.sort(a), rtol=0.3)


@pytest.mark.parametrize("name", ["squared_relu", "quadratic", "tanh", "sigmoid", "erf"])
def test_activations_without_the_orders_are_refused(name):
    with pytest.raises(StartError, match=f"activation '{name}' has a Hermite coefficient of order"):
        check_landscape(Regression(name, 2), 5)


def test_mixed_signs_are_detected_from_the_moments():
    rows = unit_rows(3, 6, 1.0, 6)
    x, y = drawn(rows, 4000, 6, a=np.array([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match="1 of the 3 leading eigenvalues .* wrong sign"):
        fr.fit(x, y, "landscape", n_hidden=3)
    with pytest.raises(StartError, match="one sign"):
        check_landscape(Regression("relu", 2, [1.0, -1.0]), 5)


def test_too_many_units_and_other_models_are_refused():
    with pytest.raises(StartError, match="exceeds the number of features"):
        check_landscape(Regression("relu", 6), 5)
    with pytest.raises(StartError, match="fully connected regressions"):
        check_landscape(fr.models.ConvRegression(2), 5)


@pytest.mark.parametrize("condition", [1.0, 2.0])
def test_read_out_inverts_the_minimum_of_the_population(condition):
    """Descend the exact landscape of a teacher and read it out: rows and output weights come back."""
    rows, a = unit_rows(3, 3, condition, 7), np.array([1.0, 1.5, 2.0])
    x, y = drawn(rows, 200_000, 7, a=a)
    engine = ThreadEngine(ArraySource(x, y), 2)
    descent = Descent.of(engine, Regression("relu", 3, "free"), np.random.SeedSequence(1), 0.5)
    exact = TensorLandscape(
        population_tensor(rows, a, fr.activations.get_activation("relu")), 3, -1.0,
        mu=descent.landscape.mu, penalty=descent.landscape.penalty, frame=descent.landscape.frame,
    )  # fmt: skip
    theta = descent.start
    for _ in range(400):
        theta = exact.projected(theta - descent.step_size * exact.value_and_grad(theta)[1])
    found = descent.read_out(theta, engine)
    # The metric and the first moment are those of 200,000 rows: about 0.5 % of M.
    assert least_cosine(found, rows) > 0.999
    order = np.argmax(found.weights @ rows.T, axis=0)
    np.testing.assert_allclose(found.output_weights[order], a, rtol=0.05)


def test_published_descent_runs_batches_reads_out_and_refines_nothing():
    rows = unit_rows(2, 4, 1.0, 8)
    x, y = drawn(rows, 20_000, 8)
    solver = fr.solvers.OnLandscape(fr.solvers.StochasticGradientDescent(0.05, 5000, 200), mu=1.0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rec = fr.fit(x, y, "ge2017", n_hidden=2, solver=solver, random_state=0)
    before, after = (one.message for one in told)
    assert re.match("X has 20,000 rows, .* wants 1,000,000, .* use model='landscape'", str(before))
    assert isinstance(after, fr.ConvergenceWarning) and "all 200 steps were taken" in rec.message
    stages = np.array(rec.history["stage"])
    assert (stages[:-1] == "landscape").all() and stages[-1] == "read-out"
    assert (stages == "landscape").sum() == 202  # the start, a line for each step, and the last look at all rows
    assert (rec.output_weights > 0).all()
    # A batch is a quarter of the rows; start, metric and read-out take the rest.
    assert 50 <= rec.n_passes <= 100
