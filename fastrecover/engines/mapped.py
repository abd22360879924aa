"""Rows in other coordinates, without touching them: a linear map of rows is the transposed map of whatever meets them.

Projections of z = Tx on the rows of P are those of x on the rows of PT, and sums of z over rows are T times sums of x.
So a fit works in units of its own, in which nothing depends on those of the data, at the cost of two small products a
sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .._lazy import cached_property
from ..kernels import Op, RowFunction
from ..linalg import mirrored, times
from ..sources import Block
from .base import Elementwise, Engine, Meter, Weights


@dataclass(frozen=True, eq=False)
class MappedEngine:
    """Rows ``z = T (x - centre)`` of another engine, or (z, 1).

    Attributes
    ----------
    inner : Engine
        On the rows x, without a column of ones.
    matrix : ndarray (r, d), or (d,) for a diagonal one
        T, of full row rank.
    root : ndarray (d, r), or (d,)
        A right inverse of T.
    centre : ndarray (d,) or None
    has_ones : bool
        Whether a column of ones belongs to the rows.
    """

    inner: Engine
    matrix: np.ndarray
    root: np.ndarray
    centre: np.ndarray | None = None
    has_ones: bool = False

    def with_ones(self, wanted: bool = True) -> MappedEngine:
        """Engine on the same rows with the column of ones, or without it."""
        return self if wanted == self.has_ones else replace(self, has_ones=wanted)

    @property
    def is_shared(self) -> bool:
        """Whether other processes must ask for the same at the same time."""
        return self.inner.is_shared

    @property
    def meter(self) -> Meter:
        """Counter of rows, that of the engine beneath."""
        return self.inner.meter

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features, the column of ones counted."""
        return self.inner.shape[0], len(self.matrix) + self.has_ones

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows beneath."""
        return self.inner.dtype

    @property
    def _beneath(self) -> Engine:
        """The rows x, with a column of ones where one is needed to make z of them."""
        return self.inner.with_ones(self.has_ones or self.centre is not None)

    def _down(self, p: np.ndarray) -> np.ndarray:
        """Directions of z as those of the rows beneath."""
        r = len(self.matrix)
        q = times(p[:, :r], self.matrix)
        if not (self.has_ones or self.centre is not None):
            return q
        last = p[:, r] if self.has_ones else np.zeros(len(p))
        return np.concatenate([q, (last if self.centre is None else last - q @ self.centre)[:, None]], axis=1)

    def _up(self, a: np.ndarray) -> np.ndarray:
        """Sums over rows beneath as those over z, (..., d) -> (..., r)."""
        d = self.inner.shape[1]
        z = times(a[..., :d], self.matrix.T)
        if self.centre is not None:
            z = z - a[..., d:] * self._shift
        return np.concatenate([z, a[..., d:]], axis=-1) if self.has_ones else z

    @cached_property
    def _shift(self) -> np.ndarray:
        return times(np.asarray(self.centre), self.matrix.T)

    def run(self, p: np.ndarray, op: RowFunction) -> tuple[np.ndarray, np.ndarray]:
        """Sums of `op` over all rows."""
        d = self.shape[1]
        if op.op == Op.THIRD and op.m == 0:  # of the rows themselves: of their projections on T
            p, op = np.concatenate([p, np.eye(d)]), replace(op, m=d)
        a, s = self._beneath.run(self._down(p), op)
        if op.op == Op.GRAM:
            found = self._grams(a.reshape(op.reps, -1, a.shape[1]), op)
            return found.reshape(-1, found.shape[2]), s
        if op.op in (Op.THIRD, Op.HERMITE_GRAM) or not a.size:
            return (a if a.size else np.zeros((len(a), d))), s
        return self._up(a), s

    def _grams(self, a: np.ndarray, op: RowFunction) -> np.ndarray:
        """Gram matrices (reps, size, size) of the Jacobian by parameters of z, from those by parameters of x."""
        d = self._beneath.shape[1]
        ends = np.cumsum([op.free_w * (op.k // op.group) * d, op.free_v * op.outputs * op.k, op.linear * d])

        def mapped(columns: np.ndarray) -> np.ndarray:
            units, v, linear, rest = np.split(columns, ends, axis=2)
            units, linear = (self._up(part.reshape(*part.shape[:2], -1, d)) for part in (units, linear))
            parts = (units.reshape(*v.shape[:2], -1), v, linear.reshape(*v.shape[:2], -1), rest)
            return np.concatenate(parts, axis=2)

        return mapped(mapped(mirrored(a)).transpose(0, 2, 1))

    def output(self, p: np.ndarray, op: RowFunction) -> np.ndarray:
        """What a PREDICT writes for every sample, (n, op.reps * op.outputs)."""
        return self._beneath.output(self._down(p), op)

    def rows(self, start: int, stop: int) -> Block:
        """Rows, responses and weights of samples ``start .. stop - 1``, few enough to come to the caller."""
        x, y, w = self.inner.rows(start, stop)
        z = np.asarray(x, np.float64)
        z = times(z if self.centre is None else z - self.centre, self.matrix.T)
        return Block(np.concatenate([z, np.ones((len(z), 1))], axis=1) if self.has_ones else z, y, w)

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        return self.inner.targets()

    def average(self, function: Elementwise | None = None) -> float:
        """Weighted mean over the responses y of ``function(y)``, or of y."""
        return self.inner.average(function)

    def mean_response(self) -> np.ndarray | float:
        """Weighted mean of the responses, one number for each output."""
        return self.inner.mean_response()

    def response_variance(self) -> float:
        """Weighted variance of the responses."""
        return self.inner.response_variance()

    def digests(self) -> tuple[str, str | None]:
        """Digests of all responses, and of all weights where there are any."""
        return self.inner.digests()

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

    def with_targets(self, y: np.ndarray) -> MappedEngine:
        """Engine on the same rows with responses y, (n,) or (n, n_outputs)."""
        return self._on(self.inner.with_targets(y))

    def with_weights(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> MappedEngine:
        """Engine on the same rows with weights ``function(y, w)``."""
        return self._on(self.inner.with_weights(function))

    def residual(self, p: np.ndarray, op: RowFunction) -> MappedEngine:
        """Engine on the same rows with responses ``y - f``, f the output of a PREDICT."""
        return self._on(self._beneath.residual(self._down(p), op).with_ones(False))

    def projected(self, v: np.ndarray) -> Engine:
        """Engine whose rows are Vz, with the same responses and weights."""
        return self._beneath.projected(self._down(v))

    def whitened(self, shift: np.ndarray, inverse: np.ndarray, *, copy: bool) -> Engine:
        """Engine on rows ``inverse (z - shift)``, held as a copy or made again as often as they are swept."""
        rowwise = inverse.ndim == 1 and self.matrix.ndim == 2
        both = inverse[:, None] * self.matrix if rowwise else times(inverse, self.matrix)
        centre = times(shift, self.root.T)
        return self.inner.whitened(centre if self.centre is None else self.centre + centre, both, copy=copy)

    def local(self, x: np.ndarray, y: np.ndarray) -> Engine:
        """Engine on rows at the caller, that were computed from some of these."""
        return self.inner.local(x, y)

    def _on(self, inner: Engine) -> MappedEngine:
        return self if inner is self.inner else replace(self, inner=inner)
