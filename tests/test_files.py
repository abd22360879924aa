"""Files of recoveries: whatever bytes a file holds, it is read right or refused by name; writing loses nothing.

Hostile files are built from good ones: bytes are changed, members are replaced, and headers say what no fit says.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastrecover as fr
from fastrecover.cli import main
from fastrecover.models import Classification, Parameters, Regression

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 3))
W = np.ones((1, 3))
TEACHER = fr.datasets.make_teacher("relu", 3, 1, random_state=0)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, bytes]:
    """Bytes of the file of a regression with all that one can hold, and of a classification with titles."""
    history = {"stage": ["all", "all"], "pass": [1, 2], "loss": [2, 1], "grad_norm": [1, 0], "rows": [9, 9]}
    fields = dict(loss=0.5, converged=True, message="converged", n_passes=2.0, n_rows=9, seconds=0.1)
    fields |= dict(history=history | {"seconds": [0, 0.1]}, info={"start": "given"})
    whole = Regression("softplus", 1, "free", True, True)
    regression = fr.Recovery(model=whole, parameters=Parameters(W, np.ones(1), np.ones(3), 0.5), **fields)
    classification = fr.Recovery(
        model=Classification(1),
        parameters=Parameters(W, np.ones(1)),
        classes=["hit", "miss"],
        feature_names=["x", "y", "z"],
        **fields,
    )
    found = {}
    for name, rec in (("regression", regression), ("classification", classification)):
        path = tmp_path_factory.mktemp("good") / name
        rec.save(path)
        assert fr.load(path).converged
        found[name] = path.read_bytes()
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def built(parts: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(a: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, a)
    return file.getvalue()


def claim(shape: str, descr: str = "'<f8'", data: bytes = b"\0" * 100) -> bytes:
    """An array that says it has this shape."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


def header_of(data: bytes) -> dict:
    return json.loads(np.load(io.BytesIO(members(data)["header.npy"])).tobytes())


def with_header(data: bytes, header: object) -> bytes:
    text = header if isinstance(header, str) else json.dumps(header)
    return built({**members(data), "header.npy": npy(np.frombuffer(text.encode(), np.uint8))})


def loaded_or_refused(data: bytes) -> fr.Recovery | None:
    """What a file of these bytes is read as; it must be a whole recovery, or be refused by name."""
    Path("some.npz").write_bytes(data)
    try:
        rec = fr.load("some.npz")
    except ValueError as error:
        assert "'some.npz'" in str(error)
        return None
    assert np.isfinite(rec.parameters.flat()).all() and np.isfinite([rec.n_passes, rec.seconds, rec.n_rows]).all()
    assert np.isfinite(rec.loss) or not rec.converged
    assert rec.predict(np.zeros((2, rec.n_features))).shape == (2,)
    assert rec.summary() and (rec.feature_names is None or len(rec.feature_names) == rec.n_features)
    return rec


# ------------------------------------------------------------------------------------------ damaged and hostile files


WRONG_HEADERS = {
    **{
        f"{value} for {key}": {key: value}
        for key in ("n_rows", "version", "n_passes", "seconds", "intercept", "loss")
        for value in (float("inf"), float("nan"), "many", None, [], True if key != "version" else {})
    },
    "rows": {"n_rows": -1},
    "half rows": {"n_rows": 1.5},
    "converged": {"converged": "no"},
    "message": {"message": 3},
    "info": {"info": [1, 2]},
    "model": {"model": None},
    "titles": {"feature_names": ["a"]},
    "titles of numbers": {"feature_names": [1, 2, 3]},
}


@pytest.mark.parametrize("case", WRONG_HEADERS)
def test_headers_that_no_fit_writes_are_refused(case, good, folder):
    for data in good.values():
        assert loaded_or_refused(with_header(data, header_of(data) | WRONG_HEADERS[case])) is None


WRONG_MODELS = [
    dict(loss="x"),
    dict(loss="cross-entropy"),
    dict(kind="x"),
    dict(kind="Classification"),
    dict(activation="x"),
    dict(activation=3),
    dict(n_hidden=2),
    dict(n_hidden=10**12),
    dict(n_hidden=1.0),
    dict(n_patches=0),
    dict(n_patches=2.5),
    dict(fit_intercept="yes"),
    dict(output_weights=[1.0, 2.0]),
    dict(output_weights=[float("nan")]),
    dict(slope=2.0),
    dict(more=1),
]


@pytest.mark.parametrize("change", WRONG_MODELS, ids=str)
def test_models_that_do_not_exist_are_refused(change, good, folder):
    data = good["regression"]
    header = header_of(data)
    header["model"] |= change
    assert loaded_or_refused(with_header(data, header)) is None


@pytest.mark.parametrize(
    "classes",
    [["a"], ["a", "a"], ["a", 1], [1, None], "ab", [[1], [2]], {"a": 1, "b": 2}, [0, float("nan")], [1, 2, 3]],
)
def test_classes_that_are_no_two_labels_are_refused(classes, good, folder):
    header = header_of(good["classification"])
    header["info"]["classes"] = classes
    assert loaded_or_refused(with_header(good["classification"], header)) is None


