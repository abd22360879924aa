"""Sums of powers of rows, whole: what a summary of rows is made of, since sums of several sets of rows may be added.

Rows are taken as (x, 1), so that one symmetric tensor holds the sums of every order up to its own.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from ..engines import Engine
from ..kernels import Op, RowFunction
from ..tensors import hermite_to_tensor, pack
from .moments import hermite_factors

_COLUMNS = 512  # sums of a block are held for so many at a time


def power_sums(engine: Engine, order: int) -> np.ndarray:
    """``sum_i w_i y_i z_i (x) .. (x) z_i``, z = (x, 1), `order` times.

    One pass; for order 2 one for every 512 features.

    Parameters
    ----------
    engine : Engine
        Rows of a size of about 1, lest the Hermite polynomials of which fourth powers are made lose digits.
    order : {2, 3, 4}

    Returns
    -------
    ndarray (comb(d + order, order),)
        Distinct entries, in the order of ``tensors.multi_indices(d + 1, order)``.
    """
    d = engine.shape[1]
    if order == 4:
        return pack(_from_hermite(_hermite_sums(engine), d))
    engine = engine.with_ones()
    if order == 3:
        return engine.run(np.eye(d + 1), RowFunction(Op.THIRD, m=d + 1))[0][0]
    parts = [np.eye(min(_COLUMNS, d + 1 - i), d + 1, i) for i in range(0, d + 1, _COLUMNS)]
    sums = [engine.run(v, RowFunction(Op.MOMENT, m=len(v)))[0][: len(v)] for v in parts]
    return np.concatenate(sums)[np.triu_indices(d + 1)]


def _hermite_sums(engine: Engine) -> list[np.ndarray]:
    """Tensors ``sum w y He_j(x)``, j = 0 .. 4."""
    d = engine.shape[1]
    factors = hermite_factors(d, (0, 1, 2, 3, 4))
    sums, tensors = engine.run(np.eye(d), RowFunction(Op.HERMITE, m=d, order=4, factors=factors))[1][3:], []
    for j in range(5):
        count = len(hermite_factors(d, (j,)))
        tensors.append(hermite_to_tensor(sums[:count], d, j))
        sums = sums[count:]
    return tensors


def _from_hermite(hermite: list[np.ndarray], d: int) -> np.ndarray:
    """The tensor of fourth powers of (x, 1): ``x^(x)j = sum_i sym(I^(x)i, He_{j-2i}(x))``, over all pairings."""
    eye, full = np.eye(d), np.zeros((d + 1,) * 4)
    zeroth, first, second, third, fourth = hermite
    powers = [zeroth, first, second + zeroth * eye]
    powers.append(third + paired(eye, first))
    powers.append(fourth + paired(eye, second) + zeroth * paired(eye, eye) / 2.0)
    for j, power in enumerate(powers):
        for places in combinations(range(4), j):
            full[tuple(slice(d) if axis in places else d for axis in range(4))] = power
    return full


def paired(matrix: np.ndarray, tensor: np.ndarray) -> np.ndarray:
    """Sum of ``matrix (x) tensor`` over all ways to choose the two axes of the matrix.

    Parameters
    ----------
    matrix : ndarray (d, d)
    tensor : ndarray of j axes of length d

    Returns
    -------
    ndarray of j + 2 axes
    """
    product, axes = np.multiply.outer(matrix, tensor), range(2 + tensor.ndim)
    total = np.zeros_like(product)
    for pair in combinations(axes, 2):
        rest = [axis for axis in axes if axis not in pair]
        total += np.moveaxis(product, axes, (*pair, *rest))
    return total
