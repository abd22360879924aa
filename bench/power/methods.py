"""What is compared: our fit, the published method, L-BFGS from random starts and scikit-learn's network.

Each is a function of the rows that gives a :class:`Found`, with everything it may not know (signs, weights) left
to it.  The L-BFGS is SciPy's on ``fastrecover.objective``: the gradient costs a fraction of what it costs in
NumPy or PyTorch, so its seconds are those of a well-built peer.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..minimisers import SKLEARN_ACTIVATIONS, sklearn_lbfgs
from ..recovery import restarted

#: Constant steps for k = 5 and condition number 2: of the authors' scripts; just below 2 over the largest curvature.
STEPS = {"squared_relu": 0.02, "relu": 0.5}
PASSES = 1500.0
_EPS = float(np.finfo(np.float64).eps)
_PATIENCE, _LEAST_FALL = 100, 1e-3
_MOST_ITERATIONS = 3000


@dataclass(frozen=True)
class Found:
    """End of one attempt.

    Attributes
    ----------
    parameters : Parameters or None
        None where the method refused or its steps diverged.
    seconds : float
        Of the whole attempt, all restarts included.
    loss : float
        Half the mean square of the residual.
    converged : bool
        What the method says of itself.
    starts : int
        Runs that were needed.
    note : str
        Its own message.
    """

    parameters: Any
    seconds: float
    loss: float
    converged: bool
    starts: int = 1
    note: str = ""

    def error(self, teacher: Any) -> float:
        """Relative Frobenius error in the teacher's own parameters, inf where nothing was found."""
        if self.parameters is None:
            return float("inf")
        return float(teacher.model.error(self.parameters, teacher.parameters))


def worst_unit(parameters: Any, teacher: Any) -> float:
    """Largest relative error of one unit, ``max_j |w_j - w*_j| / |w*_j|``; inf if a sign is wrong or nothing was found.

    The measure of Zhong et al. (arXiv 1706.03175, experiments).
    """
    from fastrecover.models import align

    if parameters is None:
        return float("inf")
    a, b = align(parameters, teacher.parameters, teacher.model.activation, teacher.model.free_v)
    if not np.array_equal(np.sign(a.output_weights), np.sign(b.output_weights)):
        return float("inf")
    away = np.linalg.norm(a.weights - b.weights, axis=1) / np.linalg.norm(b.weights, axis=1)
    return float(away.max())


def ours(X: np.ndarray, y: np.ndarray, model: Any, k: int, seed: int, **options: Any) -> Found:
    """``fastrecover.fit`` with one thread and nothing else set unless `options` say so."""
    import fastrecover as fr

    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rec = fr.fit(X, y, model, k, n_jobs=1, random_state=seed, **options)
    except ValueError as refusal:
        return Found(None, time.perf_counter() - start, float("inf"), False, note=str(refusal))
    diverged = not (np.isfinite(rec.loss) and np.isfinite(rec.parameters.flat()).all())
    parameters = None if diverged else rec.parameters
    return Found(parameters, time.perf_counter() - start, rec.loss, rec.converged, note=rec.message)


def published(X: np.ndarray, y: np.ndarray, model: Any, k: int, seed: int) -> Found:
    """Tensor start by averages and gradient descent with a constant step on all rows, as in the authors' scripts."""
    import fastrecover as fr

    solver = fr.solvers.GradientDescent(STEPS[model])
    return ours(X, y, model, k, seed, init="tensor-published", solver=solver, max_passes=PASSES)


class Recorded:
    """A solver that shows every point it visits.

    Parameters
    ----------
    solver : solver object
    visit : callable
        Called with the parameters of each point, the start included.
    """

    def __init__(self, solver: Any, visit: Callable[[Any], Any]) -> None:
        self.solver, self.visit, self.name = solver, visit, solver.name

    def begin(self, objective: Any, theta: np.ndarray) -> Any:
        """As the solver's."""
        return self._shown(objective, self.solver.begin(objective, theta))

    def step(self, objective: Any, state: Any) -> Any:
        """As the solver's."""
        return self._shown(objective, self.solver.step(objective, state))

    def _shown(self, objective: Any, state: Any) -> Any:
        self.visit(objective.unpack(state.theta))
        return state


def restarts(
    X: np.ndarray,
    y: np.ndarray,
    model: str,
    k: int,
    seed: int,
    starts: int = 10,
    *,
    exact: bool = True,
    begin: Any = None,
    visit: Callable[[Any], Any] | None = None,
) -> Found:
    """SciPy's L-BFGS-B on the squared loss with real-valued output weights, from random starts; the lowest loss.

    Rows begin as ``N(0, 1.5^2 / d)``, output weights as fair signs.  A run ends when the fit is exact, after 3000
    iterations, or when 100 iterations have not lowered the loss by a thousandth.

    Parameters
    ----------
    X, y, model, k, seed
    starts : int
    exact : bool
        Whether the data are noiseless, so that an exact fit ends the search.
    begin : Parameters, optional
        One run from here in place of the random ones.
    visit : callable, optional
        Called with the parameters of every iteration.
    """
    import fastrecover as fr

    started, runs = time.perf_counter(), []
    objective = fr.objective(X, y, model, k, output_weights="free", n_jobs=1)
    rounding = (30.0 * _EPS) ** 2 * float(np.mean(y**2)) if exact else -1.0
    d, rng = X.shape[1], np.random.default_rng([41, seed])
    for _ in range(starts if begin is None else 1):
        if begin is not None:
            theta = objective.model.pack(begin)
        else:
            theta = np.concatenate([rng.normal(0.0, 1.5 / np.sqrt(d), k * d), rng.choice([-1.0, 1.0], k)])
        runs.append(_descend(objective, theta, rounding, visit))
        if runs[-1].fun <= rounding:
            break
    best = min(runs, key=lambda run: run.fun)
    seconds = time.perf_counter() - started
    return Found(objective.unpack(best.x), seconds, float(best.fun), bool(best.fun <= rounding), len(runs))


def _descend(objective: Any, theta: np.ndarray, rounding: float, visit: Callable[[Any], Any] | None) -> Any:
    from scipy.optimize import minimize

    losses: list[float] = []

    def watch(intermediate_result: Any) -> None:
        losses.append(float(intermediate_result.fun))
        if visit is not None:
            visit(objective.unpack(intermediate_result.x))
        stuck = len(losses) > _PATIENCE and losses[-1] > (1.0 - _LEAST_FALL) * losses[-1 - _PATIENCE]
        if losses[-1] <= rounding or stuck:
            raise StopIteration

    limits = dict(maxcor=20, ftol=0.0, gtol=0.0, maxiter=_MOST_ITERATIONS, maxfun=2 * _MOST_ITERATIONS)
    return minimize(objective.value_and_grad, theta, jac=True, method="L-BFGS-B", callback=watch, options=limits)


def perceptron(X: np.ndarray, y: np.ndarray, teacher: Any, target: float, budget: float) -> tuple[float, float] | None:
    """Error and seconds of scikit-learn's ``MLPRegressor(solver="lbfgs")``; None where it has no such activation.

    It restarts until an evaluation comes within `target` of the truth, which counts at once, or `budget` seconds
    are spent.

    Raises
    ------
    ImportError
        Without scikit-learn.
    """
    if teacher.model.activation.name not in SKLEARN_ACTIVATIONS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = restarted(sklearn_lbfgs(teacher, X, y), target, budget)
    return found["error"], found["seconds"]
