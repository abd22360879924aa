"""Bad input to networks with biases, outputs, losses and penalties: one clear error before any long work."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.models import Logistic, Parameters, Poisson, Regression

N, D, K = 120, 3, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
Y = np.maximum(X @ RNG.standard_normal(D), 0.0)
SEVERAL = np.column_stack([Y, X[:, 0], Y - X[:, 1]])
LABELS = np.where(X[:, 0] > 0, "yes", "no")
COUNTS = RNG.poisson(1.0, N).astype(float)
SHARES = RNG.dirichlet(np.ones(3), N)
BIASED = Parameters(np.ones((K, D)), np.ones(K), biases=np.zeros(K))


def changed(a: np.ndarray, where, value) -> np.ndarray:
    a = a.copy()
    a[where] = value
    return a


def fail(*events: dict) -> None:
    raise AssertionError(f"work began: {events}")


LOGISTIC, COUNTED = dict(loss="logistic", y=LABELS), dict(loss="poisson", y=COUNTS)
CASES = {
    "count negative": (
        COUNTED | dict(y=changed(COUNTS, [7, 9], -2.0)),
        ValueError,
        "^y must not be negative under a Poisson loss, but row 7 is -2$",
    ),
    "count nan": (COUNTED | dict(y=changed(COUNTS, 5, np.nan)), ValueError, "^y must be finite, but row 5 is nan"),
    "count inf": (COUNTED | dict(y=changed(COUNTS, 5, np.inf)), ValueError, "^y must be finite, but row 5 is inf"),
    "count text": (COUNTED | dict(y=LABELS), TypeError, "^y must be real numbers"),
    "counts all alike": (COUNTED | dict(y=np.ones(N)), ValueError, "^y must vary"),
    "softplus count": (
        COUNTED | dict(link="softplus", y=changed(COUNTS, 0, -0.5)),
        ValueError,
        "^y must not be negative.*row 0 is -0.5$",
    ),
    "huber text": (dict(loss="huber", y=LABELS), TypeError, "^y must be real numbers"),
    "one class": (LOGISTIC | dict(y=np.full(N, "no")), ValueError, "^y has one class only .*'no'"),
    "one class of 0 and 1": (LOGISTIC | dict(y=np.zeros(N)), ValueError, "^y "),
    "classes many": (
        LOGISTIC | dict(y=np.arange(N)),
        ValueError,
        "^y has 120 classes in 120 rows: a class needs two rows",
    ),
    "classes are numbers": (LOGISTIC | dict(y=X[:, 0]), ValueError, r"^y must hold two labels, or lie in \[0, 1\]"),
    "classes nan": (LOGISTIC | dict(y=changed(COUNTS, 3, np.nan)), ValueError, "^y must be finite, but row 3 is nan"),
    "classes mixed": (
        LOGISTIC | dict(y=changed(LABELS.astype(object), 2, 1.5)),
        TypeError,
        "^y has labels of different types float, str",
    ),
    "shares": (
        LOGISTIC | dict(y=changed(SHARES, (4, 0), 3.0)),
        ValueError,
        "^y must hold rows of probabilities that sum to 1, but row 4 is",
    ),
    "share negative": (
        LOGISTIC | dict(y=changed(SHARES, 4, [-0.5, 1.0, 0.5])),
        ValueError,
        "^y must hold rows of probabilities .* row 4 is",
    ),
    "shares short": (LOGISTIC | dict(y=SHARES[1:]), ValueError, "^y has 119 rows but X has 120 rows"),
    "classes with signs": (
        LOGISTIC | dict(y=COUNTS % 3, output_weights="signs"),
        ValueError,
        "^y has 3 classes: several outputs .* output_weights='free', got 'signs'",
    ),
    "columns with signs": (dict(y=SEVERAL), ValueError, "^y has 3 columns: .* output_weights='free', got 'signs'"),
    "columns with numbers": (
        dict(y=SEVERAL, output_weights=[1.0, 2.0]),
        ValueError,
        "^y has 3 columns: .* output_weights='free', got 'numbers'",
    ),
    "columns of counts": (
        COUNTED | dict(y=np.abs(SEVERAL)),
        ValueError,
        r"^y must be one-dimensional, got shape \(120, 3\)",
    ),
    "columns short": (dict(y=SEVERAL[1:], output_weights="free"), ValueError, "^y has 119 rows but X has 120 rows"),
    "columns nan": (
        dict(y=changed(SEVERAL, (8, 1), np.nan), output_weights="free"),
        ValueError,
        "^y must be finite, but row 8, column 1 is nan",
    ),
    "columns constant": (
        dict(y=changed(SEVERAL, (slice(None), 1), 2.0), output_weights="free"),
        ValueError,
        "^y must vary",
        "column 1",
    ),
    "columns of quadratic units": (
        dict(model="quadratic", y=SEVERAL, output_weights="free"),
        ValueError,
        "^y has 3 columns: quadratic units have one output: fit the columns of y one by one",
    ),
    "columns of fcn": (dict(model="fcn", y=SEVERAL), ValueError, "^y must be one-dimensional"),
    "columns and the number of units": (
        dict(y=SEVERAL, n_hidden="auto", output_weights="free"),
        ValueError,
        "^n_hidden='auto' is for .* one output",
    ),
    **{
        f"alpha {a}": (dict(alpha=a), ValueError, "^alpha must not be negative, and finite, got")
        for a in (-1.0, np.nan, np.inf, [1.0, -2.0])
    },
    "alpha text": (dict(alpha="best"), ValueError, "^alpha must be a number, a list of numbers or 'auto', got 'best'"),
    **{
        f"alpha {a}": (dict(alpha=a), TypeError, "^alpha must be a number, a list of numbers or 'auto', got")
        for a in (None, True, [], ["1"])
    },
    "alpha and the number of units": (
        dict(alpha=1.0, n_hidden="auto"),
        ValueError,
        "^alpha must be 0 with n_hidden='auto'",
    ),
    "biases of quadratic units": (
        dict(model="quadratic", hidden_bias=True),
        ValueError,
        "^hidden_bias=True is not identifiable for quadratic units",
        "linear_term=True",
        "fit_intercept=True",
    ),
    "biases twice": (
        dict(hidden_bias=True, X=changed(X, (slice(None), 1), 2.5)),
        ValueError,
        r"^X has constant columns \(1\)",
        "hidden bias",
    ),
    "class_weight of a regression": (
        dict(class_weight="balanced"),
        ValueError,
        "^class_weight is for classifications",
        "sample_weight",
    ),
    "class_weight of counts": (COUNTED | dict(class_weight="balanced"), ValueError, "^class_weight is for"),
    "class_weight unknown": (LOGISTIC | dict(class_weight="equal"), TypeError, "^class_weight must be 'balanced', a"),
    "class_weight of no class": (
        LOGISTIC | dict(class_weight={"no": 1.0, "maybe": 2.0}),
        ValueError,
        r"^class_weight has a weight for 'maybe', which is none of the classes \['no', 'yes'\]",
    ),
    "class_weight negative": (
        LOGISTIC | dict(class_weight={"no": -1.0}),
        ValueError,
        "^class_weight must not be negative",
    ),
    "class_weight text": (LOGISTIC | dict(class_weight={"no": "1"}), TypeError, "^class_weight"),
    "class_weight nan": (LOGISTIC | dict(class_weight={"no": np.nan}), ValueError, "^class_weight must be finite"),
    "class_weight of shares": (
        LOGISTIC | dict(y=SHARES, class_weight="balanced"),
        ValueError,
        "^class_weight needs labels, but y holds fractions",
    ),
    "delta alone": (dict(delta=1.0), TypeError, "^delta belongs to loss='huber', not to 'squared'"),
    "delta of counts": (COUNTED | dict(delta=1.0), TypeError, "^delta belongs to loss='huber', not to 'poisson'"),
    "delta zero": (dict(loss="huber", delta=0.0), ValueError, "^delta must be positive"),
    "delta text": (dict(loss="huber", delta="1"), TypeError, "^delta must be a number"),
    "link alone": (dict(link="log"), TypeError, "^link belongs to loss='poisson', not to 'squared'"),
    "link of labels": (LOGISTIC | dict(link="log"), TypeError, "^link belongs to loss='poisson', not to 'logistic'"),
    "link unknown": (COUNTED | dict(link="probit"), ValueError, "^link must be one of log, softplus, got 'probit'"),
    "loss unknown": (dict(loss="hubber"), ValueError, "^unknown loss 'hubber'", "huber"),
    "option of fcn": (dict(model="fcn", y=LABELS, linear_term=True), TypeError, "^unknown option 'linear_term'"),
    "init with biases": (
        dict(output_weights="free", init=BIASED),
        ValueError,
        "^init has biases, but the model has none: use hidden_bias=True",
    ),
    "init with other biases": (
        dict(output_weights="free", hidden_bias=True, init=Parameters(np.ones((K, D)), np.ones(K), biases=np.ones(3))),
        ValueError,
        "^init.biases has 3 entries",
    ),
    "init of one output": (
        dict(output_weights="free", y=SEVERAL, init=Parameters(np.ones((K, D)), np.ones(K))),
        ValueError,
        "^init.output_weights must have shape",
    ),
    "too few rows for biases": (
        dict(X=X[:7], y=Y[:7], hidden_bias=True),
        ValueError,
        "^X has 7 rows that count",
        "8 parameters",
    ),
    "landscape of classes": (LOGISTIC | dict(init="landscape"), ValueError, "landscape"),
    "restarts": (dict(restarts=0), ValueError, "^restarts must be at least 1"),
    "restarts of a start": (dict(restarts=5, init="tensor"), ValueError, "^restarts=5 takes the best of random"),
}


@pytest.mark.parametrize("case", CASES)
def test_fit_refuses(case):
    changes, error, *patterns = CASES[case]
    call = dict(X=X, y=Y, model="relu", n_hidden=K, random_state=0, callback=fail) | changes
    with pytest.raises(error) as caught:
        fr.fit(call.pop("X"), call.pop("y"), **call)
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    "make, error, match",
    [
        (lambda: Regression("relu", 2, loss="logistic"), ValueError, "models.Logistic and models.Poisson"),
        (lambda: Regression("relu", 2, delta=1.0), TypeError, "delta belongs to loss='huber'"),
        (lambda: Poisson("relu", 2, "logit"), ValueError, "link must be one of log, softplus"),
        (lambda: Logistic("relu", 0), ValueError, "n_hidden must be at least 1"),
        (lambda: Logistic("quadratic", 2, hidden_bias=True), ValueError, "linear_term=True and fit_intercept=True"),
        (lambda: Logistic("relu", 2, bias=True), TypeError, "bias"),
        (lambda: Logistic("relu", 2, loss="huber"), TypeError, "loss"),
        (lambda: Regression("relu", 2, "signs").changed(n_outputs=2), ValueError, "output_weights='free'"),
        (lambda: Regression("relu", 2).changed(n_outputs=0), ValueError, "n_outputs must be at least 1"),
        (lambda: fr.losses.Huber(-1.0), ValueError, "delta must be positive"),
    ],
)
def test_models_refuse(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_quadratic_logits_have_no_biases_unless_asked():
    assert not Logistic("quadratic", 2).hidden_bias and Logistic("relu", 2).hidden_bias
