"""Expected losses against quadrature of the loss itself, never of pair terms, and against 50-digit arithmetic.

Two units span a plane, so their loss is a double integral.  Homogeneous units need only its angle (the radius
integrates to a Gamma function), analytic units converge exponentially under the trapezoidal rule, and kinked
ones take SciPy's adaptive rule with the kinks as break points.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit

import fastrecover as fr
from fastrecover.activations import Activation, get_activation
from fastrecover.datasets import Teacher, make_teacher
from fastrecover.models import Classification, ConvRegression, Parameters, Quadratic, Regression
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


def network(activation, weights, v=None, linear=None, intercept=0.0, slope=None):
    """A network with everything free; `v` ones unless given."""
    weights = np.array(weights, float)
    model = Regression(activation, len(weights), "free", True, linear is not None, slope=slope)
    v = np.ones(len(weights)) if v is None else np.array(v, float)
    return Teacher(model, Parameters(weights, v, None if linear is None else np.array(linear, float), intercept))


def at_angle(length, t):
    # cos(pi / 2) and sin(pi) are not exact zeros.
    return [length * math.cos(t), 0.0 if t == math.pi else length * math.sin(t)]


def moved(net, theta):
    return Teacher(net.model, net.model.unpack(theta, net.weights.shape[1]))


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
    "s, r, t",
    [
        (1, 2, 0.0),
        (1, 2, 1e-3),
        (0.01, 3, 0.7),
        (6, 4, math.pi / 2),
        (1, 1.5, math.pi),
        (12, 20, 0.05),
        (20, 20, math.pi - 0.01),
    ],
)
def test_smooth_units_with_linear_term_and_intercept(first, second, s, r, t):
    u, v, b = np.array([s, 0.0]), np.array(at_angle(r, t)), np.array([0.3, -0.2])
    risk = population_risk(network(first, [u], [1.5], b, 0.4), network(second, [v], [0.7]))

    def loss(x, y):
        f = 1.5 * SMOOTH[first](s * x) + b[0] * x + b[1] * y + 0.4
        return 0.5 * (f - 0.7 * SMOOTH[second](v[0] * x + v[1] * y)) ** 2

    # Poles at i pi / |u| (tanh: i pi / 2 |u|); the rule errs by exp(-2 pi distance / step).
    assert risk == pytest.approx(trapezoid(loss, 0.2 / max(s, r, 1)), rel=1e-11)


@pytest.mark.parametrize(
    "t, s, r", [(0.0, 1, 1), (1e-9, 2, 0.5), (0.05, 30, 10), (0.15, 1, 1), (1.0, 10, 3), (math.pi - 1e-4, 100, 100)]
)
@pytest.mark.parametrize("mine, known, raised", [(RAISED_RELU, "relu", 1.0), (USER_ERF, "erf", 0.0)])
def test_series_and_quadrature_agree_with_closed_forms(mine, known, raised, t, s, r):
    rows, v = ([s, 0.0], at_angle(r, t)), (0.6, -1.2)
    value, grad = population_risk(*(network(mine, [w], [a]) for w, a in zip(rows, v, strict=True)), gradient=True)
    closed = (network(known, [w], [a], intercept=raised * a) for w, a in zip(rows, v, strict=True))
    expected, slopes = population_risk(*closed, gradient=True)
    slopes[2] += raised * slopes[3]
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(grad, slopes, rtol=1e-11, atol=1e-12 * np.abs(slopes).max())


@pytest.mark.parametrize("phi, r, t", [(CLIP, 1.7, 0.03), (CLIP, 0.8, 1.2), (CLIP, 1.7, math.pi)])
def test_kinks_away_from_zero(phi, r, t):
    s = 1.1
    v = at_angle(r, t)
    value = population_risk(network(phi, [[s, 0.0]]), network(phi, [v]))
    f = phi.functions[0]
    total = nested(
        lambda x, y: 0.5 * (f(s * x) - f(v[0] * x + v[1] * y)) ** 2, [k / s for k in phi.kinks], v, phi.kinks
    )
    assert value == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize(
    "name, phi, r, t",
    [("sigmoid", lambda z: 1 / (1 + math.exp(-z)) if z > -700 else 0.0, 1000.0, 0.2), ("tanh", math.tanh, 0.5, 0.04)],
)
def test_steep_units_of_length_1000(name, phi, r, t):
    s = 1000.0
    v = at_angle(r, t)
    value = population_risk(network(name, [[s, 0.0]]), network(name, [v]))
    bends = [sign * e / s for e in (0, 3, 20, 40) for sign in (-1, 1)]
    levels = (-40, -20, -3, 0, 3, 20, 40) if r > 1 else ()
    total = nested(lambda x, y: 0.5 * (phi(s * x) - phi(v[0] * x + v[1] * y)) ** 2, bends, v, levels)
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
    """Along random directions, which no wrong entry escapes; `full`: free v, linear term and intercept."""
    rng = np.random.default_rng(5)
    k, d = (1, 2) if name is CLIP else (3, 4)
    slope = 0.25 if name == "leaky_relu" else None
    model = Regression(name, k, "free" if full else "ones", full, full, slope=slope)
    v = np.array([1.0, -0.7, 0.4])[:k] if full else np.ones(k)
    linear = rng.standard_normal(d) if full else None
    student = Teacher(model, Parameters(0.8 * rng.standard_normal((k, d)), v, linear, 0.3 * full))
    other = "tanh" if name == "relu" else name
    teacher = network(other, 0.8 * rng.standard_normal((2, d))[:k], [0.8, -1.1][:k], np.ones(d), -0.2)
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

    rows = [[mp.mpf(x) for x in row] for row in rows]
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
    assert value == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SMOOTH, RAISED_RELU])
def test_nothing_is_left_at_the_truth_and_its_square_beside_it(name):
    rng = np.random.default_rng(7)
    k = 1 if name is RAISED_RELU else 3
    w, v, b = rng.standard_normal((k, 4)), np.array([1.5, -0.8, 0.5])[:k], rng.standard_normal(4)
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
def test_convolution_is_the_network_of_its_patches(name):
    rng = np.random.default_rng(8)
    filters = rng.standard_normal((2, 1, 2))
    nets = [
        Teacher(ConvRegression(3, name, True), Parameters(w, np.array([1 / 3]), None, c))
        for w, c in zip(filters, (0.4, -0.1), strict=True)
    ]
    dense = [network(name, np.kron(np.eye(3), n.weights), [1 / 3] * 3, intercept=n.intercept) for n in nets]
    value, grad = population_risk(*nets, gradient=True)
    expected, rows = population_risk(*dense, gradient=True)
    assert value == pytest.approx(expected, rel=1e-13)
    folded = rows[:18].reshape(3, 3, 2)[np.arange(3), np.arange(3)].sum(axis=0)
    np.testing.assert_allclose(grad, [*folded, rows[-1]], rtol=1e-13)
    direction = rng.standard_normal(3)
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


GOOD = network("relu", [[1.0, 2.0]])
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
