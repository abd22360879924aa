"""The examples of extraction whose victims are networks of PyTorch and ONNX Runtime, in short form."""

from __future__ import annotations

import onnx
import pytest
from test_examples import load


def test_a_module(capsys):
    double, single = load("extract_torch").main(n_features=10, n_hidden=6)
    assert double < 1e-10 and single < 1e-5
    assert "Linear(in_features=10, out_features=6" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:fit did not converge")
def test_a_session(tmp_path):
    assert load("extract_onnx").main(n_features=6, n_hidden=3, folder=str(tmp_path)) < 1e-8
    models = [onnx.load(tmp_path / f"{name}.onnx") for name in ("victim", "extracted")]
    shapes = [{each.name: list(each.dims) for each in model.graph.initializer} for model in models]
    assert shapes[0]["weights"] == shapes[1]["weights"] == [6, 3]
