"""Studies of classification, each a case of its own: what Fu, Chi and Liang (2018) measured, and more.

They are separate cases because each takes minutes: an interruption costs one study, and ``--resume`` skips
those that are complete.
"""

from __future__ import annotations

STUDIES = ("success", "errors", "threshold", "coverage", "gradient")
CASES = tuple(f"classification.{study}" for study in STUDIES)
