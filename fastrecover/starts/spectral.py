"""Spectral start of quadratic networks from bounded responses.

``E[t(y) (x x' - I)]`` has the column space of M for every t, and its sampling error grows with the tails of t(y):
those of y itself, a sum of squares, cost several times as many rows as a t that levels off.  Eigenvectors come from
products alone; inside their span the quadratic form is then fitted to the responses as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from ..engines import Engine
from ..linalg import leading, leading_eigenvectors
from ..models import Network, Parameters, Quadratic
from ..sweeps import MomentSweeps, Objective
from ..tensors import hermite_to_tensor
from .affine import affine_fit
from .base import StartError, check_plain
from .quadratic_fit import QuadraticFit, quadratic_network
from .tensor import check_resolvable

_LEAST_SHARE = 0.05
_MOST_FEATURES = 1500
_DEPTH = 6  # passes for both ends of the spectrum of a residual, with eight directions: within some 5 %
# What is promised by an exchange for a unit of the other sign, or of the same one, is off by so many p / n.  The latter
# mostly leads back.
_UNSURE, _LEAST_SQUARE = (4.0, 2.0), 0.5


def check_spectral(model: Network, n_features: int) -> None:
    """Raise StartError where the second moment does not hold all of a network.

    Parameters
    ----------
    model : Network
    n_features : int
    """
    if not model.is_quadratic_form:
        raise StartError("init='spectral' is for model='quadratic', whose second moment holds all: use 'tensor'")
    check_plain(model, "spectral")
    check_resolvable(model, n_features)


def spectral_start(engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """Leading eigenvectors of ``mean t (x x' - I)``, ``t = (q - mean q) / (|q| + mean |q| / 2)``, with a fitted core.

    q are the responses without linear term and intercept.  The linear term, where the model has one, is taken away
    by least squares.  An unknown intercept hides tr M = mean q; it is then estimated for eigenvalues of one size,
    from the variance 2 tr M^2 where signs are known and otherwise from the third moment 8 tr M^3.

    Parameters
    ----------
    engine : Engine
    model : Network
        Quadratic network.
    seed : SeedSequence

    Returns
    -------
    Parameters
        With definite output weights.
    """
    model = definite(engine, model)
    k, (n, d) = model.n_hidden, engine.shape
    rng = np.random.default_rng(seed)
    affine = affine_fit(engine) if model.linear_term else _mean_fit(engine)
    bounded = MomentSweeps(bounded_responses(engine, model, affine))
    known = model.known_squares
    positive, count = None if known is None else int((known > 0).sum()), k
    if known is None and 2 * k <= d and math.comb(2 * k + 2, 2) <= min(_MOST_FEATURES, n // 2):
        # The bulk of t's eigenvalues is not centred: both ends are candidates where signs are unknown.
        positive, count = k, 2 * k
    basis = leading_eigenvectors(lambda v: bounded.second(v)[0], d, count, rng, positive)[1]
    sweeps = MomentSweeps(engine, affine)
    while True:
        (mean, first, second), loss = sweeps.hermite_regression(basis, 2, ridge=1e-6)
        values, vectors = np.linalg.eigh(hermite_to_tensor(second, len(basis), 2) / 2.0)
        if len(basis) == k:
            break
        basis = vectors[:, np.argsort(-np.abs(values))[:k]].T @ basis
    affine = replace(affine, linear=affine.slope + first @ basis, intercept=affine.intercept + mean[0])
    if known is not None and (known > 0).all():
        trace = float(affine.intercept) if not model.fit_intercept else float(np.abs(values).sum())
        values = np.maximum(values, _LEAST_SHARE * abs(trace) / k)
        if not model.fit_intercept and trace > 0:
            values *= trace / values.sum()
    else:
        floor = _LEAST_SHARE * np.abs(values).mean()
        values = np.where(values < 0, -1.0, 1.0) * np.maximum(np.abs(values), floor)
    return quadratic_network(QuadraticFit(vectors.T @ basis, values, affine, loss), model)


def definite(engine: Engine, model: Network) -> Network:
    """The model with ones where signs are unknown and no response has the other sign than its squares.

    That is a guess: a negative eigenvalue that is small beside the others may show in no row.
    """
    hidden = model.known_v is not None or model.linear_term or model.fit_intercept
    if hidden:
        return model
    downwards = (model.activation.quadratic_coefficient or 1.0) < 0
    squares = engine.with_responses(np.negative) if downwards else engine
    return model if squares.smallest_response() < 0 else model.with_output_weights("ones")


def bounded_responses(engine: Engine, model: Network, affine: Parameters) -> Engine:
    """The same rows with responses t of :func:`spectral_start`."""
    if model.linear_term:
        plane = Quadratic(1, linear_term=True, fit_intercept=True)
        flat = plane.pack(Parameters(np.zeros((1, engine.shape[1])), np.ones(1), affine.slope, affine.intercept))
        residual = Objective(engine, plane).residual(flat).engine
    else:
        residual = engine.with_responses(partial(_shifted, by=-float(affine.intercept)))
    trace = engine.average()
    if model.fit_intercept:
        k, deviation = model.n_hidden, float(np.sqrt(residual.average(np.square)))
        most = deviation * np.sqrt(k / 2.0)
        if model.known_squares is None:
            third = residual.average(_cubed)
            trace = float(np.clip(0.25 * k * third / max(deviation, 1e-300) ** 2, -most, most))
        else:
            trace = most * float(np.sign(model.known_squares).mean())
    q = residual.with_responses(partial(_shifted, by=trace))
    return q.with_responses(partial(_bounded, mean=q.average(), size=q.average(np.abs)))


# Named, since an engine may send them to where its rows are.
def _shifted(y: np.ndarray, by: float) -> np.ndarray:
    return y + by


def _cubed(y: np.ndarray) -> np.ndarray:
    return y**3


def _bounded(q: np.ndarray, mean: float, size: float) -> np.ndarray:
    return (q - mean) / (np.abs(q) + 0.5 * size)


def wider(engine: Engine, model: Network, at: Parameters, extra: int, rng: np.random.Generator) -> Parameters:
    """A quadratic network with more rows, along which its loss falls fastest, at the length where each stops falling.

    A local minimum with k rows is mostly a saddle point with k + 1: a small row u of output weight +-1 changes the
    loss by ``-+ u' E[r x x'] u + 3 |u|^4 / 2`` (Gaussian inputs), r the residual.

    Parameters
    ----------
    engine : Engine
    model : Network
        What is known of the signs: only positive rows are added where all output weights are known and positive.
    at : Parameters
    extra : int
        Rows to add, at most d.
    rng : Generator

    Returns
    -------
    Parameters
        The rows of `at`, then the new ones with output weights +1 and -1.
    """
    d = engine.shape[1]
    extra = min(extra, d)
    c, known = model.activation.quadratic_coefficient or 1.0, model.known_squares
    alike = known is not None and bool((known > 0).all())
    product = _residual_product(engine, model, at)
    values, vectors = leading_eigenvectors(product, d, extra, rng, extra if alike else None)
    signs = np.sign(c) * (np.ones(extra) if alike else np.where(values < 0, -1.0, 1.0))
    lengths = np.sqrt(np.abs(values) / (3.0 * abs(c)))
    return replace(
        at,
        weights=np.concatenate([at.weights, lengths[:, None] * vectors]),
        output_weights=np.concatenate([at.output_weights, signs]),
    )


def narrower(model: Network, at: Parameters) -> Parameters:
    """The network of `model` nearest to a quadratic one with more rows: eigenvalues of M that its signs allow.

    Parameters
    ----------
    model : Network
    at : Parameters
        At least ``model.n_hidden`` rows.

    Returns
    -------
    Parameters
        With orthogonal rows; the trace of what is left out goes to the intercept where there is one.
    """
    values, rows = _spectrum(model, at)
    positive = None if model.known_squares is None else int((model.known_squares > 0).sum())
    chosen = leading(values, model.n_hidden, positive)
    mean = float(at.intercept + values.sum())
    return _of_spectrum(model, at, values[chosen], rows[chosen], mean)


def exchanges(
    engine: Engine, model: Network, at: Parameters, loss: float, rng: np.random.Generator
) -> list[Parameters]:
    """Networks that have another unit in the place of the weakest one of a sign, where that may fit better.

    At a minimum among matrices M of given signs the second moment ``S = E[r x x']`` of the residual r vanishes on all
    ways to change M but new directions.  With an eigenvalue t along an eigenvector of S, of eigenvalue s, in the place
    of its own eigenvalue l, and what that does to the trace shared among all (or left to an intercept), the loss of
    Gaussian rows changes by ``rho (1 + h) (l^2 - t^2)``, ``t = (s / (2 rho) + h l) / (1 + h)``, h = 1 / (k + 1) (or 0).
    ``rho = 1 - p / n`` is what p free numbers of M leave of a curvature on n rows.  An exchange is worth a try where
    t^2 is not much less than l^2.

    Parameters
    ----------
    engine : Engine
    model : Network
        With signs that are not known.
    at : Parameters
        A minimum of loss `loss`.
    loss : float
    rng : Generator

    Returns
    -------
    list of Parameters
        With definite output weights, the most promising one first: at most four, and mostly none.  No row is read
        where the loss is less than any unit takes away.
    """
    k, (n, d) = len(at.weights), engine.shape
    values, rows = _spectrum(model, at)
    share = (k * d - k * (k - 1) / 2) / n
    left, least = max(1.0 - share, _LEAST_SQUARE), [max(1.0 - each * share, _LEAST_SQUARE) for each in _UNSURE]
    h = 0.0 if model.fit_intercept else 1.0 / (k + 1)
    if d < 2 or loss <= left * (1.0 + h) * least[0] * float(np.square(values).min()):
        return []
    found = []
    moments, vectors = leading_eigenvectors(_residual_product(engine, model, at), d, 2, rng, 1, _DEPTH)
    for s, vector in zip(moments, vectors, strict=True):
        for alike in (False, True):
            places = np.flatnonzero((values * s > 0) == alike)
            if not len(places):
                continue
            weakest = places[np.abs(values[places]).argmin()]
            old = float(values[weakest])
            t = (float(s) / (2.0 * left) + h * old) / (1.0 + h)
            if t * s > 0 and t * t >= least[alike] * old * old:
                new, directions = values - h * (t - old), rows.copy()
                new = np.where(new * values > 0, new, values)
                new[weakest], directions[weakest] = t, vector
                network = _of_spectrum(model, at, new, directions, float(at.intercept + values.sum()))
                found.append((old * old - t * t, network))
    return [network for _, network in sorted(found, key=lambda each: each[0])]


def _residual_product(engine: Engine, model: Network, at: Parameters) -> Callable[[np.ndarray], np.ndarray]:
    """Products with ``E[r x x']``, r the residual of a network; a pass each."""
    sweeps = MomentSweeps(engine, at, model.activation)

    def product(v: np.ndarray) -> np.ndarray:
        image, mean, _ = sweeps.second(v)
        return image + mean * v

    return product


def _spectrum(model: Network, at: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of M, and its eigenvectors as rows."""
    q, r = np.linalg.qr(at.weights.T)
    values, vectors = np.linalg.eigh((r * at.output_weights) @ r.T * (model.activation.quadratic_coefficient or 1.0))
    return values, (q @ vectors).T


def _of_spectrum(model: Network, at: Parameters, values: np.ndarray, rows: np.ndarray, mean: float) -> Parameters:
    """The network with these eigenvalues and eigenvectors of M, the affine part of `at`, and a mean over white rows."""
    affine = Parameters(np.zeros((0, rows.shape[1])), np.zeros(0), at.slope, mean)
    return quadratic_network(QuadraticFit(rows, values, affine, 0.0), model)


def _mean_fit(engine: Engine) -> Parameters:
    d = engine.shape[1]
    return Parameters(np.zeros((0, d)), np.zeros(0), np.zeros(d), engine.average())
