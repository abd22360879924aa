"""A picture for each case: how far from its goal every number is.

Each drawer takes the rows of its case and one figure; what a case did not measure is left blank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import moments, passes, recovery, rowfunctions, scaling, sweeps, zoo
from .report import Rows, _figure

_COLOURS = {"ours": "tab:blue", "numpy": "tab:orange", "torch": "tab:red", "jax": "tab:green"}


def pictures(cases: dict[str, Any], folder: Path) -> list[Path]:
    """Write a picture for every case that a result file holds.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    drawn = []
    for name, (case, draw) in _DRAWERS.items():
        rows = cases.get(case, {}).get("rows", [])
        figure = draw(rows) if rows else None
        if figure is not None:
            drawn.append(folder / f"{name}.png")
            figure.savefig(drawn[-1], dpi=130)
    return drawn


def _roofline(rows: Rows) -> Any:
    if not any("roofline" in row for row in rows):
        return None
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
            for name, color in _COLOURS.items():
                pairs = [
                    (a, f / r["seconds"][name]) for a, f, r in zip(x, flops, part, strict=True) if name in r["seconds"]
                ]
                if pairs:
                    xs, ys = zip(*pairs, strict=True)
                    ax.scatter(xs, ys, marker=marker, color=color, s=28, label=f"{name}, {activation}")
        ax.legend(fontsize=8, loc="lower right")
        ax.grid(alpha=0.3, which="both")
    return figure


def _ratios(rows: Rows) -> Any:
    cells = [row for row in rows if "ratios" in row]
    if not cells:
        return None
    names = [n for n in (*sweeps.PEERS, "numba") if any(n in row["ratios"] for row in cells)]
    figure = _figure(10, 0.5 * len(cells) + 1.2)
    ax = figure.subplots()
    height = 0.8 / len(names)
    for j, name in enumerate(names):
        values = [row["ratios"].get(name, math.nan) for row in cells]
        ax.barh([i + (j - len(names) / 2 + 0.5) * height for i in range(len(cells))], values, height, label=name)
    ax.axvline(1.0, color="black", lw=1)
    ax.set_xscale("log")
    labels = [f"{r['n']:,} x {r['d']:,}, k={r['k']}, {r['dtype']}, {r['activation']}" for r in cells]
    ax.set_yticks(range(len(cells)), labels, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("time of the other / ours")
    ax.legend(fontsize=8)
    ax.grid(axis="x", alpha=0.3)
    return figure


def _goal(ax: Any, value: float, vertical: bool = True) -> None:
    (ax.axvline if vertical else ax.axhline)(value, color="black", lw=1, ls="--")


def _bars(ax: Any, labels: list[str], series: dict[str, list[float]]) -> None:
    height = 0.8 / len(series)
    for j, (name, values) in enumerate(series.items()):
        at = [i + (j - len(series) / 2 + 0.5) * height for i in range(len(labels))]
        ax.barh(at, values, height, label=name)
    ax.set_yticks(range(len(labels)), labels, fontsize=8)
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    ax.legend(fontsize=8)


def _logarithmic(ax: Any) -> None:
    """Logarithmic bars from 1, or from less where one is shorter."""
    ax.set_xscale("log")
    lengths = [bar.get_width() for bar in ax.patches if bar.get_width() > 0]
    ax.set_xlim(left=min([1.0, *(0.8 * length for length in lengths)]))


def _column(rows: Rows, key: str) -> list[float]:
    return [math.nan if row.get(key) is None else float(row[key]) for row in rows]


def _rowfunctions(rows: Rows) -> Any:
    cells = [row for row in rows if "sweep" in row]
    if not cells:
        return None
    names = list(dict.fromkeys(row["sweep"] for row in cells))
    figure = _figure(9, 0.5 * len(names) + 1.2)
    ax = figure.subplots()
    series = {}
    for key in dict.fromkeys((row["n"], row["d"], row["k"], row["dtype"]) for row in cells):
        part = {row["sweep"]: row for row in cells if (row["n"], row["d"], row["k"], row["dtype"]) == key}
        series["{:,} x {:,}, k={}, {}".format(*key)] = _column([part.get(name, {}) for name in names], "/ gradient")
    _bars(ax, names, series)
    _goal(ax, rowfunctions.GOAL)
    ax.set_xlabel("time / that of the plain gradient with the same bytes and flops")
    return figure


def _moments(rows: Rows) -> Any:
    figure = _figure(11, 0.42 * len(rows) + 1.2)
    left, right = figure.subplots(1, 2, sharey=True)
    labels = [f"{r['moment']}, n={r['n']:,}, {'k' if r['k'] < r['d'] else 'd'}={r['k']}, {r['dtype']}" for r in rows]
    peers = [name for name in moments.PEERS if any(f"{name} / ours" in row for row in rows)]
    _bars(left, labels, {name: _column(rows, f"{name} / ours") for name in peers})
    _goal(left, moments.GOAL_PEER)
    _logarithmic(left)
    left.set_xlabel("time of the other / ours")
    _bars(right, labels, {"of the multiply-add peak": _column(rows, "of peak")})
    _goal(right, moments.GOAL_PEAK)
    right.invert_yaxis()  # shared with the left one, and inverted there
    right.set_xlabel("share of the multiply-add peak")
    return figure


def _memory(rows: Rows) -> Any:
    figure = _figure(9, 0.45 * len(rows) + 1.2)
    ax = figure.subplots()
    labels = [f"{r['model']}, {r['n']:,} x {r['d']:,}, k={r['k']}{', cut off' if r['cut off'] else ''}" for r in rows]
    series = {"fit, beyond X": "beyond X MB", "64 MB + 16 n bytes": "limit MB", "X": "X MB"}
    _bars(ax, labels, {name: _column(rows, key) for name, key in series.items()})
    _logarithmic(ax)
    ax.set_xlabel("MB")
    return figure


def _passes(rows: Rows) -> Any:
    seeds = [row for row in rows if "seed" in row]
    problems = list(dict.fromkeys((row["model"], row["noise"]) for row in seeds))
    if not problems:
        return None
    figure = _figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    at = {problem: i for i, problem in enumerate(problems)}
    for key, marker, label in (
        ("passes", "x", "end, default tol"),
        ("passes to 1%", "o", "to 1 %"),
        ("passes to 1e-8", "^", "to 1e-8"),
    ):
        values = [(at[row["model"], row["noise"]], row[key]) for row in seeds if row.get(key) is not None]
        if values:
            left.scatter(*zip(*values, strict=True), marker=marker, label=label, alpha=0.7)
    for _, most in passes.GOALS.values():
        _goal(left, most, vertical=False)
    left.set_xticks(range(len(at)), [f"{model}, {noise:g}" for model, noise in at], rotation=45, ha="right", fontsize=8)
    left.set_ylabel("passes over the data")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)
    for i, model in enumerate(dict.fromkeys(row["model"] for row in seeds)):
        paths = [row["path"] for row in seeds if row["model"] == model and row.get("path")]
        for j, path in enumerate(paths):
            right.semilogy(*zip(*path, strict=True), "-", color=f"C{i}", alpha=0.6, label=None if j else model)
    for bound, most in passes.GOALS.values():
        right.plot([0, most], [bound, bound], color="black", lw=1, ls="--")
    right.set_xlabel("passes over the data")
    right.set_ylabel("distance to the minimiser / statistical error")
    right.legend(fontsize=8)
    return figure


