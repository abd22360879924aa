"""Where refinement begins: what was given, what a named start finds, or random rows where the budget ends first."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..engines import Engine
from ..inputs import diagnose, needs_whitening, whiten
from ..models import Network, Parameters
from ..random import Stream
from ..starts import (
    STARTS,
    NamedStart,
    Start,
    StartError,
    anchors,
    network,
    random_start,
    ridge_lengths,
    with_output_weights,
)
from .judge import Judge
from .problem import ALL, Candidate, Problem, Rows
from .refine import refined
from .span import in_span
from .students import expanded_starts

#: What ``init`` may be once it has been checked: a name, a function, rows of weights, or all parameters.
Init: TypeAlias = str | Start | np.ndarray | Parameters
INITS = ("auto", *STARTS, "expand", "random")


def refined_start(problem: Problem, judge: Judge, init: Init, most: int | None = None) -> tuple[Candidate, Parameters]:
    """A start, and the minimum near it, on more rows where few have a minimiser far from that of all.

    Parameters
    ----------
    problem : Problem
    judge : Judge
    init : str, callable, ndarray or Parameters
    most : int, optional
        Most steps of its refinement, by default the policy's.

    Returns
    -------
    candidate : Candidate
    start : Parameters
        As it was before refinement.

    Raises
    ------
    StartError
        Moments that cannot resolve the weights.
    """
    rows = problem.base
    while True:
        shown = problem.base_of_cubic if rows == problem.base else rows
        start = in_span(problem, shown, found_start(problem, shown, init))
        label = init if isinstance(init, str) else "given"
        label = "random" if problem.report.start == "random" else label
        candidate = refined(problem, rows, *problem.with_signs(start), label, most)
        if rows == ALL or problem.spent or not judge.is_poorly_determined(candidate):
            return candidate, start
        rows = problem.more(rows)


def found_start(problem: Problem, rows: Rows, init: Init) -> Parameters:
    """Unrefined start; random rows where the fit is ended before it is found.

    Parameters
    ----------
    problem : Problem
    rows : Rows
        What the start may look at.
    init : str, callable, ndarray or Parameters

    Returns
    -------
    Parameters
        With definite output weights.

    Raises
    ------
    StartError
        Moments that cannot resolve the weights.
    """
    if isinstance(init, Parameters):
        return problem.coordinates.into(init, problem.model)
    if isinstance(init, np.ndarray):
        model = problem.model
        v = np.ones((model.n_outputs, len(init)) if model.n_outputs > 1 else len(init))
        given = problem.coordinates.into(network(model, init, v), model)
        units = replace(network(model, given.weights, v), biases=given.biases)
        return with_output_weights(problem.on(rows), model, units)
    found = problem.monitor.attempt(lambda: _found(problem, rows, init))
    return _random(problem) if found is None else found


def _found(problem: Problem, rows: Rows, init: str | Start) -> Parameters:
    if not isinstance(init, str):
        problem.report.start = getattr(init, "__name__", type(init).__name__)
        # It was written for the rows as they are.
        given = init(problem.raw_on(rows), problem.model, problem.seed(Stream.START))
        return problem.coordinates.into(given, problem.model)
    problem.report.start = init
    if init in STARTS:
        return _from_moments(problem, rows, STARTS[init])
    if init == "expand":
        rng, count = problem.generator(Stream.RESTART), problem.policy.restarts
        return expanded_starts(problem.on(rows), problem.model, rng, count=count).parameters[0]
    if init == "auto":
        try:
            return _from_moments(problem, rows, STARTS["tensor"])
        except StartError:
            pass
    return _random(problem)


def _random(problem: Problem) -> Parameters:
    problem.report.start = "random"
    rng = problem.generator(Stream.RESTART)
    at = anchors(problem.engine, problem.model, rng)
    return random_start(problem.model, problem.engine.shape[1], rng, at=at)


def _from_moments(problem: Problem, rows: Rows, start: NamedStart) -> Parameters:
    """A start that relies on Gaussian rows, on whitened ones where the rows need it."""
    model, seed = problem.model, problem.seed(Stream.START)
    if not start.whitens:
        return _finite(start.find, problem.engine, model, seed)
    if problem.diagnosis is None and problem.inputs != "gaussian":
        problem.diagnosis = diagnose(problem.engine, problem.seed(Stream.DIAGNOSIS))
    diagnosis, engine, report = problem.diagnosis, problem.on(rows), problem.report
    must = problem.inputs == "whiten" and not problem.coordinates.is_white
    if diagnosis is None or not (must or needs_whitening(diagnosis)):
        report.inputs = [] if diagnosis is None else diagnosis.shape_departures
        return _finite(start.find, engine, model, seed)
    most = problem.n_rows(problem.base)
    white, whitening = whiten(engine, diagnosis, most_copied=most, biased=model.hidden_bias)
    report.inputs = diagnosis.shape_departures + ([whitening.note] if whitening.note else [])
    report.whitened = True
    found, act = whitening.back(_finite(start.find, white, model, seed)), model.activation
    homogeneous = act.degree is not None and not act.is_quadratic
    if whitening.shift.any() and homogeneous and model.n_patches == 1 and not model.hidden_bias:
        # The offsets that centring gave the units have gone into their lengths.
        unit = found.weights / np.maximum(np.linalg.norm(found.weights, axis=1), 1e-300)[:, None]
        found = ridge_lengths(engine, model, replace(found, weights=unit))
    return found


def _finite(find: Start, engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
    """What a start finds; StartError where a few huge entries make its moments overflow."""
    try:
        with np.errstate(all="ignore"):
            found = find(engine, model, seed)
    except np.linalg.LinAlgError:
        found = None
    if found is None or not np.isfinite(found.flat()).all():
        raise StartError(
            "init: moments of X and y overflow, some entries are far larger than others; use init='random'"
        )
    return found
