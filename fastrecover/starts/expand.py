"""Starts from students that are wider than the teacher, pruned back to its number of units.

From few rows a student of the teacher's own width gets stuck: a unit that sits between two of the teacher's, or
points the wrong way, has nowhere to go.  Given one or more units to spare, gradient descent moves them to where
the residual is, and an orthogonal least-squares selection among the units found then drops those that became
superfluous.  Doing this once from random rows gives starts (`expanded_starts`); doing it again and again to the
minima already found (`regrown`), with new units of nearly zero size so that the residual alone decides where they
turn, is a descent over local minima.  A chain of such rounds that no longer moves gives its place to a new random
student, except the best one.  Signs need not be known: they come from the coefficients of the selection.

All runs of a round advance side by side, as columns of the same sweeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..models import Network, Parameters
from ..solvers.lbfgs import minimise_many
from ..sweeps import Objective
from .tensor import StartError, replace_free

_MEMORY = 10  # curvature pairs; more cost as much as the sweep and save no iterations that matter here
_FILL = 0.8  # parameters of the widest student over rows: one that can interpolate carries no information
_TINY = 0.05  # size of a new unit, relative to a typical one
_SMALLEST = 0.02  # least size after pruning, relative to the largest
_DEPENDENT = 1e-8  # share of a feature's square that its residual must keep to be selected
_PATIENCE = 2  # rounds without a gain after which a chain makes room
_GAIN = 0.01  # relative decrease of the loss that counts as one
_POLISHED = 8  # one chain in so many is carried on each round, so that an exact fit is reached and seen


@dataclass(frozen=True)
class Starts:
    """Networks with definite output weights, best first.

    Attributes
    ----------
    parameters : tuple of Parameters
    losses : ndarray (len(parameters),)
    failures : ndarray (len(parameters),) of int
        Rounds in a row that have not lowered the loss.
    """

    parameters: tuple[Parameters, ...]
    losses: np.ndarray
    failures: np.ndarray

    def __len__(self) -> int:
        return len(self.parameters)

    def joined(self, parameters: Parameters, loss: float) -> Starts:
        """With one more network."""
        return _sorted((*self.parameters, parameters), np.append(self.losses, loss), np.append(self.failures, 0))


def expanded_starts(
    engine: Any,
    model: Network,
    rng: np.random.Generator,
    *,
    count: int = 32,
    width: int | None = None,
    scale: float = 0.7,
    iterations: int = 100,
    exact_loss: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Starts:
    """Train `count` wide students from random rows, prune each to the model's units and train it again.

    A quadratic network's student has as many rows as there are features (of each sign, where both occur) and
    starts from small rows; its pruning keeps the leading eigenvalues of ``M = W' diag(v) W``.

    Parameters
    ----------
    engine : ThreadEngine
    model : Network
        A regression.
    rng : Generator
    count : int
        Students, trained side by side.
    width : int, optional
        Units of a student; the model's own number gives plain random starts.  By default twice as many, or as
        many as leave a fifth of the rows unexplained, but at least one more.
    scale : float
        Length of a random row, in units of the length with which the responses are reached (homogeneous
        activations) or absolute (others, for inputs of unit variance).
    iterations : int
        L-BFGS iterations, before and again after pruning.
    exact_loss : float
        End as soon as a pruned student is at or below it.
    stop : callable
        Asked before every pass; true ends the work where it is.

    Returns
    -------
    Starts

    Raises
    ------
    TypeError, ValueError
        A classification or a convolutional network, counts below one, a width below the model's.
    """
    _check(model, count=count, iterations=iterations)
    n, d = engine.shape
    k, quadratic = model.n_hidden, model.activation.name == "quadratic"
    if width is None:
        # Rows enough for any M: its rank then limits nothing, and the landscape has no wrong turns.
        width = max(d * len(set(_signs(model))), k + 1) if quadratic else k + default_extra(n, d, k, most=k)
    elif isinstance(width, bool) or not isinstance(width, (int, np.integer)):
        raise TypeError(f"width must be an integer or None, got {width!r}")
    elif width < k:
        raise ValueError(f"width must be at least the model's n_hidden={k}, got {width}")
    if quadratic:
        scale = scale * 0.3 / np.sqrt(width)
    size = scale * _typical_size(engine, model)
    students = [_random_network(model, _student_weights(model, width, rng), size, d, rng) for _ in range(count)]
    found, losses = _pruned_and_trained(engine, model, students, iterations, exact_loss, stop)
    return _sorted(found, losses, np.zeros(count, int))


def regrown(
    engine: Any,
    model: Network,
    starts: Starts,
    rng: np.random.Generator,
    *,
    extra: int = 1,
    scale: float = 0.7,
    iterations: int = 100,
    exact_loss: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Starts:
    """One more round on every start: add tiny units, train, prune, train, and keep what is lower.

    Parameters
    ----------
    engine : ThreadEngine
    model : Network
    starts : Starts
        From :func:`expanded_starts`, an earlier round, or any networks with the model's number of units.
    rng : Generator
    extra : int
        Units added; more than one pays from about a dozen units on.
    scale : float
        Length of the rows of a student that takes the place of a chain at rest, as in :func:`expanded_starts`.
    iterations : int
        L-BFGS iterations, before and again after pruning.
    exact_loss : float
        End as soon as a pruned student is at or below it.
    stop : callable
        Asked before every pass; true ends the work where it is.

    Returns
    -------
    Starts
        As many as given.

    Raises
    ------
    TypeError, ValueError
        As :func:`expanded_starts`.
    """
    _check(model, extra=extra, iterations=iterations)
    if not len(starts) or any(len(p.weights) != model.n_hidden for p in starts.parameters):
        raise ValueError(f"starts must hold at least one network, each of n_hidden={model.n_hidden} units")
    d, size = engine.shape[1], _typical_size(engine, model)
    stuck = (starts.failures >= _PATIENCE) & (np.arange(len(starts)) > 0)
    before = np.where(stuck, np.inf, starts.losses)
    students = []
    for old, out in zip(starts.parameters, stuck, strict=True):
        if out:
            v = _student_weights(model, model.n_hidden + extra, rng)
            students.append(_random_network(model, v, scale * size, d, rng))
        else:
            students.append(_grown(old, _random_network(model, _new_weights(model, extra, rng), _TINY * size, d, rng)))
    found, losses = _pruned_and_trained(engine, model, students, iterations, exact_loss, stop)
    failures = np.where(losses < (1.0 - _GAIN) * before, 0, starts.failures + 1)
    for i in np.flatnonzero(~(losses < before)):
        # A chain keeps its minimum unless the new one is lower.
        found[i], losses[i] = starts.parameters[i], starts.losses[i]
    order = np.argsort(losses, kind="stable")
    best = order[: max(1, len(order) // _POLISHED)]
    further, losses[best] = _trained(engine, model, [found[i] for i in best], 2 * iterations, exact_loss, stop)
    for i, network in zip(best, further, strict=True):
        found[i] = network
    return _sorted(found, losses, failures)


def default_extra(n_rows: int, n_features: int, n_hidden: int, most: int) -> int:
    """Spare units of a student that still leaves a fifth of the rows unexplained: at least 1, at most `most`."""
    return int(np.clip(int(_FILL * n_rows / n_features) - n_hidden, 1, max(most, 1)))


def check_expandable(model: Network) -> None:
    """Raise StartError for models whose wide students cannot be pruned.

    Parameters
    ----------
    model : Network
    """
    if model.is_classifier:
        raise StartError("wide students are pruned by least squares, a classification needs init='tensor' or 'random'")
    if model.n_patches > 1:
        raise StartError("a convolutional network has one filter, there is nothing to prune: use init='tensor'")


def _check(model: Network, **counts: Any) -> None:
    check_expandable(model)
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _signs(model: Network) -> list[float]:
    """Signs that output weights may have."""
    if model.activation.parity == "odd":
        return [1.0]
    return [1.0, -1.0] if model.known_v is None else sorted(set(np.sign(model.known_v)), reverse=True)


def _new_weights(model: Network, count: int, rng: np.random.Generator) -> np.ndarray:
    """Output weights of additional units: fair signs, the size of a typical known weight."""
    known = model.known_v
    return rng.choice(_signs(model), size=count) * (1.0 if known is None else float(np.median(np.abs(known))))


def _student_weights(model: Network, width: int, rng: np.random.Generator) -> np.ndarray:
    """Output weights of a random student: the known ones and more, or signs that leave room for every teacher.

    A teacher with q positive signs out of k fits into a student with p out of k + e if ``q <= p <= q + e``; for
    p drawn evenly from e .. k (half the width where e >= k) each q fits into about as many students.
    """
    known, k, extra = model.known_v, model.n_hidden, width - model.n_hidden
    if model.activation.name == "quadratic":
        return np.resize(_signs(model), width)
    if known is not None or model.activation.parity == "odd":
        first = np.ones(k) if known is None else known
        return np.concatenate([first, _new_weights(model, extra, rng)])
    positive = width // 2 if extra >= k else int(rng.integers(extra, k + 1))
    return np.where(np.arange(width) < positive, 1.0, -1.0)


def _typical_size(engine: Any, model: Network) -> float:
    """Length of a row with which k unrelated units reach the variance of the responses."""
    degree = model.activation.degree
    if degree is None:
        return 1.0
    v = 1.0 if model.known_v is None else float(np.median(np.abs(model.known_v)))
    return float((np.sqrt(engine.response_variance() / model.n_hidden) / v) ** (1.0 / degree))


def _network(model: Network, weights: np.ndarray, v: np.ndarray) -> Parameters:
    return Parameters(weights, v, np.zeros(weights.shape[1]) if model.linear_term else None, 0.0)


def _random_network(model: Network, v: np.ndarray, size: float, d: int, rng: np.random.Generator) -> Parameters:
    """Rows of expected length `size`, one for each output weight."""
    return _network(model, rng.standard_normal((len(v), d)) * (size / np.sqrt(d)), v)


def _grown(old: Parameters, new: Parameters) -> Parameters:
    return replace(
        old,
        weights=np.concatenate([old.weights, new.weights]),
        output_weights=np.concatenate([old.output_weights, new.output_weights]),
    )


def _sorted(parameters: Sequence[Parameters], losses: np.ndarray, failures: np.ndarray) -> Starts:
    order = np.argsort(losses, kind="stable")  # NaN goes last
    return Starts(tuple(parameters[i] for i in order), losses[order], failures[order])


def _pruned_and_trained(
    engine: Any,
    model: Network,
    students: list[Parameters],
    iterations: int,
    exact_loss: float,
    stop: Callable[[], bool],
) -> tuple[list[Parameters], np.ndarray]:
    wide, _ = _trained(engine, model, students, iterations, -1.0, stop)
    prune = _truncated if model.activation.name == "quadratic" else _selected
    return _trained(engine, model, [prune(engine, model, student) for student in wide], iterations, exact_loss, stop)


def _trained(
    engine: Any,
    model: Network,
    students: Sequence[Parameters],
    iterations: int,
    exact_loss: float,
    stop: Callable[[], bool],
) -> tuple[list[Parameters], np.ndarray]:
    """Students of one width, minimised side by side."""
    width, d = students[0].weights.shape
    v = None if model.free_v and model.activation.degree is None else np.array([s.output_weights for s in students])
    wide = model.changed(n_hidden=width, output_weights="free" if v is None else v[0])
    thetas, losses = minimise_many(
        Objective(engine, wide),
        np.array([wide.pack(s) for s in students]),
        iterations=iterations,
        memory=_MEMORY,
        exact_loss=exact_loss,
        output_weights=v,
        stop=stop,
    )
    found = [wide.unpack(theta, d) for theta in thetas]
    if v is not None:
        found = [replace(p, output_weights=w) for p, w in zip(found, v, strict=True)]
    return found, losses


def _selected(engine: Any, model: Network, student: Parameters) -> Parameters:
    """The model's number of units that explain the responses best, with sizes and signs by least squares.

    Candidates are the student's units and, unless parity makes them the same, their reversals; they are chosen
    one after the other, each time the one that takes most off the residual (orthogonal least squares).
    """
    act, rows, known = model.activation, student.weights, model.known_v
    if act.degree is not None:
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)[:, None]
    if act.parity is None:
        rows = np.concatenate([rows, -rows])
    free = Objective(engine, replace_free(model, len(rows)))
    gram = free.output_regression(_network(model, rows, np.ones(len(rows))))[2]
    quota = None
    if known is not None and act.parity != "odd":
        quota = {1.0: int((known > 0).sum()), -1.0: int((known < 0).sum())}
    chosen, signs = orthogonal_selection(gram, len(rows), model.n_hidden, quota)
    columns = [*chosen, *range(len(rows), len(gram) - 1)]
    solution = np.linalg.lstsq(gram[np.ix_(columns, columns)], gram[columns, -1], rcond=1e-12)[0]
    a, rest = solution[: len(chosen)], solution[len(chosen) :]
    linear = rest[: rows.shape[1]] if model.linear_term else None
    found = Parameters(rows[chosen], a, linear, float(rest[-1]) if model.fit_intercept else 0.0)
    return _settled(model, found, signs)


def orthogonal_selection(
    gram: np.ndarray, n_units: int, k: int, quota: dict[float, int] | None = None
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

    Returns
    -------
    chosen : list of int
    signs : ndarray (k,)
        Sign of each coefficient as it was chosen.
    """
    work, scale = np.array(gram, np.float64), np.diag(gram)
    for j in range(n_units, len(gram) - 1):
        _eliminate(work, j, scale)
    chosen: list[int] = []
    signs: list[float] = []
    left = None if quota is None else dict(quota)
    for _ in range(k):
        square, slope = np.diag(work)[:n_units], work[:n_units, -1]
        gain = np.where(square > _DEPENDENT * scale[:n_units], slope**2 / np.maximum(square, 1e-300), 0.0)
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


