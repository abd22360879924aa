"""Moments against full tensors built from their definitions, and averages against population values.

Each definition is summed row by row with d^3 and d^4 arrays, which is what the sweeps avoid.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval

import fastrecover as fr
from fastrecover.activations import get_activation
from fastrecover.engines import ThreadEngine
from fastrecover.models import Parameters
from fastrecover.sources import ArraySource
from fastrecover.sweeps import MomentSweeps, local_rows
from fastrecover.tensors import hermite_to_tensor, multi_indices, pack

D = 4
EYE = np.eye(D)


def tensors(x, r, w):
    """M_1 .. M_4 by definition: means of r times the Hermite tensors of each row."""
    w = w / w.sum()
    m1, m2, m3, m4 = np.zeros(D), np.zeros((D,) * 2), np.zeros((D,) * 3), np.zeros((D,) * 4)
    for row, weight in zip(x, w * r, strict=True):
        xx = np.multiply.outer(row, row)
        h3 = np.multiply.outer(xx, row)
        for term in ("i,jk->ijk", "j,ik->ijk", "k,ij->ijk"):
            h3 = h3 - np.einsum(term, row, EYE)
        h4 = np.multiply.outer(xx, xx)
        for term in ("ij,kl", "ik,jl", "il,jk", "jk,il", "jl,ik", "kl,ij"):
            h4 = h4 - np.einsum(f"{term}->ijkl", xx, EYE)
        for term in ("ij,kl", "ik,jl", "il,jk"):
            h4 = h4 + np.einsum(f"{term}->ijkl", EYE, EYE)
        m1, m2, m3, m4 = m1 + weight * row, m2 + weight * (xx - EYE), m3 + weight * h3, m4 + weight * h4
    return m1, m2, m3, m4


@pytest.fixture(params=["plain", "weights", "network", "affine", "both"])
def case(request):
    rng = np.random.default_rng(11)
    x, y = rng.standard_normal((70, D)), rng.standard_normal(70)
    w = rng.uniform(0, 3, 70) if request.param in ("weights", "both") else None
    network, r = None, y
    if request.param in ("network", "both"):
        network = Parameters(rng.standard_normal((3, D)), rng.standard_normal(3), rng.standard_normal(D), 0.4)
        r = y - np.tanh(x @ network.weights.T) @ network.output_weights - x @ network.linear - 0.4
    if request.param == "affine":
        network = Parameters(np.zeros((0, D)), np.zeros(0), rng.standard_normal(D), -1.1)
        r = y - x @ network.linear + 1.1
    sweeps = MomentSweeps(ThreadEngine(ArraySource(x, y, w)), network, get_activation("tanh"))
    return sweeps, x, r, np.ones(70) if w is None else w, rng


def orthonormal(rng, k):
    return np.linalg.qr(rng.standard_normal((D, k)))[0].T


def features(z, degree):
    """Orthonormal Hermite products of one degree, exponents in lexicographic order of the index tuples."""
    m, columns = z.shape[1], []
    for index in combinations_with_replacement(range(m), degree):
        powers = np.bincount(np.array(index, int), minlength=m)
        parts = [hermeval(z[:, a], np.eye(p + 1)[p]) / math.sqrt(math.factorial(p)) for a, p in enumerate(powers)]
        columns.append(np.prod(parts, axis=0))
    return np.stack(columns, axis=1)


def test_first_mean_covariance(case):
    sweeps, x, r, w, rng = case
    mean, first, square = sweeps.first()
    assert mean == pytest.approx(np.average(r, weights=w), abs=1e-13)
    np.testing.assert_allclose(first, tensors(x, r, w)[0], atol=1e-13)
    assert square == pytest.approx(np.average(r**2, weights=w), rel=1e-13)
    np.testing.assert_allclose(sweeps.mean(), np.average(x, axis=0, weights=w), atol=1e-13)
    v = rng.standard_normal((2, D))
    np.testing.assert_allclose(sweeps.covariance(v), v @ (x.T @ (w[:, None] * x)) / w.sum(), atol=1e-13)
    product, mean = sweeps.covariance_and_mean(v)
    np.testing.assert_array_equal(product, sweeps.covariance(v))
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=w), atol=1e-13)


def test_gram(case):
    """Of the responses as they are, whatever network is subtracted elsewhere."""
    sweeps, x, _, w, _ = case
    columns = np.column_stack([x, np.ones(len(x)), sweeps.engine.source.y])
    np.testing.assert_allclose(sweeps.gram(), columns.T @ (w[:, None] * columns) / w.sum(), atol=1e-13)


def test_reduced(case):
    """Projected rows with what is left of the responses, in two sweeps."""
    sweeps, x, r, w, rng = case
    v, before = rng.standard_normal((3, D)), sweeps.engine.meter.rows
    z, left, weights = local_rows(sweeps.reduced(v))
    assert sweeps.engine.meter.rows == before + 2 * sweeps.n_rows
    np.testing.assert_allclose(z, x @ v.T, atol=1e-13)
    np.testing.assert_allclose(left, r, atol=1e-13)
    np.testing.assert_array_equal(np.ones(len(x)) if weights is None else weights, w)


def test_products(case):
    sweeps, x, r, w, rng = case
    v, alpha = rng.standard_normal((3, D)), rng.standard_normal(D)
    m1, m2, m3, m4 = tensors(x, r, w)
    np.testing.assert_allclose(sweeps.product(v), v @ m2, atol=1e-12)
    np.testing.assert_allclose(sweeps.product(v, 3, alpha), np.einsum("ijk,mj,k->mi", m3, v, alpha), atol=1e-12)
    expected = np.einsum("ijkl,mj,k,l->mi", m4, v, alpha, alpha)
    np.testing.assert_allclose(sweeps.product(v, 4, alpha), expected, atol=1e-11)
    product, mean, first = sweeps.second(v)
    np.testing.assert_allclose(product, v @ m2, atol=1e-12)
    assert mean == pytest.approx(np.average(r, weights=w), abs=1e-13)
    np.testing.assert_allclose(first, m1, atol=1e-13)
    for order in (2, 3):
        product, first = sweeps.product_and_first(v, order, alpha)
        np.testing.assert_array_equal(product, sweeps.product(v, order, alpha))
        np.testing.assert_allclose(first, m1, atol=1e-12)


def test_products_need_a_direction(case):
    for order in (3, 4):
        with pytest.raises(ValueError, match="alpha"):
            case[0].product(EYE, order)


@pytest.mark.parametrize("k", [1, 3, 4])
def test_slices(case, k):
    sweeps, x, r, w, rng = case
    v = orthonormal(rng, k)
    full = np.einsum("ijk,aj,bk->abi", tensors(x, r, w)[2], v, v)
    np.testing.assert_allclose(sweeps.slices(v), full[np.triu_indices(k)], atol=1e-12)


@pytest.mark.parametrize("k", [None, 1, 3, 6])
def test_third_moment_in_packed_form(case, k):
    sweeps, x, r, w, rng = case
    v = None if k is None else rng.standard_normal((k, D))
    m3 = tensors(x, r, w)[2]
    expected = pack(m3 if k is None else np.einsum("ijk,ai,bj,ck->abc", m3, v, v, v))
    np.testing.assert_allclose(sweeps.third_packed(v), expected, atol=1e-13 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_arrays(weighted):
    rng = np.random.default_rng(12)
    x, y, v = rng.standard_normal((60, D)), rng.standard_normal(60), rng.standard_normal((3, D))
    w = rng.uniform(0, 3, 60) if weighted else None
    m1, m2, m3, m4 = tensors(x, y, np.ones(60) if w is None else w)
    np.testing.assert_allclose(fr.moments.first(x, y, sample_weight=w), m1, atol=1e-13)
    np.testing.assert_allclose(fr.moments.second(x, y, sample_weight=w), m2, atol=1e-13)
    np.testing.assert_allclose(fr.moments.second(x, y, v, sample_weight=w), v @ m2, atol=1e-13)
    np.testing.assert_allclose(fr.moments.third(x, y, sample_weight=w), m3, atol=1e-13)
    np.testing.assert_allclose(fr.moments.third_packed(x, y, sample_weight=w), pack(m3), atol=1e-13)
    along = np.einsum("ijk,ai,bj,ck->abc", m3, v, v, v)
    np.testing.assert_allclose(fr.moments.third(x, y, v, sample_weight=w), along, atol=1e-12)
    np.testing.assert_allclose(fr.moments.third_packed(x, y, v, sample_weight=w), pack(along), atol=1e-12)
    along = np.einsum("ijkl,ai,bj,ck,dl->abcd", m4, v, v, v, v)
    np.testing.assert_allclose(fr.moments.fourth(x, y, v, sample_weight=w), along, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_whole_third_moment_is_the_same_for_any_number_of_threads(dtype):
    """Every entry of 9,000 rows, three blocks, against sums of products of columns."""
    rng = np.random.default_rng(13)
    x, y = rng.standard_normal((9_000, 19)).astype(dtype), rng.standard_normal(9_000)
    one, more = (fr.moments.third_packed(x, y, n_jobs=n) for n in (1, 3))
    np.testing.assert_array_equal(one, more)
    i, j, k = multi_indices(19, 3).T
    z = x.astype(np.float64)
    first = y @ z / len(y)
    raw = np.array([(y * z[:, a] * z[:, b]) @ z[:, c] for a, b, c in zip(i, j, k, strict=True)]) / len(y)
    expected = raw - first[i] * (j == k) - first[j] * (i == k) - first[k] * (i == j)
    np.testing.assert_allclose(one, expected, atol=1e-13 if dtype == np.float64 else 3e-6 * np.abs(raw).max())


def test_third_moments_too_large_are_refused():
    x, y = np.zeros((4, 257)), np.zeros(4)
    for function in (fr.moments.third, fr.moments.third_packed):
        with pytest.raises(ValueError, match="at most 256 features, got 257: give V"):
            function(x, y)
        with pytest.raises(ValueError, match="V must have at most 256 rows, got 300"):
            function(x, y, np.zeros((300, 257)))
        assert function(x, y, np.zeros((2, 257))).shape[0] in (2, 4)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_hermite_averages(case, k):
    sweeps, x, r, w, rng = case
    v = orthonormal(rng, k)
    second, third, fourth = sweeps.hermite(v, (2, 3, 4))
    _, m2, m3, m4 = tensors(x, r, w)
    np.testing.assert_allclose(hermite_to_tensor(second, k, 2), v @ m2 @ v.T, atol=1e-12)
    expected = np.einsum("ijk,ai,bj,ck->abc", m3, v, v, v)
    np.testing.assert_allclose(hermite_to_tensor(third, k, 3), expected, atol=1e-12)
    expected = np.einsum("ijkl,ai,bj,ck,dl->abcd", m4, v, v, v, v)
    np.testing.assert_allclose(hermite_to_tensor(fourth, k, 4), expected, atol=1e-11)
    np.testing.assert_allclose(sweeps.hermite(v, (3,))[0], third, atol=1e-13)


@pytest.mark.parametrize("k, degree", [(1, 4), (2, 3), (3, 2), (2, 4)])
def test_hermite_regression(case, k, degree):
    sweeps, x, r, w, rng = case
    v = orthonormal(rng, k)
    blocks = [features(x @ v.T, p) for p in range(degree + 1)]
    root, design = np.sqrt(w)[:, None], np.concatenate(blocks, axis=1)
    expected = np.linalg.lstsq(root * design, root[:, 0] * r, rcond=None)[0]
    found, loss = sweeps.hermite_regression(v, degree)
    assert [len(f) for f in found] == [b.shape[1] for b in blocks]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-10)
    assert loss == pytest.approx(0.5 * np.average((r - design @ expected) ** 2, weights=w), rel=1e-10)


def test_hermite_regression_with_ridge(case):
    sweeps, x, r, w, rng = case
    v = orthonormal(rng, 2)
    design = np.concatenate([features(x @ v.T, p) for p in range(3)], axis=1)
    gram = design.T @ (w[:, None] * design) / w.sum()
    expected = np.linalg.solve(gram + 0.3 * np.eye(len(gram)), design.T @ (w * r) / w.sum())
    found, loss = sweeps.hermite_regression(v, 2, ridge=0.3)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-12)
    assert loss == pytest.approx(0.5 * np.average((r - design @ expected) ** 2, weights=w), rel=1e-11)


def test_hermite_losses_are_those_of_the_regressions(case):
    sweeps, _, _, _, rng = case
    v = orthonormal(rng, 2)
    expected = [sweeps.hermite_regression(v, degree, ridge=0.1)[1] for degree in (2, 3)]
    before = sweeps.engine.meter.rows
    found = sweeps.hermite_losses(v, (2, 3), ridge=0.1)
    assert sweeps.engine.meter.rows == before + sweeps.n_rows
    np.testing.assert_allclose(found, expected, rtol=1e-12)


C = 1 / math.sqrt(2 * math.pi)
# order: (activation, m_j(s) of a unit of length s)
POPULATION = {
    "relu": (lambda s: C * s, lambda s: s / 2, lambda s: C * s, lambda s: 0 * s, lambda s: -C * s),
    "squared_relu": (
        lambda s: s**2 / 2,
        lambda s: 2 * C * s**2,
        lambda s: s**2,
        lambda s: 2 * C * s**2,
        lambda s: 0 * s,
    ),
    "erf": (
        lambda s: 0 * s,
        lambda s: 2 * s / np.sqrt(math.pi * (1 + 2 * s**2)),
        lambda s: 0 * s,
        lambda s: -4 * s**3 / (math.sqrt(math.pi) * (1 + 2 * s**2) ** 1.5),
        lambda s: 0 * s,
    ),
}


@pytest.mark.parametrize("name", POPULATION)
def test_averages_converge_to_the_population(name):
    """z-scores of 5 x 3 contracted moments from 200,000 rows, each below 5 standard errors."""
    teacher = fr.datasets.make_teacher(name, 6, 3, random_state=5)
    x, y = teacher.sample(200_000, noise=0.2, random_state=6)
    s = np.linalg.norm(teacher.weights, axis=1)
    b = teacher.weights / s[:, None]
    v = np.linalg.qr(np.random.default_rng(7).standard_normal((6, 3)))[0].T
    sweeps = MomentSweeps(ThreadEngine(ArraySource(x, y)))
    found = sweeps.hermite(v, (0, 1, 2, 3, 4))
    fitted = sweeps.hermite_regression(v, 4)[0]
    z = x @ v.T
    for order in range(5):
        he = [hermeval(z[:, a], np.eye(order + 1)[order]) for a in range(3)]
        unit = np.array([hermite_to_tensor(found[order], 3, order)[(a,) * order] for a in range(3)])
        regressed = np.array([hermite_to_tensor(fitted[order], 3, order)[(a,) * order] for a in range(3)])
        truth = (b @ v.T).T ** order @ (teacher.output_weights * POPULATION[name][order](s))
        error = np.array([np.std(y * h) for h in he]) / math.sqrt(len(y))
        assert (np.abs(unit - truth) < 5 * error).all()
        assert (np.abs(regressed - truth) < 5 * error).all()
