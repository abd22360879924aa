"""Expected losses against quadrature of the loss itself, never of pair terms, and against 50-digit arithmetic.

Two units span a plane, so their loss is a double integral.  Homogeneous units without biases need only its angle (the
radius integrates to a Gamma function), analytic units converge exponentially under the trapezoidal rule, and kinked
ones take panels, or SciPy's adaptive rule, with the kinks as break points.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from symmetries import turned_round

import fastrecover as fr
from fastrecover.activations import NAMES, Activation, get_activation
from fastrecover.datasets import Teacher, make_teacher
from fastrecover.models import (
    Classification,
    ConvRegression,
    Logistic,
    Parameters,
    Poisson,
    Quadratic,
    Regression,
)
from fastrecover.population import population_risk

ANGLES = [0.0, 1e-9, 1e-3, 0.05, 0.7, math.pi / 2, 2.5, math.pi - 1e-6, math.pi]
HOMOGENEOUS = {
    "relu": (1, lambda z: np.maximum(z, 0)),
    "leaky_relu": (1, lambda z: np.where(z > 0, z, 0.25 * z)),
    "squared_relu": (2, lambda z: np.maximum(z, 0) ** 2),
    "quadratic": (2, lambda z: z**2),
}
SMOOTH = {
    "sigmoid": expit,
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
    "erf": get_activation("erf").value,
}

# One unit of this is a relu and an intercept, yet no multiple of anything that has a closed form.
RAISED_RELU = Activation.from_functions(
    lambda z: 1.0 + z if z > 0 else 1.0, lambda z: 1.0 if z > 0 else 0.0, name="raised_relu", kinks=(0.0,)
)
USER_ERF = Activation.from_functions(
    math.erf, lambda z: 2 / math.sqrt(math.pi) * math.exp(-min(z * z, 700.0)), name="my_erf", parity="odd"
)
CLIP = Activation.from_functions(
    lambda z: min(max(z, -1.0), 0.5), lambda z: 1.0 if -1 < z < 0.5 else 0.0, name="clip", kinks=(-1.0, 0.5)
)


def network(activation, weights, v=None, linear=None, intercept=0.0, slope=None, biases=None):
    """A network with everything free; `v` ones unless given, and a matrix for several outputs."""
    weights = np.array(weights, float)
    k, v = len(weights), np.ones(len(weights)) if v is None else np.array(v, float)
    linear, biases = (None if each is None else np.array(each, float) for each in (linear, biases))
    model = Regression(activation, k, "free", True, linear is not None, biases is not None, slope=slope)
    if v.ndim == 2:
        model, intercept = model.changed(n_outputs=len(v)), np.broadcast_to(intercept, len(v))
    return Teacher(model, Parameters(weights, v, linear, intercept, None, biases))


def at_angle(length, t):
    # cos(pi / 2) and sin(pi) are not exact zeros.
    return [length * math.cos(t), 0.0 if t == math.pi else length * math.sin(t)]


def moved(net, theta):
    return Teacher(net.model, net.model.unpack(theta, net.parameters.weights.shape[1]))


def slope_along(student, teacher, direction, step=1e-3):
    """Directional derivative by central differences of fourth order."""
    theta = student.model.pack(student.parameters)
    at = {m: population_risk(moved(student, theta + m * step * direction), teacher) for m in (-2, -1, 1, 2)}
    return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)


@pytest.mark.parametrize("name", HOMOGENEOUS)
@pytest.mark.parametrize("t", ANGLES)
def test_homogeneous_units_at_every_angle(name, t):
    degree, phi = HOMOGENEOUS[name]
    slope = 0.25 if name == "leaky_relu" else None
    u, v = np.array([1.3, 0.0]), np.array(at_angle(0.4, t))
    risk = population_risk(network(name, [u], [2.0], slope=slope), network(name, [v], [-3.0], slope=slope))

    def loss(angle):
        x = np.array([math.cos(angle), math.sin(angle)])
        return 0.5 * (2.0 * phi(u @ x) + 3.0 * phi(v @ x)) ** 2

    kinks = sorted({(base + side) % (2 * np.pi) for base in (0.0, t) for side in (np.pi / 2, 3 * np.pi / 2)})
    panels = np.concatenate([[0.0], kinks, [2 * np.pi]])
    total = sum(quad(loss, a, b, epsabs=1e-14, epsrel=1e-13)[0] for a, b in zip(panels, panels[1:], strict=False))
    # E rho^2 = 2, E rho^4 = 8
    assert risk == pytest.approx(total / (2 * np.pi) * (2 if degree == 1 else 8), rel=1e-12)


def panels(edges):
    """Nodes and weights (times the normal density) on every line of edges, (n, q)."""
    x, w = np.polynomial.legendre.leggauss(16)
    middle, radius = (edges[:, 1:] + edges[:, :-1]) / 2, np.diff(edges, axis=1) / 2
    nodes = (middle[:, :, None] + radius[:, :, None] * x).reshape(len(edges), -1)
    weight = (radius[:, :, None] * w).reshape(len(edges), -1)
    return nodes, weight * np.exp(-0.5 * nodes**2) / math.sqrt(2 * np.pi)


def panelled(loss, ours, v, theirs):
    """E loss(x, y) for kinks at x in `ours` and v . (x, y) in `theirs`."""
    base = np.arange(-10.0, 10.5)
    bends = list(ours)
    for k in theirs:
        # Over y the kink is a step that has the width of the angle.
        widths = abs(v[1] / v[0]) * 2.0 ** np.arange(-3, 60) if v[1] and v[0] else np.zeros(0)
        widths = widths[widths < 1.0]
        bends += [] if v[0] == 0.0 else [k / v[0] + each for each in (0.0, *widths, *-widths)]
    edges = np.unique(np.clip(np.concatenate([base, bends]), -10.0, 10.0))[None]
    x, outer = (each[0] for each in panels(edges))
    centres = (np.array(theirs)[None] - v[0] * x[:, None]) / v[1] if v[1] else np.zeros((len(x), 1))
    inside = np.concatenate([np.broadcast_to(base, (len(x), len(base))), np.clip(centres, -10.0, 10.0)], axis=1)
    y, inner = panels(np.sort(inside, axis=1))
    return outer @ (loss(x[:, None], y) * inner).sum(axis=1)


#: In units of the lengths of rows: on and off for most inputs, both ways round, the same line and one that is at 0.
PLACES = [(0.7, -0.3), (-1.1, -0.4), (1.6, 2.3), (-0.5, 0.5), (-0.5, -0.5), (0.0, 1.0), (-3.0, 2.5)]


@pytest.mark.parametrize("name", [name for name in HOMOGENEOUS if name != "quadratic"])
@pytest.mark.parametrize("t", ANGLES)
def test_homogeneous_units_with_biases_at_every_angle(name, t):
    phi, slope = HOMOGENEOUS[name][1], 0.25 if name == "leaky_relu" else None
    u, v = np.array([1.3, 0.0]), np.array(at_angle(0.4, t))
    for alpha, beta in PLACES:
        a, b = 1.3 * alpha, 0.4 * beta
        nets = network(name, [u], [2.0], slope=slope, biases=[a]), network(name, [v], [-3.0], slope=slope, biases=[b])

        def loss(x, y, a=a, b=b):
            return 0.5 * (2.0 * phi(1.3 * x + a) + 3.0 * phi(v[0] * x + v[1] * y + b)) ** 2

        assert population_risk(*nets) == pytest.approx(panelled(loss, [-alpha], v, [-b]), rel=1e-12, abs=0)


def test_leaky_relus_of_two_slopes_and_relu_are_told_apart():
    x = np.random.default_rng(0).standard_normal(3)
    for pair, expected in (((0.3, 0.1), 0.2), ((0.5, None), 0.5)):
        # The same row: the difference is (a - b) min(z, 0), and E min(z, 0)^2 = |x|^2 / 2.
        nets = [network("relu" if a is None else "leaky_relu", [x], slope=a) for a in pair]
        assert population_risk(*nets) == pytest.approx(0.25 * expected**2 * (x @ x), rel=1e-13)


def trapezoid(f, step, reach=9.5):
    """E f(x) over two standard normal variables; exponentially accurate in 1/step for analytic f."""
    grid = np.arange(-reach, reach + step / 2, step)
    weight = np.exp(-0.5 * grid**2) * step / math.sqrt(2 * np.pi)
    return weight @ f(grid[:, None], grid[None, :]) @ weight


@pytest.mark.parametrize(
    "first, second",
    [
        ("sigmoid", "sigmoid"),
        ("tanh", "tanh"),
        ("softplus", "softplus"),
        ("erf", "erf"),
        ("tanh", "softplus"),
        ("sigmoid", "erf"),
    ],
)
@pytest.mark.parametrize(
    "s, r, t, biases",
    [
        (1, 2, 0.0, (0.0, 0.0)),
        (1, 2, 1e-3, (0.0, 0.0)),
        (0.01, 3, 0.7, (0.0, 0.0)),
        (6, 4, math.pi / 2, (0.0, 0.0)),
        (1, 1.5, math.pi, (0.0, 0.0)),
        (12, 20, 0.05, (0.0, 0.0)),
        (20, 20, math.pi - 0.01, (0.0, 0.0)),
        (1, 2, 0.0, (0.5, -1.2)),
        (0.01, 3, 0.7, (-2.0, 0.4)),
        (0.0, 3, 0.7, (0.8, -6.0)),
        (20, 20, 0.02, (25.0, 24.0)),
        (12, 20, math.pi - 0.01, (-9.0, 15.0)),
        (3, 2, 1.9, (1e-9, -40.0)),
    ],
)
def test_smooth_units_with_linear_term_and_intercept(first, second, s, r, t, biases):
    u, v, b = np.array([s, 0.0]), np.array(at_angle(r, t)), np.array([0.3, -0.2])
    nets = network(first, [u], [1.5], b, 0.4, biases=biases[:1]), network(second, [v], [0.7], biases=biases[1:])
    risk = population_risk(*nets)

    def loss(x, y):
        f = 1.5 * SMOOTH[first](s * x + biases[0]) + b[0] * x + b[1] * y + 0.4
        return 0.5 * (f - 0.7 * SMOOTH[second](v[0] * x + v[1] * y + biases[1])) ** 2

    # Poles at i pi / |u| (tanh: i pi / 2 |u|); the rule errs by exp(-2 pi distance / step).
    assert risk == pytest.approx(trapezoid(loss, 0.2 / max(s, r, 1)), rel=1e-11)


@pytest.mark.parametrize(
    "t, s, r",
    [
        (0.0, 1, 1),
        (1e-9, 2, 0.5),
        (0.05, 30, 10),
        (0.15, 1, 1),
        (1.0, 10, 3),
        (math.pi - 1e-4, 100, 100),
        (1.0, 1e-4, 3e-4),
    ],
)
@pytest.mark.parametrize("places", [(0.0, 0.0), (0.8, -0.5), (-1.5, -1.501), (2.0, 0.0)])
@pytest.mark.parametrize("mine, known, raised", [(RAISED_RELU, "relu", 1.0), (USER_ERF, "erf", 0.0)])
def test_series_and_quadrature_agree_with_closed_forms(mine, known, raised, places, t, s, r):
    units = list(zip(([s, 0.0], at_angle(r, t)), (0.6, -1.2), (s * places[0], r * places[1]), strict=True))
    value, grad = population_risk(*(network(mine, [w], [v], biases=[a]) for w, v, a in units), gradient=True)
    closed = (network(known, [w], [v], intercept=raised * v, biases=[a]) for w, v, a in units)
    expected, slopes = population_risk(*closed, gradient=True)
    slopes[3] += raised * slopes[4]
    assert value == pytest.approx(expected, rel=1e-12, abs=0)
    np.testing.assert_allclose(grad, slopes, rtol=1e-11, atol=1e-12 * np.abs(slopes).max())


@pytest.mark.parametrize("a, b", [(0.0, 0.0), (0.6, -0.9), (-1.4, 0.3)])
@pytest.mark.parametrize("phi, r, t", [(CLIP, 1.7, 0.03), (CLIP, 0.8, 1.2), (CLIP, 1.7, math.pi)])
def test_kinks_away_from_zero(phi, r, t, a, b):
    s = 1.1
    v = at_angle(r, t)
    value = population_risk(network(phi, [[s, 0.0]], biases=[a]), network(phi, [v], biases=[b]))

    def loss(x, y):
        return 0.5 * (phi.value(s * x + a) - phi.value(v[0] * x + v[1] * y + b)) ** 2

    total = panelled(loss, [(k - a) / s for k in phi.kinks], v, [k - b for k in phi.kinks])
    assert value == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("a, b", [(0.0, 0.0), (700.0, 0.4)])
@pytest.mark.parametrize(
    "name, phi, r, t",
    [("sigmoid", lambda z: 1 / (1 + math.exp(-z)) if z > -700 else 0.0, 1000.0, 0.2), ("tanh", math.tanh, 0.5, 0.04)],
)
def test_steep_units_of_length_1000(name, phi, r, t, a, b):
    s, b = 1000.0, b * r
    v = at_angle(r, t)
    value = population_risk(network(name, [[s, 0.0]], biases=[a]), network(name, [v], biases=[b]))
    bends = [(sign * e - a) / s for e in (0, 3, 20, 40) for sign in (-1, 1)]
    levels = [e - b for e in (-40, -20, -3, 0, 3, 20, 40)] if r > 1 else []
    total = nested(lambda x, y: 0.5 * (phi(s * x + a) - phi(v[0] * x + v[1] * y + b)) ** 2, bends, v, levels)
    assert value == pytest.approx(total, rel=1e-12)


def nested(loss, ours, v, theirs):
    """E loss(x, y), adaptively, with break points at x = `ours` and v . (x, y) = `theirs`."""

    def inner(x):
        points = [(k - v[0] * x) / v[1] for k in theirs] if v[1] else []
        return piecewise(lambda y: loss(x, y) * math.exp(-0.5 * y * y), points, 1e-14)

    crossings = [k / v[0] for k in theirs]
    return piecewise(lambda x: inner(x) * math.exp(-0.5 * x * x), [*ours, *crossings], 1e-13) / (2 * math.pi)


def piecewise(f, points, tolerance):
    edges = sorted({-9.0, -3.0, 0.0, 3.0, 9.0, *(p for p in points if abs(p) < 9)})
    return sum(
        quad(f, a, b, epsabs=tolerance, epsrel=1e-12, limit=200)[0] for a, b in zip(edges, edges[1:], strict=False)
    )


def test_hermite_identity_of_relu():
    """E r^2 = sum_k sigma_k^2 |sum_i a_i b_i^(x)k - sum_j a_j b_j^(x)k|^2 (Ge, Lee, Ma, arXiv 1711.00501)."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((7, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    a = rng.standard_normal(7)
    risk = population_risk(network("relu", rows[:4], a[:4]), network("relu", rows[4:], -a[4:]))
    gram = rows @ rows.T
    coefficients = [1 / math.sqrt(2 * math.pi), 0.5]
    for k in range(2, 150):
        log = math.lgamma(k - 1) / 2 if k % 2 else 0.0
        if k % 2 == 0:
            # (k - 3)!! = (k - 2)! / (2^(k/2 - 1) (k/2 - 1)!)
            log = math.lgamma(k - 1) - (k / 2 - 1) * math.log(2) - math.lgamma(k / 2) - 0.5 * math.lgamma(k + 1)
        coefficients.append(0.0 if k % 2 else math.exp(log) / math.sqrt(2 * math.pi))
    energies = np.square(coefficients)
    total = sum(energy * (a @ gram**k @ a) for k, energy in enumerate(energies))
    # Of higher orders only the diagonal is left, whose energies add up to E relu^2 = 1/2.
    assert np.abs(gram - np.eye(7)).max() ** 150 < 1e-12
    assert risk == pytest.approx(0.5 * (total + (0.5 - energies.sum()) * (a @ a)), rel=1e-12)


