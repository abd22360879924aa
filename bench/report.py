"""Tables for the terminal and two pictures: the roofline with our sweeps under it, and ratios to the peers.

Rows stay plain dictionaries up to here, so a case can add a column without telling anybody.
"""

from __future__ import annotations

import math
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
    names = ("ours", "ours 1", "numba", "numpy", "torch", "torch compiled")
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
    return "\n".join(lines)


def plain(rows: Rows) -> str:
    """Every scalar column of a case as it is, one table for each kind of row."""
    kinds: dict[tuple, Rows] = {}
    for row in rows:
        scalars = {k: v for k, v in row.items() if not isinstance(v, (dict, list))}
        kinds.setdefault(tuple(scalars), []).append(scalars)
    return "\n\n".join(table(part, {key: key for key in keys}) for keys, part in kinds.items())


def pictures(data: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``roofline.png`` and ``ratios.png`` from the sweeps, and a picture for each study.

    Returns
    -------
    list of Path
        Empty where there are neither sweeps nor studies.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    rows = data["cases"].get("sweeps", {}).get("rows", [])
    drawn = []
    if any("roofline" in row for row in rows):
        drawn.append(_roofline(rows, folder / "roofline.png"))
    if any("ratios" in row for row in rows):
        drawn.append(_ratios(rows, folder / "ratios.png"))
    from .classification.pictures import pictures as of_classification

    return drawn + of_classification(data["cases"], folder)


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _roofline(rows: Rows, path: Path) -> Path:
    figure = _figure(11, 4.8)
    axes = figure.subplots(1, 2)
    for ax, dtype in zip(axes, ("float64", "float32"), strict=True):
        cells = [row for row in rows if row["dtype"] == dtype and "roofline" in row]
        ax.set_title(dtype)
        ax.set_xlabel("operations / byte")
        ax.set_ylabel("GFLOP/s")
        if not cells:
            continue
        peak = max(row["peak GFLOP/s"] for row in cells)
        read = max(row["read GB/s"] for row in cells)
        low, high = (f(row["intensity"] for row in cells) for f in (min, max))
        at = [low / 2 * (4 * high / low) ** (i / 200) for i in range(201)]
        ax.loglog(at, [min(peak, read * x) for x in at], color="black", lw=1.5)
        ax.annotate(f"{read:.0f} GB/s, {peak:.0f} GFLOP/s", (0.03, 0.95), xycoords="axes fraction", va="top")
        for activation, marker in (("relu", "o"), ("sigmoid", "^")):
            part = [row for row in cells if row["activation"] == activation]
            flops = [4.0 * row["n"] * row["d"] * row["k"] / 1e9 for row in part]
            x = [row["intensity"] for row in part]
            for name, color in (("ours", "tab:blue"), ("numpy", "tab:orange"), ("torch", "tab:red")):
                pairs = [
                    (a, f / r["seconds"][name]) for a, f, r in zip(x, flops, part, strict=True) if name in r["seconds"]
                ]
                if pairs:
                    xs, ys = zip(*pairs, strict=True)
                    ax.scatter(xs, ys, marker=marker, color=color, s=28, label=f"{name}, {activation}")
        ax.legend(fontsize=8, loc="lower right")
        ax.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=130)
    return path


def _ratios(rows: Rows, path: Path) -> Path:
    cells = [row for row in rows if "ratios" in row]
    names = [n for n in ("numpy", "torch", "torch compiled", "numba") if any(n in row["ratios"] for row in cells)]
    figure = _figure(10, 0.34 * len(cells) + 1.2)
    ax = figure.subplots()
    height = 0.8 / len(names)
    for j, name in enumerate(names):
        values = [row["ratios"].get(name, math.nan) for row in cells]
        ax.barh([i + (j - len(names) / 2 + 0.5) * height for i in range(len(cells))], values, height, label=name)
    ax.axvline(1.0, color="black", lw=1)
    labels = [f"{r['n']:,} x {r['d']:,}, k={r['k']}, {r['dtype']}, {r['activation']}" for r in cells]
    ax.set_yticks(range(len(cells)), labels, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("time of the other / ours")
    ax.legend(fontsize=8)
    ax.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=130)
    return path
