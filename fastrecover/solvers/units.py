"""How many hidden units: a guess from a spectrum, then fits of one unit more or fewer until the number is enclosed.

A gap in the spectrum of a moment needs many rows to show, a fit that leaves nothing but noise needs few, so the
spectrum only says where the walk begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..linalg import orthonormal
from ..models import Network, Parameters
from ..random import Stream, stream
from ..starts import affine_fit
from ..sweeps import MomentSweeps
from .loop import Monitor
from .plan import Fit, Outcome

_ROWS_PER_PARAMETER, _FEWEST_ROWS = 20, 4000
_SCREENED = 30
_ITERATIONS = 8
_LEVEL = 1e-6


def spectral_units(engine: Any, model: Network, seed: np.random.SeedSequence) -> int:
    """Number of units by the largest ratio of successive singular values of the matrix P2 (Zhong et al. 2017).

    The affine part of the responses is taken away first.

    Parameters
    ----------
    engine : ThreadEngine
    model : Network
        Of any number of units.
    seed : SeedSequence

    Returns
    -------
    int
    """
    d, order = engine.shape[1], model.activation.subspace_order or 2
    if d < 2:
        return 1
    affine = affine_fit(engine)
    sweeps = MomentSweeps(engine, affine)
    alpha = affine.slope / max(float(np.linalg.norm(affine.slope)), 1e-300)
    # Products with the identity are one pass; with many features the leading part of the spectrum is enough.
    v = np.eye(d) if d <= 2 * _SCREENED else orthonormal(np.random.default_rng(seed).standard_normal((_SCREENED, d)))
    for _ in range(0 if len(v) == d else _ITERATIONS):
        v = orthonormal(sweeps.product(v, order, alpha))
    values = np.linalg.svd(sweeps.product(v, order, alpha), compute_uv=False)
    values = values[: max(2, len(values) * 2 // 3)]
    return int(np.argmax(values[:-1] / np.maximum(values[1:], 1e-300))) + 1


def number_of_units(
    engine: Any,
    make: Callable[[int], Network],
    seeds: np.random.SeedSequence,
    monitor: Monitor,
    tol: float,
    inputs: str,
) -> tuple[Parameters | None, int, dict[int, bool]]:
    """Smallest number of units whose fit is exact, or leaves a residual that is noise, next to one that does not.

    Parameters
    ----------
    engine : ThreadEngine
    make : callable
        Model of a number of units.
    seeds : SeedSequence
    monitor : Monitor
    tol : float
    inputs : str

    Returns
    -------
    parameters : Parameters or None
        Of the fit with that number, on a sub-sample; None where no number fits.
    n_hidden : int
    tried : dict
        Whether each number that was tried fits.
    """
    d = engine.shape[1]
    most = max(1, min(d, engine.shape[0] // (2 * d)))
    few = engine.sample(max(10 * _ROWS_PER_PARAMETER * d, _FEWEST_ROWS), stream(seeds, Stream.UNITS))
    k = min(monitor.unless_ended(lambda: spectral_units(few, make(1), stream(seeds, Stream.SPECTRUM)), lambda: 1), most)
    tried: dict[int, bool] = {}
    found: dict[int, Parameters] = {}

    def fitted(k: int, rows: Any, init: Any) -> tuple[Fit, Outcome]:
        fit = Fit(rows, make(k), seeds, monitor, max(tol, 1e-2), inputs)
        return fit, fit.run(init, "auto")

    def sample(k: int) -> Any:
        return engine.sample(
            max(_ROWS_PER_PARAMETER * make(k).n_parameters(d), _FEWEST_ROWS), stream(seeds, Stream.UNITS)
        )

    def spent() -> bool:
        return monitor.spent(engine.meter)

    while 1 <= k <= most and k not in tried and not (tried and spent()):
        fit, done = fitted(k, sample(k), "auto")
        tried[k] = fit.fits(done)
        found[k] = done.objective.unpack(done.state.theta)
        k += -1 if tried[k] else 1
    fitting = [k for k, fits in tried.items() if fits]
    if not fitting:
        return None, max(tried), tried
    best = min(fitting)
    # With few rows too small a network may pass for one with noise: the next one must not fit much better.
    while best < most and not spent():
        rows = sample(best + 1)
        smaller, larger = (fitted(k, rows, found.get(k, "auto"))[1] for k in (best, best + 1))
        if smaller.exact or not (larger.exact or _better(smaller.state.loss, larger, d)):
            break
        tried[best], tried[best + 1] = False, True
        found[best + 1] = larger.objective.unpack(larger.state.theta)
        best += 1
    return found[best], best, tried


def _better(loss: float, larger: Outcome, d: int) -> bool:
    """F test of one more unit."""
    from scipy.special import fdtrc

    rest = larger.objective.n_rows - larger.objective.n_parameters
    gain = max(loss - larger.state.loss, 0.0)
    return bool(rest > 0 and fdtrc(d, rest, (gain / d) / max(larger.state.loss / rest, 1e-300)) < _LEVEL)
