"""A regressor: one output or several, under the squared, the Huber or the Poisson loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._typing import RandomState
from ..activations import Activation
from ..data import is_chunked
from ..losses import Loss
from ..models import Network, OutputWeights
from ._base import OneHiddenLayer
from ._chunks import ScoredInChunks, fitted, in_chunks
from ._follow import with_callbacks
from ._mlp import fitted_from, fitted_mlp
from ._rows import merged
from ._stream import go_on


class OneHiddenLayerRegressor(ScoredInChunks, RegressorMixin, MultiOutputMixin, OneHiddenLayer):
    """Network of one hidden layer for real responses and counts, ``f(x) = sum_j v_j phi(w_j . x + a_j) + b . x + c``.

    It is ``fastrecover.fit`` with the defaults of a practitioner: a fit that ends soon, of units with biases and free
    output weights under a penalty in standard units.

    Parameters
    ----------
    n_hidden : int or "auto"
        Hidden units.  "auto": as many as leave a residual that is noise, which wants ``alpha=0``.
    model : str, Activation or Network
        Units: ``relu leaky_relu squared_relu abs sigmoid tanh erf softplus quadratic`` or an Activation; a preset of
        ``fastrecover.papers``; or an object of ``fastrecover.models``, which has options of its own.
    loss : {"squared", "huber", "poisson"} or Loss
    delta : float, optional
        Residual from which the Huber loss is linear, in the unit of the responses.
    link : {"log", "softplus"}, optional
        Rate of counts under the Poisson loss: exp(f), or log(1 + exp(f)).
    output_weights : {"free", "signs", "ones"} or array_like (n_hidden,)
        What is known of the output weights: nothing, that they are signs, or all.
    hidden_bias, fit_intercept, linear_term : bool
        Whether units have biases, outputs an intercept and a linear term of their own.  Quadratic units have a linear
        term in place of biases, which are the same functions.
    slope : float, optional
        Negative-side slope of ``leaky_relu``.
    n_patches : int, optional
        Not for the models by name.
    alpha : float, list of float, or "auto"
        Penalty ``alpha / (2 n) (|W|^2 + |v|^2 + |b|^2)`` on weights, output weights and linear terms, n the sum of the
        sample weights, as that of scikit-learn's MLP.  The default is that of Ridge and LogisticRegression, which as
        this goes to the minimum; where steps are few, as in an MLP, less will do.  Of several, or with "auto", the one
        is taken that is best on held-out rows (see ``fastrecover.fit``).  With a penalty there may be fewer rows than
        parameters.
    standardise : bool
        Whether the penalty is on the weights that the network has for columns, and responses, of standard deviation 1;
        ``weights_`` are for X as it is in either case.
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
        Whether to hold rows out, to end where their loss has not fallen for `n_iter_no_change` steps, and
        to keep the network for which it was lowest.
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
    output_weights_ : ndarray (n_hidden,), or (n_outputs, n_hidden) for several outputs
    linear_ : ndarray (n_features,) or (n_outputs, n_features), or None
        Linear term, None where there is none.
    intercept_ : float, or ndarray (n_outputs,)
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
    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(400, noise=1.0, random_state=0)
    >>> regressor = fr.OneHiddenLayerRegressor(random_state=0).fit(X[:300], y[:300])
    >>> bool(regressor.score(X[300:], y[300:]) > 0.85)
    True
    """

    def __init__(
        self,
        n_hidden: int | Literal["auto"] = 32,
        *,
        model: str | Activation | Network = "relu",
        loss: str | Loss = "squared",
        delta: float | None = None,
        link: str | None = None,
        output_weights: OutputWeights = "free",
        hidden_bias: bool = True,
        fit_intercept: bool = True,
        linear_term: bool = False,
        slope: float | None = None,
        n_patches: int | None = None,
        alpha: float | Sequence[float] | Literal["auto"] = 1.0,
        standardise: bool = True,
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
        self.loss = loss
        self.delta = delta
        self.link = link
        self.output_weights = output_weights
        self.hidden_bias = hidden_bias
        self.fit_intercept = fit_intercept
        self.linear_term = linear_term
        self.slope = slope
        self.n_patches = n_patches
        self.alpha = alpha
        self.standardise = standardise
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
    def from_mlp(cls, estimator: Any) -> OneHiddenLayerRegressor:
        """The same network as that of a fitted MLPRegressor, to go on with or to look at.

        Parameters
        ----------
        estimator : MLPRegressor
            Of one hidden layer; the penalty is taken over as it is (``standardise=False``).

        Returns
        -------
        OneHiddenLayerRegressor
            Fitted: its units in their order, predictions equal.

        Raises
        ------
        TypeError, ValueError
            Another class, more layers, the activation "identity", or several outputs of counts.
        """
        return cast(OneHiddenLayerRegressor, fitted_from(cls, estimator))

    def to_mlp(self) -> Any:
        """A fitted MLPRegressor that predicts the same.

        Returns
        -------
        MLPRegressor

        Raises
        ------
        ValueError
            Units other than relu, tanh and sigmoid, a linear term, or a loss that it does not have.
        """
        return fitted_mlp(self)

    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> OneHiddenLayerRegressor:
        """Fit the network.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Numbers, or a data frame of them; float32 and float64 rows are not copied where they are many.
        y : array_like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array_like (n_samples,), optional
            A weight of 2 is the row given twice, of 0 the row left out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Bad input or parameters.

        Warns
        -----
        ConvergenceWarning
            The fit was ended before it had converged.
        """
        if is_chunked(X):
            return fitted(self, X, y, sample_weight)
        X, targets, weight = self._targets(X, y, sample_weight)
        self._fitted(*merged(X, targets, weight))
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> OneHiddenLayerRegressor:
        """Take in another batch of rows.

        Rows are kept, and fitted together, until they hold a million numbers: the first call fits them, every later one
        goes on for 20 passes over all of them, and where they have doubled a new fit takes its place if it is better.
        From then on a batch is fitted under what is left of the rows before
        it, the sum of their Gauss-Newton matrices at the points that they have led to (above 1,000 parameters the
        diagonal of it), adds its own matrix and is forgotten: least squares on all rows, as far as the outputs are
        linear in the parameters between two batches.  Columns that have not varied until then keep weights of zero.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
        y : array_like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array_like (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Bad input, another number of columns or outputs than before, or ``early_stopping=True``.
        """
        self._check_partial()
        X, targets, weight = self._targets(X, y, sample_weight, reset=not hasattr(self, "recovery_"))
        if hasattr(self, "recovery_"):
            self.recovery_.model.for_targets(targets)
        go_on(self, X, targets, weight)
        return self

    def _targets(self, X: Any, y: Any, sample_weight: Any, reset: bool = True) -> tuple[np.ndarray, np.ndarray, Any]:
        X, y, weight = self._checked(X, y, sample_weight, reset)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return X, y.astype(np.float64, copy=False), weight

    @in_chunks
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Expected responses: outputs, or the rates of counts.

        Parameters
        ----------
        X : array_like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,) or (n_samples, n_outputs)
            In the dtype of X, float32 or float64.
        """
        check_is_fitted(self)
        rows = self._inputs(X)
        return self.recovery_.predict(rows, self.n_jobs).astype(rows.dtype, copy=False)
