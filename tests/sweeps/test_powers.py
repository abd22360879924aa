"""Sums of powers of (x, 1) against NumPy's, in all backends of the kernels."""

from __future__ import annotations

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.engines import ThreadEngine
from fastrecover.sources import ArraySource
from fastrecover.sweeps import paired, power_sums
from fastrecover.tensors import unpack


@pytest.mark.parametrize("kernels", ["compiled", "numba", "reference"])
@pytest.mark.parametrize(
    ("order", "n", "d"), [(2, 300, 5), (3, 300, 5), (4, 300, 5), (2, 40, 600), (3, 9, 1), (4, 9, 1)]
)
def test_power_sums(kernels, order, n, d):
    rng = np.random.default_rng(order)
    x, y, w = rng.standard_normal((n, d)), rng.standard_normal(n), rng.uniform(0, 3, n)
    z = np.c_[x, np.ones(n)]
    before = fr.get_kernels()
    fr.set_kernels(kernels)
    try:
        found = unpack(power_sums(ThreadEngine(ArraySource(x, y, w), 2), order), d + 1, order)
    finally:
        fr.set_kernels(before)
    letters = "abcd"[:order]
    wanted = np.einsum(f"n,{','.join(f'n{a}' for a in letters)}->{letters}", w * y, *[z] * order, optimize=True)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(w * y).sum() * max(np.abs(z).max(), 1) ** 2)


def test_pairs_of_axes():
    rng = np.random.default_rng(0)
    g = rng.standard_normal((3, 3))
    g, v = g + g.T, rng.standard_normal(3)
    three = np.einsum("ab,c->abc", g, v) + np.einsum("ac,b->abc", g, v) + np.einsum("bc,a->abc", g, v)
    np.testing.assert_allclose(paired(g, v), three)
    six = sum(np.einsum(f"{p},{q}->abcd", g, g) for p, q in (("ab", "cd"), ("ac", "bd"), ("ad", "bc")))
    np.testing.assert_allclose(paired(g, g), 2 * six)
