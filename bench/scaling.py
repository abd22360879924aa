"""Time of a fit and of one sweep against n and against d, two decades each: is the slope one?

A fit's start works on a sub-sample whose size does not grow with n, so its time is a constant plus a linear part.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from .harness import Context, Neighbours, Row, alternate
from .planted import planted

_PATIENCE = 10.0  # seconds after which a fit is not repeated
_LONGEST = 40.0  # seconds after which one is told to end


def run(context: Context) -> Iterator[Row]:
    """Rows: fits and sweeps over two decades of n, then of d, with slopes."""
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
