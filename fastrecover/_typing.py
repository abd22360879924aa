"""Types of arguments that several public functions take."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

#: What seeds random numbers: None draws them anew each time.
RandomState: TypeAlias = int | np.random.SeedSequence | np.random.Generator | np.random.RandomState | None
