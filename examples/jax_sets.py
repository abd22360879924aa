"""
Many parameter sets in JAX
==========================

JAX: many parameter sets trained side by side, one pass over the rows for all of them, and a fit from the best.

::

    python examples/jax_sets.py
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

import fastrecover as fr


def main(n: int = 20_000, sets: int = 32, steps: int = 300) -> tuple[np.ndarray, float]:
    """Train on n rows that a network answered with noise; returns losses of all sets, and that of the fit."""
    teacher = fr.datasets.make_teacher("tanh", n_features=10, n_hidden=4, norms=2.0, random_state=0)
    X, y = teacher.sample(n, noise=0.1, random_state=1)
    X, y = jnp.asarray(X, jnp.float32), jnp.asarray(y, jnp.float32)

    def loss(p: dict) -> jax.Array:
        return fr.jax.loss(
            p, X, y, "tanh"
        )  # for jnp.mean((jnp.tanh(X @ p["weights"].T) @ p["output_weights"] - y) ** 2)

    step = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    keys = jax.random.split(jax.random.key(0))
    p = {"weights": jax.random.normal(keys[0], (sets, 4, 10)), "output_weights": jax.random.normal(keys[1], (sets, 4))}
    speed, began = jax.tree.map(jnp.zeros_like, p), time.perf_counter()
    for _ in range(steps):  # gradient descent with momentum
        values, grad = step(p)
        speed = jax.tree.map(lambda v, g: 0.9 * v - 0.02 * g, speed, grad)
        p = jax.tree.map(jnp.add, p, speed)
    values = np.asarray(values)
    took = time.perf_counter() - began
    print(f"{sets} sets, {steps} steps in {took:.1f} s: losses {values.min():.4f} to {values.max():.4f}")

    best = int(values.argmin())
    rec = fr.fit(X, y, "tanh", 4, output_weights="free", init=np.asarray(p["weights"][best]), random_state=0)
    fitted = float(loss(fr.jax.parameters(rec)))
    print(f"fit from the best: {fitted:.4f} (noise: 0.0100), error of the weights {rec.error(teacher):.4f}")
    return values, fitted


if __name__ == "__main__":
    main()
