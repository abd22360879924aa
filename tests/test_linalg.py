"""Small normal equations against the orthogonal solution of the problem that they come from."""

from __future__ import annotations

import numpy as np
import pytest

from fastrecover.linalg import least_squares, mirrored


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-7])
def test_least_squares(scale):
    """The second of three columns is nearly parallel to the first; at 1e-7 its own part is lost in the squares."""
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    a[:, 1] = a[:, 0] + scale * a[:, 1]
    expected = np.linalg.lstsq(a, y, rcond=1e-6)[0]
    found = least_squares(a.T @ a, a.T @ y)
    np.testing.assert_allclose(a @ found, a @ expected, atol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_singular_and_empty_systems():
    a, y = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]]), np.array([1.0, 3.0])
    np.testing.assert_allclose(least_squares(a.T @ a, a.T @ y), np.linalg.lstsq(a, y, rcond=None)[0], atol=1e-14)
    np.testing.assert_array_equal(least_squares(np.zeros((2, 2)), np.zeros(2)), [0.0, 0.0])
    assert least_squares(np.zeros((0, 0)), np.zeros(0)).shape == (0,)


def test_mirrored():
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((4, 4))
    whole += whole.T
    np.testing.assert_array_equal(mirrored(np.triu(whole) + np.tril(rng.standard_normal((4, 4)), -1)), whole)
