"""Estimators on arrays and frames of Dask: the fit is that of the engine, and predictions are made where chunks are.

scikit-learn's own checks would bring all rows here, so what they tell is told by those of the fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._arrays import check_feature_names, feature_names
from ..chunked import few_rows, mapped
from ..data import as_chunks, is_chunked
from ..random import seed_sequence

Estimator = TypeVar("Estimator")


def fitted(estimator: Estimator, X: Any, y: Any, sample_weight: Any) -> Estimator:
    """The estimator, fitted to a collection of Dask; columns that do not vary are refused there.

    Parameters
    ----------
    estimator : OneHiddenLayer
    X : dask.array.Array or dask.dataframe.DataFrame
    y, sample_weight : collections of Dask, array_like, or None

    Raises
    ------
    TypeError, ValueError
    """
    own: Any = estimator
    if own.early_stopping:
        raise ValueError("early_stopping=True holds rows out, which those of Dask do not allow: use alpha='auto'")
    names, d = feature_names(X), as_chunks(X).shape[1]
    columns, own.n_features_in_ = np.ones(d, bool), d
    if names is not None:
        own.feature_names_in_ = np.array(names, dtype=object)
    elif hasattr(own, "feature_names_in_"):
        del own.feature_names_in_
    weights = getattr(own, "class_weight", None)
    found = own._carried_out(X, columns, y, sample_weight, weights, seed_sequence(own.random_state), None, None)
    for name, value in own._attributes(found, columns).items():
        setattr(own, name, value)
    own.validation_curve_ = None
    if found.classes is not None:
        own.classes_ = found.classes
    return estimator


def in_chunks(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of an estimator, which of a collection of Dask makes an array of Dask."""

    @wraps(method)
    def asked(self: Any, X: Any) -> Any:
        if not is_chunked(X):
            return method(self, X)
        check_is_fitted(self)
        check_feature_names(X, self.recovery_.feature_names)
        alone = copy.copy(self)
        alone.__dict__.pop("feature_names_in_", None)  # chunks have no titles
        few = method(alone, few_rows(X, self.n_features_in_))
        return mapped(_Asked(alone, method.__name__), X, np.asarray(few)[:0])

    return asked


class _Asked:
    """A method of an estimator, by its name: what is decorated does not travel by itself."""

    def __init__(self, estimator: Any, name: str) -> None:
        self._estimator, self._name = estimator, name

    def __call__(self, X: Any) -> np.ndarray:
        return np.asarray(getattr(self._estimator, self._name)(X))


class ScoredInChunks:
    """``score`` of which only sums come back from chunks of Dask; of other rows that of scikit-learn's mixins."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """How well predictions meet responses: accuracy of a classifier, else the coefficient of determination.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
        y : array_like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array_like (n_samples,), optional

        Returns
        -------
        float
        """
        if is_chunked(X):
            check_is_fitted(self)
            own: Any = self
            return float(own.recovery_.score(X, y, sample_weight))
        found: float = super().score(X, y, sample_weight)  # type: ignore[misc]
        return found
