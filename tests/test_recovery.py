"""Recoveries: predictions, scores, standard errors, certificates and files, against plain NumPy and SciPy."""

from __future__ import annotations

import ast
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

import fastrecover
from fastrecover.datasets import make_teacher
from fastrecover.engines import ThreadEngine
from fastrecover.models import Classification, Parameters, Quadratic, Regression
from fastrecover.recovery import Recovery, load
from fastrecover.sources import ArraySource
from fastrecover.storage import VERSION
from fastrecover.sweeps.objective import Objective

HISTORY = {
    "stage": ["start", "full", "full"],
    "pass": [1, 2, 3.5],
    "loss": [2.0, 0.5, 0.1],
    "grad_norm": [1.0, 0.1, 0.0],
    "rows": [10, 100, 100],
    "seconds": [0.1, 0.2, 0.3],
}


def recovery_of(model, parameters, data=None, **fields):
    objective = None
    if data is not None:
        source = ArraySource(*data)
        objective = Objective(ThreadEngine(source, 1), model.with_resolved_signs(parameters.output_weights))
    values = dict(
        loss=0.25,
        converged=True,
        message="done",
        n_passes=3.5,
        history=HISTORY,
        n_rows=100,
        seconds=0.5,
        info={},
    )
    return Recovery(model=model, parameters=parameters, objective=objective, **{**values, **fields})


def jacobian(activation, p, x, *, free_v=False, linear=False, intercept=False):
    z = x @ p.weights.T
    parts = [v * activation.derivative(z[:, [j]]) * x for j, v in enumerate(p.output_weights)]
    parts += [activation.value(z)] if free_v else []
    parts += ([x] if linear else []) + ([np.ones((len(x), 1))] if intercept else [])
    return np.concatenate(parts, axis=1)


def output(activation, p, x):
    f = activation.value(x @ p.weights.T) @ p.output_weights + p.intercept
    return f if p.linear is None else f + x @ p.linear


def sandwich(j, r, w):
    """HC3, or with many rows HC1."""
    n, p = j.shape
    inverse = np.linalg.inv(j.T @ (w[:, None] * j))
    kept = 1 - w * np.einsum("ni,ij,nj->n", j, inverse, j) if n < 50 * p else np.sqrt(1 - p / n)
    return inverse @ (j.T @ ((w * r / kept)[:, None] ** 2 * j)) @ inverse


def noisy(name, n=300, d=4, k=2, seed=0, **options):
    teacher = make_teacher(name, d, k, random_state=seed, **options)
    X, y = teacher.sample(n, 0.3, random_state=seed + 1)
    return teacher, X, y


@pytest.fixture
def fitted():
    teacher, X, y = noisy("tanh", output_weights="free", intercept=0.5, linear_term=1.0)
    model = teacher.model
    return teacher, X, y, recovery_of(model, model.finished(teacher.parameters), (X, y))


def test_properties(fitted):
    teacher, X, y, rec = fitted
    assert rec.weights.shape == (2, 4) and rec.output_weights.shape == (2,) and rec.linear.shape == (4,)
    assert (rec.n_hidden, rec.n_features, rec.n_rows, rec.intercept) == (2, 4, 100, 0.5)
    assert rec.history["stage"].tolist() == HISTORY["stage"] and rec.history["rows"].dtype == np.int64
    assert repr(rec) == "<Recovery tanh: 2 units, 4 features, loss 0.25, converged after 3.5 passes>"
    lines = rec.summary().splitlines()
    assert "0.25" in lines[1] and f"{rec.output_weights[1]:.6g}" in lines[4]


