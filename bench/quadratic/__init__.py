"""Studies of quadratic networks, each a case of its own: from how few rows, how exactly, in how many passes.

They are separate cases because each takes minutes: an interruption costs one study, and ``--resume`` skips
those that are complete.
"""

from __future__ import annotations

STUDIES = ("success", "noise", "passes", "stages")
CASES = tuple(f"quadratic.{study}" for study in STUDIES)
