"""
Three classes, one of them rare
===============================

Tell three species apart, one of them rare, by four measurements in units of their own.

The network that most people fit: relu units with biases, an intercept for every class, a penalty chosen on rows that
are held out, and classes that weigh the same however rare they are.

::

    python examples/three_classes.py [picture.png]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr

SPECIES = np.array(["common", "frequent", "rare"])
SHARES = (0.6, 0.3, 0.1)
UNITS = np.array([0.1, 1.0, 25.0, 1000.0])  # say cm, mm, mg and a count


def measured(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Measurements (n, 4) and names of the species: each of them comes in two forms."""
    rng = np.random.default_rng(seed)
    which, form = rng.choice(3, n, p=SHARES), rng.integers(0, 2, n)
    centres = 1.5 * np.random.default_rng(5).standard_normal((3, 2, 4))
    X = centres[which, form] + 0.8 * rng.standard_normal((n, 4))
    return (X + 5.0) * UNITS, SPECIES[which]


def main(n: int = 1000, out: str | None = None) -> fr.Recovery:
    """Fit on n rows, report on 5000 others; draw the choice of alpha to `out` if given."""
    X, y = measured(n, seed=0)
    mean, spread = X.mean(axis=0), X.std(axis=0)  # a penalty sees columns in the units that they have
    rec = fr.fit(
        (X - mean) / spread,
        y,
        "relu",
        n_hidden=4,
        loss="logistic",
        class_weight="balanced",
        alpha="auto",
        restarts=5,
        random_state=0,
    )
    print(rec.summary())
    print("log loss on rows held out, by alpha:")
    for alpha, loss in rec.info["alphas"].items():
        print(f"  {alpha:>5}  {loss:.4f}{' <-' if float(alpha) == rec.info['alpha'] else ''}")

    new, truth = measured(5000, seed=1)
    new = (new - mean) / spread
    told, p = rec.predict(new), rec.predict_proba(new)
    print(f"accuracy on new rows {rec.score(new, truth):.3f}; of each class, told as:")
    print("  " + " " * 10 + "".join(f"{name:>10}" for name in rec.classes))
    for name in rec.classes:
        shares = [np.mean(told[truth == name] == other) for other in rec.classes]
        print(f"  {name:>10}" + "".join(f"{share:>10.2f}" for share in shares))

    # The fit took all classes for equally frequent: their true shares turn its probabilities into those of the field.
    weighted = p * np.array(SHARES)
    field = weighted / weighted.sum(axis=1, keepdims=True)
    print(f"accuracy with the shares of the field {np.mean(rec.classes[field.argmax(axis=1)] == truth):.3f}")
    print(
        "first row: " + ", ".join(f"P({name}) = {chance:.3f}" for name, chance in zip(rec.classes, p[0], strict=True))
    )
    if out is not None:
        draw(rec, out)
        print(f"wrote {out}")
    return rec


def draw(rec: fr.Recovery, out: str) -> None:
    """Log loss on rows held out against alpha, with the one that was chosen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    alphas = [float(alpha) for alpha in rec.info["alphas"]]
    axes.semilogx(alphas, list(rec.info["alphas"].values()), "o-")
    axes.axvline(rec.info["alpha"], color="0.7", zorder=0)
    axes.set(xlabel="alpha (the line: chosen)", ylabel="log loss, rows held out")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
