"""``fit``: check the input, plan, run the stages, report.

The plan of ``solver="auto"``: start and refine on a sub-sample that is large enough to identify the weights, then
touch all rows only for the last corrections, with the curvature of Gaussian rows as preconditioner.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ._blas import one_blas_thread
from ._validation import (
    check_columns,
    check_enough_rows,
    check_finite,
    check_moderate,
    check_positive,
    check_rows,
    check_varies,
    check_vector,
    check_weights,
)
from .activations import NAMES as ACTIVATIONS
from .engines import ThreadEngine
from .exceptions import convergence_warning
from .models import Network, get_model, nearest
from .papers import PRESETS, preset
from .random import seed_sequence
from .recovery import Recovery
from .solvers import Monitor, OnLandscape
from .solvers.plan import INITS, INPUTS, SOLVERS, Fit
from .solvers.units import number_of_units
from .sources import ArraySource
from .sweeps import MomentSweeps, Objective


def fit(
    X,
    y,
    model: str | Network = "relu",
    n_hidden: int | str | None = None,
    *,
    init="auto",
    solver="auto",
    sample_weight=None,
    inputs: str = "auto",
    n_jobs: int | None = None,
    random_state=None,
    tol: float | None = None,
    max_passes: float | None = None,
    callback: Callable[[dict], Any] | None = None,
    checkpoint=None,
    verbose: int = 0,
    **model_options,
) -> Recovery:
    """Recover the weights of the one-hidden-layer network that produced y from X.

    Parameters
    ----------
    X : array_like (n, d)
        Inputs; float32 and float64 rows with unit column stride are swept where they lie (any row stride, so
        ``lagged`` views and memory maps cost no copy), everything else is converted.
    y : array_like (n,)
        Responses; for a classification labels (strings, booleans, 0 and 1) or targets in [0, 1].
    model : str or Network
        Activation name (``relu leaky_relu squared_relu sigmoid tanh erf softplus quadratic``) for a regression,
        ``fcn`` or ``cnn`` for a classification, ``landscape``, a preset of ``fastrecover.papers`` (``zhong2017
        zhang2018 fu2018-fcn fu2018-cnn ge2017 xia2019``), or an object of ``fastrecover.models``.
    n_hidden : int or "auto"
        Number of hidden units; required with a name.  "auto" (regressions): the smallest number whose fit is
        exact, or leaves a residual that a test cannot tell from noise; a model object's own number is then ignored.
    init : {"auto", "tensor", "tensor-published", "landscape", "spectral", "expand", "random"} or ndarray or callable
        Where refinement begins; an array has shape (n_hidden, d), a function of an engine, a model and a seed returns
        Parameters, as those of ``fastrecover.starts`` do (``partial(published_start, split=True)``: disjoint rows for
        each moment, as the proof has it).
        "tensor": moments by regression.  "tensor-published": by averaging, as Zhong et al. 2017.
        "landscape": fourth moments in whitened coordinates (Ge, Lee and Ma 2017), output weights of one sign.
        "spectral": bounded second moment, for quadratic networks.
        "expand": wide students side by side, pruned, then grown and pruned again until one fits exactly.
        "random": restarts side by side, signs around the inertia of the second moment.
        "auto": tensor and expand, whichever costs less first; the result is checked, the other stands behind it.
    solver : {"auto", "gauss-newton", "lbfgs", "gd", "sgd", "resampled-gd", "pncg"} or solver object
        "auto" works on a sub-sample first; the others run on all rows from the start.
    sample_weight : array_like (n,), optional
        Non-negative weights; a weight of 2 counts as the row given twice.
    inputs : {"auto", "whiten", "gaussian"}
        What the starts make of the rows, whose moments they read as those of N(0, I).  "auto": a test looks at a
        few thousand rows; where mean or covariance differ from 0 and I by more than chance the start sees whitened
        rows and its weights are mapped back.  "whiten": always.  "gaussian": rows are trusted and not looked at.
        Refinement is on the rows as they are and assumes nothing of their law.
    n_jobs : int, optional
        Threads (None: all processors).  Results have the same bits for any number.
    random_state : None, int, SeedSequence or Generator
    tol : float, optional
        Distance to the minimiser at which to stop, in units of its statistical error (default 1e-3).
    max_passes : float, optional
        Budget in full passes over the data.  A start that would exceed it is left for random rows.
    callback : callable, optional
        Called after every step with a dict (stage, pass, loss, grad_norm, rows, seconds); True ends the fit, which
        then returns what it has (random rows where that is no start yet), not converged, and says so.  Where no step
        ends for a second, as in long starts, it is called between two sweeps: stage "start" before the first step
        and the stage and loss of the last step after it, grad_norm nan.  The history holds the steps only.
    checkpoint : None
        Reserved.
    verbose : int
        1: a line for each stage on standard error; 2: a line for each step.
    **model_options
        ``output_weights`` (default "signs", "ones" for sigmoid), ``fit_intercept``, ``linear_term``, ``slope`` with
        an activation name, ``n_patches``
        with ``cnn``.

    Returns
    -------
    Recovery

    Raises
    ------
    TypeError, ValueError
        Bad input, before any long work.

    Warns
    -----
    ConvergenceWarning
        The fit ended before it had converged; ``message`` says why.
    UserWarning
        The start relied on moments of rows that are clearly not Gaussian, and the fit is not exact.
    """
    search = isinstance(n_hidden, str)
    if isinstance(n_hidden, str):
        _check_search(model, n_hidden, init)
        n_hidden = 1 if isinstance(model, str) else None
    if isinstance(model, str) and model in PRESETS:
        recipe, init, solver = preset(model, n_hidden, init, solver, model_options)
    else:
        if isinstance(model, str) and model in ACTIVATIONS and model != "sigmoid":
            # Unknown signs include all ones; sigmoid units with signs could not be told apart.
            model_options = {"output_weights": "signs", **model_options}
        recipe = get_model(model, n_hidden, **model_options)
    source, classes = _source(X, y, sample_weight, recipe)
    engine = ThreadEngine(source, n_jobs)
    start = _check_init(init, recipe, engine.shape[1])
    _check_solver(solver)
    tol = 1e-3 if tol is None else check_positive(tol, "tol")
    if inputs not in INPUTS:
        raise ValueError(f"inputs must be one of {', '.join(INPUTS)}, got {inputs!r}{nearest(str(inputs), INPUTS)}")
    budget = np.inf if max_passes is None else check_positive(max_passes, "max_passes", most=np.inf)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    if not isinstance(verbose, (int, np.integer)):
        raise TypeError(f"verbose must be 0, 1 or 2, got {verbose!r}")
    if checkpoint is not None:
        raise ValueError("checkpoint must be None: checkpoints are not available in this version")
    seeds = seed_sequence(random_state)
    monitor = Monitor(_reporter(callback, verbose), budget)
    with one_blas_thread():
        _check_inputs(engine)
        with monitor.watching(engine.meter):
            if search:
                recipe, start, tried = _searched_units(engine, recipe, seeds, monitor, tol, inputs)
            done = Fit(engine, recipe, seeds, monitor, tol, inputs).run(start, solver)
    objective: Objective = done.objective
    if search:
        done.info["n_hidden_tried"] = {str(k): fits for k, fits in sorted(tried.items())}
        if not any(tried.values()):
            done.state.converged = False
            if not monitor.spent(engine.meter):
                done.state.message = f"no number of units up to {max(tried)} leaves a residual that is noise"
    if classes is not None:
        done.info["classes"] = classes.tolist()
    recovery = Recovery(
        model=recipe,
        parameters=recipe.finished(objective.unpack(done.state.theta)),
        loss=done.state.loss,
        converged=done.state.converged,
        message=done.state.message,
        n_passes=engine.meter.passes,
        history=monitor.history,
        n_rows=engine.shape[0],
        seconds=monitor.seconds,
        info=done.info,
        objective=objective,
    )
    if done.info.get("inputs") and not done.exact:
        odd = "; ".join(done.info["inputs"])
        warnings.warn(f"the start relies on Gaussian inputs, refinement does not: {odd}", UserWarning, stacklevel=2)
    if not recovery.converged:
        warnings.warn(f"fit did not converge: {recovery.message}", convergence_warning(), stacklevel=2)
    return recovery


def objective(
    X,
    y,
    model: str | Network,
    n_hidden: int | None = None,
    *,
    sample_weight=None,
    n_jobs=None,
    **model_options,
):
    """Loss of a model on data as a function of one flat vector, for other optimisers.

    Parameters
    ----------
    X, y, model, n_hidden, sample_weight, n_jobs, **model_options
        As for :func:`fit`; the output weights must be known or free.

    Returns
    -------
    Objective
        With ``value``, ``value_and_grad`` and ``hessp``; fits ``scipy.optimize.minimize(o.value_and_grad, theta0,
        jac=True, hessp=o.hessp)``.

    Raises
    ------
    TypeError, ValueError
        Bad input.
    """
    X = check_rows(X)
    recipe = get_model(model, n_hidden, **model_options)
    recipe.filter_length(X.shape[1])
    weight = check_weights(sample_weight, len(X))
    y = recipe.loss.targets(y, len(X))[0]
    return Objective(ThreadEngine(ArraySource(X, y, weight, recipe.n_patches), n_jobs), recipe)


def _source(X, y, sample_weight, model: Network) -> tuple[ArraySource, np.ndarray | None]:
    """Checked rows, and the two labels of a classification."""
    X = check_rows(X)
    inputs = model.filter_length(X.shape[1])
    y, classes = model.loss.targets(y, len(X))
    w = check_weights(sample_weight, len(X))
    if model.activation.name == "quadratic" and model.n_patches == 1:
        _check_quadratic(model, inputs, y)
    check_enough_rows(len(X), w, model.n_parameters(inputs) - model.n_flat)
    check_varies(y, w)
    check_moderate(y, "y")
    check_moderate(X, "X")
    check_columns(X)
    return ArraySource(X, y, w, model.n_patches), classes


def _check_search(model, n_hidden: str, init) -> None:
    if n_hidden != "auto":
        raise ValueError(f"n_hidden must be an integer or 'auto', got {n_hidden!r}")
    known = isinstance(model, Network) and not isinstance(model.output_weights, str)
    if known or not (isinstance(model, Network) or (isinstance(model, str) and model in ACTIVATIONS)):
        raise ValueError(
            f"n_hidden='auto' is for regressions by name ({', '.join(ACTIVATIONS)}) or a model object whose output "
            f"weights are ones, signs or free, got model={model!r}"
        )
    if isinstance(model, Network) and (model.is_classifier or model.n_patches > 1):
        raise ValueError("n_hidden='auto' is for fully connected regressions")
    if not (isinstance(init, str) and init == "auto"):
        raise ValueError("n_hidden='auto' finds its own start: leave init='auto'")


def _searched_units(engine, recipe: Network, seeds, monitor: Monitor, tol: float, inputs: str) -> tuple:
    """Model with the number of units found, where its fit begins, and what was tried."""

    def make(k: int) -> Network:
        return recipe.changed(n_hidden=k)

    found, k, tried = number_of_units(engine, make, seeds, monitor, tol, inputs)
    return make(k), "auto" if found is None else found, tried


def _check_quadratic(model: Network, d: int, y: np.ndarray) -> None:
    if model.n_hidden > d:
        raise ValueError(f"n_hidden={model.n_hidden} exceeds the {d} features: a quadratic form has at most rank {d}")
    squares = model.known_v is not None and (model.known_v > 0).all()
    if squares and not (model.fit_intercept or model.linear_term) and not (y > 0).any():
        raise ValueError(
            "y has no positive value, but the model is a sum of squares: use output_weights='signs', or "
            "fit_intercept=True"
        )


def _check_inputs(engine: ThreadEngine) -> None:
    if not np.isfinite(MomentSweeps(engine).mean()).all():
        check_finite(engine.source.x, "X")
        raise ValueError("X has entries so large that their sums overflow: rescale it")


def _check_init(init, model: Network, d: int):
    from .models import Parameters
    from .starts import check_expandable, check_landscape, check_resolvable

    if callable(init):
        return init
    if isinstance(init, str):
        if init not in INITS:
            raise ValueError(f"unknown init {init!r}{nearest(init, INITS)} (known: {', '.join(INITS)}, or an array)")
        if init == "spectral" and model.activation.name != "quadratic":
            raise ValueError("init='spectral' is for model='quadratic', whose second moment holds all: use 'tensor'")
        if init in ("tensor", "tensor-published", "spectral"):
            check_resolvable(model, d)
        if init == "expand":
            check_expandable(model)
        if init == "landscape":
            check_landscape(model, d)
        return init
    weights = init.weights if isinstance(init, Parameters) else init
    if weights is None or np.ndim(weights) == 0:
        raise TypeError(f"init must be one of {', '.join(INITS)}, or an array ({model.n_hidden}, {d}), got {init!r}")
    weights = check_rows(weights, "init").astype(np.float64)
    if weights.shape != (model.n_hidden, d):
        raise ValueError(f"init must have shape ({model.n_hidden}, {d}), got {weights.shape}")
    check_finite(weights, "init")
    if not isinstance(init, Parameters) or model.known_v is not None:
        return weights
    v = check_vector(init.output_weights, model.n_hidden, "init.output_weights")
    linear = None if init.linear is None else check_vector(init.linear, d, "init.linear")
    return Parameters(weights, v, linear, check_vector([init.intercept], 1, "init.intercept")[0])


def _check_solver(solver) -> None:
    if isinstance(solver, str) and solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}{nearest(solver, tuple(SOLVERS))} (known: {', '.join(SOLVERS)})")
    if not isinstance(solver, (str, OnLandscape)) and not (hasattr(solver, "begin") and hasattr(solver, "step")):
        raise TypeError(f"solver must be a name or an object with begin and step, got {solver!r}")


def _reporter(callback, verbose: int):
    if not verbose:
        return callback
    from ._progress import printed

    return printed(callback, verbose)
