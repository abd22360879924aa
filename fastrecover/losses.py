"""How a row is scored: one record a loss, with everything that the rest of the package must know of it.

Kernels know a loss by its code alone; which targets it takes, how large its noise is, when a fit of it is exact and
what a score means are asked of the record, so that nobody else tells losses apart by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ._validation import check_vector

#: A squared loss below (EXACT * eps)^2 of the variance of the responses is rounding.
EXACT = 30.0

#: Multiple of that up to which a fit counts as exact where a step lower is no longer looked for.
EXACT_SLACK = 100.0


class Loss(ABC):
    """What a loss must answer; subclasses are stateless and used through their one instance.

    Attributes
    ----------
    name : str
        As models and saved files write it.
    code : int
        As kernels know it (``csrc/fastrecover.h``).
    least_squares : bool
        Whether it is half the square of a residual: then output weights follow from linear least squares, and what
        is left of the responses can be tested for structure.
    takes_labels : bool
        Whether targets are classes, of which a row says far less than a number does.
    separable : bool
        Whether some data have their optimum at infinite weights.
    """

    name: ClassVar[str]
    code: ClassVar[int]
    least_squares: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
    separable: ClassVar[bool] = False

    @abstractmethod
    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Responses as numbers, and the classes that 0 and 1 stand for.

        Parameters
        ----------
        y : array_like (n,)
        n : int
            Rows of X.

        Returns
        -------
        targets : ndarray (n,) of float64
        classes : ndarray (2,) or None

        Raises
        ------
        TypeError, ValueError
            Outside the domain of the loss; the message names row and remedy.
        """

    @abstractmethod
    def noise(self, loss: float) -> float:
        """Scale of one row's contribution to the gradient where the mean loss is `loss`."""

    @abstractmethod
    def exact_loss(self, response_variance: float, dtype: np.dtype) -> float:
        """Mean loss at and below which a fit of rows of `dtype` is exact."""

    @abstractmethod
    def score(self, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None = None) -> float:
        """How well the output of a network meets targets; 1 is best.

        Parameters
        ----------
        targets, output : ndarray (n,)
        weight : ndarray (n,), optional

        Returns
        -------
        float
        """

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return get_loss, (self.name,)


class SquaredLoss(Loss):
    """``0.5 (f - y)^2``."""

    name, code, least_squares = "squared", 0, True

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Finite numbers."""
        return check_vector(y, n, "y"), None

    def noise(self, loss: float) -> float:
        """Root mean square of the residual."""
        return float(np.sqrt(2.0 * loss))

    def exact_loss(self, response_variance: float, dtype: np.dtype) -> float:
        """Square of some thirty units in the last place of the responses."""
        return (EXACT * float(np.finfo(dtype).eps)) ** 2 * response_variance

    def score(self, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None = None) -> float:
        """``R^2``; of constant targets 1 where the output is exact and else 0, of fewer than two rows nan."""
        if len(targets) < 2:
            return float("nan")
        w = np.ones(len(targets)) if weight is None else weight
        left = float(w @ (targets - output) ** 2)
        total = float(w @ (targets - np.average(targets, weights=w)) ** 2)
        if total == 0.0:
            return 1.0 if left == 0.0 else 0.0
        return 1.0 - left / total


class CrossEntropy(Loss):
    """``-y log f - (1 - y) log(1 - f)`` of the mean f of sigmoid units (Fu, Chi and Liang 2018)."""

    name, code, takes_labels, separable = "cross-entropy", 1, True, True

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Two labels of any sortable kind, or numbers in [0, 1].

        Strings, booleans and any other two labels that are not numbers are mapped in sorted order; numbers must be
        targets already (0, 1, or fractions such as averaged labels).
        """
        labels = _text(np.asarray(y))
        if labels.dtype.kind in "OUb":
            labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
            if labels.ndim != 1 or len(labels) != n:
                raise ValueError(f"y must hold one label for each of the {n} rows of X, got shape {labels.shape}")
            try:
                classes = np.unique(labels)
            except TypeError:
                raise TypeError(
                    "y mixes labels of different types: use strings, booleans or numbers in [0, 1]"
                ) from None
            if len(classes) != 2:
                some = ", ".join(repr(c) for c in classes[:4].tolist())
                raise ValueError(f"y must have two classes, got {len(classes)}: {some}")
            return (labels == classes[1]).astype(np.float64), np.array(classes.tolist())
        targets = check_vector(y, n, "y")
        outside = (targets < 0) | (targets > 1)
        if outside.any():
            at = int(np.argmax(outside))
            raise ValueError(f"y must lie in [0, 1] for a classification, but row {at} is {targets[at]:g}")
        if targets.min() == targets.max():
            raise ValueError(f"y has one class only (every target is {targets[0]:g}): there is nothing to recover")
        return targets, np.array([0, 1])

    def noise(self, loss: float) -> float:
        """1: the curvature of a log likelihood is the variance of its gradient."""
        return 1.0

    def exact_loss(self, response_variance: float, dtype: np.dtype) -> float:
        """None is: below zero."""
        return -1.0

    def score(self, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None = None) -> float:
        """Share of the weight on the right side of one half."""
        return float(np.average((targets > 0.5) == (output > 0.5), weights=weight))


SQUARED, CROSS_ENTROPY = SquaredLoss(), CrossEntropy()
LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SQUARED, CROSS_ENTROPY)}


def get_loss(spec: str | Loss) -> Loss:
    """The loss called `spec`, or `spec` itself.

    Raises
    ------
    ValueError
        An unknown name.
    """
    if isinstance(spec, Loss):
        return spec
    if spec not in LOSSES:
        raise ValueError(f"unknown loss {spec!r} (known: {', '.join(LOSSES)})")
    return LOSSES[spec]


def encode_labels(y: Any, classes: np.ndarray, n: int | None = None) -> np.ndarray:
    """Targets in [0, 1] for labels of known classes.

    Parameters
    ----------
    y : array_like (n,)
    classes : ndarray (2,)
    n : int, optional
        Rows of X.

    Returns
    -------
    ndarray (n,) of float64

    Raises
    ------
    ValueError
        A label that is not one of the classes, or another number of them than rows.
    """
    labels = _text(np.asarray(y)).reshape(-1)
    if n is not None and len(labels) != n:
        raise ValueError(f"y has {len(labels)} entries but X has {n} rows")
    if classes.dtype.kind == "U":
        labels = labels.astype(str)
    if classes.dtype.kind in "iuf" and labels.dtype.kind in "iufb":
        targets = labels.astype(np.float64)
        known = (targets >= 0) & (targets <= 1)
    else:
        targets = (labels == classes[1]).astype(np.float64)
        known = np.isin(labels, classes)
    if not known.all():
        raise ValueError(f"y must hold labels of {classes.tolist()}, got {labels[~known].tolist()[0]!r}")
    return targets


def _text(labels: np.ndarray) -> np.ndarray:
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
