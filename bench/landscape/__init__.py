"""Studies of the designed landscape: where plain descent is stuck and G is not, and how few rows its start needs."""

from __future__ import annotations

STUDIES = ("descent", "success", "large")
CASES = tuple(f"landscape.{study}" for study in STUDIES)
