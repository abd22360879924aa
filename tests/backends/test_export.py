"""Exports predict what the recovery does, by PyTorch, by ONNX's reference and by ONNX Runtime, for every model."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from every_network import STRINGS, outputs_of, recoveries, recovery_of, rows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from scipy.special import erf, softmax
from torch import nn

import fastrecover as fr
import fastrecover.torch as ft
from fastrecover.models import Parameters, Regression, get_model

MANY = settings(max_examples=25, deadline=None, derandomize=True)
TOLS = {"float64": 1e-12, "float32": 1e-5}


def close(found, expected, tol, scale=None):
    """Equal up to `tol` of each number, or of what the terms of the sum that it is are like."""
    assert found.shape == expected.shape
    size = np.abs(expected).max(initial=0.0) if scale is None else scale
    np.testing.assert_allclose(found, expected, rtol=tol, atol=tol * max(float(size), 1e-300))


def terms(rec, X):
    """Size of what an output is a sum of, which its rounding goes by."""
    units = np.abs(rec.parameters.columns).sum() * np.abs(rec.hidden(X)).max()
    return 1.0 + units + np.abs(outputs_of(rec, X)).max()


@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
@MANY
def test_modules_put_out_what_the_network_does(name, data):
    rec = data.draw(recoveries(name))
    X = rows_for(rec)
    expected, scale = outputs_of(rec, X), terms(rec, X)
    close(rec.decision_function(X).reshape(expected.shape), expected, 1e-12, scale)
    module = rec.to_torch()
    plain = rec.linear is None and rec.model.n_patches == 1
    assert isinstance(module, nn.Sequential) == plain
    with torch.no_grad():
        close(module(torch.from_numpy(X)).numpy(), expected, 1e-12, scale)
        single = copy.deepcopy(module).float()
        close(single(torch.from_numpy(X).float()).numpy().astype(float), expected, 1e-5, scale)
        close(module(torch.from_numpy(X[None]))[0].numpy(), expected, 1e-12, scale)  # rows of any further axes
    again = pickle.loads(pickle.dumps(module))
    assert str(again) == str(module)
    torch.testing.assert_close(again(torch.from_numpy(X)), module(torch.from_numpy(X)), rtol=0, atol=0)


def answers(model, X, runtime):
    inputs = {"X": X}
    if runtime:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return dict(zip([out.name for out in session.get_outputs()], session.run(None, inputs), strict=True))
    evaluator = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):  # it computes both sides of its branches
        return dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))


@pytest.mark.parametrize("dtype", TOLS)
@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
@MANY
def test_graphs_predict_what_the_recovery_does(name, dtype, data):
    rec = data.draw(recoveries(name))
    X, tol = rows_for(rec), TOLS[dtype]
    model = rec.to_onnx(dtype=dtype)
    onnx.checker.check_model(model, full_check=True)
    f, scale = outputs_of(rec, X), terms(rec, X)
    for runtime in (False, True):
        found = answers(model, X.astype(dtype), runtime)
        if rec.classes is None:
            assert set(found) == {"prediction"} and found["prediction"].dtype == dtype
            expected = rec.predict(X).reshape(len(X), -1)
            if rec.model.loss.name == "poisson":  # the relative error of a rate is the error of its output
                moderate = np.abs(f) < 80.0  # others have no exponential in single precision
                logs = np.log(found["prediction"][moderate].astype(float))
                np.testing.assert_allclose(logs, np.log(expected[moderate]), rtol=0, atol=tol * scale)
            else:
                close(found["prediction"].astype(float), expected, tol, scale)
            continue
        assert set(found) == {"label", "probabilities"} and found["probabilities"].dtype == dtype
        expected = rec.predict_proba(X)
        close(found["probabilities"].astype(float), expected, tol, scale)
        sure = np.abs(np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0]) > 1e-4
        assert found["label"].shape == (len(X),)
        assert found["label"][sure].tolist() == rec.predict(X)[sure].tolist()


def test_single_rows_and_none():
    rec = recovery_of(Regression("tanh", 2, "free"), Parameters(np.eye(2), np.ones(2)))
    for runtime in (False, True):
        assert answers(rec.to_onnx(), np.zeros((1, 2)), runtime)["prediction"].shape == (1, 1)
        assert answers(rec.to_onnx(), np.zeros((0, 2)), runtime)["prediction"].shape == (0, 1)
    assert rec.to_torch()(torch.zeros(2, dtype=torch.float64)).shape == (1,)


def test_numbers_where_functions_are_hard():
    """Softplus far from 0 on both sides, where a sum of exponentials is nothing or infinite."""
    z = np.array([-800.0, -40.0, -25.0, 0.0, 25.0, 39.0, 41.0, 800.0])
    rec = recovery_of(get_model("softplus", 1, output_weights="ones"), Parameters(np.eye(1), np.ones(1)))
    expected = rec.predict(z[:, None])
    for runtime in (False, True):
        found = answers(rec.to_onnx(), z[:, None], runtime)["prediction"][:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    found = rec.to_torch()(torch.from_numpy(z[:, None])).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    z = np.concatenate([-np.geomspace(30.0, 1e-9, 500), np.zeros(1), np.linspace(0.0, 7.0, 501)])
    rec = recovery_of(get_model("erf", 1, output_weights="ones"), Parameters(np.eye(1), np.ones(1)))
    for runtime in (False, True):
        found = answers(rec.to_onnx(), z[:, None], runtime)["prediction"][:, 0]
        np.testing.assert_allclose(found, erf(z), rtol=0, atol=1e-14)
    z = np.array([-800.0, -40.0, -25.0, 0.0, 25.0, 39.0, 41.0, 800.0])
    two = recovery_of(get_model("relu", 1, loss="logistic", hidden_bias=False), Parameters(np.eye(1), np.ones(1)))
    p = answers(two.to_onnx(), z[:, None], True)["probabilities"]
    assert np.isfinite(p).all() and p[-1].tolist() == [0.0, 1.0]
    assert softmax([0.0, 25.0])[1] == pytest.approx(p[4, 1], rel=1e-15)


def test_a_written_graph_is_the_one_that_is_returned(tmp_path):
    rec = recovery_of(Regression("relu", 2, "free"), Parameters(np.eye(2), np.ones(2)))
    model = rec.to_onnx(tmp_path / "rec.onnx")
    assert (tmp_path / "rec.onnx").read_bytes() == model.SerializeToString()
    session = onnxruntime.InferenceSession(tmp_path / "rec.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"X": np.array([[1.0, -2.0], [3.0, 4.0]])})
    assert answer.tolist() == [[1.0], [7.0]]
    assert model.producer_name == "fastrecover" and model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        rec.to_onnx(tmp_path / "nowhere" / "rec.onnx")
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, got 'half'"):
        rec.to_onnx(dtype="half")


def test_a_users_function_cannot_be_exported(tmp_path):
    sine = fr.Activation.from_functions(np.sin, np.cos, name="sine")
    rec = recovery_of(Regression(sine, 1), Parameters(np.eye(1), np.ones(1)))
    with pytest.raises(ValueError, match="the activation 'sine' is a user's function, .* PyTorch"):
        rec.to_torch()
    with pytest.raises(ValueError, match="the activation 'sine' is a user's function, .* ONNX"):
        rec.to_onnx(tmp_path / "rec.onnx")
    assert not list(tmp_path.iterdir())


def test_a_module_goes_on_where_the_fit_has_ended():
    """An exported network is one that fastrecover.torch takes: its loss is the fit's, and a fit begins at it."""
    teacher = fr.datasets.make_teacher("erf", 4, 2, output_weights="free", hidden_bias=True, intercept=0.5)
    X, y = teacher.sample(400, noise=0.1, random_state=1)
    options = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True, "random_state": 0}
    rec = fr.fit(X, y, "erf", 2, **options)
    module, rows, targets = rec.to_torch(), torch.from_numpy(X), torch.from_numpy(y)
    loss = ft.loss(module, rows, targets)
    assert loss.item() == pytest.approx(2.0 * rec.loss, rel=1e-12)
    loss.backward()
    assert max(float(p.grad.abs().max()) for p in module.parameters()) < 1e-3
    again = ft.fit_module(module, rows, targets, warm_start=True)
    assert again.loss == pytest.approx(rec.loss, rel=1e-6) and again.n_passes < rec.n_passes


def test_an_export_draws_no_random_number_and_shares_no_memory():
    rec = recovery_of(Regression("relu", 2, "free"), Parameters(np.eye(2), np.ones(2)))
    state = torch.random.get_rng_state()
    module = rec.to_torch()
    assert torch.equal(state, torch.random.get_rng_state())
    before = rec.predict(np.ones((1, 2)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert rec.predict(np.ones((1, 2))) == before == 2.0
