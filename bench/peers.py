"""Others at the same work, as a competent user of NumPy, PyTorch, JAX or scikit-learn would write it.

Of sweeps every peer gets its own array type ready-made and returns plain numbers.  On a planted regression L-BFGS
calls a watch with its parameters before each evaluation, trial points of line searches included, which judges them with
its clock stopped: a peer is credited with the first point that is good enough, even one it would have stepped over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Sweep = Callable[[], tuple[float, np.ndarray]]


class Problem(NamedTuple):
    """Loss and gradient of ``sum_j phi(w_j . x)``; for fcn and cnn cross entropy and the mean over units or patches."""

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    model: str

    @property
    def flops(self) -> float:
        """Multiply-adds of the two products, counted twice; the row function's are not counted."""
        return 4.0 * len(self.x) * self.w.size * (self.x.shape[1] // self.w.shape[1] if self.model == "cnn" else 1)


def gaussian_rows(n: int, d: int, dtype: Any) -> np.ndarray:
    """Normal rows, always the same ones; drawn in single precision, a piece at a time."""
    rng, x = np.random.default_rng(0), np.empty((n, d), dtype)
    for start in range(0, n, 20_000):
        part = x[start : start + 20_000]
        part[:] = rng.standard_normal(part.shape, np.float32)
    return x


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


def our_sweep(problem: Problem, threads: int, kernels: str | None = None) -> Sweep:
    """One call of ``objective.value_and_grad``."""
    import fastrecover as fr

    x, y, w, model = problem
    units = {"n_patches": x.shape[1] // w.shape[1]} if model == "cnn" else {}
    objective = fr.objective(x, y, model, len(w), n_jobs=threads, **units)

    def sweep() -> tuple[float, np.ndarray]:
        fr.set_kernels(kernels)
        try:
            return objective.value_and_grad(w.ravel())
        finally:
            fr.set_kernels()

    return sweep


def numpy_sweep(problem: Problem) -> Sweep:
    """NumPy and its BLAS: units by rows, so that element-wise work runs over long rows and in place."""
    x, n, relu = problem.x, len(problem.x), problem.model == "relu"
    w, y = (a.astype(x.dtype) for a in (problem.w, problem.y))

    def sweep() -> tuple[float, np.ndarray]:
        z = w @ x.T
        if relu:
            slope = z > 0
            z *= slope
        else:
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)
        r = z.sum(axis=0)
        r -= y
        if relu:
            np.multiply(slope, r, out=z)
        else:
            z -= z * z
            z *= r
        return 0.5 * float(r @ r) / n, (z @ x) / n

    return sweep


def torch_sweep(problem: Problem, compiled: bool = False) -> Sweep:
    """PyTorch autograd, eager or through ``torch.compile``."""
    import torch

    x = torch.from_numpy(problem.x)
    w, y = (torch.from_numpy(a).to(x.dtype) for a in (problem.w, problem.y))
    w.requires_grad_()
    phi = torch.relu if problem.model == "relu" else torch.sigmoid

    def regression(x: Any, w: Any, y: Any) -> Any:
        return 0.5 * ((phi(x @ w.T).sum(dim=1) - y) ** 2).mean()

    def classification(x: Any, w: Any, y: Any) -> Any:
        f = phi(x.view(-1, w.shape[1]) @ w.T).view(len(y), -1).mean(dim=1)
        return torch.nn.functional.binary_cross_entropy(f, y)

    loss = classification if problem.model in ("fcn", "cnn") else regression
    if compiled:
        torch._dynamo.reset()
        loss = torch.compile(loss, dynamic=False)

    def sweep() -> tuple[float, np.ndarray]:
        w.grad = None
        value = loss(x, w, y)
        value.backward()
        return float(value.detach()), w.grad.numpy()

    return sweep


def _jax(x: np.ndarray, y: np.ndarray, v: np.ndarray, activation: str) -> Callable[[Any], tuple[float, np.ndarray]]:
    """JAX's ``jit`` of ``value_and_grad`` in the hidden weights, with 64-bit numbers if asked for."""
    import jax

    jax.config.update("jax_enable_x64", True)  # JAX would otherwise round to 32 bits without a word
    phi = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jax.numpy.tanh}[activation]
    v = jax.numpy.asarray(v, x.dtype)
    step = jax.jit(jax.value_and_grad(lambda w, x, y: 0.5 * ((phi(x @ w.T) @ v - y) ** 2).mean()))
    rows, responses = jax.numpy.asarray(x), jax.numpy.asarray(y, x.dtype)

    def value_and_grad(w: Any) -> tuple[float, np.ndarray]:
        value, grad = step(w, rows, responses)
        return float(value), np.asarray(grad)

    return value_and_grad


def jax_sweep(problem: Problem) -> Sweep:
    """JAX: ``jit`` of ``value_and_grad``."""
    w = problem.w.astype(problem.x.dtype)
    step = _jax(problem.x, problem.y, np.ones(len(w)), problem.model)
    return lambda: step(w)


class Over(Exception):
    """A run has arrived, or its time is up."""


