"""Fits on batches that are taken once: what is drawn, what is refused, and the published descent on fresh rows."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.datasets import make_teacher
from fastrecover.solvers import OnLandscape, ResampledGradientDescent, StochasticGradientDescent


def teacher(d=4, seed=0, model="relu", **options):
    return make_teacher(model, d, d, output_weights="ones", norms=1.0, random_state=seed, **options)


def batches(count, n=300, seed=0):
    return list(itertools.islice(teacher().stream(n, random_state=seed), count))


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fr.ConvergenceWarning)
        return fr.fit(*args, **options)


def sgd(X, steps=20, **options):
    solver = StochasticGradientDescent(0.2, steps=steps)
    options = {"model": "relu", "n_hidden": 4, "init": "random", "solver": solver, "random_state": 0} | options
    return quietly(X, output_weights="ones", **options)


def least_cosine(found, truth):
    unit, rows = (a.weights / np.linalg.norm(a.weights, axis=1)[:, None] for a in (found, truth))
    cosines = np.abs(unit @ rows.T)
    return min(cosines.max(axis=0).min(), cosines.max(axis=1).min())


def test_stream_draws_every_batch_anew_and_the_same_ones_again():
    first, again = (list(itertools.islice(teacher().stream(50, 0.1, 7, np.float32), 3)) for _ in range(2))
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        assert x.shape == (50, 4) and x.dtype == np.float32 and y.shape == (50,)
        assert (x == x2).all() and (y == y2).all()
    rows = np.concatenate([x for x, _ in first])
    assert len(np.unique(rows, axis=0)) == 150
    # Neither is a batch what `sample` draws with that seed.
    assert not np.isin(teacher().sample(150, 0.1, 7, np.float32)[0], rows).any()


def test_stream_noise_has_its_size_and_options_are_checked_at_once():
    x, y = next(teacher().stream(20_000, noise=0.5, random_state=0))
    assert np.std(y - teacher().predict(x)) == pytest.approx(0.5, rel=0.03)  # six standard errors
    for name, bad in (("batch", 0), ("dtype", int), ("noise", -1.0)):
        with pytest.raises((TypeError, ValueError), match=f"^{name}"):
            teacher().stream(**{"batch": 5, name: bad})
    with pytest.raises(ValueError, match="^noise must be 0"):
        make_teacher("fcn", 4, 2).stream(5, noise=0.1)


@pytest.mark.parametrize("condition", [1.0, 2.0])
def test_published_descent_recovers_rows_from_fresh_batches(condition):
    """Five seeds each reach 0.997 or more."""
    truth = teacher(condition_number=condition, seed=3)
    solver = OnLandscape(StochasticGradientDescent(0.02, steps=150))
    rec = quietly(truth.stream(40_000, random_state=1), model="ge2017", n_hidden=4, solver=solver, random_state=2)
    assert least_cosine(rec, truth) > 0.99
    np.testing.assert_allclose(rec.output_weights, 1.0, atol=0.1)
    assert rec.n_rows == 150 * 40_000 and "all 150 steps were taken" in rec.message
    # A sweep a step; the start, the last look, and the read-out are a few more.
    assert 150 <= rec.n_passes <= 170
    x, y = next(itertools.islice(truth.stream(40_000, random_state=1), 149, None))
    assert rec.loss == pytest.approx(np.mean((rec.predict(x) - y) ** 2) / 2)


def test_default_steps_fit_the_units_and_the_rows_of_a_batch():
    for units, rows, factor in ((4, 262_144, 1.0), (20, 262_144, 1 / 16), (10, 65_536, 1 / 4), (50, 262_144, 1 / 625)):
        solver = OnLandscape().on(1.0, units, rows)
        assert solver.constant.step_size == pytest.approx(factor) and solver.steps == min(round(500 / factor), 20_000)
    assert OnLandscape().wanted(10) == 500 * 262_144


def test_stochastic_descent_takes_a_batch_a_step_from_given_and_random_rows():
    truth = teacher()
    start = truth.weights + 0.1 * np.random.default_rng(0).standard_normal((4, 4))
    rec = sgd(truth.stream(200, random_state=5), steps=400, init=start)
    assert rec.n_rows == 400 * 200 and rec.error(truth) < 0.01 < 0.1 < np.linalg.norm(start - truth.weights) / 2
    rec = sgd(truth.stream(200, random_state=5), solver=ResampledGradientDescent(0.2, 30))
    assert rec.n_rows == 30 * 200 and "all 30 steps were taken" in rec.message


def test_batches_give_the_steps_of_the_rows_they_were_cut_from():
    """Twelve batches of a list and the same rows as one array: the same descent, bit for bit."""
    parts = batches(12)
    start = np.eye(4)
    x, y = (np.concatenate(a) for a in zip(*parts, strict=True))
    streamed = sgd(iter(parts), init=start, steps=12)
    whole = sgd(x, steps=12, init=start, solver=StochasticGradientDescent(0.2, 300, steps=12), y=y)
    assert (streamed.weights == whole.weights).all()
    assert (streamed.history["loss"][1:13] == whole.history["loss"][1:13]).all()


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda parts: Loader(parts)])
def test_any_iterable_of_pairs_will_do_and_its_end_ends_the_fit(kind):
    rec = sgd(kind(batches(5)))
    assert rec.n_rows == 1500 and not rec.converged and "the batches of X ended after 5" in rec.message


class Loader:
    """Neither a list nor an iterator, as the loaders of other libraries are."""

    def __init__(self, parts):
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        return iter(self.parts)


def test_an_exact_fit_is_told_from_enough_rows_of_the_last_batch():
    truth = teacher()
    rec = sgd(truth.stream(1000, random_state=0), init=truth.weights)
    assert rec.converged and "exact fit" in rec.message
    assert not sgd(truth.stream(20, random_state=0), init=truth.weights).converged


def test_labels_are_those_of_the_first_batch_and_a_later_one_may_hold_one_only():
    truth = make_teacher("fcn", 3, 2, random_state=1)

    def named():
        for i, (x, y) in enumerate(truth.stream(400, random_state=2)):
            labels = np.where(y > 0, "yes", "no")
            yield (x, labels) if i != 2 else (x[y > 0], labels[y > 0])

    solver = StochasticGradientDescent(1.0, steps=10)
    rec = quietly(named(), model="fcn", n_hidden=2, init="random", solver=solver, random_state=0)
    assert rec.classes.tolist() == ["no", "yes"] and set(rec.predict(np.eye(3))) <= {"no", "yes"}
    first, second = itertools.islice(named(), 2)
    with pytest.raises(ValueError, match="^X: batch 1: y must hold labels of .* got 'maybe'"):
        fr.fit([first, (second[0], ["maybe"] * 400)], model="fcn", n_hidden=2, init="random", solver=solver)


def test_budget_and_callback_end_it():
    rec = sgd(teacher().stream(100, random_state=0), max_passes=6)
    assert rec.history["pass"][-1] <= 7 and "max_passes=6" in rec.message and rec.n_rows <= 700
    rec = sgd(teacher().stream(100, random_state=0), callback=lambda line: line["pass"] >= 4)
    assert rec.history["pass"][-1] <= 5 and "callback" in rec.message


def test_standard_errors_and_certificate_are_of_the_last_batch():
    parts = batches(4)
    rec = sgd(parts, steps=4)
    x, y = parts[-1]
    np.testing.assert_array_equal(rec.standard_errors().weights, rec.standard_errors(x, y).weights)
    assert rec.certificate() == rec.certificate(x, y)


@pytest.mark.parametrize(
    ("at", "spoiled", "message"),
    [
        (0, "rows", "X: batch 0: it must be a pair .* got str"),
        (2, (np.ones((3, 5)), np.arange(3.0)), "X: batch 2: X must have 4 columns as in the first batch, got 5"),
        (2, (np.full((3, 4), np.nan), np.arange(3.0)), "X: batch 2: X must be finite, but row 0, column 0 is nan"),
        (1, (np.ones((3, 4)), [0.0, np.inf, 1.0]), "X: batch 1: y must be finite, but row 1"),
        (1, (np.ones((3, 4)), np.arange(4.0)), "X: batch 1: y has 4 entries"),
        (1, (np.full((3, 4), 1e200), np.arange(3.0)), "X: batch 1: X has entries as large as"),
        (1, (np.full((3, 4), "a"), np.arange(3.0)), "X: batch 1: X must be real numbers"),
        (1, (np.ones((3, 4)), np.arange(3.0), np.ones(3)), "X: batch 1: it must be a pair .* got 3 entries"),
        (1, None, "X: batch 1: it must be a pair .* got NoneType"),
    ],
)
def test_a_bad_batch_is_named_by_its_number(at, spoiled, message):
    parts = batches(4)
    parts[at] = spoiled
    with pytest.raises(ValueError, match=f"^{message}"):
        sgd(iter(parts))


def test_what_needs_rows_again_is_refused_before_a_batch_is_taken():
    def never():
        raise AssertionError("a batch was taken")
        yield

    for options in (
        {"model": "relu"},
        {"model": "relu", "solver": "lbfgs", "init": "random"},
        {"model": "relu", "solver": "sgd", "init": "tensor"},
        {"model": "zhong2017"},
        {"model": "ge2017", "init": np.eye(2)},
        {"model": "ge2017", "solver": OnLandscape(fr.solvers.GradientDescent(0.1))},
    ):
        with pytest.raises(ValueError, match="^X is an iterable of batches, .* model='ge2017', .* solver='sgd'"):
            fr.fit(never(), n_hidden=2, **options)
    for name, given in (("y", [1.0]), ("sample_weight", [1.0]), ("n_hidden", "auto")):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            fr.fit(never(), **{"model": "relu", "solver": "sgd", "n_hidden": 2, name: given})
    with pytest.raises(ValueError, match="^X has no batch"):
        fr.fit(iter([]), model="relu", n_hidden=2, solver="sgd")


def test_rows_given_as_lists_are_rows():
    with pytest.raises(ValueError, match="^y is missing"):
        fr.fit([[1.0, 2.0], [3.0, 4.0]], model="relu", n_hidden=1)
    with pytest.raises(ValueError, match="^X is not a rectangular array"):
        fr.fit([([1.0], 2.0)], model="relu", n_hidden=1)