def test_quadratic_networks_of_unequal_width_by_their_matrices():
    rng = np.random.default_rng(4)
    w, v, b, c = rng.standard_normal((5, 4)), np.array([1.0, -2.0, 0.5, 1.5, -1.0]), rng.standard_normal(4), 0.7
    matrix = (w[:2].T * v[:2]) @ w[:2] - (w[2:].T * v[2:]) @ w[2:]
    expected = np.sum(matrix**2) + 0.5 * (np.trace(matrix) + c) ** 2 + 0.5 * b @ b
    student = network("quadratic", w[:2], v[:2], b, c)
    assert population_risk(student, network("quadratic", w[2:], v[2:])) == pytest.approx(expected, rel=1e-13)
    # A rotated factor is the same network.
    turned = Teacher(Quadratic(2), Parameters(np.linalg.qr(rng.standard_normal((2, 2)))[0] @ w[:2], np.ones(2)))
    rounding = 1e-14 * np.sum(w[:2] ** 2)
    assert population_risk(turned, Teacher(Quadratic(2), Parameters(w[:2], np.ones(2)))) < rounding**2


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SMOOTH, CLIP])
def test_gradient_is_that_of_finite_differences(name, full):
    """Along random directions, which no wrong entry escapes; `full`: free v, linear term, intercept and biases."""
    rng = np.random.default_rng(5)
    k, d = (1, 2) if name is CLIP else (3, 4)
    slope = 0.25 if name == "leaky_relu" else None
    biased = full and name != "quadratic"
    model = Regression(name, k, "free" if full else "ones", full, full, biased, slope=slope)
    v = np.array([1.0, -0.7, 0.4])[:k] if full else np.ones(k)
    linear, biases = rng.standard_normal(d) if full else None, np.array([0.4, -0.9, 1.3])[:k] if biased else None
    student = Teacher(model, Parameters(0.8 * rng.standard_normal((k, d)), v, linear, 0.3 * full, None, biases))
    other = "tanh" if name == "relu" else name
    theirs = np.array([-0.5, 0.7])[:k] if biased else None
    rows = 0.8 * rng.standard_normal((2, d))[:k]
    teacher = network(other, rows, [0.8, -1.1][:k], np.ones(d), -0.2, biases=theirs)
    value, grad = population_risk(student, teacher, gradient=True)
    assert value == pytest.approx(population_risk(student, teacher), rel=1e-14)
    assert grad.shape == (model.n_parameters(d),)
    for _ in range(2):
        direction = rng.standard_normal(grad.size)
        expected = slope_along(student, teacher, direction)
        assert grad @ direction == pytest.approx(expected, rel=1e-8, abs=1e-9 * np.linalg.norm(grad))


