"""How many hidden units: a guess from a spectrum, then fits of one unit more or fewer until the number is enclosed.

A gap in the spectrum of a moment needs many rows to show, a fit that leaves nothing but noise needs few, so the
spectrum only says where the walk begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..engines import Engine
from ..linalg import orthonormal
from ..models import Network, Parameters
from ..random import Stream
from ..starts import affine_fit
from ..sweeps import MomentSweeps
from .judge import Judge
from .problem import Problem
from .search import Outcome, carry_out
from .spare import is_better

_SCREENED = 30
_ITERATIONS = 8


def spectral_units(engine: Engine, model: Network, seed: np.random.SeedSequence) -> int:
    """Number of units by the largest ratio of successive singular values of the matrix P2 (Zhong et al. 2017).

    The affine part of the responses is taken away first.

    Parameters
    ----------
    engine : Engine
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


@dataclass
class Units:
    """How many hidden units there are.

    Attributes
    ----------
    n_hidden : int
    start : Parameters or None
        Of the fit with that number, on a sub-sample; None where no number fits.
    tried : dict of int to bool
        Whether each number that was tried fits.
    """

    n_hidden: int
    start: Parameters | None
    tried: dict[int, bool]


def number_of_units(problem: Problem) -> Units:
    """Smallest number of units whose fit is exact, or leaves a residual that is noise, next to one that does not.

    Parameters
    ----------
    problem : Problem
        Its model's own number of units does not matter.

    Returns
    -------
    Units
    """
    engine, monitor, policy, d = problem.engine, problem.monitor, problem.policy, problem.engine.shape[1]
    most = max(1, min(d, engine.shape[0] // (2 * d)))
    few = max(10 * policy.rows_per_parameter * d, policy.fewest_rows_for_units)
    k = monitor.attempt(lambda: _spectral_guess(problem, few)) or 1
    k, tried, found = min(k, most), dict[int, bool](), dict[int, Parameters]()
    while 1 <= k <= most and k not in tried and not (tried and problem.spent):
        fit, outcome = _fitted(problem, k, _sample(problem, k), "auto")
        # Whether it is exact or leaves a residual that is noise.
        tried[k] = Judge(fit).is_plausible(replace(outcome.candidate, judged=False))
        found[k] = fit.parameters(outcome.candidate)
        k += -1 if tried[k] else 1
    fitting = [k for k, fits in tried.items() if fits]
    if not fitting:
        return Units(max(tried), None, tried)
    best = min(fitting)
    # With few rows too small a network may pass for one with noise: the next one must not fit much better.
    while best < most and not problem.spent:
        rows = _sample(problem, best + 1)
        smaller, larger = (_fitted(problem, k, rows, found.get(k, "auto"))[1] for k in (best, best + 1))
        better = larger.exact or is_better(
            smaller.candidate.state.loss, larger.candidate.state.loss, larger.objective, policy.misfit_level
        )
        if smaller.exact or not better:
            break
        tried[best], tried[best + 1] = False, True
        found[best + 1] = larger.objective.unpack(larger.candidate.state.theta)
        best += 1
    return Units(best, found[best], tried)


def _spectral_guess(problem: Problem, rows: int) -> int:
    few = problem.engine.sample(rows, problem.seed(Stream.UNITS))
    return spectral_units(few, problem.model.changed(n_hidden=1), problem.seed(Stream.SPECTRUM))


def _sample(problem: Problem, k: int) -> Engine:
    policy, d = problem.policy, problem.engine.shape[1]
    rows = policy.rows_per_parameter * problem.model.changed(n_hidden=k).n_parameters(d)
    return problem.engine.sample(max(rows, policy.fewest_rows_for_units), problem.seed(Stream.UNITS))


def _fitted(problem: Problem, k: int, engine: Engine, init: str | Parameters) -> tuple[Problem, Outcome]:
    """The fit of k units to some rows, to a hundredth of the statistical error."""
    near = max(problem.tol, problem.policy.near)
    fit = Problem(
        engine, problem.model.changed(n_hidden=k), problem.seeds, problem.monitor, near, problem.inputs, problem.policy
    )
    return fit, carry_out(fit, init, "auto", final=False)
