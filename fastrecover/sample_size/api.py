"""How many rows an experiment needs, from curves of what was measured and from what a row says of a network.

The curves tell how often networks of a law come back, the information of a row how near noise lets them come, and a
sweep that is timed on the spot what that takes here.  What was not measured is told, not refused.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from .._blas import one_blas_thread
from .._validation import check_positive
from ..activations import Activation, get_activation
from ..models import Network, check_count, get_model
from .curves import Curves, Setting, shipped
from .information import Information, planted_information
from .speed import sweep_seconds

#: Passes over rows beyond those that were measured, where starts see a sub-sample: without noise, and with.
_LAST = 2.5, 7.0
_MOST_ROWS, _MOST_WEIGHTS, _MOST = 1e15, 10_000_000, 1e6  # the last of noise and condition number


@dataclass(frozen=True)
class RequiredRows:
    """Rows, and what is expected of a fit to that many of them.

    :func:`fastrecover.required_rows` makes one; :meth:`at` tells what is expected of another number of rows.

    Attributes
    ----------
    model : Network
    n_features : int
    noise : float
        In standard deviations of the noiseless responses.
    condition_number : float
        Of the weights.
    rows : int
    probability : float
        Chance that ``fit(X, y, model)`` with nothing else set recovers the weights within ten seconds of one processor:
        without noise to a relative error of 1e-6; with noise to one of at most 1.5 times that of a fit that begins at
        the truth, and below 0.5.  Fits that are given longer do no worse.
    error : float
        Relative error of the weights as ``Recovery.error`` measures it: root mean square over noise and rows,
        geometric mean over some networks.  0.0 without noise, where rounding is all that is left, and inf where so few
        rows leave the weights open.
    passes : float
        Passes over the rows, median of fits that succeed.
    seconds : float
        Of one processor of this machine, for such a fit.
    outside : tuple of str
        Where this lies outside of the region in which the curves were measured.
    measured : bool
        Whether it lies inside.
    rows_per_weight : float
    """

    model: Network
    n_features: int
    noise: float
    condition_number: float
    rows: int
    probability: float
    error: float
    passes: float
    seconds: float
    outside: tuple[str, ...] = field(default=())

    @property
    def measured(self) -> bool:
        """Whether this lies inside of the region in which the curves were measured."""
        return not self.outside

    @property
    def rows_per_weight(self) -> float:
        """Rows over ``n_hidden * n_features``."""
        return self.rows / (self.model.n_hidden * self.n_features)

    def at(self, rows: int) -> RequiredRows:
        """What is expected of another number of rows.

        Parameters
        ----------
        rows : int
            At least 1.

        Returns
        -------
        RequiredRows

        Raises
        ------
        TypeError, ValueError
            `rows` is no integer of at least 1.
        """
        check_count("rows", rows)
        return _expected(self.model, self._setting, int(rows))

    def __str__(self) -> str:
        """Lines of a name and what it is."""
        k, noise = (
            self.model.n_hidden,
            f"noise {self.noise:g} of the responses' deviation" if self.noise else "no noise",
        )
        units = f"{k} unit{'s' if k > 1 else ''}, {self.n_features} features"
        error = f"{self.error:.2g}" if self.error else "rounding"
        lines = {
            "network": f"{self.model.activation.name}, {units}, condition number {self.condition_number:g}, {noise}",
            "rows": f"{self.rows} ({self.rows_per_weight:.3g} a weight)",
            "recovered": f"{100.0 * self.probability:.3g} %",
            "relative error": "not determined" if np.isinf(self.error) else error,
            "passes": f"{self.passes:.2g}",
            "seconds": f"{self.seconds:.2g} of one processor here",
            "measured": "yes" if self.measured else f"no: {'; '.join(self.outside)}",
        }
        width = max(map(len, lines))
        return "\n".join(f"{name:<{width}}  {said}" for name, said in lines.items())

    @property
    def _setting(self) -> Setting:
        return Setting(
            self.model.activation.name, self.n_features, self.model.n_hidden, self.condition_number, self.noise
        )


def required_rows(
    model: str | Activation | Network,
    n_features: int,
    n_hidden: int | None = None,
    *,
    noise: float = 0.0,
    condition_number: float = 2.0,
    probability: float = 0.95,
    within: float | None = None,
) -> RequiredRows:
    """Rows from which a network is recovered, what error noise leaves, and how long a fit takes on this machine.

    Parameters
    ----------
    model : str, Activation or Network
        Name of an activation, one of ours, or a regression under the squared loss of one output, without biases,
        intercept and linear term.
    n_features : int
        Inputs d, taken to be independent and normal.
    n_hidden : int, optional
        Hidden units k; required unless `model` is a Network.
    noise : float
        Standard deviation of the noise over that of the noiseless responses: the square root of the inverse
        signal-to-noise ratio, 0.5 where noise has a quarter of their variance.  (``Teacher.sample`` and
        ``fastrecover phase`` take it in units of the responses.)
    condition_number : float
        Ratio of the largest to the smallest singular value of the weights, at least 1, as
        :func:`fastrecover.datasets.make_teacher` plants them.
    probability : float
        Chance of recovery that is asked for, between 0 and 1; see :class:`RequiredRows`.
    within : float, optional
        Largest relative error that is wanted beside that; more rows are planned where noise leaves a larger one.

    Returns
    -------
    RequiredRows
        With ``rows`` as few as have at least this chance, and as many as numbers are sought in any case.

    Raises
    ------
    TypeError, ValueError
        For unknown names, numbers out of range, and networks of which no curves were measured.

    Warns
    -----
    UserWarning
        Outside of the region in which networks were planted, where the curves are continued.

    Notes
    -----
    Chances are a logistic regression of recovery on the logarithms of rows a parameter, k, d / k, the condition number
    and ``s = 1 + (noise / 0.1)^2``, on 1 / k, one over the root of the number of parameters, ``log s log k``,
    ``log s log(d / k)`` and what the logarithm of rows a parameter lacks of log 1.2, with coefficients for every
    activation.  The error of a least-squares fit has the covariance ``noise^2 I^-1 / n`` with I the information of one
    row, which is known for normal inputs, times a factor for few rows that is n / (n - p) where all rows tell equally
    much.  ``python -m bench planner planner.calibration`` and then ``python -m bench.planner`` with the file of results
    measure and fit.

    Examples
    --------
    >>> import fastrecover as fr
    >>> plan = fr.required_rows("relu", n_features=20, n_hidden=3, noise=0.1)
    >>> plan.probability >= 0.95 and plan.measured
    True
    >>> plan.at(2 * plan.rows).error < plan.error
    True
    """
    known = shipped()
    network = _checked(model, n_hidden, known)
    check_count("n_features", n_features)
    if n_features * network.n_hidden > _MOST_WEIGHTS:
        raise ValueError(
            f"n_features and n_hidden must make at most {_MOST_WEIGHTS} weights, got {n_features} times "
            f"{network.n_hidden}"
        )
    noise = _number("noise", noise, 0.0, _MOST)
    condition = _number("condition_number", condition_number, 1.0, _MOST)
    asked = _number("probability", probability, 0.0, 1.0)
    if asked in (0.0, 1.0):
        raise ValueError(f"probability must be above 0 and below 1, got {probability!r}")
    wanted = None if within is None else check_positive(within, "within")
    setting = Setting(network.activation.name, int(n_features), network.n_hidden, condition, noise)
    rows = known.rows(setting, asked)
    if wanted is not None:
        rows = _within(network, setting, wanted, rows)
    plan = _expected(network, setting, rows)
    if plan.outside:
        warnings.warn(f"planned outside of what was measured: {'; '.join(plan.outside)}", UserWarning, stacklevel=2)
    return plan


def _checked(model: str | Activation | Network, n_hidden: int | None, known: Curves) -> Network:
    network = get_model(model, n_hidden)
    extra = {
        "hidden biases": network.hidden_bias,
        "an intercept": network.fit_intercept,
        "a linear term": network.linear_term,
        "several outputs": network.n_outputs > 1,
        "patches": network.n_patches > 1,
        "a penalty": network.penalty is not None,
        f"the {network.loss.name} loss": network.loss.name != "squared",
    }
    if having := [name for name, has in extra.items() if has]:
        raise ValueError(
            f"model has {' and '.join(having)}: rows are planned for regressions under the squared loss of one output, "
            "without biases, intercept and linear term"
        )
    name = network.activation.name
    if name not in known.trials or network.activation.functions is not None:
        raise ValueError(f"model: no curves were measured for activation {name!r} (known: {', '.join(known.trials)})")
    return network


def _expected(model: Network, setting: Setting, rows: int) -> RequiredRows:
    known, d = shipped(), setting.n_features
    outside = known.outside(setting, rows)
    v = model.known_v
    if model.free_v or (v is not None and not np.array_equal(np.abs(v), np.ones(len(v)))):
        outside = (*outside, "output weights are other than 1 and -1")
    measured = get_activation(setting.activation)
    if model.activation != measured:
        outside = (*outside, f"slope {model.activation.slope:g} is not {measured.slope:g}")
    seen = min(float(rows), known.most_rows(setting))
    passes = known.cost("passes", setting, seen)
    seconds = known.cost("sweeps", setting, seen) * sweep_seconds(model, d, seen)
    if rows > seen:
        last = _LAST[setting.noise > 0]
        passes += (last - passes) * (1.0 - seen / rows)
        seconds += last * (1.0 - seen / rows) * sweep_seconds(model, d, rows)
    return RequiredRows(
        model,
        d,
        setting.noise,
        setting.condition_number,
        rows,
        known.probability(setting, rows),
        _error(model, setting, rows),
        passes,
        seconds,
        outside,
    )


def _error(model: Network, setting: Setting, rows: float) -> float:
    """Geometric mean over some planted networks."""
    if rows < setting.n_parameters:
        return np.inf
    if not setting.noise:
        return 0.0
    errors = [one.error(rows, setting.noise) for one in _planted(model, setting.n_features, setting.condition_number)]
    return float(np.exp(np.mean(np.log(errors))))


@lru_cache(maxsize=64)
def _planted(model: Network, n_features: int, condition_number: float) -> tuple[Information, ...]:
    with one_blas_thread():
        return planted_information(model, n_features, condition_number)


def _within(model: Network, setting: Setting, wanted: float, low: int) -> int:
    """Fewest rows, at least `low`, whose expected error is at most `wanted`."""
    if _error(model, setting, low) <= wanted:
        return low
    high = 2 * low
    while _error(model, setting, high) > wanted:
        if high > _MOST_ROWS:
            raise ValueError(f"within {wanted:g} asks for more than {_MOST_ROWS:g} rows: give a larger error")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _error(model, setting, middle) <= wanted else (middle, high)
    return high


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not least <= (number := float(value)) <= most:
        raise ValueError(f"{name} must lie between {least:g} and {most:g}, got {value!r}")
    return number
