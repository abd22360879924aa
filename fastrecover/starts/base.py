"""What all starts share: how they fail, and units whose output weights are fitted to given rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..sweeps import Objective

#: A start: of the rows of an engine, a model and a seed, parameters with definite output weights.
Start: TypeAlias = Callable[[Engine, Network, np.random.SeedSequence], Parameters]


class StartError(ValueError):
    """The start cannot resolve the weights; the message says why."""


def ridge_lengths(engine: Engine, model: Network, rows: np.ndarray) -> Parameters:
    """Sides, output weights and lengths of unit rows by least squares of y on ``phi(+-u.x)``.

    Exact for exact directions.  The rows of an activation that is not homogeneous keep their unit length.

    Parameters
    ----------
    engine : Engine
    model : Network
    rows : ndarray (n_hidden, d)
        Unit directions, their signs unknown.

    Returns
    -------
    Parameters
    """
    act, k, d = model.activation, len(rows), rows.shape[1]
    linear = np.zeros(d) if model.linear_term else None
    objective = Objective(engine, model.with_free_output_weights(k))
    if act.parity is None:
        both = Parameters(np.concatenate([rows, -rows]), np.ones(2 * k), linear)
        fitted, _, gram = objective.output_regression(both, ridge=1e-6)
        a = np.abs(fitted.output_weights.reshape(2, k))
        other = a[1] > a[0]
        rows = np.where(other[:, None], -rows, rows)
        kept = np.concatenate([np.arange(k) + k * other, np.arange(2 * k, len(gram))])
        fitted = objective.regressed(rows, gram[np.ix_(kept, kept)], ridge=1e-6)[0]
    else:
        fitted = objective.output_regression(Parameters(rows, np.ones(k), linear), ridge=1e-6)[0]
    a, v = fitted.output_weights, model.known_v
    if act.degree is None and v is None:
        return replace(fitted, output_weights=a if model.free_v else np.where(a < 0, -1.0, 1.0))
    if v is None:
        v = np.where(a < 0, -1.0, 1.0)
        size = np.abs(a)
    else:
        size = np.maximum(a * np.sign(v), 0.0) / np.abs(v)
    if act.degree is None:
        return replace(fitted, output_weights=v)
    typical = float(np.median(size[size > 0])) if (size > 0).any() else 1.0
    size = np.clip(size, 0.05 * typical, 5.0 * typical)
    weights = rows * (size ** (1.0 / (act.degree or 1)))[:, None]
    return Parameters(weights, v, fitted.linear, fitted.intercept)


def with_output_weights(engine: Engine, model: Network, rows: np.ndarray) -> Parameters:
    """Given rows with output weights: the model's, or those of least squares (their signs where only these are free).

    Parameters
    ----------
    engine : Engine
    model : Network
    rows : ndarray (n_hidden, d)

    Returns
    -------
    Parameters
    """
    linear = np.zeros(rows.shape[1]) if model.linear_term else None
    if model.known_v is not None:
        return Parameters(rows, model.known_v, linear)
    k = len(rows)
    free = Objective(engine, model.with_free_output_weights(k))
    v = free.output_regression(Parameters(rows, np.ones(k), linear), ridge=1e-6)[0].output_weights
    if model.free_v and model.activation.degree is None:
        return Parameters(rows, v, linear)
    return Parameters(rows, np.where(v < 0, -1.0, 1.0), linear)
