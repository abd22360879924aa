"""The quadratic part of the responses, of low rank, by products alone.

Second moments hold it for every activation whose second Hermite coefficient is not zero, and what is left of the
responses without it has far less variance in its higher moments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..activations import get_activation
from ..engines import Engine
from ..linalg import leading_eigenvectors, orthonormal
from ..models import Network, Parameters
from ..sweeps import MomentSweeps
from ..tensors import hermite_to_tensor
from .affine import WIDE, affine_fit

QUADRATIC = get_activation("quadratic")
_DEPTH = 4  # passes of a Krylov space, whose last one six powers would not reach
_FLAT = 4e-3  # gain to be expected of the next round: the gains fall like powers
_ROUNDS, _QUICK = 12, 2  # the second are enough where rows are many
_ROUNDS_OF_WIDE = 1  # what follows the start mends a coarse span in fewer passes


@dataclass(frozen=True)
class QuadraticFit:
    """``y ~ c + b.x + sum_a l_a (z_a^2 - 1)``, z = basis x, and half the mean square of what is left."""

    basis: np.ndarray
    eigenvalues: np.ndarray
    affine: Parameters
    loss: float

    def parameters(self) -> Parameters:
        """The fit as a quadratic network."""
        c = self.affine.intercept - float(self.eigenvalues.sum())
        return Parameters(self.basis, self.eigenvalues, self.affine.slope, c)


def quadratic_fit(
    engine: Engine, affine: Parameters, k: int, rng: np.random.Generator, rounds: int | None = None
) -> QuadraticFit:
    """Low-rank quadratic fit of the responses, rank k, by products with at most 3k vectors.

    Each round adds the image of the current basis under the residual's second moment (the direction of steepest
    descent) to the basis, fits all quadratic features of the wider basis by least squares and keeps the k
    largest eigenvalues: iterative hard thresholding with an exact fit in every subspace.

    Parameters
    ----------
    engine : Engine
    affine : Parameters
        Affine part of the responses.
    k : int
    rng : Generator
    rounds : int, optional
        At most so many, by default 12, and 1 where there are many features.

    Returns
    -------
    QuadraticFit
    """
    d, basis = engine.shape[1], leading_directions(MomentSweeps(engine, affine), min(k + 5, engine.shape[1]), rng)
    rounds = rounds or (_ROUNDS if d <= WIDE else _ROUNDS_OF_WIDE)
    best: QuadraticFit | None = None
    previous, gain = basis[:0], 1.0
    for number in range(rounds):
        sweeps = MomentSweeps(engine, affine)
        (mean, first, second), loss = sweeps.hermite_regression(basis, 2, ridge=1e-6)
        last, gain = gain, 1.0 if best is None else 1.0 - loss / max(best.loss, 1e-300)
        if best is None or gain > 0:
            values, vectors = np.linalg.eigh(hermite_to_tensor(second, len(basis), 2) / 2.0)
            top = np.argsort(-np.abs(values))[:k]
            line = replace(affine, linear=affine.slope + first @ basis, intercept=affine.intercept + mean[0])
            previous = previous if best is None else best.basis
            best = QuadraticFit(vectors[:, top].T @ basis, values[top], line, loss)
        if gain <= 0 or gain * gain / last < _FLAT or number == rounds - 1:
            break
        image, mean_r, first_r = MomentSweeps(engine, best.parameters(), QUADRATIC).second(best.basis)
        line = best.affine
        affine = replace(line, linear=line.slope + first_r, intercept=line.intercept + mean_r)
        # Keeping the last basis pays only after _QUICK rounds.
        wide = [best.basis, image, previous] if number >= _QUICK else [best.basis, image]
        basis = orthonormal(np.concatenate(wide)[:d])
    assert best is not None
    return best


def leading_directions(
    sweeps: MomentSweeps, count: int, rng: np.random.Generator, order: int = 2, alpha: np.ndarray | None = None
) -> np.ndarray:
    """Orthonormal rows (count, d) that nearly span the leading eigenvectors of ``M_order(., ., alpha, ..)``.

    From a block Krylov space; where as many products form the matrix itself, its eigenvectors.
    """
    d = sweeps.n_features
    return leading_eigenvectors(lambda v: sweeps.product(v, order, alpha), d, count, rng, depth=_DEPTH, block=count)[1]


def inertia(engine: Engine, k: int, rng: np.random.Generator) -> int:
    """Number of positive output weights by Sylvester's law, from the rank-k quadratic fit of the responses."""
    fit = quadratic_fit(engine, affine_fit(engine, rough=True), k, rng)
    return int((fit.eigenvalues > 0).sum())


def quadratic_network(fit: QuadraticFit, model: Network) -> Parameters:
    """Rows sqrt|l| times the eigenvectors; with all-positive units negative eigenvalues are cut off."""
    values, v = fit.eigenvalues / (model.activation.quadratic_coefficient or 1.0), model.known_v
    if v is None:
        v = np.where(values < 0, -1.0, 1.0)
    else:
        order = np.argsort(-values)[np.argsort(np.argsort(-v))]
        fit, values = replace(fit, basis=fit.basis[order]), values[order]
    size = np.maximum(values / v, 1e-3 * np.abs(values).max(initial=1e-300))
    c = fit.parameters().intercept if model.fit_intercept else 0.0
    linear = fit.affine.slope if model.linear_term else None
    return Parameters(fit.basis * np.sqrt(size)[:, None], np.asarray(v, np.float64), linear, c)
