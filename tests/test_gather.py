"""Fits by several processes, each on rows of its own: the same answer as one process with all rows, everywhere."""

import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from processes import Together

import fastrecover as fr
from fastrecover import checkpoint

COUNT = 3


@pytest.fixture(scope="module")
def processes():
    found = Together(COUNT)
    yield found
    found.close()


def own(gather, i, name, cuts, more):
    """The fit of a case on the rows of one process."""
    arrays, options = CASES[name]
    edges = [0, *cuts, len(arrays[0])]
    X, y, *w = (a[edges[i] : edges[i + 1]] for a in arrays)
    return bare(fr.fit(X, y, sample_weight=w[0] if w else None, gather=gather, n_jobs=1, **{**options, **more}))


def bare(recovery):
    """The recovery without the rows, which do not leave the process."""
    recovery.objective = recovery.left = None
    return recovery


def alone(arrays, **options):
    X, y, *w = arrays
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X, y, sample_weight=w[0] if w else None, n_jobs=1, **options)


def assert_same(found, expected):
    for each in found:
        if isinstance(each, Exception):
            raise each
        for name in ("weights", "biases", "output_weights", "determined"):
            np.testing.assert_array_equal(getattr(each, name), getattr(expected, name), err_msg=name)
        np.testing.assert_array_equal(each.intercept, expected.intercept)
        assert (each.loss, each.n_passes, each.n_rows) == (expected.loss, expected.n_passes, expected.n_rows)
        assert (each.message, each.converged) == (expected.message, expected.converged)
        if expected.classes is not None:
            assert each.classes.tolist() == expected.classes.tolist()


