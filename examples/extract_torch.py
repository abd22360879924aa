"""
The network behind a PyTorch module
===================================

Extract the network behind a PyTorch module by queries, and get it back as a module.

::

    python examples/extract_torch.py
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

import fastrecover as fr


def main(n_features: int = 30, n_hidden: int = 12) -> tuple[float, float]:
    """The largest difference of answers at new points relative to their size, of victims in double and in single."""
    torch.manual_seed(0)
    X = torch.randn(2000, n_features)
    y = torch.stack([torch.relu(X[:, 0] + X[:, 1]), torch.sin(X[:, 2])], dim=1)
    victim = nn.Sequential(nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 2))
    optimiser = torch.optim.Adam(victim.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.mse_loss(victim(X), y).backward()
        optimiser.step()

    worst = []
    new = 3.0 * torch.randn(1000, n_features, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        module = victim.to(dtype)

        def query(rows: np.ndarray, module: nn.Module = module, dtype: torch.dtype = dtype) -> np.ndarray:
            with torch.no_grad():
                return module(torch.from_numpy(rows).to(dtype)).numpy()

        began = time.perf_counter()
        rec = fr.extract(query, n_features, n_hidden, random_state=0)
        seconds = time.perf_counter() - began
        ours = rec.to_torch()  # Linear, ReLU, Linear, in double precision
        with torch.no_grad():
            theirs = module(new.to(dtype)).double()
            worst.append(float((ours(new) - theirs).abs().max() / theirs.abs().max()))
        print(f"{dtype}: {rec.n_queries} queries, {seconds:.2f} s; answers differ by {worst[-1]:.1e} of their size")
    print(ours)
    return worst[0], worst[1]


if __name__ == "__main__":
    main()
