"""The units that a fit works in, so that none of its decisions depends on those of the data.

Columns of any size, correlated or far from zero, become rows of second moment about I, responses become numbers of
about 1, and what is found is carried back at the end.  Rows that look like N(0, I) stay as they are, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..engines import Engine, MappedEngine
from ..linalg import times
from ..models import Network, Parameters, Penalty
from ..sweeps import MomentSweeps, local_rows
from .diagnosis import DENSE_LIMIT, FEWEST_ROWS, InputDiagnosis

_NUMBERS, _MOST_ROWS = 1 << 22, 4096
_ROWS_PER_FEATURE = 4  # from which a second moment is better than none
_FARTHEST = 100  # one entry of so many is left out of the size of a column
_SHARE = 0.9616  # root mean square of a normal variable without its largest hundredth
_LONGEST = 9.0  # mean square of a row up to which it counts in full
_FLOOR = 1e-13  # second moment of a direction that has none, relative to the largest
_SMALLEST = -960  # exponent of a scale whose inverse, and square, are still numbers
_FAR = 10.0  # standard deviations from zero to a mean of the responses that the intercept takes


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Rows ``z = T (x - centre)`` and responses ``(y - shift) / scale``.

    Attributes
    ----------
    matrix : ndarray (r, d) or (d,), or None
        T, of full row rank; a diagonal as a vector, None where rows stay as they are.
    root : ndarray (d, r) or (d,), or None
        Its right inverse.
    shift : float, or ndarray (n_outputs,)
    scale : float
        A power of two, so that no digit is lost.
    factors : tuple of float, or None
        By what rows of weights and output weights grow where they are carried back, so that outputs grow by `scale`;
        None for the model's own way (:func:`_factors`).
    centre : ndarray (d,) or None
        Mean of the rows, where biases (and intercepts, of linear terms) take what it moves.
    """

    matrix: np.ndarray | None = None
    root: np.ndarray | None = None
    shift: float | np.ndarray = 0.0
    scale: float = 1.0
    centre: np.ndarray | None = None
    factors: tuple[float, float] | None = None

    def engine(self, engine: Engine) -> Engine:
        """The same rows and responses in these units."""
        if np.any(self.shift) or self.scale != 1.0:
            engine = engine.with_responses(partial(_in_units, shift=self.shift, scale=self.scale))
        if self.matrix is None or self.root is None:
            return engine
        return MappedEngine(engine.with_ones(False), self.matrix, self.root, self.centre)

    def model(self, model: Network) -> Network:
        """The model whose loss and penalty are those of another, in these units."""
        loss, penalty = model.loss.in_units(self.scale), model.penalty
        if penalty is not None:
            rows, v = self._factors(model)
            metric = penalty.metric
            if self.matrix is not None:
                right = penalty.times(self.matrix)
                metric = self.matrix * right if self.matrix.ndim == 1 else self.matrix @ right.T
            unit = self.scale**2 if loss.in_response_units else 1.0
            penalty = Penalty(
                penalty.rows * rows**2 / unit,
                penalty.output_weights * v**2 / unit,
                penalty.linear * self.scale**2 / unit,
                metric,
            )
        if loss == model.loss and penalty is model.penalty:
            return model
        return model.changed(loss=loss, penalty=penalty)

    def into(self, found: Parameters, model: Network) -> Parameters:
        """Parameters of the rows as they are, in these units."""
        if self.root is not None:
            biases, intercept = found.biases, found.intercept
            if self.centre is not None:
                biases = found.weights @ self.centre + (0.0 if biases is None else biases)
                intercept = intercept + found.slope @ self.centre
            linear = None if found.linear is None else times(found.linear, self.root)
            weights = times(found.weights, self.root)
            found = replace(found, weights=weights, biases=biases, linear=linear, intercept=intercept)
        rows, v = self._factors(model)
        return _scaled(replace(found, intercept=found.intercept - self.shift), 1.0 / self.scale, 1.0 / rows, 1.0 / v)

    def back(self, found: Parameters, model: Network) -> Parameters:
        """Parameters in these units, for the rows as they are: the shortest weights where several are the same."""
        found = _scaled(found, self.scale, *self._factors(model))
        if self.matrix is not None:
            linear = None if found.linear is None else times(found.linear, self.matrix)
            found = replace(found, weights=times(found.weights, self.matrix), linear=linear)
            if self.centre is not None and found.biases is not None:
                biases, intercept = found.biases - found.weights @ self.centre, found.intercept
                if linear is not None:
                    intercept = intercept - linear @ self.centre
                found = replace(found, biases=biases, intercept=intercept)
        return replace(found, intercept=found.intercept + self.shift)

    def _factors(self, model: Network) -> tuple[float, float]:
        return _factors(model, self.scale) if self.factors is None else self.factors

    def alike(self, other: Coordinates) -> bool:
        """Whether they are the same, bit for bit."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))  # type: ignore[arg-type]
            for name in ("matrix", "shift", "scale", "centre", "factors")
        )

    @property
    def is_white(self) -> bool:
        """Whether the second moment of z is about I, whatever that of x."""
        return self.matrix is not None and self.matrix.ndim == 2

    @property
    def unseen(self) -> np.ndarray | None:
        """Which columns are no functions of z, (d,) of bool, since other columns say the same; None for none."""
        if self.matrix is None or self.root is None or self.matrix.ndim == 1 or len(self.matrix) == len(self.root):
            return None
        kept = np.einsum("ir,ri->i", self.root, self.matrix)
        return np.asarray(kept < 1.0 - 1e-6)


def coordinates(
    engine: Engine, model: Network, diagnosis: InputDiagnosis | None, seed: np.random.SeedSequence, *, whiten: bool
) -> Coordinates:
    """Units in which rows have second moments of about 1, and responses a size of about 1.

    A diagonal map takes away sizes alone, also of rows too few to be tested.  Where features are correlated or far from
    zero a root of the second moment does, once there are four rows for each feature; directions without any are left
    out.  Correlations stay where a penalised minimum may lie at kinks.  Both are taken from rows that may hold a few
    very long ones, which count for little.

    Parameters
    ----------
    engine : Engine
    model : Network
        Whose output weights say whether responses may be scaled.
    diagnosis : InputDiagnosis or None
        Of the rows; without one they stay as they are.
    seed : SeedSequence
        Of the rows that are looked at.
    whiten : bool
        Whether to take a root in any case.

    Returns
    -------
    Coordinates
    """
    shift, scale = _response_units(engine, model)
    units = partial(Coordinates, shift=shift, scale=scale, factors=_balanced(model, scale))
    if diagnosis is None:
        return units()
    d = engine.shape[1]
    # What a mean moves, biases and the intercept take.
    centred = model.hidden_bias and model.n_patches == 1 and (model.fit_intercept or not model.linear_term)
    # Where gradients fit a penalised network, weights along directions in which rows hardly vary should stay dear.
    related = (diagnosis.mean_departs and not centred) or (diagnosis.correlation_departs and not model.ends_at_kinks)
    far = diagnosis.mean_departs and centred
    untested = diagnosis.n_rows < FEWEST_ROWS
    if not (related or far or diagnosis.variance_departs or whiten or untested):
        return units()
    most = min(max(_MOST_ROWS, 2 * _ROWS_PER_FEATURE * d), max(_NUMBERS // d, 1))
    rows = local_rows(engine.patches().sample(most, seed, spaced=True))[0]
    centre = np.median(rows, axis=0) if centred else None
    rows = rows if centre is None else rows - centre
    size = _sizes(rows)
    if not (related or whiten) or d > DENSE_LIMIT or len(rows) < _ROWS_PER_FEATURE * d:
        return units(1.0 / size, size, centre=centre)
    z = rows / size
    weight = _LONGEST / np.maximum((z * z).mean(axis=1), _LONGEST)
    values, vectors = np.linalg.eigh(z.T @ (z * weight[:, None]) / len(z))
    if values[0] <= _FLOOR * values[-1] and len(rows) < engine.shape[0]:
        # A column that some rows do not show may be there in others.
        second = MomentSweeps(MappedEngine(engine, 1.0 / size, size, centre)).second_moments()[1]
        values, vectors = np.linalg.eigh(second)
    kept = values > _FLOOR * values[-1]
    vectors, length = vectors[:, kept], np.sqrt(values[kept])
    return units((vectors / length).T / size, size[:, None] * (vectors * length), centre=centre)


def _sizes(rows: np.ndarray) -> np.ndarray:
    """Root mean squares of columns, less their farthest entries; of all entries of one that is mostly zero."""
    a = np.abs(rows)
    cut = len(a) - 1 - len(a) // _FARTHEST
    limit = np.partition(a, cut, axis=0)[cut]
    largest = np.maximum(a.max(axis=0), 1e-300)
    squares = (a / largest) ** 2  # which do not underflow
    near = np.sqrt((squares * (a <= limit)).sum(axis=0) / (cut + 1)) / _SHARE
    size = np.where(near > 0, near, np.sqrt(squares.mean(axis=0))) * largest
    return np.where(size > 1e-290, size, 1.0)


def _response_units(engine: Engine, model: Network) -> tuple[float | np.ndarray, float]:
    """Shift and scale of the responses, as far as the model can follow."""
    degree = model.activation.degree
    if not model.loss.in_response_units:
        return 0.0, 1.0
    mean = engine.mean_response()
    size = engine.average(partial(_distance, centre=mean))
    far = model.fit_intercept and np.abs(mean).max() > _FAR * size
    shift = mean if far else 0.0
    if not size or not model.scales:
        return shift, 1.0
    exponent = max(math.frexp(size)[1], _SMALLEST)
    if degree is not None and float(degree).is_integer():  # its root is a power of two as well
        exponent = int(degree) * round(exponent / int(degree))
    return shift, math.ldexp(1.0, exponent)


def _factors(model: Network, factor: float) -> tuple[float, float]:
    """By what rows and output weights grow where outputs become `factor` times as large."""
    degree = model.activation.degree
    return (1.0, factor) if degree is None else (factor ** (1.0 / degree), 1.0)


def _balanced(model: Network, scale: float) -> tuple[float, float] | None:
    """Factors with which a penalty weighs rows and output weights alike, where a size may stand in either.

    Else a random start, whose rows and output weights are of a size, loses its units to the penalty before they have
    found anything.
    """
    degree, penalty = model.activation.degree, model.penalty
    if degree is None or penalty is None or not model.free_v:
        return None
    ratio = scale * math.sqrt(penalty.output_weights / penalty.rows)
    rows = math.ldexp(1.0, round(math.log2(ratio) / (degree + 1.0)))
    return rows, scale / rows**degree


def _scaled(found: Parameters, factor: float, rows: float, v: float) -> Parameters:
    """The network whose outputs are `factor` times those of another."""
    if factor == rows == v == 1.0:
        return found
    linear = None if found.linear is None else found.linear * factor
    found = replace(found, linear=linear, intercept=found.intercept * factor)
    return replace(found, output_weights=found.output_weights * v).with_rows(found.rows * rows)


# Named, since an engine may send them to where its rows are.
def _in_units(y: np.ndarray, shift: float | np.ndarray, scale: float) -> np.ndarray:
    return (y - shift) / scale


def _distance(y: np.ndarray, centre: float | np.ndarray) -> np.ndarray:
    return np.abs(y - centre)
