"""Where the C library and its header lie, for whoever compiles against them.

The library is made beside the extension module, from the same objects, and knows nothing of Python, so that any
language that calls C can sweep; ``fastrecover-config`` tells compilers what they need.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

__all__ = ["get_include", "get_library"]

_HOME = Path(__file__).parent


def get_include() -> str:
    """Folder of ``fastrecover.h``, to compile programs that call the C library.

    Cython finds the declarations by ``from fastrecover.capi cimport ...``.

    Returns
    -------
    str

    See Also
    --------
    get_library : The library to link with.
    """
    return str(_HOME / "include")


def get_library() -> str:
    """The C library, ``libfastrecover.so`` or ``libfastrecover.dylib``.

    Returns
    -------
    str
        Its path; programs are linked with ``-L<its folder> -lfastrecover``.

    Raises
    ------
    FileNotFoundError
        The package was built without its C kernels.
    """
    path = _HOME / "lib" / ("libfastrecover.dylib" if sys.platform == "darwin" else "libfastrecover.so")
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no C library at {path}: fastrecover was built without its C kernels; build it again with a C "
            "compiler and without FASTRECOVER_NO_EXTENSION"
        )
    return str(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a compiler needs: the program ``fastrecover-config``."""
    parser = argparse.ArgumentParser(
        prog="fastrecover-config", description="What a compiler needs to build programs with fastrecover's C library."
    )
    parser.add_argument("--cflags", action="store_true", help="where the header lies")
    parser.add_argument("--libs", action="store_true", help="the library to link with and to find when a program runs")
    parser.add_argument("--version", action="store_true", help="version of the package")
    wanted = parser.parse_args(arguments)
    if not (wanted.cflags or wanted.libs or wanted.version):
        parser.error("nothing asked for: give --cflags, --libs or --version")
    words = []
    if wanted.version:
        words.append(metadata.version("fastrecover"))
    if wanted.cflags:
        words.append(f"-I{get_include()}")
    if wanted.libs:
        try:
            folder = str(Path(get_library()).parent)
        except FileNotFoundError as error:
            print(f"fastrecover-config: {error}", file=sys.stderr)
            return 1
        words += [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lfastrecover"]
    print(shlex.join(words))
    return 0
