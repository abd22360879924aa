"""Whole moment tensors of whitened rows, and the start that is made of them.

A sweep contracts a moment while it reads; here the rows are gone, and the tensors are what there is.
"""

from __future__ import annotations

import math

import numpy as np

from ..linalg import leading_eigenvectors
from ..models import Network, Parameters
from ..starts import QuadraticFit, assigned, components, lengths_from_moments, magnitudes, quadratic_network
from ..sweeps import paired
from ..tensors import contracted

_ROUNDS = 10


def of_order(powers: np.ndarray, order: int) -> np.ndarray:
    """The moments of `order` of x in a tensor of powers of (x, 1)."""
    d = len(powers) - 1
    return powers[(slice(d),) * order + (d,) * (powers.ndim - order)]


class WhiteMoments:
    """Moments ``M_j = E[r He_j(z)]`` of whitened rows z.

    Powers become Hermite polynomials with the second moment G of z in the place of I, which is the same but for
    directions without variance.  Below the highest order r is what an affine fit leaves of y: that changes no
    expectation, takes most of the variance away, and needs powers of the rows of one order more.

    Parameters
    ----------
    inputs, responses : ndarray of p axes of length d + 1
        Means of powers of (z, 1), alone and times y less its mean.
    mean, variance : float
        Of y.
    """

    def __init__(self, inputs: np.ndarray, responses: np.ndarray, mean: float, variance: float) -> None:
        self.mean, self.variance, self.n_features = mean, variance, len(inputs) - 1
        self._inputs, self._responses = inputs, responses
        self._known: dict[int, np.ndarray] = {}

    def moment(self, order: int) -> np.ndarray:
        """``M_order``, `order` axes of length d; made once."""
        if order not in self._known:
            self._known[order] = self._moment(order)
        return self._known[order]

    def _moment(self, order: int) -> np.ndarray:
        if order == 1:
            return of_order(self._responses, 1)
        g = of_order(self._inputs, 2)
        found = self._of_residual(order, order)
        if order == 2:
            return found - self._of_residual(0, order) * g
        found = found - paired(g, self._of_residual(order - 2, order))
        return found if order == 3 else found + self._of_residual(0, order) * paired(g, g) / 2.0

    def _of_residual(self, power: int, order: int) -> np.ndarray:
        """``E[r z (x) .. (x) z]``, r as :meth:`moment` of `order` has it."""
        found = of_order(self._responses, power)
        if order == self._inputs.ndim:
            return found
        return found - np.tensordot(of_order(self._responses, 1), of_order(self._inputs, power + 1), axes=(0, 0))

    def subspace(self, order: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Orthonormal rows (count, d) that span the leading directions of ``M_order``, 2 or 3."""
        whole = self.moment(order)
        if order == 2:
            return leading_eigenvectors(lambda v: v @ whole, self.n_features, count, rng)[1]
        slices = whole.reshape(self.n_features, -1)
        values, vectors = np.linalg.eigh(slices @ slices.T)
        basis = vectors[:, -count:].T
        for _ in range(_ROUNDS):  # higher-order orthogonal iteration
            slices = np.tensordot(np.tensordot(whole, basis, axes=(2, 1)), basis, axes=(1, 1))
            basis = np.linalg.svd(slices.reshape(self.n_features, -1), full_matrices=False)[0][:, :count].T
        return basis


def start_of(white: WhiteMoments, model: Network, n_rows: int, rng: np.random.Generator) -> Parameters:
    """Parameters on whitened rows: the steps of the tensor start, with averages where it has regressions.

    Parameters
    ----------
    white : WhiteMoments
    model : Network
        Fully connected, of one output, without hidden biases.
    n_rows : int
        That were averaged.
    rng : Generator

    Returns
    -------
    Parameters

    Raises
    ------
    StartError
        Moments that are zero.
    """
    act, k, d = model.activation, model.n_hidden, white.n_features
    if act.is_quadratic:
        values, vectors = np.linalg.eigh(white.moment(2) / 2.0)
        top = np.argsort(-np.abs(values))[:k]
        affine = Parameters(np.zeros((0, d)), np.zeros(0), white.moment(1), white.mean)
        return quadratic_network(QuadraticFit(vectors[:, top].T, values[top], affine, 0.0), model)
    if model.known_v is not None and np.ptp(model.known_v) > 0:
        return assigned(start_of(white, model.with_output_weights("free"), n_rows, rng), model)
    basis = white.subspace(int(act.subspace_order or 2), k, rng)
    tensors = [contracted(white.moment(j), basis) for j in range(1, int(act.tensor_order or 4) + 1)]
    tensors = [np.array([white.mean]), *tensors]
    directions, leading = components(tensors, math.sqrt(white.variance / n_rows), act, rng)
    if act.degree is not None:
        return magnitudes(model, directions, basis, tensors[1], tensors[2])
    return lengths_from_moments(model, directions @ basis, directions, tensors, leading, white.mean)
