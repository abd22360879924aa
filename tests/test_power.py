"""What ``fit`` recovers by itself where random starts get stuck, and what it says when it has not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.models import Parameters


def planted(activation, k, d, n, seed, noise=0.0, **options):
    teacher = fr.datasets.make_teacher(activation, n_features=d, n_hidden=k, random_state=seed, **options)
    return teacher, *teacher.sample(n, noise, random_state=500_000 + seed)


# All of twenty seeds succeed in these cells; were the true rate 0.8, three or four would pass every second time.
@pytest.mark.parametrize(
    ("activation", "k", "d", "ratio", "seeds"),
    [("relu", 5, 10, 1.5, 4), ("squared_relu", 5, 20, 1.5, 3), ("leaky_relu", 5, 20, 2.0, 3), ("relu", 10, 20, 3.0, 3)],
)
def test_exact_recovery_from_few_rows_with_unknown_signs(activation, k, d, ratio, seeds):
    for seed in range(seeds):
        teacher, X, y = planted(activation, k, d, round(ratio * d * k), seed)
        rec = fr.fit(X, y, activation, k, random_state=seed)
        assert rec.converged and "exact" in rec.message
        assert rec.error(teacher) < 1e-10


def test_expand_is_a_start_of_its_own():
    teacher, X, y = planted("relu", 6, 12, 400, 3)
    rec = fr.fit(X, y, "relu", 6, init="expand", random_state=0)
    assert rec.error(teacher) < 1e-10
    assert all(stage.startswith("expand") for stage in rec.history["stage"])
    plain = fr.fit(X, y, "relu", 6, init="expand", solver="gauss-newton", random_state=1, max_passes=500)
    assert plain.info["start"] == "expand" and plain.history["stage"][0] == "gauss-newton"


@pytest.mark.parametrize("model", [fr.models.Classification(2), fr.models.ConvRegression(2)])
def test_expand_refuses_what_it_cannot_prune(model):
    X, y = np.random.default_rng(0).standard_normal((200, 6)), np.random.default_rng(1).integers(0, 2, 200)
    with pytest.raises(ValueError, match="prune"):
        fr.fit(X, y, model, init="expand")


def test_few_rows_that_no_network_fits_are_not_called_converged():
    """A product of two features is no sum of two units, and 14 rows cannot show more."""
    X = np.random.default_rng(12).standard_normal((14, 3))
    with pytest.warns(fr.ConvergenceWarning, match="not noise.*not all weights are determined"):
        rec = fr.fit(X, X[:, 0] * X[:, 1], "relu", 2, random_state=0)
    assert not rec.converged and rec.loss > 1e-3


def test_a_model_that_leaves_structure_is_told():
    """Three units where five made the data: the minimum is found again and again, and its residual is no noise."""
    _, X, y = planted("relu", 5, 10, 6000, 2, noise=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fr.ConvergenceWarning)
        rec = fr.fit(X, y, "relu", 3, random_state=0)
    assert "not noise" in rec.message
    right = fr.fit(X, y, "relu", 5, random_state=0)
    assert right.converged and "not noise" not in right.message


@pytest.mark.parametrize(
    ("activation", "k", "d", "n", "noise"),
    [
        ("relu", 4, 12, 4000, 0.1),
        ("relu", 3, 10, 300, 0.0),
        ("tanh", 3, 10, 5000, 0.05),
        ("quadratic", 3, 20, 3000, 0.1),
    ],
)
def test_number_of_units_is_found(activation, k, d, n, noise):
    teacher, X, y = planted(activation, k, d, n, 4, noise)
    rec = fr.fit(X, y, activation, "auto", random_state=0)
    tried = rec.info["n_hidden_tried"]
    assert rec.model.n_hidden == k and rec.converged
    assert tried[str(k)] and not tried[str(k - 1)]
    assert rec.error(teacher) < (1e-8 if noise == 0 else 0.1)


def test_number_of_units_of_a_model_object():
    model = fr.models.Regression("softplus", 1, "free", fit_intercept=True)
    teacher, X, y = planted("softplus", 2, 6, 6000, 5, 0.02, output_weights="free")
    rec = fr.fit(X, y + 0.5, model, "auto", random_state=0)
    assert rec.model.n_hidden == 2 and rec.intercept == pytest.approx(0.5, abs=0.3)
    assert rec.model.output_weights == "free" and teacher.n_hidden == 2


def test_no_number_of_units_is_said():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((4000, 2))
    y = X[:, 0] * X[:, 1]
    with pytest.warns(fr.ConvergenceWarning, match="no number of units up to 2"):
        fr.fit(X, y, "tanh", "auto", random_state=0)


@pytest.mark.parametrize(
    ("model", "n_hidden", "options", "match"),
    [
        ("relu", "many", {}, "integer or 'auto'"),
        ("fcn", "auto", {}, "regressions by name"),
        ("zhong2017", "auto", {}, "regressions by name"),
        ("relu", "auto", {"init": "tensor"}, "leave init='auto'"),
        (fr.models.ConvRegression(2), "auto", {}, "output weights are ones, signs or free"),
        (fr.models.Regression("relu", 2, [1.0, -1.0]), "auto", {}, "output weights are ones, signs or free"),
    ],
)
def test_number_of_units_is_refused_where_it_has_no_meaning(model, n_hidden, options, match):
    X, y = np.random.default_rng(0).standard_normal((200, 6)), np.random.default_rng(1).standard_normal(200)
    with pytest.raises(ValueError, match=match):
        fr.fit(X, y, model, n_hidden, **options)


def correlated(n, d, rng):
    covariance = 0.8 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    return rng.standard_normal((n, d)) @ np.linalg.cholesky(covariance).T


def test_correlated_inputs_are_whitened_for_the_start():
    rng = np.random.default_rng(7)
    X = correlated(20_000, 10, rng)
    W = rng.standard_normal((4, 10)) / 2
    y = np.maximum(X @ W.T, 0) @ [1.0, -1.0, 1.0, 1.0] + 0.1 * rng.standard_normal(len(X))
    starts = {}
    for inputs in ("auto", "whiten", "gaussian"):
        seen = []
        watch = seen.append
        fr.fit(X, y, "relu", 4, init="tensor", inputs=inputs, random_state=0, callback=watch)
        starts[inputs] = seen[0]["loss"]
    # The first loss of the refinement is that of the start; 0.005 is the noise.
    assert starts["auto"] == starts["whiten"] < 0.5 * starts["gaussian"]


def test_shifted_inputs_are_centred_for_the_start():
    rng = np.random.default_rng(8)
    X = rng.standard_normal((10_000, 8)) + 1.5
    W = rng.standard_normal((3, 8)) / 3
    y = np.maximum(X @ W.T, 0).sum(axis=1)
    rec = fr.fit(X, y, fr.models.Regression("relu", 3), random_state=0)
    assert rec.converged and rec.model.error(rec.parameters, Parameters(W, np.ones(3))) < 1e-8
    assert rec.info["whitened"]


def test_odd_inputs_are_told_where_the_fit_is_not_exact():
    teacher = fr.datasets.make_teacher("relu", 8, 3, random_state=0)
    X = np.random.default_rng(9).choice([-1.0, 1.0], (20_000, 8))
    y = teacher.predict(X) + 0.3 * np.random.default_rng(10).standard_normal(len(X))
    with pytest.warns(UserWarning, match="start relies on Gaussian inputs, refinement does not: .*kurtosis"):
        rec = fr.fit(X, y, "relu", 3, random_state=0)
    assert rec.error(teacher) < 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fr.fit(X, y, "relu", 3, inputs="gaussian", random_state=0)
        fr.fit(*teacher.sample(20_000, noise=0.3, random_state=1), "relu", 3, random_state=0)


def test_unknown_inputs_are_refused():
    X, y = np.random.default_rng(0).standard_normal((200, 3)), np.random.default_rng(1).standard_normal(200)
    with pytest.raises(ValueError, match="inputs must be one of auto, whiten, gaussian.*did you mean 'whiten'"):
        fr.fit(X, y, "relu", 1, inputs="white")


# (r + 1) / r + 0.1 rows for each of the d r numbers: all of twenty seeds succeed here.
@pytest.mark.parametrize(("r", "ratio"), [(1, 2.1), (3, 1.44), (5, 1.3)])
def test_quadratic_networks_at_the_sample_limit(r, ratio):
    for seed in range(3):
        teacher, X, y = planted("quadratic", r, 50, round(ratio * 50 * r), seed, output_weights="ones")
        rec = fr.fit(X, y, fr.models.Quadratic(r), random_state=seed)
        assert rec.converged and rec.error(teacher) < 1e-8


def test_published_quadratic_descent_recovers_up_to_rotation():
    teacher, X, y = planted("quadratic", 3, 20, 900, 1, output_weights="ones")
    losses = []
    rec = fr.fit(X, y, "xia2019", n_hidden=3, random_state=0, callback=lambda row: losses.append(row["loss"]))
    assert rec.converged and rec.error(teacher) < 1e-10
    assert np.linalg.norm(rec.weights) ** 2 == pytest.approx(np.mean(y), rel=0.2)
    # Two stages: the small rows turn before the loss falls, then it falls at a linear rate.
    assert losses[1] > 0.8 * losses[0]
    late = np.diff(np.log(losses[len(losses) // 2 : -20]))
    assert late.max() < 0 and late.std() < 0.2 * abs(late.mean())


@pytest.mark.parametrize(
    ("model", "change", "match"),
    [
        (("xia2019", 12), None, "must be below the 12 features"),
        (("quadratic", 13), None, "at most rank 12"),
        ((fr.models.Quadratic(2), None), "negative", "no positive value .*, but the model is a sum of squares"),
        ((fr.models.Quadratic(3), None), "few", "cannot determine 33 parameters"),
    ],
)
def test_quadratic_networks_refuse_what_they_cannot_be(model, change, match):
    rng = np.random.default_rng(11)
    X = rng.standard_normal((200, 12))
    y = (X[:, :2] ** 2).sum(axis=1)
    if change == "negative":
        y = -y
    if change == "few":
        X, y = X[:30], y[:30]
    with pytest.raises(ValueError, match=match):
        fr.fit(X, y, *model)


def test_certificate_counts_the_minima_that_agree():
    _, X, y = planted("relu", 5, 10, 75, 3)
    found = fr.fit(X, y, "relu", 5, random_state=3).certificate()
    assert found["exact"] and 1 <= found["agreeing"] <= found["candidates"]
    _, X, y = planted("relu", 2, 6, 4000, 3, noise=0.1)
    found = fr.fit(X, y, "relu", 2, random_state=3).certificate()
    assert found["agreeing"] == found["candidates"] == 1


def test_start_may_be_a_function():
    from functools import partial

    from fastrecover.starts import published_start

    teacher, X, y = planted("squared_relu", 3, 8, 30_000, 0)
    rec = fr.fit(X, y, "squared_relu", 3, init=partial(published_start, split=True), random_state=0)
    assert rec.converged and rec.error(teacher) < 1e-8
