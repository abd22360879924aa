"""``partial_fit``: rows that are kept, and sums of rows that are gone.

The oracle of the sums is linear: a network whose units are fixed by heavy evidence is least squares, whatever the
batches; for networks, a fit of all rows.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_friedman1

from fastrecover import OneHiddenLayerClassifier, OneHiddenLayerRegressor
from fastrecover.estimators import _stream
from fastrecover.increments import Increments
from fastrecover.sweeps import Anchored, Objective


@pytest.fixture
def few_kept(monkeypatch):
    monkeypatch.setattr(_stream, "_KEPT", 4000)


@pytest.fixture(scope="module")
def rows():
    return make_friedman1(4000, noise=1.0, random_state=0)


def batches(X, y, size):
    return ((X[i : i + size], y[i : i + size]) for i in range(0, len(X), size))


@pytest.mark.parametrize("model", ["relu", "tanh"])
def test_kept_rows_are_fitted_together(model, rows):
    X, y = rows
    going = OneHiddenLayerRegressor(6, model=model, random_state=0)
    scores = [going.partial_fit(*batch).score(X[3000:], y[3000:]) for batch in batches(X[:3000], y[:3000], 300)]
    whole = OneHiddenLayerRegressor(6, model=model, random_state=0).fit(X[:3000], y[:3000])
    assert scores[0] < scores[-1] and scores[-1] > whole.score(X[3000:], y[3000:]) - 0.01


@pytest.mark.parametrize("n_hidden", [6, 100])
def test_sums_of_batches_improve_a_fit(n_hidden, rows, few_kept):
    """Six units have a matrix, a hundred a diagonal."""
    X, y = rows
    going = OneHiddenLayerRegressor(n_hidden, model="tanh", alpha=3.0, random_state=0)
    scores = [going.partial_fit(*batch).score(X[3000:], y[3000:]) for batch in batches(X[:3000], y[:3000], 500)]
    sums = going._stream.sums
    assert going._stream.rows is None and sums.total == 3000 and sums.matrix.ndim == (2 if n_hidden == 6 else 1)
    assert scores[-1] > scores[0] and scores[-1] > 0.92


def test_sums_forget_no_row_of_a_linear_model():
    """Where outputs are linear in the parameters, batches give what all rows together do."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 4))
    y = X @ [1.0, -2.0, 0.5, 3.0] + 0.3 * rng.standard_normal(600) + 1.0
    whole = OneHiddenLayerRegressor(1, model="relu", alpha=1e-6, restarts=8, tol=1e-9, random_state=0)
    shifted = X + 50.0  # one unit that is on for every row: a linear function
    whole.fit(shifted, y)
    first = clone(whole).fit(shifted[:200], y[:200])
    sums = Increments.of(first.recovery_.left, first.recovery_.objective.engine)
    for part in range(200, 600, 100):
        more = OneHiddenLayerRegressor(1, random_state=0).fit(shifted[part : part + 100], y[part : part + 100])
        sums = sums.added(more.recovery_.objective.engine)
    found = sums.parameters(4)
    line = found.output_weights @ found.weights
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(600)]), y, rcond=None)[0][:4]
    alone = np.linalg.lstsq(np.column_stack([X[:200], np.ones(200)]), y[:200], rcond=None)[0][:4]
    assert sums.total == 600
    assert np.abs(line - expected).max() < 0.2 * np.abs(alone - expected).max()


def test_anchored_objectives_are_consistent(rows):
    X, y = rows
    fitted = OneHiddenLayerRegressor(2, model="tanh", random_state=0).fit(X[:200], y[:200])
    left, engine = fitted.recovery_.left, fitted.recovery_.objective.engine
    rng, own = np.random.default_rng(0), left.coordinates.engine(engine)
    theta = left.state.theta
    for matrix in (np.diag(np.arange(1.0, len(theta) + 1)), np.arange(1.0, len(theta) + 1)):
        objective = Anchored(own, left.model, theta, matrix)
        at, v = theta + 0.1 * rng.standard_normal(len(theta)), rng.standard_normal(len(theta))
        step = at - theta
        plain = Objective(own, left.model)
        extra = 0.5 * step @ (np.arange(1.0, len(theta) + 1) * step)
        assert objective.value(at) == pytest.approx(plain.value(at) + extra, rel=1e-12)
        slope = (objective.value(at + 1e-6 * v) - objective.value(at - 1e-6 * v)) / 2e-6
        assert objective.value_and_grad(at)[1] @ v == pytest.approx(slope, rel=1e-6)
        product = objective.hessp(at, v, gauss_newton=True)
        np.testing.assert_allclose(product, objective.gauss_newton(at)[2] @ v, rtol=1e-8, atol=1e-10)


