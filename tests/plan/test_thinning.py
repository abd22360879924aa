"""Wide students under weight decay: mergers, metrics and orientations against formulas, and what is found."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.activations import get_activation
from fastrecover.engines import engine_on
from fastrecover.inputs import Coordinates
from fastrecover.models import Parameters, Quadratic, Regression
from fastrecover.plan import Policy, Problem, Search
from fastrecover.plan.decay import merged, oriented, own_metric, under, wide_student
from fastrecover.plan.measured import Measured, trained
from fastrecover.plan.policy import Decay
from fastrecover.plan.refine import refined
from fastrecover.plan.search import strategies_for
from fastrecover.plan.strategies import Expand, Moments
from fastrecover.plan.thinning import Thin, ThinProgress
from fastrecover.solvers import Monitor
from fastrecover.sources import ArraySource
from fastrecover.starts import random_start
from fastrecover.sweeps import Objective


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def planted(model, d, n, seed=0, k=None, noise=0.0, **options):
    teacher = fr.datasets.make_teacher(model, d, k, random_state=seed, **options)
    return teacher, *teacher.sample(n, noise, random_state=seed + 1000)


def output(activation, p, x):
    return activation.value(x @ p.weights.T) @ p.output_weights


def scattered(activation, k, d, rng):
    """Units of both signs, of sizes that differ."""
    v = rng.uniform(0.5, 2.0, k) * rng.choice([-1.0, 1.0], k)
    return Parameters(rng.standard_normal((k, d)), v)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "squared_relu", "tanh", "softplus"])
def test_copies_are_merged_to_the_network_they_are_copies_of(name):
    """Each unit in three shares: of its output weight, or of its row where that is the same."""
    activation, rng = get_activation(name), np.random.default_rng(0)
    one = scattered(activation, 4, 6, rng)
    shares = rng.dirichlet(np.ones(3), 4).T
    rows, v = np.tile(one.weights, (3, 1)), (shares * one.output_weights).ravel()
    if activation.degree is not None:
        scale = rng.uniform(0.5, 2.0, 12)
        rows, v = rows * scale[:, None], v / scale**activation.degree
    if activation.parity == "odd":
        sign = rng.choice([-1.0, 1.0], 12)
        rows, v = rows * sign[:, None], v * sign
    found = merged(Parameters(rows, v), activation, 4)
    x = rng.standard_normal((50, 6))
    assert len(found.weights) == 4
    np.testing.assert_allclose(output(activation, found, x), output(activation, one, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_pair_whose_mean_loses_least_is_merged(name):
    """By all pairs: the weighted sum of squares about the mean of two, of one sign, of unit rows or of v > 0."""
    activation = get_activation(name)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        p = scattered(activation, 7, 5, rng)
        length = np.linalg.norm(p.weights, axis=1)
        size, sign = np.abs(p.output_weights) * length, np.sign(p.output_weights)
        rows = p.weights / length[:, None] if activation.degree else p.weights * sign[:, None]
        sign = sign if activation.degree else np.ones(7)
        costs = {}
        for i, j in combinations(range(7), 2):
            if sign[i] == sign[j]:
                mean = (size[i] * rows[i] + size[j] * rows[j]) / (size[i] + size[j])
                costs[i, j] = sum(size[m] * ((rows[m] - mean) ** 2).sum() for m in (i, j))
        i, j = min(costs, key=costs.__getitem__)
        direction = size[i] * rows[i] + size[j] * rows[j]
        found = merged(p, activation, 6)
        turned = found.weights * (1.0 if activation.degree else np.sign(found.output_weights)[:, None])
        cosines = turned @ direction / np.linalg.norm(turned, axis=1) / np.linalg.norm(direction)
        assert cosines.max() == pytest.approx(1.0, abs=1e-12)
        untouched = np.delete(rows, [i, j], axis=0)
        near = (turned / np.linalg.norm(turned, axis=1)[:, None]) @ (
            untouched / np.linalg.norm(untouched, axis=1)[:, None]
        ).T
        np.testing.assert_allclose(near.max(axis=0), 1.0, atol=1e-12)


def test_signs_are_not_mixed():
    p = Parameters(np.ones((3, 2)), np.array([1.0, 1.0, -1.0]))
    found = merged(p, get_activation("relu"), 1)
    assert sorted(np.sign(found.output_weights)) == [-1.0, 1.0]


def test_decay_weighs_both_layers_alike():
    """At a minimum no scale of a homogeneous unit lowers the decay: ``r |w| = |v|``; and the responses are fitted."""
    teacher, x, y = planted("relu", 6, 90, k=3)
    engine, model = engine_on(ArraySource(x, y), 1), teacher.model
    wide = wide_student(engine, model, 12, np.random.default_rng(0))
    found = trained(engine, model, [wide], 600, measure=under(engine, model, [Coordinates()], [1e-2]))[0][0]
    r = np.sqrt(engine.response_variance() / 3)
    left, right = r * np.linalg.norm(found.weights, axis=1), np.abs(found.output_weights)
    kept = right > 0.05 * right.max()
    assert kept.sum() >= 3
    np.testing.assert_allclose(left[kept], right[kept], rtol=0.05)
    assert 0.5 * np.mean((output(model.activation, found, x) - y) ** 2) < 0.1 * engine.response_variance()


def students(model, count, engine, rng):
    """Wide ones, each with a metric of its own but the first."""
    found = [wide_student(engine, model, 7, rng) for _ in range(count)]
    degree = model.activation.degree or 1
    return found, [Coordinates(), *(own_metric(one, 3, degree) for one in found[1:])]


@pytest.mark.parametrize(
    ("name", "options"),
    [("relu", {}), ("softplus", {"linear_term": True}), ("squared_relu", {}), ("tanh", {"fit_intercept": True})],
)
def test_losses_of_students_are_those_of_the_rows_and_of_decays_of_their_own(name, options):
    """By the formula in coordinates of each, ``lambda (r^2 |w|^2 + v^2) / 2``, or ``lambda r |w|^2`` of degree two."""
    _, x, y = planted("relu", 6, 40, k=3)
    rng, engine, model = np.random.default_rng(0), engine_on(ArraySource(x, y), 1), Regression(name, 3, **options)
    given, metrics = students(model, 3, engine, rng)
    decays, two = [0.3, 0.02, 0.5], name == "squared_relu"
    wide = model.changed(n_hidden=7, output_weights=given[0].output_weights if two else "free")
    v = np.array([one.output_weights for one in given]) if two else None
    many = Measured(Objective(engine, wide), under(engine, model, metrics, decays), v)
    within = [metric.into(one, wide) for metric, one in zip(metrics, given, strict=True)]
    thetas = np.array([wide.pack(one) for one in within])
    which = np.array([2, 0, 1])
    losses, grads = many.values_and_grads(thetas[which], which)
    r2 = engine.response_variance() / 3
    for i, at in enumerate(which):
        one, inner = given[at], within[at]
        miss = output(model.activation, one, x) - y
        if one.linear is not None:
            miss = miss + x @ one.slope
        square = (inner.weights**2).sum()
        cost = np.sqrt(r2) * square if two else (r2 * square + (one.output_weights**2).sum()) / 2
        assert losses[i] == pytest.approx(0.5 * np.mean(miss**2) + decays[at] * cost, rel=1e-12)
        step = 1e-6 * rng.standard_normal(len(thetas[at]))
        ends = np.array([thetas[at] + step, thetas[at] - step])
        up, down = many.values_and_grads(ends, np.array([at, at]))[0]
        assert grads[i] @ step == pytest.approx((up - down) / 2, rel=1e-4)


def test_students_side_by_side_are_trained_in_metrics_and_come_back_from_them():
    """Losses fall, and are those that the formula gives of what comes back."""
    _, x, y = planted("relu", 6, 40, k=3)
    engine, model, decay = engine_on(ArraySource(x, y), 1), Regression("relu", 3), 0.05
    given, metrics = students(model, 3, engine, np.random.default_rng(1))
    r2 = engine.response_variance() / 3

    def loss(one, metric):
        inner = metric.into(one, model)
        cost = (r2 * (inner.weights**2).sum() + (one.output_weights**2).sum()) / 2
        return 0.5 * np.mean((output(model.activation, one, x) - y) ** 2) + decay * cost

    measure = under(engine, model, metrics, [decay] * 3)
    found, losses = trained(engine, model, given, 50, measure=measure)
    for one, before, metric, fell in zip(found, given, metrics, losses, strict=True):
        assert fell == pytest.approx(loss(one, metric), rel=1e-10) and fell < 0.5 * loss(before, metric)


def test_as_many_students_side_by_side_as_share_what_a_pass_costs():
    assert Thin._at_once(problem(Regression("relu", 5), 20, 125)) == 8
    assert 1 < Thin._at_once(problem(Regression("relu", 5), 50, 300)) < 8
    assert Thin._at_once(problem(Regression("relu", 10), 100, 1500)) == 1
    assert Thin._at_once(problem(Regression("tanh", 5), 10, 200)) == 1  # rows are not scarce


@pytest.mark.parametrize(("k", "d"), [(2, 6), (5, 5), (7, 4)])
def test_rows_are_measured_by_those_of_the_student(k, d):
    """Squared lengths are ``w' (M + e I)^-q w`` up to one factor, and functions are the same in both coordinates."""
    rng = np.random.default_rng(k)
    student = scattered(get_activation("relu"), 9, d, rng)
    metric = own_metric(student, k)
    m = sum(v * v * np.outer(w, w) for v, w in zip(student.output_weights, student.weights, strict=True))
    few = min(k, d)
    m /= np.sort(np.linalg.eigvalsh(m))[-few:].mean()
    values, vectors = np.linalg.eigh(m + 0.3 * few / d * np.eye(d))
    power = (vectors * values ** (0.5 * few / d - 1.0)) @ vectors.T
    model = Regression("relu", 9, "free")
    there = metric.into(student, model)
    ratio = (there.weights**2).sum(axis=1) / np.einsum("ij,jk,ik->i", student.weights, power, student.weights)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-10)
    assert np.trace(metric.matrix @ metric.matrix.T) == pytest.approx(few)
    x = rng.standard_normal((5, d))
    same = output(model.activation, there, x @ metric.matrix.T)
    np.testing.assert_allclose(same, output(model.activation, student, x), rtol=1e-10)
    np.testing.assert_allclose(metric.back(there, model).weights, student.weights, rtol=1e-10)


