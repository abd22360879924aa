"""The benchmarks: what they time and in which order, what they keep, and the arithmetic behind their claims.

Time is counted by a fake clock that only the fake candidates move, so each median and ratio is known exactly; the
peers are held against finite differences and sums written out.
"""

from __future__ import annotations

import builtins
import itertools
import json
import math

import numpy as np
import pytest

import fastrecover as fr
from bench import memory, minimisers, moments, passes, peers, recovery, report, rowfunctions, scaling, sweeps, zoo
from bench.__main__ import CASES, main
from bench.harness import Context, Measured, Neighbours, Results, alternate, median, quietest, ratio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds


def candidates(clock: Clock, log: list[str], **seconds: list[float]):
    def make(name: str, values: list[float]):
        left = iter(values)

        def call() -> None:
            log.append(name)
            clock.now += next(left)

        return call

    return {name: make(name, values) for name, values in seconds.items()}


def timed(clock: Clock, calls, **options):
    return alternate(calls, clock=clock, sleep=clock.sleep, **options)


def test_alternates_and_discards_what_is_untimed():
    clock, log = Clock(), []
    calls = candidates(clock, log, a=[9, 8, 1, 8, 2, 8, 6], b=[9, 8, 4, 8, 2, 8, 3])
    times = timed(clock, calls, rounds=3, warmup=1, lead=1, pause=0.5)
    assert log == ["a", "b"] + ["a", "a", "b", "b"] * 3
    assert times == {"a": pytest.approx([1, 2, 6]), "b": pytest.approx([4, 2, 3])}
    assert clock.slept == pytest.approx(0.5 * 6)


def test_median_and_ratio_are_taken_round_by_round():
    times = {"a": [1.0, 2.0, 6.0], "b": [4.0, 2.0, 3.0]}
    assert median(times["a"]) == 2.0
    assert ratio(times, "b", "a") == 1.0
    assert ratio(times, "a", "b") == 1.0
    assert ratio({"a": [1.0, 10.0, 1.0], "b": [3.0, 30.0, 3.0]}, "b", "a") == 3.0


def test_a_candidate_may_bring_its_own_seconds():
    clock = Clock()
    assert timed(clock, {"a": lambda: Measured(0.25)}, rounds=2)["a"] == [0.25, 0.25]


def test_budget_ends_after_the_least_rounds():
    clock, log = Clock(), []
    calls = candidates(clock, log, a=[10.0] * 20)
    assert len(timed(clock, calls, rounds=9, warmup=0, lead=0, budget=5.0, least=2, pause=0.0)["a"]) == 2
    assert len(timed(clock, calls, rounds=9, warmup=0, lead=0, budget=35.0, least=2, pause=0.0)["a"]) == 4


def test_long_calls_are_not_woken():
    clock, log = Clock(), []
    calls = candidates(clock, log, a=[1, 9, 1, 9, 1, 9], b=[5, 5, 5, 5])
    timed(clock, calls, rounds=3, warmup=0, lead=1, awake=5.0)
    assert log == ["a", "a", "b", "b"] + ["a", "b"] * 2  # b took 5 and a 9, so neither is woken again


def test_quietest_keeps_the_try_that_others_disturbed_least(monkeypatch):
    busy, seconds = iter([1.5, 0.5]), iter([1.0, 2.0])

    class Others:
        def __enter__(self):
            self.cores = next(busy)
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("bench.harness.Neighbours", Others)
    monkeypatch.setattr("bench.harness.alternate", lambda calls, **_: {"a": [next(seconds)]})
    assert quietest({}, Context(threads=2, cores=2), 1.0) == ({"a": [2.0]}, 0.5)
    busy, seconds = iter([1.1, 0.0]), iter([1.0, 2.0])
    assert quietest({}, Context(threads=1, cores=2), 1.0) == ({"a": [1.0]}, 1.1)  # an idle processor is nobody's


