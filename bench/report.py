"""Tables for the terminal, and who draws the pictures.

Rows stay plain dictionaries up to here, so a case can add a column without telling anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def table(rows: Rows, columns: dict[str, Any]) -> str:
    """Rows as aligned text.

    Parameters
    ----------
    rows : list of dict
    columns : dict
        Heading to a key, or to a function of the row; missing values are left blank.

    Returns
    -------
    str
    """
    cells = [list(columns)]
    for row in rows:
        values = (get(row) if callable(get) else row.get(get) for get in columns.values())
        cells.append([text(value) for value in values])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def text(value: Any) -> str:
    """A value in few characters."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e6:
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return f"{value:.1e}"
    return str(value)


def geometric_mean(values: list[float]) -> float:
    """exp of the mean logarithm; nan of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def milliseconds(name: str):
    """Column function for one candidate's median."""
    return lambda row: 1e3 * row["seconds"][name] if name in row.get("seconds", {}) else None


def sweeps(rows: Rows) -> str:
    """The sweeps' table with the geometric means of the ratios."""
    names = ("ours", "ours 1", "numba", "numpy", "torch", "torch compiled", "jax", "scikit-learn")
    columns: dict[str, Any] = {
        "n": "n", "d": "d", "k": "k", "dtype": "dtype", "phi": "activation",
        **{f"{name} ms": milliseconds(name) for name in names},
        "GFLOP/s": "gflops", "GB/s": "gbytes", "bound": "bound", "of roofline": "roofline",
        "1 thread": "roofline, 1 thread", "speed-up": "speedup", "/ peer": "ratio", "peer": "fastest peer",
        "others": "others",
    }  # fmt: skip
    lines = [table(rows, columns)]
    for dtype in ("float64", "float32"):
        ratios = [row["ratio"] for row in rows if row["dtype"] == dtype and "ratio" in row]
        if ratios:
            lines.append(
                f"{dtype}: {min(ratios):.2f} to {max(ratios):.2f} times the fastest peer, "
                f"geometric mean {geometric_mean(ratios):.2f}"
            )
    for value, goal, what in (
        ("ratio", "ratio goal", "times the fastest peer (3 in float64, 2 in float32)"),
        ("roofline", "roofline goal", "of the roofline (0.85 where memory bounds, 0.8 where products do)"),
    ):
        met = [row[value] >= row[goal] for row in rows if value in row and goal in row]
        if met:
            lines.append(f"goal in {what}: met in {sum(met)} of {len(met)} cells")
    return "\n".join(lines)


def plain(rows: Rows) -> str:
    """Every scalar column of a case as it is, one table for each kind of row."""
    kinds: dict[tuple, Rows] = {}
    for row in rows:
        scalars = {k: v for k, v in row.items() if not isinstance(v, (dict, list))}
        kinds.setdefault(tuple(scalars), []).append(scalars)
    return "\n\n".join(table(part, {key: key for key in keys}) for keys, part in kinds.items())


def pictures(cases: dict[str, Any], folder: Path, studies: Iterable[Any] = ()) -> list[Path]:
    """Write a picture for every case that has one.

    Parameters
    ----------
    cases : dict
        Cases of a result file.
    folder : Path
    studies : iterable of modules
        Each with a ``pictures(cases, folder)`` of its own.

    Returns
    -------
    list of Path

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    from . import pictures as own

    return [path for module in (own, *studies) for path in module.pictures(cases, folder)]


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
