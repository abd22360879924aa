"""A picture for each study of classification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..report import Rows, _figure
from .threshold import NEEDED

_NAMES = {"fcn": "fully connected, K = 3", "cnn": "convolutional, K = 3"}


def pictures(cases: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``classification-*.png`` for the studies that a result file holds.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    drawers = {
        "success": _success,
        "errors": _errors,
        "threshold": _threshold,
        "coverage": _coverage,
        "gradient": _gradient,
    }
    drawn = []
    for study, draw in drawers.items():
        rows = cases.get(f"classification.{study}", {}).get("rows", [])
        if rows:
            figure = _figure(10, 4.4)
            axes = figure.subplots(1, 2)
            draw(rows, axes)
            drawn.append(folder / f"classification-{study}.png")
            figure.savefig(drawn[-1], dpi=130)
    return drawn


def _of(rows: Rows, **fixed: Any) -> Rows:
    return [row for row in rows if all(row.get(key) == value for key, value in fixed.items())]


def _panels(rows: Rows, axes: Any):
    for ax, network in zip(axes, _NAMES, strict=True):
        part = _of(rows, network=network)
        ax.set_title(_NAMES[network])
        ax.grid(alpha=0.3, which="both")
        ax.set_xscale("log")
        ax.set_xlabel("rows n")
        rows_of = sorted({row["n"] for row in part if "n" in row})
        ax.set_xticks(rows_of, map(str, rows_of), rotation=45, fontsize=8)
        ax.minorticks_off()
        yield ax, part, sorted({row["inputs"] for row in part if "n" in row})


def _success(rows: Rows, axes: Any) -> None:
    for ax, part, sizes in _panels(rows, axes):
        for i, size in enumerate(sizes):
            for solver, line in (("fisher scoring", "-o"), ("gd", "--x")):
                cells = _of(part, inputs=size, solver=solver)
                if cells:
                    x, y = [row["n"] for row in cells], [row["success"] for row in cells]
                    ax.plot(x, y, line, color=f"C{i}", label=f"{size} inputs a unit, {solver}")
        ax.set_ylabel("share of problems with one minimiser")
        ax.set_ylim(-0.03, 1.03)
        ax.legend(fontsize=8)


def _errors(rows: Rows, axes: Any) -> None:
    for ax, part, sizes in _panels([row for row in rows if "n" in row], axes):
        for i, size in enumerate(sizes):
            cells = _of(part, inputs=size)
            n = np.array([row["n"] for row in cells], float)
            for loss, line in (("cross entropy", "-o"), ("squared loss", "--x")):
                ax.plot(
                    n,
                    [row[loss] for row in cells],
                    line,
                    color=f"C{i}",
                    label=f"{size} inputs a unit, {loss}",
                )
            rate = np.sqrt(np.log(n) / n)
            ax.plot(n, cells[-1]["cross entropy"] / rate[-1] * rate, ":", color="black", lw=1)
        ax.set_yscale("log")
        ax.set_ylabel("relative error (dotted: sqrt(log n / n))")
        ax.legend(fontsize=8)


def _threshold(rows: Rows, axes: Any) -> None:
    for ax, part, _ in _panels(rows, axes):
        n, seeds = [row["n"] for row in part], part[0]["seeds"] if part else 1
        for key, label in (
            ("tensor", "from the tensor start"),
            ("auto", "default"),
            ("finite optimum", "a finite optimum exists"),
        ):
            line = ":" if key == "finite optimum" else "-o"
            ax.plot(n, [row[key] / seeds for row in part], line, label=label, alpha=0.8)
        ax.axhline(NEEDED, color="black", lw=1)
        ax.set_ylabel("share of seeds within 2 % of the fit from the truth")
        ax.set_ylim(-0.03, 1.03)
        ax.legend(fontsize=8)


def _coverage(rows: Rows, axes: Any) -> None:
    for ax, part, _ in _panels(rows, axes):
        ax.axhspan(0.93, 0.97, color="tab:green", alpha=0.15)
        ax.axhline(0.95, color="black", lw=1)
        values, errors = ([row[key] for row in part] for key in ("coverage", "its error"))
        ax.errorbar([row["n"] for row in part], values, [1.96 * e for e in errors], fmt="-o", capsize=3)
        if part:
            ax.set_title(f"{part[0]['network']}, k = {part[0]['k']}, {part[0]['inputs']} inputs a unit")
        ax.set_ylabel("coverage of 95 % intervals")


def _gradient(rows: Rows, axes: Any) -> None:
    for ax, dtype in zip(axes, ("float64", "float32"), strict=True):
        part = _of(rows, dtype=dtype)
        for i, (key, label) in enumerate((("ours ms", "ours"), ("torch ms", "PyTorch"))):
            at = [j + 0.35 * i for j in range(len(part))]
            ax.bar(at, [row.get(key, np.nan) for row in part], 0.33, label=label)
        ax.set_xticks([j + 0.17 for j in range(len(part))], [row["network"] for row in part])
        ax.set_title(dtype)
        ax.set_ylabel("milliseconds for loss and gradient")
        ax.legend(fontsize=8)
        ax.grid(axis="y", alpha=0.3)
