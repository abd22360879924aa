"""
Subunits of a visual neuron
===========================

Find the subunits of a simulated visual neuron from its responses to flickering bars.

An energy model: two pairs of space-time filters are squared and added (each pair answers a moving pattern
whatever its phase), one more is squared and subtracted, and a linear term stands beside them.  The stimulus
is binary white noise, and a row of the data is a window of frames: ``fr.lagged`` makes the windows as a view.

::

    python examples/neuron_subunits.py [subunits.png]
"""

from __future__ import annotations

import sys

import numpy as np

import fastrecover as fr

BARS, LAGS = 16, 8


def main(n: int = 60_000, out: str | None = None) -> float:
    """Recover the subunits from n frames, write a picture to `out` if given, return the relative error."""
    rng = np.random.default_rng(0)
    model = fr.models.Quadratic(n_hidden=5, output_weights="signs", linear_term=True, fit_intercept=True)
    excited = [filter_of(4.0, 5.0, 2.6, phase) for phase in (0.0, np.pi / 2)]
    excited += [filter_of(11.0, 6.0, 2.2, phase) for phase in (0.0, np.pi / 2)]
    suppressed = filter_of(8.0, -8.0, 3.5, 0.0)
    neuron = fr.datasets.Teacher(
        model,
        fr.models.Parameters(
            weights=np.array([*excited, suppressed]) * np.sqrt([[0.6], [0.6], [0.4], [0.4], [0.3]]),
            output_weights=np.array([1.0, 1.0, 1.0, 1.0, -1.0]),
            linear=0.3 * excited[0],
            intercept=1.0,
        ),
    )
    stimulus = rng.choice(np.array([-1.0, 1.0], np.float32), (n, BARS))
    windows = fr.lagged(stimulus, LAGS)
    rate = neuron.predict(windows)
    responses = rate + rng.standard_normal(len(rate)) * rate.std()

    train, test = slice(0, int(0.8 * n)), slice(int(0.8 * n), None)
    # Binary noise is not Gaussian; its sums with smooth filters nearly are, and only the start relies on that.
    rec = fr.fit(windows[train], responses[train], model, inputs="gaussian", random_state=0)
    print(rec.summary())
    held_back = np.corrcoef(rec.predict(windows[test]), responses[test])[0, 1]
    possible = np.corrcoef(rate[test], responses[test])[0, 1]
    error = rec.error(neuron)
    print(f"correlation on rows held back {held_back:.3f} (the noise allows {possible:.3f})")
    print(f"relative error of the quadratic form, linear term and intercept {error:.3f}")
    if out is not None:
        rec.plot(out, teacher=neuron, shape=(LAGS, BARS))
        print(f"wrote {out}")
    return error


def filter_of(centre: float, period: float, width: float, phase: float) -> np.ndarray:
    """Space-time filter of length one that drifts (a negative period turns it round), (LAGS * BARS,)."""
    frame, bar = np.mgrid[:LAGS, :BARS]
    envelope = np.exp(-((bar - centre) ** 2) / (2 * width**2) - (frame - 4.5) ** 2 / 4.5)
    drifting = envelope * np.cos(2 * np.pi * (bar - centre) / period - 0.9 * frame + phase)
    return (drifting / np.linalg.norm(drifting)).ravel()


if __name__ == "__main__":
    main(out=sys.argv[1] if len(sys.argv) > 1 else None)
