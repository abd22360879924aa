"""How a row is scored: one record a loss, with everything that the rest of the package must know of it.

Kernels know a loss by its code alone; which targets it takes, how large its noise is, when a fit of it is exact and
what a score means are asked of the record, so that nobody else tells losses apart by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ._arrays import as_array, first_missing, missing
from ._validation import check_finite, check_positive, check_rows, check_vector, flat

#: A squared loss below (EXACT * eps)^2 of the variance of the responses is rounding.
EXACT = 30.0

#: Code of ``y f``, a loss that no model has: its gradient is the product of responses with the Jacobian of outputs.
LINEAR_CODE = 7

#: Multiple of that up to which a fit counts as exact where a step lower is no longer looked for.
EXACT_SLACK = 100.0

_SIMPLEX = 1e-6  # by which probabilities of a row may miss a sum of 1
_NO_RATE = 1e-300
_MANY_CLASSES = 20  # fractions of more values than that are no labels


class Loss(ABC):
    """What a loss must answer; records are frozen and hold at most a number.

    Attributes
    ----------
    name : str
        As models and saved files write it.
    code : int
        As kernels know it (``csrc/kernels.h``).
    delta : float
        The number that kernels may need beside the code.
    least_squares : bool
        Whether it is half the square of a residual: then output weights follow from linear least squares, and what
        is left of the responses can be tested for structure.
    in_response_units : bool
        Whether outputs and responses are in the same unit, which both may change.
    of_output : bool
        Whether it is a function of outputs and responses alone, however the outputs are made.
    takes_labels : bool
        Whether targets are classes, of which a row says far less than a number does.
    separable : bool
        Whether some data have their optimum at infinite weights.
    several_outputs : bool or None
        Whether it takes several outputs; None: one or several.
    """

    name: ClassVar[str]
    code: ClassVar[int]
    delta: float = 1.0
    least_squares: ClassVar[bool] = False
    in_response_units: ClassVar[bool] = False
    of_output: ClassVar[bool] = True
    takes_labels: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    several_outputs: ClassVar[bool | None] = False

    @abstractmethod
    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Responses as numbers, and the classes that they stand for.

        Parameters
        ----------
        y : array_like (n,) or (n, n_outputs)
        n : int
            Rows of X.

        Returns
        -------
        targets : ndarray (n,) or (n, n_outputs) of float64
        classes : ndarray (n_classes,) or None

        Raises
        ------
        TypeError, ValueError
            Outside the domain of the loss; the message names row and remedy.
        """

    @abstractmethod
    def mean(self, output: np.ndarray) -> np.ndarray:
        """Expected response of outputs, of the same shape."""

    def output(self, mean: np.ndarray) -> np.ndarray | float:
        """Outputs whose expected response is `mean`, one number for each output: the inverse of :meth:`mean`."""
        return mean if np.ndim(mean) else float(mean)

    @abstractmethod
    def noise(self, loss: float) -> float:
        """Scale of one row's contribution to the gradient where the mean loss is `loss`."""

    @abstractmethod
    def exact_loss(self, response_variance: float, dtype: np.dtype) -> float:
        """Mean loss at and below which a fit of rows of `dtype` is exact."""

    @abstractmethod
    def missed(self, targets: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """By how much an expected response misses a target, (n,) or (n, n_outputs): what scores are averages of."""

    def score(self, targets: np.ndarray, mean: np.ndarray, weight: np.ndarray | None = None) -> float:
        """How well expected responses meet targets: the share of what their mean misses that is not missed; 1 is best.

        Parameters
        ----------
        targets, mean : ndarray (n,) or (n, n_outputs)
        weight : ndarray (n,), optional

        Returns
        -------
        float
            The mean over outputs; of constant targets 1 where exact and else 0, of fewer than two rows nan.
        """
        columns = targets.reshape(len(targets), -1)
        left = np.average(self.missed(columns, mean.reshape(columns.shape)), axis=0, weights=weight)
        centre = np.average(columns, axis=0, weights=weight)
        total = np.average(self.missed(columns, np.broadcast_to(centre, columns.shape)), axis=0, weights=weight)
        return explained(left, total, len(targets))

    def in_units(self, scale: float) -> Loss:
        """The loss of responses that are divided by `scale`."""
        return self

    def __repr__(self) -> str:
        return f"<loss {self.name}>"


class _OfResidual(Loss):
    """A loss of the residual ``f - y``."""

    in_response_units, several_outputs = True, None

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Finite numbers."""
        return _numbers(y, n), None

    def mean(self, output: np.ndarray) -> np.ndarray:
        """The outputs themselves."""
        return output

    def noise(self, loss: float) -> float:
        """Root mean square of the residual."""
        return float(np.sqrt(2.0 * loss))

    def exact_loss(self, response_variance: float, dtype: np.dtype) -> float:
        """Square of some thirty units in the last place of the responses."""
        return (EXACT * float(np.finfo(dtype).eps)) ** 2 * response_variance

    def missed(self, targets: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Squares, so that the score is ``R^2``."""
        return np.asarray((targets - mean) ** 2)


@dataclass(frozen=True, repr=False)
class SquaredLoss(_OfResidual):
    """``0.5 (f - y)^2``, summed over outputs."""

    name, code, least_squares = "squared", 0, True


@dataclass(frozen=True, repr=False)
class Huber(_OfResidual):
    """``0.5 e^2`` of residuals ``e = f - y`` up to `delta` in size, and ``delta (|e| - delta / 2)`` beyond.

    Parameters
    ----------
    delta : float
        In the unit of the responses.

    Raises
    ------
    TypeError, ValueError
        Not a positive number.
    """

    name, code = "huber", 2
    delta: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.delta, "delta")

    def in_units(self, scale: float) -> Huber:
        """With `delta` in the same unit."""
        return Huber(self.delta / scale)


