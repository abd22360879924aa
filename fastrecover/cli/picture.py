"""The picture of the demo: a row for each planted network, from the fall of the loss to the weights.

Built as an object and never through pyplot, like the pictures of single fits, whose style it shares.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..datasets import Teacher
from ..models import Parameters
from ..recovery import Recovery

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_EXACT, _NOISY, _FAINT = "#4477aa", "#ee6677", "#c8c8c8"
_FLOOR = 1e-34  # exact fits reach a loss of zero, which has no place on a logarithmic axis

Result = tuple[Teacher, float, Recovery, float]


def check_picture(path: Path) -> None:
    """Raise ImportError without Matplotlib, and ValueError for a format that it cannot write."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ImportError("--plot needs Matplotlib: pip install 'fastrecover[plot]'") from error
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        raise ValueError(f"--plot: {path.name} must end in one of {', '.join(known)}")


def draw(results: list[Result], path: Path) -> None:
    """Write the picture of all trials.

    Parameters
    ----------
    results : list of (teacher, noise, recovery, error)
        Trials of one teacher stand together.
    path : Path
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from ..plotting import STYLE

    networks: dict[int, list[Result]] = {}
    for result in results:
        networks.setdefault(id(result[0]), []).append(result)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.5, 3.1 * len(networks) + 0.7), layout="constrained")
        figure.suptitle("Planted networks and what was recovered of them", fontsize=14)
        for part, trials in zip(_stacked(figure, len(networks)), networks.values(), strict=True):
            _network(part, trials)
        figure.savefig(path, dpi=130)


def _stacked(figure: Figure, count: int) -> list[SubFigure]:
    return list(np.ravel(np.asarray(figure.subfigures(count, 1, squeeze=False))))


def _network(part: SubFigure, trials: list[Result]) -> None:
    teacher = trials[0][0]
    left, middle, right = part.subplots(1, 3, width_ratios=(1.25, 0.9, 2.2))
    left.set(title=f"{teacher.model.activation.name}: loss", xlabel="passes over the data", yscale="log")
    middle.set(title="Weights: recovered against true", xlabel="true", ylabel="recovered", aspect="equal")
    bound = 1.08 * float(np.abs(_truth(teacher).weights).max())
    middle.plot([-bound, bound], [-bound, bound], color=_FAINT, lw=1.0, zorder=1)
    for trial in sorted(trials, key=lambda trial: -trial[1]):
        _curve(left, trial)
        _points(middle, trial)
    began = min(float(recovery.history["pass"].min(initial=np.inf)) for _, _, recovery, _ in trials)
    if np.isfinite(began):
        left.axvspan(0, began, color=_FAINT, alpha=0.35, lw=0)
        left.text(
            began / 2,
            0.5,
            "start",
            rotation=90,
            ha="center",
            va="center",
            transform=left.get_xaxis_transform(),
        )
    left.set_xlim(left=0)
    left.grid(axis="y", color=_FAINT, lw=0.5, alpha=0.6)
    left.legend(frameon=False)
    middle.legend(frameon=False, loc="upper left", handletextpad=0.1, markerscale=1.6)
    _maps(part, right, trials[-1])


def _curve(axes: Axes, trial: Result) -> None:
    _, noise, recovery, _ = trial
    history = recovery.history
    colour, label = _looks(noise)
    loss = np.maximum(history["loss"], _FLOOR)
    full = history["rows"] == recovery.n_rows
    axes.plot(history["pass"], loss, color=colour, lw=1.2, alpha=0.7)
    small = None if noise else "on a sub-sample"
    axes.plot(history["pass"][~full], loss[~full], "o", ms=3.5, mfc="white", color=colour, label=small)
    axes.plot(history["pass"][full], loss[full], "o", ms=4.5, mew=0, color=colour, label=label)


def _points(axes: Axes, trial: Result) -> None:
    teacher, noise, recovery, error = trial
    colour, label = _looks(noise)
    found = recovery.align(teacher).weights
    axes.plot(
        _truth(teacher).weights.ravel(),
        found.ravel(),
        "o",
        mew=0,
        color=colour,
        label=f"{label}: {error:.0e}",
        ms=6 if noise else 2.5,
        alpha=0.55 if noise else 1.0,
    )


def _maps(part: SubFigure, axes: Axes, trial: Result) -> None:
    """True and recovered weights, unit above unit, with a gap between the two."""
    teacher, noise, recovery, _ = trial
    true, found = _truth(teacher).weights, recovery.align(teacher).weights
    gap = np.full((1, true.shape[1]), np.nan)
    bound = float(np.abs(true).max())
    image = axes.imshow(
        np.concatenate([true, gap, found]),
        cmap="RdBu_r",
        vmin=-bound,
        vmax=bound,
        aspect="auto",
        interpolation="nearest",
    )
    k = len(true)
    axes.set(title=f"True weights, and recovered ones ({_looks(noise)[1]})", xlabel="input")
    axes.set_yticks([(k - 1) / 2, k + 1 + (k - 1) / 2], ["true", "recovered"], rotation=90, va="center")
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    part.colorbar(image, ax=axes, aspect=25, pad=0.01).outline.set_visible(False)


def _truth(teacher: Teacher) -> Parameters:
    return teacher.parameters.canonical(teacher.model.activation, teacher.model.free_v)


def _looks(noise: float) -> tuple[str, str]:
    return (_NOISY, f"noise {noise:g}") if noise else (_EXACT, "no noise")
