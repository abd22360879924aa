"""Symmetric tensors: packing against brute force, decomposition against planted components.

Tensors are built from known factors, moment tensors by Gauss-Hermite quadrature of a network, and the
accuracy wanted is a published one (direction error about 0.75 eps), not what this code happens to reach.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import least_squares, linear_sum_assignment

from fastrecover.tensors import (
    contracted,
    decompose,
    exponents,
    hermite_to_tensor,
    last_slice,
    multi_indices,
    pack,
    unpack,
)

OUTER = {2: "r,ra,rb->ab", 3: "r,ra,rb,rc->abc", 4: "r,ra,rb,rc,rd->abcd"}


def planted(k, rng, rank=None, condition=2.0):
    rank = rank or k
    left = np.linalg.qr(rng.standard_normal((k, rank)))[0]
    right = np.linalg.qr(rng.standard_normal((rank, rank)))[0]
    vectors = ((left * np.linspace(1, condition, rank)) @ right).T
    signs = np.where(np.arange(rank) % 2, -1.0, 1.0)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), signs * rng.uniform(1, 2, rank)


def build(vectors, coefficients, order):
    return np.einsum(OUTER[order], coefficients, *[vectors] * order)


def noisy(tensor, eps, rng):
    raw = rng.standard_normal(tensor.shape)
    noise = np.mean([raw.transpose(p) for p in itertools.permutations(range(tensor.ndim))], axis=0)
    return tensor + eps * np.linalg.norm(tensor) / np.linalg.norm(noise) * noise


def match(found, vectors):
    """Return the rows of `found` that belong to `vectors`, and the largest direction error up to sign."""
    cosines = found @ vectors.T
    rows, columns = linear_sum_assignment(-np.abs(cosines))
    ordered = rows[np.argsort(columns)]
    signs = np.sign(cosines[ordered, np.arange(len(vectors))])
    return ordered, np.linalg.norm(signs[:, None] * found[ordered] - vectors, axis=1).max()


@pytest.mark.parametrize(("k", "order"), [(1, 3), (3, 0), (3, 1), (3, 2), (4, 3), (3, 4)])
def test_multi_indices_are_all_nondecreasing_tuples(k, order):
    indices = multi_indices(k, order)
    expected = [t for t in itertools.product(range(k), repeat=order) if list(t) == sorted(t)]
    assert indices.shape == (len(expected), order)
    assert [tuple(row) for row in indices] == expected
    powers = exponents(k, order)
    assert [tuple(row) for row in powers] == [tuple(t.count(a) for a in range(k)) for t in expected]


@pytest.mark.parametrize(("k", "order"), [(1, 4), (2, 3), (5, 3), (4, 4), (3, 1), (66, 3), (23, 4)])
def test_pack_and_unpack_are_inverse(k, order):
    rng = np.random.default_rng(order)
    values = rng.standard_normal(math.comb(k + order - 1, order))
    full = unpack(values, k, order)
    np.testing.assert_array_equal(pack(full), values)
    for p in itertools.permutations(range(order)):
        np.testing.assert_array_equal(full.transpose(p), full)
    lookup = {tuple(row): value for row, value in zip(multi_indices(k, order), values, strict=True)}
    for index in itertools.product(range(k), repeat=order):
        assert full[index] == lookup[tuple(sorted(index))]


@pytest.mark.parametrize(("k", "order"), [(1, 1), (5, 1), (6, 2), (6, 3), (6, 4), (600, 2), (70, 3), (24, 4)])
def test_large_tensors_are_packed_alike_and_last_slices_found(k, order):
    values = np.random.default_rng(order).standard_normal(math.comb(k + order - 1, order))
    full = unpack(values, k, order)
    np.testing.assert_array_equal(pack(full), values)
    np.testing.assert_array_equal(values, full[tuple(multi_indices(k, order).T)])
    whole = full[..., -1]
    np.testing.assert_array_equal(last_slice(values, k, order), pack(whole) if order > 1 else whole[None])


@pytest.mark.parametrize("order", [2, 3, 4])
def test_contraction_of_rank_one_terms(order):
    rng = np.random.default_rng(order)
    vectors, coefficients, matrix = rng.standard_normal((3, 5)), rng.standard_normal(3), rng.standard_normal((2, 5))
    found = contracted(build(vectors, coefficients, order), matrix)
    np.testing.assert_allclose(found, build(vectors @ matrix.T, coefficients, order), atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_hermite_coefficients_of_a_network_give_its_moment_tensor(order):
    """For y = sum v_i (w_i.z)^p the tensor is sum v_i m_order(|w_i|) b_i^(x)order; m by exact polynomials."""
    rng = np.random.default_rng(7)
    weights, v = rng.standard_normal((3, 3)), np.array([1.0, -2.0, 0.5])
    nodes, mass = np.polynomial.hermite_e.hermegauss(8)
    mass = mass / mass.sum()
    grid = np.array(list(itertools.product(nodes, repeat=3)))
    density = np.array(list(itertools.product(mass, repeat=3))).prod(axis=1)
    y = sum(each * (grid @ w) ** (4 if order % 2 == 0 else 3) for each, w in zip(v, weights, strict=True))
    he = {0: grid**0, 1: grid, 2: grid**2 - 1, 3: grid**3 - 3 * grid, 4: grid**4 - 6 * grid**2 + 3}
    coefs = []
    for powers in exponents(3, order):
        feature = np.prod([he[p][:, a] / math.sqrt(math.factorial(p)) for a, p in enumerate(powers)], axis=0)
        coefs.append(np.sum(density * y * feature))
    factor = {1: 3.0, 2: 12.0, 3: 6.0, 4: 24.0}[order]
    lengths = np.linalg.norm(weights, axis=1)
    degree = 4 if order % 2 == 0 else 3
    scaled = factor * v * lengths**degree
    directions = weights / lengths[:, None]
    expected = scaled @ directions if order == 1 else build(directions, scaled, order)
    np.testing.assert_allclose(hermite_to_tensor(coefs, 3, order), expected, atol=1e-11)


def test_symmetric_helpers_refuse_wrong_input():
    with pytest.raises(ValueError, match="values must have shape"):
        unpack(np.zeros(5), 3, 2)
    with pytest.raises(ValueError, match="coefs must have shape"):
        hermite_to_tensor(np.zeros(5), 3, 2)
    with pytest.raises(ValueError, match="equal sides"):
        pack(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="k must be >= 1"):
        multi_indices(0, 2)
    with pytest.raises(TypeError, match="order must be an integer"):
        multi_indices(2, 1.5)


@pytest.mark.parametrize("order", [3, 4])
@pytest.mark.parametrize(("k", "rank"), [(1, 1), (2, 2), (5, 5), (6, 2), (10, 10), (10, 4)])
def test_exact_tensors_are_decomposed_to_rounding(k, rank, order):
    rng = np.random.default_rng(10 * k + rank)
    vectors, coefficients = planted(k, rng, rank)
    found = decompose(build(vectors, coefficients, order), random_state=0)
    assert found.converged and found.residual < 1e-13
    assert found.vectors.shape == (rank, k) and found.coefficients.shape == (rank,)
    rows, error = match(found.vectors, vectors)
    assert error < 1e-12
    signs = np.sign(np.sum(found.vectors[rows] * vectors, axis=1)) ** order
    np.testing.assert_allclose(found.coefficients[rows] * signs, coefficients, rtol=1e-11)


def test_result_is_sorted_oriented_and_reproducible():
    vectors, coefficients = planted(6, np.random.default_rng(3))
    tensor = noisy(build(vectors, coefficients, 3), 1e-2, np.random.default_rng(4))
    first, second = (decompose(tensor, 6, random_state=9) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    assert (np.diff(np.abs(first.coefficients)) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), 1.0, rtol=1e-14)
    peaks = np.abs(first.vectors).argmax(axis=1)
    assert (first.vectors[np.arange(6), peaks] > 0).all()
    rest = tensor - build(first.vectors, first.coefficients, 3)
    assert first.residual == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(tensor), rel=1e-10)
    other = decompose(tensor, 6, random_state=123)
    np.testing.assert_allclose(other.vectors, first.vectors, atol=1e-7)


@pytest.mark.parametrize("eps", [1e-6, 1e-3, 1e-2])
def test_direction_error_is_below_the_published_level(eps):
    """Published: median direction error about 0.75 eps at k = 5, condition 2, mixed signs."""
    errors = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vectors, coefficients = planted(5, rng)
        tensor = noisy(build(vectors, np.sign(coefficients), 3), eps, rng)
        errors.append(match(decompose(tensor, 5, random_state=seed).vectors, vectors)[1])
    assert 0.1 * eps < np.median(errors) < 2 * 0.75 * eps
    assert max(errors) < 4 * 0.75 * eps


@pytest.mark.parametrize("order", [3, 4])
def test_known_noise_ends_the_search_early_and_changes_nothing(order, monkeypatch):
    """A fit within the noise is taken from the first start, another is not; both are the lowest minimum."""
    from fastrecover.tensors import decomposition

    searched = []
    starts = decomposition._starts
    monkeypatch.setattr(decomposition, "_starts", lambda *args: searched.append(1) or starts(*args))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vectors, coefficients = planted(5, rng)
        exact = build(vectors, coefficients, order)
        tensor = noisy(exact, 1e-2, rng)
        matrix = build(vectors, coefficients, 2)
        options = {"matrices": matrix, "matrix_weights": 2.0, "random_state": seed}
        size = float(np.linalg.norm(tensor - exact))
        plain = decompose(tensor, 5, **options)
        assert len(searched) == 2 * seed + 1
        early = decompose(tensor, 5, noise=size, **options)
        assert len(searched) == 2 * seed + 1
        late = decompose(tensor, 5, noise=0.1 * size, **options)
        assert len(searched) == 2 * seed + 2
        for found in (early, late):
            np.testing.assert_allclose(found.vectors, plain.vectors, atol=1e-7)


def test_matrices_sharing_the_factors_reduce_the_error():
    errors = {"without": [], "with": []}
    eps = 1e-2
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vectors, coefficients = planted(5, rng)
        tensor = noisy(build(vectors, coefficients, 3), eps, rng)
        matrix = noisy(build(vectors, rng.permutation(coefficients), 2), 0.3 * eps, rng)
        weight = np.linalg.norm(tensor) / np.linalg.norm(matrix) / 0.3 * math.sqrt(15 / 35)
        for label, options in (("without", {}), ("with", {"matrices": matrix, "matrix_weights": weight})):
            found = decompose(tensor, 5, random_state=seed, **options)
            errors[label].append(match(found.vectors, vectors)[1])
    assert np.median(errors["with"]) < 0.85 * np.median(errors["without"])


def test_matrices_alone_settle_what_a_degenerate_tensor_leaves_open():
    """Two components whose tensor weights vanish are seen through the matrices only."""
    rng = np.random.default_rng(5)
    vectors, _ = planted(4, rng)
    tensor = build(vectors, np.array([1.0, -1.5, 0.0, 0.0]), 3)
    weights = rng.standard_normal((3, 4))
    matrices = np.stack([build(vectors, row, 2) for row in weights])
    found = decompose(tensor, 4, matrices=matrices, matrix_weights=[1.0, 0.5, 2.0], random_state=0)
    assert match(found.vectors, vectors)[1] < 1e-8
    np.testing.assert_allclose(np.abs(found.coefficients), [1.5, 1.0, 0, 0], atol=1e-8)


@pytest.mark.parametrize(
    ("k", "rank", "order", "eps", "condition"),
    [
        (5, 5, 3, 0.3, 2.0),
        (5, 5, 3, 1e-2, 10.0),
        (8, 3, 3, 0.3, 2.0),
        (5, 3, 4, 0.2, 3.0),
    ],
)
def test_no_worse_than_a_local_fit_from_the_truth(k, rank, order, eps, condition):
    """Reference: a general-purpose least-squares solver started at the planted components."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        vectors, coefficients = planted(k, rng, rank, condition)
        tensor = noisy(build(vectors, coefficients, order), eps, rng)

        def misfit(theta, tensor=tensor):
            return (build(theta[rank:].reshape(rank, k), theta[:rank], order) - tensor).ravel()

        fit = least_squares(misfit, np.concatenate([coefficients, vectors.ravel()]))
        reference = math.sqrt(2 * fit.cost) / np.linalg.norm(tensor)
        assert decompose(tensor, rank, random_state=seed).residual <= reference * (1 + 1e-5)


