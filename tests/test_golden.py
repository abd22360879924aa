"""A change of structure moves no result: every way to fit finds what it found before.

``golden.npz`` holds what :mod:`golden_fits` found when it was last written on purpose
(``python tests/golden_fits.py``).  Weights are compared far above rounding and far below any statistical error, so
that instruction sets and BLAS libraries agree, while another sub-sample, another draw or one step more does not.
"""

from __future__ import annotations

from dataclasses import replace

import golden_fits
import numpy as np
import pytest

EXPECTED = np.load(golden_fits.ARRAYS)

#: Fits that descend from many far points: their passes count steps on the way to nowhere, some of which rounding
#: alone adds or saves, while the minimum that they agree on stays.
MANY_DESCENTS = {"user", "expand", "random", "random fcn", "units"}


@pytest.mark.parametrize("name", golden_fits.CASES)
def test_fit_finds_what_it_found(name):
    found, expected = golden_fits.numbers(golden_fits.CASES[name]()), EXPECTED[name]
    near = 1e-6 if "float32" in name else 1e-10
    *weights, _, passes, converged = found
    *before, _, passes_before, converged_before = expected
    assert converged == converged_before
    assert passes == pytest.approx(passes_before, rel=0.05 if name in MANY_DESCENTS else 1e-12)
    np.testing.assert_allclose(weights, before, rtol=0, atol=near * np.linalg.norm(before))


def test_every_stored_fit_is_run():
    assert set(EXPECTED.files) == set(golden_fits.CASES) >= MANY_DESCENTS


def test_digest_sees_one_bit():
    found = golden_fits.CASES["given"]()
    digest = golden_fits.digest(found)
    weights = found.weights.copy()
    weights[0, 0] = np.nextafter(weights[0, 0], 2.0)
    found.parameters = replace(found.parameters, weights=weights)
    assert golden_fits.digest(found) != digest
