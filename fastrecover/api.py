"""``fit`` and ``objective``: check what is asked for, carry out the plan, report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack, cast

from numpy.typing import ArrayLike

from ._arrays import feature_names
from ._blas import one_blas_thread
from ._progress import notice
from ._typing import RandomState
from ._validation import check_positive
from .activations import Activation
from .batches import Batches, are_batches
from .checkpoint import Record, shared_record
from .data import Given, given, opened
from .engines import agreed
from .exceptions import convergence_warning
from .fingerprint import data_of
from .model_objective import ModelObjective
from .models import ModelOptions, Network, Parameters, get_model
from .papers import PRESETS
from .penalised import Choice, chosen_by_penalty, penalty_of, problem_of
from .plan import ALL, Chosen, Left, Outcome, Problem, carry_out, carry_out_on_batches, determined, number_of_units
from .recovery import Recovery
from .request import Request
from .solvers import Monitor, SharedClock
from .sources import Source
from .starts import Start
from .sweeps import Objective


def fit(
    X: ArrayLike | Path | Source | Iterable[tuple[ArrayLike, ArrayLike]],
    y: ArrayLike | Path | Source | None = None,
    model: str | Activation | Network = "relu",
    n_hidden: int | Literal["auto"] | None = None,
    *,
    init: str | ArrayLike | Parameters | Recovery | Start = "auto",
    solver: Chosen = "auto",
    restarts: int | Literal["auto"] = "auto",
    sample_weight: ArrayLike | None = None,
    inputs: Literal["auto", "whiten", "gaussian"] = "auto",
    n_jobs: int | None = None,
    random_state: RandomState = None,
    tol: float | None = None,
    max_passes: float | None = None,
    max_seconds: float | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    verbose: int = 0,
    alpha: float | Sequence[float] | Literal["auto"] = 0.0,
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    standardise: bool = False,
    gather: Callable[[Any], Sequence[Any]] | None = None,
    **model_options: Unpack[ModelOptions],
) -> Recovery:
    """Recover the weights of the one-hidden-layer network that produced y from X.

    Parameters
    ----------
    X : array_like (n, d), path, Source, array or frame of Dask, or iterable of pairs (X, y)
        Inputs; float32 and float64 rows with unit column stride are swept where they lie (any row stride, so
        ``lagged`` views and memory maps cost no copy), everything else is converted.  The titles of a data frame are
        kept as ``feature_names`` and compared with those of frames that the recovery is asked about.  A path
        (``"x.npy"``, ``"d.npz"``, ``"d.zarr"``, ``"d.h5"``, ``"d.parquet"``) is opened by
        :func:`fastrecover.sources.open`, which also says which array or columns are meant; it and other sources
        (:func:`fastrecover.sources.from_blocks`) are read block by block.  Chunks of Dask stay with the workers of the
        current client, one task for each of which makes a pass, or are read one by one where there is none.  Batches of
        fresh rows, such as ``Teacher.stream`` draws without end, are each taken for one step by ``ge2017``, ``sgd`` and
        ``resampled-gd`` from given or random rows.  Passes are then in units of the first batch, ``n_rows`` is the
        number of rows taken, and loss, standard errors and certificate are those of the last batch; an iterable that
        ends early ends the fit.
    y : array_like (n,) or (n, n_outputs), path or Source
        Responses (None: those of a file, of a source, or of batches), with a column for each output; for a
        classification labels of any kind, targets in [0, 1], or rows of probabilities; for counts numbers that are not
        negative.
    model : str or Network
        Activation name (``relu leaky_relu squared_relu abs sigmoid tanh erf softplus quadratic``) for a regression,
        ``fcn`` or ``cnn`` for a classification, ``landscape``, a preset of ``fastrecover.papers`` (``zhong2017
        zhang2018 fu2018-fcn fu2018-cnn ge2017 xia2019``), or an object of ``fastrecover.models``.
    n_hidden : int or "auto"
        Number of hidden units; required with a name.  "auto" (regressions): the smallest number whose fit is
        exact, or leaves a residual that a test cannot tell from noise; a model object's own number is then ignored.
    init : str, ndarray, Parameters, Recovery or callable
        "auto", "tensor", "tensor-published", "landscape", "spectral", "message-passing", "expand" or "random".
        Where refinement begins; an array has shape (n_hidden, d), a function of an engine, a model and a seed returns
        Parameters, as those of ``fastrecover.starts`` do (``partial(published_start, split=True)``: disjoint rows for
        each moment, as the proof has it).

        - "tensor": moments by regression.
        - "tensor-published": moments by averaging, as Zhong et al. 2017.
        - "landscape": fourth moments in whitened coordinates (Ge, Lee and Ma 2017), output weights of one sign.
        - "spectral": bounded second moment, for quadratic networks.
        - "message-passing": posterior mean, for sums of squares from few rows without noise.
        - "expand": wide students side by side, pruned, then grown and pruned again until one fits exactly.
        - "random": restarts side by side, signs around the inertia of the second moment.
        - A Recovery: where that fit has ended, with what its solver has learned of the curvature if it is still there
          and the rows have the same units, as the same rows have.
        - "auto": tensor and expand, whichever costs less first; the result is checked, the other stands behind it.
          Where rows are few and units many (sixteen of 3.2 rows a weight, four or eight of fewer without a penalty):
          before expand, students under weight decay are merged down to the model, which ends the search where the fit
          is exact or, with more rows or a penalty, two agree (no hidden biases, one output).
    solver : {"auto", "gauss-newton", "lbfgs", "gd", "sgd", "resampled-gd", "pncg"} or solver object
        "auto" works on a sub-sample first; the others run on all rows from the start.
    restarts : int or "auto"
        A number: the best of so many random starts, side by side and then refined; ``converged`` then means that it
        is a minimum, not that there is no lower one.  "auto": a search until a minimum can be vouched for.  What it
        costs grows as n_rows * n_features * n_hidden: at most 20 times the passes of the first minimum, but no less
        than 400 and no more than 2000; choosing by a penalty (see Notes) comes on top.  With fewer than 2.5 rows for
        each parameter (with hidden biases 4) only an exact fit can be told from wrong ones, and the search ends after
        80 rounds, or after 12 where students under decay came before; under a penalty, where no fit is exact, after 12,
        or as soon as minima agree.
    sample_weight : array_like (n,) or path, optional
        Non-negative weights; a weight of 2 counts as the row given twice, one of 0 as the row left out, whatever it
        holds.
    inputs : {"auto", "whiten", "gaussian"}
        What is made of the rows, whose moments starts read as those of N(0, I).  "auto": a test looks at a few
        thousand rows; where mean or covariance differ from 0 and I by more than chance the fit works on rows whose
        columns, or second moment, are brought to 1 by a linear map, starts on whitened ones, and the weights are
        mapped back: so units decide nothing.  "whiten": always.  "gaussian": rows are trusted, not looked at, and
        stay as they are.  Refinement assumes nothing of their law.
    n_jobs : int, optional
        Threads (None: all processors).  Results have the same bits for any number.
    random_state : None, int, SeedSequence, Generator or RandomState
    tol : float, optional
        Distance to the minimiser at which to stop, in units of its statistical error (default 1e-3).  Kinks blur it:
        with noise, relu units stop at up to 30 times as much, with more than 1,500 parameters at up to 100 times,
        where steps no longer shorten it.
    max_passes, max_seconds : float, optional
        Budget in full passes over the data, and in seconds.  A start that would exceed it is left for random rows; a
        minimum that could not be judged within it is not called converged.
    callback : callable, optional
        Called after every step with a dict (stage, pass, loss, grad_norm, rows, seconds), whose method ``network()``
        gives the Parameters there, or None; True ends the fit, which then returns what it has (random rows where that
        is no start yet), not converged, and says so.  Where no step ends for a second, as in long starts, it is called
        between two sweeps: stage "start" before the first step and the stage and loss of the last step after it,
        grad_norm nan.  The history holds the steps only.
    checkpoint : path, optional
        File that keeps what passes over the data have found.  Where it exists the fit goes on from there: the same
        call after a crash, or Ctrl-C, ends with the same bits as if nothing had happened, and that of a finished fit
        returns its result again.  Its ``max_passes`` and ``max_seconds``, which count what was done before, may be
        larger, and ``callback``, ``verbose`` and ``n_jobs`` others; without ``random_state`` that of the first call
        is used.  An iterable must be given from its beginning.  A file that cannot be written to while the fit runs,
        or is damaged at its end, costs passes and is told in a warning.
    verbose : int
        1: a line for each stage on standard error; 2: a line for each step.
    alpha : float, list of float, or "auto"
        Penalty ``alpha / (2 n) (|W|^2 + |v|^2 + |b|^2)`` on weights, output weights and linear terms (not on biases and
        intercepts), n the sum of the sample weights.  Of several the largest is taken whose loss on rows that are held
        out (five parts in turn; one fifth of the rows from 20,000 on) is not above the least by more than the standard
        error of their difference, along a path from the largest to the smallest; "auto": of eleven between 1e-4 and
        100.  ``info["alphas"]`` holds the losses.  At 0 a penalty may still choose between minima (see Notes).
    class_weight : "balanced", dict, or None
        Weights of classes, by which those of samples are multiplied; "balanced": all classes weigh the same.
    standardise : bool
        Whether the penalty is on weights, output weights and linear terms of the network for columns, and responses,
        that are divided by their standard deviations.  What is returned is for X and y as they are.
    gather : callable, optional
        ``gather(value)`` returns the list of the values of all processes, in the same order everywhere, as
        ``mpi4py.MPI.COMM_WORLD.allgather`` does.  Every process calls ``fit`` with the same arguments and rows of its
        own (those of the first process come first), and all get the same recovery, to the bit that of one process with
        all rows.  Random numbers are those of the first process, `max_seconds` is the time of the slowest, and a
        callback of any one of them may end the fit.  Standard errors are asked for by all together as well.
    **model_options
        With an activation name: ``output_weights`` (default "signs", "ones" for sigmoid), ``fit_intercept``,
        ``linear_term``, ``hidden_bias``, ``slope``, and ``loss`` in {"squared", "huber", "logistic", "poisson"} with
        ``delta`` of "huber" and ``link`` of "poisson" (see ``fastrecover.models``, also for their defaults).
        ``hidden_bias`` with ``fcn`` and ``cnn``, ``n_patches`` with ``cnn``.

    Returns
    -------
    Recovery

    Raises
    ------
    TypeError, ValueError
        Bad input, before any long work.
    ClusterError
        Workers of a cluster were lost, and with them rows that nobody could make again.
    CheckpointError
        ``checkpoint`` is no checkpoint, that of other arguments or other data (after a pass over X at most), or in
        use.  The file is left as it was.
    OSError
        ``checkpoint`` cannot be made.

    Warns
    -----
    ConvergenceWarning
        The fit ended before it had converged; ``message`` says why.
    UserWarning
        The rows do not determine all weights (``determined`` says which, ``message`` why); the start relied on
        moments of rows that are clearly not Gaussian, and the fit is not exact; or ``ge2017`` has far fewer rows than
        it wants.

    Notes
    -----
    Of noisy rows least squares may have many minima, or none: units that are steps, or cancel each other, fit noise
    with weights without bound.  Where a search (`init` "auto", "expand" or "random", `solver` and `restarts` "auto", a
    regression of one output under the squared loss, `n_hidden` a number, `alpha` 0) has ended without a minimum that it
    can vouch for, or with weights that run off, and rows are not scarce, a penalty is chosen as by ``alpha="auto"``
    with `standardise`, on no more rows than the first sub-sample has.  The minimum found and those of short searches
    under that penalty are compared by what is lowest in their basins under it.  ``info["chosen_under"]`` is that alpha.
    What is returned is

    - the minimum found, as it is, where its basin is the lowest and its weights do not run off, or do so under the
      penalty too;
    - else the minimum of least squares in the lowest basin, called converged where it was found twice, leaves noise
      alone, and no lower one is known;
    - where weights run off there too, the penalised fit, as ``alpha=info["alpha"], standardise=True`` defines it: not
      converged, its loss with the penalty.

    A budget that ends before that leaves the minimum found.
    """
    left = init.left if isinstance(init, Recovery) else None
    if isinstance(init, Recovery):
        init = init.parameters if left is None else left.parameters(init.weights.shape[1])
    with nullcontext() if gather is None else agreed(gather):
        request = Request.parsed(
            model,
            n_hidden,
            init=init,
            solver=solver,
            restarts=restarts,
            inputs=inputs,
            random_state=random_state,
            tol=tol,
            max_passes=max_passes,
            max_seconds=max_seconds,
            callback=callback,
            verbose=verbose,
            alpha=alpha,
            class_weight=class_weight,
            standardise=standardise,
            model_options=model_options,
        )
        X = opened(X)
        if in_batches := are_batches(X, y):
            request.check_for_batches(y, sample_weight, gather)
    monitor = Monitor(request.callback, request.max_passes, request.max_seconds)
    data: Given | Batches
    if in_batches:
        data = Batches(cast(Iterable[Any], X), request.model, n_jobs)
        engine = data.engine
    else:
        data = given(X, y, sample_weight, request.model, request.class_weight, gather)
        if data.agreement is not None:
            monitor.clock, request = SharedClock(data.agreement), replace(request, seeds=data.same(request.seeds))
        data.check_sufficient(data.model, penalised=request.alphas[-1] > 0)
        engine = data.engine(n_jobs)
    request = request.of(data.model)
    start = request.start(engine.shape[1])
    record = None
    if checkpoint is not None:
        asked, tell = request.described() | data_of(engine), notice if verbose else None
        drawn = random_state is None
        if isinstance(data, Batches) or data.agreement is None:
            record = Record.at(checkpoint, asked, request.seeds, drawn=drawn, tell=tell)
        else:
            assert gather is not None
            who = partial(shared_record, same=data.same, agreed=partial(agreed, gather), is_first=data.is_first)
            record = who(checkpoint, asked, request.seeds, drawn=drawn, tell=tell)
        request = replace(request, seeds=record.seeds)
    recording = nullcontext() if record is None else record.of(monitor, engine.meter)
    with recording, one_blas_thread(), monitor.watching(engine.meter):
        if isinstance(data, Batches):
            problem = Problem(engine, request.model, request.seeds, monitor, request.tol)
            problem, outcome = carry_out_on_batches(problem, start, request.solver, data)
            choice = Choice(0.0)
        else:
            data.check_finite(engine)
            choice = penalty_of(data, request, n_jobs, monitor, engine.meter)
            problem = problem_of(engine, request, data.in_units(choice.alpha), monitor)
            problem.left = left
            if request.finds_units:
                problem, outcome = _with_units(problem, request.solver)
            else:
                outcome = carry_out(problem, start, request.solver)
                if request.alphas == (0.0,):
                    problem, outcome, choice = chosen_by_penalty(data, request, n_jobs, problem, outcome)
        recovery = _recovery(outcome, problem, data, request.model, feature_names(X))
        judged = determined(problem, recovery.parameters)
    recovery.info |= choice.as_info()
    if choice.is_short:
        recovery.converged = False
        recovery.message = (
            f"the budget ended before all penalties were compared: alpha={choice.alpha:g}; {recovery.message}"
        )
    unreached = data.out_of_reach(request.model) if isinstance(data, Given) else ""
    if unreached and not outcome.exact:
        recovery.converged, recovery.message = False, f"{unreached}; {recovery.message}"
    recovery.determined = judged.weights
    if judged.notes:
        unsure = f"not all weights are determined by these rows: {'; '.join(judged.notes)}"
        recovery.message = f"{recovery.message}; {unsure}"
        if recovery.converged:  # else the message is told below
            warnings.warn(f"{unsure} (see Recovery.determined)", UserWarning, stacklevel=2)
    if outcome.report.inputs and not outcome.exact:
        odd = "; ".join(outcome.report.inputs)
        warnings.warn(f"the start relies on Gaussian inputs, refinement does not: {odd}", UserWarning, stacklevel=2)
    if not recovery.converged:
        warnings.warn(f"fit did not converge: {recovery.message}", convergence_warning(), stacklevel=2)
    return recovery


def objective(
    X: ArrayLike | Path | Source,
    y: ArrayLike | Path | Source | None,
    model: str | Activation | Network,
    n_hidden: int | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
    alpha: float = 0.0,
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    **model_options: Unpack[ModelOptions],
) -> ModelObjective:
    """Loss of a model on data as a function of one flat vector, for other optimisers.

    Parameters
    ----------
    X, y, model, n_hidden, sample_weight, n_jobs, alpha, class_weight, **model_options
        As for :func:`fit`; the output weights must be known or free, and alpha a number.

    Returns
    -------
    ModelObjective
        With ``theta0``, ``pack`` and ``unpack``, ``value``, ``value_and_grad`` and ``hessp`` for
        ``scipy.optimize.minimize(o.value_and_grad, o.theta0(), jac=True, hessp=o.hessp)``, ``residuals`` and
        ``jacobian`` for ``scipy.optimize.least_squares(o.residuals, o.theta0(), jac=o.jacobian)``, and ``values`` at
        many points in one pass.

    Raises
    ------
    TypeError, ValueError
        Bad input.
    """
    network = get_model(model, n_hidden, output_weights_default="ones", also=tuple(PRESETS), **model_options)
    data = given(X, y, sample_weight, network, class_weight)
    return ModelObjective(data, n_jobs, alpha if alpha == 0 else check_positive(alpha, "alpha"))


def _with_units(problem: Problem, solver: Chosen) -> tuple[Problem, Outcome]:
    """The fit with the number of units that is found first."""
    units = number_of_units(problem)
    problem = replace(problem, model=problem.model.changed(n_hidden=units.n_hidden))
    init = "auto" if units.start is None else problem.coordinates.back(units.start, problem.model)
    outcome = carry_out(problem, init, solver)
    outcome.report.n_hidden_tried = {str(k): fits for k, fits in sorted(units.tried.items())}
    if not any(units.tried.values()):
        outcome.state.converged = False
        if not problem.spent:
            outcome.state.message = f"no number of units up to {max(units.tried)} leaves a residual that is noise"
    return problem, outcome


def _recovery(
    outcome: Outcome, problem: Problem, data: Given | Batches, asked: Network, names: list[str] | None
) -> Recovery:
    state, units = outcome.state, problem.coordinates
    objective = outcome.objective
    found, resolved = units.back(objective.unpack(state.theta), objective.model), objective.model
    # Loss and penalty as they were asked for, not in the units of the fit.
    asked = problem.model.changed(loss=asked.loss, penalty=None)
    penalty = problem.penalty
    return Recovery(
        model=asked,
        parameters=asked.changed(penalty=penalty).finished(found),
        loss=state.loss * units.scale**objective.response_degree,
        converged=state.converged,
        message=state.message,
        n_passes=problem.engine.meter.passes,
        history=problem.monitor.history,
        n_rows=data.n_rows,
        seconds=problem.monitor.seconds,
        info=outcome.report.as_dict(),
        classes=data.classes,
        objective=Objective(problem.raw_on(ALL), resolved.changed(loss=asked.loss, penalty=penalty)),
        feature_names=names,
        left=Left(units, resolved, state, data.weight_unit if isinstance(data, Given) else 1.0),
    )
