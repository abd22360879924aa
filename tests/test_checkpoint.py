"""Fits that stop anywhere and go on end with the same bits.

A record is only added to, so its first entries are what a process leaves that was killed after them: a whole record
that is cut stands for a killed fit, and processes that are really killed show that it does.  In these tests every
sweep is recorded, whatever it costs, unless they say otherwise.
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from struct import unpack_from

import golden_fits
import numpy as np
import pytest

import fastrecover as fr
from fastrecover import checkpoint
from fastrecover._log import _ENTRY, Log
from fastrecover.checkpoint import Record
from fastrecover.cli import main
from fastrecover.engines import Meter, ThreadEngine
from fastrecover.kernels import Op
from fastrecover.sources import ArraySource

ROOT = Path(__file__).parents[1]
real_fit = fr.fit


@pytest.fixture(autouse=True)
def all_sweeps(monkeypatch):
    monkeypatch.setattr(checkpoint, "WORTH", -1.0)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "fit.checkpoint"


def data(n=1500, d=6, k=2, model="relu", noise=0.1, **options):
    return fr.datasets.make_teacher(model, d, k, random_state=0, **options).sample(n, noise, random_state=1)


def fit(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return real_fit(*args, **{"n_jobs": 1, "random_state": 0} | options)


def small(place=None, **options):
    return fit(*data(), "relu", 2, checkpoint=place, **options)


def edges(content: bytes) -> list[int]:
    """Where entries begin, and the end."""
    at = [16 + unpack_from("<8sII", content)[2] + 4]
    while at[-1] < len(content):
        _, m, d, scalars, *_ = _ENTRY.unpack_from(content, at[-1])
        at.append(at[-1] + _ENTRY.size + 8 * (m * d + scalars) + 4)
    return at


def entries(content: bytes) -> list[tuple]:
    """Kind, number and digest of every entry, with its sums: all that is the same in every process."""
    at = edges(content)
    pieces = [content[a:b] for a, b in itertools.pairwise(at)]
    return [(*_ENTRY.unpack_from(p)[:5], _ENTRY.unpack_from(p)[6], p[_ENTRY.size : -4]) for p in pieces]


def bits(found: fr.Recovery) -> tuple:
    """All that a fit found, its history but for the seconds included."""
    history = [np.asarray(column).tobytes() for name, column in found.history.items() if name != "seconds"]
    return golden_fits.numbers(found).tobytes(), found.message, json.dumps(found.info, default=repr), *history


def more_fits():
    counts = data(500, 3, 1, "tanh", 0.0, loss="poisson", link="softplus", intercept=1.0)
    classes = data(600, 3, 2, "tanh", 0.0, loss="logistic", n_outputs=3, hidden_bias=True, norms=3.0)
    several = data(400, 3, 2, "tanh", n_outputs=2, hidden_bias=True, intercept=[1.0, 2.0])
    free = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True}
    X, y = data()
    few, of_few = data(60, 3, 1, "tanh", 0.5)
    # Of which least-squares weights run off, see test_choice_of_minima.py.
    noisy, clean = fr.datasets.make_teacher("tanh", 4, 3, random_state=11, condition_number=3.0).sample(180, 0.0, 12)
    of_noisy = clean + np.std(clean) * np.random.default_rng(11).standard_normal(180)
    weight = np.where(np.arange(len(X)) % 3, 1.5, 0.0)
    start = fr.fit(X, y, "relu", 2, random_state=3)

    def own_start(engine, model, seed):
        return start.parameters

    return {
        "counts": partial(fit, *counts, "tanh", 1, loss="poisson", link="softplus"),
        "classes": partial(fit, *classes, "tanh", 2, loss="logistic", alpha=1.0, class_weight="balanced"),
        "outputs": partial(fit, *several, "tanh", 2, **free),
        "huber": partial(fit, X, y, "relu", 2, loss="huber", delta=0.2),
        "weights of zero": partial(fit, X, y, "relu", 2, sample_weight=weight),
        "alphas": partial(fit, few, of_few, "tanh", 1, alpha=[1.0, 0.1], standardise=True),
        "chosen": partial(fit, noisy, of_noisy, "tanh", 3),
        "restarts": partial(fit, X[:200], y[:200], "relu", 2, restarts=3),
        "own start": partial(fit, X, y, "relu", 2, init=own_start),
        "on from a fit": partial(fit, X, y, "relu", 2, init=start),
        "source": partial(fit, fr.sources.from_blocks(lambda a, b: X[a:b], len(X), y), model="relu", n_hidden=2),
    }


#: Those that differ from one of the others in nothing that a record sees are left out.
ALIKE = {
    *("relu exact", "relu many rows", "relu few rows", "relu free", "relu full", "relu shifted", "leaky_relu"),
    *("sigmoid", "softplus", "erf", "squared_relu", "squared_relu full", "tanh many rows", "quadratic few rows"),
    *("landscape start", "random fcn", "zhong2017", "fu2018-fcn", "patches tanh lbfgs"),
}
SLOW = {"units", "user", "outputs"}
GOLDEN = [name for name in golden_fits.CASES if name not in ALIKE]
MORE = ("counts", "classes", "outputs", "huber", "weights of zero", "alphas", "chosen", "restarts", "own start")
MORE += ("on from a fit",)


@pytest.mark.parametrize("name", [*GOLDEN, *MORE, "source"])
def test_every_way_to_fit_goes_on_to_the_same_bits(name, place, monkeypatch):
    # Each is cut at one sweep that is drawn: a fault that a tenth of all places shows in all fits would stay hidden in
    # one of 60 runs.
    case = golden_fits.CASES.get(name) or more_fits()[name]
    given = {"checkpoint": place}
    monkeypatch.setattr(fr, "fit", lambda *args, **options: real_fit(*args, n_jobs=1, **options, **given))
    call = case if name in golden_fits.CASES else partial(case, **given)
    whole = call()
    content = place.read_bytes()
    at = edges(content)
    assert len(at) > 4
    rng = np.random.default_rng(sum(name.encode()))
    place.write_bytes(content[: at[rng.integers(2, len(at) - 1)]])
    assert bits(call()) == bits(whole)
    assert entries(place.read_bytes()) == entries(content)
    given.clear()
    assert name in SLOW or bits(case()) == bits(whole)


def test_a_fit_stopped_after_any_sweep_goes_on_to_the_same_bits(place):
    whole, plain = small(place), small()
    assert bits(whole) == bits(plain)
    content = place.read_bytes()
    for end in edges(content):
        place.write_bytes(content[:end])
        assert bits(small(place)) == bits(whole)
        assert entries(place.read_bytes()) == entries(content)


def test_any_sweeps_may_be_missing(place):
    # What is recorded depends on how long sweeps take, so it is another selection each time.
    whole = small(place)
    content, rng = place.read_bytes(), np.random.default_rng(0)
    at = edges(content)
    for share in (0.1, 0.5, 0.9):
        for _ in range(3):
            kept = rng.random(len(at) - 1) < share
            pieces = (content[a:b] for (a, b), keep in zip(itertools.pairwise(at), kept, strict=True) if keep)
            place.write_bytes(content[: at[0]] + b"".join(pieces))
            assert bits(small(place)) == bits(whole)


def test_an_interrupted_process_leaves_the_first_entries(place):
    whole = small(place)
    content = place.read_bytes()
    for stops in ((2,), (0, 1, 2)):  # one process, and several of which each gets further
        place.unlink()
        for last in stops:
            steps = itertools.count()

            def stop(event, steps=steps, last=last):
                if next(steps) == last:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                small(place, callback=stop)
        found = entries(place.read_bytes())
        assert 0 < len(found) < len(entries(content)) and found == entries(content)[: len(found)]
        assert bits(small(place)) == bits(whole)


def test_killed_processes():
    # Eight moments: a fit that came back with other bits in a third of all kills would pass one run in 26.  `python -m
    # bench kills` has a hundred.
    options = "model='relu', d=6, k=2, n=6000, noise=0.1"
    # An entry that was being written when the kill came is dropped, and said to be.
    code = "import json, warnings; warnings.filterwarnings('ignore', 'checkpoint .*it breaks off');"
    code += f"from bench.kills import killed; print(json.dumps(killed(8, 1, {options})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout)
    assert row["same results"] == row["kills"] == 8 and done.stderr == ""


def test_a_finished_fit_is_there_again_for_one_sweep(place, monkeypatch):
    whole = small(place)
    size, sweeps, swept = place.stat().st_size, [], ThreadEngine._swept

    def counted(self, p, op, out):
        sweeps.append(op)
        return swept(self, p, op, out)

    monkeypatch.setattr(ThreadEngine, "_swept", counted)
    again = small(place)
    assert (bits(again), place.stat().st_size) == (bits(whole), size)
    assert again.seconds == pytest.approx(whole.seconds, abs=1.0) and again.history["seconds"][-1] <= whole.seconds
    assert [op.op for op in sweeps if op.op != Op.PREDICT] == [Op.MOMENT]  # by which the rows are known
    made_again = len(sweeps)
    small()
    assert len(sweeps) - made_again > 5 * made_again


class Ticking(checkpoint.Clock):
    """Stands for the module `time`: every look at it takes a while."""

    def __init__(self, tick):
        self.tick, self.now = tick, 0.0

    def perf_counter(self):
        self.now += self.tick
        return self.now


def test_seconds_of_all_processes_count_once_and_a_budget_ends_where_it_did(place, monkeypatch):
    def under(tick, **options):
        ticking = Ticking(tick)
        for module in ("fastrecover.checkpoint", "fastrecover.solvers.monitor"):
            monkeypatch.setattr(f"{module}.time", ticking)
        return small(place, **options)

    under(1.0, max_seconds=1e9)
    whole = place.read_bytes()
    place.unlink()
    ended = under(1.0, max_seconds=60.0)
    content = place.read_bytes()
    assert "max_seconds=60" in ended.message and not ended.converged
    # A faster process, or a slower one, finds the budget used up where it was found to be, and not by its own time.
    for tick in (1e-9, 10.0):
        assert bits(under(tick, max_seconds=60.0)) == bits(ended)
        assert place.read_bytes() == content
    for end in edges(content)[-3:]:
        place.write_bytes(content[:end])
        assert "max_seconds=60" in under(1.0, max_seconds=60.0).message
    # Half of the record, and with it half of its seconds.
    at = edges(content)
    place.write_bytes(content[: at[len(at) // 2]])
    known = _ENTRY.unpack_from(content, at[len(at) // 2 - 1])[5]
    resumed = under(1e-9, max_seconds=60.0)
    assert resumed.converged and known <= resumed.seconds < known + 1e-3
    for limit in range(50, 60):  # used up between two sweeps, or while one is recorded
        place.unlink()
        ended = under(1.0, max_seconds=limit)
        end = place.read_bytes()
        assert bits(under(1e-9, max_seconds=limit)) == bits(ended)
        assert place.read_bytes() == end
    # A larger budget goes on from there.
    place.write_bytes(content)
    assert bits(under(1.0, max_seconds=1e9)) == bits(small())
    assert entries(place.read_bytes()) == entries(whole)


def test_a_larger_budget_of_passes_goes_on_and_a_smaller_one_leaves_the_record(place):
    X, y = data()
    options = {"init": "random", "random_state": 0, "checkpoint": place}
    whole = small(init="random")
    ended = small(place, init="random", max_passes=10)
    assert "max_passes" in ended.message
    content = place.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bits(real_fit(X, y, "relu", 2, **options, max_passes=1000)) == bits(whole)
    longer, at = place.read_bytes(), edges(content)
    assert len(longer) > len(content) and longer[: at[5]] == content[: at[5]]  # it went on, and did not begin anew
    for passes in (0.5, 1.5, 4.0, 10.0):
        assert bits(small(place, init="random", max_passes=passes)) == bits(small(init="random", max_passes=passes))
        assert place.read_bytes() == longer


def test_sums_that_were_asked_otherwise_are_not_used(place):
    whole = small(place)
    content = place.read_bytes()
    log = Log(file := io.BytesIO(content), "")
    log.advance()
    for _ in range(5):
        log.advance()
    entry = log.next
    log.cut()
    log.append(entry._replace(digest=bytes(16), a=2.0 * entry.a, s=2.0 * entry.s))
    place.write_bytes(file.getvalue() + content[len(file.getvalue()) :])
    X, y = data()
    with pytest.warns(UserWarning, match="sweep 5 is not the one that was recorded"):
        found = real_fit(X, y, "relu", 2, random_state=0, checkpoint=place)
    assert bits(found) == bits(whole) and entries(place.read_bytes()) == entries(content)


def test_engines_that_are_made_of_one_another_share_the_record():
    X, y = data()
    engine = ThreadEngine(ArraySource(X, y), 1, Meter(len(X), record=Record))
    made = [engine.sample(100, np.random.SeedSequence(0)), engine.part(0, 2), engine.local(X[:5], y[:5])]
    made += [engine.projected(np.eye(2, 6)), engine.whitened(np.zeros(6), np.eye(6), copy=True), engine.with_ones()]
    assert all(each.meter.record is Record for each in made)


def test_a_fit_that_its_callback_ended_goes_on_without_it(place):
    steps = itertools.count()
    ended = small(place, callback=lambda event: next(steps) == 2)
    assert "callback" in ended.message
    seen = []
    assert bits(small(place, callback=lambda event: seen.append(event["seconds"]))) == bits(small())
    assert seen == sorted(seen) and len(seen) >= 3


def test_without_a_seed_the_first_one_counts(place):
    whole = small(place, random_state=None)
    content = place.read_bytes()
    place.write_bytes(content[: edges(content)[3]])
    assert bits(small(place, random_state=None)) == bits(whole)
    other = small(random_state=None)
    assert bits(other) != bits(whole)  # 128 bits of chance


def test_threads_do_not_matter(place):
    whole = small(place)
    content = place.read_bytes()
    place.write_bytes(content[: edges(content)[4]])
    assert bits(small(place, n_jobs=3)) == bits(whole)


def test_batches_from_their_beginning(place):
    solver = fr.solvers.StochasticGradientDescent(0.2, steps=20)
    planted = fr.datasets.make_teacher("relu", 4, 4, output_weights="ones", norms=1.0, random_state=0)
    options = dict(model="relu", n_hidden=4, init="random", solver=solver, output_weights="ones", checkpoint=place)
    whole = fit(planted.stream(300, random_state=5), **options)
    content = place.read_bytes()
    for end in edges(content)[::5]:
        place.write_bytes(content[:end])
        assert bits(fit(planted.stream(300, random_state=5), **options)) == bits(whole)
    begun = planted.stream(300, random_state=5)
    next(begun)
    for other in (begun, planted.stream(300, random_state=6)):
        with pytest.raises(fr.CheckpointError, match="X has other values; y has other values"):
            fit(other, **options)


def test_processes_that_make_the_same_fit_share_what_one_has_written(place, monkeypatch):
    whole = small(place)
    content = place.read_bytes()
    part = content[: edges(content)[6]]
    place.write_bytes(part)
    shared = io.BytesIO(part)

    def at(path, asked, seeds, **options):
        return Record(shared, "'the first process's'", asked, seeds, writes=False)

    monkeypatch.setattr(Record, "at", at)
    assert bits(small("elsewhere")) == bits(whole)
    assert place.read_bytes() == part and not Path("elsewhere").exists()
    assert shared.closed or shared.getvalue() == part


def test_a_recovery_is_free_of_its_checkpoint(place):
    found = small(place)
    X, y = data()
    errors = found.standard_errors().weights
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.standard_errors().weights == errors).all()
    place.unlink()
    assert found.score(X, y) > 0.9 and len(found.certificate()) > 0
    assert not place.exists()


def test_what_is_cheap_is_not_recorded(place, monkeypatch):
    monkeypatch.setattr(checkpoint, "WORTH", 1e9)
    whole = small(place)
    (only,) = entries(place.read_bytes())
    assert only[4] == 0  # the first one, which the rows are known by
    assert bits(small(place)) == bits(whole)


def test_it_says_what_was_resumed(place, capsys):
    small(place, verbose=1)
    assert "resumed" not in capsys.readouterr().err
    content = place.read_bytes()
    place.write_bytes(content[: edges(content)[7]])
    small(place, verbose=1)
    assert re.search(rf"resumed: 7 sweeps \(\d+\.\d s\) from '{place}'\n", capsys.readouterr().err)


@pytest.fixture
def files(tmp_path):
    X, y = data()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    return [str(tmp_path / "X.npy"), str(tmp_path / "y.npy"), "--model", "relu", "-k", "2", "--json"]


def test_command_line(place, files, capsys, monkeypatch):
    call = ["fit", *files, "--checkpoint", str(place)]
    assert main(["fit", *files]) == 0
    whole = json.loads(capsys.readouterr().out)
    sums, swept = Record.sums, itertools.count()

    def interrupted(self, *args):
        if next(swept) == 9:
            raise KeyboardInterrupt
        return sums(self, *args)

    monkeypatch.setattr(Record, "sums", interrupted)
    assert main(call) == 130
    assert capsys.readouterr() == ("", f"fastrecover fit: interrupted: the same command goes on from {place}\n")
    place.write_bytes(place.read_bytes()[:-1])
    assert main([*call, "--max-passes", "1000"]) == 0
    out, err = capsys.readouterr()
    again = json.loads(out)
    assert again | {"seconds": 0} == whole | {"seconds": 0}
    assert err.startswith(f"[fastrecover] checkpoint '{place}': the entry at byte ") and err.count("\n") == 1
    assert main([*call, "--tol", "0.5"]) == 2
    assert capsys.readouterr().err.startswith(
        f"fastrecover fit: error: --checkpoint: checkpoint '{place}' is that of another fit: tol was 0.001 and is 0.5."
    )


@pytest.mark.parametrize(("option", "wrong"), [("X.npy", "is an input"), ("r.npz", "--output and --checkpoint are")])
def test_command_line_keeps_its_files_apart(option, wrong, files, tmp_path, capsys):
    path = str(tmp_path / option)
    before = (tmp_path / "X.npy").read_bytes()
    assert main(["fit", *files, "--checkpoint", path, "-o", str(tmp_path / "r.npz")]) == 2
    assert wrong in capsys.readouterr().err
    assert (tmp_path / "X.npy").read_bytes() == before and not (tmp_path / "r.npz").exists()
