"""Operators for JAX against the same networks written in jax.numpy, through every transformation."""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

import fastrecover as fr
from fastrecover.activations import Activation

CSRC = Path(__file__).parents[2] / "csrc"
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.2),
    "squared_relu": lambda z: jax.nn.relu(z) ** 2,
    "quadratic": lambda z: z**2,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "erf": erf,
    "softplus": jax.nn.softplus,
    "abs": jnp.abs,
}


def huber(f, y):
    r = jnp.abs(f - y)
    return jnp.where(r <= 0.7, 0.5 * r**2, 0.7 * (r - 0.35))


#: Means over outputs for each row.
LOSSES = {
    "mse": lambda f, y: jnp.mean((f - y) ** 2, axis=1),
    "huber": lambda f, y: jnp.mean(huber(f, y), axis=1),
    "bce_with_logits": lambda f, y: jnp.sum(jnp.logaddexp(f, 0.0) - y * f, axis=1),
    "cross_entropy": lambda f, y: jax.nn.logsumexp(f, axis=1) - jnp.sum(y * f, axis=1),
    "poisson_nll": lambda f, y: jnp.sum(jnp.exp(f) - y * f, axis=1),
}


@pytest.fixture(autouse=True)
def double():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def written_out(p, X, activation):
    """Outputs (n, n_outputs) by jax.numpy."""
    z = X @ p["weights"].T + p.get("biases", 0.0)
    f = ACTIVATIONS[activation](z) @ jnp.atleast_2d(p["output_weights"]).T
    if "linear" in p:
        f = f + X @ jnp.atleast_2d(p["linear"]).T
    return f + jnp.atleast_1d(p.get("intercept", 0.0))


def problem(kind: str, m: int | None = None, every: bool = True, n: int = 300, d: int = 4, k: int = 3):
    """Parameters, rows, responses and weights; one output (m None) has vectors where several have tables."""
    rng = np.random.default_rng(5)
    several = () if m is None else (m,)
    p = {"weights": rng.standard_normal((k, d)), "output_weights": 0.5 * rng.standard_normal((*several, k))}
    if every:
        p |= {"biases": rng.standard_normal(k), "linear": 0.3 * rng.standard_normal((*several, d))}
        p["intercept"] = rng.standard_normal(several)
    X, y = rng.standard_normal((n, d)), rng.standard_normal((n, *several))
    if kind == "bce_with_logits":
        y = (y > 0).astype(float)
    elif kind == "poisson_nll":
        y = np.floor(np.abs(3 * y))
    elif kind == "cross_entropy":
        y = np.eye(m)[rng.integers(m, size=n)]
    return jax.tree.map(jnp.asarray, p), jnp.asarray(X), jnp.asarray(y), jnp.asarray(rng.uniform(0.5, 2.0, n))


def both(kind: str, m: int | None, activation: str, every: bool = True):
    """The operator and the same loss by jax.numpy as functions of the parameters, and these."""
    p, X, y, w = problem(kind, m, every)
    slope = 0.2 if activation == "leaky_relu" else None

    def ours(p):
        return fr.jax.loss(p, X, y, activation, kind, slope=slope, sample_weight=w, delta=0.7)

    def theirs(p):
        rows = LOSSES[kind](written_out(p, X, activation), y.reshape(len(y), -1))
        return jnp.sum(w * rows) / jnp.sum(w)

    return ours, theirs, p