def test_a_student_without_output_is_measured_as_it_is():
    assert own_metric(Parameters(np.ones((3, 2)), np.zeros(3)), 2).matrix is None


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "softplus"])
def test_reversed_units_are_turned_back(name):
    """All sets of four units: each reversal moves ``s v w`` into the linear term, and all are found from their sum."""
    activation, rng = get_activation(name), np.random.default_rng(1)
    one, x = scattered(activation, 4, 6, rng), rng.standard_normal((50, 6))
    slope = activation.value(1.0) - activation.value(-1.0)
    for back in range(16):
        turned = np.array([back >> j & 1 for j in range(4)], bool)
        linear = slope * (one.output_weights[turned] @ one.weights[turned])
        rows = np.where(turned[:, None], -one.weights, one.weights)
        there = Parameters(rows, one.output_weights, linear)
        np.testing.assert_allclose(output(activation, there, x) + x @ linear, output(activation, one, x), atol=1e-12)
        found = oriented(there, activation)
        assert found.linear is None
        np.testing.assert_array_equal(found.weights, one.weights)


CELLS = [
    ("relu", 16, 16, 2.0, 2.0),
    ("leaky_relu", 16, 48, 2.0, 5.0),
    ("softplus", 16, 16, 3.0, 5.0),
    ("tanh", 10, 30, 2.0, 2.0),
    ("erf", 16, 32, 3.0, 10.0),
    ("squared_relu", 8, 12, 1.5, 2.0),
]


