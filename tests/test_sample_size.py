"""Numbers of rows that are planned: what a row says of a network, curves of success and cost, and bad input."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

import fastrecover as fr
from bench import planner
from bench.planted import REGION
from fastrecover.activations import NAMES
from fastrecover.cli import main
from fastrecover.sample_size.curves import CURVES, FEATURES, SHIPPED, Curves, Setting, Trial, load, shipped
from fastrecover.sample_size.information import Information, information, planted_information, response_deviation
from fastrecover.sample_size.speed import sweep_seconds


def planted(activation, d=6, k=3, seed=0, **options):
    return fr.datasets.make_teacher(activation, d, k, condition_number=3.0, random_state=seed, **options)


# What a row says.


@pytest.mark.parametrize("activation", [name for name in NAMES if name != "quadratic"])
@pytest.mark.parametrize("k, d", [(1, 4), (3, 6), (4, 4)])
def test_information_is_that_of_many_rows(activation, k, d):
    """Of 200,000 rows the trace of the inverse is known to about one in a hundred."""
    teacher = planted(activation, d, k, seed=k)
    X, y = teacher.sample(200_000, random_state=1)
    deviation = response_deviation(teacher)
    assert deviation == pytest.approx(np.std(y), rel=0.02)
    phi, v = teacher.model.activation, teacher.output_weights
    jacobian = ((v * phi.derivative(X @ teacher.weights.T))[:, :, None] * X[:, None, :]).reshape(len(X), -1)
    inverse = np.linalg.inv(jacobian.T @ jacobian / len(X))
    size = np.linalg.norm(teacher.parameters.flat())
    found = information(teacher)
    assert found.n_parameters == k * d
    assert found.scale == pytest.approx(np.trace(inverse) * (deviation / size) ** 2, rel=0.03)
    leverages = np.einsum("ni,ij,nj->n", jacobian, inverse, jacobian) / (k * d)
    for power in (0.5, 2.0):
        assert np.mean(found.leverages**power) == pytest.approx(np.mean(leverages**power), rel=0.1)


@pytest.mark.parametrize("d, r", [(4, 1), (5, 3), (3, 3)])
def test_information_of_a_quadratic_network_is_that_of_its_tangent_space(d, r):
    teacher = planted("quadratic", d, r, seed=r)
    X = np.random.default_rng(0).standard_normal((200_000, d))
    W = teacher.weights
    tangents = np.array([np.outer(w, e) + np.outer(e, w) for w in W for e in np.eye(d)]).reshape(r * d, -1)
    basis = np.linalg.svd(tangents, full_matrices=False)[2]
    basis = basis[: np.linalg.matrix_rank(tangents)]
    jacobian = np.einsum("ni,nj->nij", X, X).reshape(len(X), -1) @ basis.T
    M = W.T @ (teacher.output_weights[:, None] * W)
    trace = np.trace(np.linalg.inv(jacobian.T @ jacobian / len(X)))
    found = information(teacher)
    assert found.n_parameters == len(basis) == d * r - r * (r - 1) // 2
    deviation = response_deviation(teacher)
    assert deviation == pytest.approx(np.sqrt(2.0) * np.linalg.norm(M))
    assert found.scale == pytest.approx(trace * (deviation / np.linalg.norm(M)) ** 2, rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "tanh", "quadratic"])
def test_features_beside_the_units_need_not_be_there(activation):
    teacher = planted(activation, 3, 3)
    wider = fr.datasets.Teacher(
        teacher.model, replace(teacher.parameters, weights=np.pad(teacher.weights, ((0, 0), (0, 9))))
    )
    one, other = information(teacher, 12), information(wider)
    assert one.n_parameters == other.n_parameters
    assert one.scale == pytest.approx(other.scale, rel=1e-9)
    assert np.mean(one.leverages**2) == pytest.approx(np.mean(other.leverages**2), rel=0.05)


def test_matrices_of_many_units_are_those_outside_of_their_span(monkeypatch):
    """Beyond a number of weights K stands for the span as well, which is a small part of many features."""
    teacher = planted("relu", 4, 4)
    whole = information(teacher, 400)
    monkeypatch.setattr("fastrecover.sample_size.information._LARGEST", 1)
    assert information(teacher, 400).scale == pytest.approx(whole.scale, rel=0.02)


def test_few_rows_inflate_errors_as_inverse_wishart_matrices_do():
    n, p = 60, 20
    assert Information(p, 1.0, np.ones(10)).inflation(n) == pytest.approx(n / (n - p), rel=1e-6)
    # One relu unit sees half of the rows.
    half = Information(p, 1.0, np.repeat([0.0, 2.0], 5))
    assert half.inflation(n) == pytest.approx(n / (n - 2 * p), rel=1e-6)
    assert half.inflation(2 * p) == np.inf and half.error(2 * p, 0.1) == np.inf and half.error(2 * p, 0.0) == 0.0
    # By simulation: rows of two sizes; the mean of 400 traces is known to one in a hundred.
    rng, t = np.random.default_rng(0), np.repeat([0.5, 1.5], 50)
    traces = [np.trace(np.linalg.inv(X.T @ (t[:, None] * X) / 100)) for X in rng.standard_normal((400, 100, p))]
    assert Information(p, 1.0, t).inflation(100) == pytest.approx(np.mean(traces) / p, rel=0.03)


@pytest.mark.parametrize(
    "activation, k, d, each, noise",
    [("relu", 3, 8, 4, 0.1), ("tanh", 2, 10, 6, 0.02), ("softplus", 1, 12, 3, 0.1), ("quadratic", 2, 8, 4, 0.1)],
)
def test_errors_of_fits_are_those_expected(activation, k, d, each, noise):
    """To 20 %.  Of 40 fits, whose errors have some ten directions each, the root mean square is known to about 5 %."""
    found, expected = [], []
    for seed in range(40):
        teacher = planted(activation, d, k, seed=seed)
        n = each * d * k
        X, y = teacher.sample(n, noise * response_deviation(teacher), random_state=100 + seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # some end at a kink
            rec = fr.fit(X, y, teacher.model, init=teacher.parameters, max_passes=200, n_jobs=1)
        found.append(rec.error(teacher))
        expected.append(information(teacher).error(n, noise))
    assert np.sqrt(np.mean(np.square(found)) / np.mean(np.square(expected))) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("activation", ["relu", "softplus", "tanh"])
@pytest.mark.parametrize("k, d, each", [(1, 12, 3), (4, 8, 2)])
def test_few_rows_have_the_inverse_information_that_is_expected(activation, k, d, each):
    """Without a fit, of 60 samples: errors are told to 15 % from two rows a parameter on."""
    found, expected = [], []
    for seed in range(60):
        teacher = planted(activation, d, k, seed=seed)
        X, n = np.random.default_rng(seed).standard_normal((each * d * k, d)), each * d * k
        slopes = teacher.output_weights * teacher.model.activation.derivative(X @ teacher.weights.T)
        jacobian = (slopes[:, :, None] * X[:, None, :]).reshape(n, -1)
        said = information(teacher)
        size = (response_deviation(teacher) / np.linalg.norm(teacher.parameters.flat())) ** 2
        found.append(np.trace(np.linalg.inv(jacobian.T @ jacobian)) * size)
        expected.append(said.error(n, 1.0) ** 2)
    assert np.median(np.sqrt(np.array(found) / expected)) == pytest.approx(1.0, abs=0.15)


def test_large_networks_cost_little():
    """A few multiply-adds for each planted network, however many features there are."""
    few = planted_information(fr.models.get_model("relu", 30), 100_000, 2.0)
    assert len(few) == 1 and few[0].n_parameters == 3_000_000
    assert len(planted_information(fr.models.get_model("relu", 3), 100_000, 2.0)) == 8


# Curves.

MEASURED = tuple(shipped().trials)
SETTINGS = [Setting(*one) for one in itertools.product(MEASURED, (3, 20, 50), (1, 3, 12), (1.0, 10.0), (0.0, 0.1, 1.0))]


def test_chances_rise_with_rows_and_are_none_below_as_many_as_parameters():
    curves = shipped()
    for setting in SETTINGS:
        p = setting.n_parameters
        chances = [curves.probability(setting, n) for n in (p - 1, p, 2 * p, 4 * p, 40 * p)]
        assert chances[0] == 0.0 and (np.diff(chances) >= 0).all() and chances[-1] <= 1.0


def test_rows_are_the_fewest_with_a_chance():
    curves = shipped()
    for setting, chance in itertools.product(SETTINGS, (0.01, 0.5, 0.95, 0.999)):
        n = curves.rows(setting, chance)
        assert curves.probability(setting, n) >= chance
        assert n == setting.n_parameters or curves.probability(setting, n - 1) < chance


@pytest.mark.parametrize("more", [{"noise": 0.5}, {"condition_number": 9.0}])
def test_what_is_harder_asks_for_no_fewer_rows(more):
    curves = shipped()
    for setting in SETTINGS:
        if all(getattr(setting, name) <= value for name, value in more.items()):
            assert curves.rows(replace(setting, **more), 0.9) >= curves.rows(setting, 0.9)


def test_a_chance_that_no_rows_give_is_refused():
    hopeless = Setting("relu", 10, 2, 1.0, 1e300)
    with pytest.raises(ValueError, match="more than 1e\\+15 rows"):
        shipped().rows(hopeless, 0.9)


def test_a_fit_finds_the_curves_that_made_its_trials():
    """Of 6,000 networks; planned chances are then known to a few points in the middle of the region."""
    rng, true = np.random.default_rng(3), shipped()
    trials = []
    for _ in range(6000):
        name, k = str(rng.choice(["relu", "tanh", "softplus"])), int(rng.integers(1, 13))
        d = int(rng.integers(k, 51))
        noise = float(rng.random()) if rng.random() < 0.5 else 0.0
        setting = Setting(name, d, k, float(rng.uniform(1, 10)), noise)
        middle = true.rows(setting, 0.5)
        # Beyond the region costs are those of its edge, as a fit of them does not know.
        n = int(np.clip(middle * np.exp(rng.normal(0.1, 0.5)), setting.n_parameters, true.most_rows(setting)))
        costs = (true.cost(curve, setting, n) * rng.lognormal(0.0, 0.5) for curve in CURVES[1:])
        trials.append(Trial(setting, n, bool(rng.random() < true.probability(setting, n)), *costs))
    found = Curves.fit(trials, REGION)
    assert set(found.trials) == {"relu", "tanh", "softplus"} and sum(found.trials.values()) == 6000
    for one in trials[:300]:
        assert found.probability(one.setting, one.n_rows) == pytest.approx(
            true.probability(one.setting, one.n_rows), abs=0.12
        )
        for curve in CURVES[1:]:
            ratio = found.cost(curve, one.setting, one.n_rows) / true.cost(curve, one.setting, one.n_rows)
            assert abs(math.log(ratio)) < 0.4


def test_an_activation_of_few_trials_is_judged_by_the_others():
    seen = [Trial(Setting("relu", 10, 2, 2.0, 0.0), n, n > 60, 10.0, 20.0) for n in range(20, 100)]
    one = Trial(Setting("tanh", 10, 2, 2.0, 0.0), 60, True, 10.0, 20.0)
    found = Curves.fit([*seen, one], REGION)
    likewise = [found.rows(Setting(name, 10, 2, 2.0, 0.0), 0.9) for name in ("relu", "tanh")]
    assert likewise[1] == pytest.approx(likewise[0], rel=0.4)


def test_the_shipped_curves_are_those_of_the_table(tmp_path):
    rows = planner.read(planner.TABLE)
    found = Curves.fit(map(planner.trial, rows), REGION)
    found.save(tmp_path / "again.json")
    again, ours = load(tmp_path / "again.json"), shipped()
    assert again.trials == ours.trials and again.region == ours.region == REGION
    assert set(ours.trials) <= set(NAMES) and sum(ours.trials.values()) == len(rows)
    for curve, name in itertools.product(CURVES, MEASURED):
        assert again.coefficients[curve][name] == pytest.approx(ours.coefficients[curve][name], abs=2e-3)
    assert SHIPPED.stat().st_size < 8000


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = planner.read(planner.TABLE)[:40]
    planner.write(tmp_path / "table.csv", rows)
    assert planner.read(tmp_path / "table.csv") == rows
    assert any("expected error" not in row for row in rows)  # without noise


@pytest.mark.parametrize("text", ["", "{}", '{"features": 1, "activations": {}}', "[]"])
def test_files_without_curves_are_refused(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match="bad.json holds no curves"):
        load(tmp_path / "bad.json")


def test_files_of_other_features_are_refused(tmp_path):
    data = json.loads(SHIPPED.read_text())
    for change in ({"features": list(FEATURES[:-1])}, {"features": ["zero", *FEATURES[1:]]}):
        (tmp_path / "other.json").write_text(json.dumps(data | change))
        with pytest.raises(ValueError, match="curves of other features: "):
            load(tmp_path / "other.json")


# Plans.


def test_a_plan_says_what_is_expected():
    plan = fr.required_rows("relu", 20, 3, noise=0.2)
    assert isinstance(plan, fr.RequiredRows) and plan.measured and plan.outside == ()
    assert plan.probability >= 0.95 > plan.at(plan.rows - 1).probability
    assert plan.rows_per_weight == plan.rows / 60
    model = fr.models.get_model("relu", 3)
    errors = [one.error(plan.rows, 0.2) for one in planted_information(model, 20, 2.0)]
    assert plan.error == pytest.approx(np.exp(np.mean(np.log(errors)))) and 0.0 < plan.error < 0.5
    setting = Setting("relu", 20, 3, 2.0, 0.2)
    assert plan.passes == shipped().cost("passes", setting, plan.rows)
    per_sweep = plan.seconds / shipped().cost("sweeps", setting, plan.rows)
    assert per_sweep == pytest.approx(sweep_seconds(model, 20, plan.rows))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.rows = 1
    assert plan.at(plan.rows) == plan and plan.at(np.int64(4 * plan.rows)).error < plan.error
    below = plan.at(59)
    assert below.probability == 0.0 and below.error == np.inf and "not determined" in str(below)


def test_a_model_object_stands_for_its_name():
    named = fr.required_rows("leaky_relu", 8, 2)
    given = fr.required_rows(fr.models.get_model("leaky_relu", 2), 8)
    assert given == named and named.error == 0.0 and "rounding" in str(named)
    assert fr.required_rows(fr.models.Quadratic(3), 9).rows >= 9 * 3 - 3
    assert fr.required_rows(fr.models.get_model("relu", 2).with_output_weights([1.0, -1.0]), 8).measured


def test_an_error_that_is_wanted_asks_for_more_rows():
    plain = fr.required_rows("tanh", 10, 2, noise=0.3)
    plan = fr.required_rows("tanh", 10, 2, noise=0.3, within=plain.error / 2)
    assert plan.rows > 2 * plain.rows and plan.probability > plain.probability
    assert plan.error <= plain.error / 2 < plan.at(plan.rows - 1).error
    assert fr.required_rows("tanh", 10, 2, noise=0.3, within=2 * plain.error) == plain


@pytest.mark.parametrize(
    "more, said",
    [
        ({"n_features": 1000}, "n_features 1000 is not in 3 to 50"),
        ({"n_hidden": 13, "n_features": 20}, "n_hidden 13 is not in 1 to 12"),
        ({"n_hidden": 6}, "n_hidden 6 is above n_features 5"),
        ({"noise": 1.5}, "noise 1.5 is not in 0 to 1"),
        ({"condition_number": 20.0}, "condition_number 20 is not in 1 to 10"),
        ({"noise": 0.3, "within": 1e-3}, "rows_per_parameter"),
        (
            {"model": fr.models.Regression("relu", 2, "free"), "n_hidden": None},
            "output weights are other than 1 and -1",
        ),
        ({"model": fr.activations.get_activation("leaky_relu", 0.3)}, "slope 0.3 is not 0.1"),
    ],
)
def test_what_was_not_measured_is_said(more, said):
    options = {"model": "relu", "n_features": 5, "n_hidden": 2} | more
    with pytest.warns(UserWarning, match="planned outside of what was measured") as caught:
        plan = fr.required_rows(**options)
    assert caught[0].filename == __file__
    assert not plan.measured and any(said in one for one in plan.outside) and said in str(plan)
    assert plan.rows >= plan.n_features * plan.model.n_hidden and plan.seconds > 0


@pytest.mark.parametrize(
    "more, error, said",
    [
        ({"model": "rely"}, ValueError, "unknown model 'rely'.*relu"),
        ({"model": 3}, TypeError, "model must be a name"),
        ({"model": "fcn"}, ValueError, "model has .*rows are planned for regressions"),
        ({"model": fr.models.Regression("relu", 2, hidden_bias=True)}, ValueError, "model has hidden biases"),
        ({"model": fr.models.Regression("relu", 2, loss="huber")}, ValueError, "model has the huber loss"),
        ({"model": fr.models.Regression("relu", 2, linear_term=True, fit_intercept=True)}, ValueError, " and a linear"),
        ({"model": fr.models.ConvRegression(2), "n_hidden": None}, ValueError, "model has patches"),
        ({"n_hidden": None}, ValueError, "n_hidden is required"),
        ({"n_hidden": 0}, ValueError, "n_hidden must be at least 1"),
        ({"n_features": 0}, ValueError, "n_features must be at least 1, got 0"),
        ({"n_features": 2.0}, TypeError, "n_features must be an integer"),
        ({"n_features": 10**8}, ValueError, "n_features and n_hidden must make at most 10000000 weights"),
        ({"noise": -0.1}, ValueError, "noise must lie between 0 and 1e\\+06, got -0.1"),
        ({"noise": math.nan}, ValueError, "noise must lie"),
        ({"noise": "loud"}, TypeError, "noise must be a number, got 'loud'"),
        ({"noise": True}, TypeError, "noise must be a number"),
        ({"condition_number": 0.5}, ValueError, "condition_number must lie between 1"),
        ({"probability": 1}, ValueError, "probability must be above 0 and below 1, got 1"),
        ({"probability": 95}, ValueError, "probability must lie between 0 and 1, got 95"),
        ({"probability": None}, TypeError, "probability must be a number"),
        ({"within": 0.0}, ValueError, "within must be positive"),
        ({"noise": 1.0, "within": 1e-12}, ValueError, "within 1e-12 asks for more than 1e\\+15 rows"),
    ],
)
def test_nonsense_is_refused(more, error, said):
    options = {"model": "relu", "n_features": 5, "n_hidden": 2} | more
    with pytest.raises(error, match=said):
        fr.required_rows(**options)


def test_functions_of_a_user_have_no_curves():
    own = fr.Activation.from_functions(lambda z: z * z * z, lambda z: 3.0 * z * z)
    with pytest.raises(ValueError, match="no curves were measured for activation 'user' .known: abs, "):
        fr.required_rows(own, 5, 2)


@pytest.mark.parametrize("rows, error", [(0, ValueError), (2.5, TypeError), (True, TypeError)])
def test_rows_to_expect_something_of_are_counted(rows, error):
    with pytest.raises(error, match="rows must be"):
        fr.required_rows("relu", 5, 2).at(rows)


def test_more_rows_than_were_measured_cost_a_few_passes():
    model, setting = fr.models.get_model("relu", 5), Setting("relu", 50, 5, 2.0, 0.1)
    plan = fr.required_rows("relu", 50, 5, noise=0.1)
    edge, beyond = plan.at(30 * 250), plan.at(30 * 250 + 1)
    assert edge.measured and not beyond.measured
    assert beyond.passes == pytest.approx(edge.passes, rel=1e-2)
    assert beyond.seconds == pytest.approx(edge.seconds, rel=1e-2)
    # A million rows took 6.1 passes (bench passes: 5.2 to 8.5 of any activation, 2.3 to 2.8 without noise).
    many = plan.at(1_000_000)
    assert 6.0 < many.passes < 8.0 and 2.0 < fr.required_rows("relu", 50, 5).at(1_000_000).passes < 3.0
    most = shipped().most_rows(setting)
    first = shipped().cost("sweeps", setting, most) * sweep_seconds(model, 50, most)
    assert many.seconds == pytest.approx(first + 7.0 * (1.0 - most / 1e6) * sweep_seconds(model, 50, 1e6))


def test_a_sweep_of_many_rows_is_timed_on_a_part():
    model = fr.models.get_model("relu", 2)
    half = 2.0**20
    assert sweep_seconds(model, 4, half) > 0
    assert sweep_seconds(model, 4, 4 * half) == pytest.approx(4 * sweep_seconds(model, 4, half))


# The command.


def called(capsys, *words):
    code = main(["plan", *words])
    return code, *capsys.readouterr()


def test_the_command_prints_the_plan(capsys):
    words = ("--model", "tanh", "--features", "20", "--hidden", "3", "--noise", "0.1", "--condition", "3")
    code, out, err = called(capsys, *words, "--probability", "0.9")
    plan = fr.required_rows("tanh", 20, 3, noise=0.1, condition_number=3.0, probability=0.9)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if not line.startswith("seconds")] == [
        line for line in str(plan).splitlines() if not line.startswith("seconds")
    ]
    assert f"{plan.rows} ({plan.rows_per_weight:.3g} a weight)" in out and "measured        yes" in out


def test_the_command_tells_what_to_expect_of_rows_and_of_an_error(capsys):
    code, out, _ = called(capsys, "--features", "10", "--hidden", "2", "--rows", "500")
    assert code == 0 and "500 (25 a weight)" in out and "rounding" in out
    code, out, _ = called(capsys, "--features", "10", "--hidden", "2", "--noise", "0.5", "--within", "0.1")
    assert code == 0 and "relative error  0.1\n" in out
    code, out, err = called(capsys, "--features", "1000")  # said in a line, without a warning
    assert code == 0 and err == "" and "no: n_features 1000 is not in 3 to 50" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (("--features", "0"), "--features must be at least 1, got 0"),
        (("--hidden", "-2"), "--hidden must be at least 1, got -2"),
        (("--condition", "0.5"), "--condition must lie between 1"),
        (("--noise", "-1"), "--noise must lie between 0"),
        (("--probability", "2"), "--probability must lie between 0 and 1"),
        (("--within", "0"), "--within must be positive"),
        (("--rows", "0"), "--rows must be at least 1"),
        (("--features", "9000000"), "--features and --hidden must make at most"),
        (("--model", "cnn"), "must name an activation"),
        (("--model", "rely"), "unknown model 'rely'"),
        (("--noise", "x"), "--noise: must be a number, got 'x'"),
    ],
)
def test_the_command_names_its_options(capsys, words, said):
    code, out, err = called(capsys, *words)
    assert (code, out) == (2, "") and said in err and len(err.splitlines()) == 1
