"""Losses of the reference backend, by their code: what a new one must say is one entry of ``LOSSES``.

One of the output f is its value, slope and bend, ``l``, ``l'`` and ``l''``; the kernels make gradients and products of
these.  The cross entropy of a mean of units is computed from the projections of the units, in logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .op import RowFunction

Array: TypeAlias = np.ndarray


#: Least curvature of a row: what is smaller would make its residual ``l' / h`` overflow.
LEAST_CURVATURE = 1e-30


@dataclass(frozen=True)
class OutputLoss:
    """A loss ``l(f, y)`` of one output, summed over outputs; all arrays are (rows, outputs).

    Attributes
    ----------
    each : callable
        ``l`` of (f, y, delta).
    first : callable
        ``l'`` by f.
    weight : callable
        Curvature of Gauss-Newton.
    second : callable
        ``l''`` by f.
    """

    each: Callable[[Array, Array, float], Array]
    first: Callable[[Array, Array, float], Array]
    weight: Callable[[Array, Array, float], Array]
    second: Callable[[Array, Array, float], Array]

    def total(self, f: Array, y: Array, w: Array, delta: float) -> Array:
        """``sum w l(f, y)`` over rows, of every set where f is (sets, rows, outputs)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.each(f, y, delta).sum(axis=-1) @ w)

    def slope(self, f: Array, y: Array, delta: float) -> Array:
        """Gradient of a row by its outputs."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.first(f, y, delta)

    def curved(self, f: Array, y: Array, df: Array, delta: float) -> Array:
        """Gauss-Newton curvature times a change of the outputs."""
        return self._floored(f, y, delta) * df

    def bent(self, f: Array, y: Array, df: Array, delta: float) -> Array:
        """Second derivative times a change of the outputs."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.second(f, y, delta) * df

    def rooted(self, f: Array, y: Array, jacobian: Array, delta: float) -> tuple[Array, Array]:
        """Root of the curvature times a Jacobian (rows, outputs, p), and the slope over that root."""
        root = np.sqrt(self._floored(f, y, delta))
        return root[:, :, None] * jacobian, self.slope(f, y, delta) / root

    def _floored(self, f: Array, y: Array, delta: float) -> Array:
        with np.errstate(over="ignore"):
            return np.maximum(self.weight(f, y, delta), LEAST_CURVATURE)


