"""Regression models: squared loss, output weights fixed, signed or free.

The functions are named like classes, since they are what a user makes a model with.
"""

from __future__ import annotations

from ..activations import Activation, get_activation
from .network import Network, OutputWeights, check_count, make_network


def Regression(
    activation: str | Activation = "relu",
    n_hidden: int = 1,
    output_weights: OutputWeights = "ones",
    fit_intercept: bool = False,
    linear_term: bool = False,
    *,
    slope: float | None = None,
) -> Network:
    """One hidden layer under squared loss: ``f(x) = sum_j v_j phi(w_j . x) + b . x + c``.

    Parameters
    ----------
    activation : str or Activation
        One of ``fastrecover.activations.NAMES`` or an :class:`~fastrecover.activations.Activation`.
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

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        For unknown names, counts below one, or choices that cannot be identified.
    """
    return make_network(get_activation(activation, slope), n_hidden, output_weights, fit_intercept, linear_term)


def Quadratic(
    n_hidden: int,
    output_weights: OutputWeights = "ones",
    linear_term: bool = False,
    fit_intercept: bool = False,
) -> Network:
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
    Network
        ``Regression("quadratic", ...)`` by another name.
    """
    return Regression("quadratic", n_hidden, output_weights, fit_intercept, linear_term)


def ConvRegression(
    n_patches: int,
    activation: str | Activation = "relu",
    fit_intercept: bool = False,
    *,
    slope: float | None = None,
) -> Network:
    """One filter on disjoint patches under squared loss: ``f(x) = mean_p phi(w . x^(p)) + c``.

    Parameters
    ----------
    n_patches : int
        Patches that x is cut into; the filter has d / n_patches weights.
    activation : str or Activation
    fit_intercept : bool
    slope : float, optional
        Negative-side slope of ``leaky_relu``.

    Returns
    -------
    Network
    """
    act = get_activation(activation, slope)
    check_count("n_patches", n_patches)
    return make_network(act, 1, (1.0 / n_patches,), fit_intercept, n_patches=n_patches)
