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
_FARTHEST = 10.0  # times tr M, beyond which it diverges
_LARGE = 1e8  # argument beyond which Bessel functions have lost all digits of their ratio


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
        Of Gaussian rows, at most 67 million numbers.  Weights of samples are left aside, as an exact fit may do.
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
    x, y, _ = local_rows(engine)
    sign = float(np.sign(known[0]))
    y = np.maximum(sign * y, 0.0)
    radius, trace = np.sqrt(y), float(y.mean())
    if not trace > 0.0:
        raise StartError("init='message-passing' needs responses that are not all zero: use init='spectral'")
    prior = trace / (d * k)  # variance of an entry of W, and what is still open of it
    damping = min(_DAMPING, _DAMPING_OF_MANY / k)
    w = np.random.default_rng(seed).standard_normal((k, d))
    w *= np.sqrt(_KNOWN * trace) / np.linalg.norm(w)
    left, g = (1.0 - _KNOWN) * prior, np.zeros((n, k))
    for number in range(_ITERATIONS):
        engine.meter.count(n)
        v = d * left
        omega = x @ w.T - v * g
        length = np.maximum(np.linalg.norm(omega, axis=1), 1e-300)
        a = mean_cosine(k, radius * length / v)
        new = ((radius * a / length - 1.0) / v)[:, None] * omega
        g = new if number == 0 else g + damping * (new - g)
        told = 1.0 - y * (1.0 - a**2) / (k * v)
        information = float(np.maximum(told.sum(), _LEAST * n / k)) / v
        shrinkage = prior / (prior + 1.0 / information)
        step = shrinkage * (w + g.T @ x / information) - w
        step -= (1.0 - 1.0 / k) * float(np.sum(step * w) / np.sum(w * w)) * w
        w = w + damping * step
        left += damping * (shrinkage / information - left)
        if not float(np.sum(w * w)) <= _FARTHEST * trace:
            raise StartError("init='message-passing' diverges on these rows: use init='spectral'")
        if left <= _SURE * prior:
            break
    values, vectors = np.linalg.eigh(w @ w.T)
    rows = vectors.T @ w / np.sqrt(np.maximum(values, 1e-300))[:, None]
    sizes = sign * values * (trace / values.sum())
    mean = Parameters(np.zeros((0, d)), np.zeros(0), np.zeros(d), sign * trace)
    return quadratic_network(QuadraticFit(rows, sizes, mean, 0.0), model)


def mean_cosine(k: int, kappa: np.ndarray) -> np.ndarray:
    """Mean cosine with its axis of the law of von Mises and Fisher on the sphere in k dimensions.

    ``I_{k/2}(kappa) / I_{k/2 - 1}(kappa)``, the hyperbolic tangent for k = 1 (Mardia and Jupp, Directional Statistics,
    section 9.3.2).

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

    few, many = np.maximum(np.minimum(kappa, _LARGE), 1e-300), (k - 1) / 2.0
    upper, lower = ive(k / 2, few), ive(k / 2 - 1, few)
    # Where both underflow, and beyond all digits: a bound that both ends of the axis approach (Amos 1974).
    bound = few / (many + np.sqrt((many + 1.0) ** 2 + few**2))
    return np.where((lower > 1e-200) & (kappa < _LARGE), upper / np.where(lower > 0.0, lower, 1.0), bound)
