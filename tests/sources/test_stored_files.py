"""Files are read as arrays of the same rows are, to the same bits; what is wrong with one is told with its place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from stored_rows import TITLES, D, N, planted, read_in_blocks, same_fit, same_rows

import fastrecover as fr
from fastrecover.sources import ArraySource, BlockSource, ahead, files
from fastrecover.sources import open as opened

COLUMNS = {"columns": TITLES, "target": "y"}


def frame(x, y):
    return pd.DataFrame(x, columns=TITLES).assign(y=y, word="w")


def several(folder, table):
    (folder / "d").mkdir()
    for i, cut in enumerate((0, 2500, 2600, 7000)):
        parquet.write_table(
            table.slice(cut, (2500, 100, 4400, N)[i]), folder / "d" / f"{i}.parquet", row_group_size=999
        )


def text_and_numbers(folder, x, y):
    table = pa.Table.from_pandas(frame(x, y))
    parquet.write_table(table, folder / "d.parquet", row_group_size=1000)
    feather.write_feather(table, folder / "d.feather", chunksize=700, compression="zstd")
    feather.write_feather(table, folder / "d.arrow", chunksize=4000, compression="uncompressed")
    several(folder, table)


def arrays(folder, x, y):
    np.save(folder / "x.npy", x)
    np.save(folder / "f.npy", np.asfortranarray(x))
    np.save(folder / "y.npy", y)
    np.savez(folder / "d.npz", X=x, y=y, stim=x)
    np.savez_compressed(folder / "c.npz", X=x, y=y)


KINDS = {
    "npy": lambda: ("x.npy", "y.npy"),
    "npy by columns": lambda: ("f.npy", "y.npy"),
    "path": lambda: (Path("x.npy"), Path("y.npy")),
    "npz": lambda: ("d.npz", None),
    "npz compressed": lambda: ("c.npz", None),
    "npz keys": lambda: (opened("d.npz", "stim", target="y"), None),
    "y of a source": lambda: ("x.npy", opened("y.npy")),
    "parquet": lambda: (opened("d.parquet", **COLUMNS), None),
    "feather": lambda: (opened("d.feather", **COLUMNS), None),
    "arrow": lambda: (opened("d.arrow", **COLUMNS), None),
    "folder": lambda: (opened("d", **COLUMNS), None),
    "function": lambda: (fr.sources.from_blocks(lambda a, b: np.load("x.npy")[a:b], N, np.load("y.npy")), None),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def data(folder):
    x, y = planted()
    arrays(folder, x, y)
    text_and_numbers(folder, x, y)
    return x, y


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_has_the_bits_of_one_on_arrays(kind, data, monkeypatch):
    read_in_blocks(monkeypatch)
    found = same_fit(KINDS[kind](), *data)
    titled = kind in ("parquet", "feather", "arrow", "folder")
    assert found.feature_names == (TITLES if titled else None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "y of a source"])
def test_rows_and_sub_samples_are_those_of_an_array(kind, data, monkeypatch):
    read_in_blocks(monkeypatch)
    source = files.as_source(KINDS[kind]()[0])
    assert isinstance(source, BlockSource)
    same_rows(source, data[0])
    same_rows(replace(source, largest_copy=0), data[0])
    monkeypatch.setattr("fastrecover.sources.blocks._HELD", 0)
    same_rows(replace(source, largest_copy=0), data[0])


def test_small_files_are_read_whole(data):
    assert isinstance(opened("x.npy"), ArraySource)
    found = same_fit((opened("d.parquet", **COLUMNS), None), *data)
    assert found.feature_names == TITLES


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i4", "?"])
def test_numbers_are_converted_block_by_block(dtype, folder, monkeypatch):
    read_in_blocks(monkeypatch)
    x = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 100, (4000, 5)).astype(dtype)
    np.save("x.npy", x)
    source = opened("x.npy")
    expected = fr.sources.as_source(x)
    assert source.dtype == expected.dtype and source.rows(0, 3).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(source.read(10, 3000).x, expected.read(10, 3000).x)
    assert opened("x.npy", dtype="float32").read(0, 5).x.dtype == np.float32


def test_responses_and_weights_lie_with_the_rows(folder, monkeypatch):
    read_in_blocks(monkeypatch)
    x, y = planted(np.float64)
    w = np.random.default_rng(2).integers(0, 3, N).astype(float)
    np.save("all.npy", np.c_[x[:, :2], y, x[:, 2:], w])
    same_fit((opened("all.npy", target=2, weight=-1), None), x, y, sample_weight=w)
    np.savez("d.npz", X=x, y=y, w=w, both=np.c_[y, -y])
    same_fit((opened("d.npz", weight="w"), None), x, y, sample_weight=w)
    np.testing.assert_array_equal(opened("d.npz", target="both").targets()[0], np.c_[y, -y])
    np.testing.assert_array_equal(opened("d.npz", columns=[3, 1]).read(5, 900).x, x[5:900, [3, 1]])
    parquet.write_table(pa.Table.from_pandas(frame(x, y).assign(w=w)), "d.parquet")
    same_fit((opened("d.parquet", **COLUMNS, weight="w"), None), x, y, sample_weight=w)
    source = opened("d.parquet", columns=["f", "a"], target=["y", "w"])
    np.testing.assert_array_equal(source.targets()[0], np.c_[y, w])
    np.testing.assert_array_equal(source.read(0, N).x, x[:, [5, 0]])
    assert source.column_names == ["f", "a"]


def test_labels_may_be_text(folder, monkeypatch):
    read_in_blocks(monkeypatch)
    teacher = fr.datasets.make_teacher("fcn", D, 2, norms=3.0, random_state=0)
    x, drawn = teacher.sample(3000, random_state=1)
    labels = np.where(drawn > 0, "yes", "no")
    table = pd.DataFrame(x, columns=TITLES).assign(y=labels, kind=pd.Categorical(labels))
    parquet.write_table(pa.Table.from_pandas(table), "d.parquet", row_group_size=777)
    np.savez("d.npz", X=x, y=labels)
    expected = fr.fit(x, labels, "fcn", 2, random_state=0)
    for given in (
        opened("d.parquet", columns=TITLES, target="y"),
        opened("d.parquet", columns=TITLES, target="kind"),
        "d.npz",
    ):
        found = fr.fit(given, None, "fcn", 2, random_state=0)
        np.testing.assert_array_equal(found.weights, expected.weights)
        assert found.classes.tolist() == ["no", "yes"]


def test_whatever_takes_rows_takes_files(data, monkeypatch):
    read_in_blocks(monkeypatch)
    x, y = data
    rec = fr.fit(x, y, "relu", 2, random_state=0)
    np.testing.assert_array_equal(rec.predict("x.npy"), rec.predict(x))
    np.testing.assert_array_equal(rec.decision_function(opened("d.parquet", columns=TITLES)), rec.predict(x))
    np.testing.assert_array_equal(rec.hidden("x.npy"), rec.hidden(x))
    assert rec.score("x.npy", "y.npy") == rec.score(x, y)
    for moment in (fr.moments.first, fr.moments.second, fr.moments.third):
        np.testing.assert_array_equal(moment("x.npy", "y.npy"), moment(x, y))
        np.testing.assert_array_equal(moment("d.npz", None), moment(x, y))
    ours, theirs = (fr.objective(*pair, "relu", 2, output_weights="free") for pair in (("x.npy", "y.npy"), (x, y)))
    assert ours.value(np.ones(14)) == theirs.value(np.ones(14))
    titled = fr.fit(opened("d.parquet", **COLUMNS), None, "relu", 2, random_state=0)
    with pytest.raises(ValueError, match="the fit did not have 'y'"):
        titled.predict(opened("d.parquet", columns=[*TITLES, "y"]))


def refused(match, call, kind=ValueError):
    with pytest.raises(kind, match=match):
        call()


def test_what_is_not_there_is_named(data, folder):
    np.save("square.npy", np.zeros((3, 3, 3)))
    np.save("text.npy", np.array([["a"]]))
    np.save("objects.npy", np.array([[{}]]), allow_pickle=True)
    Path("odd.npy").write_bytes(b"not an array")
    Path("odd.npz").write_bytes(b"no archive")
    Path("odd.parquet").write_bytes(b"no table")
    Path("odd.feather").write_bytes(b"no table")
    Path("x.csv").write_text("1,2\n")
    Path("x.txt").write_text("1,2\n")
    refused("no.npy does not exist", lambda: fr.fit("no.npy", "y.npy", "relu", 2), FileNotFoundError)
    refused(r"d.npz has no array 'stin'; did you mean 'stim'\? \(it has: X, y, stim\)", lambda: opened("d.npz", "stin"))
    refused("d.npz has no array 'z'", lambda: opened("d.npz", target="z"))
    refused("x.npy is one array or table without keys", lambda: opened("x.npy", "X"))
    refused(
        r"no column 'aa'; did you mean 'a'\? \(it has: a, b, c, d, e, f, y, word\)",
        lambda: opened("d.arrow", columns=["aa"]),
    )
    refused("columns are named twice", lambda: opened("d.arrow", columns=["a", "a"]))
    refused(r"x.npy has no column 6 \(it has: 0 to 5\)", lambda: opened("x.npy", target=6))
    refused(r"x.npy has no column 'y' \(it has: 0 to 5\)", lambda: opened("x.npy", target="y"))
    refused("no column left", lambda: opened("y.npy", target=0))
    refused("column 'word' has type .*string: name the columns", lambda: opened("d.parquet", target="y"), TypeError)
    refused("y is missing.*target=", lambda: fr.fit("x.npy", None, "relu", 2))
    refused(r"shape \(n_rows, n_features\), got \(3, 3, 3\)", lambda: opened("square.npy"))
    refused("text.npy must hold real numbers: got dtype <U1", lambda: opened("text.npy"), TypeError)
    refused("objects.npy holds Python objects", lambda: opened("objects.npy"))
    refused(r"odd.npy is not a readable .npy file", lambda: opened("odd.npy"))
    refused(r"odd.npz is not a readable .npz file", lambda: opened("odd.npz"))
    refused("odd.parquet is not a readable Parquet file", lambda: opened("odd.parquet"))
    refused("odd.feather is not a readable Arrow file", lambda: opened("odd.feather"))
    refused("x.csv: .csv files are read on the command line", lambda: opened("x.csv"))
    refused("cannot tell what x.txt is: its name must end in .npy, .npz", lambda: opened("x.txt"))
    refused("9000 rows, and the responses have shape \\(3,\\)", lambda: _archive_of_other_length())
    refused("y has 3 entries but X has 9000 rows", lambda: fr.fit("x.npy", np.ones(3), "relu", 2))
    refused("dtype must be float32 or float64", lambda: opened("x.npy", dtype=np.int8))
    refused("data must be a path", lambda: opened(3), TypeError)
    refused("n_rows must be a positive integer", lambda: fr.sources.from_blocks(lambda a, b: np.ones((b - a, 2)), 0))
    refused(r"must return an array of shape \(1, n_features\)", lambda: fr.sources.from_blocks(lambda a, b: [1], 5))
    refused("must be callable", lambda: fr.sources.from_blocks(3, 5), TypeError)


def _archive_of_other_length():
    np.savez("short.npz", X=np.load("x.npy"), y=np.ones(3))
    opened("short.npz")


@pytest.mark.parametrize("whole", [True, False])
def test_numbers_that_are_not_finite_are_named_with_file_row_and_column(whole, data, monkeypatch):
    if not whole:
        read_in_blocks(monkeypatch)
    x, y = data
    x[7123, 4] = np.nan
    np.save("x.npy", x)
    columns = dict(zip(TITLES, x.T, strict=True))
    parquet.write_table(pa.table(columns | {"y": y}), "d.parquet", row_group_size=1000)
    refused("x.npy must be finite, but row 7123, column 4 is nan", lambda: fr.fit("x.npy", "y.npy", "relu", 2))
    source = opened("d.parquet", **COLUMNS)
    refused("d.parquet must be finite, but row 7123, column 'e' is nan", lambda: fr.fit(source, None, "relu", 2))
    y[5] = np.inf
    np.save("y.npy", y)
    refused("y.npy: y must be finite, but row 5 is inf", lambda: fr.fit("f.npy", "y.npy", "relu", 2))


def test_missing_values_and_ragged_tables(folder):
    table = pa.table({"a": [1.0, 2.0, None], "b": [1.0, 2.0, 3.0]})
    parquet.write_table(table, "gap.parquet", row_group_size=2)
    refused("gap.parquet has missing values, the first in column 'a', row 2", lambda: opened("gap.parquet"))
    Path("d").mkdir()
    parquet.write_table(pa.table({"a": [1.0], "b": [1.0]}), "d/0.parquet")
    parquet.write_table(pa.table({"a": [1.0]}), "d/1.parquet")
    refused("1.parquet has no column 'b', which 0.parquet has", lambda: opened("d"))
    parquet.write_table(pa.table({"a": [1.0], "b": [1]}), "d/1.parquet")
    refused("1.parquet: column 'b' has type int64, and double in 0.parquet", lambda: opened("d"))
    Path("empty").mkdir()
    refused("empty is a folder without a file whose name ends in .parquet", lambda: opened("empty"))


def test_files_that_end_early(data, monkeypatch):
    read_in_blocks(monkeypatch)
    whole = Path("x.npy").stat().st_size
    source = opened("x.npy")
    os.truncate("x.npy", whole - 4 * D * 100 - 1)
    with pytest.raises(ValueError, match="x.npy ends early: it has become shorter, and ends in row 8899"):
        fr.fit(source, "y.npy", "relu", 2)
    refused("x.npy ends early: its head says 9000 rows, and only 8899 are there", lambda: opened("x.npy"))
    with open("d.parquet", "rb") as file:
        content = bytearray(file.read())
    source = opened("d.parquet", **COLUMNS)
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    Path("d.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"d.parquet: rows \d+000 to \d+999 cannot be read"):
        source.read(0, N)


def test_units_are_read_once_a_pass_and_ahead(folder, monkeypatch):
    """What comes next is asked for before the block at hand is used, and nothing is read twice in a pass."""
    read_in_blocks(monkeypatch)
    asked, begun = [], threading.Event()

    def rows(start, stop):
        asked.append((start, stop))
        if start > 0:
            begun.set()
        return np.zeros((stop - start, 4), np.float32)

    source = fr.sources.from_blocks(rows, 50_000)
    asked.clear()
    source.read(0, 10)
    assert begun.wait(60), "the next unit is read though nobody has asked for it"
    begun.clear()
    for start in range(10, 50_000, 500):
        source.read(start, min(start + 500, 50_000))
    assert len(asked) == len(set(asked)) and sorted(asked)[0][0] == 0 and max(asked)[1] == 50_000
    assert sum(stop - start for start, stop in asked) == 50_000


def test_few_rows_far_apart_do_not_read_the_file(folder, monkeypatch):
    read_in_blocks(monkeypatch)
    asked = []

    def rows(start, stop):
        asked.append(stop - start)
        return np.arange(start, stop, dtype=np.float64)[:, None] + np.zeros((1, 4000))

    source = fr.sources.from_blocks(rows, 1_000_000)
    asked.clear()
    few = source.sample(50, np.random.SeedSequence(0))
    assert few.shape[0] == 50 and sum(asked) < 60
    assert len(np.unique(few.read(0, 50).x[:, 0])) == 50


def test_errors_of_a_function_reach_the_caller_and_pass(folder, monkeypatch):
    read_in_blocks(monkeypatch)
    broken = threading.Event()

    def rows(start, stop):
        if broken.is_set():
            raise OSError("the disk is gone")
        return np.ones((stop - start, 3))

    source = fr.sources.from_blocks(rows, 50_000)
    broken.set()
    refused("the disk is gone", lambda: source.read(0, 50_000), OSError)
    broken.clear()
    assert source.read(0, 50_000).x.shape == (50_000, 3)


def test_a_forked_child_reads_too(data, monkeypatch):
    read_in_blocks(monkeypatch)
    source = opened("x.npy")
    source.read(0, N)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        same = np.array_equal(source.read(0, N).x, data[0])
        os.write(writer, b"1" if same else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"1"


MEMORY = r"""
import re, resource, warnings
from pathlib import Path
import numpy as np
import fastrecover as fr
warnings.simplefilter("ignore")

