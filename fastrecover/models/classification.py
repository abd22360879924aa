"""Classification models: a mean of sigmoid units that is a probability (Fu, Chi and Liang 2018), or logits."""

from __future__ import annotations

from ..activations import Activation, get_activation
from ..losses import CROSS_ENTROPY, LOGISTIC
from .network import Network, OutputWeights, check_count, make_network


def Logistic(
    activation: str | Activation = "relu",
    n_hidden: int = 1,
    output_weights: OutputWeights = "free",
    fit_intercept: bool = True,
    linear_term: bool = False,
    hidden_bias: bool | None = None,
    *,
    slope: float | None = None,
) -> Network:
    """Two classes or more by logits: ``P(y = o | x)`` is the softmax of ``f_o = v_o . phi(W x + a) + b_o . x + c_o``.

    Of two classes the one output f is the logarithm of the odds of the second.  How many there are is seen in y.

    Parameters
    ----------
    activation : str or Activation
    n_hidden : int
        Number of hidden units.
    output_weights : {"ones", "signs", "free"} or array_like (n_hidden,)
        Only "free" takes more than two classes.
    fit_intercept, linear_term : bool
    hidden_bias : bool, optional
        Whether the units' biases a_j are fitted; by default they are, but for quadratic units.
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
    act = get_activation(activation, slope)
    hidden_bias = not act.is_quadratic if hidden_bias is None else hidden_bias
    return make_network(act, n_hidden, output_weights, fit_intercept, linear_term, LOGISTIC, hidden_bias=hidden_bias)


def Classification(n_hidden: int, hidden_bias: bool = False) -> Network:
    """Fully connected network: ``P(y = 1 | x) = H(x) = mean_j sigma(w_j . x + a_j)``.

    Parameters
    ----------
    n_hidden : int
        Number of hidden units.
    hidden_bias : bool
        Whether the units' biases a_j are fitted (otherwise 0).

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Not a count of at least 1.
    """
    check_count("n_hidden", n_hidden)
    v = (1.0 / n_hidden,) * n_hidden
    return make_network("sigmoid", n_hidden, v, loss=CROSS_ENTROPY, hidden_bias=hidden_bias)


def ConvClassification(n_patches: int, hidden_bias: bool = False) -> Network:
    """One filter on disjoint patches: ``P(y = 1 | x) = H(x) = mean_p sigma(w . x^(p) + a)``.

    Parameters
    ----------
    n_patches : int
        Patches that x is cut into; the filter has d / n_patches weights.
    hidden_bias : bool
        Whether the filter's bias a is fitted (otherwise 0).

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Not a count of at least 1.
    """
    check_count("n_patches", n_patches)
    v = (1.0 / n_patches,)
    return make_network("sigmoid", 1, v, loss=CROSS_ENTROPY, n_patches=n_patches, hidden_bias=hidden_bias)
