"""Decompose a small symmetric tensor into non-orthogonal rank-one components of mixed sign.

Joint diagonalisation of slices and the final fit of the tensor itself are one least-squares problem, that of
``joint_fit``; here are the starts of the one, the order in which both are tried, and the checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike

from .._blas import one_blas_thread
from .._typing import RandomState
from .joint_fit import EXACT, Block, Solution, minimise
from .symmetric import Array

_RANK_TOL = 1e-10
_SYMMETRY_TOL = 1e-6
_AGREE = 1e-3
_START_ITERATIONS = 60
_START_TOL = 1e-6
_POOR = 0.3
_FIRST_TRIES = 2


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Components of a symmetric tensor, T ~ sum_r coefficients[r] vectors[r]^(x)order.

    Parameters
    ----------
    coefficients : ndarray, shape (rank,)
        Signed weights, largest magnitude first.
    vectors : ndarray, shape (rank, k)
        Unit rows, oriented so that the entry of largest magnitude is positive.
    residual : float
        Relative Frobenius norm of what is left of T.
    converged : bool
        Whether the last fit stopped because nothing could be gained any more.
    """

    coefficients: Array
    vectors: Array
    residual: float
    converged: bool


def decompose(
    T: ArrayLike,
    rank: int | None = None,
    *,
    matrices: ArrayLike | None = None,
    matrix_weights: ArrayLike = 1.0,
    noise: float = 0.0,
    n_starts: int = 6,
    tol: float = 1e-10,
    max_iter: int = 200,
    random_state: RandomState = None,
) -> Decomposition:
    """Decompose a symmetric tensor of order 3 or 4 as sum_r c_r u_r^(x)order, u_r unit, not orthogonal.

    Joint non-orthogonal diagonalisation of the slices (Kuleshov, Chaganty and Liang, "Tensor factorization
    via matrix factorization", arXiv 1501.07320) started from Jennrich's eigenvectors and from random
    orthogonal matrices, then a fit of the tensor itself.  All slices are used (compressed to `rank` of them
    for order 4), because random projections of them would lose information.

    Parameters
    ----------
    T : array_like, shape (k, k, k) or (k, k, k, k)
        Symmetric, finite, not zero.
    rank : int, optional
        Number of components, at most k.  Default: numerical rank of the k x k^(order-1) unfolding, with the
        matrices beside it (relative tolerance 1e-10); that is k for a noisy tensor.
    matrices : array_like, shape (m, k, k) or (k, k), optional
        Further symmetric matrices sum_r d_r u_r u_r^T with the same u_r and any d_r.
    matrix_weights : array_like, shape () or (m,)
        Factor on each matrix residual: noise level of T over that of the matrix.
    noise : float
        Frobenius norm of the error that T and the weighted matrices are known to have; the first fit that leaves no
        more is taken.
    n_starts : int
        Starting points; fewer are used once two agree on the lowest residual or the fit is exact.
    tol : float
        Stop when no unit vector moves by more than this.
    max_iter : int
        Limit on the iterations of the final fit.
    random_state : int, Generator, SeedSequence or None
        Source of random projections and starts.

    Returns
    -------
    Decomposition

    Raises
    ------
    TypeError
        If `rank`, `n_starts` or `max_iter` is not an integer.
    ValueError
        If a shape is wrong, an entry is not finite, `T` or a matrix is not symmetric, `T` is zero, `rank` is
        not in 1..k, or an option is out of range.
    """
    tensor = _checked_tensor(T)
    k, order = tensor.shape[0], tensor.ndim
    stack = _checked_matrices(matrices, matrix_weights, k)
    for label, value in (("n_starts", n_starts), ("max_iter", max_iter)):
        _check_count(label, value, None)
    if rank is not None:
        _check_count("rank", rank, k)
    for label, level in (("tol", tol), ("noise", noise)):
        if not level >= 0:
            raise ValueError(f"{label} must be >= 0, got {level!r}")
    size = float(np.linalg.norm(tensor))
    tensor, stack = tensor / size, stack / size
    rng = np.random.default_rng(random_state)
    blocks = [Block(tensor[None], order)] + ([Block(stack, 2)] if len(stack) else [])
    with one_blas_thread():
        if rank == k:
            basis, slices = np.eye(k), np.concatenate([_slices(tensor), stack])
        else:
            basis, singular = _column_space(tensor, stack)
            basis = basis[:, : rank or int((singular > _RANK_TOL * singular[0]).sum())]
            slices = np.concatenate([_slices(_project(tensor[None], basis)[0]), _project(stack, basis)])
        joint = [Block(slices, 2)]
        if noise:
            for start in _jennrich(joint[0], _FIRST_TRIES, rng)[:1]:
                best = minimise(blocks, start @ basis.T, max_iter, tol)
                if 2.0 * best.loss <= (noise / size) ** 2:
                    return _sorted(best, size, order)
        diagonal = _lowest(joint, _starts(joint[0], n_starts, rng), _START_ITERATIONS, _START_TOL)
        best = minimise(blocks, diagonal.vectors @ basis.T, max_iter, tol)
        if best.residual > _POOR:
            turned = [q @ basis.T for q in _orthogonal(basis.shape[1], n_starts, rng)]
            others = _lowest(blocks, turned, max_iter, tol)
            best = min(best, others, key=lambda solution: solution.loss)
    return _sorted(best, size, order)


