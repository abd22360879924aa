"""
An activation of your own
=========================

Recover units that saturate with a law that no table has: the response of a photoreceptor, ``z / (1 + |z|)``.

A function of a number and its derivative are all that is asked for.  They are compiled into the same sweeps as the
built-in activations (once, by Numba), and what matters for a fit is found on the function itself: whether it is odd or
even, smooth or kinked, homogeneous, bounded.

::

    python examples/own_activation.py [picture.png]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr


def softsign(z: float) -> float:
    """The function."""
    return z / (1.0 + abs(z))


def slope(z: float) -> float:
    """Its derivative."""
    return 1.0 / (1.0 + abs(z)) ** 2


def main(n: int = 20_000, out: str | None = None) -> tuple[float, float]:
    """Recover from n rows by the right law and by tanh; returns the shares of the variance that each explains."""
    mine = fr.Activation.from_functions(softsign, slope, name="softsign")
    print(f"parity: {mine.parity}, bounds: ({mine.bounds[0]:.3g}, {mine.bounds[1]:.3g})")
    teacher = fr.datasets.make_teacher(mine, n_features=10, n_hidden=3, norms=3.0, random_state=0)
    X, y = teacher.sample(n, noise=0.05, random_state=1)

    right = fr.fit(X, y, mine, n_hidden=3, random_state=0)
    print(f"{mine.name}: relative error {right.error(teacher):.4f}; {right.message}")
    wrong = fr.fit(X, y, "tanh", n_hidden=3, output_weights="free", random_state=0)
    print(f"tanh: {wrong.message}")
    new, truth = teacher.sample(5000, random_state=2)
    scores = right.score(new, truth), wrong.score(new, truth)
    print(f"R^2 on new rows without noise: {scores[0]:.5f}, and with tanh {scores[1]:.5f}")
    if out is not None:
        draw(right, wrong, out)
        print(f"wrote {out}")
    return scores


def draw(right: fr.Recovery, wrong: fr.Recovery, out: str) -> None:
    """What the first unit of each makes of its input."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes, z = figure.subplots(), np.linspace(-9.0, 9.0, 201)
    for rec, label in ((right, "softsign"), (wrong, "tanh, with its free output weight")):
        scale, v = np.linalg.norm(rec.weights[0]), rec.output_weights[0]
        axes.plot(z, v * rec.model.activation.value(scale * z / 3.0), label=label)
    axes.set(xlabel="input along the first unit, times 3", ylabel="output of the unit")
    axes.legend(frameon=False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
