"""Units of the data decide nothing: every model, every change of units that has a known effect on the answer.

Each change maps the problem, and the truth with it.  The changed fit must converge where the plain one does, find the
mapped truth, and not take twenty times the passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.models import Network, Parameters

D, N = 5, 3000
MODELS = {
    "relu": ("relu", {}),
    "relu free": ("relu", {"output_weights": "free"}),
    "squared_relu": ("squared_relu", {}),
    "leaky_relu with intercept": ("leaky_relu", {"fit_intercept": True}),
    "tanh free": ("tanh", {"output_weights": "free"}),
    "softplus free": ("softplus", {"output_weights": "free", "fit_intercept": True, "linear_term": True}),
    "sigmoid": ("sigmoid", {"output_weights": "ones"}),
    "erf": ("erf", {}),
    "quadratic": ("quadratic", {"output_weights": "signs"}),
    "fcn": ("fcn", {}),
}
SCALABLE = [name for name, (act, options) in MODELS.items() if act not in ("sigmoid", "erf", "fcn")]
RNG = np.random.default_rng(0)
SIZES = 10.0 ** np.array([-6.0, 6.0, 0.0, 3.0, -2.0])
ROTATION = np.linalg.qr(RNG.standard_normal((D, D)))[0]


class Case(NamedTuple):
    """A problem, and what a fit of it should find."""

    X: np.ndarray
    y: np.ndarray
    w: np.ndarray | None
    model: Network
    truth: Parameters


def case(name: str, noise: float = 0.0) -> Case:
    activation, options = MODELS[name]
    given = {"output_weights": [1.0, 1.0]} if activation == "sigmoid" else {}
    teacher = fr.datasets.make_teacher(activation, D, 2, random_state=3, **given)
    v = np.array([1.3, -0.7]) if options.get("output_weights") == "free" else teacher.output_weights
    linear = np.linspace(-1, 1, D) if options.get("linear_term") else None
    truth = replace(
        teacher.parameters, output_weights=v, linear=linear, intercept=0.4 * bool(options.get("fit_intercept"))
    )
    model = (
        fr.models.Classification(2)
        if activation == "fcn"
        else fr.models.Regression(activation, 2, **{"output_weights": "signs", **options})
    )
    X = np.random.default_rng(1).standard_normal((N, D))
    if activation == "fcn":
        truth = replace(truth, weights=2.0 * truth.weights)
        y = (np.random.default_rng(2).random(N) < fr.datasets.Teacher(teacher.model, truth).predict(X)) * 1.0
        return Case(X, y, None, model, truth)
    known = model.changed(output_weights=v, fit_intercept=True, linear_term=linear is not None)
    y = fr.datasets.Teacher(known, truth).predict(X)
    return Case(X, y + noise * np.random.default_rng(2).standard_normal(N), None, model, truth)


def fitted(c: Case, **options) -> fr.Recovery:
    return fr.fit(c.X, c.y, c.model, sample_weight=c.w, random_state=0, n_jobs=1, **options)


def by_columns(c: Case, sizes: np.ndarray) -> Case:
    linear = None if c.truth.linear is None else c.truth.linear / sizes
    return c._replace(X=c.X * sizes, truth=replace(c.truth, weights=c.truth.weights / sizes, linear=linear))


def by_rotation(c: Case) -> Case:
    linear = None if c.truth.linear is None else c.truth.linear @ ROTATION.T
    return c._replace(X=c.X @ ROTATION.T, truth=replace(c.truth, weights=c.truth.weights @ ROTATION.T, linear=linear))


def by_response(c: Case, factor: float) -> Case:
    degree, linear = c.model.activation.degree, c.truth.linear
    truth = replace(c.truth, intercept=c.truth.intercept * factor, linear=None if linear is None else linear * factor)
    if degree is None or c.model.output_weights == "free":
        truth = replace(truth, output_weights=truth.output_weights * factor)
    else:
        truth = replace(truth, weights=truth.weights * factor ** (1.0 / degree))
    return c._replace(y=c.y * factor, truth=truth)


def with_rows_of_no_weight(c: Case, value: float) -> Case:
    """Every eleventh row is one that does not count and holds anything."""
    at = np.arange(0, N, 11)
    X, y = np.insert(c.X, at, value, axis=0), np.insert(c.y, at, 1.0 if c.model.loss.takes_labels else value)
    return c._replace(X=X, y=y, w=np.insert(np.ones(N), at, 0.0))


CHANGES: dict[str, Callable[[Case], Case]] = {
    "columns scaled": lambda c: by_columns(c, SIZES),
    "one column tiny": lambda c: by_columns(c, np.r_[1e-6, np.ones(D - 1)]),
    "one column huge": lambda c: by_columns(c, np.r_[np.ones(D - 1), 1e6]),
    "all columns tiny": lambda c: by_columns(c, np.full(D, 1e-6)),
    "rotated": by_rotation,
    "scaled and rotated": lambda c: by_rotation(by_columns(c, np.array([1.0, 30.0, 0.1, 1.0, 3.0]))),
    "rows permuted": lambda c: c._replace(X=c.X[::-1], y=c.y[::-1]),
    "columns permuted": lambda c: c._replace(
        X=c.X[:, ::-1],
        truth=replace(
            c.truth,
            weights=c.truth.weights[:, ::-1],
            linear=None if c.truth.linear is None else c.truth.linear[::-1],
        ),
    ),
    "weights tiny": lambda c: c._replace(w=np.full(N, 1e-150)),
    "weights huge": lambda c: c._replace(w=np.full(N, 1e150)),
    "rows twice": lambda c: c._replace(X=np.repeat(c.X, 2, axis=0), y=np.repeat(c.y, 2)),
    "weights of 2": lambda c: c._replace(w=np.full(N, 2.0)),
    "no weight, nan": lambda c: with_rows_of_no_weight(c, np.nan),
    "no weight, inf": lambda c: with_rows_of_no_weight(c, np.inf),
    "no weight, 1e40": lambda c: with_rows_of_no_weight(c, 1e40),
}


def check(c: Case, base: Case, within: float) -> None:
    plain, changed = fitted(base), fitted(c)
    assert plain.converged and changed.converged, changed.message
    # Errors are compared where both have the units of the plain problem's rows.
    assert plain.error(base.truth) < within
    f, g = (predicted(changed, c), fr.datasets.Teacher(known(c), c.truth).predict(c.X))
    seen = np.ones(len(c.X), bool) if c.w is None else c.w > 0
    assert np.linalg.norm(f[seen] - g[seen]) < within * np.linalg.norm(g[seen] - g[seen].mean())
    assert changed.n_passes < 20 * plain.n_passes + 20


def known(c: Case) -> Network:
    if c.model.loss.takes_labels:
        return c.model
    v = c.truth.output_weights
    return c.model.changed(output_weights=v, fit_intercept=True, linear_term=c.truth.linear is not None)


def predicted(rec: fr.Recovery, c: Case) -> np.ndarray:
    X = np.where(np.isfinite(c.X), c.X, 0.0)
    return rec.predict_proba(X)[:, 1] if c.model.loss.takes_labels else rec.predict(X)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MODELS)
def test_planted_answers_in_any_units(name, change):
    """Exact responses to 1e-7; labels of 3,000 rows to the two in a hundred that they allow, four times over."""
    base = case(name)
    check(CHANGES[change](base), base, 0.5 if name == "fcn" else 1e-7)


@pytest.mark.parametrize("factor", [1e-160, 1e-30, 1e-6, 1e6, 1e30])
@pytest.mark.parametrize("name", SCALABLE)
def test_responses_of_any_size(name, factor):
    base = case(name)
    check(by_response(base, factor), base, 1e-7)


@pytest.mark.parametrize("shift", [-1e3, 1e6])
@pytest.mark.parametrize("name", [name for name in MODELS if "fit_intercept" in MODELS[name][1]])
def test_shifted_responses_go_to_the_intercept(name, shift):
    base = case(name)
    moved = base._replace(y=base.y + shift, truth=replace(base.truth, intercept=base.truth.intercept + shift))
    rec = fitted(moved)
    assert rec.converged and rec.parameters.intercept == pytest.approx(moved.truth.intercept, rel=1e-9)
    near = replace(rec.parameters, intercept=rec.parameters.intercept - shift)
    assert base.model.error(near, base.truth) < 1e-13 * abs(shift) * 1e3


@pytest.mark.parametrize("change", ["columns scaled", "scaled and rotated", "weights tiny", "no weight, nan"])
@pytest.mark.parametrize("name", ["relu", "tanh free", "quadratic"])
def test_noisy_minima_are_the_same(name, change):
    """The minimum of the same loss in other units: outputs agree to a hundredth of their statistical error.

    Kinks end a fit at 5 / sqrt(n) of it.
    """
    base = case(name, noise=0.3)
    c = CHANGES[change](base)
    plain, changed = fitted(base), fitted(c)
    assert plain.converged and changed.converged
    seen = slice(None) if c.w is None else c.w > 0
    away = predicted(changed, c)[seen] - plain.predict(base.X)
    error = 0.3 * np.sqrt(plain.objective.n_parameters / N)
    kinked = base.model.activation.smoothness == 1
    assert np.sqrt(np.mean(away**2)) < (5.0 / np.sqrt(N) if kinked else 0.01) * error
    assert changed.loss == pytest.approx(plain.loss, rel=1e-5)


def test_rows_of_no_weight_leave_the_same_bits():
    """Where they are few they are dropped, and the fit is that of the rows that are left, to the last bit."""
    base = case("relu", noise=0.1)
    for value in (np.nan, 1e300):
        rec, plain = fitted(with_rows_of_no_weight(base, value)), fitted(base)
        assert np.array_equal(rec.weights, plain.weights) and rec.loss == plain.loss and rec.n_rows == N


@pytest.mark.parametrize("shape", [(-1, 1), (1, -1)])
def test_responses_of_one_row_or_column_lose_those_of_no_weight_too(shape):
    c = with_rows_of_no_weight(case("relu"), np.nan)
    plain, wrapped = fitted(c), fitted(c._replace(y=c.y.reshape(shape)))
    assert np.array_equal(plain.weights, wrapped.weights)


@pytest.mark.parametrize("shift", [3.0, 300.0, 3e4])
def test_a_column_far_from_zero(shift):
    """Its weight acts as a bias; planted so that units are on for some rows and off for others."""
    base = case("relu")
    X = base.X.copy()
    X[:, 0] += shift
    truth = replace(base.truth, weights=base.truth.weights / np.r_[shift, np.ones(D - 1)])
    moved = base._replace(X=X, y=fr.datasets.Teacher(known(base), truth).predict(X), truth=truth)
    rec = fitted(moved)
    assert rec.converged and rec.determined.all()
    assert np.abs(rec.predict(X) - moved.y).max() < 1e-6 * np.abs(moved.y).max()