def test_classes_that_come_later(few_kept):
    X, y = load_digits(return_X_y=True)
    going = OneHiddenLayerClassifier(12, random_state=0)
    first = y[:600] < 9
    going.partial_fit(X[:600][first], y[:600][first], classes=np.arange(10))
    assert going._stream.sums is not None and 9 not in going.predict(X[600:1200])
    for batch in batches(X[600:1200], y[600:1200], 150):
        going.partial_fit(*batch)
    assert going.score(X[1200:], y[1200:]) > 0.85 and np.mean(going.predict(X[y == 9][-60:]) == 9) > 0.6


def test_the_first_batches_may_say_nothing():
    X, y = load_digits(n_class=2, return_X_y=True)
    going = OneHiddenLayerClassifier(3, random_state=0).partial_fit(X[y == 0][:50], y[y == 0][:50], classes=[0, 1])
    p = going.predict_proba(X)
    assert (going.predict(X) == 0).all() and 0 < p[0, 1] < 0.1
    assert going.partial_fit(X[:100], y[:100]).score(X, y) > 0.95
    X = np.random.default_rng(0).standard_normal((200, 3))
    constant = OneHiddenLayerRegressor(3, random_state=0).partial_fit(X[:10], np.ones(10))
    assert (constant.predict(X) == 1.0).all()
    assert constant.partial_fit(X[10:], X[10:].sum(axis=1)).score(X[50:], X[50:].sum(axis=1)) > 0.9


def test_weights_count_in_both_phases(rows, few_kept):
    X, y = rows
    weight = np.random.default_rng(0).integers(0, 3, 1000).astype(float)
    one, other = (OneHiddenLayerRegressor(3, model="tanh", random_state=0) for _ in range(2))
    for start in (0, 500):
        part = slice(start, start + 500)
        times = weight[part].astype(int)
        one.partial_fit(X[part], y[part], sample_weight=weight[part])
        other.partial_fit(X[part].repeat(times, axis=0), y[part].repeat(times))
        np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-6)
    assert one._stream.sums is not None and one._stream.sums.total == weight.sum()
    before = one.weights_.copy()
    one.partial_fit(X[:10], y[:10], sample_weight=np.zeros(10) + np.eye(10)[0] * 1e-12)
    np.testing.assert_allclose(one.weights_, before, rtol=1e-3)


def test_it_goes_on_after_fit_and_after_a_pickle(rows, few_kept):
    X, y = rows
    fitted = OneHiddenLayerRegressor(6, model="tanh", random_state=0).fit(X[:1000], y[:1000])
    before = fitted.score(X[3000:], y[3000:])
    copied = pickle.loads(pickle.dumps(fitted))
    fitted.partial_fit(X[1000:2000], y[1000:2000])
    assert fitted._stream.sums.total == 2000 and fitted.score(X[3000:], y[3000:]) > before - 0.002
    again = pickle.loads(pickle.dumps(fitted)).partial_fit(X[2000:3000], y[2000:3000])
    assert again._stream.sums.total == 3000
    assert copied.partial_fit(X[1000:2000], y[1000:2000]).score(X[3000:], y[3000:]) > before - 0.02
    assert fitted.fit(X[:50], y[:50])._stream is None


def test_what_partial_fit_refuses(rows):
    X, y = rows
    labels = (y > 14).astype(int)
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        OneHiddenLayerClassifier(2).partial_fit(X[:50], labels[:50])
    going = OneHiddenLayerClassifier(2, random_state=0).partial_fit(X[:50], labels[:50], classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        going.partial_fit(X[:50], labels[:50], classes=[0, 2])
    with pytest.raises(ValueError, match=r"y must hold labels of \[0, 1\], got 2"):
        going.partial_fit(X[:50], labels[:50] + 1)
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        OneHiddenLayerClassifier(2, class_weight="balanced").partial_fit(X[:50], labels[:50], classes=[0, 1])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        OneHiddenLayerRegressor(2, early_stopping=True).partial_fit(X[:50], y[:50])
    two = OneHiddenLayerRegressor(2, random_state=0).partial_fit(X[:50], np.column_stack([y, -y])[:50])
    with pytest.raises(ValueError, match="y must have 2 columns"):
        two.partial_fit(X[:50], y[:50])
