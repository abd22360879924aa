"""Studies of what is recovered: each is a table of cells and a task that is repeated over the seeds of a cell.

Problems are small, so seeds run side by side, one process for each thread and one thread in each.  Every row of the
result file is one cell; an interrupted study goes on with the cells that are missing.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import statistics
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np

from . import tasks, wild
from .harness import Context, Row
from .planted import CHECKED, EASY


@dataclass(frozen=True)
class Study:
    """A task and its cells with the number of "seeds" of each; what sums up a cell and all of them; what is quick."""

    task: Callable[[Row, int], Row]
    cells: list[Row]
    summary: Callable[[list[Row]], Row] | None = None
    totals: Callable[[list[Row]], Iterator[Row]] | None = None
    quick: list[Row] | None = None


def run(name: str, context: Context) -> Iterator[Row]:
    """Rows of a study, one for each cell, then its totals; cells that a kept row answers are not measured."""
    study, rows = STUDIES[name], []
    cells = (study.quick or first(study.cells)) if context.quick else study.cells
    work = [(cell, seed) for cell in cells if context.again(cell) is None for seed in range(cell["seeds"])]
    with _workers(0 if context.quick else context.threads) as each:
        results = each(study.task, *zip(*work, strict=True)) if work else iter(())
        for cell in cells:
            row = context.again(cell)
            if row is None:
                row = cell | (study.summary or summarised)(list(islice(results, cell["seeds"])))
                context.say(cell)
            rows.append(row)
            yield row
    yield from study.totals(rows) if study.totals else ()


def first(cells: list[Row]) -> list[Row]:
    """The first cell of each method and model, with two seeds."""
    found: dict[tuple[Any, ...], Row] = {}
    for cell in cells:
        found.setdefault((cell.get("who"), cell["model"]), cell)
    return [cell | {"seeds": min(2, cell["seeds"])} for cell in found.values()]


def summarised(found: list[Row]) -> Row:
    """How many say yes, medians of numbers, the largest seconds and passes; one alone is left as it is."""
    if len(found) == 1:
        return found[0]
    row: Row = {}
    for key in dict.fromkeys(key for one in found for key in one):
        values = [one[key] for one in found if key in one]
        if isinstance(values[0], (bool, np.bool_)):
            row[key] = sum(map(bool, values))
        elif not isinstance(values[0], str):
            row[key] = statistics.median(values)
            if key in ("seconds", "passes"):
                row[f"{key}, most"] = max(values)
        if len(values) < len(found):
            row[f"{key}, of"] = len(values)
    return row


def covered(found: list[Row]) -> Row:
    """Share of true parameters inside 95 % intervals, over the fits that converged.

    Parameters of one fit are correlated, so its standard error is that of the fits' means.
    """
    found = [one for one in found if one["z"] is not None]
    z, inside = np.array([one["z"] for one in found]), np.array([one["inside"] for one in found])
    if not len(z):
        return {"converged": 0}
    error = float(np.std(inside) / np.sqrt(len(z)))
    return {"converged": len(z), "coverage": float(inside.mean()), "its error": error, "std of z": float(z.std())}


def together(rows: list[Row]) -> Iterator[Row]:
    """What the animals of each herd have in common."""
    keys = ("herd", "tol", "against")
    for head in dict.fromkeys(tuple(row.get(key) for key in keys) for row in rows):
        part = [row for row in rows if tuple(row.get(key) for key in keys) == head]
        yield {"all of": head[0], "tol": head[1], "against": head[2]} | summarised(part)


def frontier(rows: list[Row]) -> Iterator[Row]:
    """How many are recovered in all, at so many rows a weight and by each activation, and the seconds of these."""
    heads: list[Row] = [{}, *({key: value} for key in ("n/(dk)", "model") for value in sorted({r[key] for r in rows}))]
    for head in heads:
        part = [row for row in rows if head.items() <= row.items()]
        seconds = [row["seconds"] for row in part if row["recovered"]]
        one: Row = {"all of": "frontier"} | head | {"problems": len(part), "recovered": len(seconds)}
        one["wrong but converged"] = sum(row["wrong but converged"] for row in part)
        yield one | {"seconds": statistics.median(seconds) if seconds else None}


def calibration(rows: list[Row]) -> Iterator[Row]:
    """Chances that were planned beside the share that came back, in all and by chance; factors of errors and times.

    Of networks that no curve was fitted to.
    """
    rows = [row for row in rows if row["seed"] == CHECKED]
    edges = ((0.0, 1.0), (0.0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.0))
    for low, high in edges:
        part = [row for row in rows if low < row["chance"] <= high]
        chances = np.array([row["chance"] for row in part])
        one: Row = {"all of": "calibration", "chance from": low, "to": high, "problems": len(part)}
        if part:
            spread = float(np.sqrt((chances * (1.0 - chances)).sum()) / len(part))
            one |= {"planned": float(chances.mean()), "its error": spread}
            one["recovered"] = float(np.mean([row["recovered"] for row in part]))
        yield one
    back = [row for row in rows if row["recovered"]]
    for name, found, planned in (
        ("error", "error from the truth", "planned error"),
        ("seconds", "seconds", "planned seconds"),
    ):
        told = [row for row in back if row.get(found) and 0.0 < row[planned] < np.inf]
        ratios = np.log([row[found] / row[planned] for row in told])
        if len(ratios):
            low, middle, high = np.exp(np.quantile(ratios, [0.1, 0.5, 0.9])).tolist()
            one = {"all of": name, "recovered": len(ratios), "10 %": low, "median": middle, "90 %": high}
            one["root mean square"] = float(np.sqrt(np.mean(np.exp(2.0 * ratios))))
            yield one | {"median factor": float(np.exp(np.median(np.abs(ratios))))}


@contextmanager
def _workers(count: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` over processes with one thread each, or over this one alone, with one BLAS thread too."""
    limits = _one_blas_thread()
    # Spawned, since forking a process with threads is unsafe.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _prepare) if count else None
    try:
        yield pool.map if pool else map
    finally:
        limits.restore_original_limits()
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():  # Ctrl-C does not wait for the tasks in hand
                process.terminate()


