"""A hundred random problems: is the automatic solver ever worse than a plain one that sees all rows from the start?

Both are given the same rows, the same ``init="auto"`` and the same random state, so they begin at the same point;
the plain solvers (Gauss-Newton, L-BFGS) stay there, the automatic one may doubt it and look further.  What counts
is the loss over all rows.  A fit with the default ``tol`` ends a thousandth of the statistical error away from the
minimiser, where losses differ by more than a tie allows; the strict column shows whose minimum is the lower.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np

from . import report
from .harness import Context

PROBLEMS = 100
PLAIN = ("gauss-newton", "lbfgs")
TOLERANCES = {"default": None, "strict": 1e-6}
_MODELS = (
    "relu",
    "leaky_relu",
    "squared_relu",
    "sigmoid",
    "tanh",
    "erf",
    "softplus",
    "quadratic",
    "fcn",
    "cnn",
)
TIE, _EXACT = 1e-9, 1e-25


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: every problem, then wins, ties and losses for each plain solver and tolerance."""
    rows = []
    for number in range(len(_MODELS) if context.quick else PROBLEMS):
        if number % len(_MODELS) == 0:
            context.say(f"zoo: problem {number}")
        rows.append(_row(number, context))
        yield rows[-1]
    for tolerance in TOLERANCES:
        for plain in PLAIN:
            yield tally(rows, plain, tolerance)


def problem(number: int) -> tuple[Any, np.ndarray, np.ndarray, float]:
    """Teacher, rows, responses and noise of one animal; models take turns, all else is drawn.

    d from 3 to 24, k from 1 to 4, 20 to 400 rows a parameter (labels: 400 to 2000), condition number 1 to 4, no
    noise, a little or as much as signal; half of those that may have one have an intercept, a quarter free output
    weights.
    """
    import fastrecover as fr

    rng, name = np.random.default_rng([41, number]), _MODELS[number % len(_MODELS)]
    k = int(rng.integers(1, 5))
    d = int(rng.integers(max(3, k), 25))
    options: dict[str, Any] = {"condition_number": float(rng.uniform(1.0, 4.0)), "random_state": number}
    if name == "cnn":
        patches = int(rng.integers(2, 5))
        d = int(rng.integers(3, 9)) * patches
        teacher = fr.datasets.make_teacher("cnn", n_features=d, n_patches=patches, **options)
    elif name == "fcn":
        teacher = fr.datasets.make_teacher("fcn", n_features=d, n_hidden=k, **options)
    else:
        free = name != "quadratic" and rng.random() < 0.25
        if name != "quadratic" and rng.random() < 0.5:
            options["intercept"] = float(rng.normal())
        teacher = fr.datasets.make_teacher(
            name, n_features=d, n_hidden=k, output_weights="free" if free else None, **options
        )
    p = teacher.model.n_parameters(teacher.weights.shape[1])
    low, high = (400, 2000) if teacher.model.is_classifier else (20, 400)
    n = max(int(p * low * (high / low) ** rng.random()), 300)
    noise = 0.0 if teacher.model.is_classifier else float(rng.choice([0.0, 0.03, 0.3, 1.0]))
    return teacher, *teacher.sample(n, noise=noise, random_state=1000 + number), noise


def verdict(ours: float, plain: float, scale: float) -> str:
    """How our loss stands against the plain solver's: win, tie or loss.

    Parameters
    ----------
    ours, plain : float
        Losses over all rows.
    scale : float
        Mean square of the responses: losses below 1e-25 of it are exact, and exact ones tie.
    """
    exact = _EXACT * scale
    if (ours <= exact and plain <= exact) or abs(ours - plain) <= TIE * max(abs(ours), abs(plain)):
        return "tie"
    return "win" if ours < plain else "loss"


def _row(number: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    teacher, X, y, noise = problem(number)
    row: dict[str, Any] = {
        "problem": number,
        "model": teacher.model.activation.name if not teacher.model.is_classifier else _MODELS[number % len(_MODELS)],
        "n": len(X),
        "d": X.shape[1],
        "k": teacher.n_hidden * teacher.model.n_patches,
        "output weights": teacher.model.output_weights if isinstance(teacher.model.output_weights, str) else "known",
        "intercept": teacher.model.fit_intercept,
        "noise": noise,
    }
    scale = float(np.mean(y**2))
    for name, tol in TOLERANCES.items():
        fits = {}
        for solver in ("auto", *PLAIN):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fits[solver] = fr.fit(
                    X, y, model=teacher.model, solver=solver, tol=tol, n_jobs=context.threads, random_state=number
                )
        ours = fits["auto"]
        row[f"loss, {name}"] = ours.loss
        row[f"passes, {name}"] = ours.n_passes
        row[f"converged, {name}"] = ours.converged
        for solver in PLAIN:
            theirs = fits[solver]
            row[f"{solver}, {name}"] = verdict(ours.loss, theirs.loss, scale)
            mine, plain = (max(loss, _EXACT * scale) for loss in (ours.loss, theirs.loss))
            row[f"{solver} excess, {name}"] = mine / plain - 1.0
            row[f"{solver} passes, {name}"] = theirs.n_passes
            row[f"{solver} converged, {name}"] = theirs.converged
    return row


def tally(rows: list[dict[str, Any]], plain: str, tolerance: str) -> dict[str, Any]:
    """Wins, ties and losses against one plain solver."""
    verdicts = [row[f"{plain}, {tolerance}"] for row in rows]
    excess = [row[f"{plain} excess, {tolerance}"] for row in rows]
    return {
        "against": plain,
        "tol": tolerance,
        "wins": verdicts.count("win"),
        "ties": verdicts.count("tie"),
        "losses": verdicts.count("loss"),
        "worst relative excess": max(excess),
        "losses above 1e-6": sum(e > 1e-6 for e in excess),
        "wins above 1e-6": sum(e < -1e-6 for e in excess),
        "not converged": sum(not row[f"converged, {tolerance}"] for row in rows),
        "plain not converged": sum(not row[f"{plain} converged, {tolerance}"] for row in rows),
        "passes": median(row[f"passes, {tolerance}"] for row in rows),
        "plain passes": median(row[f"{plain} passes, {tolerance}"] for row in rows),
    }


def shown(rows: list[dict[str, Any]]) -> str:
    """The tallies, and the problems that were lost by more than 1e-6 of the loss."""
    keys = ("problem", "model", "n", "d", "k", "output weights", "intercept", "noise")
    lost = [
        {key: row[key] for key in keys} | {"against": plain, "tol": tol, "excess": row[f"{plain} excess, {tol}"]}
        for row in rows
        if "problem" in row
        for tol in TOLERANCES
        for plain in PLAIN
        if row[f"{plain}, {tol}"] == "loss" and row[f"{plain} excess, {tol}"] > 1e-6
    ]
    return report.plain([row for row in rows if "against" in row] + lost)
