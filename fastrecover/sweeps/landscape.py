"""The objective G of Ge, Lee and Ma (2017), whose local minima are the rows of the teacher and nothing else.

Its sums over pairs of rows reduce to row sums, so value and gradient are one sweep of O(n d m) with two
coefficients for each row of B and nothing of size d^2; the same G as a function of the fourth moment tensor serves
small m, many restarts and, with the exact tensor, the population.
"""

from __future__ import annotations

import copy

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..models import Parameters
from .moments import MomentSweeps

_INFINITE = 100.0  # root mean square length of rows


class Landscape:
    """G(B) as a function of ``theta = B.ravel()``, by sweeps over the rows of an engine.

    With ``s = sgn(sigma_4)`` of the activation and y the responses (less the output of a fitted network),

        G = s E[y sum_{j != k} phi(b_j, b_k, x)] - mu s E[y sum_j varphi(b_j, x)] + penalty sum_j (q_j - 1)^2

    where ``phi = H_4(x)[v, v, w, w] / 2``, ``varphi = H_4(x)[v, v, v, v] / 24`` and ``q_j = |b_j|^2`` (Ge, Lee and Ma
    2017, arXiv 1711.00501, section 2.2; the cross term of phi is ``-2 <v,x> <w,x> <v,w>``, without which the stated
    identity does not hold).  With a frame F, theta holds the rows of Z, ``B = ZF``, and ``q_j = |z_j|^2``: that is
    their ``b_j' M b_j`` where ``F'MF = I``, and steps along the gradient do not feel the condition of M.

    Parameters
    ----------
    engine : Engine
    n_hidden : int
        Rows of B, m.
    sign : float
        Sign of the activation's fourth Hermite coefficient.
    mu : float
        Weight of the single term, in (0, 12): above, duplicated rows are minima too.
    penalty : float
        Lambda.
    frame : ndarray (m', d), optional
        F, such as ``diag(l)^(-1/2) V`` for the second moment ``M = E[y (x x' - I)] = V' diag(l) V``.
    residual : Parameters, optional
        Network whose output is subtracted from y.
    activation : Activation, optional
        Of that network.

    Attributes
    ----------
    n_parameters, n_features, n_rows : int
    """

    kinked, resolution = False, 0.0
    response_degree = 0  # its penalty has no unit
    divergence_message = "the rows run off to infinity: a larger penalty or more rows are needed"

    def __init__(
        self,
        engine: Engine,
        n_hidden: int,
        sign: float,
        *,
        mu: float = 1.0,
        penalty: float = 1.0,
        frame: np.ndarray | None = None,
        residual: Parameters | None = None,
        activation: Activation | None = None,
    ) -> None:
        self.sign, self.mu, self.penalty, self.frame = float(sign), mu, penalty, frame
        self.residual, self.activation, self.n_hidden = residual, activation, n_hidden
        self._move(engine)

    def _move(self, engine: Engine) -> None:
        self.engine = engine
        self.sweeps = MomentSweeps(engine, self.residual, self.activation)
        self.n_rows, self.n_features = engine.shape
        self.n_parameters = self.n_hidden * (self.n_features if self.frame is None else len(self.frame))

    @property
    def passes(self) -> float:
        """Full passes over the data so far."""
        return self.engine.meter.passes

    def on(self, engine: Engine) -> Landscape:
        """The same G on another engine's rows."""
        new = copy.copy(self)
        new._move(engine)
        return new

    def blur(self, theta: np.ndarray, loss: float) -> float:
        """Distance within which jumps of the gradient hide the way: none."""
        return 0.0

    def noise(self, loss: float) -> float:
        """Scale against which gradients are small: the responses', since G itself has no zero."""
        return self.engine.response_variance() ** 0.5

    def runs_off(self, theta: np.ndarray) -> bool:
        """Whether some row has left every bounded region: the penalty is too small for these rows."""
        return bool(np.linalg.norm(theta) > _INFINITE * np.sqrt(self.n_hidden))

    def pulled_back(self, theta: np.ndarray) -> np.ndarray:
        """A point that has run off, at the border."""
        return theta * (_INFINITE * np.sqrt(self.n_hidden) / np.linalg.norm(theta))

    def projected(self, theta: np.ndarray) -> np.ndarray:
        """The same rows at unit length."""
        z = theta.reshape(self.n_hidden, -1)
        return (z / np.maximum(np.linalg.norm(z, axis=1), 1e-300)[:, None]).ravel()

    def rows(self, theta: np.ndarray) -> np.ndarray:
        """B at theta, (n_hidden, n_features)."""
        z = np.reshape(theta, (self.n_hidden, -1))
        return z if self.frame is None else z @ self.frame

    def value(self, theta: np.ndarray) -> float:
        """G at theta, (n_parameters,)."""
        return self.value_and_grad(theta)[0]

    def values(self, thetas: np.ndarray) -> np.ndarray:
        """G at several points, (m,)."""
        return np.array([self.value(theta) for theta in thetas])

    def value_and_grad(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """G and its gradient in one pass."""
        z = np.reshape(theta, (self.n_hidden, -1))
        value, grad = self.data_term(self.rows(theta))
        grad = grad if self.frame is None else grad @ self.frame.T
        off = (z**2).sum(axis=1) - 1.0
        value = self.sign * value + self.penalty * float(off @ off)
        return value, (self.sign * grad + 4.0 * self.penalty * off[:, None] * z).ravel()

    def data_term(self, b: np.ndarray) -> tuple[float, np.ndarray]:
        """``E[y (sum_{j != k} phi - mu sum_j varphi)]`` and its gradient, for rows b (m, d)."""
        kappa = 12.0 + self.mu
        (slope, image), (mean, quartic) = self.sweeps.quartic(b, 1.0, kappa)
        g, c = b @ b.T, image @ b.T
        r, diagonal = g.diagonal(), c.diagonal()
        total, trace = float(r.sum()), float(diagonal.sum())
        value = mean * (total**2 / 2 + float((g**2).sum()) - kappa / 8 * float(r @ r))
        value += quartic - total * trace - 2.0 * float((g * c).sum()) + kappa / 4 * float(r @ diagonal)
        inner = -2.0 * total * np.eye(len(b)) - 4.0 * g + kappa / 2 * np.diag(r)
        outer = mean * (2.0 * total * np.eye(len(b)) + 4.0 * g - kappa / 2 * np.diag(r))
        outer += -2.0 * trace * np.eye(len(b)) - 4.0 * c + kappa / 2 * np.diag(diagonal)
        return value, slope + inner @ image + outer @ b

    def cubes(self, v: np.ndarray) -> np.ndarray:
        """``M_4(v_j, v_j, v_j, .)`` for rows v (m, d), in one pass: (m, d)."""
        (cubic, image), (mean, _) = self.sweeps.quartic(v, 0.0, -6.0)
        r, along = (v**2).sum(axis=1)[:, None], np.einsum("md,md->m", image, v)[:, None]
        return cubic - 3.0 * r * image - 3.0 * along * v + 3.0 * mean * r * v


class TensorLandscape(Landscape):
    """G from the fourth moment tensor ``T = E[y H_4(z)]`` of m inputs, without rows.

    Parameters
    ----------
    tensor : ndarray (m, m, m, m)
    n_hidden, sign, mu, penalty, frame
        As for :class:`Landscape`.
    """

    def __init__(
        self,
        tensor: np.ndarray,
        n_hidden: int,
        sign: float,
        *,
        mu: float = 1.0,
        penalty: float = 1.0,
        frame: np.ndarray | None = None,
    ) -> None:
        self.sign, self.mu, self.penalty, self.frame = float(sign), mu, penalty, frame
        self.tensor, self.n_hidden = tensor, n_hidden
        self.n_features, self.n_rows = len(tensor), 1
        self.n_parameters = n_hidden * (self.n_features if frame is None else len(frame))

    @property
    def passes(self) -> float:
        """0: a tensor has no rows."""
        return 0.0

    def on(self, engine: Engine) -> Landscape:
        """The tensor has no rows to exchange."""
        raise ValueError("a landscape of a tensor cannot move to other rows: make it from their tensor")

    def blur(self, theta: np.ndarray, loss: float) -> float:
        """Distance within which jumps of the gradient hide the way: none."""
        return 0.0

    def noise(self, loss: float) -> float:
        """Scale against which gradients are small."""
        return float(np.abs(self.tensor).max())

    def data_term(self, b: np.ndarray) -> tuple[float, np.ndarray]:
        """As :meth:`Landscape.data_term`: ``T(N, N) / 2 - kappa / 24 sum_j T(b_j, b_j, b_j, b_j)``, N = B'B."""
        m = len(self.tensor)
        kappa = 12.0 + self.mu
        pairs = (self.tensor.reshape(m * m, m * m) @ (b.T @ b).ravel()).reshape(m, m)
        cubes = self.cubes(b)
        value = 0.5 * float((pairs * (b.T @ b)).sum()) - kappa / 24 * float((cubes * b).sum())
        return value, 2.0 * b @ pairs - kappa / 6 * cubes

    def cubes(self, v: np.ndarray) -> np.ndarray:
        """``T(v_j, v_j, v_j, .)`` for rows v (m', m)."""
        m = len(self.tensor)
        squares = (v[:, :, None] * v[:, None, :]).reshape(len(v), -1)
        slices = (squares @ self.tensor.reshape(m * m, m * m)).reshape(len(v), m, m)
        return np.asarray(np.einsum("jab,jb->ja", slices, v))


def population_tensor(directions: np.ndarray, output_weights: np.ndarray, activation: Activation) -> np.ndarray:
    """``E[y H_4(x)] = sum_j a_j m_4(|w_j|) u_j^(x)4`` of a teacher, the tensor of infinitely many rows.

    Parameters
    ----------
    directions : ndarray (m, d)
        Rows w_j.
    output_weights : ndarray (m,)
    activation : Activation

    Returns
    -------
    ndarray (d, d, d, d)
    """
    size = np.linalg.norm(directions, axis=1)
    unit = directions / size[:, None]
    amplitude = output_weights * activation.moments(size, 4)[:, 4]
    return np.asarray(np.einsum("j,ja,jb,jc,jd->abcd", amplitude, unit, unit, unit, unit))
