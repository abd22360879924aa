"""The same loss and gradient as a competent user of NumPy or PyTorch would write it.

Every peer gets its own array type ready-made and returns plain numbers, so that only the sweep is timed, and
results can be compared before anything is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Sweep = Callable[[], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """One cell: f(x) = sum_j phi(w_j . x), squared loss.

    Attributes
    ----------
    x : ndarray (n, d)
    y : ndarray (n,) of float64
    w : ndarray (k, d) of float64
    activation : {"relu", "sigmoid"}
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    activation: str

    @property
    def flops(self) -> float:
        """Multiply-adds of the two products, counted twice; the row function's are not counted."""
        return 4.0 * self.x.shape[0] * self.x.shape[1] * len(self.w)

    @property
    def bytes(self) -> int:
        """Bytes that have to be read once."""
        return self.x.nbytes + self.y.nbytes


def numpy_sweep(problem: Problem) -> Sweep:
    """NumPy and its BLAS: units by rows, so that element-wise work runs over long rows and in place."""
    x, n = problem.x, len(problem.x)
    w, y = (a.astype(x.dtype) for a in (problem.w, problem.y))

    def relu() -> tuple[float, np.ndarray]:
        z = w @ x.T
        active = z > 0
        z *= active
        r = z.sum(axis=0)
        r -= y
        np.multiply(active, r, out=z)
        return 0.5 * float(r @ r) / n, (z @ x) / n

    def sigmoid() -> tuple[float, np.ndarray]:
        z = w @ x.T
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1
        np.reciprocal(z, out=z)
        r = z.sum(axis=0)
        r -= y
        z -= z * z
        z *= r
        return 0.5 * float(r @ r) / n, (z @ x) / n

    return {"relu": relu, "sigmoid": sigmoid}[problem.activation]


def torch_sweep(problem: Problem, compiled: bool = False) -> Sweep:
    """PyTorch autograd, eager or through ``torch.compile``."""
    import torch

    x = torch.from_numpy(problem.x)
    w = torch.from_numpy(problem.w).to(x.dtype).requires_grad_()
    y = torch.from_numpy(problem.y).to(x.dtype)
    phi = {"relu": torch.relu, "sigmoid": torch.sigmoid}[problem.activation]

    def loss(x, w, y):
        return 0.5 * ((phi(x @ w.T).sum(dim=1) - y) ** 2).mean()

    if compiled:
        torch._dynamo.reset()
        loss = torch.compile(loss, dynamic=False)

    def sweep() -> tuple[float, np.ndarray]:
        w.grad = None
        value = loss(x, w, y)
        value.backward()
        return float(value.detach()), w.grad.numpy()

    return sweep


def our_sweep(problem: Problem, threads: int, kernels: str = "compiled") -> Sweep:
    """One call of ``objective.value_and_grad`` with the given kernels."""
    import fastrecover as fr

    objective = fr.objective(problem.x, problem.y, problem.activation, len(problem.w), n_jobs=threads)
    theta = problem.w.ravel()

    def sweep() -> tuple[float, np.ndarray]:
        fr.set_kernels(kernels)
        try:
            value, grad = objective.value_and_grad(theta)
        finally:
            fr.set_kernels()
        return value, grad.reshape(problem.w.shape)

    return sweep


def hold_threads(threads: int) -> None:
    """Give PyTorch and BLAS this many threads for the rest of the process."""
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be limited)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
