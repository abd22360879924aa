"""Estimators of scikit-learn: what they find, what they keep, and what they refuse.

Oracles are scikit-learn's own estimators, a fit of the same rows by ``fastrecover.fit``, and repetition of rows.
"""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastrecover as fr
from fastrecover import OneHiddenLayerClassifier, OneHiddenLayerRegressor

ROOT = Path(__file__).parents[2]
BOTH = [OneHiddenLayerRegressor, OneHiddenLayerClassifier]


@pytest.fixture(scope="module")
def friedman():
    return make_friedman1(600, noise=1.0, random_state=0)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def data(kind, iris):
    X, y = iris
    return (X[:, :3], X[:, 3]) if kind is OneHiddenLayerRegressor else (X, y)


def test_defaults_beat_linear_models(friedman):
    X, y = friedman
    ours, linear = OneHiddenLayerRegressor(random_state=0), make_pipeline(StandardScaler(), Ridge())
    assert cross_val_score(ours, X, y, cv=3).mean() > 0.9 > 0.75 > cross_val_score(linear, X, y, cv=3).mean()
    X, y = load_digits(return_X_y=True)
    ours = OneHiddenLayerClassifier(random_state=0).fit(X[:1000], y[:1000])
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X[:1000], y[:1000])
    assert ours.score(X[1000:], y[1000:]) > max(0.92, linear.score(X[1000:], y[1000:]))


@pytest.mark.parametrize("kind", BOTH)
def test_attributes_are_the_network(kind, iris):
    X, y = data(kind, iris)
    found = kind(5, model="tanh", random_state=0).fit(X, y)
    d, m = X.shape[1], 1 if kind is OneHiddenLayerRegressor else 3
    assert found.weights_.shape == (5, d) and found.biases_.shape == (5,) and found.linear_ is None
    assert found.output_weights_.shape == ((5,) if m == 1 else (3, 5)) and np.shape(found.intercept_) == (3,) * (m > 1)
    hidden = np.tanh(X @ found.weights_.T + found.biases_)
    output = hidden @ found.output_weights_.T + found.intercept_
    told = found.predict(X) if m == 1 else found.decision_function(X)
    np.testing.assert_allclose(told, output, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.transform(X), hidden, rtol=1e-12, atol=1e-12)
    if m > 1:
        p = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found.predict_proba(X), p, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(found.predict_log_proba(X), np.log(p), rtol=1e-8, atol=1e-10)
        assert (found.predict(X) == found.classes_[p.argmax(axis=1)]).all()
    assert found.n_iter_ == len(found.loss_curve_) > 10 and found.n_passes_ >= found.n_iter_
    assert found.validation_curve_ is None and found.n_features_in_ == d
    assert found.loss_curve_[-1] < found.loss_curve_[0]
    assert isinstance(found.recovery_, fr.Recovery)


def test_it_is_a_fit_of_the_package(friedman):
    X, y = friedman
    found = OneHiddenLayerRegressor(4, model="tanh", restarts=4, tol=1e-6, alpha=0.5, random_state=0).fit(X, y)
    options = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True}
    rec = fr.fit(X, y, "tanh", 4, restarts=4, tol=1e-6, alpha=0.5, standardise=True, random_state=0, **options)
    assert found.recovery_.loss == pytest.approx(rec.loss, rel=1e-3)
    # The penalty is that of scikit-learn's MLP on standardised data.
    s, t = X.std(axis=0), y.std()
    residual = y - found.predict(X)
    squares = (found.weights_ * s) ** 2, (found.output_weights_ / t) ** 2
    expected = 0.5 * np.mean(residual**2) + 0.5 * t**2 / (2 * len(X)) * sum(part.sum() for part in squares)
    assert found.recovery_.loss == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("kind", "balanced"), [*((kind, False) for kind in BOTH), (OneHiddenLayerClassifier, True)])
def test_weights_are_repetitions_whatever_the_order(kind, balanced, iris):
    X, y = data(kind, iris)
    rng = np.random.default_rng(0)
    weight, order = rng.integers(0, 4, len(X)), rng.permutation(len(X))
    options = {"class_weight": "balanced"} if balanced else {}
    one = kind(4, random_state=0, **options).fit(X[order], y[order], sample_weight=weight[order])
    other = kind(4, random_state=0, **options).fit(X.repeat(weight, axis=0), y.repeat(weight))
    assert np.array_equal(one.weights_, other.weights_) and np.array_equal(one.output_weights_, other.output_weights_)
    plain = kind(4, random_state=0, **options).fit(X, y)
    assert not np.array_equal(one.weights_, plain.weights_)


