"""Calls drawn from a grammar of good and bad arguments: each ends in a sound result, or in an error that helps.

Whatever is drawn, there is only ValueError or TypeError, whose message names an argument, and only warnings that are
documented; nothing converges to numbers that are not finite, no budget is far exceeded, and a call that is repeated
gives the same bits.  ``make fuzz N=100000`` draws more than the 200 calls of a test run.
"""

from __future__ import annotations

import inspect
import os
import re
import warnings
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastrecover as fr
from fastrecover.activations import NAMES, Activation
from fastrecover.papers import PRESETS
from fastrecover.solvers import GaussNewton, OnLandscape, StochasticGradientDescent
from fastrecover.sources import BlockSource
from fastrecover.starts import StartError

CALLS = int(os.environ.get("FASTRECOVER_FUZZ") or 200)
#: Passes above the budget: a sweep that has begun ends, and what there is then is judged.
SLACK = 40
BOUNDED = settings(
    max_examples=CALLS,
    deadline=None,
    derandomize=CALLS == 200,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
ARGUMENTS = re.compile(
    r"\b(X|y|Y|sample_weight|"
    + "|".join({*inspect.signature(fr.fit).parameters, "output_weights", "fit_intercept", "linear_term", "slope"})
    + r"|n_patches|activation|features|units|rows)\b"
)


class Raised(Exception):
    """What a callback of the user raises: it must arrive as it is."""


SOFTSIGN = Activation.from_functions(lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)


def _mostly(good: list[Any], bad: list[Any]) -> st.SearchStrategy[Any]:
    """One of the good values, and in one of eight calls a bad one."""
    return st.integers(0, 7).flatmap(lambda i: st.sampled_from(bad if i == 7 and bad else good))


SCALES = [1.0, 1e-3, 1e3, 1e-8, 1e8, 1e-160, 1e30, 1e150, 5e-324]
LAYOUTS = {
    "plain": lambda x: x,
    "columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1],
    "cut": lambda x: np.concatenate([x, x], axis=1)[:, : x.shape[1]],
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: np.clip(x, -6e4, 6e4).astype(np.float16),
    "swapped": lambda x: x.astype(">f8"),
    "list": lambda x: x.tolist(),
    "source": lambda x: BlockSource(lambda start, stop: x[start:stop], *x.shape),
}
SHAPES = {  # of rows that are wrong altogether
    "vector": lambda x: x[:, 0],
    "cube": lambda x: x[None],
    "empty": lambda x: x[:0],
    "no columns": lambda x: x[:, :0],
    "text": lambda x: x.astype(str),
    "objects": lambda x: x.astype(object),
    "complex": lambda x: x + 1j,
    "nothing": lambda x: None,
    "ragged": lambda x: [[1.0], [1.0, 2.0]],
}


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    """Rows, and the same as a caller may hold them."""
    n, d = draw(st.integers(1, 40) | st.integers(40, 200)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "normal", "heavy", "binary", "integers"]))
    x = {
        "normal": lambda: rng.standard_normal((n, d)),
        "heavy": lambda: rng.standard_t(1.5, (n, d)),
        "binary": lambda: rng.integers(0, 2, (n, d)).astype(float),
        "integers": lambda: rng.integers(-3, 4, (n, d)).astype(float),
    }[kind]()
    x = x * draw(_mostly([1.0, 1.0, 3.0], SCALES))
    spoiled = draw(_mostly(["no"], ["constant", "twice", "shifted", "column", "entry", "entry"]))
    if spoiled == "constant":
        x[:, 0] = 1.0
    elif spoiled == "twice":
        x[:, -1] = x[:, 0]
    elif spoiled == "shifted":
        x += 10.0 ** draw(st.integers(1, 9))
    elif spoiled == "column":
        x[:, 0] *= draw(st.sampled_from(SCALES))
    elif spoiled == "entry":
        x[rng.integers(n), rng.integers(d)] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 1e36, 1e20]))
    held = draw(_mostly([LAYOUTS["plain"], *LAYOUTS.values()], list(SHAPES.values())))
    with np.errstate(all="ignore"):
        return x, held(x)


