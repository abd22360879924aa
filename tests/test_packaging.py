"""What holds the package together rather than what it computes: version, contents, import cost, layers.

Two rules are read off the syntax tree of every module, so that an import hidden inside a function counts like any
other: which part may import which, and that rows, responses and weights are touched in sources, engines and sweeps
alone.  The checkers themselves are tried on small modules that break each rule.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from floors import floors

import fastrecover

PACKAGE = Path(fastrecover.__file__).parent
ROOT = Path(__file__).parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = DECLARED["project"]

EXTRAS = {"sklearn", "matplotlib", "torch", "jax", "onnx", "rich", "pyarrow", "pandas", "zarr", "h5py"}
CC = (sysconfig.get_config_var("CC") or "cc").split()[0]
NOT_ON_IMPORT = {"scipy", "numba", "llvmlite", *EXTRAS}

# A "part" is the first name under fastrecover (subpackage or module); the package itself is "fastrecover".
GROUND = ("activations", "exceptions", "linalg", "losses", "random", "tensors")  # and private modules
#: What a user asks of data, or of a fit once it is there.
FACES = (
    "_saved",
    "_summary",
    "datasets",
    "effects",
    "export",
    "forms",
    "inference",
    "pair_terms",
    "panels",
    "plotting",
    "population",
    "prediction",
    "recovery",
    "sample_size",
    "storage",
    "uncertainty",
)
#: Ways in from other packages.
DOORS = ("estimators", "torch", "jax", "extraction")
TOP = ("cli", "__main__", "fastrecover")
#: From the bottom up: a part imports itself and what lies below, parts of a layer that is named also one another.
LAYERS = (
    GROUND,
    ("models",),
    ("kernels",),
    ("sources",),
    ("engines",),
    ("sweeps",),
    ("data",),
    ("chunked",),
    ("batches",),
    FACES,
    ("inputs", "starts", "solvers"),
    ("plan",),
    ("fingerprint",),
    ("checkpoint",),
    ("papers",),
    ("moments",),
    ("request",),
    ("penalised", "increments"),
    ("model_objective",),
    ("api",),
    DOORS,
    TOP,
)
IMPORTED_ONLY_BY = {
    "kernels": ("engines", "sweeps", "fingerprint", "checkpoint", "jax", *TOP),  # JAX calls kernels itself
    "sources": (
        "engines",
        "data",
        "batches",
        "inference",
        "moments",
        "prediction",
        "api",
        *DOORS,
        *TOP,
    ),  # to open rows that are handed in
    **dict.fromkeys(FACES, (*FACES, "moments", "api", *DOORS, *TOP)),
    "storage": (*FACES, "moments", "checkpoint", "api", *DOORS, *TOP),
    "moments": (*DOORS, *TOP),
}
#: What a lower part calls when it is asked to become something that stands above it.
UPWARD = {("forms", "estimators")}
TOUCH_ROWS = ("sources", "engines", "sweeps")
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


def layer(part: str) -> int:
    """Number of a part's layer, from the bottom up."""
    named = [number for number, parts in enumerate(LAYERS) if part in parts]
    private = part.startswith("_") and not named
    if len(named) + private != 1:
        raise ValueError(f"{part} must stand in one layer: add it to the table")
    return 0 if private else named[0]


