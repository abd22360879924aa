"""What a call of ``fit`` asks for: every option is parsed here, once, and every default stands here.

What leaves this module is known to be right, as far as it can be told without the data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ._validation import check_finite, check_positive, check_rows, check_vector
from .activations import NAMES as ACTIVATIONS
from .activations import Activation
from .engines import Engine
from .fingerprint import plain
from .models import ModelOptions, Network, Parameters, check_count, get_model, nearest
from .papers import PRESETS, preset
from .plan import INITS, SOLVERS, Chosen, Init, check_for_batches
from .plan.students import check_expandable
from .random import seed_sequence
from .solvers import OnLandscape
from .starts import STARTS, Start

INPUTS = ("auto", "whiten", "gaussian")
#: Penalties that "auto" chooses from, largest first.
ALPHAS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
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
    alphas : tuple of float
        Penalties to choose from, largest first; one where nothing is chosen.
    class_weight : "balanced", dict or None
    standardise : bool
        Whether the penalty is on weights in standard units of the data.
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
    alphas: tuple[float, ...] = (0.0,)
    class_weight: Any = None
    standardise: bool = False

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
        alpha: Any = 0.0,
        class_weight: Any = None,
        standardise: bool = False,
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
        if finds_units:
            _check_units_of(network)
        _check_solver(solver)
        _check_restarts(restarts, init, solver, finds_units)
        if inputs not in INPUTS:
            hint = nearest(str(inputs), INPUTS)
            raise ValueError(f"inputs must be one of {', '.join(INPUTS)}, got {inputs!r}{hint}")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {callback!r}")
        if not isinstance(standardise, (bool, np.bool_)):
            raise TypeError(f"standardise must be True or False, got {standardise!r}")
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
            alphas=_checked_alphas(alpha, finds_units),
            class_weight=class_weight,
            standardise=standardise,
        )

    def of(self, model: Network) -> Request:
        """The same of the model that the responses ask for.

        Parameters
        ----------
        model : Network
            With as many outputs as there are.
        """
        if self.finds_units:
            _check_units_of(model)
        return replace(self, model=model)

    def described(self) -> dict[str, Any]:
        """What results depend on but for the data and the seeds, as plain values by the names of arguments.

        Budgets are left out, since a fit may be continued with another one, and what only watches.
        """
        names = ("solver", "inputs", "tol", "class_weight", "standardise")
        found: dict[str, Any] = {each.name: plain(getattr(self.model, each.name)) for each in fields(self.model)}
        found["n_hidden"] = "auto" if self.finds_units else self.model.n_hidden
        found["loss"], found["delta"] = self.model.loss.name, getattr(self.model.loss, "delta", None)
        found["restarts"] = "auto" if self.restarts is None else self.restarts
        found["alpha"] = plain(self.alphas if len(self.alphas) > 1 else self.alphas[0])
        given = isinstance(self.init, (str, Parameters)) or callable(self.init)
        found["init"] = plain(self.init if given else np.asarray(self.init, np.float64))
        return found | {name: plain(getattr(self, name)) for name in names}

    def check_for_batches(self, y: Any, sample_weight: Any, gather: Any = None) -> None:
        """Raise ValueError where something asked for cannot be had of batches that are taken once.

        Parameters
        ----------
        y, sample_weight, gather : any
            What was given beside the batches.
        """
        given = {"y": y, "sample_weight": sample_weight, "class_weight": self.class_weight, "gather": gather}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} must be left out where X is an iterable of batches (X, y)")
        if self.alphas != (0.0,):
            raise ValueError("alpha must be 0 where X is an iterable of batches (X, y)")
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
        return _checked_parameters(init, model, d)


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
        return _checked_parameters(found, model, engine.shape[1])

    checked.__name__ = name  # reports name the start after it
    return checked


def _checked_weights(weights: Any, shape: tuple[int, int]) -> np.ndarray:
    weights = check_rows(weights, "init").astype(np.float64)
    if weights.shape != shape:
        raise ValueError(f"init must have shape {shape}, got {weights.shape}")
    check_finite(weights, "init")
    return weights


def _checked_parameters(init: Parameters, model: Network, d: int) -> Parameters:
    k, m = model.n_hidden, model.n_outputs
    weights = _checked_weights(init.weights, (k, d))
    v = _checked_numbers(init.output_weights, (m, k) if m > 1 else (k,), "init.output_weights")
    linear = None
    if init.linear is not None:
        linear = _checked_numbers(init.linear, (m, d) if m > 1 else (d,), "init.linear")
    biases = None if init.biases is None else check_vector(init.biases, k, "init.biases")
    if biases is not None and not model.hidden_bias:
        raise ValueError("init has biases, but the model has none: use hidden_bias=True")
    c = check_vector(np.ravel(init.intercept), m, "init.intercept")
    return Parameters(weights, v, linear, c if m > 1 else float(c[0]), biases=biases)


def _checked_numbers(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    if len(shape) == 1:
        return check_vector(values, shape[0], name)
    array = check_rows(values, name).astype(np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    check_finite(array, name)
    return array


def _checked_alphas(alpha: Any, finds_units: bool) -> tuple[float, ...]:
    """Penalties to choose from, largest first: one where a number is given."""
    if isinstance(alpha, str):
        if alpha != "auto":
            raise ValueError(f"alpha must be a number, a list of numbers or 'auto', got {alpha!r}")
        found: tuple[float, ...] = ALPHAS
    else:
        values = [alpha] if np.ndim(alpha) == 0 else list(alpha)
        if not values or any(isinstance(a, bool) or not isinstance(a, (int, float, np.number)) for a in values):
            raise TypeError(f"alpha must be a number, a list of numbers or 'auto', got {alpha!r}")
        if not all(0 <= a < np.inf for a in values):
            raise ValueError(f"alpha must not be negative, and finite, got {alpha!r}")
        found = tuple(sorted({float(a) for a in values}, reverse=True))
    if finds_units and found != (0.0,):
        raise ValueError("alpha must be 0 with n_hidden='auto', which compares fits without a penalty")
    return found


def _check_unit_search(model: str | Activation | Network, n_hidden: str, init: Any) -> None:
    if n_hidden != "auto":
        raise ValueError(f"n_hidden must be an integer or 'auto', got {n_hidden!r}")
    known = isinstance(model, Network) and not isinstance(model.output_weights, str)
    if known or not (isinstance(model, (Activation, Network)) or model in ACTIVATIONS):
        raise ValueError(
            f"n_hidden='auto' is for regressions by name ({', '.join(ACTIVATIONS)}) or a model object whose output "
            f"weights are ones, signs or free, got model={model!r}"
        )
    if not (isinstance(init, str) and init == "auto"):
        raise ValueError("n_hidden='auto' finds its own start: leave init='auto'")


def _check_units_of(model: Network) -> None:
    if not (model.loss.least_squares and model.n_patches == model.n_outputs == 1):
        raise ValueError("n_hidden='auto' is for fully connected regressions of one output under the squared loss")


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