def close(found, expected, rtol=1e-11):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    scale = max(float(jnp.abs(each).max()) for each in jax.tree.leaves(expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * scale)


CASES = [
    *((kind, m, "tanh") for kind, m in (("mse", None), ("mse", 2), ("huber", 2), ("bce_with_logits", None))),
    *(("cross_entropy", 3, "sigmoid"), ("poisson_nll", None, "softplus"), ("bce_with_logits", 1, "erf")),
    *(("mse", None, name) for name in ACTIVATIONS if name != "tanh"),
]


@pytest.mark.parametrize(("kind", "m", "activation"), CASES)
def test_losses_and_derivatives_are_those_of_jax(kind, m, activation):
    ours, theirs, p = both(kind, m, activation)
    v = jax.tree.map(lambda a: jnp.cos(1.0 + jnp.arange(a.size, dtype=float)).reshape(a.shape), p)
    close(ours(p), theirs(p))
    close(jax.jit(jax.value_and_grad(ours))(p), jax.value_and_grad(theirs)(p))
    close(jax.jvp(ours, (p,), (v,)), jax.jvp(theirs, (p,), (v,)))

    def product(f):
        return jax.jit(lambda p: jax.jvp(jax.grad(f), (p,), (v,))[1])(p)

    close(product(ours), product(theirs))


def test_second_derivatives_both_ways():
    ours, theirs, p = both("mse", None, "tanh")

    def inner(f, p):
        return sum(jnp.sum(jnp.sin(each)) for each in jax.tree.leaves(jax.grad(f)(p)))

    close(jax.hessian(ours)(p), jax.hessian(theirs)(p))
    close(jax.grad(lambda p: inner(ours, p))(p), jax.grad(lambda p: inner(theirs, p))(p))
    with pytest.raises(NotImplementedError, match="parameters of this order"):
        jax.jacfwd(jax.hessian(ours))(p)


def test_networks_without_biases_and_linear_terms():
    ours, theirs, p = both("mse", 2, "relu", every=False)
    close(jax.value_and_grad(ours)(p), jax.value_and_grad(theirs)(p))


@pytest.mark.parametrize("jitted", [False, True])
def test_many_parameter_sets(jitted):
    ours, theirs, p = both("mse", 2, "tanh")
    sets = jax.tree.map(lambda a: jnp.stack([a, 2.0 * a, a - 1.0, -a]), p)
    wrap = jax.jit if jitted else lambda f: f
    close(wrap(jax.vmap(ours))(sets), jax.vmap(theirs)(sets))
    close(wrap(jax.vmap(jax.grad(ours)))(sets), jax.vmap(jax.grad(theirs))(sets))
    grid = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), sets)
    close(jax.vmap(jax.vmap(ours))(grid), jax.vmap(jax.vmap(theirs))(grid))


def test_many_sets_are_one_sweep_and_many_tables_are_not_mixed_up():
    p, X, y, _ = problem("mse")
    sets = jax.tree.map(lambda a: jnp.stack([a, a + 1.0]), p)

    def one(p, X, y):
        return fr.jax.loss(p, X, y, "tanh")

    text = str(jax.make_jaxpr(jax.vmap(one, in_axes=(0, None, None)))(sets, X, y))
    assert text.count("= fastrecover_sweep") == 1 and f"f64[1,{len(X)},4]" in text  # rows are there once
    tables, responses = jnp.stack([X, X[::-1] + 1.0]), jnp.stack([y, 2.0 * y])
    found = jax.vmap(one)(sets, tables, responses)
    expected = [one(jax.tree.map(lambda a, i=i: a[i], sets), tables[i], responses[i]) for i in range(2)]
    np.testing.assert_array_equal(found, jnp.stack(expected))
    crossed = jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None))(sets, tables, responses)
    np.testing.assert_array_equal(jnp.diagonal(crossed), found)
    assert crossed.shape == (2, 2) and len(np.unique(crossed)) == 4


@pytest.mark.parametrize("m", [None, 3])
def test_outputs_and_their_derivatives(m):
    p, X, *_ = problem("mse", m)

    def ours(p):
        return fr.jax.outputs(p, X, "tanh")

    def theirs(p):
        f = written_out(p, X, "tanh")
        return f[:, 0] if m is None else f

    close(ours(p), theirs(p))
    close(jax.jacfwd(ours)(p), jax.jacfwd(theirs)(p))
    close(jax.jacrev(ours)(p), jax.jacrev(theirs)(p))
    sets = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), p)
    close(jax.jit(jax.vmap(ours))(sets), jax.vmap(theirs)(sets))

    def own(f):
        return jax.jit(jax.hessian(lambda p: jnp.mean(jnp.sin(f(p)))))(p)

    close(own(ours), own(theirs))


def test_derivatives_where_rows_are_mapped():
    p, X, *_ = problem("mse")
    tables = jnp.stack([X, 0.5 * X, X[::-1] + 1.0])
    y = jnp.stack([X[:, 0], X[:, 1] ** 2, X[:, 2]])

    def mapped(outputs, loss):
        def total(p):
            f = jax.vmap(lambda X: jnp.sin(outputs(p, X)))(tables)
            return jnp.sum(f**2) + jnp.sum(jnp.exp(-jax.vmap(lambda X, y: loss(p, X, y))(tables, y)))

        return total

    def written(p, X):
        return written_out(p, X, "tanh")[:, 0]

    ours = mapped(lambda p, X: fr.jax.outputs(p, X, "tanh"), lambda p, X, y: fr.jax.loss(p, X, y, "tanh"))
    theirs = mapped(written, lambda p, X, y: jnp.mean((written(p, X) - y) ** 2))
    close(jax.grad(ours)(p), jax.grad(theirs)(p))
    close(jax.hessian(ours)(p), jax.hessian(theirs)(p))

    def inner(f, p):
        return sum(jnp.sum(jnp.sin(each)) for each in jax.tree.leaves(jax.grad(f)(p)))

    close(jax.grad(lambda p: inner(ours, p))(p), jax.grad(lambda p: inner(theirs, p))(p))


