"""Rows that a team holds between them: the bits of one process, however the rows lie, and nothing of length n."""

import numpy as np
import pytest
from processes import Together as Processes

from fastrecover.engines import Meter, ThreadEngine, contiguous
from fastrecover.engines import sharded as module
from fastrecover.engines.sharded import ShardedEngine, at_edges
from fastrecover.engines.shards import Shard
from fastrecover.engines.teams import Gathered
from fastrecover.models import get_model
from fastrecover.sources import ArraySource
from fastrecover.sweeps import MomentSweeps, Objective


class Together:
    """Members in one process."""

    agreement = None

    def __init__(self, parts):
        self.parts = list(parts)

    @property
    def count(self):
        return len(self.parts)

    def each(self, function, *args):
        return [function(part, *args) for part in self.parts]

    def made(self, function, *args):
        return Together(self.each(function, *args))

    def each_of(self, function, args):
        return [function(part, *mine) for part, mine in zip(self.parts, args, strict=True)]

    def made_of(self, function, args):
        return Together(self.each_of(function, args))

    def exchanged(self, cut, join, moves, plans):
        received = [{} for _ in self.parts]
        for (who, to), pieces in moves.items():
            received[to][who] = cut(self.parts[who], pieces)
        joined = zip(self.parts, plans, received, strict=True)
        return Together(join(part, plan, got) for part, plan, got in joined)


def sharded(x, y, w, cuts, owners, count, *, group=1, n_jobs=2):
    """Rows cut at some places, each run with its owner."""
    edges = [0, *cuts, len(x)]
    runs = [[] for _ in range(count)]
    for i, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        runs[owners[i % len(owners)]].append((a, b - a))
    parts = []
    for each in runs:
        rows = np.concatenate([np.arange(0), *(np.arange(a, a + m) for a, m in each)]).astype(int)
        held = (None if a is None else a[rows] for a in (y, w))
        parts.append(Shard(ThreadEngine(ArraySource(x[rows], *held, group), n_jobs), contiguous(each)))
    team, new = at_edges(Together(parts), tuple(contiguous(each) for each in runs))
    d = x.shape[1] // group
    several = y is not None and y.ndim == 2
    return ShardedEngine(team, new, d, x.dtype, Meter(len(x)), group, several, n_jobs)


LAYOUTS = {
    "edges of blocks": ([4096, 3 * 4096], [0, 1, 2], 3),
    "anywhere": ([5000, 5001, 17_000], [0, 1, 2, 3], 4),
    "scattered": (list(range(700, 20_000, 700)), [0, 1], 2),
    "one has nothing": ([9000], [0, 2], 3),
    "less than a block each": (list(range(100, 20_000, 999)), [0, 1, 2, 3, 4], 5),
    "one": ([], [0], 1),
    "one with many runs": (list(range(2048, 20_000, 2048)), [0], 1),
    "two with many runs": (list(range(2048, 20_000, 2048)), [0, 0, 0, 0, 1, 1, 1, 1, 1], 2),
}


@pytest.fixture(scope="module", params=[np.float64, np.float32])
def rows(request):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_123, 12)).astype(request.param)
    return x, rng.standard_normal(len(x)), rng.uniform(0.5, 2.0, len(x))


def sweeps_of(engine, group):
    """Sums of several kinds and sizes of blocks."""
    k = 1 if group > 1 else 3
    model = get_model("cnn", n_patches=group) if group > 1 else get_model("softplus", k, output_weights="free")
    d = engine.shape[1]
    theta = np.random.default_rng(1).standard_normal(model.n_parameters(d)) / 3
    if group > 1:
        engine = engine.with_responses(lambda y: (y > 0).astype(float))
    objective = Objective(engine, model)
    value, grad = objective.value_and_grad(theta)
    found = [value, grad, objective.gauss_newton(theta)[2] if group == 1 else grad, objective.hessp(theta, grad)]
    moments = MomentSweeps(engine)
    found += [*moments.first(), moments.product(np.eye(d)[:2]), moments.third_packed(None), moments.mean()]
    found += [engine.average(), engine.average(np.abs), engine.response_variance(), engine.smallest_response()]
    found += [np.array(engine.weights()), objective.predict(theta)]
    return found


