"""The loss of a model on data as other optimisers take it: functions of one flat vector, a start, and residuals.

It is the objective of our own solvers with what only a caller needs beside it, so that both minimise the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ._blas import one_blas_thread
from ._typing import RandomState
from .data import Given
from .models import Parameters, Penalty
from .penalised import problem_of
from .plan import found_start
from .request import Request
from .solvers import Monitor
from .starts import Start
from .sweeps import Objective

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class ModelObjective(Objective):
    """Loss of a model on data as a function of one flat vector theta.

    The loss is the mean over rows (weighted, if they have weights), the squared one with the factor 1/2, plus the
    penalty.  theta is ``weights.ravel()``, then biases, output weights, linear term and intercept where the model has
    them and they are free; :meth:`pack` and :meth:`unpack` go between it and named arrays.  Beside what is listed here
    there are ``value``, ``values`` (many points, one pass), ``value_and_grad``, ``values_and_grads``, ``hessp``,
    ``gauss_newton`` (loss, gradient and matrix) and ``predict``.

    Attributes
    ----------
    n_parameters : int
        Length of theta.
    n_rows : int
        Samples.
    n_features : int
        Inputs of a unit.
    passes : float
        Passes over the data so far.

    See Also
    --------
    fastrecover.objective : Makes one.

    Examples
    --------
    >>> import fastrecover as fr
    >>> from scipy.optimize import least_squares, minimize
    >>> teacher = fr.datasets.make_teacher("tanh", n_features=4, n_hidden=2, output_weights="ones", random_state=0)
    >>> X, y = teacher.sample(500, random_state=1)
    >>> o = fr.objective(X, y, "tanh", 2)
    >>> start = o.theta0(random_state=0)
    >>> found = minimize(o.value_and_grad, start, jac=True, hessp=o.hessp, method="trust-ncg")
    >>> same = least_squares(o.residuals, start, jac=o.jacobian)
    >>> bool(found.fun < 1e-8), bool(same.cost < 1e-16)
    (True, True)
    """

    # The engine of a fit and its meter are shared: what a start reads is counted among the passes.
    def __init__(self, data: Given, n_jobs: int | None, alpha: float) -> None:
        engine = data.engine(n_jobs)
        super().__init__(engine, data.model.changed(penalty=Penalty.of(data.in_units(alpha), engine.weights().total)))
        self._data, self._alpha = data, alpha

    def theta0(
        self, init: str | ArrayLike | Parameters | Start = "auto", *, random_state: RandomState = None
    ) -> np.ndarray:
        """Where to begin: the start of a fit, unrefined.

        Parameters
        ----------
        init : str, ndarray (n_hidden, d), Parameters or callable
            As for :func:`fastrecover.fit`.  "auto": from moments of X and y, or from random rows where moments cannot
            tell the units apart.
        random_state : None, int, SeedSequence, Generator or RandomState

        Returns
        -------
        ndarray (n_parameters,)

        Raises
        ------
        TypeError, ValueError
            Unknown names, wrong shapes, or a named start that this model or these data do not allow.
        """
        request = Request.parsed(
            self._data.model,
            None,
            init=init,
            solver="auto",
            restarts="auto",
            inputs="auto",
            random_state=random_state,
            tol=None,
            max_passes=None,
            max_seconds=None,
            callback=None,
            verbose=0,
            model_options={},
        )
        start, alpha = request.start(self.n_features), self._data.in_units(self._alpha)
        with one_blas_thread():
            problem = problem_of(self.engine.with_ones(False), request, alpha, Monitor())
            found = found_start(problem, problem.base, start)
            return self.model.pack(problem.coordinates.back(found, problem.model))

    def pack(self, parameters: Parameters) -> np.ndarray:
        """Flat theta of parameters: those of :meth:`unpack`, of a teacher, or of a recovery.

        Parameters
        ----------
        parameters : Parameters
            What the model does not leave free is not read.

        Returns
        -------
        ndarray (n_parameters,)

        Raises
        ------
        ValueError
            Of another shape.
        """
        theta = self.model.pack(parameters)
        if theta.shape != (self.n_parameters,):
            raise ValueError(f"parameters of {theta.size} numbers do not fit a model of {self.n_parameters}")
        return theta

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        """Residuals under squared loss, of which half the sum of squares is the value at theta.

        It leaves out what a penalty says of output weights that are fixed, a constant.

        Parameters
        ----------
        theta : ndarray (n_parameters,)

        Returns
        -------
        ndarray (n_rows * n_outputs,), or (n_rows * n_outputs + n_parameters,) with a penalty
            ``sqrt(w_i / sum w) (f_o(x_i) - y_io)``, sample by sample, then the penalty's.

        Raises
        ------
        ValueError
            A model with another loss.
        """
        from .sweeps.residuals import residuals

        return residuals(self, theta)

    def jacobian(self, theta: np.ndarray) -> LinearOperator:
        """Jacobian of :meth:`residuals`; a product on either side is one pass, and the matrix is never held.

        Parameters
        ----------
        theta : ndarray (n_parameters,)

        Returns
        -------
        LinearOperator (len(residuals), n_parameters)
            With ``toarray()`` for problems that are small.

        Raises
        ------
        ValueError
            A model with another loss.
        """
        from .sweeps.residuals import ResidualJacobian

        return ResidualJacobian(self, theta)
