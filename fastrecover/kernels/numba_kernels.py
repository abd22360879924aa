"""The Numba backend: the driver of ``csrc/driver.h`` as one jitted call that holds no GIL.

A tile of X is transposed while it is in cache, so that the projection, the back-projection and the Gram
matrices are all dot products of contiguous vectors, and one register-blocked loop that LLVM vectorises well
serves the three.  Rows reach it as one flat read-only array with an origin and a stride, whatever X was, so
there is one compilation for each data type.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

import numpy as np
from numba import njit
from numba.core.event import Event, Listener, register
from numpy.typing import DTypeLike

from .._progress import notice
from . import numba_activations
from .numba_arrays import Row, Work, borrowed, copy, dot, fill, jit, lane, line, products, scaled, total
from .numba_losses import LOSSES
from .numba_rowfn import GRAM, HERMITE_GRAM, PREDICT, THIRD, along, forward, row_function
from .op import FIELDS, RowFunction

__all__ = ["LOSSES", "activate", "sweep"]


def _sources_key() -> int:
    """Digest of everything that the compiled code is made of, as a number that Numba can key its cache by."""
    sources = {f.name: f for f in files(__package__).iterdir() if f.name.endswith(".py")}
    names = sorted(name for name in sources if name.startswith("numba_") or name == "op.py")
    digest = sha256(b"\0".join(sources[name].read_bytes() for name in names))
    return int.from_bytes(digest.digest()[:7], "big")


_SOURCES = _sources_key()


@jit
def _line(a, origin, stride, i, n):
    start = origin + i * stride
    return a[start : start + n]


@jit
def _transpose(x, origin, stride, rows, d, xt, ld):
    """xt[j, i] = x[i, j] in groups of eight rows, a cache line of xt; a last group repeats the last row."""
    last = rows - 1
    for i in range(0, rows, 8):
        x0, x1 = _line(x, origin, stride, i, d), _line(x, origin, stride, min(i + 1, last), d)
        x2, x3 = _line(x, origin, stride, min(i + 2, last), d), _line(x, origin, stride, min(i + 3, last), d)
        x4, x5 = _line(x, origin, stride, min(i + 4, last), d), _line(x, origin, stride, min(i + 5, last), d)
        x6, x7 = _line(x, origin, stride, min(i + 6, last), d), _line(x, origin, stride, min(i + 7, last), d)
        for j in range(d):
            t = _line(xt, i, ld, j, 8)
            t[0], t[1], t[2], t[3] = x0[j], x1[j], x2[j], x3[j]
            t[4], t[5], t[6], t[7] = x4[j], x5[j], x6[j], x7[j]


@jit
def _project(x, origin, stride, samples, d, p, shift, q, z, ldz):
    """z = x p', plus the number of each column where there are any."""
    for j in range(shift.size):
        fill(shift[j], line(z, j, samples, ldz))
    products(d, x, origin, stride, samples, p, d, q, z, ldz, shift.size > 0, False)


@jit
def _by_output(y, sample, samples, m, work):
    """Responses of a tile, outputs apart; those that are missing are the zeros that stand there."""
    if y.size:
        for o in range(m):
            column, own, step = lane(work, work.y + o, samples), y[sample * m + o :], np.uintp(m)
            for i in range(np.uintp(samples)):  # unsigned: no test for negative indices
                column[i] = own[i * step]


