"""The landscape objective against its literal double sum, the tensor form, and the population's closed forms."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from fastrecover.activations import get_activation
from fastrecover.engines import ThreadEngine
from fastrecover.models import Parameters
from fastrecover.sources import ArraySource
from fastrecover.sweeps import Landscape, TensorLandscape, population_tensor
from fastrecover.sweeps.moments import MomentSweeps, hermite_kernel

N, D, M = 40, 5, 3
RELU = get_activation("relu")
FOURTH = abs(RELU.hermite_coefficients(4)[4])


def phi(v, w, x):
    """Half of H_4(x)[v, v, w, w]."""
    vx, wx, vw = v @ x, w @ x, v @ w
    vv, ww = v @ v, w @ w
    return vv * ww / 2 + vw**2 - ww * vx**2 / 2 - vv * wx**2 / 2 - 2 * vx * wx * vw + vx**2 * wx**2 / 2


def varphi(v, x):
    """H_4(x)[v, v, v, v] / 24."""
    return (v @ v) ** 2 / 8 - (v @ v) * (v @ x) ** 2 / 4 + (v @ x) ** 4 / 24


def literal(x, y, w, b, sign, mu, penalty, metric):
    total = 0.0
    for xi, yi, wi in zip(x, y, w / w.sum(), strict=True):
        pairs = sum(phi(b[j], b[k], xi) for j, k in itertools.permutations(range(len(b)), 2))
        total += sign * wi * yi * (pairs - mu * sum(varphi(row, xi) for row in b))
    q = np.einsum("ja,ab,jb->j", b, metric, b)
    return total + penalty * ((q - 1) ** 2).sum()


def problem(seed, weighted=False):
    rng = np.random.default_rng(seed)
    x, y, b = rng.standard_normal((N, D)), rng.standard_normal(N), rng.standard_normal((M, D))
    w = rng.random(N) if weighted else np.ones(N)
    return x, y, w, b, ThreadEngine(ArraySource(x, y, w if weighted else None), 1)


def moment_tensor(x, y):
    """Average of y H_4(x), from raw moments (six terms x x I, three terms I I)."""
    eye = np.eye(x.shape[1])
    tensor = np.einsum("i,ia,ib,ic,id->abcd", y, x, x, x, x) / len(x)
    square, mean = np.einsum("i,ia,ib->ab", y, x, x) / len(x), y.mean()
    for a, b in itertools.combinations(range(4), 2):
        c, d = (i for i in range(4) if i not in (a, b))
        tensor -= np.einsum(square, [a, b], eye, [c, d], [0, 1, 2, 3])
        if a == 0:
            tensor += mean * np.einsum(eye, [a, b], eye, [c, d], [0, 1, 2, 3])
    return tensor


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_value_equals_the_double_sum_and_gradient_its_differences(sign, weighted, general):
    x, y, w, b, engine = problem(0, weighted)
    frame = np.random.default_rng(1).standard_normal((4, D)) / 2 if general else None
    z, matrix = (b[:, :4], np.linalg.pinv(frame.T @ frame)) if general else (b, np.eye(D))
    landscape = Landscape(engine, M, sign, mu=0.7, penalty=1.3, frame=frame)
    value, grad = landscape.value_and_grad(z.ravel())
    assert len(grad) == landscape.n_parameters == z.size
    expected = literal(x, y, w, landscape.rows(z.ravel()), sign, 0.7, 1.3, matrix)
    assert value == pytest.approx(expected, rel=1e-12)
    for i, e in enumerate(np.eye(z.size)):
        t = 1e-4
        numeric = (landscape.value(z.ravel() + t * e) - landscape.value(z.ravel() - t * e)) / (2 * t)
        assert grad[i] == pytest.approx(numeric, rel=1e-5, abs=1e-5)


def test_a_fitted_network_is_subtracted_in_the_same_pass():
    x, y, _, b, _ = problem(2)
    network = Parameters(np.random.default_rng(3).standard_normal((2, D)), np.array([0.5, -1.0]), np.ones(D), 0.3)
    f = np.maximum(x @ network.weights.T, 0) @ network.output_weights + x @ network.linear + 0.3
    subtracted = Landscape(ThreadEngine(ArraySource(x, y), 1), M, 1.0, residual=network, activation=RELU)
    plain = Landscape(ThreadEngine(ArraySource(x, y - f), 1), M, 1.0)
    ours, expected = subtracted.value_and_grad(b.ravel()), plain.value_and_grad(b.ravel())
    assert ours[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-11, atol=1e-11)


def test_tensor_form_equals_the_sweeps():
    x, y, _, b, engine = problem(4)
    by_rows = Landscape(engine, M, -1.0, mu=2.0, penalty=0.4)
    by_tensor = TensorLandscape(moment_tensor(x, y), M, -1.0, mu=2.0, penalty=0.4)
    ours, expected = by_rows.value_and_grad(b.ravel()), by_tensor.value_and_grad(b.ravel())
    assert ours[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-11, atol=1e-11)
    direct = np.einsum("abcd,ja,jb,jc->jd", moment_tensor(x, y), b, b, b)
    np.testing.assert_allclose(by_rows.cubes(b), direct, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(by_tensor.cubes(b), direct, rtol=1e-11, atol=1e-11)


def test_projected_rows_give_the_same_landscape_inside_the_subspace():
    _, _, _, _, engine = problem(5)
    basis = np.linalg.qr(np.random.default_rng(6).standard_normal((D, M)))[0].T
    inside = np.random.default_rng(7).standard_normal((M, M))
    whole = Landscape(engine, M, 1.0).value_and_grad((inside @ basis).ravel())
    reduced = Landscape(MomentSweeps(engine).reduced(basis), M, 1.0).value_and_grad(inside.ravel())
    assert reduced[0] == pytest.approx(whole[0], rel=1e-12)
    np.testing.assert_allclose(
        reduced[1].reshape(M, M), whole[1].reshape(M, D) @ basis.T, rtol=1e-11, atol=1e-11
    )  # fmt: skip


def teacher(condition):
    rng = np.random.default_rng(8)
    q, p = (np.linalg.qr(rng.standard_normal((M, M)))[0] for _ in range(2))
    rows = q @ np.diag(np.linspace(1.0, condition, M)) @ p
    return rows / np.linalg.norm(rows, axis=1)[:, None], np.array([1.0, 1.5, 2.0])


def test_orthogonal_teacher_stretched_as_stated_is_stationary():
    """|b_j|^2 = 1 / (1 - c_j / lambda) with c_j = |sigma_4| mu a_j / (2 sqrt 6)."""
    rows, a = teacher(1.0)
    mu, penalty = 3.0, 2.0
    landscape = TensorLandscape(population_tensor(rows, a, RELU), M, -1.0, mu=mu, penalty=penalty)
    c = FOURTH * mu * a / (2 * np.sqrt(6))
    b = rows[[2, 0, 1]] / np.sqrt(1 - c[[2, 0, 1]] / penalty)[:, None] * np.array([[1.0], [-1.0], [1.0]])
    value, grad = landscape.value_and_grad(b.ravel())
    assert np.abs(grad).max() < 1e-10
    rng = np.random.default_rng(9)
    assert all(landscape.value((b + 1e-3 * rng.standard_normal(b.shape)).ravel()) > value for _ in range(50))


def test_general_teacher_is_stationary_in_the_metric_of_the_second_moment():
    """b_j = D (sqrt 2 sigma_2 a)^(-1/2) B^-T, D as for orthogonal rows with amplitudes 1 / (2 sigma_2^2 a)."""
    rows, a = teacher(2.0)
    mu, penalty = 3.0, 20.0
    second = RELU.hermite_coefficients(4)[2]
    matrix = np.sqrt(2) * second * (rows.T * a) @ rows
    values, vectors = np.linalg.eigh(matrix)
    landscape = TensorLandscape(
        population_tensor(rows, a, RELU), M, -1.0, mu=mu, penalty=penalty, frame=(vectors / np.sqrt(values)).T
    )
    c = FOURTH * mu / (2 * second**2 * a) / (2 * np.sqrt(6))
    scale = (np.sqrt(2) * second * a) ** -0.5 / np.sqrt(1 - c / penalty)
    b = scale[:, None] * np.linalg.inv(rows).T
    z = b @ vectors * np.sqrt(values)
    np.testing.assert_allclose(landscape.rows(z.ravel()), b)
    assert np.abs(landscape.value_and_grad(z.ravel())[1]).max() < 1e-10


def test_duplicated_rows_have_negative_curvature_only_below_mu_of_twelve():
    """Curvature -4 sqrt 6 |sigma_4| a (1 - mu / 12) along the split of a duplicated row on unit rows."""
    rows, a = np.eye(M), np.ones(M)
    b = np.array([rows[0], rows[0], rows[1]])
    split = np.zeros((M, M))
    split[0, 2], split[1, 2] = 1.0, -1.0
    for mu, falls in ((6.0, True), (24.0, False)):
        landscape = TensorLandscape(population_tensor(rows, a, RELU), M, -1.0, mu=mu, penalty=0.0)

        def turned(t, landscape=landscape):
            moved = b + t * split
            return landscape.value((moved / np.linalg.norm(moved, axis=1)[:, None]).ravel())

        curvature = (turned(1e-3) - 2 * turned(0.0) + turned(-1e-3)) / 1e-6
        assert (curvature < 0) == falls


def test_a_tensor_cannot_move_to_other_rows():
    with pytest.raises(ValueError, match="make it from their tensor"):
        TensorLandscape(np.zeros((2,) * 4), 2, 1.0).on(None)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_hermite_kernel_is_the_gram_matrix_of_the_features(degree):
    from numpy.polynomial.hermite_e import hermeval
    from scipy.special import factorial

    rng = np.random.default_rng(10)
    z = rng.standard_normal((37, 3))
    powers = [e for e in itertools.product(range(degree + 1), repeat=3) if sum(e) <= degree]
    he = [hermeval(z, np.eye(degree + 1)[p]) / np.sqrt(factorial(p)) for p in range(degree + 1)]
    features = np.array([np.prod([he[p][:, a] for a, p in enumerate(e)], axis=0) for e in powers]).T
    np.testing.assert_allclose(hermite_kernel(z, degree), features @ features.T, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("weighted", [False, True])
def test_dual_regression_has_the_coefficients_of_the_primal_one(weighted):
    rng = np.random.default_rng(11)
    x, y = rng.standard_normal((30, D)), rng.standard_normal(30)
    w = np.where(np.arange(30) < 5, 0.0, 1.0 + rng.random(30)) if weighted else None
    if weighted:
        w /= w[w > 0].mean()
    basis = np.linalg.qr(rng.standard_normal((D, M)))[0].T
    sweeps = MomentSweeps(ThreadEngine(ArraySource(x, y, w), 1))
    primal, _ = sweeps.hermite_regression(basis, 4, ridge=0.3)
    dual = MomentSweeps(sweeps.hermite_dual(basis, 4, 0.3)).hermite(np.eye(M), (3, 4))
    for ours, expected in zip(dual, primal[3:], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [1999, 2000])
def test_dual_regression_in_half_the_room_of_single_precision(n):
    """8 MB of packed kernel for 2000 rows (32 as doubles), blocks of a few rows beside it."""
    rng = np.random.default_rng(12)
    x, y, w = rng.standard_normal((n, 8)), rng.standard_normal(n), rng.exponential(size=n)
    w[0] = 500.0  # held to 200 times the mean
    sweeps = MomentSweeps(ThreadEngine(ArraySource(x, y, w), 1))
    sweeps.hermite_dual(np.eye(8), 2, 0.2)  # loads what is loaded late
    tracemalloc.start()
    alpha = sweeps.hermite_dual(np.eye(8), 4, 0.2).source.y
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    matrix = hermite_kernel(x, 4) / n + np.diag(0.2 / np.minimum(w / w.mean(), 200.0))
    np.testing.assert_allclose(alpha, np.linalg.solve(matrix, y), rtol=1e-9, atol=1e-9)
    assert w[0] > 200.0 * w.mean() and peak < 14e6


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_dual_regression_of_responses_beyond_single_precision(scale):
    rng = np.random.default_rng(13)
    x, y = 10.0 * rng.standard_normal((60, 6)), rng.standard_normal(60)
    alphas = [
        MomentSweeps(ThreadEngine(ArraySource(x, factor * y), 1)).hermite_dual(np.eye(6), 4, 0.2).source.y
        for factor in (1.0, scale)
    ]
    np.testing.assert_allclose(alphas[1] / scale, alphas[0], rtol=1e-6)
    np.testing.assert_allclose((hermite_kernel(x, 4) / 60 + 0.2 * np.eye(60)) @ alphas[0], y, rtol=1e-6, atol=1e-6)
