"""An estimator of what ``fastrecover.fit`` or ``fastrecover.extract`` has found."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..losses import POISSON_SOFTPLUS, Huber
from ..models import Network
from ..recovery import Recovery
from .classifier import OneHiddenLayerClassifier
from .regressor import OneHiddenLayerRegressor


def of_recovery(recovery: Recovery) -> Any:
    """A fitted estimator that predicts what a recovery does; see :meth:`fastrecover.Recovery.to_sklearn`.

    Its options are those of the model by the name of its activation where they say all of it, else the model itself.

    Parameters
    ----------
    recovery : Recovery

    Returns
    -------
    OneHiddenLayerRegressor or OneHiddenLayerClassifier
    """
    network = recovery.model.changed(penalty=None)
    kind: Any = OneHiddenLayerClassifier if network.loss.takes_labels else OneHiddenLayerRegressor
    several = (1, network.n_outputs) if network.n_outputs > 1 else 1
    penalty = {name: recovery.info.get(name, default) for name, default in (("alpha", 0.0), ("standardise", False))}
    found = kind(network.n_hidden, **_options(network), **penalty)
    if network.n_patches > 1 or found._network().for_targets(np.zeros(several)) != network:
        found = kind(network.n_hidden, model=network, **penalty)
    found.n_features_in_ = recovery.n_features
    if recovery.feature_names is not None:
        found.feature_names_in_ = np.array(recovery.feature_names, object)
    if recovery.classes is not None:
        found.classes_ = recovery.classes
    fitted = found._attributes(recovery, np.ones(recovery.n_features, bool)) | {"validation_curve_": None}
    for name, value in fitted.items():
        setattr(found, name, value)
    return found


def _options(network: Network) -> dict[str, Any]:
    """Parameters of an estimator that stand for a network, as far as an activation by name has any."""
    act, loss = network.activation, network.loss
    options: dict[str, Any] = {
        "model": act.name if act.functions is None else act,
        "output_weights": network.output_weights,
        "hidden_bias": network.hidden_bias,
        "fit_intercept": network.fit_intercept,
        "linear_term": network.linear_term,
    }
    if act.takes_slope:
        options["slope"] = act.slope
    if isinstance(loss, Huber):
        options["delta"] = loss.delta
    if not loss.takes_labels:
        softplus = loss == POISSON_SOFTPLUS
        options |= {"loss": "poisson", "link": "softplus"} if softplus else {"loss": loss.name}
    return options
