"""Plots: what is drawn, where it is written, and that nothing global is touched."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

from fastrecover.datasets import make_teacher
from fastrecover.models import Parameters
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


def test_panels_hold_the_numbers():
    teacher = make_teacher("tanh", 12, 3, output_weights="free", linear_term=1.0)
    rec = recovery_of(teacher)
    figure = rec.plot(teacher=teacher)
    convergence = panel(figure, "Convergence")
    assert convergence.get_yscale() == "log"
    drawn = {line.get_label(): line.get_xydata() for line in convergence.lines[1:]}
    assert list(drawn) == ["start", "full"]
    full = np.column_stack([rec.history["pass"], rec.history["loss"]])[2:]
    np.testing.assert_array_equal(drawn["full"], full)
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


def test_the_loss_axis_says_and_shows_what_the_loss_is():
    teacher = make_teacher("relu", 6, 2)
    axes = panel(recovery_of(teacher).plot(), "Convergence")
    assert axes.get_ylabel() == "loss" and axes.get_yscale() == "log"
    axes = panel(recovery_of(teacher, info={"alpha": 0.1}).plot(), "Convergence")
    assert axes.get_ylabel() == "loss and penalty"
    axes = panel(recovery_of(teacher, 3, np.array([900.0, 0.2, -0.4])).plot(), "Convergence")
    at = axes.transScale.transform([(0, loss) for loss in (900.0, 0.2, -0.4)])[:, 1]
    assert np.isfinite(at).all() and 0.1 < (at[1] - at[2]) / (at[0] - at[2]) < 0.9
    assert axes.get_ylim()[0] < -0.4


def test_units_as_images():
    teacher = make_teacher("relu", 12, 30, condition_number=1.0)
    rec = recovery_of(teacher)
    figure = rec.plot(shape=(4, 3))
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title().isdigit()]
    assert len(images) == 25
    np.testing.assert_array_equal(images[7].get_array(), rec.weights[7].reshape(4, 3))
    assert len({image.norm.vmax for image in images}) == 1
    assert any("first 25 of 30" in text.get_text() for part in figure.subfigs for text in part.texts)


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
