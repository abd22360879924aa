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
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"classify", "recover_relu", "neuron_subunits"}


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
