"""A fit that goes on batch by batch, each of which leaves its sums and is then forgotten.

What a batch says of the parameters is, near them, a quadratic: its Gauss-Newton (Fisher) matrix at the minimum that it
has led to.  These matrices add up; the next batch is fitted under their sum.  For a model that is linear in its
parameters this is least squares on all rows, whatever the batches; for a network it is so as far as its outputs are
linear between one minimum and the next (the extended Kalman filter; Opper 1998 for likelihoods).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .engines import Engine
from .inputs import Coordinates
from .models import Network, Parameters, Penalty
from .plan import Left
from .solvers import LBFGS, FactoredMatrix, Monitor, run
from .sweeps import Anchored, Objective

DENSE = 1000  # parameters up to which whole matrices are kept, of more their diagonals
_PROBES = 8  # products with random signs by which a diagonal is told
_STEPS = 50  # of one batch
_RIDGE = 1e-3  # of the curvature that steps begin with, which says nothing of what no row has shown yet
_NEAR = 0.1  # of the statistical error of a batch, at which its steps end


@dataclass(frozen=True, eq=False)
class Increments:
    """Where such a fit is.

    Attributes
    ----------
    units : Coordinates
        Of theta: those of the first rows.
    model : Network
        With definite output weights, in these units; its penalty is that of all rows together, of weight 1.
    theta : ndarray (n_parameters,)
    matrix : ndarray (n_parameters, n_parameters) or (n_parameters,)
        Sum of the matrices of all rows so far, or its diagonal.
    total : float
        Weight of these rows.
    loss : float
        Mean loss of the last rows where they have led to.
    """

    units: Coordinates
    model: Network
    theta: np.ndarray
    matrix: np.ndarray
    total: float
    loss: float

    @classmethod
    def of(cls, left: Left, engine: Engine) -> Increments:
        """What a fit leaves of its rows.

        Parameters
        ----------
        left : Left
            Where it has ended.
        engine : Engine
            On its rows, as they were given.
        """
        total, penalty = engine.weights().total * left.weight_unit, left.model.penalty
        model = left.model.changed(penalty=None if penalty is None else _times(penalty, total))
        theta = left.state.theta
        objective = Objective(left.coordinates.engine(engine), model.changed(penalty=None))
        return cls(left.coordinates, model, theta, total * _curvature(objective, theta), total, left.state.loss)

    def added(self, engine: Engine, weight_unit: float = 1.0) -> Increments:
        """The same with another batch: a few steps from where it is, and the matrix of the batch where these end.

        Parameters
        ----------
        engine : Engine
            On the rows of the batch, as they were given.
        weight_unit : float
            What their weights were divided by.
        """
        own, total, penalty = self.units.engine(engine), engine.weights().total * weight_unit, self.model.penalty
        model = self.model.changed(penalty=None if penalty is None else _times(penalty, 1.0 / total))
        objective = Anchored(own, model, self.theta, self.matrix / total)
        metric = None
        if self.matrix.ndim == 2:
            matrix = objective.gauss_newton(self.theta)[2]
            metric = FactoredMatrix.of(matrix, _RIDGE * float(np.trace(matrix)) / len(matrix))
        state = run(
            LBFGS(preconditioner=metric),
            objective,
            self.theta,
            monitor=Monitor(),
            stage="batch",
            tol=_NEAR,
            exact_loss=-np.inf,
            max_iterations=_STEPS,
        )
        rows = Objective(own, model.changed(penalty=None))
        matrix = self.matrix + total * _curvature(rows, state.theta)
        loss = rows.value(state.theta)
        return replace(self, theta=state.theta, matrix=matrix, total=self.total + total, loss=loss)

    def parameters(self, n_features: int) -> Parameters:
        """The network, for rows as they are given."""
        return self.units.back(self.model.unpack(self.theta, n_features), self.model)


def _times(penalty: Penalty, factor: float) -> Penalty:
    return replace(
        penalty,
        rows=penalty.rows * factor,
        output_weights=penalty.output_weights * factor,
        linear=penalty.linear * factor,
    )


def _curvature(objective: Objective, theta: np.ndarray) -> np.ndarray:
    """The Gauss-Newton matrix of rows, or its diagonal: the mean of ``z * G z`` over random signs z (Hutchinson)."""
    if len(theta) <= DENSE:
        return objective.gauss_newton(theta)[2]
    rng, found = np.random.default_rng(0), np.zeros(len(theta))
    for _ in range(_PROBES):
        z = rng.choice([-1.0, 1.0], len(theta))
        found += z * objective.hessp(theta, z, gauss_newton=True)
    return np.maximum(found / _PROBES, 0.0)