rng = np.random.default_rng(0)
X = rng.standard_normal((9_000, 4))
TEACHER = fr.datasets.make_teacher("tanh", 4, 2, output_weights="ones", random_state=0)
Y = TEACHER.predict(X) + 0.1 * rng.standard_normal(len(X))
SIGN = np.where(Y + 0.3 * rng.standard_normal(len(Y)) > 0, "yes", "no")
THREE = np.array(["a", "bb", "ccc"])[np.digitize(Y, [-0.5, 0.5])]
W = rng.integers(0, 4, len(X)) / 2.0
FREE = dict(output_weights="free", hidden_bias=True, fit_intercept=True)
NETWORK = fr.models.Regression(activation="tanh", n_hidden=2, **FREE)
COUNTS = np.random.default_rng(1).poisson(np.exp(Y / 2))
LOGISTIC = fr.models.Logistic(activation="tanh", n_hidden=1)
# Of which least-squares weights run off, see test_choice_of_minima.py.
FEW, CLEAN = fr.datasets.make_teacher("tanh", 4, 3, random_state=11, condition_number=3.0).sample(180, 0.0, 12)
CASES = {
    "regression": ((X, Y), dict(model="tanh", n_hidden=2)),
    "weights of zero": ((X, Y, W), dict(model="tanh", n_hidden=2)),
    "float32, not white": (((3.0 * X + 1.0).astype(np.float32), Y), dict(model=NETWORK, restarts=1)),
    "integers": ((np.round(20 * X).astype(np.int8), Y), dict(model=NETWORK, inputs="whiten", restarts=1)),
    "labels": ((X, SIGN), dict(model=LOGISTIC, restarts=1)),
    "labels in order": ((X[np.argsort(SIGN)], np.sort(SIGN)), dict(model=LOGISTIC, restarts=1)),
    "fractions": ((X, 1.0 / (1.0 + np.exp(-Y))), dict(model=LOGISTIC, restarts=1)),
    "balanced": ((X, SIGN, W), dict(model=LOGISTIC, class_weight="balanced", restarts=1)),
    "three classes": ((X, THREE), dict(model=LOGISTIC, restarts=1)),
    "counts": (
        (X, COUNTS),
        dict(model=fr.models.Poisson(activation="tanh", n_hidden=1), restarts=1),
    ),
    "two outputs": ((X, np.column_stack([Y, X[:, 0]])), dict(model=NETWORK, restarts=1)),
    "patches": ((X, SIGN == "yes"), dict(model="cnn", n_patches=2)),
    "quadratic": ((X, Y**2), dict(model="quadratic", n_hidden=2)),
    "message passing": (
        (X, (X[:, :2] ** 2).sum(axis=1)),
        dict(model="quadratic", n_hidden=2, output_weights="ones", init="message-passing"),
    ),
    "penalty": ((X, Y), dict(model=NETWORK, alpha=[0.1, 1.0], standardise=True, restarts=1, max_passes=20)),
    "chosen by a penalty": (
        (FEW, CLEAN + np.std(CLEAN) * np.random.default_rng(11).standard_normal(180)),
        dict(model="tanh", n_hidden=3, random_state=0),
    ),
    "fresh parts": ((X, Y), dict(model="zhong2017", activation="tanh", n_hidden=2, max_passes=30)),
    "landscape": ((X, np.maximum(X[:, :2], 0.0).sum(axis=1)), dict(model="landscape", n_hidden=2, max_passes=60)),
    "number of units": ((X[:2000], Y[:2000]), dict(model="tanh", n_hidden="auto", max_passes=60)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_processes_find_what_one_finds(processes, name):
    arrays, options = CASES[name]
    cuts = [700, 4100] if len(arrays[0]) > 5000 else [50, 140] if len(arrays[0]) < 1400 else [300, 1400]
    options = {"random_state": 3, **options}
    assert_same(processes.run(own, name, cuts, options), alone(arrays, **options))


@pytest.mark.parametrize("cuts", [[4096, 8192], [1, 2], [0, 9000], [8191, 8193], [3000, 3000]])
def test_it_does_not_matter_who_has_which_rows(processes, cuts):
    expected = alone((X, Y), model="tanh", n_hidden=2, random_state=1)
    assert_same(processes.run(own, "regression", cuts, {"random_state": 1}), expected)


def test_random_numbers_are_those_of_the_first(processes):
    first, *others = processes.run(own, "regression", [3000, 6000], {})
    assert_same(others, first)


def errors(gather, i):
    rows = slice(3000 * i, 3000 * (i + 1))
    return fr.fit(X[rows], Y[rows], "tanh", 2, gather=gather, n_jobs=1, random_state=1).standard_errors()


def test_standard_errors_are_asked_together(processes):
    expected = alone((X, Y), model="tanh", n_hidden=2, random_state=1).standard_errors()
    for found in processes.run(errors):
        np.testing.assert_array_equal(found.weights, expected.weights)


def slowly(gather, i, more):
    """A fit without an end, where one process is slow, and another alone may have a callback that ends it."""

    def slow(value):
        if i == 1:
            time.sleep(0.002)
        return gather(value)

    rows, steps = slice(3000 * i, 3000 * (i + 1)), []
    if i == 2 and more.get("callback"):
        more = {"callback": lambda step: steps.append(step) or len(steps) > 8}
    elif "callback" in more:
        more = {}
    options = dict(solver="gd", init="random", tol=1e-12, random_state=0, n_jobs=1)
    return bare(fr.fit(X[rows], Y[rows], "tanh", 2, gather=slow, **options, **more))


@pytest.mark.parametrize("more", [{"callback": True}, {"max_seconds": 0.3}, {"max_passes": 7}])
def test_a_budget_ends_all_at_one_place(processes, more):
    found = processes.run(slowly, more)
    assert_same(found[1:], found[0])
    assert next(iter(more)) in found[0].message and not found[0].converged


BAD = X.copy()
BAD[4321, 2] = np.nan
MISSING, NEGATIVE = Y.copy(), np.ones(len(Y))
MISSING[700], NEGATIVE[8000] = np.nan, -1.0
FOREIGN = {"maybe": 2.0}
ERRORS = {
    "an entry that is not a number": ((BAD, Y), {}, ValueError, "row 4321, column 2 is nan"),
    "a response that is none": (
        (X, MISSING),
        {},
        ValueError,
        "process 1 of 3: y must be finite.*row 0",
    ),
    "text": ((X, SIGN), {}, (TypeError, ValueError), "in the rows of process 0 of 3: y"),
    "one class": ((X, np.full(len(X), "no")), dict(model=LOGISTIC, n_hidden=None), ValueError, "one class"),
    "constant": ((X, np.full(len(X), 2.0)), {}, ValueError, "y must vary, but every response is 2"),
    "a constant column": ((np.column_stack([X, np.zeros(len(X))]), Y), {}, ValueError, "constant columns \\(4\\)"),
    "negative weights": (
        (X, Y, NEGATIVE),
        {},
        ValueError,
        "process 2 of 3: sample_weight.*row 3900",
    ),
    "no weight": ((X, Y, np.zeros(len(X))), {}, ValueError, "zero everywhere"),
    "a weight of a class that there is not": (
        (X, SIGN),
        dict(model=LOGISTIC, n_hidden=None, class_weight=FOREIGN),
        ValueError,
        "none of the classes",
    ),
    "too few rows": ((X[:12], Y[:12]), dict(model=NETWORK, n_hidden=None), ValueError, "12 rows"),
}


CASES |= {name: (arrays, {"model": "tanh", "n_hidden": 2, **options}) for name, (arrays, options, *_) in ERRORS.items()}


@pytest.mark.parametrize("name", ERRORS)
def test_everybody_hears_of_what_is_wrong_with_one(processes, name):
    arrays, _, kind, said = ERRORS[name]
    for error in processes.run(own, name, [700, 4100] if len(arrays[0]) > 5000 else [5, 10], {}):
        with pytest.raises(kind, match=said):
            raise error


class Killed(BaseException):
    pass


def begun(gather, i, path, most, options):
    """A fit that all processes leave at one sweep, as if they had been killed."""
    left = iter(range(most))

    def until(value):
        if next(left, None) is None:
            raise Killed
        return gather(value)

    rows = slice(3000 * i, 3000 * (i + 1))
    checkpoint.WORTH = -1.0  # every sweep is worth recording
    try:
        return bare(fr.fit(X[rows], Y[rows], gather=until, n_jobs=1, checkpoint=path, **options))
    except Killed:
        return "killed"


@pytest.mark.parametrize("seed", [1, None])
def test_a_fit_of_processes_goes_on(processes, tmp_path, monkeypatch, seed):
    options, path = dict(model="tanh", n_hidden=2, random_state=seed), tmp_path / "fit.ckpt"
    for most in (12, 20, 26, 30):
        assert processes.run(begun, path, most, options) == ["killed"] * COUNT
    assert path.stat().st_size > 0
    first, *others = processes.run(begun, path, 10_000, options)
    assert_same(others, first)
    if seed is not None:
        assert_same([first], alone((X, Y), **options))
    for error in processes.run(begun, path, 10_000, {**options, "tol": 0.5}):
        assert isinstance(error, fr.CheckpointError) and "tol was 0.001 and is 0.5" in str(error)


def differently(gather, i, folder):
    """Things that one process may do alone, and errors of one alone: nobody waits for another."""
    rows, own = slice(3000 * i, 3000 * (i + 1)), dict(gather=gather, n_jobs=1, random_state=1)
    told = []

    def tried(*args, **options):
        try:
            fr.fit(*args, **{**own, **options})
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")

    tried(folder / "missing.npy" if i == 1 else X[rows], Y[rows], "tanh", 2)
    tried(X[rows], Y[rows], "tanh", 2, tol=-1.0 if i == 1 else 1.0)
    tried(X[rows], Y[rows], "tanh", 2, callback=(lambda step: 1 / 0) if i == 1 else None)
    tried(X[rows], Y[rows], "tanh", 2, checkpoint=folder / "other.ckpt", inputs="whiten" if i == 1 else "auto")
    tried(iter([(X[rows], Y[rows])]), None, "tanh", 2, solver="sgd", init="random")
    tried(pd.DataFrame(X[rows], columns=list("abcd" if i < 2 else "dcba")), Y[rows], "tanh", 2)
    rec = fr.fit(X[rows], Y[rows], "tanh", 2, **own)
    if i == 0:
        rec.save(folder / "rec.npz")
        told.append(rec.summary())
    rec.standard_errors()
    return told


def test_nobody_waits_for_one_that_does_something_alone(processes, tmp_path):
    first, *others = processes.run(differently, tmp_path)
    assert all(each == first[:-1] for each in others)
    missing, wrong, divided, differing, batches, titles, summary = first
    assert "missing.npy" in missing and "tol must be positive" in wrong and "ZeroDivisionError" in divided
    assert "gather must be left out" in batches and "same columns everywhere" in titles
    assert "CheckpointError" in differing or "same program" in differing
    assert "all processes of the fit must ask" in summary
    assert fr.load(tmp_path / "rec.npz").n_rows == len(X)


def unlike(gather, i):
    return fr.fit(X[:3000, : 4 - i], Y[:3000], "tanh", 2, gather=gather)


def weighed(gather, i):
    return fr.fit(X[:3000], Y[:3000], "tanh", 2, gather=gather, sample_weight=np.ones(3000) if i else None)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (unlike, "process 0 of 3 have 4 features, and the rows of process 1 of 3 3"),
        (weighed, "sample_weight must be given for all rows, or for none"),
    ],
)
def test_rows_must_be_alike(processes, work, said):
    for error in processes.run(work):
        with pytest.raises(ValueError, match=said):
            raise error


