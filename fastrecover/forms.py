"""The other forms that a recovery takes: text, a table for notebooks, pictures, and models of other packages.

Each is made by a module of its own, loaded when it is asked for, so that a fit needs none of these packages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from .models import HasParameters, Parameters
from .uncertainty import Uncertainty

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Forms"]


class Forms(Uncertainty):
    """Summaries, pictures and exports, for a class with the attributes of a Recovery."""

    loss: float
    converged: bool
    message: str
    n_passes: float
    n_rows: int
    seconds: float
    n_queries: int | None
    history: dict[str, Any]
    determined: Any

    def summary(self, level: float = 0.95) -> str:
        """The fit as text: how it went, its units, and its parameters with intervals where there are any.

        Of many units and parameters the largest are shown.  Parameters are named by what they are here:
        ``weights[0, 3]`` is ``recovery.weights[0, 3]``.

        Parameters
        ----------
        level : float
            Of the intervals (:meth:`conf_int`), which are computed where that takes no more than seconds; otherwise a
            line says why there are none.

        Returns
        -------
        str

        Raises
        ------
        TypeError, ValueError
            A level outside (0, 1).
        """
        from ._summary import text

        return text(self, level)

    def _repr_html_(self) -> str:
        """The same for notebooks, with the intervals that are there or cost next to nothing."""
        from ._summary import html

        return html(self)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        teacher: HasParameters | Parameters | None = None,
        shape: tuple[int, int] | None = None,
        *,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        kinds: str | Sequence[str] | None = None,
    ) -> Figure:
        """Picture of the fit, written to `path` if given; see :func:`fastrecover.plotting.plot`."""
        from .plotting import plot

        return plot(self, path, teacher, shape, X=X, y=y, kinds=kinds)  # type: ignore[arg-type]

    def to_torch(self) -> Any:
        """The network as a module of PyTorch in double precision, whose outputs are those of ``decision_function``.

        Linear, activation, Linear where that is all there is, which ``fastrecover.torch`` takes; otherwise a module
        with the layers ``hidden``, ``output`` and ``linear``.  It can be trained on, copied and pickled.

        Returns
        -------
        torch.nn.Module
            Takes rows (..., n_features) and returns (..., n_outputs), one column also for one output: logits of
            classes, the argument of the link of counts.  For single precision: ``.float()``.

        Raises
        ------
        ImportError
            PyTorch is not installed.
        ValueError
            The activation is a user's function, which is no expression of PyTorch.
        """
        from .export.torch import module_of

        return module_of(self.model, self.parameters)

    def to_onnx(
        self, path: str | os.PathLike[str] | None = None, dtype: Literal["float32", "float64"] = "float64"
    ) -> Any:
        """The network as an ONNX model that predicts the same, written to `path` if given.

        Its input ``X`` has the shape (n, n_features).  Of a regression, or of counts, the output ``prediction``
        (n, n_outputs) is what ``predict`` returns, one column also for one output; of a classification ``label`` (n,)
        and ``probabilities`` (n, n_classes).

        Parameters
        ----------
        path : str or path-like, optional
        dtype : {"float64", "float32"}
            Of inputs, weights and numbers that come out.

        Returns
        -------
        onnx.ModelProto
            ``.SerializeToString()`` gives its bytes.

        Raises
        ------
        ImportError
            onnx is not installed.
        OSError
            The folder of `path` does not exist or cannot be written to.
        ValueError
            Another dtype, or the activation is a user's function, which is no expression of ONNX.
        """
        from .export.onnx import model_of

        return model_of(self, path, dtype)

    def to_sklearn(self) -> Any:
        """A fitted estimator of scikit-learn's kind that predicts the same.

        Its options are those of this fit's model and penalty.  Fitted again, it makes fits that end soon, as estimators
        do (``restarts=1``), and does not search as :func:`fastrecover.fit` does unless told to.

        Returns
        -------
        OneHiddenLayerRegressor or OneHiddenLayerClassifier
            Whose ``recovery_`` is this recovery; ``to_mlp()`` turns it into an MLP where that has the same networks.

        Raises
        ------
        ImportError
            scikit-learn is not installed.
        """
        from .estimators import of_recovery

        return of_recovery(self)  # type: ignore[arg-type]
