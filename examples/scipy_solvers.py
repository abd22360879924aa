"""
The loss in SciPy's solvers
===========================

Hand the loss of a network to SciPy's solvers: values, gradients, Hessian products, residuals and their Jacobian.

::

    python examples/scipy_solvers.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import OptimizeResult, least_squares, minimize

import fastrecover as fr


def main(n: int = 20_000) -> dict[str, float]:
    """Fit n rows by each solver, and return the relative errors of the weights."""
    teacher = fr.datasets.make_teacher("tanh", n_features=20, n_hidden=3, output_weights="ones", random_state=1)
    X, y = teacher.sample(n, noise=0.05, random_state=2)

    loss = fr.objective(X, y, "tanh", n_hidden=3)
    start = loss.theta0(random_state=0)
    solvers: dict[str, Callable[[], OptimizeResult]] = {
        "least_squares (trf, Jacobian as an operator)": lambda: least_squares(loss.residuals, start, jac=loss.jacobian),
        "minimize (trust-ncg, Hessian products)": lambda: minimize(
            loss.value_and_grad, start, jac=True, hessp=loss.hessp, method="trust-ncg"
        ),
        "minimize (L-BFGS-B)": lambda: minimize(loss.value_and_grad, start, jac=True, method="L-BFGS-B"),
    }
    errors = {"the start": loss.model.error(loss.unpack(start), teacher.parameters)}
    print(f"{'the start, from moments':46}  error {errors['the start']:.2e}")
    for name, solve in solvers.items():
        began, passes = time.perf_counter(), loss.passes
        theta = solve().x
        errors[name] = loss.model.error(loss.unpack(theta), teacher.parameters)
        seconds = time.perf_counter() - began
        print(f"{name:46}  error {errors[name]:.2e}  {loss.passes - passes:5.1f} passes  {seconds:.2f} s")

    # A line search of a solver of one's own: many points, one pass over the rows.
    steps = np.linspace(0.0, 1.0, 9)
    along = loss.values(start + steps[:, None] * (theta - start))
    print("losses from the start to the minimum:", " ".join(f"{value:.4f}" for value in along))
    return errors


if __name__ == "__main__":
    main()
