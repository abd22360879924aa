"""What a sweep computes on each row, as plain data.

Every backend reads the same frozen record, so a quantity is defined by its fields and by the few lines of NumPy
in ``reference.py``; nothing else passes from the solvers to compiled code.  What C and Numba read is declared once,
by ``FIELDS``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cached_property
from operator import attrgetter
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from ..activations import USER_CODE, Activation, get_activation
from ..losses import SQUARED


class Op(IntEnum):
    """Row functions; the values are those of ``csrc/kernels.h``."""

    LOSS = 0
    CURVATURE = 1
    GRAM = 2
    PREDICT = 3
    MOMENT = 4
    PAIRS = 5
    HERMITE = 6
    HERMITE_GRAM = 7
    LANDSCAPE = 8
    THIRD = 9


#: Names and types of the record, those of ``fr_op`` in ``csrc/kernels.h``; of an array "u8" says where it begins.
FIELDS = (
    *(("op", "i4"), ("activation", "i4"), ("slope", "f8"), ("user", "u8"), ("loss", "i4"), ("group", "i8")),
    *(("reps", "i8"), ("k", "i8"), ("linear", "i8"), ("v", "u8"), ("c", "u8"), ("grad", "i4"), ("newton", "i4")),
    *(("dv", "u8"), ("dc", "u8"), ("free_w", "i4"), ("free_v", "i4"), ("free_c", "i4"), ("m", "i8"), ("order", "i4")),
    *(("unit_response", "i4"), ("alpha2", "f8"), ("pair", "f8"), ("single", "f8"), ("n_features", "i8")),
    *(("factors", "u8"), ("outputs", "i8"), ("delta", "f8")),
)
RECORD = np.dtype(list(FIELDS), align=True)
_NAMES = [name for name, _ in FIELDS]
_POINTERS = ("v", "c", "dv", "dc", "factors")
_ARRAYS = {_NAMES.index(name): np.int32 if name == "factors" else np.float64 for name in _POINTERS}
_PATHS = {"activation": "activation.code", "slope": "activation.slope"}
_values = attrgetter(*(_PATHS.get(name, name) for name in _NAMES))
_pack = Struct("@" + "".join({"i4": "i", "i8": "q", "u8": "Q", "f8": "d"}[kind] for _, kind in FIELDS) + "0q").pack

_MOST_EXTENTS = 1 << 10
_EMPTY = np.zeros(0)
_EMPTY_2D = np.zeros((1, 0))
_NO_FACTORS = np.zeros((0, 4), np.int32)


@dataclass(frozen=True, eq=False)
class RowFunction:
    """One row function.

    With parameter set ``(W, b, v, c)`` the model's output on row x is
    ``f = c + sum_j v_j phi(w_j . x) + b . x``, ``r = f - y`` and ``e = w r``.  The rows of `P` handed to the
    sweep are, in this order: for each of `reps` sets its `k` hidden units and `linear` rows ``b``; for
    CURVATURE, and PREDICT with `grad`, then the direction in the same layout; for the moment functions then the `m`
    rows of ``V`` and, for MOMENT with ``order > 2``, ``alpha``.

    Where P has one column more than X, rows are (x, 1): the last column is added to projections, and every
    back-projected sum has one entry more, the sum of its coefficients.

    A network of several `outputs` has an output weight and an intercept for each, and as many linear rows or none;
    responses are (n, outputs).  Moment functions take one output.

    A convolutional network has one filter and counts its patches as units: `group` rows of X make one sample,
    ``k = group`` and one row of P stands for all of them; responses and weights are per sample.

    Attributes
    ----------
    loss : int
        Code of a loss of ``losses.py``: a function of outputs and responses, summed over outputs, or the cross entropy
        of y in [0, 1] against ``H = mean_j sigma(w_j . x)``, log-sum form.
    delta : float
        Residual from which a Huber loss is linear.
    outputs : int
    group : int
        Rows of X that make one sample.
    op : Op
        LOSS: loss of each set and, with `grad`, its gradient.
        CURVATURE: Gauss-Newton (`newton` false) or Hessian product with a direction.
        GRAM: of each set the Gram matrix of ``[J, r]``, J the Jacobian by units, output weights, linear rows and
        intercepts, of the parameters marked free (only its upper triangle is filled).
        PREDICT: f, written row by row; with `grad`, of one set, the derivative of f in a direction.
        MOMENT: ``sum c x z^T`` with ``c = r' (1, t, t^2 - |alpha|^2)`` for order 2, 3, 4, where
        ``r' = w (y - f)`` (or w with `unit_response`) and ``t = alpha . x``.
        PAIRS: ``sum r' x z_a z_b`` for a <= b.
        LANDSCAPE: with u = Vx, t = |u|^2 and ``q = pair t^2 / 2 - single / 24 sum_j u_j^4``: the sum of r' q, and
        ``sum r' x (dq/du_j)`` and ``sum r' x u_j``.
        THIRD: ``sum r' z_a z_b z_c`` for a <= b <= c (lexicographic), and ``sum r' z``; of X itself where m = 0.
        HERMITE: ``sum r' h_m(z)``; HERMITE_GRAM: Gram matrix of ``[h(z), y - f]`` (upper triangle).
    v : ndarray (reps, outputs * k)
    c : ndarray (reps, outputs)
    dv : ndarray (outputs * k,)
        Direction in v (CURVATURE, PREDICT).
    dc : ndarray (outputs,)
        Direction in c (CURVATURE, PREDICT).
    linear : int
        Linear rows of a set: 0, or as many as outputs.
    factors : ndarray of int32 (n_features, 4)
        Feature = product of normalised Hermite rows ``a (order + 1) + p``, meaning ``He_p(z_a)/sqrt(p!)``;
        -1 fills unused places.
    """

    op: Op
    activation: Activation = field(default_factory=lambda: get_activation("relu"))
    loss: int = SQUARED.code
    group: int = 1
    reps: int = 1
    k: int = 0
    linear: int = 0
    v: np.ndarray = field(default_factory=lambda: _EMPTY_2D)
    c: np.ndarray = field(default_factory=lambda: np.zeros(1))
    grad: bool = False
    newton: bool = False
    dv: np.ndarray = field(default_factory=lambda: _EMPTY)
    dc: np.ndarray = field(default_factory=lambda: np.zeros(1))
    free_w: bool = True
    free_v: bool = False
    free_c: bool = False
    m: int = 0
    order: int = 2
    unit_response: bool = False
    alpha2: float = 1.0
    pair: float = 1.0
    single: float = 0.0
    factors: np.ndarray = field(default_factory=lambda: _NO_FACTORS)
    outputs: int = 1
    delta: float = 1.0

    def __getstate__(self) -> dict[str, object]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # the user's address is this process's

    @property
    def set_columns(self) -> int:
        """Columns of P that one parameter set takes."""
        return self.k // self.group + self.linear

    @property
    def columns(self) -> int:
        """Columns of P in all."""
        sets = self.reps * self.set_columns
        if self.op == Op.CURVATURE or (self.op == Op.PREDICT and self.grad):
            return 2 * sets
        if self.op == Op.MOMENT:
            return sets + self.m + (self.order > 2)
        return sets + self.m

    @property
    def set_sums(self) -> int:
        """Scalar sums of one set: its loss, and the gradient by output weights and intercepts."""
        return 1 + self.outputs * (self.k + 1)

    def gram_size(self, d: int) -> int:
        """Rows of the Gram matrix of one set, for d features."""
        return (
            self.free_w * (self.k // self.group) * d
            + self.outputs * (self.free_v * self.k + self.free_c)
            + self.linear * d
            + 1
        )

    def shapes(self, d: int) -> tuple[int, int, int]:
        """Rows and columns of the back-projected sum and the number of scalar sums, for d features."""
        m, f = self.m, self.n_features
        if self.op == Op.LOSS:
            return (self.reps * self.set_columns if self.grad else 0), d, 1 + self.reps * self.set_sums
        if self.op == Op.CURVATURE:
            return self.set_columns, d, self.set_sums
        if self.op == Op.GRAM:
            size = self.gram_size(d)
            return self.reps * size, size, 1 + self.reps
        if self.op == Op.PREDICT:
            return 0, d, 0
        if self.op == Op.MOMENT:
            return m + 2, d, 5
        if self.op == Op.PAIRS:
            return m * (m + 1) // 2 + 1, d, 3
        if self.op == Op.THIRD:
            side = m or d
            return 1, side * (side + 1) * (side + 2) // 6, 3 + side
        if self.op == Op.HERMITE:
            return 0, d, 3 + f
        if self.op == Op.LANDSCAPE:
            return 2 * m, d, 4
        return f + 1, f + 1, 3

    @property
    def n_features(self) -> int:
        """Products of Hermite polynomials."""
        return len(self.factors)

    @property
    def user(self) -> int:
        """Address of the compiled user activation, 0 for the built-in ones."""
        if self.activation.code != USER_CODE:
            return 0
        from .user import address

        return address(self.activation)

    def values(self) -> list[Any]:
        """The fields of the record, arrays themselves in the place of where they begin."""
        values = list(_values(self))
        for i, dtype in _ARRAYS.items():
            values[i] = np.ascontiguousarray(values[i], dtype)
        return values

    @cached_property
    def record(self) -> bytes:
        """One :data:`RECORD` and its arrays; these begin so many bytes after it begins, empty ones nowhere (0)."""
        values, at = self.values(), RECORD.itemsize
        arrays = [values[i] for i in _ARRAYS]
        for i, array in zip(_ARRAYS, arrays, strict=True):
            values[i] = at if array.size else 0
            at += array.nbytes
        return b"".join([_pack(*values), *(array.tobytes() for array in arrays)])


class Extent(NamedTuple):
    """Sizes of a sweep: of P and the sums (see :meth:`RowFunction.shapes`), and rows of a tile and of a block."""

    columns: int
    shapes: tuple[int, int, int]
    blocks: tuple[int, int]


_shape = attrgetter(
    *("op", "group", "reps", "k", "linear", "grad", "free_w", "free_v", "free_c", "m", "order", "outputs", "n_features")
)
#: Samples of no block are more, so that rows that are cut at its multiples are cut at edges of blocks.
LARGEST_BLOCK = 4096

_extents: dict[tuple, Extent] = {}


def extent(op: RowFunction, d: int, itemsize: int) -> Extent:
    """What a sweep needs room for; remembered, since a solver sweeps functions of one shape again and again."""
    key = (_shape(op), d, itemsize)
    found = _extents.get(key)
    if found is None:
        if len(_extents) >= _MOST_EXTENTS:
            _extents.clear()
        found = _extents[key] = Extent(op.columns, op.shapes(d), layout(op, d, itemsize))
    return found


def layout(op: RowFunction, d: int, itemsize: int) -> tuple[int, int]:
    """Rows of a tile and of a block.

    They depend on the row function's shape, d and the item size alone, so block sums, and with them every
    result, are the same for any number of workers and any kind of source.  A block is about 1 MiB of X (the
    unit of work and of the merge tree); a tile is what stays in a core's second-level cache with its
    coefficients.
    """
    g, left, _ = op.shapes(d)
    group = op.group
    bytes_per_row = max(d * itemsize, 1)
    rows = max(min((1 << 20) // bytes_per_row, LARGEST_BLOCK), 64)
    # Where the sums of a block are large, merging them costs as much as several rows.
    rows = max(rows, min(left // 8, 1024) if op.op == Op.THIRD else min(64 * g * left // bytes_per_row, LARGEST_BLOCK))
    rows = 1 << rows.bit_length() - 1
    # A power of two of samples, so that edges of larger blocks are edges of smaller ones.
    block = (1 << max(rows // group, 1).bit_length() - 1) * group
    if op.op in (Op.GRAM, Op.HERMITE_GRAM):
        # Of one set at a time; where its sums are far larger than a cache, a few rows would not pay for reading them.
        tile = max((512 << 10) // (8 * (2 * left + d)), min(left // 8, 128))
    elif op.op == Op.THIRD:
        tile = min(512 // itemsize, (768 << 10) // bytes_per_row)
    else:
        # Many coefficients: more rows, since the sums are read and written once a tile; few: what the first-level cache
        # holds, but in single precision, whose sums are made double then, no more.  Two tiles fit in the second level.
        both = op.columns + g
        more = 0 if itemsize == 4 else max(min(3 * both, 48), (24 << 10) // bytes_per_row)
        tile = max(min(max(2 * both, 32, more), 96, (384 << 10) // bytes_per_row), 16)
        return max(min(tile // 4 * 4, block) // group, 1) * group, block
    # A power of two, so that tiles divide a block.
    tile = min(1 << max(min(tile, 128), 8).bit_length() - 1, block)
    return max(tile // group, 1) * group, block