@pytest.mark.parametrize("column, change", [("loss", None), ("rows", [1])])
def test_history_must_be_whole(column, change):
    history = {name: values for name, values in HISTORY.items() if name != column or change}
    history |= {column: change} if change else {}
    with pytest.raises(ValueError, match="history"):
        recovery_of(Regression("relu", 1), Parameters(np.ones((1, 2)), np.ones(1)), history=history)


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.asfortranarray,
        lambda x: x[::-1][::-1],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.longdouble),
        lambda x: x.tolist(),
    ],
)
def test_predict_accepts_any_layout(fitted, convert):
    _, X, _, rec = fitted
    expected = output(rec.model.activation, rec.parameters, X)
    got = rec.predict(convert(X))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(rec.predict(X[::-1]), expected[::-1], rtol=1e-12, atol=1e-13)


def test_predict_integers_floats_and_nan(fitted):
    _, X, _, rec = fitted
    whole = np.round(3 * X)
    expected = output(rec.model.activation, rec.parameters, whole)
    for dtype, tol in ((np.int8, 1e-12), (np.float32, 1e-5), (np.float16, 1e-5)):
        np.testing.assert_allclose(rec.predict(whole.astype(dtype)), expected, rtol=tol, atol=tol)
    holed = X.copy()
    holed[3, 1] = np.nan
    got = rec.predict(holed, n_jobs=2)
    assert np.isnan(got[3]) and np.isfinite(np.delete(got, 3)).all()
    assert rec.predict(X[:0]).shape == (0,)


def test_predict_converts_in_slices(fitted, monkeypatch):
    _, X, _, rec = fitted
    monkeypatch.setattr("fastrecover.prediction._NUMBERS_AT_ONCE", 4 * 7)
    np.testing.assert_array_equal(rec.predict(np.asfortranarray(X)), rec.predict(X))


def test_predict_with_dead_units():
    rec = recovery_of(Regression("relu", 2, "free"), Parameters(np.eye(2), np.array([0.0, 2.0])))
    np.testing.assert_array_equal(rec.predict([[1.0, 3.0], [1.0, -1.0]]), [6.0, 0.0])


def test_predict_errors(fitted):
    *_, rec = fitted
    for bad in (np.ones(4), np.ones((2, 3)), np.ones((2, 2, 4))):
        with pytest.raises(ValueError, match=r"X must have shape \(n, 4\)"):
            rec.predict(bad)
    for bad in ([["a"] * 4], np.ones((2, 4), complex), np.ones((2, 4), object)):
        with pytest.raises(TypeError, match="real numbers"):
            rec.predict(bad)
    with pytest.raises(TypeError, match="regression without class probabilities"):
        rec.predict_proba(np.ones((2, 4)))


def test_score_is_that_of_scikit_learn(fitted):
    from sklearn.metrics import r2_score

    _, X, y, rec = fitted
    w, f = np.random.default_rng(0).random(len(y)), rec.predict(X)
    assert rec.score(X, y) == pytest.approx(r2_score(y, f), rel=1e-12)
    assert rec.score(X, y, w) == pytest.approx(r2_score(y, f, sample_weight=w), rel=1e-12)
    assert rec.score(X, np.ones(len(y))) == r2_score(np.ones(len(y)), f) == 0.0
    same = np.repeat(X[:1], 5, axis=0)
    assert rec.score(same, rec.predict(same)) == 1.0
    assert np.isnan(rec.score(X[:1], y[:1]))
    with pytest.raises(ValueError, match="y has 3 entries"):
        rec.score(X, y[:3])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["tanh", "softplus", "sigmoid", "relu"])