def _one_blas_thread() -> Any:
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be limited)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    warnings.simplefilter("ignore")
    _one_blas_thread()


def grid(**axes: Any) -> list[Row]:
    """Cells of all combinations of what is given as tuples; `ratio` is the number of rows over d k."""
    values = (value if isinstance(value, tuple) else (value,) for value in axes.values())
    cells = [dict(zip(axes, combination, strict=True)) for combination in product(*values)]
    for cell in cells:
        if "ratio" in cell:
            ratio = cell["n/(dk)"] = round(cell.pop("ratio"), 3)
            rows = ratio * cell["d"] * cell["k"]
            cell["n"] = math.ceil(rows) if cell["model"] == "quadratic" else round(rows)
    return cells


def _goal(model: Any, k: int, d: Any, ratio: Any, who: Any = "ours", seeds: int = 20) -> list[Row]:
    """Without noise and with unknown signs, to 1e-8."""
    return grid(model=model, k=k, d=d, ratio=ratio, who=who, seeds=seeds, within=1e-8)


def _least(model: Any, k: int, d: Any, ratio: Any, limit: float, seeds: int = 20) -> list[Row]:
    """Near the fewest rows, without noise and with unknown signs, within so many seconds of one processor."""
    return grid(model=model, k=k, d=d, ratio=ratio, limit=limit, seeds=seeds)


def _few(parameters: int, **cell: Any) -> list[Row]:
    """At 7, 10, 15 and 30 rows a parameter, noise of one size and proportional to that of one input."""
    plain = dict(weighted=False, linear=False, uneven=(False, True), noise=0.3, seeds=300)
    cells = grid(**{**plain, **cell})
    return [cell | {"n": rows * parameters, "rows a parameter": rows} for cell in cells for rows in (7, 10, 15, 30)]


def _unit_rows(k: int, d: int, condition: float, n: tuple[int, ...]) -> list[Row]:
    """All rows found: by the landscape start alone, and to 1e-4 by fits and by the best of six L-BFGS runs."""
    shape = dict(model="unit rows", k=k, d=d, condition=condition, n=n)
    cells = [cell | _FOUND for cell in grid(**shape, who="landscape start", seeds=20)]
    cells += grid(**shape, who=("landscape", "ours"), seeds=20, within=1e-4)
    return cells + grid(**shape, who="L-BFGS, 6 starts", seeds=6, within=1e-4)


def _quadratic(d: Any, k: Any, ratio: Any, who: Any, seeds: int, condition: float = 1.0, **more: Any) -> list[Row]:
    head = dict(model="quadratic", v="ones", condition=condition, d=d, k=k)
    return grid(**head, ratio=ratio, who=who, seeds=seeds, **more)