class Softmax:
    """Cross entropy of targets (rows, classes) that sum to 1 against the softmax of the outputs."""

    def total(self, f: Array, y: Array, w: Array, delta: float) -> Array:
        """``sum w (log sum exp f - y . f)`` over rows, shifted by the largest output; of every set."""
        top = f.max(axis=-1, keepdims=True)
        return np.asarray((np.log(np.exp(f - top).sum(axis=-1)) - (y * (f - top)).sum(axis=-1)) @ w)

    def slope(self, f: Array, y: Array, delta: float) -> Array:
        """``p - y``."""
        return self._shares(f) - y

    def curved(self, f: Array, y: Array, df: Array, delta: float) -> Array:
        """``(diag(p) - p p') df``."""
        p = self._shares(f)
        return p * (df - (p * df).sum(axis=1, keepdims=True))

    bent = curved

    def rooted(self, f: Array, y: Array, jacobian: Array, delta: float) -> tuple[Array, Array]:
        """``sqrt(p_o) (J_o - sum_q p_q J_q)``, whose products sum to ``J' (diag(p) - p p') J``."""
        p = self._shares(f)
        root = np.sqrt(np.maximum(p, LEAST_CURVATURE))
        mean = np.einsum("io,iop->ip", p, jacobian)
        return root[:, :, None] * (jacobian - mean[:, None]), (p - y) / root

    @staticmethod
    def _shares(f: Array) -> Array:
        e = np.exp(f - f.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


class UnitCrossEntropy:
    """Cross entropy of y against ``H = mean_j sigma(z_j)``; coefficients are by unit, (rows, units)."""

    def loss(self, op: RowFunction, z: Array, y: Array, w: Array) -> tuple[Array, Array]:
        """Sums and, side by side for all sets, coefficients of the gradient."""
        sums, coefficients = [np.array([w.sum()])], []
        for rep in range(op.reps):
            loss, alpha, beta, _ = cross_entropy(z[:, rep * op.k : (rep + 1) * op.k], y)
            sums.append(np.r_[w @ loss, np.zeros(op.k + 1)])
            coefficients.append(w[:, None] * ((1 - y)[:, None] * beta - y[:, None] * alpha))
        return np.concatenate(sums), np.concatenate(coefficients, 1)

    def curvature(self, op: RowFunction, z: Array, y: Array, w: Array) -> Array:
        """Coefficients of the product of Hessian or Fisher matrix with a direction."""
        z, dz = z[:, : op.k], z[:, op.k :]
        _, alpha, beta, u = cross_entropy(z, y)
        y, w = y[:, None], w[:, None]
        pa, pb = (alpha * dz).sum(1, keepdims=True), (beta * dz).sum(1, keepdims=True)
        if op.newton:
            return w * (y * pa * alpha + (1 - y) * pb * beta + ((1 - y) * beta - y * alpha) * u * dz)
        return w * pb * alpha

    def gram(self, z: Array, y: Array, w: Array) -> tuple[float, Array, Array]:
        """Loss, and J, r with ``J' J`` the Fisher information and ``J r`` the gradient.

        ``J = sigma' / (k sqrt(H (1 - H)))`` is the larger slope of log H and -log(1 - H) over the root of their ratio,
        which is kept from under- and overflow.
        """
        log_rho = np.clip(0.5 * (_log_sum(-z)[0] - _log_sum(z)[0]), -350.0, 350.0)
        loss, alpha, beta, _ = cross_entropy(z, y)
        jac = np.where((log_rho > 0)[:, None], alpha, beta) * np.exp(-np.abs(log_rho))[:, None]
        return w @ loss, jac, (1 - y) * np.exp(-log_rho) - y * np.exp(log_rho)


def cross_entropy(z: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Loss of ``H = mean_j sigma(z_j)`` and, per unit, d log H, -d log(1 - H) and 1 - 2 sigma."""
    from scipy.special import expit

    log_k = np.log(z.shape[1])
    (log_h, share), (log_not, share_not) = _log_sum(z), _log_sum(-z)
    loss = -y * (log_h - log_k) - (1 - y) * (log_not - log_k)
    return loss, share * expit(-z), share_not * expit(z), -np.tanh(z / 2)


def _log_sum(z: Array) -> tuple[Array, Array]:
    """``log sum_j sigma(z_j)``, and the share of each term in the sum, which does not go through that logarithm."""
    from scipy.special import log_expit

    terms = log_expit(z)
    largest = terms.max(axis=1, keepdims=True)
    scaled = np.exp(terms - largest)
    total = scaled.sum(axis=1, keepdims=True)
    return (largest + np.log(total))[:, 0], scaled / total


def _huber(f: Array, y: Array, delta: float) -> Array:
    e = np.abs(f - y)
    return np.where(e <= delta, 0.5 * e * e, delta * (e - 0.5 * delta))


def _softplus(f: Array) -> Array:
    return np.maximum(f, 0.0) + np.log1p(np.exp(-np.abs(f)))


def _log_softplus(f: Array) -> Array:
    """``log log(1 + e^f)``, which for very negative f is f."""
    return np.where(f < -30.0, f, np.log(_softplus(np.maximum(f, -30.0))))


def _sigmoid(f: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(f))


def _ratio(f: Array) -> Array:
    """``sigmoid(f) / softplus(f)``, the slope of log softplus, which for very negative f is 1."""
    low = np.maximum(f, -30.0)
    return np.where(f < -30.0, 1.0, _sigmoid(low) / _softplus(low))


def _fall(f: Array) -> Array:
    """``ratio - sigmoid(-f)`` of the ratio above; for negative f, where these nearly cancel, by the series of atanh."""
    e = np.exp(-np.abs(f))
    w = e / (2.0 + e)
    gap = w * e - 2.0 * sum(w ** (2 * j + 1) / (2 * j + 1) for j in range(1, 18))  # e - log(1 + e)
    low = np.maximum(f, -30.0)
    small = np.where(f < -30.0, 0.5 * e, gap / ((1.0 + e) * _softplus(low)))
    return np.where(f < 0.0, small, _ratio(f) - _sigmoid(-f))


def _logistic_bend(f: Array) -> Array:
    return _sigmoid(f) * _sigmoid(-f)


SQUARED = OutputLoss(
    lambda f, y, delta: 0.5 * (f - y) ** 2,
    lambda f, y, delta: f - y,
    lambda f, y, delta: np.ones_like(f),
    lambda f, y, delta: np.ones_like(f),
)
HUBER = OutputLoss(
    _huber,
    lambda f, y, delta: np.clip(f - y, -delta, delta),
    lambda f, y, delta: delta / np.maximum(np.abs(f - y), delta),
    lambda f, y, delta: (np.abs(f - y) <= delta).astype(np.float64),
)
LOGISTIC = OutputLoss(
    lambda f, y, delta: np.maximum(f, 0.0) - y * f + np.log1p(np.exp(-np.abs(f))),
    lambda f, y, delta: _sigmoid(f) - y,
    lambda f, y, delta: _logistic_bend(f),
    lambda f, y, delta: _logistic_bend(f),
)
POISSON = OutputLoss(
    lambda f, y, delta: np.exp(f) - y * f,
    lambda f, y, delta: np.exp(f) - y,
    lambda f, y, delta: np.exp(f),
    lambda f, y, delta: np.exp(f),
)
# With q = softplus(f), q' = sigmoid(f) and t = q' / q:  l = q - y log q,  l' = q' - y t,  t' = -t (t - sigma(-f)).
POISSON_SOFTPLUS = OutputLoss(
    lambda f, y, delta: _softplus(f) - y * _log_softplus(f),
    lambda f, y, delta: _sigmoid(f) - y * _ratio(f),
    lambda f, y, delta: _sigmoid(f) * _ratio(f),
    lambda f, y, delta: _logistic_bend(f) + y * _ratio(f) * _fall(f),
)
LINEAR = OutputLoss(
    lambda f, y, delta: y * f,
    lambda f, y, delta: np.broadcast_to(y, f.shape),
    lambda f, y, delta: np.ones_like(f),
    lambda f, y, delta: np.zeros_like(f),
)
#: By the codes of ``losses.py``.
LOSSES: dict[int, OutputLoss | Softmax | UnitCrossEntropy] = {
    0: SQUARED,
    1: UnitCrossEntropy(),
    2: HUBER,
    3: LOGISTIC,
    4: Softmax(),
    5: POISSON,
    6: POISSON_SOFTPLUS,
    7: LINEAR,
}
