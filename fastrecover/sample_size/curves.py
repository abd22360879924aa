"""Curves of success and cost over the number of rows, fitted to planted networks that were recovered or not.

A curve is linear in a few logarithms, with coefficients for every activation that are drawn towards common ones, so
that an activation of which little was seen is judged by the others.  The file that holds them is small and plain.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..activations import Array

_Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]

SHIPPED = Path(__file__).with_name("curves.json")
#: What coefficients belong to; the last three, rows below a border, matter to success (the first) or to costs alone.
FEATURES = (
    "one",
    "rows",
    "units",
    "one unit",
    "features",
    "size",
    "condition",
    "noise",
    "noise of many units",
    "noise of many features",
    "hardly any rows",
    "few exact rows",
    "few noisy rows",
)
CURVES = ("success", "passes", "sweeps")
#: Axes of the region in which networks were planted: fields of a setting, and rows for each of its parameters.
AXES = ("n_features", "n_hidden", "condition_number", "noise", "rows_per_parameter")
_MOST_ROWS = 1e15  # that are planned at all

_LITTLE = 0.1  # noise from which on it counts, in deviations of the responses
_HARDLY = 1.2  # rows a parameter below which success falls faster
_FEW_EXACT, _FEW_NOISY = 2.5, 10.0  # rows a parameter below which an exact fit, or a noisy one, is searched for further
_FIRST = {  # coefficients where nothing was seen: success is even at 1.5 rows a parameter
    "success": (-3.2, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, -4.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "passes": (4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 1.0),
    "sweeps": (5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 1.0),
}
_SPREAD = {  # how far activations are expected to differ, by what predicts trials left out; zero holds a coefficient
    "success": (1.0, 2.0, 1.0, 1.0, 1.0, 2.5, 0.5, 1.0, 0.5, 0.5, 3.0, 0.0, 0.0),
    "passes": (*(0.5,) * 10, 0.0, 0.5, 0.5),
    "sweeps": (*(0.5,) * 10, 0.0, 0.5, 0.5),
}
_WIDER = 5.0  # common coefficients may be so many times as far from the first ones
_FALLS, _RISES = (
    ("condition", "noise", "noise of many units", "hardly any rows"),
    ("rows",),
)  # in which chances of success cannot rise, or fall
_LEAST_RISE = 1.0
_ROBUST = 0.5  # residuals of logarithms of costs from which on they count by their size and no longer by its square


@dataclass(frozen=True)
class Setting:
    """What a number of rows is asked of: a law of networks, and the noise in deviations of their responses.

    Attributes
    ----------
    activation : str
    n_features, n_hidden : int
    condition_number, noise : float
    """

    activation: str
    n_features: int
    n_hidden: int
    condition_number: float
    noise: float

    @property
    def n_parameters(self) -> int:
        """Numbers that are sought, the rotations of a quadratic network left out: fewer rows determine none."""
        d, k = self.n_features, self.n_hidden
        if self.activation == "quadratic":
            k = min(d, k)
            return d * k - k * (k - 1) // 2
        return d * k

    def features(self, n_rows: float) -> Array:
        """What curves are linear in, (13,); see FEATURES."""
        d, k = self.n_features, self.n_hidden
        rows = math.log(n_rows / self.n_parameters)
        condition = math.log(self.condition_number) if k > 1 else 0.0  # one unit has one singular value
        noise = math.log(math.hypot(1.0, self.noise / _LITTLE))
        hardly, exact, noisy = (max(math.log(few) - rows, 0.0) for few in (_HARDLY, _FEW_EXACT, _FEW_NOISY))
        few = (hardly, 0.0, noisy) if self.noise else (hardly, exact, 0.0)
        size = 1.0 / math.sqrt(self.n_parameters)  # chance evens out where there are many of them
        units = (math.log(k), 1.0 / k, math.log(d / k), size)
        noises = noise, noise * math.log(k), noise * max(math.log(d / k), 0.0)
        return np.array([1.0, rows, *units, condition, *noises, *few])


@dataclass(frozen=True)
class Trial:
    """One planted network: whether it came back from so many rows, and what that took.

    Attributes
    ----------
    setting : Setting
    n_rows : int
    recovered : bool
    passes : float
        Passes over the data.
    sweeps : float
        Time of the fit over that of one sweep for loss and gradient.
    """

    setting: Setting
    n_rows: int
    recovered: bool
    passes: float
    sweeps: float


@dataclass(frozen=True, eq=False)
class Curves:
    """Chances of recovery and costs of fits, as fitted to trials.

    Attributes
    ----------
    coefficients : dict of str to dict of str to ndarray (13,)
        By the name of a curve, then of an activation.
    trials : dict of str to int
        Of every activation.
    region : dict of str to tuple (low, high)
        In which networks were planted, by axis.
    """

    coefficients: dict[str, dict[str, Array]]
    trials: dict[str, int]
    region: dict[str, tuple[float, float]]

    @classmethod
    def fit(cls, trials: Iterable[Trial], region: Mapping[str, tuple[float, float]]) -> Curves:
        """By penalised maximum likelihood (success), and robust regression of logarithms of those recovered (costs).

        Parameters
        ----------
        trials : iterable of Trial
        region : dict of str to tuple (low, high)
            That they were drawn from, by axis; see AXES.

        Returns
        -------
        Curves
        """
        seen = [one for one in trials if one.n_rows >= one.setting.n_parameters]
        names = sorted({one.setting.activation for one in seen})
        back = [one for one in seen if one.recovered]
        signs = np.array([1.0 if one.recovered else -1.0 for one in seen])
        costs = {name: np.log([getattr(one, name) for one in back]) for name in CURVES[1:]}
        found = {"success": _fitted("success", seen, names, signs, _logistic)}
        found |= {name: _fitted(name, back, names, values, _distance) for name, values in costs.items()}
        return cls(found, {name: sum(one.setting.activation == name for one in seen) for name in names}, dict(region))

    def probability(self, setting: Setting, n_rows: float) -> float:
        """Chance that a network is recovered from so many rows; 0 from fewer than parameters."""
        if n_rows < setting.n_parameters:
            return 0.0
        return float(0.5 * (1.0 + np.tanh(0.5 * self._value("success", setting, n_rows))))

    def rows(self, setting: Setting, probability: float) -> int:
        """Fewest rows from which a network is recovered with this chance or a better one.

        Raises
        ------
        ValueError
            There are more of them than any machine holds.
        """
        own = dict(zip(FEATURES, self.coefficients["success"][setting.activation].tolist(), strict=True))
        wanted = math.log(probability / (1.0 - probability))
        least, slope = _HARDLY * setting.n_parameters, own["rows"]
        if self._value("success", setting, least) >= wanted:  # below, chances rise faster
            least, slope = float(setting.n_parameters), slope - own["hardly any rows"]
        size = math.log(least) + max(wanted - self._value("success", setting, least), 0.0) / slope
        if size > math.log(_MOST_ROWS):
            raise ValueError(f"a chance of {probability:g} asks for more than {_MOST_ROWS:g} rows: ask for less")
        n = math.ceil(math.exp(size) * (1.0 - 1e-12))
        while self.probability(setting, n) < probability:
            n += 1
        return n

    def most_rows(self, setting: Setting) -> float:
        """Most rows that were measured."""
        return self.region[AXES[-1]][1] * setting.n_parameters

    def cost(self, curve: str, setting: Setting, n_rows: float) -> float:
        """Median number of passes, or of sweeps that take as long, of a fit that succeeds.

        Beyond the region it is that of its edge: nothing says that it would rise or fall as it does inside.
        """
        *axes, rows = ((axis, *self.region[axis]) for axis in AXES)
        inside = replace(setting, **{axis: min(max(getattr(setting, axis), low), high) for axis, low, high in axes})
        each = min(max(n_rows / setting.n_parameters, rows[1]), rows[2])
        return float(np.exp(self._value(curve, inside, each * inside.n_parameters)))

    def outside(self, setting: Setting, n_rows: float) -> tuple[str, ...]:
        """In words, where a setting lies outside of what was measured; nothing where it lies inside."""
        at = {axis: getattr(setting, axis, n_rows / setting.n_parameters) for axis in AXES}
        found = [
            f"{axis} {at[axis]:g} is not in {low:g} to {high:g}"
            for axis, (low, high) in self.region.items()
            if not low <= at[axis] <= high
        ]
        if setting.n_hidden > setting.n_features:
            found.append(f"n_hidden {setting.n_hidden} is above n_features {setting.n_features}")
        return tuple(found)

    def save(self, path: Path) -> None:
        """Write a file that :func:`load` reads, coefficients to four decimals."""
        activations: dict[str, Any] = {name: {"trials": count} for name, count in self.trials.items()}
        for curve in CURVES:
            for name, values in self.coefficients[curve].items():
                activations[name][curve] = [round(value, 4) for value in values.tolist()]
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in activations.items())
        head = f'  "features": {json.dumps(FEATURES)},\n  "region": {json.dumps(self.region)},\n'
        path.write_text(f'{{\n{head}  "activations": {{\n{lines}\n  }}\n}}\n', encoding="utf-8")

    def _value(self, curve: str, setting: Setting, n_rows: float) -> float:
        return float(self.coefficients[curve][setting.activation] @ setting.features(n_rows))


def load(path: Path) -> Curves:
    """Curves of a file.

    Raises
    ------
    ValueError
        It holds none, or those of other features.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        named, activations = tuple(data["features"]), data["activations"]
        coefficients = {c: {name: np.array(one[c], float) for name, one in activations.items()} for c in CURVES}
        trials = {name: int(one["trials"]) for name, one in activations.items()}
        region = {axis: (float(data["region"][axis][0]), float(data["region"][axis][1])) for axis in AXES}
    except (ValueError, KeyError, TypeError, IndexError):
        raise ValueError(f"{path.name} holds no curves") from None
    lengths = {len(one) for curve in coefficients.values() for one in curve.values()}
    if named != FEATURES or lengths != {len(FEATURES)}:
        raise ValueError(f"{path.name} holds curves of other features: {', '.join(named)}")
    return Curves(coefficients, trials, region)