def test_more_components_than_there_are_leave_zero_coefficients():
    vectors, coefficients = planted(5, np.random.default_rng(0), rank=3)
    found = decompose(build(vectors, coefficients, 3), rank=5, random_state=0)
    assert found.residual < 1e-12
    assert np.isfinite(found.vectors).all()
    np.testing.assert_allclose(np.abs(found.coefficients[3:]), 0, atol=1e-10)
    assert match(found.vectors[:3], vectors)[1] < 1e-10


def test_defective_tensor_is_approached_without_failing():
    """x^2 y has no best approximation by two cubes, only better and better ones."""
    tensor = np.zeros((2, 2, 2))
    tensor[0, 0, 1] = tensor[0, 1, 0] = tensor[1, 0, 0] = 1.0
    found = decompose(tensor, 2, random_state=0)
    assert found.residual < 1e-2 and np.isfinite(found.coefficients).all()


def test_scale_and_dtype_do_not_matter():
    vectors, coefficients = planted(4, np.random.default_rng(1))
    tensor = build(vectors, coefficients, 3)
    plain = decompose(tensor, random_state=0)
    for scale in (1e-120, 1e120):
        scaled = decompose(scale * tensor, random_state=0)
        np.testing.assert_allclose(scaled.vectors, plain.vectors, atol=1e-12)
        np.testing.assert_allclose(scaled.coefficients, scale * plain.coefficients, rtol=1e-11)
    single = decompose(tensor.astype(np.float32), 4, random_state=0)
    np.testing.assert_allclose(single.vectors, plain.vectors, atol=1e-5)


