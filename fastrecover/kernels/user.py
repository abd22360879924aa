"""A user's own activation as a C function that works on whole arrays.

The compiled and the Numba driver both call it through its address, once a tile.  The scalar functions are inlined into
one loop for each number of derivatives that may be wanted, which LLVM vectorises and in which what they share is
computed once, so they cost what a built-in activation of the same formula costs.
"""

from __future__ import annotations

import re
import threading
import uuid
import weakref
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from .._progress import notice
from ..activations import Activation, Scalar
from . import code_cache
from .compiling import as_parts
from .user_functions import digest, replaced

_LABELS = ("function", "derivative", "second_derivative")
_lock = threading.Lock()


class _Made(NamedTuple):
    """Code of an activation, for which one it was made last, and of what."""

    code: Any
    activation: weakref.ref[Activation]
    content: str | None


_made: dict[tuple, _Made] = {}


@intrinsic
def _is_null(typingctx: Any, pointer: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", args[0], ir.Constant(args[0].type, None))

    return types.boolean(pointer), codegen


def address(activation: Activation) -> int:
    """Address of ``void f(const double *z, double *u, double *d1, double *d2, int64_t n)``.

    The function writes the value and the derivatives of `activation` at n points; `d1` may be NULL, and `d2` where `d1`
    is or alone; `d2` is filled with NaN where the activation has no second derivative.  It is compiled on first use,
    which is said in one line, kept for the life of the process, and found on disk by later ones.

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
        made = _made.get(functions)
        if made is None or made.activation() is not activation:  # what its functions refer to may have changed
            content = digest(functions)
            if made is None or content is None or content != made.content:
                code = _code(activation.name, functions, content)
            else:
                code = made.code
            made = _made[functions] = _Made(code, weakref.ref(activation), content)
        return int(made.code.address)


def _code(name: str, functions: tuple[Scalar, ...], content: str | None) -> code_cache.Code:
    """Machine code from the cache on disk, or a new one."""
    place = code_cache.place(content) if content else None
    found = code_cache.load(place) if place else None
    if found:
        return found
    kept = f", once: it is kept in {place.parent}" if place else ""
    notice(f"compiling activation {name!r}{kept}")
    made = code_cache.Code.of(_compile(name, functions, content or uuid.uuid4().hex))
    if place:
        code_cache.save(place, made)
    return made


def _compile(name: str, functions: tuple[Scalar, ...], mark: str) -> Any:
    labelled = zip(_LABELS, functions, strict=False)
    with as_parts():
        value, first, *rest = (_scalar(name, label, each, mark) for label, each in labelled)
    bent = bool(rest)
    second = rest[0] if bent else first
    pointer = types.CPointer(types.float64)

    def loop(z: Any, u: Any, d1: Any, d2: Any, n: Any) -> None:
        if _is_null(d1):  # type: ignore[call-arg]
            for i in range(n):
                u[i] = value(z[i])
        elif _is_null(d2):  # type: ignore[call-arg]
            for i in range(n):
                u[i] = value(z[i])
                d1[i] = first(z[i])
        else:
            for i in range(n):
                u[i] = value(z[i])
                d1[i] = first(z[i])
                d2[i] = second(z[i]) if bent else np.nan

    loop.__qualname__ = f"loop_{mark}"
    kind = types.void(pointer, pointer, pointer, pointer, types.int64)
    options: Any = {"error_model": "numpy", "_nrt": False}  # there are no references to count here
    return cfunc(kind, **options)(loop)


def _scalar(name: str, label: str, function: Scalar, mark: str) -> Any:
    """`function` compiled for one float64, or a TypeError that says why not."""
    which = f"{label} of activation {name!r} ({getattr(function, '__name__', None) or repr(function)})"
    try:
        compiled, result = _of_a_float(replaced(function, mark))
    except (NumbaError, TypeError) as error:
        try:  # as it stands, since within it there may be arrays and complex numbers
            compiled, result = _of_a_float(replaced(function, f"{mark}_plain", faster=False))
        except (NumbaError, TypeError):
            raise TypeError(f"{which} cannot be compiled by Numba: {_reason(error)}") from error
    if not isinstance(result, (types.Float, types.Integer, types.Boolean)):
        raise TypeError(f"{which} must return a float for a float, but Numba finds that it returns {result}")
    return compiled


def _of_a_float(function: Any) -> tuple[Any, Any]:
    """A function, compiled, and the type of what it returns."""
    function.compile((types.float64,))
    return function, function.nopython_signatures[-1].return_type


def _reason(error: Exception) -> str:
    """First line of Numba's message that says something about the function."""
    lines = (re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines())
    useful = (line for line in lines if line and not line.startswith("Failed in"))
    return next(useful, type(error).__name__)
