"""Random rows, and signs drawn around what the second moment says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from .base import StartError


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


def small_random_start(
    engine: Engine, model: Network, seed: np.random.SeedSequence | np.random.Generator, size: float = 0.01
) -> Parameters:
    """Gaussian rows with ``|W|_F^2 = size * mean |y|`` (Xia and Shi 2019 start at random; the size is not theirs).

    For a sum of squares and Gaussian inputs mean |y| is ``|W|_F^2`` itself.

    Parameters
    ----------
    engine : Engine
    model : Network
        Quadratic network; unknown signs are drawn by fair coins.
    seed : SeedSequence or Generator
    size : float

    Returns
    -------
    Parameters

    Raises
    ------
    StartError
        As many units as features.
    """
    if model.n_hidden >= engine.shape[1]:
        raise StartError(
            f"n_hidden={model.n_hidden} must be below the {engine.shape[1]} features: small random rows are for a rank "
            "r < d; use init='spectral'"
        )
    start = random_start(model, engine.shape[1], np.random.default_rng(seed))
    length = np.sqrt(size * engine.average(np.abs) / abs(model.activation.quadratic_coefficient or 1.0))
    return replace(start, weights=start.weights * (length / np.linalg.norm(start.weights)))