class _Likelihood(Loss):
    """Minus a log likelihood, whose gradient has its curvature for a variance."""

    def noise(self, loss: float) -> float:
        """1: the curvature of a log likelihood is the variance of its gradient."""
        return 1.0

    def exact_loss(self, response_variance: float, dtype: np.dtype) -> float:
        """None is: below every loss."""
        return -np.inf


class _OfLabels(_Likelihood):
    takes_labels, separable = True, True

    def missed(self, targets: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """1 where another class is the more likely one, else 0."""
        if mean.ndim == 2:
            return np.asarray(targets.argmax(axis=1) != mean.argmax(axis=1), float)
        return np.asarray((targets > 0.5) != (mean > 0.5), float)

    def score(self, targets: np.ndarray, mean: np.ndarray, weight: np.ndarray | None = None) -> float:
        """Share of the weight on the side of the more likely class."""
        return float(np.average(1.0 - self.missed(targets, mean), weights=weight))


@dataclass(frozen=True, repr=False)
class CrossEntropy(_OfLabels):
    """``-y log f - (1 - y) log(1 - f)`` of the mean f of sigmoid units (Fu, Chi and Liang 2018)."""

    name, code, of_output = "cross-entropy", 1, False

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Two labels of any kind, or numbers in [0, 1].

        Two labels are mapped in sorted order.  Numbers in [0, 1] are targets as they are (0, 1, or fractions such as
        averaged labels), however many of them there are.
        """
        return _two_classes(as_labels(y, n))

    def mean(self, output: np.ndarray) -> np.ndarray:
        """The outputs themselves."""
        return output


@dataclass(frozen=True, repr=False)
class LogisticLoss(_OfLabels):
    """``log(1 + e^f) - y f``: f is the logarithm of the odds of the second of two classes."""

    name, code = "logistic", 3

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Two labels of any kind, or numbers in [0, 1]; one number a class for three labels and more.

        Of more than two classes the targets are those of :class:`Softmax`, which then takes the place of this loss.
        """
        if np.ndim(y) == 2 and 1 not in np.shape(y):
            return SOFTMAX.targets(y, n)
        labels = as_labels(y, n)
        if _in_unit_interval(labels) or len(np.unique(labels)) <= 2:
            return _two_classes(labels)
        return SOFTMAX.targets(labels, n)

    def mean(self, output: np.ndarray) -> np.ndarray:
        """``1 / (1 + e^-f)``."""
        from scipy.special import expit

        return np.asarray(expit(output))

    def output(self, mean: np.ndarray) -> np.ndarray | float:
        """The logarithm of the odds."""
        from scipy.special import logit

        return float(logit(mean))


@dataclass(frozen=True, repr=False)
class Softmax(_OfLabels):
    """``log sum_o e^f_o - y . f`` of one output for each of three or more classes."""

    name, code, several_outputs = "softmax", 4, True

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels of any kind, or rows of probabilities, (n, n_classes)."""
        if np.ndim(y) == 2 and 1 not in np.shape(y):
            rows = check_rows(y, "y").astype(np.float64)
            if len(rows) != n:
                raise ValueError(f"y has {len(rows)} rows but X has {n} rows")
            check_finite(rows, "y")
            wrong = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1.0) > _SIMPLEX)
            if wrong.any():
                at = int(np.argmax(wrong))
                raise ValueError(
                    f"y must hold rows of probabilities that sum to 1, but row {at} is {rows[at].tolist()}"
                )
            return np.ascontiguousarray(rows), np.arange(rows.shape[1])
        labels = as_labels(y, n)
        classes, which = np.unique(labels, return_inverse=True)
        if labels.dtype.kind == "f" and len(classes) > _MANY_CLASSES and (classes != np.rint(classes)).any():
            raise _too_many(labels)
        if 2 * len(classes) > n:
            raise ValueError(f"y has {len(classes)} classes in {n} rows: a class needs two rows at least on average")
        return np.eye(len(classes))[which], classes

    def mean(self, output: np.ndarray) -> np.ndarray:
        """Probabilities of the classes."""
        from scipy.special import softmax

        return np.asarray(softmax(output, axis=1))

    def output(self, mean: np.ndarray) -> np.ndarray | float:
        """Logarithms of the probabilities, of mean 0."""
        logs = np.log(mean)
        return np.asarray(logs - logs.mean())


class _OfCounts(_Likelihood):
    """Counts, or other numbers that are not negative, whose mean is a function of the output."""

    def targets(self, y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Finite numbers, none negative."""
        counts = check_vector(y, n, "y")
        if (counts < 0).any():
            at = int(np.argmax(counts < 0))
            raise ValueError(f"y must not be negative under a Poisson loss, but row {at} is {counts[at]:g}")
        return counts, None

    def missed(self, targets: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Deviances, so that the score is ``D^2``."""
        from scipy.special import rel_entr

        return np.asarray(2.0 * (rel_entr(targets, mean) - targets + mean))


@dataclass(frozen=True, repr=False)
class Poisson(_OfCounts):
    """``e^f - y f``: f is the logarithm of the rate."""

    name, code = "poisson", 5

    def mean(self, output: np.ndarray) -> np.ndarray:
        """``e^f``."""
        with np.errstate(over="ignore"):
            return np.exp(output)

    def output(self, mean: np.ndarray) -> np.ndarray | float:
        """The logarithm of the rate; of none at all that of the least there is."""
        return float(np.log(max(float(mean), _NO_RATE)))


@dataclass(frozen=True, repr=False)
class PoissonSoftplus(_OfCounts):
    """``q - y log q`` of the rate ``q = log(1 + e^f)``."""

    name, code = "poisson-softplus", 6

    def mean(self, output: np.ndarray) -> np.ndarray:
        """``log(1 + e^f)``."""
        return np.logaddexp(0.0, output)

    def output(self, mean: np.ndarray) -> np.ndarray | float:
        """``log(e^q - 1)`` of the rate q."""
        rate = max(float(mean), _NO_RATE)
        return rate + float(np.log(-np.expm1(-rate)))


SQUARED, HUBER, CROSS_ENTROPY, LOGISTIC = SquaredLoss(), Huber(), CrossEntropy(), LogisticLoss()
SOFTMAX, POISSON, POISSON_SOFTPLUS = Softmax(), Poisson(), PoissonSoftplus()
LOSSES: dict[str, Loss] = {
    loss.name: loss for loss in (SQUARED, HUBER, CROSS_ENTROPY, LOGISTIC, SOFTMAX, POISSON, POISSON_SOFTPLUS)
}


def get_loss(spec: str | Loss, delta: float | None = None) -> Loss:
    """The loss called `spec`, or `spec` itself.

    Parameters
    ----------
    spec : str or Loss
    delta : float, optional
        Of "huber".

    Raises
    ------
    TypeError, ValueError
        An unknown name, or a delta for another loss.
    """
    if isinstance(spec, Loss):
        found = spec
    elif isinstance(spec, str) and spec in LOSSES:
        found = LOSSES[spec]
    else:
        raise ValueError(f"unknown loss {spec!r} (known: {', '.join(LOSSES)})")
    if delta is None:
        return found
    if not isinstance(found, Huber):
        raise TypeError(f"delta belongs to loss='huber', not to {found.name!r}")
    return Huber(delta)


def encode_labels(y: Any, classes: np.ndarray, n: int | None = None) -> np.ndarray:
    """Targets for labels of known classes.

    Parameters
    ----------
    y : array_like (n,), or (n, n_classes) for probabilities
    classes : ndarray (n_classes,)
    n : int, optional
        Rows of X.

    Returns
    -------
    ndarray (n,) of float64 in [0, 1] for two classes, else (n, n_classes)

    Raises
    ------
    ValueError
        A label that is not one of the classes, or another number of them than rows.
    """
    several = len(classes) > 2
    if several and np.ndim(y) == 2 and 1 not in np.shape(y):
        targets = SOFTMAX.targets(y, len(y) if n is None else n)[0]
        if targets.shape[1] != len(classes):
            raise ValueError(f"y must have {len(classes)} columns, one for each class, got {targets.shape[1]}")
        return targets
    labels = as_labels(y, n)
    fractions = not several and classes.dtype.kind in "fiu" and classes.tolist() == [0, 1]
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        known = np.zeros(len(labels), bool)
    elif fractions:
        known = (labels >= 0) & (labels <= 1)
    else:
        known = np.isin(labels, classes)
    if not known.all():
        at = int(np.argmin(known))
        raise ValueError(f"y must hold labels of {classes.tolist()}, got {labels[at].item()!r} in row {at}")
    if several:
        return (labels[:, None] == classes).astype(np.float64)
    return labels.astype(np.float64) if classes.tolist() == [0, 1] else (labels == classes[1]).astype(np.float64)


def _numbers(y: Any, n: int) -> np.ndarray:
    """One finite number a row, or several where there are several columns."""
    array = as_array(y, "y")
    if array.ndim != 2 or 1 in array.shape:
        return check_vector(array, n, "y")
    rows = check_rows(y, "y")
    if len(rows) != n:
        raise ValueError(f"y has {len(rows)} rows but X has {n} rows")
    rows = np.require(rows, np.float64, ["C", "A"])
    check_finite(rows, "y")
    return rows


def _in_unit_interval(labels: np.ndarray) -> bool:
    return bool(labels.dtype.kind in "fiu" and labels.min() >= 0 and labels.max() <= 1)


def _two_classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets in [0, 1] of two labels, or of fractions."""
    if _in_unit_interval(labels):
        return labels.astype(np.float64), np.array([0, 1])
    others = labels[labels != labels[0]]
    if not len(others):
        raise ValueError(f"y has one class only (every label is {labels[0].item()!r}): there is nothing to recover")
    if (others != others[0]).any():
        raise _too_many(labels)
    classes = np.array(sorted((labels[0].item(), others[0].item())))
    return (labels == classes[1]).astype(np.float64), classes


def explained(left: np.ndarray, total: np.ndarray, n: int) -> float:
    """Share of what the mean of the targets misses, `total` a column, that is not missed, where `left` is."""
    if n < 2:
        return float("nan")
    parts = [(1.0 if a == 0.0 else 0.0) if b == 0.0 else 1.0 - a / b for a, b in zip(left, total, strict=True)]
    return float(np.mean(parts))


def as_labels(y: Any, n: int | None) -> np.ndarray:
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