def test_class_weight_is_a_weight_of_samples(iris):
    X, y = iris
    names = np.array(["ant", "bee", "cat"])[y]
    weighted = OneHiddenLayerClassifier(3, class_weight={"bee": 3.0}, random_state=0).fit(X, names)
    other = OneHiddenLayerClassifier(3, random_state=0).fit(X, names, sample_weight=np.where(names == "bee", 3.0, 1.0))
    np.testing.assert_allclose(weighted.predict_proba(X), other.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert weighted.classes_.tolist() == ["ant", "bee", "cat"]
    with pytest.raises(ValueError, match="class_weight has a weight for 'dog'"):
        OneHiddenLayerClassifier(3, class_weight={"dog": 3.0}).fit(X, names)


def test_several_outputs_one_of_them_constant(iris):
    X, _ = iris
    y = np.column_stack([X[:, 3], np.full(len(X), 7.0), X[:, 2] ** 2])
    found = OneHiddenLayerRegressor(6, random_state=0).fit(X[:, :2], y)
    assert found.predict(X[:, :2]).shape == y.shape and found.output_weights_.shape == (3, 6)
    np.testing.assert_allclose(found.predict(X[:, :2])[:, 1], 7.0, rtol=1e-2)


@pytest.mark.parametrize("loss", ["squared", "huber", "poisson"])
def test_what_does_not_vary_is_its_mean(loss, friedman):
    X, _ = friedman
    found = OneHiddenLayerRegressor(3, loss=loss).fit(X, np.full(len(X), 2.5))
    np.testing.assert_allclose(found.predict(X), 2.5, rtol=1e-12)
    y = np.where(X[:, 0] > 0.3, 3.0, 1.0)
    found = OneHiddenLayerRegressor(3, loss=loss).fit(np.ones((len(X), 2)), y)
    np.testing.assert_allclose(found.predict(np.ones((2, 2))), y.mean(), rtol=1e-9)
    label = OneHiddenLayerClassifier(3).fit(np.ones((len(X), 2)), y)
    assert label.predict_proba(np.ones((1, 2)))[0, 1] == pytest.approx(np.mean(y == 3.0), abs=0.01)


@pytest.mark.parametrize("kind", BOTH)
def test_columns_that_do_not_vary_have_no_weight(kind, iris):
    X, y = data(kind, iris)
    wide = np.column_stack([np.full(len(X), 0.1), X, np.zeros(len(X))])
    with_them, without = kind(4, random_state=0).fit(wide, y), kind(4, random_state=0).fit(X, y)
    assert (with_them.weights_[:, [0, -1]] == 0).all() and np.abs(with_them.weights_[:, 1:-1]).min() > 0
    assert np.array_equal(with_them.weights_[:, 1:-1], without.weights_)
    assert np.array_equal(with_them.predict(wide), without.predict(X))
    assert np.array_equal(with_them.transform(wide), without.transform(X))


@pytest.mark.parametrize("kind", BOTH)
def test_fewer_rows_than_parameters(kind, iris):
    X, y = data(kind, iris)
    found = kind(50, random_state=0).fit(X[::10], y[::10])
    assert found.score(X, y) > 0.8


@pytest.mark.parametrize("kind", BOTH)
def test_single_precision_stays(kind, iris):
    X, y = data(kind, iris)
    found = kind(4, random_state=0).fit(X.astype(np.float32), y)
    for method in ("transform", *(("predict",) if kind is OneHiddenLayerRegressor else ("predict_proba",))):
        assert getattr(found, method)(X.astype(np.float32)).dtype == np.float32
        assert getattr(found, method)(X).dtype == np.float64


@pytest.mark.parametrize("model", ["leaky_relu", "squared_relu", "abs", "quadratic", "sigmoid", "erf", "softplus"])
@pytest.mark.parametrize("kind", BOTH)
def test_every_activation(kind, model, iris):
    X, y = data(kind, iris)
    y = y if kind is OneHiddenLayerRegressor else y == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = kind(3, model=model, alpha=0.01, random_state=0).fit(X, y)
    assert found.score(X, y) > 0.9
    assert (found.linear_ is not None) == (model == "quadratic")


def test_counts():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((800, 3))
    y = rng.poisson(np.exp(np.tanh(2 * X[:, 0])))
    for link in (None, "softplus"):
        found = OneHiddenLayerRegressor(3, model="tanh", loss="poisson", link=link, random_state=0).fit(X, y)
        assert (found.predict(X) > 0).all()
        assert np.corrcoef(found.predict(X), np.exp(np.tanh(2 * X[:, 0])))[0, 1] > 0.95


def test_models_objects_presets_and_patches():
    teacher = fr.datasets.make_teacher("fcn", 4, 2, norms=3.0, random_state=0)
    X, y = teacher.sample(2000, random_state=1)
    labels = np.array(["no", "yes"])[y.astype(int)]
    for model, options in (
        ("fcn", {"alpha": 0.0, "hidden_bias": False}),
        (fr.models.Classification(2), {"alpha": 0.0}),
        ("fu2018-fcn", {"alpha": 0.0, "inputs": "gaussian"}),
    ):
        found = OneHiddenLayerClassifier(2, model=model, random_state=0, **options).fit(X, labels)
        assert found.recovery_.error(teacher) < 0.35
        p = found.predict_proba(X)[:, 1]
        np.testing.assert_allclose(found.decision_function(X), np.log(p / (1 - p)), rtol=1e-6, atol=1e-9)
        assert (found.predict(X) == np.where(p > 0.5, "yes", "no")).all()
    filters = OneHiddenLayerClassifier(model="cnn", n_patches=2, alpha=0.0, random_state=0).fit(X, labels)
    assert filters.weights_.shape == (1, 2) and filters.transform(X).shape == (2000, 2)
    with pytest.raises(ValueError, match="use OneHiddenLayerClassifier"):
        OneHiddenLayerRegressor(2, model="fcn").fit(X, y)
    with pytest.raises(ValueError, match="use OneHiddenLayerRegressor"):
        OneHiddenLayerClassifier(2, model=fr.models.Regression("relu", 2)).fit(X, labels)


def test_solvers_starts_and_numbers_of_units(friedman):
    teacher = fr.datasets.make_teacher("tanh", 4, 2, output_weights="free", intercept=1.0, random_state=0)
    X, y = teacher.sample(2000, noise=0.05, random_state=1)
    options = {"model": "tanh", "hidden_bias": False, "alpha": 0.0, "random_state": 0}
    for own in ({"solver": "gauss-newton", "init": "tensor"}, {"solver": "lbfgs"}, {"restarts": "auto"}):
        found = OneHiddenLayerRegressor(2, **options, **own).fit(X, y)
        assert found.recovery_.error(teacher) < 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        free = OneHiddenLayerRegressor("auto", **options).fit(X, y)
    assert len(free.weights_) == 2
    init = np.column_stack([teacher.weights + 0.1, np.zeros(2)])
    wide = np.column_stack([X, np.ones(len(X))])
    found = OneHiddenLayerRegressor(2, **options, init=init).fit(wide, y)
    assert np.abs(found.weights_[:, -1]).max() == 0 and found.score(wide, y) > 0.99
    with pytest.raises(ValueError, match="restarts=3 takes the best of random starts"):
        OneHiddenLayerRegressor(2, **options, solver="gd", restarts=3).fit(X, y)


@pytest.mark.parametrize("seed", [3, "state", "generator"])
def test_random_states(seed, iris):
    X, y = iris

    def fresh():
        return {"state": np.random.RandomState(3), "generator": np.random.default_rng(3)}.get(seed, seed)

    one, two = (OneHiddenLayerClassifier(3, random_state=fresh(), n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    assert np.array_equal(one.weights_, two.weights_)


def test_early_stopping_keeps_the_best():
    X, y = load_diabetes(return_X_y=True)
    # Much noise, few rows and nearly no penalty: the loss of others rises again.
    options = {"alpha": 1e-4, "random_state": 0, "validation_fraction": 0.25}
    found = OneHiddenLayerRegressor(40, early_stopping=True, **options).fit(X[:200], y[:200])
    curve = found.validation_curve_
    best = int(curve.argmin())
    assert len(curve) - 1 - best == found.n_iter_no_change == 20
    assert found.recovery_.n_rows == 150
    whole = OneHiddenLayerRegressor(40, **options).fit(X[:200], y[:200])
    assert found.score(X[200:], y[200:]) > 0.3 > 0.0 > whole.score(X[200:], y[200:])
    again = OneHiddenLayerRegressor(40, early_stopping=True, **options).fit(X[:200], y[:200])
    assert np.array_equal(curve, again.validation_curve_) and np.array_equal(found.weights_, again.weights_)


def test_early_stopping_tells_the_loss_of_its_network(iris):
    X, y = iris
    found = OneHiddenLayerClassifier(5, early_stopping=True, validation_fraction=0.5, random_state=1).fit(X, y)
    assert found.recovery_.n_rows == len(np.unique(np.column_stack([X, y]), axis=0)) // 2
    # The network that is kept is one of all of whose losses on some half of the rows is the least of the curve.
    p = found.predict_proba(X)[np.arange(len(X)), y]
    assert found.validation_curve_.min() < -np.log(p).sum() / (len(X) / 2)
    assert found.validation_curve_.min() < found.validation_curve_[0]


@pytest.mark.parametrize("solver", ["lbfgs", "gauss-newton", "gd"])
def test_a_warm_start_goes_on_with_the_state_of_its_solver(solver, friedman):
    X, y = friedman
    options = {"model": "tanh", "init": "random", "solver": solver, "random_state": 0, "alpha": 1.0}
    with pytest.warns(ConvergenceWarning, match="max_passes=20 reached"):
        warm = OneHiddenLayerRegressor(5, max_passes=20, warm_start=True, **options).fit(X, y)
    first, state = warm.recovery_.loss, warm.recovery_.left.state
    assert set(state.memory) & {"pairs", "mu", "t"}
    forgetful = pickle.loads(pickle.dumps(warm))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warm.fit(X, y)
        forgetful.fit(X, y)
    assert warm.loss_curve_[0] == pytest.approx(first, rel=1e-9) and warm.recovery_.loss < first
    assert forgetful.loss_curve_[0] == pytest.approx(first, rel=1e-9)
    assert warm.recovery_.loss != forgetful.recovery_.loss
    cold = OneHiddenLayerRegressor(5, max_passes=20, **options)
    with pytest.warns(ConvergenceWarning):
        cold.fit(X, y).fit(X, y)
    assert cold.recovery_.loss == first


def test_warm_starts_on_other_rows_columns_and_classes(iris):
    X, y = iris
    warm = OneHiddenLayerClassifier(4, warm_start=True, random_state=0).fit(X[::2], y[::2])
    before = warm.loss_curve_[-1]
    warm.fit(X[1::2], y[1::2])
    assert warm.loss_curve_[0] < 3 * before
    held = X.copy()
    held[:, 1] = 1.0
    assert (warm.fit(held, y).weights_[:, 1] == 0).all() and warm.score(held, y) > 0.9
    with pytest.raises(ValueError, match="warm_start goes on with the classes of the earlier fit"):
        warm.fit(X, y == 0)
    assert len(warm.set_params(n_hidden=6).fit(X, y).weights_) == 6


def test_budgets_are_told_of_and_verdicts_on_recoveries_are_not(friedman):
    X, y = friedman
    with pytest.warns(ConvergenceWarning, match="max_passes=15 reached"):
        OneHiddenLayerRegressor(8, max_passes=15, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = OneHiddenLayerRegressor(8, random_state=0).fit(X[:30], y[:30])
    assert "not all weights are determined" in found.recovery_.message


def test_verbose_prints_stages(capsys, iris):
    OneHiddenLayerClassifier(3, verbose=1, random_state=0).fit(*iris)
    assert "[fastrecover]" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["pandas", "pyarrow", *(["polars"] if find_spec("polars") else [])])
def test_data_frames(library, iris):
    """Of polars as well where it is, as in ``make sklearn-matrix``."""
    module = import_module(library)
    X, y = iris
    columns = {f"c{j}": X[:, j] for j in range(4)}
    frame = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    series = module.array if library == "pyarrow" else module.Series
    labels, weight = series(y), 1.0 + y
    found = OneHiddenLayerClassifier(3, random_state=0).fit(frame, labels, sample_weight=series(weight))
    plain = OneHiddenLayerClassifier(3, random_state=0).fit(X, y, sample_weight=weight)
    assert found.feature_names_in_.tolist() == list(columns) and np.array_equal(found.weights_, plain.weights_)
    assert np.array_equal(found.predict(frame), plain.predict(X)) and found.score(frame, labels) > 0.8
    turned = ["c1", "c0", "c2", "c3"]
    other = frame[turned] if library == "pandas" else frame.select(turned)
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(other)
    if library != "pyarrow":
        hidden = found.set_output(transform=library).transform(frame)
        assert isinstance(hidden, module.DataFrame)
        assert list(hidden.columns) == [f"onehiddenlayerclassifier{j}" for j in range(3)]


def test_pipelines_and_searches(friedman, iris):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), OneHiddenLayerRegressor(random_state=0)),
        {"onehiddenlayerregressor__n_hidden": [1, 16], "onehiddenlayerregressor__alpha": [1.0, 1000.0]},
        cv=3,
    ).fit(*friedman)
    assert search.best_params_ == {"onehiddenlayerregressor__n_hidden": 16, "onehiddenlayerregressor__alpha": 1.0}
    X, y = iris
    features = make_pipeline(OneHiddenLayerRegressor(8, random_state=0), Ridge(alpha=1e-3)).fit(X[:, :3], X[:, 3])
    assert features.score(X[:, :3], X[:, 3]) > 0.9


