"""The search through wide students under weight decay: walks over the networks that they lead to, until one is exact.

A student is trained under a decay, its units are merged to the model's, and these are trained without.  The next one
begins at the network that this has led to, each unit in a few copies turned at random, under a decay of another
strength: where a network is near the truth in some units, its students find others, and few rows, which leave many
minima around the truth, are left behind one by one (basin hopping: Wales and Doye 1997).  A walk goes on from what is
lower, and now and then from what is a little higher, so that it leaves minima that none around is below.

Where rows are scarce an exact fit alone ends the search, since they say nothing of any other; with more of them, or
under a penalty, two walks that agree do as well.  What all students may cost is bounded; growing and pruning follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from ..models import Network, Parameters
from ..random import Stream
from ..solvers import LBFGS
from ..sweeps import Objective
from .decay import decays_of, multiplied, narrowed, oriented, wide_student
from .judge import Judge
from .policy import Decay, Walks
from .problem import Candidate, Problem
from .refine import refined
from .strategies import Progress, students_at_once
from .students import Chains
from .training import trained

_ROUND = 200  # least gradients of a network in a round of growing and pruning


@dataclass
class ThinProgress(Progress):
    """Where thinning is.

    Attributes
    ----------
    allowed, taken : float
        Gradients of one unit that all students may take, and those that they have taken.
    linear : bool
        Whether the walks have a linear term that the model has not.
    walks : Chains
        The networks that walks side by side have come to; none before the first students.
    groups : int
        Walks side by side that have been left.
    flat : int
        Steps in a row that have led no lower.
    best : tuple of float and Parameters, or None
        Lowest loss of all, and its network, with no linear term that the model has not.
    """

    allowed: float = 0.0
    taken: float = 0.0
    linear: bool = False
    walks: Chains = field(default_factory=Chains.none)
    groups: int = 0
    flat: int = 0
    best: tuple[float, Parameters] | None = None

    def leave(self) -> None:
        """Be done with the walks at work."""
        self.walks, self.groups, self.flat = Chains.none(), self.groups + 1, 0


class Thin:
    """Walks over networks that wide students under decay lead to, until one is exact or the budget spent."""

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> ThinProgress:
        """Before the first students: what all of them may cost."""
        policy, k = problem.policy, problem.model.n_hidden
        passes = min(_ROUND * policy.expand_rounds, problem.allowance - problem.passes_of_search)
        least = students_at_once(problem, problem.base)[0] * k * passes
        allowed = max(policy.thin_share * least, policy.thin_gradients * max(self._at_once(problem), 2) * k)
        return ThinProgress(rng=problem.generator(Stream.DECAY), allowed=allowed)

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """A step of every walk, and what is made of the networks that they come to."""
        assert isinstance(progress, ThinProgress)
        policy = problem.policy
        progress.round += 1
        stage = f"thin {progress.round}"
        self._step(problem, progress)
        progress.done = problem.spent or progress.taken >= progress.allowed
        lowest = float(progress.walks.losses[0])
        near = lowest <= self._near(problem)
        found, shown, theta = self._shown(problem, progress, 0)
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
                if progress.trusted or problem.spent or problem.model.penalty is not None:  # under which none is exact
                    break
            progress.candidates.append(replace(candidate, leads=False))
            progress.trusted = progress.trusted or self._agree(problem, judge, progress)
            progress.done = progress.done or len(progress.candidates) >= policy.thin_candidates
            progress.walks = progress.walks.without_first()  # a wrong minimum so low leads nowhere else
            left = not len(progress.walks)
        elif left := progress.flat >= self._patience(problem, progress):
            if not self._scarce(problem):
                for i in range(min(2, len(progress.walks))):
                    _, shown, theta = self._shown(problem, progress, i)
                    candidate = refined(problem, problem.base, shown, theta, stage)
                    progress.candidates.append(replace(candidate, leads=False))
                progress.trusted = self._agree(problem, judge, progress)
        if left:
            progress.leave()
            if not self._scarce(problem):
                walks = progress.groups * self._at_once(problem)
                progress.done = progress.done or walks >= policy.thin_walks
        progress.done = progress.done or progress.trusted
        if progress.done and not progress.candidates:  # to steps with matrices it is not worth their cost
            shown, theta = problem.with_signs(progress.best[1])
            with self._taking(problem, progress, problem.model.n_hidden):
                objective = objective.with_model(shown)
                state = problem.run(LBFGS(), objective, theta, stage, policy.iterations)
            progress.candidates = [Candidate(state, shown, problem.base, stage, leads=False)]

    @classmethod
    def _agree(cls, problem: Problem, judge: Judge, progress: ThinProgress) -> bool:
        """Whether two walks have led to the lowest minimum, which tells something where rows are not scarce."""
        return not cls._scarce(problem) and len(progress.candidates) > 1 and judge.agree(progress.candidates)

    @staticmethod
    def _shown(problem: Problem, progress: ThinProgress, i: int) -> tuple[Parameters, Network, np.ndarray]:
        """What a walk has come to, as a network of the model, the model with its signs, and its parameters."""
        found = progress.walks.parameters[i]
        found = oriented(found, problem.model.activation) if progress.linear else found
        return found, *problem.with_signs(found)

    @staticmethod
    def _near(problem: Problem) -> float:
        return problem.policy.thin_near * problem.response_variance

    @classmethod
    def _decay(cls, problem: Problem) -> Decay:
        policy = problem.policy
        if problem.is_bounded:
            return policy.thin_decay_of_bounded
        if problem.model.activation.degree == 2:
            return policy.thin_decay_of_squares
        return policy.thin_decay_of_few if cls._scarce(problem) else policy.thin_decay

    @staticmethod
    def _has_linear(problem: Problem, progress: ThinProgress) -> bool:
        """Whether the next walks have a linear term: every other time, where units may be reversed beside it."""
        policy, model, (n, d) = problem.policy, problem.model, problem.on(problem.base).shape
        if model.linear_term or model.penalty is not None or model.activation.odd_slope is None:
            return False
        if n < policy.thin_least_linear * (problem.p + d):
            return False
        first = n >= policy.thin_linear * (problem.p + d)
        return first == (progress.groups % 2 == 0)

    @staticmethod
    def _scarce(problem: Problem) -> bool:
        return problem.is_scarce(problem.n_rows(problem.base))

    @classmethod
    def _walks(cls, problem: Problem) -> Walks:
        return problem.policy.thin_as_of_few if cls._scarce(problem) else problem.policy.thin_as

    @classmethod
    def _patience(cls, problem: Problem, progress: ThinProgress) -> int:
        """Steps in a row that lead no lower after which walks are left: ever more, since a walk may be long."""
        return cls._walks(problem).patience << (progress.groups // 2 if cls._scarce(problem) else 0)

    @classmethod
    def _at_once(cls, problem: Problem) -> int:
        """Walks side by side: as many as share what a pass costs beside its sums, where the first is not enough."""
        policy, model, (n, d) = problem.policy, problem.model, problem.on(problem.base).shape
        share = policy.thin_small / (n * d * policy.thin_copies * model.n_hidden)
        return int(np.clip(share, 1, cls._walks(problem).at_once))

    @staticmethod
    @contextmanager
    def _taking(problem: Problem, progress: ThinProgress, units: float) -> Iterator[Callable[[], bool]]:
        """Count the passes within as those of so many units, and yield what says whether to stop."""
        meter = problem.engine.meter
        began = meter.passes
        yield lambda: problem.spent or progress.taken + units * (meter.passes - began) >= progress.allowed
        problem.uncounted += meter.passes - began
        progress.taken += units * (meter.passes - began)

    def _step(self, problem: Problem, progress: ThinProgress) -> None:
        """One step of every walk, or where there is none, the first students of new ones."""
        assert progress.rng is not None
        engine, policy, model, rng = problem.on(problem.base), problem.policy, problem.model, progress.rng
        decay, before, copies = self._decay(problem), progress.walks, policy.thin_copies
        begins = not len(before)
        if begins:
            progress.linear = self._has_linear(problem, progress)
        if progress.linear:
            model = model.changed(linear_term=True)
        k = model.n_hidden
        if begins:
            count, steps, widths = self._at_once(problem), decay.steps, policy.thin_widths
            spread = np.resize(np.roll(policy.thin_spread, -progress.groups), count)
            rates, students = decay.first * spread, [wide_student(engine, model, copies * k, rng) for _ in range(count)]
        else:
            count, steps, widths = len(before), policy.thin_steps, policy.thin_widths_again
            low, high = np.log(decay.again)
            rates = np.exp(rng.uniform(low, high, count))
            students = [multiplied(one, engine, model, copies, policy.thin_away, rng) for one in before.parameters]
        decays, near = decays_of(engine, model, rates), self._near(problem)
        with self._taking(problem, progress, count * copies * k) as stop:
            students = trained(engine, model, students, steps, stop=stop, decays=decays)[0]
        with self._taking(problem, progress, count * widths[0] * k) as stop:
            found, losses = narrowed(
                engine,
                model,
                students,
                decays,
                widths=widths,
                between=policy.thin_between,
                iterations=policy.thin_iterations,
                exact_loss=near,
                stop=stop,
            )
        lowest, best = before.losses.min(initial=np.inf), int(np.argmin(losses))
        if near < losses[best] < min(policy.thin_close * problem.response_variance, lowest):
            with self._taking(problem, progress, k) as stop:  # which may be slow to become exact
                (found[best],), losses[[best]] = trained(
                    engine, model, [found[best]], policy.thin_further, exact_loss=near, stop=stop
                )
        progress.flat = 0 if losses[best] <= self._walks(problem).gain * lowest else progress.flat + 1
        progress.walks = self._followed(before, found, losses, policy.thin_heat * rng.exponential(size=count))

    @staticmethod
    def _followed(before: Chains, found: Sequence[Parameters], losses: np.ndarray, heat: np.ndarray) -> Chains:
        """Where walks go on from: what is lower, or higher by less than the heat of each, relative to the lowest.

        The lowest of all goes lower only.
        """
        if not len(before):
            return Chains.of(found, losses)
        most = before.losses + before.losses[0] * heat
        most[0] = before.losses[0]
        goes = losses < most
        kept = [new if on else old for new, old, on in zip(found, before.parameters, goes, strict=True)]
        return Chains.of(kept, np.where(goes, losses, before.losses))
