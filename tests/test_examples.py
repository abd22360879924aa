"""The examples in short form: they run, find what was planted, and write what they promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastrecover as fr

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tried():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "classify", "covariance_sketch", "dask_cluster", "extract", "extract_onnx", "extract_torch", "gather_mpi",
        "gather_ray", "gather_torch", "jax_sets", "neuron_subunits", "own_activation", "phase_diagram",
        "phase_retrieval", "recover_relu", "scipy_solvers", "sklearn_pipeline", "three_classes", "torch_module",
    }  # fmt: skip


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_recover_relu(tmp_path, capsys):
    rec = load("recover_relu").main(n=20_000, out=str(tmp_path / "weights.png"))
    assert rec.converged
    out = capsys.readouterr().out
    inside = float(out.split("%")[0].split()[-1])
    # 120 weights: 95 % of them, five standard deviations (2 %) off at most.
    assert inside == pytest.approx(95, abs=10)
    assert is_picture(tmp_path / "weights.png")


def test_neuron_subunits(tmp_path):
    picture = tmp_path / "subunits.png"
    assert load("neuron_subunits").main(n=20_000, out=str(picture)) < 0.3
    assert is_picture(picture)


def test_classify(tmp_path, capsys):
    rec = load("classify").main(n=20_000, out=str(tmp_path / "filters.png"))
    out = capsys.readouterr().out
    # 24 weights: 95 % of them, four standard deviations (4 %) off at most.
    assert float(out.split("% of all weights")[0].split()[-1]) == pytest.approx(95, abs=18)
    assert float(out.split("relative error ")[1].split()[0]) < 0.2
    reached, best = (float(out.split(text)[1].split(")")[0].split()[0]) for text in ("held back ", "reach "))
    assert reached == pytest.approx(best, abs=0.02) and reached > 0.6
    rec.save(tmp_path / "rec.npz")
    assert fr.load(tmp_path / "rec.npz").classes.tolist() == rec.classes.tolist() == ["miss", "spike"]
    assert is_picture(tmp_path / "filters.png")


def test_covariance_sketch(tmp_path):
    picture = tmp_path / "sketch.png"
    covariance, image = load("covariance_sketch").main(out=str(picture))
    # One per cent of noise gives errors of 0.007 and 0.010.
    assert covariance < 0.03 and image < 0.03
    assert is_picture(picture)


@pytest.mark.filterwarnings("ignore:fit did not converge")
def test_three_classes(tmp_path, capsys):
    rec = load("three_classes").main(n=200, out=str(tmp_path / "alpha.png"))
    out = capsys.readouterr().out
    assert rec.classes.tolist() == ["common", "frequent", "rare"] and rec.biases.all()
    losses = rec.info["alphas"]
    # The largest that is not worse than the least by more than a standard error.
    best, chosen = min(losses, key=losses.get), f"{rec.info['alpha']:g}"
    assert float(best) <= rec.info["alpha"] and losses[chosen] <= 1.1 * losses[best] and out.count("<-") == 1
    # The class of one row in ten is found as well as the others, which are found far above their shares.
    recall = [float(line.split()[1 + i]) for i, line in enumerate(out.split("told as:")[1].splitlines()[2:5])]
    assert min(recall) > 0.6
    assert float(out.split("on new rows ")[1].split(";")[0]) > 0.8
    assert is_picture(tmp_path / "alpha.png")
    rec.save(tmp_path / "rec.npz")
    again = fr.load(tmp_path / "rec.npz")
    assert (
        again.parameters.flat().tolist() == rec.parameters.flat().tolist()
        and again.classes.tolist() == rec.classes.tolist()
    )


def test_scipy_solvers():
    errors = load("scipy_solvers").main(n=5000)
    start = errors.pop("the start")
    assert len(errors) == 3
    # 60 weights from 5000 rows with noise 0.05: all solvers end at the same minimum, about 0.006 from the truth.
    assert max(errors.values()) < min(0.01, 0.5 * start)


def test_phase_retrieval():
    example = load("phase_retrieval")
    assert max(example.main(d=12, measurements=4.0)) < 1e-9
    for seed in range(10):  # from three intensities an unknown
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((60, 20)) + 1j * rng.standard_normal((60, 20))
        x = rng.standard_normal(20) + 1j * rng.standard_normal(20)
        found, _ = example.complex_signal(A, np.abs(A @ x) ** 2, seed)
        assert example.relative_error(found, x) < 1e-6


def test_sklearn_pipeline(capsys):
    scores = load("sklearn_pipeline").main(n=400)
    out = capsys.readouterr().out
    assert out.count("s a fit") == 3 and "onehiddenlayerregressor0" in out
    ours = scores.pop("OneHiddenLayerRegressor")
    assert ours > 0.85 and scores.pop("search") >= ours - 1e-9
    assert ours > max(scores.values())


def test_extract(tmp_path):
    worst, queries = load("extract").main(n_features=10, n_hidden=6, out=str(tmp_path / "kinks.png"))
    assert worst < 1e-8 and queries < 2000
    assert is_picture(tmp_path / "kinks.png")


def test_own_activation(tmp_path, capsys):
    right, wrong = load("own_activation").main(n=4000, out=str(tmp_path / "laws.png"))
    # Noise of 0.05 leaves of the law itself an error of the weights; tanh misses the law, and the fit says so.
    assert right > 0.9999 > 0.999 > wrong > 0.9
    assert "parity: odd, bounds: (-1, 1)" in (out := capsys.readouterr().out)
    assert out.split("tanh: ")[1].splitlines()[0].endswith("would fit better")
    assert is_picture(tmp_path / "laws.png")


def test_phase_diagram(tmp_path, capsys):
    assert load("phase_diagram").main(trials=1, rows="3 5", out=str(tmp_path / "phase.png")) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("4 ", "8 "))]
    assert [row[:2] + row[-3:-2] for row in rows] == [["4", "1", "1"], ["8", "1", "1"]]
    assert is_picture(tmp_path / "phase.png")
