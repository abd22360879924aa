"""Rows in other coordinates, without touching them: a linear map of rows is the transposed map of whatever meets them.

Projections of z = Tx on the rows of P are those of x on the rows of PT, and sums of z over rows are T times sums of x.
So a fit works in units of its own, in which nothing depends on those of the data, at the cost of two small products a
sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..kernels import Op, RowFunction
from ..linalg import mirrored, times
from ..sources import Block
from .base import Elementwise, Engine, Meter, Weights


@dataclass(frozen=True, eq=False)
class MappedEngine:
    """Rows ``z = Tx`` of another engine.

    Attributes
    ----------
    inner : Engine
        On the rows x.
    matrix : ndarray (r, d), or (d,) for a diagonal one
        T, of full row rank.
    root : ndarray (d, r), or (d,)
        A right inverse of T.
    """

    inner: Engine
    matrix: np.ndarray
    root: np.ndarray

    @property
    def meter(self) -> Meter:
        """Counter of rows, that of the engine beneath."""
        return self.inner.meter

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features."""
        return self.inner.shape[0], len(self.matrix)

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows beneath."""
        return self.inner.dtype

    def run(self, p: np.ndarray, op: RowFunction) -> tuple[np.ndarray, np.ndarray]:
        """Sums of `op` over all rows."""
        d = len(self.matrix)
        if op.op == Op.THIRD and op.m == 0:  # of the rows themselves: of their projections on T
            p, op = np.concatenate([p, np.eye(d)]), replace(op, m=d)
        a, s = self.inner.run(times(p, self.matrix), op)
        if op.op == Op.GRAM:
            return self._gram(a, op), s
        if op.op in (Op.THIRD, Op.HERMITE_GRAM) or not a.size:
            return (a if a.size else np.zeros((len(a), d))), s
        return times(a, self.matrix.T), s

    def _gram(self, a: np.ndarray, op: RowFunction) -> np.ndarray:
        """Gram matrix of the Jacobian by parameters of z, from that by parameters of x."""
        d = self.inner.shape[1]
        units, v = op.free_w * (op.k // op.group), op.free_v * op.k

        def mapped(rows: np.ndarray) -> np.ndarray:
            parts = [rows[j * d : (j + 1) * d] for j in range(units)]
            rest = rows[units * d :]
            parts = [self._along(part) for part in parts] + [rest[:v]]
            if op.linear:
                parts.append(self._along(rest[v : v + d]))
            return np.concatenate([*parts, rest[v + op.linear * d :]])

        return mapped(mapped(mirrored(a)).T)

    def _along(self, rows: np.ndarray) -> np.ndarray:
        return rows * self.matrix[:, None] if self.matrix.ndim == 1 else self.matrix @ rows

    def output(self, p: np.ndarray, op: RowFunction) -> np.ndarray:
        """What a PREDICT writes for every sample, (n, op.reps)."""
        return self.inner.output(times(p, self.matrix), op)

    def rows(self, start: int, stop: int) -> Block:
        """Rows, responses and weights of samples ``start .. stop - 1``, few enough to come to the caller."""
        x, y, w = self.inner.rows(start, stop)
        return Block(times(np.asarray(x, np.float64), self.matrix.T), y, w)

    def average(self, function: Elementwise | None = None) -> float:
        """Weighted mean over the responses y of ``function(y)``, or of y."""
        return self.inner.average(function)

    def response_variance(self) -> float:
        """Weighted variance of the responses."""
        return self.inner.response_variance()

    def smallest_response(self) -> float:
        """Least response of all."""
        return self.inner.smallest_response()

    def weights(self) -> Weights:
        """Sums over the weights of samples."""
        return self.inner.weights()

    def patches(self) -> MappedEngine:
        """Engine whose samples are the patches of this one's, each with its sample's response."""
        return self._on(self.inner.patches())

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> MappedEngine:
        """Engine on `m` random rows; itself where there are not more."""
        return self._on(self.inner.sample(m, seed, spaced=spaced))

    def part(self, i: int, count: int) -> MappedEngine:
        """Engine on part i of `count` consecutive parts of the rows."""
        return self._on(self.inner.part(i, count))

    def with_responses(self, function: Elementwise) -> MappedEngine:
        """Engine on the same rows with responses ``function(y)``."""
        return self._on(self.inner.with_responses(function))

    def with_weights(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> MappedEngine:
        """Engine on the same rows with weights ``function(y, w)``."""
        return self._on(self.inner.with_weights(function))

    def residual(self, p: np.ndarray, op: RowFunction) -> MappedEngine:
        """Engine on the same rows with responses ``y - f``, f the output of a PREDICT."""
        return self._on(self.inner.residual(times(p, self.matrix), op))

    def projected(self, v: np.ndarray) -> Engine:
        """Engine whose rows are Vz, with the same responses and weights."""
        return self.inner.projected(times(v, self.matrix))

    def whitened(self, shift: np.ndarray, inverse: np.ndarray, *, copy: bool) -> Engine:
        """Engine on rows ``inverse (z - shift)``, held as a copy or made again as often as they are swept."""
        rowwise = inverse.ndim == 1 and self.matrix.ndim == 2
        both = inverse[:, None] * self.matrix if rowwise else times(inverse, self.matrix)
        return self.inner.whitened(times(shift, self.root.T), both, copy=copy)

    def local(self, x: np.ndarray, y: np.ndarray) -> Engine:
        """Engine on rows at the caller, that were computed from some of these."""
        return self.inner.local(x, y)

    def _on(self, inner: Engine) -> MappedEngine:
        return self if inner is self.inner else replace(self, inner=inner)
