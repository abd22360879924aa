"""Rows, responses and labels as people have them: masked, in frames of every backing, in matrices, sparse, with titles.

What holds the same numbers gives the same bits as a plain array; what would be read wrongly is refused by name.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from scipy.io import loadmat, savemat

import fastrecover as fr

N, D = 300, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
Y = np.maximum(X @ [1.0, 2.0, -1.0, 0.5], 0)
COUNTS = np.round(20 * Y)
YES = RNG.random(N) < 1 / (1 + np.exp(-3 * X[:, 0]))
WORDS = np.where(YES, "yes", "no")
FRAME = pd.DataFrame(X, columns=["age", "bmi", "bp", "s1"])


def fitted(X=X, y=Y, model="relu", **options):
    return fr.fit(X, y, model, 1, **{"random_state": 0, "n_jobs": 1, **options})


@pytest.fixture(scope="module")
def plain():
    return fitted()


@pytest.fixture(scope="module")
def counted():
    return fitted(y=COUNTS, max_passes=200)


@pytest.fixture(scope="module")
def answered():
    return fitted(y=YES, model="fcn")


def masked(a, at):
    out = np.ma.array(np.array(a), mask=False)
    out[at] = np.ma.masked
    return out


# ------------------------------------------------------------------------------------------ masked arrays


MASKED = {
    "X": (lambda rec: fitted(X=masked(X, (7, 2))), "^X has masked entries, the first in row 7, column 2: drop"),
    "list of rows": (lambda rec: fitted(X=[masked(row, 1) for row in X]), "^X has masked .* row 0, column 1"),
    "y": (lambda rec: fitted(y=masked(Y, 9)), "^y has masked entries, the first in row 9: drop"),
    "y in a list": (lambda rec: fitted(y=[*Y[:-1], np.ma.masked]), "^y has masked .* row 299"),
    "labels": (lambda rec: fitted(y=masked(YES, 3), model="fcn"), "^y has masked .* row 3"),
    "weights": (lambda rec: fitted(sample_weight=masked(np.ones(N), 5)), "^sample_weight has masked .* row 5"),
    "init": (lambda rec: fitted(init=masked(np.ones((1, D)), (0, 2))), "^init has masked .* row 0, column 2"),
    "objective": (lambda rec: fr.objective(masked(X, (0, 0)), Y, "relu", 1), "^X has masked"),
    "predict": (lambda rec: rec.predict(masked(X, (4, 0))), "^X has masked .* row 4, column 0"),
    "score": (lambda rec: rec.score(X, masked(Y, 2)), "^y has masked .* row 2"),
    "standard errors": (lambda rec: rec.standard_errors(X, masked(Y, 2)), "^y has masked .* row 2"),
    "certificate": (lambda rec: rec.certificate(masked(X, (1, 1)), Y), "^X has masked .* row 1, column 1"),
    "moments": (lambda rec: fr.moments.first(masked(X, (1, 3)), Y), "^X has masked .* row 1, column 3"),
}


@pytest.mark.parametrize("case", MASKED)
def test_masked_entries_are_refused(case, plain):
    call, said = MASKED[case]
    with pytest.raises(ValueError, match=said):
        call(plain)


def test_masks_that_hide_nothing_do_not_matter(plain):
    none = fitted(X=np.ma.array(X), y=np.ma.array(Y, mask=False), sample_weight=np.ma.ones(N))
    np.testing.assert_allclose(none.weights, plain.weights, rtol=1e-12)
    np.testing.assert_array_equal(plain.predict(np.ma.array(X)), plain.predict(X))


# ------------------------------------------------------------------------------------------ matrices and sparse rows


def test_arrays_out_of_mat_files_are_arrays(tmp_path, plain):
    savemat(tmp_path / "session.mat", {"X": X, "T": Y})
    session = loadmat(tmp_path / "session.mat")
    assert session["X"].dtype.byteorder in "<>"  # named, where a plain array has "="
    found = fitted(X=session["X"], y=session["T"], sample_weight=np.ones(N, session["X"].dtype))
    assert (fitted(X=np.ascontiguousarray(session["X"])).weights == plain.weights).all()
    assert (found.predict(session["X"]) == plain.predict(X)).all()
    assert (fr.lagged(session["X"], 2)[0] == X[:2].ravel()).all() and fitted(X=fr.lagged(session["X"], 1)).converged


def test_matrices_are_arrays(plain):
    with pytest.warns(PendingDeprecationWarning):
        rows, column = np.matrix(X), np.matrix(Y).T
    for y in (column, column.T):
        np.testing.assert_array_equal(fitted(X=rows, y=y).weights, plain.weights)
        assert plain.score(rows, y) == plain.score(X, Y)
    assert plain.predict(rows).shape == (N,)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.coo_array, sp.lil_matrix, sp.bsr_array])
def test_the_advice_for_sparse_rows_works(kind, plain):
    for rows, call in (
        (X, lambda rows: fitted(X=rows)),
        (X, lambda rows: plain.predict(rows)),
        (X, lambda rows: plain.score(rows, Y)),
        (X, lambda rows: fr.objective(rows, Y, "relu", 1)),
        (Y[:, None], lambda y: fitted(y=y)),
    ):
        with pytest.raises(TypeError, match=r"^[Xy] is sparse.* give [Xy]\.toarray\(\)"):
            call(kind(rows))
        call(kind(rows).toarray())


# ------------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize("dtype", ["Int64", "UInt16", "Float64", "Float32", "int64[pyarrow]", "double[pyarrow]"])
def test_columns_of_any_backing_are_responses(dtype, counted):
    for y in (pd.Series(COUNTS).astype(dtype), pd.DataFrame({"y": COUNTS}).astype(dtype), pd.array(COUNTS, dtype)):
        np.testing.assert_array_equal(fitted(y=y, max_passes=200).weights, counted.weights)


@pytest.mark.parametrize("dtype", ["Float64", "double[pyarrow]", pd.SparseDtype(float)])
def test_frames_of_any_backing_are_rows(dtype, plain):
    rec = fitted(X=FRAME.astype(dtype))
    np.testing.assert_array_equal(rec.weights, plain.weights)
    assert rec.score(FRAME.astype(dtype), pd.Series(Y).astype("Float64")) == plain.score(X, Y)


def test_frames_of_mixed_columns_are_rows():
    ones = RNG.integers(0, 9, (N, 3))
    mixed = FRAME.assign(
        count=pd.array(ones[:, 0], "Int64"),
        flag=pd.array(ones[:, 1] > 4, "boolean"),
        level=pd.Categorical(ones[:, 2]),
        seen=ones[:, 0] % 2 == 0,
    )
    rows = np.column_stack([X, ones[:, 0], ones[:, 1] > 4, ones[:, 2], ones[:, 0] % 2 == 0]).astype(float)
    np.testing.assert_array_equal(fitted(X=mixed).weights, fitted(X=rows).weights)
    assert fitted(X=FRAME.astype("Float32")).objective.engine.dtype == np.float32


REFUSED = {
    "gap in a column": (dict(y=pd.array([None, *COUNTS[1:]], "Int64")), ValueError, "^y has missing .* in row 0:"),
    "gap in a frame": (
        dict(X=FRAME.astype("Float64").mask(FRAME == X[6, 2])),
        ValueError,
        "^X has missing values, the first in column 'bp', row 6",
    ),
    "gap in arrow": (
        dict(X=FRAME.astype("double[pyarrow]").mask(FRAME == X[8, 1])),
        ValueError,
        "^X has missing values, the first in column 'bmi', row 8",
    ),
    "gap in floats": (dict(X=FRAME.mask(FRAME == X[6, 2])), ValueError, "^X must be finite, but row 6, column 2"),
    "words": (
        dict(X=FRAME.assign(w=WORDS)),
        TypeError,
        "^X must be real numbers, but column 'w' has dtype (str|object)",
    ),
    "category": (
        dict(X=FRAME.assign(w=pd.Categorical(WORDS))),
        TypeError,
        "^X must be real numbers, but column 'w' has dtype category",
    ),
    "dates": (dict(X=FRAME.assign(w=pd.Timestamp("2020"))), TypeError, "column 'w' has dtype datetime64"),
    "words as responses": (dict(y=pd.Series(WORDS)), TypeError, "^y has dtype object, and row 0 is '(yes|no)'"),
    "no columns": (dict(X=FRAME[[]]), ValueError, "^X must have at least one row and one feature"),
    **{
        f"gap in {dtype} labels": (
            dict(y=pd.Series([*WORDS[:5], None, *WORDS[6:]]).astype(dtype), model="fcn"),
            ValueError,
            "^y has missing values, the first in row 5",
        )
        for dtype in ("category", "string", "object", "large_string[pyarrow]")
    },
    "gap in boolean labels": (
        dict(y=pd.array([None, *YES[1:]], "boolean"), model="fcn"),
        ValueError,
        "^y has missing values, the first in row 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_missing_or_no_number_is_refused_by_name(case):
    options, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        fitted(**options)


LABELS = {
    **{dtype: pd.Series(YES).astype(dtype) for dtype in ("boolean", "bool[pyarrow]", "object")},
    **{
        f"signs {dtype}": pd.Series(np.where(YES, 1, -1)).astype(dtype)
        for dtype in ("Int64", "int8[pyarrow]", "object")
    },
    **{f"0 and 1 {dtype}": pd.Series(YES * 1).astype(dtype) for dtype in ("Int64", "Float64", "int64[pyarrow]")},
    **{f"words {t}": pd.Series(WORDS).astype(t) for t in ("category", "string", "object", "large_string[pyarrow]")},
    "numbers as categories": pd.Series(np.where(YES, 7, 3)).astype("category"),
    "category": pd.Categorical(WORDS, categories=["yes", "no"], ordered=True),
    "index": pd.Index(WORDS),
    "arrow": pa.array(WORDS.tolist()),
    "one column": pd.DataFrame({"answer": WORDS}),
}
if hasattr(np.dtypes, "StringDType"):
    LABELS["strings of any length"] = WORDS.astype(np.dtypes.StringDType())


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_backing(kind, answered, tmp_path):
    y = LABELS[kind]
    rec = fitted(y=y, model="fcn")
    np.testing.assert_array_equal(rec.weights, answered.weights)
    flat = np.ravel(np.asarray(y)).tolist()
    assert rec.classes.tolist() == sorted(set(flat))
    rec.save(tmp_path / "rec.npz")
    for known in (rec, fr.load(tmp_path / "rec.npz")):
        predicted = known.predict(X)
        assert predicted.dtype == rec.classes.dtype and set(predicted.tolist()) == set(flat)
        assert known.score(X, y) == np.mean([a == b for a, b in zip(predicted.tolist(), flat, strict=True)])
        assert known.log_loss(X, y) == answered.log_loss(X, YES)


# ------------------------------------------------------------------------------------------ titles


class Titled:
    """Rows with titles, as frames of other libraries have them."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns

    def to_numpy(self):
        return self.rows

    def __array__(self, dtype=None, copy=None):
        return self.rows


