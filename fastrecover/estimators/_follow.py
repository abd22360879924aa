"""What happens after each step of a fit: the loss of held-out rows, and the callbacks of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..models import Network, Parameters
from ..solvers.monitor import Step
from ..sweeps import Objective

try:  # from scikit-learn 1.9 on
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, where scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:  # type: ignore[misc]
        """The method as it is, where scikit-learn has no callbacks."""
        return method


class HeldOut:
    """Loss on rows that a fit does not see, and the step at which it was lowest.

    Parameters
    ----------
    objective : Objective
        On those rows.
    patience : int
        Steps in a row without a lower loss after which the fit should end.

    Attributes
    ----------
    losses : list of float
        After every step.
    best : Parameters or None
        The network of the lowest one.
    """

    def __init__(self, objective: Objective, patience: int) -> None:
        self.objective, self.patience = objective, patience
        self.losses: list[float] = []
        self.best: Parameters | None = None
        self._lowest, self._since = np.inf, 0

    def step(self, network: Parameters) -> bool:
        """Take note of a step; whether the fit should end."""
        loss = self.objective.value(self.objective.model.pack(network))
        self.losses.append(loss)
        self._since += 1
        if loss < self._lowest:
            self._lowest, self._since, self.best = loss, 0, network
        return self._since >= self.patience


class Follower:
    """The callback of a fit.

    Parameters
    ----------
    held_out : HeldOut or None
    tell : callable or None
        Told a function that returns the network after every step; true ends the fit.

    Attributes
    ----------
    ended : bool
        Whether it has ended the fit.
    """

    def __init__(self, held_out: HeldOut | None, tell: Callable[[Callable[[], Any]], bool] | None) -> None:
        self.held_out, self.tell, self.ended = held_out, tell, False

    def __call__(self, event: dict[str, Any]) -> bool:
        """After a step; between two steps nothing happens."""
        network = event.network() if isinstance(event, Step) else None
        if network is None:
            return False
        if self.held_out is not None and self.held_out.step(network):
            self.ended = True
        if self.tell is not None and self.tell(lambda: network):
            self.ended = True
        return self.ended


def held_out_model(model: Network) -> Network:
    """The model under which a loss on held-out rows is told: no penalty, signs as any output weights."""
    return model.with_output_weights("free") if model.known_v is None else model
