"""Least-squares affine part of the responses, the first thing every start takes away.

Subtracting it leaves all moments of order two and higher unchanged in expectation and removes most of their
variance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..engines import Engine
from ..linalg import least_squares
from ..models import Parameters
from ..sweeps import MomentSweeps

_DENSE = 400


def affine_fit(engine: Engine) -> Parameters:
    """Least squares of y on x and a constant.

    Up to 400 features all second moments are formed, in one pass; above, the system is solved by conjugate gradients
    with one pass an iteration, which for inputs near N(0, I) needs few.

    Parameters
    ----------
    engine : Engine

    Returns
    -------
    Parameters
        A network without hidden units.
    """
    sweeps = MomentSweeps(engine)
    d = sweeps.n_features
    if d <= _DENSE:
        gram = sweeps.gram()
        mu, mean_y = gram[-2, :d], gram[-2, -1]
        b = least_squares(gram[:d, :d] - np.outer(mu, mu), gram[:d, -1] - mean_y * mu)
    else:
        mean_y, xy, _ = sweeps.first()
        mu = sweeps.mean()
        b = _conjugate_gradients(lambda v: sweeps.covariance(v[None])[0] - (mu @ v) * mu, xy - mean_y * mu)
    return Parameters(np.zeros((0, d)), np.zeros(0), b, float(mean_y - mu @ b))


def _conjugate_gradients(
    apply: Callable[[np.ndarray], np.ndarray], right: np.ndarray, tol: float = 1e-6, most: int = 50
) -> np.ndarray:
    x, r, q = np.zeros_like(right), right.copy(), right.copy()
    rr = first = float(r @ r)
    for _ in range(most):
        if rr <= tol**2 * first:
            break
        product = apply(q)
        alpha = rr / float(q @ product)
        x += alpha * q
        r -= alpha * product
        rr, old = float(r @ r), rr
        q = r + rr / old * q
    return x
