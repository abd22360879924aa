"""Studies of recovery power, each a case of its own: from how few rows, and for which teachers, weights come back.

They are separate cases because each takes minutes.  Every row is one cell over many seeds, and a case that was
interrupted takes the cells that are already there from the result file.
"""

from __future__ import annotations

STUDIES = ("experiments", "noise", "phase", "zoo", "goals", "large", "coverage")
CASES = tuple(f"power.{study}" for study in STUDIES)
