"""Regression models: squared, Huber or Poisson loss, output weights fixed, signed or free.

The functions are named like classes, since they are what a user makes a model with.
"""

from __future__ import annotations

from ..activations import Activation, get_activation
from ..losses import POISSON, POISSON_SOFTPLUS, SQUARED, Loss, get_loss
from .network import Network, OutputWeights, check_count, make_network

_LINKS: dict[str, Loss] = {"log": POISSON, "softplus": POISSON_SOFTPLUS}
_INSTEAD = "models.Logistic and models.Poisson are for labels and counts"


def Regression(
    activation: str | Activation = "relu",
    n_hidden: int = 1,
    output_weights: OutputWeights = "ones",
    fit_intercept: bool = False,
    linear_term: bool = False,
    hidden_bias: bool = False,
    loss: str | Loss = SQUARED,
    *,
    slope: float | None = None,
    delta: float | None = None,
) -> Network:
    """One hidden layer for real responses: ``f(x) = sum_j v_j phi(w_j . x + a_j) + b . x + c``.

    Responses may have several columns: with free output weights each is an output of its own, and all share the
    hidden units.

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
    hidden_bias : bool
        Whether the units' biases a_j are fitted (otherwise 0).
    loss : {"squared", "huber"} or Loss
        "huber" is linear in residuals beyond `delta`, so that a few wild responses count for little.
    slope : float, optional
        Negative-side slope of ``leaky_relu``.
    delta : float, optional
        Residual from which the Huber loss is linear, in the unit of the responses; 1.0 if not given.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        For unknown names, counts below one, or choices that cannot be identified.
    """
    scored = get_loss(loss, delta)
    if not scored.in_response_units:
        raise ValueError(f"loss must be 'squared' or 'huber' for a regression, got {scored.name!r}: {_INSTEAD}")
    act = get_activation(activation, slope)
    return make_network(act, n_hidden, output_weights, fit_intercept, linear_term, scored, hidden_bias=hidden_bias)


def Poisson(
    activation: str | Activation = "relu",
    n_hidden: int = 1,
    link: str = "log",
    output_weights: OutputWeights = "free",
    fit_intercept: bool = True,
    linear_term: bool = False,
    hidden_bias: bool = False,
    *,
    slope: float | None = None,
) -> Network:
    """Counts whose rate is a function of the output: ``log q = f(x)``, or ``q = log(1 + e^f(x))``.

    Parameters
    ----------
    activation : str or Activation
    n_hidden : int
    link : {"log", "softplus"}
        "softplus" is linear where the output is large, so that rates do not explode.
    output_weights : {"ones", "signs", "free"} or array_like (n_hidden,)
    fit_intercept, linear_term, hidden_bias : bool
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
    if link not in _LINKS:
        raise ValueError(f"link must be one of {', '.join(_LINKS)}, got {link!r}")
    act = get_activation(activation, slope)
    loss = _LINKS[link]
    return make_network(act, n_hidden, output_weights, fit_intercept, linear_term, loss, hidden_bias=hidden_bias)


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
    hidden_bias: bool = False,
    *,
    slope: float | None = None,
) -> Network:
    """One filter on disjoint patches under squared loss: ``f(x) = mean_p phi(w . x^(p) + a) + c``.

    Parameters
    ----------
    n_patches : int
        Patches that x is cut into; the filter has d / n_patches weights.
    activation : str or Activation
    fit_intercept, hidden_bias : bool
    slope : float, optional
        Negative-side slope of ``leaky_relu``.

    Returns
    -------
    Network
    """
    act = get_activation(activation, slope)
    check_count("n_patches", n_patches)
    return make_network(act, 1, (1.0 / n_patches,), fit_intercept, n_patches=n_patches, hidden_bias=hidden_bias)
