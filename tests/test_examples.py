"""The examples in short form: they run, find what was planted, and write what they promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

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
        "classify", "covariance_sketch", "neuron_subunits", "recover_relu",
    }  # fmt: skip


def test_recover_relu(tmp_path, capsys):
    rec = load("recover_relu").main(n=20_000, out=str(tmp_path / "rec.npz"))
    assert rec.converged
    out = capsys.readouterr().out
    inside = float(out.split("%")[0].split()[-1])
    # 120 weights: 95 % of them, five standard deviations (2 %) off at most.
    assert inside == pytest.approx(95, abs=10)
    assert (fr.load(tmp_path / "rec.npz").weights == rec.weights).all()


def test_neuron_subunits(tmp_path):
    picture = tmp_path / "subunits.png"
    assert load("neuron_subunits").main(n=20_000, out=str(picture)) < 0.3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_classify(tmp_path, capsys):
    rec = load("classify").main(n=20_000, out=str(tmp_path / "rec.npz"))
    out = capsys.readouterr().out
    # 24 weights: 95 % of them, four standard deviations (4 %) off at most.
    assert float(out.split("% of all weights")[0].split()[-1]) == pytest.approx(95, abs=18)
    assert float(out.split("relative error ")[1].split()[0]) < 0.2
    reached, best = (float(out.split(text)[1].split(")")[0].split()[0]) for text in ("held back ", "reach "))
    assert reached == pytest.approx(best, abs=0.02) and reached > 0.6
    assert fr.load(tmp_path / "rec.npz").classes.tolist() == rec.classes.tolist() == ["miss", "spike"]


def test_covariance_sketch(tmp_path):
    picture = tmp_path / "sketch.png"
    covariance, image = load("covariance_sketch").main(out=str(picture))
    # One per cent of noise gives errors of 0.007 and 0.010.
    assert covariance < 0.03 and image < 0.03
    assert picture.read_bytes().startswith(b"\x89PNG")
