"""Start from the designed landscape of Ge, Lee and Ma (2017), for output weights of one sign.

The second moment, definite here, whitens the rows of the teacher into orthonormal ones; among orthonormal rows the
pair term of G is constant, and what remains is a sum of fourth powers whose maximum a shifted polar iteration finds
from any start.  Fourth moments are taken of what the quadratic fit leaves, which is two orders of magnitude fewer
rows than the raw responses need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..sweeps import Landscape, MomentSweeps, TensorLandscape
from .affine import affine_fit
from .base import StartError, check_plain, network, ridge_lengths
from .quadratic_fit import QUADRATIC, QuadraticFit, quadratic_fit
from .tensor import hermite_tensor

_LEAST_COEFFICIENT = 1e-3
_TENSOR_SIDE = 20  # above, sweeps of the projected rows cost less than building m^4 numbers
_STARTS = 4
_ITERATIONS = 200
_STEP = 0.025  # over the inverse of sigma_4 times the amplitude


def check_landscape(model: Network, n_features: int) -> None:
    """Raise StartError where the landscape does not determine the weights.

    Parameters
    ----------
    model : Network
    n_features : int
    """
    act, v = model.activation, model.known_v
    check_plain(model, "landscape")
    if model.n_patches > 1 or not model.loss.least_squares:
        raise StartError("the landscape is for fully connected regressions: use init='tensor'")
    if model.n_hidden > n_features:
        raise StartError(
            f"n_hidden={model.n_hidden} exceeds the number of features {n_features}: the landscape needs linearly "
            "independent rows; use init='random'"
        )
    coefficients = act.hermite_coefficients(4)
    for order in (4, 2):
        if abs(coefficients[order]) < _LEAST_COEFFICIENT:
            raise StartError(
                f"activation {act.name!r} has a Hermite coefficient of order {order} of "
                f"{coefficients[order]:.1e}, and the landscape sees its units through orders 2 and 4 alone: "
                + ("use model='quadratic' with init='spectral'" if act.is_quadratic else "use init='tensor'")
            )
    if v is not None and np.ptp(np.sign(v)) > 0:
        raise StartError("the landscape needs output weights of one sign: use init='tensor'")


def landscape_start(engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """Parameters from the landscape in whitened coordinates, orthonormal rows.

    Parameters
    ----------
    engine : Engine
    model : Network
        Of an activation with Hermite coefficients of order 2 and 4; units of one that is not homogeneous are
        taken to have unit length.
    seed : SeedSequence

    Returns
    -------
    Parameters

    Raises
    ------
    StartError
        No such activation, or a second moment that is not definite: output weights of both signs.
    """
    check_landscape(model, engine.shape[1])
    rng = np.random.default_rng(seed)
    fit = quadratic_fit(engine, affine_fit(engine), model.n_hidden, rng)
    _, sign, root = one_sided(model, fit)
    landscape = _reduced(engine, fit, model.n_hidden, sign, rng)
    # Rows of one length under M: with z = root b they are orthonormal.
    starts = [np.linalg.qr(rng.standard_normal((len(root), len(root))))[0] for _ in range(_STARTS)]
    best = max((polar_iteration(landscape, start / root, root) for start in starts), key=lambda found: found[0])
    rows = (best[1] * root**2) @ fit.basis
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    return ridge_lengths(engine, model, network(model, unit, np.ones(len(unit))))


@dataclass(frozen=True)
class Descent:
    """G as Ge, Lee and Ma descend it: raw responses, any rows, the lengths held in the metric of M.

    Attributes
    ----------
    landscape : Landscape
        In a frame of M.
    start : ndarray (n_parameters,)
        Random rows of unit length in the metric.
    step_size : float
        Near the inverse of the largest curvature.
    """

    model: Network
    fit: QuadraticFit
    landscape: Landscape
    start: np.ndarray
    step_size: float

    @classmethod
    def of(cls, engine: Engine, model: Network, seed: np.random.SeedSequence, mu: float) -> Descent:
        """The descent on the rows of an engine.

        Parameters
        ----------
        engine : Engine
        model : Network
        seed : SeedSequence
        mu : float
            In (0, 12).

        Raises
        ------
        StartError
            As :func:`landscape_start`.
        """
        check_landscape(model, engine.shape[1])
        rng = np.random.default_rng(seed)
        m = model.n_hidden
        fit = quadratic_fit(engine, affine_fit(engine), m, rng)
        _, sign, root = one_sided(model, fit)
        fourth, second = (abs(model.activation.hermite_coefficients(4)[j]) for j in (4, 2))
        # Whitened amplitudes are 1 / (2 sigma_2^2 a); the trace of M is sqrt 2 sigma_2 times the sum of a, and none
        # is below the smallest eigenvalue of that.
        typical, largest = 1.0 / (math.sqrt(2.0) * second * np.array([np.mean(root**2), root.min() ** 2]))
        # G is bounded below only for penalties above |sigma_4| mu a / (2 sqrt 6), and well conditioned near this one.
        penalty = fourth * largest * max(2.5 * math.sqrt(6.0), 5.0 * mu / (2.0 * math.sqrt(6.0)))
        landscape = Landscape(engine, m, sign, mu=mu, penalty=penalty, frame=fit.basis / root[:, None])
        start = landscape.projected(rng.standard_normal(landscape.n_parameters))
        return cls(model, fit, landscape, start, _STEP / (fourth * typical))

    def read_out(self, theta: np.ndarray, engine: Engine) -> Parameters:
        """Teacher at a minimum b of G: rows ``Mb / |Mb|``, weights ``|Mb|^2 / (sqrt 2 sigma_2 b'Mb)``, sides by E[y x].

        Parameters
        ----------
        theta : ndarray (n_parameters,)
        engine : Engine
            Whose rows say on which side of a kink they lie.

        Returns
        -------
        Parameters
        """
        model, fit = self.model, self.fit
        coefficients = model.activation.hermite_coefficients(2)
        b = self.landscape.rows(theta)
        image = ((b @ fit.basis.T) * (2.0 * fit.eigenvalues)) @ fit.basis
        size = np.linalg.norm(image, axis=1)
        rows = image / size[:, None]
        a = size**2 / (math.sqrt(2.0) * coefficients[2] * np.einsum("md,md->m", image, b))
        if abs(coefficients[1]) > _LEAST_COEFFICIENT:
            along = np.linalg.lstsq(rows.T, MomentSweeps(engine).first()[1] / coefficients[1], rcond=1e-10)[0]
            rows = rows * np.where(along * a < 0, -1.0, 1.0)[:, None]
        found = Parameters(rows, a, np.zeros(rows.shape[1]) if model.linear_term else None)
        if model.free_v or model.activation.degree is None:
            return found if model.known_v is None else replace(found, output_weights=model.known_v)
        return found.absorbed(model.activation)


def one_sided(model: Network, fit: QuadraticFit) -> tuple[float, float, np.ndarray]:
    """Side of the output weights, sign of sigma_4 relative to it, and square roots of the eigenvalues of |M|.

    Raises
    ------
    StartError
        Eigenvalues of both signs.
    """
    coefficients = model.activation.hermite_coefficients(4)
    eigenvalues = 2.0 * fit.eigenvalues * np.sign(coefficients[2])
    side = 1.0 if model.known_v is None or model.known_v[0] > 0 else -1.0
    if model.known_v is None and (eigenvalues < 0).all():
        side = -1.0
    if (side * eigenvalues <= 0).any():
        raise StartError(
            f"{int((side * eigenvalues <= 0).sum())} of the {len(eigenvalues)} leading eigenvalues of the second "
            "moment have the wrong sign: the output weights are not all "
            f"{'positive' if side > 0 else 'negative'}, or the rows are too few to tell; use init='tensor'"
        )
    return side, side * float(np.sign(coefficients[4])), np.sqrt(np.abs(eigenvalues))


def _reduced(engine: Engine, fit: QuadraticFit, m: int, sign: float, rng: np.random.Generator) -> Landscape:
    """The landscape on the row space: of a tensor, or of the projected rows where a tensor would cost more."""
    if m <= _TENSOR_SIDE:
        return TensorLandscape(hermite_tensor(engine, fit.parameters(), fit.basis, 4, rng)[0][4], m, sign)
    sweeps = MomentSweeps(engine, fit.parameters(), QUADRATIC)
    return Landscape(sweeps.reduced(fit.basis), m, sign)


def polar_iteration(landscape: Landscape, v: np.ndarray, root: np.ndarray) -> tuple[float, np.ndarray]:
    """Maximise ``s sum_j T(v_j, v_j, v_j, v_j)`` over rows with ``(v_i root).(v_j root) = delta_ij``.

    Each step replaces z = v root by the nearest orthogonal matrix to the gradient plus half its mean length along
    z, a shift that keeps the values rising.

    Parameters
    ----------
    landscape : Landscape
    v : ndarray (m, m)
        Start.
    root : ndarray (m,)

    Returns
    -------
    value : float
    v : ndarray (m, m)
    """
    z, value = v * root, -np.inf
    for _ in range(_ITERATIONS):
        gradient = 4.0 * landscape.sign * landscape.cubes(z / root) / root
        along = np.einsum("ij,ij->i", gradient, z)
        before, value = value, float(along.sum()) / 4.0
        if abs(value - before) <= 1e-9 * abs(value):
            break
        left, _, right = np.linalg.svd(gradient + 0.5 * np.abs(along).mean() * z)
        z = left @ right
    return value, z / root
