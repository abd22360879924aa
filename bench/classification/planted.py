"""Planted classification problems with normal weights, as in the paper's experiments.

The teacher and its rows depend on a seed alone, so a cell of one study can be looked at again in another.
"""

from __future__ import annotations

import numpy as np

K = 3


def model_of(network: str, k: int = K):
    """Fully connected or convolutional network of k units or patches."""
    import fastrecover as fr

    return fr.models.Classification(k) if network == "fcn" else fr.models.ConvClassification(k)


def teacher_of(network: str, inputs: int, seed: int, k: int = K):
    """Teacher whose units have `inputs` weights drawn from N(0, 1)."""
    import fastrecover as fr

    model = model_of(network, k)
    weights = np.random.default_rng([17, seed]).standard_normal((model.n_hidden, inputs))
    return fr.datasets.Teacher(model, fr.models.Parameters(weights, model.known_v))


def planted(network: str, inputs: int, n: int, seed: int, k: int = K):
    """Teacher, rows and labels."""
    teacher = teacher_of(network, inputs, seed, k)
    return teacher, *teacher.sample(n, random_state=100_000 + seed)
