"""Loss, gradient and curvature of a model on a source, as functions of one flat vector.

Each method is one sweep: every row is read once.  The methods fit ``scipy.optimize.minimize``
(``fun=objective.value_and_grad, jac=True, hessp=objective.hessp``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..engines import Engine
from ..kernels import Op, RowFunction
from ..linalg import least_squares, mirrored
from ..models import Network, Parameters

#: Norm of a unit of a classification beyond which its sigmoid is a step for inputs of unit variance.
_INFINITE = 100.0


class Objective:
    """Weighted mean of ``0.5 (f(x) - y)^2``, or of the cross entropy of y against f, over a source's samples.

    Parameters
    ----------
    engine : Engine
        Runs the sweeps and counts the rows.
    model : Network
        With known or free output weights (unknown signs have no flat vector yet).

    Attributes
    ----------
    n_parameters, n_features, n_rows : int
        Length of theta, inputs of one unit (features, or those of one patch), samples.
    """

    divergence_message = (
        "the weights run off to infinity: the data are separable, or too few rows for this many parameters"
    )

    def __init__(self, engine: Engine, model: Network) -> None:
        if model.known_v is None and not model.free_v:
            raise ValueError("output_weights='signs' leaves v unknown: give the signs as an array, or use 'free'")
        self.engine, self.model = engine, model
        self.n_rows, self.n_features = engine.shape
        self.n_parameters = model.n_parameters(self.n_features)

    @property
    def passes(self) -> float:
        """Full passes over the data so far."""
        return self.engine.meter.passes

    def on(self, engine: Engine) -> Objective:
        """The same objective on another engine's rows."""
        return self if engine is self.engine else Objective(engine, self.model)

    def with_model(self, model: Network) -> Objective:
        """Another model on the same rows."""
        return Objective(self.engine, model)

    @property
    def response_degree(self) -> int:
        """Power of the responses' unit that values are told in: a square's, or none."""
        return 2 if self.model.loss.least_squares else 0

    @property
    def kinked(self) -> bool:
        """Whether the empirical gradient jumps, where a row crosses a kink of the activation."""
        smoothness = self.model.activation.smoothness
        return smoothness is not None and smoothness <= 1

    def runs_off(self, theta: np.ndarray) -> bool:
        """Whether a classification has no finite optimum in sight."""
        return self.model.loss.separable and self._longest(theta) > _INFINITE

    def pulled_back(self, theta: np.ndarray) -> np.ndarray:
        """A point that has run off, at the border."""
        return theta * (_INFINITE / self._longest(theta))

    def projected(self, theta: np.ndarray) -> np.ndarray:
        """Weights are not constrained."""
        return theta

    def _longest(self, theta: np.ndarray) -> float:
        return float(np.linalg.norm(self.unpack(theta).weights, axis=1).max())

    def noise(self, loss: float) -> float:
        """Scale of the noise: residual standard deviation, or 1 where the loss is a log likelihood."""
        return self.model.loss.noise(loss)

    def unpack(self, theta: np.ndarray) -> Parameters:
        """Parameters in a flat vector."""
        return self.model.unpack(theta, self.n_features)

    def op(self, kind: Op, *sets: Parameters, **fields: Any) -> tuple[np.ndarray, RowFunction]:
        """P and row function with the given parameter sets side by side."""
        p = [a for s in sets for a in (s.weights, *([s.linear[None]] if s.linear is not None else []))]
        v = np.array([s.output_weights for s in sets], np.float64)
        return np.concatenate(p), self._row_function(kind, v, np.array([s.intercept for s in sets]), **fields)

    def _many(
        self, kind: Op, thetas: np.ndarray, v: np.ndarray | None, **fields: Any
    ) -> tuple[np.ndarray, RowFunction]:
        """:meth:`op` of flat vectors (m, n_parameters), with output weights (m, n_hidden) of their own if given."""
        thetas = np.asarray(thetas, np.float64)
        if thetas.ndim != 2 or thetas.shape[1] != self.n_parameters:
            raise ValueError(f"theta must have shape ({self.n_parameters},), got {thetas.shape[1:]}")
        rows, own, c = self.model.unpack_many(thetas, self.n_features)
        op = self._row_function(kind, np.array(own if v is None else v, np.float64), c, **fields)
        return rows.reshape(-1, self.n_features), op

    def _row_function(self, kind: Op, v: np.ndarray, c: np.ndarray, **fields: Any) -> RowFunction:
        patches = self.model.n_patches
        return RowFunction(
            kind,
            self.model.activation,
            loss=self.model.loss.code,
            group=patches,
            reps=len(v),
            k=self.model.n_hidden * patches,
            linear=int(self.model.linear_term),
            v=v if patches == 1 else np.repeat(v, patches, axis=1),
            c=np.array(c, np.float64),
            **fields,
        )

    def value(self, theta: np.ndarray) -> float:
        """Loss at theta, (n_parameters,)."""
        return float(self.values(np.asarray(theta)[None])[0])

    def values(self, thetas: np.ndarray) -> np.ndarray:
        """Losses at several points in one pass.

        Parameters
        ----------
        thetas : ndarray (m, n_parameters)

        Returns
        -------
        ndarray (m,)
        """
        p, op = self._many(Op.LOSS, thetas, None)
        s = self.engine.run(p, op)[1]
        return s[1 :: op.k + 2] / s[0]

    def value_and_grad(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient at theta.

        Returns
        -------
        value : float
        grad : ndarray (n_parameters,)
        """
        values, grads = self.values_and_grads(np.asarray(theta)[None])
        return float(values[0]), grads[0]

    def values_and_grads(
        self, thetas: np.ndarray, output_weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Losses (m,) and gradients (m, n_parameters) at several points in one pass.

        Parameters
        ----------
        thetas : ndarray (m, n_parameters)
        output_weights : ndarray (m, n_hidden), optional
            Fixed output weights of each point, in place of the model's.
        """
        p, op = self._many(Op.LOSS, thetas, output_weights, grad=True)
        a, s = self.engine.run(p, op)
        sums = s[1:].reshape(len(thetas), op.k + 2) / s[0]
        blocks = a.reshape(len(thetas), op.set_columns, -1) / s[0]
        return sums[:, 0], self.model.pack_many(blocks, sums[:, 1:-1], sums[:, -1])

    def hessp(self, theta: np.ndarray, v: np.ndarray, *, gauss_newton: bool = False) -> np.ndarray:
        """Product of the Hessian (or the Gauss-Newton matrix, for cross entropy the Fisher information) with v.

        Kinks contribute nothing (phi'' is taken almost everywhere).

        Returns
        -------
        ndarray (n_parameters,)

        Raises
        ------
        ValueError
            Full Hessian of a user activation that came without a second derivative.
        """
        if not gauss_newton and not self.model.activation.has_second_derivative:
            raise ValueError(
                f"activation {self.model.activation.name!r} has no second derivative: use gauss_newton=True"
            )
        at, direction = self.unpack(theta), self._direction(v)
        p, op = self.op(
            Op.CURVATURE,
            at,
            newton=not gauss_newton,
            dv=np.repeat(direction.output_weights, self.model.n_patches),
            dc=direction.intercept,
        )
        linear = [] if direction.linear is None else [direction.linear[None]]
        a, s = self.engine.run(np.concatenate([p, direction.weights, *linear]), op)
        return self._flat(a, s[1:-1], s[-1]) / s[0]

    def gauss_newton(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Loss, gradient and dense Gauss-Newton (Fisher) matrix in one pass, O(n n_parameters^2).

        Returns
        -------
        value : float
        grad : ndarray (n_parameters,)
        matrix : ndarray (n_parameters, n_parameters)
        """
        p, op = self.op(Op.GRAM, self.unpack(theta), free_v=self.model.free_v, free_c=self.model.fit_intercept)
        a, s = self.engine.run(p, op)
        matrix = mirrored(a[:-1, :-1])
        matrix /= s[0]
        return float(s[1] / s[0]), a[:-1, -1] / s[0], matrix

    def output_regression(self, parameters: Parameters, ridge: float = 0.0) -> tuple[Parameters, float, np.ndarray]:
        """Best output weights, linear term and intercept for given rows W (variable projection), in one pass.

        Parameters
        ----------
        parameters : Parameters
            Only ``weights`` are used.
        ridge : float
            Added to the diagonal of the features' Gram matrix, relative to its mean.

        Returns
        -------
        parameters : Parameters
        loss : float
        gram : ndarray
            Gram matrix of ``[phi(Wx), b, 1, y]``, from which subsets of units can be judged.
        """
        k, d, model = len(parameters.weights), self.n_features, self.model
        zero = Parameters(parameters.weights, np.zeros(k), np.zeros(d) if model.linear_term else None)
        p, op = self.op(Op.GRAM, zero, free_w=False, free_v=True, free_c=model.fit_intercept)
        a, s = self.engine.run(p, replace(op, k=k))
        gram = mirrored(a) / s[0]
        gram[-1, :-1] *= -1.0
        gram[:-1, -1] *= -1.0
        return (*self.regressed(parameters.weights, gram, ridge), gram)

    def regressed(self, weights: np.ndarray, gram: np.ndarray, ridge: float = 0.0) -> tuple[Parameters, float]:
        """The parameters and the loss of :meth:`output_regression` from the Gram matrix of its features.

        Parameters
        ----------
        weights : ndarray (k, d)
        gram : ndarray
            Of ``[phi(Wx), b, 1, y]``.
        ridge : float
        """
        k, d, model = len(weights), self.n_features, self.model
        left = gram[:-1, :-1] + ridge * np.trace(gram[:-1, :-1]) / max(len(gram) - 1, 1) * np.eye(len(gram) - 1)
        x = least_squares(left, gram[:-1, -1], 1e-13)
        loss = 0.5 * max(gram[-1, -1] - 2 * x @ gram[:-1, -1] + x @ gram[:-1, :-1] @ x, 0.0)
        linear = x[k : k + d] if model.linear_term else None
        c = float(x[-1]) if model.fit_intercept else 0.0
        return Parameters(weights, x[:k], linear, c), float(loss)

    def predict(self, theta: np.ndarray) -> np.ndarray:
        """Output f on every row, (n,)."""
        return self.engine.output(*self.op(Op.PREDICT, self.unpack(theta)))[:, 0]

    def residual(self, theta: np.ndarray) -> Objective:
        """The same objective on rows whose responses are what the network at theta leaves of them, ``y - f``."""
        return self.on(self.engine.residual(*self.op(Op.PREDICT, self.unpack(theta))))

    def _direction(self, v: np.ndarray) -> Parameters:
        fixed = self.model.free_v
        d = self.model.unpack(v, self.n_features)
        return d if fixed else Parameters(d.weights, np.zeros(self.model.n_hidden), d.linear, d.intercept)

    def _flat(self, rows: np.ndarray, dv: np.ndarray, dc: float) -> np.ndarray:
        linear = rows[-1] if self.model.linear_term else None
        return self.model.pack(Parameters(rows[: self.model.n_hidden], dv, linear, float(dc)))
