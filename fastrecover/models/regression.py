"""Regression networks: squared loss, any activation, output weights fixed, signed or free.

A model is a frozen record.  It never holds data or numbers that a fit finds; it maps a flat parameter vector to
:class:`Parameters` and back, and says which row function computes its loss.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..activations import NAMES as ACTIVATIONS
from ..activations import Activation, get_activation
from .parameters import Parameters, relative_error

NAMES = (*ACTIVATIONS[:3], *ACTIVATIONS[4:], "quadratic")
_OUTPUT_WEIGHTS = ("ones", "signs", "free")


@dataclass(frozen=True)
class Regression:
    """One hidden layer under squared loss: ``f(x) = sum_j v_j phi(w_j . x) + b . x + c``.

    Parameters
    ----------
    activation : str or Activation
        One of ``fastrecover.models.NAMES`` or an :class:`~fastrecover.activations.Activation`.
    n_hidden : int
        Number of hidden units.
    output_weights : {"ones", "signs", "free"} or array_like (n_hidden,)
        What is known of v: all ones, unknown signs +-1, free real numbers, or given numbers.
    fit_intercept : bool
        Whether c is fitted (otherwise 0).
    linear_term : bool
        Whether b is fitted (otherwise absent).
    slope : float, optional
        Negative-side slope of ``leaky_relu``.

    Raises
    ------
    TypeError, ValueError
        For unknown names, counts below one, or choices that cannot be identified.
    """

    activation: Activation
    n_hidden: int
    output_weights: str | tuple[float, ...] = "ones"
    fit_intercept: bool = False
    linear_term: bool = False

    def __init__(
        self, activation="relu", n_hidden=1, output_weights="ones", fit_intercept=False, linear_term=False, *, slope=None
    ):
        act = get_activation(activation, slope=slope)
        _check_count(n_hidden)
        values = dict(
            activation=act,
            n_hidden=int(n_hidden),
            output_weights=_checked_output_weights(output_weights, int(n_hidden), act),
            fit_intercept=bool(fit_intercept),
            linear_term=bool(linear_term),
        )
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def known_v(self) -> np.ndarray | None:
        """Output weights where they are fixed numbers, else None."""
        if self.output_weights == "ones":
            return np.ones(self.n_hidden)
        return None if isinstance(self.output_weights, str) else np.array(self.output_weights)

    @property
    def free_v(self) -> bool:
        """Whether output weights are free real numbers."""
        return self.output_weights == "free"

    def with_output_weights(self, v: str | np.ndarray) -> Regression:
        """The same model with other output weights (a fixed array, or a name)."""
        return replace_model(self, output_weights=v)

    def refined(self, v: np.ndarray) -> Regression:
        """The model that refinement works on once a start has found v.

        Unknown signs become the given ones.  Free output weights of a homogeneous activation become signs
        too, since their size can be moved into the rows; this takes a flat direction out of the problem.
        """
        if self.output_weights == "signs" or (self.free_v and self.activation.degree is not None):
            return self.with_output_weights(np.where(np.asarray(v) < 0, -1.0, 1.0))
        return self

    def n_parameters(self, n_features: int) -> int:
        """Length of theta."""
        k, d = self.n_hidden, n_features
        return k * d + self.free_v * k + self.linear_term * d + self.fit_intercept

    def pack(self, parameters: Parameters) -> np.ndarray:
        """Flat theta: ``weights.ravel()``, then output weights, linear term and intercept where free."""
        parts = [parameters.weights.ravel()]
        if self.free_v:
            parts.append(parameters.output_weights)
        if self.linear_term:
            linear = parameters.linear
            parts.append(np.zeros(parameters.weights.shape[1]) if linear is None else linear)
        if self.fit_intercept:
            parts.append(np.array([parameters.intercept]))
        return np.concatenate(parts)

    def unpack(self, theta: np.ndarray, n_features: int) -> Parameters:
        """Parameters held in a flat theta.

        Raises
        ------
        ValueError
            If theta has the wrong length, or the output weights are still unknown signs.
        """
        k, d = self.n_hidden, n_features
        theta = np.asarray(theta, np.float64)
        if theta.shape != (self.n_parameters(d),):
            raise ValueError(
                f"theta must have shape ({self.n_parameters(d)},) for {k} units and {d} features, got {theta.shape}"
            )
        weights, rest = theta[: k * d].reshape(k, d), theta[k * d :]
        v = self.known_v
        if self.free_v:
            v, rest = rest[:k], rest[k:]
        if v is None:
            raise ValueError("output_weights='signs' leaves v unknown: give the signs as an array")
        linear = None
        if self.linear_term:
            linear, rest = rest[:d], rest[d:]
        return Parameters(weights, v, linear, float(rest[0]) if self.fit_intercept else 0.0)

    def finished(self, parameters: Parameters) -> Parameters:
        """Canonical parameters, units by falling size ``|v_j| |w_j|``; as they are where v was given."""
        if not isinstance(self.output_weights, str):
            return parameters
        done = parameters.canonical(self.activation, self.free_v, self.fit_intercept)
        size = np.abs(done.output_weights) * np.linalg.norm(done.weights, axis=1)
        return done.reordered(np.argsort(-size, kind="stable"))

    def error(self, estimate: Parameters, truth: Parameters) -> float:
        """Relative Frobenius error of all parameters up to the model's symmetries."""
        return relative_error(estimate, truth, self.activation, self.free_v)

    def describe(self) -> dict[str, Any]:
        """Plain data from which :func:`get_model` builds the model again."""
        act = self.activation
        if act.functions is not None:
            raise ValueError(f"activation {act.name!r} is user code: a model with it cannot be saved")
        v = self.output_weights if isinstance(self.output_weights, str) else list(self.output_weights)
        return dict(
            activation=act.name,
            slope=act.slope if act.name == "leaky_relu" else None,
            n_hidden=self.n_hidden,
            output_weights=v,
            fit_intercept=self.fit_intercept,
            linear_term=self.linear_term,
        )


