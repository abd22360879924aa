"""What both estimators share: checks of scikit-learn around a call of ``fit``, and the attributes that come of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._history import COLUMNS
from ..activations import NAMES, Activation
from ..api import fit, objective
from ..models import ModelOptions, Network, Parameters, get_model
from ..papers import PRESETS, preset
from ..random import Stream, seed_sequence, stream
from ..recovery import Recovery
from ._chunks import in_chunks
from ._follow import CallbackSupportMixin, Follower, HeldOut, held_out_model
from ._frames import titled
from ._rows import varying

_DTYPES = [np.float64, np.float32]
#: Options of a model by the name of an activation, and what they are where an estimator is not told.
_DEFAULTS: dict[str, Any] = {
    "output_weights": "free",
    "hidden_bias": True,
    "fit_intercept": True,
    "linear_term": False,
    "slope": None,
    "n_patches": None,
    "loss": "squared",
    "delta": None,
    "link": None,
}
#: Warnings of a recovery that say nothing of a fit: of weights that others could replace, and of moments.
_OF_RECOVERIES = ("not all weights are determined", "the start relies on Gaussian inputs")
#: Where no step decreases the loss a fit is done, though a recovery could not vouch for it.
_AN_END = "fit did not converge: stalled"


class OneHiddenLayer(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Parameters, fit and hidden units of both estimators."""

    _labels = False
    #: Attributes that a fit sets.
    _FITTED = (
        *("recovery_", "weights_", "biases_", "output_weights_", "linear_", "intercept_", "n_iter_", "n_passes_"),
        *("loss_curve_", "validation_curve_", "_columns"),
    )

    @in_chunks
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Outputs of the hidden units, ``phi(w_j . x + a_j)``: features that the fit has learned.

        Parameters
        ----------
        X : array_like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_hidden)
            In the dtype of X, float32 or float64; a data frame where ``set_output`` asks for one.
        """
        check_is_fitted(self)
        rows = self._inputs(X)
        return self.recovery_.hidden(rows).astype(rows.dtype, copy=False)

    @property
    def _n_features_out(self) -> int:
        return len(self.weights_) * self.recovery_.model.n_patches

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _inputs(self, X: ArrayLike) -> np.ndarray:
        """Rows to predict for, without the columns that did not vary in the fit."""
        rows = validate_data(self, titled(X), reset=False, dtype=_DTYPES)
        return rows if self._columns.all() else rows[:, self._columns]

    def _checked(self, X: Any, y: Any, sample_weight: Any, reset: bool = True) -> tuple[np.ndarray, np.ndarray, Any]:
        """Rows, responses and weights as arrays, checked as scikit-learn does."""
        X, y = validate_data(
            self, titled(X), y, reset=reset, dtype=_DTYPES, multi_output=not self._labels, y_numeric=not self._labels
        )
        if sample_weight is None:
            return X, y, None
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if (weight < 0).any():
            raise ValueError("sample_weight must not be negative")
        if not weight.any():
            raise ValueError("sample_weight must not be zero everywhere: no row would count")
        return X, y, weight

    def _check_partial(self) -> None:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")

    def _network(self) -> Network:
        """The model that is asked for."""
        options = self._options()
        if isinstance(self.model, str) and self.model in PRESETS:
            network = preset(self.model, self._units(), "auto", "auto", options)[0]
        else:
            units = self._units()
            network = get_model(self.model, 1 if isinstance(units, str) else units, also=tuple(PRESETS), **options)
        if network.loss.takes_labels != self._labels:
            other = "Classifier" if network.loss.takes_labels else "Regressor"
            raise ValueError(f"model={self.model!r} is not for {type(self).__name__}: use OneHiddenLayer{other}")
        return network

    def _options(self) -> ModelOptions:
        """Options that go with the model: all of an activation's; of others those that were changed."""
        if isinstance(self.model, Network):
            return {}
        given = {name: getattr(self, name) for name in _DEFAULTS if hasattr(self, name)}
        if self._labels:
            given["loss"] = "logistic"
        if isinstance(self.model, Activation) or self.model in NAMES:
            quadratic = self.model.is_quadratic if isinstance(self.model, Activation) else self.model == "quadratic"
            if quadratic and self.hidden_bias:  # the same functions, by parameters that can be told apart
                given |= {"hidden_bias": False, "linear_term": True}
            return cast(ModelOptions, {name: value for name, value in given.items() if value is not None})
        changed = {name: value for name, value in given.items() if name != "loss" and value is not _DEFAULTS[name]}
        if self.model in ("fcn", "cnn"):
            changed["hidden_bias"] = bool(self.hidden_bias)
        return cast(ModelOptions, changed)

    def _units(self) -> Any:
        """What ``fit`` is told of the number of units: nothing where the model knows it."""
        return None if isinstance(self.model, Network) or self.model in ("cnn", "fu2018-cnn") else self.n_hidden

    def _starts(self, warm: bool) -> Any:
        """What ``fit`` is told of restarts: a number only where starts are random, as they are unless one is chosen."""
        named = isinstance(self.init, str) and self.init in ("auto", "random") and isinstance(self.solver, str)
        chosen = not named or self.solver != "auto" or isinstance(self.n_hidden, str)
        chosen = chosen or (isinstance(self.model, str) and self.model in PRESETS)
        return "auto" if warm or (chosen and self.restarts == 1) else self.restarts

    def _fitted(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray | None,
        class_weight: Any = None,
        strata: np.ndarray | None = None,
        further: float | None = None,
    ) -> None:
        """Fit checked rows, and set all attributes.

        Parameters
        ----------
        X : ndarray (n, d)
        targets : ndarray (n,) or (n, n_outputs)
            As the loss takes them.
        weight : ndarray (n,) or None
        class_weight : "balanced", dict or None
            By numbers of classes.
        strata : ndarray (n,), optional
            Classes, each of which is held out in its share.
        further : float, optional
            Passes to go on for from where an earlier fit has ended.
        """
        context = self._init_callback_context(max_subtasks=None) if hasattr(self, "_init_callback_context") else None
        if context is not None:
            context.call_on_fit_task_begin(estimator=self, X=X, y=targets)
        network, seeds = self._network().for_targets(targets), seed_sequence(self.random_state)
        left = None
        if self.early_stopping:
            X, targets, weight, left = self._split(X, targets, weight, strata, seeds)
        columns, held_out = varying(X), None
        still = not columns.any() or not np.ptp(targets, axis=0).any()
        if still and network.fit_intercept and network.free_v:
            found, columns = _constant(network, X, targets, weight), np.ones(X.shape[1], bool)
        else:
            tell = None
            if left is not None:
                rows, responses, weights = left
                options = {"sample_weight": weights, "n_jobs": self.n_jobs, "class_weight": class_weight}
                measure = objective(rows[:, columns], responses, held_out_model(network), **options)
                held_out = HeldOut(measure, self.n_iter_no_change)
            if context is not None and getattr(self, "_skl_callbacks", None):
                tell = self._teller(context, X, targets, network, columns)
            follower = Follower(held_out, tell) if held_out is not None or tell is not None else None
            seen = X if columns.all() else X[:, columns]  # many rows are not copied
            found = self._carried_out(seen, columns, targets, weight, class_weight, seeds, follower, further)
            if held_out is not None and held_out.best is not None:
                found = found.at(held_out.best)
        for name, value in self._attributes(found, columns).items():
            setattr(self, name, value)
        self.validation_curve_ = None if held_out is None else np.array(held_out.losses)
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X, y=targets, reconstruction_attributes={})

    def _carried_out(
        self,
        X: np.ndarray,
        columns: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray | None,
        class_weight: Any,
        seeds: np.random.SeedSequence,
        follower: Follower | None,
        further: float | None,
    ) -> Recovery:
        """The call of ``fit`` on columns that vary, without the warnings that are for recoveries."""
        before = self._before(columns, targets) if self.warm_start or further else None
        init, solver, alpha, passes = self.init, self.solver, self.alpha, self.max_passes
        if before is not None and further:
            solver, alpha = "lbfgs", self.recovery_.info.get("alpha", 0.0)
            passes = further if passes is None else min(further, passes)
        if not (isinstance(init, (str, Parameters)) or callable(init)) and np.shape(init)[1:] == columns.shape:
            init = np.asarray(init)[:, columns]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = fit(
                X,
                targets,
                self.model,
                self._units(),
                init=init if before is None else before,
                solver=solver,
                restarts=self._starts(before is not None),
                sample_weight=weight,
                inputs=self.inputs,
                n_jobs=self.n_jobs,
                random_state=seeds,
                tol=self.tol,
                max_passes=passes,
                max_seconds=self.max_seconds,
                callback=follower,
                verbose=self.verbose,
                alpha=alpha,
                class_weight=class_weight,
                standardise=self.standardise,
                **self._options(),
            )
        for warning in told:
            if issubclass(warning.category, ConvergenceWarning):
                meant = str(warning.message).startswith(_AN_END) or bool(further)
                if not (meant or (follower is not None and follower.ended)):
                    warnings.warn(str(warning.message), ConvergenceWarning, stacklevel=5)
            elif not str(warning.message).startswith(_OF_RECOVERIES):
                warnings.warn(str(warning.message), warning.category, stacklevel=5)
        return found

    def _before(self, columns: np.ndarray, targets: np.ndarray) -> Recovery | Parameters | None:
        """Where a warm start begins; None where there is no earlier fit, or one of another shape."""
        found: Recovery | None = getattr(self, "recovery_", None)
        if found is None or not self.weights_.any() or self.weights_.shape[1] * found.model.n_patches != len(columns):
            return None
        outputs = 1 if targets.ndim == 1 else targets.shape[1]
        if found.parameters.n_outputs != outputs or (len(self.weights_) != self.n_hidden and self._units() is not None):
            return None
        if np.array_equal(columns, self._columns):
            return found
        linear = None if self.linear_ is None else self.linear_[..., columns]
        return Parameters(
            self.weights_[:, columns], self.output_weights_, linear, self.intercept_, None, found.parameters.biases
        )

    def _attributes(self, found: Recovery, columns: np.ndarray) -> dict[str, Any]:
        """Fitted attributes; a column that did not vary has weights of zero."""
        weights, linear = found.weights, found.linear
        if not columns.all():
            weights, linear = _embedded(weights, columns), None if linear is None else _embedded(linear, columns)
        return {
            "recovery_": found,
            "weights_": weights,
            "biases_": found.biases,
            "output_weights_": found.output_weights,
            "linear_": linear,
            "intercept_": found.intercept,
            "n_iter_": max(1, len(found.history["loss"])),
            "n_passes_": found.n_passes,
            "loss_curve_": found.history["loss"],
            "_columns": columns,
            "_stream": None,
        }

    def _split(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray | None,
        strata: np.ndarray | None,
        seeds: np.random.SeedSequence,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Rows, responses and weights to fit, and those that are held out."""
        seed = int(stream(seeds, Stream.HELD_OUT).generate_state(1)[0])
        rows = np.arange(len(X))
        kept, left = train_test_split(rows, test_size=self.validation_fraction, random_state=seed, stratify=strata)
        kept.sort()
        left.sort()
        own, other = (None, None) if weight is None else (weight[kept], weight[left])
        return X[kept], targets[kept], own, (X[left], targets[left], other)

    def _teller(
        self, context: Any, X: np.ndarray, targets: np.ndarray, network: Network, columns: np.ndarray
    ) -> Callable[[Callable[[], Parameters]], bool]:
        """What tells callbacks of scikit-learn of every step, with an estimator as it would be after it."""

        def attributes(network_at: Callable[[], Parameters]) -> dict[str, Any]:
            return self._attributes(of_network(network, network_at(), len(X)), columns)

        def tell(network_at: Callable[[], Parameters]) -> bool:
            step = context.subcontext(task_name="step")
            step.call_on_fit_task_begin(estimator=self, X=X, y=targets)
            return bool(
                step.call_on_fit_task_end(
                    estimator=self, X=X, y=targets, reconstruction_attributes=lambda: attributes(network_at)
                )
            )

        return tell


def _embedded(part: np.ndarray, columns: np.ndarray) -> np.ndarray:
    whole = np.zeros((*part.shape[:-1], len(columns)))
    whole[..., columns] = part
    return whole


def of_network(network: Network, parameters: Parameters, n_rows: int, canonical: bool = True) -> Recovery:
    """A recovery that holds a network, in its canonical form or as it is, and nothing of how it was found."""
    return Recovery(
        model=network,
        parameters=network.finished(parameters) if canonical else parameters,
        loss=np.nan,
        converged=False,
        message="no fit has ended here",
        n_passes=0.0,
        history={name: [] for name in COLUMNS},
        n_rows=n_rows,
        seconds=0.0,
    )


def _constant(network: Network, X: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> Recovery:
    """The network of responses, or rows, that do not vary: an intercept alone."""
    k, m, d = network.n_hidden, network.n_outputs, network.filter_length(X.shape[1])
    mean, several = np.average(targets, axis=0, weights=weight), (m,) if m > 1 else ()
    linear = np.zeros((*several, d)) if network.linear_term else None
    biases = np.zeros(k) if network.hidden_bias else None
    if network.loss.takes_labels:  # the rule of succession: a class that is not there may come
        total = float(len(X) if weight is None else weight.sum())
        mean = (total * mean + 1.0) / (total + max(m, 2))
    c = network.loss.output(mean)
    found = Parameters(np.zeros((k, d)), np.zeros((*several, k)), linear, c, biases=biases)
    return of_network(network, found, len(X))
