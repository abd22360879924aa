"""Built-in activations written as a user would write them; nothing but functions and kinks is said of them."""

from __future__ import annotations

import math

from fastrecover.activations import Activation


def step(z):
    return 1.0 if z > 0 else 0.0


def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z)) if z > -700 else 0.0


def sigmoid_slope(z):
    return sigmoid(z) * sigmoid(-z)


def sigmoid_bend(z):
    return sigmoid_slope(z) * (1.0 - 2.0 * sigmoid(z))


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def tanh_slope(z):
    return 4.0 * sigmoid_slope(2.0 * z)


def tanh_bend(z):
    return 8.0 * sigmoid_bend(2.0 * z)


def made(*functions, kinks=(), name):
    return Activation.from_functions(*functions, name=f"my_{name}", kinks=kinks)


TWINS = {
    "relu": made(lambda z: max(z, 0.0), step, lambda z: 0.0, kinks=(0,), name="relu"),
    "leaky_relu": made(
        lambda z: z if z > 0 else 0.1 * z, lambda z: 1.0 if z > 0 else 0.1, lambda z: 0.0, kinks=(0,), name="leaky"
    ),
    "squared_relu": made(
        lambda z: z * z if z > 0 else 0.0, lambda z: 2 * max(z, 0.0), lambda z: 2 * step(z), kinks=(0,), name="relu2"
    ),
    "quadratic": made(lambda z: z * z, lambda z: 2.0 * z, lambda z: 2.0, name="square"),
    "sigmoid": made(sigmoid, sigmoid_slope, sigmoid_bend, name="sigmoid"),
    "tanh": made(math.tanh, tanh_slope, tanh_bend, name="tanh"),
    "softplus": made(softplus, sigmoid, sigmoid_slope, name="softplus"),
}
HALF_SQUARE = made(lambda z: 0.5 * z * z, lambda z: z, name="half_square")
