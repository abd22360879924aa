"""What the README shows must run as it stands there, and name only what exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import fastrecover as fr
from fastrecover.activations import NAMES
from fastrecover.cli import _parser
from fastrecover.solvers.plan import SOLVERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "relu: 3 units" in capsys.readouterr().out
    assert fr.load("rec.npz").error(names["teacher"]) == names["rec"].error(names["teacher"])


def test_commands_parse():
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("fastrecover ")]
    assert {words[1] for words in commands} == {"fit", "info"}
    for _, *words in commands:
        words = ["--test-rows=-30000:" if word == "-30000:" else word for word in words if word != "--test-rows"]
        assert _parser().parse_args(words).command == words[0]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", "".join(blocks("sh")), flags=re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_table_lists_what_exists():
    row = {line.split("|")[1].strip(): re.findall(r"`([\w-]+)`", line) for line in README.splitlines() if "|" in line}
    assert set(row["activations"]) <= set(NAMES)
    assert set(row["solvers"]) <= set(SOLVERS)


def test_files_that_are_named_exist():
    for name in re.findall(r"`(\w+/[\w./]+)`", README):
        assert (ROOT / name).is_file(), name
