"""The ten most used calls of the estimators against those of scikit-learn's MLPRegressor and MLPClassifier.

Both have one hidden layer of equal width, the same penalty and the same rows, scaled; each is otherwise left at its
defaults, as users leave them, so fits end where each believes that they should, and the held-out score is told beside
the time.  ``mlp lbfgs`` is MLPRegressor's other solver, the one that its documentation recommends for small data.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from .harness import Context, Row, ratio

_TABLES = {"small": 500, "large": 50_000}
_FEATURES, _HIDDEN, _ALPHA = 10, 32, 1.0
_CALLS = (
    ("fit", "small"), ("fit", "large"), ("fit classes", "small"), ("fit classes", "large"), ("predict", "large"),
    ("predict_proba", "large"), ("score", "large"), ("partial_fit", "large"), ("cross_val_score", "small"),
    ("grid of alpha", "small"),
)  # fmt: skip


def run(context: Context) -> Iterator[Row]:
    """One row for each call; none where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError as reason:
        context.leave_out("scikit-learn", reason)
        return
    calls = [("fit", "small"), ("predict", "small")] if context.quick else _CALLS
    yield from context.each(({"call": call, "rows": rows} for call, rows in calls), one)


def one(context: Context, call: str, rows: str) -> Row:
    """Median milliseconds of each, ratios within a round, and held-out scores where something is fitted."""
    from sklearn.base import clone
    from sklearn.datasets import make_friedman1
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    import fastrecover as fr

    n = _TABLES[rows]
    X, y = make_friedman1(n + 5000, n_features=_FEATURES, noise=1.0, random_state=0)
    X = StandardScaler().fit_transform(X)
    y = (y - y.mean()) / y.std()
    classes = "classes" in call or call == "predict_proba"
    target = y > 0 if classes else y
    train, test = (X[:n], target[:n]), (X[n:], target[n:])
    theirs: dict[str, Any] = dict(hidden_layer_sizes=(_HIDDEN,), alpha=_ALPHA, random_state=0)
    mlp = MLPClassifier if classes else MLPRegressor
    own = fr.OneHiddenLayerClassifier if classes else fr.OneHiddenLayerRegressor
    made = {
        "ours": own(n_hidden=_HIDDEN, alpha=_ALPHA, random_state=0),
        "mlp": mlp(**theirs),
        "mlp lbfgs": mlp(**theirs, solver="lbfgs"),
    }

    def called(estimator: Any) -> Callable[[], Any]:
        if call.startswith("fit"):
            return lambda: estimator.fit(*train)
        if call == "partial_fit":
            return lambda: clone(estimator).partial_fit(*train)
        if call == "cross_val_score":
            return lambda: cross_val_score(estimator, *train, cv=5)
        if call == "grid of alpha":
            return lambda: GridSearchCV(estimator, {"alpha": [0.1, 1.0, 10.0]}, cv=3).fit(*train)
        estimator.fit(train[0][:500], train[1][:500])
        method = getattr(estimator, call)
        return lambda: method(*train) if call == "score" else method(train[0])

    if call == "partial_fit":
        del made["mlp lbfgs"]  # which has none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        calls = {name: called(estimator) for name, estimator in made.items()}
        times, others = context.timed(calls, 30.0)
        row: Row = {f"{name} ms": 1e3 * statistics.median(times[name]) for name in calls}
        row |= {f"{name} / ours": ratio(times, name, "ours") for name in list(calls)[1:]}
        if call.startswith("fit"):
            row |= {f"{name} score": estimator.score(*test) for name, estimator in made.items()}
    return row | {"others": others}
