"""The stages of one fit: start, refinement, and what to do when a start leads nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validation import child
from ..models import Network, Parameters
from ..starts import (
    Descent,
    StartError,
    inertia,
    landscape_start,
    published_start,
    random_start,
    tensor_start,
    with_output_weights,
)
from ..sweeps import Objective
from .gradient import GradientDescent, ResampledGradientDescent, StochasticGradientDescent
from .landscape import OnLandscape
from .lbfgs import LBFGS, minimise_many
from .loop import Monitor, State, run, tolerance
from .newton import DENSE_LIMIT, GaussNewton, damped_solve

#: Starts by name: functions of an engine, a model and a seed.
STARTS: dict[str, Any] = {
    "tensor": tensor_start,
    "tensor-published": published_start,
    "landscape": landscape_start,
    "spectral": tensor_start,
}
INITS = ("auto", *STARTS, "expand", "random")
SOLVERS: dict[str, Any] = {
    "auto": None,
    "gauss-newton": GaussNewton,
    "lbfgs": LBFGS,
    "gd": GradientDescent,
    "resampled-gd": ResampledGradientDescent,
    "sgd": StochasticGradientDescent,
}
_ITERATIONS = {"gauss-newton": 300, "lbfgs": 2000, "gd": 20000, "sgd": 1 << 30}
_ROWS_PER_PARAMETER = 20
_ROWS_PER_LABELLED = 400  # a label says far less than a number
_FEWEST_ROWS = 2000
_PRECONDITION_LIMIT = 1500
_PRECONDITION_ROWS = 6  # for each parameter
_CLOSE = 0.5
_ROWS_TO_TRUST = 10
_LONG_STEP = 0.02
_MORE_ROWS = 8
_SATURATED = 20.0
_MOSTLY_NOISE = 0.25  # loss over mean square of y: R^2 of one half
_RESTARTS = 8
_ROUNDS = 3


def _well_separated(found: Parameters) -> bool:
    """No two units nearly parallel, none far larger than the others: the marks of units that cancel."""
    size = np.linalg.norm(found.weights, axis=1)
    unit = found.weights / np.maximum(size, 1e-300)[:, None]
    cosines = np.abs(unit @ unit.T - np.eye(len(unit)))
    amplitude = np.abs(found.output_weights) * size
    return bool(cosines.max(initial=0.0) < 0.95 and amplitude.max() <= 10.0 * np.median(amplitude))


@dataclass
class Candidate:
    """A refined start."""

    objective: Objective
    state: State
    label: str


@dataclass
class Outcome:
    """End of a fit."""

    objective: Objective
    state: State
    info: dict[str, Any]


class Fit:
    """One fit on one engine.

    Parameters
    ----------
    engine : ThreadEngine
    model : Network
    seeds : SeedSequence
        Root of the random numbers; children are spawned by purpose.
    monitor : Monitor
    tol : float
    """

    def __init__(
        self, engine: Any, model: Network, seeds: np.random.SeedSequence, monitor: Monitor, tol: float
    ) -> None:
        self.engine, self.model, self.monitor, self.tol = engine, model, monitor, tol
        self.sample_seed, self.start_seed, self.restart_seed = (child(seeds, i) for i in range(3))
        self.y_square, self.dtype = engine.response_variance(), engine.dtype
        self.p = model.n_parameters(engine.shape[1])
        self.info: dict[str, Any] = {}

    def run(self, init: Any, solver: Any) -> Outcome:
        """Run all stages.

        Parameters
        ----------
        init : str, ndarray or Parameters
        solver : str or solver object

        Returns
        -------
        Outcome
        """
        per_parameter = _ROWS_PER_PARAMETER if self.p <= _PRECONDITION_LIMIT else _ROWS_PER_PARAMETER // 2
        if self.model.is_classifier:
            per_parameter = _ROWS_PER_LABELLED
        outcome = self._stages(init, solver, max(per_parameter * self.p, _FEWEST_ROWS))
        if self.model.is_classifier and outcome.state.converged and self.p <= DENSE_LIMIT:
            self._doubt(outcome)
        return outcome

    def _doubt(self, outcome: Outcome) -> None:
        """A likelihood without a maximum flattens out: the gradient vanishes, but the Newton step stays long."""
        state, matrix = outcome.state, outcome.state.memory.get("matrix")
        if matrix is None:
            matrix = outcome.objective.gauss_newton(state.theta)[2]
        step = damped_solve(matrix, state.grad, 0.0)
        if np.linalg.norm(step) > _LONG_STEP * np.linalg.norm(state.theta):
            state.converged, state.message = False, outcome.objective.off

    def _stages(self, init: Any, solver: Any, rows: int) -> Outcome:
        if isinstance(solver, OnLandscape):
            return self._descend(solver)
        base = self.engine.sample(rows, self.sample_seed)
        if solver != "auto":
            return self._plain(self._start(base, init), solver)
        if isinstance(init, str) and init in ("auto", "random"):
            best = self._searched(base, init)
        else:
            best = self._from_start(base, init)[0]
        self.info |= {"start": best.label, "sample_rows": best.objective.n_rows}
        if best.objective.engine is self.engine:
            return Outcome(best.objective, best.state, self.info)
        return self._polish(best)

    def _descend(self, chosen: OnLandscape) -> Outcome:
        """Minimise G in place of the loss and read the weights out."""
        descent = Descent.of(self.engine, self.model, self.start_seed, chosen.mu)
        solver = chosen.on(descent.step_size)
        found = run(
            solver,
            descent.landscape,
            descent.start,
            monitor=self.monitor,
            stage="landscape",
            tol=self.tol,
            exact_loss=-np.inf,
            max_iterations=_ITERATIONS.get(solver.name, 1000),
        )
        objective, theta = self._objective(self.engine, descent.read_out(found.theta))
        loss, grad = objective.value_and_grad(theta)
        self.monitor.record(objective, "read-out", loss, grad)
        self.info |= {"start": "random", "landscape": found.loss}
        state = State(theta, loss, grad, converged=found.converged, message=f"landscape: {found.message}")
        return Outcome(objective, state, self.info)

    def _plain(self, start: Parameters, solver: Any) -> Outcome:
        chosen = SOLVERS[solver]() if isinstance(solver, str) else solver
        objective, theta = self._objective(self.engine, start)
        state = self._run(chosen, objective, theta, chosen.name, _ITERATIONS.get(chosen.name, 1000))
        return Outcome(objective, state, self.info)

    def _start(self, engine: Any, init: Any) -> Parameters:
        """Unrefined start for solvers that run on all rows."""
        d = engine.shape[1]
        if isinstance(init, Parameters):
            return init
        if not isinstance(init, str):
            return with_output_weights(engine, self.model, init)
        self.info["start"] = init
        if init in STARTS:
            # As published means on all rows.
            return STARTS[init](self.engine if init == "tensor-published" else engine, self.model, self.start_seed)
        if init == "auto":
            try:
                return tensor_start(engine, self.model, self.start_seed)
            except StartError:
                self.info["start"] = "random"
        rng = np.random.default_rng(self.restart_seed)
        return random_start(self.model, d, rng)

    def _from_start(self, engine: Any, init: Any) -> tuple[Candidate, Parameters]:
        """Refined start and the start itself, on more rows where few have a minimiser far from that of all."""
        if isinstance(init, str) and init == "auto":
            init = "tensor"
        label = init if isinstance(init, str) else "given"
        while True:
            start = self._start(engine, init)
            candidate = self._finish(*self._objective(engine, start), label)
            if engine is self.engine or self._spent() or not self._wild(candidate):
                return candidate, start
            more = _MORE_ROWS * engine.shape[0]
            engine = self.engine if 2 * more > self.engine.shape[0] else self.engine.sample(more, self.sample_seed)

    def _searched(self, base: Any, init: str) -> Candidate:
        """Start from moments, checked, with random restarts behind it."""
        candidates: list[Candidate] = []
        positive, engine = None, base
        if init == "auto":
            try:
                candidate, start = self._from_start(base, init)
            except StartError as reason:
                self.info["tensor"] = str(reason)
            else:
                if self._trusted(candidate, start):
                    return candidate
                candidates, engine = [candidate], candidate.objective.engine
                positive = int((start.output_weights > 0).sum())
        rng = np.random.default_rng(self.restart_seed)
        for number in range(_ROUNDS):
            if candidates and self._spent():
                break
            for found in self._restarts(base, rng, positive, f"random restarts {number + 1}"):
                if engine is not base:
                    found = self._finish(found.objective.on(engine), found.state.theta, found.label)
                candidates.append(found)
            if self._agreed(candidates):
                break
        self.info["candidates"] = len(candidates)
        return min(candidates, key=lambda c: (not c.state.converged, c.state.loss))

    def _wild(self, candidate: Candidate) -> bool:
        """A minimiser that the rows hardly determine: not reached, mostly noise, or with units saturated."""
        if self._exact(candidate):
            return False
        if not self.model.is_classifier and candidate.state.loss > _MOSTLY_NOISE * self.y_square:
            return True
        found = candidate.objective.unpack(candidate.state.theta)
        saturated = self.model.activation.degree is None and np.linalg.norm(found.weights, axis=1).max() > _SATURATED
        return bool(saturated or not candidate.state.converged)

    def _trusted(self, candidate: Candidate, start: Parameters) -> bool:
        """Exact, or so close to its start that the moments themselves vouch for it."""
        if self._exact(candidate):
            return True
        found = candidate.objective.unpack(candidate.state.theta)
        if self.model.is_classifier:
            # Labels leave many rows between a moment and the optimum, and lower minima lie far out.
            return not self._wild(candidate) and _well_separated(found)
        enough = candidate.objective.n_rows >= _ROWS_TO_TRUST * self.p
        if self.model.activation.name == "quadratic":
            return enough and candidate.state.converged  # its second moment has no wrong turns
        moved = max(self.model.error(found, start), self.model.error(start, found))
        return enough and candidate.state.converged and moved < _CLOSE and _well_separated(found)

    def _agreed(self, candidates: list[Candidate]) -> bool:
        """An exact fit, or the lowest minimum found more than once."""
        losses = sorted(c.state.loss for c in candidates if c.state.converged)
        if not losses:
            return self.model.is_classifier  # more starts do not make infinite weights finite
        twice = len(losses) > 1 and losses[1] <= losses[0] * (1 + 1e-4)
        return twice or losses[0] <= 100 * self._exact_loss(candidates[0].objective)

    def _exact(self, candidate: Candidate) -> bool:
        return candidate.state.loss <= 100 * self._exact_loss(candidate.objective)

    def _restarts(self, engine: Any, rng: np.random.Generator, positive: int | None, stage: str) -> list[Candidate]:
        """Random starts, all run side by side in the same passes; the two best are then refined."""
        count = int(np.clip((1 << 15) // self.p, _RESTARTS, 8 * _RESTARTS))
        unknown = self.model.known_v is None and self.model.activation.parity != "odd"
        if unknown and positive is None:
            positive = inertia(engine, self.model.n_hidden, np.random.default_rng(self.start_seed))
        starts = []
        for i in range(count):
            # The inertia of a noisy moment is off by one now and then: half the starts allow for it.
            shift = rng.integers(-1, 2) * (i % 2)
            near = None if positive is None else int(np.clip(positive + shift, 0, self.model.n_hidden))
            starts.append(random_start(self.model, engine.shape[1], rng, positive=near))
        objective, _ = self._objective(engine, starts[0])
        fixed = objective.model.known_v is not None
        v = np.array([start.output_weights for start in starts]) if fixed else None
        thetas, losses = minimise_many(
            objective,
            np.array([objective.model.pack(start) for start in starts]),
            iterations=400,
            exact_loss=self._exact_loss(objective),
            output_weights=v,
            stop=self._spent,
        )
        self.monitor.record(objective, stage, float(losses.min()))
        found = []
        for at in np.argsort(losses)[:2]:
            model = objective.model.with_output_weights(v[at]) if v is not None else objective.model
            found.append(self._finish(objective.with_model(model), thetas[at], stage))
        return found

    def _finish(self, objective: Objective, theta: np.ndarray, stage: str) -> Candidate:
        # A sub-sample's minimiser is a stepping stone: a hundredth of its own error is near enough.
        tol = self.tol if objective.engine is self.engine else max(self.tol, 1e-2)
        state = self._run(GaussNewton(), objective, theta, stage, 200, tol)
        return Candidate(objective, state, stage)

    def _polish(self, best: Candidate) -> Outcome:
        """All rows: L-BFGS on the curvature of the sub-sample, or Gauss-Newton by products above the dense limit."""
        objective = best.objective.on(self.engine)
        if self.p > _PRECONDITION_LIMIT:
            solver: Any = GaussNewton(dense=False, damping=1e-4)
        else:
            solver = LBFGS(precondition=self._precondition(best))
        state = self._run(solver, objective, best.state.theta, "all rows", 200)
        if not state.converged and self.p <= DENSE_LIMIT and not self._spent():
            state = self._run(GaussNewton(), objective, state.theta, "all rows, dense", 100)
        return Outcome(objective, state, self.info)

    def _spent(self) -> bool:
        return self.monitor.ended or self.engine.meter.passes >= self.monitor.max_passes

    def _precondition(self, best: Candidate) -> Any:
        from scipy.linalg import cho_factor, cho_solve

        matrix = best.state.memory.get("matrix")
        if matrix is None:
            few = best.objective.engine.sample(_PRECONDITION_ROWS * self.p, self.start_seed)
            matrix = best.objective.on(few).gauss_newton(best.state.theta)[2]
        # Rotations of a quadratic network's rows are null directions of the matrix.
        rotations = self.model.activation.name == "quadratic" and self.model.n_hidden > 1
        floor = (1e-3 if rotations else 1e-10) * float(np.trace(matrix)) / len(matrix)
        factor = cho_factor(matrix + floor * np.eye(len(matrix)), check_finite=False)
        return lambda g: cho_solve(factor, g, check_finite=False)

    def _objective(self, engine: Any, start: Parameters) -> tuple[Objective, np.ndarray]:
        model = self.model.refined(start.output_weights)
        if model is not self.model and model.known_v is not None:
            start = start.absorbed(model.activation)
        objective = Objective(engine, model)
        return objective, model.pack(start)

    def _exact_loss(self, objective: Objective) -> float:
        return tolerance(objective, self.y_square, self.dtype)

    def _run(
        self,
        solver: Any,
        objective: Objective,
        theta: np.ndarray,
        stage: str,
        iterations: int,
        tol: float | None = None,
    ) -> State:
        return run(
            solver,
            objective,
            theta,
            monitor=self.monitor,
            stage=stage,
            tol=self.tol if tol is None else tol,
            exact_loss=self._exact_loss(objective),
            max_iterations=iterations,
        )
