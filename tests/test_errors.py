"""Bad input, through ``fastrecover.fit`` and through the command line: one clear error before any long work.

Every case states the exception, the argument that its message must name and what else a reader needs from it.
Interruption is tried where it hurts: in the middle of a fit, whose process must stay usable.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import fastrecover as fr
from fastrecover.cli import main

ROOT = Path(__file__).parents[1]
N, D, K = 300, 4, 2
TEACHER = fr.datasets.make_teacher("relu", D, K, output_weights="ones", random_state=0)
X, Y = TEACHER.sample(N, random_state=1)
ONES = np.ones(N)


def changed(a: np.ndarray, where, value) -> np.ndarray:
    a = a.copy()
    a[where] = value
    return a


def fail(*events: dict) -> None:
    raise AssertionError(f"work began: {events}")


# What is changed in a good call, the exception, and patterns that the message must match.
CASES = {
    "X 1d": (
        dict(X=X[:, 0]),
        ValueError,
        r"^X must have shape \(n_rows, n_features\), got \(300,\)",
        "reshape",
    ),
    "X 3d": (dict(X=X[None]), ValueError, r"^X must have shape .*\(1, 300, 4\)"),
    "X no rows": (dict(X=X[:0], y=Y[:0]), ValueError, "^X must have at least one row"),
    "X no columns": (dict(X=X[:, :0]), ValueError, "^X .* one feature"),
    "X ragged": (dict(X=[[1.0, 2.0], [3.0]]), ValueError, "^X is not a rectangular array"),
    "X None": (dict(X=None), TypeError, "^X "),
    "X text": (dict(X=X.astype(str)), TypeError, "^X must be real numbers"),
    "X complex": (dict(X=X.astype(complex)), TypeError, "^X must be real numbers.*complex128"),
    "X objects": (dict(X=X.astype(object)), TypeError, "^X has dtype object", r"np\.asarray"),
    "X nan": (
        dict(X=changed(X, (7, 2), np.nan)),
        ValueError,
        "^X must be finite, but row 7, column 2 is nan",
    ),
    "X inf": (dict(X=changed(X, (N - 1, 0), -np.inf)), ValueError, "^X .* row 299, column 0 is -inf"),
    "X float32 nan": (
        dict(X=changed(X, (9, 1), np.nan).astype("f4")),
        ValueError,
        "^X .* row 9, column 1 is nan",
    ),
    "X column of zeros": (
        dict(X=changed(X, (slice(None), 1), 0.0)),
        ValueError,
        r"^X has constant columns \(1\)",
    ),
    "X constant column beside biases": (
        dict(X=changed(X, (slice(None), 1), 3.0), hidden_bias=True),
        ValueError,
        r"^X has constant columns \(1\)",
        "hidden bias by another name",
    ),
    "X constant column beside an intercept": (
        dict(X=changed(X, (slice(None), 1), 3.0), linear_term=True, fit_intercept=True),
        ValueError,
        r"^X has constant columns \(1\)",
        "intercept",
    ),
    "X two constant columns": (
        dict(X=changed(X, (slice(None), slice(1, 3)), [3.0, 2.0])),
        ValueError,
        r"^X has constant columns \(1, 2\)",
    ),
    "y tiny": (dict(y=Y * 1e-160, model="tanh"), ValueError, "^y has no entry above", "rescale y"),
    "X tiny": (dict(X=X * [1, 1, 1e-160, 1]), ValueError, r"^X has columns .*\(column 2\)", "rescale X"),
    "X huge": (dict(X=X * 1e60), ValueError, "^X has entries as large as", "rescale X"),
    "y huge": (dict(y=Y * 1e200), ValueError, "^y has entries as large as", "rescale y"),
    "y short": (dict(y=Y[:-1]), ValueError, "^y has 299 entries but X has 300 rows"),
    "y 2d": (dict(y=X), ValueError, "^y has 4 columns", "use output_weights='free'"),
    "y nan": (dict(y=changed(Y, 11, np.nan)), ValueError, "^y must be finite, but row 11 is nan"),
    "y text": (dict(y=Y.astype(str)), TypeError, "^y must be real numbers"),
    "y objects": (dict(y=Y.astype(object)), TypeError, "^y has dtype object"),
    "y constant": (dict(y=ONES), ValueError, "^y must vary", "every response is 1"),
    "y constant where it counts": (
        dict(y=changed(ONES, 3, 2.0), sample_weight=changed(ONES, 3, 0.0)),
        ValueError,
        "^y must vary",
    ),
    "too few rows": (
        dict(X=X[:7], y=Y[:7]),
        ValueError,
        "^X has 7 rows that count",
        "8 parameters",
        "n_hidden",
    ),
    "too few rows count": (
        dict(sample_weight=changed(0 * ONES, slice(5), 1.0)),
        ValueError,
        "^X has 5 rows that count",
    ),
    "weights negative": (
        dict(sample_weight=changed(changed(ONES, 9, -7.0), 3, -1.0)),
        ValueError,
        "^sample_weight must not be negative, but row 3 is -1$",
    ),
    "weights zero": (dict(sample_weight=0 * ONES), ValueError, "^sample_weight must not be zero everywhere"),
    "weights short": (dict(sample_weight=ONES[1:]), ValueError, "^sample_weight has 299 entries"),
    "weights nan": (
        dict(sample_weight=changed(ONES, 5, np.nan)),
        ValueError,
        "^sample_weight .* row 5 is nan",
    ),
    "n_hidden missing": (dict(n_hidden=None), ValueError, "^n_hidden is required"),
    "n_hidden 0": (dict(n_hidden=0), ValueError, "^n_hidden must be at least 1, got 0"),
    "n_hidden negative": (dict(n_hidden=-3), ValueError, "^n_hidden must be at least 1, got -3"),
    "n_hidden float": (dict(n_hidden=2.0), TypeError, "^n_hidden must be an integer"),
    "n_hidden unresolvable": (
        dict(n_hidden=D + 1, init="tensor"),
        ValueError,
        "^n_hidden=5 exceeds the number of features 4",
        "init='random'",
    ),
    "model unknown": (
        dict(model="rellu"),
        ValueError,
        "^unknown model 'rellu'; did you mean 'relu'",
        "softplus",
    ),
    "model type": (dict(model=3), TypeError, "^model must be a name"),
    "init unknown": (dict(init="tensr"), ValueError, "^unknown init 'tensr'; did you mean 'tensor'"),
    "init number": (dict(init=3), TypeError, "^init must be one of"),
    "init None": (dict(init=None), TypeError, "^init must be one of"),
    "init shape": (dict(init=np.ones((3, D))), ValueError, r"^init must have shape \(2, 4\), got \(3, 4\)"),
    "init nan": (dict(init=np.full((K, D), np.nan)), ValueError, "^init must be finite, but row 0, column 0"),
    "solver unknown": (
        dict(solver="gauss_newton"),
        ValueError,
        "^unknown solver .* did you mean 'gauss-newton'",
    ),
    "solver type": (dict(solver=3), TypeError, "^solver must be a name"),
    "option unknown": (dict(output_weigths="ones"), TypeError, "did you mean 'output_weights'"),
    "output_weights unknown": (
        dict(output_weights="sign"),
        ValueError,
        "^output_weights .* did you mean 'signs'",
    ),
    "output_weights shape": (
        dict(output_weights=[1, 1, 1]),
        ValueError,
        r"^output_weights must have shape \(2,\)",
    ),
    "output_weights zero": (
        dict(output_weights=[1, 0]),
        ValueError,
        "^output_weights must be finite and non-zero",
    ),
    "sigmoid signs": (
        dict(model="sigmoid", output_weights="signs"),
        ValueError,
        "^output_weights='signs'",
        "ones",
    ),
    "slope of relu": (dict(slope=0.2), ValueError, "^slope belongs to leaky_relu"),
    "slope range": (dict(model="leaky_relu", slope=1.0), ValueError, r"^slope must be in \[0, 1\)"),
    "random_state text": (dict(random_state="a"), TypeError, "^random_state must be None, an integer"),
    "random_state float": (dict(random_state=1.5), TypeError, "^random_state"),
    "random_state negative": (dict(random_state=-1), ValueError, "^random_state must not be negative"),
    "n_jobs 0": (dict(n_jobs=0), ValueError, "^n_jobs must not be 0"),
    "n_jobs float": (dict(n_jobs=1.5), TypeError, "^n_jobs must be an integer"),
    **{f"tol {v}": (dict(tol=v), ValueError, "^tol must be positive and finite") for v in (0, -1, np.nan, np.inf)},
    "tol text": (dict(tol="a"), TypeError, "^tol must be a number"),
    **{f"max_passes {v}": (dict(max_passes=v), ValueError, "^max_passes must be positive") for v in (0, -1, np.nan)},
    "max_passes bool": (dict(max_passes=True), TypeError, "^max_passes must be a number"),
    "callback": (dict(callback=3), TypeError, "^callback must be callable, got 3"),
    "verbose": (dict(verbose="a"), TypeError, "^verbose must be 0, 1 or 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_fit_refuses(case):
    changes, error, *patterns = CASES[case]
    call = dict(X=X, y=Y, model="relu", n_hidden=K, random_state=0, callback=fail) | changes
    with pytest.raises(error) as caught:
        fr.fit(call.pop("X"), call.pop("y"), **call)
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), str(caught.value)


def test_the_unchanged_call_is_good():
    assert fr.fit(X, Y, "relu", K, random_state=0).error(TEACHER) < 1e-10


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_large_and_small_units_are_no_error(scale):
    rec = fr.fit(X * scale, Y * scale, "relu", K, random_state=0, max_passes=1000)
    assert rec.error(TEACHER) < 1e-6


# ---------------------------------------------------------------------------------------------- command line


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", X=X, y=Y, nan=changed(X, (7, 2), np.nan), flat=ONES, short=Y[:-1], cube=X[None])
    np.savez("objects.npz", X=X.astype(object), y=Y)
    np.save("X.npy", X)
    Path("array.npz").write_bytes(Path("X.npy").read_bytes())
    np.save("y.npy", Y)
    np.save("objects.npy", Y.astype(object))
    Path("text.npy").write_text("no array")
    Path("text.npz").write_text("no archive")
    Path("d.dat").write_text("1 2 3")
    Path("empty.csv").write_text("")
    Path("title.csv").write_text("a,b\n")
    Path("one.csv").write_text("1\n2\n")
    Path("word.csv").write_text("a,b\n1,2\n3,four\n")
    Path("gap.csv").write_text("1,2\n3,4\n5,\n")
    Path("ragged.csv").write_text("a,b\n1,2\n3,4,5\n")
    Path("nan.csv").write_text("a,b\n" + "\n".join(f"{x},{x}" for x in (1.0, np.nan, *range(9))))
    Path("good.csv").write_text("size,age,price\n" + "\n".join(f"{i % 7},{i % 5},{i}" for i in range(40)))
    Path("binary.csv").write_bytes(bytes(range(128, 256)))
    (tmp_path / "sub").mkdir()
    return tmp_path


KK = ("-k", "2")
CLI_CASES = {
    "no command": ((), "command"),
    "unknown command": (("fitt",), "fit"),
    "no data": (("fit", *KK), "DATA"),
    "no n_hidden": (("fit", "d.npz"), "--n-hidden"),
    "n_hidden no number": (("fit", "d.npz", "-k", "two"), "--n-hidden", "two"),
    "n_hidden 0": (("fit", "d.npz", "-k", "0"), "n_hidden must be at least 1"),
    "n_hidden unresolvable": (("fit", "d.npz", "-k", "5", "--init", "tensor"), "n_hidden=5", "random"),
    "unknown option": (("fit", "d.npz", *KK, "--modell", "relu"), "--modell"),
    "unknown model": (("fit", "d.npz", *KK, "--model", "rellu"), "did you mean 'relu'"),
    "labels that are numbers": (("fit", "d.npz", *KK, "--model", "fcn"), "two labels, or lie in [0, 1]", "--model fcn"),
    "unknown init": (("fit", "d.npz", *KK, "--init", "tensr"), "did you mean 'tensor'"),
    "init file": (("fit", "d.npz", *KK, "--init", "w.npy"), "w.npy does not exist"),
    "unknown solver": (("fit", "d.npz", *KK, "--solver", "gdd"), "unknown solver 'gdd'"),
    "output weights": (("fit", "d.npz", *KK, "--output-weights=1,x"), "--output-weights", "1,x"),
    "unknown kernels": (("fit", "d.npz", *KK, "--kernels", "fortran"), "kernels must be one of", "fortran"),
    "tol": (("fit", "d.npz", *KK, "--tol", "0"), "tol must be positive"),
    "seed": (("fit", "d.npz", *KK, "--seed", "-1"), "random_state"),
    "jobs": (("fit", "d.npz", *KK, "--jobs", "0"), "n_jobs must not be 0"),
    "no file": (("fit", "none.npz", *KK), "none.npz does not exist"),
    "folder": (("fit", "sub", *KK), "sub is a folder"),
    "unknown suffix": (("fit", "d.dat", *KK), "d.dat", ".npy, .npz, .csv"),
    "x key": (("fit", "d.npz", *KK, "--x-key", "stim"), "--x-key", "'stim'", "it has: X, y, nan"),
    "y key": (("fit", "d.npz", *KK, "--y-key", "shor"), "--y-key", "did you mean 'short'"),
    "weight key": (("fit", "d.npz", *KK, "--weight-key", "w"), "--weight-key", "it has: X"),
    "responses short": (("fit", "d.npz", *KK, "--y-key", "short"), "300 rows", "(299,)"),
    "rows cube": (("fit", "d.npz", *KK, "--x-key", "cube"), "(1, 300, 4)"),
    "rows nan": (("fit", "d.npz", *KK, "--x-key", "nan"), "'nan' in d.npz must be finite, but row 7, column 2"),
    "responses flat": (("fit", "d.npz", *KK, "--y-key", "flat"), "y must vary"),
    "npz objects": (("fit", "objects.npz", *KK), "'X' in objects.npz holds Python objects"),
    "npz no archive": (("fit", "text.npz", *KK), "text.npz is not a readable .npz"),
    "npz array": (("fit", "array.npz", *KK), "array.npz is not a readable .npz"),
    "npy alone": (("fit", "X.npy", *KK), "X.npy holds rows only"),
    "npy key": (("fit", "X.npy", "y.npy", *KK, "--y-key", "y"), "--y-key"),
    "npy objects": (("fit", "X.npy", "objects.npy", *KK), "objects.npy holds Python objects"),
    "npy no array": (("fit", "text.npy", "y.npy", *KK), "text.npy is not a readable .npy"),
    "npy and npz": (("fit", "X.npy", "d.npz", *KK), "DATA2 must be a .npy file"),
    "npz and npy": (("fit", "d.npz", "y.npy", *KK), "DATA2", "--y-key"),
    "csv empty": (("fit", "empty.csv", *KK), "empty.csv: the file has no rows"),
    "csv title only": (("fit", "title.csv", *KK), "title.csv: the file has no rows"),
    "csv one column": (("fit", "one.csv", *KK), "one.csv: the file has one column"),
    "csv word": (("fit", "word.csv", *KK), "word.csv", "'four'", "line 3, column 2"),
    "csv gap": (("fit", "gap.csv", *KK), "gap.csv", "line 3, column 2"),
    "csv ragged": (("fit", "ragged.csv", *KK), "ragged.csv", "line 3 has 3 fields, and line 1 has 2"),
    "csv nan": (("fit", "nan.csv", "-k", "1"), "must be finite, but row 1"),
    "csv binary": (("fit", "binary.csv", *KK), "binary.csv is not a text file"),
    "csv y key": (("fit", "good.csv", *KK, "--y-key", "prize"), "did you mean 'price'", "size, age, price"),
    "csv y index": (("fit", "gap.csv", *KK, "--y-key", "2"), "no column '2'", "columns 0 to 1"),
    "csv x key": (("fit", "good.csv", *KK, "--x-key", "size"), "--x-key goes with .npz"),
    "csv same": (("fit", "good.csv", *KK, "--weight-key", "2"), "same column"),
    "lags 0": (("fit", "d.npz", *KK, "--lags", "0"), "--lags must be at least 1"),
    "lags many": (("fit", "d.npz", *KK, "--lags", "301"), "--lags", "300 frames"),
    "shift alone": (("fit", "d.npz", *KK, "--lag-shift", "1"), "--lag-shift needs --lags"),
    "shift negative": (
        ("fit", "d.npz", *KK, "--lags", "2", "--lag-shift", "-1"),
        "--lag-shift must not be negative",
    ),
    "range": (("fit", "d.npz", *KK, "--test-rows", "10"), "--test-rows", "0:1000", "'10'"),
    "range long": (
        ("fit", "d.npz", *KK, "--train-rows", "0:301"),
        "--train-rows 0:301 reaches beyond the 300 rows",
    ),
    "range empty": (("fit", "d.npz", *KK, "--train-rows", "9:9"), "holds no row"),
    "range all": (("fit", "d.npz", *KK, "--test-rows", ":"), "no row to fit"),
    "range middle": (("fit", "d.npz", *KK, "--test-rows", "9:99"), "--train-rows"),
    "ranges overlap": (("fit", "d.npz", *KK, "--train-rows", "0:200", "--test-rows", "-150:"), "overlap"),
    "output folder": (("fit", "d.npz", *KK, "-o", "none/rec.npz"), "none/rec.npz", "'none' does not exist"),
    "output is folder": (("fit", "d.npz", *KK, "-o", "sub"), "'sub'", "is a folder"),
    "output is input": (("fit", "d.npz", *KK, "-o", "sub/../d.npz"), "is an input"),
    "plot folder": (("fit", "d.npz", *KK, "--plot", "none/rec.png"), "none/rec.png"),
    "plot format": (("fit", "d.npz", *KK, "--plot", "rec.bmpp"), "rec.bmpp", "png"),
    "plot is output": (("fit", "d.npz", *KK, "-o", "r.png", "--plot", "r.png"), "same file"),
    "demo model": (("demo", "--model", "rellu"), "did you mean 'relu'"),
    "demo rows": (("demo", "--n", "0"), "n must be at least 1"),
    "demo noise": (("demo", "--noise", "-1", "--n", "1000"), "noise"),
    "demo plot": (("demo", "--plot", "none/demo.png"), "none/demo.png"),
}


@pytest.mark.parametrize("case", CLI_CASES)
def test_command_line_refuses(case, folder, capsys, monkeypatch):
    words, *parts = CLI_CASES[case]
    before = sorted(folder.rglob("*"))
    assert main([*words]) == 2
    out, err = capsys.readouterr()
    head = " ".join(["fastrecover", *(words[:1] if words and words[0] in ("fit", "demo") else ())])
    assert err.startswith(f"{head}: error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert out == ""
    for part in parts:
        assert part in err, err
    assert sorted(folder.rglob("*")) == before


def test_outputs_are_checked_before_the_data_are_read(folder, capsys):
    assert main(["fit", "none.npz", "-k", "2", "-o", "none/rec.npz"]) == 2
    assert "none/rec.npz" in capsys.readouterr().err


def test_unexpected_errors_keep_their_traceback(folder, monkeypatch):
    monkeypatch.setattr("fastrecover.cli.fit.fit", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["fit", "d.npz", "-k", "2"])


# ---------------------------------------------------------------------------------------------- interruption


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_interrupted_callback_leaves_the_process_usable(at, n_jobs):
    expected, threads = fr.fit(X, Y, "relu", K, random_state=0), blas_threads()
    steps = []

    def interrupt(event: dict) -> None:
        steps.append(event)
        if len(steps) > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fr.fit(X, Y, "relu", K, random_state=0, callback=interrupt, n_jobs=n_jobs)
    assert len(steps) == at + 1
    assert blas_threads() == threads
    again = fr.fit(X, Y, "relu", K, random_state=0, n_jobs=n_jobs)
    np.testing.assert_array_equal(again.weights, expected.weights)


def test_command_line_reports_an_interruption(folder, capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastrecover.cli.fit.fit", interrupted)
    assert main(["fit", "d.npz", "-k", "2", "-o", "rec.npz"]) == 130
    assert capsys.readouterr().err == "fastrecover fit: interrupted, nothing was written\n"
    assert not list(folder.glob("*rec*"))


LONG = """
    import sys
    import numpy as np
    import fastrecover as fr

    teacher = fr.datasets.make_teacher("relu", 40, 4, output_weights="ones", random_state=0)
    X, y = teacher.sample(20_000, noise=1.0, random_state=1)
    said = []

    def tell(event):
        if not said:
            said.append(1)
            print("started", flush=True)

    try:
        long = dict(init="random", solver="gd", tol=1e-300)
        fr.fit(X, y, "relu", 4, **long, random_state=0, n_jobs=2, callback=tell)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    rec = fr.fit(X[:2000], teacher.predict(X[:2000]), "relu", 4, random_state=0, n_jobs=2)
    print("error", rec.error(teacher) < 1e-8, flush=True)
"""


def test_process_interrupted_from_outside_fits_again():
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LONG)]
    # A shell that runs the tests in the background may have them ignore SIGINT, which children inherit.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    with process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out.split("\n")[:2] == ["interrupted", "error True"] and process.returncode == 0, out + err
