"""Networks with hidden biases, several outputs, labels, counts and penalties, through the public functions.

Oracles are planted networks, optimisers of SciPy on formulas written out here, and brute force.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

import fastrecover as fr
from fastrecover.models import Logistic, Poisson, Regression
from fastrecover.penalised import largest_good
from fastrecover.starts import light_start

ACTIVATIONS = ["relu", "abs", "leaky_relu", "squared_relu", "tanh", "erf", "sigmoid", "softplus"]


def planted(name, d, k, n, seed=1, noise=0.0, **options):
    options = dict(hidden_bias=True, output_weights="free") | options
    teacher = fr.datasets.make_teacher(name, d, k, random_state=seed, **options)
    return teacher, *teacher.sample(n, noise=noise, random_state=seed + 100)


def parts(theta, k, d, m=1):
    """W, b, V, c of theta with biases and intercepts."""
    w, b, v, c = np.split(theta, np.cumsum([k * d, k, m * k]))
    return w.reshape(k, d), b, v.reshape(m, k), c


def outputs(phi, theta, x, k, m=1):
    w, b, v, c = parts(theta, k, x.shape[1], m)
    return phi(x @ w.T + b) @ v.T + c


def flat(p):
    return np.concatenate([np.ravel(each) for each in (p.weights, p.biases, p.output_weights, p.intercept)])


def slopes(function, theta, step=1e-6):
    """Central differences, (..., parameters)."""
    ends = [(function(theta + step * e) - function(theta - step * e)) / (2 * step) for e in np.eye(len(theta))]
    return np.stack(ends, axis=-1)


# ----------------------------------------------------------------------------------------------------- recovery


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_biases_are_recovered(name):
    teacher, x, y = planted(name, 4, 3, 190, intercept=0.3)
    rec = fr.fit(x, y, teacher.model, random_state=0)
    assert rec.converged and rec.error(teacher) < 1e-7
    assert np.abs(teacher.biases).max() > 0.3
    np.testing.assert_allclose(rec.predict(x), y, atol=1e-7)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_several_outputs(name):
    teacher, x, y = planted(name, 4, 3, 300, n_outputs=3, intercept=[0.2, -1.0, 0.0])
    rec = fr.fit(x, y, name, 3, output_weights="free", hidden_bias=True, fit_intercept=True, random_state=0)
    assert rec.converged and rec.error(teacher) < 1e-7
    assert rec.output_weights.shape == (3, 3) and rec.predict(x).shape == y.shape
    np.testing.assert_allclose(rec.predict(x), y, atol=1e-7)
    assert rec.score(x, y) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name, d, k", [("relu", 2, 4), ("relu", 3, 5), ("relu", 1, 3), ("tanh", 1, 2)])
def test_more_units_than_features(name, d, k):
    teacher, x, y = planted(name, d, k, 600, seed=3)
    rec = fr.fit(x, y, teacher.model, random_state=0)
    assert rec.converged and rec.error(teacher) < 1e-7


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_shifted_scaled_and_correlated_rows(name):
    teacher, z, _ = planted(name, 4, 3, 600, norms=1.5)
    rng = np.random.default_rng(5)
    x = z @ (np.eye(4) + 0.4 * rng.standard_normal((4, 4))) + np.array([0.3, -0.2, 0.4, 0.0])
    scale = np.array([1.0, 1e-3, 50.0, 7.0])
    y = teacher.predict(x)
    rec = fr.fit(x * scale, y, teacher.model, random_state=0)
    truth = fr.models.Parameters(teacher.weights / scale, teacher.output_weights, biases=teacher.biases)
    assert rec.converged and rec.error(truth) < 1e-7


def test_a_constant_column_is_a_bias_by_another_name():
    teacher, x, y = planted("relu", 4, 3, 300)
    wide = np.column_stack([x, np.full(len(x), 2.5)])
    biased = fr.fit(x, y, teacher.model, random_state=0)
    smuggled = fr.fit(wide, y, "relu", 3, output_weights="free", random_state=0)
    assert biased.error(teacher) < 1e-7 and smuggled.loss < 1e-14 * np.var(y)
    own = np.column_stack([teacher.weights, teacher.biases / 2.5])
    assert smuggled.error(fr.models.Parameters(own, teacher.output_weights)) < 1e-7
    with pytest.raises(ValueError, match=r"constant columns \(4\).*hidden bias"):
        fr.fit(wide, y, teacher.model, random_state=0)


@pytest.mark.parametrize("case", ["regression", "classes", "counts"])
def test_same_bits_for_any_number_of_threads(case):
    options = {"regression": dict(n_outputs=2), "classes": dict(loss="logistic"), "counts": dict(loss="poisson")}[case]
    teacher, x, y = planted("tanh", 3, 2, 3000, noise=0.0 if case != "regression" else 0.1, **options)
    one, two = (fr.fit(x, y, teacher.model, alpha=0.1, restarts=2, random_state=0, n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.parameters.flat(), two.parameters.flat())
    assert one.loss == two.loss


def test_rows_of_single_precision():
    teacher, x, _ = planted("tanh", 4, 3, 600)
    x = x.astype(np.float32)
    y = teacher.predict(x)
    rec = fr.fit(x, y, teacher.model, random_state=0)
    assert rec.converged and rec.error(teacher) < 1e-5


# ------------------------------------------------------------------------------------------- labels and counts


def lowest(value, theta):
    """Loss of SciPy's minimiser from theta."""
    found = optimize.minimize(value, theta, method="BFGS", options=dict(gtol=1e-9, maxiter=3000))
    return found.fun


