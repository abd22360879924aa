"""A classifier: two classes or more by logits, or two as the mean of sigmoid units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._typing import RandomState
from ..activations import Activation
from ..data import is_chunked
from ..models import Network, OutputWeights
from ._base import OneHiddenLayer
from ._chunks import ScoredInChunks, fitted, in_chunks
from ._follow import with_callbacks
from ._labels import one_hot, weights_by_number
from ._mlp import fitted_from, fitted_mlp
from ._rows import merged
from ._stream import go_on


class OneHiddenLayerClassifier(ScoredInChunks, ClassifierMixin, OneHiddenLayer):
    """Network of one hidden layer for two classes or more, each with a logit ``v_o . phi(W x + a) + b_o . x + c_o``.

    It is ``fastrecover.fit`` with the defaults of a practitioner: a fit that ends soon, of units with biases and free
    output weights under a penalty in standard units.

    Parameters
    ----------
    n_hidden : int
        Hidden units.
    model : str, Activation or Network
        Units: ``relu leaky_relu squared_relu abs sigmoid tanh erf softplus quadratic`` or an Activation, under the
        logistic loss; ``fcn`` or ``cnn``, whose mean of sigmoid units is the probability of the second of two classes;
        a preset of ``fastrecover.papers``; or an object of ``fastrecover.models``, which has options of its own.
    output_weights : {"free", "signs", "ones"} or array_like (n_hidden,)
        What is known of the output weights: nothing, that they are signs, or all.
    hidden_bias, fit_intercept, linear_term : bool
        Whether units have biases, outputs an intercept and a linear term of their own.  Quadratic units have a linear
        term in place of biases, which are the same functions.
    slope : float, optional
        Negative-side slope of ``leaky_relu``.
    n_patches : int, optional
        Patches that features are cut into, of ``cnn``.
    alpha : float, list of float, or "auto"
        Penalty ``alpha / (2 n) (|W|^2 + |v|^2 + |b|^2)`` on weights, output weights and linear terms, n the sum of the
        sample weights, as that of scikit-learn's MLP.  The default is that of Ridge and LogisticRegression, which as
        this goes to the minimum; where steps are few, as in an MLP, less will do.  Of several, or with "auto", the one
        is taken that is best on held-out rows (see ``fastrecover.fit``).  With a penalty there may be fewer rows than
        parameters.
    standardise : bool
        Whether the penalty is on the weights that the network has for columns of standard deviation 1;
        ``weights_`` are for X as it is in either case.
    class_weight : "balanced", dict of label to weight, or None
        By which sample weights are multiplied; "balanced": all classes weigh the same.
    inputs : {"auto", "whiten", "gaussian"}
    init : str, array_like (n_hidden, n_features), Parameters or callable
        Where the fit begins: "auto", "random", "tensor", "tensor-published", "landscape", "spectral",
        "message-passing" or "expand".
    solver : str or solver object
        "auto", "gauss-newton", "lbfgs", "gd", "sgd", "resampled-gd" or "pncg".
    restarts : int or "auto"
        Random starts, side by side, the best of which is taken; one where `init` or `solver` is chosen.  More of them
        find lower minima of the loss and cost as many times as much; "auto" searches
        until a minimum can be vouched for, as the recovery of a planted network wants it.
    tol : float, optional
        Distance to the minimiser at which steps end, in its statistical errors.
    max_passes, max_seconds : float, optional
        Budget in passes over the data, and in seconds.
    early_stopping : bool
        Whether to hold rows out, of every class its share, to end where their loss has not fallen for
        `n_iter_no_change` steps, and to keep the network for which it was lowest.
    validation_fraction : float
        Share of the rows that is held out; repeated rows stay together.
    n_iter_no_change : int
        Steps, of which there are far fewer than of stochastic solvers.
    warm_start : bool
        Whether ``fit`` goes on from where the last one has ended, with what its solver knows of the curvature where
        the rows have the same units, as the same rows have; a copy or a file keeps the weights alone.
    random_state : None, int, SeedSequence, Generator or RandomState
    n_jobs : int, optional
        Threads (None: all processors); results have the same bits for any number.
    verbose : int
        1: a line for each stage on standard error; 2: a line for each step.

    Attributes
    ----------
    weights_ : ndarray (n_hidden, n_features)
        For X as it was given; zero for columns that did not vary.
    biases_ : ndarray (n_hidden,)
    output_weights_ : ndarray (n_hidden,), or (n_outputs, n_hidden) for three classes or more
    linear_ : ndarray (n_features,) or (n_outputs, n_features), or None
        Linear term, None where there is none.
    intercept_ : float, or ndarray (n_outputs,)
    classes_ : ndarray (n_classes,)
        Labels, sorted.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X had titles.
    n_iter_ : int
        Steps.
    n_passes_ : float
        Passes over the data, sub-samples counted by their share.
    loss_curve_ : ndarray (n_steps,)
        Mean loss and penalty after every step, in the early ones of sub-samples.
    validation_curve_ : ndarray or None
        Mean loss of the held-out rows after every step.
    recovery_ : Recovery
        What ``fastrecover.fit`` has found, of the columns that vary: errors, a verdict, a plot.

    Notes
    -----
    Weights are exact: a weight of 2 is the row given twice, 0 the row left out.  Up to a million numbers rows are
    sorted and repeated ones merged, so that this, and any other order of the rows, gives the same bits; beyond, the
    same function is minimised, which may end at another of its minima.

    Examples
    --------
    >>> import fastrecover as fr
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = fr.OneHiddenLayerClassifier(8, random_state=0).fit(X[::2], y[::2])
    >>> bool(classifier.score(X[1::2], y[1::2]) > 0.9)
    True
    """

    _labels = True
    classes_: np.ndarray

    def __init__(
        self,
        n_hidden: int = 32,
        *,
        model: str | Activation | Network = "relu",
        output_weights: OutputWeights = "free",
        hidden_bias: bool = True,
        fit_intercept: bool = True,
        linear_term: bool = False,
        slope: float | None = None,
        n_patches: int | None = None,
        alpha: float | Sequence[float] | Literal["auto"] = 1.0,
        standardise: bool = True,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        inputs: Literal["auto", "whiten", "gaussian"] = "auto",
        init: Any = "auto",
        solver: Any = "auto",
        restarts: int | Literal["auto"] = 1,
        tol: float | None = None,
        max_passes: float | None = None,
        max_seconds: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        warm_start: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_hidden = n_hidden
        self.model = model
        self.output_weights = output_weights
        self.hidden_bias = hidden_bias
        self.fit_intercept = fit_intercept
        self.linear_term = linear_term
        self.slope = slope
        self.n_patches = n_patches
        self.alpha = alpha
        self.standardise = standardise
        self.class_weight = class_weight
        self.inputs = inputs
        self.init = init
        self.solver = solver
        self.restarts = restarts
        self.tol = tol
        self.max_passes = max_passes
        self.max_seconds = max_seconds
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @classmethod
    def from_mlp(cls, estimator: Any) -> OneHiddenLayerClassifier:
        """The same network as that of a fitted MLPClassifier, to go on with or to look at.

        Parameters
        ----------
        estimator : MLPClassifier
            Of one hidden layer; the penalty is taken over as it is (``standardise=False``).

        Returns
        -------
        OneHiddenLayerClassifier
            Fitted: its units in their order, probabilities equal.

        Raises
        ------
        TypeError, ValueError
            Another class, more layers, the activation "identity", or several labels a row.
        """
        return cast(OneHiddenLayerClassifier, fitted_from(cls, estimator))

    def to_mlp(self) -> Any:
        """A fitted MLPClassifier that predicts the same.

        Returns
        -------
        MLPClassifier

        Raises
        ------
        ValueError
            Units other than relu, tanh and sigmoid, a linear term, or a loss that it does not have.
        """
        return fitted_mlp(self)

    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> OneHiddenLayerClassifier:
        """Fit the network.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Numbers, or a data frame of them; float32 and float64 rows are not copied where they are many.
        y : array_like (n_samples,)
            Labels of two classes or more.
        sample_weight : array_like (n_samples,), optional
            A weight of 2 is the row given twice, of 0 the row left out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Bad input or parameters, or one class only.

        Warns
        -----
        ConvergenceWarning
            The fit was ended before it had converged.
        """
        if is_chunked(X):
            return fitted(self, X, y, sample_weight)
        rows, labels, weight = self._labelled(X, y, sample_weight)
        if weight is not None and not weight.all():
            rows, labels, weight = rows[weight > 0], labels[weight > 0], weight[weight > 0]
        classes, which = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must have two classes or more, but it has one class only: {classes.tolist()[0]!r}")
        if self.warm_start and hasattr(self, "classes_") and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start goes on with the classes of the earlier fit, {self.classes_.tolist()}, got "
                f"{classes.tolist()}"
            )
        class_weight = weights_by_number(self.class_weight, classes)
        rows, numbers, weight = merged(rows, which.astype(np.float64), weight)
        which = numbers.astype(int)
        self.classes_ = classes
        self._fitted(rows, one_hot(which, len(classes)), weight, class_weight, which)
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> OneHiddenLayerClassifier:
        """Take in another batch of rows.

        Rows are kept, and fitted together, until they hold a million numbers: the first call fits them, every later one
        goes on for 20 passes over all of them, and where they have doubled a new fit takes its place if it is better.
        From then on a batch is fitted under what is left of the rows before
        it, the sum of their Fisher matrices at the points that they have led to (above 1,000 parameters the diagonal
        of it), adds its own matrix and is forgotten.  Columns that have not varied until then keep weights of zero.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
        y : array_like (n_samples,)
            Labels; a batch may lack some classes.
        classes : array_like (n_classes,), optional
            All labels there will be; needed in the first call.
        sample_weight : array_like (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Bad input, no classes or other ones than before, another number of columns than before,
            ``early_stopping=True``, or ``class_weight="balanced"``, which needs all rows.
        """
        self._check_partial()
        if isinstance(self.class_weight, str):
            raise ValueError("class_weight='balanced' is not supported for partial_fit: give a dict of weights")
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit: all labels there will be")
        X, y, weight = self._labelled(X, y, sample_weight, reset=first)
        known = self.classes_ if classes is None else np.unique(np.asarray(classes))
        if not first and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_.tolist()}, got {known.tolist()}")
        if len(known) < 2:
            raise ValueError(f"classes must be two or more, but there is one class only: {known.tolist()[0]!r}")
        if not (found := np.isin(y, known)).all():
            raise ValueError(f"y must hold labels of {known.tolist()}, got {y[~found].tolist()[0]!r}")
        class_weight = weights_by_number(self.class_weight, known)
        self.classes_ = known
        go_on(self, X, one_hot(np.searchsorted(known, y), len(known)), weight, class_weight)
        return self

    def _labelled(self, X: Any, y: Any, sample_weight: Any, reset: bool = True) -> tuple[np.ndarray, np.ndarray, Any]:
        shape: tuple[int, ...] = getattr(y, "shape", ())
        if len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"y must be one label a row, got shape {shape}: several labels are not supported, fit them one by one "
                "(sklearn.multioutput.MultiOutputClassifier)"
            )
        X, y, weight = self._checked(X, y, sample_weight, reset)
        check_classification_targets(y)
        return X, y, weight

    @in_chunks
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Logits: of two classes the logarithm of the odds of the second.

        Parameters
        ----------
        X : array_like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,), or (n_samples, n_classes) for three classes or more
            In the dtype of X, float32 or float64.
        """
        check_is_fitted(self)
        rows = self._inputs(X)
        return self._logits(rows).astype(rows.dtype, copy=False)

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        output = self.recovery_.decision_function(rows, self.n_jobs)
        if self.recovery_.model.loss.of_output:
            return output
        p = np.clip(output, np.finfo(float).tiny, 1.0 - np.finfo(float).epsneg)
        return np.log(p) - np.log1p(-p)

    @in_chunks
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array_like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_classes)
            In the order of ``classes_`` and the dtype of X, float32 or float64.
        """
        check_is_fitted(self)
        rows = self._inputs(X)
        return self.recovery_.predict_proba(rows, self.n_jobs).astype(rows.dtype, copy=False)

    @in_chunks
    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the probabilities of the classes; see :meth:`predict_proba`."""
        check_is_fitted(self)
        rows = self._inputs(X)
        logits = self._logits(rows)
        two = logits.ndim == 1
        found = np.column_stack([log_expit(-logits), log_expit(logits)]) if two else log_softmax(logits, axis=1)
        return found.astype(rows.dtype, copy=False)

    @in_chunks
    def predict(self, X: ArrayLike) -> np.ndarray:
        """The likeliest class of every row.

        Parameters
        ----------
        X : array_like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,)
            Labels.
        """
        check_is_fitted(self)
        logits = self._logits(self._inputs(X))
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)]
