"""Minima that lie in kinks: the model of the loss nearby by its definition, and that nothing beside them is lower."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

import fastrecover as fr
from fastrecover.solvers import KinkedGaussNewton
from fastrecover.solvers.kinks import _box_minimum, _to_minimum
from fastrecover.sweeps import KinkedModel, kinked_model


def problem(seed, kind="squared", n=200, d=5, k=3, alpha=1.0, activation="relu"):
    """Noisy responses of a wider network than the one that is fitted: rows few enough for minima to lie in kinks."""
    rng = np.random.default_rng(seed)
    m = 3 if kind == "softmax" else 1
    x = rng.standard_normal((n, d))
    f = np.maximum(x @ rng.standard_normal((d, 5)), 0.0) @ rng.standard_normal((5, m))
    f += 0.3 * rng.standard_normal((n, m))
    if kind == "squared":
        model, y = fr.models.Regression(activation, k, "free", True, linear_term=True, hidden_bias=True), f[:, 0]
    elif kind == "poisson":
        model, y = fr.models.Poisson(activation, k, "softplus", hidden_bias=True), rng.poisson(np.abs(f[:, 0]))
    else:
        model, y = fr.models.Logistic(activation, k), f.argmax(axis=1)
    return x, y, model, alpha


KINDS = ["squared", "softmax", "poisson"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_the_model_is_that_of_gauss_newton_and_jumps_are_those_of_the_gradient(kind, activation):
    x, y, model, alpha = problem(0, kind, activation=activation)
    objective = fr.objective(x, y, model, alpha=alpha)
    theta = 0.5 * np.random.default_rng(1).standard_normal(objective.n_parameters)
    found = kinked_model(objective, theta, 10_000)
    loss, grad, matrix = objective.gauss_newton(theta)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(found.grad, grad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.matrix, matrix, rtol=0, atol=1e-12)
    assert 0 < len(found.offsets) < len(x) * model.n_hidden  # those that are concave are left out
    # Each is crossed alone, by a bias: the gradient jumps by as much as is said.
    k, d = model.n_hidden, x.shape[1]
    p = objective.unpack(theta)
    z = x @ p.weights.T + p.biases
    for jump, offset in list(zip(found.jumps, found.offsets, strict=True))[:6]:
        at = k * d + int(np.argmax(np.abs(jump[: k * d]).reshape(k, d).sum(axis=1)))
        s = offset / jump[at]  # the jump of the bias is a itself
        assert np.abs(z[:, at - k * d] - s).min() < 1e-12 and jump[at] > 0.0
        before, behind = theta.copy(), theta.copy()
        before[at] -= s + 1e-7
        behind[at] -= s - 1e-7
        change = objective.value_and_grad(behind)[1] - objective.value_and_grad(before)[1]
        np.testing.assert_allclose(change, kinked_model(objective, before, 1).jumps[0], rtol=0, atol=1e-6)
        assert np.linalg.norm(change) > 1e-5
    # The nearest come first.
    np.testing.assert_array_equal(kinked_model(objective, theta, 5).jumps, found.jumps[:5])
    away = np.abs(found.offsets) / np.linalg.norm(found.jumps, axis=1)
    assert (np.diff(away) >= -1e-15).all()


def test_boxes_are_minimised_to_the_last_digits():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((12, 8)), 2.0 * rng.standard_normal(12)
        t = _box_minimum(a.T @ a, a.T @ b, np.full(8, 0.5))
        best = optimize.lsq_linear(a, -b, (0.0, 1.0), method="bvls", tol=1e-14).x
        np.testing.assert_allclose(t, best, rtol=0, atol=1e-9)
        assert (best % 1.0 == 0.0).any()  # the box holds some
    assert _box_minimum(np.zeros((0, 0)), np.zeros(0), np.zeros(0)).shape == (0,)


def test_steps_end_in_the_minimum_of_the_model():
    """Brute force in two dimensions: ``g'd + d'Gd / 2 + sum a max(0, s + x'd) - a max(0, s)``."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        root, m = rng.standard_normal((3, 2)), 6
        directions, rises, offsets = rng.standard_normal((m, 2)), rng.uniform(0.1, 1.0, m), 0.5 * rng.standard_normal(m)
        before = rng.standard_normal(2)
        behind = offsets > 0.0
        grad = before + (rises[behind, None] * directions[behind]).sum(axis=0)
        model = KinkedModel(0.0, grad, root.T @ root, rises[:, None] * directions, rises * offsets)

        def value(d, g=before, G=root.T @ root, x=directions, a=rises, s=offsets):
            kinks = a * (np.maximum(0.0, s + x @ d) - np.maximum(0.0, s))
            return g @ d + d @ G @ d / 2 + kinks.sum()

        step, fall = _to_minimum(model, 0.0)
        assert -value(step) == pytest.approx(fall, rel=1e-6, abs=1e-9)
        best = min(
            optimize.minimize(value, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}).fun
            for start in (step, np.zeros(2))
        )
        assert value(step) <= best + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_beside_a_minimum_is_lower(kind):
    """Steps of many lengths in random directions and back along gradients on all sides find nothing lower."""
    x, y, model, alpha = problem(2, kind)
    with_seed = fr.fit(x, y, model, alpha=alpha, restarts=2, random_state=0)
    objective = fr.objective(x, y, with_seed.model, alpha=alpha)
    solver = KinkedGaussNewton()
    state = solver.begin(objective, objective.model.pack(with_seed.parameters))
    for _ in range(60):
        state = solver.step(objective, state)
        if state.stopped or state.decrement < 1e-8:
            break
    # Half its square is what a step gains, and sixteen roundings of a loss near 1/2 are not told apart.
    assert state.decrement < 6e-8
    # The gradient is far from zero: the minimum lies in kinks, and descent along gradients cannot see that it is one.
    assert np.linalg.norm(state.grad) > 1e-4
    rng = np.random.default_rng(3)
    for length in 10.0 ** np.arange(-7, -2):
        around = state.theta + length * rng.standard_normal((200, len(state.theta))) / np.sqrt(len(state.theta))
        losses, grads = objective.values_and_grads(around)
        assert losses.min() >= state.loss - 1e-13
        back = state.theta - length * grads / np.linalg.norm(grads, axis=1)[:, None]
        assert objective.values(back).min() >= state.loss - 1e-13


@pytest.mark.filterwarnings("ignore:not all weights are determined")
@pytest.mark.parametrize("kind", KINDS)
def test_penalised_fits_of_kinked_units_converge(kind):
    for seed in range(4):
        x, y, model, alpha = problem(seed, kind)
        assert fr.fit(x, y, model, alpha=alpha, restarts=2, random_state=0).converged
