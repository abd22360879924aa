"""Settings that every test shares, made before any test module is imported.

Plots go to files without a display, and Hypothesis draws the same examples in every run, so that a failure
on one machine is a failure on all.
"""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("reproducible", derandomize=True, deadline=None, database=None)
settings.load_profile("reproducible")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what makes a repository of revisions where git, which has them, is not installed."""
    if shutil.which("git") is None:
        items[:] = [item for item in items if "repository" not in getattr(item, "fixturenames", ())]