def test_titles_are_remembered(tmp_path, plain):
    assert plain.feature_names is None
    table = pa.table({name: FRAME[name].to_numpy() for name in FRAME})
    for rows in (FRAME, Titled(X, list(FRAME.columns)), table):
        rec = fitted(X=rows)
        rec.save(tmp_path / "rec.npz")
        for known in (rec, fr.load(tmp_path / "rec.npz")):
            assert known.feature_names == ["age", "bmi", "bp", "s1"]
            np.testing.assert_array_equal(known.predict(FRAME), plain.predict(X))
            np.testing.assert_array_equal(known.predict(X), plain.predict(X))
    plain.save(tmp_path / "plain.npz")
    assert fr.load(tmp_path / "plain.npz").feature_names is None
    assert plain.predict(FRAME.rename(columns={"age": "z"})).shape == (N,)


OTHER_TITLES = {
    "order": (["s1", "bmi", "bp", "age"], r"another order .* column 0 is 's1' and was 'age'; give X\[recovery"),
    "names": (["age", "bmi", "bp", "s2"], "other columns .* it lacks 's1'; the fit did not have 's2'"),
    "twice": (["age", "bmi", "bp", "bp"], "other columns .* it lacks 's1'"),
    "case": (["Age", "bmi", "bp", "s1"], "it lacks 'age'; the fit did not have 'Age'"),
}
QUESTIONS = {
    "predict": lambda rec, X: rec.predict(X),
    "score": lambda rec, X: rec.score(X, YES),
    "standard_errors": lambda rec, X: rec.standard_errors(X, YES),
    "certificate": lambda rec, X: rec.certificate(X, YES),
    "predict_proba": lambda rec, X: rec.predict_proba(X),
    "log_loss": lambda rec, X: rec.log_loss(X, YES),
}


