"""Some samples of a source: everything read of them is what an array of these samples alone would give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.engines import ThreadEngine
from fastrecover.sources import ArraySource, BlockSource, KeptSource, Source, kept
from fastrecover.sweeps import Objective

N, D = 1001, 6
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((N, D)), RNG.standard_normal(N)
SAMPLES = np.flatnonzero(RNG.random(N) < 0.6)
SEED = np.random.SeedSequence(3)
W = RNG.random(len(SAMPLES)) + 0.5


def beneath(kind: str, group: int) -> Source:
    """Rows that hold anything where they are not kept."""
    x = np.full_like(X, np.nan)
    x[SAMPLES] = X[SAMPLES]
    if kind == "array":
        return ArraySource(x, None, None, group)
    return BlockSource(lambda start, stop: x[start:stop], N, D).grouped(group)


@pytest.fixture(params=[("array", 1), ("array", 2), ("blocks", 1), ("blocks", 3)], ids=str)
def pair(request) -> tuple[KeptSource, ArraySource]:
    kind, group = request.param
    mine = KeptSource(beneath(kind, group), SAMPLES, Y[SAMPLES], W)
    return mine, ArraySource(X[SAMPLES], Y[SAMPLES], W, group)


def equal(mine: Source, other: Source) -> None:
    assert (mine.shape, mine.dtype, mine.group) == (other.shape, other.dtype, other.group)
    for a, b in zip(mine.read(0, mine.shape[0]), other.read(0, other.shape[0]), strict=True):
        np.testing.assert_array_equal(a, b)


VIEWS: list[Callable[[Source], Source]] = [
    lambda s: s,
    lambda s: s.part(1, 3),
    lambda s: s.part(2, 3).part(0, 2),
    lambda s: s.patches(),
    lambda s: s.patches().part(1, 2),
    lambda s: s.grouped(2),
    lambda s: s.changed(y=np.arange(float(len(SAMPLES)))),
    lambda s: s.sample(90, SEED),
    lambda s: s.sample(10_000, SEED),
    lambda s: s.part(0, 2).sample(30, SEED),
]


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_those_of_an_array(pair, view):
    mine, other = pair
    equal(view(mine), view(other))


def test_blocks_are_cut_anywhere(pair):
    mine, other = pair
    for start, stop in ((0, 1), (17, 400), (len(SAMPLES) - 3, len(SAMPLES)), (5, 5)):
        for a, b in zip(mine.read(start, stop), other.read(start, stop), strict=True):
            np.testing.assert_array_equal(a, b)


def test_spaced_rows_are_among_those_that_are_kept(pair):
    mine, _ = pair
    few = mine.sample(50, SEED, spaced=True)
    rows = few.read(0, few.shape[0]).x
    assert np.isfinite(rows).all() and 20 <= len(rows) <= 60 * mine.group


def test_few_samples_are_held_and_many_are_not():
    small = KeptSource(beneath("array", 1), SAMPLES, Y[SAMPLES], W)
    assert isinstance(kept(small), ArraySource)
    rows = np.broadcast_to(np.ones(1000), (20_000, 1000))
    large = KeptSource(ArraySource(rows), np.arange(0, 20_000, 2))
    assert kept(large) is large


def test_sweeps_have_the_bits_of_an_array():
    mine, other = KeptSource(beneath("array", 1), SAMPLES, Y[SAMPLES], W), ArraySource(X[SAMPLES], Y[SAMPLES], W)
    model, theta = fr.models.Regression("tanh", 2), RNG.standard_normal(2 * D)
    for jobs in (1, 3):
        a, b = (Objective(ThreadEngine(s, jobs, least_work=1), model).value_and_grad(theta) for s in (mine, other))
        assert a[0] == b[0] and np.array_equal(a[1], b[1])
