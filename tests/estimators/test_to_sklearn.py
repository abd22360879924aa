"""A recovery as an estimator: the same predictions for every model, with options from which it is fitted again."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from every_network import STRINGS, recoveries, recovery_of, rows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import fastrecover as fr
from fastrecover.models import Parameters, Regression


@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_estimators_predict_what_the_recovery_does(name, data):
    rec = data.draw(recoveries(name))
    X, found = rows_for(rec), rec.to_sklearn()
    if rec.classes is None:
        assert isinstance(found, fr.OneHiddenLayerRegressor)
        np.testing.assert_array_equal(found.predict(X), rec.predict(X))
    else:
        assert isinstance(found, fr.OneHiddenLayerClassifier)
        np.testing.assert_array_equal(found.predict_proba(X), rec.predict_proba(X))
        sure = np.abs(rec.predict_proba(X) - 0.5).min(axis=1) > 1e-12  # odds of exactly one go either way
        assert found.predict(X)[sure].tolist() == rec.predict(X)[sure].tolist()
        assert found.classes_.tolist() == rec.classes.tolist()
    np.testing.assert_array_equal(found.transform(X), rec.hidden(X))
    assert found.recovery_ is rec and found.n_features_in_ == rec.n_features
    # A copy without the fit asks for the same model.
    asked = clone(found)._network()
    shape = (1, rec.model.n_outputs) if rec.model.n_outputs > 1 else 1
    assert asked.for_targets(np.zeros(shape)) == rec.model


def test_a_fit_goes_on_as_an_estimator():
    teacher = fr.datasets.make_teacher("tanh", 4, 2, output_weights="free", hidden_bias=True, intercept=1.0)
    X, y = teacher.sample(300, noise=0.1, random_state=1)
    X = pd.DataFrame(X, columns=list("abcd"))
    options = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True, "random_state": 0}
    rec = fr.fit(X, y, "tanh", 2, alpha=0.5, standardise=True, **options)
    found = rec.to_sklearn()
    assert found.feature_names_in_.tolist() == list("abcd")
    assert (found.alpha, found.standardise, found.model, found.n_hidden) == (0.5, True, "tanh", 2)
    np.testing.assert_array_equal(found.predict(X), rec.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        found.predict(X.rename(columns={"a": "e"}))
    again = clone(found).set_params(random_state=0).fit(X, y)
    assert again.recovery_.loss == pytest.approx(rec.loss, rel=1e-6)
    np.testing.assert_allclose(found.to_mlp().predict(X), rec.predict(X), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).predict(X), rec.predict(X))
    fewer = clone(found).set_params(n_hidden=1, random_state=0).fit(X, y)
    assert fewer.weights_.shape == (1, 4) and fewer.score(X, y) < again.score(X, y)


def test_several_outputs_and_functions_of_users():
    model = Regression("tanh", 2, "free", hidden_bias=True).changed(n_outputs=3)
    p = Parameters(np.eye(2), np.arange(6.0).reshape(3, 2), None, np.zeros(3), biases=np.ones(2))
    rec = recovery_of(model, p)
    X = rows_for(rec)
    np.testing.assert_array_equal(rec.to_sklearn().predict(X), rec.predict(X))
    sine = fr.Activation.from_functions(lambda z: math.sin(z), lambda z: math.cos(z), name="sine")
    rec = recovery_of(Regression(sine, 2), Parameters(np.eye(2), np.ones(2)))
    found = rec.to_sklearn()
    assert found.model is sine and clone(found)._network() == rec.model
    np.testing.assert_array_equal(found.transform(X), np.sin(X))
