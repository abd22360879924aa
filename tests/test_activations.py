"""Activations against mpmath, closed forms and the published tables of Hermite coefficients.

Nothing here reuses the quadrature or the formulas under test: values and derivatives come from mpmath at 60
digits, moments from closed forms or from mpmath's own integrator.
"""

from __future__ import annotations

import copy
import math
import pickle

import mpmath as mp
import numpy as np
import pytest
from twins import HALF_SQUARE, TWINS, sigmoid, sigmoid_slope

from fastrecover.activations import MAX_SCALE, MIN_SCALE, NAMES, USER_CODE, Activation, get_activation

C = 1 / math.sqrt(2 * math.pi)
FORMULAS = {
    "relu": lambda z: z if z > 0 else mp.mpf(0),
    "leaky_relu": lambda z: z if z > 0 else z / 10,
    "squared_relu": lambda z: z * z if z > 0 else mp.mpf(0),
    "quadratic": lambda z: z * z,
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "tanh": mp.tanh,
    "erf": mp.erf,
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "abs": abs,
}


def mp_moment(name, order, s):
    """Return E[phi(s z) He_order(z)] by mpmath's integrator, panels refined towards 0."""

    def integrand(z):
        hermite = (1, z, z * z - 1, z**3 - 3 * z, z**4 - 6 * z * z + 3)[order]
        return FORMULAS[name](s * z) * hermite * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)

    half = [mp.mpf(0)] + [mp.mpf(10) ** (e / 2) / s for e in range(-4, 5)]
    half = [e for e in half if e < 4] + [4, 8, 14]
    with mp.workdps(25):
        return float(mp.quad(integrand, [-e for e in reversed(half)] + half[1:]))


@pytest.mark.parametrize("name", NAMES)
def test_value_and_derivatives_are_those_of_mpmath(name):
    phi = get_activation(name)
    z = np.array([-40.3, -27.1, -9.7, -3.3, -1, -0.4, -1e-3, -1e-9, 1e-9, 2e-3, 0.3, 1, 2.9, 6.1, 19.7, 40.3])
    with mp.workdps(60):
        point = [mp.mpf(float(each)) for each in z]
        step = mp.mpf(10) ** -20
        f = FORMULAS[name]
        value = [f(p) for p in point]
        first = [(f(p + step) - f(p - step)) / (2 * step) for p in point]
        second = [(f(p + step) - 2 * f(p) + f(p - step)) / step**2 for p in point]
        expected = [np.array([float(e) for e in row]) for row in (value, first, second)]
    for order, got in enumerate((phi.value(z), phi.derivative(z), phi.second_derivative(z))):
        assert got.dtype == np.float64 and got.shape == z.shape
        np.testing.assert_allclose(got, expected[order], rtol=(2e-15, 5e-15, 5e-15)[order], atol=1e-18)


@pytest.mark.parametrize("name", NAMES)
def test_nan_passes_through_and_infinities_give_limits(name):
    phi = get_activation(name)
    z = np.array([np.nan, -np.inf, np.inf])
    limits = {
        "relu": ([0, np.inf], [0, 1], [0, 0]),
        "leaky_relu": ([-np.inf, np.inf], [0.1, 1], [0, 0]),
        "squared_relu": ([0, np.inf], [0, np.inf], [0, 2]),
        "quadratic": ([np.inf, np.inf], [-np.inf, np.inf], [2, 2]),
        "sigmoid": ([0, 1], [0, 0], [0, 0]),
        "tanh": ([-1, 1], [0, 0], [0, 0]),
        "erf": ([-1, 1], [0, 0], [0, 0]),
        "softplus": ([0, np.inf], [0, 1], [0, 0]),
        "abs": ([np.inf, np.inf], [-1, 1], [0, 0]),
    }[name]
    for got, limit in zip((phi.value(z), phi.derivative(z), phi.second_derivative(z)), limits, strict=True):
        assert np.isnan(got[0])
        np.testing.assert_array_equal(got[1:], limit)


def test_kinks_follow_the_convention():
    assert get_activation("relu").derivative(0.0) == 0.0
    assert get_activation("leaky_relu", slope=0.3).derivative(0.0) == 0.3
    assert get_activation("squared_relu").second_derivative(0.0) == 0.0
    assert get_activation("leaky_relu", slope=0.0).value(-np.inf) == 0.0


