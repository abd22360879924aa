"""The penalty of a fit on its rows, in their own units or in standard ones, which only the rows can tell."""

from __future__ import annotations

import numpy as np

from ..engines import Engine
from ..models import Network, Penalty
from .moments import MomentSweeps

_NUMBERS_AT_ONCE = 1 << 20


def penalty_on(engine: Engine, model: Network, alpha: float, standardise: bool = False) -> Penalty | None:
    """``alpha / (2 n)`` times squares of weights, output weights and linear terms, n the sum of the weights of rows.

    Parameters
    ----------
    engine : Engine
        Rows and responses as they were given.
    model : Network
    alpha : float
    standardise : bool
        Whether the squares are those of a network for columns, and responses, of standard deviation 1.

    Returns
    -------
    Penalty or None
        None for an alpha of zero.
    """
    penalty = Penalty.of(alpha, engine.weights().total)
    if penalty is None or not standardise:
        return penalty
    scale = 1.0
    if model.loss.in_response_units:
        scale = float(np.sqrt(engine.response_variance() / model.n_outputs)) or 1.0
    return penalty.standardised(standard_deviations(engine), scale)


def standard_deviations(engine: Engine) -> np.ndarray:
    """Standard deviation of every input of a unit, by the weights of rows; 1 where it does not vary."""
    engine = engine.patches().with_ones(False)
    n, d = engine.shape
    engine.meter.count(n)
    mean, total, squares = MomentSweeps(engine).mean(), 0.0, np.zeros(d)
    step = max(1, _NUMBERS_AT_ONCE // d)
    for start in range(0, n, step):
        x, _, w = engine.rows(start, min(start + step, n))
        away = (x - mean) ** 2
        squares += away.sum(axis=0) if w is None else w @ away
        total += len(x) if w is None else float(w.sum())
    size = np.sqrt(squares / total)
    return np.where(size > 0, size, 1.0)
