"""Plant a ReLU network, recover it from noisy responses, and say how sure every weight is.

python examples/recover_relu.py [rec.npz]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr


def main(n: int = 100_000, out: str | None = None) -> fr.Recovery:
    """Recover from n rows; write the recovery to `out` if given."""
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
        rec.save(out)
        print(f"wrote {out}")
    return rec


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
