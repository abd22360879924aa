"""Networks of scikit-learn's own kind, and back: the same numbers under other names."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from ..models import Parameters
from ._base import of_network

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}
_BACK = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
_SHARED = ("early_stopping", "validation_fraction", "n_iter_no_change", "warm_start", "random_state")


def fitted_from(kind: Any, mlp: Any) -> Any:
    """An estimator of `kind` that predicts what a fitted network of scikit-learn does.

    Parameters
    ----------
    kind : type
        OneHiddenLayerRegressor or OneHiddenLayerClassifier.
    mlp : MLPRegressor or MLPClassifier
        Fitted, with one hidden layer.

    Returns
    -------
    estimator of kind

    Raises
    ------
    TypeError, ValueError
        Another class of estimator, or a network that has no counterpart.
    """
    expected = MLPClassifier if kind._labels else MLPRegressor
    if not isinstance(mlp, expected):
        raise TypeError(f"estimator must be a {expected.__name__}, got {type(mlp).__name__}")
    check_is_fitted(mlp)
    if len(mlp.coefs_) != 2:
        raise ValueError(f"estimator must have one hidden layer, got hidden_layer_sizes={mlp.hidden_layer_sizes}")
    if mlp.activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ValueError(f"estimator must have activation {known}, got {mlp.activation!r}, which is a linear model")
    weights, v = np.array(mlp.coefs_[0].T, np.float64), np.array(mlp.coefs_[1].T, np.float64)
    biases, c = (np.array(part, np.float64) for part in mlp.intercepts_)
    options: dict[str, Any] = {name: getattr(mlp, name) for name in _SHARED}
    if kind._labels:
        if mlp.out_activation_ == "logistic" and len(v) > 1:
            raise ValueError("estimator must have one label a row, got a classifier of several labels")
    elif getattr(mlp, "loss", "squared_error") == "poisson":
        if len(v) > 1:
            raise ValueError("estimator must have one output under loss='poisson', which is what a Poisson model has")
        options |= {"loss": "poisson", "link": "log"}
    options["n_iter_no_change"] = int(min(options["n_iter_no_change"], 1 << 30))  # it may be inf
    found = kind(len(weights), model=_ACTIVATIONS[mlp.activation], alpha=mlp.alpha, standardise=False, **options)
    several = len(v) > 1
    parameters = Parameters(weights, v if several else v[0], None, c if several else float(c[0]), biases=biases)
    network = found._network().for_targets(np.zeros((1, len(v)) if several else 1))
    recovery = of_network(network, parameters, 0, canonical=False)
    for name in ("n_features_in_", "feature_names_in_", "classes_"):
        if hasattr(mlp, name):
            setattr(found, name, getattr(mlp, name))
    fitted = found._attributes(recovery, np.ones(weights.shape[1], bool))
    fitted |= {
        "n_iter_": mlp.n_iter_,
        "loss_curve_": np.array(getattr(mlp, "loss_curve_", [])),
        "validation_curve_": None,
    }
    for name, value in fitted.items():
        setattr(found, name, value)
    return found


def fitted_mlp(estimator: Any) -> Any:
    """A network of scikit-learn that predicts what a fitted estimator does.

    Parameters
    ----------
    estimator : OneHiddenLayerRegressor or OneHiddenLayerClassifier

    Returns
    -------
    MLPRegressor or MLPClassifier

    Raises
    ------
    ValueError
        A network that has no counterpart there.
    """
    check_is_fitted(estimator)
    recovery, labels = estimator.recovery_, estimator._labels
    network, loss = recovery.model, recovery.model.loss.name
    if network.activation.name not in _BACK:
        raise ValueError(f"an MLP of scikit-learn has units {', '.join(_BACK)}, got {network.activation.name!r}")
    if estimator.linear_ is not None or network.n_patches > 1 or loss in ("cross-entropy", "poisson-softplus"):
        raise ValueError(
            "an MLP of scikit-learn has no linear term, no patches, no mean of units for a probability and no rate of "
            f"log(1 + exp(f)), got {network}"
        )
    options = {name: getattr(estimator, name) for name in _SHARED}
    if isinstance(options["random_state"], (np.random.Generator, np.random.SeedSequence)):
        options["random_state"] = None
    chosen = isinstance(estimator.alpha, str) or np.ndim(estimator.alpha) > 0
    alpha = float(recovery.info.get("alpha", 0.0) if chosen else estimator.alpha)
    options |= {"alpha": alpha, "activation": _BACK[network.activation.name], "solver": "adam"}
    if loss == "poisson":
        if not hasattr(MLPRegressor(), "loss") or "loss" not in MLPRegressor().get_params():
            raise ValueError("this release of scikit-learn has no MLPRegressor of counts: 1.7 has one")
        options["loss"] = "poisson"
    mlp = (MLPClassifier if labels else MLPRegressor)(hidden_layer_sizes=(len(estimator.weights_),), **options)
    v = np.atleast_2d(estimator.output_weights_)
    mlp.coefs_ = [estimator.weights_.T.copy(), v.T.copy()]
    mlp.intercepts_ = [np.array(estimator.biases_, float), np.atleast_1d(np.array(estimator.intercept_, float))]
    mlp.n_layers_, mlp.n_outputs_, mlp.n_iter_, mlp.t_ = 3, len(v), estimator.n_iter_, 0
    mlp.out_activation_ = ("logistic" if len(v) == 1 else "softmax") if labels else "identity"
    if loss == "poisson":
        mlp.out_activation_ = "exp"
    mlp.n_features_in_ = estimator.n_features_in_
    if hasattr(estimator, "feature_names_in_"):
        mlp.feature_names_in_ = estimator.feature_names_in_
    if labels:
        mlp._label_binarizer = LabelBinarizer().fit(estimator.classes_)
        mlp.classes_ = estimator.classes_
    # What its own further steps begin with.
    mlp.loss_curve_, mlp.best_loss_, mlp._no_improvement_count = [], np.inf, 0
    mlp.validation_scores_, mlp.best_validation_score_ = None, None
    return mlp
