"""Networks as ONNX graphs: a few standard operators, written without a tracer.

Operators are those that runtimes have in double precision as well; what they lack there is put together from others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise ImportError("to_onnx needs onnx: pip install 'fastrecover[export]'") from error

from ..activations import Activation
from ..models import HasParameters
from ..storage import check_destination, put
from . import check_built_in

_OPSET, _IR = 17, 8  # of 2022: old enough for any runtime in use
_MIDDLE, _DEGREE = 3.75, 20  # of the approximation of erf: where t is 0, and the degree from which on it is rounding
_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


class Fitted(HasParameters, Protocol):
    """What is exported: a Recovery."""

    classes: np.ndarray | None


class Graph:
    """Nodes and constants so far; values are known by their names.

    Parameters
    ----------
    dtype : numpy dtype
        Of all real numbers.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """The value that an operator makes of others."""
        name = name or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, name: str = "", dtype: Any = None) -> str:
        """A value that is given, real numbers unless told otherwise."""
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype or self.dtype), name))
        return name


def _softplus(g: Graph, z: str) -> str:
    """``max(z, 0) + log(1 + u)`` of ``u = exp(-|z|)``, with what 1 + u loses of u given back."""
    one = g.constant(1.0)
    u = g("Exp", g("Neg", g("Abs", z)))
    w = g("Add", one, u)
    lost = g("Div", g("Sub", g("Sub", w, one), u), w)
    return g("Add", g("Relu", z), g("Sub", g("Log", w), lost))


def _erf(g: Graph, z: str) -> str:
    """``sign(z) (1 - e^(-x^2) P(t) / (1 + 2 x))`` of ``x = |z|`` and ``t = (x - 3.75) / (x + 3.75)``, to 4e-15.

    Runtimes have Erf in single precision alone.  P interpolates ``(1 + 2 x) e^(x^2) erfc(x)`` on all x (Shepherd and
    Laframboise 1981).
    """
    if g.dtype == np.float32:
        return g("Erf", z)
    one, two, middle = g.constant(1.0), g.constant(2.0), g.constant(_MIDDLE)
    x = g("Abs", z)
    t = g("Div", g("Sub", x, middle), g("Add", x, middle))
    leading, *others = _scaled_erfc()[::-1]
    p = g.constant(leading)
    for coefficient in others:
        p = g("Add", g("Mul", p, t), g.constant(coefficient))
    tail = g("Mul", g("Exp", g("Neg", g("Mul", x, x))), g("Div", p, g("Add", one, g("Mul", two, x))))
    return g("Mul", g("Sign", z), g("Sub", one, tail))


def _scaled_erfc() -> np.ndarray:
    """Coefficients of P, by rising powers."""
    from scipy.special import erfcx

    def scaled(t: np.ndarray) -> np.ndarray:
        x = _MIDDLE * (1.0 + t) / (1.0 - t)
        return np.asarray((1.0 + 2.0 * x) * erfcx(x))

    return np.asarray(Chebyshev.interpolate(scaled, _DEGREE).convert(kind=Polynomial).coef)


def _square(g: Graph, z: str) -> str:
    return g("Mul", z, z)


_ACTIVATIONS: dict[str, Callable[[Graph, str, Activation], str]] = {
    "relu": lambda g, z, act: g("Relu", z),
    "leaky_relu": lambda g, z, act: g("Max", z, g("Mul", z, g.constant(act.slope))),
    "squared_relu": lambda g, z, act: _square(g, g("Relu", z)),
    "quadratic": lambda g, z, act: _square(g, z),
    "sigmoid": lambda g, z, act: g("Sigmoid", z),
    "tanh": lambda g, z, act: g("Tanh", z),
    "erf": lambda g, z, act: _erf(g, z),
    "softplus": lambda g, z, act: _softplus(g, z),
    "abs": lambda g, z, act: g("Abs", z),
}
#: Expected responses of outputs, by the names of losses; of others they are the outputs.
_MEANS: dict[str, Callable[[Graph, str], str]] = {
    "logistic": lambda g, f: g("Sigmoid", f),
    "softmax": lambda g, f: g("Softmax", f, axis=1),
    "poisson": lambda g, f: g("Exp", f),
    "poisson-softplus": _softplus,
}


def model_of(recovery: Fitted, path: str | os.PathLike[str] | None, dtype: str) -> Any:
    """See :meth:`fastrecover.Recovery.to_onnx`."""
    if dtype not in _TYPES:
        raise ValueError(f"dtype must be one of {', '.join(_TYPES)}, got {dtype!r}")
    if path is not None:
        check_destination(Path(path))
    network, p = recovery.model, recovery.parameters
    check_built_in(network, "ONNX")
    g, d = Graph(np.dtype(dtype)), p.weights.shape[1] * network.n_patches
    mean = _MEANS.get(network.loss.name, lambda g, f: f)(g, _outputs(g, recovery))
    if recovery.classes is None:
        g("Identity", mean, name="prediction")
        outputs = [helper.make_tensor_value_info("prediction", _TYPES[dtype], ["n", p.n_outputs])]
    else:
        outputs = _labels(g, mean, recovery.classes, _TYPES[dtype])
    inputs = [helper.make_tensor_value_info("X", _TYPES[dtype], ["n", d])]
    graph = helper.make_graph(g.nodes, "fastrecover", inputs, outputs, g.constants)
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="fastrecover",
    )
    onnx.checker.check_model(made, full_check=True)
    if path is not None:
        put(path, lambda file: file.write(made.SerializeToString()))
    return made


def _outputs(g: Graph, recovery: Fitted) -> str:
    """The outputs f, (n, n_outputs)."""
    network, p, rows = recovery.model, recovery.parameters, "X"
    if network.n_patches > 1:
        rows = g("Reshape", "X", g.constant([0, network.n_patches, p.weights.shape[1]], dtype=np.int64))
    z = g("MatMul", rows, g.constant(p.weights.T, "weights"))
    if p.biases is not None:
        z = g("Add", z, g.constant(p.biases, "biases"))
    units = _ACTIVATIONS[network.activation.name](g, z, network.activation)
    if network.n_patches > 1:
        units = g("ReduceSum", units, g.constant([1], dtype=np.int64), keepdims=0)
    f = g("MatMul", units, g.constant(p.columns.T, "output_weights"))
    if p.linear is not None:
        f = g("Add", f, g("MatMul", "X", g.constant(np.atleast_2d(p.linear).T, "linear")))
    return g("Add", f, g.constant(np.atleast_1d(p.intercept), "intercept"))


def _labels(g: Graph, mean: str, classes: np.ndarray, kind: int) -> list[Any]:
    """Label and probabilities, as values that the graph gives out."""
    names = classes.astype(object) if classes.dtype.kind == "U" else classes
    if len(classes) > 2:
        g("Identity", mean, name="probabilities")
        which = g("ArgMax", mean, axis=1, keepdims=0)
    else:
        g("Concat", g("Sub", g.constant(1.0), mean), mean, axis=1, name="probabilities")
        likelier = g("Greater", mean, g.constant(0.5))
        which = g("Reshape", g("Cast", likelier, to=TensorProto.INT64), g.constant([-1], dtype=np.int64))
    label = g.constant(names, "classes", dtype=names.dtype)
    g("Gather", label, which, name="label")
    held = TensorProto.STRING if names.dtype == object else helper.np_dtype_to_tensor_dtype(names.dtype)
    return [
        helper.make_tensor_value_info("label", held, ["n"]),
        helper.make_tensor_value_info("probabilities", kind, ["n", len(classes)]),
    ]
