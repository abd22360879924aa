"""Which penalty: fits of some rows along a path of penalties, told apart by their losses on the rows that are held out.

A path begins with the largest penalty, whose minimum is the easiest to find, and every other fit starts where the one
before it ended, so that it costs a few steps.
"""

from __future__ import annotations

import numpy as np

from .data import Given
from .engines import Engine, Meter
from .plan import Problem, carry_out
from .random import Stream, generator
from .request import Request
from .solvers import Monitor
from .sweeps import Objective, penalty_on

_PARTS = 5
_ONE_PART = 20_000  # rows from which one held-out part tells enough
_PATIENCE = 3  # penalties in a row whose losses rise before a path ends
_RISE = 1.01
_SILENT = 0.05  # size of a unit that counts for nothing, where rows and responses are about 1
_NEAR = 0.1  # tolerance of a fit that is only compared with others, in its statistical errors


def problem_of(engine: Engine, request: Request, alpha: float, monitor: Monitor) -> Problem:
    """The problem of a request under one penalty.

    Parameters
    ----------
    engine : Engine
    request : Request
    alpha : float
    monitor : Monitor

    Returns
    -------
    Problem
    """
    model = request.model.changed(penalty=penalty_on(engine, request.model, alpha, request.standardise))
    found = Problem.of(engine, model, request.seeds, monitor, request.tol, request.inputs, request.restarts)
    found.penalty = model.penalty
    return found


def held_out_losses(
    data: Given, request: Request, n_jobs: int | None, monitor: Monitor, meter: Meter
) -> dict[float, np.ndarray]:
    """Losses of every penalty on each part of the rows, which its fits have not seen.

    Parameters
    ----------
    data : Given
    request : Request
    n_jobs : int or None
    monitor : Monitor
        Whose budget holds for all fits together.
    meter : Meter
        Of the data, which counts the rows of all fits.

    Returns
    -------
    dict of float to ndarray
        Losses by alpha, one for each part.  Penalties beyond the best of a path, where the losses have risen for a
        while, are left out.
    """
    n = data.n_rows
    part = generator(request.seeds, Stream.HELD_OUT).permutation(np.arange(n) % _PARTS)
    found_losses: dict[float, list[float]] = {alpha: [] for alpha in request.alphas}
    parts = range(1 if n >= _ONE_PART else _PARTS)
    for held in parts:
        kept, left = data.some(np.flatnonzero(part != held)), data.some(np.flatnonzero(part == held))
        engine, other = kept.engine(n_jobs, meter), left.engine(n_jobs, meter)
        init, best, worse = request.start(engine.shape[1]), np.inf, 0
        for alpha in request.alphas:
            problem = problem_of(engine, request, kept.in_units(alpha), monitor)
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
    for column in monitor.history.values():  # which is that of the fit that follows
        column.clear()
    return {alpha: np.array(losses) for alpha, losses in found_losses.items() if len(losses) == len(parts)}


def largest_good(losses: dict[float, np.ndarray]) -> float:
    """The largest penalty whose loss is not above the least one by more than the standard error of their difference.

    Penalties near the best one are told apart by chance (Breiman, Friedman, Olshen and Stone 1984); parts are compared
    with themselves.

    Parameters
    ----------
    losses : dict of float to ndarray
        From :func:`held_out_losses`.
    """
    best = min(losses, key=lambda alpha: losses[alpha].mean())
    parts = len(losses[best])

    def good(alpha: float) -> bool:
        above = losses[alpha] - losses[best]
        return parts > 1 and float(above.mean()) <= float(above.std(ddof=1)) / np.sqrt(parts)

    return max([best, *(alpha for alpha in losses if good(alpha))])