WRONG_MEMBERS = {
    "complex": npy(W * 1j),
    "dates": npy(W.astype("M8[s]")),
    "objects": npy(W.astype(object)),
    "text": npy(W.astype(str)),
    "integers": npy(W.astype(int)),
    "nan": npy(W * np.nan),
    "infinite": npy(W * np.inf),
    "long and too large": npy(np.full((1, 3), np.longdouble("1e400"))),
    "flat": npy(np.ones(3)),
    "more units": npy(np.ones((2, 3))),
    "no features": npy(np.ones((1, 0))),
    "records": npy(np.zeros((1, 3), "f8,i4")),
    "8 TB": claim("(1000000000000,)"),
    "more than can be counted": claim("(1, 100000000000000000000000)"),
    "negative": claim("(-1, -3)", data=b"\0" * 24),
    "a shape of text": claim("'abc'"),
    "no size": claim("(1000000000000, 3)", "'|S0'", b""),
    "nothing of much": claim("(0, 1000000000000000000000)", data=b""),
    "nested": claim("(" * 4000 + ")" * 4000),
    "code": claim("__import__('os').abort()"),
    "another version": b"\x93NUMPY\x09\x00" + npy(W)[8:],
    "cut": npy(W)[:-8],
    "longer": npy(W) + b"\0" * 8,
    "empty": b"",
}


@pytest.mark.parametrize("case", WRONG_MEMBERS)
@pytest.mark.parametrize("member", ["weights", "output_weights", "linear", "history_loss", "header"])
def test_arrays_that_no_fit_writes_are_refused(case, member, good, folder):
    if (member, case) in (("history_loss", "nan"), ("history_loss", "infinite"), ("linear", "flat")):
        return  # a step may have had such a loss, and a linear term is flat
    assert loaded_or_refused(built({**members(good["regression"]), f"{member}.npy": WRONG_MEMBERS[case]})) is None


def test_a_loss_that_is_not_finite_has_not_converged(good, folder):
    header = header_of(good["regression"]) | {"loss": float("inf"), "converged": False}
    assert loaded_or_refused(with_header(good["regression"], header)).loss == np.inf


@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_files_that_were_packed_again(packed, good, folder):
    for data in good.values():
        again = built(members(data), packed)
        rec = loaded_or_refused(again)
        assert (rec is not None) == (packed == zipfile.ZIP_DEFLATED)
        for at in range(0, len(again), 97):
            bent = bytearray(again)
            bent[at] ^= 255
            loaded_or_refused(bytes(bent))


def test_nothing_is_unpacked_that_is_not_needed_or_too_large(good, folder):
    parts = members(good["regression"])
    more = built({**parts, "more.npy": npy(np.ones(1000))})
    at = more.index(np.ones(1000).tobytes())
    bent = more[:at] + b"\1" + more[at + 1 :]
    assert loaded_or_refused(bent) is not None
    bomb = built({**parts, "weights.npy": npy(np.zeros((1, 20_000_000)))}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        assert loaded_or_refused(bomb) is None
        assert loaded_or_refused(built({**parts, "weights.npy": claim("(1, 1000000000)")})) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


FEW = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), min_size=1, max_size=4)


@FEW
@given(name=st.sampled_from(["regression", "classification"]), changes=CHANGES, end=st.floats(0, 1))
def test_any_bytes_are_read_or_refused(name, changes, end, good, folder):
    data = bytearray(good[name])
    for place, new in changes:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    loaded_or_refused(bytes(data[: int(len(data) * (0.5 + end))]))


@FEW
@given(name=st.sampled_from(["regression", "classification"]), data=st.data(), value=JSON)
def test_any_header_is_read_or_refused(name, data, value, good, folder):
    header = header_of(good[name])
    part = header[data.draw(st.sampled_from(["model", "info"]))] if data.draw(st.booleans()) else header
    part[data.draw(st.sampled_from(sorted(part)))] = value
    loaded_or_refused(with_header(good[name], header))


DTYPES = st.sampled_from(["<f8", ">f8", "<f4", "<f2", "<i8", "|u1", "?", "<c16", "<U3", "|S2", "M8[s]", "m8[D]"])


@FEW
@given(name=st.sampled_from(["regression", "classification"]), data=st.data())
def test_any_array_is_read_or_refused(name, data, good, folder):
    parts = members(good[name])
    member = data.draw(st.sampled_from(sorted(parts)))
    shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
    raw = np.frombuffer(data.draw(st.binary(min_size=27 * 16, max_size=27 * 16)), np.uint8)
    dtype = np.dtype(data.draw(DTYPES))
    array = np.ndarray(shape, dtype, raw.tobytes())
    if dtype.kind == "U":
        array = np.full(shape, "abc")
    parts[member] = npy(array)
    loaded_or_refused(built(parts))


