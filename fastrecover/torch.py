"""PyTorch operators of one-hidden-layer networks on CPU, and fits of modules.

Rows are read once where PyTorch reads and writes them several times: a loss comes with its gradient from one sweep.
The operators are functions of one flat vector of parameters, which autograd makes of a module's tensors and takes apart
again, so that one registration serves every network, and ``torch.compile`` sees opaque calls without graph breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor, library, nn
except ImportError as error:
    raise ImportError("fastrecover.torch needs PyTorch: pip install torch") from error

from ._frameworks import known_loss
from .activations import get_activation
from .api import fit
from .engines import engine_on
from .export.torch import MODULES, Pointwise
from .losses import get_loss
from .models import Logistic, Network, Poisson, Regression
from .models.network import make_network
from .recovery import Recovery
from .sources import ArraySource
from .sweeps import Objective, pulled_back

__all__ = ["fit_module", "loss", "outputs"]

_ACTIVATIONS: dict[type[nn.Module], str] = {module: name for name, module in MODULES.items()}


#: What an operator is told of a network, in this order: the fields of one string, the one type of operators that holds
#: all of them.  Tracers follow how it is made.
_FIELDS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("activation", str),
    ("slope", float),
    ("n_hidden", int),
    ("n_outputs", int),
    ("hidden_bias", lambda text: text == "True"),
    ("fit_intercept", lambda text: text == "True"),
    ("loss", str),
    ("delta", float),
)


@lru_cache(maxsize=256)
def _network(spec: str) -> Network:
    """The network that an operator is told of."""
    fields = {name: read(text) for (name, read), text in zip(_FIELDS, spec.split(), strict=True)}
    slope, delta = fields.pop("slope"), fields.pop("delta")
    act = get_activation(fields.pop("activation"), slope if "leaky_relu " in spec else None)
    own = get_loss(fields.pop("loss"), delta if " huber " in spec else None)
    return make_network(act, output_weights="free", loss=own, **fields)


def _objective(x: Tensor, y: Tensor | None, weight: Tensor | None, spec: str) -> Objective:
    targets, w = (None if each is None else _doubles(each) for each in (y, weight))
    return Objective(engine_on(ArraySource(x.numpy(), targets, w), torch.get_num_threads()), _network(spec))


def _doubles(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.numpy(), np.float64)


def _like(tensor: Tensor, values: Any) -> Tensor:
    return torch.from_numpy(np.array(values)).to(tensor.dtype)


@library.custom_op("fastrecover::loss", mutates_args=(), device_types="cpu")
def _loss(
    x: Tensor, y: Tensor, theta: Tensor, weight: Tensor | None, with_gradient: bool, spec: str
) -> tuple[Tensor, Tensor]:
    """Loss, and its gradient by theta (empty where it is not wanted), from one sweep."""
    objective = _objective(x, y, weight, spec)
    if not with_gradient:
        return _like(theta, objective.value(_doubles(theta))), theta.new_empty(0)
    value, grad = objective.value_and_grad(_doubles(theta))
    return _like(theta, value), _like(theta, grad)


@library.custom_op("fastrecover::scaled_gradient", mutates_args=(), device_types="cpu")
def _scaled_gradient(
    scale: Tensor, grad: Tensor, x: Tensor, y: Tensor, theta: Tensor, weight: Tensor | None, spec: str
) -> Tensor:
    """``scale grad``; autograd is told that grad is the gradient of the loss by theta."""
    return scale * grad


@library.custom_op("fastrecover::hessian_product", mutates_args=(), device_types="cpu")
def _hessian_product(x: Tensor, y: Tensor, theta: Tensor, weight: Tensor | None, v: Tensor, spec: str) -> Tensor:
    """Product of the loss's Hessian by theta with v, from one sweep."""
    return _like(theta, _objective(x, y, weight, spec).hessp(_doubles(theta), _doubles(v)))


