"""HDF5 data sets are read as arrays of the same rows are, whether chunked, packed or contiguous."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from stored_rows import D, planted, read_in_blocks, same_fit, same_rows

import fastrecover as fr
from fastrecover.cli import main
from fastrecover.sources import open as opened

LAYOUTS = {
    "contiguous": {},
    "chunks": dict(chunks=(700, D)),
    "packed": dict(chunks=(1000, 4), compression="gzip", shuffle=True),
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read_in_blocks(monkeypatch)
    return planted()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fit_has_the_bits_of_one_on_arrays(layout, data):
    x, y = data
    with h5py.File("d.h5", "w") as file:
        file.create_dataset("X", data=x, **LAYOUTS[layout])
        file.create_dataset("cell/stim", data=x, **LAYOUTS[layout])
        file["y"], file["cell/spikes"] = y, y
    same_fit(("d.h5", None), x, y)
    same_fit((opened("d.h5", "cell/stim", target="cell/spikes"), None), x, y)
    same_rows(opened("d.h5"), x)
    with h5py.File("d.h5") as file:
        same_fit((file["X"], file["y"]), x, y)


def test_the_command_line_reads_it(data, capsys):
    x, y = data
    with h5py.File("d.h5", "w") as file:
        file.create_dataset("cell/stim", data=x, chunks=(700, D), compression="gzip")
        file["y"] = y
    words = ["d.h5", "--x-key", "cell/stim"]
    assert main(["fit", *words, "-k", "2", "-o", "rec.npz"]) == 0
    expected = fr.fit(x, y, "relu", 2, random_state=0)
    np.testing.assert_array_equal(fr.load("rec.npz").weights, expected.weights)
    assert main(["predict", "rec.npz", *words, "-o", "p.npy"]) == 0
    np.testing.assert_array_equal(np.load("p.npy"), expected.predict(x))


def test_stimuli_of_one_byte_and_labels_of_text(data):
    x = np.random.default_rng(0).integers(-1, 2, (3000, D)).astype(np.int8)
    labels = np.where(x[:, 0] + 0.4 * x[:, 1] + np.random.default_rng(1).logistic(size=3000) > 0, "spike", "none")
    with h5py.File("d.h5", "w") as file:
        file.create_dataset("X", data=x, chunks=(500, D), compression="gzip")
        file.create_dataset("y", data=labels.tolist())
        file.create_dataset("bytes", data=labels.astype("S"))
    expected = fr.fit(x, labels, "tanh", 1, loss="logistic", random_state=0, restarts=3)
    for target in ("y", "bytes"):
        found = fr.fit(opened("d.h5", target=target), None, "tanh", 1, loss="logistic", random_state=0, restarts=3)
        np.testing.assert_array_equal(found.weights, expected.weights)
    assert opened("d.h5").dtype == np.float64 and opened("d.h5", dtype="float32").dtype == np.float32


def test_what_is_wrong_is_named(data):
    x, y = data
    with h5py.File("d.h5", "w") as file:
        file.create_dataset("cell/stim", data=x, chunks=(700, D), compression="gzip")
        file["y"] = y
    with pytest.raises(ValueError, match=r"'cell/stin'; did you mean 'cell/stim'\? \(it has: cell/stim, y\)"):
        opened("d.h5", "cell/stin")
    Path("odd.h5").write_bytes(b"no such file")
    with pytest.raises(ValueError, match="odd.h5 is not a readable HDF5 file"):
        opened("odd.h5")
