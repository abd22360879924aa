"""What an engine offers beside sums: other responses and weights, projected and whitened rows, samples to look at.

Each is compared with the same done to arrays by hand, so an engine that keeps its rows elsewhere must give the same.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import ThreadEngine, engine_on
from fastrecover.models import ConvRegression, Parameters, Regression
from fastrecover.sources import ArraySource, WhitenedSource
from fastrecover.sweeps import MomentSweeps, Objective, local_rows

N, D = 20_011, 24
RNG = np.random.default_rng(0)
X, Y, W = RNG.standard_normal((N, D)), RNG.standard_normal(N), RNG.uniform(0, 2, N)
SHIFT, INVERSE = RNG.standard_normal(D), RNG.standard_normal((D, D)) / np.sqrt(D)
MODEL = Regression("tanh", 3, "free", True, True)
THETA = RNG.standard_normal(MODEL.n_parameters(D)) / np.sqrt(D)


def threaded(x=X, y=Y, w=W, n_jobs=3):
    """An engine that takes other threads for any work."""
    return ThreadEngine(ArraySource(x, y, w), n_jobs, least_work=1)


def sums(engine):
    """Loss, gradient and matrix, moments of order two and three, and an array of length n."""
    objective, moments = Objective(engine, MODEL), MomentSweeps(engine)
    with one_blas_thread():
        return [*objective.gauss_newton(THETA), moments.gram(), moments.slices(np.eye(3, D)), objective.predict(THETA)]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_projected(dtype):
    """One sweep of the rows; what is swept afterwards is not theirs."""
    engine, v = threaded(X.astype(dtype)), np.random.default_rng(1).standard_normal((4, D))
    projected = engine.projected(v)
    z, y, w = local_rows(projected)
    np.testing.assert_allclose(z, X.astype(dtype) @ v.T, atol=1e-12 if dtype == np.float64 else 3e-5)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(w, W)
    MomentSweeps(projected).mean()
    assert engine.meter.rows == N
    assert_same([z], [local_rows(threaded(X.astype(dtype), n_jobs=1).projected(v))[0]])


@pytest.mark.parametrize("model", [MODEL, ConvRegression(3, "tanh")])
def test_residual(model):
    """Responses less the output of a network, also of one on patches."""
    theta = np.random.default_rng(2).standard_normal(model.n_parameters(model.filter_length(D))) / 5
    objective = Objective(engine_on(ArraySource(X, Y, W, model.n_patches), 2), model)
    f = objective.predict(theta)
    before = objective.engine.meter.rows
    left = objective.residual(theta)
    assert objective.engine.meter.rows == before + N and left.engine.meter is objective.engine.meter
    x, y, w = local_rows(left.engine)
    np.testing.assert_array_equal(y, Y - f)
    np.testing.assert_array_equal(w, W)
    np.testing.assert_array_equal(x.reshape(N, D), X)
    assert left.engine.average(np.square) / 2 == pytest.approx(objective.value(theta), rel=1e-12)


def test_with_responses_and_weights():
    engine = threaded()
    changed = engine.with_responses(np.exp).with_weights(lambda y, w: w * (y > 1.0))
    x, y, w = local_rows(changed)
    np.testing.assert_array_equal(y, np.exp(Y))
    np.testing.assert_array_equal(w, W * (np.exp(Y) > 1.0))
    assert np.shares_memory(x, X) and changed.meter is engine.meter and engine.meter.rows == 0
    assert engine.average() == pytest.approx(np.average(Y, weights=W), rel=1e-12)
    unweighted = threaded(w=None).with_weights(lambda y, w: w + np.abs(y))
    np.testing.assert_array_equal(local_rows(unweighted)[2], 1.0 + np.abs(Y))


def test_summaries():
    w = W * (Y > 0)
    engine, plain = threaded(w=w), threaded(y=None, w=None)
    counting, total, squares = engine.weights()
    assert counting == np.count_nonzero(w)
    assert (total, squares) == pytest.approx((w.sum(), (w**2).sum()), rel=1e-12)
    assert engine.average(np.abs) == pytest.approx(np.average(Y, weights=w), rel=1e-12)
    assert engine.response_variance() == pytest.approx(np.cov(Y, aweights=w, ddof=0), rel=1e-12)
    assert engine.smallest_response() == Y.min()
    assert plain.weights() == (N, N, N) and plain.average() == plain.smallest_response() == 0.0


@pytest.mark.parametrize("inverse", [INVERSE, np.abs(INVERSE[0])], ids=["dense", "diagonal"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [4097, 8193, N])  # a row that BLAS meets alone is rounded as no other
def test_whitened(n, dtype, inverse):
    """A copy and rows made again for every sweep have the same bits, for any number of threads."""
    x, y, w = X[:n].astype(dtype), Y[:n], W[:n]
    with one_blas_thread():
        expected = sums(threaded(x, y, w).whitened(SHIFT, inverse, copy=True))
    for n_jobs in (1, 2, 3):
        lazy = threaded(x, y, w, n_jobs).whitened(SHIFT, inverse, copy=False)
        assert isinstance(lazy.source, WhitenedSource) and lazy.dtype == dtype
        assert_same(sums(lazy), expected)
    z = (x - SHIFT) * inverse if inverse.ndim == 1 else (x - SHIFT) @ inverse.T
    by_hand = sums(threaded(z.astype(dtype), y, w, n_jobs=1))
    for a, b in zip(expected, by_hand, strict=True):
        np.testing.assert_allclose(a, b, atol=(1e-12 if dtype == np.float64 else 1e-5) * np.abs(b).max())


def test_whitened_counts():
    """A copy is one pass; rows made as they are swept are counted with the sweep."""
    engine = threaded()
    lazy, copy = (engine.whitened(SHIFT, INVERSE, copy=copy) for copy in (False, True))
    assert engine.meter.rows == N
    MomentSweeps(lazy).mean()
    MomentSweeps(copy).mean()
    assert engine.meter.rows == 3 * N


def test_whitened_rows_are_sampled_as_the_rows_are():
    engine, seed = threaded(), np.random.SeedSequence(3)
    few = engine.whitened(SHIFT, INVERSE, copy=False).sample(500, seed)
    x, y, w = local_rows(engine.sample(500, seed))
    for found, expected in zip(local_rows(few), ((x - SHIFT) @ INVERSE.T, y, w), strict=True):
        np.testing.assert_array_equal(found, expected)
    part = engine.whitened(SHIFT, INVERSE, copy=False).part(1, 3)
    np.testing.assert_array_equal(local_rows(part)[1], Y[N // 3 : 2 * N // 3])


def test_whitened_patches():
    """Each patch is whitened by itself."""
    shift, inverse = SHIFT[:8], INVERSE[:8, :8]
    engine = ThreadEngine(ArraySource(X, Y, W, 3), 2)
    expected = (X.reshape(-1, 8) - shift) @ inverse.T
    for copy in (False, True):
        white = engine.whitened(shift, inverse, copy=copy)
        assert white.shape == (N, 8) and white.source.group == 3
        np.testing.assert_allclose(local_rows(white.patches())[0], expected, atol=1e-13)
        np.testing.assert_array_equal(local_rows(white.patches())[1], np.repeat(Y, 3))


def test_patches_are_swept_as_patches_or_not_at_all():
    """Kernels write a number for every row that they are given, so a mistake would write beyond the samples'."""
    engine = ThreadEngine(ArraySource(X, Y, W, 3), 2)
    with pytest.raises(ValueError, match="samples have 3 patches and the sweep wants 1"):
        engine.projected(np.eye(2, 8))
    with pytest.raises(ValueError, match="samples have 3 patches and the sweep wants 4"):
        Objective(engine, ConvRegression(4, "tanh")).value(np.ones(8))
    np.testing.assert_array_equal(local_rows(engine.patches().projected(np.eye(2, 8)))[0], X.reshape(-1, 8)[:, :2])


