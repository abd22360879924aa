"""How sure a recovery is of its parameters: what users ask of it, answered from its data or from what it keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import inference
from ._arrays import check_feature_names
from ._blas import one_blas_thread
from .exceptions import ClusterError
from .losses import encode_labels
from .models import Network, Parameters
from .models.views import ParameterViews

if TYPE_CHECKING:
    from .sweeps import Objective

#: Where ``info`` keeps the degrees of freedom of the standard errors.
DEGREES = "degrees_of_freedom"
#: Rows times squared parameters, the work of standard errors, up to which nobody waits for them.
QUICK = 1e11


def check_level(level: Any) -> None:
    """Raise TypeError or ValueError unless `level` is a probability between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)):
        raise TypeError(f"level must be a number, got {level!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95, got {level!r}")


class Uncertainty(ParameterViews):
    """Standard errors, intervals and a certificate, for a class with the attributes below.

    Attributes
    ----------
    model : Network
    parameters : Parameters
        With ``errors`` once they have been computed.
    objective : Objective or None
        On the full data.
    info : dict
    classes : ndarray (n_classes,) or None
    feature_names : list of str or None
    """

    model: Network
    parameters: Parameters
    objective: Objective | None
    info: dict[str, Any]
    classes: np.ndarray | None
    feature_names: list[str] | None

    def standard_errors(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Parameters:
        """Standard errors of all parameters, by the sandwich formula with residuals corrected for leverage.

        Those from the recovery's own data are kept, and stay when the data go (:meth:`save`, copies, pickles).

        Parameters
        ----------
        X, y, sample_weight : array_like, optional
            Data, where the recovery does not hold its own (it was loaded) or other data are meant.

        Returns
        -------
        Parameters
            Standard errors in place of parameters; 0 for what was not estimated.

        Raises
        ------
        TypeError, ValueError
            No data; not more rows than parameters; more than 5000 parameters; parameters that the data or the
            model do not determine.

        Notes
        -----
        ``H^-1 S H^-1`` with ``H = sum w J'J``, ``S = sum (w r / (1 - h))^2 J'J`` and leverages ``h = w J H^-1 J'``
        (HC3; White 1980; MacKinnon and White 1985), in four passes over the data.  From 50 rows a parameter on the
        factor ``n / (n - p)`` takes the place of ``1 / (1 - h)^2``, which differs by less than one in a hundred and
        saves a pass.  For a classification the inverse of the Fisher information.

        A weight says how much a row counts in the fit, not how often it was seen: a row of weight 2 has one error,
        that of a row given twice is independent of its twin's.  Multiplying all weights by one number changes nothing.
        """
        return self._errors(X, y, sample_weight)[0]

    def conf_int(
        self,
        level: float = 0.95,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[Parameters, Parameters]:
        """Confidence intervals of all parameters, each on its own, by quantiles of t with n - p degrees of freedom.

        Parameters
        ----------
        level : float
            Probability that an interval holds the true parameter, between 0 and 1.
        X, y, sample_weight : array_like, optional
            As for :meth:`standard_errors`.

        Returns
        -------
        lower, upper : Parameters
            Both equal the estimate where nothing was estimated.

        Raises
        ------
        TypeError, ValueError
            A level outside (0, 1), or what :meth:`standard_errors` refuses.
        """
        check_level(level)
        from scipy.special import stdtrit

        errors, degrees = self._errors(X, y, sample_weight)
        at, away = self.parameters.flat(), float(stdtrit(degrees, 0.5 + 0.5 * level)) * errors.flat()
        return self.parameters.like(at - away), self.parameters.like(at + away)

    def certificate(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> dict[str, Any]:
        """Local evidence that the fit is a well-determined minimum, in one pass over the data.

        Parameters
        ----------
        X, y, sample_weight : array_like, optional
            As for :meth:`standard_errors`.

        Returns
        -------
        dict
            ``n_parameters`` (identifiable ones), ``rows_per_parameter``, ``loss``, ``residual_std`` (n - p degrees of
            freedom if there are any), ``smallest_singular_value`` and ``largest_singular_value`` of the Jacobian over
            sqrt(n), their ratio ``condition_number``, ``locally_strongly_convex`` (smallest eigenvalue of the
            Gauss-Newton matrix above 1e-10 of the largest), ``newton_decrement`` ``sqrt(g' H^-1 g)``,
            ``distance_in_standard_errors`` (decrement over its statistical size ``sqrt(2 loss p / n)``), ``exact``
            (residuals at rounding level), ``units_off`` and ``units_linear`` (numbers of units that are constant, or
            linear, on all of some thousand rows: these do not determine them), ``candidates`` (minima that the fit
            compared) and ``agreeing`` (how many of these have the lowest loss).

        Raises
        ------
        TypeError, ValueError
            No data, or more than 5000 parameters.
        """
        with one_blas_thread():
            found = inference.certificate(self._data(X, y, sample_weight), self.model, self.parameters)
        return found | {key: int(self.info.get(key, 1)) for key in ("candidates", "agreeing")}

    @property
    def _definite(self) -> Network:
        """The model with output weights that have a place in theta, unless they are given numbers."""
        known = isinstance(self.model.output_weights, tuple)
        return self.model if known else self.model.with_output_weights("free")

    def _without_errors(self, most: float | None = None) -> str:
        """Computes standard errors unless they are there, and says why they are not: "" where they are.

        Parameters
        ----------
        most : float, optional
            Rows times squared parameters up to which they are computed now, :data:`QUICK` by default.
        """
        own = self.objective
        known = self.parameters.errors is not None and DEGREES in self.info
        most = QUICK if most is None else most
        if own is not None and not known and own.n_rows * own.n_parameters**2 > most:
            return "they take a while to compute here, which conf_int() does"
        if own is not None and not known and own.engine.is_shared:
            return "all processes of the fit must ask for them together, which standard_errors() in each does"
        try:
            self.standard_errors()
        except (ValueError, ClusterError) as error:
            return str(error)
        return ""

    def _errors(
        self, X: ArrayLike | None, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> tuple[Parameters, int]:
        own = X is None and y is None and sample_weight is None
        if own and self.parameters.errors is not None and DEGREES in self.info:
            return self.parameters.errors, int(self.info[DEGREES])
        with one_blas_thread():  # whose threads and ours would wait for each other
            errors, degrees = inference.standard_errors(self._data(X, y, sample_weight), self.model, self.parameters)
        if own:
            self.parameters, self.info[DEGREES] = replace(self.parameters, errors=errors), degrees
            errors = self.parameters.errors or errors
        return errors, degrees

    def _data(self, X: ArrayLike | None, y: ArrayLike | None, sample_weight: ArrayLike | None) -> Objective:
        if X is None and y is None:
            if sample_weight is not None:
                raise TypeError("sample_weight needs X and y beside it")
            if self.objective is None:
                raise ValueError("this recovery holds no data (it was loaded or copied): give X and y")
            return self.objective
        if X is None or y is None:
            raise TypeError("X and y must be given together")
        check_feature_names(X, self.feature_names)
        if self.classes is not None:
            y = encode_labels(y, self.classes)
        alpha, standardise = float(self.info.get("alpha", 0.0)), bool(self.info.get("standardise", False))
        return inference.on_data(X, y, sample_weight, self._definite, self.n_features, alpha, standardise)
