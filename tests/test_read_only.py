"""What a recovery hands out: arrays that cannot be written to, or copies; so it stays, copied, pickled and loaded."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from every_network import STRINGS, recoveries, recovery_of, rows_for
from hypothesis import given, settings
from hypothesis import strategies as st

import fastrecover as fr
from fastrecover.models import Parameters, Regression

HANDED_OUT = (
    "weights", "biases", "output_weights", "linear", "intercept", "determined", "classes", "history", "parameters",
)  # fmt: skip


def arrays_of(value):
    """Arrays in what a recovery hands out."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from arrays_of(each)
    elif isinstance(value, Parameters):
        for name in ("weights", "biases", "output_weights", "linear", "intercept", "errors", "rows", "columns"):
            yield from arrays_of(getattr(value, name))


def write_everywhere(*handed_out):
    """Tries to change every number; how many arrays refused."""
    refused = 0
    for array in (array for value in handed_out for array in arrays_of(value)):
        other = {"b": ~array if array.dtype == bool else None, "U": "x"}.get(array.dtype.kind, -7)
        try:
            array[...] = other
        except ValueError as error:
            assert "read-only" in str(error)
            refused += 1
    return refused


def answers(rec, X):
    """Everything that depends on arrays of a recovery."""
    columns = [column.tolist() for column in rec.history.values()]
    return [rec.predict(X).tolist(), rec.hidden(X).tolist(), rec.summary(), rec.determined.tolist(), columns]


@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
@settings(max_examples=5, deadline=None, derandomize=True)
def test_writing_changes_nothing(name, data):
    rec = data.draw(recoveries(name))
    X = rows_for(rec)
    before = answers(rec, X)
    copies = [rec, copy.copy(rec), copy.deepcopy(rec), pickle.loads(pickle.dumps(rec))]
    for each in copies:
        handed_out = [getattr(each, name) for name in HANDED_OUT]
        # Weights twice, output weights, what is determined, and six columns of history at least.
        assert write_everywhere(*handed_out) >= 9
        assert answers(each, X) == before
    assert answers(rec, X) == before


def test_so_it_is_for_fits_and_files(tmp_path):
    teacher = fr.datasets.make_teacher("relu", 3, 2, output_weights="free", hidden_bias=True, intercept=1.0)
    X, y = teacher.sample(2000, noise=0.1, random_state=0)
    options = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True, "random_state": 0}
    rec = fr.fit(X, y, "relu", 2, **options)
    rec.save(tmp_path / "rec.npz")
    for each in (rec, fr.load(tmp_path / "rec.npz"), rec.at(rec.parameters)):
        before = answers(each, X), [p.flat().tolist() for p in each.conf_int()]
        write_everywhere(*(getattr(each, name) for name in HANDED_OUT))
        write_everywhere(each.standard_errors(), *each.conf_int(), each.align(teacher), each.predict(X), each.hidden(X))
        assert (answers(each, X), [p.flat().tolist() for p in each.conf_int()]) == before
    found = rec.to_sklearn()
    before = found.predict(X).tolist()
    write_everywhere(found.weights_, found.biases_, found.output_weights_, found.loss_curve_)
    assert found.predict(X).tolist() == before


def test_arrays_that_are_handed_in_stay_their_owners():
    w, v, open_ones = np.eye(2), np.ones(2), np.ones((2, 2), bool)
    rec = recovery_of(Regression("relu", 2, "free"), Parameters(w, v), determined=open_ones)
    before = answers(rec, np.ones((3, 2)))
    w[...], v[...], open_ones[...] = 5.0, 6.0, False  # which raises nothing
    assert answers(rec, np.ones((3, 2))) == before


def test_an_estimator_lives_on_with_them():
    """partial_fit and warm starts go on from a recovery whose arrays are not theirs to change."""
    X, y = fr.datasets.make_teacher("tanh", 3, 2).sample(100, noise=0.1, random_state=0)
    found = fr.fit(X, y, "tanh", 2, output_weights="free", random_state=0).to_sklearn()
    before = found.recovery_.predict(X)
    first = found.recovery_
    found.partial_fit(X, y)
    found.set_params(warm_start=True).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), before)
