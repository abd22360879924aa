"""Built-in activations written as a user would write them; nothing but functions and kinks is said of them.

Numba can compile them, so that they can be fitted as well.
"""

from __future__ import annotations

import math

from fastrecover.activations import Activation


def step(z):
    return 1.0 if z > 0 else 0.0


def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z)) if z > -700 else 0.0


def sigmoid_slope(z):
    return 0.25 / math.cosh(0.5 * z) ** 2


def sigmoid_bend(z):
    return -0.25 * math.tanh(0.5 * z) / math.cosh(0.5 * z) ** 2


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def tanh(z):
    return math.tanh(z)


def tanh_slope(z):
    return 1.0 / math.cosh(z) ** 2


def tanh_bend(z):
    return -2.0 * math.tanh(z) / math.cosh(z) ** 2


def made(*functions, kinks=(), name):
    return Activation.from_functions(*functions, name=f"my_{name}", kinks=kinks)


TWINS = {
    "relu": made(lambda z: max(z, 0.0), step, lambda z: 0.0, kinks=(0,), name="relu"),
    "leaky_relu": made(
        lambda z: z if z > 0 else 0.1 * z, lambda z: 1.0 if z > 0 else 0.1, lambda z: 0.0, kinks=(0,), name="leaky"
    ),
    "squared_relu": made(
        lambda z: z * z if z > 0 else 0.0,
        lambda z: 2 * max(z, 0.0),
        lambda z: 2.0 if z > 0 else 0.0,
        kinks=(0,),
        name="relu2",
    ),
    "quadratic": made(lambda z: z * z, lambda z: 2.0 * z, lambda z: 2.0, name="square"),
    "sigmoid": made(sigmoid, sigmoid_slope, sigmoid_bend, name="sigmoid"),
    "tanh": made(tanh, tanh_slope, tanh_bend, name="tanh"),
    "softplus": made(softplus, sigmoid, sigmoid_slope, name="softplus"),
}
HALF_SQUARE = made(lambda z: 0.5 * z * z, lambda z: z, name="half_square")