Model = Regression


def replace_model(model: Regression, **changes: Any) -> Regression:
    """A copy of `model` with some fields changed."""
    fields = dict(
        activation=model.activation,
        n_hidden=model.n_hidden,
        output_weights=model.output_weights,
        fit_intercept=model.fit_intercept,
        linear_term=model.linear_term,
    )
    return Regression(**{**fields, **changes})


def Quadratic(n_hidden, output_weights="ones", linear_term=False, fit_intercept=False) -> Regression:
    """Quadratic network ``f(x) = sum_j v_j (w_j . x)^2 + b . x + c`` of rank `n_hidden`.

    Only ``M = W' diag(v) W`` is identifiable; errors are measured on it.

    Parameters
    ----------
    n_hidden : int
        Rank of M.
    output_weights : {"ones", "signs", "free"} or array_like
    linear_term, fit_intercept : bool

    Returns
    -------
    Regression
    """
    return Regression("quadratic", n_hidden, output_weights, fit_intercept, linear_term)


def get_model(spec: str | Regression, n_hidden: int | None = None, **options: Any) -> Regression:
    """The model called `spec`, or `spec` itself.

    Parameters
    ----------
    spec : str or Regression
        A name of ``fastrecover.models.NAMES`` or a model object.
    n_hidden : int, optional
        Required with a name; must agree with a model object.
    **options
        Further fields of :class:`Regression`, with a name only.

    Returns
    -------
    Regression

    Raises
    ------
    TypeError, ValueError
        Unknown names or options (the nearest is suggested), missing or contradictory `n_hidden`.
    """
    if isinstance(spec, Regression):
        if n_hidden is not None and n_hidden != spec.n_hidden:
            raise ValueError(f"n_hidden={n_hidden} contradicts the model's n_hidden={spec.n_hidden}")
        if options:
            raise TypeError(f"model options {sorted(options)} cannot be combined with a model object")
        return spec
    if not isinstance(spec, str):
        raise TypeError(f"model must be a name or an object of fastrecover.models, got {type(spec).__name__}")
    if spec not in NAMES:
        raise ValueError(f"unknown model {spec!r}{nearest(spec, NAMES)} (known: {', '.join(NAMES)})")
    if n_hidden is None:
        raise ValueError("n_hidden is required: the number of hidden units to recover")
    known = ("output_weights", "fit_intercept", "linear_term", "slope")
    for option in options:
        if option not in known:
            raise TypeError(f"unknown option {option!r}{nearest(option, known)} (known: {', '.join(known)})")
    return Regression(spec, n_hidden, **options)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """``; did you mean 'x'?`` for the closest of the known names, or an empty string."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_count(n_hidden: Any) -> None:
    if isinstance(n_hidden, bool) or not isinstance(n_hidden, (int, np.integer)):
        raise TypeError(f"n_hidden must be an integer, got {n_hidden!r}")
    if n_hidden < 1:
        raise ValueError(f"n_hidden must be at least 1, got {n_hidden}")


def _checked_output_weights(v: Any, k: int, act: Activation) -> str | tuple[float, ...]:
    if isinstance(v, str):
        if v not in _OUTPUT_WEIGHTS:
            raise ValueError(
                f"output_weights must be one of {', '.join(_OUTPUT_WEIGHTS)} or an array, got {v!r}"
                f"{nearest(v, _OUTPUT_WEIGHTS)}"
            )
        if v == "signs" and act.name == "sigmoid":
            raise ValueError(
                "output_weights='signs' is not identifiable for sigmoid units, since s(t) = 1 - s(-t) moves every "
                "sign into the intercept: use output_weights='ones' with fit_intercept=True, which has the same functions"
            )
        if v == "signs" and act.parity == "odd":
            return "ones"
        return v
    try:
        values = np.array(v, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"output_weights must be a name or numbers, got {v!r}") from None
    if values.shape != (k,):
        raise ValueError(f"output_weights must have shape ({k},), got {values.shape}")
    if not np.isfinite(values).all() or (values == 0).any():
        raise ValueError("output_weights must be finite and non-zero")
    return tuple(float(value) for value in values)
