"""A picture for each study of recovery power."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..classification.pictures import _of
from ..report import Rows, _figure
from . import experiments, goals, noise, phase, zoo

_COLOURS = {"ours": "C0", "L-BFGS": "C1", "published": "C3", "zhong2017": "C4", "scikit-learn": "C2"}


def pictures(cases: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``power-*.png`` for the studies that a result file holds.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    drawers = {
        "experiments": (_experiments, (2, 2), (11, 8.5)),
        "noise": (_noise, (1, 3), (14, 4.4)),
        "phase": (_phase, (2, 2), (10, 7.5)),
        "zoo": (_zoo, (1, 2), (11, 4.8)),
        "goals": (_goals, (1, 3), (15, 5)),
        "coverage": (_coverage, (1, 1), (9, 4.4)),
    }
    drawn = []
    for study, (draw, shape, size) in drawers.items():
        rows = cases.get(f"power.{study}", {}).get("rows", [])
        if rows:
            figure = _figure(*size)
            draw(rows, np.atleast_1d(figure.subplots(*shape)).ravel())
            drawn.append(folder / f"power-{study}.png")
            figure.savefig(drawn[-1], dpi=130)
    return drawn


def _column(rows: Rows, key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], float)


def _finish(ax: Any, title: str, x: str, y: str, log: str = "") -> None:
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    ax.grid(alpha=0.3, which="both")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=8)


def _experiments(rows: Rows, axes: Any) -> None:
    rates, starts = _of(rows, part="rate"), _of(rows, part="start")
    sizes = sorted({row["d"] for row in rates})
    for i, who in enumerate(experiments.METHODS):
        for d in sizes:
            part = _of(rates, d=d)
            at = _column(part, "n") * 1.02**i  # lines on top of each other stay visible
            shade = 0.35 + 0.65 * (sizes.index(d) + 1) / len(sizes)
            label = who if d == sizes[-1] else None
            axes[0].plot(at, _column(part, who), "-o", ms=4, color=_COLOURS[who], alpha=shade, label=label)
            axes[1].plot(at, _column(part, f"{who} s"), "-o", ms=4, color=_COLOURS[who], alpha=shade, label=label)
    _finish(
        axes[0], f"squared ReLU, k = {experiments.K}: recovered (darker: larger d)", "rows n", "share of trials", "x"
    )
    _finish(axes[1], "seconds (darker: larger d)", "rows n", "median seconds", "xy")
    for i, d in enumerate(sorted({row["d"] for row in starts})):
        part = _of(starts, d=d)
        n = _column(part, "n")
        axes[2].plot(n, _column(part, "published"), "--x", color=f"C{i}", label=f"d = {d}, published")
        axes[2].plot(n, _column(part, "ours"), "-o", color=f"C{i}", label=f"d = {d}, ours")
    _finish(axes[2], "error of the start", "rows n", "relative error, median", "xy")
    for row in _of(rows, part="curve"):
        axes[3].plot(1 + np.array(row["iterations"]), row["errors"], label=row["from"])
    _finish(axes[3], "error against iteration", "iteration + 1", "relative error", "xy")


def _noise(rows: Rows, axes: Any) -> None:
    shown = [row for row in rows if row["d"] == 20] or rows
    for i, row in enumerate(shown):
        label = f"sigma = {row['sigma']}, n = {row['n']}"
        axes[0].plot(np.maximum(row["errors"], 1e-16), color=f"C{i}", label=label)
        distances = np.array(row["distances"])
        axes[1].plot(distances[distances > 0], color=f"C{i}", label=label)
    d = shown[0]["d"] if shown else 0
    _finish(axes[0], f"gradient descent, d = {d}: error", "iteration", "relative error", "y")
    _finish(axes[1], f"d = {d}: distance to where it ends", "iteration", "distance", "y")
    for d in sorted({row["d"] for row in rows}):
        part = _of(rows, d=d)
        axes[2].plot(_column(part, "unit"), _column(part, "floor"), "o", label=f"gradient descent, d = {d}")
        axes[2].plot(_column(part, "unit"), _column(part, "ours"), "kx")
    if rows:
        ends = np.array([_column(rows, "unit").min(), _column(rows, "unit").max()])
        axes[2].plot(ends, ends, ":", color="black", lw=1, label="sigma sqrt(dk/n); crosses: ours")
    _finish(axes[2], f"floor, k = {noise.K}", "sigma sqrt(dk/n)", "relative error, median", "xy")


def _phase(rows: Rows, axes: Any) -> None:
    ks = sorted({row["k"] for row in rows})
    ratios = sorted(phase.RATIOS)
    for ax, (activation, who) in zip(axes, [(a, w) for a in phase.ACTIVATIONS for w in phase.METHODS], strict=True):
        grid = np.full((len(ratios), len(ks)), np.nan)
        for row in _of(rows, activation=activation, who=who):
            i, j = ratios.index(row["n/(dk)"]), ks.index(row["k"])
            grid[i, j] = row["success"]
            text = f"{row['success']:.2g}\n{row['seconds']:.2g} s" if "seconds" in row else "0\nnot run"
            ax.text(
                j, i, text, ha="center", va="center", fontsize=7, color="white" if row["success"] < 0.6 else "black"
            )
        ax.imshow(grid, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
        ax.set_xticks(range(len(ks)), map(str, ks))
        ax.set_yticks(range(len(ratios)), map(str, ratios))
        ax.set_title(f"{activation}, {who}: share recovered to {phase.EXACT:.0e}")
        ax.set_xlabel("k (d = 2k)")
        ax.set_ylabel("n / (dk)")


def _zoo(rows: Rows, axes: Any) -> None:
    for ax, half in zip(axes, zoo.HALVES, strict=True):
        part = [row for row in _of(rows, half=half) if "index" in row]
        for who in zoo.METHODS:
            tried = [row for row in part if who in row]
            seconds = np.sort([row[f"{who} s"] if row[who] else np.inf for row in tried])
            solved = np.isfinite(seconds)
            label = f"{who}: {solved.sum()} of {len(tried)}"
            ax.step(seconds[solved], np.arange(1, solved.sum() + 1), where="post", color=_COLOURS[who], label=label)
        _finish(ax, f"{half} half, {len(part)} teachers", "seconds", "recovered within that time", "x")


def _goals(rows: Rows, axes: Any) -> None:
    cells = _of(rows, part="goal")
    names = list(dict.fromkeys((row["activation"], row["k"], row["d"], row["n/(dk)"]) for row in cells))
    for i, who in enumerate(("ours", "L-BFGS", "published")):
        part = {(row["activation"], row["k"], row["d"], row["n/(dk)"]): row["success"] for row in _of(cells, who=who)}
        at = [j + 0.27 * (i - 1) for j in range(len(names))]
        axes[0].barh(at, [part.get(name, np.nan) for name in names], 0.25, color=_COLOURS[who], label=who)
    axes[0].set_yticks(range(len(names)), [f"{a}, k={k}, d={d}, {r:g} dk" for a, k, d, r in names], fontsize=8)
    axes[0].invert_yaxis()
    axes[0].axvline(goals.NEEDED, color="black", lw=1)
    _finish(axes[0], "goals", "share recovered to 1e-8", "")
    for activation in dict.fromkeys(row["activation"] for row in _of(rows, part="threshold")):
        part = _of(rows, part="threshold", activation=activation)
        axes[1].plot(_column(part, "n/(dk)"), _column(part, "success"), "-o", label=activation)
    axes[1].axhline(goals.NEEDED, color="black", lw=1)
    _finish(axes[1], "thresholds, k = 5, d = 20", "n / (dk)", "share recovered to 1e-8")
    for activation in dict.fromkeys(row["activation"] for row in _of(rows, part="start")):
        part = _of(rows, part="start", activation=activation)
        axes[2].plot(_column(part, "n/(dk)"), _column(part, "error"), "-o", label=activation)
        axes[2].plot(_column(part, "n/(dk)"), _column(part, "0.45 sqrt(dk/n)"), ":", color="black", lw=1)
    _finish(axes[2], "tensor start alone (dotted: 0.45 sqrt(dk/n))", "n / (dk)", "relative error, median", "xy")


def _coverage(rows: Rows, axes: Any) -> None:
    ax = axes[0]
    ax.axhspan(0.93, 0.97, color="tab:green", alpha=0.15)
    ax.axhline(0.95, color="black", lw=1)
    names = list(dict.fromkeys((row["activation"], row["output weights"], row["noise"]) for row in rows))
    for i, n in enumerate(sorted({row["n"] for row in rows})):
        part = _of(rows, n=n)
        at = [names.index((row["activation"], row["output weights"], row["noise"])) + 0.2 * i - 0.1 for row in part]
        errors = 1.96 * _column(part, "its error")
        ax.errorbar(at, _column(part, "coverage"), errors, fmt="o", capsize=3, label=f"n = {n}")
    ax.set_xticks(range(len(names)), [f"{a}\nv: {v}\n{noise} noise" for a, v, noise in names], fontsize=8)
    _finish(ax, "95 % intervals of the sandwich", "", "coverage")
