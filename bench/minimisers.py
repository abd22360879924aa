"""L-BFGS of the peers on a planted regression, each stopped the moment it has arrived or its time is up.

Every peer calls a watch with its current parameters before each evaluation, trial points of line searches
included; the watch judges them with its clock stopped.  A peer is thus credited with the first point that is
good enough, even one it would have stepped over, and never waits for an iteration to end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

SKLEARN_ACTIVATIONS = {"relu": "relu", "tanh": "tanh"}
_MEMORY, _ITERATIONS = 20, 100_000


class Over(Exception):
    """A run has arrived, or its time is up."""


@dataclass
class Watch:
    """Counts a run's own time and ends it.

    Attributes
    ----------
    judge : callable
        Error of whatever the peer hands over.
    target : float
        Error at which a run has arrived.
    budget : float
        Seconds after which it is ended.
    spent, error : float
        Seconds so far, smallest error so far.
    evaluations : int
    """

    judge: Callable[[Any], float]
    target: float
    budget: float
    clock: Callable[[], float] = time.perf_counter
    spent: float = 0.0
    error: float = float("inf")
    evaluations: int = 0
    _begun: float = field(default=0.0, repr=False)

    def start(self) -> None:
        """From here on time counts."""
        self._begun = self.clock()

    def __call__(self, parameters: Any) -> None:
        """Judge the parameters that are about to be evaluated.

        Raises
        ------
        Over
        """
        self.spent += self.clock() - self._begun
        self.evaluations += 1
        self.error = min(self.error, self.judge(parameters))
        if self.error <= self.target or self.spent >= self.budget:
            raise Over
        self._begun = self.clock()

    def stop(self, parameters: Any) -> None:
        """Judge where a run ended by itself."""
        self.spent += self.clock() - self._begun
        self.error = min(self.error, self.judge(parameters))


def random_weights(teacher: Any, seed: int) -> np.ndarray:
    """Start of PyTorch and JAX: rows of length 1.5 on average, that of the planted ones."""
    k, d = teacher.weights.shape
    return np.random.default_rng(seed).normal(0.0, 1.5 / np.sqrt(d), (k, d))


def weights_error(teacher: Any) -> Callable[[np.ndarray], float]:
    """Error of hidden weights, flat or not, under the true output weights."""
    from fastrecover.models import Parameters

    def judge(w: np.ndarray) -> float:
        found = Parameters(np.array(w, np.float64).reshape(teacher.weights.shape), teacher.output_weights)
        return teacher.model.error(found, teacher.parameters)

    return judge


def torch_lbfgs(teacher: Any, X: np.ndarray, y: np.ndarray) -> Callable[[int, float, float], Watch]:
    """``torch.optim.LBFGS`` with strong Wolfe steps, told the output weights."""
    import torch

    phi = {"relu": torch.relu, "squared_relu": lambda z: torch.relu(z) ** 2, "tanh": torch.tanh}
    activation = phi[teacher.model.activation.name]
    rows, responses, v = (torch.from_numpy(a) for a in (X, y, np.array(teacher.output_weights)))

    def attempt(seed: int, target: float, budget: float) -> Watch:
        w = torch.from_numpy(random_weights(teacher, seed)).requires_grad_()
        watch = Watch(weights_error(teacher), target, budget)
        solver = torch.optim.LBFGS(
            [w], max_iter=_ITERATIONS, max_eval=_ITERATIONS, history_size=_MEMORY, line_search_fn="strong_wolfe",
            tolerance_grad=1e-16, tolerance_change=0.0,
        )  # fmt: skip

        def closure():
            watch(w.detach().numpy())
            solver.zero_grad()
            loss = 0.5 * ((activation(rows @ w.T) @ v - responses) ** 2).mean()
            loss.backward()
            return loss

        watch.start()
        try:
            solver.step(closure)
        except Over:
            return watch
        watch.stop(w.detach().numpy())
        return watch

    return attempt


def jax_lbfgs(teacher: Any, X: np.ndarray, y: np.ndarray) -> Callable[[int, float, float], Watch]:
    """JAX's compiled ``value_and_grad`` under SciPy's L-BFGS-B, told the output weights; compilation is not timed."""
    from scipy.optimize import minimize

    from .peers import jax_64

    jax = jax_64()
    phi = {"relu": jax.nn.relu, "squared_relu": lambda z: jax.nn.relu(z) ** 2, "tanh": jax.numpy.tanh}
    activation = phi[teacher.model.activation.name]
    rows, responses, v = (jax.numpy.asarray(a) for a in (X, y, np.array(teacher.output_weights)))

    def loss(w, rows, responses):
        return 0.5 * ((activation(rows @ w.T) @ v - responses) ** 2).mean()

    step = jax.jit(jax.value_and_grad(loss))
    step(random_weights(teacher, 0), rows, responses)

    def attempt(seed: int, target: float, budget: float) -> Watch:
        watch = Watch(weights_error(teacher), target, budget)

        def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
            watch(theta)
            value, grad = step(theta.reshape(teacher.weights.shape), rows, responses)
            return float(value), np.asarray(grad).ravel()

        options = {"maxcor": _MEMORY, "maxiter": _ITERATIONS, "maxfun": _ITERATIONS, "ftol": 0.0, "gtol": 0.0}
        watch.start()
        try:
            end = minimize(
                evaluate, random_weights(teacher, seed).ravel(), jac=True, method="L-BFGS-B", options=options
            )
        except Over:
            return watch
        watch.stop(end.x)
        return watch

    return attempt


def sklearn_lbfgs(teacher: Any, X: np.ndarray, y: np.ndarray) -> Callable[[int, float, float], Watch]:
    """``MLPRegressor(solver="lbfgs")`` with the smallest tolerance it takes; it fits output weights and biases too."""
    from sklearn.neural_network import MLPRegressor

    activation = SKLEARN_ACTIVATIONS[teacher.model.activation.name]

    class Watched(MLPRegressor):
        watch: Watch

        def _loss_grad_lbfgs(self, theta, *arguments, **named):
            self._unpack(theta)
            self.watch(self)
            return super()._loss_grad_lbfgs(theta, *arguments, **named)

    def attempt(seed: int, target: float, budget: float) -> Watch:
        mlp = Watched(
            hidden_layer_sizes=(teacher.n_hidden,), activation=activation, solver="lbfgs", alpha=0.0, tol=1e-14,
            max_iter=_ITERATIONS, max_fun=_ITERATIONS, random_state=seed,
        )  # fmt: skip
        mlp.watch = Watch(lambda mlp: mlp_error(mlp, teacher), target, budget)
        mlp.watch.start()
        try:
            mlp.fit(X, y)
        except Over:
            return mlp.watch
        mlp.watch.stop(mlp)
        return mlp.watch

    return attempt


def mlp_error(mlp: Any, teacher: Any) -> float:
    """Relative error of an MLPRegressor's parameters up to symmetries, hidden biases counted as error."""
    from fastrecover.models import Parameters
    from fastrecover.models.parameters import relative_error

    v = mlp.coefs_[1][:, 0]
    found = Parameters(np.ascontiguousarray(mlp.coefs_[0].T), v, None, float(np.ravel(mlp.intercepts_[1])[0]))
    error = relative_error(found, teacher.parameters, teacher.model.activation, True)
    truth = replace(teacher.parameters, linear=None).flat()
    return float(np.hypot(error, np.linalg.norm(v * mlp.intercepts_[0]) / np.linalg.norm(truth)))


PEERS = {"scikit-learn": sklearn_lbfgs, "torch": torch_lbfgs, "jax": jax_lbfgs}