def permitted(importer: str, target: str) -> bool:
    """Whether the tables let one part import another."""
    if importer == target or (importer, target) in UPWARD:
        return True
    above, below = layer(importer), layer(target)
    alike = above == below and LAYERS[above] in (GROUND, FACES, TOP)
    return (below < above or alike) and importer in IMPORTED_ONLY_BY.get(target, (importer,))


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
    files = (path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
    return {path.stem for path in files} - {"__init__"}


def touches(source: str, module: str) -> list[str]:
    """Where one module reaches for a source, or reads from one, that should ask an engine."""
    if part(module) in TOUCH_ROWS:
        return []
    tree, found = ast.parse(source), []
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {alias.asname or alias.name.split(".")[0] for node in imports for alias in node.names}
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Attribute) and node.attr == "source":
            found.append(f"{module}:{node.lineno} touches {ast.unparse(node)}")
        elif isinstance(called, ast.Name) and called.id == "getattr" and "'source'" in map(ast.unparse, node.args):
            found.append(f"{module}:{node.lineno} touches {ast.unparse(node)}")
        elif isinstance(called, ast.Attribute) and called.attr == "read" and ast.unparse(called.value) not in modules:
            found.append(f"{module}:{node.lineno} reads {ast.unparse(node)}")
    return found


