"""Model names as users write them, and what a name means where an option is not given."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack

from ..activations import NAMES as ACTIVATIONS
from ..activations import Activation, get_activation
from ..losses import Loss
from .classification import Classification, ConvClassification, Logistic
from .network import Network, OutputWeights, nearest
from .regression import Poisson, Regression

NAMES = (*ACTIVATIONS, "fcn", "cnn")
_OPTIONS = ("output_weights", "fit_intercept", "linear_term", "slope", "hidden_bias", "loss", "delta", "link")


class ModelOptions(TypedDict, total=False):
    """Options that go with the name of a model; which of them a name takes, :func:`get_model` checks."""

    output_weights: OutputWeights | None
    fit_intercept: bool
    linear_term: bool
    slope: float | None
    n_patches: int
    activation: str | Activation
    hidden_bias: bool
    loss: str | Loss
    delta: float | None
    link: str


def default_output_weights(activation: str | Activation) -> Literal["ones", "signs"]:
    """What is taken to be known of the output weights where nothing is said.

    Unknown signs, which include all ones; but "ones" where a sign moves into the intercept, since units with signs
    could not be told apart.

    Parameters
    ----------
    activation : str or Activation

    Returns
    -------
    {"ones", "signs"}
    """
    return "ones" if get_activation(activation).reflects_into_intercept else "signs"


def get_model(
    spec: str | Activation | Network,
    n_hidden: int | None = None,
    *,
    output_weights_default: OutputWeights | None = None,
    also: tuple[str, ...] = (),
    **options: Unpack[ModelOptions],
) -> Network:
    """The model called `spec`, or `spec` itself.

    Parameters
    ----------
    spec : str, Activation or Network
        A name of ``fastrecover.models.NAMES``, an Activation (of a regression) or a model object.
    n_hidden : int, optional
        Required with a name; must agree with a model object.
    output_weights_default : optional
        Output weights of a regression where the options give none, for callers that must differ from
        :func:`default_output_weights`.
    also : tuple of str
        Names beyond those of models that the caller understands, for suggestions.
    **options
        Further arguments of the model, with a name or an Activation only.

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
    if not isinstance(spec, (str, Activation)):
        hint = ": make an activation of it by Activation.from_functions" if callable(spec) else ""
        raise TypeError(f"model must be a name or an object of fastrecover.models, got {type(spec).__name__}{hint}")
    if isinstance(spec, str) and spec not in NAMES:
        raise ValueError(f"unknown model {spec!r}{nearest(spec, (*NAMES, *also))} (known: {', '.join(NAMES)})")
    if spec == "cnn":
        return _cnn(n_hidden, options)
    if n_hidden is None:
        raise ValueError("n_hidden is required: the number of hidden units to recover")
    if spec == "fcn":
        _check_options(options, ("hidden_bias",), "model 'fcn' takes only n_hidden and hidden_bias")
        return Classification(n_hidden, options.get("hidden_bias", False))
    for option in options:
        if option not in _OPTIONS:
            raise TypeError(f"unknown option {option!r}{nearest(option, _OPTIONS)} (known: {', '.join(_OPTIONS)})")
    chosen: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    loss, link = chosen.pop("loss", "squared"), chosen.pop("link", None)
    name = loss if isinstance(loss, str) else loss.name
    if link is not None and name != "poisson":
        raise TypeError(f"link belongs to loss='poisson', not to {name!r}")
    if name in ("logistic", "poisson"):
        if "delta" in chosen:
            raise TypeError(f"delta belongs to loss='huber', not to {name!r}")
        if name == "logistic":
            return Logistic(spec, n_hidden, **chosen)
        return Poisson(spec, n_hidden, link or "log", **chosen)
    if "output_weights" not in chosen:
        default = default_output_weights(spec) if output_weights_default is None else output_weights_default
        chosen["output_weights"] = default
    return Regression(spec, n_hidden, loss=loss, **chosen)


def _check_options(options: ModelOptions, known: tuple[str, ...], takes: str) -> None:
    unknown = next((option for option in options if option not in known), None)
    if unknown is not None:
        raise TypeError(f"unknown option {unknown!r}: {takes}")


def _cnn(n_hidden: int | None, options: ModelOptions) -> Network:
    _check_options(options, ("n_patches", "hidden_bias"), "model 'cnn' takes only n_patches and hidden_bias")
    if "n_patches" not in options:
        raise ValueError("n_patches is required: the number of patches that the features are cut into")
    if n_hidden not in (None, 1):
        raise ValueError(f"n_hidden must be 1 for model 'cnn', whose patches share one filter, got {n_hidden}")
    return ConvClassification(options["n_patches"], options.get("hidden_bias", False))