def test_gradient_near_parallel_and_antiparallel_rows():
    """1e-9 from 0 and from pi, where the cosine is 1 to rounding, against 50 digits."""
    for sign in (1.0, -1.0):
        u, v = np.array([1.0, 0.0]), sign * np.array([2.0, 2e-9])
        grad = population_risk(network("relu", [u]), network("relu", [v]), gradient=True)[1][:2]
        with mp.workdps(50):

            def risk(a, b, v=v):
                return mp_relu_risk([[a, b], list(v)], [1, -1])

            expected = [float(mp.diff(risk, (1, 0), order)) for order in ((1, 0), (0, 1))]
        # The part along u is exact to rounding of the sizes; the part across it is 1e-9 and keeps its digits.
        np.testing.assert_allclose(grad[0], expected[0], rtol=0, atol=1e-15)
        np.testing.assert_allclose(grad[1], expected[1], rtol=1e-12)


def mp_relu_risk(rows, v):
    def term(a, b):
        size = mp.sqrt(mp.fdot(a, a) * mp.fdot(b, b))
        t = mp.acos(max(min(mp.fdot(a, b) / size, 1), -1))
        return size * (mp.sin(t) + (mp.pi - t) * mp.cos(t)) / (2 * mp.pi)

    rows, v = [[mp.mpf(x) for x in row] for row in rows], [mp.mpf(x) for x in v]
    return mp.fsum(p * q * term(a, b) for p, a in zip(v, rows, strict=True) for q, b in zip(v, rows, strict=True)) / 2