def test_single_precision_without_x64():
    jax.config.update("jax_enable_x64", False)
    ours, theirs, p = both("mse", None, "tanh")
    assert ours(p).dtype == jnp.float32
    close(jax.value_and_grad(ours)(p), jax.value_and_grad(theirs)(p), rtol=1e-5)


def test_rows_and_parameters_of_different_precision():
    p, X, y, _ = problem("mse")
    expected = fr.jax.loss(p, X, y, "tanh")
    np.testing.assert_allclose(fr.jax.loss(p, X.astype("f4"), y, "tanh"), expected, rtol=1e-5)
    single = jax.tree.map(lambda a: a.astype("f4"), p)
    found, grad = jax.value_and_grad(lambda p: fr.jax.loss(p, X, y, "tanh"))(single)
    assert found.dtype == grad["weights"].dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_classes_may_be_numbers():
    p, X, y, _ = problem("cross_entropy", 3)
    labels = jnp.argmax(y, axis=1)
    with pytest.raises(ValueError, match="classes 0 to 2, got 7"):
        fr.jax.loss(p, X, labels.at[3].set(7), "tanh", "cross_entropy")
    traced = jax.jit(lambda labels: fr.jax.loss(p, X, labels, "tanh", "cross_entropy"))
    assert jnp.isnan(traced(labels.at[3].set(-1))) and jnp.isfinite(traced(labels))
    assert fr.jax.loss(p, X, labels, "tanh", "cross_entropy") == fr.jax.loss(p, X, y, "tanh", "cross_entropy")


def test_a_function_of_the_user():
    cube = Activation.from_functions(lambda z: z * z * z, lambda z: 3.0 * z * z, lambda z: 6.0 * z)
    p, X, y, _ = problem("mse", every=False)

    def theirs(p):
        return jnp.mean(((X @ p["weights"].T) ** 3 @ p["output_weights"] - y) ** 2)

    close(jax.hessian(lambda p: fr.jax.loss(p, X, y, cube))(p), jax.hessian(theirs)(p))
    straight = Activation.from_functions(lambda z: z * z * z, lambda z: 3.0 * z * z)
    with pytest.raises(NotImplementedError, match="has no second derivative"):
        jax.hessian(lambda p: fr.jax.loss(p, X, y, straight))(p)


def test_a_recovery_gives_its_parameters():
    teacher = fr.datasets.make_teacher("relu", 4, 2, output_weights="free", intercept=1.0, hidden_bias=True)
    X, y = teacher.sample(2000, random_state=1)
    rec = fr.fit(X, y, "relu", 2, output_weights="free", fit_intercept=True, hidden_bias=True, random_state=0)
    p = fr.jax.parameters(rec)
    assert set(p) == {"weights", "biases", "output_weights", "intercept"}
    np.testing.assert_allclose(fr.jax.outputs(p, X), rec.predict(X), rtol=1e-12, atol=1e-12)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(jax.grad(lambda p: fr.jax.loss(p, X, y))(p))) < 1e-7
    with pytest.raises(ValueError, match="4 patches"):
        fr.jax.parameters(fr.datasets.make_teacher("cnn", 8, n_patches=4))


