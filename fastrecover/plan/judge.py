"""Is a minimum the one that was looked for?  All questions about candidates are answered here.

A fit is believed where it is exact, where the moments that it began from lie so close that they vouch for it, where
several starts end at the lowest minimum, or where it leaves noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..linalg import damped_solve
from ..models import Parameters
from ..random import Stream
from ..solvers import DENSE_LIMIT, GaussianCurvature
from ..sweeps import Objective
from .problem import ALL, Candidate, Problem
from .residual import judge_residual

DOUBT = (
    "the lowest minimum was found only once, and its residual is not noise or the rows are too few to tell: another "
    "may be lower, or the responses come from another model"
)
ONCE = "the lowest minimum was found only once: another may be lower"
UNJUDGED = " before the minimum could be judged: another may be lower"
ALONE = "; a local minimum, not judged"
MISFIT = "; its residual is not noise: more units, or another model, would fit better"


class Judge:
    """Accepts or rejects candidates of one problem.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.policy, self.loss = problem, problem.policy, problem.model.loss

    @property
    def is_testable(self) -> bool:
        """Whether what a fit leaves of the responses can be compared with noise."""
        model = self.problem.model
        return model.n_patches == 1 and model.n_outputs == 1 and self.loss.least_squares

    def is_exact(self, candidate: Candidate) -> bool:
        """Whether its loss is at the level of rounding."""
        return self.problem.is_exact(candidate.state.loss)

    def is_plausible(self, candidate: Candidate, level: float | None = None) -> bool:
        """Whether it is exact, or nothing speaks against it: rows to spare, and a residual that is noise.

        Parameters
        ----------
        candidate : Candidate
        level : float, optional
            Chance of calling noise a misfit, by default the policy's.

        Returns
        -------
        bool
        """
        if self.is_exact(candidate):
            return True
        filters = self.loss.least_squares and self.problem.model.n_patches > 1  # of which there is one
        if not (self.is_testable or filters):
            return False
        well = candidate.state.converged and self._well_separated(self.problem.parameters(candidate))
        return self._has_rows(candidate) and well and not self.misfit(candidate, level)

    def is_noise(self, candidate: Candidate) -> bool:
        """Whether rows enough to tell leave a residual that is large and looks like noise."""
        large = candidate.state.loss > self.policy.noisy * self.problem.response_variance
        return self._has_rows(candidate) and large and self.misfit(candidate) is False

    def misfit(self, candidate: Candidate, level: float | None = None) -> bool | None:
        """Whether the residual is more than noise; None where there are too few rows to tell."""
        if not self.is_testable:
            return None
        if not candidate.judged:  # the tests sweep the rows, so they are made once and only when asked for
            engine, act = self.problem.on(candidate.rows), candidate.model.activation
            found, loss = self.problem.parameters(candidate), candidate.state.loss
            seed = self.problem.seed(Stream.JUDGE)
            candidate.verdict = self.problem.monitor.attempt(lambda: judge_residual(engine, act, found, loss, seed))
            candidate.judged = True
        level = self.policy.misfit_level if level is None else level
        return None if candidate.verdict is None else candidate.verdict.misfit(level)

    def is_poorly_determined(self, candidate: Candidate) -> bool:
        """Whether the rows hardly determine a minimiser: not reached, mostly noise, or with units saturated."""
        if self.is_exact(candidate):
            return False
        noise = self.policy.mostly_noise * self.problem.response_variance
        if self.loss.in_response_units and candidate.state.loss > noise:
            return True
        return self._is_saturated(candidate) or not candidate.state.converged

    def runs_off(self, candidate: Candidate) -> bool:
        """Whether weights of one output fit noise on their way to infinity: units that are steps, or cancel each other.

        Units cancel that are far larger than the responses, or nearly parallel pairs of opposite signs, each of which
        does more than all responses vary.
        """
        found, act = self.problem.parameters(candidate), candidate.model.activation
        size = np.linalg.norm(found.rows, axis=1)
        unit = found.rows / np.maximum(size, 1e-300)[:, None]
        amplitude = found.sizes * (np.minimum(size, 1.0) if self.problem.is_bounded else size ** (act.degree or 1))
        amplitude /= np.sqrt(self.problem.response_variance)
        cosines, signs = unit @ unit.T, np.sign(np.outer(found.output_weights, found.output_weights))
        # What a unit does at -w is what it does at w, the opposite, or something else.
        if act.parity == "odd":
            signs = signs * np.sign(cosines)
        alike = (cosines if act.parity is None else np.abs(cosines)) > self.policy.cancelling_cosine
        against = alike & (signs < 0) & (np.minimum.outer(amplitude, amplitude) > 1.0)
        return self._is_saturated(candidate) or bool(against.any() or amplitude.max() > self.policy.cancelling_size)

    def is_trusted(self, candidate: Candidate, start: Parameters) -> bool:
        """Whether it is exact, or so close to its start that the moments themselves vouch for it."""
        if self.is_exact(candidate):
            return True
        found, model, policy = self.problem.parameters(candidate), self.problem.model, self.policy
        if model.is_quadratic_form:  # of which there is one minimum where rows are many
            many = self.problem.n_rows(ALL) >= policy.rows_per_parameter * self.problem.p
            return bool(many and candidate.state.converged)
        if not self.loss.of_output:
            # Labels leave many rows between a moment and the optimum, and lower minima lie far out.
            return not self.is_poorly_determined(candidate) and self._well_separated(found)
        moved = model.apart(found, start)
        # Nearly parallel units have wrong minima whose residual no test of few projections tells from noise.
        close = moved < (policy.close_third if model.activation.subspace_order == 3 else policy.close_second)
        # Of many parameters moments vouch late; what is far less than one unit does hides none that is wrong.
        little = policy.little_of_a_unit * self.problem.response_variance / model.n_hidden
        close = close or (self.problem.p > policy.large and 2.0 * candidate.state.loss < little)
        # A tiny unit may be what is left where another has taken the place of two nearly parallel ones.
        size = np.linalg.norm(found.weights, axis=1)
        clear = _condition(found) < policy.parallel and size.min() > policy.tiny * np.median(size)
        return bool(close and clear and self.is_plausible(candidate, policy.suspicious))

    def leaves_more(self, found: Candidate, best: Candidate) -> bool:
        """Whether what is left is worth a note, on all rows where these are not many more than the sub-sample's."""
        many = self.problem.n_rows(ALL) > self.policy.judged_again * self.problem.n_rows(best.rows)
        few = found.rows == ALL and (many or self.problem.p > self.policy.large)
        return bool(self.misfit(best if few else found, self.policy.worth_a_note))

    def of_one(self, candidate: Candidate) -> str:
        """What is said of a minimum that was compared with no other: nothing where it leaves noise alone."""
        if self.problem.spent:
            return ALONE
        few = self._on_few(candidate)
        if self.misfit(few):
            return ALONE[: ALONE.index(",")] + MISFIT
        return "" if self.is_plausible(few) else ALONE

    def _on_few(self, candidate: Candidate) -> Candidate:
        """The same network on the rows of the first sub-sample, where there are more: enough to be judged on."""
        problem, base = self.problem, self.problem.base
        if candidate.rows or candidate.rows == base:
            return candidate
        loss = Objective(problem.on(base), candidate.model).value(candidate.state.theta)
        return replace(candidate, rows=base, state=replace(candidate.state, loss=loss), judged=False)

    def agree(self, candidates: Sequence[Candidate]) -> bool:
        """Whether one of them is exact, or the lowest minimum was found more than once."""
        losses = sorted(c.state.loss for c in candidates if c.state.converged)
        if not losses:
            return self.loss.separable  # more starts do not make infinite weights finite
        twice = len(losses) > 1 and losses[1] <= losses[0] * (1.0 + self.policy.agree)
        return twice or self.problem.is_exact(losses[0])

    def best(self, candidates: Sequence[Candidate]) -> Candidate:
        """The lowest of those that converged; units that cancel each other to fit noise go last."""
        return min(candidates, key=self._rank)

    def agreeing(self, best: Candidate, candidates: Sequence[Candidate]) -> int:
        """How many candidates have the loss of the best one."""
        highest = (1.0 + self.policy.agree) * best.state.loss
        return sum(c.state.loss <= highest or self.is_exact(c) for c in candidates)

    def check_maximum(self, candidate: Candidate) -> None:
        """Mark a fit as not converged whose likelihood has no maximum.

        Such a likelihood flattens out: the gradient vanishes, but the Newton step stays long.  With a penalty there
        is one.
        """
        problem, state = self.problem, candidate.state
        if problem.model.penalty or not (self.loss.separable and state.converged and problem.p <= DENSE_LIMIT):
            return
        objective, curvature = problem.objective(candidate), state.memory.get("preconditioner")
        if isinstance(curvature, GaussianCurvature):
            step = curvature.apply(state.grad)
        else:
            matrix = state.memory.get("matrix")
            if matrix is None:
                few = max(self.policy.rows_per_labelled_parameter * problem.p, self.policy.fewest_rows)
                sample = problem.engine.sample(few, problem.seed(Stream.SAMPLE))
                matrix = Objective(sample, candidate.model).gauss_newton(state.theta)[2]
            step = damped_solve(matrix, state.grad, 0.0)
        if np.linalg.norm(step) > self.policy.long_step * np.linalg.norm(state.theta):
            state.converged, state.message = False, objective.divergence_message

    def _rank(self, candidate: Candidate) -> tuple[bool, bool, float]:
        noise = self.policy.noisy * self.problem.response_variance
        cancelling = candidate.state.loss > noise and not self._well_separated(self.problem.parameters(candidate))
        return not candidate.state.converged, cancelling, candidate.state.loss

    def _has_rows(self, candidate: Candidate) -> bool:
        policy, p = self.policy, self.problem.p
        each = policy.rows_to_trust if p <= policy.large else policy.rows_to_trust_of_many
        return self.problem.n_rows(candidate.rows) >= each * p

    def _is_saturated(self, candidate: Candidate) -> bool:
        """Whether a unit without a degree has weights so long that it is a step, or a kink."""
        size = np.linalg.norm(self.problem.parameters(candidate).weights, axis=1)
        return bool(candidate.model.activation.degree is None and size.max() > self.policy.saturated)

    def _well_separated(self, found: Parameters) -> bool:
        """No two units nearly parallel, none far larger than the others: the marks of units that cancel."""
        rows = found.rows
        size = np.linalg.norm(rows, axis=1)
        unit = rows / np.maximum(size, 1e-300)[:, None]
        cosines = np.abs(unit @ unit.T - np.eye(len(unit)))
        amplitude = found.sizes * size
        apart = cosines.max(initial=0.0) < self.policy.cancelling_cosine
        return bool(apart and amplitude.max() <= self.policy.cancelling_size * np.median(amplitude))


def _condition(found: Parameters) -> float:
    rows = found.rows
    size = np.linalg.norm(rows, axis=1)
    values = np.linalg.svd(rows / np.maximum(size, 1e-300)[:, None], compute_uv=False)
    return float(values[0] / max(values[-1], 1e-300))
