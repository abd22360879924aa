"""How long one pass over rows takes here: measured at the call, since no table knows the machine at hand.

What is timed is a sweep for loss and gradient on one thread, by processor time, so that other processes hardly count.
"""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from ..data import Data
from ..models import Network, Parameters
from ..sweeps import Objective

_NUMBERS = 1 << 20  # of the rows that are swept: more rows take as long each
_LEAST = 0.01  # seconds that are measured over


def sweep_seconds(model: Network, n_features: int, n_rows: float) -> float:
    """Seconds of one processor for loss and gradient of n rows.

    Parameters
    ----------
    model : Network
        A regression of one output with an activation of ours; its output weights do not matter.
    n_features : int
    n_rows : float
        Of more than a million numbers a part is swept.

    Returns
    -------
    float
    """
    few = int(max(min(n_rows, _NUMBERS // n_features), 1))
    return _measured(model.with_output_weights("ones"), n_features, few) * (n_rows / few)


@lru_cache(maxsize=256)
def _measured(model: Network, n_features: int, n_rows: int) -> float:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n_rows, n_features)), rng.standard_normal(n_rows)
    objective = Objective(Data.of(X, y, None, model).engine(1), model)
    at = Parameters(rng.standard_normal((model.n_hidden, n_features)) / np.sqrt(n_features), np.ones(model.n_hidden))
    theta = model.pack(at)
    objective.value_and_grad(theta)  # which finds its memory
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < _LEAST:
        objective.value_and_grad(theta)
        count += 1
    return spent / count
