"""Ways to look for the minimum: each proposes candidates in rounds, and keeps where it is in a plain record.

A search asks a strategy for one round at a time, so it can be saved between any two and gone on with elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from ..models import Network, Parameters
from ..random import Stream
from ..solvers import minimise_many, newton_many
from ..starts import StartError, anchors, inertia, light_start, random_start
from ..sweeps import Objective
from .judge import Judge
from .problem import Candidate, Problem, Rows
from .refine import moved, refined, wants_factors
from .starting import refined_start
from .students import Chains, default_extra, expanded_starts, regrown

_DENSEST, _MANY = 8, 16  # units up to which many chains, and a few, run side by side
_STEEPEST = 4.0  # most expected length of a row whose kink lies at a row of the data; the least is 1
_RIDGE = 1e-4  # of the output weights of random units, some of which are nearly alike


@dataclass
class Progress:
    """Where a strategy is.

    Attributes
    ----------
    round : int
        Rounds done.
    done : bool
        Nothing further will be proposed.
    trusted : bool
        The best candidate is accepted; the search ends.
    candidates : list of Candidate
        What it has found.
    rng : Generator or None
    """

    round: int = 0
    done: bool = False
    trusted: bool = False
    candidates: list[Candidate] = field(default_factory=list)
    rng: np.random.Generator | None = None


class Strategy(Protocol):
    """A way to look for the minimum."""

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> Progress:
        """Where it is before the first round.

        Parameters
        ----------
        problem : Problem
        judge : Judge
        known : sequence of Candidate
            What earlier strategies found.
        """
        ...

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """One round, which moves `progress` on."""
        ...


class Moments:
    """The tensor start, refined: accepted where the minimum is close to it."""

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> Progress:
        """Before the start."""
        return Progress()

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """The one round there is."""
        progress.done = True
        try:
            candidate, start = refined_start(problem, judge, "tensor")
        except StartError as reason:
            problem.report.tensor = str(reason)
            return
        progress.candidates, progress.trusted = [candidate], judge.is_trusted(candidate, start)


class Restarts:
    """Random starts side by side, the two best refined, until the lowest minimum has been found twice.

    Parameters
    ----------
    count : int, optional
        So many starts and no more, whose best is taken as it is.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> Progress:
        """Before the first round."""
        return Progress(rng=problem.generator(Stream.RESTART))

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """One round; none where something is known and the budget is spent."""
        assert progress.rng is not None
        policy = problem.policy
        most = 8 * policy.restarts if self.count is None else policy.most_at_once
        at_once = int(np.clip(policy.restart_numbers // problem.p, policy.restarts, most))
        left = at_once if self.count is None else self.count - progress.round * at_once
        if not (problem.spent and (known or progress.candidates)):
            progress.round += 1
            pair = self._round(problem, progress.rng, f"random restarts {progress.round}", min(at_once, left))
            rows = widest(problem, known)
            progress.candidates += [moved(problem, candidate, rows) for candidate in pair]
            if self.count is not None:
                progress.done = progress.trusted = left <= at_once or judge.is_exact(judge.best(progress.candidates))
                return
            if judge.agree([*progress.candidates, *known]):
                progress.done = progress.trusted = True
                return
            if progress.round < policy.restart_rounds and not problem.searched_enough:
                return
        progress.done = True
        if progress.candidates:
            progress.trusted = judge.is_plausible(min(progress.candidates, key=lambda c: c.state.loss))

    @classmethod
    def _round(cls, problem: Problem, rng: np.random.Generator, stage: str, count: int) -> list[Candidate]:
        policy, rows = problem.policy, problem.base
        starts = cls._starts(problem, rng, count)
        signed = problem.with_signs(starts[0])[0]
        objective = Objective(problem.on(rows), signed)
        v = None if signed.known_v is None else np.array([start.output_weights for start in starts])
        packed = np.array([signed.pack(start) for start in starts])
        thetas, losses = cls._minimised(problem, objective, packed, v, stage)
        if not problem.restarts:
            problem.monitor.record(objective, stage, float(losses.min()))
        found = []
        for at in np.argsort(losses)[: 1 if problem.restarts else policy.finished]:
            own = signed if v is None else signed.with_output_weights(v[at])
            found.append(refined(problem, rows, own, thetas[at], stage))
        return found

    @staticmethod
    def _minimised(
        problem: Problem, objective: Objective, thetas: np.ndarray, v: np.ndarray | None, stage: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """All starts side by side: by their matrices where these are small, else by gradients.

        Where the best of so many is asked for, each pass that takes the lowest of its runs lower is a step of the fit.
        """
        policy, lowest = problem.policy, np.inf

        def tell(thetas: np.ndarray, losses: np.ndarray, v: np.ndarray | None = v) -> None:
            nonlocal lowest
            best = int(np.argmin(losses))
            if problem.restarts and losses[best] < lowest:
                lowest = losses[best]
                own = objective if v is None else objective.with_model(objective.model.with_output_weights(v[best]))
                problem.monitor.record(own, stage, float(losses[best]), theta=thetas[best].copy())

        if wants_factors(problem, objective, len(thetas)):
            run = partial(
                newton_many, objective, exact_loss=problem.exact_loss, stop=lambda: problem.spent, tol=problem.tol
            )
            halved = policy.halved_after if problem.restarts else 0
            thetas, losses = run(
                thetas, iterations=policy.newton_iterations, output_weights=v, halved=halved, tell=tell
            )
            if problem.restarts and losses.min() > problem.exact_loss:  # the best go on
                top = np.argsort(losses)[: policy.best_of_many]
                own = None if v is None else v[top]
                thetas[top], losses[top] = run(
                    thetas[top], iterations=policy.best_iterations, output_weights=own, tell=partial(tell, v=own)
                )
            return thetas, losses
        return minimise_many(
            objective,
            thetas,
            iterations=policy.restart_iterations,
            memory=10,
            exact_loss=problem.exact_loss,
            own=v,
            stop=lambda: problem.spent,
            tell=tell,
        )

    @staticmethod
    def _starts(problem: Problem, rng: np.random.Generator, count: int) -> list[Parameters]:
        """Random rows with signs around the inertia of the second moment; or, with biases, kinks at rows of the data.

        Where the best of so many is asked for, output weights are those of least squares.
        """
        model, engine = problem.model, problem.on(problem.base)
        alone = model.n_outputs == 1 and model.loss.in_response_units
        positive, d = None, engine.shape[1]
        if model.known_v is None and model.activation.parity != "odd" and alone and not problem.restarts:
            rng_moments = problem.generator(Stream.START)
            positive = problem.monitor.attempt(lambda: inertia(engine, model.n_hidden, rng_moments))
        starts, at = [], anchors(engine, model, rng)
        for i in range(count):
            # The inertia of a noisy moment is off by one now and then: half the starts allow for it.
            shift = rng.integers(-1, 2) * (i % 2)
            near = None if positive is None else int(np.clip(positive + shift, 0, model.n_hidden))
            scale = 1.5 if at is None else _STEEPEST ** rng.uniform()
            starts.append(random_start(model, d, rng, scale=scale, positive=near, at=at))
        if not (model.free_v and model.is_separate and (problem.restarts or at is not None)):
            return starts
        free = Objective(engine, model)
        thetas = free.with_fitted_outputs(np.array([model.pack(start) for start in starts]), _RIDGE)
        fitted = [model.unpack(theta, d) for theta in thetas]
        if model.ends_at_kinks:
            fitted[1::2] = [light_start(model, d, rng) for _ in fitted[1::2]]
        return [start.absorbed(model.activation) if model.absorbs else start for start in fitted]


@dataclass
class ExpandProgress(Progress):
    """Where growing and pruning is.

    Attributes
    ----------
    rows : Rows
        What the students see.
    noisy : bool
        Whether something known leaves noise alone.
    chains : Chains or None
        Minima so far, grown and pruned in every round.
    flat : int
        Rounds in a row without a gain.
    shown : Network or None
        Model whose losses the history shows.
    """

    rows: Rows = ()
    noisy: bool = False
    chains: Chains | None = None
    flat: int = 0
    shown: Network | None = None


class Expand:
    """Wide students, pruned, then rounds that grow and prune the minima found, until one is exact or convincing.

    Parameters
    ----------
    after_walks : bool
        Whether walks over minima have failed before, after which scarce rows get no more rounds than others.
    """

    def __init__(self, *, after_walks: bool = False) -> None:
        self.after_walks = after_walks

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> ExpandProgress:
        """Before the first students."""
        rows, policy = problem.base, problem.policy
        noisy = any(judge.is_noise(c) for c in known)
        if not known:
            # On few of many rows the noise is fitted; where moments have failed there may be some.
            rows = problem.drawn(rows, max(policy.rows_to_expand * problem.p, policy.fewest_rows), Stream.SCARCE)
        return ExpandProgress(rng=problem.generator(Stream.RESTART), rows=rows, noisy=noisy)

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """Grow and prune, and where that has led somewhere, or nowhere, refine the two lowest and judge them."""
        assert isinstance(progress, ExpandProgress) and progress.rng is not None
        engine, model, policy = problem.on(progress.rows), problem.model, problem.policy
        (n, d), nearly_exact = engine.shape, policy.nearly_exact * problem.response_variance
        scarce = problem.is_scarce(n)
        if progress.chains is None:
            progress.chains = chains = self._first(problem, known, progress, nearly_exact)
        else:
            before = progress.chains.losses[0]
            progress.chains = chains = regrown(
                engine,
                model,
                progress.chains,
                progress.rng,
                extra=self._extra(problem),
                exact_loss=nearly_exact,
                stop=lambda: problem.spent,
            )
            # One more unit fits some noise.
            gain = max(policy.gain, policy.gain_of_noise * d / n) if progress.noisy else policy.gain
            progress.flat = progress.flat + 1 if chains.losses[0] > (1.0 - gain) * before else 0
        progress.round += 1
        stage, lowest = f"expand {progress.round}", float(chains.losses[0])
        assert progress.shown is not None
        problem.monitor.record(Objective(engine, progress.shown), stage, lowest)
        rounds = policy.scarce_rounds if scarce and not self.after_walks else policy.expand_rounds
        last = progress.round == rounds or progress.flat == policy.patient_rounds or problem.spent
        last = last or problem.searched_enough
        alike = chains.losses[-1] <= (1.0 + policy.gain) * lowest  # from wherever a chain begins it ends here
        if not (lowest <= nearly_exact or alike or progress.flat == policy.flat_rounds or last):
            return
        pair = [refined(problem, progress.rows, *problem.with_signs(one), stage) for one in chains.parameters[:2]]
        rows = widest(problem, known)
        progress.candidates = [moved(problem, candidate, rows) for candidate in pair]
        best = min(progress.candidates, key=lambda c: c.state.loss)
        # Chains that were far apart and are then refined to one minimum have only met in it.
        convincing = not scarce and len(chains) > 1 and chains.losses[1] <= policy.together * lowest
        progress.trusted = judge.is_plausible(best) or (convincing and judge.agree(progress.candidates))
        progress.done = progress.trusted or last or progress.noisy

    @staticmethod
    def _extra(problem: Problem) -> int:
        """Units by which students grow in a round."""
        model, k = problem.model, problem.model.n_hidden
        kinked = model.hidden_bias and model.activation.degree is not None and k >= _DENSEST
        return problem.policy.more_units if kinked or k >= _MANY else 1

    @staticmethod
    def _first(problem: Problem, known: Sequence[Candidate], progress: ExpandProgress, nearly_exact: float) -> Chains:
        assert progress.rng is not None
        engine, model = problem.on(progress.rows), problem.model
        d = engine.shape[1]
        count, width = students_at_once(problem, progress.rows)
        progress.shown = problem.with_signs(random_start(model, d, progress.rng))[0]
        chains = expanded_starts(
            engine,
            model,
            progress.rng,
            count=count,
            width=width,
            exact_loss=nearly_exact,
            stop=lambda: problem.spent,
        )
        for candidate in known:
            loss = problem.objective(candidate).on(engine).value(candidate.state.theta)
            chains = chains.joined(problem.parameters(candidate), loss)
        return chains


def students_at_once(problem: Problem, rows: Rows) -> tuple[int, int]:
    """How many students are grown and pruned side by side on some rows, and of how many units the first ones are."""
    (n, d), k, policy = problem.on(rows).shape, problem.model.n_hidden, problem.policy
    scarce = problem.is_scarce(n)
    count = 64 if scarce else 32 if k < _DENSEST else 16 if k < _MANY else 8
    width = k + 1 if scarce else k + default_extra(n, d, k, most=k)
    return int(np.clip(policy.round_work / (800.0 * width * n * d), policy.fewest_chains, count)), width


def widest(problem: Problem, known: Sequence[Candidate]) -> Rows:
    """Rows that earlier candidates were refined on, which may be more than the first sub-sample."""
    return max([problem.base, *(c.rows for c in known)], key=problem.n_rows)