def test_labels_against_scipy():
    teacher, x, y = planted("tanh", 3, 1, 800, loss="logistic", intercept=0.5, norms=2.0)
    rec = fr.fit(x, y, Logistic("tanh", 1), random_state=0)

    def value(theta):
        f = outputs(np.tanh, theta, x, 1)[:, 0]
        return np.mean(np.logaddexp(0, f) - y * f)

    assert rec.converged
    assert rec.loss == pytest.approx(lowest(value, flat(teacher.parameters)), rel=1e-8)
    assert value(flat(rec.parameters)) == pytest.approx(rec.loss, rel=1e-12)
    p = rec.predict_proba(x)
    f = outputs(np.tanh, flat(rec.parameters), x, 1)[:, 0]
    np.testing.assert_allclose(p[:, 1], special.expit(f), rtol=1e-12)
    np.testing.assert_allclose(rec.decision_function(x), f, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(rec.predict(x), (f > 0).astype(int))
    assert rec.score(x, y) == np.mean((f > 0) == y)


def test_three_classes_with_names():
    teacher, x, y = planted("tanh", 3, 1, 600, loss="logistic", n_outputs=3, norms=2.0)
    which = y.argmax(axis=1) if y.ndim == 2 else y.astype(int)
    names = np.array(["bee", "ant", "cat"])[which]
    rec = fr.fit(x, names, "tanh", 1, loss="logistic", restarts=2, random_state=0)
    assert rec.classes.tolist() == ["ant", "bee", "cat"]
    p = rec.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-13)
    np.testing.assert_allclose(p, special.softmax(rec.decision_function(x), axis=1), rtol=1e-12)
    np.testing.assert_array_equal(rec.predict(x), rec.classes[p.argmax(axis=1)])
    own = np.searchsorted(rec.classes, names)
    assert rec.loss == pytest.approx(-np.mean(np.log(p[np.arange(len(x)), own])), rel=1e-12)
    assert rec.log_loss(x, names) == pytest.approx(rec.loss, rel=1e-12)

    def value(theta):
        f = outputs(np.tanh, theta, x, 1, 3)
        return np.mean(special.logsumexp(f, axis=1) - f[np.arange(len(x)), own])

    order = [1, 0, 2]  # classes of the teacher in rising order of their names
    t = teacher.parameters
    truth = np.concatenate([t.weights.ravel(), t.biases, t.output_weights[order].ravel(), np.zeros(3)])
    assert rec.loss == pytest.approx(lowest(value, truth), rel=1e-8)
    np.testing.assert_allclose(rec.output_weights.sum(axis=0), 0.0, atol=1e-12)  # known up to a function of all


@pytest.mark.parametrize("link", ["log", "softplus"])
def test_counts_against_scipy(link):
    teacher, x, y = planted("tanh", 3, 1, 1500, loss="poisson", link=link, intercept=0.5, norms=1.5)
    rec = fr.fit(x, y, Poisson("tanh", 1, link, hidden_bias=True), random_state=0)

    def value(theta):
        f = outputs(np.tanh, theta, x, 1)[:, 0]
        q = np.exp(f) if link == "log" else np.logaddexp(0, f)
        return np.mean(q - y * np.log(q))

    assert rec.converged
    assert rec.loss == pytest.approx(lowest(value, flat(teacher.parameters)), rel=1e-8)
    f = outputs(np.tanh, flat(rec.parameters), x, 1)[:, 0]
    np.testing.assert_allclose(rec.predict(x), np.exp(f) if link == "log" else np.logaddexp(0, f), rtol=1e-11)
    np.testing.assert_allclose(rec.decision_function(x), f, atol=1e-11)