@pytest.mark.parametrize("v", ["ones", "free"])
@pytest.mark.parametrize("n", [300, 1000])
def test_standard_errors_are_those_of_a_brute_force_sandwich(name, v, weighted, n):
    teacher, X, y = noisy(name, n, output_weights=v, intercept=0.5, linear_term=1.0)
    model, phi = teacher.model, teacher.model.activation
    w = np.random.default_rng(3).uniform(0.2, 2.0, len(y)) if weighted else np.ones(len(y))
    rec = recovery_of(model, model.finished(teacher.parameters), (X, y, w if weighted else None))
    se = rec.standard_errors()
    inner = rec.parameters
    moved = v == "free" and phi.degree is not None
    if moved:
        inner = inner.canonical(phi, False)
    free = v == "free" and not moved
    j = jacobian(phi, inner, X, free_v=free, linear=True, intercept=True)
    c = sandwich(j, output(phi, inner, X) - y, w)
    if moved:
        c = carried(c, inner)
    expected = np.sqrt(np.diag(c))
    found = np.concatenate([se.weights.ravel(), se.output_weights if v == "free" else [], se.linear, [se.intercept]])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    if v == "ones":
        assert (se.output_weights == 0).all()


def carried(c, inner):
    """Covariance after u -> (u / |u|, |u|), by central differences of the map (degree 1)."""
    k, d = inner.weights.shape
    rest = len(c) - k * d

    def to_canonical(t):
        u = t[: k * d].reshape(k, d)
        size = np.linalg.norm(u, axis=1)
        return np.concatenate([(u / size[:, None]).ravel(), size, t[k * d :]])

    t = np.concatenate([inner.weights.ravel(), np.zeros(rest)])
    h = 1e-6
    tangent = np.array([(to_canonical(t + h * e) - to_canonical(t - h * e)) / (2 * h) for e in np.eye(len(t))]).T
    return tangent @ c @ tangent.T


def test_squared_relu_amplitude_has_the_error_of_its_own_parametrisation():
    # One unit has the chart (v, components of w across itself), in which nothing is flat.
    teacher, X, y = noisy("squared_relu", k=1, output_weights="free")
    model = teacher.model
    rec = recovery_of(model, model.finished(teacher.parameters), (X, y))
    se, (w,), (v,) = rec.standard_errors(), rec.weights, rec.output_weights
    basis = np.linalg.svd(w[None])[2][1:]
    z = np.maximum(X @ w, 0)
    j = np.column_stack([z**2, (2 * v * z)[:, None] * (X @ basis.T)])
    c = sandwich(j, v * z**2 - y, np.ones(len(y)))
    np.testing.assert_allclose(se.output_weights[0], np.sqrt(c[0, 0]), rtol=1e-9)
    np.testing.assert_allclose(se.weights[0], np.sqrt(np.diag(basis.T @ c[1:, 1:] @ basis)), rtol=1e-9)


def test_order_of_the_objectives_units_does_not_matter():
    teacher, X, y = noisy("relu", k=2, output_weights=[1.0, -1.0], norms=[1.0, 3.0])
    model = Regression("relu", 2, "signs")
    rec = recovery_of(model, model.finished(teacher.parameters))
    assert rec.output_weights.tolist() == [-1.0, 1.0]
    rec.objective = Objective(ThreadEngine(ArraySource(X, y), 1), model.with_resolved_signs(teacher.output_weights))
    expected = rec.standard_errors(X, y).flat()
    np.testing.assert_array_equal(rec.standard_errors().flat(), expected)
    assert expected[:8].max() < 0.2


def test_intervals_cover_the_truth_also_when_the_noise_varies():
    """Noise grows with |x_0|: 95 % intervals that assume one variance cover 0.87 here."""
    teacher = make_teacher("softplus", 3, 2, output_weights="ones", condition_number=3.0, random_state=2)
    model, phi, truth = teacher.model, teacher.model.activation, teacher.weights.ravel()
    rng = np.random.default_rng(11)
    inside = []
    for _ in range(200):
        X = rng.standard_normal((400, 3))
        y = phi.value(X @ teacher.weights.T).sum(axis=1) + 0.1 * np.abs(X[:, 0]) * rng.standard_normal(400)
        fit = least_squares(
            lambda t, X=X, y=y: phi.value(X @ t.reshape(2, 3).T).sum(axis=1) - y,
            truth,
            jac=lambda t, X=X: jacobian(phi, Parameters(t.reshape(2, 3), np.ones(2)), X),
        )
        se = recovery_of(model, Parameters(fit.x.reshape(2, 3), np.ones(2))).standard_errors(X, y)
        inside.append(np.abs(fit.x - truth) < 1.96 * se.weights.ravel())
    coverage = np.mean(inside, axis=0)
    assert 0.92 < coverage.mean() < 0.975 and coverage.min() > 0.87


