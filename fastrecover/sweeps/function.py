"""What the loop around solvers needs of anything that is minimised: a loss, or a landscape."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Function(Protocol):
    """A function of one flat vector, summed over rows.

    Attributes
    ----------
    divergence_message : str
        What is said where the point runs off to infinity.
    response_degree : int
        Power of the responses' unit that values are told in.
    """

    divergence_message: str

    @property
    def response_degree(self) -> int:
        """Power of the responses' unit that values are told in."""
        ...

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        ...

    @property
    def n_rows(self) -> int:
        """Samples that are summed over."""
        ...

    @property
    def passes(self) -> float:
        """Full passes over the data so far."""
        ...

    @property
    def kinked(self) -> bool:
        """Whether the gradient jumps where a row crosses a kink."""
        ...

    @property
    def resolution(self) -> float:
        """Share of the statistical excess ``loss p / n`` below which decreases are those jumps; 0 for none."""
        ...

    def blur(self, theta: np.ndarray, loss: float) -> float:
        """Distance to the minimiser, in its statistical errors, within which those jumps hide the way; 0 for none."""
        ...

    def noise(self, loss: float) -> float:
        """Scale against which gradients are small."""
        ...

    def runs_off(self, theta: np.ndarray) -> bool:
        """Whether theta has left every bounded region."""
        ...

    def pulled_back(self, theta: np.ndarray) -> np.ndarray:
        """A point that has run off, at the border."""
        ...

    def projected(self, theta: np.ndarray) -> np.ndarray:
        """The nearest point of the set on which it is minimised by descent: theta where that is everything."""
        ...

    def value(self, theta: np.ndarray) -> float:
        """Value at theta, (n_parameters,)."""
        ...

    def values(self, thetas: np.ndarray) -> np.ndarray:
        """Values at several points, (m, n_parameters) -> (m,)."""
        ...

    def value_and_grad(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at theta."""
        ...
