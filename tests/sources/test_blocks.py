"""Rows that a function reads take every way through a fit that rows of an array take, to the same bits."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.sources import ArraySource, BlockSource

SEED = np.random.SeedSequence(5)


class Files:
    """Two files of rows, one after the other, that remembers what was asked for."""

    def __init__(self, folder, x):
        self.cut = len(x) // 3
        for name, rows in (("a", x[: self.cut]), ("b", x[self.cut :])):
            np.save(folder / f"{name}.npy", rows)
        self.folder, self.asked = folder, []

    def __call__(self, start, stop):
        self.asked.append(stop - start)
        a, b = (np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in "ab")
        return np.concatenate([a[start:stop], b[max(start - self.cut, 0) : max(stop - self.cut, 0)]])


def source_of(folder, x, y=None, w=None, **options):
    return BlockSource(Files(folder, x), *x.shape, y, w, x.dtype, **options)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("relu", {}),
        ("tanh", {"inputs": "whiten"}),
        ("quadratic", {"fit_intercept": True}),
        ("relu", {"solver": "sgd", "max_passes": 20}),
        ("cnn", {"n_patches": 2, "n_hidden": None}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_fit_has_the_bits_of_one_on_an_array(tmp_path, model, options, dtype, weighted):
    planted = {"n_patches": 2} if model == "cnn" else {"n_hidden": 2}
    teacher = fr.datasets.make_teacher(model, n_features=6, random_state=0, **planted)
    x, y = teacher.sample(9000, noise=0.0 if model == "cnn" else 0.1, random_state=1, dtype=dtype)
    w = np.random.default_rng(2).integers(0, 3, len(x)).astype(float) if weighted else None
    given = {"n_hidden": 2, "random_state": 0, "n_jobs": 2, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fr.ConvergenceWarning)
        expected = fr.fit(x, y, model, sample_weight=w, **given)
        found = fr.fit(source_of(tmp_path, x, y, w), None, model, **given)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert (found.loss, found.n_passes, found.message) == (expected.loss, expected.n_passes, expected.message)


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("weights", [None, "few", "many"])
@pytest.mark.parametrize("m", [1, 40, 900, 5000])
def test_samples_are_those_of_an_array(tmp_path, m, weights, group, spaced):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((1001, 6)), rng.standard_normal(1001)
    w = None if weights is None else (rng.random(1001) < (0.2 if weights == "few" else 0.8)) * 1.5
    ours = source_of(tmp_path, x, y, w, group=group).sample(m, SEED, spaced=spaced)
    theirs = ArraySource(x, y, w, group).sample(m, SEED, spaced=spaced)
    for mine, other in zip(ours.read(0, ours.shape[0]), theirs.read(0, theirs.shape[0]), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("group", [1, 2])
def test_parts_patches_and_strides(tmp_path, group):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((1001, 4)), rng.standard_normal(1001)
    ours, theirs = (
        source_of(tmp_path, x, y, largest_copy=0, group=group),
        ArraySource(x, y, None, group, largest_copy=0),
    )
    for view in (
        lambda s: s.part(1, 3),
        lambda s: s.part(1, 3).part(0, 2),
        lambda s: s.patches(),
        lambda s: s.sample(90, SEED),
        lambda s: s.part(2, 3).sample(30, SEED),
        lambda s: s.patches().part(1, 2),
    ):
        mine, other = view(ours), view(theirs)
        n = mine.shape[0]
        assert mine.shape == other.shape
        for start, stop in ((0, n), (1, n - 1), (n - 1, n)):
            for a, b in zip(mine.read(start, stop), other.read(start, stop), strict=True):
                np.testing.assert_array_equal(a, b)


def test_rows_are_never_all_in_memory(tmp_path):
    """80 MB of rows: a fit holds blocks, a sub-sample and 16 bytes a row."""
    n, d = 100_000, 100
    x = np.random.default_rng(0).standard_normal((n, d))
    y = np.maximum(x[:, 0] + 0.5 * x[:, 1], 0.0) + 0.1 * np.random.default_rng(1).standard_normal(n)
    files = Files(tmp_path, x)
    fr.fit(x[:1000], y[:1000], "relu", n_hidden=1, random_state=0, n_jobs=2)  # what it imports is no row
    del x
    tracemalloc.start()
    try:
        rec = fr.fit(BlockSource(files, n, d, y), None, "relu", n_hidden=1, random_state=0, n_jobs=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rec.converged and peak < 24e6 and max(files.asked) < n // 4


def test_bad_sources():
    def rows(start, stop):
        return np.zeros((stop - start, 3))

    y = np.arange(10.0)
    with pytest.raises(ValueError, match=r"y is missing"):
        fr.fit(BlockSource(rows, 10, 3), None, "relu", n_hidden=1)
    with pytest.raises(ValueError, match=r"y is missing"):
        fr.fit(np.ones((10, 3)), model="relu", n_hidden=1)
    with pytest.raises(ValueError, match="constant columns"):
        fr.fit(BlockSource(rows, 10, 3, y), None, "relu", n_hidden=1)
    with pytest.raises(ValueError, match=r"rows 0 to 9 of the source must have shape \(10, 4\), got \(10, 3\)"):
        fr.fit(BlockSource(rows, 10, 4, y), None, "relu", n_hidden=1)

    def broken(start, stop):
        block = np.random.default_rng(start).standard_normal((stop - start, 3))
        block[:, 2] = np.where(np.arange(start, stop) == 6, np.nan, block[:, 2])
        return block

    with pytest.raises(ValueError, match="row 6, column 2 is nan"):
        fr.fit(BlockSource(broken, 10, 3, y), None, "relu", n_hidden=1)
