"""The spectral start against dense linear algebra, and its error where rows are few."""

from __future__ import annotations

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import ThreadEngine
from fastrecover.models import Parameters, Quadratic
from fastrecover.sources import ArraySource
from fastrecover.starts import affine_fit, small_random_start, spectral_start
from fastrecover.starts.spectral import (
    bounded_responses,
    definite,
    exchanges,
    leading_eigenvectors,
    narrower,
    wider,
)
from fastrecover.sweeps import Objective, local_rows


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def engine(x, y, w=None):
    return ThreadEngine(ArraySource(x, y, w), 1)


def start_errors(v, d, k, n, seeds, model=None, **options):
    errors, right = [], []
    for seed in seeds:
        teacher = fr.datasets.make_teacher(
            "quadratic", d, k, output_weights=v, condition_number=1.0, random_state=seed, **options
        )
        x, y = teacher.sample(n, random_state=seed + 1000, n_jobs=1)
        asked = teacher.model if model is None else teacher.model.with_output_weights(model)
        found = spectral_start(engine(x, y), asked, np.random.SeedSequence(seed))
        errors.append(teacher.model.error(found, teacher.parameters))
        right.append((found.output_weights > 0).sum() == (teacher.output_weights > 0).sum())
    return np.array(errors), np.array(right)


@pytest.mark.parametrize(
    "v, rows, options, bound",
    [
        ("ones", 3, {}, 0.66),
        ("ones", 10, {}, 0.34),
        ((1.0, 1.0, -1.0), 10, {}, 0.48),
        ("ones", 10, {"intercept": 2.0}, 0.36),
        ("ones", 10, {"linear_term": 2.0}, 0.36),
        ((1.0, 1.0, -1.0), 10, {"linear_term": 2.0, "intercept": 2.0}, 0.46),
    ],
)
def test_errors(v, rows, options, bound):
    """Bounds are the 99 % points of medians of 10 in 40 other seeds; plain moments stand at 1.8 and 0.84."""
    errors, right = start_errors(v, 50, 3, rows * 150, range(10), **options)
    assert np.median(errors) < bound
    assert right.all()


@pytest.mark.parametrize("options", [{}, {"intercept": 2.0}, {"linear_term": 2.0, "intercept": 2.0}])
@pytest.mark.parametrize("v", ["ones", (1.0, 1.0, -1.0), (1.0, -1.0, -1.0), (-1.0, -1.0, -1.0)])
def test_unknown_signs(v, options):
    """At n = 10 d k the signs were right for all of 40 other seeds of each case."""
    errors, right = start_errors(v, 30, 3, 900, range(5), "signs", **options)
    assert right.all()
    assert np.median(errors) < 0.6