@cache
def shipped() -> Curves:
    """The curves that come with the package."""
    return load(SHIPPED)


def _fitted(curve: str, trials: Sequence[Trial], names: Sequence[str], target: Array, loss: _Loss) -> dict[str, Array]:
    """Coefficients of every activation, drawn towards common ones, and these towards the first ones."""
    from scipy.optimize import minimize

    first, spread = np.array(_FIRST[curve]), np.array(_SPREAD[curve])
    x = np.array([one.setting.features(one.n_rows) for one in trials]).reshape(len(trials), len(first))
    owner = np.array([names.index(one.setting.activation) for one in trials], dtype=np.intp)
    weight = np.divide(1.0, spread**2, out=np.zeros_like(spread), where=spread > 0)

    def objective(flat: Array) -> tuple[float, Array]:
        common, *_ = own = flat.reshape(len(names) + 1, -1)
        values, slopes = loss(target, (x * own[1 + owner]).sum(axis=1))
        grad = np.zeros_like(own)
        np.add.at(grad, 1 + owner, slopes[:, None] * x)
        apart, away = own[1:] - common, (common - first) / _WIDER**2
        grad[1:] += weight * apart
        grad[0] += weight * (away - apart.sum(axis=0))
        penalty = 0.5 * float((weight * apart**2).sum() + weight @ (away * (common - first)))
        return float(values.sum()) + penalty, grad.ravel()

    bounds = [_bounds(curve, *each) for each in zip(FEATURES, first.tolist(), spread.tolist(), strict=True)]
    options = dict(maxiter=20_000, maxfun=40_000, ftol=1e-15, gtol=1e-9, maxcor=30)
    start, bounds = np.tile(first, len(names) + 1), bounds * (len(names) + 1)
    end = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return dict(zip(names, end.x.reshape(len(names) + 1, -1)[1:], strict=True))


def _bounds(curve: str, feature: str, first: float, spread: float) -> tuple[float | None, float | None]:
    if not spread:
        return first, first
    if curve == "success" and feature in _RISES:
        return _LEAST_RISE, None
    return None, 0.0 if curve == "success" and feature in _FALLS else None


def _logistic(signs: Array, values: Array) -> tuple[Array, Array]:
    """-log of the chance of what was seen, and its derivative."""
    z = -signs * values
    return np.logaddexp(0.0, z), -signs * 0.5 * (1.0 + np.tanh(0.5 * z))


def _distance(target: Array, values: Array) -> tuple[Array, Array]:
    """Size of the residual, smooth at zero, in units of its own spread, and its derivative."""
    r = (values - target) / _ROBUST
    root: NDArray[np.float64] = np.sqrt(1.0 + r**2)
    return root - 1.0, r / root / _ROBUST
