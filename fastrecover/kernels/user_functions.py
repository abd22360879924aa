"""What a user's scalar functions refer to: replaced where there is something faster, and told apart by content.

Numba freezes globals and closures into the code that it makes.  So a function is compiled as a copy whose globals
name our elementary functions in place of those of ``math``, NumPy and ``scipy.special``, helpers included; and two
functions are the same to the cache on disk only if all that they refer to is, wherever it stands.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from enum import Enum
from hashlib import sha256
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import njit
from numba.extending import is_jitted

from . import elementary

_LIBRARIES = {"numpy", "scipy", "numba", "math", "cmath"}  # their functions are Numba's business
_NAMES = {
    "math": ("exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh", "erf"),
    "numpy": (*("exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh", "logaddexp"),
              *("where", "maximum", "minimum", "clip")),
    "scipy.special": ("expm1", "log1p", "erf", "expit"),
}  # fmt: skip
_ATOMS = (type(None), bool, int, float, complex, str, bytes)


class Opaque(Exception):
    """A function refers to something whose content is not known."""


def replaced(function: Any, mark: str, faster: bool = True) -> Any:
    """`function` for Numba, with our elementary functions in the place of others, in all that it calls as well.

    Parameters
    ----------
    function : callable
        Of Python, compiled by ``numba.njit``, or of a library.
    mark : str
        Becomes part of the names of all copies, which LLVM tells apart by name alone, wherever they were made.
    faster : bool
        Whether our elementary functions, which take single real numbers, stand in the place of others.

    Returns
    -------
    Dispatcher
        Not compiled yet.

    Raises
    ------
    TypeError
        Numba takes no callable of this kind.
    """
    return _Copies(mark, faster).function(function)


def digest(functions: tuple[Any, ...]) -> str | None:
    """A text that is the same for functions of equal code that refer to equal things, else another.

    Returns
    -------
    str or None
        None where the content of something that they refer to is not known.
    """
    seen: dict[int, int] = {}
    try:
        return sha256(repr([_content(each, frozenset(), seen) for each in functions]).encode()).hexdigest()
    except (Opaque, RecursionError):
        return None


def _ours() -> dict[int, Any]:
    """Our functions by the identity of those that they stand for."""
    loaded = {name: sys.modules.get(name) for name in _NAMES}
    return {
        id(getattr(module, name)): getattr(elementary, name)
        for title, module in loaded.items()
        if module is not None
        for name in _NAMES[title]
    }


def _names(code: CodeType) -> set[str]:
    """Names of globals and attributes in a function and in those that it makes."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_of_library(function: Any) -> bool:
    return str(getattr(function, "__module__", None)).partition(".")[0] in _LIBRARIES


class _Copies:
    """Copies of functions and of all that they refer to, each made once."""

    def __init__(self, mark: str, faster: bool) -> None:
        self.mark = mark
        self.ours = _ours() if faster else {}
        self.made: dict[int, Any] = {}

    def function(self, function: Any) -> Any:
        if id(function) in self.ours:
            return self.ours[id(function)]
        if id(function) in self.made:
            return self.made[id(function)]
        fast: Any = {"contract"}  # as in the C kernels
        plain = function
        if is_jitted(function):
            plain, asked = function.py_func, _flags(function)
            fast = True if "fast" in asked else fast | asked
        elif isinstance(function, (BuiltinFunctionType, np.ufunc)):

            def plain(z):  # type: ignore[misc, no-untyped-def]
                return function(z)

        jit = njit(forceinline=True, nogil=True, error_model="numpy", fastmath=fast)
        if not isinstance(plain, FunctionType):
            return jit(plain)
        names, known = _names(plain.__code__), plain.__globals__
        around: dict[str, Any] = {"__builtins__": builtins, "__name__": plain.__module__}
        cells = tuple(CellType() for _ in plain.__closure__ or ())
        copy = FunctionType(plain.__code__, around, plain.__name__, plain.__defaults__, cells or None)
        copy.__kwdefaults__, copy.__module__ = plain.__kwdefaults__, plain.__module__
        copy.__qualname__ = f"{plain.__name__}_{self.mark}"
        self.made[id(function)] = made = jit(copy)
        around.update((name, self.value(known[name], names)) for name in names if name in known)
        for mine, theirs in zip(cells, plain.__closure__ or (), strict=True):
            mine.cell_contents = self.value(theirs.cell_contents, names)
        return made

    def value(self, value: Any, names: set[str]) -> Any:
        """What stands in the place of something that a function of such names refers to."""
        if id(value) in self.ours:
            return self.ours[id(value)]
        if isinstance(value, ModuleType):
            # A module of the attributes that the function may mean.
            module = ModuleType(value.__name__)
            for name, attribute in _attributes(value, names):
                setattr(module, name, self.value(attribute, names - {name}))
            return module
        if (isinstance(value, FunctionType) and not _is_of_library(value)) or is_jitted(value):
            return self.function(value)
        return value


