"""Networks behind a function: queries, seconds and worst weight error of ``extract``, beside ``fit`` on Gaussian rows.

The published yard-stick is about 100,000 parameters in 2^21.5 queries (Carlini, Jagielski and Mironov 2020).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from .harness import Context, Row

#: Victim, features, units, type of its arithmetic, seeds, and seconds that ``fit`` is given.
_CELLS = (
    ("planted", 100, 50, "float64", 5, 60.0),
    ("planted", 100, 50, "float32", 5, 0.0),
    ("digits", 784, 128, "float64", 1, 300.0),
    ("digits", 784, 128, "float32", 1, 0.0),
)
_SMALL = (("planted", 10, 4, "float64", 1, 5.0), ("planted", 10, 4, "float32", 1, 0.0))
_SMALL_DIGITS = ("digits", 64, 8, "float64", 1, 0.0)

Layers = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def run(context: Context) -> Iterator[Row]:
    """A row for each victim and seed."""
    names = ("victim", "d", "k", "dtype")
    for *cell, seeds, budget in (*_SMALL, _SMALL_DIGITS) if context.quick else _CELLS:
        for seed in range(seeds):
            try:
                yield from context.each(
                    [dict(zip(names, cell, strict=True)) | {"seed": seed, "fit at most": budget}], measure
                )
            except ImportError as error:
                context.leave_out("scikit-learn", error)


def measure(context: Context, victim: str, d: int, k: int, dtype: str, seed: int, **more: float) -> Row:
    """One extraction, and a fit to as many answers at Gaussian rows."""
    import fastrecover as fr

    layers = digits(d, k, seed) if victim == "digits" else planted(d, k, seed)
    query, budget = answers(layers, dtype), more["fit at most"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.perf_counter()
        found = fr.extract(query, d, k, random_state=seed)
        seconds = time.perf_counter() - begun
        row: Row = {
            "parameters": k * (d + 2) + 1,
            "queries": found.n_queries,
            "log2 queries": float(np.log2(found.n_queries)),
            "seconds": seconds,
            "units": int(found.determined.any(axis=1).sum()),
            "converged": found.converged,
        } | errors(found, layers)
        if not budget:
            return row
        X = np.random.default_rng([71, seed]).standard_normal((found.n_queries, d))
        begun = time.perf_counter()
        options: Any = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True}
        fit = fr.fit(X, query(X), "relu", k, **options, max_seconds=budget, random_state=seed, n_jobs=context.threads)
        row |= {"fit seconds": time.perf_counter() - begun, "fit converged": fit.converged}
    return row | {f"fit {name}": value for name, value in errors(fit, layers).items()}


def planted(d: int, k: int, seed: int) -> Layers:
    """A Gaussian network with biases."""
    rng = np.random.default_rng([70, seed])
    weights, biases = rng.standard_normal((k, d)) / np.sqrt(d), 0.5 * rng.standard_normal(k)
    return weights, biases, rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 2.0, k), 1.0


@lru_cache(maxsize=1)
def digits(d: int, k: int, seed: int) -> Layers:
    """scikit-learn's regression network, trained to read its digits, in 28 x 28 pixels where d says so."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPRegressor

    data = load_digits()
    side = round(np.sqrt(d))
    images = np.array([zoom(image / 16.0, side / len(image), order=1) for image in data.images])
    net = MLPRegressor(hidden_layer_sizes=(k,), max_iter=60, random_state=seed)
    net.fit(images.reshape(len(images), -1), data.target.astype(float))
    return net.coefs_[0].T.copy(), net.intercepts_[0], net.coefs_[1][:, 0].copy(), float(net.intercepts_[1][0])


def answers(layers: Layers, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function, all of it in one precision."""
    weights, biases, outward, intercept = (np.asarray(each, dtype) for each in layers)

    def query(X: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(X.astype(dtype) @ weights.T + biases, 0) @ outward + intercept)

    return query


def errors(found: Any, layers: Layers) -> Row:
    """How far a recovery is from a network: all parameters together, and its worst entry.

    A unit is ``v (w, a)``, whose largest error is told in units of the largest entry of all; that of each unit on its
    own, in units of its length, as a median and the share of units where it is below 1e-3.
    """
    from fastrecover.models import Parameters

    weights, biases, outward, intercept = layers
    truth = Parameters(weights, outward, None, intercept, biases=biases)
    mine, theirs = found.model.aligned(found.parameters, truth)
    a, b = (p.output_weights[:, None] * p.rows for p in (mine, theirs))
    own = np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
    return {
        "error": float(np.linalg.norm(a - b) / np.linalg.norm(b)),
        "worst entry": float(np.abs(a - b).max() / np.abs(b).max()),
        "units' error, median": float(np.median(own)),
        "units within 1e-3": float(np.mean(own < 1e-3)),
    }
