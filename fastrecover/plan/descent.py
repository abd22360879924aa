"""The landscape of Ge, Lee and Ma in place of the loss: descended from random rows, then the weights are read out."""

from __future__ import annotations

import numpy as np

from ..random import Stream
from ..solvers import OnLandscape, State, run
from ..starts import Descent
from ..sweeps import Objective
from .problem import ALL, Candidate, Problem


def descended(problem: Problem, chosen: OnLandscape) -> Candidate:
    """Minimise G and read the weights out; nothing is refined.

    Parameters
    ----------
    problem : Problem
    chosen : OnLandscape

    Returns
    -------
    Candidate
        On all rows.
    """
    descent = Descent.of(problem.engine, problem.model, problem.seed(Stream.START), chosen.mu)
    solver = chosen.on(descent.step_size)
    found = run(
        solver,
        descent.landscape,
        descent.start,
        monitor=problem.monitor,
        stage="landscape",
        tol=problem.tol,
        exact_loss=-np.inf,
        max_iterations=problem.policy.most_iterations(solver.name),
    )
    model, theta = problem.with_signs(descent.read_out(found.theta))
    objective = Objective(problem.engine, model)
    loss, grad = objective.value_and_grad(theta)
    problem.monitor.record(objective, "read-out", loss, grad)
    problem.report.start, problem.report.landscape = "random", found.loss
    state = State(theta, loss, grad, converged=found.converged, message=f"landscape: {found.message}")
    return Candidate(state, model, ALL, "landscape")
