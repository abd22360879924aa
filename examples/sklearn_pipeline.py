"""
In a pipeline of scikit-learn
=============================

A pipeline and a grid search of scikit-learn around a network of this package, and the same around its MLP.

::

    python examples/sklearn_pipeline.py
"""

from __future__ import annotations

import time
import warnings

from sklearn.base import RegressorMixin
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastrecover as fr


def main(n: int = 1500) -> dict[str, float]:
    """Fit n rows; returns R^2 on held-out rows by name."""
    X, y = make_friedman1(n, noise=1.0, random_state=0)
    ours = fr.OneHiddenLayerRegressor(random_state=0)
    networks: dict[str, RegressorMixin] = {
        "OneHiddenLayerRegressor": ours,
        "MLPRegressor": MLPRegressor(learning_rate_init=0.01, max_iter=2000, random_state=0),
        "MLPRegressor, lbfgs": MLPRegressor(hidden_layer_sizes=(32,), solver="lbfgs", max_iter=1000, random_state=0),
    }
    scores = {}
    for name, network in networks.items():
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a thousand steps do not end lbfgs
            score = cross_val_score(make_pipeline(StandardScaler(), network), X, y, cv=3).mean()
        scores[name] = float(score)
        print(f"{name:<24} R^2 {score:.3f}   {(time.perf_counter() - began) / 3:6.2f} s a fit")

    search = GridSearchCV(ours, {"n_hidden": [8, 32], "alpha": [1.0, 10.0]}, cv=3).fit(X, y)
    scores["search"] = float(search.best_score_)
    print(f"best of the grid         R^2 {search.best_score_:.3f}   {search.best_params_}")
    hidden = search.best_estimator_.set_output(transform="pandas").transform(X)
    print(f"hidden units as features: {', '.join(hidden.columns[:2])}, ...; {hidden.shape[0]} rows")
    return scores


if __name__ == "__main__":
    main()
