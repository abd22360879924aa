"""How many passes over the data a fit needs to be as good as the full-data minimiser.

A run stopped after p passes is the beginning of the longer run, so the fit at every pass comes from repeated
runs with a budget.  Distances are between outputs, ``sqrt(mean (f - f*)^2)``: to first order the root of
twice the excess loss, but free of the cancellation that hides it below 1e-8 and of the model's symmetries.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .harness import Context

_ACTIVATIONS = ("relu", "squared_relu", "tanh", "quadratic")
_MOST = 24
_STRICT = 1e-9


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows for each activation and noise."""
    d, k = (10, 2) if context.quick else (50, 5)
    for activation in _ACTIVATIONS:
        for noise in (0.1, 0.0):
            context.say(f"passes of {activation}, noise {noise}")
            yield _row(activation, noise, 1000 * k * d, d, k, context)


def _row(activation: str, noise: float, n: int, d: int, k: int, context: Context) -> dict[str, Any]:
    import fastrecover as fr

    teacher = fr.datasets.make_teacher(activation, n_features=d, n_hidden=k, random_state=0)
    X, y = teacher.sample(n, noise=noise, random_state=1)

    def fit(**options: Any):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fr.fit(X, y, model=teacher.model, n_jobs=context.threads, random_state=0, **options)

    full = fit()
    row: dict[str, Any] = {
        "activation": activation,
        "noise": noise,
        "n": n,
        "passes": full.n_passes,
        "seconds": full.seconds,
        "converged": full.converged,
        "error": full.error(teacher),
    }
    if noise == 0.0:
        return row
    distance = Distance(X, fit(init=teacher.parameters, solver="gauss-newton", tol=1e-12), noise)
    strict = fit(tol=_STRICT)
    stops = [float(p) for p, rows in zip(strict.history["pass"], strict.history["rows"], strict=True) if rows == n]
    path = [(p, distance(fit(tol=_STRICT, max_passes=p))) for p in stops[:_MOST]]
    path.append((strict.n_passes, distance(strict)))
    row["start passes"] = path[0][0]
    for name, bound in (("to 1%", 1e-2), ("to 1e-8", 1e-8)):
        row[f"passes {name}"] = next((p for p, value in path if value <= bound), None)
    row["distance at end"] = distance(full)
    row["excess at end"] = row["distance at end"] ** 2
    row["strict end"] = path[-1][1]
    row["path"] = path
    return row


class Distance:
    """Distance of a fit to the minimiser, in units of the statistical error.

    Parameters
    ----------
    X : ndarray (n, d)
    minimiser : Recovery
        Of all rows.
    noise : float
        Standard deviation of the noise.
    """

    def __init__(self, X: np.ndarray, minimiser: Any, noise: float) -> None:
        self.X, self.centre = X, minimiser.predict(X)
        model, k = minimiser.model, minimiser.n_hidden
        turns = k * (k - 1) // 2 if model.activation.name == "quadratic" else 0
        self.unit = noise * np.sqrt((model.n_parameters(X.shape[1]) - turns) / len(X))

    def __call__(self, rec: Any) -> float:
        """``sqrt(mean (f - f*)^2) / (sigma sqrt(p / n))``."""
        return float(np.sqrt(np.mean((rec.predict(self.X) - self.centre) ** 2)) / self.unit)
