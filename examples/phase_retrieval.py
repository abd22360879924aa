"""
Phase retrieval
===============

Recover a complex signal x from intensities ``y = |a . x|^2`` of complex measurements, or a real one from amplitudes.

An intensity is the sum of two squares of the real row (Re a, Im a), so a quadratic network of two units has it.  That
row and (-Im a, Re a), which is i a, have the same intensity: with both of them given, the two units that fit belong to
one complex signal.  All of ten signals of 20 unknowns came back from three intensities an unknown.  With noise, the
recovery's standard errors are too small by a root of two, since every row is given twice.

::

    python examples/phase_retrieval.py
"""

from __future__ import annotations

import numpy as np

import fastrecover as fr


def complex_signal(A: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[np.ndarray, fr.Recovery]:
    """The signal, up to a phase that intensities do not hold, from rows A (m, d) and intensities (m,)."""
    d = A.shape[1]
    rows = np.concatenate([np.c_[A.real, A.imag], np.c_[-A.imag, A.real]])
    rec = fr.fit(rows, np.concatenate([y, y]), "quadratic", 2, output_weights="ones", random_state=seed)
    # |a . x|^2 = (Re a . u - Im a . v)^2 + (Im a . u + Re a . v)^2 for x = u + i v.  A rotation of the two units is a
    # phase of x, and their exchange, or the sign of one, another: the first unit (u, -v) has it all.
    first = rec.weights[0]
    return first[:d] - 1j * first[d:], rec


def relative_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Distance after the best phase, relative."""
    phase = np.vdot(found, truth)
    return float(np.linalg.norm(found * phase / abs(phase) - truth) / np.linalg.norm(truth))


def main(d: int = 50, measurements: float = 6.0) -> tuple[float, float]:
    """Relative errors of a complex signal from intensities, and of a real one from amplitudes."""
    rng = np.random.default_rng(0)
    m = int(measurements * d)
    A = (rng.standard_normal((m, d)) + 1j * rng.standard_normal((m, d))) / np.sqrt(2.0)
    x = rng.standard_normal(d) + 1j * rng.standard_normal(d)
    found, rec = complex_signal(A, np.abs(A @ x) ** 2)
    intensities = relative_error(found, x)
    print(f"complex, {m} intensities of {d} unknowns: relative error {intensities:.1e} ({rec.message})")

    # Amplitudes of a real signal are a network of one unit with the activation |z|.
    X, w = rng.standard_normal((m, d)), rng.standard_normal(d)
    rec = fr.fit(X, np.abs(X @ w), "abs", 1, output_weights="ones", random_state=0)
    amplitudes = min(float(np.linalg.norm(sign * rec.weights[0] - w) / np.linalg.norm(w)) for sign in (1.0, -1.0))
    print(f"real, {m} amplitudes of {d} unknowns: relative error {amplitudes:.1e} ({rec.message})")
    return intensities, amplitudes


if __name__ == "__main__":
    main()
