"""Model names as users write them."""

from __future__ import annotations

from typing import Any

from ..activations import NAMES as ACTIVATIONS
from ..activations import Activation
from .classification import named
from .network import Network, nearest
from .regression import Regression

NAMES = (*ACTIVATIONS, "fcn", "cnn")
PRESET_NAMES = (
    "zhong2017",
    "zhang2018",
    "ge2017",
    "xia2019",
    "landscape",
    "fu2018-fcn",
    "fu2018-cnn",
)  # of fastrecover.papers, for suggestions


def get_model(spec: str | Network, n_hidden: int | None = None, **options: Any) -> Network:
    """The model called `spec`, or `spec` itself.

    Parameters
    ----------
    spec : str or Network
        A name of ``fastrecover.models.NAMES``, an Activation (of a regression) or a model object.
    n_hidden : int, optional
        Required with a name; must agree with a model object.
    **options
        Further arguments of the model's class, with a name only.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Unknown names or options (the nearest is suggested), missing or contradictory `n_hidden`.
    """
    if isinstance(spec, Network):
        if n_hidden is not None and n_hidden != spec.n_hidden:
            raise ValueError(f"n_hidden={n_hidden} contradicts the model's n_hidden={spec.n_hidden}")
        if options:
            raise TypeError(f"model options {sorted(options)} cannot be combined with a model object")
        return spec
    if isinstance(spec, Activation):
        if n_hidden is None:
            raise ValueError("n_hidden is required: the number of hidden units to recover")
        return Regression(spec, n_hidden, **options)
    if not isinstance(spec, str):
        raise TypeError(f"model must be a name or an object of fastrecover.models, got {type(spec).__name__}")
    if spec not in NAMES:
        raise ValueError(f"unknown model {spec!r}{nearest(spec, (*NAMES, *PRESET_NAMES))} (known: {', '.join(NAMES)})")
    if spec in ("fcn", "cnn"):
        return named(spec, n_hidden, options)
    if n_hidden is None:
        raise ValueError("n_hidden is required: the number of hidden units to recover")
    known = ("output_weights", "fit_intercept", "linear_term", "slope")
    for option in options:
        if option not in known:
            raise TypeError(f"unknown option {option!r}{nearest(option, known)} (known: {', '.join(known)})")
    return Regression(spec, n_hidden, **options)
