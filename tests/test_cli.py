"""The command line called in process: what it reads and reports, its exit codes, what it leaves on disk.

Figures that it prints are checked against the library called by hand and against plain NumPy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from stored_rows import read_in_blocks

import fastrecover as fr
from fastrecover.activations import NAMES
from fastrecover.cli import demo, info, main
from fastrecover.cli.terminal import table
from fastrecover.papers import PRESETS

ROOT = Path(__file__).parents[1]
K, D = 2, 5


@pytest.fixture(scope="module")
def teacher():
    return fr.datasets.make_teacher("relu", D, K, output_weights="ones", random_state=1)


@pytest.fixture(scope="module")
def sample(teacher):
    return teacher.sample(600, random_state=2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def called(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys, *words) -> dict:
    code, out, err = called(capsys, "fit", *words, "--json")
    assert code == 0, err
    return json.loads(out)


# ---------------------------------------------------------------------------------------------- reading


def tables(folder: Path, kind: str, X: np.ndarray, y: np.ndarray) -> list[str]:
    table = pa.table({f"x{j}": X[:, j] for j in range(D)} | {"answer": y})
    if kind == "parquet":
        parquet.write_table(table, "d.parquet")
        return ["d.parquet"]
    if kind == "folder":
        (folder / "d").mkdir()
        parquet.write_table(table.slice(0, 100), "d/0.parquet")
        parquet.write_table(table.slice(100), "d/1.parquet")
        return ["d"]
    table = table.select([D, *range(D)]).append_column("name", pa.array(["a"] * len(y)))
    feather.write_feather(table, f"d.{kind}")
    return [f"d.{kind}", "--y-key", "answer", "--columns", ",".join(f"x{j}" for j in range(D))]


def written(folder: Path, kind: str, X: np.ndarray, y: np.ndarray) -> list[str]:
    """Arguments of a call that reads the same data from files of one kind."""
    if kind == "npy":
        np.save("X.npy", X)
        np.save("y.npy", y[:, None])
        return ["X.npy", "y.npy"]
    if kind == "npz":
        np.savez("d.npz", X=X, y=y)
        return ["d.npz"]
    if kind == "npz packed":
        np.savez_compressed("d.npz", X=X, y=y)
        return ["d.npz"]
    if kind in ("parquet", "feather", "arrow", "folder"):
        return tables(folder, kind, X, y)
    if kind == "npz keys":
        np.savez("d.npz", stim=X, X=X[:3], spikes=y)
        return ["d.npz", "--x-key", "stim", "--y-key", "spikes"]
    columns = np.c_[X, y]
    if kind == "csv last":
        np.savetxt("d.csv", columns, delimiter=",", fmt="%.17g")
        return ["d.csv"]
    moved = columns[:, [0, D, *range(1, D)]]
    if kind == "csv index":
        np.savetxt("d.csv", moved, delimiter=";", fmt="%.17g")
        return ["d.csv", "--y-key", "1"]
    names = ["a", "answer", *(f"x{j}" for j in range(1, D))]
    text = "\ufeff" + "\t".join(names) + "\n" + "\n".join("\t".join(f"{v:.17g}" for v in row) for row in moved)
    (folder / "d.csv").write_text(text, encoding="utf-8")
    return ["d.csv", "--y-key", "answer"]


KINDS = ["npy", "npz", "npz packed", "npz keys", "csv last", "csv index", "csv named"]


@pytest.mark.parametrize("kind", [*KINDS, "parquet", "feather", "arrow", "folder"])
def test_every_kind_of_file_gives_the_same_bits_as_the_library(kind, folder, sample, capsys):
    X, y = sample
    code, out, err = called(capsys, "fit", *written(folder, kind, X, y), "-k", K, "-o", "rec.npz")
    assert code == 0 and err == ""
    expected = fr.fit(X, y, "relu", K, random_state=0)
    got = fr.load("rec.npz")
    np.testing.assert_array_equal(got.weights, expected.weights)
    assert "wrote rec.npz" in out and "converged" in out
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith("rec")) == ["rec.npz"]


def test_large_files_are_read_in_blocks(folder, teacher, capsys, monkeypatch):
    """Rows that are held back, weighted and predicted too."""
    read_in_blocks(monkeypatch)
    X, y = teacher.sample(6000, noise=0.5, random_state=7)
    w = np.random.default_rng(1).integers(0, 3, 6000)
    table = pa.table({f"x{j}": X[:, j] for j in range(D)} | {"w": w, "y": y})
    parquet.write_table(table, "d.parquet", row_group_size=500)
    words = ["d.parquet", "--weight-key", "w", "--test-rows", "-1000:"]
    found = as_json(capsys, *words, "-k", K, "--output-weights", "ones", "-o", "rec.npz")
    expected = fr.fit(X[:5000], y[:5000], "relu", K, output_weights="ones", sample_weight=w[:5000], random_state=0)
    np.testing.assert_array_equal(fr.load("rec.npz").weights, expected.weights)
    assert found["held_back"]["r2"] == pytest.approx(expected.score(X[5000:], y[5000:], w[5000:]))
    # The fit knows its features by name: what else the table holds does not matter.
    assert called(capsys, "predict", "rec.npz", "d.parquet", "-o", "p.npy")[0] == 0
    np.testing.assert_array_equal(np.load("p.npy"), expected.predict(X))
    parquet.write_table(table.rename_columns([f"x{j}" for j in range(1, D)] + ["z", "w", "y"]), "e.parquet")
    code, _, err = called(capsys, "predict", "rec.npz", "e.parquet")
    assert code == 2 and "error: e.parquet has no column 'x0'" in err and "it has: x1, x2, x3, x4, z, w, y" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["d.parquet", "--y-key", "prise"], "--y-key: d.parquet has no column 'prise'; did you mean 'price'?"),
        (["d.parquet", "--weight-key", "u"], "--weight-key: d.parquet has no column 'u'"),
        (["d.parquet", "--columns", "a,c"], "--columns: d.parquet has no column 'c' (it has: a, b, name, price)"),
        (["d.parquet"], "column 'name' has type string: name the columns that are numbers with --columns"),
        (["d.parquet", "y.npy"], "DATA2 goes with a .npy DATA"),
        (["d.parquet", "--x-key", "a"], "--x-key goes with files of several arrays"),
        (["d.npz", "--x-key", "Z"], "--x-key: d.npz has no array 'Z'"),
        (["y.npy"], "y.npy holds rows only"),
        (["y.npy", "y.npy", "--y-key", "a"], "--y-key goes with files of several arrays and tables"),
        (["y.npy", "d.npz"], "DATA2 must be a .npy file"),
        (["d.txt"], "cannot tell what d.txt is"),
        (["d.parquet", "--columns", "a,b", "--y-key", "name"], "the responses are text, and --model relu fits numbers"),
    ],
)
def test_what_a_file_does_not_hold_is_told_by_option(words, said, folder, capsys):
    parquet.write_table(pa.table({"a": [1.0], "b": [1.0], "name": ["x"], "price": [1.0]}), "d.parquet")
    np.savez("d.npz", X=np.eye(3), y=np.ones(3))
    np.save("y.npy", np.ones(3))
    Path("d.txt").write_text("1\n")
    code, out, err = called(capsys, "fit", *words, "-k", 1)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1, err
    for internal in ("columns=", "target=", "key="):
        assert internal not in err


def test_options_reach_the_model(folder, capsys):
    rng = np.random.default_rng(0)
    model = fr.models.Regression("softplus", 2, "free", fit_intercept=True, linear_term=True)
    teacher = fr.datasets.make_teacher(model, 3, random_state=0)
    X, y = teacher.sample(800, noise=0.05, random_state=1)
    np.savez("d.npz", X=X, y=y, w=rng.integers(1, 3, 800))
    words = ["--model", "softplus", "-k", 2, "--output-weights", "free", "--intercept", "--linear-term"]
    code, out, err = called(capsys, "fit", "d.npz", *words, "--weight-key", "w", "--json", "--max-passes", 40)
    assert code in (0, 1), err
    found = json.loads(out)
    assert found["model"]["output_weights"] == "free" and found["model"]["activation"] == "softplus"
    assert found["linear_norm"] > 0 and found["intercept"] != 0.0 and len(found["units"]) == 2


def test_given_output_weights_and_start(folder, capsys):
    teacher = fr.datasets.make_teacher("relu", D, K, output_weights=[1.0, -1.0], random_state=3)
    X, y = teacher.sample(500, random_state=4)
    np.savez("d.npz", X=X, y=y)
    np.save("start.npy", teacher.weights + 0.05)
    found = as_json(capsys, "d.npz", "-k", K, "--output-weights=1,-1", "--init", "start.npy")
    assert sorted(unit["output_weight"] for unit in found["units"]) == [-1.0, 1.0]
    assert found["loss"] < 1e-20


def test_windows_pair_with_later_responses(folder, capsys):
    rng = np.random.default_rng(5)
    stim = rng.choice(np.array([-1, 1], np.int8), (900, 3))
    lags, shift = 4, 2
    teacher = fr.datasets.make_teacher("squared_relu", lags * 3, 2, output_weights="ones", random_state=6)
    # Brute force: the response of frame t follows the window that ends at frame t - shift.
    responses = rng.standard_normal(len(stim))
    for t in range(lags - 1 + shift, len(stim)):
        window = stim[t - shift - lags + 1 : t - shift + 1].astype(float).reshape(1, -1)
        responses[t] = teacher.predict(window)[0]
    np.savez("d.npz", stim=stim, spikes=responses)
    words = ["d.npz", "--x-key", "stim", "--y-key", "spikes", "--model", "squared_relu", "-k", 2]
    found = as_json(capsys, *words, "--lags", lags, "--lag-shift", shift, "-o", "rec.npz", "--plot", "rec.png")
    assert found["n_rows"] == 900 - lags + 1 - shift and found["n_features"] == 12
    assert fr.load("rec.npz").error(teacher) < 1e-5
    assert Path("rec.png").read_bytes().startswith(b"\x89PNG")
    assert found["written"] == ["rec.npz", "rec.png"]


def test_dtype_converts_rows(folder, sample, capsys):
    X, y = sample
    np.savez("d.npz", X=X, y=y)
    called(capsys, "fit", "d.npz", "-k", K, "--dtype", "float32", "-o", "rec.npz")
    expected = fr.fit(X.astype(np.float32), y, "relu", K, random_state=0)
    np.testing.assert_array_equal(fr.load("rec.npz").weights, expected.weights)


# ---------------------------------------------------------------------------------------------- reporting


def test_held_back_rows_are_not_fitted_and_reported(folder, teacher, capsys):
    X, y = teacher.sample(700, noise=0.5, random_state=7)
    y[600:] += 3.0 * np.random.default_rng(0).standard_normal(100)
    np.savez("d.npz", X=X, y=y)
    found = as_json(capsys, "d.npz", "-k", K, "--train-rows", "100:600", "--test-rows", "-100:", "-o", "r.npz")
    rec = fr.fit(X[100:600], y[100:600], "relu", K, random_state=0)
    np.testing.assert_array_equal(fr.load("r.npz").weights, rec.weights)
    f, t = rec.predict(X[600:]), y[600:]
    assert found["held_back"]["range"] == [600, 700] and found["fitted"]["range"] == [100, 600]
    assert found["held_back"]["correlation"] == pytest.approx(np.corrcoef(f, t)[0, 1])
    assert found["held_back"]["r2"] == pytest.approx(1 - ((t - f) ** 2).sum() / ((t - t.mean()) ** 2).sum())
    assert found["fitted"]["r2"] == pytest.approx(rec.score(X[100:600], y[100:600]))
    text = called(capsys, "fit", "d.npz", "-k", K, "--train-rows", "100:600", "--test-rows", "600:")[1]
    assert f"{found['held_back']['correlation']:.4f}" in text and "held back" in text


@pytest.mark.parametrize(
    ("test", "fitted"), [("600:", [0, 500]), ("-100:", [0, 500]), (":50", [50, 600]), ("500:", [0, 500])]
)
def test_rows_not_held_back_are_fitted(test, fitted, folder, sample, capsys):
    X, y = sample
    np.savez("d.npz", X=X, y=y)
    if test == "600:":
        assert "holds no row" in called(capsys, "fit", "d.npz", "-k", K, "--test-rows", test)[2]
        return
    assert as_json(capsys, "d.npz", "-k", K, "--test-rows", test)["fitted"]["range"] == fitted


def test_weighted_figures(folder, teacher, capsys):
    X, y = teacher.sample(300, noise=0.5, random_state=8)
    w = np.random.default_rng(1).integers(0, 3, 300)
    np.savez("d.npz", X=X, y=y, w=w)
    found = as_json(capsys, "d.npz", "-k", K, "--output-weights", "ones", "--weight-key", "w", "-o", "rec.npz")
    many, f = np.repeat(np.arange(300), w), fr.load("rec.npz").predict(X)
    assert found["fitted"]["correlation"] == pytest.approx(np.corrcoef(f[many], y[many])[0, 1])


def test_fit_that_does_not_converge_is_written_and_exits_1(folder, teacher, capsys):
    X, y = teacher.sample(500, noise=0.5, random_state=9)
    np.savez("d.npz", X=X, y=y)
    words = ["fit", "d.npz", "-k", K, "--init", "random", "--solver", "gd", "--max-passes", 2]
    code, out, err = called(capsys, *words, "-o", "rec.npz")
    assert code == 1 and "NOT CONVERGED" in out and "max_passes" in out and err == ""
    assert not fr.load("rec.npz").converged


def test_verbose_goes_to_standard_error(folder, sample, capsys):
    X, y = sample
    np.savez("d.npz", X=X, y=y)
    _, out, err = called(capsys, "fit", "d.npz", "-k", K, "-v")
    assert "pass" in err and "[fastrecover]" not in out


def test_progress_only_on_a_terminal(folder, sample, capsys, monkeypatch):
    X, y = sample
    np.savez("d.npz", X=X, y=y)
    assert called(capsys, "fit", "d.npz", "-k", K)[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = called(capsys, "fit", "d.npz", "-k", K)
    assert "\rfit" not in out and "fitting" in err and err.count("\n") == 0 and err.endswith("\r\x1b[K")


def test_table_is_aligned():
    assert table(("a", "bb"), [("xyz", "1"), ("y", "22")]).splitlines() == [
        "a    bb",
        "---  --",
        "xyz   1",
        "y    22",
    ]


# ------------------------------------------------------------------------------------------ classification


@pytest.fixture(scope="module")
def spikes():
    """Rows, numbers 0 and 1, and the same as text."""
    neuron = fr.datasets.make_teacher("fcn", D, K, norms=3.0, random_state=1)
    X, drawn = neuron.sample(2500, random_state=2)
    return X, drawn, np.where(drawn > 0, "spike", "miss")


def csv(X: np.ndarray, answers: np.ndarray, title: str = "", at: int = D, quote: str = "") -> None:
    """Write d.csv with the answers in column `at`."""
    rows = [[f"{value:.17g}" for value in row] for row in X]
    for row, answer in zip(rows, answers, strict=True):
        row.insert(at, f"{quote}{answer}{quote}")
    Path("d.csv").write_text(title + "\n".join(map(",".join, rows)) + "\n")


def labelled(kind: str, X: np.ndarray, labels: np.ndarray) -> list[str]:
    """Arguments of a call that reads the same rows and labels from files of one kind."""
    if kind == "npz text":
        np.savez("d.npz", X=X, y=labels[:, None])
    elif kind == "npz bytes":
        np.savez("d.npz", X=X, y=labels.astype("S"))
    elif kind == "npy":
        np.save("X.npy", X)
        np.save("y.npy", labels)
        return ["X.npy", "y.npy"]
    elif kind == "csv":
        csv(X, labels)
    elif kind == "csv titled":
        csv(X, labels, "answer,a,b,c,d,e\n", at=0, quote='"')
        return ["d.csv", "--y-key", "answer"]
    return ["d.npz" if kind.startswith("npz") else "d.csv"]


@pytest.mark.parametrize("kind", ["npz text", "npz bytes", "npy", "csv", "csv titled"])
def test_labels_of_every_kind_of_file_give_the_same_bits(kind, folder, spikes, capsys):
    X, _, labels = spikes
    files = labelled(kind, X, labels)
    code, out, err = called(capsys, "fit", *files, "--model", "fcn", "-k", K, "-o", "rec.npz")
    assert code == 0 and err == "" and "classes miss, spike" in out
    got, expected = fr.load("rec.npz"), fr.fit(X, labels, "fcn", K, random_state=0)
    np.testing.assert_array_equal(got.weights, expected.weights)
    assert got.classes.tolist() == ["miss", "spike"]


@pytest.mark.parametrize("kind", ["bool", "numbers", "fractions", "csv numbers", "csv bool"])
def test_other_targets(kind, folder, spikes, capsys):
    X, drawn, _ = spikes
    y = {"bool": drawn > 0, "fractions": 0.1 + 0.8 * drawn}.get(kind, drawn)
    if kind.startswith("csv"):
        csv(X, drawn > 0 if kind == "csv bool" else [f"{v:.0f}" for v in drawn])
    else:
        np.savez("d.npz", X=X, y=y)
    found = as_json(capsys, "d.csv" if kind.startswith("csv") else "d.npz", "--model", "fcn", "-k", K)
    expected = {"bool": [False, True], "csv bool": ["False", "True"]}.get(kind, [0, 1])
    assert found["classes"] == expected
    assert found["loss"] == fr.fit(X, y, "fcn", K, random_state=0).loss


def test_accuracy_and_log_loss(folder, spikes, capsys):
    X, drawn, labels = spikes
    w = np.random.default_rng(0).integers(0, 3, len(X))
    np.savez("d.npz", X=X, y=labels, w=w)
    words = ["d.npz", "--model", "fcn", "-k", K, "--weight-key", "w", "--test-rows", "-500:"]
    found = as_json(capsys, *words, "-o", "rec.npz")
    weights = fr.load("rec.npz").weights
    p = (1 / (1 + np.exp(-X @ weights.T))).mean(axis=1)
    losses = -np.log(np.where(drawn > 0, p, 1 - p))
    for part, rows in (("fitted", slice(0, 2000)), ("held_back", slice(2000, 2500))):
        right = ((p > 0.5) == (drawn > 0))[rows]
        assert found[part]["accuracy"] == pytest.approx(np.average(right, weights=w[rows]))
        assert found[part]["log_loss"] == pytest.approx(np.average(losses[rows], weights=w[rows]))
        assert found[part]["range"] == [rows.start, rows.stop] and "r2" not in found[part]
    out = called(capsys, "fit", *words)[1]
    assert "accuracy" in out and "log loss" in out and "R^2" not in out
    for part in ("fitted", "held_back"):
        assert f"{found[part]['accuracy']:.4f}" in out and f"{found[part]['log_loss']:.4f}" in out


def test_patches(folder, capsys):
    teacher = fr.datasets.make_teacher("cnn", 12, n_patches=3, norms=3.0, random_state=1)
    X, y = teacher.sample(1500, random_state=2)
    np.savez("d.npz", X=X.reshape(6000, 3)[::4], stim=X, y=y)
    words = ["d.npz", "--x-key", "stim", "--model", "cnn", "--n-patches", 3]
    found = as_json(capsys, *words, "-o", "rec.npz", "--plot", "rec.png")
    assert found["model"]["n_patches"] == 3 and found["n_features"] == 12
    expected = fr.fit(X, y, "cnn", n_patches=3, random_state=0).weights
    np.testing.assert_array_equal(fr.load("rec.npz").weights, expected)
    assert Path("rec.png").read_bytes().startswith(b"\x89PNG")
    # Windows of four frames: a filter of two of them is no image of a window.
    code = called(capsys, "fit", "d.npz", "--model", "cnn", "--n-patches", 2, "--lags", 4, "--plot", "w.png")[0]
    assert code in (0, 1) and Path("w.png").is_file()


PRESET_CALLS = {
    "zhong2017": (["-k", K], dict(n_hidden=K)),
    "zhong2017 tanh": (["-k", K, "--activation", "tanh"], dict(n_hidden=K, activation="tanh")),
    "zhang2018": (["-k", K], dict(n_hidden=K)),
    "zhang2018 random": (["-k", K, "--init", "random"], dict(n_hidden=K, init="random")),
    "zhang2018 lbfgs": (["-k", K, "--solver", "lbfgs"], dict(n_hidden=K, solver="lbfgs")),
    "fu2018-fcn": (["-k", K], dict(n_hidden=K)),
    "fu2018-cnn": (["--n-patches", D], dict(n_patches=D)),
}


@pytest.mark.parametrize("case", PRESET_CALLS)
def test_presets(case, folder, sample, spikes, capsys):
    words, options = PRESET_CALLS[case]
    name = case.split()[0]
    X, y = spikes[::2] if name.startswith("fu") else sample
    np.savez("d.npz", X=X, y=y)
    done = ["fit", "d.npz", "--model", name, *words, "--max-passes", 60, "-o", "rec.npz"]
    assert called(capsys, *done)[0] in (0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fr.ConvergenceWarning)
        expected = fr.fit(X, y, name, **options, max_passes=60, random_state=0)
    np.testing.assert_array_equal(fr.load("rec.npz").weights, expected.weights)


REFUSED = {
    "labels for a regression": (["--model", "relu", "-k", 2], "--model relu", "text", "--loss logistic", "fcn"),
    "no patches": (["--model", "cnn"], "n_patches is required"),
    "patches of fcn": (["--model", "fcn", "-k", 2, "--n-patches", 5], "n_patches", "fcn"),
    "uneven patches": (["--model", "cnn", "--n-patches", 3], "5 features", "n_patches=3"),
    "k of cnn": (["--model", "cnn", "-k", 2, "--n-patches", 5], "n_hidden must be 1"),
    "intercept of fcn": (["--model", "fcn", "-k", 2, "--intercept"], "fit_intercept", "fcn"),
    "no k": (["--model", "fcn"], "--n-hidden"),
    "no k of a preset": (["--model", "zhong2017"], "--n-hidden"),
    "activation": (["--model", "relu", "-k", 2, "--activation", "tanh"], "--activation", "zhong2017"),
    "unknown activation": (["--model", "zhong2017", "-k", 2, "--activation", "tanhh"], "did you mean 'tanh'"),
    "unknown preset": (["--model", "zhong2018", "-k", 2], "did you mean 'zhong2017'"),
    "three labels": (["--model", "fcn", "-k", 2, "--y-key", "three"], "three labels: 'a', 'b', 'c'"),
    "one label": (["--model", "fcn", "-k", 2, "--y-key", "one"], "one class only"),
    "numbers": (["--model", "fcn", "-k", 2, "--y-key", "many"], "[0, 1]", "row 0 is -0.5", "--model fcn"),
    "objects": (["--model", "fcn", "-k", 2, "--y-key", "objects"], "holds Python objects", "strings"),
    "new label held back": (
        ["--model", "fcn", "-k", 2, "--y-key", "late", "--test-rows", "-5:"],
        "in --test-rows, y must hold labels of ['miss', 'spike'], got",
    ),
    "nan held back": (
        ["--model", "fcn", "-k", 2, "--x-key", "nan", "--test-rows", "-5:"],
        "in --test-rows, X must be finite, but row 4, column 1 is nan",
    ),
    "weights held back": (
        ["--model", "fcn", "-k", 2, "--weight-key", "none", "--test-rows", "-5:"],
        "in --test-rows, sample_weight must not be zero everywhere",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_refused_in_one_line(case, folder, spikes, capsys, monkeypatch):
    X, drawn, labels = spikes
    nan, late, counts = X.copy(), labels.astype("U6"), np.ones(len(X))
    nan[-1, 1], late[-1], counts[-5:] = np.nan, "other", 0.0
    more = dict(three=np.resize(["a", "b", "c"], len(X)), one=np.full(len(X), "a"), late=late, many=X[:, 0] - 2)
    np.savez("d.npz", X=X, y=labels, nan=nan, none=counts, objects=labels.astype(object), **more)
    words, *parts = REFUSED[case]
    if "held back" in case:
        monkeypatch.setattr("fastrecover.cli.fit.fit", lambda *args, **options: pytest.fail("the fit began"))
    code, out, err = called(capsys, "fit", "d.npz", *words, "-o", "rec.npz")
    assert code == 2 and out == "" and err.startswith("fastrecover fit: error: ") and err.count("\n") == 1
    for part in parts:
        assert part in err, err
    assert not Path("rec.npz").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2,spike\n3,4,\n", ("''", "line 2, column 3")),
        ("a,b,y\n1,2,spike\n3,four,miss\n", ("'four'", "line 3, column 2")),
        ("1,2,spike\n3,miss\n", ("line 2 has 2 fields", "line 1 has 3")),
        ("a,b,y\n1,spike\n", ("line 2 has 2 fields", "line 1 has 3")),
        ("a,b,y\n", ("has no rows",)),
        ("", ("has no rows",)),
    ],
)
def test_csv_files_of_labels_with_mistakes(text, parts, folder, capsys):
    Path("d.csv").write_text(text)
    code, _, err = called(capsys, "fit", "d.csv", "--model", "fcn", "-k", 1)
    assert code == 2 and err.count("\n") == 1
    for part in parts:
        assert part in err, err


def test_demo_plants_no_classification(capsys):
    code, _, err = called(capsys, "demo", "--model", "fcn", "--noise", 0)
    assert code == 2 and "--model must name an activation (relu," in err and "classification, 'fcn'" in err


# ------------------------------------------------------------------------- networks as their users have them


def outputs(rec, X: np.ndarray) -> np.ndarray:
    """Outputs of a network of tanh units, (n, n_outputs)."""
    return np.tanh(X @ rec.weights.T + rec.biases) @ np.atleast_2d(rec.output_weights).T + rec.intercept


def planted(n: int = 400, **options):
    """Rows and responses of a network of two tanh units."""
    teacher = fr.datasets.make_teacher("tanh", 3, K, random_state=1, **options)
    return teacher.sample(n, 0.2 if teacher.model.loss.in_response_units else 0.0, random_state=2)


def fitted_json(capsys, *words) -> dict:
    """Of a fit that a budget may end."""
    code, out, err = called(capsys, "fit", *words, "--model", "tanh", "-k", K, "--max-passes", 40, "--json")
    assert code in (0, 1), err
    return json.loads(out)


def from_library(X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X, y, "tanh", K, max_passes=40, random_state=0, **options)


@pytest.mark.parametrize("kind", ["text", "csv", "numbers"])
def test_labels_of_three_classes(kind, folder, capsys):
    X, drawn = planted(loss="logistic", n_outputs=3, norms=3.0, hidden_bias=True)
    labels = np.array(["bee", "cat", "ant"])[drawn.astype(int)]
    w = np.random.default_rng(0).integers(1, 4, len(X))
    y = drawn + 3 if kind == "numbers" else labels
    if kind == "csv":
        rows = [f"{','.join(f'{v:.17g}' for v in row)},{a},{b}" for row, a, b in zip(X, labels, w, strict=True)]
        Path("d.csv").write_text("a,b,c,kind,w\n" + "\n".join(rows))
        words = ["d.csv", "--y-key", "kind", "--weight-key", "w"]
    else:
        np.savez("d.npz", X=X, y=y, w=w)
        words = ["d.npz", "--weight-key", "w"]
    words += ["--loss", "logistic", "--class-weight", "balanced", "--test-rows", "-100:"]
    found = fitted_json(capsys, *words, "-o", "rec.npz", "--plot", "rec.png")
    expected = from_library(X[:300], y[:300], loss="logistic", class_weight="balanced", sample_weight=w[:300])
    rec = fr.load("rec.npz")
    np.testing.assert_array_equal(rec.parameters.flat(), expected.parameters.flat())
    assert found["classes"] == rec.classes.tolist() == ([3, 4, 5] if kind == "numbers" else ["ant", "bee", "cat"])
    f = outputs(rec, X)
    at = np.searchsorted(rec.classes, y)
    losses = np.log(np.exp(f).sum(axis=1)) - f[np.arange(400), at]
    for part, rows in (("fitted", slice(300)), ("held_back", slice(300, 400))):
        right = np.average((f.argmax(axis=1) == at)[rows], weights=w[rows])
        assert found[part]["accuracy"] == pytest.approx(right) and right > 0.4
        assert found[part]["log_loss"] == pytest.approx(np.average(losses[rows], weights=w[rows]))
    assert [unit["output_weight"] for unit in found["units"]] == rec.output_weights.T.tolist()
    assert [unit["bias"] for unit in found["units"]] == rec.biases.tolist()
    assert found["intercept"] == rec.intercept.tolist() and found["alpha"] == 0.0
    assert Path("rec.png").read_bytes().startswith(b"\x89PNG")
    if kind == "csv":
        out = called(capsys, "fit", *words, "--model", "tanh", "-k", K, "--max-passes", 40)[1]
        assert "classes ant, bee, cat: an output for each, whose softmax is their probabilities" in out
        assert "norm of output weights" in out and f"{found['held_back']['log_loss']:.4f}" in out


def test_two_labels_by_a_logit(folder, capsys):
    X, drawn = planted(loss="logistic", norms=3.0)
    labels = np.where(drawn > 0, "yes", "no")
    np.savez("d.npz", X=X, y=labels)
    words = ["d.npz", "--loss", "logistic"]
    found = fitted_json(capsys, *words, "-o", "rec.npz")
    f = outputs(fr.load("rec.npz"), X)[:, 0]
    assert found["classes"] == ["no", "yes"]
    assert found["fitted"]["accuracy"] == np.mean((f > 0) == (labels == "yes"))
    assert found["fitted"]["log_loss"] == pytest.approx(np.mean(np.log1p(np.exp(np.where(drawn > 0, -f, f)))))
    assert all(isinstance(unit["output_weight"], float) for unit in found["units"])
    out = called(capsys, "fit", *words, "--model", "tanh", "-k", K, "--max-passes", 40)[1]
    assert "classes no, yes: the output is the logarithm of the odds of the second" in out


def several_columns(kind: str, X: np.ndarray, Y: np.ndarray, w: np.ndarray) -> list[str]:
    """Arguments of a call that reads rows and two responses a row from files of one kind."""
    if kind == "npy":
        np.save("X.npy", X)
        np.save("y.npy", Y)
        return ["X.npy", "y.npy"]
    if kind == "npz":
        np.savez("d.npz", X=X, both=Y, w=w)
        return ["d.npz", "--y-key", "both", "--weight-key", "w"]
    columns = np.c_[X[:, :1], Y[:, 1], X[:, 1:], w, Y[:, 0]]
    title = "" if kind == "csv index" else "a,right,b,c,w,left\n"
    Path("d.csv").write_text(title + "\n".join(",".join(f"{v:.17g}" for v in row) for row in columns))
    return ["d.csv", "--y-key", "-1, 1" if kind == "csv index" else "left,right", "--weight-key", "4"]


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "csv index"])
def test_several_responses(kind, folder, capsys):
    X, Y = planted(n_outputs=2, hidden_bias=True, linear_term=0.2, intercept=[1.0, -2.0])
    w = np.ones(len(X)) if kind == "npy" else np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    words = [*several_columns(kind, X, Y, w), "--output-weights", "free", "--hidden-bias", "--intercept"]
    found = fitted_json(capsys, *words, "--linear-term", "--test-rows", "-100:", "-o", "rec.npz")
    options = dict(output_weights="free", hidden_bias=True, fit_intercept=True, linear_term=True)
    expected = from_library(X[:300], Y[:300], **options, sample_weight=w[:300])
    rec = fr.load("rec.npz")
    np.testing.assert_allclose(rec.parameters.flat(), expected.parameters.flat(), rtol=1e-12, atol=1e-12)
    f = outputs(rec, X) + X @ rec.linear.T
    for part, rows in (("fitted", slice(300)), ("held_back", slice(300, 400))):
        each = np.repeat(np.arange(400)[rows], w[rows].astype(int))
        y, p = Y[each], f[each]
        r2 = 1 - ((y - p) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        assert found[part]["r2"] == pytest.approx(r2.mean())
        correlations = [np.corrcoef(y[:, o], p[:, o])[0, 1] for o in range(2)]
        assert found[part]["correlation"] == pytest.approx(np.mean(correlations))
        assert found[part]["rows"] == len(w[rows])
    assert found["linear_norm"] == pytest.approx(np.linalg.norm(rec.linear))
    assert np.shape([unit["output_weight"] for unit in found["units"]]) == (K, 2)


def test_a_title_with_a_comma_is_one_column(folder, capsys):
    X, y = planted()
    rows = "\n".join(",".join(f"{v:.17g}" for v in row) for row in np.c_[X, y])
    Path("d.csv").write_text('"a","b","c","a,b"\n' + rows)
    found = fitted_json(capsys, "d.csv", "--y-key", "a,b")
    assert found["n_features"] == 3 and isinstance(found["units"][0]["output_weight"], float)


@pytest.mark.parametrize("link", ["log", "softplus"])
def test_counts(link, folder, capsys):
    X, y = planted(loss="poisson", link=link, intercept=0.5, norms=1.5)
    np.savez("d.npz", X=X, y=y.astype(int))
    words = ["d.npz", "--loss", "poisson", "--link", link, "--hidden-bias", "--test-rows", "-100:"]
    found = fitted_json(capsys, *words, "-o", "rec.npz", "--plot", "rec.png")
    f = outputs(fr.load("rec.npz"), X)[:, 0]
    q = np.exp(f) if link == "log" else np.log1p(np.exp(f))

    def deviance(rows, rate):
        return 2 * np.sum(np.where(y[rows] > 0, y[rows] * np.log(np.maximum(y[rows], 1) / rate), 0) - y[rows] + rate)

    for part, rows in (("fitted", slice(300)), ("held_back", slice(300, 400))):
        assert found[part]["d2"] == pytest.approx(1 - deviance(rows, q[rows]) / deviance(rows, y[rows].mean()))
        assert found[part]["correlation"] == pytest.approx(np.corrcoef(q[rows], y[rows])[0, 1])
        assert "r2" not in found[part]
    assert "D^2" in called(capsys, "fit", *words, "--model", "tanh", "-k", K, "--max-passes", 5)[1]


def test_rows_of_no_weight_do_not_count_in_figures(folder, teacher, capsys):
    X, y = teacher.sample(300, noise=0.5, random_state=8)
    w = np.ones(300)
    np.savez("d.npz", X=X[:200], y=y[:200])
    words = ["-k", K, "--output-weights", "ones"]
    expected = as_json(capsys, "d.npz", *words)["fitted"]
    w[200:], y[200:], X[250:] = 0.0, np.nan, np.nan
    np.savez("d.npz", X=X, y=y, w=w)
    found = as_json(capsys, "d.npz", *words, "--weight-key", "w")["fitted"]
    assert found["r2"] == pytest.approx(expected["r2"]) and found["correlation"] == pytest.approx(
        expected["correlation"]
    )


PENALTIES = {"0.3": 0.3, "3,0.1": [3.0, 0.1], "auto": "auto", "1e-2": 0.01, "0": 0.0}


@pytest.mark.parametrize("text", PENALTIES)
def test_options_are_those_of_the_library(text, folder, capsys, monkeypatch):
    X, y = planted()
    np.savez("d.npz", X=X, y=y)
    calls = []

    def fit(*args, **options):
        calls.append((args[2:], options))
        raise ValueError("enough")

    monkeypatch.setattr("fastrecover.cli.fit.fit", fit)
    words = ["--model", "relu", "-k", 2, "--hidden-bias", "--loss", "huber", "--delta", 0.5]
    code, _, err = called(capsys, "fit", "d.npz", *words, "--alpha", text)
    assert code == 2 and err == "fastrecover fit: error: enough\n"
    given = {"hidden_bias": True, "loss": "huber", "delta": 0.5, "alpha": PENALTIES[text], "random_state": 0}
    ((names, options),) = calls
    assert callable(options.pop("callback"))
    assert (names, options) == (("relu", 2), {"sample_weight": None, **given})


def test_the_penalty_that_was_chosen_is_told(folder, capsys):
    X, y = planted(n=150)
    np.savez("d.npz", X=X, y=y)
    words = ["d.npz", "--model", "tanh", "-k", K, "--output-weights", "free", "--alpha", "0.1,100"]
    assert as_json(capsys, *words)["alpha"] == 0.1
    assert "with a penalty of alpha 0.1 after" in called(capsys, "fit", *words)[1]


NAMED = {
    "unknown loss": (["--loss", "logit"], "--loss", "squared", "logistic"),
    "unknown link": (["--loss", "poisson", "--link", "probit"], "--link", "softplus"),
    "delta of squared": (["--delta", 1], "--delta", "loss='huber'"),
    "delta 0": (["--loss", "huber", "--delta", 0], "--delta", "positive"),
    "delta no number": (["--loss", "huber", "--delta", "x"], "--delta", "'x'"),
    "link of huber": (["--loss", "huber", "--link", "log"], "--link", "loss='poisson'"),
    "loss of fcn": (["--model", "fcn", "--loss", "logistic"], "--loss", "fcn"),
    "biases of quadratic": (["--model", "quadratic", "--hidden-bias"], "--hidden-bias", "linear_term=True"),
    "alpha no number": (["--alpha", "much"], "--alpha", "auto", "'much'"),
    "alpha below zero": (["--alpha", "-1"], "--alpha", "not be negative"),
    "alpha auto k": (["--alpha", 1, "-k", "auto"], "--alpha", "n_hidden='auto'"),
    "class weights of numbers": (["--class-weight", "balanced"], "--class-weight", "classifications"),
    "unknown class weight": (["--class-weight", "even"], "--class-weight", "balanced"),
    "text": (["--y-key", "text"], "--model tanh", "--loss logistic"),
    "text as counts": (["--loss", "poisson", "--y-key", "text"], "--loss poisson", "--loss logistic"),
    "counts below zero": (["--loss", "poisson"], "must not be negative under a Poisson loss"),
    "counts held back": (["--loss", "poisson", "--y-key", "late", "--test-rows", "-5:"], "in --test-rows, y", "row 4"),
    "several, ones": (["--y-key", "both", "--output-weights", "ones"], "--output-weights", "'free'"),
    "several counts": (["--y-key", "squares", "--loss", "poisson"], "y must", "2)"),
    "several labels": (["--y-key", "both", "--loss", "logistic"], "probabilities that sum to 1", "--loss logistic"),
    "cube": (["--y-key", "cube"], "'cube' in d.npz must have shape", "got (1, 50, 3)"),
    "a new class": (
        ["--y-key", "new", "--loss", "logistic", "--test-rows", "-5:"],
        "in --test-rows, y must hold labels of ['a', 'b', 'c'], got 'd'",
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_is_refused_names_the_option(case, folder, capsys):
    X, y = planted(n=50)
    y -= 0.1 + y[0]
    late, new = np.abs(np.rint(y)), np.resize(["a", "b", "c"], 50)
    late[-1], new[-1] = -1.0, "d"
    many = dict(both=np.c_[y, y], squares=np.c_[y, y] ** 2, text=new, late=late, new=new, cube=X[None])
    np.savez("d.npz", X=X, y=y, **many)
    words, *parts = NAMED[case]
    code, out, err = called(capsys, "fit", "d.npz", "--model", "tanh", "-k", 2, *words, "-o", "rec.npz")
    assert code == 2 and out == "" and err.startswith("fastrecover fit: error: ") and err.count("\n") == 1
    for part in parts:
        assert part in err, err
    assert not Path("rec.npz").exists()


# ------------------------------------------------------------------------------------------ other commands


SMALL = ("--n", 4000, "--features", 6, "--hidden", 2)


def test_demo_recovers_and_draws(folder, capsys):
    code, out, err = called(capsys, "demo", *SMALL, "--plot", "demo.png")
    assert code == 0 and err == "", out
    for name in ("relu", "squared_relu", "tanh", "predicted", "sub-sample"):
        assert name in out
    rows = [line.split() for line in out.splitlines() if " exact " in line]
    assert len(rows) == 3 and all(float(row[2]) <= 1e-8 for row in rows)
    assert Path("demo.png").read_bytes().startswith(b"\x89PNG")


def test_demo_says_when_a_network_was_not_recovered(capsys, monkeypatch):
    monkeypatch.setattr(demo, "EXACT", 0.0)
    code, out, _ = called(capsys, "demo", *SMALL, "--model", "tanh", "--noise", 0)
    assert code == 1 and "NOT RECOVERED: tanh, no noise" in out


def test_stage_times_add_up(sample):
    rec = fr.fit(*sample, "relu", K, random_state=0)
    parts = demo.stage_seconds(rec)
    assert sum(parts) == pytest.approx(rec.seconds) and min(parts) >= 0


def test_info(capsys):
    code, out, _ = called(capsys, "info", "--json")
    found = json.loads(out)
    assert code == 0 and found["fastrecover"] == fr.__version__ and found["numpy"] == np.__version__
    assert found["kernels"] == fr.get_kernels()
    assert found["fastrecover"] in called(capsys, "info")[1]


def test_extras_are_the_projects():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    ours = ("test", "lint", "bench", "compare", "docs", "wheel")
    for_users = {name: needs for name, needs in declared.items() if name not in ours}
    assert {name: tuple(need.split(">")[0] for need in needs) for name, needs in for_users.items()} == info.EXTRAS


def test_bench_runs_only_in_a_source_checkout(folder, capfd):
    assert main(["bench"]) == 2
    assert "source repository" in capfd.readouterr().err
    for name, text in (
        ("fastrecover/__init__.py", ""),
        ("bench/__init__.py", ""),  # without it a bench further down the path would be run
        ("bench/__main__.py", "import sys; sys.exit(len(sys.argv))"),
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert main(["bench", "--quick", "a"]) == 3


def test_kernels_are_chosen_for_one_call(folder, sample, capsys):
    X, y = sample
    np.savez("d.npz", X=X, y=y)
    before = fr.get_kernels()
    assert called(capsys, "fit", "d.npz", "-k", K, "--kernels", "reference", "--max-passes", 3)[0] in (0, 1)
    assert fr.get_kernels() == before


def test_python_m_and_version():
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "fastrecover", "--version"], env=env, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0 and done.stdout.strip() == f"fastrecover {fr.__version__}"


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("command", ["", "demo", "fit", "predict", "phase", "plan", "info", "bench"])
def test_help_fits_the_terminal(command, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = called(capsys, *command.split(), "--help")
    assert code == 0 and out.startswith(f"usage: fastrecover {command}".strip())
    assert max(map(len, out.splitlines())) <= width
    if command == "fit":  # an example that is cut can be pasted
        examples = " ".join(out[out.index("examples:") :].replace("\\\n", " ").split())
        assert "fastrecover fit d.npz --model zhong2017 --activation squared_relu --n-hidden 5 fastrecover" in examples


@pytest.mark.parametrize("command", ["fit", "demo", "phase", "plan"])
def test_models_that_there_are(command, capsys):
    code, out, err = called(capsys, command, "--model", "list")
    names = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert code == 0 and err == ""
    others = {"fcn", "cnn", *PRESETS} if command == "fit" else set()
    assert names == {*NAMES, *others}
    assert all(len(line.split()) > 1 for line in out.splitlines())


def test_numbers_are_asked_for_in_plain_words(capsys):
    for words, wanted in (
        (["--lags", "x"], "must be an integer, got 'x'"),
        (["--tol", "y"], "must be a number, got 'y'"),
    ):
        code, _, err = called(capsys, "fit", "X.npy", *words)
        assert code == 2 and wanted in err and "invalid" not in err


INTERRUPTED = """
import os, signal, sys
import fastrecover.__main__ as program

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored

class Finder:  # Ctrl-C arrives in the midst of an import
    def find_spec(self, name, path=None, target=None):
        if name == "fastrecover.cli.fit":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.exit(program.main())
"""


def test_ctrl_c_while_importing_is_one_line():
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, "info"], env=env, capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fastrecover: interrupted, nothing was written\n")
