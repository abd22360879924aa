"""Lag-embedded series: the view's numbers, that it is a view, and that fits leave it one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fastrecover as fr


def windows(stim, n_lags):
    return np.array([stim[t : t + n_lags].ravel() for t in range(len(stim) - n_lags + 1)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape, n_lags", [((9, 2), 3), ((9, 1), 9), ((9,), 4), ((9, 3), 1), ((1, 5), 1)])
def test_windows_without_a_copy(dtype, shape, n_lags):
    stim = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    view = fr.lagged(stim, n_lags)
    np.testing.assert_array_equal(view, windows(stim, n_lags))
    assert view.dtype == dtype
    assert np.shares_memory(view, stim)
    assert not view.flags.writeable
    assert view.strides[1] == view.itemsize


def test_other_layouts_are_copied_once():
    stim = np.asfortranarray(np.random.default_rng(0).standard_normal((30, 4)))
    for given in (stim, stim[::-1], stim[::2, 1:3], stim[:, ::-1]):
        np.testing.assert_array_equal(fr.lagged(given, 5), windows(given, 5))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16, ">f8", ">f4"])
def test_other_numbers(dtype):
    stim = (np.random.default_rng(0).integers(0, 2, (20, 3))).astype(dtype)
    view = fr.lagged(stim, 4)
    np.testing.assert_array_equal(view, windows(stim, 4))
    assert view.dtype in (np.float32, np.float64) and view.dtype.isnative


def test_the_view_keeps_the_series_alive():
    view = fr.lagged(np.arange(1000.0), 10)
    fr.lagged(np.zeros(1000), 10)
    np.testing.assert_array_equal(view[-1], np.arange(990.0, 1000.0))


@pytest.mark.parametrize(
    "stim, n_lags, error, match",
    [
        (np.zeros((5, 2)), 0, ValueError, "n_lags must lie between 1 and the number of frames 5"),
        (np.zeros((5, 2)), 6, ValueError, "n_lags must lie between"),
        (np.zeros((0, 2)), 1, ValueError, "n_lags must lie between"),
        (np.zeros((5, 2)), 2.0, TypeError, "n_lags must be an integer"),
        (np.zeros((5, 2)), True, TypeError, "n_lags must be an integer"),
        (np.zeros((5, 2, 2)), 2, ValueError, "stim must have shape"),
        (np.array(["a", "b"]), 1, TypeError, "stim must be numeric"),
        (np.zeros(4, complex), 1, TypeError, "stim must be numeric"),
        (np.array([None, 1]), 1, TypeError, "stim must be numeric"),
    ],
)
def test_errors(stim, n_lags, error, match):
    with pytest.raises(error, match=match):
        fr.lagged(stim, n_lags)


@pytest.mark.parametrize("model", ["relu", "quadratic"])
def test_a_fit_does_not_materialise_the_view(model):
    """The copy would take 128 MB; the fit's peak stays below a tenth of that."""
    rng = np.random.default_rng(1)
    stim = rng.standard_normal((100_159, 1))
    view = fr.lagged(stim, 160)
    teacher = fr.datasets.make_teacher(model, 160, 1, output_weights="ones", random_state=2)
    y = teacher.predict(view)
    fr.fit(view[:2000], y[:2000], model, 1, output_weights="ones", random_state=3)  # imports what a fit needs
    tracemalloc.start()
    rec = fr.fit(view, y, model, 1, output_weights="ones", random_state=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rec.error(teacher) < 1e-8
    assert peak < 12.8e6
    tracemalloc.start()
    rec.predict(view)
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()