def test_standard_errors_of_an_exact_fit_vanish():
    teacher = make_teacher("tanh", 4, 2)
    X, y = teacher.sample(100, random_state=0)
    se = recovery_of(teacher.model, teacher.parameters, (X, y)).standard_errors()
    assert np.abs(se.flat()).max() < 1e-12


def test_standard_errors_refuse_what_they_cannot_give(monkeypatch):
    teacher, X, y = noisy("relu")
    rec = recovery_of(teacher.model, teacher.parameters, (X[:8], y[:8]))
    with pytest.raises(ValueError, match="more rows than parameters, got 8 rows and 8 parameters"):
        rec.standard_errors()
    weights = np.r_[np.ones(8), np.zeros(292)]
    with pytest.raises(ValueError, match="more rows than parameters, got 8 rows"):
        rec.standard_errors(X, y, weights)
    with pytest.raises(ValueError, match="holds no data"):
        recovery_of(teacher.model, teacher.parameters).standard_errors()
    with pytest.raises(TypeError, match="X and y must be given together"):
        rec.standard_errors(X)
    with pytest.raises(TypeError, match="sample_weight needs X and y"):
        rec.standard_errors(sample_weight=weights)
    with pytest.raises(ValueError, match="X must have 4 columns"):
        rec.certificate(np.ones((30, 5)), np.ones(30))
    twins = Parameters(np.ones((2, 4)), np.ones(2))
    with pytest.raises(ValueError, match="do not determine all parameters"):
        recovery_of(Regression("relu", 2), twins, (X, y)).standard_errors()
    dead = Parameters(np.eye(2, 4), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="do not determine all parameters"):
        recovery_of(Regression("relu", 2, "free"), dead, (X, y)).standard_errors()
    with pytest.raises(ValueError, match="determines only M"):
        recovery_of(Quadratic(2), twins, (X, y)).standard_errors()
    monkeypatch.setattr("fastrecover.inference.MAX_DENSE", 7)
    with pytest.raises(ValueError, match="there are 8 parameters, but .* at most 7"):
        recovery_of(teacher.model, teacher.parameters, (X, y)).certificate()


@pytest.mark.parametrize("weighted", [False, True])
def test_certificate_against_numpy(weighted):
    teacher, X, y = noisy("tanh", output_weights="free", intercept=0.5)
    w = np.random.default_rng(3).uniform(0.2, 2.0, len(y)) if weighted else None
    rec = recovery_of(teacher.model, teacher.model.finished(teacher.parameters), (X, y, w))
    found = rec.certificate()
    share = np.full(len(y), 1 / len(y)) if w is None else w / w.sum()
    j = jacobian(rec.model.activation, rec.parameters, X, free_v=True, intercept=True) * np.sqrt(share)[:, None]
    r = (rec.predict(X) - y) * np.sqrt(share)
    values = np.linalg.svd(j, compute_uv=False)
    decrement = np.linalg.norm(np.linalg.lstsq(j, r, rcond=None)[0] @ j.T)
    size = 1 / (share @ share)
    expected = dict(
        n_parameters=11,
        rows_per_parameter=300 / 11,
        loss=0.5 * r @ r,
        residual_std=np.sqrt(r @ r * 300 / 289),
        smallest_singular_value=values[-1],
        largest_singular_value=values[0],
        condition_number=values[0] / values[-1],
        locally_strongly_convex=True,
        newton_decrement=decrement,
        distance_in_standard_errors=decrement / np.sqrt(r @ r * 11 / size),
        exact=False,
        candidates=1,
        agreeing=1,
        units_off=[],
        units_linear=[],
    )
    assert set(found) == set(expected) and json.loads(json.dumps(found)) == found
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    # At the truth the statistical distance to the minimiser is one standard error, give or take.
    assert 0.4 < found["distance_in_standard_errors"] < 1.8


