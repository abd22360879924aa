"""Descent on batches that are taken once and never seen again."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..engines import Engine
from ..sweeps import Objective
from .gradient import StochasticGradientDescent
from .state import State


class FreshRows(Protocol):
    """Batches in turn, an engine for each."""

    @property
    def engine(self) -> Engine:
        """On the last batch that was taken."""
        ...

    @property
    def taken(self) -> int:
        """Batches so far, at least one."""
        ...

    def advance(self) -> bool:
        """Take the next batch; False where there is none."""
        ...


class OnFreshRows:
    """A stochastic solver whose every step takes a batch of its own, the first one that which it began on.

    Parameters
    ----------
    solver : StochasticGradientDescent
        Its steps are taken on whole batches.
    batches : FreshRows
    """

    sampled = True

    def __init__(self, solver: StochasticGradientDescent, batches: FreshRows) -> None:
        self.solver, self.batches, self.name = solver, batches, solver.name

    def begin(self, objective: Objective, theta: np.ndarray) -> State:
        """State at theta, on the batch at hand."""
        return self.solver.begin(objective.on(self.batches.engine), theta)

    def step(self, objective: Objective, state: State) -> State:
        """One step on the next batch; at the end the loss on the last one."""
        batches, taken = self.batches, state.memory["taken"]
        if taken == self.solver.steps:
            message = f"all {taken} steps were taken"
        elif taken and not batches.advance():
            message = f"the batches of X ended after {batches.taken}"
        else:
            return self.solver.moved(objective.on(batches.engine), state)
        return self.solver.finished(objective.on(batches.engine), state, message)
