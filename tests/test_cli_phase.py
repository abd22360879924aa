"""``fastrecover phase`` and ``fastrecover predict``: tables that go on, predictions that are those of the library."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import fastrecover as fr
from fastrecover.cli import main, terminal

GRID = ["phase", "--hidden", "2", "--features", "4", "6", "--rows", "3", "8", "--trials", "2", "--jobs", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def called(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def lines(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_phase_counts_networks_that_came_back(folder, capsys):
    code, out, _ = called(capsys, *GRID, "-o", "grid.csv", "--plot", "grid.png")
    assert code == 0
    found = lines("grid.csv")
    assert [(one["features"], one["rows_a_weight"], one["seed"]) for one in found] == [
        (d, ratio, seed) for d in ("4", "6") for ratio in ("3.0", "8.0") for seed in ("0", "1")
    ]
    # From 8 rows a weight every such network comes back (power study: from 3).
    assert all(float(one["error"]) < 1e-6 for one in found if one["rows_a_weight"] == "8.0")
    for one in found:
        assert (one["recovered"] == "True") == (float(one["error"]) < 1e-6)
        assert int(one["rows"]) == round(float(one["rows_a_weight"]) * int(one["features"]) * 2)
    assert out.splitlines()[5].split()[:2] == ["4", str(sum(one["recovered"] == "True" for one in found[:2]))]
    assert (folder / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_phase_goes_on_where_a_table_ends(folder, capsys, monkeypatch):
    called(capsys, *GRID, "-o", "whole.csv")
    whole = (folder / "whole.csv").read_text()
    # As if it had been killed in the middle of the fourth network.
    (folder / "part.csv").write_text(whole[: whole.index("\n", whole.index(",6,")) - 5])
    before = lines("part.csv")[:-1]
    fits = []
    from fastrecover.cli import phase

    plain = phase.fit
    monkeypatch.setattr(phase, "fit", lambda *args, **options: fits.append(1) or plain(*args, **options))
    code, out, _ = called(capsys, *GRID, "-o", "part.csv")
    assert code == 0 and len(fits) == 8 - len(before) and len(before) >= 4
    after, wanted = lines("part.csv"), lines("whole.csv")
    assert after[: len(before)] == before
    for one, other in zip(after, wanted, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert called(capsys, *GRID, "-o", "part.csv")[1] == out and len(fits) == 8 - len(before)


def test_phase_with_fewer_rows_than_weights_fits_nothing(folder, capsys, monkeypatch):
    monkeypatch.setattr("fastrecover.cli.phase.fit", None)
    code, out, _ = called(capsys, *GRID[:6], "--rows", 0.5, "--trials", 2, "-o", "few.csv")
    assert code == 0 and [one["recovered"] for one in lines("few.csv")] == ["False"] * 4
    assert [line.split()[1] for line in out.splitlines()[5:7]] == ["0", "0"]


def test_phase_of_noisy_responses_compares_with_a_fit_from_the_truth(folder, capsys):
    code, _, _ = called(capsys, *GRID[:6], "--rows", 30, "--trials", 3, "--noise", 0.1, "-o", "noisy.csv")
    found = lines("noisy.csv")
    assert code == 0 and all(one["recovered"] == "True" and float(one["error"]) > 1e-4 for one in found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "rulu"], "did you mean 'relu'"),
        (["--model", "fcn"], "must name an activation"),
        (["--trials", 0], "--trials must be at least 1"),
        (["--rows", 0], "--rows must be positive"),
        (["-o", "grid.txt"], "must end in .csv"),
        (["-o", "other.csv"], "no table of this command"),
        (["--plot", "grid.doc"], "must end in one of"),
    ],
)
def test_phase_refuses(folder, capsys, words, said):
    (folder / "other.csv").write_text("a,b\n1,2\n")
    code, _, err = called(capsys, *GRID, *words)
    assert code == 2 and said in err and err.count("\n") == 1
    assert (folder / "other.csv").read_text() == "a,b\n1,2\n"


@pytest.fixture
def fitted(folder, capsys):
    teacher = fr.datasets.make_teacher("relu", 4, 2, random_state=0)
    X, y = teacher.sample(300, random_state=1)
    np.save("X.npy", X)
    np.save("y.npy", y)
    np.savez("data.npz", X=X, rows=X[:7], y=y)
    body = [",".join([*map(repr, x), "some", repr(v)]) for x, v in zip(X.tolist(), y.tolist(), strict=True)]
    (folder / "data.csv").write_text("\n".join(["a,b,c,d,name,y", *body]) + "\n")
    assert called(capsys, "fit", "X.npy", "y.npy", "-k", 2, "-o", "rec.npz")[0] == 0
    return X, fr.load("rec.npz")


def test_predictions_are_those_of_the_library(fitted, folder, capsys):
    X, rec = fitted
    code, out, _ = called(capsys, "predict", "rec.npz", "X.npy")
    assert code == 0
    np.testing.assert_array_equal([float(line) for line in out.split()], rec.predict(X))
    table = pa.table({name: X[:, j] for j, name in enumerate("abcd")} | {"y": X[:, 0], "name": ["n"] * len(X)})
    parquet.write_table(table, "data.parquet")
    for words in (["X.npy"], ["data.npz"], ["data.csv", "--drop", "name,y"], ["data.parquet", "--drop", "name,y"]):
        assert called(capsys, "predict", "rec.npz", *words, "-o", "p.npy")[:2] == (0, "wrote p.npy\n")
        np.testing.assert_allclose(np.load("p.npy"), rec.predict(X), rtol=1e-13)
    assert called(capsys, "predict", "rec.npz", "data.npz", "--x-key", "rows", "-o", "p.csv")[0] == 0
    found = lines("p.csv")
    np.testing.assert_array_equal([float(one["prediction"]) for one in found], rec.predict(X[:7]))


def test_labels_and_probabilities(folder, capsys):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    y = np.where(rng.random(400) < 1.0 / (1.0 + np.exp(-3.0 * np.maximum(X[:, 0], 0.0) + 1.0)), "yes", "no")
    np.save("X.npy", X)
    np.save("y.npy", y)
    called(capsys, "fit", "X.npy", "y.npy", "--loss", "logistic", "-k", 1, "--restarts", 1, "--alpha", 1, "-o", "r.npz")
    rec = fr.load("r.npz")
    assert called(capsys, "predict", "r.npz", "X.npy")[1].split() == rec.predict(X).tolist()
    assert called(capsys, "predict", "r.npz", "X.npy", "--proba", "-o", "p.csv")[0] == 0
    found = lines("p.csv")
    assert list(found[0]) == ["no", "yes"]
    np.testing.assert_array_equal([float(one["yes"]) for one in found], rec.predict_proba(X)[:, 1])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_columns_of_a_csv_file_are_found_by_their_titles(kind, tmp_path, capsys):
    rng = np.random.default_rng(0)
    X, titles = rng.standard_normal((200, 3)), ["a", "b", "c"]
    y = np.maximum(X @ [1.0, -0.5, 0.3], 0.0)
    frame = pd.DataFrame({**dict(zip(titles, X.T, strict=True)), "y": y})
    path = tmp_path / f"d.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    fit = ["fit", str(path), "--y-key", "y", "--model", "relu", "--n-hidden", "1", "-o"]
    assert main([*fit, str(tmp_path / "r.npz")]) == 0
    assert fr.load(tmp_path / "r.npz").feature_names == titles
    expected = fr.load(tmp_path / "r.npz").predict(pd.DataFrame(X, columns=titles))
    pd.DataFrame({"c": X[:, 2], "note": y, "b": X[:, 1], "a": X[:, 0]}).to_csv(tmp_path / "turned.csv", index=False)
    turned = [str(tmp_path / name) for name in ("r.npz", "turned.csv")]
    assert main(["predict", *turned, "-o", str(tmp_path / "f.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "f.npy"), expected, rtol=1e-12)
    assert main(["predict", *turned, "--drop", "a"]) == 2
    assert "names a feature of the fit" in capsys.readouterr().err
    pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}).to_csv(tmp_path / "turned.csv", index=False)
    assert main(["predict", *turned]) == 2
    assert "no column 'c'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rec.npz", "none.npy"], "none.npy does not exist"),
        (["rec.npz", "data.csv"], "data.csv: line 2, column 5 (name): 'some' is no number"),
        (["rec.npz", "data.csv", "--drop", "nome"], "did you mean 'name'"),
        (["rec.npz", "X.npy", "--drop", "y"], "--drop goes with .csv files"),
        (["rec.npz", "t.parquet"], "column 'name' has type string: leave it out with --drop"),
        (["rec.npz", "t.parquet", "--drop", "nome"], "--drop: t.parquet has no column 'nome'; did you mean 'name'?"),
        (["rec.npz", "t.parquet", "--drop", "a"], "column 'name' has type string"),
        (["rec.npz", "X.npy", "--proba"], "--proba is for classifications"),
        (["rec.npz", "y.npy"], "X must"),
        (["rec.npz", "X.npy", "-o", "X.npy"], "would be overwritten"),
        (["rec.npz", "X.npy", "-o", "p.txt"], "must end in .npy or .csv"),
        (["X.npy", "X.npy"], "X.npy"),
    ],
)
def test_predict_refuses(fitted, capsys, words, said):
    parquet.write_table(pa.table({"a": [1.0], "name": ["n"]}), "t.parquet")
    code, _, err = called(capsys, "predict", *words)
    assert code == 2 and said in err and err.count("\n") == 1


def test_numbers_of_units_are_told_without_names_of_ours(folder, capsys):
    code, _, err = called(capsys, "fit", "X.npy", "y.npy", "-k", "two")
    assert code == 2 and "must be an integer, or auto, got 'two'" in err and "_count" not in err


def test_weights_are_in_the_json(fitted, capsys):
    import json

    _, rec = fitted
    found = json.loads(called(capsys, "fit", "X.npy", "y.npy", "-k", 2, "--json")[1])
    np.testing.assert_allclose(found["weights"], rec.weights, rtol=1e-12)


def test_progress_where_nobody_watches_is_a_line_every_ten_seconds(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: now[0])
    with terminal.StatusLine() as line:
        for second in range(25):
            now[0] = float(second)
            line.show(f"at {second}")
    assert capsys.readouterr().err.splitlines() == ["at 10", "at 20"]