def test_certificate_at_the_minimiser_and_at_an_exact_fit():
    teacher, X, y = noisy("softplus", output_weights="ones")
    phi, model = teacher.model.activation, teacher.model
    fit = least_squares(
        lambda t: phi.value(X @ t.reshape(2, 4).T).sum(axis=1) - y,
        teacher.weights.ravel(),
        xtol=1e-15,
        ftol=1e-15,
    )
    at = recovery_of(model, Parameters(fit.x.reshape(2, 4), np.ones(2)), (X, y)).certificate()
    assert at["distance_in_standard_errors"] < 1e-4 and not at["exact"]
    for dtype in (np.float64, np.float32):
        X, y = teacher.sample(200, random_state=4, dtype=dtype)
        exact = recovery_of(model, teacher.parameters, (X, y)).certificate()
        assert exact["exact"] and exact["distance_in_standard_errors"] == 0.0


def test_certificate_sees_what_is_not_determined():
    teacher, X, y = noisy("relu")
    twins = Parameters(np.ones((2, 4)), np.ones(2))
    found = recovery_of(Regression("relu", 2), twins, (X, y)).certificate()
    assert not found["locally_strongly_convex"] and found["condition_number"] > 1e6
    # Rotations of a quadratic model are symmetries, not a lack of data.
    quadratic = make_teacher("quadratic", 5, 3, output_weights="ones")
    X, y = quadratic.sample(200, 0.1, random_state=1)
    found = recovery_of(quadratic.model, quadratic.parameters, (X, y)).certificate()
    assert found["n_parameters"] == 15 - 3 and found["locally_strongly_convex"]


def test_error_and_alignment(fitted):
    teacher, X, y, rec = fitted
    swapped = teacher.parameters.reordered(np.array([1, 0]))
    assert rec.error(teacher) < 1e-14 and rec.error(swapped) < 1e-14 and rec.error(rec) == 0.0
    aligned = rec.align(swapped)
    np.testing.assert_allclose(aligned.flat(), swapped.canonical(rec.model.activation, True).flat(), atol=1e-14)
    with pytest.raises(TypeError, match="truth must be a Teacher"):
        rec.error(np.ones((2, 4)))


