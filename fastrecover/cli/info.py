"""show versions, kernels and what is installed

What a report of a problem should contain.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib import import_module, metadata
from typing import Any

from .. import __version__, kernels
from ..engines.processors import cpu_count

#: Extras of the package and the distributions that they bring.
EXTRAS = {
    "sklearn": ("scikit-learn", "narwhals"),
    "torch": ("torch",),
    "jax": ("jax",),
    "zarr": ("zarr",),
    "parquet": ("pyarrow",),
    "hdf5": ("h5py",),
    "dask": ("dask", "distributed"),
    "progress": ("rich",),
    "plot": ("matplotlib",),
    "export": ("onnx",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover info``."""
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print what :func:`collect` finds."""
    found = collect()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    width = max(map(len, found))
    for name, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} ({'missing' if version is None else version})" for key, version in value.items())
        print(f"{name:<{width}}  {'-' if value is None else value}")
    return 0


def collect() -> dict[str, Any]:
    """Versions, kernels, processor, BLAS and extras.

    Returns
    -------
    dict
        Plain values; None for what is missing.
    """
    in_use = kernels.get_kernels()
    return {
        "fastrecover": __version__,
        "kernels": in_use,
        "instruction set": _instruction_set() if in_use == "compiled" else None,
        "CPUs": cpu_count(),
        "Python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in ("numpy", "scipy", "numba")},
        "BLAS": _blas(),
        "extras": {name: _extra(needs) for name, needs in EXTRAS.items()},
    }


def _instruction_set() -> str:
    return str(import_module("fastrecover.kernels._compiled").instruction_set())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extra(needs: tuple[str, ...]) -> str | None:
    versions = [_version(name) for name in needs]
    return None if None in versions else " / ".join(str(version) for version in versions)


def _blas() -> str | None:
    import scipy.linalg  # noqa: F401  (loads the BLAS that is asked for)
    from threadpoolctl import threadpool_info

    libraries = [library for library in threadpool_info() if library.get("user_api") == "blas"]
    named = [f"{lib['internal_api']} {lib.get('version')} ({lib.get('architecture', '-')})" for lib in libraries]
    return ", ".join(dict.fromkeys(named)) or None
