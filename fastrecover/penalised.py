"""Which penalty: fits of some rows along a path of penalties, told apart by their losses on the rows that are held out.

A path begins with the largest penalty, whose minimum is the easiest to find, and every other fit starts where the one
before it ended, so that it costs a few steps.  The penalty is that of the fit where the user asks for it; where least
squares finds no minimum that it can vouch for, it says which one to take.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .data import Given
from .engines import Engine, Meter
from .plan import ALL, SEARCHED, UNJUDGED, Judge, Outcome, Policy, Problem, carry_out, chosen
from .random import Stream, generator
from .request import ALPHAS, Request
from .solvers import Monitor
from .sweeps import Objective, penalty_on

_PARTS = 5
_ONE_PART = 20_000  # rows from which one held-out part tells enough
_PATIENCE = 3  # penalties in a row whose losses rise before a path ends
_RISE = 1.01
_SILENT = 0.05  # size of a unit that counts for nothing, where rows and responses are about 1
_NEAR = 0.1  # tolerance of a fit that is only compared with others, in its statistical errors


@dataclass(frozen=True)
class Choice:
    """A penalty, and what it was chosen by.

    Attributes
    ----------
    alpha : float
    losses : dict of float to ndarray
        Those on rows held out, by penalty; empty where there was nothing to choose.
    is_short : bool
        Whether the budget ended before all penalties were compared.
    standardise : bool
        Whether the penalty is on weights in standard units of the data.
    """

    alpha: float
    losses: dict[float, np.ndarray] = field(default_factory=dict)
    is_short: bool = False
    standardise: bool = False

    def as_info(self) -> dict[str, Any]:
        """Plain values by name, none where there is no penalty."""
        if self.alpha == 0 and not self.losses:
            return {}
        info: dict[str, Any] = {"alpha": self.alpha}
        if self.standardise:
            info["standardise"] = True
        if self.losses:
            info["alphas"] = {f"{a:g}": float(losses.mean()) for a, losses in self.losses.items()}
        return info


def penalty_of(
    data: Given,
    request: Request,
    n_jobs: int | None,
    monitor: Monitor,
    meter: Meter,
    most: int | None = None,
    policy: Policy | None = None,
) -> Choice:
    """The penalty of a request, chosen by rows held out where it names several.

    Steps of the fits compared are told to the callback, but leave the history, which is that of other fits.

    Parameters
    ----------
    data : Given
    request : Request
    n_jobs : int or None
    monitor : Monitor
        Whose budget holds for all fits together.
    meter : Meter
        Of the data, which counts the rows of all fits.
    most : int, optional
        Rows of all parts together, one drawn from each of so many stretches, by default all rows.
    policy : Policy, optional
        Of all fits.

    Returns
    -------
    Choice
    """
    if len(request.alphas) == 1:
        return Choice(request.alphas[0], standardise=request.standardise)
    losses = _held_out_losses(data, request, n_jobs, monitor, meter, most, policy)
    return Choice(largest_good(losses), losses, monitor.spent(meter), request.standardise)


def chosen_by_penalty(
    data: Given, request: Request, n_jobs: int | None, problem: Problem, outcome: Outcome
) -> tuple[Problem, Outcome, Choice]:
    """What a search of least squares is worth that has ended without a minimum that it vouches for.

    Where noise is left, and rows are enough to choose a penalty by, the minimum is taken whose basin is lowest under
    that penalty; where least squares has none there, what is fitted is the penalised loss.

    Parameters
    ----------
    data, request, n_jobs
        As for :func:`penalty_of`.
    problem : Problem
        Without a penalty.
    outcome : Outcome
        Of it.

    Returns
    -------
    problem : Problem
        Whose outcome it is, with the penalty or without.
    outcome : Outcome
    choice : Choice
        Penalty of that problem.
    """
    if not _is_open(data, request, problem, outcome):
        return problem, outcome, Choice(0.0)
    monitor = problem.monitor
    # In standard units, since no result depends on those of the data.
    taken, best, choice = _chosen(data, replace(request, alphas=ALPHAS, standardise=True), n_jobs, problem, outcome)
    taken.takes_over()
    monitor.note = ""
    monitor.record(best.objective, "chosen", best.state.loss, best.state.grad, best.state.theta)
    return taken, best, choice


def _chosen(
    data: Given, request: Request, n_jobs: int | None, problem: Problem, outcome: Outcome
) -> tuple[Problem, Outcome, Choice]:
    """The same under a request for penalties to choose from."""
    monitor, engine, policy = problem.monitor, problem.raw_on(ALL), problem.policy.in_short
    few = problem.n_rows(problem.base)
    choice = penalty_of(data, request, n_jobs, monitor, engine.meter, few, policy)
    if not choice.is_short:
        monitor.note = f", alpha={choice.alpha:g}"
        penalised = problem_of(engine, request, data.in_units(choice.alpha), monitor, policy)
        start, said = request.start(engine.shape[1]), f"alpha={choice.alpha:g} (standardise=True)"
        taken, best = chosen(problem, outcome, penalised, start, said)
    if problem.spent:
        outcome.state.converged, outcome.state.message = False, f"{problem.limit}{UNJUDGED}"
        return problem, outcome, Choice(0.0)
    best.report.chosen_under = choice.alpha
    return taken, best, Choice(0.0) if taken is problem else choice


def _is_open(data: Given, request: Request, problem: Problem, outcome: Outcome) -> bool:
    """Whether a penalty may tell more than the search did: it has ended by itself, at noise, on rows enough.

    Weights that run off are doubted however often they were found.
    """
    model = problem.model
    asked = request.alphas == (0.0,) and request.restarts is None and not request.finds_units
    asked = asked and request.solver == "auto" and isinstance(request.init, str) and request.init in SEARCHED
    plain = model.loss.least_squares and model.n_outputs == model.n_patches == 1 and not model.is_quadratic_form
    noisy = outcome.state.loss > problem.policy.noisy * problem.response_variance and not outcome.exact
    able = not (problem.spent or data.out_of_reach(request.model) or problem.is_scarce(data.n_rows))
    if not (asked and plain and noisy and able):
        return False
    return not outcome.state.converged or Judge(problem).runs_off(outcome.candidate)


def problem_of(
    engine: Engine, request: Request, alpha: float, monitor: Monitor, policy: Policy | None = None
) -> Problem:
    """The problem of a request under one penalty.

    Parameters
    ----------
    engine : Engine
    request : Request
    alpha : float
    monitor : Monitor
    policy : Policy, optional

    Returns
    -------
    Problem
    """
    model = request.model.changed(penalty=penalty_on(engine, request.model, alpha, request.standardise))
    found = Problem.of(engine, model, request.seeds, monitor, request.tol, request.inputs, request.restarts)
    found.penalty, found.policy = model.penalty, found.policy if policy is None else policy
    return found


def _held_out_losses(
    data: Given,
    request: Request,
    n_jobs: int | None,
    monitor: Monitor,
    meter: Meter,
    most: int | None,
    policy: Policy | None,
) -> dict[float, np.ndarray]:
    """Losses of every penalty on each part of the rows, which its fits have not seen.

    Penalties beyond the best of a path, where the losses have risen for a while, are left out.
    """
    rng, before = generator(request.seeds, Stream.HELD_OUT), len(monitor.history["stage"])
    if most is not None and most < data.n_rows:
        edges = np.linspace(0.0, data.n_rows, most + 1).astype(int)
        data = data.some(rng.integers(edges[:-1], edges[1:]))
    n = data.n_rows
    part = rng.permutation(np.arange(n) % _PARTS)
    monitor.note = ", rows held out"
    found_losses: dict[float, list[float]] = {alpha: [] for alpha in request.alphas}
    parts = range(1 if n >= _ONE_PART else _PARTS)
    for held in parts:
        kept, left = data.some(np.flatnonzero(part != held)), data.some(np.flatnonzero(part == held))
        engine, other = kept.engine(n_jobs, meter), left.engine(n_jobs, meter)
        init, best, worse = request.start(engine.shape[1]), np.inf, 0
        for alpha in request.alphas:
            problem = problem_of(engine, request, kept.in_units(alpha), monitor, policy)
            problem.tol = max(problem.tol, _NEAR)
            outcome = carry_out(problem, init, "auto", final=False)
            found = problem.coordinates.back(outcome.objective.unpack(outcome.state.theta), outcome.objective.model)
            model = outcome.objective.model.changed(loss=request.model.loss, penalty=None)
            loss = Objective(other, model).value(model.pack(found))
            found_losses[alpha].append(loss)
            worse = worse + 1 if loss > _RISE * best else 0
            best = min(best, loss)
            # A penalty that silences all units leaves a saddle, from which no smaller one would get away.
            at = problem.parameters(outcome.candidate)
            silent = float((at.sizes * np.linalg.norm(at.weights, axis=1)).max()) < _SILENT
            init = request.start(engine.shape[1]) if silent else found
            if worse == _PATIENCE or (problem.spent and outcome.state.iteration == 0):
                break
    monitor.note = ""
    for column in monitor.history.values():
        del column[before:]
    return {alpha: np.array(losses) for alpha, losses in found_losses.items() if len(losses) == len(parts)}


def largest_good(losses: dict[float, np.ndarray]) -> float:
    """The largest penalty whose loss is not above the least one by more than the standard error of their difference.

    Penalties near the best one are told apart by chance (Breiman, Friedman, Olshen and Stone 1984); parts are compared
    with themselves.

    Parameters
    ----------
    losses : dict of float to ndarray
        One for each part, by alpha.
    """
    best = min(losses, key=lambda alpha: losses[alpha].mean())
    parts = len(losses[best])

    def good(alpha: float) -> bool:
        above = losses[alpha] - losses[best]
        return parts > 1 and float(above.mean()) <= float(above.std(ddof=1)) / np.sqrt(parts)

    return max([best, *(alpha for alpha in losses if good(alpha))])
