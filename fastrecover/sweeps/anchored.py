"""An objective that remembers rows which are gone, by the quadratic that their losses were near a point."""

from __future__ import annotations

import numpy as np

from .._lazy import cached_property
from ..engines import Engine
from ..models import Network
from .objective import Objective


class Anchored(Objective):
    """The objective of some rows, and ``(theta - anchor)' M (theta - anchor) / 2`` for those before them.

    Parameters
    ----------
    engine : Engine
    model : Network
    anchor : ndarray (n_parameters,)
    matrix : ndarray (n_parameters, n_parameters), or (n_parameters,) for a diagonal
        M, relative to the weight of the rows at hand.
    """

    def __init__(self, engine: Engine, model: Network, anchor: np.ndarray, matrix: np.ndarray) -> None:
        super().__init__(engine, model)
        self.anchor, self.matrix = anchor, matrix

    def _times(self, steps: np.ndarray) -> np.ndarray:
        return steps * self.matrix if self.matrix.ndim == 1 else steps @ self.matrix

    def _penalties(self, thetas: np.ndarray, v: np.ndarray | None) -> tuple[np.ndarray | float, np.ndarray | None]:
        values, grads = super()._penalties(thetas, v)
        steps = thetas - self.anchor
        slopes = self._times(steps)
        return values + 0.5 * (steps * slopes).sum(axis=1), slopes if grads is None else grads + slopes

    def hessp(self, theta: np.ndarray, v: np.ndarray, *, gauss_newton: bool = False) -> np.ndarray:
        """As that of an objective; M is part of the matrix."""
        # The penalties' gradient at v, which stands for their product with it, is that of a step from the anchor.
        return super().hessp(theta, v, gauss_newton=gauss_newton) + self._times(self.anchor)

    @cached_property
    def penalty_matrix(self) -> np.ndarray:
        """Second derivatives of the penalty and of what is remembered."""
        own = super().penalty_matrix
        return own + (np.diag(self.matrix) if self.matrix.ndim == 1 else self.matrix)
