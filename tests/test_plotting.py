"""Plots: what is drawn, where it is written, and that nothing global is touched."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fastrecover.datasets import make_teacher
from fastrecover.models import Parameters, Regression
from fastrecover.recovery import Recovery


def recovery_of(teacher, steps=6, loss=None, **fields):
    history = {
        "stage": (["start"] * 2 + ["full"] * steps)[:steps],
        "pass": np.arange(steps) + 0.5,
        "loss": np.geomspace(1, 1e-20, steps) if loss is None else loss,
        "grad_norm": np.ones(steps),
        "rows": np.full(steps, 10),
        "seconds": np.arange(steps),
    }
    parameters = teacher.model.finished(teacher.parameters)
    return Recovery(
        model=teacher.model, parameters=parameters, loss=0.0, converged=True, message="", n_passes=steps,
        history=history, n_rows=10, seconds=1.0, **fields,
    )  # fmt: skip


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


def parts(figure):
    """Parts of a figure by their titles."""
    return {part._suptitle.get_text(): part for line in figure.subfigs for part in line.subfigs if part._suptitle}


def part_of(figure, title):
    return next(part for name, part in parts(figure).items() if name.startswith(title))


def stages(figure):
    """Axes of the stages by their titles."""
    return {axes.get_title(): axes for axes in part_of(figure, "Convergence").axes}


def test_panels_hold_the_numbers():
    teacher = make_teacher("tanh", 12, 3, output_weights="free", linear_term=1.0)
    rec = recovery_of(teacher)
    figure = rec.plot(teacher=teacher)
    drawn = stages(figure)
    assert list(drawn) == ["start\n10 rows", "full\n10 rows"]
    full = np.column_stack([rec.history["pass"], rec.history["loss"]])[2:]
    np.testing.assert_array_equal(drawn["full\n10 rows"].lines[0].get_xydata(), full)
    assert drawn["full\n10 rows"].get_yscale() == "log"
    (image,) = panel(figure, "Weights").images
    np.testing.assert_array_equal(image.get_array(), rec.weights)
    assert image.norm.vmin == -image.norm.vmax == -np.abs(rec.weights).max()
    scatter = panel(figure, "Against the truth")
    sizes = {line.get_label(): len(line.get_xdata()) for line in scatter.lines[1:]}
    assert sizes == {"weights": 36, "output weights": 3, "linear term": 12}
    for line in scatter.lines:
        np.testing.assert_allclose(line.get_xdata(), line.get_ydata(), atol=1e-14)


def test_biases_and_several_outputs_are_held_against_the_truth():
    teacher = make_teacher("relu", 12, 3, loss="logistic", n_outputs=4, hidden_bias=True, linear_term=1.0)
    rec = recovery_of(teacher)
    # Logits matter up to a function added to all of them, lengths up to the output weights: still the same network.
    p = teacher.parameters
    shift = p.weights[1] * 2.0
    v, a = p.output_weights[:, ::-1] / 2.0 + 0.3, p.biases[::-1] * 2.0
    truth = Parameters(p.weights[::-1] * 2.0, v, p.linear + shift, p.intercept, biases=a)
    scatter = panel(rec.plot(teacher=truth), "Against the truth")
    sizes = {line.get_label(): len(line.get_xdata()) for line in scatter.lines[1:]}
    assert sizes == {"weights": 36, "biases": 3, "output weights": 12, "linear term": 48}
    for line in scatter.lines:
        np.testing.assert_allclose(line.get_xdata(), line.get_ydata(), atol=1e-14)


def test_the_loss_axes_say_and_show_what_the_loss_is():
    teacher = make_teacher("relu", 6, 2)

    def last(*arguments, **fields):
        return list(stages(recovery_of(teacher, *arguments, **fields).plot(kinds="loss")).values())

    first, second = last()
    assert first.get_ylabel() == "loss" and second.get_ylabel() == "" and second.get_yscale() == "log"
    assert last(info={"alpha": 0.1})[0].get_ylabel() == "loss and penalty"
    axes = last(5, np.array([1.0, 1.0, 900.0, 0.2, -0.4]))[1]
    at = axes.transScale.transform([(0, loss) for loss in (900.0, 0.2, -0.4)])[:, 1]
    assert np.isfinite(at).all() and 0.1 < (at[1] - at[2]) / (at[0] - at[2]) < 0.9
    assert axes.get_ylim()[0] < -0.4
    # What is rounding fills no axes, and its ticks are numbers that can be read.
    axes = last(5, np.array([2.0, 1.0, 0.84, 0.84 + 1e-13, 0.84]))[1]
    assert axes.get_yscale() == "linear" and np.ptp(axes.get_ylim()) > 1e-3


def test_of_many_stages_the_last_are_shown():
    rec = recovery_of(make_teacher("relu", 6, 2), 8)
    rec.history["stage"] = np.array(["tensor", "restart 1", "restart 2", "a", "a", "b", "restart 1", "all rows"])
    figure = rec.plot(kinds=["loss"])
    assert list(parts(figure)) == ["Convergence: last 5 of 7 stages"]
    assert [title.split("\n")[0] for title in stages(figure)] == ["restart 2", "a", "b", "restart 1", "all rows"]


def test_units_as_images():
    teacher = make_teacher("relu", 12, 30, condition_number=1.0)
    rec = recovery_of(teacher)
    figure = rec.plot(shape=(4, 3))
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title().isdigit()]
    assert len(images) == 25
    np.testing.assert_array_equal(images[7].get_array(), rec.weights[7].reshape(4, 3))
    assert len({image.norm.vmax for image in images}) == 1
    assert "Hidden units as 4 x 3 images (first 25 of 30)" in parts(figure)


def linear_with(model, v=1.0, n=400, **parameters):
    """A network of one unit that sees x0 and a linear term in x1, and rows with what it puts out."""
    p = Parameters(np.array([[1.0, 0.0, 0.0]]), np.array([v]), np.array([0.0, 2.0, 0.0]), 0.5, **parameters)
    history = {name: [] for name in ("stage", "pass", "loss", "grad_norm", "rows", "seconds")}
    rec = Recovery(model=model, parameters=p, loss=0.0, converged=True, message="", n_passes=0, history=history,
                   n_rows=n, seconds=0.0, feature_names=["age", "$x$", "z"])  # fmt: skip
    X = np.random.default_rng(0).standard_normal((n, 3))
    return rec, X


def test_partial_dependence_of_a_sum_is_its_terms():
    model = Regression("tanh", 1, "free", True, True)
    rec, X = linear_with(model)
    figure = rec.plot(kinds="dependence", X=X)
    drawn = {axes.get_xlabel(): axes for axes in part_of(figure, "Partial dependence").axes}
    assert list(drawn) == [r"\$x\$", "age", "z"]  # by what they count
    for name, j, term in ((r"\$x\$", 1, lambda t: 2.0 * t), ("age", 0, np.tanh), ("z", 2, lambda t: 0.0 * t)):
        t, mean = drawn[name].lines[0].get_xydata().T
        left = mean - term(t)
        assert np.ptp(left) < 1e-12 and X[:, j].min() < t[0] < t[-1] < X[:, j].max()
        np.testing.assert_allclose(drawn[name].lines[1].get_xdata(), np.quantile(X[:, j], np.linspace(0.1, 0.9, 9)))
    others = np.tanh(X[:, 0]).mean() + 0.5
    t, mean = drawn[r"\$x\$"].lines[0].get_xydata().T
    np.testing.assert_allclose(mean, 2.0 * t + others, atol=1e-12)


def test_units_with_rows_show_what_these_say_of_them():
    """Responses of another function of the same projection: residuals find it."""
    rec, X = linear_with(Regression("relu", 1, "free", True, True), n=20_000)
    noise = 0.1 * np.random.default_rng(1).standard_normal(len(X))
    y = 0.5 + 2.0 * X[:, 1] + np.sin(X[:, 0]) + noise
    (axes,) = part_of(rec.plot(kinds="units", X=X, y=y), "What a hidden unit adds").axes
    points, curve = axes.lines[0].get_xydata().T, axes.lines[1].get_xydata().T
    assert points.shape == (2, 1000)
    np.testing.assert_allclose(curve[1], np.maximum(curve[0], 0.0))
    assert np.std(points[1] - np.sin(points[0])) == pytest.approx(0.1, rel=0.1)
    (bars,) = axes.containers
    z, means = bars.lines[0].get_xydata().T
    assert len(z) == 15 and np.abs(means - np.sin(z))[1:-1].max() < 0.02


@pytest.mark.parametrize("kind", ["logistic", "softmax", "poisson", "softplus"])
def test_units_of_classes_and_counts_are_met_by_steps_of_their_rows(kind):
    """Responses of the network itself: means of rows lie on the curve, to their standard errors."""
    options = {"softmax": {"loss": "logistic", "n_outputs": 3}, "softplus": {"loss": "poisson", "link": "softplus"}}
    options = options.get(kind, {"loss": kind})
    teacher = make_teacher("tanh", 4, 2, output_weights="free", norms=2.0, random_state=3, **options)
    X, y = teacher.sample(20_000, random_state=1)
    figure = recovery_of(teacher).plot(kinds="units", X=X, y=y)
    off = []
    for axes in part_of(figure, "What a hidden unit adds").axes:
        assert "rows" not in [line.get_label() for line in axes.lines] and len(axes.lines) == 2
        (bars,) = axes.containers
        (z, means), curve = bars.lines[0].get_xydata().T, axes.lines[0].get_xydata().T
        errors = np.array([np.ptp(segment[:, 1]) / 4.0 for segment in bars.lines[2][0].get_segments()])
        off.append((means - np.interp(z, *curve))[1:-1] / errors[1:-1])
    off = np.concatenate(off)
    assert len(off) == 26 and 0.5 < np.sqrt(np.mean(off**2)) < 1.6


def test_rows_without_responses_and_filters_on_patches():
    figure = recovery_of(make_teacher("relu", 6, 2)).plot(X=np.eye(6))
    assert len(parts(figure)) == 3
    for axes in part_of(figure, "What a hidden unit adds").axes:
        assert not axes.containers
    teacher = make_teacher("cnn", 8, n_patches=2)
    X, y = teacher.sample(100, random_state=0)
    figure = recovery_of(teacher).plot(X=X, y=y)
    (axes,) = part_of(figure, "What a patch adds").axes
    assert axes.get_title() == "the filter" and not axes.containers


def test_nothing_lies_on_anything_else_or_outside():
    """Every text of a full figure, drawn, is inside it, and titles and legends do not cover one another."""
    teacher = make_teacher("tanh", 4, 1, loss="logistic", n_outputs=3, hidden_bias=True)
    X, y = teacher.sample(300, random_state=0)
    rec = recovery_of(teacher, classes=["a", "b", "a class of a very long name, longer than any panel"])
    labels = rec.classes[y.astype(int)]
    for options in ({}, {"kinds": ["units", "loss"]}):
        figure = rec.plot(None, teacher, X=X, y=labels, **options)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer, (width, height) = canvas.get_renderer(), canvas.get_width_height()
        boxes = []
        for part in [each for line in figure.subfigs for each in line.subfigs]:
            own = [part._suptitle, part._supxlabel, part._supylabel, *part.legends]
            boxes += [each.get_window_extent(renderer) for each in own if each is not None]
            for axes in part.axes:
                boxes.append(axes.get_tightbbox(renderer))
        for box in boxes:
            assert box.x0 > -3 and box.y0 > -3 and box.x1 < width + 3 and box.y1 < height + 3
        shrunk = [box.padded(-1.5) for box in boxes]
        for i, one in enumerate(shrunk):
            assert not any(one.overlaps(other) for other in shrunk[:i])


@pytest.mark.parametrize("suffix, magic", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_writes_a_file(tmp_path, suffix, magic):
    teacher = make_teacher("relu", 6, 2)
    recovery_of(teacher).plot(tmp_path / f"fit.{suffix}", teacher)
    assert (tmp_path / f"fit.{suffix}").read_bytes().startswith(magic)


@pytest.mark.parametrize("steps, loss", [(0, []), (1, [0.0]), (3, [1.0, np.nan, 0.0])])
def test_histories_that_a_log_scale_does_not_like(tmp_path, steps, loss):
    recovery_of(make_teacher("relu", 6, 1), steps, np.array(loss)).plot(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").stat().st_size > 1000


def test_bad_arguments(tmp_path):
    rec = recovery_of(make_teacher("relu", 6, 2))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        rec.plot(tmp_path / "missing" / "fit.png")
    with pytest.raises(ValueError, match="product n_features = 6"):
        rec.plot(shape=(4, 2))
    with pytest.raises(TypeError, match="shape must be two integers"):
        rec.plot(shape=6)
    with pytest.raises(TypeError, match="truth must be a Teacher"):
        rec.plot(teacher=np.ones((2, 6)))
    with pytest.raises(ValueError, match="cannot compare weights"):
        rec.plot(teacher=make_teacher("relu", 6, 3))
    X, y = np.ones((5, 6)), np.ones(5)
    for wrong, error, match in (
        ({"kinds": "wieghts"}, ValueError, "kinds has an unknown panel 'wieghts'; did you mean 'weights'"),
        ({"kinds": []}, ValueError, "kinds must name one panel at least"),
        ({"kinds": ["loss", "truth"]}, ValueError, "kinds has 'truth', which needs teacher="),
        ({"kinds": "units"}, ValueError, "kinds has 'units', which needs X="),
        ({"y": y}, TypeError, "y needs X beside it"),
        ({"X": X[:, :5]}, ValueError, r"X must have shape \(n, 6\)"),
        ({"X": X[:1]}, ValueError, "X must have two rows or more"),
        ({"X": [["a"] * 6] * 2}, TypeError, "X must be real numbers"),
        ({"X": X * np.nan}, ValueError, "X must be finite"),
        ({"X": X, "y": y[:4]}, ValueError, "y has 4 entries but X has 5 rows"),
        ({"X": X, "y": np.ones((5, 2))}, ValueError, "y must have 1 columns"),
    ):
        with pytest.raises(error, match=match):
            rec.plot(tmp_path / "fit.png", **wrong)
    with pytest.raises(ValueError, match="xyz"):
        rec.plot(tmp_path / "fit.xyz")
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"fastrecover\[plot\]"):
        recovery_of(make_teacher("relu", 6, 2)).plot()


def test_nothing_global_changes_and_figures_are_freed():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figure = recovery_of(make_teacher("relu", 6, 2)).plot()
    assert dict(mpl.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None
