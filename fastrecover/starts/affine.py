"""Least-squares affine part of the responses, the first thing every start takes away.

Subtracting it leaves all moments of order two and higher unchanged in expectation and removes most of their
variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ..engines import Engine
from ..linalg import least_squares
from ..models import Parameters
from ..sweeps import MomentSweeps

#: Features above which passes are dear next to products of d x d matrices, and coarse spans are refined later.
WIDE = 400
_WITHIN = 1.5  # times the share of the length by which so many rows leave the solution uncertain


def affine_fit(engine: Engine, rough: bool = False) -> Parameters:
    """Least squares of y on x and a constant.

    Up to 400 features all second moments are formed, in one pass; above, the system is solved by conjugate gradients
    with one pass an iteration, which for inputs near N(0, I) needs few.

    Parameters
    ----------
    engine : Engine
    rough : bool
        Whether an iteration may end at about the error that so many rows leave; else it ends at 1e-6.

    Returns
    -------
    Parameters
        A network without hidden units.
    """
    sweeps = MomentSweeps(engine)
    d = sweeps.n_features
    if d <= WIDE:
        gram = sweeps.gram()
        mu, mean_y = gram[-2, :d], gram[-2, -1]
        b = least_squares(gram[:d, :d] - np.outer(mu, mu), gram[:d, -1] - mean_y * mu)
    else:
        mean_y, mu = float(engine.mean_response()), np.zeros(d)

        def apply(v: np.ndarray) -> np.ndarray:
            image, mu[:] = sweeps.covariance_and_mean(v[None])
            return image[0] - (mu @ v) * mu

        xy = MomentSweeps(engine.with_responses(partial(_centred, mean=mean_y))).first()[1]
        b = _conjugate_gradients(apply, xy, _WITHIN * math.sqrt(d / engine.shape[0]) if rough else 1e-6)
    return Parameters(np.zeros((0, d)), np.zeros(0), b, float(mean_y - mu @ b))


# Named, since an engine may send it to where its rows are.
def _centred(y: np.ndarray, mean: float) -> np.ndarray:
    return y - mean


def _conjugate_gradients(
    apply: Callable[[np.ndarray], np.ndarray], right: np.ndarray, tol: float, most: int = 50
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