@library.custom_op("fastrecover::outputs", mutates_args=(), device_types="cpu")
def _outputs(x: Tensor, theta: Tensor, spec: str) -> Tensor:
    """Outputs of all rows, (n, n_outputs)."""
    return _like(theta, _objective(x, None, None, spec).predict(_doubles(theta)).reshape(len(x), -1))


@library.custom_op("fastrecover::outputs_pulled_back", mutates_args=(), device_types="cpu")
def _outputs_pulled_back(u: Tensor, x: Tensor, theta: Tensor, spec: str) -> Tensor:
    """Product of u (n, n_outputs) with the Jacobian of the outputs by theta, from one sweep."""
    rows = u if u.shape[1] > 1 else u[:, 0]
    return _like(theta, pulled_back(_objective(x, rows, None, spec), _doubles(theta), _doubles(rows)))


@_loss.register_fake
def _(x: Tensor, y: Tensor, theta: Tensor, weight: Tensor | None, with_gradient: bool, spec: str) -> Any:
    return theta.new_empty(()), theta.new_empty(theta.shape if with_gradient else 0)


@_outputs.register_fake
def _(x: Tensor, theta: Tensor, spec: str) -> Tensor:
    return theta.new_empty((x.shape[0], _network(spec).n_outputs))


_scaled_gradient.register_fake(lambda scale, grad, *rest: torch.empty_like(grad))
_hessian_product.register_fake(lambda x, y, theta, *rest: torch.empty_like(theta))
_outputs_pulled_back.register_fake(lambda u, x, theta, spec: torch.empty_like(theta))


