"""Tables for the terminal: rows are plain dictionaries, so a case can add a column without telling anybody."""

from __future__ import annotations

import math
from typing import Any

Rows = list[dict[str, Any]]


def plain(rows: Rows) -> str:
    """Every scalar column as it is, one table for each kind of row."""
    kinds: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        scalars = {key: value for key, value in row.items() if not isinstance(value, (dict, list))}
        kinds.setdefault(tuple(scalars), []).append(scalars)
    return "\n\n".join(map(table, kinds.values()))


def table(rows: Rows) -> str:
    """Rows of the same columns as aligned text."""
    cells = [list(rows[0]), *([text(value) for value in row.values()] for row in rows)]
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