@st.composite
def responses(draw: st.DrawFn, x: np.ndarray) -> Any:
    """Responses of a network, noise, labels, and what is neither."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        z = x @ rng.standard_normal((x.shape[1], 2))
        network = np.maximum(z, 0).sum(axis=1)
        labels = (z[:, 0] > 0).astype(float)
        kinds = {
            "network": network,
            "noisy": network + rng.standard_normal(len(x)),
            "squares": (z**2).sum(axis=1),
            "noise": rng.standard_normal(len(x)),
            "labels": labels,
            "names": np.where(labels > 0, "yes", "no"),
        }
        wrong = {
            "constant": np.ones(len(x)),
            "three": rng.integers(0, 3, len(x)).astype(str),
            "nan": np.append(network[1:], np.nan),
            "long": np.append(network, 0.0),
            "column": network[:, None],
            "matrix": np.stack([network, network], axis=1),
            "none": None,
            "text": "y",
            "big": network * draw(st.sampled_from(SCALES)),
            "list": network.tolist(),
            "booleans": labels > 0,
        }
        return draw(_mostly(list(kinds.values()), list(wrong.values())))


@st.composite
def sample_weights(draw: st.DrawFn, n: int) -> Any:
    """None mostly."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    good = [None, None, np.ones(n), rng.random(n), rng.integers(0, 2, n), rng.random(n) * draw(st.sampled_from(SCALES))]
    return draw(_mostly(good, [np.zeros(n), -np.ones(n), np.full(n, np.nan), np.ones(n + 1), "w", np.ones((n, 2))]))


def _callback(kind: str) -> Any:
    """A fresh callback, since some count."""
    left = iter(range(3))

    def raising(line: dict[str, Any]) -> None:
        if next(left, None) is None:
            raise Raised

    return {
        "none": None,
        "stops": lambda line: next(left, None) is None,
        "raises": raising,
        "answers": lambda line: "no",
        "wrong": 3,
    }[kind]


OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "inputs": _mostly(["auto", "whiten", "gaussian"], ["white", 3]),
    "n_jobs": _mostly([None, 1, 2, -1], [0, 1.5, "all"]),
    "tol": _mostly([None, 1e-3, 1e-8, 1.0], [0.0, -1.0, np.nan, "a"]),
    "solver": _mostly(
        ["auto", "auto", "gauss-newton", "lbfgs", "gd", "sgd", "resampled-gd", "pncg", GaussNewton()]
        + [StochasticGradientDescent(0.1, 16, 20), OnLandscape(StochasticGradientDescent(0.1, 64, 10))],
        ["newton", 3, None],
    ),
    "output_weights": _mostly(["ones", "signs", "free"], ["two", [1.0], [1.0, np.nan], 3]),
    "fit_intercept": _mostly([True, False], ["yes", 2]),
    "linear_term": _mostly([True, False], ["yes", 2]),
    "slope": _mostly([0.1, 0.5], [1.0, np.nan, "a"]),
    "n_patches": _mostly([1, 2], [0, "a"]),
    "restarts": _mostly(["auto", 1, 3], [0, -1, 1.5, "many"]),
    "max_seconds": _mostly([10.0, 0.2], [0.0, -1.0, np.nan, "a"]),
    "verbose": _mostly([0], ["loud"]),
}
KNOWN = {name for name in OPTIONS if name in inspect.signature(fr.fit).parameters} | {
    "output_weights",
    "fit_intercept",
    "linear_term",
    "slope",
    "n_patches",
}


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of ``fit``; those of ``max_passes`` and ``callback`` always, others now and then."""
    x, held = draw(rows())
    k = draw(_mostly([1, 2, 2, 3], [0, -1, 2.5, None, "auto", "some", 50]))
    model = draw(
        _mostly([*NAMES, *PRESETS, "fcn", "cnn", SOFTSIGN], ["reul", 3, None, fr.models.Regression("tanh", 2)])
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (k if isinstance(k, int) and k > 0 else 1, x.shape[1])
    inits = ["auto", "auto", "tensor", "tensor-published", "landscape", "spectral", "message-passing"]
    inits += ["expand", "random"]
    inits += [rng.standard_normal(size), np.zeros(size), 1e8 * rng.standard_normal(size)]
    call = {
        "X": held,
        "y": draw(responses(x)),
        "model": model,
        "n_hidden": k,
        "sample_weight": draw(sample_weights(len(x))),
        "init": draw(_mostly(inits, [np.full(size, np.nan), np.ones((7, 7)), "tensr", None, 3])),
        "random_state": draw(_mostly([0, 1], [-1, "a", None])),
        "max_passes": draw(_mostly([1, 5, 20, 20, 60], [0, -1, np.nan, "a"])),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(KNOWN)), max_size=3))
    return call | {name: draw(OPTIONS[name]) for name in sorted(chosen)}


def heard(call: Any, *args: Any, **options: Any) -> tuple[Any, list[Any]]:
    """What a call returns, or the error that it ended with, and its warnings, which must be documented ones."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            result = call(*args, **options)
        except (ValueError, TypeError, FileNotFoundError) as error:
            result = error
    for one in told:
        assert issubclass(one.category, UserWarning), (
            f"{one.category.__name__} at {one.filename}:{one.lineno}: {one.message}"
        )
    if isinstance(result, FileNotFoundError):  # a text is the path of a file
        assert "does not exist" in str(result)
    elif isinstance(result, Exception):
        assert type(result) in (ValueError, TypeError, StartError), repr(result)
        assert ARGUMENTS.search(str(result)), f"names no argument: {result!r}"
    return result, told


