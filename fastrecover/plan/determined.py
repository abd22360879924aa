"""Which weights the rows determine: an answer is only as good as the Jacobian it hangs on.

Columns that repeat others are known from the coordinates of the fit.  Units that are off, saturated or linear on all
rows, or that stand in for each other, make the Gauss-Newton matrix singular, or so nearly that the standard error of
a weight exceeds its unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..losses import EXACT_SLACK
from ..models import Network, Parameters
from ..random import Stream
from ..solvers import DENSE_LIMIT
from ..sweeps import Objective, local_rows
from .problem import ALL, Problem

_LOOKED_AT = 2000  # rows whose units are looked at one by one
_CLEAR = 1e-2  # smallest eigenvalue of the units' slopes, as correlations, from which Gaussian rows tell units apart
_ALIKE = 5  # rows for each feature that share the square of a unit's slopes
_OFF = 1e-6  # slope of a unit that has none, relative to the steepest there is
_ROWS, _FEWEST = 4, 500  # of a matrix: for each parameter, and at least
_MORE, _WORK = 16, 2e10  # times as many rows confirm a doubt, up to so many multiply-adds
_VANISHING = 1e-60  # root mean square of a derivative that is none, relative to the largest
_PIVOT = 1e-7  # of a Cholesky factor that needs no look at the eigenvalues
_NULL, _PART = 1e-12, 1e-3  # eigenvalue that is zero, and the share of a parameter in such directions that counts
_SHOWN = 5


@dataclass(eq=False)
class Determined:
    """What the rows determine.

    Attributes
    ----------
    weights : ndarray (n_hidden, n_features) of bool
    notes : list of str
        Why some are not, in words.
    """

    weights: np.ndarray
    notes: list[str] = field(default_factory=list)


def determined(problem: Problem, found: Parameters) -> Determined:
    """Which weights of a network the rows of a problem determine, up to the symmetries of its model.

    A weight is not determined where its column is a combination of others; where some direction of the parameters
    that moves it changes no output; or where its standard error, in the size of its column, exceeds the length of its
    unit.  Up to 600 parameters the Gauss-Newton matrix of some rows says so (of more, where these leave a doubt).
    Above, and where Gaussian rows show units that clearly differ, the slopes of the units do.

    Parameters
    ----------
    problem : Problem
    found : Parameters
        As the fit reports them.

    Returns
    -------
    Determined
    """
    units = problem.coordinates
    result = Determined(np.ones(found.weights.shape, bool))
    if (unseen := units.unseen) is not None:
        result.weights[:, unseen] = False
        result.notes.append(f"{_named('column', unseen)}: combinations of other columns")
    at = units.into(found, problem.model)
    if not (at.weights.any() and problem.model.n_patches == 1 and np.isfinite(at.flat()).all()):
        return result
    slopes = _slopes(problem, at)
    clear = _is_clear(slopes, problem.model, at.weights.shape[1])
    large = problem.p > DENSE_LIMIT
    clear = clear and problem.model.n_outputs == 1
    if clear and (large or problem.known_white):
        return result
    undetermined = _by_slopes(slopes, at) if large else _by_matrix(problem, at)
    undetermined[_is_flat(slopes, problem.model)] = True
    if undetermined.any():
        result.weights &= ~undetermined
        result.notes += _reasons(undetermined, slopes, problem.model)
    return result


def _slopes(problem: Problem, at: Parameters) -> np.ndarray:
    """``phi'(w_j . x)`` on some rows, (m, k), on more where a unit seems to have none."""
    slopes = np.zeros((0, len(at.weights)))
    for m in (_LOOKED_AT, _MORE * _LOOKED_AT):
        few = problem.engine.with_ones(at.biases is not None).sample(m, problem.seed(Stream.JUDGE))
        slopes = problem.model.activation.derivative(local_rows(few.projected(at.rows))[0])
        if len(slopes) < m or not _is_flat(slopes, problem.model).any():
            break
    return slopes


def _is_flat(slopes: np.ndarray, model: Network) -> np.ndarray:
    """Units that are off or saturated on every row: of these a slope says nothing beyond a small change."""
    if model.activation.degree not in (None, 1):
        return np.zeros(slopes.shape[1], bool)
    steepest = np.abs(model.activation.derivative(np.linspace(-4.0, 4.0, 81))).max()
    return np.asarray(np.abs(slopes).max(axis=0) <= _OFF * steepest)


def _is_clear(slopes: np.ndarray, model: Network, d: int) -> bool:
    """Whether units differ in their slopes, on rows enough, from each other and from a linear term."""
    squares = slopes**2
    alike = squares.sum(axis=0) ** 2 / np.maximum((squares**2).sum(axis=0), 1e-300)
    if alike.min() < _ALIKE * d:
        return False
    columns = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1) if model.linear_term else slopes
    gram = columns.T @ columns / len(columns)
    size = np.sqrt(gram.diagonal())
    if not size.min() > 0.1 * size.max():
        return False
    return bool(np.linalg.eigvalsh(gram / np.outer(size, size))[0] > _CLEAR)


