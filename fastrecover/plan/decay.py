"""Starts from wide students under weight decay, whose units are then merged, step by step, down to the model's number.

Few rows leave a student with units to spare much that fits them and is no teacher.  Under a decay of both layers,
``lambda (r^2 |w|^2 + v^2) / 2`` for a unit and r the share of one of k units in the deviation of the responses, a
homogeneous unit costs ``lambda r |v| |w|`` at its cheapest: decay is a lasso over all units there could be (Neyshabur,
Tomioka and Srebro, arXiv 1412.6614; Bach, arXiv 1412.8690), and of the networks that fit it prefers one of few units.
Bounded units are kept from saturating by the same term.  A student several times as wide as the teacher then goes to
nearly the same place from everywhere: each unit of the teacher appears as a cluster of its units.  Merging the nearest
of them (Ward 1963) and training between, while the decay still holds, keeps what selecting one unit of each would lose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..models import Network, Parameters, Penalty
from ..models.parameters import lengths
from ..solvers import minimise_many
from ..starts import anchors
from ..sweeps import Objective
from .pruning import pruned
from .students import new_weights, random_network, trained

_MEMORY = 10  # curvature pairs
_LEG, _GAIN = 100, 0.02  # steps between two looks at the loss, and the relative decrease that makes more worth while
_LIGHT, _HEAVY = 0.6, 2.4  # homogeneous units begin with rows so light that the first steps turn no sign
_NOTHING = 1e-3  # size of a unit, relative to the largest, below which the decay has taken it away


def wide_student(engine: Engine, model: Network, width: int, rng: np.random.Generator) -> Parameters:
    """Random units that reach the responses together.

    Parameters
    ----------
    engine : Engine
    model : Network
        A regression with one output.
    width : int
    rng : Generator

    Returns
    -------
    Parameters
    """
    deviation = float(np.sqrt(engine.response_variance()))
    # Rows of bounded units begin where these bend.
    size, outer = (1.0, 1.0) if model.activation.degree is None else (_LIGHT / np.sqrt(width), _HEAVY)
    v = np.sign(new_weights(model, width, rng)) * (outer * deviation / np.sqrt(width))
    return random_network(model, v, size, engine.shape[1], rng, anchors(engine, model, rng))


def decayed(
    engine: Engine,
    model: Network,
    student: Parameters,
    decay: float,
    *,
    iterations: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Parameters, float]:
    """A student minimised under a decay, its output weights too, and its loss without the decay.

    Parameters
    ----------
    engine : Engine
    model : Network
    student : Parameters
        Of any width.
    decay : float
        lambda.
    iterations : int
        Most of L-BFGS; it ends before where it gains little.
    stop : callable
        Asked before every pass; true ends the work where it is.

    Returns
    -------
    student : Parameters
    loss : float
    """
    width, d = student.weights.shape
    penalty = Penalty(decay * engine.response_variance() / model.n_hidden, decay, 0.0)
    wide = model.changed(n_hidden=width, output_weights="free", penalty=penalty)
    objective, thetas, loss = Objective(engine, wide), wide.pack(student)[None], np.inf
    for done in range(0, iterations, _LEG):
        before, steps = loss, min(_LEG, iterations - done)
        thetas, losses = minimise_many(objective, thetas, iterations=steps, memory=_MEMORY, stop=stop)
        loss = float(losses[0])
        if stop() or not loss < (1.0 - _GAIN) * before:
            break
    found = wide.unpack(thetas[0], d)
    of_decay = penalty.rows * float((found.weights**2).sum()) + decay * float((found.output_weights**2).sum())
    return found, loss - 0.5 * of_decay


def narrowed(
    engine: Engine,
    model: Network,
    student: Parameters,
    decay: float,
    *,
    widths: tuple[float, ...],
    between: int,
    iterations: int,
    exact_loss: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Parameters, float]:
    """A network of the model, trained without decay, and its loss.

    Parameters
    ----------
    engine : Engine
    model : Network
    student : Parameters
        From :func:`decayed`.
    decay : float
        Under which it was trained, and is between mergers.
    widths : tuple of float
        Widths in turn, over the model's number of units.
    between, iterations : int
        Of L-BFGS after each merger, and at the end.
    exact_loss : float
        End as soon as the loss is at or below it.
    stop : callable
        Asked before every pass.

    Returns
    -------
    parameters : Parameters
        With definite output weights.
    loss : float
    """
    for width in widths:
        count = int(np.ceil(width * model.n_hidden))
        if count < len(student.rows) and not stop():
            student = merged(student, model.activation, count)
            student, _ = decayed(engine, model, student, decay, iterations=between, stop=stop)
    found, losses = trained(engine, model, [pruned(engine, model, student)], iterations, exact_loss, stop)
    return found[0], float(losses[0])


def merged(student: Parameters, activation: Activation, count: int) -> Parameters:
    """The nearest units of one sign merged, two at a time, until there are `count`.

    Two units with sizes a and b (what they do to the responses) and rows u and w, of unit length where the activation
    is homogeneous, are ``a b / (a + b) |u - w|^2`` apart: what their mean loses (Ward 1963).

    Parameters
    ----------
    student : Parameters
        Of one output.
    activation : Activation
    count : int
        At least one; more are left where signs differ.

    Returns
    -------
    Parameters
    """
    rows, v, degree = student.rows, student.output_weights, activation.degree
    if activation.parity == "odd":
        rows, v = np.where((v < 0)[:, None], -rows, rows), np.abs(v)
    length = np.maximum(lengths(rows), 1e-300)
    size, sign = np.abs(v) * length ** (degree or 1), np.where(v < 0, -1.0, 1.0)
    if degree is not None:
        rows = rows / length[:, None]
    order = np.argsort(-size, kind="stable")
    order = order[: max(count, int((size > _NOTHING * size.max()).sum()))]
    rows, size, sign = rows[order], size[order], sign[order]
    while len(size) > count:
        square = np.einsum("ij,ij->i", rows, rows)
        apart = square[:, None] + square - 2.0 * (rows @ rows.T)
        loss = np.multiply.outer(size, size) / np.maximum(np.add.outer(size, size), 1e-300) * apart
        loss[sign[:, None] != sign] = np.inf
        np.fill_diagonal(loss, np.inf)
        i, j = np.unravel_index(int(np.argmin(loss)), loss.shape)
        if not np.isfinite(loss[i, j]):
            break
        together = size[i] + size[j]
        row = (size[i] * rows[i] + size[j] * rows[j]) / max(together, 1e-300)
        if degree is not None:
            shrunk = max(float(np.linalg.norm(row)), 1e-300)
            row, together = row / shrunk, together * shrunk**degree
        rows[i], size[i] = row, together
        rows, size, sign = (np.delete(each, j, axis=0) for each in (rows, size, sign))
    v = sign * size / (1.0 if degree is not None else np.maximum(lengths(rows), 1e-300))
    if degree is not None:
        half = size ** (1.0 / (degree + 1))  # the two layers weigh about the same
        rows, v = rows * half[:, None], sign * half
    return replace(student.with_rows(rows), output_weights=v)
