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
from dataclasses import dataclass, field, replace

import numpy as np

from ..inputs import Coordinates
from ..models import Parameters
from ..random import Stream
from ..solvers import LBFGS
from ..sweeps import Objective
from .decay import narrowed, oriented, own_metric, under, wide_student
from .judge import Judge
from .measured import trained
from .policy import Decay
from .problem import Candidate, Problem
from .refine import refined
from .strategies import Progress, students_at_once
from .students import Chains, regrown

_ROUND = 200  # least gradients of a network in a round of growing and pruning


@dataclass
class ThinProgress(Progress):
    """Where thinning is.

    Attributes
    ----------
    allowed, taken : float
        Gradients of one unit that all students may take, and those that they have taken.
    at_work : tuple of Parameters
        The wide students at work, side by side.
    linear : bool
        Whether they have a linear term that the model has not.
    metrics : tuple of Coordinates
        In which the rows of each are measured.
    level : int
        Times that their decays have been lowered.
    students : int
        Wide ones that are done with.
    chains : Chains
        The lowest networks that those at work have led to.
    best : tuple of float and Parameters, or None
        Lowest loss of all students, and its network, with no linear term that the model has not.
    """

    allowed: float = 0.0
    taken: float = 0.0
    at_work: tuple[Parameters, ...] = ()
    linear: bool = False
    metrics: tuple[Coordinates, ...] = ()
    level: int = 0
    students: int = 0
    chains: Chains = field(default_factory=Chains.none)
    best: tuple[float, Parameters] | None = None

    def leave(self) -> None:
        """Be done with the students at work."""
        self.at_work, self.students = (), self.students + len(self.at_work)


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
        """One level of the students at work, and what is made of the networks they lead to."""
        assert isinstance(progress, ThinProgress)
        policy = problem.policy
        progress.round += 1
        stage = f"thin {progress.round}"
        ended = self._level(problem, progress)
        if ended:
            progress.leave()
        most = policy.thin_students_of_few if self._scarce(problem) else policy.thin_students
        progress.done = problem.spent or progress.students >= most or progress.taken >= progress.allowed
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
            progress.candidates.append(replace(candidate, leads=False))
            if len(progress.at_work) == 1:  # a wrong minimum so low leads nowhere else
                progress.leave()
            progress.chains = progress.chains.without_first()
        elif ended and not self._scarce(problem):
            candidate = refined(problem, problem.base, shown, theta, stage)
            progress.candidates.append(replace(candidate, leads=False))
            progress.trusted = len(progress.candidates) > 1 and judge.agree(progress.candidates)
        progress.done = progress.done or progress.trusted
        if progress.done and not progress.candidates:  # to steps with matrices it is not worth their cost
            shown, theta = problem.with_signs(progress.best[1])
            with self._taking(problem, progress, problem.model.n_hidden):
                objective = objective.with_model(shown)
                state = problem.run(LBFGS(), objective, theta, stage, policy.iterations)
            progress.candidates = [Candidate(state, shown, problem.base, stage, leads=False)]

    @staticmethod
    def _near(problem: Problem) -> float:
        return problem.policy.thin_near * problem.response_variance

    @staticmethod
    def _decay(problem: Problem) -> Decay:
        return problem.policy.thin_decay_of_bounded if problem.is_bounded else problem.policy.thin_decay

    @classmethod
    def _has_linear(cls, problem: Problem, progress: ThinProgress) -> bool:
        """Whether the next students have a linear term: every other time, where units may be reversed beside it."""
        policy, model, (n, d) = problem.policy, problem.model, problem.on(problem.base).shape
        if model.linear_term or model.activation.odd_slope is None or n < policy.thin_least_linear * (problem.p + d):
            return False
        first = n >= policy.thin_linear * (problem.p + d)
        return first == (progress.students // cls._at_once(problem) % 2 == 0)

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
        """One level of the students at work, whose networks join the others; whether it was the last."""
        assert progress.rng is not None
        engine, policy, model, near = problem.on(problem.base), problem.policy, problem.model, self._near(problem)
        width = round(policy.thin_width * model.n_hidden)
        if not progress.at_work:
            progress.linear = self._has_linear(problem, progress)
            progress.chains, progress.level = Chains.none(), 0
        if progress.linear:
            model = model.changed(linear_term=True)
        if not progress.at_work:
            count = self._at_once(problem)
            progress.metrics = (Coordinates(),) * count
            progress.at_work = tuple(wide_student(engine, model, width, progress.rng) for _ in range(count))
        decay, shifts, count = self._decay(problem), policy.thin_shifts, len(progress.at_work)
        lower = [progress.level + shifts[(progress.students + i) % len(shifts)] for i in range(count)]
        rates = [decay.first * decay.lower**level for level in lower]
        metrics = list(progress.metrics)
        with self._taking(problem, progress, count * width) as stop:
            for _ in range(policy.thin_turns):
                measure = under(engine, model, metrics, rates)
                found = trained(engine, model, progress.at_work, policy.thin_leg, stop=stop, measure=measure)[0]
                progress.at_work = tuple(found)
                for i in range(0 if count == 1 else 1, count, 2):  # of few units, measured or not, some lead there
                    if decay.metric:
                        metrics[i] = own_metric(found[i], model.n_hidden, model.activation.degree or 1)
        with self._taking(problem, progress, count * policy.thin_widths[0] * model.n_hidden) as stop:
            found, losses = narrowed(
                engine,
                model,
                progress.at_work,
                under(engine, model, metrics, rates),
                widths=policy.thin_widths,
                between=policy.thin_between,
                iterations=policy.thin_iterations,
                exact_loss=near,
                stop=stop,
            )
        progress.metrics, before = tuple(metrics), progress.chains.losses.min(initial=np.inf)
        for one, loss in zip(found, losses, strict=True):
            progress.chains = progress.chains.joined(one, float(loss))
        progress.chains = progress.chains.first(policy.thin_chains * count)
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

    @classmethod
    def _at_once(cls, problem: Problem) -> int:
        """Students side by side: several where the sums of a pass cost less than all that is beside them."""
        policy, model, (n, d) = problem.policy, problem.model, problem.on(problem.base).shape
        if not cls._scarce(problem):
            return 1  # the first one mostly does
        return int(np.clip(policy.thin_small / (n * d * policy.thin_width * model.n_hidden), 1, policy.thin_at_once))
