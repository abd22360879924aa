"""How a row is scored: one record a loss, with everything that the rest of the package must know of it.

Kernels know a loss by its code alone; which targets it takes, how large its noise is, when a fit of it is exact and
what a score means are asked of the record, so that nobody else tells losses apart by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ._arrays import as_array, first_missing, missing
from ._validation import check_finite, check_vector, flat

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
        """Two labels of any kind, or numbers in [0, 1].

        Two labels are mapped in sorted order.  Numbers in [0, 1] are targets as they are (0, 1, or fractions such as
        averaged labels), however many of them there are.
        """
        labels = _labels(y, n)
        if labels.dtype.kind in "fiu" and labels.min() >= 0 and labels.max() <= 1:
            return labels.astype(np.float64), np.array([0, 1])
        others = labels[labels != labels[0]]
        if not len(others):
            raise ValueError(f"y has one class only (every label is {labels[0].item()!r}): there is nothing to recover")
        if (others != others[0]).any():
            raise _too_many(labels)
        classes = np.array(sorted((labels[0].item(), others[0].item())))
        return (labels == classes[1]).astype(np.float64), classes

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
    labels = _labels(y, n)
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        known = np.zeros(len(labels), bool)
    elif classes.dtype.kind in "fiu" and classes.tolist() == [0, 1]:
        known = (labels >= 0) & (labels <= 1)
    else:
        known = (labels == classes[0]) | (labels == classes[1])
    if not known.all():
        at = int(np.argmin(known))
        raise ValueError(f"y must hold labels of {classes.tolist()}, got {labels[at].item()!r} in row {at}")
    return labels.astype(np.float64) if classes.tolist() == [0, 1] else (labels == classes[1]).astype(np.float64)


def _labels(y: Any, n: int | None) -> np.ndarray:
    """Labels as a vector of text, booleans or finite numbers."""
    labels = as_array(y, "y")
    labels = flat(labels, labels.size if n is None else n, "y")
    if labels.dtype.kind in "OT":
        labels = _unboxed(labels.astype(object))
    if labels.dtype.kind == "S":
        labels = _decoded(labels)
    if labels.dtype.kind not in "fiubU":
        raise TypeError(f"y must be labels (text, booleans or numbers), got dtype {labels.dtype}")
    if labels.dtype.kind == "f":
        check_finite(labels, "y")
    return labels


def _unboxed(labels: np.ndarray) -> np.ndarray:
    """Objects of one kind as an array of that kind."""
    at = first_missing(labels)
    if at is not None:
        raise missing("y", f"row {at}")
    for kind in (str, bytes, (bool, np.bool_), (int, float, np.number, np.bool_)):
        if all(isinstance(label, kind) for label in labels):
            return np.array(labels.tolist())
    some = sorted({type(label).__name__ for label in labels})
    what = "labels of different types" if len(some) > 1 else "labels of type"
    raise TypeError(f"y has {what} {', '.join(some)}: use text, booleans or numbers")


def _decoded(labels: np.ndarray) -> np.ndarray:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"y holds bytes that are no text in UTF-8: {error.object!r}") from None


def _too_many(labels: np.ndarray) -> ValueError:
    classes = np.unique(labels)
    if labels.dtype.kind == "f" and len(classes) > 20:
        at = int(np.argmax((labels < 0) | (labels > 1)))
        return ValueError(
            f"y must hold two labels, or lie in [0, 1] for a classification, but row {at} is {labels[at]:g}"
        )
    count = "three" if len(classes) == 3 else str(len(classes))
    some = ", ".join(repr(label) for label in classes[:5].tolist()) + (", ..." if len(classes) > 5 else "")
    return ValueError(f"y has {count} labels: {some}; this model takes two")