def test_error_falls_as_the_root_of_n():
    small, large = (np.median(start_errors("ones", 20, 2, n, range(10))[0]) for n in (400, 40_000))
    assert large < 0.15 * small


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("v", ["ones", "signs"])
def test_bounded_responses(v, intercept, linear, weighted):
    """The formula written out, with the affine part of scipy-free least squares."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 8))
    y = (x @ rng.standard_normal((8, 2))) ** 2 @ np.ones(2) + x[:, 0] + 0.7
    w = rng.uniform(0.5, 2.0, 300) if weighted else np.ones(300)
    model = Quadratic(2, v, linear_term=linear, fit_intercept=intercept)
    rows = engine(x, y, w if weighted else None)
    mean = np.average(y, weights=w)
    affine = affine_fit(rows) if linear else Parameters(np.zeros((0, 8)), np.zeros(0), np.zeros(8), float(mean))
    features = np.c_[x, np.ones(300)] if linear else np.ones((300, 1))
    root = np.sqrt(w)
    residual = y - features @ np.linalg.lstsq(root[:, None] * features, root * y, rcond=None)[0]
    variance = np.average(residual**2, weights=w)
    trace = mean
    if intercept and v == "ones":
        trace = np.sqrt(variance)  # 2 = k equal eigenvalues l: tr M = 2 l, variance 2 tr M^2 = 4 l^2
    elif intercept:
        trace = np.clip(np.average(residual**3, weights=w) / (2 * variance), -np.sqrt(variance), np.sqrt(variance))
    q = residual + trace
    expected = (q - np.average(q, weights=w)) / (np.abs(q) + np.average(np.abs(q), weights=w) / 2)
    found = local_rows(bounded_responses(rows, model, affine))[1]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_weights_count_as_repeated_rows():
    teacher = fr.datasets.make_teacher("quadratic", 10, 2, output_weights=(1.0, -1.0), intercept=0.5, random_state=1)
    x, y = teacher.sample(400, random_state=2, n_jobs=1)
    w = np.random.default_rng(0).integers(0, 3, 400)
    weighted = spectral_start(engine(x, y, w.astype(float)), teacher.model, np.random.SeedSequence(0))
    repeated = spectral_start(engine(np.repeat(x, w, 0), np.repeat(y, w)), teacher.model, np.random.SeedSequence(0))
    assert teacher.model.error(weighted, repeated) < 1e-9


@pytest.mark.parametrize("d, products", [(40, 1), (400, 8)])
@pytest.mark.parametrize("positive", [None, 3, 2, 0])
def test_leading_eigenvectors(d, products, positive):
    """A bulk in [-1, 1] and five eigenvalues outside it, two of them below."""
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    values = rng.uniform(-1, 1, d)
    values[:5] = 3.0, 2.6, 2.2, -2.4, -2.8
    matrix, calls = (q * values) @ q.T, []

    def product(v):
        calls.append(len(v))
        return v @ matrix

    found, vectors = leading_eigenvectors(product, d, 3, rng, positive)
    expected = {None: (3.0, -2.8, 2.6), 3: (2.2, 2.6, 3.0), 2: (2.6, 3.0, -2.8), 0: (-2.8, -2.4, values[5:].min())}
    tight = 1e-10 if d == 40 else 1e-4
    np.testing.assert_allclose(
        found[: 2 if positive == 0 else 3], expected[positive][: 2 if positive == 0 else 3], atol=tight
    )
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-12)
    outside = vectors[:2] if positive == 0 else vectors
    residual = outside @ matrix - found[: len(outside), None] * outside
    assert np.linalg.norm(residual) < (1e-10 if d == 40 else 2e-2)
    assert len(calls) == products


def test_same_bits_for_the_same_seed():
    teacher = fr.datasets.make_teacher("quadratic", 200, 2, output_weights="ones", random_state=0)
    x, y = teacher.sample(1500, random_state=1, n_jobs=1)
    starts = [spectral_start(engine(x, y), teacher.model, np.random.SeedSequence(5)) for _ in range(2)]
    np.testing.assert_array_equal(starts[0].flat(), starts[1].flat())


def test_all_signs_positive_where_no_response_is_negative():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4))
    positive, mixed = engine(x, x[:, 0] ** 2), engine(x, x[:, 0] ** 2 - x[:, 1] ** 2)
    assert definite(positive, Quadratic(2, "signs")).output_weights == "ones"
    for rows, model in (
        (mixed, Quadratic(2, "signs")),
        (positive, Quadratic(2, "signs", fit_intercept=True)),
        (positive, Quadratic(2, "signs", linear_term=True)),
        (positive, Quadratic(2, (1.0, -1.0))),
    ):
        assert definite(rows, model) is model


@pytest.mark.parametrize("v", ["ones", "signs", (2.0, -1.0)])
def test_wider_follows_the_steepest_descent(v):
    """The new row is the leading eigenvector of E[r x x'], at the length that a dense search finds best."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4000, 6))
    y = ((x @ rng.standard_normal((6, 3))) ** 2) @ np.array([1.0, 0.8, -1.5])
    model = Quadratic(2, v)
    at = Parameters(rng.standard_normal((2, 6)) * 0.3, np.array([1.0, -1.0]) if v != "ones" else np.ones(2))
    found = wider(engine(x, y), model, at, 1, rng)
    r = y - ((x @ at.weights.T) ** 2) @ at.output_weights
    values, vectors = np.linalg.eigh((x.T * r) @ x / len(x))
    best = -1 if v == "ones" else int(np.argmax(np.abs(values)))
    assert found.output_weights[-1] == np.sign(values[best])
    new = found.weights[-1]
    assert abs(new @ vectors[:, best]) == pytest.approx(np.linalg.norm(new), rel=1e-9)
    sizes = np.linspace(0, 3, 601)
    along = (x @ vectors[:, best]) ** 2
    losses = [np.mean((r - found.output_weights[-1] * s**2 * along) ** 2) for s in sizes]
    # 4000 rows give the mean of (u.x)^4 within some per cent.
    assert np.linalg.norm(new) == pytest.approx(sizes[int(np.argmin(losses))], rel=0.1)


@pytest.mark.parametrize("v", ["ones", "signs", (2.0, 1.0, -0.5)])
def test_narrower_is_the_nearest_of_its_signs(v):
    rng = np.random.default_rng(4)
    wide = Parameters(rng.standard_normal((6, 9)), np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0]), None, 0.3)
    model = Quadratic(3, v)
    found = narrower(model, wide)
    values, vectors = np.linalg.eigh(wide.weights.T @ (wide.output_weights[:, None] * wide.weights))
    chosen = {"ones": [-1, -2, -3], "signs": np.argsort(-np.abs(values))[:3]}.get(str(v), [-1, -2, 0])
    expected = (vectors[:, chosen] * values[chosen]) @ vectors[:, chosen].T
    mine = found.weights.T @ (found.output_weights[:, None] * found.weights)
    np.testing.assert_allclose(mine, expected, atol=1e-12 * np.abs(values).max())
    if model.known_v is not None:
        np.testing.assert_array_equal(found.output_weights, model.known_v)


