"""A recovery as text."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from .models import HasParameters
from .models.parameters import lengths

_MOST_LISTED = 20


class Fit(HasParameters, Protocol):
    """What is told: a Recovery."""

    loss: float
    n_passes: float
    n_rows: int
    n_queries: int | None
    seconds: float
    message: str
    info: dict[str, Any]


def summary(fit: Fit) -> str:
    """Table of the hidden units, one per line after a few lines about the fit."""
    p, model = fit.parameters, fit.model
    several = p.n_outputs > 1
    outputs = f"{p.n_outputs} outputs, " if several else ""
    alpha = fit.info.get("alpha")
    penalty = "" if alpha is None else f" with a penalty of alpha {alpha:g}"
    passes = f" after {fit.n_passes:.1f} passes" if fit.n_queries is None else ""
    columns = {"norm": lengths(p.weights)}  # squares of large weights would overflow
    if p.biases is not None:
        columns["bias"] = p.biases
    if several:
        columns["norm of output weights"] = p.sizes
    else:
        columns["output weight"] = p.output_weights
    widths = [max(len(name), 12) for name in columns]
    lines = [
        f"{model.activation.name}: {len(p.weights)} units, {p.weights.shape[1] * model.n_patches} features, {outputs}"
        f"{fit.n_rows} {'rows' if fit.n_queries is None else 'queries'}",
        f"loss {fit.loss:.6g}{penalty}{passes}, {fit.seconds:.2f} s: {fit.message}",
        "  ".join(["unit", *(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True))]),
    ]
    for j, numbers in enumerate(zip(*columns.values(), strict=True)):
        cells = (f"{number:>{width}.6g}" for number, width in zip(numbers, widths, strict=True))
        lines.append("  ".join([f"{j:>4}", *cells]))
    if p.linear is not None:
        lines.append(f"linear term{'s' * several} of norm {math.hypot(*p.linear.ravel()):.6g}")
    if model.fit_intercept or np.any(p.intercept):
        c = np.ravel(p.intercept)
        shown = ", ".join(f"{number:.6g}" for number in c[:_MOST_LISTED])
        lines.append(f"intercept{'s' * several} {shown}{', ...' if len(c) > _MOST_LISTED else ''}")
    return "\n".join(lines)