def _keep_loss(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, y, theta, weight, _, ctx.spec = inputs
    ctx.save_for_backward(output[1], x, y, theta, weight)
    ctx.mark_non_differentiable(output[1])


def _back_loss(ctx: Any, scale: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    grad = ctx.saved_tensors[0]  # another operator, with what a call costs, only where it is differentiated again
    again = torch.is_grad_enabled()
    by_theta = _scaled_gradient(scale, *ctx.saved_tensors, ctx.spec) if again else scale * grad
    return None, None, by_theta, None, None, None


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.spec = inputs
    ctx.save_for_backward(*tensors)


def _back_gradient(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
    scale, grad, x, y, theta, weight = ctx.saved_tensors
    return torch.dot(v, grad), None, None, None, scale * _hessian_product(x, y, theta, weight, v, ctx.spec), None, None


def _keep_outputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, theta, ctx.spec = inputs
    ctx.save_for_backward(x, theta)


def _back_outputs(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
    return None, _outputs_pulled_back(u, *ctx.saved_tensors, ctx.spec), None


_loss.register_autograd(_back_loss, setup_context=_keep_loss)
_scaled_gradient.register_autograd(_back_gradient, setup_context=_keep_gradient)
_outputs.register_autograd(_back_outputs, setup_context=_keep_outputs)


def loss(
    module: nn.Module,
    X: Tensor,
    y: Tensor,
    kind: str = "mse",
    *,
    sample_weight: Tensor | None = None,
    delta: float = 1.0,
) -> Tensor:
    """Loss of a one-hidden-layer network, with gradients and Hessian products for autograd.

    One sweep over the rows gives the loss and the gradient by all parameters, a second one a product with the Hessian
    where gradients are differentiated again.  It is one line of an existing loop, and the number is that of
    ``torch.nn.functional``; an operator costs nearly half a millisecond, so that it pays from some ten thousand rows a
    batch on::

        loss = fastrecover.torch.loss(module, X, y)          # for F.mse_loss(module(X), y)
        loss.backward()

    Parameters
    ----------
    module : nn.Sequential
        Linear, ReLU, LeakyReLU, Sigmoid, Tanh or Softplus, or what :meth:`fastrecover.Recovery.to_torch` has in its
        place, Linear; on CPU, with or without biases.
    X : Tensor (n, d), float32 or float64
        Read where it lies if its columns are next to each other.  No gradient by X is computed.
    y : Tensor (n,) or (n, n_outputs)
        Of "cross_entropy" classes (n,) of an integer type, or probabilities; of "poisson_nll" counts.
    kind : {"mse", "huber", "bce_with_logits", "cross_entropy", "poisson_nll"}
        Mean over rows (and outputs) of that function of ``torch.nn.functional``; "bce_with_logits" and "poisson_nll"
        (of log rates) take one output.
    sample_weight : Tensor (n,), optional
        Non-negative; the mean is the weighted one.
    delta : float
        Of "huber".

    Returns
    -------
    Tensor ()
        Of the parameters' type; sums are in double.

    Raises
    ------
    TypeError, ValueError
        Another module, loss, device, type or shape; or an X that asks for a gradient.
    """
    described, theta = _taken_apart(module, X)
    outputs = _parts(module)[3].out_features
    own, factor = known_loss(kind, outputs)
    spec = f"{described} {own} {float(delta)}"
    if sample_weight is not None and sample_weight.shape != X.shape[:1]:
        raise ValueError(f"sample_weight must have shape ({X.shape[0]},), got {tuple(sample_weight.shape)}")
    targets = _targets(y, X.shape[0], outputs, kind)
    with_gradient = torch.is_grad_enabled() and theta.requires_grad
    return factor(outputs) * _loss(_rows(X), targets, theta, sample_weight, with_gradient, spec)[0]


def outputs(module: nn.Module, X: Tensor) -> Tensor:
    """Outputs ``module(X)`` from one sweep that holds no activations, with one more for the gradient.

    For losses that :func:`loss` does not have.  There is no second derivative.

    Parameters
    ----------
    module : nn.Sequential
        As for :func:`loss`.
    X : Tensor (n, d)

    Returns
    -------
    Tensor (n, n_outputs)

    Raises
    ------
    TypeError, ValueError
        Another module, device or type, or an X that asks for a gradient.
    """
    described, theta = _taken_apart(module, X)
    return _outputs(_rows(X), theta, f"{described} squared 1.0")


def _parts(module: nn.Module) -> tuple[nn.Linear, str, float, nn.Linear]:
    """First layer, activation and its slope, second layer."""
    if not isinstance(module, nn.Sequential) or len(module) != 3:
        raise TypeError(f"module must be nn.Sequential(Linear, activation, Linear), got {type(module).__name__}")
    first, act, second = module[0], module[1], module[2]
    if not (isinstance(first, nn.Linear) and isinstance(second, nn.Linear)):
        raise TypeError(f"module must have linear layers first and last, got {type(first)} and {type(second)}")
    name = act.name if isinstance(act, Pointwise) else _ACTIVATIONS.get(type(act))
    if name is None:
        known = ", ".join(kind.__name__ for kind in _ACTIVATIONS)
        raise TypeError(f"module must have one of {known} between its layers, got {type(act).__name__}")
    if isinstance(act, nn.Softplus) and act.beta != 1:
        raise ValueError(f"Softplus must have beta=1, got {act.beta}")
    return first, name, float(getattr(act, "negative_slope", 0.0)), second


def _taken_apart(module: nn.Module, X: Tensor) -> tuple[str, Tensor]:
    """What an operator is told of a module but its loss, and its parameters in one vector, after a look at X."""
    first, name, slope, second = _parts(module)
    if X.ndim != 2 or X.shape[1] != first.in_features:
        raise ValueError(f"X must have shape (n, {first.in_features}), as the module takes, got {tuple(X.shape)}")
    if X.dtype not in (torch.float32, torch.float64) or X.device.type != "cpu" or first.weight.device.type != "cpu":
        raise ValueError(f"X must be float32 or float64 on CPU, as the module, got {X.dtype} on {X.device}")
    if X.requires_grad:
        raise ValueError("X asks for a gradient, which these operators do not have: use X.detach(), or the module")
    tensors = [first.weight.reshape(-1), first.bias, second.weight.reshape(-1), second.bias]
    theta = torch.cat([each for each in tensors if each is not None])
    biases = f"{first.bias is not None} {second.bias is not None}"
    return f"{name} {slope} {first.out_features} {second.out_features} {biases}", theta


def _rows(X: Tensor) -> Tensor:
    return X if X.stride(1) == 1 else X.contiguous()


def _targets(y: Tensor, n: int, outputs: int, kind: str) -> Tensor:
    """Responses as kernels take them: classes as shares, one number for a row of one output."""
    if kind == "cross_entropy" and not y.is_floating_point():
        if y.shape != (n,):
            raise ValueError(f"y must have shape ({n},), a class for each row, got {tuple(y.shape)}")
        return nn.functional.one_hot(y.long(), outputs).double()
    if y.shape != (n, outputs) and not (outputs == 1 and y.shape == (n,)):
        raise ValueError(f"y must have shape ({n}, {outputs}), as the outputs of the module, got {tuple(y.shape)}")
    return y.reshape(n).double() if outputs == 1 else y.double()


def fit_module(
    module: nn.Module,
    X: Tensor,
    y: Tensor,
    kind: str | None = None,
    *,
    delta: float = 1.0,
    warm_start: bool = False,
    **options: Any,
) -> Recovery:
    """Fit a module by :func:`fastrecover.fit` in place of a training loop, and write the parameters that were found.

    Parameters
    ----------
    module : nn.Sequential
        As for :func:`loss`; its parameters are replaced, biases included.
    X : Tensor (n, d)
    y : Tensor (n,) or (n, n_outputs)
    kind : str, optional
        As for :func:`loss`; by default "cross_entropy" for y of an integer type and a module of several outputs, else
        "mse".
    delta : float
        Of "huber".
    warm_start : bool
        Whether to begin at the parameters that the module has.
    **options
        Of :func:`fastrecover.fit`: ``init``, ``solver``, ``restarts``, ``alpha``, ``sample_weight``, ``max_passes``,
        ``random_state`` and the like.

    Returns
    -------
    Recovery
        Whose network is the module's, up to the symmetries of units.

    Raises
    ------
    TypeError, ValueError
        As :func:`loss` and :func:`fastrecover.fit`; classes of which y has none.
    """
    described, theta = _taken_apart(module, X)
    first, name, slope, second = _parts(module)
    k, m, d = first.out_features, second.out_features, first.in_features
    kind = kind or ("cross_entropy" if m > 1 and not y.is_floating_point() else "mse")
    known_loss(kind)
    own_slope = slope if name == "leaky_relu" else None
    shared = dict(fit_intercept=second.bias is not None, hidden_bias=first.bias is not None, slope=own_slope)
    if kind in ("bce_with_logits", "cross_entropy"):
        model = Logistic(name, k, "free", **shared)  # type: ignore[arg-type]
    elif kind == "poisson_nll":
        model = Poisson(name, k, "free", **shared)  # type: ignore[arg-type]
    else:
        huber = {"loss": "huber", "delta": delta} if kind == "huber" else {}
        model = Regression(name, k, output_weights="free", **shared, **huber)  # type: ignore[arg-type]
    targets = y.detach().numpy()
    if kind == "cross_entropy" and not y.is_floating_point():
        missing = set(range(m)) - set(np.unique(targets).tolist())
        if missing:
            raise ValueError(f"y has no row of class {min(missing)}: a fit needs rows of all {m} classes")
    if m == 1 and targets.ndim == 2:
        targets = targets[:, 0]
    if warm_start:
        if "init" in options:
            raise TypeError("give init, or warm_start=True to begin at the module's own parameters")
        options["init"] = _network(f"{described} squared 1.0").unpack(_doubles(theta.detach()), d)
    rec = fit(X.detach().numpy(), targets, model, **options)
    v, c = np.atleast_2d(rec.output_weights), np.atleast_1d(rec.intercept)
    if len(v) < m:  # two classes by the logarithm of their odds
        v, c = np.concatenate([-v, v]) / 2.0, np.concatenate([-c, c]) / 2.0
    found = [(first.weight, rec.weights), (first.bias, rec.biases), (second.weight, v), (second.bias, c)]
    with torch.no_grad():
        for tensor, values in found:
            if tensor is not None:
                tensor.copy_(torch.tensor(values))
    return rec
