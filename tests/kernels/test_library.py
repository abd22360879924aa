"""The C library against the Python package, bit for bit, through ctypes; and programs that are compiled with it."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest

import fastrecover as fr
from fastrecover import _library
from fastrecover.engines import engine_on
from fastrecover.models import Classification, ConvClassification, ConvRegression, Logistic, Poisson, Regression
from fastrecover.models.network import make_network
from fastrecover.sources import ArraySource
from fastrecover.sweeps import Objective, directional, pulled_back

pytest.importorskip("fastrecover.kernels._compiled")  # of which the library has the kernels

EXAMPLES = Path(__file__).parents[2] / "examples"
CC = (sysconfig.get_config_var("CC") or "cc").split()[0]


class Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("activation", "loss")),
        *((name, ctypes.c_double) for name in ("slope", "delta")),
        ("function", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("n_features", "n_hidden", "n_outputs", "n_patches")),
        *((name, ctypes.c_int) for name in ("hidden_bias", "linear_term", "fit_intercept")),
        ("output_weights", ctypes.c_void_p),
    ]


class Rows(ctypes.Structure):
    _fields_ = [
        ("x", ctypes.c_void_p),
        ("bits", ctypes.c_int),
        *((name, ctypes.c_int64) for name in ("n", "n_features", "stride")),
        *((name, ctypes.c_void_p) for name in ("y", "weight")),
    ]


USER = ctypes.CFUNCTYPE(None, *[ctypes.POINTER(ctypes.c_double)] * 4, ctypes.c_int64)
POLL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class Options(ctypes.Structure):
    _fields_ = [("n_threads", ctypes.c_int), ("poll", POLL), ("context", ctypes.c_void_p)]


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(fr.get_library())
    loaded.fastrecover_message.restype = ctypes.c_char_p
    loaded.fastrecover_n_parameters.restype = ctypes.c_int64
    return loaded


def at(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def model_of(network, n_features: int, keep: list) -> Model:
    """The record of a network; `keep` holds what it points to."""
    mean, known = not network.loss.of_output, network.known_v
    keep.append(None if mean or known is None else np.array(known))
    return Model(
        network.activation.code, network.loss.code, network.activation.slope, network.loss.delta, None, n_features,
        network.n_hidden, network.n_outputs, network.n_patches, network.hidden_bias, network.linear_term,
        network.fit_intercept, at(keep[-1]),
    )  # fmt: skip


def rows_of(x: np.ndarray, y=None, w=None, patches: int = 1) -> Rows:
    d = x.shape[1] // patches
    stride = d if patches > 1 else x.strides[0] // x.itemsize
    return Rows(at(x), 8 * x.itemsize, len(x), d, stride, at(y), at(w))


class Calls:
    """The functions of the library on one problem, with arrays in the place of addresses."""

    def __init__(self, library, network, x, y, w=None, threads=2):
        self.called, self.keep = library, [x, y, w]
        self.model = model_of(network, x.shape[1] // network.n_patches, self.keep)
        self.rows = rows_of(x, y, w, network.n_patches)
        self.options = Options(threads)
        self.size = library.fastrecover_n_parameters(ctypes.byref(self.model))
        self.n, self.m = len(x), network.n_outputs

    def __call__(self, name, *arguments):
        """Call a function; records are named by their class, and the last argument is the result."""
        records = {Model: self.model, Rows: self.rows, Options: self.options}
        passed = [
            ctypes.c_void_p(at(a)) if isinstance(a, np.ndarray)
            else a if a is None or isinstance(a, ctypes.c_int)
            else ctypes.c_int64(a) if isinstance(a, int)
            else ctypes.byref(records[a])
            for a in arguments
        ]  # fmt: skip
        status = getattr(self.called, f"fastrecover_{name}")(*passed)
        assert status == 0, self.called.fastrecover_message(status)
        return arguments[-1]

    def loss(self, thetas):
        values, grads = np.empty(len(thetas)), np.empty_like(thetas)
        self("loss", Model, Rows, len(thetas), thetas, Options, values, grads)
        return values, grads

    def product(self, name, theta, v, *more, shape):
        return self(name, Model, Rows, theta, v, *more, Options, np.empty(shape))


def problem(network, n: int, d: int, dtype, rng):
    """Rows and responses that the loss of a network takes."""
    x = rng.standard_normal((n, d)).astype(dtype)
    m = network.n_outputs
    y = rng.standard_normal((n, m))
    if network.loss.name == "logistic" or not network.loss.of_output:
        y = (y > 0).astype(float)
    elif network.loss.name == "softmax":
        y = np.eye(m)[rng.integers(m, size=n)]
    elif network.loss.name.startswith("poisson"):
        y = np.floor(np.abs(3 * y))
    return x, (y[:, 0].copy() if m == 1 else y)


NETWORKS = {
    "relu of units that are known": Regression("relu", 3, output_weights=[1.0, -1.0, 0.5]),
    "leaky_relu with everything": Regression(
        "leaky_relu", 4, output_weights="free", hidden_bias=True, linear_term=True, fit_intercept=True, slope=0.3
    ),
    "abs": Regression("abs", 2, output_weights="free", fit_intercept=True),
    "quadratic": Regression("quadratic", 2, output_weights="ones", linear_term=True),
    "tanh of two outputs": make_network("tanh", 3, "free", True, True, hidden_bias=True, n_outputs=2),
    "erf by Huber": Regression("erf", 2, output_weights="free", loss="huber", delta=0.7),
    "logits": Logistic("softplus", 3),
    "three classes": make_network("sigmoid", 3, "free", True, loss="softmax", hidden_bias=True, n_outputs=3),
    "counts": Poisson("squared_relu", 2, output_weights="free"),
    "counts by softplus": Poisson("relu", 2, output_weights="free", link="softplus"),
    "mean of sigmoids": Classification(3, hidden_bias=True),
    "filter of classes": ConvClassification(4),
    "filter": ConvRegression(4, "relu", fit_intercept=True, hidden_bias=True),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_sweeps_are_those_of_the_package_bit_for_bit(library, name, dtype):
    network, rng = NETWORKS[name], np.random.default_rng(7)
    n, d = 9001, 8  # several blocks, and a part of one
    x, y = problem(network, n, d, dtype, rng)
    w = rng.uniform(0.5, 2.0, n)
    objective = Objective(engine_on(ArraySource(x, y, w, network.n_patches), 1), network)
    calls = Calls(library, network, x, y, w)
    assert calls.size == objective.n_parameters
    thetas = 0.5 * rng.standard_normal((3, calls.size))
    theta, v = thetas[0], thetas[1]

    values, grads = calls.loss(thetas)
    expected = objective.values_and_grads(thetas)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(grads, expected[1])
    alone = np.empty(3)
    calls("loss", Model, Rows, 3, thetas, Options, alone, None)
    np.testing.assert_array_equal(alone, objective.values(thetas))

    for gauss_newton in (False, True):
        found = calls.product("hessian_product", theta, v, ctypes.c_int(gauss_newton), shape=calls.size)
        np.testing.assert_array_equal(found, objective.hessp(theta, v, gauss_newton=gauss_newton))
    found = calls.product("jacobian_product", theta, v, shape=(n, calls.m))
    np.testing.assert_array_equal(found, directional(objective, theta, v))
    found = calls("outputs", Model, Rows, 1, thetas, Options, np.empty((n, 1, calls.m)))
    np.testing.assert_array_equal(found.reshape(n, calls.m), objective.predict(theta).reshape(n, calls.m))
    # Products with more columns are made in another way, and rounded as the rows are.
    found = calls("outputs", Model, Rows, 3, thetas, Options, np.empty((n, 3, calls.m)))
    expected = np.stack([objective.predict(each).reshape(n, calls.m) for each in thetas], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=50 * np.finfo(dtype).eps * np.abs(expected).max())
    if network.loss.of_output:
        calls.model.loss = 7
        found = calls.loss(thetas[:1])[1][0]
        np.testing.assert_allclose(found, pulled_back(objective, theta, y) / w.sum(), rtol=1e-13)


def test_any_number_of_threads_and_any_stride(library):
    stream = np.random.default_rng(0).standard_normal(200_000)
    x = fr.lagged(stream[:, None], 20)
    assert x.strides == (8, 8)
    network = Regression("relu", 3, output_weights="free")
    y = np.sin(x[:, 0])
    thetas = np.random.default_rng(1).standard_normal((1, 63))
    expected = Objective(engine_on(ArraySource(x, y), 1), network).values_and_grads(thetas)
    for threads in (1, 2, 3, 7, 0):
        found = Calls(library, network, x, y, threads=threads).loss(thetas)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_many_features_have_the_blocks_of_the_package(library):
    for d, dtype in ((1, "float32"), (130, "float64"), (900, "float32"), (5000, "float64")):
        rng = np.random.default_rng(d)
        x, y = problem(network := Regression("tanh", 5, hidden_bias=True), 3000 if d < 900 else 500, d, dtype, rng)
        thetas = rng.standard_normal((2, 5 * (d + 1))) / d
        found = Calls(library, network, x, y).loss(thetas)
        expected = fr.objective(x, y, network).values_and_grads(thetas)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_moments_are_those_of_the_package(library):
    rng = np.random.default_rng(3)
    x, y, w = rng.standard_normal((5000, 12)), rng.standard_normal(5000), rng.uniform(0.0, 2.0, 5000)
    v = rng.standard_normal((4, 12))
    calls = Calls(library, NETWORKS["abs"], x, y, w)
    first = calls("first_moment", Rows, Options, np.empty(12))
    second = calls("second_moment", Rows, 4, v, Options, np.empty((4, 12)))
    third = calls("third_moment", Rows, 4, v, Options, np.empty(20))
    np.testing.assert_allclose(first, fr.moments.first(x, y, sample_weight=w), rtol=1e-13)
    np.testing.assert_allclose(second, fr.moments.second(x, y, v, sample_weight=w), rtol=1e-11)
    np.testing.assert_allclose(third, fr.moments.third_packed(x, y, v, sample_weight=w), rtol=1e-11)
    # And by their definition.
    mean = np.average(y[:, None] * x, axis=0, weights=w)
    np.testing.assert_allclose(first, mean, rtol=1e-11)
    whole = np.einsum("n,ni,nj->ij", w * y, x, x) / w.sum() - np.average(y, weights=w) * np.eye(12)
    np.testing.assert_allclose(second, v @ whole, rtol=1e-9)


def test_a_function_of_the_caller(library):
    def cube(z, u, d1, d2, n):
        for i in range(n):
            u[i] = z[i] ** 3
            if d1:
                d1[i] = 3 * z[i] ** 2
            if d2:
                d2[i] = 6 * z[i]

    function = USER(cube)
    x, y = problem(NETWORKS["abs"], 50, 3, "float64", np.random.default_rng(0))
    calls = Calls(library, Regression("relu", 2, output_weights="ones"), x, y, threads=1)
    calls.model.activation, calls.model.function = -1, ctypes.cast(function, ctypes.c_void_p)
    theta, v = np.linspace(-0.5, 0.7, 6), np.linspace(1.0, -1.0, 6)
    z = x @ theta.reshape(2, 3).T
    residual = (z**3).sum(axis=1) - y
    value, grad = calls.loss(theta[None])
    np.testing.assert_allclose(value[0], 0.5 * np.mean(residual**2), rtol=1e-13)
    np.testing.assert_allclose(grad[0].reshape(2, 3), (residual[:, None] * 3 * z**2).T @ x / 50, rtol=1e-12)
    found = calls.product("hessian_product", theta, v, ctypes.c_int(0), shape=6)
    dz = x @ v.reshape(2, 3).T
    coefficients = (3 * z**2 * dz).sum(axis=1)[:, None] * 3 * z**2 + residual[:, None] * 6 * z * dz
    np.testing.assert_allclose(found.reshape(2, 3), coefficients.T @ x / 50, rtol=1e-12)


def changed(record, field, value):
    setattr(record, field, value)


BAD = {
    "an activation": (-3, lambda c: changed(c.model, "activation", 8)),
    "no function": (-3, lambda c: changed(c.model, "activation", -1)),
    "a loss": (-4, lambda c: changed(c.model, "loss", 8)),
    "no delta": (-4, lambda c: (changed(c.model, "loss", 2), changed(c.model, "delta", 0.0))),
    "too many units": (-5, lambda c: changed(c.model, "n_hidden", 2**62)),
    "no units": (-5, lambda c: changed(c.model, "n_hidden", 0)),
    "less than no outputs": (-5, lambda c: changed(c.model, "n_outputs", -1)),
    "less than no rows": (-5, lambda c: changed(c.rows, "n", -1)),
    "patches of two units": (-6, lambda c: changed(c.model, "n_patches", 2)),
    "a mean of others": (-7, lambda c: changed(c.model, "loss", 1)),
    "one class": (-8, lambda c: changed(c.model, "loss", 4)),
    "half precision": (-9, lambda c: changed(c.rows, "bits", 16)),
    "a stride": (-10, lambda c: changed(c.rows, "stride", -3)),
    "other features": (-11, lambda c: changed(c.rows, "n_features", 2)),
    "no rows": (-12, lambda c: changed(c.rows, "n", 0)),
    "nowhere": (-13, lambda c: changed(c.rows, "x", None)),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_and_told(library, what):
    status, spoil = BAD[what]
    x, y = problem(NETWORKS["abs"], 50, 3, "float64", np.random.default_rng(0))
    calls = Calls(library, Regression("relu", 2, output_weights="free"), x, y)
    theta, value, grad = np.ones(calls.size), np.full(1, 7.0), np.full(calls.size, 7.0)
    spoil(calls)
    model, rows, options = (ctypes.byref(each) for each in (calls.model, calls.rows, calls.options))
    start, *results = (ctypes.c_void_p(at(each)) for each in (theta, value, grad))
    found = library.fastrecover_loss(model, rows, ctypes.c_int64(1), start, options, *results)
    assert found == status
    assert (value == 7.0).all() and (grad == 7.0).all()
    assert library.fastrecover_message(found) not in (b"no error", b"an unknown status")


def test_messages_are_told_apart(library):
    told = [library.fastrecover_message(-i) for i in range(14)]
    assert len(set(told)) == 14
    assert library.fastrecover_message(-14) == library.fastrecover_message(1) == b"an unknown status"
    header = Path(fr.get_include(), "fastrecover.h").read_text(encoding="utf-8")
    assert f"#define FASTRECOVER_VERSION {library.fastrecover_version()}\n" in header


def test_a_sweep_ends_when_asked_to(library):
    x, y = problem(NETWORKS["abs"], 2000, 3, "float64", np.random.default_rng(0))
    calls, tiles = Calls(library, Regression("relu", 2, output_weights="free"), x, y, threads=1), []
    calls.model.activation = -1
    slow = USER(lambda *arguments: tiles.append(1) or time.sleep(0.06))  # longer than between two questions
    calls.model.function = ctypes.cast(slow, ctypes.c_void_p)
    asked = []
    calls.options.poll = POLL(lambda context: asked.append(1) or 1)
    theta, value = np.ones((1, calls.size)), np.full(1, 7.0)
    model, rows, options = (ctypes.byref(each) for each in (calls.model, calls.rows, calls.options))
    start, result = (ctypes.c_void_p(at(each)) for each in (theta, value))
    found = library.fastrecover_loss(model, rows, ctypes.c_int64(1), start, options, result, None)
    assert found == -2 and asked == [1] and len(tiles) < 5
    assert value[0] == 7.0


def config(capsys, *options: str) -> str:
    assert _library.main(options) == 0
    return capsys.readouterr().out.strip()


def test_the_example_in_c(tmp_path, capsys):
    flags = [*config(capsys, "--cflags").split(), *config(capsys, "--libs").split()]
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    built = [CC, "-O1", *strict, str(EXAMPLES / "c" / "phase.c"), *flags, "-lm", "-o", str(tmp_path / "phase")]
    subprocess.run(built, check=True)
    out = subprocess.run([tmp_path / "phase"], check=True, capture_output=True, text=True).stdout
    assert float(out.split("relative error")[1]) < 1e-8


def test_what_compilers_are_told(capsys):
    both = config(capsys, "--cflags", "--libs").split()
    assert both[0] == f"-I{fr.get_include()}" and both[-1] == "-lfastrecover"
    assert Path(both[0][2:], "fastrecover.h").is_file()
    assert config(capsys, "--version") == fr.__version__
    with pytest.raises(SystemExit):
        _library.main([])
    assert "give --cflags" in capsys.readouterr().err


def test_a_build_without_a_compiler_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_library, "_HOME", tmp_path)
    with pytest.raises(FileNotFoundError, match="built without its C kernels"):
        fr.get_library()
    assert _library.main(["--libs"]) == 1
    assert "no C library" in capsys.readouterr().err


def test_cython_declares_what_the_header_does():
    """Names and fields of the two, which no compiler compares."""
    header = Path(fr.get_include(), "fastrecover.h").read_text(encoding="utf-8")
    declared = (Path(fr.__file__).parent / "capi.pxd").read_text(encoding="utf-8")
    header, declared = re.sub(r"/\*.*?\*/", "", header, flags=re.S), re.sub(r"#.*", "", declared)
    names, theirs = (set(re.findall(r"\b(?:FASTRECOVER|fastrecover)_\w+", each)) for each in (header, declared))
    assert names - {"FASTRECOVER_API", "FASTRECOVER_H"} == theirs
    for record in (Model, Rows, Options):
        for name, *_ in record._fields_:
            assert re.search(rf"\b{name}\b", header) and re.search(rf"\b{name}\b", declared), name