def test_huber_ignores_wild_responses():
    teacher, x, y = planted("relu", 4, 2, 800, noise=0.02)
    y = y.copy()
    y[::10] += 25.0
    squared = fr.fit(x, y, teacher.model, restarts=5, random_state=0)
    robust = fr.fit(x, y, teacher.model.changed(loss=fr.losses.Huber(0.05)), restarts=5, random_state=0)
    assert robust.converged and robust.error(teacher) < 0.03
    assert squared.error(teacher) > 10 * robust.error(teacher)


# ---------------------------------------------------------------------------------------------------- penalties


@pytest.mark.parametrize("weighted", [False, True])
def test_the_penalised_gradient_is_zero(weighted):
    teacher, x, y = planted("tanh", 3, 2, 300, noise=0.2)
    w, alpha = np.random.default_rng(0).uniform(0.5, 5.0, 300) if weighted else np.ones(300), 2.0
    rec = fr.fit(
        x, y, "tanh", 2, output_weights="free", hidden_bias=True, fit_intercept=True, alpha=alpha, tol=1e-6,
        sample_weight=w if weighted else None, random_state=0,
    )  # fmt: skip

    def value(theta):
        """The convention of scikit-learn's MLP: biases and intercepts are free."""
        hidden, _, v, _ = parts(theta, 2, 3)
        f = outputs(np.tanh, theta, x, 2)[:, 0]
        return (w @ (f - y) ** 2 / 2 + alpha / 2 * ((hidden**2).sum() + (v**2).sum())) / w.sum()

    theta = flat(rec.parameters)
    assert rec.converged and rec.info["alpha"] == alpha
    assert rec.loss == pytest.approx(value(theta), rel=1e-12)
    assert np.abs(slopes(value, theta)).max() < 1e-7
    assert rec.loss <= value(flat(teacher.parameters))


def test_larger_penalties_shrink():
    _, x, y = planted("relu", 3, 2, 300, noise=0.2)
    sizes = []
    for alpha in (0.1, 1.0, 10.0):
        p = fr.fit(
            x, y, "relu", 2, output_weights="free", hidden_bias=True, alpha=alpha, restarts=4, random_state=0
        ).parameters
        sizes.append((p.weights**2).sum() + (p.output_weights**2).sum())
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_penalty_determines_the_lengths_of_relu_units():
    """A bias is free, so the scale c of a unit minimises ``|c w|^2 + |v / c|^2``: both sides are equally long.

    A fit ends within a fraction of its standard errors, here some thousandths.
    """
    _, x, y = planted("relu", 3, 2, 300, noise=0.2)
    rec = fr.fit(x, y, "relu", 2, output_weights="free", alpha=1.0, restarts=4, tol=1e-6, random_state=0)
    p = rec.parameters
    np.testing.assert_allclose(np.linalg.norm(p.weights, axis=1), np.abs(p.output_weights), rtol=1e-2)
    left = np.maximum(x @ p.weights.T, 0.0) @ p.output_weights - y
    value = (left @ left + (p.weights**2).sum() + (p.output_weights**2).sum()) / (2 * len(x))
    assert rec.loss == pytest.approx(value, rel=1e-10)


def test_few_rows_are_enough_for_a_verdict_under_a_penalty():
    """Nothing is exact there, so minima that agree end the search: fewer rows than parameters; SciPy from 30 starts.

    Nine of them lead to the lowest minimum, the others to higher ones.
    """
    rng, d, k, n, alpha = np.random.default_rng(0), 8, 3, 24, 0.1
    x = rng.standard_normal((n, d))
    y = np.tanh(x[:, 0]) - np.tanh(x @ rng.standard_normal(d)) + 0.3 * rng.standard_normal(n)

    def value(theta):
        w, v = theta[: k * d].reshape(k, d), theta[k * d :]
        hidden = np.tanh(x @ w.T)
        left = hidden @ v - y
        slope = (left[:, None] * v * (1.0 - hidden**2)).T @ x
        gradient = np.concatenate([slope.ravel(), hidden.T @ left]) + alpha * theta
        return (left @ left + alpha * theta @ theta) / (2 * n), gradient / n

    starts = np.random.default_rng(1).standard_normal((30, k * (d + 1)))
    found = [optimize.minimize(value, start, jac=True, method="BFGS", options={"gtol": 1e-9}).fun for start in starts]
    rec = fr.fit(x, y, "tanh", k, output_weights="free", alpha=alpha, random_state=0)
    assert rec.converged and rec.loss == pytest.approx(min(found), rel=1e-6)


