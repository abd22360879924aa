"""Descent on infinitely many rows: the plain squared loss sticks at spurious minima, G does not (figures 1 and 3).

Both risks are exact, the squared one as a sum of pair terms and G from the teacher's fourth moment tensor, so what
sticks here sticks for any number of rows.  The error is the paper's, ``1 - min_j max_i |Q_ij|`` of the row-normalised
``Q = B B*^-1``, taken the larger way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import unit_rows

FOUND = 0.05
_CASES = ((10, 1.0), (10, 2.0), (20, 1.0))
_RUNS, _STEPS, _LOOKS = 5, 2000, 80
_MU = 0.3  # weight of the single term; any value below 12 serves


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each teacher and objective, the error along the way of each run as curves."""
    for m, condition in _CASES[:1] if context.quick else _CASES:
        m = 3 if context.quick else m
        runs, steps = (2, 100) if context.quick else (_RUNS, _STEPS)
        for name in ("squared loss", "G"):
            context.say(f"descent of {name}, {m} rows, condition {condition:g}")
            found = [_descend(name, m, condition, seed, steps) for seed in range(runs)]
            last = [curve[-1] for _, curve in found]
            yield {
                "m": m, "condition": condition, "objective": name, "runs": runs, "steps": steps,
                "found": sum(error < FOUND for error in last), "worst error": max(last),
                "at": found[0][0], "curves": [curve for _, curve in found],
            }  # fmt: skip


def _descend(name: str, m: int, condition: float, seed: int, steps: int) -> tuple[list[int], list[float]]:
    rows = unit_rows(m, m, condition, seed)
    value_and_grad, theta, step = (_plain if name == "squared loss" else _designed)(rows, seed)
    looks = set(np.unique(np.geomspace(1, steps, _LOOKS).astype(int)).tolist())
    at, curve = [], []
    for i in range(1, steps + 1):
        theta = theta - step * value_and_grad(theta)
        if i in looks:
            at.append(i)
            curve.append(_error(name, theta.reshape(m, m), rows))
    return at, curve


def _plain(rows: np.ndarray, seed: int):
    import fastrecover as fr

    model = fr.models.Regression("relu", len(rows))
    teacher = fr.datasets.Teacher(model, fr.models.Parameters(rows, np.ones(len(rows))))

    def grad(theta: np.ndarray) -> np.ndarray:
        student = fr.datasets.Teacher(model, model.unpack(theta, rows.shape[1]))
        return np.asarray(fr.population_risk(student, teacher, gradient=True)[1])

    # The curvature at the teacher is at most the largest eigenvalue of the pair terms, about m / 4.
    return grad, _random_rows(rows.shape, seed).ravel(), 2.0 / len(rows)


def _designed(rows: np.ndarray, seed: int):
    from fastrecover.activations import get_activation
    from fastrecover.sweeps import TensorLandscape, population_tensor

    relu = get_activation("relu")
    coefficients = relu.hermite_coefficients(4)
    values, vectors = np.linalg.eigh(np.sqrt(2.0) * coefficients[2] * rows.T @ rows)
    # Amplitudes in the metric of M are 1 / (2 sigma_2^2); the penalty is that of the package's descent.
    amplitude = 1.0 / (2.0 * coefficients[2] ** 2)
    penalty = 2.5 * np.sqrt(6.0) * abs(coefficients[4]) * amplitude
    landscape = TensorLandscape(
        population_tensor(rows, np.ones(len(rows)), relu), len(rows), -1.0,
        mu=_MU, penalty=float(penalty), metric=(vectors.T, values),
    )  # fmt: skip
    start = _random_rows(rows.shape, seed)
    start /= np.sqrt(np.einsum("ja,ab,jb->j", start, vectors * values @ vectors.T, start))[:, None]
    return (lambda theta: landscape.value_and_grad(theta)[1]), start.ravel(), 1.0 / (12.0 * penalty * values.max())


def _random_rows(shape: tuple[int, ...], seed: int) -> np.ndarray:
    start = np.random.default_rng([29, seed]).standard_normal(shape)
    return start / np.linalg.norm(start, axis=1)[:, None]


def _error(name: str, b: np.ndarray, rows: np.ndarray) -> float:
    # Minima of G are the rows of the inverse transpose, those of the loss the teacher's own.
    q = b @ (np.linalg.inv(rows) if name == "squared loss" else rows.T)
    q = np.abs(q) / np.linalg.norm(q, axis=1)[:, None]
    return float(max(1.0 - q.max(axis=0).min(), 1.0 - q.max(axis=1).min()))