def sourced(gather, i, folder):
    rows = slice(3000 * i, 3000 * (i + 1))
    if i == 1:
        np.save(folder / "x.npy", X[rows])
        return bare(fr.fit(folder / "x.npy", Y[rows], "tanh", 2, gather=gather, random_state=1, n_jobs=1))
    source = fr.sources.from_blocks(lambda start, stop: X[rows][start:stop], 3000, Y[rows])
    return bare(fr.fit(source, None, "tanh", 2, gather=gather, random_state=1, n_jobs=1))


def test_files_and_sources_are_rows_too(processes, tmp_path):
    expected = alone((X, Y), model="tanh", n_hidden=2, random_state=1)
    assert_same(processes.run(sourced, tmp_path), expected)


def test_threads_may_stand_for_processes():
    """No lock of ours is held while others are waited for."""
    barrier, values, found = threading.Barrier(COUNT, timeout=60), [None] * COUNT, [None] * COUNT

    def run(i):
        def gather(value):
            values[i] = value
            barrier.wait()
            everyone = list(values)
            barrier.wait()
            return everyone

        rows = slice(3000 * i, 3000 * (i + 1))
        found[i] = fr.fit(X[rows], Y[rows], "tanh", 2, gather=gather, n_jobs=1, random_state=1)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(found, alone((X, Y), model="tanh", n_hidden=2, random_state=1))
