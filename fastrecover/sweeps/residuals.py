"""Residuals of a network under squared loss as SciPy's solvers take them, with their Jacobian as a linear operator.

They are scaled so that half the sum of their squares is the objective's value, penalty included (but for the constant
of output weights that are fixed): gradient and Gauss-Newton matrix are then ``J' r`` and ``J' J``.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse.linalg import LinearOperator  # which takes long to import: as this module, only when it is asked for

from .jacobian import directional, jacobians, pulled_back
from .objective import Objective


def residuals(objective: Objective, theta: np.ndarray) -> np.ndarray:
    """``sqrt(w_i / sum w) (f_o(x_i) - y_io)`` of all samples and outputs, and after them those of a penalty.

    Parameters
    ----------
    objective : Objective
    theta : ndarray (n_parameters,)

    Returns
    -------
    ndarray (n * n_outputs,), or (n * n_outputs + n_parameters,) with a penalty

    Raises
    ------
    ValueError
        Of a loss that is not the squared one.
    """
    check_least_squares(objective)
    y = objective.engine.targets()[0]
    f = objective.predict(theta)
    left = (_roots(objective) * (f if y is None else f - y).reshape(objective.n_rows, -1)).ravel()
    penalty = _penalty_roots(objective)
    return left if penalty is None else np.concatenate([left, penalty * theta])


def check_least_squares(objective: Objective) -> None:
    """Raise ValueError unless the loss is half the square of a residual."""
    loss = objective.model.loss
    if not loss.least_squares:
        raise ValueError(
            f"residuals are for the squared loss, and this model has the {loss.name} loss: minimise value_and_grad, "
            "with hessp for products with the Hessian"
        )


class ResidualJacobian(LinearOperator):
    """Jacobian of :func:`residuals` at one point, (rows, n_parameters).

    A product with a vector, on either side, is one pass over the rows; nothing of the matrix is held.

    Parameters
    ----------
    objective : Objective
        Of squared loss.
    theta : ndarray (n_parameters,)

    Raises
    ------
    ValueError
        Of a loss that is not the squared one.
    """

    def __init__(self, objective: Objective, theta: np.ndarray) -> None:
        check_least_squares(objective)
        self._objective, self._theta = objective, np.array(theta, np.float64)
        self._more = _penalty_roots(objective)
        self._root, self._total = _roots(objective), objective.engine.weights().total
        self._n = objective.n_rows * objective.model.n_outputs
        p = objective.n_parameters
        super().__init__(np.dtype(np.float64), (self._n + (0 if self._more is None else p), p))

    def _matvec(self, v: np.ndarray) -> np.ndarray:
        v = np.ravel(v)
        product = (self._root * directional(self._objective, self._theta, v)).ravel()
        return product if self._more is None else np.concatenate([product, self._more * v])

    def _rmatvec(self, u: np.ndarray) -> np.ndarray:
        u = np.ravel(u)
        rows = u[: self._n].reshape(self._objective.n_rows, -1)
        product = pulled_back(self._objective, self._theta, rows / (self._root * self._total))
        return product if self._more is None else product + self._more * u[self._n :]

    def toarray(self) -> np.ndarray:
        """The matrix itself, (rows, n_parameters), in one pass."""
        found = np.empty(self.shape)
        m = self._objective.model.n_outputs
        root = np.broadcast_to(self._root, (self._objective.n_rows, 1))
        for rows, jacobian, _, _ in jacobians(self._objective, self._theta):
            block = root[rows, :, None] * jacobian
            found[rows.start * m : rows.stop * m] = block.reshape(-1, self.shape[1])
        if self._more is not None:
            found[self._n :] = np.diag(self._more)
        return found


def _roots(objective: Objective) -> np.ndarray | float:
    """``sqrt(w_i / sum w)`` of every sample, (n, 1), or one number where all weigh the same."""
    w, total = objective.engine.targets()[1], objective.engine.weights().total
    return 1.0 / math.sqrt(total) if w is None else np.sqrt(w / total)[:, None]


def _penalty_roots(objective: Objective) -> np.ndarray | None:
    """Roots of the penalty's second derivatives, which in the units of the caller are a diagonal; None for none."""
    ones = np.ones((1, objective.n_parameters))
    slopes = objective._penalties(ones, None)[1]
    return None if slopes is None else np.sqrt(slopes[0])