MODELS = [
    Regression("leaky_relu", 2, "free", slope=0.3, fit_intercept=True),
    Regression("tanh", 2, (1.5, 0.1), linear_term=True),
    Quadratic(2, "signs"),
]


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_recovery_comes_back_bit_for_bit(tmp_path, model):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((2, 3))
    weights[0] = [-0.0, 5e-324, np.nextafter(1.0, 2.0)]
    linear = rng.standard_normal(3) if model.linear_term else None
    parameters = Parameters(weights, np.array([1 / 3, -1.0]), linear, 0.1 + 0.2)
    info = {"signs": [1, -1], "start": "tensor", "size": np.float64(0.1), "count": np.int64(3), "none": None}
    history = {**HISTORY, "stage": ["a", "größer", ""], "loss": [np.inf, np.nan, 1 / 3]}
    rec = recovery_of(
        model,
        parameters,
        info=info,
        history=history,
        loss=1 / 3,
        n_passes=np.pi,
        message="stopped: «ok»",
        converged=False,
    )
    path = tmp_path / "fit.anything"
    rec.save(path)
    rec.save(str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["fit.anything"]
    back = load(path)
    assert back.model == model and back.objective is None
    assert back.parameters.flat().tobytes() == parameters.flat().tobytes()
    assert (back.linear is None) == (linear is None)
    for name in ("loss", "converged", "message", "n_passes", "n_rows", "seconds"):
        assert getattr(back, name) == getattr(rec, name) and type(getattr(back, name)) is type(getattr(rec, name))
    assert back.info == {**info, "size": 0.1, "count": 3}
    for name, column in rec.history.items():
        assert back.history[name].dtype == column.dtype
        np.testing.assert_array_equal(back.history[name], column)
    X = rng.standard_normal((20, 3))
    np.testing.assert_array_equal(back.predict(X), rec.predict(X))


SAVED = Path(__file__).with_name("saved")


@pytest.mark.parametrize(
    "name, model, classes",
    [
        ("labels", Classification(2), ["miss", "spike"]),
        ("quadratic", Quadratic(2, linear_term=True), None),
    ],
)
def test_files_written_before_are_read_and_written_alike(tmp_path, name, model, classes):
    """By a version whose models were classes, and which kept the labels of a classification among ``info``."""
    back = load(SAVED / f"{name}_v1.npz")
    with np.load(SAVED / f"{name}_v1.npz") as archive:
        arrays = dict(archive)
    header = json.loads(arrays.pop("header").tobytes())
    assert back.model == model and "classes" not in back.info
    assert (None if back.classes is None else back.classes.tolist()) == classes
    assert back.info | ({} if classes is None else {"classes": classes}) == header["info"]
    for key in ("loss", "converged", "message", "n_passes", "n_rows", "seconds", "intercept"):
        assert getattr(back, key) == header[key]
    np.testing.assert_array_equal(back.weights, arrays["weights"])
    back.save(tmp_path / "again")
    with np.load(tmp_path / "again") as archive:
        again = dict(archive)
    written = json.loads(again.pop("header").tobytes())
    written["model"]["kind"] = header["model"]["kind"]  # a square has one name now
    assert written == header and set(again) == set(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(again[key], array)


def test_classes_are_a_field_of_classifications(tmp_path):
    parameters = Parameters(np.eye(2), np.full(2, 0.5))
    given = recovery_of(Classification(2), parameters, classes=["no", "yes"], info={"start": "tensor"})
    given.save(tmp_path / "f")
    for rec in (given, load(tmp_path / "f"), pickle.loads(pickle.dumps(given))):
        assert rec.classes.tolist() == ["no", "yes"] and rec.info == {"start": "tensor"}
        assert rec.predict([[9.0, 9.0], [-9.0, -9.0]]).tolist() == ["yes", "no"]
    assert recovery_of(Classification(2), parameters).classes.tolist() == [0, 1]
    regression = recovery_of(Regression("relu", 2), parameters, info={"classes": [1, 2]})
    assert regression.classes is None and regression.info == {"classes": [1, 2]}


def test_recovery_files_and_pictures_import_each_other_one_way():
    folder = Path(fastrecover.__file__).parent
    imports = {
        name: {
            part
            for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.level == 1
            for part in [node.module or "", *(alias.name for alias in node.names)]
        }
        for name in ("recovery", "forms", "storage", "plotting", "_summary", "_history")
    }
    assert imports["recovery"] >= {"forms", "storage", "_history"}
    assert imports["forms"] >= {"plotting", "_summary", "export.torch", "export.onnx"}
    assert not any("recovery" in found for found in imports.values())
    assert not imports["storage"]


def test_an_empty_history_survives(tmp_path):
    rec = recovery_of(MODELS[2], Parameters(np.ones((2, 2)), np.ones(2)), history={name: [] for name in HISTORY})
    rec.save(tmp_path / "f")
    assert {name: len(column) for name, column in load(tmp_path / "f").history.items()} == dict.fromkeys(HISTORY, 0)


def test_saving_where_nothing_can_be_saved(tmp_path, monkeypatch):
    rec = recovery_of(MODELS[2], Parameters(np.ones((2, 2)), np.ones(2)))
    with pytest.raises(FileNotFoundError, match="folder .*missing.* does not exist"):
        rec.save(tmp_path / "missing" / "fit.npz")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        rec.save(tmp_path)
    with pytest.raises(TypeError, match="info holds a object"):
        recovery_of(rec.model, rec.parameters, info={"x": object()}).save(tmp_path / "f")
    rec.save(tmp_path / "old")
    before = (tmp_path / "old").read_bytes()

    def half(file, **arrays):
        file.write(b"PK half a file")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="no space left"):
        rec.save(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_files_that_are_not_ours(tmp_path):
    rec = recovery_of(MODELS[2], Parameters(np.ones((2, 2)), np.ones(2)))
    rec.save(tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    (tmp_path / "text").write_text("loss,1\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes(good[: len(good) // 2])
    (tmp_path / "bent").write_bytes(good.replace(np.ones(2).tobytes(), np.full(2, 3.0).tobytes()))
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    end, first = good.rindex(b"PK\5\6"), good.index(b"PK\1\2")
    (tmp_path / "offset").write_bytes(good[: end + 16] + b"\xff\xff\xff\x00" + good[end + 20 :])  # seeks before 0
    (tmp_path / "locked").write_bytes(good[: first + 8] + b"\x01" + good[first + 9 :])  # says it is encrypted
    with open(tmp_path / "npy", "wb") as file:
        np.save(file, np.ones(3))
    with open(tmp_path / "other", "wb") as file:
        np.savez(file, weights=np.ones(3))
    with open(tmp_path / "objects", "wb") as file:
        np.savez(file, header=np.array([{"format": "x"}], object))
    for name in ("text", "empty", "cut", "bent", "pickle", "offset", "locked", "npy", "other", "objects"):
        with pytest.raises(ValueError, match=f"{name}' is not a saved recovery"):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


def rewritten(source, target, **changes):
    with np.load(source) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    header.update(changes.pop("header", {}))
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with open(target, "wb") as file:
        np.savez(file, **{**arrays, **changes})
    return target


def test_files_of_another_version_or_with_contradictions(tmp_path):
    good = tmp_path / "good"
    recovery_of(MODELS[2], Parameters(np.ones((2, 2)), np.ones(2))).save(good)
    assert load(rewritten(good, tmp_path / "same")).n_hidden == 2
    with pytest.raises(ValueError, match="new' has format version .* upgrade fastrecover"):
        load(rewritten(good, tmp_path / "new", header={"version": VERSION + 1}))
    with pytest.raises(ValueError, match="foreign' is not a saved recovery"):
        load(rewritten(good, tmp_path / "foreign", header={"format": "something else"}))
    with pytest.raises(ValueError, match="shapes' is a damaged recovery: the shapes"):
        load(rewritten(good, tmp_path / "shapes", output_weights=np.ones(3)))
    with pytest.raises(ValueError, match="model' is a damaged recovery"):
        load(rewritten(good, tmp_path / "model", header={"model": {"activation": "nothing", "n_hidden": 2}}))


def test_pickles_leave_the_data_behind(fitted):
    _, X, y, rec = fitted
    copy = pickle.loads(pickle.dumps(rec))
    assert copy.objective is None and rec.objective is not None
    np.testing.assert_array_equal(copy.standard_errors(X, y).flat(), rec.standard_errors().flat())


@pytest.mark.parametrize(
    "form, package, hint",
    [
        ("to_torch", "torch", "pip install torch"),
        ("to_onnx", "onnx", r"pip install 'fastrecover\[export\]'"),
        ("to_sklearn", "sklearn", r"pip install fastrecover\[sklearn\]"),
    ],
)
def test_a_form_whose_package_is_missing_names_it(monkeypatch, fitted, form, package, hint):
    *_, rec = fitted
    for name in [name for name in sys.modules if name.startswith(("fastrecover.export", "fastrecover.estimators"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=hint):
        getattr(rec, form)()