def _attributes(module: ModuleType, names: set[str] | frozenset[str]) -> Iterator[tuple[str, Any]]:
    return ((name, vars(module)[name]) for name in sorted(names) if name in vars(module))


def _flags(function: Any) -> set[str]:
    """What the user of a jitted function allowed its arithmetic."""
    asked = function.targetoptions.get("fastmath", False)
    return {"fast"} if asked is True else set(getattr(asked, "flags", asked) or ())


def _content(value: Any, names: frozenset[str], seen: dict[int, int]) -> Any:
    """Plain values that are equal for things of equal content only."""
    kind = type(value)
    if isinstance(value, _ATOMS) and not isinstance(value, Enum):
        return kind.__name__, repr(value)
    if isinstance(value, (tuple, frozenset)):
        parts: list[Any] = [_content(each, names, seen) for each in value]
        return (
            kind.__qualname__,
            getattr(kind, "_fields", None),
            parts if isinstance(value, tuple) else sorted(map(repr, parts)),
        )
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        return kind.__name__, value.dtype.str, value.shape, value.tobytes().hex()
    if isinstance(value, CodeType):
        consts = [_content(each, names, seen) for each in value.co_consts]
        told = ("co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount", "co_flags")
        return kind.__name__, value.co_code.hex(), consts, [getattr(value, name) for name in told]
    if isinstance(value, ModuleType):
        inside = [(name, _content(each, names - {name}, seen)) for name, each in _attributes(value, names)]
        return kind.__name__, value.__name__, inside
    if isinstance(value, (BuiltinFunctionType, np.ufunc)):
        return "of a library", getattr(value, "__module__", None), value.__name__
    if isinstance(value, type) and issubclass(value, Enum):
        return "enumeration", value.__qualname__, [(each.name, _content(each.value, names, seen)) for each in value]
    if isinstance(value, Enum):
        return "member", _content(type(value), names, seen), value.name
    if isinstance(value, type) and not (value.__module__ == "builtins" or _is_of_library(value)):
        raise Opaque(kind.__name__)  # Numba freezes what stands in it
    if isinstance(value, type) or (_is_of_library(value) and hasattr(value, "__name__") and not is_jitted(value)):
        return "named", value.__module__, getattr(value, "__qualname__", value.__name__)
    plain = value.py_func if is_jitted(value) else value
    if not isinstance(plain, FunctionType):
        raise Opaque(kind.__name__)
    if id(plain) in seen:
        return "again", seen[id(plain)]
    seen[id(plain)] = len(seen)
    names = frozenset(_names(plain.__code__))
    known = [(name, plain.__globals__[name]) for name in sorted(names) if name in plain.__globals__]
    cells = [cell.cell_contents for cell in plain.__closure__ or ()]
    options = sorted(_flags(value)) if is_jitted(value) else None
    referred = (plain.__code__, plain.__defaults__, tuple((plain.__kwdefaults__ or {}).items()), *cells)
    return (
        *("function", options, [_content(each, names, seen) for each in referred]),
        [(name, _content(each, names, seen)) for name, each in known],
    )
