"""Rows that this process can read, with responses and weights in its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import check_moderate, check_weights
from ..engines import Engine, Meter, engine_on
from ..models import Network
from ..sources import KeptSource, Source, as_source, as_values, is_path, kept, peek
from .base import Given, Range
from .looks import check_all, largest_entries, still_columns
from .weights import class_weights


@dataclass(frozen=True, eq=False)
class Data(Given):
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

    def some(self, samples: np.ndarray) -> Data:
        """The same of some samples, by their numbers in rising order."""
        weight = None if self.weight is None else self.weight[samples]
        return replace(self, rows=kept(KeptSource(self.rows, samples)), y=self.y[samples], weight=weight)

    def engine(self, n_jobs: int | None, meter: Meter | None = None) -> Engine:
        """The engine that sweeps them, counted by a meter that others share if given."""
        source, patches = self.rows.changed(y=self.y, w=self.weight), self.model.n_patches
        return engine_on(source if patches == 1 else source.grouped(patches), n_jobs, meter)

    @property
    def shape(self) -> tuple[int, int]:
        """Samples that count, and features before patches are cut."""
        return self.rows.shape

    @cached_property
    def range(self) -> Range:
        """Of the responses."""
        return Range.of(self.y)

    def mean_response(self) -> float:
        """Weighted mean of responses of one column."""
        return float(np.average(self.y, weights=self.weight))

    def few(self, m: int) -> np.ndarray:
        """At least `m` rows, or all that there are."""
        return peek(self.rows, m)

    def still(self, row: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Those of some columns that have the entry of `row` in every row."""
        return still_columns(self.rows, 0, row, columns)

    def largest(self) -> np.ndarray:
        """Largest absolute entry of every column."""
        return largest_entries(self.rows)

    def check_entries(self) -> None:
        """Raise ValueError naming an entry of the rows that is not finite or too large, by a look at all."""
        check_all(self.rows)

    def check_responses(self) -> None:
        """Raise ValueError naming a response that is too large."""
        check_moderate(self.y, "y")


def _some(y: Any, samples: np.ndarray, n: int) -> Any:
    """Responses of some of n samples; all of them where there are not n, which is told elsewhere."""
    array = np.ma.asanyarray(y)
    array = array.ravel() if array.ndim == 2 and 1 in array.shape else array
    return array[samples] if array.ndim in (1, 2) and len(array) == n else y
