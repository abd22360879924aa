"""Rows that are written to files of many kinds, and what must hold of each kind, as an array of the same rows shows."""

from __future__ import annotations

import warnings

import numpy as np

import fastrecover as fr
from fastrecover.sources import files

N, D, TITLES = 9000, 6, list("abcdef")


def planted(dtype=np.float32):
    """Rows and noisy responses."""
    teacher = fr.datasets.make_teacher("relu", D, 2, random_state=0)
    return teacher.sample(N, noise=0.1, random_state=1, dtype=dtype)


def read_in_blocks(monkeypatch, numbers=1 << 12):
    """Nothing is read whole, and units and what is held of them are small."""
    monkeypatch.setattr(files, "_SMALL", 0)
    monkeypatch.setattr("fastrecover.sources.flat._CHECKED", 0)
    monkeypatch.setattr("fastrecover.sources.ahead._NUMBERS", numbers)
    monkeypatch.setattr("fastrecover.sources.ahead._MEMORY", 16 * numbers)


def same_fit(given, x, y, **options):
    """A fit of what is given has the bits of one on arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fr.ConvergenceWarning)
        expected = fr.fit(x, y, "relu", 2, random_state=0, n_jobs=2, **options)
        found = fr.fit(*given, model="relu", n_hidden=2, random_state=0, n_jobs=2, **options)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert (found.loss, found.n_passes, found.message) == (expected.loss, expected.n_passes, expected.message)
    return found


def same_rows(source, x):
    """Blocks, sub-samples, parts and strides are those of an array."""
    theirs, seed = fr.sources.ArraySource(x, largest_copy=source.largest_copy), np.random.SeedSequence(5)
    n = len(x)
    for view in (
        lambda s: s,
        lambda s: s.part(1, 3),
        lambda s: s.sample(300, seed),
        lambda s: s.sample(n // 3, seed),
        lambda s: s.part(2, 3).sample(n // 9, seed),
        lambda s: s.sample(40, seed, spaced=True),
    ):
        mine, other = view(source), view(theirs)
        assert mine.shape == other.shape
        count = mine.shape[0]
        for start, stop in ((0, count), (1, count - 1), (count - 1, count), (count // 2, count // 2 + 7)):
            np.testing.assert_array_equal(mine.read(start, stop).x, other.read(start, stop).x)
