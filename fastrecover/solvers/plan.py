"""The stages of one fit: start, refinement, and what to do when a start leads nowhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..linalg import damped_solve
from ..models import Network, Parameters
from ..random import Stream, stream
from ..starts import (
    Descent,
    InputLaw,
    StartError,
    default_extra,
    examine,
    expanded_starts,
    inertia,
    landscape_start,
    needs_whitening,
    published_start,
    random_start,
    regrown,
    ridge_lengths,
    spectral_start,
    tensor_start,
    whiten,
    with_output_weights,
)
from ..sweeps import Objective
from .curvature import gaussian_curvature
from .gradient import GradientDescent, ResampledGradientDescent, StochasticGradientDescent
from .landscape import OnLandscape
from .lbfgs import LBFGS, minimise_many
from .loop import Monitor, State, run, tolerance
from .newton import DENSE_LIMIT, GaussNewton
from .quartic import QuarticConjugateGradients, credible_loss, escape
from .residual import judged

#: Starts by name: functions of an engine, a model and a seed.
STARTS: dict[str, Any] = {
    "tensor": tensor_start,
    "tensor-published": published_start,
    "landscape": landscape_start,
    "spectral": spectral_start,
}
INITS = ("auto", *STARTS, "expand", "random")
INPUTS = ("auto", "whiten", "gaussian")
SOLVERS: dict[str, Any] = {
    "auto": None,
    "gauss-newton": GaussNewton,
    "lbfgs": LBFGS,
    "gd": GradientDescent,
    "resampled-gd": ResampledGradientDescent,
    "sgd": StochasticGradientDescent,
    "pncg": QuarticConjugateGradients,
}
_ITERATIONS = {"gauss-newton": 200, "lbfgs": 2000, "gd": 20000, "sgd": 1 << 30, "pncg": 600}
_ROWS_PER_PARAMETER = 20
_ROWS_PER_LABELLED = 250  # a label says far less than a number
_FEWEST_ROWS = 2000
_PRECONDITION_LIMIT = 1500
_PRECONDITION_ROWS = 6  # for each parameter
#: A matrix of m rows shortens the distance to the minimiser by about 1.35 sqrt(p / m) a pass; one of its rows costs
#: p / 11 to p / 4 times a gradient's.
_CONTRACTION, _MATRIX_COST = 1.35, 1 / 8
_NEAR, _NEAR_LABELLED = 1e-2, 0.5  # minima of labels need not be told apart by their losses
_LEG, _LEGS = 5, 40  # steps between looks at the preconditioner
_SLOW = 0.02  # a good one leaves less of the decrement
#: Relative distance from start to minimum up to which the moments vouch for it, by the order of the moment that the
#: start rests on; third moments are noisier, but odd units have no signs to get wrong.
_CLOSE = {2: 0.25, 3: 1.0}
_ROWS_TO_TRUST = 10
_PARALLEL, _TINY = 3.0, 0.2
_LONG_STEP = 0.02
_MORE_ROWS = 8
_SATURATED = 20.0
_DEAR_MATRIX, _FEW_MATRICES, _FISHER_STEPS = 100, 8, 60
_DEAR_WORK, _ROWS_TO_AVERAGE = 1e8, 4  # multiply-adds of a matrix, rows for each parameter
_FIRST_STEPS, _STEPS_OF_FEW = 7, 40
_MOSTLY_NOISE = 0.25  # loss over mean square of y: R^2 of one half
_RESTARTS = 8
_AGREE = 1e-4
_ROUNDS = 3
_EXPANSIONS, _SCARCE_ROUNDS = 12, 80
_SCARCE = 2.5  # rows for each parameter below which only exact fits are told from wrong ones
_ROWS_TO_EXPAND = 6
_NEARLY_EXACT = 1e-10
_NOISY = 1e-3
_ROUND_WORK, _FEWEST_CHAINS = 5e10, 4  # multiply-adds of a round's two hundred gradients
_GAIN, _TOGETHER, _FLAT_ROUNDS, _PATIENT_ROUNDS = 1e-3, 2.0, 3, 25
_MANY_FEATURES = 1500
_MISFIT_LEVEL, _SUSPICIOUS = 1e-6, 1e-2  # chance of calling noise a misfit, at the end and while searching costs little
DOUBT = (
    "the lowest minimum was found only once, and its residual is not noise or the rows are too few to tell: another "
    "may be lower, or the responses come from another model"
)


def _well_separated(found: Parameters) -> bool:
    """No two units nearly parallel, none far larger than the others: the marks of units that cancel."""
    size = np.linalg.norm(found.weights, axis=1)
    unit = found.weights / np.maximum(size, 1e-300)[:, None]
    cosines = np.abs(unit @ unit.T - np.eye(len(unit)))
    amplitude = np.abs(found.output_weights) * size
    return bool(cosines.max(initial=0.0) < 0.95 and amplitude.max() <= 10.0 * np.median(amplitude))


def _condition(found: Parameters) -> float:
    size = np.linalg.norm(found.weights, axis=1)
    values = np.linalg.svd(found.weights / np.maximum(size, 1e-300)[:, None], compute_uv=False)
    return float(values[0] / max(values[-1], 1e-300))


_UNJUDGED = object()  # the tests of a residual read the rows, so they are made once and only when asked for


@dataclass
class Candidate:
    """A refined start."""

    objective: Objective
    state: State
    label: str
    verdict: Any = _UNJUDGED


@dataclass
class Outcome:
    """End of a fit."""

    objective: Objective
    state: State
    info: dict[str, Any]
    exact: bool = False


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
    inputs : {"auto", "whiten", "gaussian"}
        Whether starts see whitened rows: where a test says so, always, or never.
    """

    def __init__(
        self,
        engine: Any,
        model: Network,
        seeds: np.random.SeedSequence,
        monitor: Monitor,
        tol: float,
        inputs: str = "auto",
    ) -> None:
        self.engine, self.model, self.monitor, self.tol, self.inputs = engine, model, monitor, tol, inputs
        self.input_seed = stream(seeds, Stream.DIAGNOSIS)
        self.law: InputLaw | None = None
        self.doubt, self.misfit = "", False
        self.sample_seed, self.start_seed, self.restart_seed = (
            stream(seeds, purpose) for purpose in (Stream.SAMPLE, Stream.START, Stream.RESTART)
        )
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
        state = outcome.state
        if self.model.is_classifier and state.converged and self.p <= DENSE_LIMIT:
            self._check_maximum(outcome)
        outcome.exact = state.loss <= 100 * self._exact_loss(outcome.objective)
        if self.misfit and state.converged and not outcome.exact:
            state.message += "; its residual is not noise: more units, or another model, would fit better"
        if self.doubt and state.converged and not outcome.exact:
            state.converged, state.message = False, self.doubt
        return outcome

    def fits(self, outcome: Outcome) -> bool:
        """Whether an outcome is exact or leaves a residual that is noise."""
        return self._plausible(Candidate(outcome.objective, outcome.state, ""))

    def _check_maximum(self, outcome: Outcome) -> None:
        """A likelihood without a maximum flattens out: the gradient vanishes, but the Newton step stays long."""
        state, matrix = outcome.state, outcome.state.memory.get("matrix")
        if matrix is None:
            few = self.engine.sample(max(_ROWS_PER_LABELLED * self.p, _FEWEST_ROWS), self.sample_seed)
            matrix = outcome.objective.on(few).gauss_newton(state.theta)[2]
        step = damped_solve(matrix, state.grad, 0.0)
        if np.linalg.norm(step) > _LONG_STEP * np.linalg.norm(state.theta):
            state.converged, state.message = False, outcome.objective.off

    def _stages(self, init: Any, solver: Any, rows: int) -> Outcome:
        if isinstance(solver, OnLandscape):
            return self._descend(solver)
        base = self.engine.sample(rows, self.sample_seed)
        if solver != "auto":
            return self._plain(self._start(base, init), solver)
        if isinstance(init, str) and init in ("auto", "expand", "random"):
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
        """Unrefined start; random rows where the fit is ended before it is found."""
        if isinstance(init, Parameters):
            return init
        if not (isinstance(init, str) or callable(init)):
            return with_output_weights(engine, self.model, init)
        return self.monitor.unless_ended(lambda: self._found_start(engine, init), lambda: self._random(engine))

    def _random(self, engine: Any) -> Parameters:
        self.info["start"] = "random"
        return random_start(self.model, engine.shape[1], np.random.default_rng(self.restart_seed))

    def _found_start(self, engine: Any, init: Any) -> Parameters:
        if callable(init):
            self.info["start"] = getattr(init, "__name__", type(init).__name__)
            return init(engine, self.model, self.start_seed)
        self.info["start"] = init
        if init in STARTS:
            return self._from_moments(engine, init)
        if init == "expand":
            rng = np.random.default_rng(self.restart_seed)
            return expanded_starts(engine, self.model, rng, count=_RESTARTS).parameters[0]
        if init == "auto":
            try:
                return self._from_moments(engine, "tensor")
            except StartError:
                pass
        return self._random(engine)

    def _from_moments(self, engine: Any, name: str) -> Parameters:
        """A start that relies on Gaussian rows, on whitened ones where the rows need it."""
        if name == "tensor-published":  # on all rows, as they are
            return published_start(self.engine, self.model, self.start_seed)
        if self.law is None and self.inputs != "gaussian":
            self.law = examine(self.engine, self.input_seed)
        law = self.law
        if law is None or not (self.inputs == "whiten" or needs_whitening(law)):
            self.info["inputs"] = [] if law is None else law.shape_departures
            return STARTS[name](engine, self.model, self.start_seed)
        white, whitening = whiten(engine, law)
        notes = [whitening.note] if whitening.note else []
        self.info |= {"inputs": law.shape_departures + notes, "whitened": True}
        found = whitening.back(STARTS[name](white, self.model, self.start_seed))
        act = self.model.activation
        if whitening.shift.any() and act.degree is not None and act.name != "quadratic" and self.model.n_patches == 1:
            # The offsets that centring gave the units have gone into their lengths.
            rows = found.weights / np.maximum(np.linalg.norm(found.weights, axis=1), 1e-300)[:, None]
            found = ridge_lengths(engine, self.model, rows)
        return found

    def _from_start(self, engine: Any, init: Any) -> tuple[Candidate, Parameters]:
        """Refined start and the start itself, on more rows where few have a minimiser far from that of all."""
        if isinstance(init, str) and init == "auto":
            init = "tensor"
        label = init if isinstance(init, str) else "given"
        while True:
            start = self._start(engine, init)
            label = "random" if self.info.get("start") == "random" else label
            candidate = self._finish(*self._objective(engine, start), label)
            if engine is self.engine or self._spent() or not self._wild(candidate):
                return candidate, start
            more = _MORE_ROWS * engine.shape[0]
            engine = self.engine if 2 * more > self.engine.shape[0] else self.engine.sample(more, self.sample_seed)

    def _searched(self, base: Any, init: str) -> Candidate:
        """Stages until one is exact, or trusted, or the budget is spent: moments, wide students, random restarts."""
        if init == "auto" and self._is_quadratic:
            return self._quadratic(base)
        stages = {"expand": [self._expanded], "random": [self._restarted]}.get(init)
        if stages is None:
            wide = self._expanded if self._can_expand() else self._restarted
            # Many units: the moments of order four cost more than students that need few rows.
            stages = [wide, self._moments] if self._many_features() and self._can_expand() else [self._moments, wide]
        candidates: list[Candidate] = []
        for stage in stages:
            found, trusted = stage(base, candidates)
            candidates += found
            if trusted or (candidates and self._spent()):
                break
        else:
            if not self.model.is_classifier:
                self.doubt = DOUBT
        best = min(candidates, key=self._rank)
        agreeing = [c for c in candidates if c.state.loss <= (1.0 + _AGREE) * best.state.loss or self._exact(c)]
        self.info |= {"candidates": len(candidates), "agreeing": len(agreeing)}
        tested = len(candidates) > 1 and not (self.model.is_classifier or self._exact(best))
        self.misfit = tested and bool(self._misfit(best))
        return best

    def _rank(self, candidate: Candidate) -> tuple[bool, bool, float]:
        """Order of candidates: converged ones first, units that cancel each other to fit noise last."""
        found = candidate.objective.unpack(candidate.state.theta)
        cancelling = candidate.state.loss > _NOISY * self.y_square and not _well_separated(found)
        return not candidate.state.converged, cancelling, candidate.state.loss

    def _moments(self, base: Any, known: list[Candidate]) -> tuple[list[Candidate], bool]:
        try:
            candidate, start = self._from_start(base, "auto")
        except StartError as reason:
            self.info["tensor"] = str(reason)
            return [], False
        return [candidate], self._trusted(candidate, start)

    def _restarted(self, base: Any, known: list[Candidate]) -> tuple[list[Candidate], bool]:
        rng, engine = np.random.default_rng(self.restart_seed), self._widest(base, known)
        candidates: list[Candidate] = []
        for number in range(_ROUNDS):
            if (known or candidates) and self._spent():
                break
            candidates += self._on(engine, self._restarts(base, rng, f"random restarts {number + 1}"))
            if self._agreed(candidates + known):
                return candidates, True
        return candidates, bool(candidates) and self._plausible(min(candidates, key=lambda c: c.state.loss))

    def _expanded(self, base: Any, known: list[Candidate]) -> tuple[list[Candidate], bool]:
        """Wide students, pruned, then rounds that grow and prune the minima found, until one is exact or convincing."""
        model, rng = self.model, np.random.default_rng(self.restart_seed)
        noisy = any(self._is_noise(c) for c in known)
        # On few of many rows the noise is fitted; where moments have failed there may be some.
        few = base if known else base.sample(max(_ROWS_TO_EXPAND * self.p, _FEWEST_ROWS), self.start_seed)
        (n, d), k = few.shape, model.n_hidden
        scarce = n < _SCARCE * self.p
        count = 64 if scarce else 32 if k < 8 else 16 if k < 16 else 8
        width = k + 1 if scarce else k + default_extra(n, d, k, most=k)
        count = int(np.clip(_ROUND_WORK / (800.0 * width * n * d), _FEWEST_CHAINS, count))
        objective, _ = self._objective(few, random_start(model, d, rng))
        # Near an exact fit Gauss-Newton is faster than what runs side by side.
        settings: dict[str, Any] = {"exact_loss": _NEARLY_EXACT * self.y_square, "stop": self._spent}
        starts = expanded_starts(few, model, rng, count=count, width=width, **settings)
        for c in known:
            starts = starts.joined(c.objective.unpack(c.state.theta), c.objective.on(few).value(c.state.theta))
        flat, rounds = 0, _SCARCE_ROUNDS if scarce else _EXPANSIONS
        gain = max(_GAIN, 0.1 * d / n) if noisy else _GAIN  # one more unit fits some noise
        for number in range(1, rounds + 1):
            lowest = float(starts.losses[0])
            self.monitor.record(objective, f"expand {number}", lowest)
            last = number == rounds or flat == _PATIENT_ROUNDS or self._spent()
            alike = starts.losses[-1] <= (1.0 + _GAIN) * lowest  # from wherever a chain begins it ends here
            if lowest <= settings["exact_loss"] or alike or flat == _FLAT_ROUNDS or last:
                pair = [self._finish(*self._objective(few, one), f"expand {number}") for one in starts.parameters[:2]]
                candidates = self._on(self._widest(base, known), pair)
                best = min(candidates, key=lambda c: c.state.loss)
                # Chains that were far apart and are then refined to one minimum have only met in it.
                convincing = not scarce and starts.losses[1] <= _TOGETHER * lowest
                if self._plausible(best) or (convincing and self._agreed(candidates)):
                    return candidates, True
                if last or noisy:
                    break
            starts = regrown(few, model, starts, rng, extra=1 if k < 16 else 3, **settings)
            flat = flat + 1 if starts.losses[0] > (1.0 - gain) * lowest else 0
        return candidates, False

    def _widest(self, base: Any, known: list[Candidate]) -> Any:
        """Rows that earlier candidates were refined on, which may be more than the first sub-sample."""
        return max([base, *(c.objective.engine for c in known)], key=lambda engine: engine.shape[0])

    def _on(self, engine: Any, found: list[Candidate]) -> list[Candidate]:
        """Candidates refined on the rows of another engine."""
        return [
            c if c.objective.engine is engine else self._finish(c.objective.on(engine), c.state.theta, c.label)
            for c in found
        ]

    def _many_features(self) -> bool:
        order = self.model.activation.tensor_order or 0
        return math.comb(self.model.n_hidden + order, order) > _MANY_FEATURES

    def _quadratic(self, base: Any) -> Candidate:
        """Spectral start and conjugate gradients; with few rows, wider networks against local minima."""
        candidate, _ = self._from_start(base, "spectral")
        objective, state, few = candidate.objective, candidate.state, candidate.objective.n_rows < 10 * self.p
        if self._exact(candidate) or not few or self._spent():
            return candidate
        objective, state = escape(
            objective,
            state.theta,
            self.model,
            lambda o, theta: self._finish(o, theta, "added rows").state,
            self.restart_seed,
            100 * self._exact_loss(objective),
        )
        if state.loss > credible_loss(objective) and objective.n_rows < _SCARCE * self.p:
            self.doubt = DOUBT  # with more rows, wider networks would have found a way down
        return Candidate(objective, state, "spectral")

    @property
    def _is_quadratic(self) -> bool:
        return self.model.activation.name == "quadratic" and self.model.n_patches == 1

    def _can_expand(self) -> bool:
        model = self.model
        return not model.is_classifier and model.n_patches == 1

    def _plausible(self, candidate: Candidate, level: float = _MISFIT_LEVEL) -> bool:
        """Whether it is exact, or nothing speaks against it: rows to spare, and a residual that is noise."""
        if self._exact(candidate):
            return True
        found = candidate.objective.unpack(candidate.state.theta)
        enough = candidate.objective.n_rows >= _ROWS_TO_TRUST * self.p
        return enough and candidate.state.converged and _well_separated(found) and not self._misfit(candidate, level)

    def _is_noise(self, candidate: Candidate) -> bool:
        """Whether rows enough to tell leave a residual that is large and looks like noise."""
        enough = candidate.objective.n_rows >= _ROWS_TO_TRUST * self.p
        return enough and candidate.state.loss > _NOISY * self.y_square and self._misfit(candidate) is False

    def _misfit(self, candidate: Candidate, level: float = _MISFIT_LEVEL) -> bool | None:
        """Whether the residual is more than noise; None where there are too few rows to tell."""
        if self.model.n_patches > 1:
            return None
        if candidate.verdict is _UNJUDGED:
            objective, state = candidate.objective, candidate.state
            found, act = objective.unpack(state.theta), objective.model.activation
            candidate.verdict = self.monitor.unless_ended(
                lambda: judged(objective.engine, act, found, state.loss, self.start_seed), lambda: None
            )
        return None if candidate.verdict is None else candidate.verdict.misfit(level)

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
        moved = max(self.model.error(found, start), self.model.error(start, found))
        # Nearly parallel units have wrong minima whose residual no test of few projections tells from noise.
        close = moved < _CLOSE.get(self.model.activation.subspace_order or 2, _CLOSE[2])
        # A tiny unit may be what is left where another has taken the place of two nearly parallel ones.
        size = np.linalg.norm(found.weights, axis=1)
        clear = _condition(found) < _PARALLEL and size.min() > _TINY * np.median(size)
        return close and clear and self._plausible(candidate, _SUSPICIOUS)

    def _agreed(self, candidates: list[Candidate]) -> bool:
        """An exact fit, or the lowest minimum found more than once."""
        losses = sorted(c.state.loss for c in candidates if c.state.converged)
        if not losses:
            return self.model.is_classifier  # more starts do not make infinite weights finite
        twice = len(losses) > 1 and losses[1] <= losses[0] * (1.0 + _AGREE)
        return twice or losses[0] <= 100 * self._exact_loss(candidates[0].objective)

    def _exact(self, candidate: Candidate) -> bool:
        return candidate.state.loss <= 100 * self._exact_loss(candidate.objective)

    def _restarts(self, engine: Any, rng: np.random.Generator, stage: str) -> list[Candidate]:
        """Random starts, all run side by side in the same passes; the two best are then refined."""
        count = int(np.clip((1 << 15) // self.p, _RESTARTS, 8 * _RESTARTS))
        positive = None
        if self.model.known_v is None and self.model.activation.parity != "odd":
            rng_moments = np.random.default_rng(self.start_seed)
            positive = self.monitor.unless_ended(
                lambda: inertia(engine, self.model.n_hidden, rng_moments), lambda: None
            )
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
            memory=10,
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
        # A sub-sample's minimiser is a stepping stone: a fraction of its own error is near enough.
        near = _NEAR_LABELLED if self.model.is_classifier else _NEAR
        tol = self.tol if objective.engine is self.engine else max(self.tol, near)
        if self._matrix_is_dear(objective):
            state = self._approached(objective, theta, stage, tol)
            if state.converged or self.p > DENSE_LIMIT or self._spent():
                return Candidate(objective, state, stage)
            theta = state.theta
        solver: Any = QuarticConjugateGradients() if self._is_quadratic else GaussNewton()
        dear = solver.name == "gauss-newton" and self.p > _DEAR_MATRIX
        most = _FEW_MATRICES if dear else _FISHER_STEPS if self.model.is_classifier else _ITERATIONS[solver.name]
        state = self._run(solver, objective, theta, stage, most, tol)
        # A matrix costs as much as p / 4 gradients: far from a minimum these go further.  Where labels leave a
        # direction open, Fisher's matrix is far from the Hessian and its steps are short.
        slow = self.model.is_classifier and not state.stopped
        if (dear or slow) and not state.converged and not self._spent():
            state = self._run(LBFGS(), objective, state.theta, stage, _ITERATIONS["gauss-newton"], tol)
            state = self._run(solver, objective, state.theta, stage, _ITERATIONS["gauss-newton"] // 5, tol)
        return Candidate(objective, state, stage)

    def _matrix_is_dear(self, objective: Objective) -> bool:
        """Whether forming it costs more than many gradients, with rows enough to be near that of Gaussian rows."""
        if not self._can_expand() or self._is_quadratic:
            return False
        n = objective.n_rows
        return self.p > DENSE_LIMIT or (n * self.p**2 > _DEAR_WORK and n > _ROWS_TO_AVERAGE * self.p)

    def _approached(self, objective: Objective, theta: np.ndarray, stage: str, tol: float) -> State:
        """L-BFGS on the curvature of Gaussian rows, taken anew when the start has been left behind."""
        # A sub-sample whose minimum is far after so many steps sends for more rows.
        last = _ITERATIONS["gauss-newton"] if objective.engine is self.engine else _STEPS_OF_FEW
        for most in (_FIRST_STEPS, last):
            solver = LBFGS(precondition=self._curvature(objective, theta))
            state = self._run(solver, objective, theta, stage, most, tol)
            theta = state.theta
            if state.converged or self._spent():
                break
        return state

    def _polish(self, best: Candidate) -> Outcome:
        """All rows: L-BFGS on the curvature of Gaussian rows or, with labels or patches, on that of a sub-sample."""
        objective = best.objective.on(self.engine)
        if self._is_quadratic:
            solver: Any = QuarticConjugateGradients(dense=False)
            return Outcome(objective, self._run(solver, objective, best.state.theta, "all rows", 600), self.info)
        if self._can_expand() or self._spent():
            # Spent, it only tells the loss.
            solver = LBFGS() if self._spent() else LBFGS(precondition=self._curvature(best.objective, best.state.theta))
            state = self._run(solver, objective, best.state.theta, "all rows", 200)
        elif self.p <= _PRECONDITION_LIMIT:
            state = self._preconditioned(objective, best)
        else:
            solver = GaussNewton(dense=False, damping=1e-4)
            state = self._run(solver, objective, best.state.theta, "all rows", 200)
        if not state.converged and self.p <= DENSE_LIMIT and not self._spent():
            state = self._run(GaussNewton(), objective, state.theta, "all rows, dense", 100)
        return Outcome(objective, state, self.info)

    def _preconditioned(self, objective: Objective, best: Candidate) -> State:
        """L-BFGS on the curvature of a sub-sample, taken anew where the way to the minimiser has changed it."""
        solver = LBFGS(precondition=self._precondition(best))
        state = self._run(solver, objective, best.state.theta, "all rows", 0)
        for _ in range(_LEGS):
            before = state.decrement
            state = self._run(solver, objective, state.theta, "all rows", _LEG, begun=state)
            if state.converged or state.stopped or self._spent():
                break
            if state.decrement > _SLOW * before and not objective.kinked:
                solver = LBFGS(precondition=self._precondition(Candidate(objective, state, best.label)))
                state = solver.aimed(state, state.memory["pairs"])
        else:
            state.message = f"not converged after {_LEGS * _LEG} iterations"
        return state

    def _matrix_rows(self, best: Candidate) -> int:
        """Rows whose matrix makes the corrections on all rows cheapest."""
        n = self.engine.shape[0]

        def cost(m: int) -> float:
            shorter = max(math.log(m / (_CONTRACTION**2 * self.p)) / 2.0, 0.1)
            away = math.sqrt(n / max(m, best.objective.n_rows))
            return max(math.log(away / self.tol), 1.0) / shorter + m / n * self.p * _MATRIX_COST

        least = _PRECONDITION_ROWS * self.p
        options = [least << i for i in range(8) if i == 0 or (least << i) <= n // 2]
        return min(options, key=cost)

    def _spent(self) -> bool:
        return self.monitor.spent(self.engine.meter)

    def _curvature(self, objective: Objective, theta: np.ndarray) -> Any:
        white = self.inputs == "gaussian" or (self.law is not None and not needs_whitening(self.law))
        return gaussian_curvature(objective, theta, self.start_seed, white)

    def _precondition(self, best: Candidate) -> Any:
        from scipy.linalg import cho_factor, cho_solve

        matrix = best.state.memory.get("matrix")
        if matrix is None:
            few = best.objective.engine.sample(self._matrix_rows(best), self.start_seed)
            matrix = best.objective.on(few).gauss_newton(best.state.theta)[2]
        matrix = np.array(matrix, order="F")  # which is factored in place
        matrix[np.diag_indices(len(matrix))] += 1e-10 * float(np.trace(matrix)) / len(matrix)
        factor = cho_factor(matrix, overwrite_a=True, check_finite=False)
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
        begun: State | None = None,
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
            begun=begun,
        )
