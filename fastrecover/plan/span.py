"""The best network in the span of a start, where many features make sweeps dear.

A start by moments knows the span of the units better than what lies in it.  On projections of the rows the network is
a small dense problem that costs next to nothing, and what is left is for sweeps that see all directions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..engines import Engine
from ..linalg import orthonormal
from ..models import Parameters
from ..random import Stream
from ..solvers import GaussNewton, minimise_many
from ..starts import random_start
from ..sweeps import MomentSweeps, Objective
from .problem import Problem, Rows
from .refine import matrix_is_dear


def in_span(problem: Problem, rows: Rows, start: Parameters) -> Parameters:
    """The best network whose rows lie in the span of a start's and the first moment of the responses.

    Second moments of few rows for each feature hide weak units, and with them their signs: the first moment is a sum
    over all units.  Where the start leaves much of the responses, random rows in the span with every number of
    positive signs are tried as well.  Where the matrix of all parameters costs no more than many gradients, the start
    is returned as it is.

    Parameters
    ----------
    problem : Problem
    rows : Rows
    start : Parameters

    Returns
    -------
    Parameters
        With definite output weights.
    """
    model, theta = problem.with_signs(start)
    engine = problem.on(rows)
    if not matrix_is_dear(problem, Objective(engine, model)) or problem.spent:
        return start
    policy, found = problem.policy, model.unpack(theta, problem.engine.shape[1])
    basis = _basis(engine, found)
    size = max(policy.rows_in_span * model.n_parameters(len(basis)), policy.fewest_rows_in_span)
    objective = Objective(engine.sample(size, problem.seed(Stream.CURVATURE)).projected(basis), model)
    # Its steps are no passes over the data, and are not recorded.
    quiet = replace(problem, monitor=problem.monitor.unseen())

    def best(objective: Objective, theta: np.ndarray) -> tuple[Parameters, float]:
        state = quiet.run(GaussNewton(), objective, theta, "in the span", policy.iterations, policy.near)
        return objective.unpack(state.theta), state.loss

    inside, loss = best(objective, model.pack(_turned(found, basis.T)))
    if problem.model.output_weights == "signs" and loss > policy.unexplained * problem.response_variance:
        other, lower = best(*_of_any_signs(problem, objective))
        inside = other if lower < (1.0 - policy.gain) * loss else inside
    return _turned(inside, basis)


def _basis(engine: Engine, found: Parameters) -> np.ndarray:
    """Orthonormal rows that span those of a network and the first moment of the responses."""
    mean = float(engine.average())
    first = MomentSweeps(engine, Parameters(np.zeros((0, engine.shape[1])), np.zeros(0), None, mean)).first()[1]
    directions = [found.weights, first[None]] + ([] if found.linear is None else [found.linear[None]])
    return orthonormal(np.concatenate(directions)[: engine.shape[1]])


def _turned(at: Parameters, matrix: np.ndarray) -> Parameters:
    return replace(at, weights=at.weights @ matrix, linear=None if at.linear is None else at.linear @ matrix)


def _of_any_signs(problem: Problem, objective: Objective) -> tuple[Objective, np.ndarray]:
    """The best of random starts with every number of positive output weights, side by side."""
    k, model, rng = objective.model.n_hidden, problem.model, problem.generator(Stream.RESTART)
    starts = [
        random_start(model, objective.n_features, rng, scale=1.0, positive=count)
        for count in range(k + 1)
        for _ in range(problem.policy.starts_of_a_sign)
    ]
    thetas, losses = minimise_many(
        objective,
        np.array([objective.model.pack(start) for start in starts]),
        iterations=problem.policy.restart_iterations // 4,
        memory=10,
        exact_loss=problem.exact_loss,
        own=np.array([start.output_weights for start in starts]),
        stop=lambda: problem.spent,
    )
    at = int(losses.argmin())
    return objective.with_model(model.with_output_weights(starts[at].output_weights)), thetas[at]
