"""Rows in memory or in a memory map.

The class is the whole contract between data and the engine: shape, dtype, the block of arrays to sweep, and a
random sub-sample as a new source.
"""

from __future__ import annotations

import numpy as np


class ArraySource:
    """Rows of an array with responses and weights.

    Parameters
    ----------
    x : ndarray (n, d), float32 or float64
        Unit column stride, any row stride.
    y : ndarray (n,) of float64 or None
    w : ndarray (n,) of float64 or None
        Sample weights, None for all ones.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray | None = None, w: np.ndarray | None = None) -> None:
        self.x, self.y, self.w = x, y, w

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.x.shape

    def sample(self, m: int, seed: np.random.SeedSequence) -> ArraySource:
        """`m` rows drawn without replacement, copied in their original order; all rows if m >= n.

        Parameters
        ----------
        m : int
        seed : SeedSequence

        Returns
        -------
        ArraySource
        """
        n = len(self.x)
        if m >= n:
            return self
        rows = np.random.Generator(np.random.PCG64(seed)).choice(n, m, replace=False)
        rows.sort()
        return ArraySource(self.x[rows], *(None if a is None else a[rows] for a in (self.y, self.w)))
