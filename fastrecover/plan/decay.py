"""Starts from wide students under weight decay, whose units are then merged, step by step, down to the model's number.

Few rows leave a student with units to spare much that fits them and is no teacher.  Under a decay of both layers,
``lambda (r^2 |w|^2 + v^2) / 2`` for a unit and r the share of one of k units in the deviation of the responses, a
homogeneous unit costs ``lambda r |v| |w|`` at its cheapest: decay is a lasso over all units there could be (Neyshabur,
Tomioka and Srebro, arXiv 1412.6614; Bach, arXiv 1412.8690), and of the networks that fit it prefers one of few units.
Bounded units are kept from saturating by the same term.  A student several times as wide as the teacher then goes to
nearly the same place from everywhere: each unit of the teacher appears as a cluster of its units.  Merging the nearest
of them (Ward 1963) and training between, while the decay still holds, keeps what selecting one unit of each would lose.

Where ``phi(z) - phi(-z) = s z`` a unit may be reversed beside a linear term: a student that has one is spared the
choice of orientations, which the linear term of the network it leads to then tells, all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..activations import Activation
from ..engines import Engine
from ..models import Network, Parameters
from ..models.parameters import lengths
from ..starts import anchors
from .pruning import pruned
from .students import new_weights, random_network
from .training import trained

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
    v, share = np.sign(new_weights(model, width, rng)), deviation / np.sqrt(width)
    if model.activation.degree == 2:
        size = float(np.sqrt(_LIGHT * share))
    else:  # rows of bounded units begin where these bend
        size, outer = (1.0, 1.0) if model.activation.degree is None else (_LIGHT / np.sqrt(width), _HEAVY)
        v = v * (outer * share)
    return random_network(model, v, size, engine.shape[1], rng, anchors(engine, model, rng))


def multiplied(
    found: Parameters, engine: Engine, model: Network, copies: int, away: float, rng: np.random.Generator
) -> Parameters:
    """A student that begins at a network: each unit in so many copies that share what it does, each turned a little.

    Parameters
    ----------
    found : Parameters
        With one output.
    engine : Engine
    model : Network
        Whose number of units it has.
    copies : int
    away : float
        Expected length of what is added to a row, relative to it.
    rng : Generator

    Returns
    -------
    Parameters
        Homogeneous units have rows as long as they were, and a decay weighs their layers alike.
    """
    rows, v = np.repeat(found.rows, copies, axis=0), np.repeat(found.output_weights, copies)
    degree, size = model.activation.degree, np.maximum(lengths(rows), 1e-300)
    rows = rows / size[:, None]
    rows = rows + rng.standard_normal(rows.shape) * (away / np.sqrt(rows.shape[1]))
    if degree is None:
        return replace(found.with_rows(rows * size[:, None]), output_weights=v / copies)
    effect = np.abs(v) * size**degree / copies
    share = np.sqrt(engine.response_variance() / model.n_hidden)
    size = np.sqrt(effect / share) if degree == 1 else effect ** (1.0 / degree)
    v = np.sign(v) * (share * size if degree == 1 else 1.0)
    return replace(found.with_rows(rows * (size / np.maximum(lengths(rows), 1e-300))[:, None]), output_weights=v)


def decays_of(engine: Engine, model: Network, rates: Sequence[float] | np.ndarray) -> np.ndarray:
    """Coefficients of the decay of students, (len(rates), 2).

    Output weights are free, but for an activation of degree two, whose units of fixed signs cost ``lambda r |w|^2``:
    as much as what they do to the responses, which is what those of degree one cost.

    Parameters
    ----------
    engine : Engine
    model : Network
        That the students are to lead to.
    rates : sequence of float
        lambda of each.

    Returns
    -------
    ndarray (len(rates), 2)
        As for :func:`~fastrecover.plan.training.trained`.
    """
    share = engine.response_variance() / model.n_hidden
    each = [2.0 * np.sqrt(share), 0.0] if model.activation.degree == 2 else [share, 1.0]
    return np.multiply.outer(np.asarray(rates, np.float64), each)


def narrowed(
    engine: Engine,
    model: Network,
    students: Sequence[Parameters],
    decays: np.ndarray,
    *,
    widths: tuple[float, ...],
    between: int,
    iterations: int,
    exact_loss: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[Parameters], np.ndarray]:
    """Networks of the model, trained without decay, and their losses.

    Parameters
    ----------
    engine : Engine
    model : Network
    students : sequence of Parameters
        Of one width.
    decays : ndarray (len(students), 2)
        From :func:`decays_of`: under which they were trained, and are between mergers.
    widths : tuple of float
        Widths in turn, over the model's number of units.
    between, iterations : int
        Of L-BFGS after each merger, and at the end.
    exact_loss : float
        End as soon as a loss is at or below it.
    stop : callable
        Asked before every pass.

    Returns
    -------
    networks : list of Parameters
        With definite output weights.
    losses : ndarray (len(networks),)
    """
    students = list(students)
    for width in widths:
        count = int(np.ceil(width * model.n_hidden))
        if count < len(students[0].rows) and not stop():
            students = [merged(one, model.activation, count) for one in students]
            students = trained(engine, model, students, between, stop=stop, decays=decays)[0]
    networks = [pruned(engine, model, one) for one in students]
    return trained(engine, model, networks, iterations, exact_loss, stop)


def oriented(found: Parameters, activation: Activation) -> Parameters:
    """The network without its linear term: the units that it reversed are turned back.

    Reversing units J adds ``-s sum_J v_j w_j`` to the linear term, so which they are is a problem of least squares
    whose solutions are zeros and ones.

    Parameters
    ----------
    found : Parameters
        Of one output, with a linear term.
    activation : Activation
        With ``phi(z) - phi(-z) = s z``.

    Returns
    -------
    Parameters
    """
    added = -float(activation.odd_slope or 0.0) * found.output_weights[:, None] * found.weights
    share = np.linalg.lstsq(added.T, found.slope, rcond=None)[0]
    rows = np.where((share > 0.5)[:, None], -found.rows, found.rows)
    return replace(found.with_rows(rows), linear=None)


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
        # The two layers weigh about the same, or rows carry all.
        length = size ** (1.0 / (degree + 1 if degree == 1 else degree))
        rows, v = rows * length[:, None], sign * size / length**degree
    return replace(student.with_rows(rows), output_weights=v)
