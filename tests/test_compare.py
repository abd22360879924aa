"""Comparing two revisions: the interval, the verdict, turns, processes, and work trees of a repository made here.

That repository holds a stand-in for the package whose `setup.py` compiles nothing, so the whole command runs in a
second; the kernels are real where cases are made.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from scipy import stats

from bench import compare, harness, intervals, kernel_cases, revisions, worker
from bench.__main__ import main as bench_main
from bench.harness import Context
from bench.intervals import Judged, interval, judged
from bench.worker import Timer, WorkerError, serve


@pytest.mark.parametrize("n", [6, 7, 9, 10, 30, 31, 100])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_that_of_the_sign_test(n, confidence):
    values = np.random.default_rng(n).standard_normal(n)
    found = stats.quantile_test(values, q=0.0, p=0.5).confidence_interval(confidence)
    assert interval(list(values), confidence) == (found.low, found.high)


def test_too_few_values_have_no_interval():
    assert interval([6, 2, 3, 1, 5, 4]) == (1, 6)
    for n in range(intervals.FEWEST):
        with pytest.raises(ValueError, match=f"{n} values"):
            interval([1.0] * n)


def test_the_interval_holds_the_median_of_a_skewed_law():
    """Of 30 values it holds it in 95.7 % of cases; those one value narrower or wider, 90.1 or 98.4 %, are 17 or 8
    standard errors of 4,000 draws away, and four are allowed."""
    draws = np.random.default_rng(0).lognormal(sigma=1.5, size=(4000, 30))
    ends = [interval(list(values)) for values in draws]
    found, expected = np.mean([low <= 1.0 <= high for low, high in ends]), 1 - 2 * stats.binom.cdf(9, 30, 0.5)
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize(
    "values, verdict",
    [
        ([1.2, 1.3, 1.11, 1.2, 1.2, 1.2], "slower"),
        ([1.2, 1.3, 1.10, 1.2, 1.2, 1.2], "not decided"),  # its end at the limit, not above it
        ([1.3, 1.3, 1.3, 1.3, 1.3, 0.9], "not decided"),
        ([1.0, 1.1, 1.1, 1.1, 1.1, 9.0], "ok"),
        ([0.5] * 6, "ok"),
    ],
)
def test_slower_is_what_lies_above_the_limit_as_a_whole(values, verdict):
    assert judged(values).verdict == verdict


def test_one_slow_or_broken_case_fails_and_what_is_not_decided_does_not():
    fast, unsure, slow = Judged(1.0, 0.9, 1.2), Judged(1.2, 1.0, 1.4), Judged(1.2, 1.15, 1.4)
    assert compare.status({"a": fast, "b": unsure}, {}) == 0
    assert compare.status({"a": fast, "b": slow}, {}) == compare.status({"a": fast}, {"b": "gone"}) == 1
    assert compare.status({}, {}) == 2
    assert compare.conclusions({"a": fast}, {}) == ["no case is slower by more than 10%"]
    lines = "\n".join(compare.conclusions({"a": fast, "b": unsure, "c": slow}, {"d": "gone"}))
    assert "more than 10%: c\n" in lines and "cannot run d: gone" in lines and lines.endswith("tell): b")
    assert compare.conclusions({}, {}) == ["no case could be compared"]


class Fake:
    """A worker whose calls take what a function of side and round says."""

    def __init__(self, side, seconds, errors, log):
        self.name, self._seconds, self._errors, self._log, self._case = side, seconds, errors, log, None

    def ask(self, method, *arguments):
        if method == "make":
            self._case = arguments[0]
            error = self._errors.get((self.name, self._case))
            return {"error": error} if error else {}
        self._log.append((self._case, self.name))
        return {"seconds": self._seconds(self.name, self._case, len(self._log))}


def faked(seconds, errors=None, log=None):
    opened, log = [], [] if log is None else log

    @contextmanager
    def open_(side):
        opened.append(side)
        yield Fake(side, seconds, errors or {}, log)

    return open_, opened


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(harness.time, "sleep", lambda seconds: None)


def test_rounds_alternate_within_a_case_and_pairs_of_processes_share_them(at_once):
    log = []
    open_, opened = faked(lambda side, case, turn: {"base": 1.0, "head": 3.0}[side] * turn, log=log)
    times, broken = compare.measure(open_, ["a", "b"], 20, Context(1))
    assert opened == ["base", "head"] * 3 and not broken
    assert [case for case, _ in log] == ["a"] * 14 + ["b"] * 14 + ["a"] * 14 + ["b"] * 14 + ["a"] * 12 + ["b"] * 12
    rounds = [tuple(side for _, side in log[i : i + 2]) for i in range(0, len(log), 2)]
    assert set(rounds) == {("base", "head"), ("head", "base")} and 10 < rounds.count(("base", "head")) < 30
    # Both sides of a ratio come from one round, whichever came first.
    base, head = ([i + 1 for i, turn in enumerate(log) if turn == ("a", side)] for side in ("base", "head"))
    assert compare.ratios(times["a"]) == [3 * b / a for a, b in zip(base, head, strict=True)]
    assert [len(found) for case in times.values() for found in case.values()] == [20] * 4


def test_what_the_base_lacks_is_left_out_and_what_the_head_lost_is_broken(at_once):
    errors = {("base", "a"): "no a", ("head", "b"): "no b", ("base", "c"): "no c", ("head", "c"): "nor here"}
    open_, _ = faked(lambda *_: 1.0, errors)
    context = Context(1, quick=True)
    times, broken = compare.measure(open_, ["a", "b", "c", "d"], 6, context)
    assert list(times) == ["d"] and broken == {"b": "no b"}
    assert context.missing == {"a": "base: no a", "c": "base: no c"}


def test_a_call_that_fails_later_ends_the_comparison(at_once):
    class Failing(Fake):
        def ask(self, method, *arguments):
            return {} if method == "make" else {"error": "ValueError: odd"}

    with pytest.raises(WorkerError, match="a call of (base|head) failed: ValueError: odd"):
        compare.measure(lambda side: nullcontext(Failing(side, None, {}, [])), ["a"], 6, Context(1))


def test_the_order_of_a_round_is_drawn():
    log = []
    calls = {name: lambda name=name: log.append(name) for name in "ab"}
    harness.alternate(calls, 40, lead=0, pause=0.0, order=random.Random(1))
    assert sorted(log) == ["a"] * 40 + ["b"] * 40 and {"".join(log[i : i + 2]) for i in range(0, 80, 2)} == {"ab", "ba"}


def test_a_worker_answers_each_line_and_says_what_failed():
    called = []

    def broken():
        raise AttributeError("no\nsuch thing")

    requests = [["make", "good"], ["time"], ["make", "bad"], ["make", "good"]]
    answers = []
    timer = Timer({"good": lambda: lambda: called.append(1), "bad": broken})
    serve(timer, map(json.dumps, requests), lambda line: answers.append(json.loads(line)))
    assert answers[0] == answers[3] == {} and answers[1]["seconds"] >= 0.0
    assert answers[2] == {"error": "AttributeError: no such thing"}
    assert len(called) == 1 + 2 + 1  # once when made, and before each that is timed


@pytest.mark.parametrize("case", kernel_cases.cases(1, quick=True))
def test_every_case_runs(case):
    timer = Timer(kernel_cases.cases(1, quick=True))
    assert timer.make(case) == {}


def test_cases_are_the_same_rows_with_other_sizes():
    assert list(kernel_cases.cases(1)) == list(kernel_cases.cases(2, quick=True))


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--threads", "0"], "at least 1"),
        (["--rounds", "5"], "at least 6"),
        (["--cases", "gradient", "nothing"], "gradient and nothing"),
        (["a", "b", "c"], "unrecognized"),
    ],
)
def test_bad_usage_is_refused(argv, said, capsys):
    with pytest.raises(SystemExit) as ended:
        bench_main(["compare", *argv])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_cases_are_chosen_by_parts_of_their_names():
    chosen = compare._options(["--cases", "third", "float32"]).cases
    assert chosen == ["third moment 50000x256x8 float32"]
    assert compare._options([]).rounds == 30 and compare._options(["--quick"]).rounds == 6


@pytest.mark.parametrize("command", [["-m", "bench.compare"], ["bench/compare.py"], ["-m", "bench", "compare"]])
def test_it_is_called_by_name_or_as_a_file(command):
    done = subprocess.run(
        [sys.executable, *command, "--rounds", "1"], cwd=worker.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("compare: error: --rounds must be")


PACKAGE = {
    "setup.py": "from pathlib import Path\nPath('fastrecover/kernels/_compiled.so').write_text('')\n",
    "csrc/rows.c": "",
    "bench/worker.py": "raise ImportError('benchmarks of a revision are not used')",
    "fastrecover/kernels/__init__.py": "",
    "fastrecover/__init__.py": "from . import moments\ndef set_kernels(name):\n    print('printed')\n",
    "fastrecover/moments.py": "def third(x, y, v, n_jobs):\n    assert x.shape == (500, 256) and n_jobs == 2\n",
}
ARGUMENTS = ["--quick", "--threads", "2", "--cases", "third"]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A function that writes files and commits them, in a repository that is compared in place of this one."""
    root = tmp_path / "repository"
    monkeypatch.setattr(compare, "ROOT", root)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@localhost")
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)

    def commit(**files):
        for name, text in {**PACKAGE, **files}.items() if not (root / "setup.py").exists() else files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        revisions._git(root, "add", "--all")
        revisions._git(root, "commit", "--quiet", "--allow-empty", "-m", "next")
        return revisions._git(root, "rev-parse", "HEAD")

    commit.root = root
    return commit


