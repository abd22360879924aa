"""Sweeps that threads share in C have the bits of those whose parts Python hands out, and end when they are told to.

What Python hands out is the oracle: every part is a sweep of its own there, and the tree is another program.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastrecover import kernels
from fastrecover.activations import get_activation
from fastrecover.engines import ThreadEngine, pool
from fastrecover.kernels import Op, RowFunction
from fastrecover.kernels.tree import merge
from fastrecover.losses import LOSSES
from fastrecover.sources import ArraySource

compiled = pytest.importorskip("fastrecover.kernels._compiled")

D, K = 24, 3
JOBS = (1, 2, 3, 8)
TANH = get_activation("tanh")


class Made(ArraySource):
    """Rows that are as good as made when they are read: their parts are handed out by Python."""

    gives_views = False


def places(count):
    return [(0, i, 0) for i in range(count)]


@pytest.fixture(autouse=True)
def compiled_kernels():
    kernels.set_kernels("compiled")
    yield
    kernels.set_kernels()


def network(op, outputs=1, loss="squared", reps=1, **more):
    rng = np.random.default_rng(7)
    v, c = rng.standard_normal((reps, outputs * K)), rng.standard_normal((reps, outputs))
    dv, dc = rng.standard_normal(outputs * K), rng.standard_normal(outputs)
    options = dict(activation=TANH, k=K, linear=outputs, outputs=outputs, v=v, c=c, dv=dv, dc=dc, reps=reps)
    return RowFunction(op, loss=LOSSES[loss].code, **options, **more)


ROWS = {
    "loss": network(Op.LOSS, reps=2),
    "gradient": network(Op.LOSS, reps=2, grad=True),
    "outputs": network(Op.LOSS, outputs=3, grad=True),
    "softmax": network(Op.LOSS, outputs=3, loss="softmax", grad=True),
    "poisson": network(Op.LOSS, loss="poisson", grad=True),
    "gauss-newton": network(Op.CURVATURE),
    "newton": network(Op.CURVATURE, outputs=2, newton=True),
    "gram": network(Op.GRAM, free_v=True, free_c=True),
    "predict": network(Op.PREDICT, outputs=2, reps=2),
    "patches": RowFunction(Op.LOSS, TANH, k=4, group=4, v=np.full((1, 4), 0.3), c=np.zeros(1), grad=True),
    "moment": RowFunction(Op.MOMENT, m=3, order=3),
    "third": RowFunction(Op.THIRD, m=3),
    "itself": RowFunction(Op.THIRD),
    "landscape": RowFunction(Op.LANDSCAPE, m=3, pair=0.8, single=11.0),
}


def swept(kind, row, n, n_jobs, ones=0, weighted=True, dtype=np.float64):
    """Sums of a row function over n samples of a kind of source, or what it predicts."""
    rng = np.random.default_rng(n)
    d, group = D * row.group, row.group
    x, y = rng.standard_normal((n, d)).astype(dtype), rng.uniform(0, 2, (n, row.outputs))
    w = rng.uniform(0, 2, n) if weighted else None
    source = kind(x, y if row.outputs > 1 else y[:, 0].copy(), w, group)
    engine = ThreadEngine(source, n_jobs, least_work=1, has_ones=bool(ones))
    p = rng.standard_normal((row.columns, D + ones)) / np.sqrt(D)
    return [engine.output(p, row)] if row.op == Op.PREDICT else [*engine.run(p, row)]


def assert_same(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def samples(row, blocks, ones=0, more=5):
    """Samples that fill so many blocks, and some more."""
    return blocks * kernels.layout(row, D + ones, 8)[1] // row.group + more


# The third moment of rows themselves, and patches, have no constant.
WITH_ONES = [name for name, row in ROWS.items() if name != "itself" and row.group == 1]


@pytest.mark.parametrize("name, ones", [*((name, 0) for name in ROWS), *((name, 1) for name in WITH_ONES)])
def test_same_bits_as_parts_of_python(name, ones):
    row = ROWS[name]
    n = samples(row, 5, ones, more=101)
    for weighted, dtype in ((True, np.float64), (False, np.float32)):
        more = {"ones": ones, "weighted": weighted, "dtype": dtype}
        expected = swept(Made, row, n, 1, **more)
        assert all(np.isfinite(each).all() for each in expected) and np.any(expected[0] if expected[0].size else 1)
        for n_jobs in JOBS:
            assert_same(swept(ArraySource, row, n, n_jobs, **more), expected)
        assert_same(swept(Made, row, n, 3, **more), expected)


@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 6, 7, 13, 40])
def test_same_bits_for_few_and_many_blocks(blocks):
    """Fewer blocks than threads, and so many that parts hold several."""
    row = ROWS["gradient"]
    for more in (1, 777):
        expected = swept(Made, row, samples(row, blocks, more=more), 1)
        for n_jobs in JOBS:
            assert_same(swept(ArraySource, row, samples(row, blocks, more=more), n_jobs), expected)


@pytest.mark.parametrize("count", [*range(1, 20), 37])
def test_parts_of_any_size_and_helpers_at_any_time(count):
    """Sums by block, merged by the tree of Python, against jobs done by the maker, by a helper, or by several."""
    rng, row = np.random.default_rng(count), ROWS["outputs"]
    x, y = rng.standard_normal((16 * count - 3, D)), rng.standard_normal((16 * count - 3, 3))
    p = rng.standard_normal((row.columns, D))
    expected = merge(kernels.sweep(x, y, None, p, row, i, 1, blocks=(8, 16)) for i in range(count))
    for size in sorted({1, 2, 4, 8, count}):

        def made(size=size):
            return kernels.share(x, y, None, p, row, count, size, blocks=(8, 16))

        assert_same(made().finish(), expected)
        job = made()
        job.work()  # of all there is
        assert_same(job.finish(), expected)
        job.work()  # too late: nothing happens
        job = made()
        helpers = [threading.Thread(target=job.work) for _ in range(3)]
        for helper in helpers:
            helper.start()
        assert_same(job.finish(), expected)
        for helper in helpers:
            helper.join()


def test_a_stopped_job_gives_no_sums():
    rng, row = np.random.default_rng(0), ROWS["gradient"]
    job = kernels.share(rng.standard_normal((64, D)), None, None, np.ones((row.columns, D)), row, 4, 1, blocks=(8, 16))
    job.stop()
    job.work()
    with pytest.raises(RuntimeError, match="stopped"):
        job.finish()


def test_arrays_that_kernels_cannot_read_are_refused():
    row, x, p = ROWS["gradient"], np.ones((64, D)), np.ones((ROWS["gradient"].columns, D))

    def sums(x=x, y=None, w=None, p=p):
        return kernels.share(x, y, w, p, row, 4, 1, blocks=(8, 16)).finish()

    sums()
    column, wide = np.ones(64), np.ones((64, 2 * D))
    for wrong in (
        {"x": wide[:, ::2]}, {"x": x.astype(">f8")}, {"x": x.astype(int)}, {"x": column}, {"y": column.astype("f4")},
        {"y": np.ones(128)[::2]}, {"w": np.ones(64, int)}, {"p": p[:, :-1].copy()}, {"p": p.T.copy().T},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            sums(**wrong)


def test_a_part_of_python_that_fails_reaches_the_caller_from_any_thread():
    ended = threading.Event()

    def part(level, i, run):
        if i == 0:
            ended.wait(20)
            return np.ones(2), np.ones(1)
        ended.set()
        raise RuntimeError(f"part {i}")

    with pytest.raises(RuntimeError, match="part 1"):
        pool.run(pool.Parts(part, places(2)), 2)


def test_a_loss_that_there_is_not_leaves_the_engine_usable():
    row, n = ROWS["gradient"], samples(ROWS["gradient"], 6)
    expected = swept(ArraySource, row, n, 3)
    with pytest.raises(ValueError, match="no loss of code 99"):
        swept(ArraySource, RowFunction(Op.LOSS, TANH, k=K, v=np.ones((1, K)), loss=99), n, 3)
    assert_same(swept(ArraySource, row, n, 3), expected)


def test_several_threads_sweep_at_once():
    names = ["gradient", "gram", "moment", "predict"]
    cases = [(ROWS[name], samples(ROWS[name], 5)) for name in names]
    expected = [swept(Made, row, n, 1) for row, n in cases]
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(swept, ArraySource, *cases[i % 4], 2 + i % 3) for i in range(32)]
        for i, each in enumerate(found):
            assert_same(each.result(timeout=60), expected[i % 4])


def outcome(script):
    """What a script in a process of its own prints; one that does not end fails the test."""
    before = """
        import os, signal, sys, threading, time
        import numpy as np
        from fastrecover.engines import ThreadEngine, pool
        from fastrecover.kernels import Op, RowFunction
        from fastrecover.sources import ArraySource
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without it
        row = RowFunction(Op.LOSS, k=3, v=np.ones((1, 3)), grad=True)
        p = np.random.default_rng(0).standard_normal((3, 64))
        def engine(rows, jobs=3):
            return ThreadEngine(ArraySource(rows), jobs, least_work=1)
        x = np.random.default_rng(1).standard_normal((30_000, 64))
        expected = engine(x, 1).run(p, row)[0]
        def meet():
            gate = threading.Barrier(3, timeout=30)
            def part(level, i, run):
                gate.wait()
                return np.ones(1), np.ones(1)
            assert pool.run(pool.Parts(part, [(0, i, 0) for i in range(3)]), 3)[0] == 3.0
        def check():
            assert np.array_equal(engine(x).run(p, row)[0], expected)
    """
    source = textwrap.dedent(before) + textwrap.dedent(script)
    command = [sys.executable, "-W", "ignore", "-c", source]
    run = subprocess.run(command, timeout=120, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_interrupt_ends_a_sweep_that_would_take_days(jobs):
    """Rows that lie in one place, 10^12 of them; afterwards both helpers are free to meet."""
    script = f"""
        check()
        endless = np.broadcast_to(x[0], (10**12, 64))
        main = threading.main_thread().ident
        try:
            threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
            engine(endless, {jobs}).run(p, row)
        except KeyboardInterrupt:
            print("interrupted")
        check()
        meet()
    """
    assert outcome(script) == "interrupted"


def test_a_signal_handler_that_does_not_raise_lets_the_sweep_go_on():
    """A handler may even sweep; the interrupt that follows it ends what it interrupted."""
    script = """
        told, handled = [], threading.Event()
        def handler(*_):
            check()
            told.append(1)
            handled.set()
            if len(told) == 3:
                raise InterruptedError
        signal.signal(signal.SIGUSR1, handler)
        main = threading.main_thread().ident
        def nag():
            for _ in range(3):
                time.sleep(0.2)
                handled.clear()
                signal.pthread_kill(main, signal.SIGUSR1)
                handled.wait()
        nagging = threading.Thread(target=nag)
        try:
            nagging.start()
            engine(np.broadcast_to(x[0], (10**12, 64))).run(p, row)
        except InterruptedError:
            nagging.join()
        print(len(told))
    """
    assert outcome(script) == "3"


def test_a_fork_in_the_middle_of_sweeps():
    """The child has none of the threads, whatever they were at, and makes its own."""
    script = """
        over = threading.Event()
        def sweeping():
            while not over.is_set():
                check()
        threads = [threading.Thread(target=sweeping) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            child = os.fork()
            if child == 0:
                check()
                meet()
                check()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        over.set()
        for thread in threads:
            thread.join()
        check()
        print("done")
    """
    assert outcome(script) == "done"


@pytest.mark.parametrize("daemon", [False, True])
def test_a_process_ends_while_a_thread_sweeps(daemon):
    script = f"""
        begun = threading.Event()
        def sweeping():
            for i in range(200):
                check()
                begun.set()
        threading.Thread(target=sweeping, daemon={daemon}).start()
        begun.wait()
        print("over")
    """
    assert outcome(script) == "over"


def test_sums_do_not_keep_rows():
    """A job holds its rows only as long as somebody works on it."""
    import gc
    import weakref

    class Rows(np.ndarray):
        pass

    row = ROWS["gradient"]
    x = np.random.default_rng(0).standard_normal((samples(row, 9), D)).view(Rows)
    gone = weakref.ref(x)
    ThreadEngine(ArraySource(x), 3, least_work=1).run(np.ones((row.columns, D)), row)
    met = threading.Barrier(3, timeout=20)  # helpers that wait here have let go of the job before
    pool.run(pool.Parts(lambda *_: (met.wait() < 0, 0), places(3)), 3)
    del x
    gc.collect()
    assert gone() is None


def test_a_pool_grows_and_is_shared():
    sizes = itertools.accumulate((2, 4, 3), max)
    for threads, size in zip((3, 5, 4), sizes, strict=True):
        met = threading.Barrier(threads, timeout=20)
        pool.run(pool.Parts(lambda *_, met=met: (met.wait() < 0, 0), places(threads)), threads)
        assert pool._pool.size >= size
