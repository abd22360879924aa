"""Checks of user input, all made before any long work.

Every error names the argument, what was wrong and what would be right.  Whether X is finite is read off the
column sums that a fit needs anyway, so a clean matrix is not scanned twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Eighth powers, which moments of order four need, still fit into float64.
_LARGEST = 1e35


def check_rows(X: Any, name: str = "X") -> np.ndarray:
    """`X` as a float32 or float64 matrix with unit column stride; nothing is copied where it already is one.

    Raises
    ------
    TypeError
        Not numeric.
    ValueError
        Not two-dimensional, or empty.
    """
    X = _numeric(X, name)
    if X.ndim != 2:
        hint = f"; use {name}.reshape(-1, 1) for a single feature" if X.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (n_rows, n_features), got {X.shape}{hint}")
    if X.shape[1] == 0 or X.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row and one feature, got shape {X.shape}")
    if X.dtype not in (np.float32, np.float64) or not X.dtype.isnative:
        X = X.astype(np.float32 if X.dtype.kind == "f" and X.dtype.itemsize <= 4 else np.float64)
    aligned = X.strides[0] % X.itemsize == 0 and X.flags.aligned
    if X.strides[0] < 0 or not aligned or (X.shape[1] > 1 and X.strides[1] != X.itemsize):
        X = np.ascontiguousarray(X)
    return X


def check_vector(v: Any, n: int, name: str) -> np.ndarray:
    """`v` as a finite contiguous float64 vector of length n.

    Raises
    ------
    TypeError, ValueError
    """
    v = _numeric(v, name)
    if v.ndim == 2 and v.shape[1] == 1:
        v = v[:, 0]
    if v.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {v.shape}")
    if len(v) != n:
        rows = f"X has {n} rows" if name in ("y", "sample_weight") else f"{n} are needed"
        raise ValueError(f"{name} has {len(v)} entries but {rows}")
    v = np.ascontiguousarray(v, np.float64)
    check_finite(v, name)
    return v


def check_finite(a: np.ndarray, name: str) -> None:
    """Raise ValueError naming the first entry that is not finite."""
    block = max(1, (1 << 22) // max(a.shape[1] if a.ndim == 2 else 1, 1))
    for start in range(0, len(a), block):
        bad = ~np.isfinite(a[start : start + block])
        if bad.any():
            where = np.argwhere(bad)[0]
            where[0] += start
            value = a[tuple(where)]
            position = f"row {where[0]}" + (f", column {where[1]}" if a.ndim == 2 else "")
            raise ValueError(f"{name} must be finite, but {position} is {value}; drop or fill such rows")


def check_weights(w: Any, n: int) -> np.ndarray | None:
    """Sample weights, None for all equal.

    Raises
    ------
    TypeError, ValueError
        Wrong length, not finite, negative, or all zero.
    """
    if w is None:
        return None
    w = check_vector(w, n, "sample_weight")
    if (w < 0).any():
        at = int(np.argmax(w < 0))
        raise ValueError(f"sample_weight must not be negative, but row {at} is {w[at]:g}")
    if not w.any():
        raise ValueError("sample_weight must not be zero everywhere: no row would count")
    return w


def check_varies(y: np.ndarray, w: np.ndarray | None) -> None:
    """Raise ValueError where y is constant over the rows that count."""
    seen = y if w is None else y[w > 0]
    if seen.size and seen.min() == seen.max():
        raise ValueError(f"y must vary, but every response is {seen[0]:g}: there is nothing to recover")


def check_moderate(a: np.ndarray, name: str) -> None:
    """Raise ValueError where powers would overflow; of a long array some 512 rows are looked at."""
    few = a[:: max(1, len(a) // 512)] if a.ndim == 2 else a
    largest = float(np.abs(few).max(initial=0.0))
    if np.isfinite(largest) and largest > _LARGEST:
        raise ValueError(f"{name} has entries as large as {largest:.3g}, whose powers overflow: rescale {name}")


def check_columns(X: np.ndarray) -> None:
    """Raise ValueError naming constant columns, which no weight can be read from."""
    few = X[:: max(1, len(X) // 512)]
    suspects = np.flatnonzero((few == few[0]).all(axis=0))
    constant = [int(j) for j in suspects if (X[:, j] == X[0, j]).all()]
    if constant:
        shown = ", ".join(map(str, constant[:5])) + (", ..." if len(constant) > 5 else "")
        raise ValueError(f"X has constant columns ({shown}): their weights cannot be recovered; drop these columns")


def check_enough_rows(n: int, w: np.ndarray | None, parameters: int) -> None:
    """Raise ValueError with fewer rows that count than parameters."""
    counting = n if w is None else int(np.count_nonzero(w))
    if counting < parameters:
        raise ValueError(
            f"X has {counting} rows that count, which cannot determine {parameters} parameters: give at least as many "
            "rows as parameters, or a smaller n_hidden"
        )


def check_positive(value: Any, name: str, most: float = np.finfo(float).max) -> float:
    """A positive number, by default a finite one.

    Raises
    ------
    TypeError, ValueError
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < value <= most:
        raise ValueError(f"{name} must be positive{'' if most == np.inf else ' and finite'}, got {value!r}")
    return float(value)


