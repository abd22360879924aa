"""Packed storage of small symmetric tensors and their relation to Hermite regression coefficients.

Regression and moment sweeps produce one number per distinct entry; solvers want the full array.  One cached
index map serves both directions, so that no code elsewhere loops over permutations.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SMALL = 1 << 18  # entries up to which an index map is worth its room

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]


def multi_indices(k: int, order: int) -> Indices:
    """Return the distinct entries of a symmetric tensor as nondecreasing index tuples, lexicographic.

    Parameters
    ----------
    k : int
        Dimension, >= 1.
    order : int
        Order, >= 0.

    Returns
    -------
    ndarray of intp, shape (comb(k + order - 1, order), order), read-only

    Raises
    ------
    TypeError
        If `k` or `order` is not an integer.
    ValueError
        If `k` < 1 or `order` < 0.
    """
    return _multi_indices(*_checked(k, order))


def exponents(k: int, order: int) -> Indices:
    """Return the same entries as powers: how often each coordinate occurs in each row of ``multi_indices``.

    Parameters
    ----------
    k, order : int
        As in :func:`multi_indices`.

    Returns
    -------
    ndarray of intp, shape (comb(k + order - 1, order), k)

    Raises
    ------
    TypeError, ValueError
        As :func:`multi_indices`.
    """
    indices = multi_indices(k, order)
    return np.asarray((indices[:, :, None] == np.arange(k)).sum(axis=1), dtype=np.intp)


def pack(T: ArrayLike) -> Array:
    """Return the distinct entries of a symmetric tensor, in the order of :func:`multi_indices`.

    Parameters
    ----------
    T : array_like, shape (k, ..., k)
        Assumed symmetric: only entries with nondecreasing indices are read.

    Returns
    -------
    ndarray, shape (comb(k + order - 1, order),), float64

    Raises
    ------
    ValueError
        If the sides of `T` differ or it has no axis.
    """
    full = np.asarray(T, dtype=np.float64)
    if full.ndim == 0 or len(set(full.shape)) != 1 or full.shape[0] == 0:
        raise ValueError(f"T must have equal sides (k, ..., k) with k >= 1, got shape {full.shape}")
    if full.size > _SMALL:
        return _distinct(full)
    return full[tuple(multi_indices(full.shape[0], full.ndim).T)]


def unpack(values: ArrayLike, k: int, order: int) -> Array:
    """Return the full symmetric tensor whose distinct entries are `values`: the inverse of :func:`pack`.

    Parameters
    ----------
    values : array_like, shape (comb(k + order - 1, order),)
        In the order of :func:`multi_indices`.
    k, order : int
        Dimension and order.

    Returns
    -------
    ndarray, shape (k,) * order, float64

    Raises
    ------
    TypeError
        If `k` or `order` is not an integer.
    ValueError
        If the number of values is not that of the distinct entries.
    """
    k, order = _checked(k, order)
    packed = np.asarray(values, dtype=np.float64)
    expected = (math.comb(k + order - 1, order),)
    if packed.shape != expected:
        raise ValueError(f"values must have shape {expected} for k={k}, order={order}, got {packed.shape}")
    if k**order > _SMALL:
        return _filled(packed, k, order)
    return packed[_positions(k, order)].reshape((k,) * order)


def contracted(T: ArrayLike, matrix: ArrayLike) -> Array:
    """Return ``T(A, .., A)``, every axis of a symmetric tensor contracted with a matrix.

    Parameters
    ----------
    T : array_like, shape (k, ..., k)
    matrix : array_like, shape (m, k)
        A.

    Returns
    -------
    ndarray, shape (m, ..., m), float64
    """
    full, rows = np.asarray(T, dtype=np.float64), np.asarray(matrix, dtype=np.float64)
    for _ in range(full.ndim):  # the first axis is contracted and comes back as the last
        full = np.tensordot(full, rows, axes=(0, 1))
    return full


def last_slice(values: ArrayLike, k: int, order: int) -> Array:
    """Return the distinct entries ``T[..., k - 1]`` of a symmetric tensor, packed as it is, one order less.

    Of moments of (x, 1) these are the moments of one order less.

    Parameters
    ----------
    values : array_like, shape (comb(k + order - 1, order),)
        In the order of :func:`multi_indices`.
    k, order : int
        Dimension and order >= 1.

    Returns
    -------
    ndarray, shape (comb(k + order - 2, order - 1),), float64
    """
    packed = np.asarray(values, dtype=np.float64)
    if order == 1:
        return packed[-1:]
    if order == 2:
        return packed[np.arange(k, 0, -1).cumsum() - 1]
    found, start = [], 0
    for a in range(k):
        stop = start + math.comb(k - a + order - 2, order - 1)
        found.append(last_slice(packed[start:stop], k - a, order - 1))
        start = stop
    return np.concatenate(found)


def hermite_to_tensor(coefs: ArrayLike, k: int, order: int) -> Array:
    """Turn Hermite coefficients of degree `order` into the moment tensor E[y He_order(z)].

    With c_m = E[y prod_a He_{m_a}(z_a) / sqrt(m_a!)] (an average or a regression coefficient on those
    orthonormal features) the entry with powers m is T_m = c_m sqrt(prod_a m_a!).

    Parameters
    ----------
    coefs : array_like, shape (comb(k + order - 1, order),)
        In the order of :func:`multi_indices` (powers: :func:`exponents`).
    k, order : int
        Dimension and order.

    Returns
    -------
    ndarray, shape (k,) * order, float64

    Raises
    ------
    TypeError, ValueError
        As :func:`unpack`.
    """
    scale = _scale(*_checked(k, order))
    packed = np.asarray(coefs, dtype=np.float64)
    if packed.shape != scale.shape:
        raise ValueError(f"coefs must have shape {scale.shape} for these k, order, got {packed.shape}")
    return unpack(packed * scale, k, order)


def _checked(k: int, order: int) -> tuple[int, int]:
    for label, value, least in (("k", k, 1), ("order", order, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{label} must be an integer, got {type(value).__name__}")
        if value < least:
            raise ValueError(f"{label} must be >= {least}, got {value}")
    return int(k), int(order)


def _filled(packed: Array, k: int, order: int) -> Array:
    """Unpack without an index map: entries of least index a are a tensor of one order less, in `order` places."""
    if order < 2:
        return packed
    full, start = np.empty((k,) * order), 0
    for a in range(k):
        stop = start + math.comb(k - a + order - 2, order - 1)
        part = _filled(packed[start:stop], k - a, order - 1)
        for axis in range(order):
            full[(slice(a, None),) * axis + (a,) + (slice(a, None),) * (order - 1 - axis)] = part
        start = stop
    return full


def _distinct(full: Array) -> Array:
    """Pack without an index map, as :func:`_filled` unpacks."""
    if full.ndim < 2:
        return full
    if full.ndim == 2:
        return full[np.triu_indices(len(full))]
    return np.concatenate([_distinct(full[(a,) + (slice(a, None),) * (full.ndim - 1)]) for a in range(len(full))])


@lru_cache(maxsize=32)
def _multi_indices(k: int, order: int) -> Indices:
    rows = list(combinations_with_replacement(range(k), order))
    indices = np.array(rows, dtype=np.intp).reshape(len(rows), order)
    indices.setflags(write=False)
    return indices


@lru_cache(maxsize=32)
def _scale(k: int, order: int) -> Array:
    """Return ``sqrt(prod_a m_a!)`` of all distinct entries."""
    factorials = np.array([math.factorial(p) for p in range(order + 1)], dtype=np.float64)
    scale = np.sqrt(factorials[exponents(k, order)].prod(axis=1))
    scale.setflags(write=False)
    return scale


@lru_cache(maxsize=16)
def _positions(k: int, order: int) -> Indices:
    """Return for every entry of the full tensor, flattened, its position among the distinct ones."""
    shape = (k,) * order
    if order == 0:
        return np.zeros(1, dtype=np.intp)
    lookup = np.empty(k**order, dtype=np.intp)
    distinct = _multi_indices(k, order)
    lookup[np.ravel_multi_index(tuple(distinct.T), shape)] = np.arange(len(distinct))
    sorted_indices = np.sort(np.indices(shape).reshape(order, -1), axis=0)
    positions = lookup[np.ravel_multi_index(tuple(sorted_indices), shape)]
    positions.setflags(write=False)
    return positions
