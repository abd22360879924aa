"""What the studies compare: ways to recover a planted network, and measures of how far they are from it.

A method is a function of rows, responses, teacher and seed that gives a :class:`Found`; of the teacher it knows the
model alone, unless its name says more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

_PATIENCE, _LEAST_FALL, _ITERATIONS = 100, 1e-3, 3000


def relative(parameters: Any, teacher: Any) -> float:
    """Relative Frobenius error up to the model's symmetries."""
    return float(teacher.model.error(parameters, teacher.parameters))


def worst_unit(parameters: Any, teacher: Any) -> float:
    """Largest relative error of one unit; inf if a sign is wrong (Zhong et al., arXiv 1706.03175, experiments)."""
    from fastrecover.models import align

    free = teacher.model.output_weights == "free"
    a, b = align(parameters, teacher.parameters, teacher.model.activation, free)
    if not np.array_equal(np.sign(a.output_weights), np.sign(b.output_weights)):
        return float("inf")
    return float((np.linalg.norm(a.weights - b.weights, axis=1) / np.linalg.norm(b.weights, axis=1)).max())


def off_cosine(parameters: Any, teacher: Any) -> float:
    """One less the smallest |cosine| of a row and its best partner, both ways round: 0 where each is found once."""
    found, rows = (one.weights / np.linalg.norm(one.weights, axis=1)[:, None] for one in (parameters, teacher))
    cosines = np.abs(found @ rows.T)
    return float(1.0 - min(cosines.max(axis=0).min(), cosines.max(axis=1).min()))


@dataclass(frozen=True)
class Found:
    """End of one attempt; parameters are None where the method refused or its steps diverged."""

    parameters: Any
    loss: float = float("inf")
    converged: bool = False
    passes: float = float("nan")
    history: Any = None

    def error(self, teacher: Any, measure: Callable[[Any, Any], float] = relative) -> float:
        """Inf where nothing was found."""
        return float("inf") if self.parameters is None else measure(self.parameters, teacher)


def ours(
    X: np.ndarray, y: np.ndarray, teacher: Any, seed: int, *, model: Any = None, solver: Any = "auto", **options: Any
) -> Found:
    """``fastrecover.fit`` with one thread and nothing else set unless `options` say so; a solver may be a function."""
    import fastrecover as fr

    options |= {"solver": solver if isinstance(solver, str) else solver(teacher), "random_state": seed}
    try:
        rec = fr.fit(X, y, model or teacher.model, teacher.n_hidden, n_jobs=1, **options)
    except ValueError:
        return Found(None)
    finite = np.isfinite(rec.loss) and np.isfinite(rec.parameters.flat()).all()
    return Found(rec.parameters if finite else None, rec.loss, rec.converged, rec.n_passes, rec.history)


def from_truth(X: np.ndarray, y: np.ndarray, teacher: Any, seed: int) -> Found:
    """``fit`` started at the truth."""
    return ours(X, y, teacher, seed, init=teacher.parameters)


def constant_step(teacher: Any) -> Any:
    """Gradient descent with the step of the authors' scripts, or one just below 2 over the largest curvature."""
    import fastrecover as fr

    return fr.solvers.GradientDescent({"squared_relu": 0.02, "relu": 0.5}[teacher.model.activation.name])


def without_matrix(teacher: Any) -> Any:
    """Preconditioned conjugate gradients for quadratic networks that form no matrix."""
    from fastrecover.solvers import QuarticConjugateGradients

    return QuarticConjugateGradients(dense=False)


def start_of(name: str, X: np.ndarray, y: np.ndarray, teacher: Any, seed: int) -> Found:
    """A start of the package on all rows, unrefined."""
    import fastrecover as fr
    from fastrecover import starts

    # Rows do not depend on the output weights, and an objective has no unknown signs.
    model = teacher.model
    definite = model.with_output_weights("free") if model.output_weights == "signs" else model
    random = np.random.default_rng([29, seed]) if name == "small_random_start" else np.random.SeedSequence(seed)
    try:
        return Found(getattr(starts, name)(fr.objective(X, y, definite, n_jobs=1).engine, model, random))
    except starts.StartError:
        return Found(None)