@pytest.mark.parametrize("distance, tolerance", [(1e-2, 1e-11), (1e-4, 1e-10), (1e-8, 1e-6), (1e-11, 1e-3)])
def test_loss_close_to_the_truth_keeps_its_digits(distance, tolerance):
    """The loss is of the order of distance^2, far below 1e-16, and its error 1e-15 times the distance."""
    rng = np.random.default_rng(6)
    w, v = rng.standard_normal((3, 5)), np.array([1.0, -2.0, 0.7])
    # Two nearly parallel rows, one of which crosses the other on its way.
    w[1] = 1.3 * w[0] + 3 * distance * rng.standard_normal(5)
    student = w + distance * rng.standard_normal((3, 5))
    student[1] = 2.6 * w[0] - w[1]
    near = v + distance * rng.standard_normal(3)
    # Order and scale of the units do not matter.
    order = [2, 0, 1]
    value = population_risk(network("relu", 2 * student[order], near[order] / 2), network("relu", w, v))
    with mp.workdps(50):
        expected = float(mp_relu_risk(np.concatenate([student, w]).tolist(), [*near.tolist(), *(-v).tolist()]))
    assert value == pytest.approx(expected, rel=tolerance, abs=0)


def mp_biased_relu_risk(rows, biases, v):
    """By Price's theorem, twice: d/dr E[relu(x + a) relu(y + b)] = Phi2(a, b; r), and d/dr of that is the density."""
    rows, biases, v = ([mp.matrix(row) for row in rows], *([mp.mpf(x) for x in each] for each in (biases, v)))

    def term(i, j):
        s, r = mp.norm(rows[i]), mp.norm(rows[j])
        one, two = rows[i] / s, rows[j] / r
        a, b = biases[i] / s, biases[j] / r
        t = 2 * mp.atan2(mp.norm(one - two), mp.norm(one + two))
        end, cos = mp.pi / 2 - t, mp.cos(t)

        def density(angle):
            across = mp.cos(angle)
            inside = (a * a + b * b - 2 * a * b * mp.sin(angle)) / (2 * across**2) if across > 1e-30 else mp.inf
            if inside == mp.inf and a == b:
                inside = a * a / (1 + mp.sin(angle))
            return (cos - mp.sin(angle)) * mp.exp(-inside) / (2 * mp.pi)

        # Graded towards a correlation of one, where the density of two sides that nearly are the same one rises.
        stops = [mp.mpf(0), *(mp.sign(end) * (mp.pi / 2 - mp.mpf(10) ** -k) for k in range(14)), end]
        stops = [stop for stop in stops if abs(stop) <= abs(end)]
        ends = [x * mp.ncdf(x) + mp.npdf(x) for x in (a, b)]
        return s * r * (ends[0] * ends[1] + cos * mp.ncdf(a) * mp.ncdf(b) + mp.quad(density, stops))

    return mp.fsum(v[i] * v[j] * term(i, j) * (1 if i == j else 2) for i in range(len(v)) for j in range(i + 1)) / 2


