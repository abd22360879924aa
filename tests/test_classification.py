"""Classification: losses against mpmath and finite differences, fits against SciPy and scikit-learn.

Labels are random, so no fit can find the planted weights exactly: what a fit must reach is the minimiser that
the same data give when the search begins at the truth, and how far that lies off is what standard errors say.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss

import fastrecover as fr
from fastrecover.datasets import Teacher, make_teacher
from fastrecover.models import Classification, ConvClassification, ConvRegression, Parameters

K = 3
MODELS = {"fcn": (Classification(K), 4), "cnn": (ConvClassification(K), 4 * K)}


def mean_sigmoid(model, theta, X):
    """H and its Jacobian, the plain way."""
    d = X.shape[1] // model.n_patches
    z = np.stack([X[:, p * d : (p + 1) * d] @ theta.reshape(-1, d).T for p in range(model.n_patches)])
    s = expit(z)
    slope = s * (1 - s) / (model.n_patches * model.n_hidden)
    patches = X.reshape(len(X), model.n_patches, d)
    jacobian = np.einsum("pnk,npd->nkd", slope, patches).reshape(len(X), -1)
    return s.mean(axis=(0, 2)), jacobian


def problem(name, n=60, dtype=np.float64):
    """Model, rows, fractional targets, weights and a point."""
    model, d = MODELS[name]
    rng = np.random.default_rng(7)
    X = rng.standard_normal((n, d)).astype(dtype)
    theta = rng.standard_normal(model.n_parameters(model.filter_length(d)))
    return model, X, rng.uniform(0, 1, n), rng.uniform(0, 2, n), theta


def planted(name, d, n, seed):
    """Teacher with normal entries, as in the paper's experiments, and a sample."""
    model = MODELS[name][0]
    m = model.filter_length(d)
    weights = np.random.default_rng(seed).standard_normal((model.n_hidden, m))
    teacher = Teacher(model, Parameters(weights, model.known_v))
    return teacher, *teacher.sample(n, random_state=seed + 100)


def cross_entropy(H, y, w):
    return np.average(-y * np.log(H) - (1 - y) * np.log1p(-H), weights=w)


# The loss and its derivatives


