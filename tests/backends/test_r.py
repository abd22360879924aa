"""The example in R: the glue compiles, gradients are right, and the units are found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from fastrecover import _library

EXAMPLE = Path(__file__).parents[2] / "examples" / "r"


def flags(capsys, option: str) -> str:
    assert _library.main([option]) == 0
    return capsys.readouterr().out.strip()


def test_units_are_recovered_from_r(tmp_path, capsys):
    for name in ("glue.c", "recover.R"):
        shutil.copy(EXAMPLE / name, tmp_path)
    environment = {**os.environ, "PKG_CFLAGS": flags(capsys, "--cflags"), "PKG_LIBS": flags(capsys, "--libs")}
    for command in (["R", "CMD", "SHLIB", "glue.c"], ["Rscript", "recover.R"]):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    numbers = [float(each) for each in re.findall(r"[0-9.]+e[-+][0-9]+", done.stdout)]
    truth, start, found, gradient = numbers
    assert truth < 1e-25 and start > 0.1 and found < 1e-12
    assert gradient < 1e-7
