"""Which of several minima: where noise is fitted the least loss says little, and may be that of weights that run off.

Units that are steps, or that cancel each other, gain a little of the noise for weights without bound.  A penalty has a
price for that: minima are compared by what is lowest in their basins under one that rows held out have chosen.
"""

from __future__ import annotations

from ..models import Parameters
from .judge import Judge
from .problem import ALL, Candidate, Problem
from .refine import polished, refined
from .report import Report
from .search import Outcome, carry_out, note
from .starting import Init

_VOUCHED = "; found under {0}, which rows held out have chosen"
_ONE_OF_MANY = (
    "no minimum can be vouched for: this one is lowest under {0}, which rows held out have chosen; another may be "
    "nearer to the truth, or the responses come from another model"
)
_RUN_OFF = (
    "weights of least squares run off, to units that are steps or cancel each other: these are the weights under {0}, "
    "which rows held out have chosen; more rows, fewer units or a penalty of your own make others"
)


def chosen(plain: Problem, earlier: Outcome, penalised: Problem, init: Init, said: str) -> tuple[Problem, Outcome]:
    """The minimum whose basin is lowest under a penalty.

    The earlier minimum stays as it is where its own basin is the lowest, and it is a proper one, or where weights that
    run off do so under the penalty too.  Else the fit descends without the penalty from what is lowest under it, and
    where that is no proper minimum the penalised one stands.

    Parameters
    ----------
    plain : Problem
        Without a penalty.
    earlier : Outcome
        Of a search of it.
    penalised : Problem
        The same rows and model, with a penalty.
    init : str
        Which search is made of it, with several sets of random numbers until one finds its minimum again.
    said : str
        What messages call the penalty.

    Returns
    -------
    problem : Problem
        Whose outcome it is, the first or the second.
    outcome : Outcome
        Of no meaning where the budget is spent.
    """
    judge, agree = Judge(plain), 1.0 + plain.policy.agree
    own, _ = descended(penalised, _network(plain, earlier.candidate), "the earlier minimum")
    if judge.runs_off(earlier.candidate) and Judge(penalised).runs_off(own):  # rows held out want such weights too
        return plain, earlier
    lowest, report, vouched = _lowest(penalised, own, init)
    proper = earlier.reached and not judge.runs_off(earlier.candidate)
    if proper and own.state.loss <= agree * lowest.state.loss:
        return plain, earlier
    plain.takes_over()
    least, first = descended(plain, _network(penalised, lowest), "without the penalty")
    state = least.state
    if state.converged and not judge.runs_off(least):
        rival = proper and earlier.state.loss * agree < state.loss
        if vouched and not rival and not judge.of_one(least):
            state.message += _VOUCHED.format(said) + note(plain, least, first)
        else:
            state.converged, state.message = False, _ONE_OF_MANY.format(said)
        return plain, Outcome(plain.objective(least), least, plain.report, judge.is_exact(least), reached=True)
    reached, lowest.state.converged = lowest.state.converged, False
    lowest.state.message = _RUN_OFF.format(said)
    return penalised, Outcome(penalised.objective(lowest), lowest, report, exact=False, reached=reached)


def _lowest(penalised: Problem, own: Candidate, init: Init) -> tuple[Candidate, Report, bool]:
    """The lowest of one minimum and those of some searches, how these were made, and whether it is vouched for."""
    judge, problem, lowest, report = Judge(penalised), penalised, own, penalised.report
    found, vouched = [own], False
    for i in range(penalised.policy.penalised_searches):
        problem = penalised.again(i) if i else penalised
        outcome = carry_out(problem, init, "auto", final=False)
        trusted, outcome.state.converged = outcome.state.converged, outcome.reached
        found.append(outcome.candidate)
        if outcome.state.loss < lowest.state.loss:
            lowest, report = outcome.candidate, problem.report
        vouched = judge.agreeing(lowest, found) > 1 or (trusted and lowest is outcome.candidate)
        if trusted or vouched or problem.spent:
            break
    return lowest, report, vouched


def descended(problem: Problem, start: Parameters, label: str) -> tuple[Candidate, Candidate]:
    """The minimum near a network, on more rows first where few have none nearby.

    Parameters
    ----------
    problem : Problem
    start : Parameters
        For the rows as they were given.
    label : str
        Stage in the history.

    Returns
    -------
    found : Candidate
        On all rows.
    first : Candidate
        On those that it was refined on before.
    """
    judge, rows = Judge(problem), problem.base
    model, theta = problem.with_signs(problem.coordinates.into(start, problem.model))
    while True:
        candidate = refined(problem, rows, model, theta, label)
        proper = candidate.state.converged and not judge.runs_off(candidate)
        if proper or rows == ALL or problem.spent:
            return polished(problem, candidate), candidate
        rows = problem.more(rows)


def _network(problem: Problem, candidate: Candidate) -> Parameters:
    """What a candidate is, for the rows as they were given."""
    return problem.coordinates.back(problem.parameters(candidate), candidate.model)