BAD = {
    "a part": (lambda p, X, y: fr.jax.loss({**p, "bias": 1.0}, X, y), ValueError, "may have biases"),
    "no weights": (lambda p, X, y: fr.jax.loss({}, X, y), ValueError, "got none"),
    "biases": (lambda p, X, y: fr.jax.loss({**p, "biases": jnp.ones(2)}, X, y), ValueError, r"have shape \(3,\)"),
    "one row": (lambda p, X, y: fr.jax.loss(p, X[0], y), ValueError, r"X must have shape \(n, 4\)"),
    "integers": (lambda p, X, y: fr.jax.loss(p, X.astype(int), y), TypeError, "X must be float32 or float64"),
    "a list": (lambda p, X, y: fr.jax.loss([1.0], X, y), TypeError, "must be a mapping"),
    "no numbers": (lambda p, X, y: fr.jax.loss({**p, "weights": None}, X, y), ValueError, "may have biases"),
    "no rows": (lambda p, X, y: fr.jax.loss(p, X[:0], y[:0]), ValueError, "at least one row"),
    "no units": (
        lambda p, X, y: fr.jax.loss({"weights": jnp.ones((0, 4)), "output_weights": jnp.ones(0)}, X, y),
        ValueError,
        "at least one unit",
    ),
    "imaginary": (lambda p, X, y: fr.jax.loss(p, X, 1j * y), TypeError, "y must be real"),
    "responses": (lambda p, X, y: fr.jax.loss(p, X, y[:5]), ValueError, r"y must have shape \(300, 1\)"),
    "weights of rows": (lambda p, X, y: fr.jax.loss(p, X, y, sample_weight=y[:5]), ValueError, "sample_weight must"),
    "loss": (lambda p, X, y: fr.jax.loss(p, X, y, kind="l1"), ValueError, "unknown loss 'l1'"),
    "one class": (lambda p, X, y: fr.jax.loss(p, X, y, kind="cross_entropy"), ValueError, "two outputs or more"),
    "activation": (lambda p, X, y: fr.jax.loss(p, X, y, "gelu"), ValueError, "gelu"),
    "by X": (lambda p, X, y: jax.grad(lambda X: fr.jax.loss(p, X, y))(X), NotImplementedError, "derivative by X"),
    "by y": (lambda p, X, y: jax.grad(lambda y: fr.jax.loss(p, X, y))(y), NotImplementedError, "derivative by y"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    call, error, match = BAD[what]
    with pytest.raises(error, match=match):
        call(*problem("mse")[:3])


def test_records_are_those_of_the_interface(tmp_path):
    """Places of fields and values of names, against the header that JAX brings."""
    records = {
        "extension": ("Extension_Base", {"type": "type", "next": "next"}),
        "version": ("Api_Version", {"major": "major_version", "minor": "minor_version"}),
        "error_args": ("Error_Create_Args", {"message": "message", "code": "errc"}),
        "api": ("Api", {"version": "api_version", "make_error": "XLA_FFI_Error_Create"}),
        "metadata": ("Metadata", {"version": "api_version", "traits": "traits"}),
        "metadata_extension": ("Metadata_Extension", {"metadata": "metadata"}),
        "buffer": ("Buffer", {"type": "dtype", "data": "data", "rank": "rank", "sizes": "dims"}),
        "array": ("Array", {"type": "dtype", "size": "size", "data": "data"}),
        "values": ("Args", {"count": "size", "types": "types", "values": "args"}),
        "named_values": ("Attrs", {"count": "size", "types": "types", "names": "names", "values": "attrs"}),
        "frame": (
            "CallFrame",
            {"extension": "extension_start", "api": "api", "context": "ctx", "stage": "stage", "arguments": "args",
             "results": "rets", "attributes": "attrs"},
        ),
    }  # fmt: skip
    names = {"METADATA": "Extension_Metadata", "EXECUTE": "ExecutionStage_EXECUTE", "ARRAY": "AttrType_ARRAY",
             "INVALID": "Error_Code_INVALID_ARGUMENT", "EXHAUSTED": "Error_Code_RESOURCE_EXHAUSTED",
             "F32": "DataType_F32", "F64": "DataType_F64"}  # fmt: skip
    lines = ['#include "xla.h"', '#include "xla/ffi/api/c_api.h"']
    for ours, (theirs, fields) in records.items():
        for one, other in fields.items():
            places = f"offsetof(fr_xla_{ours}, {one}) == offsetof(XLA_FFI_{theirs}, {other})"
            lines.append(f'_Static_assert({places}, "{ours}.{one}");')
    lines += [f'_Static_assert((int)FR_XLA_{a} == (int)XLA_FFI_{b}, "{a}");' for a, b in names.items()]
    lines.append('_Static_assert(XLA_FFI_API_MAJOR == 0, "major version");')
    (tmp_path / "records.c").write_text("\n".join(lines) + "\n")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    command = [compiler, "-std=c11", "-fsyntax-only", f"-I{CSRC}", f"-I{jax.ffi.include_dir()}", "records.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_example():
    path = Path(__file__).parents[2] / "examples" / "jax_sets.py"
    spec = importlib.util.spec_from_file_location("jax_sets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    losses, polished = module.main(n=4000, sets=16, steps=200)
    assert losses.shape == (16,) and losses.min() < losses.max()
    # 0.01 is the variance of the noise; a mean over 4000 rows is 2 % of it off, in one standard deviation.
    assert polished == pytest.approx(0.01, rel=0.1)