def test_metadata_is_routed(iris):
    X, y = iris
    weight = (np.arange(len(X)) % 3 > 0).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = OneHiddenLayerClassifier(3, random_state=0).set_fit_request(sample_weight=True)
        pipe = make_pipeline(asked).fit(X, y, sample_weight=weight)
    direct = OneHiddenLayerClassifier(3, random_state=0).fit(X, y, sample_weight=weight)
    assert np.array_equal(pipe[-1].weights_, direct.weights_)


def test_callbacks_see_every_step(friedman):
    callback = pytest.importorskip("sklearn.callback")
    X, y = friedman
    seen = []

    class Watch:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context):
            seen.append("end")

        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            if context.parent is None:
                return False
            seen.append(fitted_estimator.score(X, y))
            return len(seen) == 30

    assert isinstance(Watch(), callback.FitCallback)
    found = OneHiddenLayerRegressor(5, random_state=0).set_callbacks(Watch()).fit(X, y)
    assert len(seen) == 31 and seen[-1] == "end" and seen[0] < seen[-2] == pytest.approx(found.score(X, y), rel=1e-9)
    assert not hasattr(clone(found), "weights_")


def test_alpha_by_held_out_rows(friedman):
    X, y = friedman
    found = OneHiddenLayerRegressor(8, alpha=[100.0, 1.0, 1e-3], random_state=0).fit(X[:100], y[:100])
    assert found.recovery_.info["alpha"] == 1.0


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"n_hidden": 0}, ValueError, "n_hidden must be at least 1"),
        ({"model": "relo"}, ValueError, "did you mean 'relu'"),
        ({"alpha": -1.0}, ValueError, "alpha must not be negative"),
        ({"standardise": 1}, TypeError, "standardise must be True or False"),
        ({"restarts": 0}, ValueError, "restarts must be at least 1"),
        ({"solver": "adam"}, ValueError, "unknown solver 'adam'"),
        ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
        ({"early_stopping": True, "validation_fraction": 1.5}, ValueError, "test_size"),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_bad_parameters_are_refused_by_fit(kind, change, error, match, iris):
    with pytest.raises(error, match=match):
        kind(**change).fit(*data(kind, iris))