def _settled(model: Network, found: Parameters, signs: np.ndarray) -> Parameters:
    """Units with fitted coefficients as a network of the model: sizes into the rows, known weights in their places."""
    act, a, known = model.activation, found.output_weights, model.known_v
    if model.free_v and act.degree is None:
        floor = _SMALLEST * np.abs(a).max(initial=1e-300)
        return replace(found, output_weights=np.where(np.abs(a) < floor, np.where(a < 0, -floor, floor), a))
    if known is None:
        v, size = np.where(a < 0, -1.0, 1.0), np.abs(a)
    else:
        rows = found.weights
        if act.parity == "odd":
            signs = np.ones(len(a))
            found, a = replace(found, weights=np.where((a < 0)[:, None], -rows, rows)), np.abs(a)
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
            found = replace(found, weights=np.where((known < 0)[:, None], -found.weights, found.weights))
        v, size = known, np.maximum(a * signs, 0.0) / np.abs(known)
    size = np.maximum(size, _SMALLEST * max(float(size.max()), 1e-300))
    # Without a degree the slope at zero tells how a coefficient acts as a length.
    rows = found.weights * (size ** (1.0 / (act.degree or 1)))[:, None]
    return replace(found, weights=rows, output_weights=np.array(v, np.float64))


def _truncated(engine: Any, model: Network, student: Parameters) -> Parameters:
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
