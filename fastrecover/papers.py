"""Presets that run a paper's algorithm as published: which model, which start, which solver.

Each may be changed piece by piece: an explicit `init` or `solver` of :func:`fastrecover.fit` takes the place of
the preset's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .models import ModelOptions, Network, get_model
from .plan import Chosen
from .solvers import FactoredDescent, GradientDescent, OnLandscape, ResampledGradientDescent
from .starts import Start, small_random_start


@dataclass(frozen=True)
class Preset:
    """A published algorithm.

    Attributes
    ----------
    reference : str
    model : callable
        ``model(n_hidden, options)`` makes the network.
    init : str or callable
        A start by name, or a function of engine, model and seed.
    solver : callable
        Makes the solver.
    takes_activation : bool
        Whether the activation is one of its options.
    """

    reference: str
    model: Callable[[int | None, ModelOptions], Network]
    init: str | Start
    solver: Callable[[], Chosen]
    takes_activation: bool = False


def _zhong(n_hidden: int | None, options: ModelOptions) -> Network:
    others = options.copy()
    return get_model(others.pop("activation", "squared_relu"), n_hidden, **others)


def _zhang(n_hidden: int | None, options: ModelOptions) -> Network:
    return get_model("relu", n_hidden, output_weights_default="ones", **options)


def _ge(n_hidden: int | None, options: ModelOptions) -> Network:
    others = options.copy()
    return get_model(others.pop("activation", "relu"), n_hidden, output_weights_default="free", **others)


def _xia(n_hidden: int | None, options: ModelOptions) -> Network:
    return get_model("quadratic", n_hidden, output_weights_default="ones", **options)


_LANDSCAPE = "Ge, Lee, Ma 2017, arXiv 1711.00501"

PRESETS: dict[str, Preset] = {
    "zhong2017": Preset(
        "Zhong, Song, Jain, Bartlett, Dhillon 2017, arXiv 1706.03175",
        _zhong,
        "tensor-published",
        ResampledGradientDescent,
        takes_activation=True,
    ),
    "zhang2018": Preset(
        "Zhang, Yu, Wang, Gu 2018, arXiv 1806.07808",
        _zhang,
        "tensor-published",
        lambda: GradientDescent("curvature"),
    ),
    "ge2017": Preset(_LANDSCAPE, _ge, "random", OnLandscape, takes_activation=True),
    "xia2019": Preset(
        "Xia, Shi 2019, arXiv 1907.06594",
        _xia,
        small_random_start,
        FactoredDescent,
    ),
    "landscape": Preset(_LANDSCAPE, _ge, "landscape", lambda: "auto", takes_activation=True),
    "fu2018-fcn": Preset(
        "Fu, Chi, Liang 2018, arXiv 1802.06463",
        lambda n_hidden, options: get_model("fcn", n_hidden, **options),
        "tensor-published",
        lambda: GradientDescent("curvature"),
    ),
    "fu2018-cnn": Preset(
        "Fu, Chi, Liang 2018, arXiv 1802.06463",
        lambda n_hidden, options: get_model("cnn", n_hidden, **options),
        "tensor-published",
        lambda: GradientDescent("curvature"),
    ),
}


def preset(
    name: str, n_hidden: int | None, init: Any, solver: Chosen, options: ModelOptions
) -> tuple[Network, Any, Chosen]:
    """Model, start and solver of a preset, each replaced by what was given explicitly.

    Parameters
    ----------
    name : str
    n_hidden : int or None
    init, solver
        ``"auto"`` means the preset's own.
    options : ModelOptions
        Model options.

    Returns
    -------
    model : Network
    init, solver
    """
    chosen = PRESETS[name]
    own_init = isinstance(init, str) and init == "auto"
    own_solver = isinstance(solver, str) and solver == "auto"
    model = chosen.model(n_hidden, options)
    return model, chosen.init if own_init else init, chosen.solver() if own_solver else solver
