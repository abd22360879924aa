"""
One network from the rows of Ray's actors
=========================================

Ray has no gather of its own; one small actor is enough: it keeps what the others say until all have, and tells all.

    python gather_ray.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray

import fastrecover as fr


@ray.remote(num_cpus=0)
class Hub:
    def __init__(self, size: int) -> None:
        self.size, self.rounds, self.all_there = size, {}, asyncio.Condition()

    async def gather(self, number: int, rank: int, value: Any) -> list[Any]:
        async with self.all_there:
            said = self.rounds.setdefault(number, {})
            said[rank] = value
            self.rounds.pop(number - 2, None)  # which all have heard
            self.all_there.notify_all()
            await self.all_there.wait_for(lambda: len(said) == self.size)
        return [said[i] for i in range(self.size)]


@ray.remote(num_cpus=1)
def recovered(hub: Any, rank: int, n: int) -> fr.Recovery:
    teacher = fr.datasets.make_teacher("softplus", n_features=20, n_hidden=3, random_state=0)
    X, y = teacher.sample(n, noise=0.1, random_state=1 + rank)
    rounds = iter(range(1 << 60))

    def gather(value: Any) -> list[Any]:
        return ray.get(hub.gather.remote(next(rounds), rank, value))

    return fr.fit(X, y, "softplus", n_hidden=3, gather=gather, n_jobs=1, random_state=0)


def main(n: int = 40_000, size: int = 2) -> list[fr.Recovery]:
    ray.init(num_cpus=size, include_dashboard=False)
    hub = Hub.remote(size)
    found = ray.get([recovered.remote(hub, rank, n // size) for rank in range(size)])
    ray.shutdown()
    teacher = fr.datasets.make_teacher("softplus", n_features=20, n_hidden=3, random_state=0)
    print(f"{found[0].n_rows} rows at {size} actors: relative error {found[0].error(teacher):.4f}")
    print("the same bits everywhere:", len({each.weights.tobytes() for each in found}) == 1)
    return found


if __name__ == "__main__":
    main()
