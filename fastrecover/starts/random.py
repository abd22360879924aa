"""Random rows, and signs drawn around what the second moment says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..sweeps import local_rows
from .base import StartError, network

_ANCHORS = 512


def anchors(engine: Engine, model: Network, rng: np.random.Generator) -> np.ndarray | None:
    """Some rows, at which the kinks of random units are placed; None for units without biases.

    Parameters
    ----------
    engine : Engine
    model : Network
    rng : Generator

    Returns
    -------
    ndarray (m, d) or None
    """
    if not model.hidden_bias:
        return None
    seed = np.random.SeedSequence(int(rng.integers(1 << 63)))
    return local_rows(engine.with_ones(False).patches().sample(_ANCHORS, seed))[0]


def with_kinks(found: Parameters, at: np.ndarray | None, rng: np.random.Generator) -> Parameters:
    """The network with biases such that each unit's argument is zero at a random one of some rows.

    Parameters
    ----------
    found : Parameters
    at : ndarray (m, d) or None
        None leaves everything as it is.
    rng : Generator

    Returns
    -------
    Parameters
    """
    if at is None:
        return found
    rows = at[rng.integers(len(at), size=len(found.weights))]
    return replace(found, biases=-np.einsum("kd,kd->k", rows, found.weights))


def random_start(
    model: Network,
    n_features: int,
    rng: np.random.Generator,
    *,
    scale: float = 1.5,
    positive: int | None = None,
    at: np.ndarray | None = None,
) -> Parameters:
    """Rows ``N(0, scale^2 / d)`` and output weights of the model; of several outputs, such as N(0, 1 / k).

    Parameters
    ----------
    model : Network
    n_features : int
    rng : Generator
    scale : float
        Expected length of a row.
    positive : int, optional
        Number of positive signs where they are unknown; drawn by fair coins if not given.
    at : ndarray (m, d), optional
        Rows at which the arguments of units with biases are zero (:func:`anchors`); biases are 0 if not given.

    Returns
    -------
    Parameters
    """
    k, d, m = model.n_hidden, n_features, model.n_outputs
    weights = rng.standard_normal((k, d)) * (scale / np.sqrt(d))
    v = model.known_v
    if m > 1:
        v = rng.standard_normal((m, k)) / np.sqrt(k)
    elif v is None:
        number = int(rng.binomial(k, 0.5)) if positive is None else positive
        v = np.where(np.arange(k) < number, 1.0, -1.0)
        if model.activation.parity == "odd":
            v = np.abs(v)
    return with_kinks(network(model, weights, v), at, rng)


def light_start(model: Network, n_features: int, rng: np.random.Generator) -> Parameters:
    """Weights as light as those that networks are trained from (Glorot and Bengio 2010), free output weights too.

    Where a penalty counts, minima of light units are lower than those that long rows with kinks among the data reach.

    Parameters
    ----------
    model : Network
        With free output weights.
    n_features : int
    rng : Generator

    Returns
    -------
    Parameters
    """
    k, m = model.n_hidden, model.n_outputs
    inner, outer = np.sqrt(6.0 / (k + n_features)), np.sqrt(6.0 / (k + m))
    weights = rng.uniform(-inner, inner, (k, n_features))
    start = network(model, weights, rng.uniform(-outer, outer, (m, k) if m > 1 else k))
    return replace(start, biases=rng.uniform(-inner, inner, k)) if model.hidden_bias else start


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
