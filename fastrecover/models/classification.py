"""Classification models: the mean of sigmoid units is a probability, under cross entropy (Fu, Chi and Liang 2018)."""

from __future__ import annotations

from typing import Any

from ..losses import CROSS_ENTROPY
from .network import Network, check_count


class Classification(Network):
    """Fully connected network: ``P(y = 1 | x) = H(x) = mean_j sigma(w_j . x)``.

    Parameters
    ----------
    n_hidden : int
        Number of hidden units.

    Raises
    ------
    TypeError, ValueError
        Not a count of at least 1.
    """

    def __init__(self, n_hidden: int) -> None:
        check_count("n_hidden", n_hidden)
        self._set("sigmoid", n_hidden, (1.0 / n_hidden,) * n_hidden, loss=CROSS_ENTROPY)


class ConvClassification(Network):
    """One filter on disjoint patches: ``P(y = 1 | x) = H(x) = mean_p sigma(w . x^(p))``.

    Parameters
    ----------
    n_patches : int
        Patches that x is cut into; the filter has d / n_patches weights.

    Raises
    ------
    TypeError, ValueError
        Not a count of at least 1.
    """

    def __init__(self, n_patches: int) -> None:
        check_count("n_patches", n_patches)
        self._set("sigmoid", 1, (1.0 / n_patches,), loss=CROSS_ENTROPY, n_patches=n_patches)


def named(name: str, n_hidden: int | None, options: dict[str, Any]) -> Network:
    """The model called ``fcn`` or ``cnn``."""
    if name == "fcn":
        if options:
            raise TypeError(f"unknown option {next(iter(options))!r}: model 'fcn' takes only n_hidden")
        if n_hidden is None:
            raise ValueError("n_hidden is required: the number of hidden units to recover")
        return Classification(n_hidden)
    unknown = [option for option in options if option != "n_patches"]
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}: model 'cnn' takes only n_patches")
    if "n_patches" not in options:
        raise ValueError("n_patches is required: the number of patches that the features are cut into")
    if n_hidden not in (None, 1):
        raise ValueError(f"n_hidden must be 1 for model 'cnn', whose patches share one filter, got {n_hidden}")
    return ConvClassification(options["n_patches"])
