"""Rows in an order of their own, so that a weight of 2 is a row given twice, bit for bit, in whatever order they come.

Sums over rows differ in their last digits with the order of rows, and random starts with the rows that they look at;
steps of a fit enlarge both.  Where rows are few they are sorted and repeated ones become weights, and nothing is left
to differ.
"""

from __future__ import annotations

import numpy as np

_NUMBERS = 1 << 20  # of X, up to which a sorted copy costs next to nothing


def merged(X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows without those of weight zero and, where there are few, sorted and without repetitions.

    Parameters
    ----------
    X : ndarray (n, d)
    y : ndarray (n,) or (n, n_outputs)
    weight : ndarray (n,) or None
        Not negative.

    Returns
    -------
    X, y, weight
        The weight is None where all are 1.
    """
    if weight is not None and not weight.all():
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
    if X.size > _NUMBERS or len(X) < 2:
        return X, y, weight
    table = np.column_stack([X[:, varying(X)], y]).astype(np.float64) + 0.0  # of -0.0 and 0.0 one
    key = _keys(table)
    w = np.ones(len(X)) if weight is None else weight
    order = np.lexsort((w, key))
    table, key, w = table[order], key[order], w[order]
    new = np.r_[True, (key[1:] != key[:-1]) | (table[1:] != table[:-1]).any(axis=1)]
    first = np.flatnonzero(new)
    w = np.add.reduceat(w, first)
    return X[order[first]], y[order[first]], None if (w == 1).all() else w


def _keys(table: np.ndarray) -> np.ndarray:
    """A number for each row that equal rows share, and others hardly ever."""
    bits = np.ascontiguousarray(table).view(np.uint64)
    key = np.zeros(len(table), np.uint64)
    rng = np.random.default_rng(0)
    factors = np.array(rng.integers(1 << 63, size=bits.shape[1], dtype=np.uint64)) | np.uint64(1)
    for j in range(bits.shape[1]):
        key = (key ^ bits[:, j]) * factors[j]  # modulo 2^64
        key ^= key >> np.uint64(29)
    return key


def varying(X: np.ndarray) -> np.ndarray:
    """Which columns hold more than one number, (d,) of bool."""
    varies = np.zeros(X.shape[1], bool)
    step = max(1, _NUMBERS // X.shape[1])
    for start in range(0, len(X), step):
        varies |= (X[start : start + step] != X[0]).any(axis=0)
        if varies.all():
            break
    return varies
