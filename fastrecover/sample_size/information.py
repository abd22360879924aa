"""What a row says about a planted network: the expected error of its weights under noise, without data.

For rows N(0, I) the information of a row is a small matrix inside the span of the units and ``K (x) I`` outside, so
that features beyond the units cost nothing.  Its entries are expectations over pairs of units, summed as Hermite
series; only the correction for few rows is averaged over rows that are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..activations import Activation, Array
from ..datasets import Teacher, make_teacher
from ..models import Network
from ..pair_terms import Units, pair_terms

_TERMS = 256
_DRAWN = 4000  # rows that leverages are seen on
_LARGEST = 1000  # weights in the span above which K stands for them as well
_TEACHERS, _WORK = 8, 1 << 32  # planted networks, and multiply-adds for all of them together
_PARALLEL = 1e-6  # sine below which the plane of two rows is a line


def response_deviation(teacher: Teacher) -> float:
    """Standard deviation of the noiseless responses of a planted regression to rows N(0, I).

    Parameters
    ----------
    teacher : Teacher
        Of one output, without linear term.

    Returns
    -------
    float
    """
    p = teacher.parameters
    units = Units(teacher.model.activation, p.weights, np.zeros(len(p.weights)))
    second = pair_terms(units, units, False).value - np.multiply.outer(units.mean, units.mean)
    return float(np.sqrt(max(p.output_weights @ second @ p.output_weights, 0.0)))


@dataclass(frozen=True)
class Information:
    """What noisy rows leave open of one planted network.

    Attributes
    ----------
    n_parameters : int
        Numbers that the rows determine.
    scale : float
        ``n E |error|^2 / noise^2`` for many rows n: the trace of the inverse information of a row, relative to the
        squared size of the parameters.  The noise is in units of the deviation of the responses.
    leverages : ndarray (rows,)
        ``j' I^-1 j / n_parameters`` of some rows with Jacobians j; their mean is 1.
    """

    n_parameters: int
    scale: float
    leverages: Array

    def error(self, n_rows: float, noise: float) -> float:
        """Root mean square of the relative error of a least-squares fit; inf where the rows determine none."""
        return float(noise * np.sqrt(self.scale * self.inflation(n_rows) / n_rows)) if noise else 0.0

    def inflation(self, n_rows: float) -> float:
        """Mean of the inverse of the information of n rows, over the inverse of its mean.

        With c parameters a row it solves ``mean(t x / (1 + c t x)) = 1`` for x, t the leverages: the limit of many
        rows and parameters for rows whose Jacobians have independent directions (Marchenko and Pastur 1967, as in El
        Karoui, arXiv 1311.2445).  Where all leverages are 1 it is n / (n - p).
        """
        c, t = self.n_parameters / n_rows, self.leverages
        if c >= np.mean(t > 0):
            return np.inf
        low, high = 0.0, 1.0
        while np.mean(t * high / (1.0 + c * t * high)) < 1.0:
            low, high = high, 2.0 * high
            if high > 1e9:
                return np.inf
        for _ in range(50):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if np.mean(t * middle / (1.0 + c * t * middle)) < 1.0 else (low, middle)
        return high


def information(teacher: Teacher, n_features: int | None = None, seed: int = 0) -> Information:
    """Of a planted regression of one output without biases, linear term and intercept, for rows N(0, I).

    Output weights are taken to be known.  Of a quadratic network the error is that of ``M = W' diag(v) W``.

    Parameters
    ----------
    teacher : Teacher
    n_features : int, optional
        At least those of the teacher, by default so many: beyond them its weights are zero.
    seed : int
        Of the rows that leverages are seen on.

    Returns
    -------
    Information
    """
    k, m = teacher.weights.shape
    d, rng = n_features or m, np.random.default_rng(seed)
    if teacher.model.is_quadratic_form:
        return _of_quadratic(min(k, d), d, rng)
    phi, v = teacher.model.activation, teacher.output_weights
    units = Units(phi, teacher.weights, np.zeros(k))
    basis = np.linalg.qr(teacher.weights.T)[0]
    directions, m = units.unit @ basis, basis.shape[1]
    outer = pair_terms(units, units, True).slopes * np.multiply.outer(v, v)
    noise = response_deviation(teacher)
    size = np.linalg.norm(teacher.parameters.flat())
    z = rng.standard_normal((_DRAWN, m))
    slopes = v * phi.derivative(z @ (directions * units.length[:, None]).T)
    root = _inverse_root(outer)
    around = ((slopes @ root) ** 2).sum(axis=1)
    if k * m > _LARGEST:
        trace, leverages = d * (root**2).sum(), around * rng.chisquare(d, _DRAWN)
    else:
        inner = _inverse_root(_in_span(phi, units, directions, outer / np.multiply.outer(v, v), v))
        jacobian = (slopes[:, :, None] * z[:, None, :]).reshape(_DRAWN, -1)
        leverages = ((jacobian @ inner) ** 2).sum(axis=1)
        leverages += around * (rng.chisquare(d - m, _DRAWN) if d > m else 0.0)
        trace = (inner**2).sum() + (d - m) * (root**2).sum()
    return Information(k * d, float(trace * (noise / size) ** 2), leverages / leverages.mean())


def planted_information(
    model: Network, n_features: int, condition_number: float, seed: int = 0
) -> tuple[Information, ...]:
    """Of some networks as :func:`fastrecover.datasets.make_teacher` plants them, fewer where they are large."""
    k = model.n_hidden
    m = min(k, n_features)  # the units' angles and lengths are the same whatever there is beside their span
    size = k * m
    work = 2 * _DRAWN * size**2 + 10 * size**3 if size <= _LARGEST else 1
    count = 1 if model.is_quadratic_form else int(np.clip(_WORK // work, 1, _TEACHERS))
    seeds = np.random.SeedSequence(seed).spawn(count)
    planted = (make_teacher(model, m, condition_number=condition_number, random_state=one) for one in seeds)
    return tuple(information(teacher, n_features) for teacher in planted)


def _of_quadratic(r: int, d: int, rng: np.random.Generator) -> Information:
    """Of M = W' diag(v) W of rank r: on its tangent space the information is ``2 I + t t'``, |t|^2 = r.

    For x ~ N(0, I), ``E (x' A x)(x' B x) = 2 tr AB + tr A tr B``, and t holds the traces of an orthonormal basis.  The
    deviation of the responses is sqrt(2) |M|, so that nothing depends on the weights.
    """
    p = d * r - r * (r - 1) // 2
    z, rest = rng.chisquare(r, _DRAWN), rng.chisquare(d - r, _DRAWN) if d > r else 0.0
    leverages = 0.5 * (z**2 + 2.0 * z * rest - z**2 / (2.0 + r))
    return Information(p, (p - 1) + 2.0 / (2.0 + r), leverages / leverages.mean())


def _in_span(phi: Activation, units: Units, directions: Array, outer: Array, v: Array) -> Array:
    """``E[v_i v_j phi'_i phi'_j x x']`` for x in the span of the units, (k m, k m).

    On the plane of two rows at an angle the second moments come from the Hermite series of phi'(z), z phi'(z) and
    z^2 phi'(z), and orthogonal to it they are those of phi' alone.
    """
    k, m = directions.shape
    plain = units.coefficients(_TERMS + 2)
    n = np.arange(_TERMS + 1)[:, None]
    once = np.sqrt(n + 1.0) * plain[1:]
    once[1:] += np.sqrt(n[1:]) * plain[:-2]
    twice = np.sqrt(n[:-1] + 1.0) * once[1:]
    twice[1:] += np.sqrt(n[1:-1]) * once[:-2]
    plain, once = plain[:_TERMS], once[:_TERMS]
    cosines = np.clip(directions @ directions.T, -1.0, 1.0)
    powers = cosines[None] ** np.arange(_TERMS)[:, None, None]
    first = np.einsum("ni,nj,nij->ij", twice, plain, powers)  # E[z_i^2 phi'_i phi'_j]
    mixed = np.einsum("ni,nj,nij->ij", once, once, powers)  # E[z_i z_j phi'_i phi'_j]
    alone = _along(phi, units)
    found = np.empty((k, m, k, m))
    for i in range(k):
        for j in range(k):
            block, rho = outer[i, j] * np.eye(m), cosines[i, j]
            sine = np.sqrt(1.0 - rho**2)
            if i == j or sine < _PARALLEL:
                own = alone[i] if i == j else first[i, j]
                block += (own - outer[i, j]) * np.multiply.outer(directions[i], directions[i])
            else:
                across = (mixed[i, j] - rho * first[i, j]) / sine
                beside = (first[j, i] - 2.0 * rho * mixed[i, j] + rho**2 * first[i, j]) / sine**2
                plane = np.stack([directions[i], (directions[j] - rho * directions[i]) / sine])
                inside = np.array([[first[i, j], across], [across, beside]]) - outer[i, j] * np.eye(2)
                block += plane.T @ inside @ plane
            found[i, :, j, :] = v[i] * v[j] * block
    return found.reshape(k * m, k * m)


def _along(phi: Activation, units: Units) -> Array:
    """E[z^2 phi'(s z)^2] of every unit, by quadrature."""
    from ..activations.gaussian import quadrature

    found = np.empty(len(units.length))
    for j, (s, knots) in enumerate(zip(units.length, units.knots, strict=True)):
        z, table = quadrature(tuple(float(knot) for knot in knots if knot), 0)
        found[j] = (z * phi.derivative(s * z)) ** 2 @ table[:, 0]
    return found


def _inverse_root(matrix: Array) -> Array:
    """R with R R' the inverse; directions that rounding leaves without information have a large one."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-12 * values[-1])))