def _zoo(rows: Rows) -> Any:
    animals = [row for row in rows if "problem" in row]
    if not animals:
        return None
    figure = _figure(10, 4.4)
    for ax, plain in zip(figure.subplots(1, 2, sharey=True), zoo.PLAIN, strict=True):
        for tol in zoo.TOLERANCES:
            excess = sorted(row[f"{plain} excess, {tol}"] for row in animals)
            ax.plot(range(1, len(excess) + 1), excess, ".", label=f"tol: {tol}")
        ax.set_yscale("symlog", linthresh=zoo.TIE)
        ax.axhspan(-zoo.TIE, zoo.TIE, color="tab:green", alpha=0.15)
        ax.set_title(f"against {plain}")
        ax.set_xlabel("problems, sorted")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    figure.axes[0].set_ylabel("our loss / the plain solver's - 1 (band: a tie)")
    return figure


def _recovery(rows: Rows) -> Any:
    ours = [row for row in rows if row.get("who") == "fastrecover"]
    if not ours:
        return None
    keys = ("activation", "noise", "n", "d", "k")
    series, reached = {}, []
    for name in dict.fromkeys(row["who"] for row in rows if "who" in row and row["who"] != "fastrecover"):
        found = {tuple(row[key] for key in keys): row for row in rows if row.get("who") == name}
        part = [found.get(tuple(row[key] for key in keys), {}) for row in ours]
        series[name] = _column(part, "times ours")
        reached += [row.get("reached", True) for row in part]
    if not series:
        return None
    figure = _figure(9, 0.6 * len(ours) + 1.2)
    ax = figure.subplots()
    _bars(ax, [f"{r['activation']}, noise {r['noise']:g}, {r['n']:,} x {r['d']}, k={r['k']}" for r in ours], series)
    for bar, arrived in zip(ax.patches, reached, strict=True):
        bar.set(alpha=1.0 if arrived else 0.3, hatch=None if arrived else "//")
    _goal(ax, recovery.GOAL)
    _logarithmic(ax)
    ax.set_xlabel("time to the same error / ours (hatched: ended before it was reached)")
    return figure


def _scaling(rows: Rows) -> Any:
    figure = _figure(10, 4.2)
    for ax, name in zip(figure.subplots(1, 2), ("n", "d"), strict=True):
        part = [row for row in rows if row.get("over") == name]
        for i, what in enumerate(("sweep", "fit")):
            at, values = [row[name] for row in part], _column(part, f"{what} ms")
            found = [row["slope"] for row in rows if row.get("slope in") == name and row["of"] == what]
            ax.loglog(at, values, "o-", color=f"C{i}", label=f"{what}, slope {found[0]:.2f}" if found else what)
            if part:
                ax.loglog(at, [values[-1] * x / at[-1] for x in at], ":", color=f"C{i}", lw=1)
        ax.set_xlabel(name)
        ax.set_ylabel("milliseconds (dotted: slope 1)")
        ax.grid(alpha=0.3, which="both")
        ax.legend(fontsize=8)
    low, high = scaling.GOAL
    figure.suptitle(f"goal: slopes between {low} and {high}", fontsize=9)
    return figure


_DRAWERS: dict[str, tuple[str, Callable[[Rows], Any]]] = {
    "roofline": ("sweeps", _roofline),
    "ratios": ("sweeps", _ratios),
    "rowfunctions": ("rowfunctions", _rowfunctions),
    "moments": ("moments", _moments),
    "recovery": ("recovery", _recovery),
    "passes": ("passes", _passes),
    "zoo": ("zoo", _zoo),
    "scaling": ("scaling", _scaling),
    "memory": ("memory", _memory),
}
