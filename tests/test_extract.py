"""Extraction: planted networks behind a function come back to rounding, and what cannot be told is said.

The oracle is the planted network itself, whose parameters are never shown; victims are plain NumPy, so that nothing of
the package answers its own questions.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit, softmax

import fastrecover as fr
from fastrecover.extraction.lines import find_kinks, places
from fastrecover.extraction.oracle import Oracle, Spent
from fastrecover.extraction.signs import turned
from fastrecover.extraction.units import Steps
from fastrecover.models import Parameters


def plant(d, k, seed=0, m=1, shift=None, linear=False):
    """Parameters of a Gaussian network; `shift` is the distance of all kinks from 0, on the inactive side."""
    rng = np.random.default_rng([d, k, seed])
    w = rng.standard_normal((k, d)) / np.sqrt(d)
    a = 0.5 * rng.standard_normal(k) if shift is None else -shift * np.linalg.norm(w, axis=1)
    v = rng.choice([-1.0, 1.0], (m, k)) * rng.uniform(0.5, 2.0, (m, k))
    b, c = rng.standard_normal((m, d)) if linear else None, rng.standard_normal(m)
    if m == 1:
        return Parameters(w, v[0], None if b is None else b[0], float(c[0]), biases=a)
    return Parameters(w, v, b, c, biases=a)


def victim(p, slope=0.0, dtype=np.float64):
    """The network as a function that computes in one precision."""
    w, a, v, b, c = (np.asarray(each, dtype) for each in (p.weights, p.biases, p.output_weights, p.slope, p.intercept))

    def query(X):
        assert X.dtype == np.float64 and X.ndim == 2
        z = X.astype(dtype) @ w.T + a
        return np.maximum(z, dtype(slope) * z) @ v.T + X.astype(dtype) @ b.T + c

    return query


def found_exactly(rec, p, within=1e-8):
    assert rec.converged and rec.determined.all(), rec.message
    assert rec.error(p) < within
    return True


@pytest.mark.parametrize(("d", "k", "seed"), [(10, 4, 0), (10, 4, 1), (30, 12, 0), (100, 50, 0), (1, 3, 0), (5, 1, 0)])
def test_networks_come_back_to_rounding(d, k, seed):
    p = plant(d, k, seed)
    rec = fr.extract(victim(p), d, k)
    assert found_exactly(rec, p)
    assert rec.n_queries == rec.n_rows < 700 + 2.0 * (k * (d + 2) + 1)
    # What it predicts of itself holds within a factor.
    assert rec.error(p) < 10.0 * rec.info["expected_error"] + 1e-11


def test_queries_are_counted_and_no_call_is_larger_than_asked():
    p, sizes = plant(10, 4), []
    plain = victim(p)

    def query(X):
        sizes.append(len(X))
        X[:] = np.nan if len(sizes) % 2 else 0.0  # what a network does with its rows is its own affair
        return answer

    def keeps(X):
        nonlocal answer
        answer = plain(X)
        return query(X)

    answer = None
    rec = fr.extract(keeps, 10, 4, batch_size=50)
    assert found_exactly(rec, p) and max(sizes) == 50
    assert rec.n_queries == sum(sizes) == sum(rec.info["queries"].values()) == rec.history["rows"][-1]


def test_results_are_the_same_for_one_seed_and_agree_for_another():
    p = plant(12, 5)
    one, again, other = (fr.extract(victim(p), 12, 5, random_state=seed) for seed in (3, 3, 4))
    assert (one.parameters.flat() == again.parameters.flat()).all() and one.n_queries == again.n_queries
    assert (one.weights != other.weights).any() and other.error(one) < 1e-10


def test_the_function_is_what_matters_not_how_it_is_written():
    p = plant(8, 4)
    rng = np.random.default_rng(0)
    order, sizes = rng.permutation(4), 10.0 ** rng.uniform(-3, 3, 4)
    same = Parameters(
        (sizes[:, None] * p.weights)[order],
        (p.output_weights / sizes)[order],
        None,
        p.intercept,
        biases=(sizes * p.biases)[order],
    )
    rec = fr.extract(victim(same), 8, 4)
    assert found_exactly(rec, p) and found_exactly(rec, same)
    # Units in the conventions of fits: rows of length 1, by falling size.
    np.testing.assert_allclose(np.linalg.norm(rec.weights, axis=1), 1.0)
    assert (np.diff(np.abs(rec.output_weights)) <= 0).all()


def test_rotated_inputs_give_rotated_weights():
    p = plant(9, 4)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((9, 9)))[0]
    rec = fr.extract(lambda X: victim(p)(X @ turn.T), 9, 4)
    rotated = Parameters(p.weights @ turn, p.output_weights, None, p.intercept, biases=p.biases)
    assert found_exactly(rec, rotated)


@pytest.mark.parametrize("scale", [1e-3, 1e4, np.array([1e-4, 1.0, 1e5, 3.0, 7.0, 0.1])])
def test_scale_is_that_of_the_features(scale):
    p = plant(6, 3)
    rec = fr.extract(lambda X: victim(p)(X / scale), 6, 3, scale=scale)
    there = Parameters(rec.weights * scale, rec.output_weights, None, rec.intercept, biases=rec.biases)
    assert rec.converged and rec.model.error(there, p) < 1e-8


@pytest.mark.parametrize("shift", [3.7, 12.0, 1000.0])
def test_units_that_are_hardly_ever_active_are_found(shift):
    p = plant(10, 6, shift=shift)
    if shift > 5.0:
        X = np.random.default_rng(0).standard_normal((1000, 10))
        assert np.ptp(victim(p)(X)) == 0.0  # nothing to fit there
    assert found_exactly(fr.extract(victim(p), 10, 6), p)
    assert found_exactly(fr.extract(victim(p), 10, "auto"), p)


@pytest.mark.parametrize(("d", "k"), [(8, 3), (20, 15), (3, 6), (4, 1)])
def test_the_number_of_units_can_be_left_open(d, k):
    p = plant(d, k)
    rec = fr.extract(victim(p), d, "auto")
    assert rec.n_hidden == k and found_exactly(rec, p)


@pytest.mark.parametrize(("d", "k"), [(2, 6), (5, 9), (10, 19), (1, 5)])
def test_sides_of_more_units_than_features_are_told(d, k):
    p = plant(d, k)
    assert found_exactly(fr.extract(victim(p), d, k), p)


def test_single_precision_is_met_to_its_rounding():
    for d, k in ((10, 4), (40, 12)):
        p = plant(d, k)
        rec = fr.extract(victim(p, dtype=np.float32), d, k)
        single = Parameters(*(np.float32(each).astype(float) for each in (p.weights, p.output_weights)), None)
        single = Parameters(
            single.weights,
            single.output_weights,
            None,
            float(np.float32(p.intercept)),
            biases=np.float32(p.biases).astype(float),
        )
        assert rec.info["single_precision"] and found_exactly(rec, single, 3e-4)
    assert not fr.extract(victim(p), d, k).info["single_precision"]


def test_leaky_units_have_both_their_slopes():
    p = plant(8, 5)
    rec = fr.extract(victim(p, slope=0.2), 8, 5, activation="leaky_relu", slope=0.2)
    assert found_exactly(rec, p)
    # Under another slope the same kinks leave something linear.
    with pytest.warns(fr.ConvergenceWarning, match="sides"):
        wrong = fr.extract(victim(p, slope=0.2), 8, 5, activation="leaky_relu", slope=0.1)
    assert not wrong.converged and wrong.model.linear_term


def test_several_outputs_share_their_units():
    p = plant(9, 5, m=3)
    rec = fr.extract(victim(p), 9, 5)
    assert rec.output_weights.shape == (3, 5) and found_exactly(rec, p)
    assert rec.n_queries < 1000  # not three times as many


@pytest.mark.parametrize("columns", [1, 2])
def test_probabilities_of_two_classes_give_their_logit(columns):
    p = plant(6, 4)
    f = victim(p)
    rec = fr.extract(lambda X: expit(f(X)) if columns == 1 else expit(np.outer(f(X), [-1, 1])), 6, 4, output="logit")
    assert found_exactly(rec, p)
    X = np.random.default_rng(0).standard_normal((20, 6))
    np.testing.assert_allclose(rec.predict_proba(X)[:, 1], expit(f(X)), rtol=1e-8)


def test_saturated_probabilities_are_passed_over():
    p = plant(6, 4, 1)
    p = Parameters(p.weights, 15.0 * np.abs(p.output_weights), None, -10.0, biases=p.biases)
    f = victim(p)
    assert np.mean(expit(f(np.random.default_rng(0).standard_normal((1000, 6)))) == 1.0) > 0.03
    assert found_exactly(fr.extract(lambda X: expit(f(X)), 6, 4, output="logit"), p)


def test_three_classes():
    p = plant(6, 5, m=3)
    rec = fr.extract(lambda X: softmax(victim(p)(X), axis=1), 6, 5, output="logit")
    assert found_exactly(rec, p) and rec.classes.tolist() == [0, 1, 2]


def test_a_linear_term_makes_all_sides_equal():
    p = plant(8, 4, linear=True)
    rec = fr.extract(victim(p), 8, 4, linear_term=True)
    assert rec.converged and rec.error(p) < 1e-8
    with pytest.warns(fr.ConvergenceWarning, match="the network has one"):
        rec = fr.extract(victim(p), 8, 4)
    # The network that is returned answers all the same.
    X = 5.0 * np.random.default_rng(0).standard_normal((50, 8))
    assert not rec.converged and rec.model.linear_term
    np.testing.assert_allclose(rec.predict(X), victim(p)(X), atol=1e-8)


def test_options_that_contradict_the_answers_are_named():
    p = plant(8, 4)
    for option, message in (("hidden_bias", "hidden_bias=True"), ("fit_intercept", "fit_intercept=True")):
        with pytest.warns(fr.ConvergenceWarning, match=message):
            assert not fr.extract(victim(p), 8, 4, **{option: False}).converged
    bare = Parameters(p.weights, p.output_weights, biases=np.zeros(4))
    rec = fr.extract(victim(bare), 8, 4, hidden_bias=False, fit_intercept=False)
    assert found_exactly(rec, bare) and rec.parameters.biases is None and rec.intercept == 0.0


@pytest.mark.parametrize("budget", [10, 300, 700])
def test_a_budget_that_is_too_small_ends_the_search(budget):
    p = plant(20, 8)
    with pytest.warns(fr.ConvergenceWarning, match=f"max_queries={budget} reached"):
        rec = fr.extract(victim(p), 20, 8, max_queries=budget)
    assert not rec.converged and rec.n_queries <= budget and rec.weights.shape == (8, 20)
    assert not rec.determined[np.linalg.norm(rec.weights, axis=1) == 0].any()


def test_a_callback_ends_the_search_and_hears_of_stages(capsys):
    p, heard = plant(20, 8), []
    with pytest.warns(fr.ConvergenceWarning, match="stopped by the callback"):
        rec = fr.extract(victim(p), 20, 8, callback=lambda line: heard.append(line) or True, verbose=1)
    assert [line["stage"] for line in heard] == ["line 1"] and heard[0]["rows"] == rec.n_queries
    assert "line 1" in capsys.readouterr().err and not rec.converged


def test_dead_and_equal_units_are_told():
    p = plant(8, 4)
    twice = Parameters(
        np.concatenate([p.weights, 2.0 * p.weights[:1], p.weights[1:2]]),
        np.concatenate([p.output_weights, [0.7, 0.0]]),
        None,
        p.intercept,
        biases=np.concatenate([p.biases, 2.0 * p.biases[:1], [9.0]]),
    )
    with pytest.warns(fr.ConvergenceWarning, match="4 units found in place of n_hidden=6; these explain all answers"):
        rec = fr.extract(victim(twice), 8, 6)
    assert not rec.converged and rec.determined.any(axis=1).sum() == 4
    with pytest.warns(fr.ConvergenceWarning, match="4 units found in place of n_hidden=2"):
        assert fr.extract(victim(p), 8, 2).n_hidden == 4
    with pytest.warns(fr.ConvergenceWarning, match="no kink was found"):
        fr.extract(lambda X: X[:, 0] + 2.0, 8, "auto")


def test_bad_answers_are_refused_by_name():
    f = victim(plant(5, 2))
    rng = np.random.default_rng(0)
    for query, error, message in (
        (lambda X: f(X)[:-1], ValueError, r"query\(X\) must have shape"),
        (lambda X: f(X)[None, :, None], ValueError, r"query\(X\) must have shape"),
        (lambda X: np.where(X[:, 0] > 0, np.nan, f(X)), ValueError, r"query\(X\) must be finite, but row \d+"),
        (lambda X: f(X) + rng.standard_normal(len(X)), ValueError, "query must answer the same rows alike"),
        (lambda X: ["yes"] * len(X), TypeError, r"query\(X\) must be real numbers"),
        (lambda X: None, TypeError, r"query\(X\)"),
        (3, TypeError, "query must be callable"),
    ):
        with pytest.raises(error, match=message):
            fr.extract(query, 5, 2)
    with pytest.raises(ValueError, match="probabilities"):
        fr.extract(f, 5, 2, output="logit")


def test_bad_arguments_are_refused_before_any_query():
    def query(X):
        raise AssertionError("asked")

    for options, error, message in (
        ({"n_features": 0}, ValueError, "n_features"),
        ({"n_hidden": "some"}, TypeError, "n_hidden"),
        ({"output": "logits"}, ValueError, "did you mean 'logit'"),
        ({"activation": "tanh"}, ValueError, "two straight pieces.*fit"),
        ({"activation": "squared_relu"}, ValueError, "two straight pieces"),
        ({"scale": -1.0}, ValueError, "scale must be positive"),
        ({"scale": np.ones(4)}, ValueError, "scale"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"max_queries": 0}, ValueError, "max_queries"),
        ({"batch_size": 2.5}, TypeError, "batch_size"),
        ({"callback": 1}, TypeError, "callback"),
    ):
        with pytest.raises(error, match=message):
            fr.extract(**{"query": query, "n_features": 5, "n_hidden": 2} | options)


def test_a_result_is_saved_with_its_queries(tmp_path):
    p = plant(6, 3)
    rec = fr.extract(victim(p), 6, 3)
    rec.save(tmp_path / "rec.npz")
    again = fr.load(tmp_path / "rec.npz")
    assert again.n_queries == rec.n_queries and again.info == rec.info
    assert (again.parameters.flat() == rec.parameters.flat()).all()
    for text in (repr(again), again.summary()):
        assert f"{rec.n_queries} queries" in text and "passes" not in text
    X, y = fr.datasets.make_teacher("relu", 4, 2).sample(100)
    assert fr.fit(X, y, "relu", 2).n_queries is None


def test_kinks_of_a_line_are_where_they_were_put():
    rng = np.random.default_rng(0)
    at, size = np.sort(rng.standard_cauchy(40)), rng.standard_normal(40)
    at[11] = at[10] + 3e-3  # two that are hard to tell from one

    def ask(t):
        return np.maximum(t[:, None] - at, 0.0) @ size, 1e-14 * np.maximum(1.0, np.abs(t))

    kinks = find_kinks(ask, places(82))
    assert len(kinks) == 40
    np.testing.assert_allclose(kinks.starts, at, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(kinks.jumps, size, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 7, 64, 100])
def test_steps_are_orthogonal_and_give_gradients(d):
    steps = Steps(d, np.random.default_rng(0))
    np.testing.assert_array_equal(steps.rows @ steps.rows.T, np.diag(steps.squares))
    assert steps.squares.max() <= 4.0 * steps.squares.min()
    slope = np.random.default_rng(1).standard_normal(d)
    np.testing.assert_allclose(steps.gradient(0.25 * steps.rows @ slope[:, None], 0.25)[0], slope)
    numbers = np.abs(steps.rows[steps.rows != 0])
    assert (np.frexp(numbers)[0] == 0.5).all()  # powers of two


def test_sides_solve_their_equations():
    rng = np.random.default_rng(0)
    for k, n in ((5, 12), (12, 12), (18, 11)):
        rows, sides = rng.standard_normal((k, n)), rng.random(k) < 0.5
        assert (turned(rows, sides @ rows, 1e-9) == sides).all()
    assert turned(rows[:5], np.full(11, 0.3), 1e-9) is None
    assert turned(np.empty((0, 3)), np.zeros(3), 1e-9).shape == (0,)


def test_rounding_is_measured():
    p = plant(20, 10)
    for dtype, low, high in ((np.float64, 1e-17, 1e-14), (np.float32, 1e-8, 1e-5)):
        oracle = Oracle(victim(p, dtype=dtype), np.ones(20), False, 1000)
        oracle.probe(np.random.default_rng(0))
        assert low < oracle.rounding < high
    with pytest.raises(Spent):
        Oracle(victim(p), np.ones(20), False, 1000, max_queries=5).probe(np.random.default_rng(0))


def test_the_result_has_the_gradients_of_the_victim():
    p = plant(6, 3)
    f = victim(p)
    rec = fr.extract(f, 6, 3)
    x = np.random.default_rng(5).standard_normal(6)
    mine, theirs = (approx_fprime(x, lambda x, g=g: float(g(x[None])[0]), 1e-7) for g in (rec.predict, f))
    np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_a_network_of_scikit_learn_is_read_out():
    from sklearn.neural_network import MLPRegressor

    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = MLPRegressor(hidden_layer_sizes=(10,), max_iter=300, random_state=0).fit(X, np.abs(X[:, 0]) + X[:, 1])
    (w, v), (a, c) = net.coefs_, net.intercepts_
    rec = fr.extract(net.predict, 8, 10)
    assert found_exactly(rec, Parameters(w.T, v[:, 0], None, float(c[0]), biases=a))
