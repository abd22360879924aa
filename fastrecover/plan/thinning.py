"""The search through wide students under weight decay: students of their own are drawn until one leads to an exact fit.

A student is trained under a decay that is lowered step by step.  At each step a network of the model's width is made of
it and trained without: too strong a decay merges units of the teacher, too weak a one lets the student fit what it has
to spare.  The networks of all steps are then grown and pruned together for a few rounds, since one of them may lack a
unit or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..models import Parameters
from ..random import Stream
from ..sweeps import Objective
from .decay import decayed, narrowed, wide_student
from .judge import Judge
from .problem import Candidate, Problem, Rows
from .refine import moved, refined
from .strategies import DENSEST, THIN, Progress, extra_units, rows_to_expand, widest
from .students import Chains, regrown


@dataclass
class ThinProgress(Progress):
    """Where thinning is.

    Attributes
    ----------
    rows : Rows
        What the students see.
    noisy : bool
        Whether something known leaves noise alone.
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

    rows: Rows = ()
    noisy: bool = False
    student: Parameters | None = None
    level: int = 0
    left: float = 1.0
    flat: int = 0
    students: int = 0
    chains: Chains = field(default_factory=Chains.none)


class Thin:
    """Wide students under a decay that is lowered, merged down to the model, until one is exact or convincing."""

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> ThinProgress:
        """Before the first student."""
        noisy = any(judge.is_noise(c) for c in known)
        return ThinProgress(rng=problem.generator(Stream.DECAY), rows=rows_to_expand(problem, known), noisy=noisy)

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """One level of the decay; after the last one of a student, rounds of growing and pruning, and a verdict."""
        assert isinstance(progress, ThinProgress) and progress.rng is not None
        engine, policy, model = problem.on(progress.rows), problem.policy, problem.model
        dear = 2000.0 * engine.shape[0] * engine.shape[1] * self._width(problem) > policy.thin_work
        if progress.noisy or dear or (known and problem.spent):
            progress.done = True
            return
        nearly_exact, scarce = policy.nearly_exact * problem.response_variance, problem.is_scarce(engine.shape[0])
        progress.round += 1
        began = engine.meter.passes
        stage = f"{THIN} {progress.round}"
        ended = self._level(problem, progress, nearly_exact)
        if ended and progress.chains.losses[0] > nearly_exact:
            for _ in range(policy.thin_rounds):
                progress.chains = regrown(
                    engine,
                    model,
                    progress.chains,
                    progress.rng,
                    extra=extra_units(problem),
                    exact_loss=nearly_exact,
                    stop=lambda: problem.spent,
                )
        problem.uncounted += engine.meter.passes - began
        chains = progress.chains
        if not len(chains):
            return
        lowest = float(chains.losses[0])
        shown = problem.with_signs(chains.parameters[0])[0]
        problem.monitor.record(Objective(engine, shown), stage, lowest)
        most = policy.thin_students_of_small if model.n_hidden < DENSEST else policy.thin_students_of_few
        most = most if scarce else policy.thin_students
        last = problem.spent or progress.students == most
        # Where noise is what is left, a student leaves it too, leads to one minimum at every level, and moments have
        # led there as well.  Few rows cannot tell that from units that are missing.
        enough = problem.n_rows(widest(problem, known)) >= policy.rows_to_trust * problem.p
        noise = enough and progress.left > policy.thin_falls * 2.0 * lowest / problem.response_variance
        others = [*chains.losses[1:2], *(c.state.loss for c in known)]
        alike = noise and any(abs(loss - lowest) <= policy.gain * lowest for loss in others)
        if lowest <= nearly_exact or last or alike:
            found = refined(problem, progress.rows, *problem.with_signs(chains.parameters[0]), stage)
            progress.candidates = [moved(problem, found, widest(problem, known))]
            best = progress.candidates[0]
            # Levels of one student that agree vouch for nothing.
            likely = noise and (judge.is_plausible(best) or (bool(known) and judge.agree([best, *known])))
            progress.trusted = judge.is_exact(best) or likely
            progress.done = progress.trusted or last

    @staticmethod
    def _width(problem: Problem) -> int:
        policy = problem.policy
        return max(round(policy.thin_width * problem.model.n_hidden), policy.thin_least_width)

    def _level(self, problem: Problem, progress: ThinProgress, nearly_exact: float) -> bool:
        """One level of the student at work, whose network joins the others; whether it was the last."""
        assert progress.rng is not None
        engine, policy, model = problem.on(progress.rows), problem.policy, problem.model

        def stop() -> bool:
            return problem.spent

        if progress.student is None:
            progress.flat, progress.left = 0, 1.0
            progress.student, progress.level = wide_student(engine, model, self._width(problem), progress.rng), 0
        decay = policy.thin_decay * policy.thin_lower**progress.level
        progress.student, loss = decayed(
            engine, model, progress.student, decay, iterations=policy.thin_iterations, stop=stop
        )
        progress.level += 1
        left = 2.0 * loss / problem.response_variance
        ended = left < policy.thin_least_left or progress.level == policy.thin_levels
        if left < policy.thin_most_left or ended or problem.spent:
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
            scarce = problem.is_scarce(engine.shape[0])
            ended = ended or (not scarce and progress.flat == policy.thin_flat)
        progress.left = left
        if ended:
            progress.student, progress.students = None, progress.students + 1
        return ended
