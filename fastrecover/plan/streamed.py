"""A fit on batches that are taken once: a stochastic solver from given or random rows, and no search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..models import Parameters
from ..solvers import OnFreshRows, OnLandscape, ResampledGradientDescent, StochasticGradientDescent
from ..solvers.fresh import FreshRows
from ..sweeps import Objective
from .descent import descended
from .judge import Judge
from .problem import ALL, Candidate, Problem
from .search import Outcome
from .starting import Init, found_start

_SOLVERS = {"sgd": StochasticGradientDescent, "resampled-gd": ResampledGradientDescent}


def check_for_batches(init: Any, solver: Any) -> None:
    """Raise ValueError where a start or a solver needs rows that can be read again.

    Parameters
    ----------
    init, solver : any
        As they are asked for.
    """
    on_landscape = isinstance(solver, OnLandscape)
    inner = solver.solver if on_landscape else solver
    named = isinstance(inner, str) and inner in _SOLVERS
    known = isinstance(inner, StochasticGradientDescent) or (on_landscape and inner is None) or named
    given = isinstance(init, (np.ndarray, list, tuple, Parameters)) and not on_landscape
    if not known or not (given or (isinstance(init, str) and init in ("auto", "random"))):
        raise ValueError(
            "X is an iterable of batches, whose rows are taken once: it works with model='ge2017', and with "
            f"solver='sgd' or 'resampled-gd' from init='random' or an array, got solver={solver!r} and init={init!r}"
        )


def carry_out_on_batches(problem: Problem, init: Init, solver: Any, batches: FreshRows) -> tuple[Problem, Outcome]:
    """Find the weights.

    Parameters
    ----------
    problem : Problem
        On the first batch.
    init : "auto", "random", ndarray or Parameters
    solver : str, StochasticGradientDescent or OnLandscape
        One that :func:`check_for_batches` lets through.
    batches : FreshRows

    Returns
    -------
    problem : Problem
        On the last batch.
    outcome : Outcome
        Converged only where the last batch is fitted exactly and large enough to tell.
    """
    if isinstance(solver, OnLandscape):
        found = descended(problem, solver, batches)
    else:
        found = _descended(problem, "random" if isinstance(init, str) else init, solver, batches)
    problem = replace(problem, engine=batches.engine)
    enough = batches.engine.shape[0] >= problem.policy.rows_to_trust * problem.p
    exact, state = enough and Judge(problem).is_exact(found), found.state
    state.converged = exact
    if exact:
        state.message = f"exact fit: the loss on the last batch is at rounding level; {state.message}"
    return problem, Outcome(problem.objective(found), found, problem.report, exact, reached=exact)


def _descended(problem: Problem, init: Init, solver: Any, batches: FreshRows) -> Candidate:
    chosen = OnFreshRows(_SOLVERS[solver]() if isinstance(solver, str) else solver, batches)
    model, theta = problem.with_signs(found_start(problem, ALL, init))
    state = problem.run(chosen, Objective(problem.engine, model), theta, chosen.name, 1 << 30)
    # Wherever it was ended, the loss is that of the last batch.
    state.loss, state.grad = Objective(batches.engine, model).value_and_grad(state.theta)
    return Candidate(state, model, ALL, chosen.name)
