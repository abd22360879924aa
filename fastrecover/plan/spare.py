"""Does every unit earn its place?  A network with one unit fewer is fitted, and an F test compares the two.

A unit too many fits noise, and what it leaves is noise, so no test of the residual sees it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..models import Network
from ..solvers import Monitor
from ..starts import StartError
from ..sweeps import Objective
from .problem import Candidate, Problem
from .pruning import pruned
from .refine import refined
from .report import Report
from .starting import found_start

SPARE = "; one hidden unit fewer fits as well"
_LITTLE = 0.05  # share of the variance of the responses: of less noise, what a unit too many fits would be seen
_NEEDED = 1.5  # ratio of the loss without a unit, the others as they were, to that with it, which needs no test


def has_spare_unit(problem: Problem, candidate: Candidate) -> bool:
    """Whether the network with one unit fewer is no worse than chance allows.

    Parameters
    ----------
    problem : Problem
    candidate : Candidate
        A minimum, on a sub-sample.

    Returns
    -------
    bool
        False where there is one unit only, output weights are given numbers, another refinement is dear, or the
        budget is spent.
    """
    model, named = candidate.model, isinstance(problem.model.output_weights, str)
    testable = problem.expandable and model.loss.least_squares and model.n_outputs == 1
    asked = named and testable and model.n_hidden > 1 and problem.p <= problem.policy.large
    if problem.spent or not asked:
        return False
    model = problem.model.changed(n_hidden=model.n_hidden - 1)
    # What it does is no part of this fit, and is not recorded.
    smaller = replace(problem, model=model, monitor=Monitor(interval=np.inf), report=Report())
    return bool(problem.monitor.attempt(lambda: _fits_as_well(smaller, candidate, problem.objective(candidate))))


def _fits_as_well(smaller: Problem, candidate: Candidate, larger: Objective) -> bool:
    """Whether a smaller network does, from what is left of the larger one, or from a start of its own."""
    loss, d = candidate.state.loss, larger.n_features
    left = pruned(larger.engine, smaller.model, candidate.model.unpack(candidate.state.theta, d))
    model, theta = smaller.with_signs(left)
    before = larger.with_model(model).value(theta)
    if smaller.is_exact(loss):
        near = before < smaller.policy.noisy * smaller.response_variance
        return near and smaller.is_exact(refined(smaller, candidate.rows, model, theta, "one unit fewer").state.loss)

    def as_well(model: Network, theta: np.ndarray) -> bool:
        least = refined(smaller, candidate.rows, model, theta, "one unit fewer").state.loss
        return not is_better(least, loss, larger, smaller.policy.misfit_level)

    if before < _NEEDED * loss and as_well(model, theta):
        return True
    if 2.0 * loss < _LITTLE * smaller.response_variance or smaller.p > smaller.policy.dear_matrix:
        return False
    try:  # units that cancel each other are both needed as they are
        return as_well(*smaller.with_signs(found_start(smaller, candidate.rows, "tensor")))
    except StartError:
        return False


def is_better(smaller: float, larger: float, objective: Objective, level: float) -> bool:
    """Whether the network with one more unit is better than chance, by an F test.

    Parameters
    ----------
    smaller, larger : float
        Losses of both on the same rows.
    objective : Objective
        Of the larger one.
    level : float
        Chance of calling noise a unit.

    Returns
    -------
    bool
    """
    from scipy.special import fdtrc

    d, rest = objective.engine.shape[1], objective.n_rows - objective.n_parameters
    gain = max(smaller - larger, 0.0) / d
    return bool(rest > 0 and fdtrc(d, rest, gain / max(larger / rest, 1e-300)) < level)
