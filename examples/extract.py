"""
The network behind a black box
==============================

Extract the network behind a black box, here an MLPRegressor of scikit-learn, by queries of our own choice.

Along a line the answers are piecewise linear, and every kink is a unit: the picture shows them, and the kinks of the
network that was found.

::

    python examples/extract.py [picture.png]
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

import fastrecover as fr


def main(n_features: int = 30, n_hidden: int = 12, out: str | None = None) -> tuple[float, int]:
    """The largest difference of answers at new points, relative to their size, and the number of queries."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, n_features))
    y = np.maximum(X[:, 0] + X[:, 1], 0.0) - np.sin(X[:, 2]) + 0.1 * rng.standard_normal(2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # any victim will do
        victim = MLPRegressor(hidden_layer_sizes=(n_hidden,), max_iter=50, random_state=0).fit(X, y)

    # Modules of PyTorch and sessions of ONNX Runtime are victims in extract_torch.py and extract_onnx.py.
    began = time.perf_counter()
    rec = fr.extract(victim.predict, n_features, "auto", random_state=0)
    print(rec.message)
    numbers = victim.coefs_[0].size + 2 * n_hidden + 1
    print(f"{rec.n_queries} queries for {numbers} parameters, {time.perf_counter() - began:.2f} s")

    new = 3.0 * rng.standard_normal((1000, n_features))
    theirs, ours = victim.predict(new), rec.predict(new)
    worst = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    print(f"{len(rec.weights)} units; answers at new points differ by {worst:.1e} of their size")
    if out is not None:
        draw(victim, rec, new[0], new[1], out)
        print(f"wrote {out}")
    return worst, rec.n_queries


def draw(victim: MLPRegressor, rec: fr.Recovery, p: np.ndarray, q: np.ndarray, out: str) -> None:
    """Answers along the line through two points, and where the units that were found switch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes, t = figure.subplots(), np.linspace(-1.0, 2.0, 1001)
    axes.plot(t, victim.predict(p + t[:, None] * (q - p)), label="answers of the black box")
    kinks = -(rec.weights @ p + rec.biases) / (rec.weights @ (q - p))
    kinks = kinks[np.abs(kinks - 0.5) < 1.5]
    axes.plot(kinks, rec.predict(p + kinks[:, None] * (q - p)), "o", ms=5, label="kinks of the network found")
    axes.set(xlabel="position on a line", ylabel="answer")
    axes.legend(frameon=False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
