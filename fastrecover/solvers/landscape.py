"""Descent of the designed landscape G in place of the loss, as Ge, Lee and Ma (2017) run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .gradient import StochasticGradientDescent

#: Rows of a batch in the paper's experiments.
PUBLISHED_BATCH = 262_144
_STEPS = 2000


@dataclass(frozen=True)
class OnLandscape:
    """A solver on G from random rows, after which the weights are read out and nothing is refined.

    Attributes
    ----------
    solver : solver object, optional
        By default stochastic gradient descent with the paper's batches, its step cut by 4 in the second half.
    mu : float, optional
        Weight of the single term; by default 0.01 over the condition of the second moment.
    """

    solver: Any = None
    mu: float | None = None
    name: str = "landscape"

    def on(self, step_size: float) -> Any:
        """The solver, with a step below the inverse of the largest curvature where it takes one."""
        return self.solver or StochasticGradientDescent(step_size, PUBLISHED_BATCH, _STEPS)
