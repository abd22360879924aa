"""A recovery as text and as a table for notebooks: both are written from the same few tables.

However large a network is, the first of its units and the largest of its parameters are told, so that neither takes
long to read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

import numpy as np

from .models import HasParameters, Network, Parameters
from .models.parameters import lengths
from .uncertainty import QUICK, check_level

_MOST_UNITS = 20
#: Most parameters told of each kind.
_MOST = {"intercept": 4, "output_weights": 6, "biases": 6, "linear": 6, "weights": 12}
_AT_ONCE = 1e9  # as QUICK, but for what a notebook shows unasked


class Fit(HasParameters, Protocol):
    """What is told: a Recovery."""

    loss: float
    converged: bool
    n_passes: float
    n_rows: int
    n_queries: int | None
    seconds: float
    message: str
    info: dict[str, Any]
    determined: np.ndarray
    feature_names: list[str] | None

    def conf_int(self, level: float = 0.95) -> tuple[Parameters, Parameters]: ...

    def standard_errors(self) -> Parameters: ...

    def _without_errors(self, most: float | None = None) -> str: ...


@dataclass(frozen=True)
class Table:
    """Titles of columns, rows of cells, and lines on what is not shown."""

    titles: list[str]
    rows: list[list[str]]
    notes: list[str]

    def text(self) -> Iterator[str]:
        """Lines: the first column to the left, the others to the right."""
        widths = [max(map(len, column)) for column in zip(self.titles, *self.rows, strict=True)]
        for row in (self.titles, *self.rows):
            cells = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            yield "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()
        yield from self.notes

    def html(self) -> str:
        """A table element and a line for each note."""
        head = "".join(f"<th>{escape(title)}</th>" for title in self.titles)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def text(fit: Fit, level: float = 0.95) -> str:
    """See :meth:`Recovery.summary`."""
    check_level(level)
    lines = [*_heading(fit), *_units(fit).text(), ""]
    return "\n".join([*lines, *_parameters(fit, level, QUICK).text()])


#: Colours are the notebook's own, or greys that are seen on light and dark.
_STYLE = """<style>
.fastrecover {font-size: 0.9em; line-height: 1.45; color: inherit}
.fastrecover table {border-collapse: collapse; margin: 0.5em 0; background: none; color: inherit}
.fastrecover th, .fastrecover td {padding: 0.12em 0.7em; text-align: right; border: none; background: none;
  color: inherit; font-variant-numeric: tabular-nums; white-space: nowrap}