@pytest.mark.parametrize("s", [0.01, 0.5, 1.0, 3.0, 1000.0])
def test_moments_have_the_closed_forms(s):
    a = 0.25
    root = math.sqrt(1 + 2 * s * s)
    table = {
        "relu": [C * s, s / 2, C * s, 0, -C * s],
        "leaky_relu": [(1 - a) * C * s, (1 + a) * s / 2, (1 - a) * C * s, 0, -(1 - a) * C * s],
        "squared_relu": [s * s / 2, 2 * C * s * s, s * s, 2 * C * s * s, 0],
        "quadratic": [s * s, 0, 2 * s * s, 0, 0],
        "erf": [0, 2 * s / (math.sqrt(math.pi) * root), 0, -4 * s**3 / (math.sqrt(math.pi) * root**3), 0],
    }
    for name, expected in table.items():
        phi = get_activation(name, slope=a if name == "leaky_relu" else None)
        got = phi.moments(s)
        size = max(abs(e) for e in expected)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13 * size)
        nonzero = np.array(expected) != 0
        np.testing.assert_allclose(got[nonzero], np.array(expected)[nonzero], rtol=1e-13)


def test_moments_have_the_published_check_values():
    got = get_activation("sigmoid").moments([0.5, 1, 2, 5, 10])
    np.testing.assert_allclose(got[:, 1], [0.118022, 0.206621, 0.302853, 0.375724, 0.392596], atol=6e-7)
    np.testing.assert_allclose(got[:, 3], [-0.012520, -0.062396, -0.181798, -0.334400, -0.380313], atol=6e-7)
    np.testing.assert_allclose(get_activation("tanh").moments(1.0)[[1, 3]], [0.605706, -0.363595], atol=6e-7)
    np.testing.assert_allclose(get_activation("erf").moments(1.0)[[1, 3]], [0.651470, -0.434313], atol=6e-7)


@pytest.mark.parametrize(
    ("name", "s"),
    [("sigmoid", 0.02), ("sigmoid", 20.0), ("tanh", 1.0), ("tanh", 5.0), ("softplus", 0.1), ("softplus", 20)],
)
def test_moments_match_mpmath(name, s):
    got = get_activation(name).moments(s)
    expected = np.array([mp_moment(name, order, s) for order in range(5)])
    vanishing = np.abs(expected) < 1e-18
    np.testing.assert_allclose(got[~vanishing], expected[~vanishing], rtol=2e-12)
    # What parity takes away is left as rounding of the terms that cancel.
    np.testing.assert_allclose(got[vanishing], 0.0, atol=1e-14 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.39894, 0.5, 0.28209, 0, -0.08143]),
        ("leaky_relu", [0.35905, 0.55, 0.25389, 0, -0.07329]),
        ("softplus", [0.80606, 0.5, 0.14610, 0, -0.01274]),
        ("squared_relu", [0.5, 0.79788, 0.70711, 0.32574, 0]),
        ("quadratic", [1, 0, 1.41421, 0, 0]),
        ("tanh", [0, 0.60571, 0, -0.14844, 0]),
        ("sigmoid", [0.5, 0.20662, 0, -0.02547, 0]),
        ("abs", [0.79788, 0, 0.56419, 0, -0.16287]),
    ],
)
def test_hermite_coefficients_match_the_published_table(name, expected):
    np.testing.assert_allclose(get_activation(name).hermite_coefficients(), expected, atol=6e-6)


def test_hermite_coefficients_of_user_functions_match_the_published_table():
    absolute = Activation.from_functions(
        abs, lambda z: math.copysign(1.0, z), name="absolute", degree=1, parity="even", kinks=(0.0,)
    )
    cosine = Activation.from_functions(math.cos, lambda z: -math.sin(z), parity="even")
    silu = Activation.from_functions(
        lambda z: z / (1 + math.exp(-z)),
        lambda z: (1 + math.exp(-z) * (1 + z)) / (1 + math.exp(-z)) ** 2,
        name="silu",
    )
    for phi, expected in (
        (absolute, [0.79788, 0, 0.56419, 0, -0.16287]),
        (cosine, [0.60653, 0, -0.42888, 0, 0.12381]),
        (silu, [0.20662, 0.5, 0.24809, 0, -0.03781]),
    ):
        np.testing.assert_allclose(phi.hermite_coefficients(), expected, atol=6e-6)
        assert (phi.subspace_order, phi.tensor_order) == (2, 4)


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("relu", (2, 4)),
        ("leaky_relu", (2, 4)),
        ("squared_relu", (2, 3)),
        ("abs", (2, 4)),
        ("quadratic", (2, None)),
        ("sigmoid", (3, 3)),
        ("tanh", (3, 3)),
        ("erf", (3, 3)),
        ("softplus", (2, 4)),
    ],
)
def test_orders_of_the_moment_method(name, orders):
    phi = get_activation(name)
    assert (phi.subspace_order, phi.tensor_order) == orders


