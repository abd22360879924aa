"""Elementary functions of users' activations against mpmath, to 3 units in the last place over the double range."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit, vectorize
from test_activation_accuracy import ORACLE, arguments, spacing

from fastrecover.kernels import elementary

EXACT = {name: getattr(ORACLE, name) for name in ("exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh", "erf")}
EXACT["expit"] = lambda x: 1 / (1 + ORACLE.exp(-x))
FAR = 2000  # beyond it all but logarithms have reached their limits
LIMITS = {  # at -inf, -0.0, 0.0 and inf
    "exp": (0, 1, 1, math.inf),
    "expm1": (-1, -0.0, 0, math.inf),
    "log": (math.nan, -math.inf, -math.inf, math.inf),
    "log1p": (math.nan, -0.0, 0, math.inf),
    "sinh": (-math.inf, -0.0, 0, math.inf),
    "cosh": (math.inf, 1, 1, math.inf),
    "tanh": (-1, -0.0, 0, 1),
    "erf": (-1, -0.0, 0, 1),
    "expit": (0, 0.5, 0.5, 1),
}


def loop(function):
    @njit
    def each(z, out):
        for i in range(z.size):
            out[i] = function(z[i])

    def of(z):
        out = np.empty_like(z)
        each(z, out)
        return out

    return of


@pytest.mark.parametrize("name", EXACT)
def test_within_three_ulp(name):
    z = arguments()
    logarithm = name.startswith("log")
    z = z[z > -1.0] if name == "log1p" else z[z > 0.0] if logarithm else z
    near = 1.0 + np.random.default_rng(3).uniform(-1e-3, 1e-3, 300)  # where log vanishes
    z = np.concatenate([z, near])
    cut = z if logarithm else np.clip(z, -FAR, FAR)
    exact = [EXACT[name](ORACLE.mpf(each)) for each in cut]
    nearest = np.array([float(each) for each in exact])
    result = loop(getattr(elementary, name))(z)
    overflow = np.isinf(nearest)
    np.testing.assert_array_equal(result[overflow], nearest[overflow])
    for one, found, wanted, target in zip(z, result, exact, nearest, strict=True):
        if not math.isinf(target):
            error = abs((ORACLE.mpf(found) - wanted) / ORACLE.mpf(spacing(np.array([target]))[0]))
            assert error <= 3, f"{name}: {float(error):.3g} ulp at {one!r}"


@pytest.mark.parametrize("name", LIMITS)
def test_limits_zeros_and_nan(name):
    z = np.tile([-math.inf, -0.0, 0.0, math.inf, math.nan], 7)
    expected = np.tile([*LIMITS[name], math.nan], 7)
    result = loop(getattr(elementary, name))(z)
    np.testing.assert_array_equal(result, expected)
    zeros = result == 0.0
    np.testing.assert_array_equal(np.signbit(result[zeros]), np.signbit(expected[zeros]))


@pytest.mark.parametrize("name", ["logaddexp", "maximum", "minimum"])
def test_functions_of_two_numbers_are_those_of_numpy(name):
    edges = [-math.inf, -3.0, -0.5, 0.0, 0.5, 700.0, math.inf, math.nan, *np.random.default_rng(4).normal(0, 3, 50)]
    a, b = (each.ravel() for each in np.meshgrid(edges, edges))
    ours = vectorize(["f8(f8, f8)"])(getattr(elementary, name).py_func)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(ours(a, b), getattr(np, name)(a, b), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, math.inf)])
def test_numbers_are_chosen_as_by_numpy(low, high):
    z = np.array([-math.inf, -1.5, -1.0, 0.0, 1.0, 3.0, math.inf, math.nan])
    np.testing.assert_array_equal([elementary.clip(each, low, high) for each in z], np.clip(z, low, high))
    chosen = [elementary.where(each > 0, each, low) for each in z]
    np.testing.assert_array_equal(chosen, np.where(z > 0, z, low))
