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

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..starts import StartError, anchors, network, with_kinks
from .pruning import pruned
from .training import trained

_FILL = 0.8  # parameters of the widest student over rows: one that can interpolate carries no information
_TINY = 0.05  # size of a new unit, relative to a typical one
_PATIENCE = 2  # rounds without a gain after which a chain makes room
_GAIN = 0.01  # relative decrease of the loss that counts as one
_POLISHED = 8  # one chain in so many is carried on each round, so that an exact fit is reached and seen


@dataclass(frozen=True, eq=False)
class Chains:
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

    @classmethod
    def none(cls) -> Chains:
        """No network yet."""
        return cls((), np.zeros(0), np.zeros(0, int))

    def __len__(self) -> int:
        return len(self.parameters)

    @classmethod
    def of(cls, parameters: Sequence[Parameters], losses: np.ndarray) -> Chains:
        """Networks in any order."""
        return _sorted(parameters, losses, np.zeros(len(losses), int))

    def joined(self, parameters: Parameters, loss: float) -> Chains:
        """With one more network."""
        return _sorted((*self.parameters, parameters), np.append(self.losses, loss), np.append(self.failures, 0))

    def without_first(self) -> Chains:
        """All but the best of them."""
        return Chains(self.parameters[1:], self.losses[1:], self.failures[1:])


