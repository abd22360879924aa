"""The benchmark harness: what it times, in which order, and what it keeps.

Time is counted by a fake clock that only the fake candidates move, so each median and ratio is known exactly.
"""

from __future__ import annotations

import json
import math

import pytest

from bench import report
from bench.__main__ import main
from bench.harness import Context, Measured, Neighbours, Results, alternate, median, ratio


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
    assert [row["what"] for row in case["rows"]] == ["import"] + ["first fit", "small fit"] * 2
    assert all(row["error"] < 1e-8 for row in case["rows"][1:])
    assert data["environment"]["cores"] >= 1 and data["environment"]["kernels"]
    assert "small fit" in capsys.readouterr().out
    assert main(["startup", "--quick", "--resume", "--out", str(tmp_path)]) == 0
    assert "taken from" in capsys.readouterr().err