@pytest.fixture(scope="module")
def titled():
    return fitted(X=FRAME, y=YES, model="fcn")


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("case", OTHER_TITLES)
def test_other_titles_are_refused(case, question, titled):
    titles, said = OTHER_TITLES[case]
    for rows in (pd.DataFrame(X, columns=titles), Titled(X, titles)):
        with pytest.raises(ValueError, match=f"^X has .*{said}"):
            QUESTIONS[question](titled, rows)
    QUESTIONS[question](titled, FRAME)
    QUESTIONS[question](titled, X)


def test_titles_that_are_numbers_are_titles():
    rec = fitted(X=pd.DataFrame(X))
    with pytest.raises(ValueError, match="another order"):
        rec.predict(pd.DataFrame(X)[[3, 2, 1, 0]])


# ------------------------------------------------------------------------------------------ seeds and functions


def test_legacy_generators_seed_a_fit():
    first, again, other = (
        fitted(init="random", random_state=np.random.RandomState(seed)).history["loss"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()
    used = np.random.RandomState(1)
    draws = [fr.datasets.make_teacher("relu", 3, 1, random_state=used).weights for _ in range(2)]
    assert (draws[0] != draws[1]).any()


def parameters(weights=((1.0,) * D,), v=(1.0,), linear=None, intercept=0.0):
    return fr.models.Parameters(np.array(weights), np.array(v), linear, intercept)


STARTS = {
    "nothing": (lambda *of: None, TypeError, "^init must return Parameters, but <lambda> returned NoneType"),
    "an array": (lambda *of: np.ones((1, D)), TypeError, "^init must return Parameters, but .* ndarray"),
    "units": (lambda *of: parameters(np.ones((2, D))), ValueError, r"^init must have shape \(1, 4\), got \(2, 4\)"),
    "features": (lambda *of: parameters(np.ones((1, 3))), ValueError, r"^init must have shape .*got \(1, 3\)"),
    "nan": (lambda *of: parameters(np.full((1, D), np.nan)), ValueError, "^init must be finite"),
    "output weights": (lambda *of: parameters(v=(1.0, 1.0)), ValueError, "^init.output_weights has 2 entries"),
    "infinite v": (lambda *of: parameters(v=(np.inf,)), ValueError, "^init.output_weights must be finite"),
    "linear": (lambda *of: parameters(linear=np.ones(3)), ValueError, "^init.linear has 3 entries"),
    "intercept": (lambda *of: parameters(intercept=np.nan), ValueError, "^init.intercept must be finite"),
    "arguments": (lambda engine: None, TypeError, "^init must take an engine, a model and a seed"),
}


@pytest.mark.parametrize("case", STARTS)
def test_starts_of_user_code_are_checked(case):
    init, error, said = STARTS[case]
    with pytest.raises(error, match=said):
        fitted(init=init)


def test_a_start_of_user_code_begins_a_fit(plain):
    def mine(engine, model, seed):
        assert engine.shape == (N, D) and model.n_hidden == 1
        return parameters(plain.weights * 1.1)

    rec = fitted(init=mine)
    assert rec.info["start"] == "given" and np.allclose(rec.weights, plain.weights)


class Solver:
    """What a solver must have, so that parts can be taken away."""

    name = "mine"

    def begin(self, objective, theta):
        raise AssertionError("work began")

    def step(self, objective, state):
        raise AssertionError("work began")


@pytest.mark.parametrize(
    "solver",
    [
        Solver,
        type("Nameless", (Solver,), {"name": None})(),
        type("Endless", (Solver,), {"step": None})(),
        type("Beginless", (Solver,), {"begin": 3})(),
    ],
)
def test_solvers_that_are_none_are_refused(solver):
    with pytest.raises(TypeError, match="^solver must be a name or an object with name, begin and step, got"):
        fitted(solver=solver)
