"""Labels by their numbers, which is how a fit is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def one_hot(which: np.ndarray, count: int) -> np.ndarray:
    """Targets of classes by their numbers: 0 and 1 of two, else a column for each."""
    return which.astype(np.float64) if count == 2 else np.eye(count)[which]


def weights_by_number(given: Any, classes: np.ndarray) -> Any:
    """Weights of classes by their numbers; what is no dict is left as it is.

    Parameters
    ----------
    given : dict of label to weight, or any
    classes : ndarray (n_classes,)

    Raises
    ------
    ValueError
        A label that is none of the classes, while some class has no weight.
    """
    if not isinstance(given, Mapping):
        return given
    labels = classes.tolist()
    foreign = [label for label in given if label not in labels]
    if foreign and any(label not in given for label in labels):  # else these rows lack a class
        raise ValueError(f"class_weight has a weight for {foreign[0]!r}, which is none of the classes {labels}")
    return {labels.index(label): weight for label, weight in given.items() if label in labels}
