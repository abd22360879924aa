"""What a call of ``fit`` asks for: every option is parsed here, once, and every default stands here.

What leaves this module is known to be right, as far as it can be told without the data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import check_finite, check_positive, check_rows, check_vector
from .activations import NAMES as ACTIVATIONS
from .activations import Activation
from .engines import Engine
from .models import ModelOptions, Network, Parameters, check_count, get_model, nearest
from .papers import PRESETS, preset
from .plan import INITS, SOLVERS, Chosen, Init, check_for_batches
from .plan.students import check_expandable
from .random import seed_sequence
from .solvers import OnLandscape
from .starts import STARTS, Start

INPUTS = ("auto", "whiten", "gaussian")
#: Distance to the minimiser at which a fit stops, in units of its statistical error.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Request:
    """The options of a fit, checked as far as they can be without the data.

    Attributes
    ----------
    model : Network
    finds_units : bool
        Whether the number of units is to be found, in place of the model's own.
    init : str, callable, ndarray, Parameters or any
        Checked by :meth:`start`, which knows the number of features.
    solver : str or solver object
    inputs : str
    restarts : int or None
        None for "auto".
    tol, max_passes, max_seconds : float
    seeds : SeedSequence
    callback : callable or None
    verbose : int
    """

    model: Network
    finds_units: bool
    init: Any
    solver: Chosen
    inputs: str
    restarts: int | None
    tol: float
    max_passes: float
    max_seconds: float
    seeds: np.random.SeedSequence
    callback: Callable[[dict[str, Any]], Any] | None
    verbose: int

    @classmethod
    def parsed(
        cls,
        model: str | Activation | Network,
        n_hidden: int | str | None,
        *,
        init: Any,
        solver: Any,
        restarts: Any,
        inputs: str,
        random_state: Any,
        tol: float | None,
        max_passes: float | None,
        max_seconds: float | None,
        callback: Callable[[dict[str, Any]], Any] | None,
        verbose: int,
        model_options: ModelOptions,
    ) -> Request:
        """The options of :func:`fastrecover.fit`, by the same names.

        Raises
        ------
        TypeError, ValueError
            The message names the argument, what was wrong and what would be right.
        """
        finds_units = isinstance(n_hidden, str)
        if isinstance(n_hidden, str):
            _check_unit_search(model, n_hidden, init)
            n_hidden = None if isinstance(model, Network) else 1
        if isinstance(model, str) and model in PRESETS:
            network, init, solver = preset(model, n_hidden, init, solver, model_options)
        else:
            network = get_model(model, n_hidden, also=tuple(PRESETS), **model_options)
        _check_solver(solver)
        _check_restarts(restarts, init, solver, finds_units)
        if inputs not in INPUTS:
            hint = nearest(str(inputs), INPUTS)
            raise ValueError(f"inputs must be one of {', '.join(INPUTS)}, got {inputs!r}{hint}")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {callback!r}")
        if not isinstance(verbose, (int, np.integer)):
            raise TypeError(f"verbose must be 0, 1 or 2, got {verbose!r}")
        return cls(
            model=network,
            finds_units=finds_units,
            init=init,
            solver=solver,
            inputs=inputs,
            restarts=None if isinstance(restarts, str) else int(restarts),
            tol=TOLERANCE if tol is None else check_positive(tol, "tol"),
            max_passes=np.inf if max_passes is None else check_positive(max_passes, "max_passes", most=np.inf),
            max_seconds=np.inf if max_seconds is None else check_positive(max_seconds, "max_seconds", most=np.inf),
            seeds=seed_sequence(random_state),
            callback=_reporter(callback, int(verbose)),
            verbose=int(verbose),
        )

    def check_for_batches(self, y: Any, sample_weight: Any) -> None:
        """Raise ValueError where something asked for cannot be had of batches that are taken once.

        Parameters
        ----------
        y, sample_weight : any
            What was given beside the batches.
        """
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(f"{name} must be left out where X is an iterable of batches (X, y)")
        if self.finds_units:
            raise ValueError("n_hidden must be an integer where X is an iterable of batches (X, y)")
        check_for_batches(self.init, self.solver)

    def start(self, n_features: int) -> Init:
        """Where refinement begins, checked against the number of features.

        Parameters
        ----------
        n_features : int
            Of one unit.

        Raises
        ------
        TypeError, ValueError
            No start, or one that cannot find the weights of this model (StartError).
        """
        init, model, d = self.init, self.model, n_features
        if callable(init):
            return _checked_start(init)
        if isinstance(init, str):
            if init not in INITS:
                known = f"(known: {', '.join(INITS)}, or an array)"
                raise ValueError(f"unknown init {init!r}{nearest(init, INITS)} {known}")
            if init in STARTS:
                STARTS[init].check(model, d)
            if init == "expand":
                check_expandable(model)
            return init
        weights = init.weights if isinstance(init, Parameters) else init
        if weights is None or np.ndim(weights) == 0:
            raise TypeError(
                f"init must be one of {', '.join(INITS)}, or an array ({model.n_hidden}, {d}), got {init!r}"
            )
        if not isinstance(init, Parameters) or model.known_v is not None:
            return _checked_weights(weights, (model.n_hidden, d))
        return _checked_parameters(init, (model.n_hidden, d))


def _checked_start(init: Start) -> Start:
    """A start of user code whose result is checked."""
    name = getattr(init, "__name__", type(init).__name__)
    try:
        inspect.signature(init).bind(None, None, None)
    except TypeError as error:
        raise TypeError(f"init must take an engine, a model and a seed, but {name} does not: {error}") from None
    except ValueError:
        pass  # a compiled function that does not say what it takes

    def checked(engine: Engine, model: Network, seed: np.random.SeedSequence) -> Parameters:
        found = init(engine, model, seed)
        if not isinstance(found, Parameters):
            raise TypeError(f"init must return Parameters, but {name} returned {type(found).__name__}")
        return _checked_parameters(found, (model.n_hidden, engine.shape[1]))

    checked.__name__ = name  # reports name the start after it
    return checked


def _checked_weights(weights: Any, shape: tuple[int, int]) -> np.ndarray:
    weights = check_rows(weights, "init").astype(np.float64)
    if weights.shape != shape:
        raise ValueError(f"init must have shape {shape}, got {weights.shape}")
    check_finite(weights, "init")
    return weights


def _checked_parameters(init: Parameters, shape: tuple[int, int]) -> Parameters:
    weights = _checked_weights(init.weights, shape)
    v = check_vector(init.output_weights, shape[0], "init.output_weights")
    linear = None if init.linear is None else check_vector(init.linear, shape[1], "init.linear")
    return Parameters(weights, v, linear, float(check_vector([init.intercept], 1, "init.intercept")[0]))


def _check_unit_search(model: str | Activation | Network, n_hidden: str, init: Any) -> None:
    if n_hidden != "auto":
        raise ValueError(f"n_hidden must be an integer or 'auto', got {n_hidden!r}")
    known = isinstance(model, Network) and not isinstance(model.output_weights, str)
    if known or not (isinstance(model, (Activation, Network)) or model in ACTIVATIONS):
        raise ValueError(
            f"n_hidden='auto' is for regressions by name ({', '.join(ACTIVATIONS)}) or a model object whose output "
            f"weights are ones, signs or free, got model={model!r}"
        )
    if isinstance(model, Network) and not (model.loss.least_squares and model.n_patches == 1):
        raise ValueError("n_hidden='auto' is for fully connected regressions")
    if not (isinstance(init, str) and init == "auto"):
        raise ValueError("n_hidden='auto' finds its own start: leave init='auto'")


def _check_solver(solver: Any) -> None:
    if isinstance(solver, str) and solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}{nearest(solver, tuple(SOLVERS))} (known: {', '.join(SOLVERS)})")
    if isinstance(solver, (str, OnLandscape)):
        return
    whole = isinstance(getattr(solver, "name", None), str) and all(
        callable(getattr(solver, part, None)) for part in ("begin", "step")
    )
    if isinstance(solver, type) or not whole:
        raise TypeError(f"solver must be a name or an object with name, begin and step, got {solver!r}")


def _check_restarts(restarts: Any, init: Any, solver: Any, finds_units: bool) -> None:
    if isinstance(restarts, str):
        if restarts != "auto":
            raise ValueError(f"restarts must be an integer or 'auto', got {restarts!r}")
        return
    check_count("restarts", restarts)
    names = [a if isinstance(a, str) else "" for a in (init, solver)]
    if names[0] not in ("auto", "random") or names[1] != "auto" or finds_units:
        raise ValueError(
            f"restarts={restarts} takes the best of random starts: leave init and solver at 'auto', and give "
            "n_hidden as a number (or restarts='auto')"
        )


def _reporter(callback: Callable[[dict[str, Any]], Any] | None, verbose: int) -> Callable[[dict[str, Any]], Any] | None:
    if not verbose:
        return callback
    from ._progress import printed

    return printed(callback, verbose)