def _few_rows(d: int, r: int) -> list[Row]:
    """At and around (r + 1) / r, where the positive semi-definite matrix that fits the responses becomes unique."""
    least = (r + 1) / r
    cells = _quadratic(d, r, (max(least - 0.15, 1.0), least, least + 0.1, 3.0), "ours", 20, within=1e-6)
    cells += _quadratic(d, r, (least + 0.1, 2.5, 4.0, 6.0), "lbfgs, small rows", 10, within=1e-6)
    return cells + _quadratic(d, r, (3.0, 6.0, 10.0), "xia2019", 4, within=1e-6)


def _down_to_the_count(d: int, r: int, seeds: int, least: float = 1.0, condition: float = 1.0) -> list[Row]:
    """From (r + 1) / r rows a weight down to as many as M has free numbers, or `least` times these."""
    unknowns = d * r - r * (r - 1) // 2
    most = (r + 1) * d / unknowns
    head = dict(model="quadratic", v="ones", condition=condition, d=d, k=r, who="ours", seeds=seeds, within=1e-6)
    shares = [share for share in (1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75) if least <= share < most] + [most]
    rows = [math.ceil(round(share * unknowns, 6)) for share in shares]
    return [head | {"n": n, "rows a free number": round(n / unknowns, 3)} for n in rows]


def _weak(d: int, k: int, seeds: int, rows: tuple[int, ...], **axes: Any) -> list[Row]:
    """Units of unknown signs, whose variances differ by up to the fourth power of the condition number."""
    cells = grid(model="quadratic", v="signs", d=d, k=k, **axes, seeds=seeds)
    return [cell | {"n": each * d * k, "rows a parameter": each} for each in rows for cell in cells]


def _biased(model: str, d: int, k: int, ratio: float, seeds: int = 20) -> list[Row]:
    """Networks with biases, at so many rows for each of ``k (d + 2) + 1`` parameters."""
    head = dict(model=model, d=d, k=k, n=math.ceil(ratio * (k * (d + 2) + 1)))
    return [cell | {"rows a parameter": ratio} for cell in grid(**head, who="ours", seeds=seeds, within=1e-8)]


_FOUND = {"error of": "1 - cosine", "within": 0.1}
_ZHONG, _THEIRS = dict(model="squared_relu", k=5, seeds=10), {"error of": "worst unit", "within": 0.01}
_METHODS, _STARTS = ("ours", "L-BFGS", "published", "zhong2017"), ("tensor start", "published start")
_EXPERIMENTS = dict(d=(10, 25, 50, 100), n=(1000, 2000, 5000, 10_000), who=_METHODS)
_ZHANG = dict(model="relu", k=5, v="ones", who=("gradient descent", "ours", "from the truth"), seeds=8)
_TEACHER = dict(k=3, d=8, n=(500, 2000), noise=0.3, seeds=250)
_SOLVERS, _GN, _GD = ("pncg", "pncg, no matrix", "lbfgs"), "gauss-newton", "xia2019, spectral"
_UNIT = dict(model="unit rows", who="ge2017")
_FCN, _CNN = dict(model="fcn", k=3), dict(model="cnn", k=3)
_FCN_ROWS, _CNN_ROWS = (500, 1000, 2000, 4000, 8000, 16_000), (60, 125, 250, 500, 1000, 2000)
_BOTH, _PLAIN = ("squared_relu", "relu"), dict(tol=("default", "strict"), against=("gauss-newton", "lbfgs"))

