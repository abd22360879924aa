"""Tests of a finished wheel and sdist, in the folder that FASTRECOVER_DIST names: see ``make wheel``."""

import os

collect_ignore = [] if os.environ.get("FASTRECOVER_DIST") else ["test_wheel.py"]
