"""The plan of a fit: strategies propose candidates, one judge accepts, one budget ends the search.

Start and refinement are on a sub-sample that is large enough to identify the weights; all rows are swept only for the
last corrections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from ..inputs import InputDiagnosis
from ..solvers import (
    LBFGS,
    GaussNewton,
    GradientDescent,
    OnLandscape,
    QuarticConjugateGradients,
    ResampledGradientDescent,
    Solver,
    State,
    StochasticGradientDescent,
)
from ..sweeps import Objective
from .descent import descended
from .judge import DOUBT, MISFIT, ONCE, UNJUDGED, Judge
from .problem import ALL, Candidate, Problem
from .quadratic import Spectral, exchanged
from .refine import polished
from .report import Report
from .spare import SPARE, has_spare_unit
from .starting import Init, found_start, refined_start
from .strategies import Expand, Moments, Progress, Restarts, Strategy
from .thinning import Thin

#: Solvers by name; "auto" is the plan itself.
SOLVERS: dict[str, type[Solver[Objective]] | None] = {
    "auto": None,
    "gauss-newton": GaussNewton,
    "lbfgs": LBFGS,
    "gd": GradientDescent,
    "resampled-gd": ResampledGradientDescent,
    "sgd": StochasticGradientDescent,
    "pncg": QuarticConjugateGradients,
}
#: What ``solver`` may be once it has been checked.
Chosen: TypeAlias = str | Solver[Objective] | OnLandscape
#: Values of ``init`` that ask for a search.
SEARCHED = ("auto", "expand", "random")


@dataclass
class Position:
    """Where a search is, as plain data: enough to go on from in another process.

    Attributes
    ----------
    strategy : int
        Number of the one at work.
    progress : Progress or None
        Its own position; None before it begins.
    candidates : list of Candidate
        What those before it found.
    ended, trusted : bool
        Whether the search is over, and whether its best candidate was accepted.
    report : Report
    diagnosis : InputDiagnosis or None
        What has been learned of the rows.
    """

    strategy: int = 0
    progress: Progress | None = None
    candidates: list[Candidate] = field(default_factory=list)
    ended: bool = False
    trusted: bool = False
    report: Report = field(default_factory=Report)
    diagnosis: InputDiagnosis | None = None


class Search:
    """Strategies in turn, until one is trusted or the budget is spent.

    Parameters
    ----------
    problem : Problem
    strategies : list of Strategy
    position : Position, optional
        Where an earlier search was left.
    """

    def __init__(self, problem: Problem, strategies: list[Strategy], position: Position | None = None) -> None:
        self.problem, self.strategies, self.judge = problem, strategies, Judge(problem)
        self.position = position or Position()
        if position is not None:
            problem.report, problem.diagnosis = position.report, position.diagnosis

    def advance(self) -> None:
        """One round of the strategy at work."""
        at, problem = self.position, self.problem
        strategy = self.strategies[at.strategy]
        known = [c for c in at.candidates if c.leads]
        if at.progress is None:
            at.progress = strategy.begin(problem, self.judge, known)
        strategy.advance(problem, self.judge, known, at.progress)
        at.report, at.diagnosis = problem.report, problem.diagnosis
        if at.progress.done:
            # Passes of what leads none of the others say nothing of what they need.
            self._allow(known, [c for c in at.progress.candidates if c.leads])
            at.candidates = [*at.candidates, *at.progress.candidates]
            at.trusted = at.progress.trusted and not self._undercut(at.progress.candidates, at.candidates)
            at.progress = None
            at.strategy += 1
            spent = bool(at.candidates) and problem.spent
            at.ended = at.trusted or spent or at.strategy == len(self.strategies)

    def _undercut(self, trusted: list[Candidate], found: list[Candidate]) -> bool:
        """Whether what leads nothing, as students under decay do, is lower than minima believed since they agree."""
        best = self.judge.best(trusted)
        lower = (1.0 - self.problem.policy.gain) * best.state.loss
        apart = [c for c in found if not c.leads and c.rows == best.rows]
        return not self.judge.is_exact(best) and any(c.state.loss < lower for c in apart)

    def _allow(self, before: list[Candidate], found: list[Candidate]) -> None:
        """Let the first minimum say what a search may cost, unless rows are few, where rounds alone bound it."""
        problem, policy = self.problem, self.problem.policy
        if found and not before and not problem.has_few(problem.n_rows(problem.base)):
            passes = policy.search_passes * problem.passes_of_search
            problem.allowance = min(max(passes, policy.least_passes), policy.most_passes)

    def run(self) -> Candidate:
        """All rounds that are left, and the best of what was found."""
        while not self.position.ended:
            self.advance()
        found, report = self.position.candidates, self.problem.report
        best = self.judge.best(found)
        report.candidates, report.agreeing = len(found), self.judge.agreeing(best, found)
        return best


@dataclass
class Outcome:
    """End of a fit.

    Attributes
    ----------
    objective : Objective
        On all rows, of the model with definite output weights.
    candidate : Candidate
    report : Report
    exact : bool
        Whether the loss is at the level of rounding.
    reached : bool
        Whether refinement has ended at a minimum, vouched for or not.
    """

    objective: Objective
    candidate: Candidate
    report: Report
    exact: bool
    reached: bool

    @property
    def state(self) -> State:
        """Where refinement ended."""
        return self.candidate.state


def carry_out(problem: Problem, init: Init, solver: Chosen, *, final: bool = True) -> Outcome:
    """Find the weights.

    Parameters
    ----------
    problem : Problem
    init : str, callable, ndarray or Parameters
        A name of ``INITS``, a start, or where to begin.
    solver : str, Solver or OnLandscape
        A name of ``SOLVERS``, or an object; all but "auto" run on all rows from the start.
    final : bool
        Whether the number of units is what it will be, and may be doubted.

    Returns
    -------
    Outcome
    """
    judge, search, settled = Judge(problem), None, True
    if isinstance(solver, OnLandscape):
        best = found = descended(problem, solver)
    elif solver != "auto":
        best = found = _solved(problem, init, solver)
    else:
        if isinstance(init, str) and init in SEARCHED:
            search = Search(problem, strategies_for(problem, init))
            best = search.run()
            problem.report.restarts = problem.restarts
        else:
            best = refined_start(problem, judge, init)[0]
        problem.report.start, problem.report.sample_rows = best.label, problem.n_rows(best.rows)
        limit = problem.limit
        found = polished(problem, best)
        if search is not None and problem.is_quartic and not problem.restarts and found is not best:
            best, found, settled = exchanged(problem, best, found)
            limit = limit if settled else problem.limit
    judge.check_maximum(found)
    exact, state = judge.is_exact(found), found.state
    reached = state.converged
    if exact and final and search is not None and has_spare_unit(problem, best):
        state.message += SPARE
    if state.converged and not exact:
        if search is None:
            state.message += judge.of_one(best)
        elif search.position.trusted and settled:
            if problem.restarts:
                state.message += f"; the best of {problem.restarts} starts"
            state.message += note(problem, found, best, final=final)
        else:
            doubt = DOUBT if problem.model.loss.least_squares else ONCE
            state.converged, state.message = False, f"{limit}{UNJUDGED}" if limit else doubt
    return Outcome(problem.objective(found), found, problem.report, exact, reached)


def note(problem: Problem, found: Candidate, best: Candidate, *, final: bool = True) -> str:
    """What is said of a minimum that is vouched for: that its residual is more than noise, or a unit is one too many.

    Parameters
    ----------
    problem : Problem
    found : Candidate
        On all rows.
    best : Candidate
        The same on the sub-sample that it was refined on.
    final : bool
        Whether the number of units may be doubted.
    """
    if Judge(problem).leaves_more(found, best):
        return MISFIT
    return SPARE if final and has_spare_unit(problem, best) else ""


def strategies_for(problem: Problem, init: str) -> list[Strategy]:
    """What is tried in turn for an ``init`` that asks for a search: "auto", "expand" or "random"."""
    if problem.restarts:
        return [Restarts(problem.restarts)]
    if init != "auto":
        return [Expand()] if init == "expand" else [Restarts()]
    model = problem.model
    if problem.is_quartic:
        return [Spectral(), Restarts()]
    if not problem.expandable:
        return [Moments(), Restarts()]
    k, order = model.n_hidden, model.activation.tensor_order or 0
    # Many units: the moments of order four cost more than students that need few rows.  With biases three orders of
    # them are taken, of which few rows say nothing.
    many = math.comb(k + order, order) > problem.policy.many_features
    many = many or (model.hidden_bias and problem.has_few(problem.n_rows(problem.base)))
    wide: list[Strategy] = [Thin(), Expand(after_walks=True)] if problem.thinnable else [Expand()]
    if not many:
        return [Moments(), *wide]
    return [*wide, Moments()] if problem.policy.dear_moments else wide


def _solved(problem: Problem, init: Init, solver: str | Solver[Objective]) -> Candidate:
    """One solver on all rows, from a start on a sub-sample of them."""
    chosen: Solver[Objective] | None = solver if not isinstance(solver, str) else None
    if isinstance(solver, str):
        kind = SOLVERS[solver]
        assert kind is not None
        chosen = kind()
    assert chosen is not None
    model, theta = problem.with_signs(found_start(problem, problem.base, init))
    objective = Objective(problem.engine, model)
    state = problem.run(chosen, objective, theta, chosen.name, problem.policy.most_iterations(chosen.name))
    return Candidate(state, model, ALL, chosen.name)
