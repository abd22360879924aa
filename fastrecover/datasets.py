"""Planted networks and data drawn from them.

Every block of rows has its own random stream, told apart by its number, so a sample does not depend on how
many threads drew it, and a shorter sample is the beginning of a longer one.  Rows can be drawn straight into
a memory map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ._typing import RandomState
from .activations import Activation
from .engines.processors import resolve_jobs
from .losses import LOGISTIC, SOFTMAX, Loss
from .models import Network, OutputWeights, Parameters, default_output_weights, get_model
from .models.views import ParameterViews
from .prediction import is_sweepable, predict
from .random import Stream, generator, seed_sequence, stream

__all__ = ["Teacher", "make_teacher"]

_NUMBERS_IN_BLOCK = 1 << 16
_INPUTS = ("gaussian", "uniform")
_N_HIDDEN = 5  # units where nobody says how many
_BIAS = 0.7  # spread of biases in lengths of their rows, where nobody says more
_LARGEST_RATE = 1e18  # of counts that are still exact integers of 64 bits


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Teacher(ParameterViews):
    """A network with known parameters: the truth that a recovery is measured against.

    Parameters
    ----------
    model : Network
        What somebody who fits the data would ask for.
    parameters : Parameters
        ``weights`` (n_hidden, n_features), ``output_weights`` (n_hidden,), ``linear`` (n_features,) or None,
        ``intercept`` float, ``biases`` (n_hidden,) or None; for several outputs ``output_weights`` (n_outputs,
        n_hidden), ``linear`` (n_outputs, n_features), ``intercept`` (n_outputs,).

    Raises
    ------
    ValueError
        If the shapes contradict each other or the model.
    """

    model: Network
    parameters: Parameters

    def __post_init__(self) -> None:
        k, p, outputs = self.model.n_hidden, self.parameters, _outputs(self.model)
        w = p.weights
        if w.ndim != 2 or len(w) != k:
            raise ValueError(f"parameters: weights must have shape ({k}, n_features), got {w.shape}")
        for name, part, shape in (
            ("output_weights", p.output_weights, (*outputs, k)),
            ("biases", p.biases, (k,)),
            ("linear", p.linear, (*outputs, w.shape[1])),
            ("intercept", p.intercept, outputs),
        ):
            if part is not None and np.shape(part) != shape:
                raise ValueError(f"parameters: {name} must have shape {shape}, got {np.shape(part)}")

    def predict(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray:
        """Noise-free output for every row; see :func:`fastrecover.prediction.predict`.

        Outputs are logits of a logistic model, and the argument of the link of counts: ``model.loss.mean`` makes
        probabilities and rates of them.

        Parameters
        ----------
        X : array_like (n, n_features)
        n_jobs : int, optional

        Returns
        -------
        ndarray (n,) or (n, n_outputs) of float64
        """
        return predict(self.model, self.parameters, X, n_jobs)

    def sample(
        self,
        n: int,
        noise: float = 0.0,
        random_state: RandomState = None,
        dtype: DTypeLike = np.float64,
        out: np.ndarray | None = None,
        inputs: str = "gaussian",
        n_jobs: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows and responses ``y = f(x) + noise * N(0, 1)``, or labels or counts that f is a model of.

        Labels are 0 and 1, or 0 to n_outputs - 1 where every class has an output; counts are Poisson.  With the same
        `random_state` the first rows of a larger sample are the smaller sample, bit for bit, and float32 rows are the
        float64 rows rounded.

        Parameters
        ----------
        n : int
            Number of rows.
        noise : float
            Standard deviation of the noise; must be 0 for labels and counts, which are random anyway.
        random_state : int, SeedSequence, Generator or None
        dtype : dtype
            float64 or float32; not used when `out` is given.
        out : ndarray (n, n_features) of float64 or float32, optional
            Array or memory map that receives the rows.
        inputs : {"gaussian", "uniform"}
            Independent features of mean 0 and variance 1.
        n_jobs : int, optional
            Threads; the sample does not depend on it.

        Returns
        -------
        X : ndarray (n, n_features)
            `out` if given.
        y : ndarray (n,) of float64, or (n, n_outputs) for a regression of several outputs
            Of the rows as stored, so exact also for float32 rows.

        Raises
        ------
        TypeError, ValueError
            For counts, names, types or shapes that make no sense, and rates of counts beyond all integers.
        """
        n, noise = _count("n", n), self._noise(noise)
        if inputs not in _INPUTS:
            raise ValueError(f"inputs must be one of {', '.join(_INPUTS)}, got {inputs!r}")
        x = _destination(out, (n, self.n_features), dtype)
        root, step = seed_sequence(random_state), max(1, _NUMBERS_IN_BLOCK // self.n_features)

        def draw(block: int, rows: slice) -> None:
            _draw_rows(generator(root, Stream.ROWS, block), inputs, x[rows])

        _by_blocks(draw, n, step, n_jobs)
        f, loss = self.predict(x, n_jobs), self.model.loss
        y = np.empty(n if loss.takes_labels else f.shape)

        def respond(block: int, rows: slice) -> None:
            y[rows] = _responses(loss, f[rows], noise, generator(root, Stream.NOISE, block))

        _by_blocks(respond, n, step, n_jobs)
        return x, y

    def stream(
        self,
        batch: int,
        noise: float = 0.0,
        random_state: RandomState = None,
        dtype: DTypeLike = np.float64,
        n_jobs: int | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of fresh rows and responses without end, for ``fit`` in place of X.

        Parameters
        ----------
        batch : int
            Rows of each.
        noise, random_state, dtype, n_jobs
            As for :meth:`sample`; with the same `random_state` the batches are the same, one by one.

        Returns
        -------
        iterator of (X, y)
            Every batch in memory of its own.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`sample`, at once.
        """
        batch, noise, wanted = _count("batch", batch), self._noise(noise), _row_type(dtype)
        root = seed_sequence(random_state)
        seeds = (stream(root, Stream.BATCHES, i) for i in count())
        return (self.sample(batch, noise, seed, wanted, n_jobs=n_jobs) for seed in seeds)

    def _noise(self, noise: float) -> float:
        noise = _number("noise", noise, 0.0)
        if noise and not self.model.loss.in_response_units:
            drawn = "a classification, whose labels" if self.model.loss.takes_labels else "a model of counts, which"
            raise ValueError(f"noise must be 0 for {drawn} are random, got {noise}")
        return noise

    def __repr__(self) -> str:
        m = self.model.n_outputs
        outputs = f", {m} outputs" if m > 1 else ""
        return f"<Teacher {self.model.activation.name}: {self.n_hidden} units, {self.n_features} features{outputs}>"


def make_teacher(
    model: str | Activation | Network = "relu",
    n_features: int = 50,
    n_hidden: int | None = None,
    condition_number: float = 2.0,
    output_weights: OutputWeights | None = None,
    norms: ArrayLike | None = None,
    intercept: ArrayLike = 0.0,
    linear_term: bool | ArrayLike | None = None,
    slope: float | None = None,
    random_state: RandomState = 0,
    n_patches: int | None = None,
    hidden_bias: bool | ArrayLike | None = None,
    n_outputs: int | None = None,
    loss: str | Loss | None = None,
    delta: float | None = None,
    link: str | None = None,
) -> Teacher:
    """Plant a random network.

    The weights are ``V diag(linspace(1, kappa, k)) U'`` with U (d, k) and V (k, k) orthonormal from QR of
    Gaussian matrices (Zhong et al., arXiv 1706.03175, experiments).  More units than features cannot have
    such weights; then the rows have independent uniform directions and norms spread evenly over [1, kappa].

    Parameters
    ----------
    model : str, Activation or Network
        A name of ``fastrecover.models.NAMES``, an activation, or a model object.
    n_features : int
        d.
    n_hidden : int, optional
        k; by default 5, or that of a model object.
    condition_number : float
        kappa >= 1, ratio of the largest to the smallest singular value of the weights.
    output_weights : {"ones", "signs", "free"} or array_like (n_hidden,), optional
        "signs": fair coins, possibly all alike; "free": a fair sign times a uniform number in [0.5, 2].  By
        default what a model object asks for, otherwise "free" for several outputs, labels and counts, and "signs"
        for others.  Odd activations and those like the sigmoid, whose signs are not identifiable, get "ones" in place
        of "signs".
    norms : array_like (n_hidden,) or float, optional
        Lengths that the rows are rescaled to.
    intercept : float, or array_like (n_outputs,)
        c, a number for all outputs alike; not zero only where a model object fits an intercept.
    linear_term : bool, float or array_like (n_features,) or (n_outputs, n_features), optional
        The linear term: True for a random vector of length 1 (one for each output), a number for its length, or the
        vector itself.  By default none, unless a model object has one.
    slope : float, optional
        Negative-side slope of ``leaky_relu``.
    random_state : int, SeedSequence, Generator or None
    n_patches : int, optional
        Patches of model ``cnn``.
    hidden_bias : bool, float or array_like (n_hidden,), optional
        The units' biases: True for ``0.7 |w_j| N(0, 1)``, a number in place of 0.7, or the biases themselves.  By
        default none, unless a model object has them.
    n_outputs : int, optional
        Outputs that share the units: columns of y or, under a logistic loss, three classes and more.  By default those
        of a model object, otherwise 1.
    loss : {"squared", "huber", "logistic", "poisson"}, optional
        With a name or an activation, as for :func:`fastrecover.fit`: what somebody who fits the data would ask for, and
        for "logistic" and "poisson" what is drawn, labels or counts.
    delta : float, optional
        Of loss "huber".
    link : {"log", "softplus"}, optional
        Of loss "poisson".

    Returns
    -------
    Teacher

    Raises
    ------
    TypeError, ValueError
        For unknown names, wrong shapes, numbers out of range, or options that contradict a model object.

    Examples
    --------
    >>> teacher = make_teacher("relu", n_features=4, n_hidden=2, condition_number=3.0)
    >>> teacher.weights.shape
    (2, 4)
    """
    d = _count("n_features", n_features)
    kappa = _number("condition_number", condition_number, 1.0)
    root = seed_sequence(random_state)
    rng = [generator(root, Stream.TEACHER, purpose) for purpose in range(4)]

    options = {"slope": slope, "n_patches": n_patches, "loss": loss, "delta": delta, "link": link}
    shape = _shape_of(model, n_hidden, output_weights, n_outputs, options)
    outputs, given = _outputs(shape), isinstance(model, Network)
    linear = _linear(given and shape.linear_term if linear_term is None else linear_term, (*outputs, d), rng[2])
    c = _intercept(intercept, outputs)
    spread = given and shape.hidden_bias if hidden_bias is None else hidden_bias
    has = {"intercept": bool(np.any(c)), "linear_term": linear is not None, "hidden_bias": spread is not False}
    may = {"intercept": shape.fit_intercept, "linear_term": shape.linear_term, "hidden_bias": shape.hidden_bias}
    for name in has:
        if given and has[name] and not may[name]:
            raise ValueError(f"{name} is given, but the model object has none")
    shape = shape.changed(
        fit_intercept=shape.fit_intercept or has["intercept"],
        linear_term=has["linear_term"],
        hidden_bias=has["hidden_bias"],
    )
    weights = _weights(shape.n_hidden, shape.filter_length(d), kappa, norms, rng[0])
    biases = _biases(spread, weights, rng[3]) if shape.hidden_bias else None
    return Teacher(shape, Parameters(weights, _output_weights(shape, rng[1]), linear, c, biases=biases))


def _shape_of(
    model: str | Activation | Network,
    n_hidden: int | None,
    output_weights: OutputWeights | None,
    n_outputs: int | None,
    options: dict[str, Any],
) -> Network:
    chosen: Any = {name: value for name, value in options.items() if value is not None}
    labelled = isinstance(model, str) and model in ("fcn", "cnn")
    if labelled and (output_weights is not None or chosen.keys() - {"n_patches"}):
        raise TypeError(f"output_weights, slope, loss, delta and link do not apply to model {model!r}")
    if not labelled and "n_patches" in chosen:
        raise TypeError("n_patches applies to model 'cnn' only")
    m = None if n_outputs is None else _count("n_outputs", n_outputs)
    if isinstance(model, Network):
        if chosen:
            raise TypeError(f"{' and '.join(chosen)} cannot be combined with a model object")
        found = get_model(model, n_hidden)
        return _with_outputs(found if output_weights is None else found.with_output_weights(output_weights), m)
    signs = isinstance(output_weights, str) and output_weights == "signs"
    if m not in (None, 1) and output_weights is None and not labelled:
        chosen["output_weights"] = "free"
    elif output_weights is not None and not signs:
        chosen["output_weights"] = output_weights
    found = get_model(model, _N_HIDDEN if n_hidden is None and model != "cnn" else n_hidden, **chosen)
    if signs:  # where they can be told
        found = found.with_output_weights(default_output_weights(found.activation))
    return _with_outputs(found, m)


def _with_outputs(model: Network, m: int | None) -> Network:
    if m is None or m == model.n_outputs:
        return model
    if model.n_outputs > 1:
        raise ValueError(f"n_outputs={m} contradicts the model's n_outputs={model.n_outputs}")
    if model.loss == LOGISTIC:
        if m == 2:
            raise ValueError("n_outputs must be 1 for two classes, which one logit tells apart, or 3 and more, got 2")
        return model.changed(n_outputs=m, loss=SOFTMAX)
    if model.loss.several_outputs is False:
        raise ValueError(f"n_outputs must be 1 under the {model.loss.name} loss, got {m}")
    return model.changed(n_outputs=m)


def _outputs(model: Network) -> tuple[int, ...]:
    """Shape of one row of responses, and of what belongs to every output."""
    return (model.n_outputs,) if model.n_outputs > 1 else ()


def _weights(k: int, d: int, kappa: float, norms: ArrayLike | None, rng: np.random.Generator) -> np.ndarray:
    if k <= d:
        u = np.linalg.qr(rng.standard_normal((d, k)))[0]
        v = np.linalg.qr(rng.standard_normal((k, k)))[0]
        weights = (v * np.linspace(1.0, kappa, k)) @ u.T
    else:
        weights = _with_norms(rng.standard_normal((k, d)), rng.permutation(np.linspace(1.0, kappa, k)))
    if norms is None:
        return weights
    try:
        lengths = np.broadcast_to(np.asarray(norms, np.float64), (k,))
    except (TypeError, ValueError):
        raise ValueError(f"norms must be a number or {k} numbers, got {norms!r}") from None
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("norms must be finite and positive")
    return _with_norms(weights, lengths)


def _with_norms(weights: np.ndarray, norms: np.ndarray) -> np.ndarray:
    return weights * (norms / np.linalg.norm(weights, axis=1))[:, None]


def _output_weights(model: Network, rng: np.random.Generator) -> np.ndarray:
    if model.known_v is not None:
        return model.known_v
    shape = (*_outputs(model), model.n_hidden)
    signs = rng.choice([-1.0, 1.0], shape)
    return signs * rng.uniform(0.5, 2.0, shape) if model.free_v else signs


def _biases(spread: float | ArrayLike, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if not isinstance(spread, Real):
        return _array("hidden_bias", spread, (len(weights),), "a bool, a number or ")
    each = _BIAS if spread is True else _number("hidden_bias", spread, 0.0)
    return each * np.linalg.norm(weights, axis=1) * rng.standard_normal(len(weights))


def _linear(value: bool | ArrayLike, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
    if value is False:
        return None
    if not isinstance(value, Real):
        return _array("linear_term", value, shape, "a bool, a number or ")
    length, directions = _number("linear_term", float(value), 0.0), rng.standard_normal(shape)
    return np.reshape([row * (length / np.linalg.norm(row)) for row in np.atleast_2d(directions)], shape)


def _intercept(value: ArrayLike, outputs: tuple[int, ...]) -> float | np.ndarray:
    if not outputs:
        return _number("intercept", value)
    if isinstance(value, Real):
        return np.full(outputs, _number("intercept", value))
    return _array("intercept", value, outputs, "a number or ")


def _array(name: str, value: ArrayLike, shape: tuple[int, ...], otherwise: str) -> np.ndarray:
    numbers = f"{shape[0]} finite numbers" if len(shape) == 1 else f"finite numbers of shape {shape}"
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {otherwise}{numbers}, got {value!r}") from None
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"{name} must be {numbers}, got shape {found.shape}")
    return found


def _destination(out: np.ndarray | None, shape: tuple[int, int], dtype: DTypeLike) -> np.ndarray:
    if out is None:
        return np.empty(shape, _row_type(dtype))
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array or memory map, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if not is_sweepable(out) or not out.flags.writeable:
        raise ValueError("out must be a writeable float64 or float32 array with adjacent columns in memory")
    return out


def _row_type(dtype: DTypeLike) -> np.dtype:
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float64 or float32, got {dtype!r}") from None
    if wanted not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float64 or float32, got {wanted}")
    return wanted


def _by_blocks(work: Callable[[int, slice], None], n: int, step: int, n_jobs: int | None) -> None:
    """Call `work` for every block of `step` of n rows, by its number and its rows."""

    def one(block: int) -> None:
        work(block, slice(block * step, min((block + 1) * step, n)))

    blocks = range(-(-n // step))
    threads = min(resolve_jobs(n_jobs), len(blocks))
    if threads == 1:
        for block in blocks:
            one(block)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(one, blocks):
                pass


def _responses(loss: Loss, f: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """What is seen of some outputs: with noise, or labels or counts of their expected value."""
    if loss.in_response_units:
        return f + (noise * rng.standard_normal(f.shape) if noise else 0.0)
    mean = loss.mean(f)
    if loss.takes_labels:
        drawn = rng.random(len(f))
        return drawn < mean if f.ndim == 1 else (mean.cumsum(axis=1)[:, :-1] <= drawn[:, None]).sum(axis=1)
    if not (mean <= _LARGEST_RATE).all():
        raise ValueError(
            f"the teacher's counts have rates up to {mean.max():.3g}: give smaller norms or another intercept, or use "
            "link='softplus'"
        )
    return rng.poisson(mean)


def _draw_rows(rng: np.random.Generator, inputs: str, x: np.ndarray) -> None:
    direct = x.dtype == np.float64 and x.flags.c_contiguous
    rows = x if direct else np.empty(x.shape)
    if inputs == "gaussian":
        rng.standard_normal(out=rows)
    else:
        rng.random(out=rows)
        rows -= 0.5
        rows *= math.sqrt(12.0)
    if not direct:
        x[:] = rows


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def _number(name: str, value: object, least: float = -math.inf) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or value < least:
        bound = "" if least == -math.inf else f" and at least {least:g}"
        raise ValueError(f"{name} must be finite{bound}, got {value!r}")
    return float(value)
