"""Models and parameters: flat vectors, symmetries and the comparison of networks up to them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symmetries import turned_round
from twins import HALF_SQUARE, TWINS

import fastrecover as fr
from fastrecover.activations import NAMES, Activation, get_activation
from fastrecover.models import (
    Classification,
    ConvClassification,
    ConvRegression,
    Network,
    Parameters,
    Quadratic,
    Regression,
    align,
    default_output_weights,
    get_model,
    rebuilt,
)
from fastrecover.population import population_risk

K, D = 3, 5


def random_parameters(seed=0, k=K, d=D, v=None):
    rng = np.random.default_rng(seed)
    v = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 2, k) if v is None else np.array(v, float)
    return Parameters(rng.standard_normal((k, d)), v, rng.standard_normal(d), float(rng.standard_normal()))


def output(p, activation, x):
    z = x @ p.weights.T + (0.0 if p.biases is None else p.biases)
    f = activation.value(z) @ p.output_weights.T + p.intercept
    return f if p.linear is None else f + x @ p.linear.T


def biased_parameters(seed, outputs):
    """Every unit with a bias; of several outputs as many as there are units."""
    rng = np.random.default_rng(seed)
    shape = (outputs,) if outputs > 1 else ()
    v, linear, c = (rng.standard_normal((*shape, *rest)) for rest in ((K,), (D,), ()))
    return Parameters(rng.standard_normal((K, D)), v, linear, c if shape else float(c), biases=rng.standard_normal(K))


@pytest.mark.parametrize("v", ["ones", "free", (1.5, -2.0, 0.5)])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_pack_and_unpack_are_inverse(v, linear, intercept):
    model = Regression("softplus", K, v, fit_intercept=intercept, linear_term=linear)
    theta = np.random.default_rng(1).standard_normal(model.n_parameters(D))
    p = model.unpack(theta, D)
    np.testing.assert_array_equal(model.pack(p), theta)
    np.testing.assert_array_equal(theta[: K * D], p.weights.ravel())
    assert (p.linear is None) is not linear and len(theta) == K * D + (v == "free") * K + linear * D + intercept
    if v != "free":
        np.testing.assert_array_equal(p.output_weights, np.ones(K) if v == "ones" else v)
    if intercept:
        assert p.intercept == theta[-1]


def test_unpack_errors():
    with pytest.raises(ValueError, match=r"theta must have shape \(15,\)"):
        Regression("relu", K).unpack(np.zeros(14), D)
    with pytest.raises(ValueError, match="leaves v unknown"):
        Regression("relu", K, "signs").unpack(np.zeros(15), D)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("free", [True, False])
def test_canonical_form_is_the_same_function_and_idempotent(name, free):
    activation = Regression(name, 1).activation
    x = np.random.default_rng(2).standard_normal((200, D))
    for seed in range(4):
        p = random_parameters(seed)
        c = p.canonical(activation, free)
        np.testing.assert_allclose(output(c, activation, x), output(p, activation, x), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(c.canonical(activation, free).flat(), c.flat(), rtol=1e-14, atol=1e-15)
        if activation.degree is not None:
            sizes = np.linalg.norm(c.weights, axis=1) if free else np.abs(c.output_weights)
            np.testing.assert_allclose(sizes, 1.0, rtol=1e-14)
        if activation.parity == "odd":
            assert (c.output_weights > 0).all()


def test_canonical_form_of_a_dead_unit_stays_finite():
    p = Parameters(np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([1.0, 0.0]))
    for free in (True, False):
        assert np.isfinite(p.canonical(Regression("relu", 2).activation, free).flat()).all()


WITH_BIASES = [name for name in NAMES if name != "quadratic"]


@pytest.mark.parametrize("name", WITH_BIASES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_canonical_form_with_biases_is_the_same_function(name, outputs):
    """Also of a unit without weights or as good as none, which is a constant, and of one that is nothing at all."""
    activation, x = get_activation(name), np.random.default_rng(2).standard_normal((200, D))
    p = biased_parameters(1, outputs)
    p = replace(p, biases=np.abs(p.biases))
    constant, nothing = np.array([1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    for cut in (
        replace(p, weights=p.weights * keep[:, None])
        for keep in (np.ones(K), constant, np.maximum(constant, 1e-300), nothing)
    ):
        for each in (cut, replace(cut, biases=cut.biases * nothing)):
            c = each.canonical(activation, True)
            np.testing.assert_allclose(output(c, activation, x), output(each, activation, x), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(c.canonical(activation, True).flat(), c.flat(), rtol=1e-14, atol=1e-15)
    if outputs == 1:
        signed = replace(cut, output_weights=np.array([1.0, -1.0, 1.0]), linear=None, intercept=0.0)
        c = signed.canonical(activation, False, False)
        np.testing.assert_allclose(output(c, activation, x), output(signed, activation, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in WITH_BIASES if name != "squared_relu"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_units_with_biases_are_matched_whichever_way_they_point(name, outputs):
    """Of several outputs no sign is canonical where the largest two weights of a unit have the same size."""
    activation, x = get_activation(name), np.random.default_rng(2).standard_normal((50, D))
    truth = biased_parameters(3, outputs)
    if outputs > 1:
        truth.output_weights[:2] = [[1.0, -2.0, 3.0], [-1.0, 2.0, -3.0]]
        truth.output_weights[2] *= 0.1
    v = truth.output_weights.copy()
    v[:1] *= 1.0 - 1e-9  # the second is the larger one now
    other = turned_round(replace(truth, output_weights=v), activation, [0, 2]).reordered(np.array([1, 2, 0]))
    np.testing.assert_allclose(output(other, activation, x), output(truth, activation, x), atol=1e-7)
    found, aim = align(other, truth, activation, True)
    np.testing.assert_allclose(found.flat(), aim.flat(), atol=1e-7)


def equivalents(p, activation, free, seed=3):
    """Parameters of the same function that differ in every way the model allows."""
    rng = np.random.default_rng(seed)
    yield "order", p.reordered(rng.permutation(len(p.weights)))
    if activation.parity == "even":
        yield "sign", replace(p, weights=p.weights * rng.choice([-1.0, 1.0], (K, 1)))
    if activation.parity == "odd":
        flip = np.array([-1.0, 1.0, -1.0])
        yield "sign", replace(p, weights=p.weights * flip[:, None], output_weights=p.output_weights * flip)
    if free and activation.degree is not None:
        scale = rng.uniform(0.2, 5.0, K)
        v = p.output_weights * scale**-activation.degree
        yield "scale", replace(p, weights=p.weights * scale[:, None], output_weights=v)
    if free and activation.reflects_into_intercept:
        flip = np.array([-1.0, 1.0, 1.0])
        c = p.intercept + p.output_weights[0]
        yield (
            "flip",
            replace(p, weights=p.weights * flip[:, None], output_weights=p.output_weights * flip, intercept=c),
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("v", ["ones", "free"])
def test_error_and_alignment_ignore_the_symmetries(name, v):
    model = Regression(name, K, v, fit_intercept=True, linear_term=True)
    truth = random_parameters(5, v=None if v == "free" else np.ones(K))
    x = np.random.default_rng(6).standard_normal((50, D))
    for what, other in equivalents(truth, model.activation, model.free_v):
        np.testing.assert_allclose(output(other, model.activation, x), output(truth, model.activation, x), atol=1e-11)
        assert model.error(other, truth) < 1e-13, what
        a, b = align(other, truth, model.activation, model.free_v)
        np.testing.assert_allclose(a.flat(), b.flat(), atol=1e-12, err_msg=what)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("v", ["ones", "free"])
def test_error_is_of_the_size_of_the_difference(name, v):
    model = Regression(name, K, v, fit_intercept=True, linear_term=True)
    truth = random_parameters(5, v=None if v == "free" else np.ones(K))
    step = np.random.default_rng(7).standard_normal((K, D))
    errors = [model.error(replace(truth, weights=truth.weights + h * step), truth) for h in (1e-2, 1e-3, 1e-6)]
    assert 1e-3 < errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1) and errors[1] / errors[2] == pytest.approx(1e3, rel=0.1)


def test_error_of_known_weights_is_the_plain_relative_norm():
    truth = random_parameters(1, v=np.ones(K))
    other = replace(truth, weights=truth.weights + 0.01, linear=truth.linear - 0.02, intercept=truth.intercept + 0.03)
    expected = np.sqrt(K * D * 0.01**2 + D * 0.02**2 + 0.03**2) / np.linalg.norm(truth.flat())
    model = Regression("softplus", K, fit_intercept=True, linear_term=True)
    assert model.error(other.reordered(np.array([2, 0, 1])), truth) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("signs", [(1.0, 1.0, 1.0), (1.0, -1.0, 1.0)])
def test_quadratic_error_is_that_of_the_matrix_and_rotations_do_not_count(signs):
    model = Quadratic(K, "signs", linear_term=True, fit_intercept=True)
    a, b = (random_parameters(seed, v=signs) for seed in (1, 2))
    ma, mb = (p.weights.T @ np.diag(p.output_weights) @ p.weights for p in (a, b))
    above = np.sum((ma - mb) ** 2) + np.sum((a.linear - b.linear) ** 2) + (a.intercept - b.intercept) ** 2
    below = np.sum(mb**2) + b.linear @ b.linear + b.intercept**2
    assert model.error(a, b) == pytest.approx(np.sqrt(above / below), rel=1e-12)
    angle = 0.7
    turn = np.eye(3)
    turn[np.ix_([0, 2], [0, 2])] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    turned = replace(b, weights=turn @ b.weights)
    assert model.error(turned, b) < 1e-14
    aligned, truth = align(turned, b, model.activation, False)
    np.testing.assert_allclose(aligned.weights, truth.weights, atol=1e-13)


def test_comparisons_refuse_networks_of_different_shape():
    model, truth = Regression("relu", K), random_parameters()
    with pytest.raises(ValueError, match="cannot compare weights of shape"):
        model.error(random_parameters(k=2), truth)
    with pytest.raises(ValueError, match="only one of the two networks has a linear term"):
        model.error(replace(truth, linear=None), truth)


def test_finished_orders_units_by_size_and_keeps_the_function():
    model = Regression("relu", K, "free", linear_term=True, fit_intercept=True)
    p = random_parameters(4)
    done = model.finished(p)
    assert (np.diff(np.abs(done.output_weights)) <= 0).all()
    x = np.random.default_rng(0).standard_normal((40, D))
    np.testing.assert_allclose(output(done, model.activation, x), output(p, model.activation, x), atol=1e-12)


def test_models_with_resolved_signs():
    v = np.array([0.4, -3.0, 2.0])
    assert Regression("relu", K, "signs").with_resolved_signs(v).output_weights == (1.0, -1.0, 1.0)
    assert Regression("relu", K, "free").with_resolved_signs(v).output_weights == (1.0, -1.0, 1.0)
    for model in (
        Regression("tanh", K, "free"),
        Regression("relu", K, "ones"),
        Regression("relu", K, (2.0, 1.0, 3.0)),
    ):
        assert model.with_resolved_signs(v) == model


def test_models_with_free_output_weights():
    model = Regression("relu", K, "signs", fit_intercept=True)
    assert model.with_free_output_weights(5) == Regression("relu", 5, "free", fit_intercept=True)


def test_models_are_equal_where_their_fields_are():
    """Whatever they were made by, and after any change there and back."""
    pairs = [
        (Quadratic(3, "signs", True, True), Regression("quadratic", 3, "signs", True, True)),
        (Quadratic(2), get_model("quadratic", 2, output_weights="ones")),
        (Classification(2), get_model("fcn", 2)),
        (ConvClassification(3), get_model("cnn", n_patches=3)),
        (ConvClassification(1), Classification(1)),
        (ConvRegression(1, "tanh"), Regression("tanh", 1, (1.0,))),
        (Regression("relu", 2, np.array([1, -1])), Regression("relu", 2, "signs").with_output_weights((1.0, -1.0))),
    ]
    for one, other in pairs:
        assert one == other and hash(one) == hash(other) and one.describe() == other.describe()
        assert one.changed(n_patches=4).changed(n_patches=one.n_patches) == other
        assert pickle.loads(pickle.dumps(one)) == other
    assert Quadratic(3) != Quadratic(2) and Quadratic(3) != Quadratic(3, "signs")
    assert Classification(2) != Regression("sigmoid", 2, (0.5, 0.5))
    with pytest.raises(AttributeError):
        Quadratic(3).n_hidden = 2


def test_changes_are_checked():
    model = Regression("relu", 2)
    for changes, message in ((dict(n_hidden=0), "at least 1"), (dict(output_weights="sign"), "did you mean 'signs'")):
        with pytest.raises(ValueError, match=message):
            model.changed(**changes)
    with pytest.raises(TypeError, match="colour"):
        model.changed(colour="red")


@pytest.mark.parametrize(
    "model",
    [
        Regression("leaky_relu", 2, "free", slope=0.3),
        Regression("tanh", 2, (1.5, -0.1), fit_intercept=True),
        Quadratic(3, "signs", linear_term=True),
    ],
)
def test_a_description_is_plain_and_gives_the_model_back(model):
    options = model.describe()
    assert all(isinstance(value, (str, int, float, bool, list, type(None))) for value in options.values())
    assert rebuilt(options) == model


def test_descriptions_that_were_written_before_are_understood():
    """Files name the class that a model was made by, and squares by two names."""
    fields = dict(
        activation="quadratic", slope=None, n_hidden=3, output_weights="signs", fit_intercept=False,
        linear_term=True, loss="squared", n_patches=1,
    )  # fmt: skip
    for kind in ("Quadratic", "Regression"):
        assert rebuilt(dict(kind=kind, **fields)) == Quadratic(3, "signs", linear_term=True)
    cnn = dict(fields, activation="sigmoid", n_hidden=1, output_weights=[0.25], linear_term=False, n_patches=4)
    assert rebuilt(dict(cnn, kind="ConvClassification", loss="cross-entropy")) == ConvClassification(4)
    assert rebuilt(dict(cnn, kind="ConvRegression")) == ConvRegression(4, "sigmoid")
    with pytest.raises(ValueError, match="unknown kind of model 'Perceptron'"):
        rebuilt(dict(kind="Perceptron", **fields))


def test_user_activation_cannot_be_described():
    mine = Activation.from_functions(lambda z: z * z * z, lambda z: 3 * z * z, name="cube")
    with pytest.raises(ValueError, match="user code"):
        Regression(mine, 2).describe()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: get_model("rellu", 2), ValueError, "did you mean 'relu'"),
        (lambda: get_model("zhong2018", 2, also=("zhong2017",)), ValueError, "did you mean 'zhong2017'"),
        (lambda: get_model(get_activation("relu"), 2, slop=0.1), TypeError, "did you mean 'slope'"),
        (lambda: get_model("fcn", 2, slope=0.1), TypeError, "model 'fcn' takes only n_hidden"),
        (lambda: get_model("cnn"), ValueError, "n_patches is required"),
        (lambda: get_model("relu"), ValueError, "n_hidden is required"),
        (lambda: get_model(3, 2), TypeError, "model must be a name"),
        (lambda: get_model("relu", 2, fit_intercpt=True), TypeError, "did you mean 'fit_intercept'"),
        (lambda: get_model(Regression("relu", 2), 3), ValueError, "contradicts"),
        (lambda: get_model(Regression("relu", 2), slope=0.1), TypeError, "cannot be combined"),
        (lambda: Regression("relu", 0), ValueError, "n_hidden must be at least 1"),
        (lambda: Regression("relu", True), TypeError, "n_hidden must be an integer"),
        (lambda: Regression("relu", 2, "sign"), ValueError, "did you mean 'signs'"),
        (lambda: Regression("relu", 2, [1.0]), ValueError, r"output_weights must have shape \(2,\)"),
        (lambda: Regression("relu", 2, [1.0, 0.0]), ValueError, "finite and non-zero"),
        (lambda: Regression("relu", 2, object()), TypeError, "output_weights must be a name or numbers"),
        (lambda: Regression("sigmoid", 2, "signs"), ValueError, "not identifiable for sigmoid"),
        (lambda: Regression(TWINS["sigmoid"], 2, "signs"), ValueError, "not identifiable for my_sigmoid"),
        (lambda: Regression("tanh", 2, slope=0.1), ValueError, "slope belongs to leaky_relu"),
    ],
)
def test_bad_models(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_signs_of_an_odd_activation_are_ones():
    assert Regression("tanh", 2, "signs").output_weights == "ones"


@pytest.mark.parametrize("name", [*NAMES, *TWINS.values()])
def test_default_output_weights_are_the_most_that_can_be_told(name):
    v = default_output_weights(name)
    model = get_model(name, 2)
    assert model == Regression(name, 2, v) == get_model(name, 2, output_weights=None)
    assert v == ("ones" if model.activation.reflects_into_intercept else "signs")
    assert get_model(name, 2, output_weights_default="ones") == Regression(name, 2)
    assert get_model(name, 2, output_weights_default="ones", output_weights="free") == Regression(name, 2, "free")
    assert Regression(name, 2).output_weights == "ones"


twins = pytest.mark.parametrize("name", TWINS)


@twins
@given(seed=st.integers(0, 2**32 - 1), free=st.booleans(), linear=st.booleans(), intercept=st.booleans())
def test_a_users_copy_has_the_symmetries_of_the_built_in_activation(name, seed, free, linear, intercept):
    """Any two networks have the same canonical form, match in the same way and differ by as much."""
    mine, built_in = (Regression(phi, K, "free" if free else "ones", intercept, linear) for phi in (TWINS[name], name))
    a, b = (
        random_parameters(seed + i, v=None if free else np.sign(random_parameters(i).output_weights)) for i in (0, 1)
    )
    if not linear:
        a, b = (replace(p, linear=None) for p in (a, b))
    near = replace(b, weights=b.weights + 0.1 * a.weights).reordered(np.array([2, 0, 1]))
    assert mine.n_flat == built_in.n_flat
    for p in (a, b):
        canonical = [p.canonical(m.activation, free, intercept).flat() for m in (mine, built_in)]
        np.testing.assert_allclose(*canonical, rtol=1e-13)
        np.testing.assert_allclose(mine.finished(p).flat(), built_in.finished(p).flat(), rtol=1e-13)
    for p in (a, near):
        assert mine.error(p, b) == pytest.approx(built_in.error(p, b), rel=1e-11)
        pairs = [align(p, b, m.activation, free) for m in (mine, built_in)]
        for ours, theirs in zip(*pairs, strict=True):
            np.testing.assert_allclose(ours.flat(), theirs.flat(), rtol=1e-11, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), free=st.booleans())
def test_half_a_square_is_a_square_of_half_the_matrix(seed, free):
    a, b = (random_parameters(seed + i, v=None if free else [1, -1, 1]) for i in (0, 1))
    half = Regression(HALF_SQUARE, K, "free" if free else "signs", True, True)
    matrices = [0.5 * (p.weights.T * p.output_weights) @ p.weights for p in (a, b)]
    rest = [np.append(p.linear, p.intercept) for p in (a, b)]
    above = np.sum((matrices[0] - matrices[1]) ** 2) + np.sum((rest[0] - rest[1]) ** 2)
    assert half.error(a, b) == pytest.approx(
        np.sqrt(above / (np.sum(matrices[1] ** 2) + np.sum(rest[1] ** 2))), rel=1e-11
    )
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((K, K)))[0]
    signed = replace(a, output_weights=np.ones(K))
    assert half.error(replace(signed, weights=turn @ signed.weights), signed) < 1e-13
    assert half.n_flat == 3


def test_a_users_square_is_found_and_its_error_is_that_of_the_matrix():
    teacher = fr.datasets.make_teacher(Regression(HALF_SQUARE, 2, "free", True), 5, intercept=0.3, random_state=1)
    X, y = teacher.sample(1000, random_state=2)
    found = fr.fit(X, y, HALF_SQUARE, 2, fit_intercept=True, random_state=0)
    assert found.error(teacher) < 1e-8
    assert np.linalg.norm(found.weights - teacher.weights) > 0.1


class Numbers:
    """A model with parameters."""

    def __init__(self, model: Network, parameters: Parameters) -> None:
        self.model, self.parameters = model, parameters


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "squared_relu", "quadratic", "sigmoid", "softplus"])
@pytest.mark.parametrize("seed", range(3))
def test_a_users_copy_has_the_expected_loss_of_the_built_in_activation(name, seed):
    a, b = (random_parameters(2 * seed + i) for i in (0, 1))
    risks = []
    for phi in (TWINS[name], get_activation(name)):
        model = Regression(phi, K, "free", True, True)
        risks.append(population_risk(Numbers(model, a), Numbers(model, b), gradient=True))
    assert risks[0][0] == pytest.approx(risks[1][0], rel=1e-11)
    np.testing.assert_allclose(risks[0][1], risks[1][1], rtol=1e-10, atol=1e-11 * np.abs(risks[1][1]).max())
