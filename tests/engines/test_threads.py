"""The same bits for any number of threads and any kind of memory, and a pool that survives errors and forks.

Threads are had on small data by lowering the work below which the engine stays on the calling thread.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastrecover as fr
from fastrecover import kernels
from fastrecover._blas import one_blas_thread
from fastrecover.engines import Meter, ThreadEngine, pool, processors
from fastrecover.kernels import Op
from fastrecover.kernels.tree import Tree, merge
from fastrecover.models import Parameters, Regression
from fastrecover.plan import Problem, carry_out
from fastrecover.solvers import Monitor
from fastrecover.sources import ArraySource
from fastrecover.sweeps import MomentSweeps, Objective

JOBS = (1, 2, 3, 8)
N, D, K = 30_011, 64, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)), rng.standard_normal(N), rng.uniform(0, 2, N)


def threaded(x, y=None, w=None, n_jobs=None):
    """An engine that takes other threads for any work."""
    return ThreadEngine(ArraySource(x, y, w), n_jobs, least_work=1)


class Made(ArraySource):
    """Rows that are as good as made when they are read: their parts are handed out by Python."""

    gives_views = False


def made_in_python(x, y=None, w=None, n_jobs=None):
    """As `threaded`, without sharing in C."""
    return ThreadEngine(Made(x, y, w), n_jobs, least_work=1)


def answers(x, y, w, n_jobs):
    """One result of every kind of sweep."""
    engine = threaded(x, y, w, n_jobs)
    objective = Objective(engine, Regression("tanh", K, "free", True, True))
    rng = np.random.default_rng(1)
    d = x.shape[1]
    theta, u = rng.standard_normal((2, objective.n_parameters)) / np.sqrt(d)
    v = np.linalg.qr(rng.standard_normal((d, 3)))[0].T
    network = Parameters(v, np.ones(3), v[0], 0.2)
    moments = MomentSweeps(engine, network, objective.model.activation)
    value, grad = objective.value_and_grad(theta)
    loss, gradient, matrix = objective.gauss_newton(theta)
    return [
        value,
        grad,
        objective.values(np.array([theta, u])),
        objective.hessp(theta, u),
        objective.hessp(theta, u, gauss_newton=True),
        loss,
        gradient,
        matrix,
        objective.predict(theta),
        *moments.first(),
        moments.covariance(v),
        moments.product(v),
        moments.product(v, 3, v[0]),
        moments.product(v, 4, v[1]),
        moments.slices(v),
        *moments.hermite(v, (2, 3, 4)),
        *moments.hermite_regression(v, 3)[0],
    ]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_bits_for_any_number_of_threads(data, dtype, weighted):
    x, y, w = data
    x, w = x.astype(dtype), w if weighted else None
    expected = answers(x, y, w, 1)
    for n_jobs in JOBS[1:]:
        assert_same(answers(x, y, w, n_jobs), expected)


@pytest.mark.parametrize("n", [1, 2047, 2048, 2049, 4096, 10_000, 14_336])
def test_same_bits_at_the_edges_of_blocks(data, n):
    x, y, w = (a[:n] for a in data)
    expected = answers(x, y, w, 1)
    for n_jobs in JOBS[1:]:
        assert_same(answers(x, y, w, n_jobs), expected)


@pytest.mark.parametrize("n", [2048, 5 * 2048, 7 * 2048 + 3, 11 * 2048, N])
def test_engine_follows_the_canonical_tree(data, n):
    """Blocks summed one by one and merged by halving at the largest power of two below their number."""
    x, y, w = (a[:n] for a in data)
    p, row = Objective(ThreadEngine(ArraySource(x, y)), Regression("relu", K)).op(
        Op.LOSS, data[0][:K].ravel(), grad=True
    )
    block = kernels.layout(row, D, 8)[1]
    assert block == 2048

    def tree(first, count):
        if count == 1:
            return kernels.sweep(x, y, w, p, row, first, 1)
        left = 1 << (count - 1).bit_length() - 1
        return tuple(a + b for a, b in zip(tree(first, left), tree(first + left, count - left), strict=True))

    expected = tree(0, -(-n // block))
    for n_jobs in JOBS:
        assert_same(threaded(x, y, w, n_jobs).run(p, row), expected)


@pytest.mark.parametrize("count", [*range(1, 20), 100])
def test_sums_added_in_any_order_have_the_bits_of_the_tree(count):
    rng = np.random.default_rng(count)
    parts = [(rng.standard_normal(50), rng.standard_normal(1)) for _ in range(count)]
    for order in (range(count), range(count - 1, -1, -1), rng.permutation(count)):
        sums = Tree()
        for i in order:
            sums.add(int(i), parts[i])
        assert_same(sums.total(), merge(parts))


def test_a_sweep_holds_few_sums(data, monkeypatch):
    """Of 64 parts four threads hold a few: what they work on, and at most eight subtrees waiting for each of them."""
    held, most = [0], [0]
    original = Tree.add

    def watched(self, i, part, level=0):
        original(self, i, part, level)
        most[0] = max(most[0], len(self.subtrees))
        held[0] += 1

    monkeypatch.setattr(Tree, "add", watched)
    x, y, _ = data
    MomentSweeps(made_in_python(np.tile(x, (8, 1)), np.tile(y, 8), n_jobs=4)).mean()
    assert held[0] >= 32 and most[0] <= 4 * 8


def test_several_threads_do_the_work(data, monkeypatch):
    """Each of three threads begins, and none goes on before all have."""
    seen, gate = set(), threading.Barrier(3, timeout=20)
    original = pool.Parts.work

    def watched(self):
        seen.add(threading.get_ident())
        gate.wait()
        original(self)

    monkeypatch.setattr(pool.Parts, "work", watched)
    MomentSweeps(made_in_python(*data, 3)).mean()
    assert len(seen) >= 3


def test_same_bits_for_arrays_and_memory_maps(data, tmp_path):
    x, y, w = data
    stored = np.memmap(tmp_path / "x.bin", np.float64, "w+", shape=x.shape)
    stored[:] = x
    stored.flush()
    mapped = np.memmap(tmp_path / "x.bin", np.float64, "r", shape=x.shape)
    for n_jobs in JOBS:
        assert_same(answers(mapped, y, w, n_jobs), answers(x, y, w, 1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_bits_for_views_and_copies(data, dtype):
    _, y, w = data
    stim = np.random.default_rng(2).standard_normal((N + 15, 4)).astype(dtype)
    view = fr.lagged(stim, 16)
    assert len(view) == N
    wide = np.zeros((N, D + 7), dtype)
    wide[:, 3 : 3 + D] = view
    expected = answers(view.copy(), y, w, 1)
    for n_jobs in JOBS:
        assert_same(answers(view, y, w, n_jobs), expected)
        assert_same(answers(wide[:, 3 : 3 + D], y, w, n_jobs), expected)


def fitted(x, y, n_jobs=None, *, init="auto", solver="auto", inputs="auto", max_passes=np.inf, callback=None):
    """What ``fit`` does, on an engine that takes other threads for any work."""
    engine, monitor = threaded(x, y, n_jobs=n_jobs), Monitor(callback, max_passes)
    problem = Problem(engine, Regression("relu", 3, "signs"), np.random.SeedSequence(7), monitor, 1e-3, inputs)
    with one_blas_thread(), monitor.watching(engine.meter):
        outcome = carry_out(problem, init, solver)
    columns = [monitor.history[name] for name in ("stage", "pass", "loss", "grad_norm", "rows")]
    return [outcome.state.theta, outcome.candidate.model.known_v, outcome.state.loss, engine.meter.passes, *columns]


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"init": "random", "max_passes": 40}])
def test_fits_have_the_same_bits(options, tmp_path):
    teacher = fr.datasets.make_teacher("relu", 20, 3, random_state=1)
    stim = np.random.default_rng(3).standard_normal((5_009, 2))
    view = fr.lagged(stim, 10)
    y = teacher.predict(view) + 0.1 * np.random.default_rng(4).standard_normal(len(view))
    np.save(tmp_path / "x.npy", view)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = fitted(view, y, n_jobs=1, **options)
    for n_jobs in JOBS[1:]:
        assert_same(fitted(view, y, n_jobs=n_jobs, **options), expected)
    # Of overlapping rows the test of the inputs looks at fewer; without it a copy gives the same bits.
    options = options | {"inputs": "gaussian"}
    expected = fitted(view.copy(), y, n_jobs=1, **options)
    for x in (view, mapped):
        assert_same(fitted(x, y, n_jobs=3, **options), expected)


def test_fits_on_several_threads_at_once():
    teacher = fr.datasets.make_teacher("relu", 20, 3, random_state=1)
    cases = [teacher.sample(6000, noise=0.1, random_state=seed) for seed in range(3)]
    expected = [fitted(x, y, n_jobs=1) for x, y in cases]
    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(fitted, *cases[i % 3], n_jobs=2 + i % 2) for i in range(12)]
        for i, each in enumerate(found):
            assert_same(each.result(timeout=60), expected[i % 3])


def test_meter_counts_rows(data):
    x, y, _ = data
    engine = threaded(x, y, n_jobs=3)
    sweeps = MomentSweeps(engine)
    sweeps.mean()
    assert (engine.meter.rows, engine.meter.passes) == (N, 1.0)
    small = engine.sample(N // 4, np.random.SeedSequence(1))
    MomentSweeps(small).first()
    assert engine.meter.rows == N + N // 4
    assert small.meter is engine.meter
    assert Meter(10, 25).passes == 2.5


def test_meter_tells_of_a_sweep_before_it_begins(data):
    engine, told = threaded(*data, 2), []
    few = engine.sample(500, np.random.SeedSequence(1))
    engine.meter.tell = lambda rows: told.append((rows, engine.meter.rows))
    MomentSweeps(engine).mean()
    MomentSweeps(few).mean()
    assert told == [(N, 0), (500, N)]

    def refuse(rows):
        raise InterruptedError

    engine.meter.tell = refuse
    with pytest.raises(InterruptedError):
        MomentSweeps(few).mean()
    assert engine.meter.rows == N + 500


def test_samples_are_reproducible(data):
    engine = threaded(*data, 2)
    one, two, other = (engine.sample(500, np.random.SeedSequence(s)).source for s in (1, 1, 2))
    for a, b in ((one.x, two.x), (one.y, two.y), (one.w, two.w)):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.y, other.y)
    place = {value: i for i, value in enumerate(data[1])}
    rows = np.array([place[value] for value in one.y])
    assert len(set(rows)) == 500 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(one.x, data[0][rows])
    np.testing.assert_array_equal(one.w, data[2][rows])
    assert engine.sample(N, np.random.SeedSequence(1)) is engine


def test_errors_inside_a_part_reach_the_caller(data):
    expected = MomentSweeps(made_in_python(*data, 3)).mean()
    for broken in (0, 5_000, 12_345, N - 1):

        class Failing(Made):
            def read(self, start, stop, broken=broken):
                if start <= broken < stop:
                    raise RuntimeError(f"row {broken}")
                return super().read(start, stop)

        with pytest.raises(RuntimeError, match=f"row {broken}"):
            MomentSweeps(ThreadEngine(Failing(*data), 3, least_work=1)).mean()
        np.testing.assert_array_equal(MomentSweeps(made_in_python(*data, 3)).mean(), expected)


def test_interrupt_leaves_the_process_usable():
    from threadpoolctl import threadpool_info

    def blas():
        return sorted((m["filepath"], m["num_threads"]) for m in threadpool_info() if m["user_api"] == "blas")

    teacher = fr.datasets.make_teacher("relu", 20, 3, random_state=1)
    x, y = teacher.sample(6000, random_state=2)
    expected, before = fitted(x, y, n_jobs=2), blas()

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(x, y, n_jobs=2, callback=interrupt)
    assert blas() == before
    assert_same(fitted(x, y, n_jobs=2), expected)


def test_fork_after_use_of_the_pool():
    script = """
        import os, sys
        import numpy as np
        from fastrecover.engines import ThreadEngine
        from fastrecover.sources import ArraySource
        from fastrecover.sweeps import MomentSweeps
        x = np.random.default_rng(0).standard_normal((30_000, 64))
        sweeps = MomentSweeps(ThreadEngine(ArraySource(x), 3, least_work=1))
        before = sweeps.covariance(np.eye(64))
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(sweeps.covariance(np.eye(64)), before) else 1)
        _, status = os.waitpid(child, 0)
        assert np.array_equal(sweeps.covariance(np.eye(64)), before)
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("n_jobs, error", [(0, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)])
def test_bad_n_jobs(n_jobs, error):
    with pytest.raises(error, match="n_jobs"):
        ThreadEngine(ArraySource(np.eye(3)), n_jobs)


def test_n_jobs_counted_from_the_end():
    assert processors.resolve_jobs(None) == processors.resolve_jobs(-1) == processors.cpu_count()
    assert processors.resolve_jobs(-10_000) == 1
    assert processors.resolve_jobs(np.int64(5)) == 5
