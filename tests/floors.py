"""Prints the lowest version that pyproject.toml allows of everything it requires, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def floors(declared: dict[str, Any]) -> dict[str, str]:
    """Floor of each requirement for the build, for running and of every extra; ValueError where there is not one."""
    project = declared["project"]
    lists = [declared["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values()]
    found: dict[str, str] = {}
    for need in chain(*lists):
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", need)
        if match is None:
            raise ValueError(f"requirement {need!r} is not of the form name>=version")
        name, floor = match.groups()
        if found.setdefault(name, floor) != floor:
            raise ValueError(f"{name} has two floors, {found[name]} and {floor}")
    return found


if __name__ == "__main__":
    for name, floor in floors(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))).items():
        print(f"{name}=={floor}")
