"""Gaussian moments of responses on arrays: ``E[y He_j(x)]``, whole or contracted with a few directions.

A thin face of the moment sweeps; see Zhong et al. 2017, section 3, for the definitions
``M_1 = E[y x]``, ``M_2 = E[y (x x' - I)]``, ``M_3 = E[y (x^(x)3 - sym(x, I))]``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_numbers
from .._validation import check_finite, check_rows, check_vector, check_weights
from ..engines import engine_on
from ..sources import Source, as_source, as_values
from ..sweeps import MomentSweeps
from ..tensors import contracted, hermite_to_tensor, unpack

#: Features of a whole third moment: 134 MB, and 22.6 MB for every part that a thread sums.
MOST = 256


def _sweeps(
    X: ArrayLike | Source, y: ArrayLike | None, sample_weight: ArrayLike | None, n_jobs: int | None
) -> MomentSweeps:
    rows = as_source(X)
    (own_y, own_w), n = rows.targets(), rows.shape[0]
    if y is None and own_y is None:
        raise ValueError("y is missing: give the responses, one for each row of X")
    w = check_weights(own_w if sample_weight is None else as_values(sample_weight), n)
    source = rows.changed(y=check_vector(own_y if y is None else as_values(y), n, "y"), w=w)
    return MomentSweeps(engine_on(source, n_jobs))


def _directions(V: ArrayLike, d: int) -> np.ndarray:
    rows = checked_directions(V, "V")
    if rows.shape[1] != d:
        raise ValueError(f"V must have one row per direction and {d} columns, got shape {rows.shape}")
    return rows


def checked_directions(V: ArrayLike, name: str) -> np.ndarray:
    """Directions as finite rows of float64; one vector is one direction."""
    rows = check_rows(np.atleast_2d(as_numbers(V, name)), name).astype(np.float64)
    check_finite(rows, name)
    return rows


def first(
    X: ArrayLike | Source, y: ArrayLike | None, *, sample_weight: ArrayLike | None = None, n_jobs: int | None = None
) -> np.ndarray:
    """``M_1 = E[y x]``.

    Parameters
    ----------
    X : array_like (n, d), path or Source
    y : array_like (n,) or path, or None for the responses of a source
    sample_weight : array_like (n,) or path, optional
    n_jobs : int, optional

    Returns
    -------
    ndarray (d,)
    """
    return _sweeps(X, y, sample_weight, n_jobs).first()[1]


def second(
    X: ArrayLike | Source,
    y: ArrayLike | None,
    V: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
) -> np.ndarray:
    """``M_2 V'`` row by row, or the whole of ``M_2 = E[y (x x' - I)]``.

    Parameters
    ----------
    X, y
        As for :func:`first`.
    V : array_like (m, d), optional
        Directions; without them the d x d matrix is formed.
    sample_weight, n_jobs
        As for :func:`first`.

    Returns
    -------
    ndarray (m, d) or (d, d)
    """
    sweeps = _sweeps(X, y, sample_weight, n_jobs)
    d = sweeps.n_features
    if V is None:
        whole = sweeps.product(np.eye(d))
        return (whole + whole.T) / 2.0
    return sweeps.product(_directions(V, d))


def third(
    X: ArrayLike | Source,
    y: ArrayLike | None,
    V: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
) -> np.ndarray:
    """``M_3(V, V, V)``, or the whole of ``M_3 = E[y (x^(x)3 - sym(x, I))]``.

    Parameters
    ----------
    X, y
        As for :func:`first`.
    V : array_like (m, d), optional
        Directions, not necessarily orthonormal; without them the d x d x d tensor is formed.
    sample_weight, n_jobs
        As for :func:`first`.

    Returns
    -------
    ndarray (m, m, m) or (d, d, d)

    Raises
    ------
    ValueError
        More than 256 directions, or more than 256 features and no directions.
    """
    packed, m = _third(X, y, V, sample_weight, n_jobs)
    return unpack(packed, m, 3)


def third_packed(
    X: ArrayLike | Source,
    y: ArrayLike | None,
    V: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
) -> np.ndarray:
    """Distinct entries of :func:`third`, a sixth of its memory; arguments and errors as there.

    Returns
    -------
    ndarray (m (m + 1) (m + 2) / 6,)
        In the order of :func:`fastrecover.tensors.multi_indices`; m = d without directions.
    """
    return _third(X, y, V, sample_weight, n_jobs)[0]


def _third(
    X: ArrayLike | Source, y: ArrayLike | None, V: ArrayLike | None, sample_weight: ArrayLike | None, n_jobs: int | None
) -> tuple[np.ndarray, int]:
    sweeps = _sweeps(X, y, sample_weight, n_jobs)
    if V is None and sweeps.n_features > MOST:
        raise ValueError(
            f"the whole third moment is formed for at most {MOST} features, got {sweeps.n_features}: "
            "give V, the directions along which it is wanted"
        )
    directions = None if V is None else _directions(V, sweeps.n_features)
    m = sweeps.n_features if directions is None else len(directions)
    if m > MOST:
        raise ValueError(f"V must have at most {MOST} rows, got {m}: give fewer directions at a time")
    return sweeps.third_packed(directions), m


def fourth(
    X: ArrayLike | Source,
    y: ArrayLike | None,
    V: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
) -> np.ndarray:
    """``M_4(V, V, V, V)``, using the symmetry (one number for each a <= b <= c <= d and row).

    Parameters
    ----------
    X, y
        As for :func:`first`.
    V : array_like (m, d)
        Directions, not necessarily orthonormal.
    sample_weight, n_jobs
        As for :func:`first`.

    Returns
    -------
    ndarray (m, m, m, m)
    """
    sweeps = _sweeps(X, y, sample_weight, n_jobs)
    # In an orthonormal basis of the directions the moment is a table of Hermite averages.
    q, r = np.linalg.qr(_directions(V, sweeps.n_features).T)
    tensor = hermite_to_tensor(sweeps.hermite(q.T, (4,))[0], q.shape[1], 4)
    return contracted(tensor, r.T)
