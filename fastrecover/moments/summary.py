"""A summary of rows: sums that can be kept, sent and added, and a start made of them when the rows are gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from .. import storage
from .._blas import one_blas_thread
from .._typing import RandomState
from ..activations import Activation
from ..batches import are_batches
from ..data import given
from ..inputs import DENSE_LIMIT, Whitening
from ..models import ModelOptions, Network, Parameters, get_model
from ..random import seed_sequence
from ..sources import Source
from ..starts import StartError, beyond_plain, check_resolvable
from .averages import MOST, checked_directions
from .sums import ARRAYS, Frame, Sums
from .white import start_of

_MOST = {2: DENSE_LIMIT, 3: MOST, 4: 40}  # features of a whole tensor
_LINE = get_model("relu", 1, output_weights="free")  # any regression: what responses of a summary may be


class MomentSummary:
    """Sums over rows from which a start is made when the rows are gone; summaries of other rows may be added.

    It holds the sums of all products of up to `order` features, alone and times the response, and nothing that grows
    with the number of rows.  One response a row: numbers, or 0 and 1 for two classes.

    Parameters
    ----------
    order : {2, 3, 4}
        Of the highest products.  2 is enough for quadratic networks and for :meth:`subspace`; 3 for units that have a
        moment of order 3 (sigmoid, tanh, erf, squared_relu); 4 for those that have none (relu, leaky_relu, abs,
        softplus).  There are comb(d + order, order) sums of each kind, and d may be 5000, 256, 40.
    directions : array_like (m, d), optional
        Rows V: sums are over the m numbers Vx, which may then be few where the features are many, and a start has
        weights in their span; :meth:`subspace` of an earlier pass finds them.

    Attributes
    ----------
    order : int
    directions : ndarray (m, d) or None
    n_rows : int
        Rows of positive weight so far.
    weight : float
        Sum of their weights.

    Raises
    ------
    TypeError, ValueError
        Another order, or directions that are no finite matrix.

    Notes
    -----
    ``a + b`` and ``b + a`` have the same bits; ``(a + b) + c`` and ``a + (b + c)`` agree to rounding, since sums of
    floating-point numbers do.  Sums are taken about the mean of some of the first rows, in units of their spread, so
    that a mean of a million spreads costs no digits; where two summaries were taken about different points, the one of
    less weight is moved to the point of the other by the binomial formula, exactly but for rounding.  float32 rows are
    multiplied in float32, in which a mean far from zero has lost digits of the spread before they come here.

    Examples
    --------
    >>> import fastrecover as fr
    >>> teacher = fr.datasets.make_teacher("squared_relu", 6, 2, output_weights="ones", random_state=0)
    >>> parts = [teacher.sample(50_000, noise=0.1, random_state=i) for i in range(4)]
    >>> total = sum(MomentSummary.of(X, y) for X, y in parts)
    >>> total
    MomentSummary(order=3, n_features=6, n_rows=200000)
    >>> start = total.start(teacher.model, random_state=0)
    >>> rec = fr.fit(*parts[0], teacher.model, init=start)
    >>> rec.error(teacher) < 0.01
    True
    """

    def __init__(self, order: int = 3, directions: ArrayLike | None = None) -> None:
        if isinstance(order, bool) or not isinstance(order, (int, np.integer)):
            raise TypeError(f"order must be 2, 3 or 4, got {order!r}")
        if order not in _MOST:
            raise ValueError(f"order must be 2, 3 or 4, got {order}")
        self.order = int(order)
        self.directions = None if directions is None else checked_directions(directions, "directions")
        if self.directions is not None:
            self._check_room(len(self.directions))
        self._sums: Sums | None = None

    @classmethod
    def of(
        cls,
        X: ArrayLike | Path | Source,
        y: ArrayLike | Path | Source | None = None,
        *,
        order: int = 3,
        directions: ArrayLike | None = None,
        sample_weight: ArrayLike | Path | None = None,
        n_jobs: int | None = None,
    ) -> Self:
        """Summary of rows; see :meth:`partial_fit` for the arguments and the class for `order` and `directions`.

        Returns
        -------
        MomentSummary
        """
        return cls(order, directions).partial_fit(X, y, sample_weight=sample_weight, n_jobs=n_jobs)

    def partial_fit(
        self,
        X: ArrayLike | Path | Source,
        y: ArrayLike | Path | Source | None = None,
        *,
        sample_weight: ArrayLike | Path | None = None,
        n_jobs: int | None = None,
    ) -> Self:
        """Add rows, by two passes over them (for order 2 two for every 512 features).

        Parameters
        ----------
        X : array_like (n, d), path or Source
            Whatever :func:`fastrecover.fit` takes as rows.
        y : array_like (n,), path or Source; None for the responses of a source
        sample_weight : array_like (n,) or path, optional
            Not negative; a weight of 2 is the row given twice, one of 0 the row left out.
        n_jobs : int, optional
            Threads (None: all processors); sums have the same bits for any number.

        Returns
        -------
        MomentSummary
            Itself.

        Raises
        ------
        OSError, TypeError, ValueError
            Bad input; the summary is then what it was.
        """
        if are_batches(X, y):
            raise TypeError("X must be rows, got batches (X, y): call partial_fit for each of them")
        data, before = given(X, y, sample_weight, _LINE), self._sums
        engine = data.engine(n_jobs)
        (n, d), known = engine.shape, self._n_columns
        if known is not None and d != known:
            raise ValueError(f"X must have {known} columns as what is summed already, got {d}")
        if data.model.n_outputs > 1:
            raise ValueError(f"y must have one response a row, got {data.model.n_outputs}: make one summary for each")
        if self.directions is None:
            self._check_room(d)
        with np.errstate(all="ignore"), one_blas_thread():
            large = before is not None and before.n_rows >= n
            frame = before.frame if before is not None and large else Frame.of(engine, self.directions)
            sums = Sums.over(engine, frame, self.order, data.weight_unit)
            if not sums.finite:
                data.check_finite(engine)
                raise ValueError("X and y have entries whose powers overflow: rescale them, or drop such rows")
            self._sums = sums if before is None else before.plus(sums)
        return self

    def __add__(self, other: MomentSummary) -> MomentSummary:
        """Summary of the rows of both.

        Raises
        ------
        ValueError
            Summaries of other orders, features or directions.
        """
        if not isinstance(other, MomentSummary):
            return NotImplemented
        if self.order != other.order:
            raise ValueError(f"summaries of order {self.order} and {other.order} cannot be added: they hold other sums")
        a, b = self.directions, other.directions
        if (a is None) != (b is None) or (a is not None and b is not None and not np.array_equal(a, b)):
            raise ValueError("summaries along different directions cannot be added: give all the same directions")
        if None not in (self._n_columns, other._n_columns) and self._n_columns != other._n_columns:
            raise ValueError(f"summaries of {self._n_columns} and {other._n_columns} features cannot be added")
        total = type(self)(self.order, self.directions)
        if self._sums is None or other._sums is None:
            total._sums = self._sums or other._sums
        else:
            with one_blas_thread():
                total._sums = self._sums.plus(other._sums)
        return total

    def __radd__(self, other: object) -> MomentSummary:
        """Summaries may be handed to ``sum``, which begins with 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __repr__(self) -> str:
        along = "" if self.directions is None else f"directions={len(self.directions)}, "
        features = "" if self._n_columns is None else f"n_features={self._n_columns}, "
        return f"MomentSummary(order={self.order}, {features}{along}n_rows={self.n_rows})"

    @property
    def _n_columns(self) -> int | None:
        if self.directions is not None:
            return self.directions.shape[1]
        return None if self._sums is None else len(self._sums.frame.origin)

    @property
    def n_rows(self) -> int:
        """Rows of positive weight so far."""
        return 0 if self._sums is None else self._sums.n_rows

    @property
    def weight(self) -> float:
        """Sum of the weights of rows so far."""
        return 0.0 if self._sums is None else self._sums.weight

    @property
    def mean(self) -> np.ndarray:
        """Mean of the rows, (d,); of Vx along directions, (m,).  ValueError before there are rows, as all below."""
        frame = self._there().frame
        return frame.centre + frame.scale * self._there().law[0]

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the rows, divided by the weight, (d, d) or (m, m)."""
        scale = self._there().frame.scale
        return self._there().law[1] * scale * scale[:, None]

    @property
    def response_mean(self) -> float:
        """Mean of the responses."""
        return self._there().response_law[0]

    @property
    def response_variance(self) -> float:
        """Variance of the responses, divided by the weight."""
        return self._there().response_law[1]

    @property
    def inverse(self) -> np.ndarray:
        """The matrix of whitened coordinates ``z = inverse (x - mean)``, (d, d) or (m, m).

        Zero in directions without variance.
        """
        return self._there().inverse / self._there().frame.scale

    def moment(self, order: int) -> np.ndarray:
        """``M_order = E[r He_order(z)]`` in whitened coordinates (Zhong et al. 2017, section 3).

        r is y less its mean and, below the summary's own order, less its affine fit, which changes no expectation under
        Gaussian rows; ``E[y z]`` for order 1.

        Parameters
        ----------
        order : int
            From 1 to the summary's.

        Returns
        -------
        ndarray of `order` axes of length d, or m

        Raises
        ------
        ValueError
            Another order, or no rows yet.
        """
        if order not in range(1, self.order + 1):
            raise ValueError(f"order must be between 1 and {self.order}, that of the summary, got {order!r}")
        with one_blas_thread():
            return self._there().white().moment(order)

    def subspace(self, count: int, *, random_state: RandomState = None) -> np.ndarray:
        """Directions along which a second summary has all of a network: leading eigenvectors of :meth:`moment` 2.

        For units whose second moment is not zero (all built-in ones but sigmoid, tanh and erf).

        Parameters
        ----------
        count : int
            Number of hidden units.
        random_state : None, int, SeedSequence, Generator or RandomState

        Returns
        -------
        ndarray (count, d)
            Rows V for ``MomentSummary(order, directions=V)``; Vx has unit covariance.

        Raises
        ------
        ValueError
            More directions than features, no rows yet, or a summary along directions.
        """
        if self.directions is not None:
            raise ValueError("subspace is for a summary of all features, and this one is along directions")
        d = len(self._there().frame.origin)
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= d:
            raise ValueError(f"count must be an integer between 1 and {d}, the number of features, got {count!r}")
        rng = np.random.default_rng(seed_sequence(random_state))
        with one_blas_thread():
            return self._there().white().subspace(2, int(count), rng) @ self.inverse

    def start(
        self,
        model: str | Activation | Network,
        n_hidden: int | None = None,
        *,
        random_state: RandomState = None,
        **model_options: Unpack[ModelOptions],
    ) -> Parameters:
        """Parameters by moments (Zhong et al. 2017, algorithm 1), for ``fit(X, y, init=...)`` on any of the rows.

        Rows are whitened by the mean and covariance of the summary itself.  Directions are consistent for Gaussian rows
        of any mean and covariance; lengths only where the mean is small against the spread, since a unit without a bias
        has one, ``w . mean``, in centred coordinates.  A fit mends lengths.

        Parameters
        ----------
        model, n_hidden, **model_options
            As for :func:`fastrecover.fit`: a regression of one output, or ``fcn``, without hidden biases.
        random_state : None, int, SeedSequence, Generator or RandomState

        Returns
        -------
        Parameters

        Raises
        ------
        StartError
            A ValueError: a network that moments do not determine, or not those of this order.
        TypeError, ValueError
            No such model, or no rows yet.
        """
        sums, network = self._there(), get_model(model, n_hidden, **model_options)
        self._check_start(network, len(sums.frame.scale))
        rng = np.random.default_rng(seed_sequence(random_state))
        with one_blas_thread():
            found = start_of(sums.white(), network, sums.n_rows, rng)
            found = Whitening(self.mean, self.inverse).back(found)
        if self.directions is None:
            return found
        linear = None if found.linear is None else found.linear @ self.directions
        return Parameters(found.weights @ self.directions, found.output_weights, linear, found.intercept)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sums to exactly `path`, an .npz archive of plain arrays; :meth:`load` reads it.

        Parameters
        ----------
        path : str or path-like
            An existing file is replaced once the new one is complete.

        Raises
        ------
        OSError
            The folder does not exist or cannot be written to.
        ValueError
            No rows yet.
        """
        header, arrays = self._there().stored()
        directions = {} if self.directions is None else {"directions": self.directions}
        storage.write(path, header, arrays | directions, storage.SUMMARY)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a summary that :meth:`save` wrote, bit for bit.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        MomentSummary

        Raises
        ------
        OSError
            The file cannot be read.
        ValueError
            It is not such a file, is damaged, or is of a newer format.
        """
        header, arrays = storage.read(path, (*ARRAYS, "directions"), storage.SUMMARY)
        try:
            summary = cls(header["order"], arrays.get("directions"))
            summary._sums = Sums.restored(header, arrays, summary.directions)
        except Exception as error:  # what a file says may be anything
            raise ValueError(f"{os.fspath(path)!r} is a damaged summary: {storage.said(error)}") from error
        return summary

    def _there(self) -> Sums:
        if self._sums is None:
            raise ValueError("the summary has no rows yet: add some by partial_fit(X, y)")
        return self._sums

    def _check_room(self, m: int) -> None:
        if m > _MOST[self.order]:
            what = "features" if self.directions is None else "directions"
            raise ValueError(
                f"a summary of order {self.order} is formed for at most {_MOST[self.order]} {what}, got {m}: "
                "take a lower order, or directions (those of `subspace` of a summary of order 2)"
            )

    def _check_start(self, model: Network, m: int) -> None:
        if other := beyond_plain(model) or "patches" * (model.n_patches > 1):
            raise StartError(f"a start from a summary is not for networks with {other}")
        check_resolvable(model, m)
        act = model.activation
        needed = 2 if act.is_quadratic else max(act.subspace_order or 0, act.tensor_order or 0)
        if needed > self.order:
            raise StartError(f"units of {act.name!r} need moments of order {needed}, the summary has {self.order}")