STUDIES: dict[str, Study] = {
    "zoo": Study(
        tasks.zoo,
        grid(herd="mixed", number=tuple(range(100)), **_PLAIN, seeds=1),
        totals=together,
        quick=grid(herd="mixed", number=tuple(range(10)), tol="default", against="lbfgs", seeds=1),
    ),
    "power.zoo": Study(
        tasks.recovery,
        grid(herd=("easy", "hard"), number=tuple(range(50)), seeds=1),
        totals=together,
        quick=grid(herd="easy", number=3, seeds=1) + grid(herd="hard", number=0, seeds=1),
    ),
    "power.frontier": Study(
        tasks.frontier,
        grid(number=tuple(range(40)), seeds=1),
        totals=frontier,
        quick=grid(number=(6, 13), seeds=1),
    ),
    "planner": Study(
        tasks.sample_size,
        grid(number=tuple(range(EASY + 72)), seed=0, seeds=1),
        quick=grid(number=(7, 15), seed=0, seeds=1),
    ),
    "planner.calibration": Study(
        tasks.planned,
        grid(seed=(1, 3, CHECKED), number=tuple(range(200)), seeds=1),
        totals=calibration,
        quick=grid(number=(7, 15), seed=CHECKED, seeds=1),
    ),
    "verdicts": Study(
        wild.verdict,
        grid(number=tuple(number for number in range(500) if number != 441), seeds=1),  # whose responses are all 0
        summary=lambda ones: ones[0],
        totals=wild.totals,
        quick=grid(number=(0, 1, 8), seeds=1),
    ),
    "verdicts.penalties": Study(
        wild.penalised,
        grid(number=tuple(range(150)), seeds=1),
        summary=lambda ones: ones[0],
        totals=wild.totals,
        quick=grid(number=(1, 25), seeds=1),
    ),
    "power.goals": Study(
        tasks.attempt,
        _goal(_BOTH, 5, (10, 20, 50), 1.5, ("ours", "L-BFGS", "published"))
        + _goal("relu", 10, 20, 3)
        + _goal("relu", 10, 20, 3, "L-BFGS", seeds=10)
        + _goal("relu", 20, 40, 3)
        + _goal("relu", 20, 40, 3, "L-BFGS", seeds=6)
        + _goal("leaky_relu", 5, 20, 1.5)
        + _goal(("tanh", "erf"), 5, 20, (1.75, 1.5)),
        quick=_goal("squared_relu", 5, 6, 4, ("ours", "L-BFGS", "published"), seeds=2),
    ),
    "power.thresholds": Study(
        tasks.in_time,
        _least("relu", 5, (10, 20, 50), 1.25, 5)
        + _least("squared_relu", 5, (10, 20, 50), 1.1, 5)
        + _least(("tanh", "erf"), 5, 20, 1.25, 5)
        + _least("relu", 10, (20, 100), 1.5, 20)
        + _least("relu", 20, 40, 2, 20)
        + _least("relu", 50, 100, 4, 60, seeds=4)
        + _least("relu", 100, 200, 8, 1200, seeds=1),
        quick=_least("tanh", 5, 8, 2, 5, seeds=2),
    ),
    "power.starts": Study(
        tasks.attempt,
        grid(model=_BOTH, k=5, d=20, ratio=(10, 20, 50, 100, 200), who="tensor start", seeds=20)
        + grid(**_ZHONG, d=(10, 20, 50), n=(1000, 10_000, 30_000, 100_000), who=_STARTS),
    ),
    "power.experiments": Study(
        tasks.attempt,
        [cell | _THEIRS for cell in grid(**_ZHONG, d=(10, 25, 50, 100), n=(1000, 2000, 5000, 10_000), who=_METHODS)],
    ),
    "power.noise": Study(tasks.attempt, grid(**_ZHANG, d=(10, 20, 50), noise=(0.1, 0.5), ratio=(6, 20, 60, 200))),
    "power.biases": Study(
        tasks.with_biases,
        _biased("relu", 10, 5, 1.75)
        + _biased("relu", 20, 5, 1.75)
        + _biased("relu", 20, 10, 2.25)
        + _biased("relu", 5, 10, 3)
        + _biased("tanh", 10, 5, 1.25)
        + _biased("tanh", 20, 5, 1.5)
        + _biased("tanh", 20, 10, 2)
        + _biased("tanh", 5, 10, 2)
        + _biased("relu", 50, 20, 2.5, 4)
        + grid(model="relu", d=20, k=5, n=2000, who="tensor start", seeds=20),
        quick=_biased("relu", 4, 2, 4, 2) + grid(model="relu", d=4, k=2, n=400, who="tensor start", seeds=2),
    ),
    "power.coverage": Study(
        tasks.coverage,
        grid(model="relu", v=("signs", "free"), uneven=False, **_TEACHER)
        + grid(model="relu", v="signs", uneven=True, **_TEACHER)
        + grid(model=("squared_relu", "leaky_relu"), v="signs", uneven=False, **_TEACHER)
        + grid(model="tanh", v=("ones", "free"), uneven=False, **_TEACHER)
        + _few(24, model="relu", v=("signs", "free"), k=3, d=8)
        + _few(24, model="relu", v="signs", k=3, d=8, weighted=True)
        + _few(24, model="squared_relu", v="signs", k=3, d=8)
        + _few(27, model="tanh", v="free", k=3, d=8)
        + _few(36, model="tanh", v="free", k=3, d=8, linear=1.0, intercept=0.5)
        + _few(24, model="softplus", v="ones", k=3, d=8)
        + _few(8, model="quadratic", v="ones", k=1, d=8),
        summary=covered,
    ),
    "classification.coverage": Study(
        tasks.coverage,
        grid(model="fcn", k=2, d=5, n=(1000, 2000, 4000, 16_000), seeds=400)
        + grid(**_CNN, d=10, n=(250, 500, 1000, 4000), seeds=400)
        + grid(model="fcn", k=1, d=8, n=(56, 80, 120, 240), seeds=400),
        summary=covered,
    ),
    "classification.success": Study(
        tasks.one_minimiser,
        grid(**_FCN, d=(5, 10, 20), n=_FCN_ROWS, who="Fisher scoring", seeds=10)
        + grid(**_CNN, d=(10, 20, 40), n=_CNN_ROWS, who="Fisher scoring", seeds=10)
        + grid(**_FCN, d=10, n=_FCN_ROWS, who="gradient descent", seeds=5)
        + grid(**_CNN, d=20, n=_CNN_ROWS, who="gradient descent", seeds=5),
        quick=grid(**_CNN, d=5, n=1000, who=("Fisher scoring", "gradient descent"), seeds=2),
    ),
    "classification.errors": Study(
        tasks.two_losses,
        grid(**_FCN, d=(5, 10, 20), n=(2000, 4000, 8000, 16_000, 32_000, 64_000), seeds=8)
        + grid(**_CNN, d=(10, 20, 40), n=(250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000), seeds=8),
    ),
    "classification.threshold": Study(
        tasks.from_nothing,
        grid(**_FCN, d=20, n=(3000, 4000, 5000, 5500, 6000, 8000), seeds=20)
        + grid(**_CNN, d=20, n=(300, 400, 500, 600, 700, 800, 1000), seeds=20),
        quick=grid(model=("fcn", "cnn"), k=3, d=5, n=4000, seeds=2),
    ),
    "landscape.success": Study(
        tasks.attempt,
        _unit_rows(10, 10, 1.0, (200, 250, 400, 500, 700))
        + _unit_rows(10, 10, 2.0, (200, 250, 500, 700, 1000))
        + _unit_rows(5, 20, 1.0, (200, 250, 300, 400))
        + _unit_rows(5, 20, 2.0, (200, 250, 300, 400, 500)),
        quick=[cell | {"seeds": 2} for cell in _unit_rows(5, 20, 1.0, (400,))],
    ),
    "landscape.published": Study(
        tasks.published_descent,
        grid(**_UNIT, d=10, k=10, n=262_144, condition=(1.0, 2.0), minutes=10, seeds=4)
        + grid(**_UNIT, d=20, k=20, n=262_144, condition=1.0, minutes=10, seeds=1)
        + grid(**_UNIT, d=50, k=50, n=262_144, condition=1.0, minutes=10, seeds=1),
        quick=grid(**_UNIT, d=4, k=4, n=4096, condition=1.0, minutes=1, seeds=2),
    ),
    "quadratic.success": Study(
        tasks.attempt, [cell for d in (50, 100) for r in (1, 3, 5, 10) for cell in _few_rows(d, r)]
    ),
    "quadratic.limit": Study(
        tasks.attempt,
        [cell for r in (1, 3, 5, 10) for cell in _down_to_the_count(50, r, 20)]
        + [cell for r in (1, 3, 5, 10) for cell in _down_to_the_count(100, r, 10, 1.05)]
        + [cell for r in (3, 5) for cell in _down_to_the_count(50, r, 20, 1.1, 5.0)],
        quick=_down_to_the_count(20, 2, 2, 1.1)[:2],
    ),
    "quadratic.signs": Study(
        tasks.weak_units,
        _weak(30, 3, 40, (5, 20, 100), noise=(0.0, 0.2, 0.5, 1.0), condition=(2.0, 5.0, 8.0)),
        quick=_weak(20, 3, 2, (20,), noise=0.5, condition=6.0),
    ),
    "quadratic.passes": Study(
        tasks.passes_of,
        _quadratic(100, 5, 6.0, (*_SOLVERS, _GN), 5, condition=(1.0, 5.0))
        + _quadratic(100, 5, 6.0, _GD, 2, condition=(1.0, 5.0))
        + _quadratic(50, 5, 3.0, (*_SOLVERS, _GN), 5)
        + _quadratic(50, 5, 3.0, _GD, 2)
        + _quadratic(100, 10, 10.0, _SOLVERS, 5)
        + _quadratic(100, 10, 10.0, _GD, 2)
        + _quadratic(500, 10, 6.0, _SOLVERS, 2),
        quick=_quadratic(20, 2, 6.0, (*_SOLVERS, _GN, _GD), 2),
    ),
}
