"""Networks of one width, trained side by side, each under a decay of its own.

All are points of the same sweeps of the rows, so that small networks share what a pass costs beside its sums; decays,
which differ between them, are added to what the sweeps give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..solvers import minimise_many
from ..sweeps import Objective

_MEMORY = 10  # curvature pairs; more cost as much as the sweep and save no iterations that matter here


def trained(
    engine: Engine,
    model: Network,
    networks: Sequence[Parameters],
    iterations: int,
    exact_loss: float = -1.0,
    stop: Callable[[], bool] = lambda: False,
    decays: np.ndarray | None = None,
) -> tuple[list[Parameters], np.ndarray]:
    """Networks minimised side by side.

    Parameters
    ----------
    engine : Engine
    model : Network
    networks : sequence of Parameters
        Of one width, with definite output weights.
    iterations : int
        Most of L-BFGS.
    exact_loss : float
        End as soon as one is at or below it.
    stop : callable
        Asked before every pass; true ends the work where it is.
    decays : ndarray (len(networks), 2), optional
        Coefficients of half the squares of all rows of units, and of all output weights; none by default.

    Returns
    -------
    networks : list of Parameters
    losses : ndarray (len(networks),)
        Decay included.
    """
    width, d = networks[0].weights.shape
    weighed = decays is not None and bool(decays[:, 1].any())
    # Output weights of homogeneous units say nothing that rows do not, unless a decay or a penalty weighs the two.
    free = weighed or (model.free_v and not model.absorbs)
    v = None if free else np.array([one.output_weights for one in networks])
    wide = model.changed(n_hidden=width, output_weights="free" if v is None else v[0])
    thetas, losses = minimise_many(
        Decayed(Objective(engine, wide), decays, v),
        np.array([wide.pack(one) for one in networks]),
        iterations=iterations,
        memory=_MEMORY,
        exact_loss=exact_loss,
        own=np.arange(len(networks)),
        stop=stop,
    )
    found = [wide.unpack(theta, d) for theta in thetas]
    return found if v is None else [replace(p, output_weights=w) for p, w in zip(found, v, strict=True)], losses


class Decayed:
    """Losses of networks as functions of their parameters, with a decay of each.

    Parameters
    ----------
    objective : Objective
    decays : ndarray (m, 2) or None
        As for :func:`trained`.
    output_weights : ndarray (m, n_hidden) or None
        Where they are fixed.
    """

    def __init__(self, objective: Objective, decays: np.ndarray | None, output_weights: np.ndarray | None) -> None:
        self.objective, self.decays, self.output_weights = objective, decays, output_weights

    def values_and_grads(self, thetas: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses (m,) and gradients (m, n_parameters) at a point of each of some networks.

        Parameters
        ----------
        thetas : ndarray (m, n_parameters)
        which : ndarray (m,) of int
            Whose points they are.
        """
        v = None if self.output_weights is None else self.output_weights[which]
        losses, grads = self.objective.values_and_grads(thetas, v)
        if self.decays is None:
            return losses, grads
        views, d = self.objective.model.views, self.objective.n_features
        weights, _, own, _, _ = views(thetas, d)
        of_weights, _, of_own, _, _ = views(grads, d)
        of_rows, of_outputs = self.decays[which].T
        of_weights += of_rows[:, None] * weights
        of_own += of_outputs[:, None] * own
        own = own if v is None else v
        squares = of_rows * np.einsum("mp,mp->m", weights, weights) + of_outputs * np.einsum("mp,mp->m", own, own)
        return losses + 0.5 * squares, grads
