"""From a start to the minimum nearby: on a sub-sample first, then on all rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..models import Network
from ..random import Stream
from ..solvers import (
    DENSE_LIMIT,
    LBFGS,
    FactoredMatrix,
    GaussianCurvature,
    GaussNewton,
    KinkedGaussNewton,
    QuarticConjugateGradients,
    Solver,
    State,
    gaussian_curvature,
    newton_many,
)
from ..solvers.lbfgs import with_direction
from ..sweeps import Objective
from .problem import ALL, Candidate, Problem, Rows

_NEARLY_SINGULAR = 1e-10  # of a preconditioning matrix, relative to its mean diagonal
_OPEN = 1e-6  # the same where labels leave directions open, as softmax does that of a function added to all outputs


def refined(
    problem: Problem, rows: Rows, model: Network, theta: np.ndarray, label: str, most: int | None = None
) -> Candidate:
    """The minimum near theta on some rows.

    Parameters
    ----------
    problem : Problem
    rows : Rows
    model : Network
        With definite output weights.
    theta : ndarray (n_parameters,)
    label : str
        Stage in the history.
    most : int, optional
        Most steps for a quadratic network, by default the policy's.

    Returns
    -------
    Candidate
    """
    policy, labels = problem.policy, not problem.model.loss.in_response_units
    objective = Objective(problem.on(rows), model)
    # A sub-sample's minimiser is a stepping stone: a fraction of its own error is near enough.
    near = policy.near_labelled if labels else policy.near if problem.p <= policy.large else policy.near_large
    tol = problem.tol if rows == ALL else max(problem.tol, near)
    # The best of many parameters that a penalty holds is wanted soon, and a matrix costs as much as many gradients.
    soon = problem.restarts is not None and model.penalty is not None and problem.p > policy.dear_matrix
    if model.ends_at_kinks or soon:
        state = problem.run(LBFGS(), objective, theta, label, policy.kink_iterations, tol)
        return Candidate(_in_kinks(problem, objective, state, label, tol), model, rows, label)
    if matrix_is_dear(problem, objective):
        state = _with_gaussian_curvature(problem, rows, objective, theta, label, tol)
        if state.converged or problem.p > DENSE_LIMIT or problem.spent:
            return Candidate(state, model, rows, label)
        theta = state.theta
    quadratic = problem.is_quartic
    # With rows added a minimum is a stepping stone, which few rows leave open in many directions.
    stone = model.n_hidden > problem.model.n_hidden and objective.n_rows < policy.scarce * objective.n_parameters
    solver: Solver[Objective] = (
        QuarticConjugateGradients(dense=False if stone else None) if quadratic else gauss_newton(problem, objective)
    )
    if isinstance(solver, GaussNewton) and solver.factored:
        # Narrow valleys: dampings by what a step gains against what it promised go through them faster.
        found = newton_many(
            objective,
            theta[None],
            iterations=2 * policy.iterations,
            exact_loss=problem.exact_loss,
            stop=lambda: problem.spent,
            tol=tol,
        )
        theta = found[0][0]
    dear = not quadratic and problem.p > policy.dear_matrix
    steps = (most or policy.pncg_iterations) if quadratic else policy.iterations
    steps = policy.few_matrices if dear else policy.fisher_steps if labels else steps
    steps = policy.last_steps if isinstance(solver, GaussNewton) and solver.factored else steps
    state = problem.run(solver, objective, theta, label, steps, tol)
    # A matrix costs as much as p / 4 gradients: far from a minimum these go further.  Where labels leave a
    # direction open, Fisher's matrix is far from the Hessian and its steps are short.
    slow = labels and not state.stopped
    if (dear or slow) and not state.converged and not problem.spent:
        matrix = state.memory.get("matrix") if slow else None
        metric = None if matrix is None else _factored(matrix, _OPEN)
        state = problem.run(LBFGS(preconditioner=metric), objective, state.theta, label, policy.iterations, tol)
        state = problem.run(solver, objective, state.theta, label, policy.iterations // 5, tol)
    return Candidate(_in_kinks(problem, objective, state, label, tol), model, rows, label)


def _in_kinks(problem: Problem, objective: Objective, state: State, label: str, tol: float) -> State:
    """Go on by steps that know kinks where the minimum may lie in some, and these can be counted."""
    model = objective.model
    # Noise alone leaves minima close enough to kinks for the loss to level off; a penalty draws them into kinks.
    unsure = not state.converged or (state.stopped and model.ends_at_kinks)
    plain = objective.kinked and model.loss.of_output and model.n_patches == 1 and bool(model.activation.kinks)
    few = problem.p <= problem.policy.small and objective.n_rows * problem.p**2 <= problem.policy.kinked_work
    if not (unsure and plain and few) or problem.spent:
        return state
    return problem.run(KinkedGaussNewton(), objective, state.theta, label, problem.policy.kinked_steps, tol)


def gauss_newton(problem: Problem, objective: Objective) -> GaussNewton:
    """The dense solver: from triangular factors where units with biases may nearly cancel, and rows are few."""
    return GaussNewton(factored=wants_factors(problem, objective, 1))


def wants_factors(problem: Problem, objective: Objective, runs: int) -> bool:
    """Whether runs side by side need the factor of a Jacobian, twice as precise as a matrix, and it is cheap enough.

    Parameters
    ----------
    problem : Problem
    objective : Objective
    runs : int

    Returns
    -------
    bool
    """
    policy, p, penalty = problem.policy, objective.n_parameters, problem.model.penalty
    well_posed = penalty is not None and (penalty.least() > policy.firm or problem.model.ends_at_kinks)
    if well_posed or not (problem.model.hidden_bias or problem.restarts):
        return False
    most = policy.small_work if runs == 1 else policy.small_work_of_many
    return p <= policy.small and runs * objective.n_rows * p**2 <= most


def moved(problem: Problem, candidate: Candidate, rows: Rows) -> Candidate:
    """A candidate refined on other rows, itself if these are its own."""
    if candidate.rows == rows:
        return candidate
    return refined(problem, rows, candidate.model, candidate.state.theta, candidate.label)


def polished(problem: Problem, best: Candidate) -> Candidate:
    """A candidate of a sub-sample refined on all rows, in few passes.

    L-BFGS on the curvature of Gaussian rows or, with labels or patches, on that of a sub-sample.

    Parameters
    ----------
    problem : Problem
    best : Candidate

    Returns
    -------
    Candidate
    """
    if best.rows == ALL:
        return best
    policy, theta = problem.policy, best.state.theta
    objective = Objective(problem.engine, best.model)
    if problem.is_quartic:
        state = problem.run(
            QuarticConjugateGradients(dense=False), objective, theta, "all rows", policy.pncg_iterations
        )
        return Candidate(state, best.model, ALL, best.label)
    if best.model.ends_at_kinks:
        state = problem.run(LBFGS(), objective, theta, "all rows", policy.kink_iterations)
        return Candidate(_in_kinks(problem, objective, state, "all rows", problem.tol), best.model, ALL, best.label)
    # Labels say little, so that their matrix on a sub-sample is worth its cost unless it is dear.
    responses = problem.model.loss.in_response_units
    known = problem.has_gaussian_curvature and (responses or matrix_is_dear(problem, problem.objective(best)))
    if known or problem.spent:
        # Spent, it only tells the loss.
        curvature = None if problem.spent else _curvature(problem, objective, theta)
        state = problem.run(LBFGS(preconditioner=curvature), objective, theta, "all rows", policy.iterations)
    elif problem.p <= policy.large:
        state = _preconditioned(problem, objective, best)
    else:
        solver = GaussNewton(dense=False, damping=1e-4)
        state = problem.run(solver, objective, theta, "all rows", policy.iterations)
    if not state.converged and problem.p <= DENSE_LIMIT and not problem.spent:
        state = problem.run(GaussNewton(), objective, state.theta, "all rows, dense", policy.iterations // 2)
    return Candidate(state, best.model, ALL, best.label)


def matrix_is_dear(problem: Problem, objective: Objective) -> bool:
    """Whether forming it costs more than many gradients, with rows enough to be near that of Gaussian rows.

    Parameters
    ----------
    problem : Problem
    objective : Objective

    Returns
    -------
    bool
    """
    if not problem.has_gaussian_curvature:
        return False
    n, p, policy = objective.n_rows, problem.p, problem.policy
    dear = policy.dear_work if problem.model.loss.in_response_units else policy.dear_work_of_labels
    return p > DENSE_LIMIT or (n * p**2 > dear and n > policy.rows_to_average * p)


def _curvature(problem: Problem, objective: Objective, theta: np.ndarray) -> GaussianCurvature:
    return gaussian_curvature(objective, theta, problem.seed(Stream.CURVATURE), problem.known_white)


def _with_gaussian_curvature(
    problem: Problem, rows: Rows, objective: Objective, theta: np.ndarray, label: str, tol: float
) -> State:
    """L-BFGS on the curvature of Gaussian rows, taken anew when the start has been left behind."""
    policy = problem.policy
    # Unconverged after these steps: the search tries more rows.
    few = policy.steps_of_few if problem.p <= policy.large else policy.steps_of_many
    last = policy.iterations if rows == ALL else few
    solver = LBFGS(preconditioner=_curvature(problem, objective, theta))
    state = problem.run(solver, objective, theta, label, policy.first_steps, tol)
    if not (state.converged or problem.spent):
        anew = replace(state, stopped=False, stalled=0)
        anew = with_direction(anew, [], _curvature(problem, objective, state.theta))
        state = problem.run(solver, objective, state.theta, label, last, tol, begun=anew)
    return state


def _preconditioned(problem: Problem, objective: Objective, best: Candidate) -> State:
    """L-BFGS on the curvature of a sub-sample, taken anew where the way to the minimiser has changed it."""
    policy, solver = problem.policy, LBFGS(preconditioner=_matrix_of_sample(problem, best))
    state = problem.run(solver, objective, best.state.theta, "all rows", 0)
    for _ in range(policy.legs):
        before = state.decrement
        state = problem.run(solver, objective, state.theta, "all rows", policy.leg, begun=state)
        if state.converged or state.stopped or problem.spent:
            break
        if state.decrement > policy.slow * before and not objective.kinked:
            anew = _matrix_of_sample(problem, Candidate(state, best.model, ALL, best.label))
            state = with_direction(state, state.memory["pairs"], anew)
    else:
        state.message = f"not converged after {policy.legs * policy.leg} iterations"
    return state


def _matrix_of_sample(problem: Problem, at: Candidate) -> FactoredMatrix:
    """The Gauss-Newton matrix that a candidate's solver left, or one of a sub-sample of its rows."""
    matrix = at.state.memory.get("matrix")
    if matrix is None:
        few = problem.on(at.rows).sample(_matrix_rows(problem, at), problem.seed(Stream.CURVATURE))
        matrix = Objective(few, at.model).gauss_newton(at.state.theta)[2]
    return _factored(matrix, _NEARLY_SINGULAR)


def _factored(matrix: np.ndarray, ridge: float) -> FactoredMatrix:
    return FactoredMatrix.of(matrix, ridge * float(np.trace(matrix)) / len(matrix))


def _matrix_rows(problem: Problem, at: Candidate) -> int:
    """Rows whose matrix makes the corrections on all rows cheapest."""
    n, p, policy = problem.engine.shape[0], problem.p, problem.policy
    own = problem.n_rows(at.rows)

    def cost(m: int) -> float:
        shorter = max(math.log(m / (policy.contraction**2 * p)) / 2.0, 0.1)
        away = math.sqrt(n / max(m, own))
        return max(math.log(away / problem.tol), 1.0) / shorter + m / n * p * policy.matrix_cost

    least = policy.precondition_rows * p
    options = [least << i for i in range(8) if i == 0 or (least << i) <= n // 2]
    return min(options, key=cost)