def assert_same(a, b):
    assert len(a) == len(b)
    for u, v in zip(a, b, strict=True):
        np.testing.assert_array_equal(u, v, strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("group", [1, 3])
def test_sums_have_the_bits_of_one_process(rows, layout, group):
    x, y, w = rows
    alone = ThreadEngine(ArraySource(x, y, w, group), 2)
    team = sharded(x, y, w, *LAYOUTS[layout], group=group)
    for runs in team.runs:
        assert all(first % 4096 == 0 for first, _ in runs)
    assert team.shape == alone.shape
    assert_same(sweeps_of(team, group), sweeps_of(alone, group))
    assert team.meter.rows == alone.meter.rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_engines_made_of_others_have_them_too(rows, layout):
    x, y, w = rows
    seed, few = np.random.SeedSequence(3), np.random.default_rng(2).standard_normal((2, x.shape[1]))
    found = []
    for engine in (ThreadEngine(ArraySource(x, y, w), 2), sharded(x, y, w, *LAYOUTS[layout])):
        made = [
            engine.sample(3000, seed),
            engine.sample(900, seed, spaced=True),
            engine.part(1, 3),
            engine.part(2, 3).part(0, 2),
            engine.with_responses(np.square),
            engine.with_weights(lambda y, w: w * (np.abs(y) < 1.0)),
            engine.with_targets(np.arange(len(x), dtype=float)),
            engine.whitened(few[0], np.linspace(0.5, 2.0, x.shape[1]), copy=False),
            engine.whitened(few[0], np.eye(x.shape[1])[1:], copy=True),
            engine.projected(few),
        ]
        for each in made:
            assert each.shape[0] > 0
            moments = MomentSweeps(each)
            found.append([*moments.first(), moments.mean(), each.average(), each.rows(0, 7).x, each.targets()[0]])
    assert_same(
        [a for each in found[: len(found) // 2] for a in each], [a for each in found[len(found) // 2 :] for a in each]
    )


@pytest.mark.parametrize("layout", ["anywhere", "scattered"])
def test_large_samples_stay_and_have_the_same_bits(rows, layout, monkeypatch):
    x, y, w = rows
    monkeypatch.setattr(module, "_LARGEST_COPY", 1 << 17)
    alone = ThreadEngine(ArraySource(x, y, w, largest_copy=1 << 17), 2)
    team = sharded(x, y, w, *LAYOUTS[layout])
    few, here = (engine.sample(6000, np.random.SeedSequence(5)) for engine in (team, alone))
    assert isinstance(few, ShardedEngine) and few.shape == here.shape
    assert_same(MomentSweeps(few).first(), MomentSweeps(here).first())
    again, there = (engine.sample(2500, np.random.SeedSequence(6)) for engine in (few, here))
    assert again.shape == there.shape
    assert_same(MomentSweeps(again).first(), MomentSweeps(there).first())


def fails(part):
    if part == 1:
        raise ValueError("no such row")
    return part


def asked(gather, i):
    team = Gathered(gather, i)
    with pytest.raises(ValueError, match="no such row"):
        team.each(fails)
    with pytest.raises(ValueError, match="no such row"):
        team.made(fails)
    return team.each(int)


def astray(gather, i):
    return Gathered(gather, i).each(np.add, np.full(3, float(i)))


def test_an_error_of_one_process_is_raised_in_all(processes):
    assert processes.run(asked) == [[0, 1]] * 2


def test_processes_that_have_gone_different_ways_are_told(processes):
    for error in processes.run(astray):
        assert isinstance(error, RuntimeError) and "same program" in str(error)


@pytest.fixture(scope="module")
def processes():
    found = Processes(2)
    yield found
    found.close()


@pytest.mark.parametrize(("gather", "said"), [(lambda: None, "gather"), (lambda value: [1, 2], "list of the values")])
def test_what_is_no_gather_is_told(gather, said):
    with pytest.raises((TypeError, ValueError), match=said):
        Gathered(gather, 0)
