"""Approximate message passing for sums of squares, from about as few rows as determine them.

Moments and descent both want more rows than numbers that are asked for; the mean of what the responses leave open,
corrected for what a row has said already, finds rows of W from hardly more.  It remembers k numbers a row, so that it
works on rows which are held here.
"""

from __future__ import annotations

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..sweeps import MOST_NUMBERS, local_rows
from .base import StartError, check_plain
from .quadratic_fit import QuadraticFit, quadratic_network
from .spectral import definite
from .tensor import check_resolvable

_ITERATIONS, _SURE = 200, 0.02  # the second is the share of tr M that is still open where descent takes over
_KNOWN = 0.1  # share of it in the first rows, which are random
_DAMPING, _DAMPING_OF_MANY = 0.8, 5.0  # the second over k: units are told apart by ever smaller changes
_LEAST = 0.01  # of the information that a row has, over what one has whose direction is known
_FARTHEST, _TRIES = 10.0, 3  # times tr M beyond which it diverges, and how often it may
_LARGE = 1e6  # argument beyond which one less the ratio of Bessel functions has lost more digits than its bound


def check_message_passing(model: Network, n_features: int) -> None:
    """Raise StartError where responses are no sums of squares of one sign.

    Parameters
    ----------
    model : Network
    n_features : int
    """
    known = model.known_squares
    mixed = known is not None and not (np.sign(known) == np.sign(known[0])).all()
    affine = model.linear_term or model.fit_intercept
    if not model.is_quadratic_form or mixed or affine or model.free_v:
        raise StartError(
            "init='message-passing' is for model='quadratic' with output weights of one sign, known or shown by the "
            "responses, without linear term and intercept: use init='spectral'"
        )
    check_plain(model, "message-passing")
    check_resolvable(model, n_features)


def message_passing_start(engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """Posterior mean of Gaussian rows of W given their sums of squares without noise, from random rows.

    Generalised approximate message passing (Rangan 2011, arXiv 1010.5141, algorithm 1) for k numbers a row, as the
    committee machines of Aubin et al. 2018 (arXiv 1806.05451).  A row's response says the length of its projections
    ``z = W x`` alone; given ``N(omega, V)`` before it, z has on that sphere the law of von Mises and Fisher, with the
    mean ``sqrt(y) A(kappa) omega / |omega|``, ``kappa = sqrt(y) |omega| / V``.

    Rows that are all too long by the same factor are so in every z, along omega, where alone the response tells: they
    would be shortened by k times too much, so that this part of each step is taken at 1 / k.

    Parameters
    ----------
    engine : Engine
        Of Gaussian rows, at most 67 million numbers.  Weights of samples say which there are, as is enough for an
        exact fit.
    model : Network
        Quadratic network of one sign.
    seed : SeedSequence

    Returns
    -------
    Parameters
        With definite output weights.

    Raises
    ------
    StartError
        Another model, more rows than may be held here, or steps that diverge, as they may for other rows.
    """
    model = definite(engine, model)
    n, d = engine.shape
    known, k = model.known_squares, model.n_hidden
    check_message_passing(model, d)
    if known is None:
        raise StartError("init='message-passing' needs responses of one sign: use init='spectral'")
    if n * d > MOST_NUMBERS:
        raise StartError(f"init='message-passing' holds {n} rows of {d} features: use init='spectral'")
    x, y, counts = local_rows(engine)
    if counts is not None:
        x, y = x[counts > 0.0], y[counts > 0.0]
    sign = float(np.sign(known[0]))
    y = np.maximum(sign * y, 0.0)
    radius, trace = np.sqrt(y), float(y.mean())
    if trace <= 0.0:
        raise StartError("init='message-passing' needs responses that are not all zero: use init='spectral'")
    rng = np.random.default_rng(seed)
    for number in range(_TRIES):
        w = _passed_on(engine, x, radius, rng.standard_normal((k, d)), 0.5**number)
        if w is not None:
            break
    else:
        raise StartError("init='message-passing' diverges on these rows: use init='spectral'")
    values, vectors = np.linalg.eigh(w @ w.T)
    rows = vectors.T @ w / np.sqrt(np.maximum(values, 1e-300))[:, None]
    sizes = sign * values * (trace / values.sum())
    mean = Parameters(np.zeros((0, d)), np.zeros(0), np.zeros(d), sign * trace)
    return quadratic_network(QuadraticFit(rows, sizes, mean, 0.0), model)


def _passed_on(engine: Engine, x: np.ndarray, radius: np.ndarray, w: np.ndarray, caution: float) -> np.ndarray | None:
    """Posterior mean of the rows of W, None where the way to it diverges; one pass an iteration."""
    (n, d), k = x.shape, len(w)
    trace = float(np.mean(radius**2))
    prior = trace / (d * k)  # variance of an entry of W
    damping = caution * min(_DAMPING, _DAMPING_OF_MANY / k)
    w = w * (np.sqrt(_KNOWN * trace) / np.linalg.norm(w))
    left, g = (1.0 - _KNOWN) * prior, np.zeros((n, k))  # variance that is left, and what each row says
    for number in range(_ITERATIONS):
        engine.meter.count(n)
        v = d * left
        omega = x @ w.T - v * g
        length = np.maximum(np.linalg.norm(omega, axis=1), 1e-300)
        a = mean_cosine(k, radius * length / v)
        said = ((radius * a / length - 1.0) / v)[:, None] * omega
        g = said if number == 0 else g + damping * (said - g)
        information = max(float(np.sum(1.0 - radius**2 * (1.0 - a**2) / (k * v))), _LEAST * n / k) / v
        shrinkage = prior / (prior + 1.0 / information)
        step = shrinkage * (w + g.T @ x / information) - w
        step -= (1.0 - 1.0 / k) * float(np.sum(step * w) / np.sum(w * w)) * w
        w = w + damping * step
        left += damping * (shrinkage / information - left)
        if not float(np.sum(w * w)) <= _FARTHEST * trace:
            return None
        if left <= _SURE * prior:
            break
    return w


def mean_cosine(k: int, kappa: np.ndarray) -> np.ndarray:
    """Mean cosine with its axis of the law of von Mises and Fisher on the sphere in k dimensions.

    ``I_{k/2}(kappa) / I_{k/2 - 1}(kappa)``, the hyperbolic tangent for k = 1 (Mardia and Jupp, Directional Statistics).

    Parameters
    ----------
    k : int
    kappa : ndarray
        Concentrations, not negative.

    Returns
    -------
    ndarray, the shape of kappa
    """
    if k == 1:
        return np.tanh(kappa)
    from scipy.special import ive

    half, near = (k - 1) / 2.0, np.minimum(kappa, _LARGE)
    upper, lower = ive(k / 2, near), ive(k / 2 - 1, near)
    # Where both underflow, and where they have lost their digits: a bound that is met at both ends (Amos 1974).
    bound = kappa / (half + np.hypot(half + 1.0, kappa))
    exact = (lower > 1e-200) & (kappa < _LARGE)
    return np.where(exact, upper / np.where(exact, lower, 1.0), bound)