def bits(rec: fr.Recovery) -> tuple[Any, ...]:
    """All that a fit found."""
    return bits_of(rec.parameters.flat(), rec.loss, rec.n_passes), rec.converged, rec.message


def bits_of(*numbers: Any) -> bytes:
    """Equal also where numbers are nan."""
    return b"".join(np.asarray(a, np.float64).tobytes() for a in numbers)


@BOUNDED
@given(calls(), st.sampled_from(["none", "none", "none", "stops", "raises", "answers", "wrong"]), st.booleans())
def test_every_call_of_fit_ends_well(call: dict[str, Any], callback: str, twice: bool) -> None:
    try:
        rec, told = heard(fr.fit, **call, callback=_callback(callback))
    except Raised:
        assert callback == "raises"
        return
    if isinstance(rec, Exception):
        return
    finite = np.isfinite(rec.parameters.flat()).all() and np.isfinite(rec.loss)
    assert finite or not rec.converged, rec.message
    assert rec.converged or any(isinstance(one.message, fr.ConvergenceWarning) for one in told)
    assert rec.n_passes <= call["max_passes"] + SLACK, f"{rec.n_passes:.0f} passes: {rec.message}"
    assert not (rec.converged and "callback" in rec.message)
    if twice and call["random_state"] is not None:
        again, _ = heard(fr.fit, **call, callback=_callback(callback))
        assert bits(again) == bits(rec)
    f, _ = heard(rec.predict, call["X"])
    assert isinstance(f, Exception) or len(f) == len(call["X"])


@BOUNDED
@given(calls())
def test_every_objective_and_prediction_is_finite_or_refused(call: dict[str, Any]) -> None:
    names = ("output_weights", "fit_intercept", "linear_term", "slope", "n_patches", "n_jobs")
    options = {name: call[name] for name in names if name in call}
    given = {name: call[name] for name in ("X", "y", "model", "n_hidden", "sample_weight")}
    objective, _ = heard(fr.objective, **given, **options)
    if isinstance(objective, Exception):
        return
    theta = np.random.default_rng(0).standard_normal(objective.n_parameters)
    (value, grad), _ = heard(objective.value_and_grad, theta)
    assert grad.shape == theta.shape
    assert bits_of(value, grad) == bits_of(*objective.value_and_grad(theta))


_SAVED: dict[str, bytes] = {}


def _saved(folder: Any) -> bytes:
    if "bytes" not in _SAVED:
        x, y = fr.datasets.make_teacher("relu", 3, 2).sample(100, random_state=0)
        fr.fit(x, y, "relu", 2, random_state=0).save(folder / "rec")
        _SAVED["bytes"] = (folder / "rec").read_bytes()
    return _SAVED["bytes"]


@BOUNDED
@given(st.data())
def test_a_damaged_file_is_a_value_error(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    saved = bytearray(_saved(folder))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(saved) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change":
            saved[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del saved[at : at + data.draw(st.integers(1, 50))]
        else:
            saved[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    (folder / "damaged").write_bytes(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rec = fr.load(folder / "damaged")
        except ValueError as error:
            assert "damaged" in str(error)
        else:
            assert np.isfinite(rec.parameters.flat()).all()
