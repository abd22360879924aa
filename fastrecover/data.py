"""Rows and responses that a user hands in: opened as a source, and checked before any long work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import (
    check_columns,
    check_enough_rows,
    check_finite,
    check_moderate,
    check_rows,
    check_varies,
    check_weights,
)
from .engines import Engine, engine_on
from .models import Network
from .sources import ArraySource, Source, peek, read_all
from .sweeps import MomentSweeps

_LOOKED_AT = 512  # rows that show whether a column may be constant, or large


@dataclass(frozen=True, eq=False)
class Data:
    """Rows and responses that a model can be evaluated on.

    Attributes
    ----------
    rows : Source
        As they were given, patches not yet cut.
    y : ndarray (n,)
        Responses as the loss takes them.
    weight : ndarray (n,) or None
    n_patches : int
    classes : ndarray (2,) or None
        The labels that 0 and 1 stand for.
    """

    rows: Source
    y: np.ndarray
    weight: np.ndarray | None
    n_patches: int
    classes: np.ndarray | None

    @property
    def n_rows(self) -> int:
        """Samples, however little they weigh."""
        return self.rows.shape[0]

    @classmethod
    def of(cls, X: Any, y: Any, sample_weight: Any, model: Network) -> Data:
        """Open rows and responses.

        Parameters
        ----------
        X : array_like (n, d) or Source
            A source (:class:`fastrecover.sources.BlockSource`) may hold responses and weights of its own.
        y : array_like (n,), or None for those of a source
        sample_weight : array_like (n,) or None
        model : Network

        Raises
        ------
        TypeError, ValueError
            Wrong shapes or types, responses outside the domain of the loss, features that do not fit the model.
        """
        rows = X if _is_source(X) else ArraySource(check_rows(X))
        own_y, own_w = rows.targets()
        n, d = rows.shape
        model.filter_length(d)
        y = own_y if y is None else y
        if y is None:
            raise ValueError("y is missing: give the responses, one for each row of X")
        targets, classes = model.loss.targets(y, n)
        weight = check_weights(own_w if sample_weight is None else sample_weight, n)
        return cls(rows, targets, weight, model.n_patches, classes)

    def engine(self, n_jobs: int | None) -> Engine:
        """The engine that sweeps them."""
        source = self.rows.changed(y=self.y, w=self.weight)
        return engine_on(source if self.n_patches == 1 else source.grouped(self.n_patches), n_jobs)

    def check_sufficient(self, model: Network) -> None:
        """Raise ValueError where no fit of the model can come of these data, without a full look at X."""
        n, d = self.rows.shape
        inputs, y, w = model.filter_length(d), self.y, self.weight
        if model.is_quadratic_form:
            _check_quadratic(model, inputs, y)
        check_enough_rows(n, w, model.n_parameters(inputs) - model.n_flat)
        check_varies(y, w)
        check_moderate(y, "y")
        few = peek(self.rows, _LOOKED_AT)
        check_moderate(few, "X")
        check_columns(few, (x for _, x in read_all(self.rows)))

    def check_finite(self, engine: Engine) -> None:
        """Raise ValueError where X is not finite, by a sweep and not by a scan."""
        if not np.isfinite(MomentSweeps(engine).mean()).all():
            for first, x in read_all(self.rows):
                check_finite(x, "X", first)
            raise ValueError("X has entries so large that their sums overflow: rescale it")


def _is_source(X: Any) -> bool:
    return all(hasattr(X, name) for name in ("read", "targets", "grouped"))


def _check_quadratic(model: Network, d: int, y: np.ndarray) -> None:
    if model.n_hidden > d:
        raise ValueError(f"n_hidden={model.n_hidden} exceeds the {d} features: a quadratic form has at most rank {d}")
    squares, alone = model.known_squares, not (model.fit_intercept or model.linear_term)
    if alone and squares is not None and (squares > 0).all() and not (y > 0).any():
        raise ValueError(
            "y has no positive value, but the model is a sum of squares: use output_weights='signs', or "
            "fit_intercept=True"
        )
