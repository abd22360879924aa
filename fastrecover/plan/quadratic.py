"""Quadratic networks: a spectral start, message passing where rows are scarce, and two ways out of wrong minima.

Message passing finds M from fewer rows than any descent, but relies on Gaussian ones.  Wider networks have fewer
spurious minima while the rows of X still make M unique, and adding one row of W at a time costs far less than beginning
with d of them.  Refinement keeps signs, of which noise hides those of weak units from a start: at the end such a unit
is exchanged for another where the residual asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..models import Parameters
from ..random import Stream
from ..solvers import DENSE_LIMIT_OF_FEW
from ..solvers.quadratic_cg import smallest_eigenvalue
from ..starts import StartError
from ..starts.spectral import definite, exchanges, narrower, wider
from ..sweeps import Objective
from .judge import Judge
from .problem import ALL, Candidate, Problem
from .refine import polished, refined
from .starting import found_start, refined_start
from .strategies import Progress

_CREDIBLE, _TOLD_APART = 0.003, 1.4  # the second in rows for each free number of M
# For each parameter: a sub-sample of fewer has local minima, and so have data of fewer where rows are of some laws.
_FEW_ROWS, _MANY_ROWS = 10, 20
_ATTEMPTS, _FAILURES = 8, 3  # for each guess of the signs; failures are counted in a row
_LOWER = 0.999  # of a loss, that counts as lower
_EXCHANGES, _ALIKE = 8, 1e-5  # tries of them, and the share of a loss up to which a minimum counts as the same
_STEPS = 16  # after which one that leads lower is lower
_CLEAR = 1.5  # times the largest eigenvalue that noise has: units that are larger are not taken for others


@dataclass
class SpectralProgress(Progress):
    """Where the search among wider networks is.

    Attributes
    ----------
    guess, attempt, failed : int
        Which guess of the signs, which attempt under it, and how many in a row have not lowered the loss.
    here : Candidate or None
        Minimum that the next attempt starts from.
    """

    guess: int = 0
    attempt: int = 0
    failed: int = 0
    here: Candidate | None = None


class Spectral:
    """Spectral start; where rows are scarce, message passing; then rows of W are added, minimised, and cut off.

    Of wider networks the leading eigenvalues are kept.  It ends at an exact fit, at a minimum whose loss no local one
    has, or after eight attempts or three in a row without a lower loss, for each guess of the signs: all positive,
    where no response is negative, and then unknown.  Where signs are unknown, weak units are
    exchanged at the end, until that leads no lower.
    """

    def begin(self, problem: Problem, judge: Judge, known: Sequence[Candidate]) -> SpectralProgress:
        """Before the start."""
        return SpectralProgress(rng=problem.generator(Stream.RESTART))

    def advance(self, problem: Problem, judge: Judge, known: Sequence[Candidate], progress: Progress) -> None:
        """The start, its refinement, or one attempt to get lower by way of a wider network."""
        assert isinstance(progress, SpectralProgress)
        self._look(problem, judge, progress)
        if progress.done:
            best, _, settled = exchanged(problem, progress.candidates[0], progress.candidates[0])
            progress.candidates = [best]
            progress.trusted = (progress.trusted and settled) or judge.is_exact(best)

    def _look(self, problem: Problem, judge: Judge, progress: SpectralProgress) -> None:
        assert progress.rng is not None
        progress.round += 1
        if progress.round == 1:
            cheap = problem.p <= DENSE_LIMIT_OF_FEW and problem.is_scarce(problem.n_rows(ALL))
            few = problem.policy.pncg_iterations_of_few if cheap else None
            found = refined_start(problem, judge, "spectral", few)[0]
            many = problem.n_rows(found.rows) >= _FEW_ROWS * problem.p and problem.n_rows(ALL) >= _MANY_ROWS * problem.p
            progress.candidates = [found]
            progress.trusted = judge.is_exact(found) or many
            progress.done = progress.trusted or problem.spent
            return
        start = progress.candidates[0]
        if progress.round == 2 and problem.is_scarce(problem.n_rows(start.rows)) and not self._is_done(problem, start):
            progress.candidates = [self._by_messages(problem, start)]
            progress.done = progress.trusted = judge.is_exact(progress.candidates[0])
            return
        if progress.here is None:
            progress.here = refined(problem, start.rows, start.model, start.state.theta, "added rows")
            progress.candidates = [progress.here]
            return
        best = progress.candidates[0]
        guesses = [problem.model]
        first = definite(problem.on(best.rows), problem.model)
        if first is not problem.model:
            guesses.insert(0, first)
        if self._is_done(problem, best) or progress.failed == _FAILURES or progress.attempt == _ATTEMPTS:
            progress.guess, progress.attempt, progress.failed = progress.guess + 1, 0, 0
            if progress.guess >= len(guesses):
                progress.done, few = True, problem.is_scarce(problem.n_rows(best.rows))
                # With more rows, if they are Gaussian, wider networks would have found a way down.
                progress.trusted = self._is_credible(problem, best) or not (few or problem.report.inputs)
                progress.candidates = [replace(best, label="spectral")]
            return
        guess = guesses[progress.guess]
        engine, here = problem.on(best.rows), progress.here
        at = wider(engine, guess, problem.parameters(here), 1 + progress.attempt // 2, progress.rng)
        fixed = here.model.changed(n_hidden=len(at.weights), output_weights=at.output_weights)
        scarce = problem.is_scarce(problem.n_rows(best.rows))
        most = problem.policy.pncg_iterations_of_wide if scarce else None
        passage = refined(problem, best.rows, fixed, fixed.pack(at), "added rows", most)
        model, theta = problem.with_signs(narrower(guess, problem.parameters(passage)))
        progress.here = here = refined(problem, best.rows, model, theta, "added rows")
        progress.attempt += 1
        progress.failed = 0 if here.state.loss < _LOWER * best.state.loss else progress.failed + 1
        if here.state.loss < best.state.loss:
            progress.candidates = [here]

    @staticmethod
    def _by_messages(problem: Problem, start: Candidate) -> Candidate:
        """What message passing leads to, where that is lower than what is known."""
        report, named = problem.report, problem.report.start
        try:
            model, theta = problem.with_signs(found_start(problem, start.rows, "message-passing"))
        except StartError:
            report.start = named
            return start
        found = refined(problem, start.rows, model, theta, "message-passing")
        if found.state.loss < start.state.loss:
            return found
        report.start = named
        return start

    def _is_done(self, problem: Problem, best: Candidate) -> bool:
        """Whether nothing more is to be looked for."""
        exact = problem.is_exact(best.state.loss)
        return exact or (best.state.converged and self._is_credible(problem, best)) or problem.spent

    @staticmethod
    def _is_credible(problem: Problem, candidate: Candidate) -> bool:
        """Whether the noise of a minimum is small beside what wrong rows leave.

        Minima below this loss are taken as global; spurious ones of planted problems with 1 to 5 rows left at least
        ``0.1 (1 - p / n)^2`` of the variance of y in fifty dimensions and 0.013 times the same square in twenty, p the
        free numbers of M (measured, not proved).  From hardly more rows than these they may leave a hundredth of that,
        and only exact fits are believed.  Those were teachers whose k eigenvalues l are alike, so that the variance is
        ``2 k l^2``; where rows are scarce, l is the smallest one, whose direction may be what is wrong.
        """
        objective: Objective = problem.objective(candidate)
        k, n = candidate.model.n_hidden, objective.n_rows
        free = objective.n_parameters - k * (k - 1) / 2
        size = objective.engine.response_variance()
        if problem.is_scarce(n):
            size = min(size, 2.0 * k * smallest_eigenvalue(candidate.model, problem.parameters(candidate)) ** 2)
        credible = 0.5 * _CREDIBLE * (1.0 - free / n) ** 2 * size
        return bool(n >= _TOLD_APART * free and candidate.state.loss <= credible)


def exchanged(problem: Problem, near: Candidate, found: Candidate) -> tuple[Candidate, Candidate, bool]:
    """The lowest minimum that exchanges of weak units for others lead to, of the other sign or the same one.

    Parameters
    ----------
    problem : Problem
    near : Candidate
        On the rows on which starts are refined.
    found : Candidate
        The same, or what has become of it on all rows.

    Returns
    -------
    near, found : Candidate
    settled : bool
        Whether the budget has let all be tried that were to be.
    """
    if problem.model.known_squares is not None or (found is not near and _is_clear(problem, near, found)):
        return near, found, True
    rng, tries = problem.generator(Stream.RESTART), 0
    while tries < _EXCHANGES and not problem.is_exact(found.state.loss):
        starts = _starts(problem, found, rng)
        if starts is None:
            return near, found, False
        for start in starts:
            tries += 1
            step = refined(problem, near.rows, *problem.with_signs(start), "other units", _STEPS)
            if found is near and step.state.loss > found.state.loss:  # most lead back, and the last steps are slow
                continue
            if not step.state.converged:
                step = refined(problem, near.rows, step.model, step.state.theta, "other units")
            step = replace(step, label=near.label)
            end = step if found is near else polished(problem, step)
            # A unit of the wrong sign may vanish, and leave steps without a matrix that has an inverse.
            ended = end.state.converged or not found.state.converged
            if ended and end.state.loss < (1.0 - _ALIKE) * found.state.loss:
                near, found = step, end
                break
        else:
            break
    return near, found, not (tries and problem.spent)


def _starts(problem: Problem, found: Candidate, rng: np.random.Generator) -> list[Parameters] | None:
    """Where refinement with other units begins; None where the budget is spent before that is known."""
    engine, at, loss = problem.on(found.rows), problem.parameters(found), found.state.loss
    return problem.monitor.attempt(lambda: exchanges(engine, problem.model, at, loss, rng))


def _is_clear(problem: Problem, near: Candidate, found: Candidate) -> bool:
    """Whether the rows of `near` were enough to tell every unit from noise, so that more say nothing of signs."""
    n, d = problem.on(near.rows).shape
    noise = math.sqrt(2.0 * found.state.loss * d / n)
    return smallest_eigenvalue(found.model, problem.parameters(found)) > _CLEAR * noise