@pytest.mark.parametrize(("activation", "k", "d", "ratio", "condition"), CELLS)
def test_exact_recovery_from_few_rows(activation, k, d, ratio, condition):
    teacher, x, y = planted(activation, d, round(ratio * d * k), 0, k, condition_number=condition)
    rec = fr.fit(x, y, activation, k, random_state=0)
    assert rec.info["start"].startswith("thin")
    assert rec.converged and rec.error(teacher) < 1e-8


def problem(model, d, n, noise=0.0, **options):
    _, x, y = planted(model, d, n, noise=noise)
    return Problem(engine_on(ArraySource(x, y), 1), model, np.random.SeedSequence(0), Monitor(), 1e-3, **options)


def test_who_is_thinned():
    """Many units and few rows a weight, of one output and without biases; all others are searched for as ever."""

    def names(model, n, d=16, **options):
        return [type(one).__name__ for one in strategies_for(problem(model, d, n, **options), "auto")]

    few, more = round(3.2 * 16 * 16), round(5.5 * 16 * 16)
    assert (
        names(Regression("relu", 16), few) == names(Regression("softplus", 16), more) == ["Thin", "Expand", "Moments"]
    )
    assert names(Regression("tanh", 16, "free", fit_intercept=True), more) == ["Moments", "Thin", "Expand"]
    assert (
        names(Regression("relu", 16), few + 1) == names(Regression("softplus", 16), more + 1) == ["Expand", "Moments"]
    )
    assert names(Regression("relu", 32), 2 * more) == ["Thin", "Expand", "Moments"]
    assert names(Regression("relu", 31), 2 * more) == names(Regression("relu", 32), 10_000) == ["Expand", "Moments"]
    most = 10 * 64 * 16
    assert names(Regression("relu", 64), most) == ["Thin", "Expand", "Moments"]
    assert "Thin" not in names(Regression("relu", 64), most + 1)
    # Of eight units or more where rows are scarce, or units bounded.
    assert names(Regression("relu", 8), 319) == names(Regression("tanh", 8), 500) == ["Moments", "Thin", "Expand"]
    assert names(Regression("relu", 8), 320) == names(Regression("tanh", 7), 280) == ["Moments", "Expand"]
    # Of five where rows are scarce and, moreover, units bounded or features many.
    assert names(Regression("tanh", 5), 199) == names(Regression("relu", 5), 249, 20) == ["Moments", "Thin", "Expand"]
    assert names(Regression("relu", 5), 199) == names(Regression("relu", 4), 199, 20) == ["Moments", "Expand"]
    assert "Thin" not in names(Regression("relu", 16, "free", hidden_bias=True), few)
    # Of degree two only where rows are scarce.
    assert names(Regression("squared_relu", 5), 199) == ["Moments", "Thin", "Expand"]
    assert "Thin" not in names(Regression("squared_relu", 16), few)
    assert "Thin" not in names(Quadratic(5), 100)
    assert "Thin" not in names(Quadratic(2), few)
    assert "Thin" not in names(Regression("relu", 16), few, policy=Policy(thin_work=2000.0 * few * 16 * 64 - 1))


