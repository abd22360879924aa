"""Planted networks: their weights, their samples, and independence of a sample from how it was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from fastrecover.datasets import Teacher, make_teacher
from fastrecover.kernels import get_kernels
from fastrecover.models import Parameters, Regression

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
    f = ACTIVATIONS[name](x @ teacher.weights.T) @ teacher.output_weights + teacher.intercept
    return f if teacher.linear is None else f + x @ teacher.linear


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


def test_predict_refuses_what_it_cannot_read():
    teacher = make_teacher("relu", 4, 2)
    with pytest.raises(ValueError, match=r"X must have shape \(n, 4\)"):
        teacher.predict(np.ones((3, 5)))
    with pytest.raises(TypeError, match="real numbers"):
        teacher.predict(np.ones((3, 4), complex))
    assert repr(teacher) == "<Teacher relu: 2 units, 4 features>"