def expanded_starts(
    engine: Engine,
    model: Network,
    rng: np.random.Generator,
    *,
    count: int = 32,
    width: int | None = None,
    scale: float = 0.7,
    iterations: int = 100,
    exact_loss: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Chains:
    """Train `count` wide students from random rows, prune each to the model's units and train it again.

    A quadratic network's student has as many rows as there are features (of each sign, where both occur) and
    starts from small rows; its pruning keeps the leading eigenvalues of ``M = W' diag(v) W``.

    Parameters
    ----------
    engine : Engine
    model : Network
        A regression.
    rng : Generator
    count : int
        Students, trained side by side.
    width : int, optional
        Units of a student; the model's own number gives plain random chains.  By default twice as many, or as
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
    Chains

    Raises
    ------
    TypeError, ValueError
        A classification or a convolutional network, counts below one, a width below the model's.
    """
    _check(model, count=count, iterations=iterations)
    n, d = engine.shape
    k, quadratic = model.n_hidden, model.activation.is_quadratic
    if width is None:
        # Rows enough for any M: its rank then limits nothing, and the landscape has no wrong turns.
        width = max(d * len(set(_signs(model))), k + 1) if quadratic else k + default_extra(n, d, k, most=k)
    elif isinstance(width, bool) or not isinstance(width, (int, np.integer)):
        raise TypeError(f"width must be an integer or None, got {width!r}")
    elif width < k:
        raise ValueError(f"width must be at least the model's n_hidden={k}, got {width}")
    if quadratic:
        scale = scale * 0.3 / np.sqrt(width)
    size, at = scale * _typical_size(engine, model), anchors(engine, model, rng)
    students = [random_network(model, _student_weights(model, width, rng), size, d, rng, at) for _ in range(count)]
    found, losses = _pruned_and_trained(engine, model, students, iterations, exact_loss, stop)
    return Chains.of(found, losses)


def regrown(
    engine: Engine,
    model: Network,
    chains: Chains,
    rng: np.random.Generator,
    *,
    extra: int = 1,
    scale: float = 0.7,
    iterations: int = 100,
    exact_loss: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Chains:
    """One more round on every start: add tiny units, train, prune, train, and keep what is lower.

    Parameters
    ----------
    engine : Engine
    model : Network
    chains : Chains
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
    Chains
        As many as given.

    Raises
    ------
    TypeError, ValueError
        As :func:`expanded_starts`.
    """
    _check(model, extra=extra, iterations=iterations)
    if not len(chains) or any(len(p.weights) != model.n_hidden for p in chains.parameters):
        raise ValueError(f"chains must hold at least one network, each of n_hidden={model.n_hidden} units")
    d, size, at = engine.shape[1], _typical_size(engine, model), anchors(engine, model, rng)
    stuck = (chains.failures >= _PATIENCE) & (np.arange(len(chains)) > 0)
    before = np.where(stuck, np.inf, chains.losses)
    students = []
    for old, out in zip(chains.parameters, stuck, strict=True):
        if out:
            v = _student_weights(model, model.n_hidden + extra, rng)
            students.append(random_network(model, v, scale * size, d, rng, at))
        else:
            new = random_network(model, new_weights(model, extra, rng), _TINY * size, d, rng, at)
            students.append(_grown(old, new))
    found, losses = _pruned_and_trained(engine, model, students, iterations, exact_loss, stop)
    if len(found) < len(chains):  # ended before all were pruned
        return chains
    failures = np.where(losses < (1.0 - _GAIN) * before, 0, chains.failures + 1)
    for i in np.flatnonzero(~(losses < before)):
        # A chain keeps its minimum unless the new one is lower.
        found[i], losses[i] = chains.parameters[i], chains.losses[i]
    order = np.argsort(losses, kind="stable")
    best = order[: max(1, len(order) // _POLISHED)]
    further, losses[best] = trained(engine, model, [found[i] for i in best], 2 * iterations, exact_loss, stop)
    for i, one in zip(best, further, strict=True):
        found[i] = one
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
    if not model.loss.of_output:
        raise StartError("wide students are pruned by least squares, a classification needs init='tensor' or 'random'")
    if model.n_patches > 1:
        raise StartError("a convolutional network has one filter, there is nothing to prune: use init='tensor'")
    if model.activation.is_quadratic and not model.loss.least_squares:
        raise StartError("wide quadratic students are pruned under the squared loss only: use init='random'")


def _check(model: Network, **counts: int) -> None:
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


def new_weights(model: Network, count: int, rng: np.random.Generator) -> np.ndarray:
    """Output weights of additional units: fair signs, the size of a typical known weight; of several outputs, any."""
    if model.n_outputs > 1:
        return rng.standard_normal((model.n_outputs, count)) / np.sqrt(model.n_outputs)
    known = model.known_v
    return rng.choice(_signs(model), size=count) * (1.0 if known is None else float(np.median(np.abs(known))))


def _student_weights(model: Network, width: int, rng: np.random.Generator) -> np.ndarray:
    """Output weights of a random student: the known ones and more, or signs that leave room for every teacher.

    A teacher with q positive signs out of k fits into a student with p out of k + e if ``q <= p <= q + e``; for
    p drawn evenly from e .. k (half the width where e >= k) each q fits into about as many students.
    """
    known, k, extra = model.known_v, model.n_hidden, width - model.n_hidden
    if model.n_outputs > 1:
        return new_weights(model, width, rng)
    if model.activation.is_quadratic:
        return np.resize(_signs(model), width)
    if known is not None or model.activation.parity == "odd":
        first = np.ones(k) if known is None else known
        return np.concatenate([first, new_weights(model, extra, rng)])
    positive = width // 2 if extra >= k else int(rng.integers(extra, k + 1))
    return np.where(np.arange(width) < positive, 1.0, -1.0)


def _typical_size(engine: Engine, model: Network) -> float:
    """Length of a row with which k unrelated units reach the variance of the responses."""
    degree = model.activation.degree
    if degree is None or not model.loss.in_response_units:
        return 1.0
    v = 1.0 if model.known_v is None else float(np.median(np.abs(model.known_v)))
    unit = v * float(np.abs(model.activation.value(np.array([-1.0, 1.0]))).max())
    return float((np.sqrt(engine.response_variance() / model.n_hidden) / unit) ** (1.0 / degree))


def random_network(
    model: Network, v: np.ndarray, size: float, d: int, rng: np.random.Generator, at: np.ndarray | None
) -> Parameters:
    """Rows of expected length `size`, one for each output weight, with kinks at given rows."""
    weights = rng.standard_normal((v.shape[-1], d)) * (size / np.sqrt(d))
    return with_kinks(network(model, weights, v), at, rng)


def _grown(old: Parameters, new: Parameters) -> Parameters:
    v = np.concatenate([old.output_weights, new.output_weights], axis=-1)
    return replace(old, output_weights=v).with_rows(np.concatenate([old.rows, new.rows]))


def _sorted(parameters: Sequence[Parameters], losses: np.ndarray, failures: np.ndarray) -> Chains:
    order = np.argsort(losses, kind="stable")  # NaN goes last
    return Chains(tuple(parameters[i] for i in order), losses[order], failures[order])


def _pruned_and_trained(
    engine: Engine,
    model: Network,
    students: list[Parameters],
    iterations: int,
    exact_loss: float,
    stop: Callable[[], bool],
) -> tuple[list[Parameters], np.ndarray]:
    wide, losses = trained(engine, model, students, iterations, -1.0, stop)
    if stop():  # to prune one costs a pass
        wide = [wide[int(np.argmin(losses))]]
    narrow: list[Parameters] = []
    for student in wide:
        if narrow and stop():
            break
        narrow.append(pruned(engine, model, student))
    return trained(engine, model, narrow, iterations, exact_loss, stop)