def test_a_budget_that_ends_before_all_penalties_are_compared_is_said_so():
    x = np.random.default_rng(0).standard_normal((200, 3))
    with pytest.warns(fr.ConvergenceWarning, match="the budget ended before all penalties were compared: alpha=100;"):
        rec = fr.fit(x, np.tanh(x[:, 0]), "tanh", 2, output_weights="free", alpha=[100.0, 1.0], max_passes=3)
    assert not rec.converged and rec.info["alpha"] == 100.0 and list(rec.info["alphas"]) == ["100"]


@pytest.mark.filterwarnings("ignore:not all weights are determined")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_penalised_labels_have_a_minimum_though_they_are_separable(activation):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 10))
    labels = np.tanh(x @ rng.standard_normal(10)) > 0
    model = fr.models.Logistic(activation, 2)
    rec = fr.fit(x, labels, model, alpha=1.0, restarts=3, random_state=0)
    assert rec.converged and np.isfinite(rec.loss)
    with pytest.warns(fr.ConvergenceWarning, match="run off to infinity"):
        fr.fit(x, labels, model, restarts=3, random_state=0)


def test_the_largest_penalty_is_taken_that_is_not_worse_by_more_than_chance():
    best = np.array([1.0, 2.0, 3.0, 4.0])
    shifts = {10.0: np.array([1.0, 0.9, 1.1, 1.0]), 3.0: np.array([0.3, -0.2, 0.1, 0.0]), 1.0: np.zeros(4), 0.1: 0.5}
    losses = {alpha: best + shift for alpha, shift in shifts.items()}
    # 3.0 is above by 0.05 on average, and the standard error of that is 0.104; 10.0 is above for sure.
    assert largest_good(losses) == 3.0
    assert largest_good({alpha: loss[:1] for alpha, loss in losses.items()}) == 1.0  # one part knows no chance
    assert largest_good({1.0: best, 2.0: best}) == 2.0


