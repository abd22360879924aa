"""
Filters behind spikes and misses
================================

Which stimuli does a simulated neuron answer with a spike, and through which filters?

Three subunits each propose a spike with the probability of a sigmoid, and one of them, drawn at random, is
heard: P(spike | x) is the mean of three sigmoids.  All that is recorded is "spike" or "miss".

::

    python examples/classify.py [picture.png]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr


def main(n: int = 100_000, out: str | None = None) -> fr.Recovery:
    """Recover the filters from n labels, with intervals; draw them to `out` if given."""
    neuron = fr.datasets.make_teacher("fcn", n_features=8, n_hidden=3, norms=3.0, random_state=5)
    X, drawn = neuron.sample(n, random_state=6)
    labels = np.where(drawn > 0, "spike", "miss")
    train, test = slice(0, int(0.8 * n)), slice(int(0.8 * n), None)

    rec = fr.fit(X[train], labels[train], "fcn", n_hidden=3, random_state=0)
    print(rec.summary())
    best = np.where(neuron.predict(X[test]) > 0.5, "spike", "miss")
    print(f"accuracy on rows held back {rec.score(X[test], labels[test]):.3f}", end=" ")
    print(f"(the filters themselves reach {np.mean(best == labels[test]):.3f})")
    print(f"log loss on rows held back {rec.log_loss(X[test], labels[test]):.4f}")
    print(f"first row: {rec.predict(X[:1])[0]}, P(spike) = {rec.predict_proba(X[:1])[0, 1]:.3f}")

    errors, found = rec.standard_errors().weights, rec.align(neuron).weights
    order = [int(np.argmin(np.abs(rec.weights - row).sum(axis=1))) for row in found]
    low, high = found - 1.96 * errors[order], found + 1.96 * errors[order]
    print("95 % intervals of the first filter, and the truth:")
    for a, b, w in zip(low[0], high[0], neuron.weights[0], strict=True):
        print(f"  [{a:6.2f}, {b:6.2f}]  {w:6.2f}")
    inside = np.mean((low < neuron.weights) & (neuron.weights < high))
    print(f"{inside:.0%} of all weights lie in theirs; relative error {rec.error(neuron):.3f}")
    if out is not None:
        draw(found, low, high, neuron.weights, out)
        print(f"wrote {out}")
    return rec


def draw(found: np.ndarray, low: np.ndarray, high: np.ndarray, truth: np.ndarray, out: str) -> None:
    """Each filter with its 95 % intervals, and the truth as steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    at = np.arange(found.shape[1])
    for unit, axes in enumerate(figure.subplots(1, len(found), sharey=True)):
        axes.stairs(truth[unit], np.arange(len(at) + 1) - 0.5, color="0.6", label="true")
        margin = np.abs(np.array([low[unit], high[unit]]) - found[unit])
        axes.errorbar(at, found[unit], margin, fmt="o", ms=4, label="found")
        axes.set(title=f"filter {unit}", xlabel="feature")
    axes.legend(frameon=False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
