"""Descent of the designed landscape G in place of the loss, as Ge, Lee and Ma (2017) run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .gradient import StochasticGradientDescent

#: Rows of a batch in the paper's experiments.
PUBLISHED_BATCH = 262_144
_STEPS, _MOST_STEPS = 500, 20_000
_UNITS = 10  # up to which batches of that size need no smaller step


@dataclass(frozen=True)
class OnLandscape:
    """A solver on G from random rows, after which the weights are read out and nothing is refined.

    Attributes
    ----------
    solver : solver object, optional
        By default stochastic gradient descent with the paper's batches, rows projected to unit length after each
        step, and the step cut by 4 at every eighth of the second half.
    mu : float
        Weight of the single term, in (0, 12): the noise of raw moments acts on it less than on the pairs.
    """

    solver: Any = None
    mu: float = 6.0
    name: str = "landscape"

    def on(self, step_size: float, n_hidden: int, n_rows: int) -> Any:
        """The solver for batches of at most so many rows.

        Parameters
        ----------
        step_size : float
            What a batch without noise allows.
        n_hidden, n_rows : int
        """
        if self.solver is not None:
            return self.solver
        # The variance of a gradient grows like the fourth power of the units, and falls with the rows of a batch.
        calm = min(1.0, min(n_rows, PUBLISHED_BATCH) / PUBLISHED_BATCH * (_UNITS / n_hidden) ** 4)
        steps = min(round(_STEPS / calm), _MOST_STEPS)
        return StochasticGradientDescent(step_size * calm, PUBLISHED_BATCH, steps)

    def wanted(self, n_hidden: int) -> int:
        """Rows of all steps, each drawn for one step alone as published."""
        solver = self.on(1.0, n_hidden, PUBLISHED_BATCH)
        return getattr(solver, "batch_size", PUBLISHED_BATCH) * getattr(solver, "steps", 1)
