"""Operators of PyTorch against its own functions, its checks of custom operators, and fits of modules."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import library, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

import fastrecover as fr
import fastrecover.torch as ft
from fastrecover.sweeps import Objective

N, D, K = 43, 4, 3
ACTIVATIONS = {
    "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.2), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
}  # fmt: skip
FUNCTIONS = {
    "mse": F.mse_loss,
    "huber": F.huber_loss,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "cross_entropy": F.cross_entropy,
    "poisson_nll": F.poisson_nll_loss,
}
OUTPUTS = [("mse", 1), ("mse", 3), ("huber", 2), ("bce_with_logits", 1), ("cross_entropy", 3), ("poisson_nll", 1)]


def network(activation="tanh", outputs=1, dtype=torch.float64, bias=True, seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(D, K, bias=bias), ACTIVATIONS[activation], nn.Linear(K, outputs, bias=bias)
    return nn.Sequential(*layers).to(dtype)


def rows(kind="mse", outputs=1, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(N, D, generator=generator, dtype=dtype)
    if kind == "cross_entropy":
        return X, torch.randint(0, outputs, (N,), generator=generator)
    if kind == "poisson_nll":
        return X, torch.randint(0, 5, (N, outputs), generator=generator).to(dtype)
    if kind == "bce_with_logits":
        return X, torch.randint(0, 2, (N, outputs), generator=generator).to(dtype)
    return X, 2.0 * torch.randn(N, outputs, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("kind", "outputs"), OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_losses_and_their_derivatives_are_those_of_torch(activation, kind, outputs):
    module, (X, y) = network(activation, outputs), rows(kind, outputs)
    parameters = list(module.parameters())
    found = []
    for value in (ft.loss(module, X, y, kind), FUNCTIONS[kind](module(X), y)):
        grads = torch.autograd.grad(value, parameters, create_graph=True)
        torch.manual_seed(2)
        along = sum((grad * torch.randn_like(grad)).sum() for grad in grads)
        found.append((value, *grads, *torch.autograd.grad(along, parameters)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_layers_without_biases():
    module, (X, y) = network("relu", 2, bias=False), rows(outputs=2)
    ours, theirs = (torch.autograd.grad(f, list(module.parameters())) for f in
                    (ft.loss(module, X, y), F.mse_loss(module(X), y)))  # fmt: skip
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_single_precision_and_rows_that_lie_apart():
    module, (X, y) = network(dtype=torch.float32), rows(dtype=torch.float32)
    wanted = F.mse_loss(module(X), y)
    for laid in (X, torch.cat([X, X], dim=1)[:, :D], X.T.contiguous().T):
        found = ft.loss(module, laid, y)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted)


def test_weights_count_as_rows_given_so_often():
    module, (X, y) = network(), rows()
    times = torch.arange(N) % 3
    again = torch.repeat_interleave(torch.arange(N), times)
    weighted = ft.loss(module, X, y, sample_weight=times.double())
    torch.testing.assert_close(weighted, F.mse_loss(module(X[again]), y[again]))


def test_shares_of_classes():
    module, (X, _) = network(outputs=3), rows()
    y = torch.softmax(torch.randn(N, 3, dtype=torch.float64), dim=1)
    torch.testing.assert_close(ft.loss(module, X, y, "cross_entropy"), F.cross_entropy(module(X), y))


def test_outputs_serve_any_loss():
    module, (X, y) = network("sigmoid", 3), rows(outputs=3)
    parameters = list(module.parameters())
    results = []
    for f in (ft.outputs(module, X), module(X)):
        value = (f - y).abs().pow(1.5).mean() + torch.logsumexp(f, dim=1).sum()
        results.append((f, *torch.autograd.grad(value, parameters)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_without_a_gradient_none_is_computed(monkeypatch):
    module, (X, y) = network(), rows()
    asked = []
    plain = Objective.value_and_grad
    monkeypatch.setattr(Objective, "value_and_grad", lambda self, theta: asked.append(1) or plain(self, theta))
    with torch.no_grad():
        value = ft.loss(module, X, y)
    assert not asked and not value.requires_grad
    torch.testing.assert_close(value, F.mse_loss(module(X), y).detach())


def operands(activation="tanh", outputs=2, loss="squared"):
    module, (X, y) = network(activation, outputs), rows(outputs=outputs)
    described, theta = ft._taken_apart(module, X)
    return X, y if outputs > 1 else y[:, 0], theta.detach().requires_grad_(), f"{described} {loss} 1.0"


@pytest.mark.parametrize("outputs", [1, 2])
def test_operators_pass_the_checks_of_torch(outputs):
    X, y, theta, spec = operands(outputs=outputs)
    weight, u = torch.rand(N, dtype=torch.float64), torch.randn(N, outputs, dtype=torch.float64)
    ops = torch.ops.fastrecover
    v = torch.randn_like(theta).detach()
    for op, arguments in (
        (ops.loss, (X, y, theta, weight, True, spec)),
        (ops.loss, (X, y, theta.detach(), None, False, spec)),
        (ops.outputs, (X, theta, spec)),
        (ops.hessian_product, (X, y, theta.detach(), None, v, spec)),
        (ops.outputs_pulled_back, (u, X, theta.detach(), spec)),
    ):
        library.opcheck(op, arguments)


def test_gradients_pass_finite_differences():
    X, y, theta, spec = operands()
    ops = torch.ops.fastrecover
    assert gradcheck(lambda at: ops.loss(X, y, at, None, True, spec)[0], theta)
    assert gradgradcheck(lambda at: ops.loss(X, y, at, None, True, spec)[0], theta)
    assert gradcheck(lambda at: ops.outputs(X, at, spec), theta)


@pytest.mark.parametrize(("kind", "outputs"), [("mse", 1), ("cross_entropy", 3)])
def test_compiled_without_graph_breaks(kind, outputs):
    module, (X, y) = network(outputs=outputs), rows(kind, outputs)

    def step(X, y):
        return ft.loss(module, X, y, kind)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results = [torch.autograd.grad(each(X, y), list(module.parameters())) for each in (step, compiled)]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_one_line_of_a_loop_trains_as_before():
    losses = []
    for ours in (True, False):
        module, (X, y) = network(seed=5), rows()
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(30):
            optimiser.zero_grad()
            value = ft.loss(module, X, y) if ours else F.mse_loss(module(X), y)
            value.backward()
            optimiser.step()
        losses.append(value.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


def planted(activation, outputs, dtype=torch.float64, n=4000):
    truth = network(activation, outputs, dtype, seed=11)
    with torch.no_grad():
        truth[0].weight.mul_(3.0)
        truth[2].weight.mul_(2.0)
    X = torch.randn(n, D, generator=torch.Generator().manual_seed(12), dtype=dtype)
    return truth, X, truth(X).detach()


@pytest.mark.parametrize(("activation", "outputs"), [("tanh", 1), ("relu", 1), ("relu", 3), ("sigmoid", 2)])
def test_fit_module_finds_the_module_that_answered(activation, outputs):
    _, X, y = planted(activation, outputs)
    module = network(activation, outputs, seed=13)
    rec = ft.fit_module(module, X, y, random_state=0)
    assert rec.converged
    torch.testing.assert_close(module(X), y, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rec.predict(X.numpy()).reshape(y.shape), module(X).detach().numpy(), atol=1e-10)


def test_fit_module_of_single_precision():
    _, X, y = planted("tanh", 1, torch.float32)
    module = network("tanh", 1, torch.float32, seed=13)
    ft.fit_module(module, X, y, random_state=0)
    assert module[0].weight.dtype == torch.float32
    torch.testing.assert_close(module(X), y, rtol=0, atol=1e-4)


@pytest.mark.parametrize("outputs", [2, 3])
def test_fit_module_of_classes_has_the_least_cross_entropy(outputs):
    truth, X, _ = planted("tanh", outputs)
    y = torch.multinomial(torch.softmax(truth(X), dim=1), 1, generator=torch.Generator().manual_seed(14))[:, 0]
    module = network("tanh", outputs, seed=15)
    ft.fit_module(module, X, y, restarts=2, alpha=1e-3, random_state=0)
    ours, true = (F.cross_entropy(each(X), y).item() for each in (module, truth))
    assert 0.95 * true < ours < true  # fewer than 40 parameters, 4000 labels


def test_fit_module_goes_on_from_its_own_parameters():
    truth, X, y = planted("tanh", 2)
    module = network("tanh", 2)
    module.load_state_dict({name: value + 0.01 for name, value in truth.state_dict().items()})
    rec = ft.fit_module(module, X, y, warm_start=True)
    assert rec.n_passes < 15  # and every number is where it was, but for the order of units:
    for one, other in zip(module.parameters(), truth.parameters(), strict=True):
        found, wanted = (each.detach().abs().flatten().sort().values for each in (one, other))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


BAD = {
    "module": (lambda: ft.loss(nn.Linear(D, 1), *rows()), TypeError, "nn.Sequential"),
    "layers": (lambda: ft.loss(nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU()), *rows()), TypeError, "linear layers"),
    "activation": (
        lambda: ft.loss(nn.Sequential(nn.Linear(D, K), nn.GELU(), nn.Linear(K, 1)), *rows()),
        TypeError,
        "ReLU.*Softplus between its layers, got GELU",
    ),
    "softplus": (
        lambda: ft.loss(nn.Sequential(nn.Linear(D, K), nn.Softplus(beta=2), nn.Linear(K, 1)), *rows()),
        ValueError,
        "beta=1, got 2",
    ),
    "columns": (
        lambda: ft.loss(network(), torch.zeros(5, 7), torch.zeros(5)),
        ValueError,
        r"X must have shape \(n, 4\)",
    ),
    "dtype": (
        lambda: ft.loss(network(), torch.zeros(5, D, dtype=torch.float16), torch.zeros(5)),
        ValueError,
        "float16",
    ),
    "gradient by X": (
        lambda: ft.loss(network(), rows()[0].requires_grad_(), rows()[1]),
        ValueError,
        "X asks for a gradient",
    ),
    "y": (lambda: ft.loss(network(outputs=2), rows()[0], torch.zeros(N)), ValueError, r"y must have shape \(43, 2\)"),
    "classes": (
        lambda: ft.loss(network(outputs=2), rows()[0], torch.zeros(N, 2, dtype=torch.long), "cross_entropy"),
        ValueError,
        "a class for each row",
    ),
    "loss": (lambda: ft.loss(network(), *rows(), "l1"), ValueError, "unknown loss 'l1' .known: mse, huber"),
    "fit's loss": (lambda: ft.fit_module(network(), *rows(), "l1"), ValueError, "unknown loss 'l1'"),
    "outputs": (
        lambda: ft.loss(network(outputs=2), *rows(outputs=2), "bce_with_logits"),
        ValueError,
        "one output, got 2",
    ),
    "one class": (lambda: ft.loss(network(), *rows(), "cross_entropy"), ValueError, "two outputs or more"),
    "weights": (
        lambda: ft.loss(network(), *rows(), sample_weight=torch.ones(3)),
        ValueError,
        r"sample_weight must have shape \(43,\)",
    ),
    "a class without rows": (
        lambda: ft.fit_module(network(outputs=3), rows()[0], torch.arange(N) % 2),
        ValueError,
        "no row of class 2",
    ),
    "two starts": (
        lambda: ft.fit_module(network(), *rows(), warm_start=True, init="random"),
        TypeError,
        "give init, or warm_start",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_the_package_names_the_module():
    assert fr.torch is ft
    assert set(ft.__all__) == {"fit_module", "loss", "outputs"}


def test_the_example_reaches_the_noise(capsys):
    path = Path(__file__).parents[2] / "examples" / "torch_module.py"
    spec = importlib.util.spec_from_file_location("torch_module", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    trained, fitted = example.main(n=5000, steps=50)
    assert fitted == pytest.approx(0.01, rel=0.1) and fitted < trained
    assert "50 steps of Adam" in capsys.readouterr().out
