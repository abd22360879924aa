"""Pictures of a fit: how the loss fell, what the units look like, how close they are to a known truth, what they do.

Figures are built as objects and never through pyplot, so they need no display, change no global state and are
freed with their last reference.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .effects import Rows
from .models import HasParameters, Parameters, nearest
from .models.views import parameters_of
from .panels import PANELS, STYLE, Fitted, Panel, Shown
from .storage import check_destination

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STYLE", "plot"]

_WIDEST = 13.5  # inches of a row of panels


def plot(
    recovery: Fitted,
    path: str | os.PathLike[str] | None = None,
    teacher: HasParameters | Parameters | None = None,
    shape: tuple[int, int] | None = None,
    *,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    kinds: str | Sequence[str] | None = None,
) -> Figure:
    """Figure of a recovery, of as many panels as there is something to show of, or of those that are asked for.

    Parameters
    ----------
    recovery : Recovery
    path : str or path-like, optional
        Where to write it; the suffix chooses the format (png, pdf, svg, ...).
    teacher : Teacher, Recovery or Parameters, optional
        The truth, for "truth".
    shape : tuple of int, optional
        ``(n_lags, n_channels)``, or height and width: each unit is then shown as a small image of this shape.
    X : array_like (n, n_features), optional
        Rows, for "dependence" and "units"; of many some thousand are looked at.
    y : array_like (n,) or (n, n_outputs), optional
        Their responses, for "units".
    kinds : str or sequence of str, optional
        Which panels: "loss" (its fall, each stage of the fit on axes of its own), "weights", "truth" (recovered
        against true parameters), "dependence" (of the mean prediction on the features that count most: partial
        dependence, with marks at deciles of the rows) and "units" (what each adds to the output, as a function of its
        projection, with partial residuals of the rows and their means).  By default all that the other arguments
        suffice for.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    OSError
        The folder of `path` does not exist or cannot be written to.
    TypeError, ValueError
        An unknown kind, or one without what it needs; a teacher, rows or responses of another shape; a `shape` that
        does not fit the features; an unknown file format.
    """
    if path is not None:
        check_destination(Path(path))
    if shape is not None:
        shape = _checked_shape(shape, recovery.parameters.weights.shape[1])
    chosen = _chosen(kinds, {"teacher": teacher is not None, "X": X is not None})
    truth = None if teacher is None else parameters_of(teacher)
    shown = Shown(recovery, truth, shape, Rows.of(recovery, X, y))
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting needs Matplotlib: pip install 'fastrecover[plot]'") from error

    # Ticks and the like take their settings when they are drawn, so writing happens under the style as well.
    with mpl.rc_context(STYLE):
        lines = _lines([(panel, *panel.size(shown)) for panel in chosen])
        widths = [sum(width for _, width, _ in line) for line in lines]
        heights = [max(height for *_, height in line) for line in lines]
        figure = Figure(figsize=(max(widths), sum(heights)), layout="constrained")
        stacked: Any = figure.subfigures(len(lines), 1, height_ratios=heights, squeeze=False, hspace=0.03)
        for (whole,), line in zip(stacked, lines, strict=True):
            (parts,) = whole.subfigures(
                1, len(line), width_ratios=[width for _, width, _ in line], squeeze=False, wspace=0.03
            )
            for part, (panel, *_) in zip(parts, line, strict=True):
                panel.draw(part, shown)
        if path is not None:
            figure.savefig(path, dpi=150)
    return figure


def _chosen(kinds: str | Sequence[str] | None, given: dict[str, bool]) -> list[Panel]:
    """Panels by their names, or all for which there is what they need."""
    if kinds is None:
        return [panel for panel in PANELS.values() if not panel.needs or given[panel.needs]]
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    known = ", ".join(PANELS)
    if not names:
        raise ValueError(f"kinds must name one panel at least (known: {known})")
    for name in names:
        if name not in PANELS:
            raise ValueError(f"kinds has an unknown panel {name!r}{nearest(name, tuple(PANELS))} (known: {known})")
        needs = PANELS[name].needs
        if needs and not given[needs]:
            raise ValueError(f"kinds has {name!r}, which needs {needs}=")
    return [PANELS[name] for name in names]


def _lines(sized: list[tuple[Panel, float, float]]) -> list[list[tuple[Panel, float, float]]]:
    """Panels in rows that are not too wide."""
    lines: list[list[tuple[Panel, float, float]]] = []
    for each in sized:
        if not lines or sum(width for _, width, _ in lines[-1]) + each[1] > _WIDEST:
            lines.append([])
        lines[-1].append(each)
    return lines


def _checked_shape(shape: tuple[int, int], n_features: int) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in shape)
    except (TypeError, ValueError):
        raise TypeError(f"shape must be two integers (n_lags, n_channels), got {shape!r}") from None
    if height < 1 or width < 1 or height * width != n_features:
        raise ValueError(f"shape must have the product n_features = {n_features}, got {shape!r}")
    return height, width
