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


def _half_squares(f: Array, y: Array, w: Array) -> float:
    r = f - y
    return float(0.5 * (w * r) @ r)


SQUARED = OutputLoss(_half_squares, lambda f, y: f - y, lambda f, y: np.ones(len(f)))
LOSSES: dict[int, OutputLoss | UnitCrossEntropy] = {0: SQUARED, 1: UnitCrossEntropy()}
