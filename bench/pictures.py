"""A picture for each case of a result file, from a table of panels; what a case did not measure is left blank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from .report import Rows


@dataclass(frozen=True)
class Lines:
    """Columns y (patterns) over the column x: one line for each value of the columns `by`, axes for each of `facet`.

    `share` is of seeds, `line` to compare with.
    """

    x: tuple[str, ...]
    y: tuple[str, ...]
    by: tuple[str, ...] = ()
    facet: tuple[str, ...] = ()
    share: bool = False
    line: float | None = None
    log: str = "x"


class Bars(Lines):
    """Horizontal bars, named by the columns x."""


_CELL = ("n", "d", "k", "dtype", "model")
_SHARE: Any = dict(y=("recovered",), share=True)
_MODELS: Any = dict(x=("n",), facet=("model",))

PICTURES: dict[str, tuple[Lines, ...]] = {
    "sweeps": (Bars(_CELL, ("* / ours",), line=1.0), Bars(_CELL, ("of roofline",), line=1.0, log="")),
    "rowfunctions": (Bars(("sweep",), ("/ gradient",), ("n", "d", "dtype"), line=1.3, log=""),),
    "own": (Bars(("function", "sweep"), ("own / built-in",), ("n", "d", "k", "dtype"), line=1.5, log=""),),
    "moments": (
        Bars(("moment", "n", "k", "dtype"), ("* / ours",), line=10.0),
        Bars(("moment", "n", "k", "dtype"), ("of peak",), line=0.6, log=""),
    ),
    "recovery": (Bars(("activation", "noise", "n", "d"), ("* / ours",), line=30.0),),
    "passes": (Bars(("all seeds of", "noise"), ("passes, *", "to *"), line=10.0, log=""),),
    "wide": (
        Bars(("all seeds of", "noise", "n", "d", "k"), ("passes, *", "goal"), log=""),
        Bars(("all seeds of", "noise", "n", "d", "k"), ("sweeps, *",), log=""),
    ),
    "scaling": (
        Lines(("size",), ("* ms",), facet=("over",), log="xy"),
        Lines(("threads",), ("speed-up*",), by=("n", "d", "k"), facet=("dtype",), log="xy"),
    ),
    "workers": (
        Lines(("workers",), ("ms a pass",), by=("ranges", "d", "q"), log="xy"),
        Lines(("workers",), ("held MB",), by=("ranges", "d", "q"), log="xy"),
    ),
    "cluster": (
        Bars(("chunks", "n"), ("workers / threads",), line=1.2, log=""),
        Bars(("chunks", "n"), ("overhead ms a worker",), log=""),
    ),
    "memory": (Bars(("model", "n", "d", "k"), ("*MB*",)),),
    "files": (
        Bars(("file", "GB", "n", "d", "k"), ("sweep / *",), line=0.9, log=""),
        Bars(("file", "GB", "n", "d", "k"), ("peak MB",), line=500.0, log=""),
    ),
    "kills": (
        Bars(("fit",), ("kills", "same results"), log=""),
        Bars(("n", "d", "k"), ("* / plain",), line=1.0, log=""),
    ),
    "costs": (Bars(("sweep", "n", "d", "k", "dtype"), ("ratio", "goal"), log=""),),
    "modules": (
        Bars(("n", "d", "k", "m", "batch", "threads"), ("torch / ours",), line=1.0),
        Bars(("n", "d", "k", "m", "activation"), ("torch / ours",), line=10.0),
    ),
    "estimators": (Bars(("call", "rows"), ("* / ours",), line=1.0, log=""),),
    "extraction": (
        Bars(("victim", "d", "k", "dtype", "seed"), ("worst entry", "fit worst entry"), log=""),
        Bars(("victim", "d", "k", "dtype", "seed"), ("log2 queries",), line=21.5, log=""),
    ),
    "published": (
        Bars(("set",), ("above best",), log=""),
        Bars(("set",), ("MINPACK / ours",), line=20.0),
    ),
    "spikes": (Bars(("units", "loss"), ("*, held out",), log=""),),
    "tables": (
        Bars(("table", "k", "alpha"), ("excess",), line=0.0, log=""),
        Bars(("table", "k", "alpha"), ("/ peer",), line=10.0),
    ),
    "zoo": (Bars(("all of", "tol", "against"), ("win", "tie", "loss"), log=""),),
    "planner": (),
    "planner.calibration": (Bars(("all of", "chance from", "to"), ("planned", "recovered"), log=""),),
    "verdicts": (Bars(("all of",), ("problems", "converged", "found", "wrong*"), log=""),),
    "verdicts.penalties": (Bars(("all of",), ("problems", "converged", "found", "wrong*"), log=""),),
    "power.zoo": (Bars(("all of",), ("ours", "L-BFGS", "missed*", "wrong*"), log=""),),
    "power.frontier": (Bars(("all of", "n/(dk)", "model"), ("problems", "recovered", "wrong*"), log=""),),
    "power.goals": (Bars(("model", "k", "d", "n/(dk)"), by=("who",), line=0.95, log="", **_SHARE),),
    "power.thresholds": (Bars(("model", "k", "d", "n/(dk)"), ("recovered", "wrong*"), log=""),),
    "power.starts": (Lines(y=("error",), by=("who", "d"), log="xy", **_MODELS),),
    "power.experiments": (Lines(("n",), by=("d",), facet=("who",), **_SHARE),),
    "power.noise": (Lines(("n/(dk)",), ("error / order",), ("who", "d"), ("noise",)),),
    "power.biases": (Bars(("model", "k", "d", "rows a parameter"), ("recovered", "full rank"), log=""),),
    "power.coverage": (Lines(("n",), ("coverage",), ("model", "v", "uneven", "weighted", "linear"), line=0.95),),
    "classification.coverage": (Lines(y=("coverage",), line=0.95, **_MODELS),),
    "classification.success": (Lines(by=("d", "who"), **_MODELS, **_SHARE),),
    "classification.errors": (Lines(y=("cross entropy", "squared loss"), by=("d",), log="xy", **_MODELS),),
    "classification.threshold": (Lines(y=("from the truth", "tensor", "auto"), share=True, line=0.95, **_MODELS),),
    "landscape.published": (),
    "landscape.success": (Lines(("n",), by=("who",), facet=("k", "d", "condition"), line=0.95, **_SHARE),),
    "quadratic.success": (Lines(("n/(dk)",), by=("who", "d"), facet=("k",), **_SHARE),),
    "quadratic.limit": (Lines(("rows a free number",), by=("d", "condition"), facet=("k",), log="", **_SHARE),),
    "quadratic.signs": (Bars(("rows a parameter", "noise", "condition"), ("above*",), log=""),),
    "quadratic.passes": (Bars(("d", "k", "n/(dk)", "condition"), ("passes",), ("who",)),),
}


def draw(cases: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Write ``<case>.png`` for every case of a result file that has something to show; ImportError if nobody can."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for case, panels in PICTURES.items():
        rows = cases.get(case, {}).get("rows", [])
        parts = [(panel, *part) for panel in panels for part in _facets(panel, rows)]
        if not parts:
            continue
        bars = max(len({_key(row, panel.x) for row in part}) for panel, _, part in parts)
        tall = 0.4 * bars if isinstance(panels[0], Bars) else 0.0
        figure = Figure((5.5 * len(parts), max(4.4, tall)), layout="constrained")
        FigureCanvasAgg(figure)
        for ax, (panel, title, part) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
            (_bars if isinstance(panel, Bars) else _lines)(ax, panel, part)
            ax.set_title(f"{case} {title}", fontsize=9)
            ax.grid(alpha=0.3, which="both")
            ax.legend(fontsize=7)
        figure.savefig(folder / f"{case}.png", dpi=110)
        yield folder / f"{case}.png"


def _key(row: dict[str, Any], columns: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row.get(column) for column in columns)


def _shown(panel: Lines, row: dict[str, Any]) -> list[str]:
    found = (key for key in row if any(fnmatch(key, pattern) for pattern in panel.y))
    return [key for key in found if isinstance(row[key], (int, float, np.generic)) and np.isfinite(row[key])]


def _facets(panel: Lines, rows: Rows) -> Iterator[tuple[str, Rows]]:
    rows = [row for row in rows if _shown(panel, row) and all(key in row for key in panel.x)]
    for value in dict.fromkeys(_key(row, panel.facet) for row in rows):
        title = ", ".join(f"{name} {one}" for name, one in zip(panel.facet, value, strict=True))
        yield title, [row for row in rows if _key(row, panel.facet) == value]


def _series(panel: Lines, rows: Rows) -> Iterator[tuple[str, list[tuple[Any, float]]]]:
    """Label and points of each series."""
    found: dict[tuple[Any, ...], list[tuple[Any, float]]] = {}
    for row in rows:
        for column in _shown(panel, row):
            value = row[column] / (row["seeds"] if panel.share else 1)
            at = ", ".join(map(str, _key(row, panel.x))) if isinstance(panel, Bars) else row[panel.x[0]]
            found.setdefault((column, *_key(row, panel.by)), []).append((at, value))
    several = len({column for column, *_ in found}) > 1
    for (column, *by), points in found.items():
        named = [one if isinstance(one, str) else f"{name} {one}" for name, one in zip(panel.by, by, strict=True)]
        yield ", ".join([column, *named] if several or not by else named), points


def _bars(ax: Any, panel: Lines, rows: Rows) -> None:
    series = list(_series(panel, rows))
    names = list(dict.fromkeys(at for _, points in series for at, _ in points))
    height = 0.8 / len(series)
    for i, (label, points) in enumerate(series):
        at = [names.index(name) + (i + 0.5) * height - 0.4 for name, _ in points]
        ax.barh(at, [value for _, value in points], height, label=label)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.invert_yaxis()
    ax.set_xscale("log" if panel.log else "linear")
    if panel.line is not None:
        ax.axvline(panel.line, color="black", lw=1, ls="--")


def _lines(ax: Any, panel: Lines, rows: Rows) -> None:
    for label, points in _series(panel, rows):
        ax.plot(*zip(*sorted(points), strict=True), "o-", ms=4, label=label)
    ax.set_xscale("log" if "x" in panel.log else "linear")
    ax.set_yscale("log" if "y" in panel.log else "linear")
    ax.set_xlabel(panel.x[0])
    ax.set_ylabel("share of seeds" if panel.share else ", ".join(panel.y))
    if panel.share:
        ax.set_ylim(-0.03, 1.03)
    if panel.line is not None:
        ax.axhline(panel.line, color="black", lw=1, ls="--")