def test_bad_input_is_refused_with_a_reason():
    tensor = build(*planted(3, np.random.default_rng(2)), 3)
    lopsided = tensor.copy()
    lopsided[0, 1, 2] += 1e-3
    broken = tensor.copy()
    broken[0, 0, 0] = np.nan
    for bad, reason in (
        (lopsided, "T must be symmetric"),
        (broken, "T must be finite"),
        (np.eye(3), r"T must have shape \(k, k, k\)"),
        (np.zeros((3, 3, 2)), r"got \(3, 3, 2\)"),
        (np.zeros((3, 3, 3)), "T is zero"),
    ):
        with pytest.raises(ValueError, match=reason):
            decompose(bad)
    for options, reason in (
        ({"rank": 4}, "rank must be between 1 and k = 3, got 4"),
        ({"rank": 0}, "rank must be"),
        ({"n_starts": 0}, "n_starts must be >= 1"),
        ({"max_iter": 0}, "max_iter must be >= 1"),
        ({"tol": -1.0}, "tol must be >= 0"),
        ({"noise": np.nan}, "noise must be >= 0"),
        ({"matrices": np.eye(4)}, "matrices must have shape"),
        ({"matrices": np.triu(np.ones((3, 3)))}, "matrices must be symmetric"),
        ({"matrices": np.full((3, 3), np.inf)}, "matrices must be finite"),
        ({"matrices": np.eye(3), "matrix_weights": [1.0, 2.0]}, "matrix_weights must be"),
        ({"matrices": np.eye(3), "matrix_weights": -1.0}, "matrix_weights must be"),
    ):
        with pytest.raises(ValueError, match=reason):
            decompose(tensor, **options)
    with pytest.raises(TypeError, match="rank must be an integer"):
        decompose(tensor, 2.0)
