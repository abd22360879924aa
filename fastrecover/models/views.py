"""What can be asked of anything that has a model and parameters: a planted network or a recovered one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .network import Network
from .parameters import Parameters


class HasParameters(Protocol):
    """A network with numbers: a Teacher, a Recovery, or anything else with these two."""

    @property
    def model(self) -> Network: ...

    @property
    def parameters(self) -> Parameters: ...


class ParameterViews:
    """Parameters under short names, for classes with a ``model`` and ``parameters``."""

    @property
    def weights(self: HasParameters) -> np.ndarray:
        """One row per hidden unit, (n_hidden, n_features)."""
        return self.parameters.weights

    @property
    def output_weights(self: HasParameters) -> np.ndarray:
        """v, (n_hidden,), or (n_outputs, n_hidden) for several outputs."""
        return self.parameters.output_weights

    @property
    def biases(self: HasParameters) -> np.ndarray:
        """Biases of hidden units, (n_hidden,), zeros when the model has none."""
        p = self.parameters
        return np.zeros(len(p.weights)) if p.biases is None else p.biases

    @property
    def linear(self: HasParameters) -> np.ndarray | None:
        """Linear term b, (n_features,), or (n_outputs, n_features), or None."""
        return self.parameters.linear

    @property
    def intercept(self: HasParameters) -> float | np.ndarray:
        """c, 0.0 when the model has none; (n_outputs,) for several outputs."""
        return self.parameters.intercept

    @property
    def n_hidden(self: HasParameters) -> int:
        """Number of hidden units."""
        return len(self.parameters.weights)

    @property
    def n_features(self: HasParameters) -> int:
        """Number of inputs."""
        return self.parameters.weights.shape[1] * self.model.n_patches


def parameters_of(truth: HasParameters | Parameters) -> Parameters:
    """Parameters of a Teacher, a Recovery or Parameters; TypeError for anything else."""
    parameters = getattr(truth, "parameters", truth)
    if not isinstance(parameters, Parameters):
        raise TypeError(f"truth must be a Teacher, a Recovery or Parameters, got {type(truth).__name__}")
    return parameters
