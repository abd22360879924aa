"""Small fits over all models, starts, solvers and presets, whose results a change of structure must not move.

Each case is a function of nothing that returns a Recovery; ``python tests/golden_fits.py`` writes what they find now to
``golden.npz`` beside this file, ``python tests/golden_fits.py --digest`` prints their bits.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastrecover as fr

ARRAYS = Path(__file__).with_name("golden.npz")


def _softsign(z):
    return z / (1.0 + abs(z))


def _softsign_slope(z):
    return 1.0 / (1.0 + abs(z)) ** 2


def _fitted(
    model: Any,
    fit: dict[str, Any],
    *,
    n: int = 1500,
    d: int = 6,
    k: int = 2,
    noise: float = 0.0,
    teacher: dict[str, Any] | None = None,
    dtype: Any = np.float64,
    shift: float = 0.0,
    scale: float = 1.0,
    weighted: bool = False,
    planted: Any = None,
    seed: int = 0,
) -> fr.Recovery:
    truth = fr.datasets.make_teacher(planted or model, n_features=d, n_hidden=k, random_state=seed, **(teacher or {}))
    X, y = truth.sample(n, noise=noise, random_state=seed + 1)
    if shift or scale != 1.0:
        X = X * np.linspace(1.0, scale, X.shape[1]) + shift
        y = truth.predict(X) + noise * np.random.default_rng(seed).standard_normal(n)
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, n) if weighted else None
    options: dict[str, Any] = {"n_hidden": k, "random_state": seed, "sample_weight": weight, **fit}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X.astype(dtype), y, model, **options)


def _user() -> fr.Activation:
    return fr.Activation.from_functions(_softsign, _softsign_slope, name="softsign", parity="odd")


def _user_fit() -> fr.Recovery:
    truth = fr.datasets.make_teacher("tanh", n_features=5, n_hidden=2, random_state=3)
    X, y = truth.sample(1500, noise=0.1, random_state=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X, y, _user(), n_hidden=2, random_state=0)


def _patches(name: str, **fit: Any) -> fr.Recovery:
    model = fr.models.ConvRegression(3, name)
    truth = fr.datasets.make_teacher(model, n_features=12, random_state=5)
    X, y = truth.sample(1500, noise=0.05, random_state=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fr.fit(X, y, model, random_state=0, **fit)


FREE = {"output_weights": "free"}
ONES = {"output_weights": "ones"}
FULL = {"output_weights": "free", "fit_intercept": True, "linear_term": True}

CASES: dict[str, Callable[[], fr.Recovery]] = {
    "relu": partial(_fitted, "relu", {}, noise=0.1),
    "relu exact": partial(_fitted, "relu", {}),
    "relu many rows": partial(_fitted, "relu", {}, n=12_000, noise=0.2),
    "relu few rows": partial(_fitted, "relu", {}, n=30, d=8),
    "relu float32": partial(_fitted, "relu", {}, noise=0.1, dtype=np.float32),
    "relu weighted": partial(_fitted, "relu", {}, noise=0.1, weighted=True),
    "relu whitened": partial(_fitted, "relu", {}, n=6000, noise=0.1, scale=3.0),
    "relu shifted": partial(_fitted, "squared_relu", {}, n=6000, noise=0.1, shift=0.8, scale=2.0),
    "relu free": partial(_fitted, "relu", FREE, noise=0.1, teacher=FREE),
    "relu full": partial(_fitted, "relu", {**FREE, "fit_intercept": True}, noise=0.1, teacher=FREE),
    "leaky_relu": partial(_fitted, "leaky_relu", {}, noise=0.1),
    "squared_relu": partial(_fitted, "squared_relu", {}, noise=0.1),
    "sigmoid": partial(_fitted, "sigmoid", {"fit_intercept": True}, n=4000, noise=0.02),
    "tanh": partial(_fitted, "tanh", {}, noise=0.1),
    "squared_relu full": partial(_fitted, "squared_relu", FULL, n=3000, noise=0.05, teacher=FREE),
    "tanh many rows": partial(_fitted, "tanh", {}, n=12_000, noise=0.1),
    "erf": partial(_fitted, "erf", {}, noise=0.1),
    "softplus": partial(_fitted, "softplus", {"fit_intercept": True}, n=4000, noise=0.02),
    "quadratic": partial(_fitted, "quadratic", {}, noise=0.1),
    "quadratic few rows": partial(_fitted, "quadratic", {}, n=60, d=12),
    "quadratic many rows": partial(_fitted, "quadratic", {"fit_intercept": True}, n=12_000, noise=0.5),
    "user": _user_fit,
    "fcn": partial(_fitted, "fcn", {}, n=6000, planted="fcn"),
    "cnn": partial(_fitted, "cnn", {"n_patches": 2, "n_hidden": None}, n=3000, k=1, teacher={"n_patches": 2}),
    "patches": partial(_patches, "relu"),
    "patches tanh lbfgs": partial(_patches, "tanh", solver="lbfgs"),
    "tensor": partial(_fitted, "relu", {"init": "tensor"}, noise=0.1),
    "published": partial(_fitted, "squared_relu", {"init": "tensor-published"}, n=6000, noise=0.1),
    "landscape start": partial(_fitted, "relu", {"init": "landscape"}, n=6000, teacher={"output_weights": "ones"}),
    "spectral": partial(_fitted, "quadratic", {"init": "spectral", "linear_term": True}, noise=0.1),
    "message passing": partial(
        _fitted, "quadratic", {"init": "message-passing", **ONES}, n=60, d=12, teacher=ONES, seed=1
    ),
    "expand": partial(_fitted, "relu", {"init": "expand"}, n=60, noise=0.0),
    "random": partial(_fitted, "relu", {"init": "random"}, noise=0.1, seed=4),
    "random fcn": partial(_fitted, "fcn", {"init": "random"}, n=6000, planted="fcn"),
    "given": partial(_fitted, "tanh", {"init": np.eye(2, 6)}, noise=0.1),
    "gauss-newton": partial(_fitted, "relu", {"solver": "gauss-newton"}, noise=0.1),
    "lbfgs": partial(_fitted, "tanh", {"solver": "lbfgs"}, noise=0.1),
    "gd": partial(_fitted, "squared_relu", {"solver": "gd"}, noise=0.1),
    "sgd": partial(_fitted, "tanh", {"solver": fr.solvers.StochasticGradientDescent(0.2, 256, 60)}, noise=0.1),
    "resampled-gd": partial(_fitted, "squared_relu", {"solver": "resampled-gd"}, noise=0.1),
    "pncg": partial(_fitted, "quadratic", {"solver": "pncg", "init": "spectral"}, noise=0.1),
    "zhong2017": partial(_fitted, "zhong2017", {}, n=8000, planted="squared_relu"),
    "zhang2018": partial(_fitted, "zhang2018", {}, n=6000, planted="relu", teacher={"output_weights": "ones"}),
    "xia2019": partial(_fitted, "xia2019", {}, planted="quadratic", teacher={"output_weights": "ones"}),
    "fu2018-fcn": partial(_fitted, "fu2018-fcn", {}, n=6000, planted="fcn"),
    "landscape": partial(_fitted, "landscape", {}, n=6000, planted="relu", teacher={"output_weights": "ones"}),
    "units": partial(_fitted, "tanh", {"n_hidden": "auto"}, n=4000, noise=0.1),
    "max_passes": partial(_fitted, "tanh", {"max_passes": 3}, noise=0.1),
}


def _ge() -> fr.Recovery:
    solver = fr.solvers.OnLandscape(fr.solvers.StochasticGradientDescent(0.05, 1000, 40))
    return _fitted("ge2017", {"solver": solver}, n=8000, planted="relu", teacher={"output_weights": "ones"})


CASES["ge2017"] = _ge


def numbers(found: fr.Recovery) -> np.ndarray:
    """All that a fit found, in one vector."""
    return np.concatenate([found.parameters.flat(), [found.loss, found.n_passes, found.converged]])


def digest(found: fr.Recovery) -> str:
    text = numbers(found).tobytes() + found.message.encode()
    return hashlib.sha256(text).hexdigest()[:16]


if __name__ == "__main__":
    if "--digest" in sys.argv:
        for name, case in CASES.items():
            found = case()
            print(f"{name}: {digest(found)} {found.n_passes:.3f} {found.converged} {found.message}", flush=True)
    else:
        np.savez_compressed(ARRAYS, **{name: numbers(case()) for name, case in CASES.items()})