@pytest.mark.parametrize("distance, tolerance", [(1e-4, 1e-9), (1e-8, 1e-6), (1e-11, 1e-3)])
def test_loss_close_to_a_truth_with_biases_keeps_its_digits(distance, tolerance):
    rng = np.random.default_rng(6)
    w, v, a = rng.standard_normal((2, 5)), np.array([1.0, -2.0]), np.array([0.4, -1.1])
    # Two rows that nearly are the same one.  One passes the other on its way, which bends the gradient.
    w[1], a[1] = 1.3 * w[0] + 3 * distance * rng.standard_normal(5), 1.3 * a[0] + distance
    rows, biases = w + distance * rng.standard_normal((2, 5)), a + distance * rng.standard_normal(2)
    rows[1] = 2.6 * w[0] - w[1]
    near = v + distance * rng.standard_normal(2)
    student = network("relu", 2 * rows[::-1], near[::-1] / 2, biases=2 * biases[::-1])
    value = population_risk(student, network("relu", w, v, biases=a))
    with mp.workdps(32):
        everything = [*rows.tolist(), *w.tolist()], [*biases, *a], [*near, *-v]
        expected = float(mp_biased_relu_risk(*everything))
    assert value == pytest.approx(expected, rel=tolerance, abs=0)


@pytest.mark.parametrize("distance, tolerance", [(1e-2, 1e-10), (1e-4, 1e-9), (1e-6, 1e-8)])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus"])
def test_smooth_loss_close_to_a_truth_keeps_its_digits(name, outputs, distance, tolerance):
    """By the trapezoidal rule for the loss, which cancels nothing but what the outputs do."""
    rng = np.random.default_rng(11)
    shape = (outputs, 2) if outputs > 1 else (2,)
    theta = [1.5 * rng.standard_normal((2, 2)), rng.standard_normal(shape), rng.standard_normal(2)]
    step = [distance * rng.standard_normal(each.shape) for each in theta]
    ours = [one + two for one, two in zip(theta, step, strict=True)]
    teacher, student = (network(name, w, v, biases=a) for w, v, a in (theta, ours))
    turned = student.parameters.reordered(np.array([1, 0]))
    if name != "softplus":  # without a linear term it has no other direction
        turned = turned_round(turned, student.model.activation, [0])

    def loss(x, y):
        z, by = (np.multiply.outer(x, w[:, 0]) + np.multiply.outer(y, w[:, 1]) + a for (w, _, a) in (theta, step))
        change = SMOOTH[name](z + by) - SMOOTH[name](z)
        residual = change @ np.atleast_2d(ours[1]).T + SMOOTH[name](z) @ np.atleast_2d(step[1]).T
        return 0.5 * (residual**2).sum(axis=-1)

    total = trapezoid(loss, 0.05)
    value = population_risk(Teacher(student.model, turned), teacher)
    assert value == pytest.approx(total, rel=tolerance, abs=0)


@pytest.mark.parametrize(
    "name, biased",
    [
        *((name, False) for name in [*HOMOGENEOUS, *SMOOTH, RAISED_RELU]),
        *((name, True) for name in [*HOMOGENEOUS, *SMOOTH] if name != "quadratic"),
    ],
)
def test_nothing_is_left_at_the_truth_and_its_square_beside_it(name, biased):
    """With biases also for two outputs."""
    rng = np.random.default_rng(7)
    k = 1 if name is RAISED_RELU else 3
    w, v, b = rng.standard_normal((k, 4)), np.array([1.5, -0.8, 0.5])[:k], rng.standard_normal(4)
    if biased:
        teacher = network(name, w, [v, -v[::-1]], [b, 2 * b], np.array([0.3, -0.2]), biases=[0.4, -1.0, 0.7][:k])
    else:
        teacher = network(name, w, v, b, 0.3)
    value, grad = population_risk(teacher, teacher, gradient=True)
    assert value < 1e-28 and np.abs(grad).max() < 1e-13
    theta, direction = teacher.model.pack(teacher.parameters), rng.standard_normal(grad.size)
    one, other = (population_risk(moved(teacher, theta + e * direction), teacher) / e**2 for e in (1e-4, 1e-9))
    assert one == pytest.approx(other, rel=1e-2)


