"""To and from scikit-learn's MLP: the same predictions; and the table of what takes the place of its parameters."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastrecover import OneHiddenLayerClassifier, OneHiddenLayerRegressor

TABLE = (Path(__file__).parents[2] / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
X, Y = load_iris(return_X_y=True)
OURS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}
LABELS = {"two": Y == 1, "text": np.array(["ant", "bee", "cat"])[Y], "three": Y}


def mlp(kind, target, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(hidden_layer_sizes=(7,), max_iter=40, random_state=0, **options).fit(X, target)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("activation", OURS)
def test_classifiers_both_ways(activation, labels):
    theirs = mlp(MLPClassifier, LABELS[labels], activation=activation)
    ours = OneHiddenLayerClassifier.from_mlp(theirs)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-13)
    assert (ours.predict(X) == theirs.predict(X)).all() and (ours.classes_ == theirs.classes_).all()
    assert np.array_equal(ours.weights_, theirs.coefs_[0].T) and ours.model == OURS[activation]
    fitted = OneHiddenLayerClassifier(4, model=OURS[activation], random_state=0).fit(X, LABELS[labels])
    back = fitted.to_mlp()
    np.testing.assert_allclose(back.predict_proba(X), fitted.predict_proba(X), rtol=0, atol=1e-13)
    assert (back.predict(X) == fitted.predict(X)).all() and back.activation == activation


@pytest.mark.parametrize("target", [X[:, 0], X[:, :2]], ids=["one", "two"])
@pytest.mark.parametrize("activation", OURS)
def test_regressors_both_ways(activation, target):
    theirs = mlp(MLPRegressor, target, activation=activation)
    ours = OneHiddenLayerRegressor.from_mlp(theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-13, atol=1e-13)
    fitted = OneHiddenLayerRegressor(4, model=OURS[activation], random_state=0).fit(X, target)
    np.testing.assert_allclose(fitted.to_mlp().predict(X), fitted.predict(X), rtol=1e-12, atol=1e-12)


def test_counts_both_ways():
    if "loss" not in MLPRegressor().get_params():
        fitted = OneHiddenLayerRegressor(3, loss="poisson", random_state=0).fit(X, Y)
        with pytest.raises(ValueError, match="no MLPRegressor of counts"):
            fitted.to_mlp()
        return
    theirs = mlp(MLPRegressor, Y, loss="poisson")
    ours = OneHiddenLayerRegressor.from_mlp(theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-12)
    np.testing.assert_allclose(ours.to_mlp().predict(X), theirs.predict(X), rtol=1e-12)


def test_both_go_on():
    theirs = mlp(MLPClassifier, Y)
    ours = OneHiddenLayerClassifier.from_mlp(theirs)
    before = ours.score(X, Y)
    back = ours.to_mlp().partial_fit(X, Y)
    assert back.n_iter_ == 1 and not np.array_equal(back.coefs_[0], theirs.coefs_[0])
    ours.set_params(warm_start=True).fit(X, Y)
    loss = -np.log(theirs.predict_proba(X)[np.arange(len(X)), Y]).mean()
    penalty = theirs.alpha / (2 * len(X)) * sum((part**2).sum() for part in theirs.coefs_)
    assert ours.loss_curve_[0] == pytest.approx(loss + penalty, rel=1e-6)
    assert ours.score(X, Y) > max(before, 0.97)


def test_what_has_no_counterpart():
    for wrong, match in (
        (mlp(MLPClassifier, Y, activation="identity"), "activation relu, tanh, logistic, got 'identity'"),
        (mlp(MLPClassifier, np.eye(3, dtype=int)[Y]), "several labels"),
    ):
        with pytest.raises(ValueError, match=match):
            OneHiddenLayerClassifier.from_mlp(wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deep = MLPRegressor((3, 3), max_iter=5) if "loss" not in MLPRegressor().get_params() else None
        deep = (deep or MLPRegressor(hidden_layer_sizes=(3, 3), max_iter=5)).fit(X, Y)
    with pytest.raises(ValueError, match="one hidden layer"):
        OneHiddenLayerRegressor.from_mlp(deep)
    with pytest.raises(TypeError, match="must be a MLPClassifier, got MLPRegressor"):
        OneHiddenLayerClassifier.from_mlp(deep)
    for options, match in (
        ({"model": "erf"}, "units relu, tanh, sigmoid, got 'erf'"),
        ({"linear_term": True}, "no linear term"),
        ({"loss": "poisson", "link": "softplus"}, "no rate of"),
    ):
        with pytest.raises(ValueError, match=match):
            OneHiddenLayerRegressor(3, random_state=0, **options).fit(X, Y).to_mlp()


def test_the_table_names_every_parameter():
    named = set()
    for cell in re.findall(r"^\| (`[^|]*`) \|", TABLE, flags=re.MULTILINE):
        named |= set(re.findall(r"`(\w+)`", cell))
    theirs = set(MLPRegressor().get_params()) | set(MLPClassifier().get_params())
    assert theirs <= named
    ours = set(OneHiddenLayerRegressor().get_params()) | set(OneHiddenLayerClassifier().get_params())
    answers = " ".join(re.findall(r"^\| `[^|]*` \|(.*)\|$", TABLE, flags=re.MULTILINE))
    known = ours | {"partial_fit", "lbfgs", "True", "False"}
    for word in re.findall(r"`(\w+)=", answers):
        assert word in known, word
