"""What a fit asks of the data that it is given, wherever these are, before it sweeps them.

Rows are known by few of them, by looks at all of them only where these few are suspicious, and by one sweep; responses
by their least and largest value.  So the checks are the same for an array and for rows on a hundred machines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validation import (
    LARGEST,
    check_columns,
    check_enough_rows,
    check_not_tiny,
    check_varies,
)
from ..engines import Agreement, Engine, Meter
from ..models import Network
from ..sweeps import MomentSweeps

_LOOKED_AT = 512  # rows that show whether a column may be constant, or large


@dataclass(frozen=True)
class Range:
    """Least and largest response of every column.

    Attributes
    ----------
    low, high : ndarray (columns,)
    several : bool
        Whether responses are a matrix.
    """

    low: np.ndarray
    high: np.ndarray
    several: bool

    @classmethod
    def of(cls, y: np.ndarray) -> Range:
        """That of responses (n,) or (n, columns)."""
        columns = y if y.ndim == 2 else y[:, None]
        return cls(columns.min(axis=0, initial=np.inf), columns.max(axis=0, initial=-np.inf), y.ndim == 2)

    def with_(self, other: Range) -> Range:
        """That of both."""
        return Range(np.minimum(self.low, other.low), np.maximum(self.high, other.high), self.several)


class Given(ABC):
    """Rows and responses that a model can be evaluated on.

    Attributes
    ----------
    model : Network
        With as many outputs as the responses have.
    classes : ndarray (n_classes,) or None
        The labels that targets stand for.
    weight_unit : float
        What weights were divided by.
    """

    model: Network
    classes: np.ndarray | None
    weight_unit: float

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Samples that count, and features before patches are cut."""

    @property
    @abstractmethod
    def range(self) -> Range:
        """Of the responses."""

    @abstractmethod
    def engine(self, n_jobs: int | None, meter: Meter | None = None) -> Engine:
        """The engine that sweeps them, counted by a meter that others share if given."""

    @abstractmethod
    def some(self, samples: np.ndarray) -> Given:
        """The same of some samples, by their numbers in rising order."""

    @abstractmethod
    def mean_response(self) -> float:
        """Weighted mean of responses of one column."""

    @abstractmethod
    def few(self, m: int) -> np.ndarray:
        """At least `m` rows, patches not cut, or all that there are."""

    @abstractmethod
    def still(self, row: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Those of some columns that have the entry of `row` in every row."""

    @abstractmethod
    def largest(self) -> np.ndarray:
        """Largest absolute entry of every column."""

    @abstractmethod
    def check_entries(self) -> None:
        """Raise ValueError naming an entry of the rows that is not finite or too large, by a look at all."""

    @abstractmethod
    def check_responses(self) -> None:
        """Raise ValueError naming a response that is too large."""

    @property
    def agreement(self) -> Agreement | None:
        """What ends a fit, where several processes must agree on that."""
        return None

    @property
    def is_first(self) -> bool:
        """Whether this process is the first, or the only one."""
        return True

    def same(self, value: Any) -> Any:
        """A value of this process, or of the first of several, so that all have the same."""
        return value

    @property
    def n_rows(self) -> int:
        """Samples that count."""
        return self.shape[0]

    def in_units(self, alpha: float) -> float:
        """A penalty in the unit of the weights as they are held, since it is divided by their sum."""
        return alpha / self.weight_unit

    def check_sufficient(self, model: Network, penalised: bool = False) -> None:
        """Raise ValueError where no fit of the model can come of these data, without a full look at X.

        Parameters
        ----------
        model : Network
        penalised : bool
            Whether a penalty determines what the rows do not.
        """
        n, d = self.shape
        inputs, y = model.filter_length(d), self.range
        if model.is_quadratic_form:
            _check_quadratic(model, inputs, y)
        if not penalised:
            check_enough_rows(n, model.n_parameters(inputs) - model.n_flat)
        check_varies(y.low, y.high, model.loss.takes_labels, each=not penalised)
        self.check_responses()
        largest = max(np.abs(y.low).max(), np.abs(y.high).max())
        if model.loss.in_response_units and not model.scales and largest < 1.0 / LARGEST:
            raise ValueError(
                f"y has no entry above {largest:.3g}, which units of fixed output weights cannot resolve: rescale y, "
                "or use output_weights='free'"
            )
        few = self.few(_LOOKED_AT)
        check_columns(few, self.still, _takes_a_constant(model))
        check_not_tiny(few, self.largest)

    def out_of_reach(self, model: Network) -> str:
        """What is said where outputs of the model cannot even have the mean of the responses; empty where they can."""
        if not model.loss.in_response_units or model.n_outputs > 1:
            return ""
        mean, (low, high) = self.mean_response(), model.output_range
        if low <= mean <= high:
            return ""
        return (
            f"y lies between {self.range.low[0]:g} and {self.range.high[0]:g} (mean {mean:g}), where the model's "
            f"outputs lie between {low:g} and {high:g}: use fit_intercept=True, or output_weights='free'"
        )

    def check_finite(self, engine: Engine) -> None:
        """Raise ValueError where X is not finite or too large, by a sweep and not by a scan."""
        sums = np.abs(MomentSweeps(engine).mean()) * engine.shape[0] * self.model.n_patches
        if not (sums < LARGEST).all():
            self.check_entries()


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


def _check_quadratic(model: Network, d: int, y: Range) -> None:
    if model.n_hidden > d:
        raise ValueError(f"n_hidden={model.n_hidden} exceeds the {d} features: a quadratic form has at most rank {d}")
    squares, alone = model.known_squares, not (model.fit_intercept or model.linear_term)
    if alone and squares is not None and (squares > 0).all() and not (y.high > 0).any():
        raise ValueError(
            f"y has no positive value (it lies between {y.low.min():g} and {y.high.max():g}), but the model is a sum "
            "of squares, whose outputs lie between 0 and inf: use output_weights='signs', or fit_intercept=True"
        )
