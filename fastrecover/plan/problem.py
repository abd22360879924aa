"""What all parts of a plan share: the rows, the model, the seeds, the budget, and what has been learned so far.

Candidates name their rows by how these were drawn, so that they are plain data: the engines are made again from the
same seeds wherever they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

import numpy as np

from .._lazy import cached_property
from ..engines import Engine
from ..inputs import Coordinates, InputDiagnosis, coordinates, diagnose, needs_whitening
from ..losses import EXACT_SLACK
from ..models import Network, Parameters, Penalty
from ..random import Stream, generator, stream
from ..solvers import Monitor, Solver, State, run
from ..sweeps import Objective
from .policy import Policy
from .report import Report
from .residual import Verdict

#: Sub-sample of a sub-sample: purpose and number of rows of each draw; empty for all rows.
Rows: TypeAlias = tuple[tuple[Stream, int], ...]
ALL: Rows = ()
_SAME = 1e-9  # relative distance of points that differ by changes of units alone
_ROUNDED = 0.1  # of thirty units in the last place of a mean, for rounding of the responses and of a few steps


@dataclass(eq=False)
class Candidate:
    """A refined start, as plain data.

    Attributes
    ----------
    state : State
        Where its refinement ended.
    model : Network
        With definite output weights.
    rows : Rows
        What it was refined on.
    label : str
        Where it came from.
    leads : bool
        Whether strategies that come after the one that found it begin with it.
    judged : bool
    verdict : Verdict or None
        What tests of its residual say, once `judged`.
    """

    state: State
    model: Network
    rows: Rows
    label: str
    leads: bool = True
    judged: bool = False
    verdict: Verdict | None = None


@dataclass(frozen=True, eq=False)
class Left:
    """Where a fit has ended, for one that goes on from there.

    Attributes
    ----------
    coordinates : Coordinates
        Units that its state is in.
    model : Network
        With definite output weights.
    state : State
    weight_unit : float
        What the weights of its rows were divided by.
    """

    coordinates: Coordinates
    model: Network
    state: State
    weight_unit: float = 1.0

    def parameters(self, n_features: int) -> Parameters:
        """The network, for the rows as they were given, its units in the order of the state."""
        return self.coordinates.back(self.model.unpack(self.state.theta, n_features), self.model)


@dataclass(eq=False)
class Problem:
    """One fit on one engine.

    Attributes
    ----------
    engine : Engine
    model : Network
        As asked for.
    seeds : SeedSequence
        Root of the random numbers.
    monitor : Monitor
    tol : float
    inputs : {"auto", "whiten", "gaussian"}
        Whether starts see whitened rows: where a test says so, always, or never.
    policy : Policy
    report : Report
    diagnosis : InputDiagnosis or None
        Of the rows, once it has been asked for.
    coordinates : Coordinates
        Units that `engine` has its rows and responses in.
    raw : Engine or None
        The same rows and responses as they were given.
    restarts : int or None
        Random starts to choose the best of, in place of a search.
    allowance : float
        Passes that a search may go on for; the first minimum sets it.
    uncounted : float
        Passes that do not count towards it: those of students under decay, which have a bound of their own.
    penalty : Penalty or None
        That of the model, for the rows and responses of `raw`.
    left : Left or None
        Where an earlier fit has ended, until a solver has gone on from there.
    """

    engine: Engine
    model: Network
    seeds: np.random.SeedSequence
    monitor: Monitor
    tol: float
    inputs: str = "auto"
    policy: Policy = Policy()
    report: Report = field(default_factory=Report)
    diagnosis: InputDiagnosis | None = None
    coordinates: Coordinates = Coordinates()
    raw: Engine | None = None
    restarts: int | None = None
    allowance: float = np.inf
    uncounted: float = 0.0
    penalty: Penalty | None = None
    left: Left | None = None
    _engines: dict[Rows, Engine] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        raw: Engine,
        model: Network,
        seeds: np.random.SeedSequence,
        monitor: Monitor,
        tol: float,
        inputs: str,
        restarts: int | None = None,
    ) -> Problem:
        """The problem in units of its own.

        Parameters
        ----------
        raw : Engine
            Rows and responses as they were given.
        model, seeds, monitor, tol, inputs, restarts
            As the attributes.
        """
        seed = stream(seeds, Stream.DIAGNOSIS)
        # However small the budget: without units nothing that follows means anything.
        law = None if inputs == "gaussian" else diagnose(raw, seed)
        units = coordinates(raw, model, law, seed, whiten=inputs == "whiten")
        known = law if units.matrix is None else None
        found = cls(
            units.engine(raw),
            units.model(model),
            seeds,
            monitor,
            tol,
            inputs,
            diagnosis=known,
            coordinates=units,
            raw=raw,
            restarts=restarts,
        )
        found.takes_over()
        return found

    def takes_over(self) -> None:
        """Have losses and networks told in place of those of another problem on the same rows."""
        self.monitor.unit, self.monitor.back = self.coordinates.scale, self.coordinates.back

    def again(self, i: int) -> Problem:
        """The same with other random numbers, and a report of its own."""
        seeds = stream(self.seeds, Stream.AGAIN, i)
        return replace(self, seeds=seeds, report=Report(), allowance=np.inf, _engines={})

    @cached_property
    def p(self) -> int:
        """Parameters of the model."""
        return self.model.n_parameters(self.engine.shape[1])

    @cached_property
    def response_variance(self) -> float:
        """Variance of all responses."""
        return self.engine.response_variance()

    @cached_property
    def exact_loss(self) -> float:
        """Loss at and below which a fit is exact."""
        # Responses far from zero are rounded to digits of their mean.
        rounded = float(np.square(_ROUNDED * self.coordinates.shift / self.coordinates.scale).sum())
        return self.model.loss.exact_loss(self.response_variance + rounded, self.engine.dtype)

    @cached_property
    def base(self) -> Rows:
        """The first sub-sample: enough rows to identify the weights."""
        policy, each = self.policy, self.policy.rows_per_parameter
        if not self.model.loss.in_response_units:
            each = policy.rows_per_labelled_parameter
        elif self.p > policy.large:
            # Moments want rows for each feature, refinement for each parameter.
            d = self.engine.shape[1]
            wanted = max(policy.rows_per_parameter_of_many * self.p, policy.rows_per_feature * d)
            return self.drawn(ALL, min(wanted, each * self.p // 2), Stream.SAMPLE)
        return self.drawn(ALL, max(each * self.p, policy.fewest_rows), Stream.SAMPLE)

    @cached_property
    def base_of_cubic(self) -> Rows:
        """What a start sees in place of the first sub-sample, more where it needs third moments of many parameters."""
        cubic = self.model.activation.subspace_order == 3 and self.model.loss.in_response_units
        if not cubic or self.p <= self.policy.large:
            return self.base
        return self.drawn(ALL, self.policy.rows_per_parameter * self.p, Stream.SAMPLE)

    def has_few(self, n_rows: int) -> bool:
        """Whether so few rows say little of any fit that is not exact."""
        policy = self.policy
        return n_rows < (policy.scarce_with_biases if self.model.hidden_bias else policy.scarce) * self.p

    def is_scarce(self, n_rows: int) -> bool:
        """Whether so few rows tell exact fits alone from wrong ones: not under a penalty, as no fit is exact there."""
        return self.model.penalty is None and self.has_few(n_rows)

    @property
    def spent(self) -> bool:
        """Whether the callback or the budget has ended the fit."""
        return self.monitor.spent(self.engine.meter)

    @property
    def limit(self) -> str:
        """What has ended the fit, in words; empty where nothing has."""
        return self.monitor.limit(self.engine.meter.passes)

    @property
    def passes_of_search(self) -> float:
        """Passes that count towards the allowance."""
        return self.engine.meter.passes - self.uncounted

    @property
    def searched_enough(self) -> bool:
        """Whether the search has taken the passes that the first minimum allows it."""
        return self.passes_of_search >= self.allowance

    @property
    def expandable(self) -> bool:
        """Whether wide students can be pruned to the model, by least squares or steps of it."""
        model = self.model
        return model.is_separate and not model.shares and (model.loss.least_squares or not model.is_quadratic_form)

    @property
    def is_bounded(self) -> bool:
        """Whether the activation is."""
        return bool(np.isfinite(self.model.activation.bounds).all())

    @property
    def thinnable(self) -> bool:
        """Whether wide students under weight decay are merged to the model: units many, rows few, and these not dear.

        Of one output, without biases, and of degree two only where rows are scarce.
        """
        model, policy, (n, d) = self.model, self.policy, self.engine.shape
        scarce, k, degree = self.is_scarce(n), model.n_hidden, model.activation.degree
        plain = model.n_outputs == 1 and not (model.hidden_bias or model.is_quadratic_form)
        plain = plain and model.loss.least_squares and (degree in (None, 1) or (degree == 2 and scarce))
        least = policy.thin_units_of_few if scarce or self.is_bounded else policy.thin_units
        if scarce and (self.is_bounded or degree == 2 or d >= policy.thin_features * k):
            least = policy.fewest_thin_units
        dear = 2000.0 * n * d * policy.thin_copies * k > policy.thin_work
        hard = model.activation.degree is None or k >= policy.thin_units_of_hard
        most = policy.thin_rows_of_hard if hard else policy.thin_rows
        most = policy.thin_rows_of_most if k >= policy.thin_units_of_most else most
        return plain and k >= least and n <= most * self.p and not dear

    @property
    def has_gaussian_curvature(self) -> bool:
        """Whether the curvature that Gaussian rows would give is known: of one output, without a penalty."""
        model = self.model
        return model.n_patches == 1 and not model.is_quadratic_form and model.n_outputs == 1 and model.penalty is None

    @property
    def is_quartic(self) -> bool:
        """Whether the loss is a polynomial of degree four along every line."""
        model = self.model
        return model.is_quadratic_form and model.loss.least_squares and model.penalty is None

    @property
    def known_white(self) -> bool:
        """Whether the rows are known to have unit covariance."""
        if self.inputs == "gaussian":
            return True
        return self.diagnosis is not None and not needs_whitening(self.diagnosis)

    def is_exact(self, loss: float) -> bool:
        """Whether a loss is at the level of rounding."""
        return loss <= EXACT_SLACK * self.exact_loss

    def seed(self, purpose: Stream) -> np.random.SeedSequence:
        """Seed of one purpose."""
        return stream(self.seeds, purpose)

    def generator(self, purpose: Stream) -> np.random.Generator:
        """Fresh generator of one purpose."""
        return generator(self.seeds, purpose)

    def drawn(self, rows: Rows, m: int, purpose: Stream) -> Rows:
        """A sub-sample of `m` of some rows; the same rows where there are not more."""
        few = (*rows, (purpose, m))
        return rows if self.on(few) is self.on(rows) else few

    def more(self, rows: Rows) -> Rows:
        """More rows than those of a sub-sample that hardly determines its minimiser."""
        m = self.policy.more_rows * self.n_rows(rows)
        return ALL if 2 * m > self.engine.shape[0] else self.drawn(ALL, m, Stream.SAMPLE)

    def on(self, rows: Rows) -> Engine:
        """Engine on some rows."""
        if not rows:
            return self.engine
        if rows not in self._engines:
            self._engines[rows] = self._sampled(self.on(rows[:-1]), rows[-1:])
        return self._engines[rows]

    def raw_on(self, rows: Rows) -> Engine:
        """Engine on some rows as they were given."""
        return self._sampled(self.engine if self.raw is None else self.raw, rows)

    def _sampled(self, engine: Engine, rows: Rows) -> Engine:
        for purpose, m in rows:
            engine = engine.sample(m, self.seed(purpose))
        return engine

    def n_rows(self, rows: Rows) -> int:
        """Number of some rows."""
        return self.on(rows).shape[0]

    def objective(self, candidate: Candidate) -> Objective:
        """The objective that a candidate was refined with."""
        return Objective(self.on(candidate.rows), candidate.model)

    def parameters(self, candidate: Candidate) -> Parameters:
        """The network that a candidate is."""
        return candidate.model.unpack(candidate.state.theta, self.engine.shape[1])

    def with_signs(self, start: Parameters) -> tuple[Network, np.ndarray]:
        """Model and flat vector that refinement works on from a start."""
        model = self.model.with_resolved_signs(start.output_weights)
        if model is not self.model and model.known_v is not None:
            start = start.absorbed(model.activation)
        return model, model.pack(start)

    def run(
        self,
        solver: Solver[Objective],
        objective: Objective,
        theta: np.ndarray,
        stage: str,
        iterations: int,
        tol: float | None = None,
        begun: State | None = None,
    ) -> State:
        """One run of a solver, recorded as a stage; the first one goes on with what an earlier fit has left."""
        if begun is None and (resumed := self._resumed(solver, objective, theta)) is not None:
            begun = resumed
            self.monitor.record(objective, stage, begun.loss, begun.grad, begun.theta)
        return run(
            solver,
            objective,
            theta,
            monitor=self.monitor,
            stage=stage,
            tol=self.tol if tol is None else tol,
            exact_loss=self.exact_loss,
            max_iterations=iterations,
            begun=begun,
        )

    def _resumed(self, solver: Solver[Objective], objective: Objective, theta: np.ndarray) -> State | None:
        """State of a solver that begins where an earlier fit of the same units has ended, None for any other."""
        left, resume = self.left, getattr(solver, "resume", None)
        if left is None or resume is None or not self.coordinates.alike(left.coordinates):
            return None
        before = left.state.theta
        if theta.shape != before.shape or np.linalg.norm(theta - before) > _SAME * np.linalg.norm(before):
            return None
        self.left = None
        return cast(State, resume(objective, theta, left.state.memory))
