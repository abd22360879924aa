"""The tensor start as published (Zhong et al. 2017, algorithm 1): averages of raw labels, power method, RecMag.

It is kept for comparison and reproduction; the start of ``tensor.py`` estimates the same moments by regression
and needs one to two orders of magnitude fewer rows.
"""

from __future__ import annotations

import numpy as np

from ..engines import Engine
from ..models import Network, Parameters
from ..sweeps import MomentSweeps
from ..tensors import decompose, hermite_to_tensor
from .affine import affine_fit
from .base import StartError, check_plain
from .tensor import check_resolvable, filter_start, lengths_from_moments

_POWER_ITERATIONS = 60
_NEARLY_PARALLEL = 0.1  # singular values below this share of the largest would blow lengths up


def check_published(model: Network, n_features: int) -> None:
    """Raise StartError where the published moments cannot determine the weights.

    Parameters
    ----------
    model : Network
    n_features : int
    """
    check_plain(model, "tensor-published")
    check_resolvable(model, n_features)


def published_start(engine: Engine, model: Network, seed: np.random.SeedSequence, *, split: bool = False) -> Parameters:
    """Tensor start by moment averages.

    Parameters
    ----------
    engine : Engine
    model : Network
        Homogeneous activations with signs, others with known output weights.
    seed : SeedSequence
    split : bool
        Estimate the subspace, the tensor and the magnitudes on three disjoint thirds of the rows, as the proof
        does; otherwise all three on all rows, as the authors' experiments do.

    Returns
    -------
    Parameters

    Raises
    ------
    StartError
        Moments that cannot determine the weights.
    """
    check_published(model, engine.shape[1])
    rng = np.random.default_rng(seed)
    act, k, d = model.activation, model.n_hidden, engine.shape[1]
    if model.n_patches > 1:
        return filter_start(engine, model, affine_fit(engine), rng)
    if act.tensor_order is None:
        raise StartError(f"activation {act.name!r} has no moment of order 3 or 4, which the published start needs")
    if act.degree is None and model.known_v is None:
        raise StartError(
            f"the published start knows no output weights for {act.name!r}, which is not homogeneous: use init='tensor'"
        )
    parts = [engine.part(i, 3) for i in range(3)] if split else [engine] * 3
    subspace, tensor, magnitude = (MomentSweeps(part) for part in parts)
    # A random alpha loses a factor sqrt(d) in an odd moment; the first moment is a direction that is there.
    alpha = subspace.first()[1] if act.subspace_order == 3 else rng.standard_normal(d)
    basis = _two_sided_power(subspace, int(act.subspace_order or 2), alpha / np.linalg.norm(alpha), k, rng)
    core = hermite_to_tensor(tensor.hermite(basis, (act.tensor_order,))[0], k, act.tensor_order)
    if core.ndim == 4:
        inside = rng.standard_normal(k)
        core = core @ (inside / np.linalg.norm(inside))
    found = decompose(core, k, random_state=rng)
    mean, first, _ = magnitude.first()
    if act.degree is not None:
        second = hermite_to_tensor(magnitude.hermite(basis, (2,))[0], k, 2)
        return magnitudes(model, found.vectors, basis, basis @ first, second)
    tensors = [np.array([mean]), basis @ first, np.zeros((k, k)), core]
    return lengths_from_moments(model, found.vectors @ basis, found.vectors, tensors, found.coefficients, mean)


def _two_sided_power(
    sweeps: MomentSweeps, order: int, alpha: np.ndarray, k: int, rng: np.random.Generator
) -> np.ndarray:
    """Orthogonal iteration on ``C I + P2`` and ``C I - P2``; the k largest |Rayleigh quotients| of both runs."""
    d = len(alpha)

    def product(v: np.ndarray) -> np.ndarray:
        return sweeps.product(v, order, alpha)

    v = np.linalg.qr(rng.standard_normal((d, k)))[0].T
    for _ in range(3):
        v = np.linalg.qr(product(v).T)[0].T
    shift = 3.0 * float(np.linalg.norm(product(v), 2))
    sides = []
    for sign in (1.0, -1.0):
        v = np.linalg.qr(rng.standard_normal((d, k)))[0].T
        for _ in range(_POWER_ITERATIONS):
            v = np.linalg.qr((shift * v + sign * product(v)).T)[0].T
        sides.append(v)
    both = np.concatenate(sides)
    quotients = np.abs(np.einsum("kd,kd->k", both, product(both)))
    chosen = both[np.argsort(-quotients)[:k]]
    return np.linalg.qr(chosen.T)[0].T


def magnitudes(
    model: Network, vectors: np.ndarray, basis: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Parameters:
    """RecMag for homogeneous activations: lengths and signs from moments of order one and two.

    Parameters
    ----------
    model : Network
    vectors : ndarray (k, k)
        Unit directions in the basis.
    basis : ndarray (k, d)
        Orthonormal rows.
    first : ndarray (k,)
    second : ndarray (k, k)
        Moments of the responses in the basis.

    Returns
    -------
    Parameters
    """
    act, k = model.activation, len(vectors)
    unit = act.moments(1.0, 2)
    kr = (vectors[:, :, None] * vectors[:, None, :]).reshape(k, -1)
    z = np.linalg.lstsq(vectors.T, first, rcond=_NEARLY_PARALLEL)[0]
    r = np.linalg.lstsq(kr.T, second.ravel(), rcond=_NEARLY_PARALLEL)[0]
    v = model.known_v
    if v is None:
        v = np.where(r / unit[2] < 0, -1.0, 1.0)
    side = np.where(v * z / unit[1] < 0, -1.0, 1.0)
    size = np.abs(z / (unit[1] * v)) ** (1.0 / (act.degree or 1))
    linear = np.zeros(basis.shape[1]) if model.linear_term else None
    return Parameters((side * size)[:, None] * (vectors @ basis), v, linear, 0.0)