def _lowest(blocks: list[Block], starts: list[Array], max_iter: int, tol: float) -> Solution:
    """Minimise from each start in turn, until two agree on the lowest loss or one is exact."""
    total = sum(block.size for block in blocks)
    best = minimise(blocks, starts[0], max_iter, tol)
    for start in starts[1:]:
        if best.loss <= EXACT * total:
            break
        found = minimise(blocks, start, max_iter, tol)
        agree = abs(found.loss - best.loss) <= _AGREE * best.loss
        best = found if found.loss < best.loss else best
        if agree:
            break
    return best


def _starts(block: Block, n_starts: int, rng: np.random.Generator) -> list[Array]:
    """Return the best of a dozen Jennrich starts, each followed by a random orthogonal one.

    Two Jennrich starts can agree on a stationary point that is no minimum (they do for a defective tensor);
    two different kinds do not.
    """
    jennrich = _jennrich(block, 2 * n_starts, rng)
    orthogonal = _orthogonal(block.target.shape[1], n_starts, rng)
    mixed = [start for pair in zip(jennrich, orthogonal, strict=False) for start in pair]
    return (mixed + orthogonal)[:n_starts]


def _orthogonal(k: int, count: int, rng: np.random.Generator) -> list[Array]:
    return [np.linalg.qr(rng.standard_normal((k, k)))[0] for _ in range(count)]


def _jennrich(block: Block, count: int, rng: np.random.Generator) -> list[Array]:
    """Return eigenvectors of A B^+ for pairs of random mixtures of the slices, best first, degenerate ones left out."""
    mixtures = np.tensordot(rng.standard_normal((count, 2, len(block.target))), block.target, axes=1)
    try:
        values, vectors = np.linalg.eig(mixtures[:, 0] @ np.linalg.pinv(mixtures[:, 1]))
    except np.linalg.LinAlgError:
        return []
    real = np.where(values.imag[:, None] < 0, vectors.imag, vectors.real).transpose(0, 2, 1)
    norms = np.linalg.norm(real, axis=2)
    found = [rows / size[:, None] for rows, size in zip(real, norms, strict=True) if size.min() >= 1e-8]
    return sorted(found, key=lambda rows: block.fit(rows).loss)


def _slices(core: Array) -> Array:
    """Return k matrices that span all slices of a symmetric k^3 or k^4 tensor of rank k."""
    k = core.shape[0]
    if core.ndim == 3:
        return core
    values, basis = np.linalg.eigh(core.reshape(k * k, k * k))
    keep = np.argsort(-np.abs(values))[:k]
    return (values[keep] * basis[:, keep]).T.reshape(k, k, k)


