"""The example in Cython: it compiles against the package as it is installed, and its sweeps are the package's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrecover as fr

EXAMPLE = Path(__file__).parents[2] / "examples" / "cython"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cython")
    for name in ("setup.py", "sweep.pyx"):
        shutil.copy(EXAMPLE / name, folder)
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "CFLAGS": "-O0"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    sys.path.insert(0, str(folder))
    try:
        import sweep

        yield sweep
    finally:
        sys.path.remove(str(folder))


def test_steps_are_those_of_an_objective(sweep):
    rng = np.random.default_rng(0)
    x, y, theta = rng.standard_normal((1000, 4)), rng.standard_normal(1000), rng.standard_normal(10)
    o, expected = fr.objective(x, y, "relu", 2, output_weights="free"), theta.copy()
    for _ in range(3):
        value, grad = o.value_and_grad(expected)
        expected -= 0.1 * grad
    found = theta.copy()
    assert sweep.descend(x, y, found, 2, 0.1, 3) == value
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_vectors_of_another_length_are_refused(sweep):
    x = np.ones((5, 4))
    with pytest.raises(ValueError, match="theta must have 10 entries, got 3"):
        sweep.descend(x, np.ones(5), np.ones(3), 2, 0.1, 1)
    with pytest.raises(ValueError, match="y must have 5 entries, got 3"):
        sweep.descend(x, np.ones(3), np.ones(10), 2, 0.1, 1)
    with pytest.raises(ValueError, match="n_hidden must be at least 1"):
        sweep.descend(x, np.ones(5), np.ones(10), -1, 0.1, 1)