def test_moments_take_any_shape_and_zero_scale():
    phi = get_activation("sigmoid")
    s = np.linspace(0, 3, 300).reshape(3, 100)
    got = phi.moments(s, max_order=3)
    assert got.shape == (3, 100, 4)
    np.testing.assert_allclose(got[0, 0], [0.5, 0, 0, 0], rtol=1e-14, atol=0)
    # An even moment of sigmoid is zero, summed of terms of the size of the others.
    alone = phi.moments(s[2, 7], 3)
    np.testing.assert_allclose(got[2, 7], alone, rtol=0, atol=1e-14 * np.abs(alone).max())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("quadratic", "abs")])
def test_scale_from_first_moment_round_trips(name):
    phi = get_activation(name)
    s = np.geomspace(0.02, 15.0, 13)
    found, clipped = phi.scale_from_moment(1, phi.moments(s, 1)[:, 1])
    np.testing.assert_allclose(found, s, rtol=1e-10)
    assert not clipped.any()


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
def test_scale_from_third_moment_round_trips(name):
    phi = get_activation(name)
    s = np.geomspace(0.02, 15.0, 12).reshape(3, 4)
    found, clipped = phi.scale_from_moment(3, phi.moments(s)[..., 3])
    assert found.shape == s.shape and not clipped.any()
    np.testing.assert_allclose(found, s, rtol=1e-10)


def test_scale_of_erf_has_its_closed_form():
    s = np.array([0.1, 0.7, 2.0, 6.0])
    found, _ = get_activation("erf").scale_from_moment(1, 2 * s / np.sqrt(np.pi * (1 + 2 * s**2)))
    np.testing.assert_allclose(found, s, rtol=1e-11)


def test_targets_out_of_range_are_clipped_and_told():
    sigmoid = get_activation("sigmoid")
    inside = float(sigmoid.moments(2.0, 1)[1])
    found, clipped = sigmoid.scale_from_moment(1, [-0.1, inside, 0.3989, 7.0])
    np.testing.assert_array_equal(clipped, [True, False, True, True])
    np.testing.assert_allclose(found, [MIN_SCALE, 2.0, MAX_SCALE, MAX_SCALE], rtol=1e-12)
    found, clipped = sigmoid.scale_from_moment(1, 0.39, max_scale=5.0)
    assert found == 5.0 and clipped
    found, clipped = get_activation("relu").scale_from_moment(1, [-1.0, 0.0, 500.0])
    np.testing.assert_allclose(found, [0.0, 0.0, 1000.0])
    np.testing.assert_array_equal(clipped, [True, False, False])


@pytest.mark.parametrize(("name", "order"), [("sigmoid", 2), ("relu", 3), ("quadratic", 1), ("softplus", 3)])
def test_zero_moments_fix_no_scale(name, order):
    with pytest.raises(ValueError, match=f"m_{order} of {name} is zero"):
        get_activation(name).scale_from_moment(order, 0.1)


def test_constant_moment_is_not_inverted():
    with pytest.raises(ValueError, match="m_0 of sigmoid is not strictly monotone"):
        get_activation("sigmoid").scale_from_moment(0, 0.5)


def test_user_activation_with_a_kink_off_zero_is_exact():
    shifted = Activation.from_functions(lambda z: max(z - 0.7, 0.0), lambda z: 1.0 if z > 0.7 else 0.0, kinks=[0.7])
    assert shifted.code == USER_CODE and shifted.kinks == (0.7,) and not shifted.has_second_derivative
    for s in (0.3, 1.0, 4.0, 50.0):
        a = 0.7 / s
        density = C * math.exp(-a * a / 2)
        tail = math.erfc(a / math.sqrt(2)) / 2
        expected = np.array([density - a * tail, tail, density, a * density, (a * a - 1) * density]) * s
        np.testing.assert_allclose(shifted.moments(s), expected, rtol=1e-12, atol=1e-16)
    with pytest.raises(ValueError, match="no second derivative"):
        shifted.second_derivative(1.0)


