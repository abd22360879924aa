"""A penalty on the squares of weights, output weights and linear terms, in whatever coordinates a fit works in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Penalty:
    """``(rows sum_j w_j' M w_j + output_weights |v|^2 + linear sum_o b_o' M b_o) / 2``; biases and intercepts are free.

    Attributes
    ----------
    rows, output_weights, linear : float
        Coefficients.
    metric : ndarray (n_features, n_features), or (n_features,) for a diagonal, or None for the identity
        M: what the square of a weight of the data is in other coordinates.
    """

    rows: float
    output_weights: float
    linear: float
    metric: np.ndarray | None = None

    @classmethod
    def of(cls, alpha: float, total: float) -> Penalty | None:
        """``alpha / (2 n) (|W|^2 + |V|^2 + |B|^2)`` for rows of total weight n, the convention of scikit-learn's MLP.

        Parameters
        ----------
        alpha : float
        total : float

        Returns
        -------
        Penalty or None
            None for an alpha of zero.
        """
        c = alpha / total
        return cls(c, c, c) if alpha else None

    def standardised(self, sizes: np.ndarray, scale: float) -> Penalty:
        """The same of weights, output weights and linear terms in standard units of the data.

        It is what the penalty would be for columns divided by their standard deviations and responses by theirs.

        Parameters
        ----------
        sizes : ndarray (n_features,)
            Standard deviations of the columns.
        scale : float
            That of the responses; 1 where outputs are not in their unit.

        Returns
        -------
        Penalty
        """
        return Penalty(self.rows * scale**2, self.output_weights, self.linear, sizes**2)

    def times(self, rows: np.ndarray) -> np.ndarray:
        """``M w`` for rows w, (..., n_features)."""
        if self.metric is None:
            return rows
        return rows * self.metric if self.metric.ndim == 1 else rows @ self.metric

    def block(self, n_features: int) -> np.ndarray:
        """M as a matrix."""
        if self.metric is None:
            return np.eye(n_features)
        return np.diag(self.metric) if self.metric.ndim == 1 else self.metric

    def least(self) -> float:
        """The least curvature that it adds to a weight of a row or of an output."""
        m = self.metric
        of_rows = 1.0 if m is None else float(m.min() if m.ndim == 1 else np.linalg.eigvalsh(m)[0])
        return min(self.rows * max(of_rows, 0.0), self.output_weights)
