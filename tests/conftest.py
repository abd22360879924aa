"""Settings that every test shares, made before any test module is imported.

Plots go to files without a display, and Hypothesis draws the same examples in every run, so that a failure
on one machine is a failure on all.
"""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("reproducible", derandomize=True, deadline=None, database=None)
settings.load_profile("reproducible")
