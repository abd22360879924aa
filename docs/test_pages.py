"""Every code block of the documentation is run: those of a page in order, in one namespace and one folder.

A ``text`` block behind one is what it prints, "..." standing for what differs from machine to machine.  Examples of
docstrings, which make the reference, are run as doctests.  Pages that import a package which is not installed are left
out: after ``make test-backends`` it is there.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastrecover

DOCS = Path(__file__).parent
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEEDS = {"pytorch.md": "torch", "jax.md": "jax", "many-machines.md": "distributed"}
PAGES = [
    path.name
    for path in sorted(DOCS.glob("*.md"))
    if find_spec(NEEDS.get(path.name, "pytest")) and re.search(r"^```(python|sh)$", path.read_text(), re.MULTILINE)
]
PACKAGE = Path(fastrecover.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def blocks(text: str) -> list[tuple[str, str, str | None]]:
    """Language, code, and what it prints (None: not said) of every block but directives."""
    found: list[tuple[str, str, str | None]] = []
    end = -1
    for match in FENCE.finditer(text):
        language, code = match.groups()
        if language == "text":
            assert found and not text[end : match.start()].strip(), f"output of nothing: {code}"
            found[-1] = (*found[-1][:2], code)
        elif not language.startswith("{"):
            found.append((language, code, None))
        end = match.end()
    return found


def run(page: str, folder: Path) -> int:
    """Run the blocks of one page in a folder, and return how many there are."""
    names: dict = {"__name__": "__main__"}
    found = blocks((DOCS / page).read_text(encoding="utf-8"))
    for number, (language, code, wanted) in enumerate(found, 1):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.chdir(folder):
                exec(compile(code, f"{page}, block {number}", "exec"), names)
            got = printed.getvalue()
        else:
            assert language == "sh", f"{page}, block {number} is {language!r}, which nothing runs"
            paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            done = subprocess.run(
                ["sh", "-e"], input=code, cwd=folder, env=os.environ | {"PATH": paths}, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{page}, block {number}: {done.stdout}{done.stderr}"
            got = done.stdout
        if wanted is not None:
            same = doctest.OutputChecker().check_output(wanted, got, FLAGS)
            assert same, f"{page}, block {number} prints\n{got}\nand not\n{wanted}"
    return len(found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("page", PAGES)
def test_page(page, tmp_path):
    assert run(page, tmp_path) == len(re.findall(r"^```(?:python|sh)$", (DOCS / page).read_text(), re.MULTILINE))


def test_blocks_are_told_apart():
    page = "a\n```python\nprint(1)\n```\n\n```text\n1\n```\n```{note}\nb\n```\n```sh\nls\n```\n"
    assert blocks(page) == [("python", "print(1)\n", "1\n"), ("sh", "ls\n", None)]
    with pytest.raises(AssertionError, match="output of nothing"):
        blocks("```python\nprint(1)\n```\nand\n```text\n1\n```\n")


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    found = doctest.testmod(import_module(name), optionflags=FLAGS)
    assert found.attempted and not found.failed


def test_messages_are_those_of_fits():
    table = (DOCS / "results.md").read_text(encoding="utf-8").split("| message says")[1].split("\n\n")[0]
    messages = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    package = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert len(messages) > 8 and [message for message in messages if message not in package] == []
