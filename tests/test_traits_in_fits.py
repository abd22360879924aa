"""A user's own function is treated by what it is: a square as a square, a sigmoid as a sigmoid, whatever its name."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastrecover as fr


def scaled_square(c: float) -> fr.Activation:
    return fr.Activation.from_functions(
        lambda z: c * z * z, lambda z: 2 * c * z, lambda z: 2 * c, name=f"{c} z^2", degree=2, parity="even"
    )


def planted(n: int, signs=(1.0, 1.0, -1.0), noise: float = 0.0, d: int = 8):
    teacher = fr.datasets.make_teacher("quadratic", d, len(signs), output_weights=signs, random_state=2)
    return teacher, *teacher.sample(n, noise=noise, random_state=3)


def form(rec: fr.Recovery, c: float = 1.0) -> np.ndarray:
    return c * rec.weights.T @ (rec.output_weights[:, None] * rec.weights)


@pytest.mark.parametrize("c", [1.0, 0.5, -2.0])
@pytest.mark.parametrize("n", [60, 4000])
def test_a_users_square_is_a_quadratic_network(c, n):
    """Also from as few rows as the built-in one is recovered from: 2.5 d k."""
    teacher, X, y = planted(n)
    own = fr.fit(X, y, scaled_square(c), n_hidden=3, random_state=0)
    built_in = fr.fit(X, y, "quadratic", n_hidden=3, random_state=0)
    assert own.converged and built_in.error(teacher) < 1e-7
    np.testing.assert_allclose(form(own, c), form(built_in), atol=1e-7 * np.abs(form(built_in)).max())
    turned = fr.fit(X, y, scaled_square(c), n_hidden=3, random_state=1)
    assert own.error(turned) < 1e-7  # though its rows are others


def test_the_users_square_takes_the_same_way():
    """With c = 1 every step is that of the built-in one, up to the rounding of its other kernel."""
    _, X, y = planted(4000, noise=0.3)
    own = fr.fit(X, y, scaled_square(1.0), n_hidden=3, random_state=0)
    built_in = fr.fit(X, y, "quadratic", n_hidden=3, random_state=0)
    assert own.n_passes == built_in.n_passes and own.info["start"] == built_in.info["start"] == "spectral"
    np.testing.assert_allclose(form(own), form(built_in), rtol=1e-7, atol=1e-9)


def test_a_users_smooth_function_has_no_kinks():
    soft = fr.Activation.from_functions(
        lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))), lambda z: 1.0 / (1.0 + math.exp(-z)), name="soft"
    )
    hinge = fr.Activation.from_functions(
        lambda z: max(z, 0.0), lambda z: 1.0 if z > 0 else 0.0, name="hinge", degree=1, kinks=(0.0,)
    )
    _, X, y = planted(200)
    kinked = [fr.objective(X, y, act, 2).kinked for act in (soft, hinge, "relu", "softplus", "squared_relu")]
    assert kinked == [False, True, True, False, False]


def test_a_users_sigmoid_gets_ones():
    logistic = fr.Activation.from_functions(
        lambda z: 1.0 / (1.0 + math.exp(-z)), lambda z: 1.0 / (2.0 + math.exp(z) + math.exp(-z)), name="logistic"
    )
    teacher = fr.datasets.make_teacher("sigmoid", 5, 2, random_state=0)
    X, y = teacher.sample(3000, noise=0.01, random_state=1)
    rec = fr.fit(X, y, logistic, n_hidden=2, random_state=0)
    assert rec.model.output_weights == "ones" and rec.error(teacher) < 0.2
    with pytest.raises(ValueError, match="not identifiable"):
        fr.fit(X, y, logistic, n_hidden=2, output_weights="signs")
