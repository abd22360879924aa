"""
A network from rows at the workers of a Dask cluster
====================================================

Chunks stay at the workers that have them; a pass is one task for each worker, and only sums come back.  The bits are
those of a fit on one array, wherever chunks are cut, and a worker may die on the way.
"""

from __future__ import annotations

import dask.array as da
from distributed import Client, LocalCluster

import fastrecover as fr


def main(n: int = 200_000) -> fr.Recovery:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        X = da.random.default_rng(0).standard_normal((n, 20), chunks=(20_000, 20)).persist()
        teacher = fr.datasets.make_teacher("relu", n_features=20, n_hidden=3, random_state=0)
        noise = da.random.default_rng(1).standard_normal(n, chunks=20_000)
        y = X.map_blocks(teacher.predict, drop_axis=1, dtype=float) + 0.1 * noise

        recovery = fr.fit(X, y, "relu", n_hidden=3, random_state=0)

        print(recovery)
        print(f"relative error {recovery.error(teacher):.4f}, R^2 {recovery.score(X, y):.3f}")
        print(recovery.predict(X))  # an array of Dask
    return recovery


if __name__ == "__main__":
    main()