def test_user_copy_of_a_built_in_agrees_with_it():
    mine = Activation.from_functions(
        math.tanh,
        lambda z: 1 - math.tanh(z) ** 2,
        lambda z: -2 * math.tanh(z) * (1 - math.tanh(z) ** 2),
        name="my_tanh",
        parity="odd",
    )
    tanh = get_activation("tanh")
    z = np.linspace(-3, 3, 12).reshape(3, 4)
    for method in ("value", "derivative", "second_derivative"):
        np.testing.assert_allclose(getattr(mine, method)(z), getattr(tanh, method)(z), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(mine.moments([0.5, 2.0]), tanh.moments([0.5, 2.0]), atol=1e-14)
    found, _ = mine.scale_from_moment(3, tanh.moments(1.3)[3])
    assert found == pytest.approx(1.3, rel=1e-8)


TRAITS = (
    "degree",
    "parity",
    "is_quadratic",
    "quadratic_coefficient",
    "smoothness",
    "reflects_into_intercept",
    "odd_slope",
)


def traits(phi):
    return {name: getattr(phi, name) for name in TRAITS}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", (1, None, False, None, 1, False, 1.0)),
        ("leaky_relu", (1, None, False, None, 1, False, 1.1)),
        ("squared_relu", (2, None, False, None, 2, False, None)),
        ("quadratic", (2, "even", True, 1.0, None, False, None)),
        ("sigmoid", (None, None, False, None, None, True, None)),
        ("tanh", (None, "odd", False, None, None, False, None)),
        ("erf", (None, "odd", False, None, None, False, None)),
        ("softplus", (None, None, False, None, None, False, 1.0)),
        ("abs", (1, "even", False, None, 1, False, None)),
    ],
)
def test_traits_of_built_in_functions(name, expected):
    assert traits(get_activation(name)) == dict(zip(TRAITS, expected, strict=True))


@pytest.mark.parametrize("name", TWINS)
def test_a_users_copy_has_the_traits_and_moments_of_the_built_in_one(name):
    mine, built_in = TWINS[name], get_activation(name)
    assert mine.odd_slope == (None if built_in.odd_slope is None else pytest.approx(built_in.odd_slope, rel=1e-14))
    assert traits(mine) | {"odd_slope": built_in.odd_slope} == traits(built_in)
    s = np.array([1e-3, 0.05, 1.0, 6.0])
    for got, expected in zip(mine.moments(s), built_in.moments(s), strict=True):
        # Moments fall with the power of a small scale, and keep their digits only where derivatives are integrated.
        present = np.abs(expected) > 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(got[present], expected[present], rtol=1e-10)


def test_traits_of_multiples():
    make = Activation.from_functions
    assert traits(HALF_SQUARE) == traits(get_activation("quadratic")) | {"quadratic_coefficient": 0.5}
    mean = make(lambda z: 3 * sigmoid(2 * z), lambda z: 6 * sigmoid_slope(2 * z))
    assert mean.reflects_into_intercept and mean.odd_slope is None
    gate = make(lambda z: 4 * z * sigmoid(z), lambda z: 4 * (sigmoid(z) + z * sigmoid_slope(z)))
    assert gate.odd_slope == pytest.approx(4.0, rel=1e-14) and not gate.reflects_into_intercept
    tiny = make(lambda z: 1e-14 * z**3, lambda z: 3e-14 * z * z)
    assert (tiny.degree, tiny.parity) == (3, "odd")


def bent(order, at=0.0):
    """(z - at)_+^order / order!, whose derivative of that order jumps, as a user writes it: with two derivatives."""
    return [
        lambda z, p=order - i: max(z - at, 0.0) ** p / math.factorial(p) if p > 0 else float(z > at) * (p == 0)
        for i in range(3)
    ]


@pytest.mark.parametrize("at", [0.0, 0.7, -1e3])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_smoothness_is_the_order_of_the_derivative_that_jumps(order, at):
    lowest = None if order == 3 else order
    assert Activation.from_functions(*bent(order, at), kinks=(at,)).smoothness == lowest
    first = Activation.from_functions(*bent(order, at)[:2], kinks=(at,))
    assert first.smoothness == min(order, 2)  # a kink of what is not given
    if abs(at) < 4:
        assert Activation.from_functions(*bent(order, at)).smoothness == lowest  # not declared
    steep = Activation.from_functions(
        lambda z: math.tanh(1e3 * z), lambda z: 1e3 * (1 - math.tanh(1e3 * z) ** 2), kinks=(at,)
    )
    assert steep.smoothness == 2 and Activation.from_functions(*steep.functions).smoothness is None


