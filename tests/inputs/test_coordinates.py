"""Units of a fit: rows that are N(0, I) stay, others get second moment I, and parameters go there and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastrecover.engines import MappedEngine, ThreadEngine
from fastrecover.inputs import Coordinates, coordinates, diagnose
from fastrecover.models import Parameters, Penalty, Regression
from fastrecover.sources import ArraySource
from fastrecover.sweeps import Objective, local_rows

SEED = np.random.SeedSequence(0)
N, D = 4000, 5
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((N, D)), 3.0 + RNG.standard_normal(N)
MIXED = X @ RNG.standard_normal((D, D)).T * 10.0 ** RNG.uniform(-5, 5, D) + 10.0
RELU = Regression("relu", 2, "signs", linear_term=True, fit_intercept=True)


def units_of(x: np.ndarray, y: np.ndarray = Y, model=RELU, whiten: bool = False) -> Coordinates:
    engine = ThreadEngine(ArraySource(x, y), 1)
    return coordinates(engine, model, diagnose(engine, SEED), SEED, whiten=whiten)


def mapped(x: np.ndarray, units: Coordinates) -> np.ndarray:
    return local_rows(units.engine(ThreadEngine(ArraySource(x, Y), 1)))[0]


def test_gaussian_rows_stay_where_they_are():
    units = units_of(X)
    assert units.matrix is None and not isinstance(units.engine(ThreadEngine(ArraySource(X, Y), 1)), MappedEngine)
    assert units_of(X, whiten=True).is_white


def test_sizes_alone_are_taken_away_by_a_diagonal():
    units = units_of(X * 10.0 ** np.arange(-2, 3))
    assert units.matrix is not None and units.matrix.ndim == 1 and not units.is_white
    size = np.sqrt((mapped(X * 10.0 ** np.arange(-2, 3), units) ** 2).mean(axis=0))
    np.testing.assert_allclose(size, 1.0, rtol=0.05)


def test_correlations_stay_where_a_penalty_meets_kinks():
    x = X @ np.tril(np.ones((D, D))).T
    for name, penalised, white in (("relu", True, False), ("relu", False, True), ("tanh", True, True)):
        model = Regression(name, 2, "free", True, hidden_bias=True)
        model = model.changed(penalty=Penalty.of(1.0, N)) if penalised else model
        units = units_of(x, model=model)
        assert units.is_white == white and units.matrix is not None


@pytest.mark.parametrize(
    "x", [MIXED, X + 300.0, X @ np.diag([1, 1e-6, 1e6, 1, 1]) + 1e-6], ids=["mixed", "far", "sizes"]
)
def test_second_moments_become_the_identity(x):
    z = mapped(x, units_of(x, whiten=True))
    np.testing.assert_allclose(z.T @ z / N, np.eye(D), atol=0.1)


def test_units_of_the_columns_do_not_matter():
    """The same rows in other units give the same z, up to rounding and the signs of eigenvectors."""
    one, other = (mapped(x, units_of(x)) for x in (MIXED, MIXED * 10.0 ** np.array([6, -6, 3, 0, -2])))
    np.testing.assert_allclose(np.abs(one), np.abs(other), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model", [RELU, Regression("squared_relu", 2), Regression("tanh", 2, "free", linear_term=True)]
)
@pytest.mark.parametrize("x", [X, X * [1, 10, 100, 1, 1], MIXED], ids=["plain", "diagonal", "full"])
def test_there_and_back(x, model):
    """Parameters return to themselves, and outputs in the fit's units are those of the rows, shifted and scaled."""
    model = model.changed(fit_intercept=True)
    units = units_of(x, 1e5 + 1e3 * Y, model)
    assert units.shift != 0 and np.log2(units.scale).is_integer()
    linear = np.arange(D) / 10.0 if model.linear_term else None
    own = Parameters(RNG.standard_normal((2, D)) / np.abs(x).max(axis=0), np.array([1.0, -1.0]), linear, 7.0)
    there = units.into(own, model)
    back = units.back(there, model)
    np.testing.assert_allclose(back.flat(), own.flat(), rtol=1e-6, atol=1e-9 * np.abs(own.flat()).max())
    raw = ThreadEngine(ArraySource(x, Y), 1)
    free = model.with_free_output_weights(2)
    f = Objective(raw, free).predict(free.pack(own))
    g = Objective(units.engine(raw), free).predict(free.pack(there))
    np.testing.assert_allclose(g, (f - units.shift) / units.scale, rtol=1e-6, atol=1e-9 * np.abs(g).max())


def test_columns_that_repeat_others_are_left_out_and_named():
    x = np.c_[X, X[:, 0] - X[:, 2]]
    units = units_of(x)
    assert units.unseen is not None and units.unseen.tolist() == [True, False, True, False, False, True]
    assert mapped(x, units).shape == (N, D)
    own = Parameters(np.eye(1, D + 1), np.ones(1), np.zeros(D + 1), 0.0)
    back = units.back(units.into(own, RELU), RELU)
    np.testing.assert_allclose(x @ back.weights[0], x @ own.weights[0], atol=1e-9)
    assert np.linalg.norm(back.weights) < 1.0  # the shortest that do the same


def test_a_rare_column_is_not_taken_for_none():
    """What a sample does not show may be in all rows."""
    x = np.c_[RNG.standard_normal((60_000, 3)) + 1.0, np.zeros(60_000)]
    x[::20_000, 3] = 5.0
    units = units_of(x, RNG.standard_normal(60_000))
    assert units.unseen is None


@pytest.mark.parametrize("length", [1e3, 1e6])
def test_a_far_row_says_little(length):
    x = X.copy()
    x[7] = length
    size = np.sqrt(np.median(mapped(x, units_of(x)) ** 2))
    assert 0.4 < size < 1.0  # of a normal variable it is 0.67


def test_known_output_weights_of_bounded_units_keep_the_responses():
    assert units_of(X, 1e6 * Y, Regression("tanh", 2)).scale == 1.0
    assert units_of(X, 1e6 * Y, replace(RELU, fit_intercept=False)).shift == 0.0
