"""Time of a fit and of one sweep against n and against d, two decades each, and of a sweep against threads.

A fit's start works on a sub-sample whose size does not grow with n, so its time is a constant plus a linear part.  What
more threads can give is told by the machine's own limits with as many threads, measured in the same rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from .harness import Context, Neighbours, Row, alternate
from .peers import Problem, gaussian_rows, our_sweep
from .planted import planted
from .sweeps import SHAPES

_PATIENCE = 10.0  # seconds after which a fit is not repeated
_LONGEST = 40.0  # seconds after which one is told to end


def run(context: Context) -> Iterator[Row]:
    """Rows: fits and sweeps over two decades of n, then of d, with slopes; sweeps of several shapes over threads."""
    ns = (5_000, 20_000) if context.quick else (50_000, 158_000, 500_000, 1_580_000, 5_000_000)
    ds = (5, 10) if context.quick else (10, 32, 100, 320, 1_000)
    many = 5_000 if context.quick else 100_000
    curves = [[{"over": "n", "size": n, "n": n, "d": 20} for n in ns]]
    curves += [[{"over": "d", "size": d, "n": many, "d": d} for d in ds]]
    for cells in curves:
        rows = []
        for row in context.each(cells, measure):
            rows.append(row)
            yield row
        yield from slopes(rows)
    shapes = [(4_000, 64, 4)] if context.quick else SHAPES
    cells = [{"n": n, "d": d, "k": k, "dtype": dtype} for n, d, k in shapes for dtype in ("float64", "float32")]
    for cell in cells:
        kept = [context.again(cell | {"threads": count}) for count in counts(context.threads)]
        if not all(kept):
            context.say(cell)
        yield from [row for row in kept if row] if all(kept) else over_threads(context, **cell)


def counts(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({1 << i for i in range(most.bit_length()) if 1 << i <= most} | {most})


def over_threads(context: Context, n: int, d: int, k: int, dtype: str) -> Iterator[Row]:
    """A row for each number of threads: milliseconds, speed-up over one thread, and that of the machine's limits."""
    rng, x = np.random.default_rng(1), gaussian_rows(n, d, dtype)
    problem = Problem(x, rng.standard_normal(n), rng.standard_normal((k, d)) / np.sqrt(d), "relu")
    calls, probes = {}, context.probes
    for count in counts(context.threads):
        calls[f"sweep {count}"] = our_sweep(problem, count)
        limits = probes.limits(x, count) if probes else {}
        calls |= {f"{name} {count}": call for name, call in limits.items()}
    times, others = context.timed(calls, 8.0)
    best = {name: min(values) for name, values in times.items()}
    for count in counts(context.threads):
        row: Row = {"n": n, "d": d, "k": k, "dtype": dtype, "threads": count, "ms": 1e3 * best[f"sweep {count}"]}
        row["speed-up"] = best["sweep 1"] / best[f"sweep {count}"]
        if probes:
            alone, together = (
                max(best[f"read {threads}"], problem.flops / probes.peak(dtype, threads)) for threads in (1, count)
            )
            row["speed-up of limits"] = alone / together
        yield row | {"others": others}


def measure(context: Context, over: str, size: int, n: int, d: int) -> Row:
    """Milliseconds of a fit of three units and of a sweep."""
    import fastrecover as fr

    teacher, X, y = planted("relu", d, 3, n, 0, rows=1, noise=0.1)
    late = {"callback": lambda line: line["seconds"] > _LONGEST}
    fits: list[float] = []
    with Neighbours() as others:
        while len(fits) < (2 if context.quick else 4) and sum(fits) <= _PATIENCE:
            rec = fr.fit(X, y, teacher.model, n_jobs=context.threads, random_state=0, **late)
            fits.append(rec.seconds)
        theta = rec.objective.model.pack(rec.parameters)
        sweeps = alternate({"sweep": lambda: rec.objective.value_and_grad(theta)}, 7)["sweep"]
    found = {"fit ms": 1e3 * median(fits[1:] or fits), "sweep ms": 1e3 * median(sweeps), "passes": rec.n_passes}
    return found | {"converged": rec.converged, "others": others.cores}


def slopes(rows: list[Row]) -> Iterator[Row]:
    """Log-log slopes over a curve and over its last decade, of a sweep and of a fit."""
    last = [row for row in rows if 10.5 * row["size"] >= rows[-1]["size"]]
    for what in ("sweep", "fit"):
        whole, end = (
            np.polyfit(*(np.log([row[key] for row in part]) for key in ("size", f"{what} ms")), 1)[0]
            for part in (rows, last)
        )
        yield {"slope over": rows[0]["over"], "of": what, "slope": float(whole), "last decade": float(end)}
