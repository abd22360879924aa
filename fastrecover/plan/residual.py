"""Is what a network leaves of the responses more than noise?

A minimum that is not exact is believed only if its residual looks like noise: F tests see structure in the span of
the units, and the first moments of the residual see a missing unit that points elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..linalg import leading_eigenvectors, orthonormal
from ..models import Parameters
from ..sweeps import MomentSweeps

_MOST_FEATURES, _MOST_WHOLE = 400, 100
_DIRECTIONS, _DEPTH = 8, 5  # which find 95 % of an eigenvalue a quarter over the edge of 500 features
_EDGE, _SCORE = 2.5, 8.5  # a quarter over the edge, and six standard deviations of one entry


@dataclass(frozen=True)
class Verdict:
    """What the tests say of a residual.

    Attributes
    ----------
    chance : float
        Chance that noise shows as much structure in the span of the units.
    has_missing_unit : bool
        Whether its moments of order one or two (three for odd activations) are beyond those of noise.
    """

    chance: float
    has_missing_unit: bool

    def misfit(self, level: float) -> bool:
        """Whether the residual is more than noise, at a chance of error of `level` for the F tests."""
        return self.chance < level or self.has_missing_unit


def judge_residual(
    engine: Engine, activation: Activation, found: Parameters, loss: float, seed: np.random.SeedSequence
) -> Verdict | None:
    """Test what a network leaves of the responses at a minimum.

    Parameters
    ----------
    engine : Engine
        The rows that it was fitted to.
    activation : Activation
    found : Parameters
    loss : float
        Half the mean square of the residual.
    seed : SeedSequence

    Returns
    -------
    Verdict or None
        None where the rows are too few for any test.
    """
    try:
        with np.errstate(all="ignore"):
            chances = _chances(engine, activation, found, loss)
            missing = bool(chances) and _has_missing_unit(engine, activation, found, loss, seed)
    except np.linalg.LinAlgError:  # moments that overflow tell nothing
        return None
    return Verdict(min(1.0, len(chances) * min(chances)), missing) if chances else None


def _chances(engine: Engine, activation: Activation, found: Parameters, loss: float) -> list[float]:
    """P values of Hermite features of the span of units: of degree 2, and of the highest degree that the rows allow.

    Where there are few features, those of all directions are tested as well.

    The features are not made orthogonal to the Jacobian, so the gain is a lower bound and the test cautious.
    """
    from scipy.special import fdtrc

    n, d = engine.shape
    basis, p = orthonormal(found.weights[:d]), found.flat().size
    sizes = {degree: math.comb(len(basis) + degree, degree) for degree in (2, 3, 4)}
    fitting = [degree for degree, size in sizes.items() if size <= min((n - p) // 4, _MOST_FEATURES)]
    degrees = tuple(sorted({*fitting[:1], *fitting[-1:]}))
    # Loss of a regression, features that it gains, degrees of freedom that are left.
    sweeps, tested = MomentSweeps(engine, found, activation), list[tuple[float, int, int]]()
    if degrees:
        losses = sweeps.hermite_losses(basis, degrees, ridge=1e-10)
        tested = [(left, sizes[g], n - p - sizes[g]) for g, left in zip(degrees, losses, strict=True)]
    # Of few features in all directions, where a unit that is missing would point.
    whole = {g: math.comb(d + g, g) for g in (3, 2) if len(basis) < d}
    degree = next((g for g, size in whole.items() if size <= min((n - p) // 4, _MOST_WHOLE)), None)
    if degree is not None:
        left, size = sweeps.hermite_losses(np.eye(d), (degree,), ridge=1e-10)[0], whole[degree]
        # A quadratic network is itself one of the quadratic functions, of fewer parameters.
        k, nested = len(found.weights), activation.is_quadratic and degree == 2
        own = k * d - k * (k - 1) // 2 if nested else 0
        tested.append((left, size - own, n - size if nested else n - p - size))
    return [
        float(fdtrc(gained, rest, max((loss - left) / gained, 0.0) / max(left / rest, 1e-300)))
        for left, gained, rest in tested
    ]


def _has_missing_unit(
    engine: Engine, activation: Activation, found: Parameters, loss: float, seed: np.random.SeedSequence
) -> bool:
    """Moments of the residual beyond those of noise and white rows.

    ``E[r x]`` is about ``sigma sqrt(d / n)`` long, the largest eigenvalue of P2 about ``2 sigma sqrt(d / n)``.
    """
    n, d = engine.shape
    order, sweeps, first = activation.subspace_order or 2, MomentSweeps(engine, found, activation), np.zeros(d)
    alpha = None if order == 2 else found.output_weights @ found.weights[:, :d]
    alpha = None if alpha is None else alpha / max(float(np.linalg.norm(alpha)), 1e-300)

    def product(v: np.ndarray) -> np.ndarray:
        image, first[:] = sweeps.product_and_first(v, order, alpha)
        return image

    sizes = _largest(product, d, seed) / (order - 1), float(np.linalg.norm(first))
    edge = math.sqrt(2.0 * loss) * (_EDGE * math.sqrt(d / n) + _SCORE / math.sqrt(n))
    # Rows that vary by more than 1 in some direction only raise the edge.
    return max(sizes) > edge and max(sizes) > edge * _largest(MomentSweeps(engine).covariance, d, seed)


def _largest(product: Callable[[np.ndarray], np.ndarray], d: int, seed: np.random.SeedSequence) -> float:
    """Largest eigenvalue in size of a symmetric matrix given by its products."""
    rng = np.random.default_rng(seed)
    return float(abs(leading_eigenvectors(product, d, 1, rng, depth=_DEPTH, block=_DIRECTIONS)[0][0]))
