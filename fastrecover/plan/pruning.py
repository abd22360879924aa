"""From a wide student to a network of the model: which units stay, with which sizes and signs.

Units are chosen one after the other by orthogonal least squares, from one Gram matrix; the rows of a quadratic network,
which are not identifiable, are those of the leading eigenvalues.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..models.parameters import lengths
from ..sweeps import Objective

_SMALLEST = 0.02  # least size after pruning, relative to the largest
_DEPENDENT = 1e-8  # share of a feature's square that its residual must keep to be selected


def pruned(engine: Engine, model: Network, student: Parameters) -> Parameters:
    """The network of the model that a wider student is nearest to.

    Parameters
    ----------
    engine : Engine
    model : Network
    student : Parameters
        At least ``model.n_hidden`` units.

    Returns
    -------
    Parameters
        With definite output weights.
    """
    prune = _truncated if model.activation.is_quadratic else _selected
    return prune(engine, model, student)


def _selected(engine: Engine, model: Network, student: Parameters) -> Parameters:
    """The model's number of units that explain the responses best, with sizes and signs by least squares.

    Candidates are the student's units and, unless parity makes them the same, their reversals; they are chosen
    one after the other, each time the one that takes most off the residual (orthogonal least squares).
    """
    act, rows, known, m = model.activation, student.rows, model.known_v, model.n_outputs
    own = student.columns
    if act.degree is not None:
        size = np.maximum(lengths(rows), 1e-300)
        rows, own = rows / size[:, None], own * size**act.degree
    if act.parity is None:
        rows, own = np.concatenate([rows, -rows]), np.concatenate([own, np.zeros_like(own)], axis=1)
    n = len(rows)
    free = Objective(engine, model.with_free_output_weights(n))
    wide = replace(student, output_weights=own if m > 1 else own[0]).with_rows(rows)
    gram = free.output_regression(wide, working=True)[2]
    quota = None
    if known is not None and act.parity != "odd":
        quota = {1.0: int((known > 0).sum()), -1.0: int((known < 0).sum())}
    chosen, signs = orthogonal_selection(gram, n, model.n_hidden, quota, m)
    kept = [*chosen, *range(n, len(gram))]
    found = free.regressed(wide.with_rows(rows[chosen]), gram[np.ix_(kept, kept)])[0]
    return found if m > 1 else _in_model(model, found, signs)


def orthogonal_selection(
    gram: np.ndarray, n_units: int, k: int, quota: dict[float, int] | None = None, n_outputs: int = 1
) -> tuple[list[int], np.ndarray]:
    """Forward selection by orthogonal least squares (Chen, Billings and Luo 1989) from a Gram matrix.

    Parameters
    ----------
    gram : ndarray
        Of ``[units, always present, y]``, as :meth:`~fastrecover.sweeps.Objective.output_regression` returns it.
    n_units : int
        Columns to choose from.
    k : int
        Columns to choose.
    quota : dict, optional
        How many coefficients may be positive (key 1.0) and negative (key -1.0).
    n_outputs : int
        Columns of y; of several the sum of squares that a unit takes off all of them counts.

    Returns
    -------
    chosen : list of int
    signs : ndarray (k,)
        Sign of each coefficient as it was chosen.
    """
    work, scale = np.array(gram, np.float64), np.diag(gram)
    for j in range(n_units, len(gram) - n_outputs):
        _eliminate(work, j, scale)
    chosen: list[int] = []
    signs: list[float] = []
    left = None if quota is None else dict(quota)
    for _ in range(k):
        square, slope = np.diag(work)[:n_units], work[:n_units, -1]
        apart = square > _DEPENDENT * scale[:n_units]
        taken = (work[:n_units, -n_outputs:] ** 2).sum(axis=1)
        gain = np.divide(taken, square, out=np.zeros(n_units), where=apart)
        if left is not None:
            spare = np.where(slope < 0, left.get(-1.0, 0), left.get(1.0, 0)) > 0
            gain = np.where(spare, gain, 0.0)
        gain[chosen] = -1.0
        j = int(np.argmax(gain))
        sign = -1.0 if slope[j] < 0 else 1.0
        if left is not None:
            sign = sign if left.get(sign, 0) > 0 else -sign
            left[sign] -= 1
        chosen.append(j)
        signs.append(sign)
        _eliminate(work, j, scale)
    return chosen, np.array(signs)


def _eliminate(work: np.ndarray, j: int, scale: np.ndarray) -> None:
    """Take column j out of all others (one step of Cholesky)."""
    if work[j, j] > _DEPENDENT * scale[j]:
        column = work[:, j] / np.sqrt(work[j, j])
        work -= np.outer(column, column)


def _in_model(model: Network, found: Parameters, signs: np.ndarray) -> Parameters:
    """Units with fitted coefficients as a network of the model: sizes into the rows, known weights in their places."""
    act, a, known = model.activation, found.output_weights, model.known_v
    if model.free_v and act.degree is None:
        floor = _SMALLEST * np.abs(a).max(initial=1e-300)
        return replace(found, output_weights=np.where(np.abs(a) < floor, np.where(a < 0, -floor, floor), a))
    if known is None:
        v, size = np.where(a < 0, -1.0, 1.0), np.abs(a)
    else:
        rows = found.rows
        if act.parity == "odd":
            signs = np.ones(len(a))
            found, a = found.with_rows(np.where((a < 0)[:, None], -rows, rows)), np.abs(a)
        # Within a sign the larger coefficient gets the larger known weight.
        target = np.abs(known) if act.parity == "odd" else known
        order = np.empty(len(a), int)
        for sign in (1.0, -1.0):
            places, units = np.flatnonzero(np.sign(target) == sign), np.flatnonzero(signs == sign)
            order[places[np.argsort(np.abs(target[places]), kind="stable")]] = units[
                np.argsort(np.abs(a[units]), kind="stable")
            ]
        found, a, signs = found.reordered(order), a[order], signs[order]
        if act.parity == "odd":
            found = found.with_rows(np.where((known < 0)[:, None], -found.rows, found.rows))
        v, size = known, np.maximum(a * signs, 0.0) / np.abs(known)
    size = np.maximum(size, _SMALLEST * max(float(size.max()), 1e-300))
    # Without a degree the slope at zero tells how a coefficient acts as a length.
    scaled = found.with_rows(found.rows * (size ** (1.0 / (act.degree or 1)))[:, None])
    return replace(scaled, output_weights=np.array(v, np.float64))


def _truncated(engine: Engine, model: Network, student: Parameters) -> Parameters:
    """Leading eigenvalues of ``M = W' diag(v) W``, from a thin QR of W'."""
    q, r = np.linalg.qr(student.weights.T)
    values, vectors = np.linalg.eigh((r * student.output_weights) @ r.T)
    k, known = model.n_hidden, model.known_v
    if known is None:
        at = np.argsort(-np.abs(values), kind="stable")[:k]
        v = np.where(values[at] < 0, -1.0, 1.0)
    else:
        # The largest eigenvalues go with the positive weights, the most negative ones with the negative.
        at, v = np.empty(k, int), known
        at[known > 0] = np.argsort(-values, kind="stable")[: (known > 0).sum()]
        at[known < 0] = np.argsort(values, kind="stable")[: (known < 0).sum()]
    size = np.maximum(values[at] / v, 0.0)
    size = np.maximum(size, _SMALLEST * max(float(size.max()), 1e-300))
    return replace(student, weights=(q @ vectors[:, at]).T * np.sqrt(size)[:, None], output_weights=np.array(v))
