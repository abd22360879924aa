"""Weights of samples by their class, from counts that may come from anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import check_vector


def class_weights(
    targets: np.ndarray, classes: np.ndarray | None, spec: Any, weight: np.ndarray | None = None
) -> np.ndarray:
    """Weight of every sample by its class.

    Parameters
    ----------
    targets : ndarray (n,) of 0 and 1, or (n, n_classes) with one 1 a row
    classes : ndarray (n_classes,) or None
    spec : "balanced" or dict
        "balanced": so that all classes weigh the same, ``n / (n_classes * rows of the class)``.
    weight : ndarray (n,), optional
        By which rows are counted, so that a weight of 2 is the row given twice.

    Returns
    -------
    ndarray (n,)

    Raises
    ------
    TypeError, ValueError
        A regression, targets that are no labels, or weights that are not those of the classes.
    """
    if classes is None:
        raise ValueError("class_weight is for classifications: leave it out, or give sample_weight")
    each = weight_of_each(class_counts(targets, weight), classes, spec)
    return by_class(targets, each)


def class_counts(targets: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Weight of all samples of every class, (n_classes,).

    Raises
    ------
    ValueError
        Targets that are no labels.
    """
    shares = _shares(targets)
    if not ((shares == 0) | (shares == 1)).all():
        raise ValueError("class_weight needs labels, but y holds fractions: give sample_weight")
    return np.asarray(shares.sum(axis=0) if weight is None else weight @ shares)


def weight_of_each(count: np.ndarray, classes: np.ndarray, spec: Any) -> np.ndarray:
    """Weight of every class, (n_classes,), from the weight of all its samples.

    Raises
    ------
    TypeError, ValueError
        Weights that are not those of the classes.
    """
    labels = classes.tolist()
    if isinstance(spec, str) and spec == "balanced":
        return np.asarray(count.sum() / (len(labels) * np.where(count > 0, count, 1.0)))
    if not isinstance(spec, dict):
        raise TypeError(f"class_weight must be 'balanced', a dict of label to weight or None, got {spec!r}")
    foreign = [label for label in spec if label not in labels]
    if foreign:
        raise ValueError(f"class_weight has a weight for {foreign[0]!r}, which is none of the classes {labels}")
    each = check_vector([spec.get(label, 1.0) for label in labels], len(labels), "class_weight")
    if (each < 0).any():
        raise ValueError(f"class_weight must not be negative, got {spec}")
    return each


def by_class(targets: np.ndarray, each: np.ndarray) -> np.ndarray:
    """The weight of its class for every sample, (n,)."""
    return np.asarray(each[_shares(targets).argmax(axis=1)])


def _shares(targets: np.ndarray) -> np.ndarray:
    return targets if targets.ndim == 2 else np.column_stack([1.0 - targets, targets])
