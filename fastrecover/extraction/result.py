"""What a search has found, as parameters of a model: what is left of the answers, sides of units, scales."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..activations import Activation
from ..losses import SOFTMAX
from ..models import Logistic, Network, Parameters, Regression
from .oracle import Oracle
from .search import Search
from .signs import turned
from .units import Units, length_of

_CHECKED, _RADII = 256, (0.5, 1.0, 2.0, 4.0)  # points at which the result is compared with the network, and how far out
_SHORTER = 2.0 ** -np.arange(0, 12, 2)  # steps, where probabilities saturate at longer ones
_SURE, _AGREES = 10.0, 30.0  # standard errors that are more than rounding, at one place and at the worst of many


@dataclass(frozen=True)
class Kink:
    """An activation of two straight pieces, ``phi(z) = left z + (right - left) relu(z)``.

    Attributes
    ----------
    activation : Activation
    left, right : float
        Slopes.
    """

    activation: Activation
    left: float
    right: float

    @classmethod
    def of(cls, activation: Activation) -> Kink:
        """The pieces of an activation.

        Raises
        ------
        ValueError
            It has others.
        """
        right, left = float(activation.value(1.0)), -float(activation.value(-1.0))
        if activation.degree != 1 or right == left:
            raise ValueError(
                "activation must consist of two straight pieces that meet at 0, such as relu and leaky_relu, got "
                f"{activation.name!r}: for others ask for answers at Gaussian rows and give them to fit"
            )
        return cls(activation, left, right)


@dataclass(frozen=True)
class Rest:
    """The affine function ``slope . x + offset`` that the units leave of the answers.

    Attributes
    ----------
    slope : ndarray (n_outputs, d)
    offset : ndarray (n_outputs,)
    error : float
        Expected length of the error of both.
    loss : float
        Mean of half the squared differences at other points.
    note : str
        What is wrong there; empty where answers agree to rounding.
    wide : bool
        Whether answers were seen at points as long as `scale`.
    """

    slope: np.ndarray
    offset: np.ndarray
    error: float
    loss: float
    note: str
    wide: bool

    @classmethod
    def of(cls, search: Search, rng: np.random.Generator) -> Rest:
        """Measured by the longest steps at which answers are seen."""
        oracle, steps, units = search.oracle, search.steps, search.units
        at = rng.standard_normal(oracle.n_features)
        for length in _SHORTER:
            grid = oracle.grid(float(np.abs(at).max() + np.abs(steps.rows).max()) * length)
            p = np.rint(length * at / grid) * grid
            points = np.concatenate([p[None], p + length * steps.rows])
            values, errors = oracle(points)
            if np.isfinite(errors).all():
                break
        values = values - units.outputs(points)
        slope = steps.gradient(values[1:] - values[0], length)
        offset = values[0] - slope @ p
        rounding = float(np.sqrt(np.mean(np.square(errors))))
        error = float(np.hypot(2.0 * rounding * steps.amplification / length, units.unsure))
        rest = cls(slope, offset, error, np.nan, "", bool(length == 1.0))
        return replace(rest, **rest._checked(oracle, units, length, rng))

    def _checked(self, oracle: Oracle, units: Units, length: float, rng: np.random.Generator) -> dict:
        points = rng.standard_normal((_CHECKED, oracle.n_features))
        points *= length * np.resize(_RADII, _CHECKED)[:, None]
        points = oracle.rounded(points)
        values, errors = oracle(points)
        seen = np.isfinite(errors)
        points, values, errors = points[seen], values[seen], errors[seen]
        off = np.linalg.norm(values - units.outputs(points) - points @ self.slope.T - self.offset, axis=1)
        allowed = _AGREES * (errors + self.error * np.maximum(1.0, length_of(points)))
        worse = off > allowed
        loss = 0.5 * float(np.mean(np.square(off))) if len(off) else np.nan
        if not worse.any():
            return {"loss": loss}
        note = f"answers at {int(worse.sum())} of {len(off)} other points differ, by up to {off.max():.3g}"
        return {"loss": loss, "note": note}


@dataclass(frozen=True)
class Found:
    """Units on their sides, with what belongs to no unit.

    Attributes
    ----------
    units : Units
    linear : ndarray (n_outputs, d)
    intercept : ndarray (n_outputs,)
    linear_term : bool
        Whether the model needs one.
    notes : list of str
        What is not as it was asked for.
    """

    units: Units
    linear: np.ndarray
    intercept: np.ndarray
    linear_term: bool
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, units: Units, rest: Rest | None, kink: Kink, hidden_bias: bool, fit_intercept: bool, linear_term: bool
    ) -> Found:
        """Units and the affine rest as a network with or without the parts of an affine function."""
        m, d = units.v.shape[1], units.w.shape[1]
        if rest is None:
            return cls(units, np.zeros((m, d)), np.zeros(m), linear_term)
        notes: list[str] = []
        # phi = left z + (right - left) relu(z): of what is left, a unit on its side explains `own` times its row, and
        # `other` times that if it is turned round.
        own, other = kink.left / (kink.right - kink.left), -kink.right / (kink.right - kink.left)
        both = units.v.T[:, :, None] * np.column_stack([units.w, units.a])  # (n_outputs, k, d + 1)
        left = np.column_stack([rest.slope, rest.offset])
        back = np.zeros(len(units), bool)
        if not linear_term:
            used = slice(0, d if fit_intercept else d + 1)
            rows = np.moveaxis(both[:, :, used], 1, 0).reshape(len(units), left[:, used].size)
            wanted = left[:, used].ravel() - own * rows.sum(axis=0)
            chosen = turned((other - own) * rows, wanted, _SURE * rest.error)
            if chosen is None:
                linear_term = True
                many = len(units) > rows.shape[1]
                notes.append(
                    "no choice of the sides on which units are active leaves nothing linear, so one is returned with a "
                    "linear term: the network has one, or a unit that is active everywhere"
                    + f", or {len(units)} units are too many for {rows.shape[1]} equations"
                    * many
                )
            else:
                back = chosen
        explained = (np.where(back, other, own)[:, None] * both).sum(axis=1)
        linear, intercept = (left - explained)[:, :d], (left - explained)[:, d]
        size = max(1.0, float(np.abs(units.a).max(initial=0.0)))
        if not hidden_bias and (np.abs(units.a) > _SURE * (units.error + rest.error / units.sizes)).any():
            notes.append(f"kinks lie up to {size:.3g} away from 0, so units have biases: give hidden_bias=True")
        if not fit_intercept and linear_term and np.abs(intercept).max() > _SURE * rest.error * size:
            notes.append(f"an intercept of {np.abs(intercept).max():.3g} is left: give fit_intercept=True")
        turn = np.where(back, -1.0, 1.0)
        sided = replace(units, w=turn[:, None] * units.w, a=turn * units.a, v=units.v / (kink.right - kink.left))
        return cls(sided, linear, intercept, linear_term, notes)

    def parameters(self, model: Network, scale: np.ndarray) -> Parameters:
        """Parameters of a model, units that are missing as zeros."""
        units, m = self.units, model.n_outputs
        missing = model.n_hidden - len(units)
        w = np.concatenate([units.w / scale, np.zeros((missing, len(scale)))])
        v = np.concatenate([units.v, np.zeros((missing, m))]).T
        biases = np.concatenate([units.a, np.zeros(missing)]) if model.hidden_bias else None
        linear = self.linear / scale if model.linear_term else None
        c = self.intercept if model.fit_intercept else np.zeros(m)
        if m > 1:
            return Parameters(w, v, linear, c, biases=biases)
        return Parameters(w, v[0], None if linear is None else linear[0], float(c[0]), biases=biases)


def model_of(
    kink: Kink, n_hidden: int, n_outputs: int, logit: bool, hidden_bias: bool, fit_intercept: bool, linear_term: bool
) -> Network:
    """The model that a network with such answers belongs to."""
    make = Logistic if logit else Regression
    model = make(
        kink.activation,
        n_hidden,
        output_weights="free",
        fit_intercept=fit_intercept,
        linear_term=linear_term,
        hidden_bias=hidden_bias,
    )
    if n_outputs == 1:
        return model
    return model.changed(n_outputs=n_outputs, loss=SOFTMAX) if logit else model.changed(n_outputs=n_outputs)
