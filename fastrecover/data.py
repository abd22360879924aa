"""Rows and responses that a user hands in: opened as a source, and checked before any long work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ._validation import (
    LARGEST,
    check_columns,
    check_enough_rows,
    check_finite,
    check_moderate,
    check_not_tiny,
    check_varies,
    check_vector,
    check_weights,
)
from .engines import Engine, Meter, engine_on
from .models import Network
from .sources import KeptSource, Source, as_source, as_values, is_path, kept, opened, peek, read_all
from .sweeps import MomentSweeps

__all__ = ["Data", "as_values", "class_weights", "opened"]

_LOOKED_AT = 512  # rows that show whether a column may be constant, or large


@dataclass(frozen=True, eq=False)
class Data:
    """Rows and responses that a model can be evaluated on.

    Attributes
    ----------
    rows : Source
        As they were given, patches not yet cut.
    y : ndarray (n,) or (n, n_outputs)
        Responses as the loss takes them.
    weight : ndarray (n,) or None
        Positive: rows of weight zero are left out.
    model : Network
        With as many outputs as the responses have.
    classes : ndarray (n_classes,) or None
        The labels that targets stand for.
    weight_unit : float
        What weights were divided by.
    """

    rows: Source
    y: np.ndarray
    weight: np.ndarray | None
    model: Network
    classes: np.ndarray | None
    weight_unit: float = 1.0

    @property
    def n_rows(self) -> int:
        """Samples that count."""
        return self.rows.shape[0]

    @classmethod
    def of(cls, X: Any, y: Any, sample_weight: Any, model: Network, class_weight: Any = None) -> Data:
        """Open rows and responses.

        Parameters
        ----------
        X : array_like (n, d), path, array on a disk, or Source
            A source (:func:`fastrecover.sources.open`) may hold responses and weights of its own.
        y : array_like (n,), path, array on a disk, or Source; or None for those of a source
        sample_weight : as y, or None
        model : Network
        class_weight : "balanced", dict of label to weight, or None
            By which weights of samples are multiplied.

        Raises
        ------
        OSError, TypeError, ValueError
            Files that cannot be read, wrong shapes or types, responses outside the domain of the loss, features that
            do not fit the model.
        """
        rows = as_source(X)
        own_y, own_w = rows.targets()
        n, d = rows.shape
        model.filter_length(d)
        file = Path(y).name if is_path(y) else ""
        y = own_y if y is None else as_values(y)
        if y is None:
            more = "; those that lie in a file of rows are named by fastrecover.sources.open(path, target=...)"
            in_file = getattr(rows, "name", "X") != "X"
            raise ValueError(f"y is missing: give the responses, one for each row of X{more * in_file}")
        given = own_w if sample_weight is None else as_values(sample_weight)
        weight = check_weights(given, n)
        unit = 1.0 if weight is None else float(np.max(np.asarray(given, np.float64)) / weight.max())
        if weight is not None and not weight.all():
            # A row of weight zero is a row that was not given, whatever it holds.
            counts = np.flatnonzero(weight)
            y = _some(y, counts, n)
            rows, weight, n = kept(KeptSource(rows, counts)), weight[counts], len(counts)
        try:
            targets, classes = model.loss.targets(y, n)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{file}: {error}" if file else str(error)) from None
        if class_weight is not None:
            own = class_weights(targets, classes, class_weight, weight)
            product = own if weight is None else own * weight
            held = check_weights(product, n)
            assert held is not None
            weight, unit = held, unit * float(product.max() / held.max())
        return cls(rows, targets, weight, model.for_targets(targets), classes, unit)

    def in_units(self, alpha: float) -> float:
        """A penalty in the unit of the weights as they are held, since it is divided by their sum."""
        return alpha / self.weight_unit

    def some(self, samples: np.ndarray) -> Data:
        """The same of some samples, by their numbers in rising order."""
        weight = None if self.weight is None else self.weight[samples]
        return replace(self, rows=kept(KeptSource(self.rows, samples)), y=self.y[samples], weight=weight)

    def engine(self, n_jobs: int | None, meter: Meter | None = None) -> Engine:
        """The engine that sweeps them, counted by a meter that others share if given."""
        source, patches = self.rows.changed(y=self.y, w=self.weight), self.model.n_patches
        return engine_on(source if patches == 1 else source.grouped(patches), n_jobs, meter)

    def check_sufficient(self, model: Network, penalised: bool = False) -> None:
        """Raise ValueError where no fit of the model can come of these data, without a full look at X.

        Parameters
        ----------
        model : Network
        penalised : bool
            Whether a penalty determines what the rows do not.
        """
        n, d = self.rows.shape
        inputs, y = model.filter_length(d), self.y
        if model.is_quadratic_form:
            _check_quadratic(model, inputs, y)
        if not penalised:
            check_enough_rows(n, model.n_parameters(inputs) - model.n_flat)
        check_varies(y, model.loss.takes_labels, each=not penalised)
        check_moderate(y, "y")
        if model.loss.in_response_units and not model.scales and (largest := float(np.abs(y).max())) < 1.0 / LARGEST:
            raise ValueError(
                f"y has no entry above {largest:.3g}, which units of fixed output weights cannot resolve: rescale y, "
                "or use output_weights='free'"
            )
        few = peek(self.rows, _LOOKED_AT)
        check_columns(few, (x for _, x in read_all(self.rows)), _takes_a_constant(model))
        check_not_tiny(few, (x for _, x in read_all(self.rows)))

    def out_of_reach(self, model: Network) -> str:
        """What is said where outputs of the model cannot even have the mean of the responses; empty where they can."""
        if not model.loss.in_response_units or model.n_outputs > 1:
            return ""
        mean, (low, high) = float(np.average(self.y, weights=self.weight)), model.output_range
        if low <= mean <= high:
            return ""
        return (
            f"y lies between {self.y.min():g} and {self.y.max():g} (mean {mean:g}), where the model's outputs lie "
            f"between {low:g} and {high:g}: use fit_intercept=True, or output_weights='free'"
        )

    def check_finite(self, engine: Engine) -> None:
        """Raise ValueError where X is not finite or too large, by a sweep and not by a scan."""
        sums = np.abs(MomentSweeps(engine).mean()) * engine.shape[0] * self.model.n_patches
        if not (sums < LARGEST).all():
            name, titles = getattr(self.rows, "name", "X"), getattr(self.rows, "column_names", None)
            for first, x in read_all(self.rows):
                check_finite(x, name, first, titles)
                check_moderate(x, name, first)


def _some(y: Any, samples: np.ndarray, n: int) -> Any:
    """Responses of some of n samples; all of them where there are not n, which is told elsewhere."""
    array = np.ma.asanyarray(y)
    array = array.ravel() if array.ndim == 2 and 1 in array.shape else array
    return array[samples] if array.ndim in (1, 2) and len(array) == n else y


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
    shares = targets if targets.ndim == 2 else np.column_stack([1.0 - targets, targets])
    if not ((shares == 0) | (shares == 1)).all():
        raise ValueError("class_weight needs labels, but y holds fractions: give sample_weight")
    which, labels = shares.argmax(axis=1), classes.tolist()
    if isinstance(spec, str) and spec == "balanced":
        count = shares.sum(axis=0) if weight is None else weight @ shares
        each = count.sum() / (len(labels) * np.where(count > 0, count, 1.0))
    elif isinstance(spec, dict):
        foreign = [label for label in spec if label not in labels]
        if foreign:
            raise ValueError(f"class_weight has a weight for {foreign[0]!r}, which is none of the classes {labels}")
        each = check_vector([spec.get(label, 1.0) for label in labels], len(labels), "class_weight")
        if (each < 0).any():
            raise ValueError(f"class_weight must not be negative, got {spec}")
    else:
        raise TypeError(f"class_weight must be 'balanced', a dict of label to weight or None, got {spec!r}")
    return np.asarray(each[which])


def _takes_a_constant(model: Network) -> str:
    """Why a constant column would be a parameter twice; empty where its weight is determined."""
    act = model.activation
    if model.hidden_bias:
        return "a constant column is a hidden bias by another name"
    if model.fit_intercept and (model.linear_term or act.is_quadratic):
        return "the model's intercept is there already"
    if model.linear_term and act.is_quadratic:
        return "the model's linear term is there already"
    return ""


def _check_quadratic(model: Network, d: int, y: np.ndarray) -> None:
    if model.n_hidden > d:
        raise ValueError(f"n_hidden={model.n_hidden} exceeds the {d} features: a quadratic form has at most rank {d}")
    squares, alone = model.known_squares, not (model.fit_intercept or model.linear_term)
    if alone and squares is not None and (squares > 0).all() and not (y > 0).any():
        raise ValueError(
            f"y has no positive value (it lies between {y.min():g} and {y.max():g}), but the model is a sum of "
            "squares, whose outputs lie between 0 and inf: use output_weights='signs', or fit_intercept=True"
        )