@pytest.mark.parametrize("at", [0.0, 0.7, -2.5, 1 / 3])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_jumps_that_are_not_declared_are_found(order, at):
    mine = Activation.from_functions(*bent(order, at))
    declared = Activation.from_functions(*bent(order, at), kinks=(at,))
    assert mine.kinks == pytest.approx((at,), abs=1e-11) and mine.smoothness == order
    np.testing.assert_allclose(mine.moments([0.3, 1.0, 9.0]), declared.moments([0.3, 1.0, 9.0]), rtol=1e-8, atol=1e-12)


def test_symmetries_are_found_only_where_they_hold():
    make = Activation.from_functions
    clipped = make(lambda z: min(max(z, 0.0), 50.0), lambda z: float(0 < z < 50), kinks=(0.0, 50.0))
    assert clipped.degree is None
    steep = make(lambda z: math.exp(z * z * z), lambda z: 3 * z * z * math.exp(z * z * z))  # overflows beyond 8.9
    assert (steep.degree, steep.parity) == (None, None)
    root = make(lambda z: math.sqrt(z + 4), lambda z: 0.5 / math.sqrt(z + 4))  # nothing below -4
    assert (root.degree, root.parity) == (None, None)


def test_user_activation_is_checked():
    make = Activation.from_functions
    with pytest.raises(ValueError, match="derivative disagrees with finite differences of function at z"):
        make(math.sin, math.sin)
    with pytest.raises(ValueError, match="second_derivative disagrees"):
        make(math.sin, math.cos, math.sin)
    with pytest.raises(ValueError, match="finite"):
        make(lambda z: math.nan, lambda z: 0.0)
    with pytest.raises(ValueError, match="parity is given as 'even'"):
        make(math.sin, math.cos, parity="even")
    with pytest.raises(ValueError, match="degree is given as 2"):
        make(lambda z: z**3, lambda z: 3 * z * z, degree=2)
    with pytest.raises(ValueError, match="degree must be a positive integer"):
        make(math.sin, math.cos, degree=0)
    with pytest.raises(ValueError, match="parity must be"):
        make(math.sin, math.cos, parity="left")
    with pytest.raises(ValueError, match="kinks must be finite"):
        make(math.sin, math.cos, kinks=(math.inf,))
    with pytest.raises(ValueError, match="built-in"):
        make(math.sin, math.cos, name="relu")
    with pytest.raises(TypeError, match="derivative must be callable"):
        make(math.sin, 3)
    with pytest.raises(TypeError, match="function must take one float"):
        make(lambda z: "text", math.cos)


def test_unknown_names_and_wrong_types_are_explained():
    with pytest.raises(ValueError, match="unknown activation 'sigmod'; did you mean 'sigmoid'"):
        get_activation("sigmod")
    with pytest.raises(ValueError, match="known: relu"):
        get_activation("zzzz")
    with pytest.raises(TypeError, match="name or an Activation, got int"):
        get_activation(3)
    for slope in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"slope must be in \[0, 1\)"):
            get_activation("leaky_relu", slope=slope)
    with pytest.raises(TypeError, match="slope must be a number"):
        get_activation("leaky_relu", slope="steep")
    with pytest.raises(ValueError, match="slope belongs to leaky_relu"):
        get_activation("relu", slope=0.1)
    relu = get_activation("relu")
    assert get_activation(relu) is relu


def test_bad_numbers_are_refused():
    phi = get_activation("sigmoid")
    with pytest.raises(ValueError, match="s must"):
        phi.moments([-1.0])
    with pytest.raises(ValueError, match="s must"):
        phi.moments([math.inf])
    with pytest.raises(ValueError, match="max_order"):
        phi.moments(1.0, -1)
    with pytest.raises(ValueError, match="target must be finite"):
        phi.scale_from_moment(1, [math.nan])
    with pytest.raises(ValueError, match="max_scale"):
        phi.scale_from_moment(1, 0.1, max_scale=0.0)


def test_equality_hash_pickle_and_copy():
    assert len(NAMES) == len(set(NAMES)) == 9
    assert [get_activation(name).code for name in NAMES] == [*range(8), 1]  # abs is a leaky_relu of slope -1
    for name in NAMES:
        phi = get_activation(name)
        for twin in (pickle.loads(pickle.dumps(phi)), copy.copy(phi), copy.deepcopy(phi)):
            assert twin == phi and hash(twin) == hash(phi)
    assert get_activation("leaky_relu").slope == 0.1
    assert get_activation("leaky_relu", slope=0.2) != get_activation("leaky_relu")
    mine = Activation.from_functions(math.sin, math.cos)
    assert mine == Activation.from_functions(math.sin, math.cos) and mine != get_activation("tanh")
    assert pickle.loads(pickle.dumps(mine)) == mine
