"""Pictures of a fit: how the loss fell, what the units look like, and how close they are to a known truth.

Figures are built as objects and never through pyplot, so they need no display, change no global state and are
freed with their last reference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .models import HasParameters, Parameters
from .models.views import parameters_of
from .storage import check_destination

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

_INK, _FAINT = "#333333", "#c8c8c8"
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}
_MOST_IMAGES = 25


class Fitted(HasParameters, Protocol):
    """What is drawn: a Recovery."""

    @property
    def history(self) -> dict[str, np.ndarray]: ...

    @property
    def info(self) -> dict[str, Any]: ...


def plot(
    recovery: Fitted,
    path: str | os.PathLike[str] | None = None,
    teacher: HasParameters | Parameters | None = None,
    shape: tuple[int, int] | None = None,
) -> Figure:
    """Figure of a recovery: convergence, weights and, with a teacher, recovered against true weights.

    Parameters
    ----------
    recovery : Recovery
    path : str or path-like, optional
        Where to write it; the suffix chooses the format (png, pdf, svg, ...).
    teacher : Teacher, Recovery or Parameters, optional
        The truth.
    shape : tuple of int, optional
        ``(n_lags, n_channels)``, or height and width: each unit is then shown as a small image of this shape.

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
        A teacher of another shape, a `shape` that does not fit the features, an unknown file format.
    """
    if path is not None:
        check_destination(Path(path))
    if shape is not None:
        shape = _checked_shape(shape, recovery.parameters.weights.shape[1])
    truth = None if teacher is None else parameters_of(teacher)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting needs Matplotlib: pip install 'fastrecover[plot]'") from error

    # Ticks and the like take their settings when they are drawn, so writing happens under the style as well.
    with mpl.rc_context(STYLE):
        panels = 2 if truth is None else 3
        figure = Figure(figsize=(4.2 * panels, 3.8), layout="constrained")
        parts: Any = figure.subfigures(1, panels, wspace=0.03)
        _convergence(
            parts[0].subplots(), recovery.history, "loss and penalty" if recovery.info.get("alpha") else "loss"
        )
        if shape is None:
            _heat_map(parts[1], recovery.parameters.weights)
        else:
            _images(parts[1], recovery.parameters.weights, shape)
        if truth is not None:
            _scatter(parts[2].subplots(), recovery, truth)
        if path is not None:
            figure.savefig(path, dpi=150)
    return figure


def _checked_shape(shape: tuple[int, int], n_features: int) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in shape)
    except (TypeError, ValueError):
        raise TypeError(f"shape must be two integers (n_lags, n_channels), got {shape!r}") from None
    if height < 1 or width < 1 or height * width != n_features:
        raise ValueError(f"shape must have the product n_features = {n_features}, got {shape!r}")
    return height, width


def _convergence(axes: Axes, history: dict[str, np.ndarray], label: str) -> None:
    passes, loss, stages = history["pass"], history["loss"], history["stage"]
    axes.set(title="Convergence", xlabel="passes over the data", ylabel=label)
    if not len(passes):
        axes.text(0.5, 0.5, "no history", ha="center", va="center", transform=axes.transAxes)
        return
    if (loss < 0).any():  # those of counts lie on both sides of zero
        axes.set_yscale("symlog", linthresh=float(np.abs(loss[loss < 0]).max()))
    elif (loss > 0).any():
        axes.set_yscale("log")
    axes.plot(passes, loss, color=_FAINT, lw=1.0, zorder=1)
    for i, stage in enumerate(dict.fromkeys(stages.tolist())):
        rows = stages == stage
        axes.plot(passes[rows], loss[rows], "o", ms=4, mew=0, color=_COLOURS[i % len(_COLOURS)], label=stage)
    axes.grid(axis="y", color=_FAINT, lw=0.5, alpha=0.6)
    axes.legend(frameon=False, handletextpad=0.2, title="stage", alignment="left")


def _heat_map(part: SubFigure, weights: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = part.subplots()
    image = axes.imshow(weights, **_colouring(weights))
    axes.set(title="Weights", xlabel="feature", ylabel="hidden unit")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    _colour_bar(part, image, axes)


def _images(part: SubFigure, weights: np.ndarray, shape: tuple[int, int]) -> None:
    shown = weights[:_MOST_IMAGES]
    # As many columns as make the whole grid about square.
    columns = int(np.clip(round(np.sqrt(len(shown) * shape[0] / shape[1])), 1, len(shown)))
    grid = part.subplots(-(-len(shown) // columns), columns, squeeze=False)
    colouring = _colouring(shown)
    for axes in grid.flat:
        axes.set_axis_off()
    for j, (axes, unit) in enumerate(zip(grid.flat, shown, strict=False)):
        image = axes.imshow(unit.reshape(shape), **colouring)
        axes.set_title(f"{j}", fontsize=7, pad=2)
    rest = "" if len(shown) == len(weights) else f" (first {len(shown)} of {len(weights)})"
    part.suptitle(f"Hidden units as {shape[0]} x {shape[1]} images{rest}", fontsize=10)
    _colour_bar(part, image, grid)


def _colouring(weights: np.ndarray) -> dict[str, Any]:
    bound = float(np.abs(weights).max()) or 1.0
    return dict(cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")


def _colour_bar(part: SubFigure, image: AxesImage, axes: Axes | np.ndarray) -> None:
    bar = part.colorbar(image, ax=axes, shrink=0.8, aspect=25)
    bar.outline.set_visible(False)


def _scatter(axes: Axes, recovery: HasParameters, truth: Parameters) -> None:
    model = recovery.model
    found, true = model.aligned(recovery.parameters, truth)
    groups = [("weights", true.weights, found.weights, "o")]
    if true.biases is not None and found.biases is not None:
        groups.append(("biases", true.biases, found.biases, "^"))
    if model.free_v:
        groups.append(("output weights", true.output_weights, found.output_weights, "D"))
    if true.linear is not None and found.linear is not None:
        groups.append(("linear term", true.linear, found.linear, "s"))
    ends = np.concatenate([numbers.ravel() for group in groups for numbers in group[1:3]])
    margin = 0.06 * (ends.max() - ends.min()) or 1.0
    line = [ends.min() - margin, ends.max() + margin]
    axes.plot(line, line, color=_FAINT, lw=1.0, zorder=1)
    for (name, x, y, marker), colour in zip(groups, _COLOURS, strict=False):
        points = axes.plot(x.ravel(), y.ravel(), marker, ms=3.5, mew=0, alpha=0.7, color=colour, label=name)
        points[0].set_rasterized(x.size > 5000)
    axes.set(xlim=line, ylim=line, aspect="equal", xlabel="true", ylabel="recovered")
    axes.set_title(f"Against the truth (relative error {model.error(recovery.parameters, truth):.2g})")
    if len(groups) > 1:
        axes.legend(frameon=False, handletextpad=0.2)
