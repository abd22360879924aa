"""
The classifier behind an ONNX session
=====================================

Extract the classifier behind an ONNX session by queries of its probabilities, and write it as an ONNX file.

::

    python examples/extract_onnx.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import fastrecover as fr


def main(n_features: int = 20, n_hidden: int = 8, folder: str | None = None) -> float:
    """The largest difference between probabilities of the session and of what was extracted from it, at new points."""
    where = Path(folder or tempfile.mkdtemp())
    teacher = fr.datasets.make_teacher(
        "relu", n_features, n_hidden, loss="logistic", n_outputs=3, hidden_bias=True, random_state=0
    )
    X, y = teacher.sample(3000, random_state=1)
    fitted = fr.fit(X, y, "relu", n_hidden, loss="logistic", alpha=1.0, restarts=1, random_state=0)
    fitted.to_onnx(where / "victim.onnx")  # any file with this interface will do

    victim = onnxruntime.InferenceSession(where / "victim.onnx", providers=["CPUExecutionProvider"])
    name = victim.get_inputs()[0].name

    def query(rows: np.ndarray) -> np.ndarray:
        return victim.run(["probabilities"], {name: rows})[0]

    began = time.perf_counter()
    rec = fr.extract(query, n_features, n_hidden, output="logit", random_state=0)
    print(f"{rec.n_queries} queries, {time.perf_counter() - began:.2f} s: {rec.message}")

    rec.to_onnx(where / "extracted.onnx")
    copy = onnxruntime.InferenceSession(where / "extracted.onnx", providers=["CPUExecutionProvider"])
    new = np.random.default_rng(0).standard_normal((1000, n_features))
    worst = float(np.abs(copy.run(["probabilities"], {"X": new})[0] - query(new)).max())
    print(f"probabilities at new points differ by {worst:.1e}; both files are in {where}")
    return worst


if __name__ == "__main__":
    main()
