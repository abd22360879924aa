"""Networks of every kind that a recovery may hold, with parameters at random, and what they are from plain NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fastrecover.activations import NAMES as ACTIVATIONS
from fastrecover.activations import get_activation
from fastrecover.losses import SOFTMAX
from fastrecover.models import NAMES, ConvRegression, Network, Parameters, get_model
from fastrecover.papers import PRESETS, preset
from fastrecover.recovery import Recovery

#: All strings that ``fit`` takes for a model, and the one model that has no string.
STRINGS = (*NAMES, *PRESETS, "a filter on patches")
HISTORY = {"stage": ["start", "full"], "pass": [1, 2], "loss": [2.0, 0.5], "grad_norm": [1.0, 0.1]}
HISTORY |= {"rows": [10, 100], "seconds": [0.1, 0.2]}


def recovery_of(model: Network, parameters: Parameters, **fields) -> Recovery:
    """A recovery that holds these, as a fit would leave it."""
    values = dict(loss=0.25, converged=True, message="done", n_passes=2.0, n_rows=100, seconds=0.5, history=HISTORY)
    return Recovery(model=model, parameters=parameters, **{**values, **fields})


@st.composite
def networks(draw, name: str) -> Network:
    """A model by one of :data:`STRINGS`, with the options that go with it."""
    k = draw(st.integers(1, 5))
    if name == "a filter on patches":
        act = draw(st.sampled_from(ACTIVATIONS))
        bias = draw(st.booleans()) and act != "quadratic"
        return ConvRegression(draw(st.integers(2, 4)), act, draw(st.booleans()), bias)
    if name in ("cnn", "fu2018-cnn"):
        own = {"n_patches": draw(st.integers(2, 4))} | ({"hidden_bias": draw(st.booleans())} if name == "cnn" else {})
        return get_model("cnn", None, **own) if name == "cnn" else preset(name, None, "auto", "auto", own)[0]
    if name in PRESETS:
        return preset(name, k, "auto", "auto", {})[0]
    if name == "fcn":
        return get_model(name, k, hidden_bias=draw(st.booleans()))
    act, loss = get_activation(name), draw(st.sampled_from(["squared", "huber", "logistic", "poisson"]))
    many = loss != "poisson" and not act.is_quadratic and draw(st.booleans())
    kinds = ["free", "ones", "numbers"] + ["signs"] * (not act.reflects_into_intercept)
    v = "free" if many else draw(st.sampled_from(kinds))
    weights = st.sampled_from([-2.0, 0.5, 1.0])
    options = {
        "output_weights": draw(st.lists(weights, min_size=k, max_size=k)) if v == "numbers" else v,
        "hidden_bias": not act.is_quadratic and draw(st.booleans()),
        "fit_intercept": draw(st.booleans()),
        "linear_term": draw(st.booleans()),
        "loss": loss,
    }  # fmt: skip
    if act.takes_slope and draw(st.booleans()):
        options["slope"] = draw(st.sampled_from([0.0, 0.3]))
    if loss == "huber":
        options["delta"] = 2.0
    if loss == "poisson":
        options["link"] = draw(st.sampled_from(["log", "softplus"]))
    model = get_model(name, k, **options)
    return model.changed(n_outputs=3, loss=SOFTMAX if loss == "logistic" else model.loss) if many else model


@st.composite
def recoveries(draw, name: str) -> Recovery:
    """A recovery of such a model, of one feature to six a unit, with weights of any size that is met."""
    model = draw(networks(name))
    d, rng = draw(st.integers(1, 6)), np.random.default_rng(draw(st.integers(0, 1000)))
    k, m, size = model.n_hidden, model.n_outputs, draw(st.sampled_from([0.3, 1.0, 5.0]))
    several = (m,) if m > 1 else ()
    known = model.known_v
    v = rng.standard_normal((*several, k)) if model.free_v else rng.choice([-1.0, 1.0], k) if known is None else known
    found = Parameters(
        size * rng.standard_normal((k, d)) / np.sqrt(d),
        v,
        rng.standard_normal((*several, d)) if model.linear_term else None,
        (rng.standard_normal(m) if m > 1 else float(rng.standard_normal())) if model.fit_intercept
        else np.zeros(m) if m > 1 else 0.0,
        biases=rng.standard_normal(k) if model.hidden_bias else None,
    )  # fmt: skip
    labels = None
    if model.loss.takes_labels:
        kind = draw(st.sampled_from(["text", "numbers", "halves", "truth"]))
        known = {"text": ["ant", "b\N{LATIN SMALL LETTER E WITH ACUTE}e", "cat"], "numbers": [-1, 1, 7]}
        labels = (known | {"halves": [0.5, 1.5, 2.5], "truth": [False, True]})[kind][: max(m, 2)]
        labels = labels if len(labels) == max(m, 2) else ["a", "b", "c"]
    return recovery_of(model, model.finished(found), classes=labels)


def rows_for(rec: Recovery, n: int = 40) -> np.ndarray:
    """Rows of ordinary size."""
    return np.random.default_rng(n).standard_normal((n, rec.n_features))


def outputs_of(rec: Recovery, X: np.ndarray) -> np.ndarray:
    """Outputs (n, n_outputs) by the formula, and nothing else of the package than phi."""
    p, patches = rec.parameters, rec.model.n_patches
    z = X.reshape(len(X), patches, -1) @ p.weights.T + (0.0 if p.biases is None else p.biases)
    f = rec.model.activation.value(z).sum(axis=1) @ np.atleast_2d(p.output_weights).T + np.atleast_1d(p.intercept)
    return f if p.linear is None else f + X @ np.atleast_2d(p.linear).T
