"""A recovery as text."""

from __future__ import annotations

import math
from typing import Protocol

from .models import HasParameters


class Fit(HasParameters, Protocol):
    """What is told: a Recovery."""

    loss: float
    n_passes: float
    n_rows: int
    seconds: float
    message: str


def summary(fit: Fit) -> str:
    """Table of the hidden units, one per line after a few lines about the fit."""
    p, model = fit.parameters, fit.model
    norms = [math.hypot(*row) for row in p.weights]  # squares of large weights would overflow
    units = enumerate(zip(norms, p.output_weights, strict=True))
    lines = [
        f"{model.activation.name}: {len(norms)} units, {p.weights.shape[1] * model.n_patches} features, "
        f"{fit.n_rows} rows",
        f"loss {fit.loss:.6g} after {fit.n_passes:.1f} passes, {fit.seconds:.2f} s: {fit.message}",
        f"{'unit':>4}  {'norm':>12}  {'output weight':>13}",
        *(f"{j:>4}  {size:>12.6g}  {v:>13.6g}" for j, (size, v) in units),
    ]
    if p.linear is not None:
        lines.append(f"linear term of norm {math.hypot(*p.linear):.6g}")
    if model.fit_intercept or p.intercept:
        lines.append(f"intercept {p.intercept:.6g}")
    return "\n".join(lines)