class Watch:
    """A run's own seconds and smallest error; within ``with`` it ends the run at the target error, or at the budget."""

    def __init__(self, target: float, budget: float) -> None:
        self.target, self.budget, self.spent, self.error = target, budget, 0.0, float("inf")

    def __enter__(self) -> Watch:
        self._begun = time.perf_counter()
        return self

    def __call__(self, judge: Callable[..., float], *parameters: Any) -> None:
        """Judge the parameters that are about to be evaluated, or where the run ended by itself."""
        self.spent += time.perf_counter() - self._begun
        self.error = min(self.error, judge(*parameters))
        if self.error <= self.target or self.spent >= self.budget:
            raise Over
        self._begun = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is Over


Run = Callable[[Watch, int], Any]  # one run from the start of a seed
_MEMORY, _ITERATIONS = 20, 100_000


def _random_weights(teacher: Any, seed: int) -> np.ndarray:
    """Rows of length 1.5 on average, that of the planted ones."""
    k, d = teacher.weights.shape
    return np.random.default_rng(seed).normal(0.0, 1.5 / np.sqrt(d), (k, d))


def _weights_error(teacher: Any, w: np.ndarray) -> float:
    from fastrecover.models import Parameters

    found = Parameters(np.array(w, np.float64).reshape(teacher.weights.shape), teacher.output_weights)
    return teacher.model.error(found, teacher.parameters)


def torch_lbfgs(teacher: Any, activation: str, X: np.ndarray, y: np.ndarray) -> Run:
    """``torch.optim.LBFGS`` with strong Wolfe steps, told the output weights."""
    import torch

    phi = {"relu": torch.relu, "tanh": torch.tanh}[activation]
    rows, responses, v = (torch.from_numpy(a) for a in (X, y, np.array(teacher.output_weights)))
    limits = dict(max_iter=_ITERATIONS, max_eval=_ITERATIONS, tolerance_grad=1e-16, tolerance_change=0.0)

    def run(watch: Watch, seed: int) -> None:
        w = torch.from_numpy(_random_weights(teacher, seed)).requires_grad_()
        solver = torch.optim.LBFGS([w], history_size=_MEMORY, line_search_fn="strong_wolfe", **limits)

        def closure() -> Any:
            watch(_weights_error, teacher, w.detach().numpy())
            solver.zero_grad()
            loss = 0.5 * ((phi(rows @ w.T) @ v - responses) ** 2).mean()
            loss.backward()
            return loss

        solver.step(closure)
        watch(_weights_error, teacher, w.detach().numpy())

    return run


def jax_lbfgs(teacher: Any, activation: str, X: np.ndarray, y: np.ndarray) -> Run:
    """JAX's compiled ``value_and_grad`` under SciPy's L-BFGS-B, told the output weights; compilation is not timed."""
    from scipy.optimize import minimize

    step = _jax(X, y, teacher.output_weights, activation)
    step(teacher.weights)
    limits = {"maxcor": _MEMORY, "maxiter": _ITERATIONS, "maxfun": _ITERATIONS, "ftol": 0.0, "gtol": 0.0}

    def run(watch: Watch, seed: int) -> None:
        def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
            watch(_weights_error, teacher, theta)
            value, grad = step(theta.reshape(teacher.weights.shape))
            return value, grad.ravel()

        start = _random_weights(teacher, seed).ravel()
        watch(_weights_error, teacher, minimize(evaluate, start, jac=True, method="L-BFGS-B", options=limits).x)

    return run


def sklearn_lbfgs(teacher: Any, activation: str, X: np.ndarray, y: np.ndarray) -> Run:
    """``MLPRegressor(solver="lbfgs")`` with the smallest tolerance it takes; it fits output weights and biases too."""
    from sklearn.neural_network import MLPRegressor

    limits = dict(alpha=0.0, tol=1e-14, max_iter=_ITERATIONS, max_fun=_ITERATIONS)
    shape = dict(hidden_layer_sizes=(teacher.n_hidden,), activation=activation, solver="lbfgs")

    class Watched(MLPRegressor):
        def _loss_grad_lbfgs(self, theta: np.ndarray, *arguments: Any, **named: Any) -> Any:
            self._unpack(theta)
            self.watch(mlp_error, teacher, self)
            return super()._loss_grad_lbfgs(theta, *arguments, **named)

    def run(watch: Watch, seed: int) -> None:
        mlp = Watched(random_state=seed, **shape, **limits)
        mlp.watch = watch
        watch(mlp_error, teacher, mlp.fit(X, y))

    return run


def mlp_error(teacher: Any, mlp: Any) -> float:
    """Relative error of an MLPRegressor's parameters up to symmetries, hidden biases counted as error."""
    from fastrecover.models import Parameters

    v = mlp.coefs_[1][:, 0]
    found = Parameters(np.ascontiguousarray(mlp.coefs_[0].T), v, None, float(np.ravel(mlp.intercepts_[1])[0]))
    error = teacher.model.with_output_weights("free").error(found, teacher.parameters)
    return float(np.hypot(error, np.linalg.norm(v * mlp.intercepts_[0]) / np.linalg.norm(teacher.parameters.flat())))


LBFGS = {"scikit-learn": sklearn_lbfgs, "torch": torch_lbfgs, "jax": jax_lbfgs}
