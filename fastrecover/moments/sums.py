"""Sums of powers of rows in coordinates of their own, and how they change with these.

Rows are taken as (u, 1), u = (x - origin) / scale, so that one symmetric tensor holds all sums up to its order, and
another origin, other units and whitened coordinates are one thing: a matrix that the tensor is contracted with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..engines import Engine
from ..linalg import roots, times
from ..sweeps import local_rows, power_sums
from ..tensors import contracted, last_slice, pack, unpack
from .white import WhiteMoments

#: Arrays that a file of sums holds.
ARRAYS = ("inputs", "responses", "origin", "scale")
_SEEN, _NUMBERS, _FEWEST = 4096, 1 << 20, 64  # rows whose mean and spread are looked at, and numbers of theirs


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates ``u = V (x - origin) / scale`` and ``t = y - level``.

    Attributes
    ----------
    origin : ndarray (d,)
        Near the mean of some rows: powers about a far point would lose the digits of the spread.
    scale : ndarray (m,)
        Powers of two near the standard deviations.
    level : float
        Near the mean of some responses.
    directions : ndarray (m, d) or None
        V, None for I.
    """

    origin: np.ndarray
    scale: np.ndarray
    level: float
    directions: np.ndarray | None = None

    @classmethod
    def of(cls, engine: Engine, directions: np.ndarray | None) -> Frame:
        """The frame of some rows, by a sample of them."""
        most = min(_SEEN, max(_NUMBERS // engine.shape[1], _FEWEST))
        x, y, _ = local_rows(engine.sample(most, np.random.SeedSequence(0)))
        origin = x.mean(axis=0)
        spread = along(x - origin, directions).std(axis=0)
        scale = np.ldexp(1.0, np.frexp(np.where(spread > 0, spread, 1.0))[1])
        return cls(origin, scale, float(y.mean()), directions)

    @property
    def centre(self) -> np.ndarray:
        """Where u = 0: V origin, (m,)."""
        return along(self.origin, self.directions)

    @property
    def key(self) -> tuple[float, ...]:
        """What two frames are compared by."""
        return self.level, *self.origin, *self.scale

    def engine(self, engine: Engine) -> Engine:
        """The rows and responses of an engine in these coordinates, made as they are swept."""
        inverse = 1.0 / self.scale
        matrix = inverse if self.directions is None else self.directions * inverse[:, None]
        return engine.with_responses(partial(_less, by=self.level)).whitened(self.origin, matrix, copy=False)

    def into(self, other: Frame) -> np.ndarray:
        """The matrix that makes (u, 1) of another frame of (u, 1) of this one."""
        return affine(self.scale / other.scale, along(self.origin - other.origin, self.directions) / other.scale)


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows in a frame.

    Attributes
    ----------
    frame : Frame
    order : int
    n_rows : int
    inputs, responses : ndarray (comb(m + order, order),)
        ``sum w z (x) .. (x) z`` and ``sum w t z (x) .. (x) z``, z = (u, 1), `order` times: distinct entries.
    square : float
        ``sum w t^2``.
    """

    frame: Frame
    order: int
    n_rows: int
    inputs: np.ndarray
    responses: np.ndarray
    square: float

    @classmethod
    def over(cls, engine: Engine, frame: Frame, order: int, unit: float) -> Sums:
        """Sums over all rows of an engine, whose weights are in some `unit`: two passes (order 2: see power_sums)."""
        rows = frame.engine(engine)
        inputs = power_sums(rows.with_responses(_ones), order) * unit
        responses = power_sums(rows, order) * unit
        return cls(frame, order, engine.shape[0], inputs, responses, rows.average(np.square) * float(inputs[-1]))

    @property
    def finite(self) -> bool:
        """Whether no sum has overflowed."""
        return all(bool(np.isfinite(part).all()) for part in (self.inputs, self.responses, self.square))

    def stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays of a file; directions are kept elsewhere."""
        header = {"order": self.order, "n_rows": self.n_rows, "level": self.frame.level, "square": self.square}
        arrays = (self.inputs, self.responses, self.frame.origin, self.frame.scale)
        return header, dict(zip(ARRAYS, arrays, strict=True))

    @classmethod
    def restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray], directions: np.ndarray | None) -> Sums:
        """Sums as :meth:`stored` has them.

        Raises
        ------
        Exception
            Of whatever kind: something is missing, of another type, not finite, or contradicts the rest.
        """
        order, n_rows, level, square = (header[name] for name in ("order", "n_rows", "level", "square"))
        inputs, responses, origin, scale = (arrays[name] for name in ARRAYS)
        m, size = len(scale), (math.comb(len(scale) + order, order),)
        d = m if directions is None else directions.shape[1]
        shapes = [array.shape for array in (inputs, responses, origin, scale)]
        if shapes != [size, size, (d,), (m,)] or m != (d if directions is None else len(directions)):
            raise ValueError("the shapes of its arrays contradict each other")
        if not all(a.dtype == np.float64 and np.isfinite(a).all() for a in (inputs, responses, origin, scale)):
            raise ValueError("its sums are not finite numbers")
        if not all(isinstance(number, float) and math.isfinite(number) for number in (level, square)):
            raise ValueError("level or square is no finite number")
        if isinstance(n_rows, bool) or not isinstance(n_rows, int) or n_rows < 1 or not inputs[-1] > 0:
            raise ValueError(f"n_rows is {n_rows!r}, and their weight {inputs[-1]}")
        if not (scale > 0).all():
            raise ValueError("its scales are not positive")
        return cls(Frame(origin, scale, level, directions), order, n_rows, inputs, responses, square)

    def into(self, frame: Frame) -> Sums:
        """Sums over the same rows in another frame."""
        if frame is self.frame or frame.key == self.frame.key:
            return self
        matrix, by = self.frame.into(frame), frame.level - self.frame.level
        inputs, responses = (pack(a) for a in self._powers_of(matrix))
        square = self.square - by * (2.0 * float(self.responses[-1]) - by * self.weight)
        return Sums(frame, self.order, self.n_rows, inputs, responses - by * inputs, square)

    def plus(self, other: Sums) -> Sums:
        """Sums over the rows of both, in the frame of the one of more weight."""
        frame = max(self, other, key=lambda sums: (sums.weight, sums.n_rows, sums.frame.key)).frame
        a, b = self.into(frame), other.into(frame)
        inputs, responses = a.inputs + b.inputs, a.responses + b.responses
        return Sums(frame, self.order, a.n_rows + b.n_rows, inputs, responses, a.square + b.square)

    def _powers_of(self, matrix: np.ndarray) -> Iterator[np.ndarray]:
        """Both sums of powers of A (u, 1), as whole tensors."""
        for packed in (self.inputs, self.responses):
            yield contracted(unpack(packed, len(matrix), self.order), matrix)

    @property
    def weight(self) -> float:
        """Sum of the weights of rows."""
        return float(self.inputs[-1])

    @cached_property
    def law(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (m,) and covariance (m, m) of u."""
        packed, side = self.inputs, len(self.frame.scale) + 1
        for order in range(self.order, 2, -1):
            packed = last_slice(packed, side, order)
        second = unpack(packed, side, 2) / self.weight
        mean = second[:-1, -1]
        return mean, second[:-1, :-1] - np.outer(mean, mean)

    @property
    def response_law(self) -> tuple[float, float]:
        """Mean and variance of y."""
        mean = float(self.responses[-1]) / self.weight
        return self.frame.level + mean, max(self.square / self.weight - mean**2, 0.0)

    @cached_property
    def inverse(self) -> np.ndarray:
        """The matrix of whitened coordinates of u, (m, m), zero in directions without variance."""
        return roots(self.law[1])[1]

    def white(self) -> WhiteMoments:
        """Moments in whitened coordinates."""
        matrix = affine(self.inverse, -times(self.law[0], self.inverse.T))
        inputs, responses = (a / self.weight for a in self._powers_of(matrix))
        responses -= responses[(-1,) * self.order] * inputs  # of y less its mean
        return WhiteMoments(inputs, responses, *self.response_law)


def affine(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """``[[A, b], [0, 1]]``, A a matrix or the diagonal of one."""
    m = len(shift)
    whole = np.eye(m + 1)
    whole[:m, :m], whole[:m, m] = np.diag(matrix) if matrix.ndim == 1 else matrix, shift
    return whole


def along(x: np.ndarray, directions: np.ndarray | None) -> np.ndarray:
    """Vx, for one x or rows of them."""
    return x if directions is None else x @ directions.T


# Named, since an engine may send them to where its rows are.
def _less(y: np.ndarray, by: float) -> np.ndarray:
    return y - by


def _ones(y: np.ndarray) -> np.ndarray:
    return np.ones(len(y))
