"""
One network from the rows of several MPI processes
==================================================

Every process holds rows of its own and runs the same program; the sums of a pass are gathered and merged in one order,
so all find the same weights, to the bit those of one process with all rows.

    mpiexec -n 4 python gather_mpi.py
"""

from __future__ import annotations

from mpi4py import MPI

import fastrecover as fr


def main(n: int = 50_000) -> fr.Recovery:
    comm = MPI.COMM_WORLD
    teacher = fr.datasets.make_teacher("relu", n_features=20, n_hidden=3, random_state=0)
    X, y = teacher.sample(n // comm.size, noise=0.1, random_state=1 + comm.rank)  # those of this process

    recovery = fr.fit(X, y, "relu", n_hidden=3, gather=comm.allgather, n_jobs=1, random_state=0)

    weights = comm.allgather(recovery.weights.tobytes())
    if comm.rank == 0:
        print(f"{recovery.n_rows} rows at {comm.size} processes: relative error {recovery.error(teacher):.4f}")
        print("the same bits everywhere:", len(set(weights)) == 1)
    return recovery


if __name__ == "__main__":
    main()
