"""Planted problems: everything about one follows from its seeds, so that it can be looked at again elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

Problem = tuple[Any, np.ndarray, np.ndarray]  # teacher, rows, responses

_ROWS = {"quadratic": 100_000, "fcn": 100_000, "cnn": 100_000, "unit rows": 700_000}
_ACTIVATIONS = ("relu", "leaky_relu", "squared_relu", "sigmoid", "tanh", "erf", "softplus", "quadratic")
_HARD = ("relu", "leaky_relu", "squared_relu", "softplus", "tanh", "erf")
_FRONTIER = ("relu", "leaky_relu", "tanh", "erf", "softplus")
_HERDS = {"mixed": (*_ACTIVATIONS, "fcn", "cnn"), "easy": _ACTIVATIONS, "hard": _HARD, "frontier": _FRONTIER}
#: Number from which on problems that sizes of samples are planned by are easy.
EASY = 630
#: Seed of those that plans are held against; of earlier seeds they are fitted to.
CHECKED = 4
#: Of the problems that sizes of samples are planned by; the numbers of rows are those for each parameter.
REGION = {
    "n_features": (3.0, 50.0),
    "n_hidden": (1.0, 12.0),
    "condition_number": (1.0, 10.0),
    "noise": (0.0, 1.0),
    "rows_per_parameter": (1.0, 30.0),
}


def planted(
    model: str, d: int, k: int, n: int, seed: int, rows: int | None = None, noise: float = 0.0, **options: Any
) -> Problem:
    """Teacher and n rows, by a seed of the teacher and one of the rows, which by default follows from it.

    The model is a name of ``make_teacher`` (condition number 2 and fair signs unless `options` say so), but of ``fcn``
    and ``cnn`` every unit has d inputs and weights from N(0, 1), and "unit rows" is ReLU with output weights one and
    rows of unit length, of the condition number before normalisation.
    """
    import fastrecover as fr

    rng = np.random.default_rng([17, seed])
    if model == "fcn":
        shape, weights = fr.datasets.make_teacher("fcn", d, k), rng.standard_normal((k, d))
    elif model == "cnn":
        shape, weights = fr.datasets.make_teacher("cnn", d * k, n_patches=k), rng.standard_normal((1, d))
    elif model == "unit rows":
        shape = fr.datasets.make_teacher("relu", d, k, output_weights="ones")
        weights = _unit_rows(k, d, seed=seed, **options)
    else:
        shape = fr.datasets.make_teacher(model, d, k, random_state=seed, **options)
        weights = shape.weights
    teacher = fr.datasets.Teacher(shape.model, replace(shape.parameters, weights=weights))
    rows = _ROWS.get(model, 500_000) + seed if rows is None else rows
    return teacher, *teacher.sample(n, noise, random_state=rows, n_jobs=1)


def biased(activation: str, d: int, k: int, n: int, seed: int, noise: float = 0.0) -> Problem:
    """Teacher with hidden biases ``0.7 |w| N(0, 1)``, rows of length 1 to 2, output weights of size 1/2 to 2 and either
    sign, and intercept 1; n rows of their own seed."""
    import fastrecover as fr

    rng = np.random.default_rng([43, seed])
    weights = rng.standard_normal((k, d))
    weights *= (rng.uniform(1.0, 2.0, k) / np.linalg.norm(weights, axis=1))[:, None]
    biases = 0.7 * np.linalg.norm(weights, axis=1) * rng.standard_normal(k)
    outer = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 2.0, k)
    model = fr.models.Regression(activation, k, "free", hidden_bias=True, fit_intercept=True)
    teacher = fr.datasets.Teacher(model, fr.models.Parameters(weights, outer, None, 1.0, biases=biases))
    return teacher, *teacher.sample(n, noise, random_state=800_000 + seed, n_jobs=1)


def _unit_rows(k: int, d: int, condition_number: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng([23, seed])
    rows = np.linalg.qr(rng.standard_normal((d, k)))[0].T
    if condition_number > 1:
        rows = np.linalg.qr(rng.standard_normal((k, k)))[0] @ (np.linspace(1.0, condition_number, k)[:, None] * rows)
    return rows / np.linalg.norm(rows, axis=1)[:, None]


def animal(herd: str, number: int) -> tuple[dict[str, Any], Any, np.ndarray, np.ndarray]:
    """One of a hundred random problems: what was drawn, teacher, rows and responses.

    "mixed": all models in turn, up to 24 features and 4 units, 20 to 400 rows a parameter (labels: 400 to 2000), no
    noise, a little or as much as signal, some with intercepts or real output weights.  "easy": up to 200 features and 8
    units, 20 rows a weight, half of them with unequal norms, real output weights, noise and correlated inputs.  "hard":
    noiseless, up to 20 units, unknown signs, 4 to 10 rows a weight.  "frontier": noiseless, 10, 20 or 30 units, d of
    one to three times as many, unknown signs, 2, 3 or 4 rows a weight, condition number 2, 5 or 10.
    """
    model = _HERDS[herd][number % len(_HERDS[herd])]
    if herd == "frontier":
        return _at_the_limit(model, number)
    noise, correlation, (teacher, X, y) = _mixed(model, number) if herd == "mixed" else _half(herd, model, number)
    k = teacher.n_hidden * teacher.model.n_patches
    head = {"model": model, "k": k, "d": X.shape[1], "n": len(X), "noise": noise, "correlation": correlation}
    return head, teacher, X, y


def sized(number: int, seed: int) -> tuple[dict[str, Any], np.random.Generator]:
    """One of the small problems that sizes of samples are planned by, but for its rows, and what they are drawn with.

    Any activation in turn, at least as many features as units, half of them with noise of 0.01 to 1 deviations of the
    responses, all within REGION.  From EASY on they are what is asked for most: without noise, condition numbers up to
    3, two units and eight features at least.
    """
    from fastrecover.activations import NAMES

    rng, high = np.random.default_rng([97, seed, number]), {axis: bounds[1] for axis, bounds in REGION.items()}
    easy = number >= EASY
    k = int(np.exp(rng.uniform(np.log(2.0 if easy else 1.0), np.log(high["n_hidden"] + 1.0))))
    least = max(k, 8 if easy else REGION["n_features"][0])
    d = int(np.exp(rng.uniform(np.log(least), np.log(high["n_features"] + 1.0))))
    condition = round(float(np.exp(rng.uniform(0.0, np.log(3.0 if easy else high["condition_number"])))), 3)
    noisy = rng.random() < 0.5 and not easy
    noise = round(high["noise"] * float(np.exp(rng.uniform(np.log(0.01), 0.0))), 4) if noisy else 0.0
    return {"model": NAMES[number % len(NAMES)], "k": k, "d": d, "condition": condition, "noise": noise}, rng


def _at_the_limit(model: str, number: int) -> tuple[dict[str, Any], Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([73, number])
    k = int(rng.choice((10, 20, 30)))
    d, each, condition = k * int(rng.integers(1, 4)), int(rng.integers(2, 5)), float(rng.choice((2.0, 5.0, 10.0)))
    head = {"model": model, "k": k, "d": d, "n/(dk)": each, "condition": condition}
    return head, *planted(model, d, k, each * d * k, number, rows=900_000 + number, condition_number=condition)


def _mixed(model: str, number: int) -> tuple[float, float, Problem]:
    import fastrecover as fr

    rng = np.random.default_rng([41, number])
    k = int(rng.integers(1, 5))
    d = int(rng.integers(max(3, k), 25))
    options: dict[str, Any] = {"condition_number": float(rng.uniform(1.0, 4.0)), "random_state": number}
    labelled = model in ("fcn", "cnn")
    if model == "cnn":
        options["n_patches"] = int(rng.integers(2, 5))
        d = int(rng.integers(3, 9)) * options["n_patches"]
    else:
        options["n_hidden"] = k
    if not labelled and model != "quadratic":
        options["output_weights"] = "free" if rng.random() < 0.25 else None
        if rng.random() < 0.5:
            options["intercept"] = float(rng.normal())
    teacher = fr.datasets.make_teacher(model, d, **options)
    low, high = (400, 2000) if labelled else (20, 400)
    p = teacher.model.n_parameters(teacher.weights.shape[1])
    n = max(int(p * low * (high / low) ** rng.random()), 300)
    noise = 0.0 if labelled else float(rng.choice([0.0, 0.03, 0.3, 1.0]))
    return noise, 0.0, (teacher, *teacher.sample(n, noise, 1000 + number))


def _half(herd: str, model: str, number: int) -> tuple[float, float, Problem]:
    import fastrecover as fr

    half = ("easy", "hard").index(herd)
    rng = np.random.default_rng([71, half, number])
    options: dict[str, Any] = {}
    unequal, noise, correlation = False, 0.0, 0.0
    if herd == "hard":
        k = (5, 8, 12, 16, 20)[number % 5]
        d = round(k * rng.uniform(1.0, 3.0))
        n = round(d * k * rng.uniform(4.0, 10.0))
        options["condition_number"] = round(rng.uniform(1.0, 4.0), 2)
    else:
        k, d = int(rng.integers(2, 9)), round(float(np.exp(rng.uniform(np.log(10), np.log(200)))))
        n = 20 * d * k
        options["condition_number"] = round(rng.uniform(1.0, 10.0), 2)
        unequal = rng.random() < 0.5
        options["output_weights"] = "free" if rng.random() < 0.5 else None
        noise = round(rng.uniform(0.0, 1.0), 3) if rng.random() < 0.6 else 0.0
        correlation = round(rng.uniform(0.2, 0.8), 2) if rng.random() < 0.5 else 0.0
    rng = np.random.default_rng([72, half, number])
    norms = rng.uniform(0.5, 2.0, k) if unequal else None
    teacher = fr.datasets.make_teacher(model, d, k, norms=norms, random_state=number, **options)
    X = rng.standard_normal((n, d))
    for j in range(1, d if correlation else 0):
        X[:, j] = correlation * X[:, j - 1] + np.sqrt(1.0 - correlation**2) * X[:, j]
    y = teacher.predict(X, n_jobs=1)
    if noise:
        y = y + noise * np.std(y) * rng.standard_normal(n)
    return noise, correlation, (teacher, X, y)
