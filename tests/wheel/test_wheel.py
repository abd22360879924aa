"""The wheel as others get it: complete, fit for any processor, and working in an environment that has nothing else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIST = Path(os.environ["FASTRECOVER_DIST"]).resolve()

#: Run where neither the sources nor anything but the wheel and what it needs can be imported.
FIT = """
import sys
import numpy as np
import fastrecover as fr

assert "site-packages" in fr.__file__, fr.__file__
assert fr.get_kernels() == "compiled"
teacher = fr.datasets.make_teacher("relu", n_features=10, n_hidden=3, output_weights="signs", random_state=0)
X, y = teacher.sample(5000, random_state=1)
rec = fr.fit(X, y, "relu", 3, random_state=0)
assert rec.converged and rec.error(teacher) < 1e-8, rec.message
rec.save("rec.npz")
np.save("X.npy", X)
"""


def only(pattern: str) -> Path:
    (found,) = DIST.glob(pattern)
    return found


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(only("*.whl")) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory) -> Path:
    """The folder of programs of an environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, only("*.whl")], check=True)
    return folder / "bin"


def run(command: list[str | Path], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FASTRECOVER"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_has_what_others_need(unpacked):
    package = unpacked / "fastrecover"
    needed = (
        "py.typed",
        "capi.pxd",
        "sample_size/curves.json",
        "include/fastrecover.h",
        "kernels/_compiled.*.so",
        "lib/libfastrecover.*",
    )
    assert [name for name in needed if not list(package.glob(name))] == []
    sources = {path.relative_to(ROOT / "fastrecover") for path in (ROOT / "fastrecover").rglob("*.py")}
    assert {path.relative_to(package) for path in package.rglob("*.py")} == sources
    metadata = only("*.whl").name.split("-cp")[0] + ".dist-info"
    assert {path.name for path in unpacked.iterdir()} == {"fastrecover", metadata}


def test_an_sdist_has_what_a_build_and_the_tests_need():
    with tarfile.open(only("*.tar.gz")) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    kept = {name for name in listed if not name.startswith(".") or name == ".ci/run"}
    assert kept - names == set()
    assert [name for name in names if name.endswith((".so", ".o", ".pyc", ".dylib"))] == []


def test_nothing_beyond_the_baseline_runs_without_dispatch(unpacked):
    if platform.machine() != "x86_64":
        return  # other processors have one instruction set here
    libraries = [*unpacked.glob("fastrecover/kernels/*.so"), *unpacked.glob("fastrecover/lib/*.so")]
    assert len(libraries) == 2
    done = subprocess.run([sys.executable, ROOT / "csrc" / "baseline.py", *libraries], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_installed_wheel_fits_and_predicts(programs, tmp_path):
    run([programs / "python", "-I", "-c", FIT], tmp_path)
    assert "f.npy" in run([programs / "fastrecover", "predict", "rec.npz", "X.npy", "-o", "f.npy"], tmp_path)
    assert (tmp_path / "f.npy").stat().st_size > 8 * 5000
    assert "compiled" in run([programs / "fastrecover", "info"], tmp_path)


def test_programs_are_compiled_against_an_installed_wheel(programs, tmp_path):
    flags = run([programs / "fastrecover-config", "--cflags", "--libs"], tmp_path).split()
    assert str(ROOT) not in " ".join(flags)
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    run([compiler, "-O1", ROOT / "examples" / "c" / "phase.c", *flags, "-lm", "-o", "phase"], tmp_path)
    assert float(run([tmp_path / "phase"], tmp_path).split("relative error")[1]) < 1e-8