def from_start(name: str, X: np.ndarray, y: np.ndarray, teacher: Any, seed: int, **options: Any) -> Found:
    """``fit`` from a start on all rows."""
    return ours(X, y, teacher, seed, init=start_of(name, X, y, teacher, seed).parameters.weights, **options)


def restarted(
    X: np.ndarray, y: np.ndarray, teacher: Any, seed: int, *, starts: int = 10, exact: bool = True, begin: Any = None
) -> Found:
    """SciPy's L-BFGS-B on the squared loss with real-valued output weights, from random starts; the lowest loss.

    Rows begin as ``N(0, 1.5^2 / d)``, output weights as fair signs.  A run ends when the fit is exact, after 3000
    iterations, or when 100 iterations have not lowered the loss by a thousandth; an exact one ends the search.  With
    `begin` there is one run, from these parameters.
    """
    from scipy.optimize import minimize

    import fastrecover as fr

    objective = fr.objective(X, y, teacher.model.with_output_weights("free"), n_jobs=1)
    rounding = (30.0 * float(np.finfo(np.float64).eps)) ** 2 * float(np.mean(y**2)) if exact else -1.0
    (k, d), rng = teacher.weights.shape, np.random.default_rng([41, seed])
    limits = dict(maxcor=20, ftol=0.0, gtol=0.0, maxiter=_ITERATIONS, maxfun=2 * _ITERATIONS)
    losses: list[float] = []

    def watch(intermediate_result: Any) -> None:
        losses.append(float(intermediate_result.fun))
        stuck = len(losses) > _PATIENCE and losses[-1] > (1.0 - _LEAST_FALL) * losses[-1 - _PATIENCE]
        if losses[-1] <= rounding or stuck:
            raise StopIteration

    best: Any = None
    for _ in range(starts if begin is None else 1):
        theta = np.concatenate([rng.normal(0.0, 1.5 / np.sqrt(d), k * d), rng.choice([-1.0, 1.0], k)])
        theta = theta if begin is None else objective.model.pack(begin)
        losses.clear()
        end = minimize(objective.value_and_grad, theta, jac=True, method="L-BFGS-B", callback=watch, options=limits)
        best = end if best is None or end.fun < best.fun else best
        if end.fun <= rounding:
            break
    return Found(objective.unpack(best.x), float(best.fun), bool(best.fun <= rounding))


_small = partial(from_start, "small_random_start")
_spectral = partial(from_start, "spectral_start", max_passes=3000)

METHODS: dict[str, Callable[..., Found]] = {
    "ours": ours,
    "from the truth": from_truth,
    "L-BFGS": restarted,
    "L-BFGS, 6 starts": partial(restarted, starts=6),
    "published": partial(ours, init="tensor-published", solver=constant_step, max_passes=1500),
    "gradient descent": partial(ours, init="tensor", solver=constant_step, max_passes=1500),
    "zhong2017": partial(ours, model="zhong2017"),
    # A budget of one pass ends the descent before its first step.
    "published start": partial(ours, init="tensor-published", solver=constant_step, max_passes=1),
    "tensor start": partial(start_of, "tensor_start"),
    "landscape start": partial(start_of, "landscape_start"),
    "landscape": partial(ours, init="landscape"),
    "xia2019": partial(_small, model="xia2019", max_passes=2000),
    "lbfgs, small rows": partial(_small, solver="lbfgs", max_passes=1000),
    "pncg": partial(_spectral, solver="pncg"),
    "pncg, no matrix": partial(_spectral, solver=without_matrix),
    "gauss-newton": partial(_spectral, solver="gauss-newton"),
    "lbfgs": partial(_spectral, solver="lbfgs"),
    "xia2019, spectral": partial(_spectral, model="xia2019"),
}
