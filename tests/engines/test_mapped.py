"""A linear map of rows that are not touched: every sum must be that of rows which are.

The oracle is an engine on the mapped rows themselves, for every row function, for square, wide and diagonal maps.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastrecover.engines import Engine, MappedEngine, ThreadEngine
from fastrecover.kernels import Op
from fastrecover.models import Network, Parameters, get_model
from fastrecover.sources import ArraySource
from fastrecover.sweeps import Landscape, MomentSweeps, Objective, local_rows

N, D, K = 150, 5, 3
RNG = np.random.default_rng(0)
X, Y, W = RNG.standard_normal((N, D)), RNG.standard_normal(N), RNG.random(N) + 0.5
SEED = np.random.SeedSequence(1)
MAPS = {
    "square": RNG.standard_normal((D, D)),
    "fewer rows": RNG.standard_normal((D - 2, D)),
    "diagonal": np.array([1e-3, 1.0, 2.0, -5.0, 1e4]),
}


def pair(name: str) -> tuple[Engine, Engine]:
    """The map of an engine, and an engine on mapped rows."""
    t = MAPS[name]
    root = 1.0 / t if t.ndim == 1 else np.linalg.pinv(t)
    z = X * t if t.ndim == 1 else X @ t.T
    return MappedEngine(ThreadEngine(ArraySource(X, Y, W), 1), t, root), ThreadEngine(ArraySource(z, Y, W), 1)


def close(a, b) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max(initial=1e-300))


@pytest.fixture(params=MAPS)
def engines(request) -> tuple[Engine, Engine]:
    return pair(request.param)


@pytest.mark.parametrize(
    "model",
    [
        get_model("tanh", K, output_weights="free", fit_intercept=True, linear_term=True),
        get_model("relu", K, output_weights="ones"),
        get_model("fcn", K),
    ],
    ids=["tanh", "relu", "fcn"],
)
def test_objectives(engines, model: Network):
    mapped, plain = (Objective(e.with_responses(lambda y: (y > 0) * 1.0), model) for e in engines)
    d = plain.n_features
    theta, direction = np.random.default_rng(3).standard_normal((2, model.n_parameters(d))) * 0.3
    close(mapped.value_and_grad(theta), plain.value_and_grad(theta))
    close(mapped.gauss_newton(theta), plain.gauss_newton(theta))
    close([mapped.hessp(theta, direction)], [plain.hessp(theta, direction)])
    close([mapped.predict(theta)], [plain.predict(theta)])
    close([mapped.values(np.array([theta, direction]))], [plain.values(np.array([theta, direction]))])
    close([mapped.residual(theta).predict(theta)], [plain.residual(theta).predict(theta)])
    if model.loss.least_squares:
        at = plain.unpack(theta)
        close([mapped.output_regression(at)[2]], [plain.output_regression(at)[2]])


def test_moments(engines):
    d = engines[1].shape[1]
    v, alpha = np.linalg.qr(np.random.default_rng(4).standard_normal((d, 2)))[0].T, np.ones(d)
    found = Parameters(np.ones((1, d)), np.ones(1), np.ones(d), 0.5)
    mapped, plain = (MomentSweeps(e, found, get_model("relu", 1).activation) for e in engines)
    for sums in (
        lambda m: m.first()[1:2],
        lambda m: m.second_moments(),
        lambda m: [m.product(v, 3, alpha), m.product(v, 4, alpha), m.slices(v)],
        lambda m: [m.third_packed(), m.third_packed(v)],
        lambda m: m.hermite(v, (2, 3)),
        lambda m: m.hermite_losses(v, (2,)),
        lambda m: m.quartic(v, 1.0, 2.0)[0],
    ):
        close(sums(mapped), sums(plain))


def test_landscape(engines):
    mapped, plain = (Landscape(e, 2, 1.0) for e in engines)
    b = np.random.default_rng(5).standard_normal(mapped.n_parameters) * 0.1
    close(mapped.value_and_grad(b), plain.value_and_grad(b))


def test_other_engines_of_it(engines):
    mapped, plain = engines
    d = plain.shape[1]
    inverse, shift = np.random.default_rng(6).standard_normal((d, d)), np.arange(d) / 10.0
    assert mapped.shape == plain.shape
    for made in (
        lambda e: e,
        lambda e: e.sample(40, SEED),
        lambda e: e.part(1, 3),
        lambda e: e.projected(np.ones((2, d))),
        lambda e: e.whitened(shift, inverse, copy=True),
        lambda e: e.whitened(shift if d == D else 0 * shift, np.ones(d), copy=False),
        lambda e: e.with_weights(lambda y, w: w * 2.0),
    ):
        close(
            [a for a in local_rows(made(mapped)) if a is not None],
            [a for a in local_rows(made(plain)) if a is not None],
        )
    assert mapped.weights() == plain.weights() and mapped.response_variance() == plain.response_variance()


def test_every_row_function_is_met():
    """A new row function has to say here what a map of rows does to its sums."""
    known = {"LOSS", "CURVATURE", "GRAM", "PREDICT", "MOMENT", "PAIRS", "LANDSCAPE", "THIRD", "HERMITE", "HERMITE_GRAM"}
    assert {op.name for op in Op} == known
