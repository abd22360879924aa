"""Tests of what needs other packages or languages: collected where these are installed, see ``make test-backends``."""

import shutil
from importlib.util import find_spec

_PACKAGES = {"torch": "torch", "jax": "jax", "cython": "Cython"}
_PROGRAMS = {"r": "Rscript"}
collect_ignore = [f"test_{name}.py" for name, package in _PACKAGES.items() if find_spec(package) is None]
collect_ignore += [f"test_{name}.py" for name, program in _PROGRAMS.items() if shutil.which(program) is None]
