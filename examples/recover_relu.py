"""
A ReLU network from noisy responses
===================================

Plant a ReLU network, recover it from noisy responses, and say how sure every weight is.

The picture shows each weight found against the true one and, below, what it is off by, with its 95 % interval.

::

    python examples/recover_relu.py [picture.png]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr


def main(n: int = 100_000, out: str | None = None) -> fr.Recovery:
    """Recover from n rows; draw the weights to `out` if given."""
    teacher = fr.datasets.make_teacher("relu", n_features=30, n_hidden=4, random_state=3)
    X, y = teacher.sample(n, noise=0.2, random_state=4)

    rec = fr.fit(X, y, model="relu", n_hidden=4, output_weights="signs", random_state=0)
    print(rec.summary())

    errors = rec.standard_errors()
    found, truth = rec.align(teacher), teacher.parameters
    order = [int(np.argmin(np.abs(rec.weights - row).sum(axis=1))) for row in found.weights]
    z = (found.weights - truth.weights) / errors.weights[order]
    size = np.linalg.norm(errors.flat()) / np.linalg.norm(truth.flat())
    print(f"relative error {rec.error(teacher):.2e}; the standard errors predict about {size:.2e}")
    print(f"{np.mean(np.abs(z) < 1.96):.0%} of the true weights lie within 1.96 standard errors (95% should)")
    if out is not None:
        draw(found.weights, 1.96 * errors.weights[order], truth.weights, out)
        print(f"wrote {out}")
    return rec


def draw(found: np.ndarray, margin: np.ndarray, truth: np.ndarray, out: str) -> None:
    """Weights found against true ones, and the differences, with intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for unit, (w, half, true) in enumerate(zip(found, margin, truth, strict=True)):
        above.plot(true, w, "o", ms=4, label=f"unit {unit}")
        below.errorbar(true, w - true, half, fmt="o", ms=3, lw=0.8)
    above.axline((0.0, 0.0), slope=1.0, color="0.7", zorder=0)
    below.axhline(0.0, color="0.7", zorder=0)
    above.set(ylabel="weight found")
    below.set(xlabel="true weight", ylabel="difference, 95 % interval")
    above.legend(frameon=False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