@pytest.mark.parametrize("dtype, tol", [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("name", MODELS)
def test_loss_gradient_and_fisher_are_those_of_the_mean_of_sigmoids(name, dtype, tol):
    model, X, y, w, theta = problem(name, dtype=dtype)
    objective = fr.objective(X, y, model, sample_weight=w, n_jobs=1)
    H, J = mean_sigmoid(model, theta, X.astype(np.float64))
    value, grad = objective.value_and_grad(theta)
    assert value == pytest.approx(cross_entropy(H, y, w), rel=tol)
    np.testing.assert_allclose(objective.predict(theta), H, rtol=tol)
    np.testing.assert_allclose(grad, np.average(((H - y) / (H * (1 - H)))[:, None] * J, axis=0, weights=w), atol=tol)
    fisher = np.einsum("n,ni,nj->ij", w / w.sum() / (H * (1 - H)), J, J)
    np.testing.assert_allclose(objective.gauss_newton(theta)[2], fisher, atol=tol)
    v = np.random.default_rng(1).standard_normal(len(theta))
    np.testing.assert_allclose(objective.hessp(theta, v, gauss_newton=True), fisher @ v, atol=10 * tol)
    assert objective.values(np.array([theta, 2 * theta]))[0] == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_and_hessian_agree_with_finite_differences(name):
    model, X, y, w, theta = problem(name)
    objective = fr.objective(X, y, model, sample_weight=w, n_jobs=1)
    v = np.random.default_rng(2).standard_normal(len(theta))
    h = 1e-5

    def slope(f):
        return (f(theta + h * v) - f(theta - h * v)) / (2 * h)

    assert objective.value_and_grad(theta)[1] @ v == pytest.approx(slope(objective.value), abs=1e-9)
    numeric = slope(lambda t: objective.value_and_grad(t)[1])
    np.testing.assert_allclose(objective.hessp(theta, v), numeric, atol=1e-8)
    assert np.abs(objective.hessp(theta, v, gauss_newton=True) - numeric).max() > 1e-3


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("logits", [(800, 800), (-800, -800), (800, -800), (-690, -700), (35, 700), (-40, 3), (0, 0)])
def test_far_tails_are_finite_and_right(logits, backend):
    before = fr.get_kernels()
    z = np.array(logits, float)
    direction = np.array([0.7, -0.4])
    # One row counts; the other only makes two classes.
    X, weights = np.array([z, [1.0, 2.0]]), [1.0, 0.0]
    try:
        fr.set_kernels(backend)
        for y in (0.0, 1.0, 0.25):
            objective = fr.objective(X, [y, 1.0 - y], Classification(2), sample_weight=weights)
            # The units read one column each, so that the logits are the data.
            value, grad = objective.value_and_grad(np.array([1.0, 0.0, 0.0, 1.0]))
            loss, slope, curved = exact(logits, y, direction)
            assert value == pytest.approx(loss, rel=1e-14, abs=1e-14)
            np.testing.assert_allclose(grad, np.outer(slope, z).ravel(), rtol=1e-12, atol=1e-290)
            if not z.all():
                continue
            # A change dz of the logits is a change dz_j / z_j of the diagonal.
            change = np.diag(direction / z).ravel()
            product = objective.hessp(np.array([1.0, 0.0, 0.0, 1.0]), change)
            # Terms of size |z| cancel to e^-10 of it, and each knows its exp(z) to |z| eps.
            np.testing.assert_allclose(product, np.outer(curved, z).ravel(), rtol=5e-9, atol=1e-12)
    finally:
        fr.set_kernels(before)


def exact(logits, y, direction):
    """Loss of one row, its gradient and a Hessian product in the logits, with 800 digits."""
    with mp.workdps(800):
        s = [1 / (1 + mp.exp(-mp.mpf(z))) for z in logits]
        d1 = [a * (1 - a) for a in s]
        d2 = [a * (1 - a) * (1 - 2 * a) for a in s]
        k, y = len(s), mp.mpf(y)
        H = mp.fsum(s) / k
        first = -y / H + (1 - y) / (1 - H)
        second = y / H**2 + (1 - y) / (1 - H) ** 2
        along = mp.fsum(a * mp.mpf(float(b)) for a, b in zip(d1, direction, strict=True)) / k
        loss = -y * mp.log(H) - (1 - y) * mp.log(1 - H)
        slope = [float(first * a / k) for a in d1]
        curved = [
            float(second * along * a / k + first * b * mp.mpf(float(c)) / k)
            for a, b, c in zip(d1, d2, direction, strict=True)
        ]
        return float(loss), slope, curved


def test_a_convolution_is_a_block_diagonal_network():
    cnn, X, y, w, theta = problem("cnn")
    m = len(theta)
    blocks = np.zeros((K, K, m))
    blocks[np.arange(K), np.arange(K)] = theta
    ours = fr.objective(X, y, cnn, sample_weight=w, n_jobs=1)
    full = fr.objective(X, y, Classification(K), sample_weight=w, n_jobs=1)
    value, grad = full.value_and_grad(blocks.ravel())
    assert ours.value(theta) == pytest.approx(value, rel=1e-14)
    shared = grad.reshape(K, K, m)[np.arange(K), np.arange(K)].sum(axis=0)
    np.testing.assert_allclose(ours.value_and_grad(theta)[1], shared, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ours.predict(theta), full.predict(blocks.ravel()), rtol=1e-14)


@pytest.mark.parametrize("model", [ConvClassification(K), ConvRegression(K, "tanh")])
def test_patches_are_views_of_contiguous_rows(model):
    X, y = np.random.default_rng(0).standard_normal((50, 4 * K)), np.arange(50) % 2
    theta = np.ones(4)
    objective = fr.objective(X, y, model, n_jobs=1)
    assert np.shares_memory(objective.engine.source.x, X)
    assert objective.engine.source.x.shape == (50 * K, 4)
    strided = np.repeat(X, 2, axis=0)[::2]
    again = fr.objective(strided, y, model, n_jobs=1)
    assert objective.value(theta) == again.value(theta)


# Fits


@pytest.mark.parametrize("name, d, n, seeds", [("fcn", 10, 10_000, (0, 1, 2)), ("cnn", 20 * K, 1000, (0, 1, 2, 3))])
def test_tensor_start_reaches_the_minimiser_near_the_truth(name, d, n, seeds):
    for seed in seeds:
        teacher, X, y = planted(name, d, n, seed)
        near = fr.fit(X, y, teacher.model, init=teacher.weights, tol=1e-6, n_jobs=1)
        far = fr.fit(X, y, teacher.model, init="tensor", random_state=0, tol=1e-6, n_jobs=1)
        assert near.converged and far.converged
        assert far.loss == pytest.approx(near.loss, rel=1e-10)
        assert far.error(near) < 1e-4
        assert far.error(teacher) == pytest.approx(near.error(teacher), rel=1e-3)


@pytest.mark.parametrize("name, d, n", [("fcn", 5, 4000), ("cnn", 5 * K, 500)])
def test_the_fit_is_the_minimiser(name, d, n):
    teacher, X, y = planted(name, d, n, 3)
    rec = fr.fit(X, y, teacher.model, random_state=0, tol=1e-7, n_jobs=1)

    def loss(theta):
        H, J = mean_sigmoid(teacher.model, theta, X)
        return cross_entropy(H, y, None), np.mean(((H - y) / (H * (1 - H)))[:, None] * J, axis=0)

    found = minimize(loss, teacher.weights.ravel(), jac=True, method="BFGS", options=dict(gtol=1e-9))
    assert rec.loss == pytest.approx(found.fun, rel=1e-12)
    assert rec.error(Parameters(found.x.reshape(rec.weights.shape), rec.output_weights)) < 1e-5


def test_passes_of_a_classification():
    """Rows for each weight: 1000.  Seeds 0 to 9 take 16.6 to 25.4 passes, far minimisers of the sub-sample included."""
    for seed in (0, 1):
        teacher = make_teacher("fcn", n_features=20, n_hidden=K, random_state=seed)
        X, y = teacher.sample(60_000, random_state=seed + 50)
        rec = fr.fit(X, y, teacher.model, random_state=seed, n_jobs=1)
        assert rec.converged and rec.n_passes < 30
        assert set(rec.history["rows"]) == {15_000, 60_000}


def test_one_unit_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    X = rng.standard_normal((2000, 6))
    y = rng.random(2000) < expit(X @ np.array([1.0, -2.0, 0.5, 0.0, 1.0, 0.3]))
    peer = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10, max_iter=500).fit(X, y)
    for model in (Classification(1), ConvClassification(1)):
        np.testing.assert_allclose(fr.fit(X, y, model, n_jobs=1).weights, peer.coef_, rtol=1e-5)


@pytest.mark.parametrize("preset, name, d, n", [("fu2018-fcn", "fcn", 6, 30_000), ("fu2018-cnn", "cnn", 5 * K, 2000)])
def test_presets_reach_the_same_minimiser(preset, name, d, n):
    size = {"n_hidden": K} if name == "fcn" else {"n_patches": K}
    teacher = make_teacher(name, n_features=d, norms=2.5, random_state=1, **size)
    X, y = teacher.sample(n, random_state=2)
    best = fr.fit(X, y, name, init=teacher.weights, n_jobs=1, **size)
    published = fr.fit(X, y, preset, random_state=0, tol=1e-6, n_jobs=1, **size)
    assert published.converged
    assert published.error(best) < 1e-2
    assert published.loss == pytest.approx(best.loss, rel=1e-7)


@pytest.mark.parametrize("solver", ["auto", "gauss-newton", "lbfgs", "gd"])
@pytest.mark.parametrize("name, d, n", [("fcn", 6, 30_000), ("cnn", 5 * K, 2000)])
def test_every_solver_ends_within_a_tenth_of_a_standard_error(name, d, n, solver):
    """What converged means: tol is in units of the statistical error, whatever the solver."""
    teacher = make_teacher(MODELS[name][0], n_features=d, norms=2.5, random_state=1)
    X, y = teacher.sample(n, random_state=2)
    best = fr.fit(X, y, teacher.model, init=teacher.weights, tol=1e-8, n_jobs=1)
    rec = fr.fit(X, y, teacher.model, init=0.8 * teacher.weights, solver=solver, n_jobs=1)
    assert rec.converged
    away = np.abs(rec.weights - best.weights) / best.standard_errors().weights
    assert away.max() < 0.1


@pytest.mark.parametrize("name", MODELS)
def test_weights_count_as_repeated_rows_and_fractions_as_averages(name):
    teacher, X, y = planted(name, 4 if name == "fcn" else 12, 3000, 2)
    counts = np.random.default_rng(0).integers(1, 3, len(y))

    def fitted(X, y, w=None):
        return fr.fit(X, y, teacher.model, init=teacher.weights, sample_weight=w, tol=1e-8, n_jobs=1)

    assert fitted(X, y, counts).error(fitted(np.repeat(X, counts, axis=0), np.repeat(y, counts))) < 1e-6
    labels = np.random.default_rng(1).random((3000, 4)) < teacher.predict(X)[:, None]
    averaged = fitted(X, labels.mean(axis=1))
    assert averaged.error(fitted(np.repeat(X, 4, axis=0), labels.ravel())) < 1e-6
    exact_targets = fitted(X, teacher.predict(X))
    assert exact_targets.error(teacher) < 1e-5


@pytest.mark.parametrize("activation", ["relu", "tanh", "squared_relu", "quadratic"])
def test_shared_filter_is_recovered_exactly(activation):
    teacher = make_teacher(ConvRegression(4, activation), n_features=20, random_state=3)
    X, y = teacher.sample(1000, random_state=4)
    rec = fr.fit(X, y, teacher.model, random_state=0, n_jobs=1)
    sides = (1.0, -1.0) if activation == "quadratic" else (1.0,)
    assert rec.converged
    assert min(np.abs(rec.weights - s * teacher.weights).max() for s in sides) < 1e-8
    phi = {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": np.tanh,
        "squared_relu": lambda z: np.maximum(z, 0) ** 2,
        "quadratic": np.square,
    }[activation]
    np.testing.assert_allclose(y, phi(X.reshape(-1, 4, 5) @ teacher.weights[0]).mean(axis=1), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(rec.predict(X), y, atol=1e-8)


@pytest.mark.parametrize("init", ["tensor", "random"])
def test_shared_filter_with_intercept_and_in_float32(init):
    teacher = make_teacher(ConvRegression(4, "relu", fit_intercept=True), n_features=20, intercept=0.7)
    X, y = teacher.sample(1000, random_state=4)
    assert fr.fit(X, y, teacher.model, init=init, random_state=0, n_jobs=1).error(teacher) < 1e-8
    X, y = teacher.sample(1000, random_state=4, dtype=np.float32)
    assert fr.fit(X, y, teacher.model, init=init, random_state=0, n_jobs=1).error(teacher) < 1e-5


# Labels, predictions, scores

TEACHER = make_teacher("fcn", n_features=4, n_hidden=2, norms=3.0, random_state=1)
ROWS, ONES = TEACHER.sample(3000, random_state=2)
LABELS = {
    "strings": np.where(ONES > 0, "yes", "no"),
    "objects": np.where(ONES > 0, "yes", "no").astype(object),
    "booleans": ONES > 0,
    "integers": ONES.astype(np.int8),
    "floats": ONES,
    "a column": ONES[:, None],
    "signs": np.where(ONES > 0, 1, -1),
    "from one": np.where(ONES > 0, 2, 1).astype(np.uint8),
    "any two floats": np.where(ONES > 0, 4.0, -2.0),
    "past 53 bits": np.where(ONES > 0, 2**60 + 1, 2**60),
    "bytes": np.where(ONES > 0, b"yes", b"no"),
    "objects that are integers": np.where(ONES > 0, 4, 2).astype(object),
    "objects that are booleans": (ONES > 0).astype(object),
    "list": ONES.tolist(),
}


@pytest.fixture(scope="module")
def plain():
    return fr.fit(ROWS, ONES, "fcn", n_hidden=2, init=TEACHER.weights, random_state=0, n_jobs=1)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_mapped_and_remembered(kind, plain, tmp_path):
    y = LABELS[kind]
    rec = fr.fit(ROWS, y, "fcn", n_hidden=2, init=TEACHER.weights, random_state=0, n_jobs=1)
    assert (rec.weights == plain.weights).all()
    flat = np.ravel(y)
    flat = flat.astype(str) if flat.dtype.kind == "S" else flat
    assert rec.classes.tolist() == np.unique(flat).tolist()
    rec.save(tmp_path / "rec.npz")
    for known in (rec, fr.load(tmp_path / "rec.npz")):
        assert known.classes.tolist() == rec.classes.tolist()
        predicted = known.predict(ROWS)
        assert set(predicted.tolist()) == set(flat.tolist())
        proba = known.predict_proba(ROWS)
        assert (predicted == known.classes[proba.argmax(axis=1)]).all()
        assert known.score(ROWS, y) == pytest.approx(accuracy_score(flat.tolist(), predicted.tolist()), rel=1e-14)
        assert known.log_loss(ROWS, y) == pytest.approx(log_loss(flat.tolist(), proba), rel=1e-12)


def test_probabilities_and_weighted_scores(plain):
    H, _ = mean_sigmoid(plain.model, plain.weights.ravel(), ROWS)
    proba = plain.predict_proba(ROWS)
    assert proba.shape == (3000, 2)
    np.testing.assert_allclose(proba, np.column_stack([1 - H, H]), rtol=1e-12)
    w = np.random.default_rng(0).uniform(0, 2, 3000)
    expected = accuracy_score(ONES, plain.predict(ROWS), sample_weight=w)
    assert plain.score(ROWS, ONES, sample_weight=w) == pytest.approx(expected, rel=1e-13)
    expected = log_loss(ONES, proba, sample_weight=w)
    assert plain.log_loss(ROWS, ONES, sample_weight=w) == pytest.approx(expected, rel=1e-12)
    assert plain.log_loss(ROWS, ONES) == pytest.approx(plain.loss, rel=1e-13)
    fractions = np.random.default_rng(1).random(3000)
    assert plain.log_loss(ROWS, fractions) == pytest.approx(cross_entropy(H, fractions, None), rel=1e-12)


def test_two_fractions_stay_targets():
    soft = fit_fcn(0.2 + 0.6 * ONES, init=TEACHER.weights)
    assert soft.classes.tolist() == [0, 1]
    assert soft.log_loss(ROWS, 0.2 + 0.6 * ONES) == pytest.approx(soft.loss, rel=1e-12)
    assert soft.predict_proba(ROWS)[:, 1].max() < 0.95  # labels drive it above 0.99


def test_log_loss_far_out_is_not_clipped(plain):
    far = -800.0 * np.linalg.pinv(plain.weights) @ np.ones((2, 1))
    assert plain.log_loss(np.repeat(far.T, 2, axis=0), [1, 1]) == pytest.approx(800.0, rel=1e-12)


# What cannot be fitted


def fit_fcn(y=ONES, X=ROWS, **options):
    return fr.fit(X, y, "fcn", **{"n_hidden": 2, "n_jobs": 1, **options})


def fit_cnn(y=ONES, X=ROWS, **options):
    return fr.fit(X, y, "cnn", **{"n_patches": 2, "n_jobs": 1, **options})


@pytest.mark.parametrize("fit", [fit_fcn, fit_cnn])
@pytest.mark.parametrize(
    "y, said",
    [
        (np.arange(3000) % 3, "three labels: 0, 1, 2; this model takes two"),
        (np.arange(3000) % 3 - 1.5, r"three labels: -1.5, -0.5, 0.5; this model takes two"),
        (np.arange(3000), "3000 labels: 0, 1, 2, 3, 4, ...; this model takes two"),
        (np.linspace(0, 1.001, 3000), r"or lie in \[0, 1\] for a classification, but row 2997 is 1.0"),
        (np.ones(3000), "one class"),
        (np.full(3000, 0.5), "one class"),
        (np.full(3000, True), "one class only .every label is True"),
        (["a"] * 3000, "one class only .every label is 'a'"),
        (np.array(["a", "b", "c"] * 1000), "three labels: 'a', 'b', 'c'; this model takes two"),
        (ONES[:-1], "2999"),
        (LABELS["strings"][:-1], "2999 entries.*3000 rows"),
        (np.where(np.arange(3000) == 3, None, LABELS["objects"]), "missing values, the first in row 3"),
        (np.where(np.arange(3000) == 4, np.nan, LABELS["objects"]), "missing values, the first in row 4"),
        (np.where(np.arange(3000) == 4, b"\xff", b"a"), "no text in UTF-8"),
        (np.where(np.arange(3000) == 7, np.nan, ONES), "row 7 is nan"),
        (np.column_stack([ONES, ONES]), "one-dimensional"),
    ],
)
def test_bad_labels_are_refused(fit, y, said):
    with pytest.raises(ValueError, match=said):
        fit(y)


def test_labels_of_several_types_are_refused():
    with pytest.raises(TypeError, match="different types int, str: "):
        fit_fcn(np.where(np.arange(3000) == 3, 1, LABELS["objects"]))
    with pytest.raises(TypeError, match="labels of type complex"):
        fit_fcn(np.where(ONES > 0, 1j, 0).astype(object))
    with pytest.raises(TypeError, match="got dtype datetime64"):
        fit_fcn(np.where(ONES > 0, np.datetime64("2020"), np.datetime64("2021")))


@pytest.mark.parametrize(
    "call, kind, said",
    [
        (lambda: fit_cnn(n_patches=3), ValueError, "4 features.*n_patches=3"),
        (lambda: fr.objective(ROWS, ONES, "cnn", n_patches=3), ValueError, "4 features.*n_patches=3"),
        (lambda: fit_fcn(n_patches=2), TypeError, "n_patches.*n_hidden"),
        (lambda: fit_fcn(output_weights="free"), TypeError, "output_weights"),
        (lambda: fit_fcn(n_hidden=None), ValueError, "n_hidden is required"),
        (lambda: fit_cnn(slope=0.1), TypeError, "slope.*n_patches"),
        (lambda: fr.fit(ROWS, ONES, "cnn"), ValueError, "n_patches is required"),
        (lambda: fit_cnn(n_hidden=3), ValueError, "n_hidden must be 1"),
        (lambda: ConvClassification(0), ValueError, "n_patches must be at least 1"),
        (lambda: ConvClassification(2.0), TypeError, "n_patches must be an integer"),
        (lambda: Classification(True), TypeError, "n_hidden must be an integer"),
        (lambda: ConvRegression(0), ValueError, "n_patches must be at least 1"),
        (lambda: make_teacher("cnn", n_features=7, n_patches=2), ValueError, "7 features.*n_patches=2"),
        (lambda: TEACHER.sample(10, noise=1.0), ValueError, "noise must be 0"),
        (lambda: fit_fcn(X=ROWS[:7], y=ONES[:7]), ValueError, "7 rows.*8 parameters"),
        (lambda: fit_fcn(init=np.ones((3, 4))), ValueError, r"init must have shape \(2, 4\)"),
        (lambda: fit_cnn(init=np.ones((1, 4))), ValueError, r"init must have shape \(1, 2\)"),
        (lambda: fit_fcn(sample_weight=ONES), ValueError, "y must vary"),
    ],
)
def test_bad_settings_are_refused(call, kind, said):
    with pytest.raises(kind, match=said):
        call()


def test_bad_questions_are_refused(plain):
    with pytest.raises(ValueError, match=r"labels of \[0, 1\], got .*2"):
        plain.score(ROWS, ONES + 1)
    for text in (LABELS["strings"], np.where(ONES > 0, "1", "0")):
        with pytest.raises(ValueError, match=r"labels of \[0, 1\], got '"):
            plain.log_loss(ROWS, text)
    signs = fit_fcn(LABELS["signs"], init=TEACHER.weights)
    for other in (ONES, ONES > 0, LABELS["strings"], 0.5 * LABELS["signs"]):
        for ask in (signs.score, signs.log_loss, signs.standard_errors):
            with pytest.raises(ValueError, match=r"y must hold labels of \[-1, 1\], got"):
                ask(ROWS, other)
    with pytest.raises(ValueError, match="2999"):
        plain.score(ROWS, ONES[:-1])
    with pytest.raises(ValueError, match="4"):
        plain.predict_proba(ROWS[:, :3])
    regression = fr.fit(ROWS, ROWS[:, 0] ** 2, "quadratic", n_hidden=1, n_jobs=1)
    for ask in (regression.predict_proba, lambda X: regression.log_loss(X, ONES)):
        with pytest.raises(TypeError, match="regression"):
            ask(ROWS)


def clear_cut(name, n=400):
    """Rows on which all units agree by a margin, labelled by their sign: the likelihood has no maximum."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((40 * n, 6))
    z = X @ rng.standard_normal((6, 2)) if name == "fcn" else X.reshape(-1, 2, 3) @ np.array([1.0, -2.0, 0.5])
    sure = (np.abs(z) > 0.1).all(axis=1) & ((z[:, 0] > 0) == (z[:, 1] > 0))
    return X[sure][:n], (z[sure][:n, 0] > 0).astype(float)


@pytest.mark.parametrize("solver", ["auto", "gauss-newton", "lbfgs", "gd"])
@pytest.mark.parametrize("init", ["auto", "tensor"])
@pytest.mark.parametrize("fit, name", [(fit_fcn, "fcn"), (fit_cnn, "cnn")])
def test_separable_data_are_said_to_be(fit, name, init, solver):
    X, y = clear_cut(name)
    with pytest.warns(ConvergenceWarning, match="separable"):
        rec = fit(y, X, init=init, solver=solver, random_state=0)
    assert not rec.converged
    assert "infinity" in rec.message
    assert np.isfinite(rec.weights).all() and np.isfinite(rec.loss)
    assert np.linalg.norm(rec.weights, axis=1).max() < 1e3
    assert rec.score(X, y) > 0.95


@pytest.mark.parametrize("name", MODELS)
def test_standard_errors_are_the_inverse_fisher_information(name):
    teacher, X, y = planted(name, 4 if name == "fcn" else 12, 3000, 3)
    w = np.random.default_rng(0).uniform(0.5, 2, len(y))
    for weight in (None, w):
        rec = fr.fit(X, y, teacher.model, init=teacher.weights, sample_weight=weight, n_jobs=1)
        ours = rec.standard_errors()
        H, J = mean_sigmoid(teacher.model, rec.weights.ravel(), X)
        weight = np.ones(len(y)) if weight is None else weight
        fisher = np.einsum("n,ni,nj->ij", weight / (H * (1 - H)), J, J)
        covariance = np.linalg.inv(fisher) * (weight @ weight) / weight.sum()
        np.testing.assert_allclose(ours.weights.ravel(), np.sqrt(np.diag(covariance)), rtol=1e-8)
        assert not ours.output_weights.any() and ours.intercept == 0.0
        again = rec.standard_errors(X, y, weight)
        np.testing.assert_allclose(again.weights, ours.weights, rtol=1e-12)


@pytest.mark.parametrize("name, d, n", [("fcn", 3, 4000), ("cnn", 9, 1500)])
def test_intervals_cover_the_truth(name, d, n):
    """60 fits of six weights or three.

    With standard errors a third too small or too large, intervals would cover 81 % or 99.1 % of the weights.  The
    share of 60 independent weights has a standard deviation of 2.8 %; the bounds keep both mistakes out.
    """
    model = MODELS[name][0] if name == "cnn" else Classification(2)
    teacher = make_teacher(model, n_features=d, norms=2.0, random_state=1)
    inside = []
    for seed in range(60):
        X, y = teacher.sample(n, random_state=1000 + seed)
        rec = fr.fit(X, y, model, init=teacher.weights, n_jobs=1)
        assert rec.converged
        errors = rec.standard_errors().weights
        inside.append(np.abs(rec.weights - teacher.weights) < 1.96 * errors)
    assert 0.87 < np.mean(inside) < 0.99
