"""The examples of processes that gather: each finds the same weights everywhere, and those that were planted."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    "gather_mpi": ("mpi4py", ["mpiexec", "-n", "4"]),
    "gather_torch": ("torch", []),
    "gather_ray": ("ray", []),
    "dask_cluster": ("distributed", []),
}
BIN = Path(sys.executable).parent


def launcher(words):
    """The words of a launcher, which stands beside the interpreter or on the path; None where it does not."""
    found = words and (shutil.which(words[0], path=str(BIN)) or shutil.which(words[0]))
    return [] if not words else found and [found, *words[1:]]


@pytest.mark.parametrize(
    "name", [name for name, (needs, words) in RUNS.items() if find_spec(needs) and launcher(words) is not None]
)
def test_an_example_of_many_processes(name):
    command = [*launcher(RUNS[name][1]), sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    error = float(done.stdout.split("relative error ")[1].split()[0].rstrip(","))
    # 40,000 rows and more: standard errors of less than half a percent.
    assert error < 0.02
    assert "the same bits everywhere: True" in done.stdout or name == "dask_cluster"