def _column_space(tensor: Array, stack: Array) -> tuple[Array, Array]:
    """Return left singular vectors and values of the tensor's unfolding, the matrices put beside it."""
    k = tensor.shape[0]
    unfolding = np.concatenate([tensor.reshape(k, -1), stack.transpose(1, 0, 2).reshape(k, -1)], axis=1)
    triangle = np.asarray(np.linalg.qr(unfolding.T, mode="r"))
    left, singular, _ = np.linalg.svd(triangle.T, full_matrices=False)
    return left, singular


def _project(tensors: Array, basis: Array) -> Array:
    out = tensors
    for axis in range(1, tensors.ndim):
        out = np.moveaxis(np.tensordot(out, basis, axes=(axis, 0)), -1, axis)
    return out


def _sorted(best: Solution, size: float, order: int) -> Decomposition:
    vectors, coefficients = best.vectors, size * best.fits[0].coefficients[0]
    peak = np.argmax(np.abs(vectors), axis=1)
    signs = np.where(np.take_along_axis(vectors, peak[:, None], axis=1)[:, 0] < 0, -1.0, 1.0)
    ranking = np.argsort(-np.abs(coefficients), kind="stable")
    vectors, coefficients = signs[:, None] * vectors, signs**order * coefficients
    return Decomposition(coefficients[ranking], vectors[ranking], best.residual, best.converged)


def _check_count(label: str, value: object, largest: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{label} must be an integer, got {type(value).__name__}")
    if value < 1 or (largest is not None and value > largest):
        limits = ">= 1" if largest is None else f"between 1 and k = {largest}"
        raise ValueError(f"{label} must be {limits}, got {value}")


def _checked_tensor(T: ArrayLike) -> Array:
    tensor = np.asarray(T, dtype=np.float64)
    if tensor.ndim not in (3, 4) or len(set(tensor.shape)) != 1 or tensor.shape[0] == 0:
        raise ValueError(f"T must have shape (k, k, k) or (k, k, k, k), got {tensor.shape}")
    tensor = _symmetrised("T", tensor[None])[0]
    if not tensor.any():
        raise ValueError("T is zero: it has no components")
    return tensor


def _checked_matrices(matrices: ArrayLike | None, weights: ArrayLike, k: int) -> Array:
    if matrices is None:
        return np.zeros((0, k, k))
    stack = np.asarray(matrices, dtype=np.float64)
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or stack.shape[1:] != (k, k):
        raise ValueError(f"matrices must have shape (m, {k}, {k}) or ({k}, {k}), got {np.shape(matrices)}")
    factors = np.asarray(weights, dtype=np.float64)
    valid = np.isfinite(factors).all() and (factors >= 0).all()
    if factors.shape not in ((), stack.shape[:1]) or not valid:
        raise ValueError(f"matrix_weights must be one or {len(stack)} finite numbers >= 0, got {weights!r}")
    return _symmetrised("matrices", stack) * np.broadcast_to(factors, len(stack))[:, None, None]


def _symmetrised(label: str, tensors: Array) -> Array:
    """Check that every tensor of a stack is finite and symmetric; average rounding asymmetry away."""
    if not np.isfinite(tensors).all():
        raise ValueError(f"{label} must be finite, but it holds nan or infinity")
    size = np.abs(tensors).max(initial=0.0)
    axes = range(1, tensors.ndim)
    if all(np.array_equal(tensors, tensors.swapaxes(axis, axis + 1)) for axis in axes[:-1]):
        return tensors
    turned = [tensors.transpose(0, *order) for order in permutations(axes)]
    gap = max(float(np.abs(each - tensors).max(initial=0.0)) for each in turned)
    if gap > _SYMMETRY_TOL * size:
        raise ValueError(f"{label} must be symmetric; entries up to {size:.3g} differ by {gap:.3g}")
    return np.asarray(np.mean(turned, axis=0)) if gap else tensors
