"""Rows that come in batches, each to be taken once: what a fit can be given in place of X and y."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ._validation import check_finite, check_moderate, check_rows
from .data import Data
from .engines import Engine, Meter
from .losses import encode_labels
from .models import Network
from .sources import ArraySource

_NOT_BATCHES = (str, bytes, dict, set, frozenset)


def are_batches(X: Any, y: Any) -> bool:
    """Whether X is an iterable of pairs (X, y) rather than rows.

    Parameters
    ----------
    X : any
    y : any
        Beside rows that are a list; an iterator is never rows.
    """
    if isinstance(X, Iterator):
        return True
    if isinstance(X, (list, tuple)):
        first = X[0] if len(X) else None
        return y is None and isinstance(first, (list, tuple)) and len(first) == 2 and _ndim(first[0]) == 2
    known = hasattr(X, "__array__") or hasattr(X, "shape") or hasattr(X, "read") or isinstance(X, _NOT_BATCHES)
    return isinstance(X, Iterable) and not known


class Batches:
    """Batches in turn, each checked and opened when it is taken.

    Parameters
    ----------
    pairs : iterable of (X, y)
        Rows and responses of a batch; all have as many columns as the first.
    model : Network
    n_jobs : int or None

    Attributes
    ----------
    engine : Engine
        On the last batch that was taken.
    taken, n_rows : int
        Batches and rows so far.
    meter : Meter
        Counts rows that were swept, in units of the first batch.

    Raises
    ------
    TypeError, ValueError
        The first batch does not fit the model, or there is none.
    """

    def __init__(self, pairs: Iterable[Any], model: Network, n_jobs: int | None) -> None:
        self._pairs, self._model, self._n_jobs = iter(pairs), model, n_jobs
        self.taken, self.n_rows = 0, 0
        self._first: Data | None = None
        self.engine: Engine
        self.meter: Meter | None = None
        if not self.advance():
            raise ValueError("X has no batch: give an iterable of at least one pair (X, y)")

    @property
    def classes(self) -> np.ndarray | None:
        """The labels that 0 and 1 stand for, those of the first batch."""
        assert self._first is not None
        return self._first.classes

    @property
    def model(self) -> Network:
        """The model with as many outputs as the responses of the first batch have."""
        assert self._first is not None
        return self._first.model

    def advance(self) -> bool:
        """Take the next batch; False where there is none.

        Raises
        ------
        ValueError
            It is no pair of rows and responses, has other columns than the first, or entries that are not finite; the
            message names it by its number, from 0 on.
        """
        try:
            pair = next(self._pairs)
        except StopIteration:
            return False
        try:
            data = self._opened(pair)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X: batch {self.taken}: {error}") from None
        self.engine = data.engine(self._n_jobs, self.meter)
        if self._first is None:
            self._first, self.meter = data, self.engine.meter
        self.taken, self.n_rows = self.taken + 1, self.n_rows + self.engine.shape[0]
        return True

    def _opened(self, pair: Any) -> Data:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            got = f"{len(pair)} entries" if isinstance(pair, (tuple, list)) else type(pair).__name__
            raise ValueError(f"it must be a pair (X, y) of rows and responses, got {got}")
        x, y = check_rows(pair[0]), pair[1]
        check_moderate(x, "X")
        check_finite(x, "X")
        if self._first is None:
            return Data.of(x, y, None, self._model)
        if x.shape[1] != (width := self._first.rows.shape[1]):
            raise ValueError(f"X must have {width} columns as in the first batch, got {x.shape[1]}")
        if self.classes is None:
            y, _ = self._model.loss.targets(y, len(x))
        else:  # a batch may hold one label only
            y = encode_labels(y, self.classes, len(x))
        self._first.model.for_targets(y)
        return replace(self._first, rows=ArraySource(x), y=y)


def _ndim(a: Any) -> int:
    try:
        return np.ndim(a)
    except ValueError:  # ragged
        return 0
