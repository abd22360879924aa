"""A run that is saved between two steps and continued by another process, with a solver made afresh, keeps its bits."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.models import Network
from fastrecover.solvers import (
    LBFGS,
    FactoredMatrix,
    GaussNewton,
    GradientDescent,
    Monitor,
    QuarticConjugateGradients,
    State,
    StochasticGradientDescent,
    gaussian_curvature,
    run,
)
from fastrecover.sweeps import Objective

SOLVERS = {
    "lbfgs": LBFGS,
    "lbfgs gaussian": LBFGS,
    "lbfgs factored": LBFGS,
    "gauss-newton": GaussNewton,
    "gauss-newton cg": lambda: GaussNewton(dense=False),
    "gd": GradientDescent,
    "gd curvature": lambda: GradientDescent("curvature"),
    "sgd": lambda: StochasticGradientDescent(0.1, batch_size=500, steps=12),
    "pncg": QuarticConjugateGradients,
    "pncg sparse": lambda: QuarticConjugateGradients(dense=False),
}
BEFORE, AFTER = 4, 6


def planted(case: str) -> tuple[Objective, np.ndarray]:
    """Objective and start, the same in every process."""
    name = "quadratic" if case.startswith("pncg") else "tanh"
    teacher = fr.datasets.make_teacher(name, n_features=8, n_hidden=3, random_state=1)
    X, y = teacher.sample(3000, noise=0.2, random_state=2)
    model: Network = teacher.model.with_output_weights(teacher.output_weights)
    start = teacher.weights + 0.2 * np.random.default_rng(3).standard_normal(teacher.weights.shape)
    return fr.objective(X, y, model, n_jobs=1), start.ravel()


def first_solver(case: str, objective: Objective, theta: np.ndarray):
    """The solver of the first process: its preconditioner is in no later one."""
    if case == "lbfgs gaussian":
        return LBFGS(preconditioner=gaussian_curvature(objective, theta, np.random.SeedSequence(0)))
    if case == "lbfgs factored":
        return LBFGS(preconditioner=FactoredMatrix.of(objective.gauss_newton(theta)[2], 1e-8))
    return SOLVERS[case]()


def go(solver, objective: Objective, theta: np.ndarray, steps: int, begun: State | None = None) -> State:
    return run(
        solver,
        objective,
        theta,
        monitor=Monitor(),
        stage="test",
        tol=1e-12,
        exact_loss=0.0,
        max_iterations=steps,
        begun=begun,
    )


def go_on(path: str, case: str) -> None:
    """What the second process does: a fresh objective and a fresh solver, from the state in a file."""
    objective, _ = planted(case)
    with open(path, "rb") as file:
        begun = pickle.load(file)
    state = go(SOLVERS[case](), objective, begun.theta, AFTER, begun)
    with open(path, "wb") as file:
        pickle.dump(state, file)


@pytest.mark.parametrize("case", SOLVERS)
def test_a_state_goes_on_in_another_process(case, tmp_path):
    objective, theta = planted(case)
    solver = first_solver(case, objective, theta)
    begun = go(solver, objective, theta, BEFORE)
    assert not begun.converged and begun.iteration == BEFORE
    path = tmp_path / "state"
    path.write_bytes(pickle.dumps(begun))
    uninterrupted = go(solver, objective, begun.theta, AFTER, begun)

    here = os.path.dirname(__file__)
    script = f"import sys; sys.path.insert(0, {here!r}); import test_resume; test_resume.go_on({str(path)!r}, {case!r})"
    paths = os.pathsep.join([os.path.dirname(os.path.dirname(fr.__file__)), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": paths})
    resumed = pickle.loads(path.read_bytes())
    assert not np.array_equal(begun.theta, resumed.theta)
    np.testing.assert_array_equal(resumed.theta, uninterrupted.theta)
    np.testing.assert_array_equal(resumed.grad, uninterrupted.grad)
    assert (resumed.loss, resumed.decrement, resumed.iteration, resumed.message) == (
        uninterrupted.loss,
        uninterrupted.decrement,
        uninterrupted.iteration,
        uninterrupted.message,
    )
