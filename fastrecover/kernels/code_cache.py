"""Machine code of users' activations on disk, found by what it was made of.

Numba's own cache finds functions by the file that they stand in, and none that are closed over; a notebook has no file,
and every activation is a closure.  Here the key is a digest of the functions and of all else that the code depends on:
sources, releases and processor.  A file that cannot be written, or was damaged, costs a compilation, nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core.registry import cpu_target
from numba.misc.appdirs import AppDirs

from .compiling import config

_SOURCES = ("compiling.py", "elementary.py", "numba_activations.py", "user.py", "user_functions.py")


class Code:
    """A library of Numba's and a function in it, which lives as long as this object."""

    def __init__(self, library: Any, function: str) -> None:
        self.linked, self.function = library, function
        self.address: int = library.get_pointer_to_function(function)

    @classmethod
    def of(cls, compiled: Any) -> Code:
        """Of what ``numba.cfunc`` has compiled."""
        return cls(compiled._library, compiled.native_name)


def place(digest: str) -> Path:
    """Where code made of functions of such a digest is kept: ``NUMBA_CACHE_DIR``, or the user's cache.

    Parameters
    ----------
    digest : str

    Returns
    -------
    Path
        In a folder of our own that may not exist yet.
    """
    folder = Path(config.CACHE_DIR, "fastrecover") if config.CACHE_DIR else AppDirs("fastrecover", False).user_cache_dir
    name = sha256(repr((digest, _surroundings())).encode()).hexdigest()
    return Path(folder, f"{name[:32]}.bin")


def load(path: Path) -> Code | None:
    """The code in a file; None where there is none, or it is damaged."""
    try:
        head, body = path.read_bytes().split(b"\n", 1)
        told = json.loads(head)
        if told["digest"] != sha256(body).hexdigest():
            return None
        parts = body[: told["size"]], body[told["size"] :]
        context = cpu_target.target_context
        context.refresh()  # makes known what Numba's code calls
        declared = (each.name for each in binding.parse_bitcode(parts[1]).functions if each.is_declaration)
        if not all(name.startswith("llvm.") or binding.address_of_symbol(name) for name in declared):
            return None  # LLVM would end the process
        library = context.codegen().unserialize_library((told["library"], "object", parts))
        code = Code(library, told["function"])
        return code if code.address else None
    except Exception:  # whatever another release of Numba makes of it
        return None


def save(path: Path, code: Code) -> None:
    """Write code to a file, all of it or nothing; where that cannot be done it is not kept.

    Parameters
    ----------
    path : Path
    code : Code
        Just compiled.
    """
    if code.linked.has_dynamic_globals:  # addresses of this process
        return
    name, _, (machine, linkable) = code.linked.serialize_using_object_code()
    body = machine + linkable
    told = {"library": name, "function": code.function, "size": len(machine), "digest": sha256(body).hexdigest()}
    beside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(json.dumps(told).encode() + b"\n" + body)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError:
        pass


@cache
def _surroundings() -> list[str]:
    """All that the same functions may be compiled differently for."""
    sources = sha256(b"\0".join(files(__package__).joinpath(name).read_bytes() for name in _SOURCES)).hexdigest()
    target = repr(cpu_target.target_context.codegen().magic_tuple())
    return [sources, numba.__version__, llvmlite.__version__, sys.implementation.cache_tag, target]
