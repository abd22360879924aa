"""The panels of a figure, each a function that draws on a part of it, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .effects import Rows, leading_features, outputs_told, partial_dependence, ridge
from .models import HasParameters, Parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from matplotlib.image import AxesImage

_INK, _FAINT = "#333333", "#c8c8c8"
#: Told apart with any colour vision (Tol's bright scheme); lines differ by their dashes as well.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
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
_NO_CHANGE = 2e-3
_MOST_IMAGES, _MOST_STAGES, _MOST_FEATURES, _MOST_UNITS, _MOST_TITLES = 25, 5, 6, 12, 12


class Fitted(HasParameters, Protocol):
    """What is drawn: a Recovery."""

    classes: np.ndarray | None
    feature_names: list[str] | None
    history: dict[str, np.ndarray]
    info: dict[str, Any]

    def decision_function(self, X: ArrayLike, n_jobs: int | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class Shown:
    """What panels draw from."""

    recovery: Fitted
    truth: Parameters | None
    shape: tuple[int, int] | None
    rows: Rows | None

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.recovery.parameters.weights.shape[1] * self.recovery.model.n_patches

    def feature(self, j: int) -> str:
        """Title of a feature."""
        names = self.recovery.feature_names
        return names[j] if names else f"feature {j}"


@dataclass(frozen=True)
class Panel:
    """One part of a figure.

    Attributes
    ----------
    draw : callable
        Draws on a part of a figure.
    size : callable
        Width and height, in inches.
    needs : str
        Argument of :func:`plot` without which there is nothing to draw.
    """

    draw: Callable[[SubFigure, Shown], None]
    size: Callable[[Shown], tuple[float, float]]
    needs: str = ""


def _stages(history: dict[str, np.ndarray]) -> list[slice]:
    """Steps of each stage, those that follow one another."""
    changes = np.flatnonzero(history["stage"][1:] != history["stage"][:-1]) + 1
    edges = [0, *changes.tolist(), len(history["stage"])]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _convergence(part: SubFigure, shown: Shown) -> None:
    history = shown.recovery.history
    every = _stages(history)
    stages = every[-_MOST_STAGES:]
    last = "" if len(stages) == len(every) else f": last {len(stages)} of {len(every)} stages"
    part.suptitle(f"Convergence{last}", fontsize=10)
    part.supxlabel("passes over the data", fontsize=9)
    row = np.ravel(np.asarray(part.subplots(1, len(stages), squeeze=False)))
    row[0].set_ylabel("loss and penalty" if shown.recovery.info.get("alpha") else "loss")
    if not len(history["pass"]):
        row[0].text(0.5, 0.5, "no history", ha="center", va="center", transform=row[0].transAxes)
        return
    for axes, stage, colour in zip(row, stages, _COLOURS, strict=False):
        passes, loss, rows = (history[name][stage] for name in ("pass", "loss", "rows"))
        _scaled(axes, loss)
        axes.plot(passes, loss, "o-", ms=3.5, lw=1.0, mew=0, color=colour)
        axes.set_title(f"{history['stage'][stage][0]}\n{_count(rows)} rows", fontsize=8)
        axes.grid(axis="y", color=_FAINT, lw=0.5, alpha=0.6)
        axes.margins(x=0.12)
        _few_ticks(axes, 3)
        if axes.get_yscale() == "linear":
            axes.ticklabel_format(axis="y", useOffset=False)


def _scaled(axes: Axes, loss: np.ndarray) -> None:
    """The scale on which a fall of the loss is seen: logarithmic where it is by much."""
    finite = loss[np.isfinite(loss)]
    if (finite < 0).any():  # those of counts lie on both sides of zero
        axes.set_yscale("symlog", linthresh=float(np.abs(finite[finite < 0]).max()))
    elif (finite > 0).any() and finite.max() > 5.0 * finite.min():
        axes.set_yscale("log")
    elif finite.size and np.ptp(finite) < _NO_CHANGE * abs(finite[0]):  # rounding is no fall
        axes.set_ylim(finite[0] * (1.0 - _NO_CHANGE), finite[0] * (1.0 + _NO_CHANGE))


def _few_ticks(axes: Axes, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(count, steps=[1, 2, 5, 10]))
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(count + 2, steps=[1, 2, 2.5, 5, 10]))


def _count(rows: np.ndarray) -> str:
    least, most = int(rows.min()), int(rows.max())
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def _weights(part: SubFigure, shown: Shown) -> None:
    if shown.shape is None:
        _heat_map(part, shown)
    else:
        _images(part, shown.recovery.parameters.weights, shown.shape)


def _heat_map(part: SubFigure, shown: Shown) -> None:
    from matplotlib.ticker import MaxNLocator

    weights, names = shown.recovery.parameters.weights, shown.recovery.feature_names
    axes = part.subplots()
    image = axes.imshow(weights, **_colouring(weights))
    axes.set(title="Weights", xlabel="feature", ylabel="hidden unit")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    if names and len(names) == weights.shape[1] <= _MOST_TITLES:
        axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=45, ha="right")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _colour_bar(part, image, axes)


def _short(name: str) -> str:
    name = name.replace("$", r"\$")  # which would begin a formula
    return name if len(name) <= 24 else f"{name[:22]}..."


def _images(part: SubFigure, weights: np.ndarray, shape: tuple[int, int]) -> None:
    shown = weights[:_MOST_IMAGES]
    # As many columns as make the whole grid about square.
    columns = int(np.clip(round(np.sqrt(len(shown) * shape[0] / shape[1])), 1, len(shown)))
    grid = part.subplots(-(-len(shown) // columns), columns, squeeze=False)
    alike = max(shape) <= 4 * min(shape)  # as pixels are; of lags and channels neither has the other's unit
    colouring = _colouring(shown) | {"aspect": "equal" if alike else "auto"}
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
    bar = part.colorbar(image, ax=axes, shrink=0.8, aspect=25, label="weight")
    bar.outline.set_visible(False)


def _scatter(part: SubFigure, shown: Shown) -> None:
    recovery, truth, axes = shown.recovery, shown.truth, part.subplots()
    assert truth is not None  # what is given where this is drawn
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


def _dependence(part: SubFigure, shown: Shown) -> None:
    recovery, rows = shown.recovery, shown.rows
    assert rows is not None
    features = leading_features(recovery, rows.x, _MOST_FEATURES)
    told = outputs_told(recovery)
    drawn = told[: len(_DASHES)]
    of = "" if len(features) == rows.x.shape[1] else f" ({len(features)} that count most of {rows.x.shape[1]})"
    part.suptitle(f"Partial dependence on features{of}", fontsize=10)
    part.supylabel(f"mean {drawn[0]}" if len(told) == 1 else "mean prediction", fontsize=9)
    for axes, feature in zip(_grid(part, len(features), True), features, strict=True):
        values, means = partial_dependence(recovery, rows.x, feature)
        for name, mean, colour, dashes in zip(drawn, means.T, _COLOURS, _DASHES, strict=False):
            axes.plot(values, mean, color=colour, ls=dashes, lw=1.6, label=_short(name))
        deciles = np.quantile(rows.x[:, feature], np.linspace(0.1, 0.9, 9))
        axes.plot(deciles, np.full(9, 0.02), "|", color=_INK, ms=5, mew=0.8, transform=axes.get_xaxis_transform())
        axes.set_xlabel(_short(shown.feature(feature)))
        axes.grid(axis="y", color=_FAINT, lw=0.5, alpha=0.6)
        _few_ticks(axes, 4)
    if len(told) > 1:
        more = f" (first {len(drawn)} of {len(told)})" if len(drawn) < len(told) else ""
        handles, labels = axes.get_legend_handles_labels()
        columns = _columns(len(features))
        part.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, title=more or None, fontsize=8
        )


def _ridges(part: SubFigure, shown: Shown) -> None:
    recovery, rows = shown.recovery, shown.rows
    assert rows is not None
    units, patches = len(recovery.parameters.weights), recovery.model.n_patches
    told = min(units, _MOST_UNITS)
    of = "" if told == units else f" (first {told} of {units})"
    part.suptitle(f"What a {'patch' if patches > 1 else 'hidden unit'} adds to the output{of}", fontsize=10)
    named: dict[str, Any] = {}
    for unit, axes in enumerate(_grid(part, told, False)):
        found = ridge(recovery, rows, unit)
        if found.points is not None:
            named["rows"] = axes.plot(found.seen, found.points, "o", ms=2.5, mew=0, alpha=0.3, color="#777777")[0]
            named["rows"].set_rasterized(True)
        named["v \N{GREEK SMALL LETTER PHI}(w \N{MIDDLE DOT} x + a)"] = axes.plot(
            found.z, found.curve, color=_COLOURS[0], lw=1.8, zorder=3
        )[0]
        if found.bins is not None:
            z, means, errors = found.bins
            named["mean of rows, 2 standard errors"] = axes.errorbar(
                z, means, 2.0 * errors, fmt="D", ms=3, mew=0, lw=1.0, color=_COLOURS[1], zorder=4
            )
            told_of = [found.curve, means - 2.0 * errors, means + 2.0 * errors]
            if found.points is not None:  # but for the few that lie far off
                told_of.append(np.quantile(found.points, (0.005, 0.995)))
            low, high = (float(end(np.concatenate(told_of))) for end in (np.min, np.max))
            axes.set_ylim(low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0))
        else:
            deciles = np.quantile(found.seen, np.linspace(0.1, 0.9, 9))
            axes.plot(deciles, np.full(9, 0.02), "|", color=_INK, ms=5, mew=0.8, transform=axes.get_xaxis_transform())
        axes.set_title("the filter" if patches > 1 else f"unit {unit}{_to(recovery, found.output)}", fontsize=8)
        axes.set_xlabel("w \N{MIDDLE DOT} x" + " of a patch" * (patches > 1), fontsize=8)
        axes.grid(axis="y", color=_FAINT, lw=0.5, alpha=0.6)
        _few_ticks(axes, 4)
    if len(named) > 1:
        columns = _columns(told)
        part.legend(named.values(), named, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _to(recovery: Fitted, output: int) -> str:
    """Which of several outputs is meant."""
    if recovery.model.n_outputs == 1:
        return ""
    return f", to output {output}" if recovery.classes is None else f", to {_short(str(recovery.classes[output]))}"


def _columns(count: int) -> int:
    return {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3 if count <= 6 else 4)


def _grid(part: SubFigure, count: int, share: bool) -> list[Axes]:
    """So many axes, row by row, those that are left over taken away."""
    columns = _columns(count)
    axes = np.asarray(part.subplots(-(-count // columns), columns, squeeze=False, sharey=share)).ravel()
    for rest in axes[count:]:
        rest.remove()
    return list(axes[:count])


def _grid_size(count: int) -> tuple[float, float]:
    columns = _columns(count)
    return max(4.2, 2.2 * columns), 1.9 * -(-count // columns) + 1.0


#: Every panel there is, in the order in which they stand.
PANELS: dict[str, Panel] = {
    "loss": Panel(
        _convergence, lambda shown: (max(4.2, 1.75 * min(len(_stages(shown.recovery.history)), _MOST_STAGES)), 3.8)
    ),
    "weights": Panel(_weights, lambda shown: (4.2, 3.8)),
    "truth": Panel(_scatter, lambda shown: (4.2, 3.8), "teacher"),
    "dependence": Panel(_dependence, lambda shown: _grid_size(min(shown.n_features, _MOST_FEATURES)), "X"),
    "units": Panel(_ridges, lambda shown: _grid_size(min(len(shown.recovery.parameters.weights), _MOST_UNITS)), "X"),
}
