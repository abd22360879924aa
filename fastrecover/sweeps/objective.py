"""Loss, gradient and curvature of a model on a source, as functions of one flat vector.

Each method is one sweep: every row is read once.  The methods fit ``scipy.optimize.minimize``
(``fun=objective.value_and_grad, jac=True, hessp=objective.hessp``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._lazy import cached_property
from ..engines import Engine
from ..kernels import Op, RowFunction
from ..linalg import least_squares, mirrored, pieces
from ..losses import SQUARED
from ..models import Network, Parameters

#: Norm of a unit of a classification beyond which its sigmoid is a step for inputs of unit variance.
_INFINITE = 100.0
# Where a row crosses a kink the empirical gradient jumps, and decreases of this fraction of ``loss p / n`` are those
# jumps; a penalty draws minima into kinks, and what is won there is real.
_RESOLUTION, _RESOLUTION_IN_KINKS = 1e-4, 1e-6
_BLUR, _BLUR_OF_NOISE = 5.0, 8.0
_UNITS = 8.0  # in the last place by which outputs of single precision rows are off


class Objective:
    """Weighted mean of the model's loss of y against f(x) over a source's samples, and the model's penalty.

    Parameters
    ----------
    engine : Engine
        Runs the sweeps and counts the rows; the column of ones that biases need is added here.
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
        self.engine, self.model = engine.with_ones(model.hidden_bias), model
        self.n_rows, self.n_features = engine.with_ones(False).shape
        self.n_parameters = model.n_parameters(self.n_features)

    @property
    def passes(self) -> float:
        """Full passes over the data so far."""
        return self.engine.meter.passes

    def on(self, engine: Engine) -> Objective:
        """The same objective on another engine's rows."""
        return self if engine.with_ones(self.model.hidden_bias) is self.engine else Objective(engine, self.model)

    def with_model(self, model: Network) -> Objective:
        """Another model on the same rows."""
        return Objective(self.engine, model)

    @property
    def response_degree(self) -> int:
        """Power of the responses' unit that values are told in: a square's, or none."""
        return 2 if self.model.loss.in_response_units else 0

    @property
    def kinked(self) -> bool:
        """Whether the empirical gradient jumps, where a row crosses a kink of the activation."""
        smoothness = self.model.activation.smoothness
        return smoothness is not None and smoothness <= 1

    @property
    def resolution(self) -> float:
        """Share of the statistical excess loss that jumps at kinks hide, far less where minima lie in kinks."""
        if not self.kinked:
            return 0.0
        return _RESOLUTION if self.model.penalty is None else _RESOLUTION_IN_KINKS

    def blur(self, theta: np.ndarray, loss: float) -> float:
        """Distance to the minimiser, in its statistical errors, within which those jumps hide the way to it.

        On a way of length delta the rows that cross a kink, each with a residual and d features, change the gradient
        at random by as much as sqrt(delta sigma sqrt(d / n)) in this unit, delta in units of a unit's size.
        """
        if not self.kinked:
            return 0.0
        if self.model.penalty is not None or not self.model.loss.in_response_units:
            return _BLUR / math.sqrt(self.n_rows)
        found = self.unpack(theta)
        square = float(found.sizes**2 @ np.einsum("ij,ij->i", found.weights, found.weights)) / len(found.weights)
        noise = self.noise(loss) * math.sqrt(self.n_features / max(square, 1e-300))
        return max(_BLUR, _BLUR_OF_NOISE * noise) / math.sqrt(self.n_rows)

    def rounding(self, loss: float) -> float:
        """Share of a loss by which rounding of single precision rows may change it; 0 for double precision.

        Each output is off by about a unit in its last place, at random, times the residual.
        """
        if self.engine.dtype != np.float32:
            return 0.0
        size = math.sqrt(self._response_variance / max(2.0 * loss, 1e-300)) if self.response_degree else 1.0
        return _UNITS * float(np.finfo(np.float32).eps) * size / math.sqrt(self.n_rows)

    @cached_property
    def _response_variance(self) -> float:
        return self.engine.response_variance()

    def runs_off(self, theta: np.ndarray) -> bool:
        """Whether a classification has no finite optimum in sight."""
        bounded = self.model.penalty is not None
        return self.model.loss.separable and not bounded and self._longest(theta) > _INFINITE

    def pulled_back(self, theta: np.ndarray) -> np.ndarray:
        """A point that has run off, at the border."""
        return theta * (_INFINITE / self._longest(theta))

    def projected(self, theta: np.ndarray) -> np.ndarray:
        """Weights are not constrained."""
        return theta

    def _longest(self, theta: np.ndarray) -> float:
        found = self.unpack(theta)
        longest = float(np.linalg.norm(found.weights, axis=1).max())
        return max(longest, float(found.sizes.max())) if self.model.loss.of_output else longest

    def noise(self, loss: float) -> float:
        """Scale of the noise: residual standard deviation, or 1 where the loss is a log likelihood."""
        return self.model.loss.noise(loss)

    def unpack(self, theta: np.ndarray) -> Parameters:
        """Parameters in a flat vector."""
        return self.model.unpack(theta, self.n_features)

    def op(self, kind: Op, theta: np.ndarray, **fields: Any) -> tuple[np.ndarray, RowFunction]:
        """P and row function of one flat vector."""
        return self._many(kind, np.asarray(theta, np.float64)[None], None, **fields)

    def _many(
        self, kind: Op, thetas: np.ndarray, v: np.ndarray | None, **fields: Any
    ) -> tuple[np.ndarray, RowFunction]:
        """P and row function of flat vectors (s, n_parameters), with output weights of their own if given.

        P holds the rows of all of them, with biases as the weights of the column of ones.
        """
        thetas = np.asarray(thetas, np.float64)
        if thetas.ndim != 2 or thetas.shape[1] != self.n_parameters:
            raise ValueError(f"theta must have shape ({self.n_parameters},), got {thetas.shape[1:]}")
        rows, own, c = self.model.unpack_many(thetas, self.n_features)
        op = self._row_function(kind, np.array(own if v is None else v, np.float64), c, **fields)
        return rows.reshape(-1, rows.shape[2]), op

    def _row_function(self, kind: Op, v: np.ndarray, c: np.ndarray, **fields: Any) -> RowFunction:
        model = self.model
        patches = model.n_patches
        return RowFunction(
            kind,
            model.activation,
            loss=model.loss.code,
            delta=model.loss.delta,
            outputs=model.n_outputs,
            group=patches,
            reps=len(v),
            k=model.n_hidden * patches,
            linear=model.n_outputs * model.linear_term,
            v=v if patches == 1 else np.repeat(v, patches, axis=1),
            c=np.array(c, np.float64),
            **fields,
        )

    def value(self, theta: np.ndarray) -> float:
        """Loss at theta, (n_parameters,)."""
        return float(self.values(np.asarray(theta)[None])[0])

    def values(self, thetas: np.ndarray, output_weights: np.ndarray | None = None) -> np.ndarray:
        """Losses at several points in one pass.

        Parameters
        ----------
        thetas : ndarray (m, n_parameters)
        output_weights : ndarray (m, n_hidden), optional
            Fixed output weights of each point, in place of the model's.

        Returns
        -------
        ndarray (m,)
        """
        p, op = self._many(Op.LOSS, thetas, output_weights)
        s = self.engine.run(p, op)[1]
        return s[1 :: op.set_sums] / s[0] + self._penalties(np.asarray(thetas, np.float64), output_weights)[0]

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
        sums = s[1:].reshape(len(thetas), op.set_sums) / s[0]
        blocks = a.reshape(len(thetas), op.set_columns, -1) / s[0]
        weights = op.outputs * op.k
        grads = self.model.pack_many(blocks, sums[:, 1 : 1 + weights], sums[:, 1 + weights :])
        more, extra = self._penalties(np.asarray(thetas, np.float64), output_weights)
        return sums[:, 0] + more, grads if extra is None else grads + extra

    def _penalties(self, thetas: np.ndarray, v: np.ndarray | None) -> tuple[np.ndarray | float, np.ndarray | None]:
        """Penalties (s,) and their gradients (s, n_parameters), which are linear in the parameters."""
        penalty, model, d = self.model.penalty, self.model, self.n_features
        if penalty is None:
            return 0.0, None
        rows, own, c = model.unpack_many(thetas, d)
        own, k = np.asarray(own if v is None else v), model.n_hidden
        scaled = np.zeros_like(rows)
        scaled[:, :k, :d] = penalty.rows * penalty.times(rows[:, :k, :d])
        scaled[:, k:, :d] = penalty.linear * penalty.times(rows[:, k:, :d])
        heavier = penalty.output_weights * own
        values = 0.5 * ((scaled * rows).sum(axis=(1, 2)) + (heavier * own).sum(axis=1))
        return values, model.pack_many(scaled, heavier, np.zeros_like(c))

    def hessp(self, theta: np.ndarray, v: np.ndarray, *, gauss_newton: bool = False) -> np.ndarray:
        """Product of the Hessian (or the Gauss-Newton matrix, for a likelihood the Fisher information) with v.

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
        model = self.model
        rows, dv, dc = self.direction(v)
        p, op = self.op(Op.CURVATURE, theta, newton=not gauss_newton, dv=dv, dc=dc)
        a, s = self.engine.run(np.concatenate([p, rows]), op)
        weights = 1 + op.outputs * op.k
        product = model.pack_many(a[None], s[None, 1:weights], s[None, weights:])[0] / s[0]
        extra = self._penalties(np.asarray(v, np.float64)[None], dv[None] if not model.free_v else None)[1]
        return product if extra is None else product + extra[0]

    def direction(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A direction (n_parameters,) as sweeps take it: rows of P, changes of output weights, and of intercepts."""
        v, model = np.asarray(v, np.float64), self.model
        if v.shape != (self.n_parameters,):
            raise ValueError(f"v must have shape ({self.n_parameters},), got {v.shape}")
        rows, dv, dc = model.unpack_many(v[None], self.n_features)
        return rows[0], np.repeat(dv if model.free_v else np.zeros_like(dv), model.n_patches), dc[0]

    def gauss_newton(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Loss, gradient and dense Gauss-Newton (Fisher) matrix in one pass, O(n n_parameters^2).

        Returns
        -------
        value : float
        grad : ndarray (n_parameters,)
        matrix : ndarray (n_parameters, n_parameters)
        """
        values, grads, matrices = self.gauss_newtons(np.asarray(theta, np.float64)[None])
        return float(values[0]), grads[0], matrices[0]

    def gauss_newtons(
        self, thetas: np.ndarray, output_weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Losses (s,), gradients (s, n_parameters) and matrices (s, n_parameters, n_parameters) in one pass.

        Parameters
        ----------
        thetas : ndarray (s, n_parameters)
        output_weights : ndarray (s, n_hidden), optional
            Fixed output weights of each point, in place of the model's.
        """
        count = len(thetas)
        a, s = self.engine.run(*self.gram_of(thetas, output_weights))
        grams = mirrored(a.reshape(count, a.shape[1], a.shape[1])) / s[0]
        order = self.order
        if order is not None:
            grams = grams[:, order[:, None], order]
        values, grads, matrices = s[1:] / s[0], grams[:, :-1, -1], grams[:, :-1, :-1]
        more, extra = self._penalties(np.asarray(thetas, np.float64), output_weights)
        if extra is None:
            return values, grads, matrices
        return values + more, grads + extra, matrices + self.penalty_matrix

    def gram_of(self, thetas: np.ndarray, output_weights: np.ndarray | None = None) -> tuple[np.ndarray, RowFunction]:
        """P and row function of the Gram matrices of the Jacobian and the residual at several points."""
        model = self.model
        return self._many(Op.GRAM, thetas, output_weights, free_v=model.free_v, free_c=model.fit_intercept)

    def penalty_rows(
        self, thetas: np.ndarray, output_weights: np.ndarray | None = None
    ) -> tuple[np.ndarray | float, np.ndarray | None]:
        """Penalties (s,), and rows (s, n_parameters, n_parameters + 1) whose Gram matrices are theirs of ``[J, r]``."""
        thetas = np.asarray(thetas, np.float64)
        values, grads = self._penalties(thetas, output_weights)
        if grads is None:
            return 0.0, None
        eigenvalues, vectors = np.linalg.eigh(self.penalty_matrix)
        root = np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * vectors.T
        rows = np.broadcast_to(root, (len(thetas), *root.shape))
        return values, np.concatenate([rows, (thetas @ root.T)[:, :, None]], axis=2)

    def with_fitted_outputs(self, thetas: np.ndarray, ridge: float) -> np.ndarray:
        """The same units with output weights, linear terms and intercepts by least squares, in one pass.

        For a loss other than the squared one it is one step of reweighted least squares from an output of zero.

        Parameters
        ----------
        thetas : ndarray (s, n_parameters)
            Of a model with free output weights.
        ridge : float
            Added to the diagonal of the features' Gram matrices, relative to their means.

        Returns
        -------
        ndarray (s, n_parameters)
        """
        units = sum(self.model.sizes(self.n_features)[:2])
        found = np.array(thetas, np.float64)
        found[:, units:] = 0.0
        p, op = self._many(Op.GRAM, found, None, free_w=False, free_v=True, free_c=self.model.fit_intercept)
        a, s = self.engine.run(p, op)
        grams = mirrored(a.reshape(len(found), a.shape[1], a.shape[1])) / s[0]
        order = self.order
        if order is not None:
            order = order[units:] - units
            grams = grams[:, order[:, None], order]
        size = grams.shape[1] - 1
        mean = np.trace(grams[:, :size, :size], axis1=1, axis2=2) / max(size, 1) + 1e-300
        damped = grams[:, :size, :size] + ridge * mean[:, None, None] * np.eye(size)
        found[:, units:] = -np.linalg.solve(damped, grams[:, :size, -1:])[:, :, 0]
        return found

    @cached_property
    def order(self) -> np.ndarray | None:
        """Places of theta, and last of the residual, in a Gram matrix by units; None where they are the same.

        A Gram matrix has each unit's bias after its weights, and linear terms with an entry for the column of ones.
        """
        model, d = self.model, self.n_features
        if not model.hidden_bias:
            return None
        k, m = model.n_hidden, model.n_outputs
        units = np.arange(k * (d + 1)).reshape(k, d + 1)
        at = units.size
        v = np.arange(at, at := at + m * k * model.free_v)
        linear = np.arange(at, at := at + m * (d + 1) * model.linear_term).reshape(-1, d + 1)
        rest = np.arange(at, at + m * model.fit_intercept + 1)
        return np.concatenate([units[:, :d].ravel(), units[:, d], v, linear[:, :d].ravel(), rest])

    @cached_property
    def penalty_matrix(self) -> np.ndarray:
        """Second derivatives of the penalty."""
        penalty, model, d = self.model.penalty, self.model, self.n_features
        matrix = np.zeros((self.n_parameters, self.n_parameters))
        if penalty is None:
            return matrix
        k, m = model.n_hidden, model.n_outputs
        matrix[: k * d, : k * d] = np.kron(np.eye(k), penalty.rows * penalty.block(d))
        at = k * (d + model.hidden_bias)
        own = range(at, at + m * k * model.free_v)
        matrix[own, own] = penalty.output_weights
        if model.linear_term:
            block = slice(own.stop, own.stop + m * d)
            matrix[block, block] = np.kron(np.eye(m), penalty.linear * penalty.block(d))
        return matrix

    def output_regression(
        self, parameters: Parameters, ridge: float = 0.0, working: bool = False
    ) -> tuple[Parameters, float, np.ndarray]:
        """Best output weights, linear term and intercept for given rows W (variable projection), in one pass.

        Of several outputs the Gram matrix is that of the features, and a second pass gives their products with the
        responses.  For a loss other than the squared one it is one step of reweighted least squares: of the working
        responses ``f - l' / l''`` at f = 0, or where the network itself is.

        Parameters
        ----------
        parameters : Parameters
            Only ``weights`` and ``biases`` are used, unless `working`.
        ridge : float
            Added to the diagonal of the features' Gram matrix, relative to its mean.
        working : bool
            Whether to begin at the network's own outputs, where the loss is not the squared one.

        Returns
        -------
        parameters : Parameters
        loss : float
            Half the mean square of what is left of the (working) responses.
        gram : ndarray
            Gram matrix of ``[phi(Wx), b, 1, y]``, from which subsets of units can be judged; y has as many columns as
            there are outputs.
        """
        k, model = len(parameters.weights), self.model
        at = parameters if working and not model.loss.least_squares else _silent(parameters, model)
        gram = self._features(at, k) if model.n_outputs == 1 else self._shared_features(at, k)
        return (*self.regressed(parameters, gram, ridge), gram)

    def _features(self, at: Parameters, k: int) -> np.ndarray:
        """Gram matrix of ``[phi(Wx), b, 1, y]`` for one output."""
        model = self.model.changed(n_hidden=k, output_weights="free", penalty=None)
        objective = Objective(self.engine, model)
        p, op = objective.op(Op.GRAM, model.pack(at), free_w=False, free_v=True, free_c=model.fit_intercept)
        a, s = objective.engine.run(p, op)
        gram = mirrored(a) / s[0]
        if model.hidden_bias and model.linear_term:  # the linear row's entry for the column of ones
            gram = np.delete(np.delete(gram, k + self.n_features, 0), k + self.n_features, 1)
        # The last column is f - y, or l' / l'': the working response is the network's own output less it.
        linear = at.slope if model.linear_term else np.zeros(0)
        own = np.concatenate([at.output_weights, linear, np.ravel(at.intercept)[: model.fit_intercept]])
        gram[-1, :-1] *= -1.0
        gram[:-1, -1] *= -1.0
        if own.any():
            step = gram[:-1, :-1] @ own
            gram[-1, -1] += own @ step + 2.0 * own @ gram[:-1, -1]
            gram[:-1, -1] += step
            gram[-1, :-1] = gram[:-1, -1]
        return gram

    def _shared_features(self, at: Parameters, k: int) -> np.ndarray:
        """Gram matrix of ``[phi(Wx), b, 1, y_1 .. y_m]``: features by one pass, their products with y by another.

        Squares of responses are known only in all, and are spread evenly over the diagonal of their block.
        """
        m, d = self.model.n_outputs, self.n_features
        wide = self.model.changed(n_hidden=k, output_weights="free", penalty=None)
        alone = wide.changed(n_outputs=1, loss=SQUARED)
        first = self.engine.with_responses(_first_column)
        features = Objective(first, alone)._features(_silent(at, alone), k)[:-1, :-1]
        objective = Objective(self.engine, wide)
        grad = objective.value_and_grad(wide.pack(_silent(at, wide)))[1]
        parts = pieces(-grad, wide.sizes(d))[2:]
        products = np.concatenate([part.reshape(m, -1) for part in parts], axis=1).T
        if wide.shares:  # whose curvature at outputs of zero is about 1 / m
            products *= m
        square = self.engine.average(np.square)
        return np.block([[features, products], [products.T, np.eye(m) * (square / m)]])

    def regressed(self, rows: Parameters, gram: np.ndarray, ridge: float = 0.0) -> tuple[Parameters, float]:
        """The parameters and the loss of :meth:`output_regression` from the Gram matrix of its features.

        Parameters
        ----------
        rows : Parameters
            Whose weights and biases are kept.
        gram : ndarray
            Of ``[phi(Wx), b, 1, y]``.
        ridge : float
        """
        k, d, model, m = len(rows.weights), self.n_features, self.model, self.model.n_outputs
        size = len(gram) - m
        features, products = gram[:size, :size], gram[:size, size:]
        left = features + ridge * np.trace(features) / max(size, 1) * np.eye(size)
        x = least_squares(left, products[:, 0], 1e-13) if m == 1 else least_squares(left, products, 1e-13)
        x = x.reshape(size, m)
        squares = float(np.trace(gram[size:, size:]))
        loss = 0.5 * max(squares - 2.0 * float((x * products).sum()) + float((x * (features @ x)).sum()), 0.0)
        v, linear = x[:k].T, x[k : k + d].T if model.linear_term else None
        c = x[-1] if model.fit_intercept else np.zeros(m)
        if m == 1:
            v, linear, c = v[0], None if linear is None else linear[0], float(c[0])
        return Parameters(rows.weights, v, linear, c, biases=rows.biases), float(loss)

    def predict(self, theta: np.ndarray) -> np.ndarray:
        """Output f on every row, (n,) or (n, n_outputs)."""
        f = self.engine.output(*self.op(Op.PREDICT, theta))
        return f[:, 0] if self.model.n_outputs == 1 else f

    def residual(self, theta: np.ndarray) -> Objective:
        """The same objective on rows whose responses are what the network at theta leaves of them, ``y - f``."""
        return self.on(self.engine.residual(*self.op(Op.PREDICT, theta)))


def _silent(rows: Parameters, model: Network) -> Parameters:
    """Units whose outputs count for nothing, in a network without linear term or intercept."""
    (k, d), m = rows.weights.shape, model.n_outputs
    several = (m,) if m > 1 else ()
    linear = np.zeros((*several, d)) if model.linear_term else None
    v, c = np.zeros((*several, k)), np.zeros(m) if m > 1 else 0.0
    return Parameters(rows.weights, v, linear, c, biases=rows.biases)


def _first_column(y: np.ndarray) -> np.ndarray:
    return y[:, 0]
