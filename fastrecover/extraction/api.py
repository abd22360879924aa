"""``extract``: a black box is asked until its hidden units are known, then what it computes is written down.

The search knows nothing of models; this module turns its units into parameters of one and says how sure they are.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_numbers
from .._history import COLUMNS
from .._progress import printed
from .._typing import RandomState
from .._validation import check_positive, check_vector
from ..activations import Activation, get_activation
from ..exceptions import convergence_warning
from ..models import check_count, nearest
from ..random import Stream, generator, seed_sequence
from ..recovery import Recovery
from .oracle import SINGLE, Oracle, Spent
from .result import Found, Kink, Rest, model_of
from .search import Search
from .units import Units

_OUTPUTS = ("real", "logit")
_NUMBERS_AT_ONCE = 1 << 22
_TOLS, _ROUNDINGS = 10.0, 1000.0  # what units may be off by, in tolerances and in roundings of answers


def extract(
    query: Callable[[np.ndarray], ArrayLike],
    n_features: int,
    n_hidden: int | Literal["auto"],
    output: Literal["real", "logit"] = "real",
    hidden_bias: bool = True,
    *,
    activation: str | Activation = "relu",
    slope: float | None = None,
    fit_intercept: bool = True,
    linear_term: bool = False,
    scale: ArrayLike = 1.0,
    tol: float = 1e-9,
    max_queries: int | None = None,
    batch_size: int | None = None,
    random_state: RandomState = 0,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    verbose: int = 0,
) -> Recovery:
    """Recover a one-hidden-layer network with kinks from answers to queries that are chosen here.

    Along a line the network is piecewise linear, with one kink for each unit; gradients on both sides of a kink differ
    by the weights of its unit.  Answers without noise give the weights to rounding, however rarely a unit is active;
    units that hardly count beside the others less well.

    Parameters
    ----------
    query : callable
        Takes a float64 array (m, n_features) and returns m numbers, as (m,) or (m, 1), or (m, n_outputs) for several
        outputs; any real inputs must be allowed.  Wrap what wants another type: ``lambda X: session.run(None, {"x":
        X.astype("f4")})[0]`` for an ONNX session, ``lambda X: net(torch.from_numpy(X).float()).detach().numpy()`` for
        a torch module; ``MLPRegressor.predict`` is one as it is.
    n_features : int
    n_hidden : int or "auto"
        Hidden units; "auto" counts those whose kinks are found.
    output : {"real", "logit"}
        "logit": answers are probabilities, of the second of two classes (m,), or of all classes (m, n_classes), and
        the network is their logit.  Of a probability p one number holds the logit to about ``eps / (1 - p)``, so give
        both columns (``predict_proba``), which lose nothing until one is 0.  Saturated points are passed over.
    hidden_bias : bool
        Whether units have biases.
    activation : str or Activation
        ``relu``, ``leaky_relu`` or a function of yours that consists of two straight pieces which meet at 0.
    slope : float, optional
        Of ``leaky_relu`` on the negative side.
    fit_intercept, linear_term : bool
        Whether the network has an intercept, and a linear term beside its units (a skip connection).  With a linear
        term it cannot be told on which side a unit is active, and one of the equal networks is returned.
    scale : float or array_like (n_features,)
        Typical sizes of the features, where kinks are looked for first; powers of two near them are used.
    tol : float
        Relative error of each unit that is good enough; those that are not there yet are measured again at more
        favourable places, to the rounding of the answers at most.
    max_queries : int, optional
        Most rows to ask for.
    batch_size : int, optional
        Most rows of a call of `query`; by default as many as hold four million numbers.
    random_state : None, int, SeedSequence, Generator or RandomState
        Of lines and points.
    callback : callable, optional
        Called after every stage with a dict (stage, pass, loss, grad_norm, rows, seconds), rows being those asked for
        so far; True ends the search.
    verbose : int
        1 or 2: a line for each stage on standard error.

    Returns
    -------
    Recovery
        With ``n_queries``.  ``loss`` is that of rows that nothing was fitted to; ``info`` holds the queries of each
        stage, the rounding of the answers, and the relative errors to expect of all weights and of the worst unit;
        ``determined`` is False for units that were not found.

    Raises
    ------
    TypeError, ValueError
        Bad arguments; an activation without a kink; answers of another shape, not finite, no probabilities, or other
        ones to the same rows.

    Warns
    -----
    ConvergenceWarning
        Units are missing, or sides of units are not determined; ``message`` says which.

    Notes
    -----
    Carlini, Jagielski and Mironov (2020), arXiv 2003.04884, find kinks along lines and weights as differences of
    gradients.  Here units that are known are subtracted from later answers, gradients are measured along Hadamard steps
    and once between two kinks, and rough units are measured again by symmetric steps across their kinks.
    """
    check_count("n_features", n_features)
    if n_hidden != "auto":
        check_count("n_hidden", n_hidden)
    if output not in _OUTPUTS:
        raise ValueError(f"output must be one of {', '.join(_OUTPUTS)}, got {output!r}{nearest(str(output), _OUTPUTS)}")
    if not callable(query):
        raise TypeError(f"query must be callable, such as the predict method of a model, got {query!r}")
    kink = Kink.of(get_activation(activation, slope))
    sizes = _scale(scale, n_features)
    for name, count in (("max_queries", max_queries), ("batch_size", batch_size)):
        if count is not None:
            check_count(name, count)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    root, tol = seed_sequence(random_state), check_positive(tol, "tol")
    rows = max(1, _NUMBERS_AT_ONCE // n_features) if batch_size is None else batch_size
    oracle = Oracle(query, sizes, output == "logit", rows, max_queries or np.inf)
    progress = _Progress(oracle, printed(callback, int(verbose)) if verbose else callback)
    wanted = None if n_hidden == "auto" else int(n_hidden)
    search, rest, notes = None, None, []
    try:
        oracle.probe(generator(root, Stream.EXTRACTION, 4))
        search = Search(oracle, root, tol, wanted, progress.tell)
        search.run()
        if not progress.ended:
            rest = Rest.of(search, generator(root, Stream.EXTRACTION, 5))
            progress.tell("what is left", rest.loss)
    except Spent:
        notes.append(f"max_queries={max_queries} reached")
    if progress.ended:
        notes.append("stopped by the callback")
    units = Units.none(n_features, max(oracle.n_outputs, 1)) if search is None else search.units
    found = Found.of(units, rest, kink, bool(hidden_bias), bool(fit_intercept), bool(linear_term))
    size = float(np.linalg.norm(units.sizes))
    unsure = units.unsure if rest is None else rest.error
    rough = unsure > max(_TOLS * tol * size, _ROUNDINGS * np.sqrt(len(units)) * oracle.rounding)
    whole = rest is not None and not rest.note and rest.wide and not rough
    notes += _missing(len(units), wanted, whole) + found.notes + ([rest.note] if rest is not None and rest.note else [])
    if len(units) and rough:
        notes.append(f"rounding leaves a relative error of about {unsure / size:.1g}")
    message = "; ".join(notes) or f"{len(units)} units, and answers at other points agree to their rounding"
    n_outputs, k = units.v.shape[1], max(wanted or 1, len(units))
    model = model_of(kink, k, n_outputs, oracle.logit, bool(hidden_bias), bool(fit_intercept), found.linear_term)
    parameters = model.finished(found.parameters(model, sizes))
    recovery = Recovery(
        model=model,
        parameters=parameters,
        loss=np.nan if rest is None else rest.loss,
        converged=not notes,
        message=message,
        n_passes=1.0,
        history=progress.history,
        n_rows=oracle.n_queries,
        seconds=progress.seconds,
        info={
            "queries": progress.queries(),
            "rounding": float(oracle.rounding),
            "expected_error": unsure / size if len(units) else 0.0,
            "worst_unit": float(units.error.max(initial=0.0)),
            "single_precision": oracle.bits == SINGLE,
        },
        determined=np.repeat((parameters.sizes > 0)[:, None], n_features, axis=1),
        n_queries=oracle.n_queries,
    )
    if notes:
        warnings.warn(f"extract did not converge: {message}", convergence_warning(), stacklevel=2)
    return recovery


def _scale(scale: ArrayLike, n_features: int) -> np.ndarray:
    """Powers of two near the sizes of features, which change no digit of a query."""
    sizes = as_numbers(scale, "scale")
    if sizes.ndim == 0:
        sizes = np.full(n_features, sizes)
    sizes = check_vector(sizes, n_features, "scale")
    if not (sizes > 0).all():
        raise ValueError(f"scale must be positive, got {sizes.min():g}")
    return np.asarray(2.0 ** np.rint(np.log2(sizes)))


def _missing(found: int, wanted: int | None, whole: bool) -> list[str]:
    """What to say of the number of units."""
    if wanted is None:
        return [] if found else ["no kink was found: the network is linear, or its kinks are further away than `scale`"]
    if found == wanted:
        return []
    why = "; these explain all answers, so others are dead, equal or always active" if whole and found < wanted else ""
    return [f"{found} units found in place of n_hidden={wanted}{why}"]


class _Progress:
    """History of the stages, which a callback hears of."""

    def __init__(self, oracle: Oracle, callback: Callable[[dict[str, Any]], Any] | None) -> None:
        self.oracle, self.callback, self.ended = oracle, callback, False
        self.history: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time since the extraction began."""
        return time.perf_counter() - self.started

    def tell(self, stage: str, loss: float = np.nan) -> bool:
        """Add a line; True where the callback ends the search."""
        line = dict(zip(COLUMNS, (stage, 1.0, loss, np.nan, self.oracle.n_queries, self.seconds), strict=True))
        for name, value in line.items():
            self.history[name].append(value)
        answer = None if self.callback is None else self.callback(line)
        self.ended = isinstance(answer, (bool, np.bool_)) and bool(answer)
        return self.ended

    def queries(self) -> dict[str, int]:
        """Queries of every kind of stage; what was asked before the first belongs to it."""
        total: dict[str, int] = {}
        before = 0
        for stage, rows in zip(self.history["stage"], self.history["rows"], strict=True):
            kind = stage.split()[0] if stage.startswith("line") else stage
            total[kind] = total.get(kind, 0) + rows - before
            before = rows
        return total
