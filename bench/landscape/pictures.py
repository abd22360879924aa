"""Pictures of the landscape studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..report import _figure
from .success import _METHODS


def pictures(cases: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``landscape-*.png`` for the studies that a result file holds.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    drawn = []
    for study, draw in (("descent", _descent), ("success", _success)):
        rows = cases.get(f"landscape.{study}", {}).get("rows", [])
        if rows:
            figure = draw(rows)
            drawn.append(folder / f"landscape-{study}.png")
            figure.savefig(drawn[-1], dpi=130)
    return drawn


def _descent(rows: list[dict[str, Any]]) -> Any:
    teachers = sorted({(row["m"], row["condition"]) for row in rows})
    figure = _figure(4.5 * len(teachers), 4)
    axes = figure.subplots(1, len(teachers), squeeze=False)[0]
    for ax, (m, condition) in zip(axes, teachers, strict=True):
        for row in rows:
            if (row["m"], row["condition"]) != (m, condition):
                continue
            color = "C3" if row["objective"] == "squared loss" else "C0"
            for i, curve in enumerate(row["curves"]):
                ax.loglog(row["at"], [max(e, 1e-6) for e in curve], color=color, label=None if i else row["objective"])
        ax.set_title(f"{m} rows, condition {condition:g}, infinitely many samples")
        ax.set_xlabel("step")
        ax.set_ylabel("error of the worst row")
        ax.grid(alpha=0.3)
        ax.legend()
    return figure


def _success(rows: list[dict[str, Any]]) -> Any:
    teachers = sorted({(row["m"], row["d"], row["condition"]) for row in rows})
    figure = _figure(4.2 * len(teachers), 4)
    axes = figure.subplots(1, len(teachers), squeeze=False)[0]
    for ax, teacher in zip(axes, teachers, strict=True):
        part = [row for row in rows if (row["m"], row["d"], row["condition"]) == teacher]
        for i, name in enumerate(_METHODS):
            ax.semilogx(
                [row["n"] for row in part],
                [row[name] / row[f"{name} of"] for row in part],
                "o-",
                color=f"C{i}",
                label=name,
            )
        ax.set_title("m = {}, d = {}, condition {:g}".format(*teacher))
        ax.set_xlabel("n")
        ax.set_ylabel("share of seeds")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return figure
