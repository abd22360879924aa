"""
A covariance, and an image, from energies alone
===============================================

See a covariance matrix, and an image, that were only ever measured as energies.

Every measurement is one number, the mean square of a random combination x of all sensors: ``y = x' M x``.  A covariance
of a few patterns is recovered from far fewer such numbers than it has entries.  With one pattern this is phase
retrieval: an image from ``|x . image|^2``, whose signs were never seen.

::

    python examples/covariance_sketch.py [sketch.png]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr

SENSORS, PIXELS = 64, 20


def main(rows: float = 3.0, out: str | None = None) -> tuple[float, float]:
    """Recover both from `rows` measurements for each unknown, draw them to `out` if given, return relative errors."""
    patterns, image = events(), portrait().ravel()
    covariance = measured(patterns, rows, seed=1)
    entries = SENSORS * (SENSORS + 1) // 2
    print(f"covariance of {SENSORS} sensors, rank {len(patterns)}: {covariance['n']} numbers for {entries} entries")
    report(covariance)
    picture = measured(image[None], rows, seed=2)
    print(f"image of {PIXELS} x {PIXELS} pixels: {picture['n']} energies, no signs")
    report(picture)
    if out is not None:
        draw(covariance, picture, out)
        print(f"wrote {out}")
    return covariance["error"], picture["error"]


def measured(truth: np.ndarray, rows: float, seed: int) -> dict:
    """Measure M = truth' truth with one per cent of noise and recover it, by a fit and by plain averaging."""
    r, d = truth.shape
    model = fr.models.Quadratic(n_hidden=r)
    source = fr.datasets.Teacher(model, fr.models.Parameters(truth, np.ones(r)))
    n = int(rows * r * d)
    exact = source.sample(n, random_state=seed)[1]
    X, y = source.sample(n, noise=0.01 * exact.std(), random_state=seed)
    rec = fr.fit(X, y, model, random_state=0)

    # E[y x x'] = 2 M + tr(M) I: the average of all measurements, cut to its r largest eigenvalues.
    values, vectors = np.linalg.eigh(((X.T * y) @ X / n - y.mean() * np.eye(d)) / 2)
    averaged = np.sqrt(np.maximum(values[-r:], 0.0))[:, None] * vectors[:, -r:].T
    M, by_average = truth.T @ truth, averaged.T @ averaged
    return {
        "n": n,
        "truth": truth,
        "fit": rec.weights,
        "average": averaged,
        "error": rec.error(source),
        "error of the average": float(np.linalg.norm(by_average - M) / np.linalg.norm(M)),
    }


def report(found: dict) -> None:
    """Both errors, relative, of the matrix."""
    print(f"  relative error {found['error']:.4f}; of the plain average {found['error of the average']:.2f}")


def events() -> np.ndarray:
    """Four patterns over the sensors: two bumps that move together, two that oppose each other, ripples, a step."""
    at = np.arange(SENSORS)

    def bump(centre: float, width: float) -> np.ndarray:
        return np.exp(-((at - centre) ** 2) / (2 * width**2))

    return np.array(
        [
            bump(10, 3) + bump(48, 3),
            1.2 * (bump(22, 4) - bump(38, 4)),
            0.9 * bump(30, 12) * np.cos(2 * np.pi * at / 8),
            0.7 * (at > 54),
        ]
    )


def portrait() -> np.ndarray:
    """A face, (PIXELS, PIXELS): bright on zero, with darker (negative) eyes and mouth."""
    down, across = np.mgrid[:PIXELS, :PIXELS] - (PIXELS - 1) / 2
    face = 1.0 * (down**2 + across**2 < 81)
    for side in (-3.5, 3.5):
        face[(down + 3) ** 2 + (across - side) ** 2 < 3] = -1.0
    ring = np.hypot(down - 0.5, across)
    face[(np.abs(ring - 5.2) < 0.9) & (down > 2)] = -1.0
    return face


def draw(covariance: dict, picture: dict, out: str) -> None:
    """Truth, fit and plain average side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.2), layout="constrained")
    axes = figure.subplots(2, 3)
    names = ("truth", "fit", "average")
    for ax, name in zip(axes[0], names, strict=True):
        rows = covariance[name]
        most = np.abs(covariance["truth"].T @ covariance["truth"]).max()
        ax.imshow(rows.T @ rows, cmap="RdBu_r", vmin=-most, vmax=most)
    for ax, name in zip(axes[1], names, strict=True):
        row = picture[name][0] * np.sign(picture[name][0] @ picture["truth"][0])  # the overall sign is free
        ax.imshow(row.reshape(PIXELS, PIXELS), cmap="gray", vmin=-1.2, vmax=1.2)
    labels = ("truth", "recovered", "plain average")
    for found, line in zip((covariance, picture), axes, strict=True):
        errors = (None, found["error"], found["error of the average"])
        for ax, label, error in zip(line, labels, errors, strict=True):
            ax.set_title(label if error is None else f"{label}, relative error {error:.2g}", fontsize=10)
            ax.set_xticks([])
            ax.set_yticks([])
    axes[0, 0].set_ylabel(f"covariance from {covariance['n']} numbers")
    axes[1, 0].set_ylabel(f"image from {picture['n']} energies")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
