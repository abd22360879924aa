"""
A PyTorch module, its loop and its fit
======================================

PyTorch: a loss of ours in a training loop, and a fit in place of the loop.

::

    python examples/torch_module.py
"""

from __future__ import annotations

import time

import torch
from torch import nn

import fastrecover.torch


def main(n: int = 20_000, steps: int = 300) -> tuple[float, float]:
    """Train on n rows that a module answered with noise; returns the mean squared errors of both ways."""
    torch.manual_seed(0)
    truth = nn.Sequential(nn.Linear(30, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    with torch.no_grad():
        truth[0].weight.mul_(3.0)
        truth[2].weight.mul_(3.0)
        X = torch.randn(n, 30, dtype=torch.float64)
        y = truth(X) + 0.1 * torch.randn(n, 1, dtype=torch.float64)

    module = nn.Sequential(nn.Linear(30, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    optimiser, began = torch.optim.Adam(module.parameters(), lr=0.02), time.perf_counter()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = fastrecover.torch.loss(module, X, y)  # in place of nn.functional.mse_loss(module(X), y)
        loss.backward()
        optimiser.step()
    trained = float(loss.detach())
    print(f"{steps} steps of Adam: mean squared error {trained:.4f} in {time.perf_counter() - began:.2f} s")

    began = time.perf_counter()
    rec = fastrecover.torch.fit_module(module, X, y, random_state=0)
    fitted = float(nn.functional.mse_loss(module(X), y).detach())
    print(f"fit_module: mean squared error {fitted:.4f} in {time.perf_counter() - began:.2f} s (noise: 0.0100)")
    print(rec.message)
    return trained, fitted


if __name__ == "__main__":
    main()
