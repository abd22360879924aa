"""Activations of one's own functions, wherever an activation may stand: as the built-in one of the same formula."""

from __future__ import annotations

import math
import pickle
import re
import warnings

import numpy as np
import pytest
from twins import TWINS

import fastrecover as fr
from fastrecover.models import ConvRegression, Logistic, Poisson, Regression

N, D, K = 240, 6, 2
STARTS = ("auto", "tensor", "tensor-published", "expand", "landscape", "spectral", "message-passing", "random", "array")
SOLVERS = ("auto", "gd", "resampled-gd", "sgd", "lbfgs", "gauss-newton")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    f = np.tanh(X[:, 0] + 0.5 * X[:, 1]) - np.tanh(X[:, 2])
    return X, {
        "real": f + 0.1 * rng.standard_normal(N),
        "several": np.stack([f, -f, f * f], axis=1),
        "two": (f > 0).astype(int),
        "three": np.digitize(f, [-0.5, 0.5]),
        "counts": rng.poisson(np.exp(0.5 * f)).astype(float),
    }


MODELS = {
    "regression": (lambda act: Regression(act, K, "ones"), "real"),
    "biases": (lambda act: Regression(act, K, "free", hidden_bias=True, fit_intercept=True), "real"),
    "linear term": (lambda act: Regression(act, K, "free", linear_term=True), "real"),
    "huber": (lambda act: Regression(act, K, "free", fit_intercept=True, loss="huber"), "real"),
    "several outputs": (lambda act: Regression(act, K, "free", fit_intercept=True), "several"),
    "logistic": (lambda act: Logistic(act, K), "two"),
    "softmax": (lambda act: Logistic(act, K), "three"),
    "poisson, log": (lambda act: Poisson(act, K, "log", "free"), "counts"),
    "poisson, softplus": (lambda act: Poisson(act, K, "softplus", "free"), "counts"),
    "patches": (lambda act: ConvRegression(3, act), "real"),
}


def fitted(X, y, model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X, y, model, random_state=0, max_passes=60, **options)


@pytest.mark.parametrize("name", ["tanh", "relu"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_takes_them(model, name, data):
    make, response = MODELS[model]
    X, y = data[0], data[1][response]
    mine, theirs = (fr.objective(X, y, make(act)) for act in (TWINS[name], name))
    theta, direction = np.random.default_rng(1).standard_normal((2, mine.n_parameters))
    np.testing.assert_allclose(mine.value(theta), theirs.value(theta), rtol=1e-12)
    for one, other in zip(mine.value_and_grad(theta), theirs.value_and_grad(theta), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(mine.predict(theta), theirs.predict(theta), rtol=1e-11, atol=1e-13)
    for curvature in (False, True):
        one, other = (each.hessp(theta, direction, gauss_newton=curvature) for each in (mine, theirs))
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("model", ["biases", "several outputs", "softmax", "poisson, log", "patches"])
def test_fits_are_those_of_the_built_in_activation(model, data):
    make, response = MODELS[model]
    mine, theirs = (fitted(data[0], data[1][response], make(act)) for act in (TWINS["tanh"], "tanh"))
    assert mine.converged == theirs.converged
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_takes_them(solver, data):
    X, y = data[0], data[1]["real"]
    start = np.random.default_rng(3).standard_normal((K, D))
    mine, theirs = (
        fitted(X, y, Regression(act, K, "signs"), solver=solver, init=start) for act in (TWINS["tanh"], "tanh")
    )
    np.testing.assert_allclose(mine.predict(X), theirs.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("name", ["tanh", "relu", "quadratic"])
def test_every_start_takes_them_or_says_why_not(init, name, data):
    """And says it of the built-in one as well."""
    X, y = data[0], data[1]["real"]
    start = np.random.default_rng(3).standard_normal((K, D)) if init == "array" else init
    found = []
    for act in (TWINS[name], name):
        try:
            found.append(fitted(X, y, Regression(act, K, "ones"), init=start).loss)
        except ValueError as error:
            found.append(re.sub(r"[-\d.e]+", "", str(error).replace(TWINS[name].name, name)))
    mine, theirs = found
    if isinstance(mine, str):
        assert mine == theirs
    else:
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_the_number_of_threads_changes_no_bit(data):
    X, y = data[0], data[1]["real"]
    one, three = (fitted(X, y, Regression(TWINS["tanh"], K, "signs"), n_jobs=jobs) for jobs in (1, 3))
    np.testing.assert_array_equal(one.weights, three.weights)


def swish(z):
    return z / (1.0 + math.exp(-z))


def swish_slope(z):
    s = 1.0 / (1.0 + math.exp(-z))
    return s + z * s * (1.0 - s)


def test_fits_can_be_pickled_and_files_say_why_not(data, tmp_path):
    X, y = data[0], data[1]["real"]
    act = fr.Activation.from_functions(swish, swish_slope, name="swish")
    assert pickle.loads(pickle.dumps(act)) == act
    rec = fitted(X, y, act, n_hidden=K)
    again = pickle.loads(pickle.dumps(rec))
    np.testing.assert_array_equal(again.predict(X), rec.predict(X))
    with pytest.raises(ValueError, match="'swish' is user code.*pickle"):
        rec.save(tmp_path / "rec.npz")
    assert not list(tmp_path.iterdir())


def test_estimators_take_them(data):
    X, y = data[0], data[1]
    act = fr.Activation.from_functions(swish, swish_slope, name="swish")
    regressor = fr.OneHiddenLayerRegressor(model=act, n_hidden=K, random_state=0).fit(X, y["real"])
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.predict(X), regressor.predict(X))
    assert regressor.score(X, y["real"]) > 0.8
    with pytest.raises(TypeError, match="Activation.from_functions"):
        fr.OneHiddenLayerRegressor(model=swish, n_hidden=K).fit(X, y["real"])


def test_a_wrong_derivative_is_found_before_anything_else():
    with pytest.raises(ValueError, match=r"^derivative disagrees with finite differences of function at z = "):
        fr.Activation.from_functions(swish, lambda z: 1.0 / (1.0 + math.exp(-z)))
