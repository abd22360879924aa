"""A picture for each study of quadratic networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..classification.pictures import _of
from ..report import Rows, _figure
from .planted import METHODS

_COLOURS = {"ours": "C0", "L-BFGS": "C1", "published": "C3"}


def pictures(cases: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``quadratic-*.png`` for the studies that a result file holds.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    drawers = {"success": _success, "noise": _noise, "passes": _passes, "stages": _stages}
    drawn = []
    for study, draw in drawers.items():
        rows = cases.get(f"quadratic.{study}", {}).get("rows", [])
        if rows:
            figure = _figure(11, 4.6)
            draw(rows, figure)
            drawn.append(folder / f"quadratic-{study}.png")
            figure.savefig(drawn[-1], dpi=130)
    return drawn


def _by_rank(rows: Rows, figure: Any):
    """One panel for each r: (axes, r, its rows)."""
    ranks = sorted({row["r"] for row in rows})
    axes = np.atleast_1d(figure.subplots(1, len(ranks), sharey=True))
    for ax, r in zip(axes, ranks, strict=True):
        ax.set_title(f"r = {r}")
        ax.grid(alpha=0.3, which="both")
        yield ax, r, _of(rows, r=r)


def _ratio_axis(ax: Any, ticks: tuple[float, ...]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(ticks, map(str, ticks), fontsize=8)
    ax.minorticks_off()


def _success(rows: Rows, figure: Any) -> None:
    for ax, r, part in _by_rank(rows, figure):
        for method in METHODS:
            for d, line in zip(sorted({row["d"] for row in part}), ("-o", "--x"), strict=False):
                cells = _of(part, who=method, d=d)
                x, share = [row["n/(dr)"] for row in cells], [row["exact"] / row["seeds"] for row in cells]
                ax.plot(x, share, line, color=_COLOURS[method], label=f"{method}, d = {d}", alpha=0.8)
        ax.axvline((r + 1) / r, color="black", lw=1, ls=":")
        _ratio_axis(ax, (1, 1.5, 2, 3, 6, 10))
        ax.set_xlabel("n / (d r); dotted: (r + 1) / r")
        ax.set_ylim(-0.03, 1.03)
        if r == 1:
            ax.set_ylabel("share of problems recovered exactly")
            ax.legend(fontsize=7)


def _noise(rows: Rows, figure: Any) -> None:
    for ax, _, part in _by_rank(rows, figure):
        ax.axhspan(0.95, 1.05, color="tab:green", alpha=0.15)
        for i, d in enumerate(sorted({row["d"] for row in part})):
            for sigma, line in zip(sorted({row["sigma"] for row in part}), ("-o", "--x"), strict=False):
                cells = _of(part, d=d, sigma=sigma)
                y, bars = ([row[key] for row in cells] for key in ("error / predicted", "its error"))
                if not cells:
                    continue
                x = [row["n/(dr)"] for row in cells]
                ax.errorbar(x, y, bars, fmt=line, color=f"C{i}", capsize=2, label=f"d = {d}, sigma = {sigma:g}")
        _ratio_axis(ax, (2, 3, 6, 10))
        ax.set_xlabel("n / (d r)")
        ax.set_ylim(0.8, 1.8)
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("relative error of M over prediction")
            ax.legend(fontsize=8)


def _passes(rows: Rows, figure: Any) -> None:
    ax = figure.subplots()
    cells = list(dict.fromkeys((row["d"], row["r"], row["n/(dr)"], row["condition"]) for row in rows))
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    for i, solver in enumerate(solvers):
        for j, (d, r, ratio, condition) in enumerate(cells):
            part = _of(rows, solver=solver, d=d, r=r, condition=condition, **{"n/(dr)": ratio})
            height = part[0]["passes"] if part and np.isfinite(part[0]["passes"]) else np.nan
            label = solver if j == 0 else None
            ax.bar(j + i / (len(solvers) + 1), height, 1 / (len(solvers) + 1), color=f"C{i}", label=label)
    names = [f"d = {d}, r = {r}\nn/(dr) = {ratio:g}, cond. {condition:g}" for d, r, ratio, condition in cells]
    ax.set_xticks([j + 0.35 for j in range(len(cells))], names, fontsize=8)
    ax.set_yscale("log")
    ax.axhline(15, color="black", lw=1, ls=":")
    ax.set_ylabel("passes to relative error 1e-10")
    ax.legend(fontsize=8)
    ax.grid(axis="y", alpha=0.3)


def _stages(rows: Rows, figure: Any) -> None:
    for ax, r, part in _by_rank(rows, figure):
        for row in part:
            at = np.array(row["at"], float) + 1.0
            ax.loglog(at, row["loss"], color=_COLOURS[row["who"]], label=row["who"])
        ax.axhline(0.1, color="black", lw=1, ls=":")
        ax.set_ylim(1e-22, 10)
        ax.set_xlabel("iteration")
        if r == min(row["r"] for row in rows):
            ax.set_ylabel("loss / loss of the zero network")
            ax.legend(fontsize=8)