# ------------------------------------------------------------------------------------------ writing


@pytest.fixture(scope="module")
def rec():
    return fr.fit(X, TEACHER.predict(X), "relu", 1, random_state=0)


def test_links_stay_links(rec, folder):
    Path("far").mkdir()
    Path("far/rec.npz").write_bytes(b"old")
    for link, to in (("link", "far/rec.npz"), ("link to link", "link"), ("dangling", "far/new.npz")):
        Path(link).symlink_to(to)
        rec.save(link)
        assert Path(link).is_symlink() and os.readlink(link) == to
        assert fr.load(Path(link).resolve()).weights.tolist() == rec.weights.tolist()
    assert sorted(os.listdir("far")) == ["new.npz", "rec.npz"]
    Path("lost").symlink_to("nowhere/rec.npz")
    with pytest.raises(FileNotFoundError, match="folder .*nowhere' does not exist"):
        rec.save("lost")
    Path("round").symlink_to("round")
    with pytest.raises(OSError, match="links lead nowhere"):
        rec.save("round")
    assert Path("round").is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755, 0o444])
def test_modes_are_kept(mode, rec, folder):
    Path("rec.npz").write_bytes(b"old")
    Path("rec.npz").chmod(mode)
    rec.save("rec.npz")
    assert stat.S_IMODE(Path("rec.npz").stat().st_mode) == mode and fr.load("rec.npz").n_hidden == 1


def test_new_files_have_the_mode_of_other_new_files(rec, folder):
    before = os.umask(0o027)
    try:
        rec.save("rec.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("rec.npz").stat().st_mode) == 0o640


def test_what_is_no_file_is_left_alone(rec, folder):
    os.mkfifo("pipe")
    for path in ("pipe", os.devnull):
        with pytest.raises(OSError, match="no regular file"):
            rec.save(path)
    assert Path("pipe").is_fifo() and Path(os.devnull).is_char_device()


def test_long_names_can_be_written(rec, folder):
    rec.save("r" * 250)
    assert os.listdir() == ["r" * 250]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("where", [(np, "savez"), (os, "fsync"), (os, "replace"), (shutil, "copymode")])
def test_failures_leave_no_files_and_the_old_one(error, where, rec, folder, monkeypatch):
    Path("rec.npz").write_bytes(b"old")

    def fails(*args, **options):
        raise error

    monkeypatch.setattr(*where, fails)
    with pytest.raises(type(error)):
        rec.save("rec.npz")
    monkeypatch.undo()
    assert os.listdir(folder) == ["rec.npz"] and (folder / "rec.npz").read_bytes() == b"old"


@pytest.mark.parametrize("json_wanted", [False, True])
@pytest.mark.parametrize("lost", ["save", "plot"])
def test_a_failed_write_does_not_lose_the_fit(lost, json_wanted, folder, capsys, monkeypatch):
    np.savez("d.npz", X=X, y=TEACHER.predict(X))

    def fails(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fr.Recovery, lost, fails)
    words = ["fit", "d.npz", "-k", "1", "-o", "rec.npz", "--plot", "rec.png", *(["--json"] if json_wanted else [])]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert err == "fastrecover fit: error: [Errno 28] No space left on device\n"
    kept = ["rec.npz"] if lost == "plot" else []
    if json_wanted:
        found = json.loads(out)
        assert found["converged"] and found["written"] == kept
    else:
        assert "converged" in out and [line for line in out.splitlines() if "wrote" in line] == [
            f"wrote {name}" for name in kept
        ]
    assert sorted(os.listdir()) == ["d.npz", *kept]


def test_a_reader_that_has_gone_does_not_lose_the_fit(folder, monkeypatch):
    np.savez("d.npz", X=X, y=TEACHER.predict(X))

    def gone(*args, **options):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    monkeypatch.setattr(os, "dup2", lambda *files: None)
    assert main(["fit", "d.npz", "-k", "1", "-o", "rec.npz"]) == 1
    assert fr.load("rec.npz").converged


DAMAGED = {
    "cut": lambda data: data[: len(data) // 2],
    "bent": lambda data: data.replace(b"\x93NUMPY", b"\x93NUMPU"),
    "8 TB": lambda data: built({**members(data), "y.npy": claim("(1000000000000,)")}),
    "locked": lambda data: re.sub(rb"(PK\x01\x02.{4}).", lambda found: found[1] + b"\x01", data, flags=re.DOTALL),
    "lzma": lambda data: built(members(data), zipfile.ZIP_LZMA).replace(b"\x05\x00\x5d", b"\x05\x00\xff"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_data_are_refused_in_one_line(case, folder, capsys):
    np.savez("d.npz", X=X, y=X[:, 0])
    Path("d.npz").write_bytes(DAMAGED[case](Path("d.npz").read_bytes()))
    assert main(["fit", "d.npz", "-k", "1"]) == 2
    err = capsys.readouterr().err
    assert "d.npz" in err and "is not a readable" in err and err.count("\n") == 1
