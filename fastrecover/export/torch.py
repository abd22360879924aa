"""Networks as modules of PyTorch: layers of its own where it has them, and one small module for what it has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("to_torch needs PyTorch: pip install torch") from error

from ..activations import Activation
from ..models import Network, Parameters
from . import check_built_in

#: Modules of PyTorch by the names of activations.
MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "squared_relu": lambda z: torch.square(torch.relu(z)),
    "quadratic": torch.square,
    "erf": torch.erf,
    "abs": torch.abs,
}
_STRAIGHT = 40.0  # from where on softplus is its argument in double precision; PyTorch takes it to be so from 20 on


class Pointwise(nn.Module):
    """An activation that PyTorch has no module of.

    Parameters
    ----------
    name : {"squared_relu", "quadratic", "erf", "abs"}
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, z: Tensor) -> Tensor:
        """phi of every entry."""
        return _FUNCTIONS[self.name](z)

    def extra_repr(self) -> str:
        """What it is, for a printed module."""
        return repr(self.name)


class OneHiddenLayer(nn.Module):
    """``f(x) = sum_p V phi(W x^(p) + a) + B x + c``: a shared filter on patches x^(p), or a linear term beside units.

    Parameters
    ----------
    hidden : nn.Linear
        W and a.
    activation : nn.Module
    output : nn.Linear
        V and c.
    linear : nn.Linear or None
        B.
    n_patches : int
    """

    def __init__(
        self, hidden: nn.Linear, activation: nn.Module, output: nn.Linear, linear: nn.Linear | None, n_patches: int
    ) -> None:
        super().__init__()
        self.hidden, self.activation, self.output, self.linear = hidden, activation, output, linear
        self.n_patches = n_patches

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (..., n_outputs) of rows (..., n_features)."""
        patches = x.unflatten(-1, (self.n_patches, -1))
        f: Tensor = self.output(self.activation(self.hidden(patches)).sum(-2))
        return f if self.linear is None else f + self.linear(x)


def module_of(model: Network, parameters: Parameters) -> nn.Module:
    """See :meth:`fastrecover.Recovery.to_torch`."""
    check_built_in(model, "PyTorch")
    p = parameters
    c = np.atleast_1d(p.intercept) if model.fit_intercept or np.any(p.intercept) else None
    hidden, output = _linear(p.weights, p.biases), _linear(p.columns, c)
    activation = _activation(model.activation)
    if p.linear is None and model.n_patches == 1:
        return nn.Sequential(hidden, activation, output)
    linear = None if p.linear is None else _linear(np.atleast_2d(p.linear), None)
    return OneHiddenLayer(hidden, activation, output, linear, model.n_patches)


def _activation(activation: Activation) -> nn.Module:
    name = activation.name
    if name in _FUNCTIONS:
        return Pointwise(name)
    options: dict[str, Any] = {"leaky_relu": {"negative_slope": activation.slope}, "softplus": {"threshold": _STRAIGHT}}
    return MODULES[name](**options.get(name, {}))


def _linear(weights: np.ndarray, biases: np.ndarray | None) -> nn.Linear:
    """A layer of these numbers, made without drawing any at random."""
    m, d = weights.shape
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, d, m, bias=biases is not None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        if biases is not None:
            layer.bias.copy_(torch.tensor(biases))
    return layer
