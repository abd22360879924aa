"""Rows of mean zero and unit covariance for the starts, and the way back for what they find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..engines import Engine
from ..linalg import roots, times
from ..models import Parameters
from ..sweeps import MomentSweeps
from .diagnosis import DENSE_LIMIT, InputDiagnosis

_FAR = 2.0  # standard deviations from zero to a mean that is taken away


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map ``z = inverse (x - shift)`` of rows, and the map of parameters that goes with it.

    A unit ``w_z . z`` found on centred rows is ``w . x - w . shift``.  A bias takes the offset; in a model without
    biases it has no place, and :meth:`back` drops it: the weights are those of the raw rows, but the outputs of the two
    networks agree only where `shift` is zero.  The linear term's offset goes to the intercept.

    Attributes
    ----------
    shift : ndarray (d,)
    inverse : ndarray (d, d), or (d,) for a diagonal matrix
        Zero in directions without variance.
    note : str
        What whitening left as it was, or empty.
    """

    shift: np.ndarray
    inverse: np.ndarray
    note: str = ""

    def back(self, parameters: Parameters) -> Parameters:
        """Parameters on raw rows: ``w = inverse' w_z``, ``b = inverse' b_z``, ``c = c_z - b . shift``.

        Parameters
        ----------
        parameters : Parameters
            Found on whitened rows.

        Returns
        -------
        Parameters
            Without weight in directions without variance.
        """
        linear = None if parameters.linear is None else times(parameters.linear, self.inverse)
        offset = 0.0 if linear is None else linear @ self.shift
        weights, biases = times(parameters.weights, self.inverse), parameters.biases
        return replace(
            parameters,
            weights=weights,
            biases=None if biases is None else biases - weights @ self.shift,
            linear=linear,
            intercept=parameters.intercept - offset,
        )


def whiten(
    engine: Engine, diagnosis: InputDiagnosis, most_copied: int, biased: bool = False
) -> tuple[Engine, Whitening]:
    """Rows of unit covariance, by the mean and covariance of all rows of the engine.

    Moments are summed about the mean that the diagnosis saw, lest a large one cancel.  Rows are centred only where the
    mean differs from zero beyond chance and is longer than two standard deviations: centring gives every unit an
    offset ``w . mean`` that the model does not have, so lengths found on centred rows are off by as much.  Directions
    survive it, while without it the moments of saturating units are lost.  After centring, lengths of positively
    homogeneous units are best fitted again on the raw rows.

    Parameters
    ----------
    engine : Engine
    diagnosis : InputDiagnosis
        Of these rows, or of those that they were sampled from.
    most_copied : int
        Rows up to which the whitened ones are held in memory; more are whitened block by block in every sweep.
    biased : bool
        Whether units have biases: rows are then centred in any case, which is exact.

    Returns
    -------
    engine : Engine
        Rows in the data type of the old; the same responses, weights and meter.
    whitening : Whitening
        Its `note` says where correlations (above 5000 features) or directions without variance are left.
    """
    (n, d), about = engine.shape, diagnosis.mean
    if d <= DENSE_LIMIT:
        centred = engine.whitened(about, np.ones(d), copy=False)
        moved, second = MomentSweeps(centred).second_moments()
        mean, covariance = about + moved, second - np.outer(moved, moved)
    else:
        mean, covariance = about, diagnosis.variance
    root, inverse, left_out = roots(covariance)
    far = biased or diagnosis.mean_departs and float(np.linalg.norm(times(mean, inverse.T))) > _FAR
    shift = mean if far else np.zeros(d)
    notes = [f"{left_out} of {d} directions have no variance and are left out"] if left_out else []
    if d > DENSE_LIMIT:
        notes += [f"{d} features are more than {DENSE_LIMIT}: only their variances are made 1, correlations are left"]
    return engine.whitened(shift, inverse, copy=n <= most_copied), Whitening(shift, inverse, "; ".join(notes))
