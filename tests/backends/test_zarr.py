"""Zarr stores of either version are read as arrays of the same rows are, whatever their chunks and codecs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from stored_rows import D, N, planted, read_in_blocks, same_fit, same_rows

import fastrecover as fr
from fastrecover.cli import main
from fastrecover.sources import open as opened

STORES = {
    "chunks": dict(chunks=(700, D)),
    "chunks of columns": dict(chunks=(1000, 4)),
    "shards": dict(chunks=(100, D), shards=(2000, D)),
    "one chunk": dict(chunks=(N, D)),
    "plain": dict(chunks=(512, D), compressors=None),
    "version 2": dict(chunks=(700, D), zarr_format=2),
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read_in_blocks(monkeypatch)
    return planted()


def written(x, y, zarr_format=3, **options):
    group = zarr.open_group("d.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("X", shape=x.shape, dtype=x.dtype, **options)[:] = x
    group.create_array("y", shape=y.shape, dtype=y.dtype, chunks=(1100,))[:] = y
    return group


@pytest.mark.parametrize("store", STORES)
def test_a_fit_has_the_bits_of_one_on_arrays(store, data):
    x, y = data
    group = written(x, y, **STORES[store])
    same_fit(("d.zarr", None), x, y)
    same_fit((group["X"], group["y"]), x, y)
    same_rows(opened("d.zarr"), x)


def test_one_array_is_a_store_too(data):
    x, y = data
    zarr.save_array("x.zarr", x.astype(np.float16))
    np.save("y.npy", y)
    found = opened("x.zarr")
    assert found.dtype == np.float32
    same_fit(("x.zarr", "y.npy"), x.astype(np.float16), y)


def test_the_command_line_reads_it(data, capsys):
    x, y = data
    written(x, y, chunks=(700, D))
    zarr.save_array("x.zarr", x)
    np.save("y.npy", y)
    expected = fr.fit(x, y, "relu", 2, random_state=0)
    for files in (["d.zarr"], ["x.zarr", "y.npy"]):
        assert main(["fit", *files, "-k", "2", "-o", "rec.npz"]) == 0
        np.testing.assert_array_equal(fr.load("rec.npz").weights, expected.weights)
    assert main(["predict", "rec.npz", "x.zarr", "-o", "p.npy"]) == 0
    np.testing.assert_array_equal(np.load("p.npy"), expected.predict(x))


def test_a_chunk_is_unpacked_once_for_a_sub_sample(data, monkeypatch):
    x, y = data
    written(x, y, chunks=(700, D))
    source, asked = opened("d.zarr"), []
    read = type(source.rows.rows).read
    monkeypatch.setattr(type(source.rows.rows), "read", lambda self, a, b: asked.append((a, b)) or read(self, a, b))
    source.sample(900, np.random.SeedSequence(0))
    assert len(asked) == len(set(asked)) == len(source.rows.edges) - 1


def test_what_is_wrong_is_named(data):
    x, y = data
    written(x, y, chunks=(700, D))
    with pytest.raises(ValueError, match=r"d.zarr has no array 'x'.* \(it has: X, y\)"):
        opened("d.zarr", "x")
    Path("odd.zarr").mkdir()
    with pytest.raises(ValueError, match="odd.zarr is not a readable Zarr store"):
        opened("odd.zarr")
    source = opened("d.zarr")
    chunk = next(path for path in Path("d.zarr/X/c").rglob("*") if path.is_file())
    chunk.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"X.*: rows \d+ to \d+ cannot be read"):
        fr.fit(source, None, "relu", 2)
    shutil.rmtree("d.zarr")