def test_students_have_a_linear_term_in_turn():
    """Beside it units may be reversed: first where rows are enough for its parameters, never where they are not."""

    def linear(model, d, n, count=3):
        given, progress = problem(model, d, n), ThinProgress()
        found = []
        for progress.students in range(count):
            found.append(Thin._has_linear(given, progress))
        return found

    assert linear(Regression("relu", 16), 16, 650) == [True, False, True]
    assert linear(Regression("softplus", 16), 32, 1000) == [False, True, False]
    # Side by side all have one, or none has.
    assert linear(Regression("softplus", 8), 16, 256, 15) == [False] * 7 + [True] * 7 + [False]
    assert linear(Regression("relu", 8), 16, 150) == linear(Regression("tanh", 16), 16, 600) == [False] * 3
    assert linear(Regression("relu", 16, linear_term=True), 16, 600) == [False] * 3


def gradients_of(monkeypatch):
    """Counts gradients of one unit, however many networks a pass is for."""
    counted, whole = [0], Objective.values_and_grads

    def counting(self, thetas, *rest):
        counted[0] += len(thetas) * self.model.n_hidden
        return whole(self, thetas, *rest)

    monkeypatch.setattr(Objective, "values_and_grads", counting)
    return counted


@pytest.mark.parametrize("ratio", [2, 3])
def test_where_thinning_fails_its_cost_is_bounded_and_it_changes_nothing(monkeypatch, ratio):
    """Responses with noise: nothing is exact or trusted, and growing and pruning goes its own way, to the bit."""
    quick = Policy(
        patient_rounds=3, expand_rounds=3, scarce_rounds=3, fewest_chains=2, round_work=4e8, thin_gradients=0
    )

    def run(*strategies):
        given = problem(Regression("relu", 16), 16, ratio * 256, noise=0.1, policy=quick)
        counted[0], search = 0, Search(given, list(strategies))
        search.run()
        assert not search.position.trusted
        return search.position.candidates, counted[0]

    counted = gradients_of(monkeypatch)
    expanded, without = run(Expand())
    found, both = run(Thin(), Expand())
    after = [c for c in found if c.leads]
    assert len(found) > len(after) and [c.label for c in after] == [c.label for c in expanded]
    for one, before in zip(after, expanded, strict=True):
        np.testing.assert_array_equal(one.state.theta, before.state.theta)
    assert 0.1 * without < both - without < 0.6 * without