def _by_slopes(slopes: np.ndarray, at: Parameters) -> np.ndarray:
    """Units without a slope, or whose slopes are combinations of others'."""
    values, vectors = np.linalg.eigh(slopes.T @ slopes)
    null = values <= _NULL * values[-1]
    off = (vectors[:, null] ** 2).sum(axis=1) > _PART
    return np.repeat(off[:, None], at.weights.shape[1], axis=1)


def _by_matrix(problem: Problem, at: Parameters) -> np.ndarray:
    """Weights that the Gauss-Newton matrix of some rows leaves open, (k, d) in the columns of the data."""
    n, p = problem.engine.shape[0], problem.p
    m = max(_ROWS * p, _FEWEST)
    while True:
        rows = problem.drawn(ALL, m, Stream.JUDGE)
        undetermined = _left_open(problem, Objective(problem.on(rows), problem.with_signs(at)[0]), at)
        m *= _MORE
        if not undetermined.any() or rows == ALL or m * p**2 > _WORK:
            return undetermined
        m = min(m, n)


def _left_open(problem: Problem, objective: Objective, at: Parameters) -> np.ndarray:
    from scipy.linalg import lapack

    theta, weights = problem.with_signs(at)[1], problem.engine.weights()
    k, r = at.weights.shape
    loss, _, matrix = objective.gauss_newton(theta)
    size = np.sqrt(matrix.diagonal())
    null = size <= _VANISHING * size.max()
    scale = np.where(null, 1.0, size)
    matrix = matrix / np.outer(scale, scale)
    matrix[null, null] = 1.0
    gauge = objective.model.gauge(objective.unpack(theta))
    if len(gauge):  # what no outputs depend on, such as the scale between both sides of a unit, is held
        held = np.linalg.qr((gauge * scale).T)[0]
        matrix += held @ held.T
    factor, info = lapack.dpotrf(matrix, lower=1)
    if info == 0 and factor.diagonal().min() ** 2 > _PIVOT:
        upper = lapack.dpotri(factor, lower=1)[0]
        inverse = np.tril(upper) + np.tril(upper, -1).T
    else:
        values, vectors = np.linalg.eigh(matrix)
        flat = values <= _NULL * values[-1]
        # As many directions turn the rows of a quadratic network into each other.
        if flat.sum() > problem.model.n_flat:
            null |= (vectors[:, flat] ** 2).sum(axis=1) > _PART
        inverse = (vectors[:, ~flat] / values[~flat]) @ vectors[:, ~flat].T
    # A loss at the level of rounding is as good as any other there.
    noise = max(objective.noise(loss), objective.noise(EXACT_SLACK * max(problem.exact_loss, 0.0)))
    rows_alike = weights.total**2 / weights.squares
    inverse *= noise**2 / rows_alike / np.outer(scale, scale)
    units = problem.coordinates
    d = r if units.root is None else len(units.root)
    length = np.linalg.norm(theta[: k * r].reshape(k, r), axis=1)
    open_ = np.zeros((k, d), bool)
    for j in range(k):
        block = slice(j * r, (j + 1) * r)
        variance, dead = inverse[block, block], null[block]
        if units.matrix is None or units.matrix.ndim == 1:
            error, gone = np.sqrt(np.maximum(variance.diagonal(), 0.0)), dead
        else:
            sizes = np.linalg.norm(np.asarray(units.root), axis=1)
            square = np.einsum("ri,rs,si->i", units.matrix, variance, units.matrix)
            error = np.sqrt(np.maximum(square, 0.0)) * sizes
            gone = (units.matrix[dead] ** 2).sum(axis=0) * sizes**2 > _PART
        open_[j] = gone | (error > length[j])
    return open_


def _reasons(undetermined: np.ndarray, slopes: np.ndarray, model: Network) -> list[str]:
    """What is the matter with units and columns that are not determined."""
    whole, notes = undetermined.all(axis=1), []
    off = whole & _is_flat(slopes, model)
    flat = whole & ~off & (np.ptp(slopes, axis=0) <= _OFF * np.abs(slopes).max(axis=0))
    some = undetermined.any(axis=1) & ~off & ~flat
    if off.any():
        notes.append(f"{_named('unit', off)}: off or saturated on every row")
    if flat.any():
        notes.append(f"{_named('unit', flat)}: linear on every row")
    if some.any():
        columns = undetermined[some].any(axis=0)
        of = "" if columns.all() else f" for {_named('column', columns)}"
        notes.append(f"{_named('unit', some)}: may change by more than their size{of}, with no worse a fit")
    return notes


def _named(what: str, which: np.ndarray) -> str:
    at = np.flatnonzero(which)
    shown = ", ".join(str(i) for i in at[:_SHOWN]) + (", ..." if len(at) > _SHOWN else "")
    return f"{what}{'s' * (len(at) > 1)} {shown}"
