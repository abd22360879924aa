"""Planted networks: their weights, their samples, and independence of a sample from how it was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from fastrecover.datasets import Teacher, make_teacher
from fastrecover.kernels import get_kernels
from fastrecover.models import Classification, Logistic, Parameters, Poisson, Quadratic, Regression

ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.25 * z),
    "squared_relu": lambda z: np.maximum(z, 0) ** 2,
    "quadratic": lambda z: z**2,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.log1p(np.exp(z)),
}


def by_hand(teacher, name, x):
    f = ACTIVATIONS[name](x @ teacher.weights.T + teacher.biases) @ teacher.output_weights.T + teacher.intercept
    return f if teacher.linear is None else f + x @ teacher.linear.T


@pytest.mark.parametrize("k, d, kappa", [(5, 50, 2.0), (4, 4, 10.0), (1, 7, 3.0)])
def test_singular_values_are_evenly_spaced_up_to_the_condition_number(k, d, kappa):
    teacher = make_teacher("relu", d, k, condition_number=kappa)
    values = np.linalg.svd(teacher.weights, compute_uv=False)
    np.testing.assert_allclose(values[::-1], np.linspace(1, kappa, k), rtol=1e-12)
    assert teacher.weights.shape == (k, d) and (teacher.n_hidden, teacher.n_features) == (k, d)


def test_more_units_than_features_get_norms_between_one_and_the_condition_number():
    norms = np.linalg.norm(make_teacher("relu", 3, 8, condition_number=4.0).weights, axis=1)
    np.testing.assert_allclose(np.sort(norms), np.linspace(1, 4, 8), rtol=1e-12)


@pytest.mark.parametrize("norms, expected", [(2.5, np.full(3, 2.5)), ([1, 2, 3], np.array([1.0, 2.0, 3.0]))])
def test_norms_rescale_rows(norms, expected):
    teacher = make_teacher("relu", 6, 3, norms=norms)
    np.testing.assert_allclose(np.linalg.norm(teacher.weights, axis=1), expected, rtol=1e-12)


def test_output_weights():
    signs = np.array([make_teacher("relu", 5, 4, random_state=s).output_weights for s in range(64)])
    assert set(np.unique(signs)) == {-1.0, 1.0} and 0.35 < (signs > 0).mean() < 0.65
    assert make_teacher("relu", 5, 4).model.output_weights == "signs"
    free = make_teacher("relu", 5, 4, output_weights="free").output_weights
    assert ((np.abs(free) >= 0.5) & (np.abs(free) <= 2)).all() and len(set(np.abs(free))) == 4
    given = make_teacher("tanh", 5, 2, output_weights=[1.5, -2.0])
    assert given.output_weights.tolist() == [1.5, -2.0] and given.model.output_weights == (1.5, -2.0)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
@pytest.mark.parametrize("v", [None, "signs"])
def test_signs_that_cannot_be_identified_become_ones(name, v):
    teacher = make_teacher(name, 5, 3, output_weights=v)
    assert teacher.output_weights.tolist() == [1.0] * 3 and teacher.model.output_weights == "ones"


def test_linear_term_and_intercept_appear_in_the_model():
    teacher = make_teacher("tanh", 5, 2, intercept=-1.5, linear_term=0.3)
    assert np.linalg.norm(teacher.linear) == pytest.approx(0.3, rel=1e-12) and teacher.intercept == -1.5
    assert teacher.model.linear_term and teacher.model.fit_intercept
    assert make_teacher("tanh", 2, 2, linear_term=[1, 2]).linear.tolist() == [1.0, 2.0]
    assert np.linalg.norm(make_teacher("tanh", 5, 2, linear_term=True).linear) == pytest.approx(1.0)
    assert make_teacher("tanh", 5, 2, linear_term=False).linear is None


def test_model_object_decides():
    model = Regression("relu", 3, "free", fit_intercept=True, linear_term=True)
    teacher = make_teacher(model, 6)
    assert teacher.model == model and teacher.linear.shape == (6,) and len(set(np.abs(teacher.output_weights))) == 3
    with pytest.raises(ValueError, match="n_hidden=4 contradicts"):
        make_teacher(model, 6, 4)
    with pytest.raises(ValueError, match="intercept is given"):
        make_teacher(Regression("relu", 3), 6, intercept=1.0)
    with pytest.raises(ValueError, match="linear_term is given"):
        make_teacher(Regression("relu", 3), 6, linear_term=True)


def test_hidden_biases():
    plain = make_teacher("relu", 6, 400, output_weights="free", norms=2.0)
    teacher = make_teacher("relu", 6, 400, output_weights="free", norms=2.0, hidden_bias=True)
    assert plain.parameters.biases is None and not plain.model.hidden_bias
    assert teacher.model == Regression("relu", 400, "free", hidden_bias=True)
    for name in ("weights", "output_weights"):  # drawn from a stream of their own
        np.testing.assert_array_equal(getattr(teacher, name), getattr(plain, name))
    # 400 draws of 1.4 N(0, 1): four standard errors.
    assert abs(teacher.biases.mean()) < 0.28 and abs(teacher.biases.std() / 1.4 - 1) < 0.15
    half = make_teacher("relu", 6, 400, norms=2.0, hidden_bias=0.35).biases
    np.testing.assert_allclose(half, teacher.biases / 2, rtol=1e-14)
    longer = make_teacher("relu", 6, 400, norms=np.linspace(1, 5, 400), hidden_bias=True).biases
    np.testing.assert_allclose(longer / teacher.biases, np.linspace(1, 5, 400) / 2, rtol=1e-12)
    assert make_teacher("tanh", 4, 2, hidden_bias=[0.5, -1]).biases.tolist() == [0.5, -1.0]
    assert make_teacher("cnn", 6, n_patches=2, hidden_bias=True).biases.shape == (1,)
    assert make_teacher("fcn", 6, 3, hidden_bias=True).model == Classification(3, hidden_bias=True)


def test_model_object_decides_on_biases():
    model = Regression("relu", 3, "free", hidden_bias=True)
    assert make_teacher(model, 5).biases.all()
    assert make_teacher(model, 5, hidden_bias=False).model == Regression("relu", 3, "free")
    assert make_teacher("relu", 5, 3, hidden_bias=False).parameters.biases is None
    with pytest.raises(ValueError, match="hidden_bias is given, but the model object has none"):
        make_teacher(Regression("relu", 3), 5, hidden_bias=True)


@pytest.mark.parametrize("intercept, expected", [(0.5, [0.5, 0.5, 0.5]), ([1, 0, -2], [1.0, 0.0, -2.0])])
def test_several_outputs(intercept, expected):
    teacher = make_teacher("tanh", 5, 4, n_outputs=3, intercept=intercept, linear_term=0.3, hidden_bias=True)
    assert teacher.model == Regression("tanh", 4, "free", True, True, True).changed(n_outputs=3)
    assert teacher.output_weights.shape == (3, 4) and len(set(np.abs(teacher.output_weights.ravel()))) == 12
    assert teacher.linear.shape == (3, 5) and teacher.intercept.tolist() == expected
    np.testing.assert_allclose(np.linalg.norm(teacher.linear, axis=1), 0.3, rtol=1e-12)
    X, y = teacher.sample(20_000, random_state=1)
    np.testing.assert_allclose(y, by_hand(teacher, "tanh", X), rtol=1e-12, atol=1e-12)
    noise = teacher.sample(20_000, 0.7, random_state=1)[1] - y
    # 20,000 draws of each output, independent: four standard errors.
    np.testing.assert_allclose(np.cov(noise.T), 0.49 * np.eye(3), atol=0.02)
    assert repr(teacher) == "<Teacher tanh: 4 units, 5 features, 3 outputs>"
    given = make_teacher(teacher.model, 5, random_state=3, linear_term=np.ones((3, 5)))
    assert given.output_weights.shape == (3, 4) and (given.linear == 1).all() and given.intercept.tolist() == [0] * 3


def test_losses_by_name_are_the_models_that_a_fit_would_get():
    assert make_teacher("relu", 4, 2, loss="huber", delta=0.5).model == Regression(
        "relu", 2, "signs", loss="huber", delta=0.5
    )
    assert make_teacher("relu", 4, 2, loss="logistic").model == Logistic("relu", 2, hidden_bias=False)
    assert make_teacher("relu", 4, 2, loss="logistic", hidden_bias=True).model == Logistic("relu", 2)
    counts = make_teacher("tanh", 4, 2, loss="poisson", link="softplus", output_weights="signs")
    assert counts.model == Poisson("tanh", 2, "softplus", "ones")
    assert make_teacher(Logistic("relu", 2), 4, n_outputs=3).model.n_outputs == 3


@pytest.mark.parametrize("m", [1, 3])
def test_labels_have_the_probabilities_of_the_logits(m):
    teacher = make_teacher(Logistic("relu", 3), 4, n_outputs=m, intercept=0.3, norms=1.0, random_state=2)
    X, y = teacher.sample(60_000, random_state=3)
    f = by_hand(teacher, "relu", X).reshape(len(X), m)
    f = np.c_[np.zeros(len(X)), f] if m == 1 else f
    p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    assert y.dtype == np.float64 and y.shape == (60_000,) and set(y) == set(range(max(m, 2)))
    for o in range(p.shape[1]):
        for rows in (slice(None), X[:, 0] > 0.5, X[:, 1] < -0.5):
            drawn, expected = y[rows] == o, p[rows, o]
            spread = np.sqrt((expected * (1 - expected)).sum())
            assert abs(drawn.sum() - expected.sum()) < 4 * spread


@pytest.mark.parametrize("link, rate", [("log", np.exp), ("softplus", lambda f: np.log1p(np.exp(f)))])
def test_counts_have_the_rates_of_the_link(link, rate):
    model = Poisson("tanh", 2, link, fit_intercept=True, hidden_bias=True)
    teacher = make_teacher(model, 4, intercept=1.0, random_state=1)
    X, y = teacher.sample(60_000, random_state=2)
    q = rate(by_hand(teacher, "tanh", X))
    assert (y == np.rint(y)).all() and y.min() == 0
    z = (y - q) / np.sqrt(q)
    # Mean 0 and variance 1, in all and in part of the rows: four standard errors (of z^2: 2 + 1 / q).
    for rows in (slice(None), X[:, 0] > 0.5, q > np.median(q)):
        n = len(z[rows])
        assert abs(z[rows].mean()) < 4 / np.sqrt(n)
        assert abs(np.mean(z[rows] ** 2) - 1) < 4 * np.sqrt((2 + np.mean(1 / q[rows])) / n)


RANDOM = {
    "logistic": dict(model="relu", loss="logistic", hidden_bias=True),
    "softmax": dict(model="relu", loss="logistic", n_outputs=3),
    "poisson": dict(model="tanh", loss="poisson"),
    "several outputs": dict(model="tanh", n_outputs=2),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_random_responses_do_not_depend_on_threads_or_on_how_many_rows(kind):
    teacher = make_teacher(n_features=50, n_hidden=3, norms=1.0, **RANDOM[kind])
    noise = 0.5 if kind == "several outputs" else 0.0
    X, y = teacher.sample(5000, noise, random_state=3, n_jobs=1)
    np.testing.assert_array_equal(teacher.sample(5000, noise, random_state=3, n_jobs=3)[1], y)
    for n in (1, 1310, 1311, 4999):
        Xn, yn = teacher.sample(n, noise, random_state=3)
        np.testing.assert_array_equal(Xn, X[:n])
        # The reference kernels multiply whole blocks by BLAS, whose rounding depends on the number of rows.
        np.testing.assert_allclose(yn, y[:n], rtol=0, atol=1e-13 if get_kernels() == "reference" else 0)
    batches = teacher.stream(100, noise, random_state=3)
    first, second = next(batches), next(batches)
    assert first[1].shape == y[:100].shape and (first[0] != second[0]).all()
    if kind != "several outputs":
        with pytest.raises(ValueError, match="noise must be 0 for a "):
            teacher.sample(10, noise=0.1)


def test_rates_without_end_are_refused():
    teacher = make_teacher("squared_relu", 4, 3, output_weights="ones", norms=9.0, loss="poisson")
    with pytest.raises(ValueError, match="rates up to inf: give smaller norms"):
        teacher.sample(1000, random_state=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype, tol", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_responses_are_the_networks_outputs(name, dtype, tol):
    slope = 0.25 if name == "leaky_relu" else None
    teacher = make_teacher(name, 7, 3, output_weights="free", intercept=0.5, linear_term=1.0, slope=slope)
    X, y = teacher.sample(500, random_state=1, dtype=dtype)
    assert X.dtype == dtype and X.shape == (500, 7) and y.dtype == np.float64
    np.testing.assert_allclose(y, by_hand(teacher, name, X.astype(np.float64)), rtol=tol, atol=tol)
    np.testing.assert_array_equal(teacher.predict(X), y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(dtype):
    teacher = make_teacher("relu", 50, 3)
    X, y = teacher.sample(5000, 0.5, random_state=3, dtype=dtype)
    # The reference kernels multiply whole blocks by BLAS, whose rounding depends on the number of rows.
    tol = {np.float64: 1e-13, np.float32: 1e-5}[dtype] if get_kernels() == "reference" else 0.0
    for n in (1, 7, 1310, 1311, 4999):
        Xn, yn = teacher.sample(n, 0.5, random_state=3, dtype=dtype)
        np.testing.assert_array_equal(Xn, X[:n])
        np.testing.assert_allclose(yn, y[:n], rtol=0, atol=tol)


def test_sample_does_not_depend_on_threads_dtype_or_destination(tmp_path):
    teacher = make_teacher("tanh", 40, 3)
    X, y = teacher.sample(6000, 0.1, random_state=9)
    for jobs in (1, 3):
        Xj, yj = teacher.sample(6000, 0.1, random_state=9, n_jobs=jobs)
        np.testing.assert_array_equal(Xj, X)
        np.testing.assert_array_equal(yj, y)
    np.testing.assert_array_equal(teacher.sample(6000, random_state=9, dtype=np.float32)[0], X.astype(np.float32))
    wide = np.full((6000, 60), 7.0)
    held, yh = teacher.sample(6000, 0.1, random_state=9, out=wide[:, 5:45])
    np.testing.assert_array_equal(held, X)
    np.testing.assert_array_equal(yh, y)
    assert held.base is wide and (wide[:, :5] == 7).all() and (wide[:, 45:] == 7).all()
    mapped = np.memmap(tmp_path / "x.dat", np.float32, "w+", shape=(6000, 40))
    got, _ = teacher.sample(6000, random_state=9, out=mapped)
    assert got is mapped
    np.testing.assert_array_equal(np.fromfile(tmp_path / "x.dat", np.float32).reshape(6000, 40), X.astype(np.float32))


def test_distribution():
    teacher = make_teacher("relu", 10, 2)
    X, y = teacher.sample(40_000, 0.7, random_state=5)
    np.testing.assert_allclose(X.T @ X / len(X), np.eye(10), atol=0.04)
    np.testing.assert_allclose((X**4).mean(axis=0), 3.0, atol=0.35)
    noise = y - teacher.predict(X)
    assert noise.std() == pytest.approx(0.7, rel=0.02) and np.abs(noise @ X).max() / len(X) < 0.02
    U, _ = teacher.sample(40_000, random_state=5, inputs="uniform")
    assert np.abs(U).max() <= np.sqrt(3) and U.var() == pytest.approx(1.0, rel=0.01) and abs(U.mean()) < 0.01


def test_seeds():
    teacher = make_teacher("relu", 5, 2)
    same = [teacher.sample(10, random_state=s)[0] for s in (4, np.random.SeedSequence(4), np.random.SeedSequence(4))]
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])
    sequence = np.random.SeedSequence(4)
    first, again = (teacher.sample(10, random_state=sequence)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    generator = np.random.default_rng(4)
    assert (teacher.sample(10, random_state=generator)[0] != teacher.sample(10, random_state=generator)[0]).all()
    assert (teacher.sample(10)[0] != teacher.sample(10)[0]).all()


def test_truth_and_data_of_one_seed_are_independent_of_that_seeds_first_children():
    seed = np.random.SeedSequence(0)
    start = np.random.default_rng(seed.spawn(1)[0]).standard_normal((50, 5))
    weights = make_teacher("relu", 50, 5, random_state=0).weights
    cosines = np.linalg.svd(np.linalg.qr(start)[0].T @ np.linalg.qr(weights.T)[0], compute_uv=False)
    assert cosines.max() < 0.9


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(model="rellu"), ValueError, "did you mean 'relu'"),
        (dict(model=3), TypeError, "model must be a name"),
        (dict(n_features=0), ValueError, "n_features must be at least 1"),
        (dict(n_features=2.5), TypeError, "n_features must be an integer"),
        (dict(n_hidden=0), ValueError, "n_hidden must be at least 1"),
        (dict(condition_number=0.5), ValueError, "condition_number must be finite and at least 1"),
        (dict(output_weights="sings"), ValueError, "did you mean 'signs'"),
        (dict(output_weights=[1.0]), ValueError, r"output_weights must have shape \(5,\)"),
        (dict(norms=[1.0, 2.0]), ValueError, "norms must be a number or 5 numbers"),
        (dict(norms=-1.0), ValueError, "norms must be finite and positive"),
        (dict(intercept=np.inf), ValueError, "intercept must be finite"),
        (dict(linear_term=[1.0]), ValueError, "linear_term must be 50 finite numbers"),
        (dict(linear_term="yes"), TypeError, "linear_term must be a bool"),
        (dict(slope=0.2), ValueError, "slope belongs to leaky_relu"),
        (dict(hidden_bias="yes"), TypeError, "hidden_bias must be a bool, a number or 5 finite numbers"),
        (dict(hidden_bias=[1.0]), ValueError, r"hidden_bias must be 5 finite numbers, got shape \(1,\)"),
        (dict(hidden_bias=-1.0), ValueError, "hidden_bias must be finite and at least 0"),
        (dict(model="quadratic", hidden_bias=True), ValueError, "not identifiable for quadratic units"),
        (dict(n_outputs=0), ValueError, "n_outputs must be at least 1"),
        (dict(n_outputs=2.0), TypeError, "n_outputs must be an integer"),
        (dict(n_outputs=2, output_weights="signs"), ValueError, "use output_weights='free'"),
        (dict(n_outputs=2, model="fcn"), ValueError, "n_outputs must be 1 under the cross-entropy loss"),
        (dict(n_outputs=2, loss="poisson"), ValueError, "n_outputs must be 1 under the poisson loss"),
        (dict(n_outputs=2, loss="logistic"), ValueError, "n_outputs must be 1 for two classes"),
        (dict(n_outputs=2, intercept=[1.0]), ValueError, "intercept must be 2 finite numbers"),
        (dict(n_outputs=2, linear_term=np.ones(50)), ValueError, r"finite numbers of shape \(2, 50\)"),
        (dict(intercept=[1.0]), TypeError, "intercept must be a number"),
        (dict(loss="logit"), ValueError, "unknown loss 'logit'"),
        (dict(delta=1.0), TypeError, "delta belongs to loss='huber'"),
        (dict(link="log"), TypeError, "link belongs to loss='poisson'"),
        (dict(model="fcn", loss="logistic"), TypeError, "do not apply to model 'fcn'"),
        (dict(model=Quadratic(2), loss="huber"), TypeError, "loss cannot be combined with a model object"),
        (dict(random_state=1.5), TypeError, "random_state must be"),
        (dict(random_state=-1), ValueError, "random_state must not be negative"),
    ],
)
def test_bad_teachers(options, error, message):
    with pytest.raises(error, match=message):
        make_teacher(**options)


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(n=0), ValueError, "n must be at least 1"),
        (dict(n=1.5), TypeError, "n must be an integer"),
        (dict(noise=-0.1), ValueError, "noise must be finite and at least 0"),
        (dict(noise="loud"), TypeError, "noise must be a number"),
        (dict(dtype=np.int32), TypeError, "dtype must be float64 or float32"),
        (dict(dtype="huge"), TypeError, "dtype must be float64 or float32"),
        (dict(inputs="cauchy"), ValueError, "inputs must be one of gaussian, uniform"),
        (dict(out=np.empty((9, 4))), ValueError, r"out must have shape \(10, 4\)"),
        (dict(out=[[1.0]]), TypeError, "out must be a numpy array"),
        (dict(out=np.empty((10, 4), order="F")), ValueError, "adjacent columns"),
        (dict(out=np.empty((10, 4), np.int64)), ValueError, "float64 or float32"),
        (dict(n_jobs=0), ValueError, "n_jobs must not be 0"),
    ],
)
def test_bad_samples(options, error, message):
    with pytest.raises(error, match=message):
        make_teacher("relu", 4, 2).sample(**{"n": 10, **options})


def test_teacher_checks_its_shapes():
    model = Regression("relu", 2)
    with pytest.raises(ValueError, match=r"weights must have shape \(2, n_features\)"):
        Teacher(model, Parameters(np.ones((3, 4)), np.ones(3)))
    with pytest.raises(ValueError, match="output_weights must have shape"):
        Teacher(model, Parameters(np.ones((2, 4)), np.ones(3)))
    with pytest.raises(ValueError, match="linear must have shape"):
        Teacher(model, Parameters(np.ones((2, 4)), np.ones(2), np.ones(3)))
    with pytest.raises(ValueError, match=r"biases must have shape \(2,\)"):
        Teacher(model, Parameters(np.ones((2, 4)), np.ones(2), biases=np.ones(3)))
    several = model.changed(output_weights="free", n_outputs=3)
    with pytest.raises(ValueError, match=r"output_weights must have shape \(3, 2\)"):
        Teacher(several, Parameters(np.ones((2, 4)), np.ones(2)))
    with pytest.raises(ValueError, match=r"intercept must have shape \(3,\), got \(\)"):
        Teacher(several, Parameters(np.ones((2, 4)), np.ones((3, 2))))


def test_predict_refuses_what_it_cannot_read():
    teacher = make_teacher("relu", 4, 2)
    with pytest.raises(ValueError, match=r"X must have shape \(n, 4\)"):
        teacher.predict(np.ones((3, 5)))
    with pytest.raises(TypeError, match="real numbers"):
        teacher.predict(np.ones((3, 4), complex))
    assert repr(teacher) == "<Teacher relu: 2 units, 4 features>"
