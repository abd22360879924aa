"""Random rows, and signs drawn around what the second moment says of them."""

from __future__ import annotations

import numpy as np

from ..models import Network, Parameters


def random_start(
    model: Network,
    n_features: int,
    rng: np.random.Generator,
    *,
    scale: float = 1.5,
    positive: int | None = None,
) -> Parameters:
    """Rows ``N(0, scale^2 / d)`` and output weights of the model.

    Parameters
    ----------
    model : Network
    n_features : int
    rng : Generator
    scale : float
        Expected length of a row.
    positive : int, optional
        Number of positive signs where they are unknown; drawn by fair coins if not given.

    Returns
    -------
    Parameters
    """
    k, d = model.n_hidden, n_features
    weights = rng.standard_normal((k, d)) * (scale / np.sqrt(d))
    v = model.known_v
    if v is None:
        number = int(rng.binomial(k, 0.5)) if positive is None else positive
        v = np.where(np.arange(k) < number, 1.0, -1.0)
        if model.activation.parity == "odd":
            v = np.abs(v)
    return Parameters(weights, v, np.zeros(d) if model.linear_term else None, 0.0)
