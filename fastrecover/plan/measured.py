"""Networks of one width, trained side by side, each measured in a way of its own.

All are points of the same sweeps of the rows as they are: coordinates and decays, which differ between them, are put on
the parameters before each pass and taken off its gradients, so that small networks share what a pass costs beside its
sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..engines import Engine
from ..inputs import Coordinates
from ..models import Network, Parameters
from ..solvers import minimise_many
from ..sweeps import Objective

_MEMORY = 10  # curvature pairs


@dataclass(frozen=True, eq=False)
class Measure:
    """How networks are measured while they are trained.

    Attributes
    ----------
    metrics : tuple of Coordinates
        In which the rows of each are, square or none.
    decays : ndarray (len(metrics), 2) or None
        Coefficients of half the squares of all rows of units, and of all output weights; None for none.
    """

    metrics: tuple[Coordinates, ...]
    decays: np.ndarray | None = None


def trained(
    engine: Engine,
    model: Network,
    networks: Sequence[Parameters],
    iterations: int,
    exact_loss: float = -1.0,
    stop: Callable[[], bool] = lambda: False,
    measure: Measure | None = None,
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
    measure : Measure, optional
        By default none has coordinates of its own, or a decay.

    Returns
    -------
    networks : list of Parameters
    losses : ndarray (len(networks),)
        Decay included.
    """
    width, d = networks[0].weights.shape
    measure = measure or Measure((Coordinates(),) * len(networks))
    weighed = measure.decays is not None and bool(measure.decays[:, 1].any())
    # Output weights of homogeneous units say nothing that rows do not, unless a decay weighs the two.
    free = weighed or (model.free_v and (model.activation.degree is None or model.n_outputs > 1))
    v = None if free else np.array([one.output_weights for one in networks])
    wide = model.changed(n_hidden=width, output_weights="free" if v is None else v[0])
    within = [metric.into(one, wide) for metric, one in zip(measure.metrics, networks, strict=True)]
    thetas, losses = minimise_many(
        Measured(Objective(engine, wide), measure, v),
        np.array([wide.pack(one) for one in within]),
        iterations=iterations,
        memory=_MEMORY,
        exact_loss=exact_loss,
        own=np.arange(len(networks)),
        stop=stop,
    )
    found = [wide.unpack(theta, d) for theta in thetas]
    if v is not None:
        found = [replace(p, output_weights=w) for p, w in zip(found, v, strict=True)]
    return [metric.back(one, wide) for metric, one in zip(measure.metrics, found, strict=True)], losses


class Measured:
    """Losses of networks as functions of their parameters in coordinates of their own, with a decay of each.

    Parameters
    ----------
    objective : Objective
        Of rows and responses as they are.
    measure : Measure
    output_weights : ndarray (len(measure.metrics), n_hidden) or None
        Where they are fixed.
    """

    def __init__(self, objective: Objective, measure: Measure, output_weights: np.ndarray | None) -> None:
        self.objective, self.output_weights = objective, output_weights
        d = objective.n_features
        mapped = any(metric.matrix is not None for metric in measure.metrics)
        eye = np.eye(d) if mapped else np.zeros(0)
        self.maps = np.array([eye if m.matrix is None else m.matrix for m in measure.metrics]) if mapped else None
        self.decays = measure.decays

    def values_and_grads(self, thetas: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses (m,) and gradients (m, n_parameters) at a point of each of some networks.

        Parameters
        ----------
        thetas : ndarray (m, n_parameters)
        which : ndarray (m,) of int
            Whose points they are.
        """
        model, d = self.objective.model, self.objective.n_features
        v = None if self.output_weights is None else self.output_weights[which]
        if self.maps is None and self.decays is None:
            return self.objective.values_and_grads(thetas, v)
        rows, own, c = model.unpack_many(thetas, d)
        maps = None if self.maps is None else self.maps[which]
        there = thetas if maps is None else model.pack_many(_times(rows, maps), own, c)
        losses, grads = self.objective.values_and_grads(there, v)
        slopes, of_v, of_c = model.unpack_many(grads, d)
        if maps is not None:
            slopes = _times(slopes, maps.transpose(0, 2, 1))
        if self.decays is not None:
            k, (of_rows, of_outputs) = model.n_hidden, self.decays[which].T[:, :, None]
            units, own = rows[:, :k, :d], own if v is None else v
            heavier = of_rows[:, :, None] * units
            slopes = slopes.copy()
            slopes[:, :k, :d] += heavier
            of_v = of_v + of_outputs * own
            losses = losses + 0.5 * ((heavier * units).sum(axis=(1, 2)) + (of_outputs * own * own).sum(axis=1))
        return losses, model.pack_many(slopes, of_v, of_c)


def _times(rows: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Rows (m, k, d or more) times a matrix (m, d, d) each; what comes after the features, as it is."""
    d = maps.shape[1]
    return np.concatenate([rows[:, :, :d] @ maps, rows[:, :, d:]], axis=2) if rows.shape[2] > d else rows @ maps
