"""The search through wide students under weight decay: students of their own are drawn until one leads to an exact fit.

A student is trained under a decay that is lowered step by step, in a metric that its own rows make.  At each step a
network of the model's width is made of it, trained without, and grown and pruned for a round or two: too strong a decay
merges units of the teacher, too weak a one lets the student fit what it has to spare, and a network may lack a unit or
two.  Where rows are scarce an exact fit alone ends the search, since they say nothing of any other; with more of them
two students that agree do as well.  What all students cost is bounded by what growing and pruning would have cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ..inputs import Coordinates
from ..models import Parameters
from ..random import Stream
from ..solvers import LBFGS
from ..sweeps import Objective
from .decay import decayed, narrowed, oriented, own_metric, wide_student
from .judge import Judge
from .policy import Decay
from .problem import Candidate, Problem
from .refine import refined
from .strategies import Progress, students_at_once
from .students import Chains, regrown

THIN = "thin"  # label of what they have led to
_ROUND = 200  # least gradients of a network in a round of growing and pruning


@dataclass
class ThinProgress(Progress):
    """Where thinning is.

    Attributes
    ----------
    allowed, taken : float
        Gradients of one unit that all students may take, and those that they have taken.
    student : Parameters or None
        The wide one at work; None between two of them.
    linear : bool
        Whether it has a linear term that the model has not.
    metric : Coordinates
        In which its rows are measured.
    level : int
        Times that its decay has been lowered.
    students : int
        Wide ones that are done with.
    chains : Chains
        The lowest networks it has led to.
    best : tuple of float and Parameters, or None
        Lowest loss of all students, and its network, with no linear term that the model has not.
    """

    allowed: float = 0.0
    taken: float = 0.0
    student: Parameters | None = None
    linear: bool = False
    metric: Coordinates = field(default_factory=Coordinates)
    level: int = 0
    students: int = 0
    chains: Chains = field(default_factory=Chains.none)
    best: tuple[float, Parameters] | None = None


class Thin:
    """Wide students under a decay that is lowered, merged down to the model, until one is exact or the budget spent."""

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> ThinProgress:
        """Before the first student: what all of them may cost."""
        policy, k = problem.policy, problem.model.n_hidden
        rounds = policy.patient_rounds if self._scarce(problem) else policy.expand_rounds
        passes = min(_ROUND * rounds, problem.allowance - problem.passes_of_search)
        least = students_at_once(problem, problem.base)[0] * k * passes
        allowed = max(policy.thin_share * least, policy.thin_gradients * k)
        return ThinProgress(rng=problem.generator(Stream.DECAY), allowed=allowed)

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """One level of a student, and what its network makes of it."""
        assert isinstance(progress, ThinProgress)
        policy = problem.policy
        progress.round += 1
        stage = f"{THIN} {progress.round}"
        ended = self._level(problem, progress)
        if ended:
            progress.student, progress.students = None, progress.students + 1
        most = policy.thin_students_of_few if self._scarce(problem) else policy.thin_students
        progress.done = problem.spent or progress.students == most or progress.taken >= progress.allowed
        lowest, found = float(progress.chains.losses[0]), progress.chains.parameters[0]
        near = lowest <= self._near(problem)
        found = oriented(found, problem.model.activation) if progress.linear else found
        shown, theta = problem.with_signs(found)
        objective = Objective(problem.on(problem.base), shown)
        if progress.linear:  # whose parameters the network has not
            with self._taking(problem, progress, problem.model.n_hidden):
                lowest = objective.value(theta)
        problem.monitor.record(objective, stage, lowest)
        if progress.best is None or lowest < progress.best[0]:
            progress.best = lowest, found
        if near:
            for _ in range(policy.thin_refinements):
                candidate = refined(problem, problem.base, shown, theta, stage)
                progress.trusted, theta = judge.is_exact(candidate), candidate.state.theta
                if progress.trusted or problem.spent:
                    break
            progress.candidates.append(candidate)
            if not ended:  # a wrong minimum so low leads nowhere else
                progress.student, progress.students = None, progress.students + 1
        elif ended and not self._scarce(problem):
            progress.candidates.append(refined(problem, problem.base, shown, theta, stage))
            progress.trusted = len(progress.candidates) > 1 and judge.agree(progress.candidates)
        progress.done = progress.done or progress.trusted
        if progress.done and not progress.candidates:  # to steps with matrices it is not worth their cost
            shown, theta = problem.with_signs(progress.best[1])
            with self._taking(problem, progress, problem.model.n_hidden):
                objective = objective.with_model(shown)
                state = problem.run(LBFGS(), objective, theta, stage, policy.iterations)
            progress.candidates = [Candidate(state, shown, problem.base, stage)]

    @staticmethod
    def _near(problem: Problem) -> float:
        return problem.policy.thin_near * problem.response_variance

    @staticmethod
    def _decay(problem: Problem) -> Decay:
        return problem.policy.thin_decay_of_bounded if problem.is_bounded else problem.policy.thin_decay

    @staticmethod
    def _has_linear(problem: Problem, progress: ThinProgress) -> bool:
        """Whether the next student has a linear term: every other one, where units may be reversed beside it."""
        policy, model, (n, d) = problem.policy, problem.model, problem.on(problem.base).shape
        if model.linear_term or model.activation.odd_slope is None or n < policy.thin_least_linear * (problem.p + d):
            return False
        first = n >= policy.thin_linear * (problem.p + d)
        return first == (progress.students % 2 == 0)

    @staticmethod
    def _scarce(problem: Problem) -> bool:
        return problem.is_scarce(problem.n_rows(problem.base))

    @staticmethod
    @contextmanager
    def _taking(problem: Problem, progress: ThinProgress, units: float) -> Iterator[Callable[[], bool]]:
        """Count the passes within as those of so many units, and yield what says whether to stop."""
        meter = problem.engine.meter
        began = meter.passes
        yield lambda: problem.spent or progress.taken + units * (meter.passes - began) >= progress.allowed
        problem.uncounted += meter.passes - began
        progress.taken += units * (meter.passes - began)

    def _level(self, problem: Problem, progress: ThinProgress) -> bool:
        """One level of the student at work, whose network joins the others; whether it was the last."""
        assert progress.rng is not None
        engine, policy, model, near = problem.on(problem.base), problem.policy, problem.model, self._near(problem)
        width = round(policy.thin_width * model.n_hidden)
        if progress.student is None:
            progress.linear = self._has_linear(problem, progress)
            progress.metric, progress.chains = Coordinates(), Chains.none()
            progress.level = 0
        if progress.linear:
            model = model.changed(linear_term=True)
        if progress.student is None:
            progress.student = wide_student(engine, model, width, progress.rng)
        decay = self._decay(problem)
        shift = policy.thin_shifts[progress.students % len(policy.thin_shifts)]
        rate = decay.first * decay.lower ** (progress.level + shift)
        with self._taking(problem, progress, width) as stop:
            for _ in range(policy.thin_turns):
                inner, student = progress.metric.engine(engine), progress.metric.into(progress.student, model)
                student = decayed(inner, model, student, rate, iterations=policy.thin_leg, stop=stop)
                progress.student = progress.metric.back(student, model)
                if decay.metric:
                    progress.metric = own_metric(progress.student, model.n_hidden)
        inner, student = progress.metric.engine(engine), progress.metric.into(progress.student, model)
        with self._taking(problem, progress, policy.thin_widths[0] * model.n_hidden) as stop:
            found, lowest = narrowed(
                inner,
                model,
                student,
                rate,
                widths=policy.thin_widths,
                between=policy.thin_between,
                iterations=policy.thin_iterations,
                exact_loss=near,
                stop=stop,
            )
        before = progress.chains.losses.min(initial=np.inf)
        progress.chains = progress.chains.joined(progress.metric.back(found, model), lowest).first(policy.thin_chains)
        for _ in range(policy.thin_rounds):
            if progress.chains.losses[0] <= near:
                break
            with self._taking(problem, progress, len(progress.chains) * (model.n_hidden + policy.more_units)) as stop:
                progress.chains = regrown(
                    engine,
                    model,
                    progress.chains,
                    progress.rng,
                    extra=policy.more_units,
                    exact_loss=near,
                    stop=stop,
                )
        progress.level += 1
        # Noise is all that is left, if rows are enough to tell.
        flat = not self._scarce(problem) and progress.chains.losses[0] >= policy.thin_gain * before
        return flat or progress.level == decay.levels