def test_bad_data_are_refused(iris):
    X, y = iris
    with pytest.raises(ValueError, match="several labels are not supported"):
        OneHiddenLayerClassifier(3).fit(X, np.eye(3, dtype=int)[y])
    with pytest.raises(ValueError, match="one class only: 1"):
        OneHiddenLayerClassifier(3).fit(X, np.ones(len(X), int))
    for weight, match in ((-np.ones(len(X)), "must not be negative"), (np.zeros(len(X)), "zero")):
        with pytest.raises(ValueError, match=match):
            OneHiddenLayerClassifier(3).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="negative under a Poisson loss"):
        OneHiddenLayerRegressor(3, loss="poisson").fit(X, y - 1.0)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="[Ss]parse data was passed"):
        OneHiddenLayerClassifier(3).fit(sparse.csr_array(X), y)


@pytest.mark.parametrize("kind", BOTH)
def test_every_parameter_and_attribute_is_described(kind, iris):
    text = inspect.getdoc(kind)
    described = set()
    for names in re.findall(r"^(\w+(?:, \w+)*) : ", text, flags=re.MULTILINE):
        described |= set(names.split(", "))
    assert set(kind().get_params()) <= described
    fitted = kind(3, random_state=0).fit(*data(kind, iris))
    attributes = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    assert attributes | {"feature_names_in_"} == described - set(kind().get_params())


def test_breast_cancer_by_default():
    X, y = load_breast_cancer(return_X_y=True)
    assert cross_val_score(OneHiddenLayerClassifier(random_state=0), X, y, cv=3).mean() > 0.96


def test_without_scikit_learn_the_names_say_what_is_missing():
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import fastrecover as fr\n"
        "try:\n    fr.OneHiddenLayerRegressor\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "pip install fastrecover[sklearn]" in done.stdout, done.stderr