def called(tmp_path, *argv):
    return compare.main([*argv, *ARGUMENTS, "--out", str(tmp_path / "out")])


def history(tmp_path):
    path = tmp_path / "out" / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trees(root):
    return revisions._git(root, "worktree", "list", "--porcelain").count("worktree ")


def test_two_revisions_are_built_timed_and_kept(repository, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(intervals, "LIMIT", 1e9)  # nothing here is asked about times
    base, head = repository(), repository(**{"csrc/rows.c": "// faster"})
    assert called(tmp_path) == called(tmp_path, "main~1", "main") == 0
    printed, said = capfd.readouterr()
    assert f"base: main~1 ({base[:10]})" in printed and "third moment 50000x256x8 float32" in printed
    assert "95% interval" in printed and "building head: main" in said
    first, second = history(tmp_path)
    assert all(one["base"] == base and one["head"] == head and not one["changes"] for one in (first, second))
    assert first["threads"] == 2 and first["quick"] and first["processor"] == harness.processor()
    assert len(first["ratios"]) == 2
    assert all(low <= ratio <= high for ratio, low, high in first["ratios"].values())
    assert trees(repository.root) == 1


def test_without_a_head_the_folder_is_compared_as_it_is(repository):
    commit, root = repository(), repository.root
    assert revisions.as_it_is(root) == revisions.Revision("this folder", commit)
    (root / "csrc" / "rows.c").write_text("// changed")
    (root / "csrc" / "new.c").write_text("// new")
    (root / "notes.txt").write_text("nobody's business")
    before = revisions._git(root, "status", "--porcelain")
    found = revisions.as_it_is(root)
    assert found.changed and revisions._git(root, "status", "--porcelain") == before
    assert revisions._git(root, "show", f"{found.commit}:csrc/new.c") == "// new"
    files = revisions._git(root, "diff", "--name-only", commit, found.commit).split()
    assert files == ["csrc/new.c", "csrc/rows.c"]
    # On main, with changes or without, the last commit is what they are compared with, or its parent.
    assert revisions.origin_of(root, found).commit == commit
    assert revisions.origin_of(root, revisions.Revision("HEAD", repository())).commit == commit


def test_work_on_a_branch_is_compared_with_where_it_left_main(repository):
    start, root = repository(), repository.root
    revisions._git(root, "checkout", "--quiet", "-b", "work")
    repository(a="1")
    head = repository(a="2")
    revisions._git(root, "checkout", "--quiet", "main")
    repository(b="1")
    assert revisions.origin_of(root, revisions.resolve(root, "work")).commit == start
    revisions._git(root, "branch", "--quiet", "-m", "main", "trunk")
    assert revisions.origin_of(root, revisions.resolve(root, "work")).commit == revisions._git(
        root, "rev-parse", f"{head}^"
    )


def test_an_unknown_revision_is_named(repository, tmp_path, capsys):
    repository()
    assert called(tmp_path, "nowhere", "main") == 2
    assert capsys.readouterr().err == "compare: there is no revision 'nowhere'\n"
    assert called(tmp_path) == 2  # the first commit has no parent
    assert "no revision" in capsys.readouterr().err and not history(tmp_path)


def test_a_folder_without_a_repository_is_refused(repository, tmp_path, monkeypatch, capsys):
    repository()
    for folder in (tmp_path, repository.root / "csrc"):
        monkeypatch.setattr(compare, "ROOT", folder)
        assert called(tmp_path) == 2
        assert "is no repository" in capsys.readouterr().err


def test_a_failed_build_is_named(repository, tmp_path, capsys):
    repository()
    repository(**{"setup.py": "raise SystemExit('rows.c:1: error: no such thing')"})
    assert called(tmp_path, "main~1", "main") == 2
    said = capsys.readouterr().err
    assert "the build of head, main (" in said and "rows.c:1: error: no such thing" in said
    assert trees(repository.root) == 1 and not history(tmp_path)


def test_cases_of_one_revision_alone(repository, tmp_path, capfd):
    repository()
    repository(**{"fastrecover/moments.py": ""})
    assert called(tmp_path, "main~1", "main") == 1
    assert "head cannot run third moment 50000x256x8 float64: AttributeError" in capfd.readouterr().out
    assert called(tmp_path, "main", "main~1") == 2
    printed, said = capfd.readouterr()
    assert "no case could be compared" in printed and "without third moment 50000x256x8 float32: base: Attr" in said
    assert not history(tmp_path)


def test_a_process_that_dies_is_named(repository, tmp_path, capfd):
    repository()
    repository(**{"fastrecover/moments.py": "import os\ndef third(*_, **__):\n    os._exit(7)"})
    assert called(tmp_path, "main~1", "main") == 2
    assert "the process of head ended with status 7 when asked: make third moment" in capfd.readouterr().err
    assert trees(repository.root) == 1


def test_an_interrupt_leaves_nothing_behind(repository, tmp_path, capsys, monkeypatch):
    repository(), repository()
    folders = []

    def interrupted(opened, *_):
        with opened("base") as process:
            folders.append(opened.args[0]["base"])
            assert process.ask("make", "third moment 50000x256x8 float64") == {} and folders[0].is_dir()
            raise KeyboardInterrupt

    monkeypatch.setattr(compare, "measure", interrupted)
    assert called(tmp_path) == 130
    assert "interrupted" in capsys.readouterr().err and not history(tmp_path)
    assert not folders[0].exists() and not folders[0].parent.exists() and trees(repository.root) == 1
