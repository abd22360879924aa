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


def network(model: Network, weights: np.ndarray, v: np.ndarray) -> Parameters:
    """Hidden units in a network of the model whose other parameters are zero."""
    m = model.n_outputs
    shape = (m, weights.shape[1]) if m > 1 else (weights.shape[1],)
    return Parameters(
        weights,
        v,
        np.zeros(shape) if model.linear_term else None,
        np.zeros(m) if m > 1 else 0.0,
        biases=np.zeros(len(weights)) if model.hidden_bias else None,
    )


def beyond_plain(model: Network) -> str:
    """What a network has that the published starts do not know; empty where there is nothing."""
    return (
        "hidden biases" * model.hidden_bias
        or "several outputs" * (model.n_outputs > 1)
        or f"the {model.loss.name} loss" * (model.loss.of_output and not model.loss.least_squares)
    )


def check_plain(model: Network, start: str) -> None:
    """Raise StartError for networks that the published starts do not know.

    Parameters
    ----------
    model : Network
    start : str
        Its name.
    """
    if other := beyond_plain(model):
        raise StartError(f"init={start!r} is not for networks with {other}: use init='auto', 'tensor' or 'random'")


def ridge_lengths(engine: Engine, model: Network, units: Parameters) -> Parameters:
    """Sides, output weights and lengths of unit rows by least squares of y on ``phi(+-(u.x + a))``.

    Exact for exact directions (and biases).  The rows of an activation that is not homogeneous keep their length.

    Parameters
    ----------
    engine : Engine
    model : Network
    units : Parameters
        Unit directions, their signs unknown, with the biases that go with them.

    Returns
    -------
    Parameters
    """
    act, rows = model.activation, units.rows
    k = len(rows)
    objective = Objective(engine, model.with_free_output_weights(k))
    if act.parity is None:
        both = units.with_rows(np.concatenate([rows, -rows]))
        fitted, _, gram = objective.output_regression(both, ridge=1e-6)
        a = np.linalg.norm(fitted.columns.reshape(-1, 2, k), axis=0)
        other = a[1] > a[0]
        kept = np.concatenate([np.arange(k) + k * other, np.arange(2 * k, len(gram))])
        turned = units.with_rows(np.where(other[:, None], -rows, rows))
        fitted = objective.regressed(turned, gram[np.ix_(kept, kept)], ridge=1e-6)[0]
    else:
        fitted = objective.output_regression(units, ridge=1e-6)[0]
    if model.n_outputs > 1:
        return fitted
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
    scaled = fitted.with_rows(fitted.rows * (size ** (1.0 / (act.degree or 1)))[:, None])
    return replace(scaled, output_weights=v)


def with_output_weights(engine: Engine, model: Network, units: Parameters) -> Parameters:
    """Given units with output weights: the model's, or those of least squares (their signs where only these are free).

    Parameters
    ----------
    engine : Engine
    model : Network
    units : Parameters
        With zeros, or what was given, for linear term and intercept.

    Returns
    -------
    Parameters
    """
    if model.known_v is not None:
        return replace(units, output_weights=model.known_v)
    k = len(units.weights)
    free = Objective(engine, model.with_free_output_weights(k))
    fitted = free.output_regression(units, ridge=1e-6)[0]
    v = fitted.output_weights
    if model.n_outputs > 1:
        return fitted
    if not (model.free_v and model.activation.degree is None):
        v = np.where(v < 0, -1.0, 1.0)
    return replace(units, output_weights=v)
