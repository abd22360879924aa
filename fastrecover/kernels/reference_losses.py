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


@dataclass(frozen=True)
class OutputLoss:
    """A loss ``l(f, y)`` of the output of a network.

    Attributes
    ----------
    total : callable
        ``sum w l(f, y)`` of (f, y, w).
    slope, bend : callable
        ``l'`` and ``l''`` by f, of (f, y).
    """

    total: Callable[[Array, Array, Array], float]
    slope: Callable[[Array, Array], Array]
    bend: Callable[[Array, Array], Array]


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

        ``J = sigma' / (k sqrt(H (1 - H)))``, in logarithms so that neither root under- nor overflows.
        """
        from scipy.special import log_expit, logsumexp

        log_h, log_not = (logsumexp(log_expit(s * z), axis=1) for s in (1, -1))
        jac = np.exp(log_expit(z) + log_expit(-z) - 0.5 * (log_h + log_not)[:, None])
        log_rho = 0.5 * (log_not - log_h)
        return w @ cross_entropy(z, y)[0], jac, (1 - y) * np.exp(-log_rho) - y * np.exp(log_rho)


def cross_entropy(z: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Loss of ``H = mean_j sigma(z_j)`` and, per unit, d log H, -d log(1 - H) and 1 - 2 sigma."""
    from scipy.special import expit, log_expit, logsumexp

    k = z.shape[1]
    log_h, log_not = (logsumexp(log_expit(s * z), axis=1) for s in (1, -1))
    alpha = np.exp(log_expit(z) - log_h[:, None]) * expit(-z)
    beta = np.exp(log_expit(-z) - log_not[:, None]) * expit(z)
    loss = -y * (log_h - np.log(k)) - (1 - y) * (log_not - np.log(k))
    return loss, alpha, beta, -np.tanh(z / 2)


def _half_squares(f: Array, y: Array, w: Array) -> float:
    r = f - y
    return float(0.5 * (w * r) @ r)


SQUARED = OutputLoss(_half_squares, lambda f, y: f - y, lambda f, y: np.ones(len(f)))
LOSSES: dict[int, OutputLoss | UnitCrossEntropy] = {0: SQUARED, 1: UnitCrossEntropy()}
