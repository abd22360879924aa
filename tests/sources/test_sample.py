"""Sub-samples: drawn at random and copied while small, every s-th row as a view where a copy would be large."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.engines import ThreadEngine
from fastrecover.models import Regression
from fastrecover.sources import ArraySource
from fastrecover.sweeps import Objective

N, D = 1003, 6
SEED = np.random.SeedSequence(5)


#: A source that takes every copy for a large one.
large = partial(ArraySource, largest_copy=0)


def rows_of(n=N, d=D, dtype=np.float64):
    """Rows that begin with their number."""
    x = np.random.default_rng(0).standard_normal((n, d)).astype(dtype)
    x[:, 0] = np.arange(n)
    return x


def numbers(source):
    return source.x[:: source.group, 0].astype(int)


def check(source, sampled):
    """Responses and weights are those of the sampled rows."""
    rows = numbers(sampled)
    np.testing.assert_array_equal(sampled.x[:: sampled.group], source.x[:: source.group][rows])
    for old, new in ((source.y, sampled.y), (source.w, sampled.w)):
        assert old is None or (new.flags.c_contiguous and np.array_equal(new, old[rows]))
    return rows


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("m", [1, 50, 333, 334, 501])
def test_large_samples_are_views_of_every_sth_row(m, dtype):
    source = large(rows_of(dtype=dtype), np.random.default_rng(1).standard_normal(N))
    few = source.sample(m, SEED)
    rows = check(source, few)
    assert np.shares_memory(few.x, source.x)
    assert set(np.diff(rows)) <= {N // m} and rows[0] < N // m and rows[-1] + N // m >= N
    assert m <= len(rows) < 2 * m + 1


def test_more_than_half_of_the_rows_are_all_of_them():
    source = large(rows_of(), np.zeros(N))
    assert source.sample(502, SEED) is source and source.sample(N, SEED) is source


def test_the_first_row_is_drawn():
    first = {numbers(large(rows_of()).sample(10, np.random.SeedSequence(seed)))[0] for seed in range(20)}
    assert len(first) > 10 and max(first) < 100  # of 100 rows 20 draws hit fewer than 11 with chance 1e-8


def test_small_samples_are_random_rows_and_copied():
    source = ArraySource(rows_of(), np.arange(N) + 0.5, np.full(N, 2.0))
    few = source.sample(100, SEED)
    rows = check(source, few)
    assert len(rows) == 100 and (np.diff(rows) > 0).all() and len(set(np.diff(rows))) > 5
    assert not np.shares_memory(few.x, source.x)


def test_rows_without_weight_do_not_count():
    w = np.ones(N)
    w[np.random.default_rng(2).choice(N, 400, replace=False)] = 0.0
    source = large(rows_of(), np.zeros(N), w)
    few = source.sample(100, SEED)
    check(source, few)
    # Steps of 6 in place of 10; 168 rows of which 0.6 count, give or take 6.
    assert set(np.diff(numbers(few))) == {6} and np.shares_memory(few.x, source.x)
    assert 80 < np.count_nonzero(few.w) < 120


def test_where_few_rows_have_weight_these_are_copied():
    w = (np.arange(N) % 3 == 0).astype(float)
    source = large(rows_of(), np.zeros(N), w)
    for m in (100, 400):
        few = source.sample(m, SEED)
        rows = check(source, few)
        assert len(rows) == min(m, 335) and (few.w == 1.0).all() and not np.shares_memory(few.x, source.x)


def test_samples_of_several_patches_are_copied_whole():
    source = large(rows_of(), np.arange(N) + 0.5, group=3)
    few = source.sample(100, SEED)
    rows = check(source, few)
    assert few.shape == (100, 2) and len(rows) == 100 and not np.shares_memory(few.x, source.x)
    np.testing.assert_array_equal(few.x.reshape(100, D), source.x.reshape(N, D)[rows])


@pytest.mark.parametrize("d", [511, 512])
def test_short_rows_of_a_file_are_copied(tmp_path, d):
    """Rows of less than a page would have every pass read the whole file."""
    np.save(tmp_path / "x.npy", rows_of(40, d))
    x = np.asarray(np.load(tmp_path / "x.npy", mmap_mode="r"))
    few = large(x).sample(10, SEED)
    assert np.shares_memory(few.x, x) == (d == 512)
    assert np.shares_memory(large(x + 0.0).sample(10, SEED).x, x) is False
    windows = fr.lagged(x, 2)
    assert np.shares_memory(large(windows).sample(10, SEED).x, x) == (d == 512)


def test_samples_of_samples():
    source = large(rows_of(), np.zeros(N))
    rows = numbers(source.sample(200, SEED).sample(30, np.random.SeedSequence(6)))
    assert set(np.diff(rows)) == {30} and 30 <= len(rows) <= 34


def test_sweeps_of_a_view_have_the_bits_of_a_copy():
    x, y, w = rows_of(30_000, 40), *np.random.default_rng(3).uniform(0.5, 2, (2, 30_000))
    x[:, 0] = 1.0
    few = large(x, y, w).sample(9000, SEED)
    assert np.shares_memory(few.x, x)
    theta = np.random.default_rng(4).standard_normal(80) / 8
    answers = [
        Objective(ThreadEngine(source, 1), Regression("relu", 2, "ones")).gauss_newton(theta)
        for source in (few, ArraySource(few.x.copy(), few.y, few.w))
    ]
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:fit did not converge")
def test_a_fit_needs_little_beside_the_rows():
    """Of 45,000 rows 20,480 are needed, 42 MB of 92; without a copy 25 MB are held, to test the inputs."""
    teacher = fr.datasets.make_teacher("relu", 256, 16, random_state=0)
    x, y = teacher.sample(45_000, noise=0.1, random_state=1)
    fr.fit(x[:2000, :10], x[:2000, 0] + y[:2000], "relu", 1, random_state=0, max_passes=9)  # loads what is loaded late
    tracemalloc.start()
    try:
        rec = fr.fit(x, y, teacher.model, random_state=0, n_jobs=2, max_passes=40)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rec.info["sample_rows"] == 22_500
    assert peak < 32e6