@jit
def _patches(group, ld, samples, g, gx):
    """gx = g with the patches of a sample, units until now, next to each other again."""
    span = group * ld
    for c in range(gx.size // span):
        for p in range(group):
            for i in range(samples):
                gx[c * span + i * group + p] = g[c * span + p * ld + i]


@jit
def _third(rows, columns, d, ld, e, a, first):
    """a += sum e x_a x_b x_c over a <= b <= c, first += sum e x, of d columns x.

    The products of one column with eight that follow it meet the columns from the first of those on: what that
    adds to the distinct entries is a triangle of eight.
    """
    g, sums = np.empty(9 * ld, columns.dtype), np.empty(8 * d)
    t, at = g[8 * ld : 8 * ld + rows], 0
    for i in range(d):
        first[i] += dot(e, line(columns, i, rows, ld))
        scaled(1.0, e, line(columns, i, rows, ld), t)
        for j in range(i, d, 8):
            count = min(8, d - j)
            for p in range(count):
                scaled(1.0, t, line(columns, j + p, rows, ld), line(g, p, rows, ld))
            products(rows, columns, j * ld, ld, d - j, g, ld, count, sums, d, False, False)
            for p in range(count):
                for c in range(p, d - j):
                    a[at] += sums[p * d + c]
                    at += 1


@jit
def _block(x, origin, stride, ones, y, w, p, shift, q, op, tile, start, stop, work, xt, gx, a, s, width, out):
    """Sums of the rows from `start` to `stop`, added to a and s."""
    x, y, w, op, work, xt, gx, a, s = borrowed((x, y, w, op, work, xt, gx, a, s))  # type: ignore[call-arg]
    group, ld, span, m = op.group, work.ld, work.ld * op.group, op.outputs
    features, g = xt.size // span, a.size // width
    d = features - ones
    gram = op.op == GRAM or op.op == HERMITE_GRAM
    for first in range(start, stop, tile):
        rows, at = min(tile, stop - first), origin + first * stride
        samples, sample = rows // group, first // group
        wt = w[sample : sample + samples]
        _by_output(y, sample, samples, m, work)
        for i in range(group):  # patches become units
            patch = at + i * stride
            _project(x, patch, group * stride, samples, d, p, shift, q, work.lanes[(work.z + i) * ld :], span)
            if op.op == GRAM:
                _transpose(x, patch, group * stride, samples, d, xt[i * ld :], span)
        if g and not gram and not (op.op == THIRD and op.m):
            _transpose(x, at, stride, rows, d, xt, span)
        for rep in range(op.reps):
            if op.op == PREDICT:
                forward(op, rep, samples, work)
                if op.grad:
                    along(op, samples, work, work.f)
                for o in range(m):
                    f = lane(work, work.f + o, samples)
                    for i in range(samples):
                        out[sample + i, rep * m + o] = f[i]
            else:
                row_function(op, rep, samples, features, wt, work, xt, a, s)
        if op.op == THIRD:
            if op.m:
                z = work.lanes[(work.z + op.k + op.linear) * ld :]
                _third(rows, z, op.m, ld, lane(work, work.e, rows), a, s[3:])
            else:
                _third(rows, xt, features, ld, lane(work, work.e, rows), a, s[3:])
        elif g and not gram:
            if group == 1:
                copy(work.lanes[work.g * ld :], gx)
            else:
                _patches(group, ld, samples, work.lanes[work.g * ld :], gx)
            products(rows, xt, 0, span, d, gx, span, g, a, width, True, False)
            if ones:  # in double, whatever the rows are in
                for i in range(g * group):
                    a[i // group * width + d] += total(lane(work, work.g + i, samples))


@jit
def _merge(left, right):
    """right = left + right."""
    for j in range(right.size):
        right[j] = left[j] + right[j]


@jit
def _memory(op, ld, projections, coefficients, features):
    k, m = op.k, op.outputs
    u = m + projections
    f = u + 3 * k
    g = f + 4 * m + 1
    left = g + coefficients
    he = left + features
    lanes = np.zeros((he + op.m * (op.order + 1)) * ld)
    return Work(lanes, ld, 0, m, u, u + k, u + 2 * k, f, f + m, f + 2 * m, f + 3 * m, g - 1, g, left, he)


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep(
    x, origin, stride, n, d, ones, y, w, p, shift, q, op, tile, block, first, count, g, width, a, s, out,
    sources=_SOURCES,
):  # fmt: skip
    """Blocks first .. first + count, merged in the canonical tree, into a (g, width) and s.

    Rows are those of x with so many `ones` after them, at most one; `shift` has what a projection makes of it.

    Numba's cache looks for changes in the file of this function alone, but keys by the type of every
    argument, and that of an omitted one is its default: so code made of other `sources` is never found.
    """
    gram = op.op == GRAM or op.op == HERMITE_GRAM
    ld = (max(min(tile, n) // op.group, 1) + 7) // 8 * 8
    span = ld * op.group
    work = _memory(op, ld, q * op.group, width if gram else g * op.group, width if gram else 0)
    xt, gx = np.zeros((d + ones) * span, x.dtype), np.zeros(0 if gram else g * span, x.dtype)
    fill(1.0, xt[d * span :])
    levels, size = 1, g * width + s.size
    while (1 << (levels - 1)) < count:
        levels += 1
    slots = np.zeros((levels + 1, size))  # complete subtrees by level, then the running one
    top = slots[levels]
    for i in range(count):
        fill(0.0, top)
        start = (first + i) * block
        _block(
            x, origin, stride, ones, y, w, p, shift, q, op, tile, start, min(start + block, n), work, xt, gx,
            top[: g * width], top[g * width :], width, out,
        )  # fmt: skip
        level, bits = 0, i
        while bits & 1:
            _merge(slots[level], top)
            level, bits = level + 1, bits >> 1
        copy(top, slots[level])
    fill(0.0, top)
    started = False
    for level in range(levels):
        if (count >> level) & 1:
            if started:
                _merge(slots[level], top)
            else:
                copy(slots[level], top)
            started = True
    copy(top, a)
    copy(top[g * width :], s)


class _Announced(Listener):
    """Says that the sweep is compiled, which takes a while."""

    def on_start(self, event: Event) -> None:
        if event.data["dispatcher"] is _sweep:
            rows = f"float{event.data['args'][0].dtype.bitwidth}"
            notice(f"compiling the Numba kernels for {rows} rows, once: they are kept in {_sweep.stats.cache_path}")

    def on_end(self, event: Event) -> None:
        pass


register("numba:compile", _Announced())

#: Of the fields of a record that are numbers; for another type, such as a member of an enum, Numba would compile anew.
_TYPES = [float if kind == "f8" else int for _, kind in FIELDS]
_NOTHING = np.zeros(0)
_NO_OUTPUT = np.zeros((0, 1))


def _constant(array: np.ndarray, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Flat read-only view: one type for Numba, whatever the caller's shape and flags were."""
    view = np.ascontiguousarray(array, dtype).reshape(-1)
    view.flags.writeable = False
    return view


def _flat(x: np.ndarray) -> tuple[np.ndarray, int, int]:
    """X as (flat read-only array, origin, stride): row i starts at ``origin + i * stride``."""
    n, d = x.shape
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"X must be float32 or float64, got {x.dtype}")
    if x.size == 0:
        return _constant(_NOTHING, x.dtype), 0, 0
    if d > 1 and x.strides[1] != x.itemsize or x.strides[0] % x.itemsize:
        raise ValueError("X must have unit column stride and a row stride of whole elements")
    stride = x.strides[0] // x.itemsize
    lowest, span = (x, stride) if stride >= 0 else (x[::-1], -stride)
    length = (n - 1) * span + d
    flat = np.lib.stride_tricks.as_strided(lowest, (length,), (x.itemsize,), writeable=False)
    return flat, 0 if stride >= 0 else (n - 1) * span, stride


def sweep(
    x: np.ndarray,
    y: np.ndarray | None,
    w: np.ndarray | None,
    p: np.ndarray,
    op: RowFunction,
    tile: int,
    block: int,
    first: int,
    count: int,
    a: np.ndarray,
    s: np.ndarray,
    out: np.ndarray | None = None,
) -> None:
    """Sums of blocks ``first .. first + count`` into `a` and `s`; see ``kernels.sweep`` for the meaning."""
    d = x.shape[1]
    values = zip(_TYPES, op.values(), strict=True)
    plain = Row(*(_constant(v, v.dtype) if isinstance(v, np.ndarray) else of(v) for of, v in values))
    targets = (_constant(_NOTHING if each is None else each) for each in (y, w))
    directions = _constant(p[:, :d], x.dtype), _constant(p[:, d:]), len(p)
    rows = *_flat(x), *x.shape, p.shape[1] - d
    args = *rows, *targets, *directions, plain, tile, block, first, count, *a.shape
    _sweep(*args, a.reshape(-1), s, _NO_OUTPUT if out is None else out)  # type: ignore[call-arg]


def activate(code: int, slope: float, z: np.ndarray, u: np.ndarray, d1: np.ndarray, d2: np.ndarray) -> None:
    """Activation `code` and its first two derivatives at `z`."""
    numba_activations.activate(code, slope, z if z.flags.writeable else z.copy(), u, d1, d2, 2)
