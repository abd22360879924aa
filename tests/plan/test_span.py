"""Refinement in the span of a start, where many features make sweeps dear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import engine_on
from fastrecover.plan import Problem
from fastrecover.plan.problem import ALL
from fastrecover.plan.span import in_span
from fastrecover.solvers import Monitor
from fastrecover.sources import ArraySource


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def problem(model, d=60, n=8000, seed=0, **options):
    teacher = fr.datasets.make_teacher(model, d, 3, random_state=seed, **options)
    x, y = teacher.sample(n, random_state=seed + 1000, n_jobs=1)
    engine = engine_on(ArraySource(x, y), 1)
    return teacher, Problem(engine, teacher.model, np.random.SeedSequence(seed), Monitor(), 1e-3)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("relu", {}),
        ("tanh", {"output_weights": "free", "intercept": 0.5}),
        ("squared_relu", {"output_weights": [1.0, -1.0, 1.0]}),
        ("softplus", {"linear_term": True, "intercept": 1.0}),
    ],
)
def test_the_span_of_the_teacher_holds_the_teacher(model, options):
    """Without noise the best network in a span that holds the teacher is the teacher, for two passes at most."""
    teacher, made = problem(model, **options)
    truth = teacher.parameters
    mixed = np.eye(3) + 0.2 * np.random.default_rng(5).standard_normal((3, 3))
    start = replace(truth, weights=mixed @ truth.weights)
    assert teacher.model.error(start, truth) > 0.1
    found = in_span(made, ALL, start)
    # It ends at a fraction of the statistical error, and that of an exact fit goes to nothing.
    assert teacher.model.error(found, truth) < 1e-6
    assert made.engine.meter.passes <= 2.0 and not made.monitor.history["pass"]


def test_where_a_matrix_is_cheap_the_start_stays():
    teacher, made = problem("relu", d=8, n=500)
    assert in_span(made, ALL, teacher.parameters) is teacher.parameters
    assert made.engine.meter.passes == 0.0


def test_a_budget_that_is_spent_ends_it():
    teacher, made = problem("relu")
    made.monitor.clock.stop()
    assert in_span(made, ALL, teacher.parameters) is teacher.parameters


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_many_features_take_few_passes(noise):
    """Without refinement in the span of a coarse start, these fits take 14 and 31 passes."""
    teacher = fr.datasets.make_teacher("relu", 300, 6, random_state=3)
    x, y = teacher.sample(72_000, noise=noise, random_state=4)
    found = fr.fit(x, y, teacher.model, random_state=0, n_jobs=2)
    assert found.converged and found.n_passes < (14.0 if noise == 0.0 else 20.0)
    assert found.error(teacher) < (1e-10 if noise == 0.0 else 3.0 * noise * np.sqrt(1800 / 72_000))
