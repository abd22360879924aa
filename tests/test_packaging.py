"""What holds the package together rather than what it computes: version, contents, import cost, layers.

The layering is a table read against the syntax tree of every module, so that an import hidden inside a
function counts like any other; the checker itself is tried on small modules that break each rule.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from floors import floors

import fastrecover

PACKAGE = Path(fastrecover.__file__).parent
ROOT = Path(__file__).parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = DECLARED["project"]

NOT_ON_IMPORT = {"scipy", "numba", "llvmlite", "sklearn", "matplotlib", "torch", "rich"}

# A "part" is the first name under fastrecover (subpackage or module); the package itself is "fastrecover".
GROUND = ("activations", "exceptions", "linalg", "losses", "random", "tensors", "_*")
SEARCH = (*GROUND, "models", "sweeps", "solvers", "starts")
MAY_IMPORT_ONLY = {"solvers": SEARCH, "starts": SEARCH}
IMPORTED_ONLY_BY = {"kernels": ("sweeps", "kernels", "engines", "fastrecover", "cli")}
IMPORTERS = ("import_module", "__import__")


def part(module: str) -> str:
    """First name under the package of a dotted module name."""
    names = module.split(".")
    return names[1] if len(names) > 1 else names[0]


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, `importlib.import_module("...")` included."""
    home = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            names = [*base, *(node.module or "").split(".")] if node.module else base
            yield from ((node.lineno, ".".join([*names, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in IMPORTERS:
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield node.lineno, importlib.util.resolve_name(node.args[0].value, ".".join(home))


def permitted(importer: str, target: str) -> bool:
    """Whether the tables let one part import another."""
    targets = MAY_IMPORT_ONLY.get(importer, ("*",))
    importers = IMPORTED_ONLY_BY.get(target, (importer,))
    return importer in importers and any(fnmatchcase(target, pattern) for pattern in targets)


def violations(source: str, module: str, parts: set[str], is_package: bool = False) -> list[str]:
    """Imports of one module that the tables forbid; `parts` are the names that exist under the package."""
    found = []
    for line, name in imported(ast.parse(source), module, is_package):
        # A name that is no part is an attribute of the package, which is then what is imported.
        target = part(name) if part(name) in parts else "fastrecover"
        if name.split(".")[0] == "fastrecover" and not permitted(part(module), target):
            found.append(f"{module}:{line} imports {name}")
    return found


def package_parts() -> set[str]:
    return {path.stem for path in PACKAGE.iterdir()} - {"__init__"}


def package_violations() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        names = ("fastrecover", *path.relative_to(PACKAGE).with_suffix("").parts)
        is_package = names[-1] == "__init__"
        module = ".".join(names[:-1] if is_package else names)
        found += violations(path.read_text(encoding="utf-8"), module, package_parts(), is_package)
    return found


def test_imports_go_one_way():
    assert {"solvers", "starts", "sweeps", "kernels", "engines", "sources"} <= package_parts()
    assert package_violations() == []


PARTS = {"api", "cli", "engines", "kernels", "models", "solvers", "sources", "starts", "sweeps", "_checks"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fastrecover.solvers.newton", "from fastrecover.sources import as_source"),
        ("fastrecover.solvers.newton", "import fastrecover.engines.threads as threads"),
        ("fastrecover.solvers.newton", "from fastrecover import models, sources"),
        ("fastrecover.solvers.newton", "from fastrecover import fit"),
        ("fastrecover.solvers.newton", "import fastrecover"),
        ("fastrecover.solvers.newton", "from .. import api"),
        ("fastrecover.solvers.newton", "from ..kernels.select import active"),
        ("fastrecover.starts.tensor", "def start():\n    from fastrecover.api import fit\n    return fit"),
        ("fastrecover.starts.tensor", "import importlib\nimportlib.import_module('fastrecover.engines')"),
        ("fastrecover.starts.tensor", "__import__('fastrecover.sources')"),
        ("fastrecover.api", "from fastrecover.kernels import set_kernels"),
        ("fastrecover.api", "from . import kernels"),
        ("fastrecover.sources.array", "from ..kernels import _compiled"),
    ],
)
def test_checker_finds_forbidden_import(module, source):
    assert len(violations(source, module, PARTS)) == 1


@pytest.mark.parametrize(
    ("module", "is_package", "source"),
    [
        ("fastrecover.solvers.newton", False, "import numpy as np\nfrom scipy import linalg"),
        ("fastrecover.solvers.newton", False, "from ..sweeps import curvature\nfrom .loop import run"),
        ("fastrecover.solvers", True, "from .newton import step\nfrom .._checks import rows"),
        ("fastrecover.starts", True, "from fastrecover import models\nfrom fastrecover._checks import rows"),
        ("fastrecover.sweeps.loss", False, "from ..kernels import active\nfrom ..sources import as_source"),
        ("fastrecover.cli", False, "from .kernels import describe"),
        ("fastrecover", True, "from . import kernels\nfrom .api import fit"),
        ("fastrecover.api", False, "from fastrecover import solvers, sources"),
    ],
)
def test_checker_lets_allowed_imports_pass(module, is_package, source):
    assert violations(source, module, PARTS, is_package) == []


def test_version_is_the_projects():
    assert fastrecover.__version__ == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_requirement_has_one_floor():
    found = floors(DECLARED)
    assert {"cython", "setuptools", "numpy", "scipy", "numba", "threadpoolctl", "scikit-learn"} <= set(found)
    for wrong in (["numpy"], ["numpy>=1.26,<3"], ["numpy>=1.27"]):
        extras = PROJECT["optional-dependencies"] | {"wrong": wrong}
        with pytest.raises(ValueError, match="numpy"):
            floors(DECLARED | {"project": PROJECT | {"optional-dependencies": extras}})


def test_console_script_names_a_function():
    module, _, name = PROJECT["scripts"]["fastrecover"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_types_are_declared():
    assert (PACKAGE / "py.typed").is_file()


def test_kernels_were_built():
    built = importlib.util.find_spec("fastrecover.kernels._compiled") is not None
    assert built or os.environ.get("FASTRECOVER_NO_EXTENSION", "0") not in ("", "0")


def test_import_loads_nothing_that_is_optional_or_slow():
    script = f"import sys, fastrecover; print(*sorted({NOT_ON_IMPORT!r} & set(sys.modules)))"
    paths = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
