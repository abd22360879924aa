"""Relative error of M under label noise, against what a least-squares fit of so many parameters should have.

``sigma sqrt(p / (2 (n - p))) / |M|_F`` with p = d r - r (r - 1) / 2 free numbers.  That is of first order, and the
squares of few rows have heavy tails: from n = 6 d r on, fits that begin at the truth exceed it by as much as ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..harness import Context
from .planted import planted, recovered
from .success import RANKS

_RATIOS, _SIGMAS = (2.0, 6.0, 10.0), {50: (0.1, 0.5), 100: (0.5,)}
_SUCCESS = 2.0  # times the predicted error


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each d, r, sigma and n / (d r)."""
    for d in (20,) if context.quick else (50, 100):
        for r in (3,) if context.quick else RANKS:
            context.say(f"d = {d}, r = {r}")
            for sigma in (0.5,) if context.quick else _SIGMAS[d]:
                for ratio in (6.0,) if context.quick else _RATIOS:
                    head = {"d": d, "r": r, "sigma": sigma, "n/(dr)": ratio}
                    yield head | _cell(d, r, sigma, ratio, 2 if context.quick else 20, context)


def _cell(d: int, r: int, sigma: float, ratio: float, seeds: int, context: Context) -> dict[str, Any]:
    errors, expected, converged = [], [], 0
    for seed in range(seeds):
        teacher, X, y = planted(d, r, ratio, seed, noise=sigma)
        rec, _ = recovered("ours", X, y, teacher.model, seed, context, 0)
        errors.append(rec.error(teacher))
        expected.append(predicted(teacher.weights, len(y), sigma))
        converged += bool(rec.converged)
    quotients = np.array(errors) / expected
    return {
        "seeds": seeds,
        "error": float(np.median(errors)),
        "predicted": float(np.median(expected)),
        "error / predicted": float(np.median(quotients)),
        "its error": float(1.25 * np.std(quotients) / np.sqrt(seeds)),
        "within twice": int(np.sum(quotients < _SUCCESS)),
        "converged": converged,
    }


def predicted(weights: np.ndarray, n: int, sigma: float) -> float:
    """Relative error of M that a correctly specified least-squares fit has to first order."""
    r, d = weights.shape
    free = d * r - r * (r - 1) / 2
    return float(sigma * np.sqrt(free / (2 * (n - free))) / np.linalg.norm(weights @ weights.T))