def package_modules() -> Iterator[tuple[str, str, bool]]:
    """Text, dotted name, and whether it is a package, of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        names = ("fastrecover", *path.relative_to(PACKAGE).with_suffix("").parts)
        is_package = names[-1] == "__init__"
        yield path.read_text(encoding="utf-8"), ".".join(names[:-1] if is_package else names), is_package


def test_imports_go_one_way():
    assert {*TOUCH_ROWS, "inputs", "starts", "solvers", "plan", "api"} <= package_parts()
    broken = [violations(text, name, package_parts(), is_package) for text, name, is_package in package_modules()]
    assert sum(broken, []) == []


def test_every_part_stands_in_a_layer():
    for name in package_parts() | {"fastrecover"}:
        layer(name)
    assert {name for parts in LAYERS for name in parts} <= package_parts() | {"fastrecover"}


def test_rows_are_touched_in_sources_engines_and_sweeps_alone():
    assert sum((touches(text, name) for text, name, _ in package_modules()), []) == []


PARTS = {
    *("api", "cli", "engines", "inputs", "kernels", "linalg", "losses", "models", "plan", "prediction", "recovery"),
    *("request", "solvers", "sources", "starts", "sweeps", "tensors", "_checks"),
}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fastrecover.solvers.newton", "from fastrecover.sources import as_source"),
        ("fastrecover.solvers.newton", "import fastrecover.kernels.op as op"),
        ("fastrecover.solvers.newton", "from fastrecover import models, sources"),
        ("fastrecover.solvers.newton", "from fastrecover import fit"),
        ("fastrecover.solvers.newton", "import fastrecover"),
        ("fastrecover.solvers.newton", "from .. import api"),
        ("fastrecover.solvers.newton", "from ..kernels.select import active"),
        ("fastrecover.solvers.newton", "from ..starts import random_start"),
        ("fastrecover.solvers.newton", "from ..plan import Policy"),
        ("fastrecover.starts.tensor", "def start():\n    from fastrecover.api import fit\n    return fit"),
        ("fastrecover.starts.tensor", "import importlib\nimportlib.import_module('fastrecover.inputs')"),
        ("fastrecover.starts.tensor", "__import__('fastrecover.sources')"),
        ("fastrecover.starts.tensor", "from ..recovery import Recovery"),
        ("fastrecover.inputs.whitening", "from ..sources import WhitenedSource"),
        ("fastrecover.inputs.whitening", "from ..solvers import LBFGS"),
        ("fastrecover.plan.search", "from ..request import Request"),
        ("fastrecover.plan.search", "from ..prediction import predict"),
        ("fastrecover.request", "from . import api"),
        ("fastrecover.linalg", "from .models import Parameters"),
        ("fastrecover._checks", "from .engines import Engine"),
        ("fastrecover.models.network", "from ..sweeps import Objective"),
        ("fastrecover.sweeps.loss", "from ..sources import as_source"),
        ("fastrecover.engines.threads", "from ..sweeps import Objective"),
        ("fastrecover.plotting", "from .sources import ArraySource"),
        ("fastrecover.recovery", "def fit():\n    from .plan import carry_out"),
        ("fastrecover.api", "from fastrecover.kernels import set_kernels"),
        ("fastrecover.api", "from . import kernels"),
        ("fastrecover.sources.array", "from ..engines import Meter"),
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
        ("fastrecover.starts.base", False, "from ..engines import Engine"),
        ("fastrecover.sweeps.loss", False, "from ..kernels import active\nfrom ..engines import Engine"),
        ("fastrecover.engines", True, "from ..sources import Source\nfrom .threads import ThreadEngine"),
        ("fastrecover.plan.search", False, "from ..starts import STARTS\nfrom ..solvers import run"),
        ("fastrecover.tensors", True, "from ..linalg import orthonormal"),
        ("fastrecover.recovery", False, "from .prediction import predict\nfrom .sweeps import Objective"),
        ("fastrecover.cli", False, "from .kernels import describe"),
        ("fastrecover", True, "from . import kernels\nfrom .api import fit"),
        ("fastrecover.api", False, "from fastrecover import solvers, recovery"),
    ],
)
def test_checker_lets_allowed_imports_pass(module, is_package, source):
    assert violations(source, module, PARTS, is_package) == []


def test_checker_wants_every_part_in_the_table():
    with pytest.raises(ValueError, match="extras must stand in one layer"):
        violations("from .extras import more", "fastrecover.api", {*PARTS, "extras"})


@pytest.mark.parametrize(
    "source",
    [
        "def rows(engine):\n    return engine.source.x",
        "y = self.objective.engine.source.y",
        "source = getattr(engine, 'source')",
        "x, y, w = source.read(0, 10)",
        "from ..sources import ArraySource\nArraySource(x).read(0, 10)",
        "engine.source = other",
    ],
)
@pytest.mark.parametrize("module", ["fastrecover.starts.spectral", "fastrecover.inference", "fastrecover"])
def test_checker_finds_rows_that_are_touched(module, source):
    assert len(touches(source, module)) >= 1
    assert touches(source, "fastrecover.engines.threads") == []


@pytest.mark.parametrize(
    "source",
    [
        "from . import data\nrows = data.read(args)",
        "source = engine\nprint(source.shape)",
        "z, y, w = local_rows(engine.sample(10, seed))",
        "text = path.read_text()",
    ],
)
def test_checker_lets_questions_to_an_engine_pass(source):
    assert touches(source, "fastrecover.starts.spectral") == []


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


FIT = (
    "import numpy as np; x = np.random.default_rng(0).standard_normal((200, 3)); "
    "fastrecover.fit(x, np.maximum(x[:, 0], 0), 'relu', 1, random_state=0)"
)


@pytest.mark.parametrize(("then", "not_loaded"), [("", NOT_ON_IMPORT), (FIT, EXTRAS)])
def test_import_and_a_fit_of_arrays_load_nothing_that_is_optional(then, not_loaded):
    script = f"import sys, fastrecover; {then}; print(*sorted({not_loaded!r} & set(sys.modules)))".replace("; ;", ";")
    paths = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(("flags", "found"), [((), 0), (("-mavx2",), 1)])
def test_code_beyond_the_baseline_is_found(tmp_path, flags, found):
    """The check of `make wheel`, on a library that needs nothing and on one that no dispatch guards."""
    loop = "double s = 0;\n for (long i = 0; i < n; i++) s += x[i] * x[i];\n return s;"
    (tmp_path / "sum.c").write_text(f"double sum(const double *x, long n) {{\n {loop}\n}}\n")
    subprocess.run([CC, "-O3", "-shared", "-fPIC", *flags, "sum.c", "-o", "libsum.so"], cwd=tmp_path, check=True)
    command = [sys.executable, ROOT / "csrc" / "baseline.py", tmp_path / "libsum.so"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == found and ("sum has" in done.stdout) == bool(found)


# Other processors have nothing to find, and other machines nothing to find it with.
if platform.machine() != "x86_64" or None in map(shutil.which, (CC, "objdump", "readelf")):
    del test_code_beyond_the_baseline_is_found
