"""Classification models: the mean of sigmoid units is a probability, under cross entropy (Fu, Chi and Liang 2018)."""

from __future__ import annotations

from ..losses import CROSS_ENTROPY
from .network import Network, check_count, make_network


def Classification(n_hidden: int) -> Network:
    """Fully connected network: ``P(y = 1 | x) = H(x) = mean_j sigma(w_j . x)``.

    Parameters
    ----------
    n_hidden : int
        Number of hidden units.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Not a count of at least 1.
    """
    check_count("n_hidden", n_hidden)
    return make_network("sigmoid", n_hidden, (1.0 / n_hidden,) * n_hidden, loss=CROSS_ENTROPY)


def ConvClassification(n_patches: int) -> Network:
    """One filter on disjoint patches: ``P(y = 1 | x) = H(x) = mean_p sigma(w . x^(p))``.

    Parameters
    ----------
    n_patches : int
        Patches that x is cut into; the filter has d / n_patches weights.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Not a count of at least 1.
    """
    check_count("n_patches", n_patches)
    return make_network("sigmoid", 1, (1.0 / n_patches,), loss=CROSS_ENTROPY, n_patches=n_patches)