.fastrecover th {border-bottom: 1px solid rgba(128, 128, 128, 0.6)}
.fastrecover th:first-child, .fastrecover td:first-child {text-align: left}
.fastrecover tbody tr:nth-child(even) {background: rgba(128, 128, 128, 0.1)}
.fastrecover .outcome {padding-left: 0.6em; border-left: 0.3em solid #228833}
.fastrecover .open {border-left-color: #ee6677}
.fastrecover .tables {display: flex; flex-wrap: wrap; gap: 0 2.5em; align-items: flex-start; overflow-x: auto}
</style>"""


def html(fit: Fit) -> str:
    """See :meth:`Recovery._repr_html_`."""
    first, second = _heading(fit)
    outcome = "outcome" if fit.converged else "outcome open"
    state = "" if fit.converged else "not converged, "
    tables = "".join(
        f"<div>{table.html()}</div>" for table in (_units(fit), _parameters(fit, 0.95, _AT_ONCE)) if table.rows
    )
    return (
        f'{_STYLE}<div class="fastrecover"><b>{escape(first)}</b>'
        f'<div class="{outcome}">{escape(state + second)}</div><div class="tables">{tables}</div></div>'
    )


def _heading(fit: Fit) -> tuple[str, str]:
    p, model = fit.parameters, fit.model
    outputs = f"{p.n_outputs} outputs, " if p.n_outputs > 1 else ""
    alpha = fit.info.get("alpha")
    penalty = "" if alpha is None else f" with a penalty of alpha {alpha:g}"
    passes = f" after {fit.n_passes:.1f} passes" if fit.n_queries is None else ""
    patches = f" in {model.n_patches} patches" if model.n_patches > 1 else ""
    return (
        f"{model.activation.name}: {len(p.weights)} unit{'s' * (len(p.weights) != 1)}, "
        f"{p.weights.shape[1] * model.n_patches} features{patches}, {outputs}"
        f"{fit.n_rows} {'rows' if fit.n_queries is None else 'queries'}",
        f"loss {fit.loss:.6g}{penalty}{passes}, {fit.seconds:.2f} s: {fit.message}",
    )


def _units(fit: Fit) -> Table:
    """What there is of every unit, and how large the linear term is beside them."""
    p = fit.parameters
    several = p.n_outputs > 1
    columns = {"norm": lengths(p.weights)}  # squares of large weights would overflow
    if p.biases is not None:
        columns["bias"] = p.biases
    columns["norm of output weights" if several else "output weight"] = p.sizes if several else p.output_weights
    rows = [
        [str(j), *(f"{number:.6g}" for number in numbers)]
        for j, numbers in enumerate(zip(*(column[:_MOST_UNITS] for column in columns.values()), strict=True))
    ]
    notes = [f"... {len(p.weights) - len(rows)} more units"] if len(rows) < len(p.weights) else []
    if p.linear is not None:
        notes.append(f"linear term{'s' * several} of norm {math.hypot(*p.linear.ravel()):.6g}")
    return Table(["unit", *columns], rows, notes)


def _parameters(fit: Fit, level: float, most: float) -> Table:
    """The largest parameters of each kind, with what is known of their errors."""
    why = "" if fit.n_queries is None else "answers without noise, of which info['expected_error'] tells the error"
    why = why or fit._without_errors(most)
    why += " to conf_int" * why.endswith("give X and y")
    names = fit.feature_names if fit.model.n_patches == 1 else None
    titles = ["parameter", *(["feature"] if names else []), "estimate"]
    ends: list[Parameters] = []
    if not why:
        low, high = fit.conf_int(level)
        ends = [fit.standard_errors(), low, high]
        titles += ["std. error", f"{100 * level:g} % from", "to"]
    told = not fit.determined.all()
    rows, notes = [], []
    for kind in _estimated(fit.model, fit.parameters):
        values = np.asarray(getattr(fit.parameters, kind))
        size = np.abs(values).ravel()
        order = np.arange(size.size) if size.size <= _MOST[kind] else np.argsort(-size, kind="stable")
        for at in order[: _MOST[kind]]:
            index = tuple(int(i) for i in np.unravel_index(at, values.shape))
            row = [f"{kind}[{', '.join(map(str, index))}]" if index else kind]
            row += [names[index[-1]] if kind in ("weights", "linear") else ""] if names else []
            row.append(f"{values[index]:.6g}")
            row += [f"{np.asarray(getattr(each, kind))[index]:.{2 if not i else 6}g}" for i, each in enumerate(ends)]
            if told:
                row.append("not determined" if kind == "weights" and not fit.determined[index] else "")
            rows.append(row)
        left = order[_MOST[kind] :]
        if len(left):
            notes.append(f"... {len(left)} more {kind.replace('_', ' ')}, none above {size[left].max():.6g} in size")
    return Table(titles + [""] * told, rows, notes + ([f"no intervals: {why}"] if why else []))


def _estimated(model: Network, p: Parameters) -> list[str]:
    """Kinds of parameters that the fit has found, not those that it was told."""
    there = {
        "intercept": model.fit_intercept or bool(np.any(p.intercept)),
        "output_weights": model.free_v,
        "biases": p.biases is not None,
        "linear": p.linear is not None,
        "weights": True,
    }
    return [kind for kind in _MOST if there[kind]]
