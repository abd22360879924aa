"""The search through wide students under weight decay: students of their own are drawn until one leads to an exact fit.

A student is trained under a decay that is lowered step by step.  At each step a network of the model's width is made of
it and trained without: too strong a decay merges units of the teacher, too weak a one lets the student fit what it has
to spare.  The networks of all steps are then grown and pruned together for a few rounds, since one of them may lack a
unit or two.  An exact fit alone ends the search, since so few rows say nothing of any other; and what all students cost
is bounded by what growing and pruning would have cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ..models import Parameters
from ..random import Stream
from ..solvers import LBFGS
from ..sweeps import Objective
from .decay import decayed, narrowed, wide_student
from .judge import Judge
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
    level : int
        Times that its decay has been lowered.
    left : float
        Share of the variance that it left at the level before.
    flat : int
        Levels in a row at which neither it nor its network has become clearly lower.
    students : int
        Wide ones that are done with.
    chains : Chains
        The lowest networks they have led to.
    """

    allowed: float = 0.0
    taken: float = 0.0
    student: Parameters | None = None
    level: int = 0
    left: float = 1.0
    flat: int = 0
    students: int = 0
    chains: Chains = field(default_factory=Chains.none)


class Thin:
    """Wide students under a decay that is lowered, merged down to the model, until one is exact or the budget spent."""

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> ThinProgress:
        """Before the first student: what all of them may cost."""
        policy, k = problem.policy, problem.model.n_hidden
        rounds = policy.patient_rounds if self._scarce(problem) else policy.expand_rounds
        passes = min(_ROUND * rounds, problem.allowance - problem.passes_of_search)
        least = students_at_once(problem, problem.base)[0] * k * passes
        return ThinProgress(rng=problem.generator(Stream.DECAY), allowed=policy.thin_share * least)

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """One level of the decay; after the last one of a student, rounds of growing and pruning."""
        assert isinstance(progress, ThinProgress) and progress.rng is not None
        engine, policy, model = problem.on(problem.base), problem.policy, problem.model
        nearly_exact = policy.nearly_exact * problem.response_variance
        progress.round += 1
        stage = f"{THIN} {progress.round}"
        if self._level(problem, progress, nearly_exact) and progress.chains.losses[0] > nearly_exact:
            units = len(progress.chains) * (model.n_hidden + policy.more_units)
            for _ in range(policy.thin_rounds):
                with self._taking(problem, progress, units) as stop:
                    progress.chains = regrown(
                        engine,
                        model,
                        progress.chains,
                        progress.rng,
                        extra=policy.more_units,
                        exact_loss=nearly_exact,
                        stop=stop,
                    )
        most = policy.thin_students_of_few if self._scarce(problem) else policy.thin_students
        progress.done = problem.spent or progress.students == most or progress.taken >= progress.allowed
        if not len(progress.chains):
            return
        lowest, (shown, theta) = progress.chains.losses[0], problem.with_signs(progress.chains.parameters[0])
        problem.monitor.record(Objective(engine, shown), stage, float(lowest))
        if lowest <= nearly_exact:
            progress.done = True
            for _ in range(policy.thin_refinements):
                found = refined(problem, problem.base, shown, theta, stage)
                progress.candidates, progress.trusted, theta = [found], judge.is_exact(found), found.state.theta
                if progress.trusted or problem.spent:
                    break
        elif progress.done:  # to steps with matrices it is not worth their cost
            with self._taking(problem, progress, model.n_hidden):
                state = problem.run(LBFGS(), Objective(engine, shown), theta, stage, policy.iterations)
            progress.candidates = [Candidate(state, shown, problem.base, stage)]

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

    def _level(self, problem: Problem, progress: ThinProgress, nearly_exact: float) -> bool:
        """One level of the student at work, whose network joins the others; whether it was the last."""
        assert progress.rng is not None
        engine, policy, model = problem.on(problem.base), problem.policy, problem.model
        width = round(policy.thin_width * model.n_hidden)
        if progress.student is None:
            progress.flat, progress.left, progress.level = 0, 1.0, 0
            progress.student = wide_student(engine, model, width, progress.rng)
        decay = policy.thin_decay * policy.thin_lower**progress.level
        with self._taking(problem, progress, width) as stop:
            progress.student, loss = decayed(
                engine, model, progress.student, decay, iterations=policy.thin_iterations, stop=stop
            )
            stopped = stop()
        progress.level += 1
        left = 2.0 * loss / problem.response_variance
        ended = left < policy.thin_least_left or progress.level == policy.thin_levels
        if left < policy.thin_most_left or ended or stopped:
            with self._taking(problem, progress, policy.thin_widths[0] * model.n_hidden) as stop:
                found = narrowed(
                    engine,
                    model,
                    progress.student,
                    decay,
                    widths=policy.thin_widths,
                    between=policy.thin_between,
                    iterations=policy.thin_iterations,
                    exact_loss=nearly_exact,
                    stop=stop,
                )
            before = progress.chains.losses.min(initial=np.inf)
            lower = found[1] < policy.thin_gain * before or left < policy.thin_falls * progress.left
            progress.flat = 0 if lower else progress.flat + 1
            progress.chains = progress.chains.joined(*found).first(policy.thin_chains)
            # Noise is all that is left, if rows are enough to tell.
            ended = ended or (not self._scarce(problem) and progress.flat == policy.thin_flat)
        progress.left = left
        if ended:
            progress.student, progress.students = None, progress.students + 1
        return ended
