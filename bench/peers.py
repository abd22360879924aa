"""The same loss and gradient as a competent user of NumPy, PyTorch, JAX or scikit-learn would write it.

Every peer gets its own array type ready-made and returns plain numbers, so that only the sweep is timed, and
results can be compared before anything is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


def gaussian_rows(n: int, d: int, dtype: Any) -> np.ndarray:
    """Normal rows, always the same ones; drawn in single precision, a piece at a time."""
    rng, x = np.random.default_rng(0), np.empty((n, d), dtype)
    for start in range(0, n, 20_000):
        part = x[start : start + 20_000]
        part[:] = rng.standard_normal(part.shape, np.float32)
    return x


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


def jax_64() -> Any:
    """JAX with 64-bit numbers, which it would otherwise round to 32 bits without a word."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def jax_sweep(problem: Problem) -> Sweep:
    """JAX: ``jit`` of ``value_and_grad``."""
    jax = jax_64()
    phi = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[problem.activation]
    x = jax.numpy.asarray(problem.x)
    w, y = (jax.numpy.asarray(a, x.dtype) for a in (problem.w, problem.y))

    def loss(w, x, y):
        return 0.5 * ((phi(x @ w.T).sum(axis=1) - y) ** 2).mean()

    step = jax.jit(jax.value_and_grad(loss))

    def sweep() -> tuple[float, np.ndarray]:
        value, grad = step(w, x, y)
        return float(value), np.asarray(grad)

    return sweep


def sklearn_sweep(problem: Problem) -> Sweep:
    """scikit-learn's ``MLPRegressor``, the function that its own L-BFGS calls.

    It cannot leave out biases and output weights; at zero and one, the loss and the hidden units' gradient are
    those of the problem.
    """
    from sklearn.neural_network import MLPRegressor

    x, (k, d) = problem.x, problem.w.shape
    y = problem.y.astype(x.dtype)[:, None]
    name = {"relu": "relu", "sigmoid": "logistic"}[problem.activation]
    mlp = MLPRegressor(hidden_layer_sizes=(k,), activation=name, solver="lbfgs", alpha=0.0, max_iter=1)
    mlp.fit(x[:10], y[:10, 0])
    theta = np.concatenate([problem.w.T.ravel(), np.ones(k), np.zeros(k + 1)]).astype(x.dtype)
    shapes = ((d, k), (k, 1))
    work: dict[str, Any] = {
        "activations": [x, np.empty((len(x), k), x.dtype), np.empty((len(x), 1), x.dtype)],
        "deltas": [np.empty((len(x), k), x.dtype), np.empty((len(x), 1), x.dtype)],
        "coef_grads": [np.empty(shape, x.dtype) for shape in shapes],
        "intercept_grads": [np.empty(shape[1], x.dtype) for shape in shapes],
    }

    def sweep() -> tuple[float, np.ndarray]:
        value, grad = mlp._loss_grad_lbfgs(theta, x, y, sample_weight=None, **work)
        return float(value), grad[: d * k].reshape(d, k).T

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
    """Give PyTorch, BLAS and JAX this many threads for the rest of the process."""
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be limited)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    os.environ["NPROC"] = str(threads)  # the size of JAX's pool, read when it first computes
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
