"""Where a solver is, as plain data, and what the loop needs of a solver.

A solver is ``begin(objective, theta) -> State`` and ``step(objective, state) -> State``; everything that it must
remember is in the state, so a run can be stopped, saved between any two steps and continued by another process with a
solver made afresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from ..sweeps import Function

F = TypeVar("F", bound=Function, contravariant=True)


@dataclass(eq=False)
class State:
    """Where a solver is.

    Attributes
    ----------
    theta, grad : ndarray (n_parameters,)
    loss : float
    decrement : float
        Newton decrement ``sqrt(g' B^-1 g)`` with the solver's curvature model B: the distance to the minimiser
        in the metric of the loss; inf where the solver cannot tell.
    iteration, stalled : int
    converged, stopped : bool
    message : str
    memory : dict
        What the solver itself remembers: numbers, arrays and records of these.
    """

    theta: np.ndarray
    loss: float
    grad: np.ndarray
    decrement: float = np.inf
    iteration: int = 0
    stalled: int = 0
    converged: bool = False
    stopped: bool = False
    message: str = ""
    memory: dict[str, Any] = field(default_factory=dict)


class Solver(Protocol[F]):
    """What the loop needs of a solver of functions of one kind."""

    name: str

    def begin(self, objective: F, theta: np.ndarray) -> State:
        """State at theta."""
        ...

    def step(self, objective: F, state: State) -> State:
        """The next state; the old one is left as it is."""
        ...
