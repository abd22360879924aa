"""Penalties in standard units, fits that go on from where others ended, and networks on the way."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.data import class_weights
from fastrecover.models import Regression
from fastrecover.solvers.monitor import Step

pytestmark = pytest.mark.filterwarnings("ignore:not all weights are determined:UserWarning")
FREE = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True}
SCALES = np.array([1.0, 20.0, 0.05, 3.0])


@pytest.fixture(scope="module")
def data():
    teacher = fr.datasets.make_teacher("tanh", 4, 2, output_weights="free", hidden_bias=True, random_state=0)
    return teacher.sample(400, noise=0.3, random_state=1)


@pytest.mark.parametrize("loss", ["squared", "huber", "poisson"])
@pytest.mark.parametrize("linear_term", [False, True])
def test_a_standardised_penalty_has_no_units(loss, linear_term, data):
    X, y = data
    y = np.rint(np.exp(y / 2)) if loss == "poisson" else y
    scale, shift = (1.0, 0.0) if loss == "poisson" else (50.0, -7.0)
    deltas = [{"delta": d} if loss == "huber" else {} for d in (0.5, 0.5 * y.std() * scale)]
    options = FREE | {"alpha": 3.0, "restarts": 16, "random_state": 0, "tol": 1e-6} | {"linear_term": linear_term}
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    t = y if loss == "poisson" else (y - y.mean()) / y.std()
    plain = fr.fit(Z, t, "tanh", 2, loss=loss, **options, **deltas[0])
    other = fr.fit(X * SCALES + 9.0, y * scale + shift, "tanh", 2, loss=loss, standardise=True, **options, **deltas[1])
    unit = 1.0 if loss == "poisson" else (y.std() * scale) ** 2
    assert other.loss == pytest.approx(plain.loss * unit, rel=1e-6)
    sizes = (
        np.sort(np.linalg.norm(rec.weights * s, axis=1)) for rec, s in ((plain, 1.0), (other, SCALES * X.std(axis=0)))
    )
    np.testing.assert_allclose(next(sizes), next(sizes), rtol=1e-2, atol=1e-6)
    assert np.corrcoef(plain.predict(Z), other.predict(X * SCALES + 9.0))[0, 1] > 1 - 1e-6
    assert other.info["standardise"] is True and "standardise" not in plain.info
    if loss == "squared":
        mine, theirs = (rec.standard_errors().weights for rec in (plain, other))
        np.testing.assert_allclose(np.sort(theirs * SCALES * X.std(axis=0), None), np.sort(mine, None), rtol=1e-2)
        copied = pickle.loads(pickle.dumps(other))
        copied.parameters = fr.models.Parameters(**{**vars(copied.parameters), "errors": None})
        again = copied.standard_errors(X * SCALES + 9.0, y * scale + shift).weights
        np.testing.assert_allclose(again, theirs, rtol=1e-6)


@pytest.mark.parametrize("standardise", [False, True])
def test_a_penalty_weighs_relu_units_alike_in_any_unit_of_the_responses(standardise, data):
    """A size may stand in the rows or in the output weights: starts must not lose their units to the penalty."""
    X, y = data
    options = FREE | {"restarts": 4, "random_state": 0, "standardise": standardise}
    losses = []
    for unit in (1.0, 2.0**10):
        alpha = 1.0 if standardise else unit  # so that the penalised functions are multiples of each other
        losses.append(fr.fit(X, y * unit, "relu", 8, alpha=alpha, **options).loss / unit**2)
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


@pytest.mark.parametrize("model", ["tanh", "relu"])
@pytest.mark.parametrize("solver, memory", [("lbfgs", "pairs"), ("gauss-newton", "mu"), ("gd", "t")])
def test_a_fit_goes_on_with_the_state_of_its_solver(model, solver, memory, data):
    X, y = data
    options = FREE | {"alpha": 1.0, "solver": solver, "random_state": 0}
    with pytest.warns(fr.ConvergenceWarning):
        first = fr.fit(X, y, model, 3, init="random", max_passes=14, **options)
    assert memory in first.left.state.memory
    seen = []
    with pytest.warns():
        on = fr.fit(X, y, model, 3, init=first, callback=lambda step: len(seen) > 3 or seen.append(step), **options)
        anew = fr.fit(X, y, model, 3, init=first.parameters, max_passes=30, **options)
    assert on.history["loss"][0] == pytest.approx(first.loss, rel=1e-9)
    assert anew.history["loss"][0] == pytest.approx(first.loss, rel=1e-9)
    assert on.history["loss"][2] != anew.history["loss"][2]
    # On rows of other units the weights alone are taken over; a copy has nothing else.
    copied = pickle.loads(pickle.dumps(first))
    assert copied.left is None
    with pytest.warns():
        assert fr.fit(X, y, model, 3, init=copied, max_passes=30, **options).history["loss"][0] == pytest.approx(
            first.loss, rel=1e-9
        )
        fr.fit(X[:200], y[:200], model, 3, init=first, max_passes=30, **options)


@pytest.mark.parametrize("restarts, model", [(2, "relu"), (2, "tanh"), ("auto", "tanh")])
def test_callbacks_are_shown_the_network(restarts, model, data):
    X, y = data
    X, y = X * SCALES, 30.0 * y
    steps: list[Step] = []
    rec = fr.fit(X, y, model, 2, **FREE, alpha=1.0, restarts=restarts, random_state=0, callback=steps.append)
    shown = [step for step in steps if step.network() is not None]
    assert len(shown) >= (6 if restarts == 2 else 1)
    for step in (shown[0], shown[-1]):
        p = step.network()
        weights = p.output_weights, p.weights
        penalty = sum((part**2).sum() for part in weights) / (2 * len(X))
        act = np.tanh if model == "tanh" else lambda z: np.maximum(z, 0.0)
        residual = y - act(X @ p.weights.T + p.biases) @ p.output_weights - p.intercept
        assert step["loss"] == pytest.approx(0.5 * np.mean(residual**2) + penalty, rel=1e-6)
    if restarts == 2:
        assert len(shown) == len(rec.history["loss"])
    at = rec.at(shown[0].network())
    assert at.loss == pytest.approx(shown[0]["loss"], rel=1e-6) and at.converged == rec.converged
    np.testing.assert_allclose(rec.at(rec.parameters).predict(X), rec.predict(X), rtol=1e-9)
    with pytest.raises(ValueError, match="holds no data"):
        pickle.loads(pickle.dumps(rec)).at(rec.parameters)


def test_hidden_units_of_a_recovery(data):
    X, y = data
    rec = fr.fit(X, y, "tanh", 2, **FREE, random_state=0)
    np.testing.assert_allclose(rec.hidden(X) @ rec.output_weights + rec.intercept, rec.predict(X), rtol=1e-10)
    with pytest.raises(ValueError, match=r"X must have shape \(n, 4\)"):
        rec.hidden(X[:, :3])
    teacher = fr.datasets.make_teacher(fr.models.ConvRegression(2, "tanh"), 4, random_state=0)
    X, y = teacher.sample(200, random_state=1)
    rec = fr.fit(X, y, teacher.model, random_state=0)
    assert rec.hidden(X).shape == (200, 2)
    np.testing.assert_allclose(rec.hidden(X).mean(axis=1), y, atol=1e-9)


def test_balanced_classes_are_counted_by_weight():
    targets, weight = np.array([0.0, 0.0, 1.0, 1.0]), np.array([1.0, 1.0, 3.0, 1.0])
    found = class_weights(targets, np.array([0, 1]), "balanced", weight)
    repeated = class_weights(targets.repeat(weight.astype(int)), np.array([0, 1]), "balanced")
    assert found.tolist() == [repeated[0], repeated[0], repeated[-1], repeated[-1]] == [1.5, 1.5, 0.75, 0.75]


def test_no_vectors_can_be_packed():
    model = Regression("relu", 2, "free", True, True, True)
    assert model.pack_many(np.zeros((0, 3, 5)), np.zeros((0, 2)), np.zeros((0, 1))).shape == (0, model.n_parameters(4))
