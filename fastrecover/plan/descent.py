"""The landscape of Ge, Lee and Ma in place of the loss: descended from random rows, then the weights are read out."""

from __future__ import annotations

import warnings

import numpy as np

from ..random import Stream
from ..solvers import OnFreshRows, OnLandscape, State, run
from ..solvers.fresh import FreshRows
from ..starts import Descent
from ..sweeps import Objective
from .problem import ALL, Candidate, Problem

_FAR = 10  # times fewer rows than are wanted call for a warning


def descended(problem: Problem, chosen: OnLandscape, batches: FreshRows | None = None) -> Candidate:
    """Minimise G and read the weights out; nothing is refined.

    Parameters
    ----------
    problem : Problem
    chosen : OnLandscape
    batches : FreshRows, optional
        What the steps are taken on; the problem is then on the first batch, which gives the start.

    Returns
    -------
    Candidate
        On all rows, or on the last batch.

    Warns
    -----
    UserWarning
        There are far fewer rows than the steps want, each of its own.
    """
    (n, _), m = problem.engine.shape, problem.model.n_hidden
    wanted = chosen.wanted(m)
    if batches is None and n * _FAR < wanted:
        warnings.warn(
            f"X has {n:,} rows, and the published descent wants {wanted:,}, each taken for one step alone; with far "
            "fewer it runs off or ends at wrong rows: use model='landscape', which needs few, or give batches of "
            "fresh rows in place of X",
            UserWarning,
            stacklevel=4,
        )
    descent = Descent.of(problem.engine, problem.model, problem.seed(Stream.START), chosen.mu)
    solver = chosen.on(descent.step_size, m, n)
    found = run(
        solver if batches is None else OnFreshRows(solver, batches),
        descent.landscape,
        descent.start,
        monitor=problem.monitor,
        stage="landscape",
        tol=problem.tol,
        exact_loss=-np.inf,
        max_iterations=problem.policy.most_iterations(solver.name),
    )
    engine = problem.engine if batches is None else batches.engine
    model, theta = problem.with_signs(descent.read_out(found.theta, engine))
    objective = Objective(engine, model)
    loss, grad = objective.value_and_grad(theta)
    problem.monitor.record(objective, "read-out", loss, grad)
    problem.report.start, problem.report.landscape = "random", found.loss
    state = State(theta, loss, grad, converged=found.converged, message=f"landscape: {found.message}")
    return Candidate(state, model, ALL, "landscape")
