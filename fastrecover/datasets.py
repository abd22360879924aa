"""Planted networks and data drawn from them.

Every block of rows has its own random stream, told apart by its number, so a sample does not depend on how
many threads drew it, and a shorter sample is the beginning of a longer one.  Rows can be drawn straight into
a memory map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ._typing import RandomState
from .activations import Activation
from .engines.threads import resolve_jobs
from .models import ModelOptions, Network, OutputWeights, Parameters, get_model
from .models.views import ParameterViews
from .prediction import is_sweepable, predict
from .random import Stream, generator, seed_sequence, stream

__all__ = ["Teacher", "make_teacher"]

_NUMBERS_IN_BLOCK = 1 << 16
_INPUTS = ("gaussian", "uniform")
_N_HIDDEN = 5  # units where nobody says how many


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
        ``intercept`` float.

    Raises
    ------
    ValueError
        If the shapes contradict each other or the model.
    """

    model: Network
    parameters: Parameters

    def __post_init__(self) -> None:
        k, p = self.model.n_hidden, self.parameters
        w, v = p.weights, p.output_weights
        if w.ndim != 2 or len(w) != k:
            raise ValueError(f"parameters: weights must have shape ({k}, n_features), got {w.shape}")
        if v.shape != (k,):
            raise ValueError(f"parameters: output_weights must have shape ({k},), got {v.shape}")
        if p.linear is not None and p.linear.shape != w.shape[1:]:
            raise ValueError(f"parameters: linear must have shape {w.shape[1:]}, got {p.linear.shape}")

    def predict(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray:
        """Noise-free output for every row; see :func:`fastrecover.prediction.predict`.

        Parameters
        ----------
        X : array_like (n, n_features)
        n_jobs : int, optional

        Returns
        -------
        ndarray (n,) of float64
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
        """Draw rows and responses ``y = f(x) + noise * N(0, 1)``, or labels 0 and 1 with ``P(y = 1) = f(x)``.

        With the same `random_state` the first rows of a larger sample are the smaller sample, bit for bit,
        and float32 rows are the float64 rows rounded.

        Parameters
        ----------
        n : int
            Number of rows.
        noise : float
            Standard deviation of the noise; must be 0 for a classification, whose labels are random anyway.
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
        y : ndarray (n,) of float64
            Of the rows as stored, so exact also for float32 rows.

        Raises
        ------
        TypeError, ValueError
            For counts, names, types or shapes that make no sense.
        """
        n, noise = _count("n", n), self._noise(noise)
        if inputs not in _INPUTS:
            raise ValueError(f"inputs must be one of {', '.join(_INPUTS)}, got {inputs!r}")
        x = _destination(out, (n, self.n_features), dtype)
        root, y = seed_sequence(random_state), np.zeros(n)
        step = max(1, _NUMBERS_IN_BLOCK // self.n_features)

        def draw(block: int) -> None:
            rows = slice(block * step, min((block + 1) * step, n))
            _draw_rows(generator(root, Stream.ROWS, block), inputs, x[rows])
            rng = generator(root, Stream.NOISE, block)
            if self.model.loss.takes_labels:
                y[rows] = rng.random(y[rows].size)
            elif noise:
                y[rows] = noise * rng.standard_normal(y[rows].size)

        blocks = range(-(-n // step))
        threads = min(resolve_jobs(n_jobs), len(blocks))
        if threads == 1:
            for block in blocks:
                draw(block)
        else:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(draw, blocks):
                    pass
        f = self.predict(x, n_jobs)
        return x, (y < f).astype(np.float64) if self.model.loss.takes_labels else y + f

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
        if noise and self.model.loss.takes_labels:
            raise ValueError(f"noise must be 0 for a classification, whose labels are random, got {noise}")
        return noise

    def __repr__(self) -> str:
        return f"<Teacher {self.model.activation.name}: {self.n_hidden} units, {self.n_features} features>"


def make_teacher(
    model: str | Activation | Network = "relu",
    n_features: int = 50,
    n_hidden: int | None = None,
    condition_number: float = 2.0,
    output_weights: OutputWeights | None = None,
    norms: ArrayLike | None = None,
    intercept: float = 0.0,
    linear_term: bool | ArrayLike | None = None,
    slope: float | None = None,
    random_state: RandomState = 0,
    n_patches: int | None = None,
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
        default what a model object asks for, otherwise "signs".  Odd activations and those like the sigmoid, whose
        signs are not identifiable, get "ones" in place of "signs".
    norms : array_like (n_hidden,) or float, optional
        Lengths that the rows are rescaled to.
    intercept : float
        c; not zero only where a model object fits an intercept.
    linear_term : bool, float or array_like (n_features,), optional
        The linear term: True for a random vector of length 1, a number for its length, or the vector itself.
        By default none, unless a model object has one.
    slope : float, optional
        Negative-side slope of ``leaky_relu``.
    random_state : int, SeedSequence, Generator or None
    n_patches : int, optional
        Patches of model ``cnn``.

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
    intercept = _number("intercept", intercept)
    root = seed_sequence(random_state)
    rng = [generator(root, Stream.TEACHER, purpose) for purpose in range(3)]

    shape = _shape_of(model, n_hidden, output_weights, slope, n_patches)
    wanted = linear_term if linear_term is not None else isinstance(model, Network) and model.linear_term
    linear = _linear(wanted, d, rng[2])
    for name, given, allowed in (
        ("intercept", intercept != 0.0, shape.fit_intercept),
        ("linear_term", linear is not None, shape.linear_term),
    ):
        if isinstance(model, Network) and given and not allowed:
            raise ValueError(f"{name} is given, but the model object has none")
    shape = shape.changed(fit_intercept=shape.fit_intercept or intercept != 0.0, linear_term=linear is not None)
    weights = _weights(shape.n_hidden, shape.filter_length(d), kappa, norms, rng[0])
    return Teacher(shape, Parameters(weights, _output_weights(shape, rng[1]), linear, intercept))


def _shape_of(
    model: str | Activation | Network,
    n_hidden: int | None,
    output_weights: OutputWeights | None,
    slope: float | None,
    n_patches: int | None,
) -> Network:
    labelled = isinstance(model, str) and model in ("fcn", "cnn")
    if labelled and (output_weights is not None or slope is not None):
        raise TypeError(f"output_weights and slope do not apply to model {model!r}")
    if not labelled and n_patches is not None:
        raise TypeError("n_patches applies to model 'cnn' only")
    if isinstance(model, Network):
        if slope is not None:
            raise TypeError("slope cannot be combined with a model object")
        model = get_model(model, n_hidden)
        return model if output_weights is None else model.with_output_weights(output_weights)
    options: ModelOptions = {}
    # Signs are what a name gets by default, where they can be told.
    if output_weights is not None and not (isinstance(output_weights, str) and output_weights == "signs"):
        options["output_weights"] = output_weights
    if slope is not None:
        options["slope"] = slope
    if n_patches is not None:
        options["n_patches"] = n_patches
    return get_model(model, _N_HIDDEN if n_hidden is None and model != "cnn" else n_hidden, **options)


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
    signs = rng.choice([-1.0, 1.0], model.n_hidden)
    return signs * rng.uniform(0.5, 2.0, model.n_hidden) if model.free_v else signs


def _linear(value: bool | ArrayLike | None, d: int, rng: np.random.Generator) -> np.ndarray | None:
    if value is None or value is False:
        return None
    if isinstance(value, Real):
        direction = rng.standard_normal(d)
        return direction * (_number("linear_term", float(value), 0.0) / np.linalg.norm(direction))
    try:
        vector = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"linear_term must be a bool, a number or {d} numbers, got {value!r}") from None
    if vector.shape != (d,) or not np.isfinite(vector).all():
        raise ValueError(f"linear_term must be {d} finite numbers, got shape {vector.shape}")
    return vector


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
