"""The three backends compute the same sums: compiled C and Numba against the NumPy specification.

Float32 cases of kinked activations, and those of few samples, use values on a coarse grid, whose products are
exact, so that no rounding can move a projection across a kink or make up most of a small residual, and the
comparison holds on every processor.
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fastrecover import kernels
from fastrecover.activations import NAMES, Activation, get_activation
from fastrecover.kernels import Op, RowFunction, tree
from fastrecover.losses import LOSSES

SQUARED, CROSS_ENTROPY = (LOSSES[name].code for name in ("squared", "cross-entropy"))
SOFTMAX = 4
#: Losses of the outputs, by their codes.
OUTPUT_LOSSES = (SQUARED, 2, 3, SOFTMAX, 5, 6, 7)

BACKENDS = ("compiled", "numba")
TOLERANCE = {np.float64: 1e-13, np.float32: 3e-6}
BLOCKS = (8, 16)
# n, d, k, reps, linear
SHAPES = [
    (0, 3, 2, 2, 1), (1, 1, 1, 1, 0), (15, 5, 1, 3, 1), (16, 1, 3, 2, 0), (17, 9, 4, 1, 1), (83, 7, 5, 2, 0)
]  # fmt: skip


def soft(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def logistic(z):
    return 1.0 / (1.0 + math.exp(-z))


def bell(z):
    q = 1.0 / (1.0 + math.exp(-z))
    return q * (1.0 - q)


USER = Activation.from_functions(soft, logistic, bell, name="soft")


def activation(name):
    return USER if name == "user" else get_activation(name, 0.2 if name == "leaky_relu" else None)


def hermite_factors(m, order):
    powers = (e for e in itertools.product(range(order + 1), repeat=m) if sum(e) <= order)
    rows = [[a * (order + 1) + p for a, p in enumerate(e) if p] for e in powers]
    return np.array([(r + [-1] * 4)[:4] for r in rows], np.int32)


def network_functions(act, k, reps, linear, rng, outputs=1, loss=SQUARED):
    """The operations of a network with any loss of its outputs; `linear` asks for a row of each of them."""

    def model(reps=1, **more):
        v, c = rng.standard_normal((reps, outputs * k)), rng.standard_normal((reps, outputs))
        network = dict(activation=act, k=k, reps=reps, linear=linear * outputs, outputs=outputs, v=v, c=c)
        return dict(loss=loss, delta=0.7, **network, **more)

    direction = dict(dv=rng.standard_normal(outputs * k), dc=rng.standard_normal(outputs))
    free = [dict(free_w=w, free_v=v, free_c=c) for w, v, c in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    return [
        RowFunction(Op.LOSS, **model(reps, grad=True)),
        RowFunction(Op.LOSS, **model(reps)),
        RowFunction(Op.CURVATURE, **model(**direction)),
        RowFunction(Op.CURVATURE, **model(newton=True, **direction)),
        RowFunction(Op.GRAM, **model(reps, free_w=1, free_v=1, free_c=1)),
        *(RowFunction(Op.GRAM, **model(**which)) for which in free),
        RowFunction(Op.PREDICT, **model(reps)),
        RowFunction(Op.PREDICT, **model(grad=True, **direction)),
    ]


def row_functions(act, k, reps, linear, rng):
    """Every operation, with `k` units of activation `act` wherever it takes a model."""

    def model(**more):
        v, c = rng.standard_normal((1, k)), rng.standard_normal(1)
        return dict(activation=act, k=k, linear=linear, v=v, c=c, **more)

    factors = hermite_factors(3, 3)
    return [
        *network_functions(act, k, reps, linear, rng),
        RowFunction(Op.MOMENT, **model(m=4, order=2)),
        RowFunction(Op.MOMENT, **model(m=1, order=3)),
        RowFunction(Op.MOMENT, **model(m=3, order=4, alpha2=0.7)),
        RowFunction(Op.MOMENT, m=2, unit_response=True),
        RowFunction(Op.PAIRS, **model(m=3)),
        RowFunction(Op.LANDSCAPE, **model(m=3, pair=0.8, single=11.0)),
        RowFunction(Op.LANDSCAPE, m=1, pair=0.0, single=-6.0),
        RowFunction(Op.HERMITE, **model(m=3, order=3, factors=factors)),
        RowFunction(Op.HERMITE_GRAM, m=3, order=3, factors=factors),
        RowFunction(Op.THIRD, **model()),
        RowFunction(Op.THIRD, **model(m=3)),
    ]


def draw(rng, shape, dtype, grid=False):
    values = rng.integers(-12, 13, shape) / 8 if grid else rng.standard_normal(shape)
    return values.astype(dtype)


def run(backend, x, y, w, p, row, blocks=BLOCKS, first=0, count=None):
    """[A, S, predictions]; of Gram matrices their upper triangles."""
    block = (blocks or kernels.layout(row, x.shape[1], x.itemsize))[1]
    out = np.full((len(x) // row.group, row.reps * row.outputs), np.pi)
    count = -(-len(x) // block) - first if count is None else count
    a, s = kernels.sweep(x, y, w, p, row, first, count, blocks=blocks, out=out, backend=backend)
    if row.op in (Op.GRAM, Op.HERMITE_GRAM):
        a = np.triu(a.reshape(-1, a.shape[1], a.shape[1])).reshape(a.shape)
    return [a, s, out]


def responses(rng, n, row):
    """What the loss of `row` is made for."""
    y = rng.random((n, row.outputs)) if row.loss != SQUARED else rng.standard_normal((n, row.outputs))
    if row.loss == SOFTMAX:
        y /= y.sum(axis=1, keepdims=True)
    return y if row.outputs > 1 else y[:, 0].copy()


def assert_close(ours, expected, tolerance, label):
    for name, mine, theirs in zip(("A", "S", "out"), ours, expected, strict=True):
        assert mine.shape == theirs.shape
        scale = np.abs(theirs).max(initial=1e-300)
        worst = np.abs(mine - theirs).max(initial=0.0) / scale
        assert worst <= tolerance, f"{name} of {label}: {worst:.2e}"


def assert_same(ours, expected):
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def of_x_itself(row):
    """Whether it takes no rows with a constant."""
    return row.op == Op.THIRD and not row.m


def check_against_reference(backend, dtype, name, shapes, blocks=BLOCKS, ones=0, functions=row_functions):
    rng = np.random.default_rng(7)
    act = activation(name)
    grid = dtype == np.float32 and bool(act.kinks)
    for n, d, k, reps, linear in shapes:
        x, weights = draw(rng, (n, d), dtype, grid), rng.random(n)
        for row in functions(act, k, reps, linear, rng):
            if ones and of_x_itself(row):
                continue
            p, y = draw(rng, (row.columns, d + ones), np.float64, grid), responses(rng, n, row)
            p /= 1 if grid else math.sqrt(d)
            for w in (None, weights):
                result, expected = (run(b, x, y, w, p, row, blocks) for b in (backend, "reference"))
                label = f"{row.op.name} {name} n={n} d={d} k={k} reps={row.reps} weights={w is not None} "
                label += f"outputs={row.outputs} loss={row.loss} ones={ones}"
                assert_close(result, expected, TOLERANCE[dtype], label)


@pytest.mark.parametrize("name", [*NAMES, "user"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_row_function_matches_the_reference(backend, dtype, name):
    check_against_reference(backend, dtype, name, SHAPES)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_sizes_around_vector_widths_match_the_reference(backend, dtype):
    shapes = [(70, d, k, 1, 1) for d, k in ((8, 6), (31, 7), (33, 9), (64, 1), (37, 25))]
    check_against_reference(backend, dtype, "tanh", shapes, blocks=(40, 64))


@pytest.mark.parametrize("name", ["relu", "tanh", "user"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_with_a_constant_match_the_reference(backend, dtype, name):
    check_against_reference(backend, dtype, name, SHAPES, ones=1)
    shapes = [(70, d, k, 1, 1) for d, k in ((8, 6), (31, 7), (37, 25))]
    check_against_reference(backend, dtype, name, shapes, blocks=(40, 64), ones=1)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_a_constant_is_a_feature_of_ones(backend, dtype):
    """Rows that hold the 1 know nothing of a constant."""
    rng = np.random.default_rng(13)
    for group, n, d, k in ((1, 45, 10, 3), (1, 33, 4, 9), (3, 20, 5, 3)):
        x, w = draw(rng, (group * n, d), dtype, grid=True), rng.random(n)
        longer = np.concatenate([x, np.ones((len(x), 1), dtype)], axis=1)
        if group > 1:
            rows = network_functions(activation("tanh"), k, 2, 0, rng, outputs=2)
            rows = [replace(row, group=group) for row in rows] + sigmoid_mean_rows(k, group=group)
        else:
            rows = row_functions(activation("tanh"), k, 2, 1, rng) + sigmoid_mean_rows(k)
            rows += network_functions(activation("relu"), k, 2, 1, rng, outputs=2)
        for row in rows:
            if of_x_itself(row):
                continue
            p, y = draw(rng, (row.columns, d + 1), np.float64, grid=True), np.abs(responses(rng, n, row)) % 1
            ours, expected = (run(backend, rows, y, w, p, row, (8 * group, 16 * group)) for rows in (x, longer))
            assert_close(ours, expected, TOLERANCE[dtype], f"{row.op.name} group={group} d={d}")


@pytest.mark.parametrize("ones", [0, 1])
@pytest.mark.parametrize("loss", OUTPUT_LOSSES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_losses_of_several_outputs_match_the_reference(backend, dtype, loss, ones):
    for outputs in (1, 3, 7):
        functions = partial(network_functions, outputs=outputs, loss=loss)
        for name in ("tanh", "relu"):
            check_against_reference(backend, dtype, name, SHAPES, ones=ones, functions=functions)


def check_many_outputs(backend, dtype):
    """Numbers of units and outputs around those that are computed at once."""
    for outputs, k in ((2, 5), (4, 8), (5, 9), (6, 3), (10, 14), (13, 1)):
        functions = partial(network_functions, outputs=outputs)
        check_against_reference(backend, dtype, "tanh", [(41, 6, k, 2, 1)], functions=functions)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_number_of_outputs_matches_the_reference(backend, dtype):
    check_many_outputs(backend, dtype)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_sums_over_outputs_are_those_of_networks_with_one_output(backend):
    """With the squared loss, networks that share their units: everything adds up or lies side by side."""
    rng = np.random.default_rng(14)
    n, d, k, m = 45, 6, 4, 3
    x, y, w = rng.standard_normal((n, d)), rng.standard_normal((n, m)), rng.random(n)
    for row in network_functions(activation("tanh"), k, 1, 1, rng, outputs=m):
        p = rng.standard_normal((row.columns, d))
        sets = p.reshape(-1, k + m, d)  # the network and, where there is one, its direction
        a, s, out = run(backend, x, y, w, p, row)
        parts = []
        for o in range(m):
            v, dv = (np.reshape(each, (m, k))[o] if np.size(each) else each for each in (row.v, row.dv))
            dc = row.dc[o : o + 1] if len(row.dc) == m else row.dc
            one = replace(row, outputs=1, linear=1, v=v[None], c=row.c[:, o], dv=dv, dc=dc)
            own = np.concatenate([np.concatenate([each[:k], each[k + o : k + o + 1]]) for each in sets])
            parts.append(run(backend, x, y[:, o].copy(), w, own, one))
        if row.op == Op.GRAM:
            v, c = k * row.free_v, int(row.free_c)
            at = np.cumsum([0, row.free_w * k * d, m * v, m * d, m * c])
            whole = np.zeros_like(a)
            for o, (each, _, _) in enumerate(parts):
                # Features of one output: units, its own v, row and intercept, and the residual.
                starts = (at[1] + o * v, at[2] + o * d, at[3] + o * c)
                own = [np.arange(begin, begin + size) for begin, size in zip(starts, (v, d, c), strict=True)]
                own = np.concatenate([np.arange(at[1]), *own, [len(a) - 1]])
                whole[np.ix_(own, own)] += each
            sums = [w.sum(), sum(each[1][1] for each in parts)]
        else:
            units = sum(each[0][:k] for each in parts)
            whole = np.concatenate([units, *(each[0][k:] for each in parts)]) if len(a) else a
            loss = [sum(each[1][1] for each in parts)] if row.op == Op.LOSS else []
            first = 1 + len(loss)
            both = [
                np.concatenate([each[1][at : at + size] for each in parts]) for at, size in ((first, k), (first + k, 1))
            ]
            sums = np.concatenate([[w.sum()], loss, *both]) if len(s) else s
        outs = np.concatenate([each[2] for each in parts], axis=1)
        assert_close([a, s, out], [whole, np.array(sums), outs], 1e-13, row.op.name)


@pytest.mark.parametrize("loss", [SQUARED, SOFTMAX])
@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_each_set_has_the_gram_matrix_of_its_own(backend, loss):
    rng = np.random.default_rng(15)
    n, d, k, m, reps = 37, 5, 3, 2, 3
    row = network_functions(activation("tanh"), k, reps, 1, rng, outputs=m, loss=loss)[4]
    assert row.op == Op.GRAM and row.reps == reps
    x, y, p = rng.standard_normal((n, d)), responses(rng, n, row), rng.standard_normal((row.columns, d))
    a, s, _ = run(backend, x, y, None, p, row)
    for rep, alone in enumerate(p.reshape(reps, -1, d)):
        one = replace(row, reps=1, v=row.v[rep : rep + 1], c=row.c[rep : rep + 1])
        matrix, sums, out = run(backend, x, y, None, np.ascontiguousarray(alone), one)
        size = row.gram_size(d)
        # Fewer columns of P may be multiplied in another order.
        assert_close([a[rep * size : (rep + 1) * size], s[[0, 1 + rep]], out], [matrix, sums, out], 1e-13, f"set {rep}")


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_columns_that_are_not_those_of_the_rows_are_refused(backend):
    row = RowFunction(Op.LOSS, k=1, v=np.ones((1, 1)))
    for columns in (2, 5):
        with pytest.raises(ValueError, match="columns of X"):
            run(backend, np.ones((4, 3)), None, None, np.ones((1, columns)), row)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_the_third_moment_of_rows_themselves_takes_no_constant(backend):
    row = RowFunction(Op.THIRD, k=1, v=np.ones((1, 1)))
    with pytest.raises(ValueError, match="third moment"):
        run(backend, np.ones((4, 3)), None, None, np.ones((1, 4)), row)


def check_products(dtype):
    """Both products for any number of columns: whole and broken vectors, rows and columns left over, chunks of
    features, tiles of which the last is shorter; every other time of rows that lie apart and have a constant."""
    rng = np.random.default_rng(17)
    few, many = (1, 3, 4, 5, 8, 9, 12, 13, 17, 24, 33), range(1, 27)
    sizes = ((0, few), (1, few), (3, few), (5, (1, 4)), (16, many), (17, many), (63, few), (64, few), (65, few))
    sizes += ((401, (1, 3, 7, 10)), (1031, (8, 13, 49)))
    for i, ((d, columns), blocks) in enumerate(itertools.product(sizes, ((32, 32), (12, 64), (21, 64)))):
        ones = max(i % 2, d == 0)
        x, y = draw(rng, (75, d + 3 * ones), dtype)[:, ones : ones + d], rng.standard_normal(75)
        for k in columns:
            row = RowFunction(Op.LOSS, activation=activation("tanh"), k=k, v=rng.standard_normal((1, k)), grad=True)
            p = rng.standard_normal((k, d + ones)) / math.sqrt(max(d, 1))
            result, expected = (run(b, x, y, None, p, row, blocks) for b in ("compiled", "reference"))
            assert_close(result, expected, TOLERANCE[dtype], f"d={d} k={k} blocks={blocks} ones={ones}")


@pytest.mark.parametrize("group", [1, 3, 5])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_tiles_are_whole_samples_within_a_block(dtype, group):
    size = np.dtype(dtype).itemsize
    for d, k in itertools.product((1, 7, 20, 128, 1000, 10_000, 100_000), (1, 4, 16, 64)):
        for op in (Op.LOSS, Op.PREDICT):
            row = RowFunction(op, k=k * group, group=group, v=np.ones((1, k * group)), grad=True)
            tile, block = kernels.layout(row, d, size)
            assert 0 < tile <= block and tile % group == 0 == block % group
            if dtype == np.float32:  # in which a tile is summed
                assert tile <= max(32, 4 * k * (1 + (op == Op.LOSS))) + group


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_sums_over_tiles_are_double(dtype):
    """Those of one tile have few enough bits to be exact in single precision, those of all have not."""
    n, d, k, small = 40_000, 24, 3, 2.0**-10
    row = RowFunction(Op.LOSS, k=k, v=np.ones((1, k)), grad=True)
    x, y = np.ones((n, d), dtype), np.full(n, -small)
    a, s, _ = run("compiled", x, y, None, np.full((k, d), 1 / 16), row, None)
    residual = k * d / 16 + small
    assert s[1] == 0.5 * n * residual**2
    assert (a == n * residual).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_default_layout_matches_the_reference(backend):
    check_against_reference(backend, np.float64, "sigmoid", [(4500, 11, 3, 1, 0)], blocks=None)


# Around one, two and three groups of 8 and of 16 features, and so of whole and broken vectors, in both products.
THIRD_SIDES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 49)


def brute_force_third(x, c):
    """Distinct entries of sum c x (x) x (x) x, in extended precision, by definition."""
    x, c = x.astype(np.longdouble), c.astype(np.longdouble)
    i, j, k = np.array(list(itertools.combinations_with_replacement(range(x.shape[1]), 3))).T
    return sum((ci * xi[i] * xi[j] * xi[k] for ci, xi in zip(c, x, strict=True)), np.zeros(len(i), np.longdouble))


def check_third(backend, dtype, n, d, m, blocks=BLOCKS):
    rng = np.random.default_rng(21)
    x, y, w = draw(rng, (n, d + 3), dtype)[:, 1 : 1 + d], rng.standard_normal(n), rng.random(n)
    v = draw(rng, (m, d), np.float64, grid=True)
    a, s, out = run(backend, x, y, w, v, RowFunction(Op.THIRD, m=m, c=np.array([0.3])), blocks)
    e = w * (y - 0.3)
    z = (x.astype(np.float64) @ v.T) if m else x
    sums = np.array([w.sum(), e.sum(), e @ (y - 0.3), *(e @ z)])
    expected = brute_force_third(z, e).astype(np.float64)
    assert_close([a[0], s, out], [expected, sums, out], TOLERANCE[dtype], f"n={n} d={d} m={m}")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_third_moment_is_that_of_the_definition(backend, dtype):
    for n in (0, 1, 15, 16, 17):
        check_third(backend, dtype, n, 9, 0)
        check_third(backend, dtype, n, 5, 2)
    for side in THIRD_SIDES:
        check_third(backend, dtype, 37, side, 0)
        check_third(backend, dtype, 37, 6, side)
    check_third(backend, dtype, 300, 18, 0, blocks=None)
    check_third(backend, dtype, 300, 18, 10, blocks=None)


def sigmoid_mean_rows(k, reps=2, group=1, free_w=1):
    """The operations that know the cross entropy of a mean of sigmoid units."""
    mean = dict(activation=activation("sigmoid"), loss=CROSS_ENTROPY, k=k, group=group)
    one, more = (dict(mean, reps=r, v=np.full((r, k), 1 / k), c=np.zeros(r)) for r in (1, reps))
    return [
        RowFunction(Op.LOSS, grad=True, **more),
        RowFunction(Op.LOSS, **more),
        RowFunction(Op.CURVATURE, dv=np.zeros(k), **one),
        RowFunction(Op.CURVATURE, newton=True, dv=np.zeros(k), **one),
        RowFunction(Op.GRAM, **more, free_w=free_w),
        RowFunction(Op.PREDICT, **more),
    ]


def check_groups(backend, dtype, groups, losses=(SQUARED, CROSS_ENTROPY), samples=(0, 1, 8, 9, 83), ones=0):
    """Groups of rows that make one sample against the reference; a group of one row is a plain sample."""
    rng = np.random.default_rng(11)
    grid = dtype == np.float32
    for group, loss, n, d, filters in itertools.product(groups, losses, samples, (5, 11), (1, 3)):
        k = group * filters
        x, weights = draw(rng, (n * group, d), dtype, grid), rng.random(n)
        if loss == CROSS_ENTROPY:
            rows = sigmoid_mean_rows(k, 2, group)
        else:
            rows = network_functions(activation("tanh"), k, 2, 0, rng, loss=loss, outputs=1 + 2 * (loss == SOFTMAX))
            rows = [replace(row, group=group) for row in rows]
        for row, w in itertools.product(rows, (None, weights)):
            p, y = draw(rng, (row.columns, d + ones), np.float64, grid), responses(rng, n, row)
            if loss == CROSS_ENTROPY:
                y[::4] = rng.integers(0, 2, len(y[::4]))
            for blocks in ((8 * group, 16 * group), None):
                result, expected = (run(b, x, y, w, p, row, blocks) for b in (backend, "reference"))
                label = f"{row.op.name} loss={loss} group={group} n={n} d={d} k={k} weights={w is not None}"
                assert_close(result, expected, TOLERANCE[dtype], label)


@pytest.mark.parametrize("group", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_cross_entropy_and_groups_of_rows_match_the_reference(backend, dtype, group):
    check_groups(backend, dtype, [group])
    check_groups(backend, dtype, [group], (SQUARED, CROSS_ENTROPY, SOFTMAX), samples=(0, 9, 30), ones=1)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_a_group_of_rows_is_a_network_whose_units_see_one_row_each(backend):
    """The patches side by side are one long row, and the shared filter a block-diagonal weight matrix."""
    rng = np.random.default_rng(12)
    group, d, n = 3, 5, 37
    x, y, w = rng.standard_normal((n * group, d)), rng.random(n), rng.random(n)
    v, filter_ = rng.standard_normal((1, group)), rng.standard_normal((1, d))
    wide, rows = np.kron(np.eye(group), filter_), (8 * group, 16 * group)
    for loss in (SQUARED, CROSS_ENTROPY):
        row = RowFunction(Op.LOSS, activation("sigmoid"), loss=loss, k=group, v=v, grad=True)
        a, s, _ = run(backend, x, y, w, filter_, replace(row, group=group), rows)
        a_wide, s_wide, _ = run(backend, x.reshape(n, -1), y, w, wide, row)
        tied = sum(a_wide[i : i + 1, i * d : (i + 1) * d] for i in range(group))
        np.testing.assert_allclose(a, tied, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(s, s_wide, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_responses_are_zeros(backend):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 6))
    for row in row_functions(get_activation("erf"), 2, 2, 0, rng) + sigmoid_mean_rows(2):
        p = rng.standard_normal((row.columns, 6))
        assert_same(run(backend, x, None, None, p, row), run(backend, x, np.zeros(50), None, p, row))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_first_moment_needs_no_columns(backend, dtype):
    rng = np.random.default_rng(2)
    x, y, w = draw(rng, (50, 6), dtype), rng.standard_normal(50), rng.random(50)
    row = RowFunction(Op.MOMENT, c=np.array([0.5]))
    a, s, _ = run(backend, x, y, w, np.zeros((0, 6)), row)
    e = w * (y - 0.5)
    np.testing.assert_allclose(a, [e @ x, e @ x], rtol=0, atol=20 * TOLERANCE[dtype])
    np.testing.assert_allclose(s, [w.sum(), e.sum(), 0.0, e.sum(), e @ (y - 0.5)], rtol=1e-13, atol=1e-13)


def sliced(rng, n, d, dtype):
    return draw(rng, (n, d + 5), dtype)[:, 2 : 2 + d]


def overlapping(rng, n, d, dtype):
    size = dtype().itemsize
    return np.lib.stride_tricks.as_strided(draw(rng, 3 * n + d, dtype), (n, d), (3 * size, size))


def read_only(rng, n, d, dtype):
    x = draw(rng, (n, d), dtype)
    x.flags.writeable = False
    return x


def fortran(rng, n, d, dtype):
    return np.asfortranarray(draw(rng, (d, 2, n), dtype))[:, 1, :].T


def reversed_rows(rng, n, d, dtype):
    return draw(rng, (2 * n, d), dtype)[::-2]


def one_row_repeated(rng, n, d, dtype):
    return np.broadcast_to(draw(rng, d, dtype), (n, d))


@pytest.mark.parametrize("make", [sliced, overlapping, read_only, fortran, reversed_rows, one_row_repeated])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_bits_do_not_depend_on_how_rows_lie_in_memory(backend, dtype, make):
    rng = np.random.default_rng(3)
    n, d = 45, 10
    x, y = make(rng, n, d, dtype), rng.standard_normal(n)
    assert x.strides[1] == x.itemsize
    for row in row_functions(get_activation("tanh"), 3, 2, 1, rng) + sigmoid_mean_rows(3):
        p = rng.standard_normal((row.columns, d))
        assert_same(run(backend, x, y, None, p, row), run(backend, x.copy(), y, None, p, row))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_value_reaches_every_sum_that_it_should(backend, name, bad):
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((64, 12)), rng.standard_normal(64)
    x[21, 5] = bad
    for row in row_functions(activation(name), 3, 1, 1, rng):
        if np.isinf(bad) and row.op in (Op.HERMITE, Op.HERMITE_GRAM):
            continue  # NumPy's Hermite series has no limits at infinity
        p = rng.standard_normal((row.columns, 12))
        result, expected = (run(b, x, y, None, p, row) for b in (backend, "reference"))
        assert not all(np.isfinite(each).all() for each in expected)
        for mine, theirs in zip(result, expected, strict=True):
            np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(theirs), row.op.name)
            np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs), row.op.name)
        assert all(np.isfinite(each).all() for each in run(backend, x, y, None, p, row, first=2))


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_sums_of_aligned_subtrees_merge_to_the_bits_of_one_range(backend):
    rng = np.random.default_rng(5)
    d, blocks = 6, 11
    x = rng.standard_normal((16 * (blocks - 1) + 9, d))
    y = rng.standard_normal(len(x))
    functions = row_functions(get_activation("sigmoid"), 3, 2, 1, rng) + sigmoid_mean_rows(3)
    for row, ones in itertools.product(functions, (0, 1)):
        if ones and of_x_itself(row):
            continue
        p = rng.standard_normal((row.columns, d + ones))
        whole = run(backend, x, y, None, p, row)
        for size in (1, 2, 4, 8):
            ranges = ((first, min(size, blocks - first)) for first in range(0, blocks, size))
            parts = (run(backend, x, y, None, p, row, first=first, count=count)[:2] for first, count in ranges)
            assert_same(tree.merge(parts), whole[:2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_outside_the_range_are_left_alone(backend):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((60, 4))
    row = RowFunction(Op.PREDICT, k=2, v=np.ones((1, 2)))
    out = run(backend, x, None, None, rng.standard_normal((2, 4)), row, first=1, count=2)[2]
    assert (out[:16] == np.pi).all() and (out[48:] == np.pi).all() and (out[16:48] != np.pi).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_backend_and_get_the_same_bits(backend):
    rng = np.random.default_rng(8)
    x, y, p = rng.standard_normal((3000, 20)), rng.standard_normal(3000), rng.standard_normal((4, 20))
    row = RowFunction(Op.LOSS, activation("tanh"), k=4, v=np.ones((1, 4)), grad=True)
    alone = run(backend, x, y, None, p, row)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: run(backend, x, y, None, p, row), range(8)):
            assert_same(result, alone)


@pytest.mark.parametrize("backend", BACKENDS)
def test_user_activation_equals_the_built_in_one_of_the_same_formula(backend):
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((100, 8)), rng.standard_normal(100)
    for row in row_functions(USER, 4, 2, 1, rng):
        p = rng.standard_normal((row.columns, 8))
        built_in = replace(row, activation=get_activation("softplus"))
        result, expected = (run(backend, x, y, None, p, each) for each in (row, built_in))
        assert_close(result, expected, 1e-12, row.op.name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_user_activation_without_second_derivative_yields_nan_where_one_is_needed(backend):
    rng = np.random.default_rng(10)
    x, p = rng.standard_normal((20, 3)), rng.standard_normal((4, 3))
    row = RowFunction(Op.CURVATURE, Activation.from_functions(soft, logistic), k=2, v=np.ones((1, 2)), dv=np.ones(2))
    assert np.isfinite(run(backend, x, None, None, p, row)[0]).all()
    assert np.isnan(run(backend, x, None, None, p, replace(row, newton=True))[0]).all()


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        (
            (lambda z: float(open("z").read()), logistic),
            r"^function of activation 'odd' \(<lambda>\) cannot be",
        ),
        ((soft, print), r"^derivative of activation 'odd' \(print\) must return a float"),
        ((soft, logistic, lambda z: complex(z, 1.0)), r"^second_derivative of .* must return a float"),
    ],
)
def test_functions_that_numba_cannot_compile_are_named(functions, message):
    odd = replace(USER, name="odd", functions=functions)
    row = RowFunction(Op.LOSS, odd, k=1, v=np.ones((1, 1)))
    with pytest.raises(TypeError, match=message):
        run("numba", np.ones((2, 2)), None, None, np.ones((1, 2)), row)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_instruction_set_of_the_compiled_backend_matches_the_reference(dtype):
    from fastrecover.kernels import _compiled

    widest, tried = _compiled.instruction_set(), []
    try:
        for name in ("avx512", "avx2", "base"):
            try:
                _compiled.select_instruction_set(name)
            except ValueError:
                continue
            tried.append(name)
            assert _compiled.instruction_set() == name
            for function in ("relu", "erf"):
                check_against_reference("compiled", dtype, function, [(17, 9, 4, 1, 1), (83, 37, 5, 2, 0)])
            check_products(dtype)
            check_groups("compiled", dtype, (1, 3), samples=(9, 83))
            check_groups("compiled", dtype, (1, 3), samples=(9, 40), ones=1)
            check_many_outputs("compiled", dtype)
            for side in THIRD_SIDES:
                check_third("compiled", dtype, 21, side, 0)
                check_third("compiled", dtype, 21, 4, side)
    finally:
        _compiled.select_instruction_set(None)
    assert tried[0] == widest == _compiled.instruction_set() and tried[-1] == "base"


@pytest.mark.parametrize("backend", BACKENDS)
def test_activate_takes_any_shape_and_read_only_input(backend):
    z = np.linspace(-4, 4, 12).reshape(3, 4)
    z.flags.writeable = False
    for name in NAMES:
        results = zip(*(kernels.activate(name, z, backend=b) for b in (backend, "reference")), strict=True)
        for mine, theirs in results:
            np.testing.assert_allclose(mine, theirs, rtol=1e-14, atol=1e-16)


def test_code_from_the_cache_was_made_of_the_sources_at_hand(monkeypatch, tmp_path):
    from fastrecover.kernels import numba_kernels

    run("numba", np.ones((2, 2)), None, None, np.ones((1, 2)), RowFunction(Op.LOSS, k=1, v=np.ones((1, 1))))
    now = numba_kernels._sources_key()
    assert {signature[-1].value for signature in numba_kernels._sweep.signatures} == {now}
    here = Path(numba_kernels.__file__).parent
    names = [f.name for f in (*here.glob("numba_*.py"), here / "op.py")]
    for name in names:
        (tmp_path / name).write_bytes((here / name).read_bytes())
    monkeypatch.setattr(numba_kernels, "files", lambda _: tmp_path)
    assert numba_kernels._sources_key() == now
    for name in names:
        source = (here / name).read_bytes()
        (tmp_path / name).write_bytes(source + b"\n")
        assert numba_kernels._sources_key() != now
        (tmp_path / name).write_bytes(source)


@pytest.mark.parametrize("backend", BACKENDS)
def test_columns_apart_in_memory_are_refused(backend):
    row = RowFunction(Op.LOSS, k=1, v=np.ones((1, 1)))
    with pytest.raises(ValueError, match="unit column stride"):
        run(backend, np.ones((4, 6))[:, ::2], None, None, np.ones((1, 3)), row)


def test_the_backend_is_chosen_by_name_or_environment(monkeypatch):
    try:
        for name in ("reference", "numba", "compiled"):
            monkeypatch.setenv("FASTRECOVER_KERNELS", name)
            kernels.set_kernels()
            assert kernels.get_kernels() == name
            kernels.set_kernels("reference")
            assert kernels.get_kernels() == "reference"
        with pytest.raises(ValueError, match="kernels must be one of"):
            kernels.set_kernels("fortran")
    finally:
        monkeypatch.delenv("FASTRECOVER_KERNELS")
        kernels.set_kernels()
