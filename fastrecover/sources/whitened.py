"""Rows in other coordinates, changed block by block as they are read, so that no second copy of them exists."""

from __future__ import annotations

import numpy as np

from ..linalg import times
from .array import ArraySource
from .base import Block, Source

_NUMBERS, _FEWEST_ROWS, _MOST_ROWS = 1 << 17, 64, 4096  # changed at a time


class WhitenedSource:
    """Rows ``z = inverse (x - shift)`` of another source, in its data type, with its responses and weights.

    Parameters
    ----------
    source : Source
    shift : ndarray (d,)
    inverse : ndarray (r, d), or (d,) for a diagonal one
    """

    def __init__(self, source: Source, shift: np.ndarray, inverse: np.ndarray) -> None:
        self.source, self.shift, self.inverse = source, shift, inverse

    gives_views = False

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        return self.source.shape[0], len(self.inverse)

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows."""
        return self.source.dtype

    @property
    def group(self) -> int:
        """Rows of a sample."""
        return self.source.group

    def read(self, start: int, stop: int) -> Block:
        """Samples ``start .. stop - 1``, changed now.

        Products are always of as many rows, each in the place that its number gives it: BLAS rounds a row differently
        where it has other neighbours, and the bits of a row must not depend on who reads it.
        """
        x, y, w = self.source.read(start, stop)
        white = np.empty((len(x), len(self.inverse)), self.dtype)
        size = 1 << min(max(_NUMBERS // x.shape[1], _FEWEST_ROWS), _MOST_ROWS).bit_length() - 1
        chunk = np.zeros((size, x.shape[1]))
        for i in range(-(start * self.group % size), len(x), size):
            rows = slice(max(i, 0), min(i + size, len(x)))
            places = slice(rows.start - i, rows.stop - i)
            np.subtract(x[rows], self.shift, out=chunk[places])
            white[rows] = times(chunk, self.inverse.T)[places]
        return Block(white, y, w)

    def copied(self) -> ArraySource:
        """All rows in memory."""
        x, y, w = self.read(0, self.shape[0])
        return ArraySource(x.reshape(self.shape[0], self.shape[1] * self.group), y, w, self.group)

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples."""
        return self.source.targets()

    def changed(self, *, y: np.ndarray | None = None, w: np.ndarray | None = None) -> WhitenedSource:
        """The same rows with other responses or weights, where given."""
        return self._of(self.source.changed(y=y, w=w))

    def grouped(self, count: int) -> WhitenedSource:
        """As the source of the rows cuts them."""
        return self._of(self.source.grouped(count))

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> WhitenedSource:
        """As the source of the rows draws them."""
        return self._of(self.source.sample(m, seed, spaced=spaced))

    def part(self, i: int, count: int) -> WhitenedSource:
        """Part i of `count` nearly equal consecutive parts."""
        return self._of(self.source.part(i, count))

    def taken(self, which: slice | np.ndarray) -> WhitenedSource:
        """Samples of a slice, or of a list of rising numbers."""
        return self._of(self.source.taken(which))

    def patches(self) -> WhitenedSource:
        """Every row of a sample as a sample of its own."""
        return self._of(self.source.patches())

    def _of(self, source: Source) -> WhitenedSource:
        return self if source is self.source else WhitenedSource(source, self.shift, self.inverse)
