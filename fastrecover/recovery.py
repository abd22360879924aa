"""What a fit gives back: parameters in canonical form, how they were reached, and how far to trust them.

A Recovery keeps the data (through its objective) only to answer questions about the fit; a saved, copied or
pickled one holds the result alone, as plain arrays and JSON, so that loading a file never runs code from it.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import _history, _saved, inference, storage
from ._arrays import check_feature_names
from ._validation import check_weights
from .data import as_values, is_chunked, opened
from .forms import Forms
from .losses import encode_labels
from .models import HasParameters, Network, Parameters
from .models.parameters import locked
from .models.views import parameters_of
from .prediction import hidden, predict

if TYPE_CHECKING:
    from .sweeps import Objective

__all__ = ["Recovery", "load"]

_SCALARS = ("loss", "converged", "message", "n_passes", "n_rows", "seconds")


class _Asked:
    """A method of a recovery with its arguments, which may be sent to where rows are.

    Parameters
    ----------
    recovery : Recovery
    method : str
    args : tuple
    """

    def __init__(self, recovery: Recovery, method: str, args: tuple[Any, ...]) -> None:
        self._recovery, self._method, self._args = recovery, method, args

    def __call__(self, X: Any) -> np.ndarray:
        found: np.ndarray = getattr(self._recovery, self._method)(X, *self._args)
        return found


class Recovery(Forms):
    """Recovered network ``f(x) = sum_j v_j phi(w_j . x + a_j) + b . x + c``, of one output or several.

    Parameters
    ----------
    model : Network
        The model that was asked for.
    parameters : Parameters
        Canonical (:meth:`Network.finished`).
    loss : float
        Weighted mean of the model's loss over all rows, ``0.5 (f - y)^2`` by default, and the penalty.
    converged : bool
    message : str
        Why the fit ended.
    n_passes : float
        Full passes over the data, sub-samples counted by their share.
    history : dict of array_like
        Equally long columns ``stage, pass, loss, grad_norm, rows, seconds``.
    n_rows : int
    seconds : float
    info : dict
        Further plain values: numbers, strings, lists, dicts.
    classes : array_like (n_classes,), optional
        Labels of a classification, of two the one of probability f last; 0, 1, .. if not given, None for others.
    objective : Objective, optional
        On the full data, kept for :meth:`standard_errors` and :meth:`certificate`.
    feature_names : list of str, optional
        Titles that the columns of X had; rows that have titles are then refused where these are others.
    determined : array_like (n_hidden, n_features) of bool, optional
        False for weights that the rows of the fit leave open: another value, with others changed, gives the same
        outputs, or their standard error exceeds their unit.  All True if not given.
    left : optional
        Where the solver has ended, for a fit that goes on from there; a copy does not keep it.
    n_queries : int, optional
        Rows that a network was asked for, where it was extracted by :func:`fastrecover.extract`; None for a fit.

    Raises
    ------
    ValueError
        If history's columns are missing or differ in length.

    Notes
    -----
    All arrays are read-only: copy what you want to change.
    """

    def __init__(
        self,
        *,
        model: Network,
        parameters: Parameters,
        loss: float,
        converged: bool,
        message: str,
        n_passes: float,
        history: dict[str, Any],
        n_rows: int,
        seconds: float,
        info: dict[str, Any] | None = None,
        classes: ArrayLike | None = None,
        objective: Objective | None = None,
        determined: ArrayLike | None = None,
        feature_names: list[str] | None = None,
        left: Any = None,
        n_queries: int | None = None,
    ) -> None:
        self.model, self.parameters, self.objective = model, parameters, objective
        self.loss, self.n_passes, self.seconds = float(loss), float(n_passes), float(seconds)
        self.converged, self.message, self.n_rows = bool(converged), str(message), int(n_rows)
        every = np.ones(parameters.weights.shape, bool)
        self.determined = every if determined is None else np.asarray(determined, bool)
        self.history, self.info = _history.as_arrays(history), dict(info or {})
        self.feature_names, self.left = feature_names, left
        self.n_queries = None if n_queries is None else int(n_queries)
        labels = np.arange(max(model.n_outputs, 2)) if classes is None else np.asarray(classes)
        self.classes = labels if model.loss.takes_labels else None

    def __setattr__(self, name: str, value: Any) -> None:
        """What is handed out is set as something that cannot be written to: nobody changes a fit by accident."""
        if name == "history":
            value = {title: locked(column) for title, column in value.items()}
        elif name == "parameters":
            value = value.read_only()
        elif name in ("determined", "classes") and value is not None:
            value = locked(value)
        object.__setattr__(self, name, value)

    def predict(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray:
        """Expected response of every row: the output, or the rate of counts; for a classification the likeliest label.

        Parameters
        ----------
        X : array_like (n, n_features), path, Source, or array or frame of Dask
            float32 and float64 rows are swept as they are, other numbers are converted; nan gives nan.  Rows of a file
            or a source are read block by block.  Of Dask's the answer is an array of Dask, made when it is asked for.
        n_jobs : int, optional
            Threads, None for all processors.

        Returns
        -------
        ndarray (n,), or (n, n_outputs) for a regression of several outputs
            float64, or labels for a classification.

        Raises
        ------
        TypeError, ValueError
            `X` is not numeric, has the wrong shape, or titles other than :attr:`feature_names`.
        """
        if is_chunked(X):
            return self._in_chunks("predict", X, n_jobs)
        mean = self._mean(X, n_jobs)
        if self.classes is None:
            return mean
        unknown = np.isnan(mean if mean.ndim == 1 else mean[:, 0])
        if unknown.any():
            raise ValueError(f"X must be finite to tell a class, but row {int(np.argmax(unknown))} gives nan")
        return self.classes[(mean > 0.5).astype(int) if mean.ndim == 1 else mean.argmax(axis=1)]

    def decision_function(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray:
        """Outputs f as they are: logits of a logistic model, the argument of the link of counts.

        Parameters
        ----------
        X, n_jobs
            As for :meth:`predict`.

        Returns
        -------
        ndarray (n,) or (n, n_outputs)
        """
        if is_chunked(X):
            return self._in_chunks("decision_function", X, n_jobs)
        X = opened(X)
        check_feature_names(X, self.feature_names)
        return predict(self.model, self.parameters, X, n_jobs)

    def _in_chunks(self, method: str, X: Any, *args: Any) -> Any:
        """What a method returns of a collection of Dask: an array of Dask, made chunk by chunk when it is asked for."""
        from .chunked import few_rows, mapped

        check_feature_names(X, self.feature_names)
        alone = copy.copy(self)  # without the rows of the fit
        few = few_rows(X, self.parameters.weights.shape[1] * self.model.n_patches)
        alone.feature_names = None
        return mapped(_Asked(alone, method, args), X, getattr(alone, method)(few, *args)[:0])

    def _targets(self, y: Any, n: int | None = None) -> np.ndarray:
        """Responses as the loss takes them."""
        n = len(y) if n is None else n
        loss = self.model.loss
        return loss.targets(y, n)[0] if self.classes is None else encode_labels(y, self.classes, n)

    def _mean(self, X: ArrayLike, n_jobs: int | None) -> np.ndarray:
        return self.model.loss.mean(self.decision_function(X, n_jobs))

    def hidden(self, X: ArrayLike) -> np.ndarray:
        """Outputs of the hidden units, ``phi(w_j . x + a_j)``; of one filter on patches its output on each.

        Parameters
        ----------
        X : array_like (n, n_features), path or Source

        Returns
        -------
        ndarray (n, n_hidden) or (n, n_patches)

        Raises
        ------
        TypeError, ValueError
            As :meth:`predict`.
        """
        if is_chunked(X):
            return self._in_chunks("hidden", X)
        X = opened(X)
        check_feature_names(X, self.feature_names)
        return hidden(self.model, self.parameters, X)

    def at(self, parameters: Parameters) -> Recovery:
        """The same fit at another network that it has come by, such as one that a callback was told of.

        Parameters
        ----------
        parameters : Parameters

        Returns
        -------
        Recovery
            With the loss of the network on all rows.

        Raises
        ------
        ValueError
            The fit has no data any more.
        """
        if self.objective is None:
            raise ValueError("this recovery holds no data (it was loaded or copied)")
        model = self.model.changed(penalty=self.objective.model.penalty)
        found, other = model.finished(parameters), copy.copy(self)
        definite = (
            model if model.known_v is not None or model.free_v else model.with_resolved_signs(found.output_weights)
        )
        other.objective = self.objective.with_model(definite)
        other.parameters, other.loss = found, other.objective.value(definite.pack(found))
        return other

    def predict_proba(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X, n_jobs
            As for :meth:`predict`.

        Returns
        -------
        ndarray (n, n_classes)
            In the order of :attr:`classes`.

        Raises
        ------
        TypeError
            The model is a regression, or `X` is not numeric.
        ValueError
            `X` has the wrong shape, or titles other than :attr:`feature_names`.
        """
        if self.classes is None:
            name = self.model.activation.name
            raise TypeError(f"this {name} model is a regression without class probabilities: use predict")
        if is_chunked(X):
            return self._in_chunks("predict_proba", X, n_jobs)
        p = self._mean(X, n_jobs)
        return np.column_stack([1.0 - p, p]) if p.ndim == 1 else p

    def log_loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean cross entropy of labels or fractional targets, in log-sum form.

        Parameters
        ----------
        X : array_like (n, n_features), path or Source
        y : array_like (n,) or path
            Labels of :attr:`classes`, or targets in [0, 1].
        sample_weight : array_like (n,), optional

        Returns
        -------
        float

        Raises
        ------
        TypeError
            The model is a regression.
        ValueError
            Wrong shapes or labels.
        """
        if self.classes is None:
            raise TypeError("log_loss needs a classification model: this is a regression")
        X = opened(X)
        check_feature_names(X, self.feature_names)
        targets = encode_labels(as_values(y), self.classes)
        objective = inference.on_data(X, targets, as_values(sample_weight), self._definite, self.n_features)
        return objective.value(self._definite.pack(self.parameters))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Coefficient of determination ``R^2 = 1 - sum w (y - f)^2 / sum w (y - mean y)^2``, or accuracy.

        For counts the share of the deviance that is explained; of several outputs the mean over these.

        Parameters
        ----------
        X : array_like (n, n_features), path, Source, or array or frame of Dask
            Of Dask's only sums come back from the chunks.
        y : array_like (n,) or (n, n_outputs), or path
        sample_weight : array_like (n,), optional

        Returns
        -------
        float
            Accuracy (share of weight with the right label) for a classification.  Otherwise for constant y 1.0
            if the predictions are exact, else 0.0, and nan for fewer than two rows.

        Raises
        ------
        TypeError, ValueError
            Wrong types or shapes.
        """
        loss, m = self.model.loss, self.model.n_outputs
        if is_chunked(X):
            from .chunked import score

            check_feature_names(X, self.feature_names)
            alone = copy.copy(self)
            alone.feature_names = None
            return score(_Asked(alone, "_mean", (None,)), _Asked(alone, "_targets", ()), loss, (X, y, sample_weight))
        mean = self._mean(X, None)
        n, y = len(mean), as_values(y)
        targets = self._targets(y, n)
        if targets.shape != mean.shape:
            raise ValueError(f"y must have {m} column{'s' * (m > 1)}, one for each output, got shape {targets.shape}")
        return loss.score(targets, mean, check_weights(as_values(sample_weight), n))

    def error(self, truth: HasParameters | Parameters) -> float:
        """Relative Frobenius error of all parameters up to the model's symmetries.

        Parameters
        ----------
        truth : Teacher, Recovery or Parameters

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            No network, or one of another shape.
        """
        return self.model.error(self.parameters, parameters_of(truth))

    def align(self, truth: HasParameters | Parameters) -> Parameters:
        """Own parameters with units in the order (and signs, where they are free) of the truth's.

        Parameters
        ----------
        truth : Teacher, Recovery or Parameters

        Returns
        -------
        Parameters
            Canonical: compare them with the canonical parameters of the truth.  ``errors`` holds standard errors in the
            same order if they have been asked for (:meth:`standard_errors`).

        See :meth:`error` for what is refused.
        """
        return self.model.aligned(self.parameters, parameters_of(truth))[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result, without the data, to exactly `path` (an .npz archive); :func:`load` reads it.

        Standard errors are written with it, and computed before where that takes no more than seconds.

        Parameters
        ----------
        path : str or path-like
            An existing file is replaced once the new one is complete.

        Raises
        ------
        OSError
            The folder does not exist or cannot be written to.
        TypeError, ValueError
            An activation of user code or an entry of ``info`` that cannot be stored.
        """
        self._without_errors()  # there or not, they are computed where that is quick
        p = self.parameters
        header: dict[str, Any] = {name: getattr(self, name) for name in _SCALARS}
        classes = {} if self.classes is None else {"classes": self.classes}
        for name in ("feature_names", "n_queries"):
            if getattr(self, name) is not None:
                header[name] = getattr(self, name)
        header |= dict(info={**self.info, **classes}, model=self.model.describe(), intercept=p.intercept)
        arrays = {f"history_{name}": column for name, column in self.history.items()}
        arrays |= {"weights": p.weights, "output_weights": p.output_weights}
        arrays |= {} if p.biases is None else {"biases": p.biases}
        arrays |= {} if self.determined.all() else {"determined": self.determined}
        arrays |= {} if p.errors is None else {"standard_errors": p.errors.flat()}
        storage.write(path, header, arrays if p.linear is None else {**arrays, "linear": p.linear})

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        cost = f"{self.n_passes:.1f} passes" if self.n_queries is None else f"{self.n_queries} queries"
        return (
            f"<Recovery {self.model.activation.name}: {self.n_hidden} units, {self.n_features} features, "
            f"loss {self.loss:.4g}, {state} after {cost}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "objective": None, "left": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def load(path: str | os.PathLike[str]) -> Recovery:
    """Read a recovery that :meth:`Recovery.save` wrote, bit for bit; it holds no data.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Recovery

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not such a file, is damaged, or is of a newer format.
    """
    header, arrays = storage.read(path, _saved.ARRAYS)
    try:
        return Recovery(**_saved.fields(header, arrays))
    except Exception as error:  # what a file says may be anything
        raise ValueError(f"{os.fspath(path)!r} is a damaged recovery: {storage.said(error)}") from error