def test_local():
    engine = threaded()
    z, y = np.random.default_rng(4).standard_normal((100, 3)), np.arange(100.0)
    local = engine.local(z, y)
    np.testing.assert_allclose(MomentSweeps(local).first()[1], y @ z / 100, rtol=1e-12)
    assert engine.meter.rows == 0 and local.n_jobs == 3


@pytest.mark.parametrize("lags", [1, 7, 40])
def test_spaced_sample_of_overlapping_rows_shares_no_entry(lags):
    """Each frame has its number for an entry."""
    frames = np.arange(6000.0)
    engine = engine_on(ArraySource(fr.lagged(frames, lags), frames[: 6001 - lags]))
    rows, y, w = local_rows(engine.sample(100, np.random.SeedSequence(0), spaced=True))
    assert rows.shape == (100, lags) and len(set(rows.ravel())) == 100 * lags and w is None
    np.testing.assert_array_equal(y, rows[:, 0])
    assert engine.meter.rows == 100
    most = local_rows(engine.sample(6000, np.random.SeedSequence(0), spaced=True))[0]
    assert len(most) == -(-(6001 - lags) // lags) and len(set(most.ravel())) == most.size


def test_a_spaced_sample_follows_the_weights():
    """Weight two is drawn twice as often as weight one, weight zero never: 1000 of 20,011 rows, give or take 3 %."""
    w = np.arange(N) % 3 * 1.0
    engine = engine_on(ArraySource(np.arange(N)[:, None] * 1.0, Y, w))
    rows, y, left = local_rows(engine.sample(3000, np.random.SeedSequence(1), spaced=True))
    numbers = rows[:, 0].astype(int)
    assert left is None and not (numbers % 3 == 0).any()
    np.testing.assert_array_equal(y, Y[numbers])
    assert np.mean(numbers % 3 == 2) == pytest.approx(2 / 3, abs=0.05)
    assert len(numbers) == pytest.approx(3000, rel=0.1) and len(set(numbers)) == len(numbers)


def test_too_many_rows_are_not_looked_at():
    rows = np.lib.stride_tricks.as_strided(np.zeros(1), (1 << 21, 64), (0, 0))
    with pytest.raises(ValueError, match="2097152 rows of 64 features are too many.*take a sample"):
        local_rows(engine_on(ArraySource(rows)))


def test_a_network_of_projected_rows_is_the_network():
    """A unit in the span of the directions sees the same numbers."""
    v = np.linalg.qr(np.random.default_rng(5).standard_normal((D, 2)))[0].T
    inside = np.random.default_rng(6).standard_normal((2, 2))
    model = Regression("relu", 2, "ones")
    whole, small = Objective(threaded(), model), Objective(threaded().projected(v), model)
    theta = model.pack(Parameters(inside @ v, np.ones(2)))
    value, grad = small.value_and_grad(inside.ravel())
    assert value == pytest.approx(whole.value(theta), rel=1e-12)
    projected = whole.value_and_grad(theta)[1].reshape(2, D) @ v.T
    np.testing.assert_allclose(grad.reshape(2, 2), projected, atol=1e-12)