def peak():  # kilobytes; getrusage counts what the parent held as well, where the system does not tell more
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

x, y = np.load("small.npy"), np.load("small_y.npy")
fr.fit(x, y, "relu", 1, random_state=0, n_jobs=2)
before = peak()
rec = fr.fit("x.npy", "y.npy", "relu", 1, random_state=0, n_jobs=2)
print((peak() - before) // 1024, rec.converged)
"""


def test_a_file_is_never_all_in_memory(folder):
    """320 MB: a fit holds 64 MB of it, a sub-sample, what its threads work on, and 32 bytes a row."""
    n, d = 160_000, 500
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap("x.npy", "w+", np.float32, (n, d))
    some = rng.standard_normal((n // 10, d), np.float32)
    for i in range(10):
        x[i * len(some) : (i + 1) * len(some)] = np.roll(some, 7 * i, axis=1)
    y = np.maximum(x[:, 0] + 0.5 * x[:, 1], 0.0) + 0.1 * rng.standard_normal(n)
    np.save("y.npy", y)
    np.save("small.npy", x[:2000, :20])
    np.save("small_y.npy", y[:2000])
    x.flush()
    del x
    path = os.pathsep.join(filter(None, [str(Path(fr.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    used, converged = done.stdout.split()
    assert converged == "True" and int(used) < 160, used


def test_threads_share_a_file(folder, monkeypatch):
    """More units than are held, and passes that end while others read."""
    monkeypatch.setattr(ahead, "_NUMBERS", 64)
    monkeypatch.setattr(ahead, "_MEMORY", 64 * 8 * 4)
    x = np.arange(4000.0).reshape(1000, 4)
    source = fr.sources.from_blocks(lambda a, b: x[a:b], 1000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as pool:
            starts = [range(0, 1000, 16)] * 3
            read = pool.map(lambda each: [source.read(a, min(a + 16, 1000)).x for a in each], starts * 20)
            for blocks in read:
                np.testing.assert_array_equal(np.concatenate(blocks), x)
    finally:
        sys.setswitchinterval(interval)


def test_several_responses_and_columns_that_are_named_twice(folder):
    x, a, b = np.eye(3), np.arange(3.0), np.ones(3)
    np.savez("d.npz", X=x, a=a, b=b)
    found = fr.sources.open("d.npz", "X", target=["a", "b"]).targets()[0]
    np.testing.assert_array_equal(found, np.column_stack([a, b]))
    assert fr.sources.open("d.npz", "X", target=()).targets()[0] is None
    refused("named by their keys", lambda: fr.sources.open("d.npz", "X", target=0))
    table = pa.table({"a": a, "b": b, "c": b})
    parquet.write_table(table, "T.PARQUET")
    assert fr.sources.open("T.PARQUET", target="c").shape == (3, 2)
    refused("name it once", lambda: fr.sources.open("T.PARQUET", columns=["a", "c"], target="c"))
    refused("name it once", lambda: fr.sources.open("T.PARQUET", target="c", weight="c"))
    parquet.write_table(pa.Table.from_arrays([pa.array(a), pa.array(b)], names=["a", "a"]), "twice.parquet")
    refused("the column 'a' twice", lambda: fr.sources.open("twice.parquet"))
    refused("dtype must be float32 or float64, got 'foo'", lambda: fr.sources.open("d.npz", "X", dtype="foo"))
    refused("one for each is needed", lambda: fr.sources.from_blocks(lambda a, b: x[a:b], 3, 3.0))


def test_scores_take_weights_from_files(folder):
    teacher = fr.datasets.make_teacher("relu", 4, 2, random_state=0)
    X, y = teacher.sample(300, noise=0.1, random_state=1)
    w = np.random.default_rng(0).uniform(0.5, 2.0, 300)
    np.save("w.npy", w)
    rec = fr.fit(X, y, "relu", 2, random_state=0)
    assert rec.score(X, y, "w.npy") == rec.score(X, y, w)
