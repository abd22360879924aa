"""The curves that the package plans numbers of rows by, from what the study ``planner`` has measured.

``python -m bench.planner results.json`` makes a table, ``bench/planner.csv``, of the rows of that study and of those of
``planner.calibration``, where a file has them, that the curves are not held against; ``python -m bench.planner`` fits
the table and writes ``fastrecover/sample_size/curves.json``; the former does both.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastrecover.sample_size.curves import SHIPPED, Curves, Setting, Trial

from .planted import CHECKED, REGION

TABLE = Path(__file__).with_name("planner.csv")
_COLUMNS = {"model": str, "k": int, "d": int, "condition": float, "noise": float, "n": int, "recovered": int}
_COLUMNS |= dict.fromkeys(
    ("error", "error from the truth", "expected error", "passes", "seconds", "sweep seconds"), float
)
_DIGITS = 4


def main(argv: list[str]) -> int:
    """Fit, after the rows of a result file have become the table."""
    if argv:
        cases = json.loads(Path(argv[0]).read_text())["cases"]
        later = cases.get("planner.calibration", {"rows": []})["rows"]
        write(TABLE, [*cases["planner"]["rows"], *(row for row in later if "chance" in row and row["seed"] != CHECKED)])
    curves = Curves.fit(map(trial, read(TABLE)), REGION)
    curves.save(SHIPPED)
    print(f"{sum(curves.trials.values())} networks, {SHIPPED.stat().st_size} bytes: {SHIPPED.name}")
    return 0


def trial(row: dict[str, Any]) -> Trial:
    """What the curves are fitted to, of a row of the table."""
    setting = Setting(row["model"], row["d"], row["k"], row["condition"], row["noise"])
    return Trial(setting, row["n"], bool(row["recovered"]), row["passes"], row["seconds"] / row["sweep seconds"])


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a table; what was not measured of one is left out of it."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: _COLUMNS[name](value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A table of the columns that are read again, numbers to four digits."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([_text(row.get(name), kind) for name, kind in _COLUMNS.items()] for row in rows)


def _text(value: Any, kind: type) -> str:
    if value is None:
        return ""
    return f"{value:.{_DIGITS}g}" if kind is float else str(kind(value))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