def test_ratio_needs_equal_rounds():
    with pytest.raises(ValueError):
        ratio({"a": [1.0], "b": [1.0, 2.0]}, "a", "b")


def test_neighbours_are_not_ourselves():
    with Neighbours() as others:
        sum(range(200_000))
    assert others.cores is None or others.cores >= 0.0


def test_results_are_kept_row_by_row_and_resumed(tmp_path):
    context = Context(threads=2)
    results = Results(tmp_path, quick=False, threads=2)

    def rows():
        yield {"x": 1}
        assert json.loads(results.path.read_text())["cases"]["half"]["rows"] == [{"x": 1}]
        raise KeyboardInterrupt

    results.run("whole", iter([{"x": 1}, {"x": math.pi}]), context)
    with pytest.raises(KeyboardInterrupt):
        results.run("half", rows(), context)
    again = Results(tmp_path, quick=False, threads=2)
    assert again.finished("whole") and not again.finished("half") and not again.finished("other")
    assert not Results(tmp_path, quick=True, threads=2).finished("whole")
    assert not Results(tmp_path, quick=False, threads=1).finished("whole")
    assert again.data["cases"]["half"]["rows"] == [{"x": 1}]


def test_interrupted_repeat_keeps_the_finished_case(tmp_path):
    context, results = Context(threads=1), Results(tmp_path, quick=False, threads=1)
    results.run("case", iter([{"x": 1}]), context)

    def rows():
        yield {"x": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.run("case", rows(), context)
    assert Results(tmp_path, quick=False, threads=1).data["cases"]["case"]["rows"] == [{"x": 1}]


def test_rows_of_an_interrupted_case_are_there_for_the_same_settings(tmp_path):
    context, results = Context(threads=1), Results(tmp_path, quick=False, threads=1)

    def rows():
        yield {"x": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.run("case", rows(), context)
    assert Results(tmp_path, quick=False, threads=1).rows("case") == [{"x": 1}]
    assert Results(tmp_path, quick=True, threads=1).rows("case") == []
    assert Results(tmp_path, quick=False, threads=1).rows("other") == []


def test_a_damaged_result_file_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json"):
        Results(tmp_path, quick=False, threads=1)


def test_table_aligns_and_leaves_blanks():
    lines = report.table(
        [{"a": 1.0, "b": None}, {"a": 12345678.0}], {"a": "a", "twice": lambda r: 2 * r["a"], "b": "b"}
    ).split("\n")
    assert lines[0].split() == ["a", "twice", "b"]
    assert lines[2].split() == ["1", "2"] and lines[3].split() == ["1.2e+07", "2.5e+07"]
    assert report.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_kept_rows_are_given_again_and_only_the_others_measured(monkeypatch):
    row = {"n": 20_000, "d": 128, "k": 4, "dtype": "float64", "activation": "relu", "mark": 7}
    context = Context(threads=1, quick=True, kept=[row, row | {"activation": "tanh", "d": 3}])
    assert context.again({"n": 20_000, "d": 128}) == [row] and not context.again({"k": 5})
    monkeypatch.setattr(sweeps, "_QUICK_CELLS", ((20_000, 128, 4),))
    monkeypatch.setattr(sweeps, "hold_threads", lambda _: None)  # for the rest of the process
    monkeypatch.setattr(sweeps, "measure", lambda problem, _: (problem.x.dtype.name, problem.activation))
    first, *others = sweeps.run(context)
    assert first == row
    assert others == [("float64", "sigmoid"), ("float32", "relu"), ("float32", "sigmoid")]


@pytest.mark.parametrize("argv, said", [(["nothing"], "'nothing'"), (["--threads", "0"], "at least 1")])
def test_bad_arguments_are_refused(argv, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_startup_runs_and_writes_json(tmp_path, capsys):
    assert main(["startup", "--quick", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "results.json").read_text())
    case = data["cases"]["startup"]
    assert case["complete"]
    assert [row["what"] for row in case["rows"]] == ["import"] + ["first fit", "small fit", "small fit"] * 2
    assert all(row["error"] < (0.05 if row.get("noise") else 1e-8) for row in case["rows"][1:])
    assert data["environment"]["cores"] >= 1 and data["environment"]["kernels"]
    assert "small fit" in capsys.readouterr().out
    assert main(["startup", "--quick", "--resume", "--out", str(tmp_path)]) == 0
    assert "taken from" in capsys.readouterr().err


def test_cases_of_sub_packages_are_known_and_can_be_loaded():
    assert {"sweeps", "moments", "zoo", "classification.success"} <= set(CASES)
    assert len(set(CASES)) == len(CASES)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_peers_compute_the_loss_and_its_gradient(activation):
    rng = np.random.default_rng(0)
    problem = peers.Problem(rng.normal(size=(40, 6)), rng.normal(size=40), rng.normal(size=(3, 6)), activation)
    phi = {"relu": lambda z: np.maximum(z, 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z))}[activation]

    def loss(w: np.ndarray) -> float:
        return float(np.mean([(sum(phi(w[j] @ x) for j in range(3)) - y) ** 2 for x, y in rows]) / 2)

    rows = list(zip(problem.x, problem.y, strict=True))
    slope = np.empty((3, 6))
    for j, i in itertools.product(range(3), range(6)):
        step = np.zeros((3, 6))
        step[j, i] = 1e-6
        slope[j, i] = (loss(problem.w + step) - loss(problem.w - step)) / 2e-6
    for sweep in (peers.numpy_sweep(problem), peers.our_sweep(problem, 1), _sklearn(problem)):
        for _ in range(2):  # a sweep must leave its arrays as it found them
            value, grad = sweep()
            assert value == pytest.approx(loss(problem.w), rel=1e-12)
            np.testing.assert_allclose(grad, slope, atol=1e-8)


def _sklearn(problem):
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning):  # one iteration on ten rows, which sets its arrays up
        return peers.sklearn_sweep(problem)


def test_a_missing_peer_is_named_and_left_out(monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **named):
        if name.split(".")[0] in ("jax", "tensorly", "torch"):
            raise ImportError(f"no module named {name}")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    context = Context(threads=1, quick=True)
    row = moments._projected(200, 3, "float64", context)
    assert context.missing == {"tensorly": "no module named tensorly"}
    assert "tensorly ms" not in row and row["einsum / ours"] > 0.0
    *rows, last = recovery._problem("tanh", 0.0, 2000, 4, 2, context)
    assert [row["who"] for row in rows] == ["fastrecover", "scikit-learn"]
    assert {"torch", "jax"} <= set(context.missing) and "ratio" in last


def test_moments_of_the_peers_are_the_sum_by_its_definition():
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    whole = np.zeros((4, 4, 4))
    for i, a, b, c in itertools.product(range(30), *[range(4)] * 3):
        whole[a, b, c] += y[i] * z[i, a] * z[i, b] * z[i, c]
    for make in (moments.einsum, moments.numpy_blocks):
        np.testing.assert_allclose(make(z, y)(), whole, atol=1e-13)


def test_centred_moment_is_that_of_hermite_polynomials():
    rng = np.random.default_rng(2)
    x, y, v = rng.normal(size=(50, 5)), rng.normal(size=50), rng.normal(size=(3, 5))
    whole = np.zeros((5, 5, 5))
    for row, response in zip(x, y, strict=True):
        for a, b, c in itertools.product(range(5), repeat=3):
            less = row[a] * (b == c) + row[b] * (a == c) + row[c] * (a == b)
            whole[a, b, c] += response * (row[a] * row[b] * row[c] - less) / 50
    expected = np.einsum("abc,ia,jb,kc->ijk", whole, v, v, v)
    z = x @ v.T
    raw = moments.einsum(z, y)() / 50
    np.testing.assert_allclose(moments.centred(raw, z.T @ y / 50, v @ v.T), expected, atol=1e-13)
    np.testing.assert_allclose(fr.moments.third(x, y, v), expected, atol=1e-13)


def test_flops_are_those_of_the_two_products():
    d, k = 16, 4
    sweeps = {case.name: case for case in rowfunctions.cases_of(d, k)}
    assert rowfunctions.gradient(d, 5).flops(10 * d) == 4 * 10 * d * 5
    for name, in_gradients in (
        ("cross entropy, fcn", k),
        ("Hessian product, tanh", 1.5 * k),
        ("four trial losses, relu", 2 * k),
        ("M2 V", k + 1),  # the mean of y x and that of x come with it
        ("cross entropy, cnn", 1),
    ):
        assert sweeps[name].flops(10 * d) == 4 * 10 * d * in_gradients


def test_every_sweep_agrees_with_the_reference_before_it_is_timed(monkeypatch):
    x = peers.gaussian_rows(600, 16, "float64")
    cases = rowfunctions.cases_of(16, 4) + [case for case, _ in rowfunctions.small_matrices(16, 2)]
    assert len(cases) >= 14
    for case in cases:
        rowfunctions._check(case, x)
    call = rowfunctions._call
    monkeypatch.setattr(
        rowfunctions, "_call",
        lambda case, few, threads, kernels=None: lambda: [
            part * (1.0 if kernels else 1.001) for part in call(case, few, threads, kernels)()
        ],
    )  # fmt: skip
    for case in cases:
        with pytest.raises(ArithmeticError, match="differ from the reference"):
            rowfunctions._check(case, x)


def test_interpolated_gradient():
    assert rowfunctions.interpolated(9.5, [8, 9, 10], [1.0, 2.0, 4.0]) == pytest.approx(3.0)
    assert rowfunctions.interpolated(20.0, [8, 10], [1.0, 4.0]) == pytest.approx(8.0)
    assert rowfunctions.interpolated(4.0, [8, 10], [1.0, 4.0]) == pytest.approx(0.5)


def test_a_watch_counts_the_runs_own_time_and_ends_it():
    clock, errors = Clock(), iter([3.0, 0.5, 0.9])

    def judge(_):
        clock.now += 100.0  # judging is not the run's time
        return next(errors)

    watch = minimisers.Watch(judge, target=0.6, budget=10.0, clock=clock)
    watch.start()
    clock.now += 2.0
    watch(None)
    assert (watch.spent, watch.error, watch.evaluations) == (2.0, 3.0, 1)
    clock.now += 3.0
    with pytest.raises(minimisers.Over):
        watch(None)
    assert (watch.spent, watch.error, watch.evaluations) == (5.0, 0.5, 2)
    slow = minimisers.Watch(lambda _: 1.0, target=0.5, budget=4.0, clock=clock)
    slow.start()
    clock.now += 4.0
    with pytest.raises(minimisers.Over):
        slow(None)


def test_peers_restart_until_they_arrive_or_the_budget_is_spent():
    given = []

    def attempt(seed, target, left):
        given.append((seed, target, left))
        watch = minimisers.Watch(lambda _: 0.0, target, left)
        watch.spent, watch.evaluations, watch.error = 2.0, 7, [0.9, 0.8, 0.1, 0.0][seed]
        return watch

    found = recovery.restarted(attempt, 0.2, 10.0)
    assert given == [(0, 0.2, 10.0), (1, 0.2, 8.0), (2, 0.2, 6.0)]
    assert (found["seconds"], found["passes"], found["starts"], found["error"]) == (6.0, 21.0, 3, 0.1)
    assert found["reached"]
    given.clear()
    assert not recovery.restarted(attempt, 0.2, 3.0)["reached"] and len(given) == 2


def test_recovery_is_compared_with_the_fastest_peer_that_arrived():
    times = {"a": (4.0, False), "b": (6.0, True), "c": (9.0, True)}
    assert recovery.verdict(times, 2.0) == {"fastest peer": "b", "ratio": 3.0, "at least": False}
    nobody = {"a": (4.0, False), "b": (5.0, False)}
    assert recovery.verdict(nobody, 2.0) == {"fastest peer": None, "ratio": 2.0, "at least": True}


def test_scikit_learns_lbfgs_is_judged_and_stopped():
    teacher = fr.datasets.make_teacher("tanh", n_features=3, n_hidden=1, random_state=0)
    X, y = teacher.sample(400, random_state=1)
    attempt = minimisers.sklearn_lbfgs(teacher, X, y)
    watch = attempt(0, 1e-3, 20.0)
    assert watch.error <= 1e-3 and watch.evaluations > 5
    hurried = attempt(0, 0.0, 1e-9)
    assert hurried.evaluations == 1 and hurried.error > 1e-3


def test_first_stop_within_a_bound():
    distances = {2.5: 7.0, 3.5: 1.0, 4.5: 1e-2, 5.5: 1e-3}
    asked = []

    def at(stop: float) -> float:
        asked.append(stop)
        return distances[stop]

    assert passes.first_within(sorted(distances), at, 1e-2) == 4.5
    assert passes.first_within(sorted(distances), at, 10.0) == 2.5
    assert passes.first_within(sorted(distances), at, 1e-3) == 5.5
    asked.clear()
    assert passes.first_within(sorted(distances), at, 1e-4) is None
    assert asked == [5.5]


@pytest.mark.parametrize("model", ["tanh", "fcn"])
def test_distances_are_in_units_of_the_statistical_error(model):
    # A step of L^-T z / sqrt(n), L L' the information at the minimiser, is |z| / sqrt(p) statistical errors long.
    teacher = fr.datasets.make_teacher(model, n_features=4, n_hidden=2, norms=4.0, random_state=0)
    noise = 0.1 if model == "tanh" else 0.0
    X, y = teacher.sample(20_000, noise=noise, random_state=1)
    near = fr.fit(X, y, model=teacher.model, init=teacher.parameters, solver="gauss-newton", tol=1e-3)
    objective = fr.objective(X, y, near.model.with_output_weights(near.output_weights))
    theta = passes.minimiser(objective, objective.model.pack(near.parameters))
    assert np.linalg.norm(objective.value_and_grad(theta)[1]) < 1e-12
    information = objective.gauss_newton(theta)[2] / (noise**2 or 1.0)
    z = np.random.default_rng(2).standard_normal(8)
    step = np.linalg.solve(np.linalg.cholesky(information).T, z) / np.sqrt(20_000)

    class Shifted:
        model = teacher.model

        def predict(self, _):
            return objective.predict(theta + 1e-3 * step)

        def predict_proba(self, _):
            return np.column_stack([1.0 - self.predict(_), self.predict(_)])

    distance = passes.Distance(X, y, near, noise)
    assert distance(Shifted()) == pytest.approx(1e-3 * np.linalg.norm(z) / np.sqrt(8), rel=1e-3)


def test_passes_of_all_seeds_count_those_that_never_arrive():
    row = {"model": "relu", "noise": 0.1, "n": 10, "converged": True, "passes": 9.0, "error": 0.1}
    rows = [row | {"passes to 1%": p, "passes to 1e-8": q} for p, q in ((8.0, 15.0), (9.0, 21.0), (12.0, None))]
    found = passes.summary(rows)
    assert (found["to 1%, median"], found["to 1%, most"], found["to 1% in 10"]) == (9.0, 12.0, 2)
    assert (found["to 1e-8, median"], found["to 1e-8, most"], found["to 1e-8 in 20"]) == (21.0, math.inf, 1)
    assert "to 1%, median" not in passes.summary([row])


def test_slopes_over_all_and_over_the_last_decade():
    sizes = (1e3, 1e4, 1e5)
    rows = [{"n": n, "sweep ms": 3 * n, "fit ms": 1e4 if n < 1e5 else 1e5} for n in sizes]
    sweep, fit = scaling.slopes("n", rows)
    assert sweep["slope"] == pytest.approx(1.0) and sweep["within 0.95 to 1.05"]
    assert fit["slope"] == pytest.approx(0.5) and not fit["within 0.95 to 1.05"]
    assert fit["last decade"] == pytest.approx(1.0) and fit["last decade within"]


@pytest.mark.parametrize(
    "ours, plain, said",
    [
        (1.0, 1.0 + 2e-9, "win"),
        (1.0 + 2e-9, 1.0, "loss"),
        (1.0, 1.0 + 5e-10, "tie"),
        (1e-26, 1e-29, "tie"),  # both exact
        (1e-29, 1e-20, "win"),
        (1e-20, 1e-29, "loss"),
    ],
)
def test_a_loss_is_a_loss(ours, plain, said):
    assert zoo.verdict(ours, plain, 1.0) == said


def test_tally_and_what_is_shown_of_it():
    def animal(number: int, verdict: str, excess: float) -> dict:
        row = {"problem": number, "model": "relu", "n": 9, "d": 2, "k": 1}
        row |= {"output weights": "ones", "intercept": False, "noise": 0.0}
        for tol, plain in itertools.product(zoo.TOLERANCES, zoo.PLAIN):
            row |= {f"{plain}, {tol}": verdict, f"{plain} excess, {tol}": excess, f"{plain} passes, {tol}": 5.0}
            row |= {f"{plain} converged, {tol}": True, f"converged, {tol}": number > 0, f"passes, {tol}": 2.0}
        return row

    rows = [animal(0, "win", -0.5), animal(1, "tie", 1e-12), animal(2, "loss", 1e-8), animal(77, "loss", 0.25)]
    found = zoo.tally(rows, "lbfgs", "strict")
    assert (found["wins"], found["ties"], found["losses"]) == (1, 1, 2)
    assert (found["worst relative excess"], found["losses above 1e-6"], found["not converged"]) == (0.25, 1, 1)
    text = zoo.shown([*rows, found])
    assert "77" in text and "1e-08" not in text  # losses that matter are listed, one by one


def test_zoo_problems_are_the_same_every_time_and_all_different():
    seen = set()
    for number in range(10):
        teacher, X, y, noise = zoo.problem(number)
        again = zoo.problem(number)
        assert np.array_equal(X, again[1]) and np.array_equal(y, again[2])
        assert len(X) >= 20 * teacher.model.n_parameters(teacher.weights.shape[1])
        seen.add((teacher.model.loss, teacher.model.activation.name, teacher.model.n_patches > 1))
    assert len(seen) == 10


def test_peak_memory_of_a_process_is_what_it_held_at_once():
    setup = "import numpy as np\nx = np.ones(10_000_000)\ndel x"  # an earlier, higher peak must not hide the later one
    work = "a = np.ones(3_000_000)\ndel a\nb = np.ones(4_000_000)\ndel b\nsaid = 7"
    used, exact, whole, said = memory.peak(setup, work, 20.0)
    assert whole and said == 7
    # Samples a millisecond apart may miss the top of a peak that lasts ten.
    assert abs(used - 32e6) < (1.5e6 if exact else 16e6)
    used, _, whole, said = memory.peak("import numpy as np", "b = np.ones(4_000_000)\ntime.sleep(60)", 0.5)
    assert not whole and said is None and abs(used - 32e6) < 1.5e6


def test_quick_cases_run_and_are_drawn(tmp_path, capsys):
    assert main(["zoo", "scaling", "--quick", "--threads", "1", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert [row["slope in"] for row in data["scaling"]["rows"] if "slope in" in row] == ["n", "n", "d", "d"]
    tallies = [row for row in data["zoo"]["rows"] if "against" in row]
    assert len(tallies) == 4 and all(row["wins"] + row["ties"] + row["losses"] == 10 for row in tallies)
    assert {path.name for path in tmp_path.glob("*.png")} == {"zoo.png", "scaling.png"}
    assert "worst relative excess" in capsys.readouterr().out