def seed_sequence(random_state: Any) -> np.random.SeedSequence:
    """The root of all random numbers of a call.

    Parameters
    ----------
    random_state : None, int, SeedSequence or Generator

    Raises
    ------
    TypeError, ValueError
    """
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(0, 2**63, 4).tolist())
    if random_state is None:
        return np.random.SeedSequence()
    if isinstance(random_state, bool) or not isinstance(random_state, (int, np.integer)):
        raise TypeError(f"random_state must be None, an integer, a SeedSequence or a Generator, got {random_state!r}")
    if random_state < 0:
        raise ValueError(f"random_state must not be negative, got {random_state}")
    return np.random.SeedSequence(int(random_state))


def _numeric(a: Any, name: str) -> np.ndarray:
    try:
        a = np.asarray(a)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array of numbers: {error}") from None
    if a.dtype.kind == "O":
        raise TypeError(f"{name} has dtype object: convert it to numbers first, e.g. np.asarray({name}, dtype=float)")
    if a.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got dtype {a.dtype}")
    return a


def check_labels(y: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets in [0, 1] and the two labels that 0 and 1 stand for.

    Strings, booleans and any other two labels that are not numbers are mapped in sorted order; numbers must be
    targets already (0, 1, or fractions such as averaged labels).

    Returns
    -------
    targets : ndarray (n,) of float64
    classes : ndarray (2,)

    Raises
    ------
    TypeError, ValueError
        Wrong length, numbers outside [0, 1], more than two labels, or one class only.
    """
    labels = _text(np.asarray(y))
    if labels.dtype.kind in "OUb":
        labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.ndim != 1 or len(labels) != n:
            raise ValueError(f"y must hold one label for each of the {n} rows of X, got shape {labels.shape}")
        try:
            classes = np.unique(labels)
        except TypeError:
            raise TypeError("y mixes labels of different types: use strings, booleans or numbers in [0, 1]") from None
        if len(classes) != 2:
            some = ", ".join(repr(c) for c in classes[:4].tolist())
            raise ValueError(f"y must have two classes, got {len(classes)}: {some}")
        return (labels == classes[1]).astype(np.float64), np.array(classes.tolist())
    targets = check_vector(y, n, "y")
    outside = (targets < 0) | (targets > 1)
    if outside.any():
        at = int(np.argmax(outside))
        raise ValueError(f"y must lie in [0, 1] for a classification, but row {at} is {targets[at]:g}")
    if targets.min() == targets.max():
        raise ValueError(f"y has one class only (every target is {targets[0]:g}): there is nothing to recover")
    return targets, np.array([0, 1])


def _text(labels: np.ndarray) -> np.ndarray:
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels


def encode_labels(y: Any, classes: np.ndarray, n: int | None = None) -> np.ndarray:
    """Targets in [0, 1] for labels of known classes.

    Raises
    ------
    ValueError
        A label that is not one of the classes.
    """
    labels = _text(np.asarray(y)).reshape(-1)
    if n is not None and len(labels) != n:
        raise ValueError(f"y has {len(labels)} entries but X has {n} rows")
    if classes.dtype.kind == "U":
        labels = labels.astype(str)
    if classes.dtype.kind in "iuf" and labels.dtype.kind in "iufb":
        targets = labels.astype(np.float64)
        known = (targets >= 0) & (targets <= 1)
    else:
        targets = (labels == classes[1]).astype(np.float64)
        known = np.isin(labels, classes)
    if not known.all():
        raise ValueError(f"y must hold labels of {classes.tolist()}, got {labels[~known][0]!r}")
    return targets


def child(root: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """The stream called `key` under `root`, the same however often it is asked for."""
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key), pool_size=root.pool_size)