def test_narrower_keeps_the_mean():
    rng = np.random.default_rng(4)
    wide = Parameters(rng.standard_normal((4, 5)), np.ones(4), rng.standard_normal(5), 0.3)
    found = narrower(Quadratic(2, linear_term=True, fit_intercept=True), wide)
    np.testing.assert_array_equal(found.linear, wide.linear)
    assert found.intercept + (found.weights**2).sum() == pytest.approx(0.3 + (wide.weights**2).sum())


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weak", [-0.3, 0.3])
def test_exchanges_find_the_unit_that_is_missing(weak, intercept):
    """Of M = diag(1, -0.5, weak, 0, ..) the third is known as a unit of the other sign somewhere else.

    At the best such network for infinitely many rows, S is 2 `weak` along the missing axis: with the one that stands
    there, all but nothing, in its place, the loss is what noise alone leaves.
    """
    n, d, noise = 40_000, 12, 0.5
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    y = x[:, :3] ** 2 @ [1.0, -0.5, weak] + 2.0 * intercept + noise * rng.standard_normal(n)
    rows, model = engine(x, y), Quadratic(3, "signs", fit_intercept=intercept)
    # Without an intercept the trace that is missing is shared among the units.
    h = 0.0 if intercept else weak / 4.0
    eye, v = np.eye(d), np.array([1.0, -1.0, -np.sign(weak)])
    size = np.sqrt([1.0 + h, 0.5 - h, 1e-4])
    wrong = Parameters(eye[[0, 1, 5]] * size[:, None], v, None, 2.0 * intercept + intercept * weak)
    loss = Objective(rows, model.with_output_weights(v)).value(model.with_output_weights(v).pack(wrong))
    first = exchanges(rows, model, wrong, loss, np.random.default_rng(1))[0]
    assert sorted(np.sign(first.output_weights)) == sorted([1.0, -1.0, np.sign(weak)])
    weakest = np.argmin(np.abs(np.linalg.norm(first.weights, axis=1) - np.sqrt(abs(weak))))
    unit = first.weights[weakest] / np.linalg.norm(first.weights[weakest])
    assert np.sign(first.output_weights[weakest]) == np.sign(weak) and abs(unit[2]) > 0.99
    signed = model.with_output_weights(first.output_weights)
    left = Objective(rows, signed).value(signed.pack(first))
    assert loss > 1.3 * noise**2 / 2 and left < 1.1 * noise**2 / 2


def test_right_units_are_not_exchanged():
    """Units far above the noise: not one of them, and where noise is less than any of them no row is read."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 12))
    y, v = x[:, :2] ** 2 @ [1.0, -0.3], np.array([1.0, -1.0])
    right = Parameters(np.eye(12)[:2] * np.sqrt([[1.0], [0.3]]), v)
    for noise, read in ((1.0, True), (0.1, False)):
        rows, model = engine(x, y + noise * rng.standard_normal(4000)), Quadratic(2, "signs")
        assert exchanges(rows, model, right, noise**2 / 2, np.random.default_rng(1)) == []
        assert (rows.meter.passes > 0) == read


def test_small_random_start():
    teacher = fr.datasets.make_teacher("quadratic", 30, 2, output_weights="ones", random_state=0)
    x, y = teacher.sample(500, random_state=1, n_jobs=1)
    rng = np.random.default_rng(0)
    found = small_random_start(engine(x, y), teacher.model, rng)
    assert (found.weights**2).sum() == pytest.approx(0.01 * y.mean())
    half = small_random_start(engine(x, y, np.r_[np.ones(250), np.zeros(250)]), teacher.model, rng, size=0.5)
    assert (half.weights**2).sum() == pytest.approx(0.5 * y[:250].mean())
    assert not np.allclose(half.weights, found.weights)
