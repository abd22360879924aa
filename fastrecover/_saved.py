"""What a file of a recovery says, checked field by field before a recovery is made of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from . import _history
from .models import Network, Parameters, rebuilt
from .uncertainty import DEGREES

#: Arrays that a file may hold beside its header.
ARRAYS = (
    "weights",
    "output_weights",
    "linear",
    "biases",
    "standard_errors",
    "determined",
    *(f"history_{name}" for name in _history.COLUMNS),
)


def fields(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arguments of a Recovery.

    Parameters
    ----------
    header : dict
    arrays : dict of ndarray

    Raises
    ------
    Exception
        Of whatever kind: something is missing, of another type, not finite, or contradicts the rest.
    """
    model, info = _model(header["model"]), header["info"]
    if (
        not isinstance(info, dict)
        or not isinstance(header["message"], str)
        or not isinstance(header["converged"], bool)
    ):
        raise ValueError("info, message or converged is of another type")
    parameters = _parameters(model, arrays, _intercept(header, model))
    if "standard_errors" in arrays:
        parameters = _with_errors(parameters, _finite(arrays["standard_errors"]), info)
    n_rows = _count(header, "n_rows")
    names = header.get("feature_names")
    n_features = parameters.weights.shape[1] * model.n_patches
    if names is not None and not (_is_list_of(names, str) and len(names) == n_features):
        raise ValueError(f"feature_names are not {n_features} titles")
    return dict(
        model=model,
        parameters=parameters,
        # A fit that ran off may have no finite loss, but then it has not converged.
        loss=_number(header, "loss", finite=header["converged"]),
        converged=header["converged"],
        message=header["message"],
        n_passes=_number(header, "n_passes"),
        n_rows=n_rows,
        seconds=_number(header, "seconds"),
        history={name: _column(arrays[f"history_{name}"], kind) for name, kind in _history.COLUMNS.items()},
        classes=_classes(info, max(model.n_outputs, 2)) if model.loss.takes_labels else None,
        info={name: value for name, value in info.items() if name != "classes" or not model.loss.takes_labels},
        feature_names=names,
        n_queries=None if header.get("n_queries") is None else _count(header, "n_queries"),
        determined=_determined(arrays.get("determined"), parameters.weights.shape),
    )


def _model(description: dict[str, Any]) -> Network:
    model = rebuilt(description)
    kind, known = description["kind"], model.describe()
    # A square had a name of its own once.
    if {**description, "kind": known["kind"]} != known or kind not in (known["kind"], "Quadratic"):
        raise ValueError(f"its model {description} contradicts itself")
    return model


def _intercept(header: dict[str, Any], model: Network) -> float | np.ndarray:
    if model.n_outputs == 1:
        return _number(header, "intercept")
    values = header["intercept"]
    if not (_is_list_of(values, (int, float)) and len(values) == model.n_outputs and all(map(math.isfinite, values))):
        raise ValueError(f"intercept is {values!r}, not {model.n_outputs} finite numbers")
    return np.array(values, np.float64)


def _parameters(model: Network, arrays: dict[str, np.ndarray], intercept: float | np.ndarray) -> Parameters:
    w, v, b, a = arrays["weights"], arrays["output_weights"], arrays.get("linear"), arrays.get("biases")
    k, several = model.n_hidden, (model.n_outputs,) if model.n_outputs > 1 else ()
    if (
        w.ndim != 2
        or len(w) != k
        or not w.shape[1]
        or v.shape != (*several, k)
        or (b is not None and b.shape != (*several, w.shape[1]))
        or (a is None) == model.hidden_bias
        or (a is not None and a.shape != (k,))
    ):
        raise ValueError("the shapes of its arrays contradict each other")
    linear, biases = (None if each is None else _finite(each) for each in (b, a))
    return Parameters(_finite(w), _finite(v), linear, intercept, biases=biases)


def _with_errors(parameters: Parameters, errors: np.ndarray, info: dict[str, Any]) -> Parameters:
    degrees = info[DEGREES]
    if not isinstance(degrees, int) or degrees < 1 or (errors < 0).any():
        raise ValueError("its standard errors are negative, or without degrees of freedom")
    return replace(parameters, errors=parameters.like(errors))


def _determined(values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if values is not None and (values.dtype != bool or values.shape != shape):
        raise ValueError("what is determined is told for other weights")
    return values


def _finite(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64) if values.dtype.kind == "f" else values
    if values.dtype != np.float64 or not np.isfinite(values).all():
        raise ValueError("its weights are not finite numbers")
    return values


def _classes(info: dict[str, Any], count: int) -> list[Any] | None:
    """Where files have kept them from the beginning."""
    classes = info.get("classes")
    if classes is None:
        return None
    of_a_kind = any(_is_list_of(classes, kind) for kind in (str, bool, (int, float))) and len(classes) == count
    if not of_a_kind or not all(a < b or a > b for a, b in zip(classes, classes[1:], strict=False)):
        raise ValueError(f"classes are {classes!r}, not {count} labels")
    return classes


def _count(header: dict[str, Any], name: str) -> int:
    value = header[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _number(header: dict[str, Any], name: str, finite: bool = True) -> float:
    value = header[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (finite and not math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}, no {'finite ' if finite else ''}number")
    return float(value)


def _column(values: np.ndarray, kind: str) -> np.ndarray:
    if values.dtype.kind != np.dtype(kind).kind:
        raise ValueError(f"a column of its history holds {values.dtype}")
    return values


def _is_list_of(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