def test_widths_may_differ():
    """A split unit is the same function, and an empty one adds nothing; zero rows have phi'(0) as derivative."""
    w = np.array([[1.0, 2.0], [0.5, -1.0]])
    for name in ("relu", "tanh"):
        teacher = network(name, w)
        wide = network(name, [w[0], w[0], w[1], [0.0, 0.0]], [0.25, 0.75, 1.0, 1.0])
        value, grad = population_risk(wide, teacher, gradient=True)
        assert value < 1e-13 and np.abs(grad).max() < 1e-13
        lonely = network(name, [[0.0, 0.0]])
        value, grad = population_risk(lonely, teacher, gradient=True)
        assert value == pytest.approx(population_risk(teacher, lonely), rel=1e-13)
        first = population_risk(network(name, w, linear=[0.0, 0.0]), lonely, gradient=True)[1][6:8]
        expected = -first if name == "tanh" else np.zeros(2)
        np.testing.assert_allclose(grad[:2], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
@pytest.mark.parametrize("bias", [None, 0.6])
def test_convolution_is_the_network_of_its_patches(name, bias):
    rng = np.random.default_rng(8)
    filters, biased = rng.standard_normal((2, 1, 2)), bias is not None
    nets = [
        Teacher(
            ConvRegression(3, name, True, biased),
            Parameters(w, np.array([1 / 3]), None, c, None, np.array([c + bias]) if biased else None),
        )
        for w, c in zip(filters, (0.4, -0.1), strict=True)
    ]
    dense = [
        network(name, np.kron(np.eye(3), n.weights), [1 / 3] * 3, None, n.intercept, None, np.repeat(n.biases, 3))
        for n in nets
    ]
    value, grad = population_risk(*nets, gradient=True)
    expected, rows = population_risk(*dense, gradient=True)
    assert value == pytest.approx(expected, rel=1e-13)
    folded = rows[:18].reshape(3, 3, 2)[np.arange(3), np.arange(3)].sum(axis=0)
    shared = [rows[18:21].sum()] if biased else []
    np.testing.assert_allclose(grad, [*folded, *shared, rows[-1]], rtol=1e-13)
    direction = rng.standard_normal(len(grad))
    assert grad @ direction == pytest.approx(slope_along(*nets, direction), rel=1e-8)


def test_gradient_holds_what_the_model_frees():
    teacher = make_teacher("relu", 4, 3, random_state=1)
    assert teacher.model.output_weights == "signs"
    for model, size in (
        (teacher.model, 12),
        (Regression("relu", 3, "ones", True), 13),
        (Regression("relu", 3, "free", True, True), 20),
    ):
        student = Teacher(model, Parameters(teacher.weights + 0.3, np.ones(3)))
        grad = population_risk(student, teacher, gradient=True)[1]
        assert grad.shape == (size,)
        full = population_risk(network("relu", student.weights, linear=np.zeros(4)), teacher, gradient=True)[1]
        expected = full if size == 20 else np.r_[full[:12], full[19:]] if size == 13 else full[:12]
        np.testing.assert_allclose(grad, expected, rtol=1e-13)


def test_a_recovery_is_judged_far_below_what_data_can_tell():
    teacher = make_teacher("relu", 4, 2, random_state=1)
    found = fr.fit(*teacher.sample(2000, random_state=2), "relu", 2, random_state=3, n_jobs=1)
    value, grad = population_risk(found, teacher, gradient=True)
    assert value < 1e-24 and grad.shape == (8,)


@pytest.mark.parametrize("name", ["softplus", "leaky_relu"])
def test_data_agree_within_sampling_error(name):
    """200,000 rows, 5 standard errors (a false alarm in 10^6): a relative error of 5 % of the loss is seen."""
    teacher = make_teacher(name, 5, 3, output_weights="free", intercept=0.5, linear_term=True, random_state=1)
    student = make_teacher(teacher.model, 5, intercept=-0.2, random_state=2)
    x, y = teacher.sample(200_000, random_state=3, n_jobs=1)
    objective = fr.objective(x, y, student.model, n_jobs=1)
    value = population_risk(student, teacher)
    seen = objective.value(student.model.pack(student.parameters))
    losses = 0.5 * (student.predict(x, n_jobs=1) - y) ** 2
    error = losses.std() / math.sqrt(len(x))
    assert error < 0.005 * value
    assert abs(seen - value) < 5 * error


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_value_and_gradient_are_those_of_many_rows(name, outputs):
    """200,000 rows, 5 standard errors in 20 numbers (a false alarm in 10^5); the errors are below 1 % of the loss."""
    rng = np.random.default_rng(12)
    k, d = 3, 2
    shape = (outputs, k) if outputs > 1 else (k,)
    student, teacher = (
        network(
            name,
            rng.standard_normal((k, d)),
            rng.standard_normal(shape),
            rng.standard_normal((*shape[:-1], d)),
            rng.standard_normal(outputs) if outputs > 1 else 0.3,
            biases=rng.standard_normal(k),
        )
        for _ in range(2)
    )
    x, p, phi = rng.standard_normal((200_000, d)), teacher.parameters, teacher.model.activation
    y = phi.value(x @ p.weights.T + p.biases) @ p.output_weights.T + x @ p.linear.T + p.intercept
    theta, parts = student.model.pack(student.parameters), []
    for rows in np.split(np.arange(len(x)), 100):
        objective = fr.objective(x[rows], y[rows], student.model, n_jobs=1)
        parts.append(
            np.concatenate([[part] if np.ndim(part) == 0 else part for part in objective.value_and_grad(theta)])
        )
    error = np.std(parts, axis=0, ddof=1) / 10.0
    value, grad = population_risk(student, teacher, gradient=True)
    assert error[0] < 0.01 * value and error[1:].max() < 0.02 * np.linalg.norm(grad)
    assert (np.abs(np.mean(parts, axis=0) - [value, *grad]) < 5 * error).all()


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "squared_relu", "tanh", "erf", CLIP])
def test_losses_of_several_outputs_add_up(name):
    """And so do gradients by what the outputs share."""
    rng = np.random.default_rng(13)
    k, d, m = (1, 2, 2) if name is CLIP else (3, 4, 3)
    weights, biases = rng.standard_normal((2, k, d)), rng.standard_normal((2, k))
    v, b, c = (rng.standard_normal((2, m, *rest)) for rest in ((k,), (d,), ()))
    value, grad = population_risk(
        *(network(name, weights[i], v[i], b[i], c[i], biases=biases[i]) for i in (0, 1)), gradient=True
    )
    single = [
        population_risk(
            *(network(name, weights[i], v[i, o], b[i, o], c[i, o], biases=biases[i]) for i in (0, 1)), gradient=True
        )
        for o in range(m)
    ]
    assert value == pytest.approx(sum(each for each, _ in single), rel=1e-13)
    shared, out, linear, last = zip(*(np.split(g, np.cumsum([k * d + k, k, d])) for _, g in single), strict=True)
    expected = np.concatenate([np.sum(shared, axis=0), *out, *linear, *last])
    np.testing.assert_allclose(grad, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "quadratic"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_networks_that_compute_the_same_have_the_same_loss(name, outputs):
    """Order of units, their direction, and the scale of homogeneous ones; the gradient turns with them."""
    rng = np.random.default_rng(14)
    shape = (outputs, 3) if outputs > 1 else (3,)
    student, teacher = (
        network(
            name,
            rng.standard_normal((3, 4)),
            rng.standard_normal(shape),
            rng.standard_normal((*shape[:-1], 4)),
            rng.standard_normal(outputs) if outputs > 1 else 0.3,
            biases=rng.standard_normal(3),
        )
        for _ in range(2)
    )
    model, p, order = student.model, student.parameters, np.array([2, 0, 1])
    value, grad = population_risk(student, teacher, gradient=True)
    same, turned = population_risk(Teacher(model, p.reordered(order)), teacher, gradient=True)
    assert same == pytest.approx(value, rel=1e-13)
    mine, theirs = model.unpack(grad, 4).reordered(order), model.unpack(turned, 4)
    np.testing.assert_allclose(theirs.flat(), mine.flat(), rtol=1e-12, atol=1e-13 * np.abs(grad).max())
    others = [] if name == "squared_relu" else [turned_round(p, model.activation, [0, 2])]
    if model.activation.degree is not None:
        scale = np.array([0.3, 1.0, 7.0])
        larger = p.with_rows(p.rows * scale[:, None])
        others.append(replace(larger, output_weights=p.output_weights / scale**model.activation.degree))
    for other in others:
        assert population_risk(Teacher(model, other), teacher) == pytest.approx(value, rel=1e-12)
        assert population_risk(teacher, Teacher(model, other)) == pytest.approx(value, rel=1e-12)


def test_units_that_are_on_or_off_or_without_weights():
    """Linear functions, nothing, and constants."""
    w, c = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([2.0, -1.5])
    for name, slope in (("relu", None), ("leaky_relu", 0.25)):
        low = slope or 0.0
        net = network(name, w, c, biases=[60.0, -70.0], slope=slope)
        linear, intercept = c[0] * w[0] + low * c[1] * w[1], 2.0 * 60.0 + 1.5 * low * 70.0
        plain = network(name, w, [0.0, 0.0], linear, intercept, slope)
        other = network(name, w, [1.0, 0.3], slope=slope, biases=[0.4, -0.2])
        assert population_risk(net, plain) < 1e-11
        assert population_risk(other, net) == pytest.approx(population_risk(other, plain), rel=1e-13)
        nothing, grad = population_risk(net, net, gradient=True)
        assert nothing == 0.0 and np.abs(grad).max() < 1e-11
    for name in (*SMOOTH, "relu", "squared_relu", CLIP):
        phi = get_activation(name).value
        net = network(name, [[0.0, 0.0]], [3.0], biases=[0.4])
        plain = network(name, [[0.0, 0.0]], [0.0], intercept=3.0 * phi(0.4))
        other = network(name, w[:1], [0.7], biases=[0.1])
        assert population_risk(other, net) == pytest.approx(population_risk(other, plain), rel=1e-13)
        value, grad = population_risk(net, other, gradient=True)
        assert value == pytest.approx(population_risk(other, net), rel=1e-13)
        direction = np.array([0.0, 0.0, 1.0, 0.5, -0.3])  # its weights begin at a kink
        assert grad @ direction == pytest.approx(slope_along(net, other, direction), rel=1e-8)


def test_biases_of_squares_are_linear_terms_and_intercepts():
    rng = np.random.default_rng(15)
    w, a, v = rng.standard_normal((2, 3)), np.array([0.4, -0.9]), np.array([1.0, -0.6])
    square = Regression("quadratic", 2, "free", True, True)
    biased = Teacher(square, Parameters(w, v, np.zeros(3), 0.0, None, a))
    plain = network("quadratic", w, v, 2.0 * (v * a) @ w, v @ a**2)
    teacher = network("squared_relu", rng.standard_normal((2, 3)), [0.5, 1.1], biases=[0.3, -0.2])
    value, grad = population_risk(biased, teacher, gradient=True)
    expected, slopes = population_risk(plain, teacher, gradient=True)
    assert value == pytest.approx(expected, rel=1e-12)
    # Weights and output weights are also those of the linear term and the intercept.
    slopes[:6] += np.outer(2.0 * v * a, slopes[8:11]).ravel()
    slopes[6:8] += 2.0 * a * (w @ slopes[8:11]) + a**2 * slopes[11]
    np.testing.assert_allclose(grad, slopes, rtol=1e-11, atol=1e-12 * np.abs(slopes).max())
    other = network("quadratic", rng.standard_normal((2, 3)), [0.5, 1.1])
    assert population_risk(biased, other) == pytest.approx(population_risk(plain, other), rel=1e-13)
    assert population_risk(biased, plain) < 1e-28


GOOD = network("relu", [[1.0, 2.0]])
TWO = network("relu", [[1.0, 2.0]], [[1.0], [2.0]], intercept=np.zeros(2))


def of_loss(model):
    return Teacher(model, Parameters(np.ones((1, 2)), np.ones(1)))


CNN = Teacher(ConvRegression(2), Parameters(np.ones((1, 1)), np.array([0.5])))
STEP = Activation.from_functions(lambda z: float(z > 0), lambda z: 0.0, name="step", kinks=(0.0,))


@pytest.mark.parametrize(
    "student, teacher, error, message",
    [
        (GOOD.parameters, GOOD, TypeError, "^student must be a Teacher, a Recovery .* got Parameters"),
        (GOOD, np.ones(3), TypeError, "^teacher must be a Teacher.* got ndarray"),
        (GOOD, SimpleNamespace(model="relu", parameters=GOOD.parameters), TypeError, "^teacher must be"),
        (GOOD, network("relu", [[1.0, 2.0, 3.0]]), ValueError, "equally many features, got 2 and 3"),
        (CNN, network("relu", [[1.0]]), ValueError, "equally many features, got 2 and 1"),
        (make_teacher("fcn", 2, 1), GOOD, ValueError, "^student is a classification.*cross entropy"),
        (GOOD, make_teacher("fcn", 2, 1), ValueError, "^teacher is a classification.*cross entropy"),
        (network("relu", [[np.nan, 1.0]]), GOOD, ValueError, "^student has parameters that are not finite"),
        (GOOD, network("relu", [[1e40, 1.0]]), ValueError, r"^teacher\.parameters has entries as large as 1e\+40"),
        (network(STEP, [[1.0, 1.0]]), GOOD, ValueError, "^student: activation 'step' jumps at 0"),
        (GOOD, TWO, ValueError, "equally many outputs, got 1 and 2"),
        (of_loss(Logistic("relu", 1)), GOOD, ValueError, "^student is a classification.*regressions under the squared"),
        (
            GOOD,
            of_loss(Poisson("relu", 1)),
            ValueError,
            "^teacher is a poisson model, whose loss is no sum of pair terms",
        ),
        (of_loss(Regression("relu", 1, loss="huber")), GOOD, ValueError, "^student is a huber model, whose loss"),
        (
            network("relu", [[1.0, 2.0]], biases=[np.inf]),
            GOOD,
            ValueError,
            "^student has parameters that are not finite",
        ),
    ],
)
def test_bad_networks_are_refused(student, teacher, error, message):
    with pytest.raises(error, match=message):
        population_risk(student, teacher)


def test_gradient_must_be_a_bool():
    with pytest.raises(TypeError, match="^gradient must be True or False, got 'yes'"):
        population_risk(GOOD, GOOD, gradient="yes")


def test_a_classifier_of_probabilities_is_still_a_classifier():
    model = Classification(2)
    with pytest.raises(ValueError, match="population_risk is for regressions"):
        population_risk(Teacher(model, Parameters(np.eye(2), np.array([0.5, 0.5]))), GOOD)


SQUARE = Activation.from_functions(lambda z: 0.5 * z * z, lambda z: z, name="half_square")
LEAKY = Activation.from_functions(
    lambda z: 3.0 * z if z > 0 else 0.75 * z, lambda z: 3.0 if z > 0 else 0.75, name="my_leaky", kinks=(0.0,)
)


@pytest.mark.parametrize(
    "mine, known, slope, factor", [(SQUARE, "quadratic", None, 0.5), (LEAKY, "leaky_relu", 0.25, 3.0)]
)
def test_multiples_of_built_in_functions_have_their_closed_forms(mine, known, slope, factor):
    """Also against each other, and with the accuracy at the truth that no series has."""
    rng = np.random.default_rng(8)
    w, v, b = rng.standard_normal((5, 4)), np.array([1.0, -2.0, 0.5, 1.5, -1.0]), rng.standard_normal(4)
    ours = network(mine, w[:3], v[:3], b, 0.7), network(mine, w[3:], v[3:])
    theirs = network(known, w[:3], factor * v[:3], b, 0.7, slope), network(known, w[3:], factor * v[3:], slope=slope)
    expected, slopes = population_risk(*theirs, gradient=True)
    slopes[12:15] *= factor
    for student, teacher in (ours, (ours[0], theirs[1])):
        value, grad = population_risk(student, teacher, gradient=True)
        assert value == pytest.approx(expected, rel=1e-13)
        np.testing.assert_allclose(grad, slopes, rtol=1e-12, atol=1e-13 * np.abs(slopes).max())
    assert population_risk(theirs[0], ours[1]) == pytest.approx(expected, rel=1e-13)
    assert population_risk(ours[0], theirs[0]) < 1e-28