@pytest.mark.filterwarnings("ignore:not all weights are determined")  # a unit may end linear on every row
def test_penalised_kinks_are_fitted_by_gradients():
    """Steps of matrices stall at kinks: by these the same fits end at 0.207 on average."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    x, y = x / x.std(axis=0), (y - y.mean()) / y.std()
    model = Regression("relu", 8, "free", True, hidden_bias=True)
    fits = [fr.fit(x, y, model, alpha=1.0, restarts=4, random_state=seed, n_jobs=1) for seed in range(3)]
    assert np.mean([fit.loss for fit in fits]) < 0.2


def test_light_starts_are_within_their_bounds():
    rng = np.random.default_rng(0)
    for m, shape in ((1, (40,)), (3, (3, 40))):
        model = Regression("relu", 40, "free", True, hidden_bias=True).changed(n_outputs=m)
        start = light_start(model, 10, rng)
        assert start.weights.shape == (40, 10) and start.output_weights.shape == shape
        for values, most in ((start.weights, 50), (start.biases, 50), (start.output_weights, 40 + m)):
            assert 0.8 < np.abs(values).max() / np.sqrt(6.0 / most) <= 1.0


@pytest.mark.parametrize("alpha", ["auto", [0.01, 100.0, 1.0]])
def test_penalties_are_chosen_by_rows_held_out(alpha):
    _, x, y = planted("tanh", 3, 1, 100, noise=0.5)
    fits = [fr.fit(x, y, "tanh", 1, output_weights="free", alpha=alpha, restarts=2, random_state=0) for _ in range(2)]
    losses = {float(a): loss for a, loss in fits[0].info["alphas"].items()}
    assert fits[0].info["alpha"] >= min(losses, key=losses.__getitem__)
    assert losses[fits[0].info["alpha"]] <= 1.5 * min(losses.values())
    assert len(losses) >= 3 and max(losses) == 100.0
    np.testing.assert_array_equal(fits[0].parameters.flat(), fits[1].parameters.flat())
    assert fits[0].info["alphas"] == fits[1].info["alphas"]


# ------------------------------------------------------------------------------------------ weights and restarts


def test_weights_of_classes():
    _, x, y = planted("tanh", 3, 1, 1500, loss="logistic", intercept=0.7, output_weights=[2.0], norms=1.5)
    labels = np.where(y > 0.5, "yes", "no")
    own = {label: len(x) / (2 * np.sum(labels == label)) for label in ("yes", "no")}
    own_rows = np.array([own[label] for label in labels])
    options = dict(loss="logistic", restarts=2, random_state=0)
    balanced = fr.fit(x, labels, "tanh", 1, class_weight="balanced", **options)
    by_rows = fr.fit(x, labels, "tanh", 1, sample_weight=own_rows, **options)
    by_name = fr.fit(x, labels, "tanh", 1, class_weight=own, **options)
    for other in (by_rows, by_name):
        np.testing.assert_array_equal(balanced.parameters.flat(), other.parameters.flat())
        assert balanced.loss == other.loss
    assert balanced.loss != fr.fit(x, labels, "tanh", 1, **options).loss


def test_restarts_find_no_higher_loss():
    _, x, y = planted("tanh", 2, 3, 40, noise=0.3, seed=7)
    few, many = (fr.fit(x, y, "tanh", 3, hidden_bias=True, restarts=r, random_state=0) for r in (1, 10))
    assert many.loss <= few.loss * (1 + 1e-9)


# --------------------------------------------------------------------------------------------------------- files

KINDS = {
    "biases": dict(),
    "outputs": dict(n_outputs=2),
    "huber": dict(loss="huber", delta=0.3),
    "logistic": dict(loss="logistic", norms=2.0),
    "classes": dict(loss="logistic", n_outputs=3, norms=2.0),
    "poisson": dict(loss="poisson"),
    "softplus": dict(loss="poisson", link="softplus"),
    "penalty": dict(),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_everything(kind, tmp_path):
    options = KINDS[kind]
    noise = 0.0 if options.get("loss") in ("logistic", "poisson") else 0.1
    teacher, x, y = planted("tanh", 3, 2, 400, noise=noise, **options)
    rec = fr.fit(x, y, teacher.model, alpha=0.5 * (kind == "penalty"), restarts=1, random_state=0)
    rec.save(tmp_path / "rec.npz")
    back = fr.load(tmp_path / "rec.npz")
    np.testing.assert_array_equal(back.parameters.flat(), rec.parameters.flat())
    assert back.model == rec.model and back.model.loss == rec.model.loss
    assert back.loss == rec.loss and back.info == {**rec.info, **{k: v for k, v in back.info.items() if k == "classes"}}
    np.testing.assert_array_equal(back.predict(x), rec.predict(x))
    np.testing.assert_array_equal(back.decision_function(x), rec.decision_function(x))
    if rec.classes is not None:
        np.testing.assert_array_equal(back.classes, rec.classes)
    if rec.parameters.errors is not None:
        np.testing.assert_array_equal(back.standard_errors().flat(), rec.standard_errors().flat())


# ----------------------------------------------------------------------------------------------- standard errors


def sandwich(scores, hessian, factor=1.0):
    inverse = np.linalg.inv(hessian)
    return np.sqrt(np.diag(inverse @ (factor * scores.T @ scores) @ inverse))


@pytest.mark.parametrize("case", ["huber", "poisson", "outputs", "penalty", "softmax"])
def test_standard_errors_by_brute_force(case):
    n, k, d, delta, alpha = 2000, 2, 2, 0.2, 5.0
    options = {
        "huber": dict(loss="huber", delta=delta),
        "poisson": dict(loss="poisson"),
        "outputs": dict(n_outputs=2),
        "penalty": dict(),
        "softmax": dict(loss="logistic", n_outputs=3, norms=2.0),
    }[case]
    noise = 0.0 if case in ("poisson", "softmax") else 0.2
    teacher, x, y = planted("tanh", d, k, n, noise=noise, intercept=0.1, **options)
    rec = fr.fit(x, y, teacher.model, alpha=alpha * (case == "penalty"), restarts=2, random_state=0, tol=1e-6)
    m, theta = rec.model.n_outputs, flat(rec.parameters)
    f = outputs(np.tanh, theta, x, k, m)
    jac = slopes(lambda t: outputs(np.tanh, t, x, k, m), theta)  # (n, m, p)
    p = len(theta)
    few = n / (n - p)
    if case == "softmax":
        q = special.softmax(f, axis=1)
        h = np.einsum("io,oq->ioq", q, np.eye(m)) - q[:, :, None] * q[:, None, :]
        fisher = np.einsum("iop,ioq,iqr->pr", jac, h, jac, optimize=True)
        # Known up to a function added to all classes; canonical parameters sum to zero over them.
        values, vectors = np.linalg.eigh(fisher)
        assert (values[: k + 1] < 1e-6 * values[-1]).all() and values[k + 1] > 1e-6 * values[-1]
        inverse = (vectors[:, k + 1 :] / values[k + 1 :]) @ vectors[:, k + 1 :].T
        expected = np.sqrt(np.diag(inverse))
    else:
        y = y.reshape(n, m)
        r = {"huber": np.clip(f - y, -delta, delta), "poisson": np.exp(f) - y}.get(case, f - y)
        h = {"huber": (np.abs(f - y) <= delta) * 1.0, "poisson": np.exp(f)}.get(case, np.ones_like(f))
        hessian = np.einsum("iop,io,ior->pr", jac, h, jac, optimize=True)
        if case == "penalty":
            held = np.r_[np.ones(k * d), np.zeros(k), np.ones(k), 0.0]
            hessian += alpha * np.diag(held)
        expected = sandwich(np.einsum("io,iop->ip", r, jac), hessian, few)
    np.testing.assert_allclose(flat(rec.standard_errors()), expected, rtol=2e-5)


def test_standard_errors_of_relu_units_have_no_scale():
    """The same network with another length of its rows has the same errors of canonical parameters."""
    teacher, x, y = planted("relu", 3, 2, 1000, noise=0.2, n_outputs=2, seed=2)
    rec = fr.fit(x, y, teacher.model, restarts=3, random_state=0)
    # On other rows: of its own some lie on a kink, where no derivative is.
    x, y = teacher.sample(1000, noise=0.2, random_state=7)
    errors = rec.standard_errors(x, y)
    np.testing.assert_allclose(np.linalg.norm(rec.weights, axis=1), 1.0, rtol=1e-12)
    assert (errors.flat() > 0).any() and np.isfinite(errors.flat()).all()
    # By brute force, in coordinates that hold the length: rows move on the sphere.
    p, k, d, m = rec.parameters, 2, 3, 2
    tangents = [np.linalg.svd(w[None])[2][1:] for w in p.weights]

    def network(t):
        """Weights (by angles at zero), biases, output weights."""
        angles, b, v = np.split(t, np.cumsum([k * (d - 1), k]))
        w = np.array([w + a @ q for w, a, q in zip(p.weights, angles.reshape(k, -1), tangents, strict=True)])
        w /= np.linalg.norm(w, axis=1)[:, None]
        return np.maximum(x @ w.T + b, 0.0) @ v.reshape(m, k).T

    at = np.r_[np.zeros(k * (d - 1)), p.biases, p.output_weights.ravel()]
    jac, r = slopes(network, at, 1e-7), network(at) - y
    n = len(x)
    scores = np.einsum("io,iop->ip", r, jac)
    inverse = np.linalg.inv(np.einsum("iop,ior->pr", jac, jac))
    covariance = inverse @ (scores.T @ scores) @ inverse * n / (n - len(at))
    size = k * (d - 1)
    np.testing.assert_allclose(
        np.r_[errors.biases, errors.output_weights.ravel()], np.sqrt(np.diag(covariance))[size:], rtol=1e-4
    )
    for j, q in enumerate(tangents):
        block = slice(j * (d - 1), (j + 1) * (d - 1))
        np.testing.assert_allclose(errors.weights[j], np.sqrt(np.diag(q.T @ covariance[block, block] @ q)), rtol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_unit_that_is_off_on_every_row_is_not_determined():
    teacher, x, y = planted("relu", 3, 1, 300, noise=0.05)
    x = np.clip(x, -2.0, 2.0)
    y = teacher.predict(x) + 0.05 * np.random.default_rng(0).standard_normal(len(x))
    init = fr.models.Parameters(
        np.vstack([teacher.weights, np.ones(3)]),
        np.r_[teacher.output_weights, 1.0],
        biases=np.r_[teacher.biases, -50.0],
    )
    rec = fr.fit(x, y, Regression("relu", 2, "free", hidden_bias=True), init=init, solver="gd", random_state=0)
    off = rec.biases < -5.0
    assert off.sum() == 1
    assert not rec.determined[off].any() and rec.determined[~off].all()
    assert "off or saturated on every row" in rec.message
    assert not rec.certificate()["locally_strongly_convex"]
