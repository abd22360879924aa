"""Sums over responses and weights in the tree of the sweeps, so that averages too do not depend on where rows are.

NumPy's own sums of a whole array are merged by its length, which nobody knows who holds a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TypeAlias

import numpy as np

from ..kernels import LARGEST_BLOCK
from ..kernels.tree import Tree

Sums: TypeAlias = tuple[np.ndarray, np.ndarray]

_AT_ONCE = 64 * LARGEST_BLOCK  # samples


def add_sums(
    tree: Tree, first: int, y: np.ndarray, w: np.ndarray | None, function: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    """Add sums over ``w function(y)``, column by column, and over w to a tree of blocks of ``LARGEST_BLOCK`` samples.

    Parameters
    ----------
    tree : Tree
        Its parts are pairs of arrays (columns,) and (1,).
    first : int
        Number of the first sample, a multiple of ``LARGEST_BLOCK``.
    y : ndarray (n,) or (n, columns)
    w : ndarray (n,) or None
        Weights, None for all ones.
    function : callable or None
        Of y, entry by entry; None for y itself.
    """
    for start in range(0, len(y), _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, len(y)))
        values = y[rows] if function is None else function(y[rows])
        columns, weight = values.reshape(len(values), -1), None if w is None else w[rows]
        columns = columns if weight is None else columns * weight[:, None]
        total = np.ones(len(values)) if weight is None else weight
        tree.extend((first + start) // LARGEST_BLOCK, (_blocks(columns), _blocks(total[:, None])))


def totals(y: np.ndarray, w: np.ndarray | None, function: Callable[[np.ndarray], np.ndarray] | None = None) -> Sums:
    """Sums over ``w function(y)``, (columns,), and over w, (1,).

    Parameters
    ----------
    y, w, function
        As for :func:`add_sums`.
    """
    tree = Tree()
    add_sums(tree, 0, y, w, function)
    found: Sums = tree.total()
    return found


def average(sums: Sums) -> np.ndarray:
    """The weighted mean of every column."""
    return np.asarray(sums[0] / sums[1])


def squared_distance(y: np.ndarray, centre: np.ndarray | float) -> np.ndarray:
    """``(y - centre)^2``, entry by entry; named, since an engine may send it to where its rows are."""
    return np.asarray((y - centre) ** 2)


def block_digests(values: np.ndarray, first: int) -> dict[int, bytes]:
    """Digests of blocks of ``LARGEST_BLOCK`` responses or weights, by number; those of sample `first` come first."""
    digests = {}
    for start in range(0, len(values), LARGEST_BLOCK):
        block = np.ascontiguousarray(values[start : start + LARGEST_BLOCK])
        digests[(first + start) // LARGEST_BLOCK] = blake2b(block.data, digest_size=16).digest()
    return digests


def joint_digest(digests: dict[int, bytes]) -> str:
    """One digest of those of all blocks."""
    return blake2b(b"".join(digests[i] for i in sorted(digests)), digest_size=16).hexdigest()


def _blocks(columns: np.ndarray) -> np.ndarray:
    """Sums of blocks of rows, (blocks, columns), each by a pairwise sum over contiguous numbers."""
    n, m = columns.shape
    whole = n // LARGEST_BLOCK
    rows = np.ascontiguousarray(columns.T)
    sums = rows[:, : whole * LARGEST_BLOCK].reshape(m, whole, LARGEST_BLOCK)
    found = [np.array([[block.sum() for block in each] for each in sums]).reshape(m, whole)]
    if n > whole * LARGEST_BLOCK:
        found.append(np.array([[each[whole * LARGEST_BLOCK :].sum()] for each in rows]))
    return np.concatenate(found, axis=1).T