def test_two_students_that_agree_are_believed_where_rows_are_not_scarce():
    """With noise: the minimum is that of a fit from the truth, and nothing else is tried."""
    teacher, x, y = planted("tanh", 16, 520, 5, 8, noise=0.3)
    rec = fr.fit(x, y, "tanh", 8, init="auto", random_state=0)
    near = fr.fit(x, y, teacher.model, init=teacher.parameters)
    assert rec.converged and rec.info["start"].startswith("thin")
    assert rec.loss == pytest.approx(near.loss, rel=1e-6)


def test_minima_that_agree_are_not_believed_above_one_that_students_led_to():
    """Growing and pruning trusts what it finds; a lower candidate of a student on the same rows speaks against it."""

    class Lower(Thin):
        def advance(self, problem, judge, known, progress):
            (found,) = Expanded.found(problem)
            state = replace(found.state, loss=self.share * found.state.loss)
            progress.candidates, progress.done = [replace(found, state=state, leads=False)], True

    class Expanded(Moments):
        @staticmethod
        def found(problem):
            model, theta = problem.with_signs(random_start(problem.model, 6, np.random.default_rng(0)))
            return [refined(problem, problem.base, model, theta, "expand 1")]

        def advance(self, problem, judge, known, progress):
            progress.candidates, progress.done, progress.trusted = self.found(problem), True, True

    for share, trusted in ((0.9, False), (1.0, True), (1.1, True)):
        lower = Lower()
        lower.share = share
        search = Search(problem(Regression("relu", 2), 6, 100, noise=0.5), [lower, Expanded()])
        search.run()
        assert search.position.trusted is trusted


def test_a_spent_budget_still_leaves_a_network():
    given = problem(Regression("relu", 16), 16, 500)
    given.monitor.max_passes = 0.5
    search = Search(given, [Thin()])
    with given.monitor.watching(given.engine.meter):
        search.advance()
    (only,) = search.position.candidates
    assert search.position.ended and np.isfinite(only.state.loss) and given.engine.meter.passes < 20


def test_a_wrong_minimum_is_not_trusted_where_rows_are_scarce():
    """Four units where six made noiseless responses: however well levels and students agree, that says nothing."""
    teacher, x, y = planted("softplus", 6, 55, k=6)
    policy = Policy(thin_decay=Decay(1.5e-2, 0.4, levels=2, metric=True), thin_rounds=1, thin_students_of_few=4)
    model = teacher.model.changed(n_hidden=4)
    given = Problem(engine_on(ArraySource(x, y), 1), model, np.random.SeedSequence(0), Monitor(), 1e-3, policy=policy)
    search = Search(given, [Thin()])
    search.run()
    assert search.position.candidates and not search.position.trusted
