"""A user's own activation as a C function that works on whole arrays.

The compiled and the Numba driver both call it through its address, once a tile, so the scalar functions are
inlined into a vectorised loop and cost what a built-in activation of the same formula costs.
"""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core.errors import NumbaError
from numba.extending import intrinsic, is_jitted

from ..activations import Activation, Scalar

_LABELS = ("function", "derivative", "second_derivative")
_made: dict[tuple, Any] = {}
_lock = threading.Lock()


@intrinsic
def _is_null(typingctx: Any, pointer: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", args[0], ir.Constant(args[0].type, None))

    return types.boolean(pointer), codegen


def address(activation: Activation) -> int:
    """Address of ``void f(const double *z, double *u, double *d1, double *d2, int64_t n)``.

    The function writes the value and the derivatives of `activation` at n points; `d2` may be NULL, and is
    filled with NaN where the activation has no second derivative.  It is compiled on first use and kept for
    the life of the process.

    Parameters
    ----------
    activation : Activation
        Made by ``Activation.from_functions``.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        Numba cannot compile one of the functions.
    """
    functions = activation.functions
    if not functions:
        raise TypeError(f"activation {activation.name!r} has no functions of its own to compile")
    with _lock:
        if functions not in _made:
            _made[functions] = _compile(activation.name, functions)
        return _made[functions].address


def _compile(name: str, functions: tuple[Scalar, ...]) -> Any:
    value, first, *rest = (_scalar(name, label, each) for label, each in zip(_LABELS, functions, strict=False))
    bent = bool(rest)
    second = rest[0] if bent else first

    @njit(nogil=True, error_model="numpy")
    def fill(z: Any, u: Any, d1: Any) -> None:
        for i in range(z.size):
            u[i] = value(z[i])
            d1[i] = first(z[i])

    @njit(nogil=True, error_model="numpy")
    def fill_second(z: Any, d2: Any) -> None:
        for i in range(z.size):
            d2[i] = second(z[i]) if bent else np.nan

    pointer = types.CPointer(types.float64)

    @cfunc(types.void(pointer, pointer, pointer, pointer, types.int64))
    def loop(z: Any, u: Any, d1: Any, d2: Any, n: Any) -> None:
        points = carray(z, n)
        fill(points, carray(u, n), carray(d1, n))
        if not _is_null(d2):  # type: ignore[call-arg]
            fill_second(points, carray(d2, n))

    return loop


def _scalar(name: str, label: str, function: Scalar) -> Any:
    """`function` compiled for one float64, or a TypeError that says why not."""
    which = f"{label} of activation {name!r} ({getattr(function, '__name__', None) or repr(function)})"
    try:
        compiled = function if is_jitted(function) else njit(error_model="numpy")(function)
        compiled.compile((types.float64,))
        result = compiled.nopython_signatures[-1].return_type
    except (NumbaError, TypeError) as error:
        raise TypeError(f"{which} cannot be compiled by Numba: {_reason(error)}") from error
    if not isinstance(result, (types.Float, types.Integer, types.Boolean)):
        raise TypeError(f"{which} must return a float for a float, but Numba finds that it returns {result}")
    return compiled


def _reason(error: Exception) -> str:
    """First line of Numba's message that says something about the function."""
    lines = (re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines())
    useful = (line for line in lines if line and not line.startswith("Failed in"))
    return next(useful, type(error).__name__)
