"""Lag-embedded time series as a view: row t holds frames t .. t + n_lags - 1 and costs no memory of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def lagged(stim: ArrayLike, n_lags: int) -> np.ndarray:
    """Windows of consecutive frames, without a copy.

    Parameters
    ----------
    stim : array_like (n_frames, n_channels) or (n_frames,)
        float32 and float64 are viewed; any other numeric dtype is first converted to float32 (exact for
        integers up to 2**24).
    n_lags : int
        Frames in a window.

    Returns
    -------
    ndarray (n_frames - n_lags + 1, n_lags * n_channels)
        Read-only view whose row t is ``stim[t : t + n_lags].ravel()``: oldest frame first.

    Raises
    ------
    ValueError
        Wrong dimensions, `n_lags` below 1 or above the number of frames.
    TypeError
        Non-numeric data.

    Examples
    --------
    >>> import numpy as np
    >>> lagged(np.arange(4.0), 2)
    array([[0., 1.],
           [1., 2.],
           [2., 3.]])
    """
    frames = np.asarray(stim)
    if frames.dtype.kind not in "fiub":
        raise TypeError(f"stim must be numeric, got dtype {frames.dtype}")
    if frames.ndim == 1:
        frames = frames[:, None]
    if frames.ndim != 2:
        raise ValueError(f"stim must have shape (n_frames, n_channels), got {frames.shape}")
    if isinstance(n_lags, bool) or not isinstance(n_lags, (int, np.integer)):
        raise TypeError(f"n_lags must be an integer, got {n_lags!r}")
    if not 1 <= n_lags <= len(frames):
        raise ValueError(f"n_lags must lie between 1 and the number of frames {len(frames)}, got {n_lags}")
    if frames.dtype not in (np.float32, np.float64):
        frames = frames.astype(np.float32)
    frames = np.ascontiguousarray(frames)
    n, c = frames.shape
    step = c * frames.itemsize
    return np.lib.stride_tricks.as_strided(
        frames, (n - n_lags + 1, n_lags * c), (step, frames.itemsize), writeable=False
    )
