"""
One network from the rows of PyTorch's processes
================================================

The same by ``torch.distributed``: whatever gathers Python objects will do.  Here two processes of one machine; under
``torchrun`` the group is there already.

    python gather_torch.py
"""

from __future__ import annotations

import socket
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

import fastrecover as fr


def gather(value: Any) -> list[Any]:
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def run(rank: int, size: int, port: int, n: int) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    teacher = fr.datasets.make_teacher("tanh", n_features=20, n_hidden=3, random_state=0)
    X, y = teacher.sample(n // size, noise=0.1, random_state=1 + rank)

    recovery = fr.fit(X, y, "tanh", n_hidden=3, gather=gather, n_jobs=1, random_state=0)

    weights = gather(recovery.weights.tobytes())
    if rank == 0:
        print(f"{recovery.n_rows} rows at {size} processes: relative error {recovery.error(teacher):.4f}")
        print("the same bits everywhere:", len(set(weights)) == 1)
    dist.destroy_process_group()


def main(n: int = 40_000, size: int = 2) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(run, (size, port, n), nprocs=size)


if __name__ == "__main__":
    main()
