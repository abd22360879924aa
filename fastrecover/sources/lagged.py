"""Lag-embedded time series as a view: row t holds frames t .. t + n_lags - 1 and costs no memory of its own."""

from __future__ import annotations

import numpy as np


def lagged(stim, n_lags: int) -> np.ndarray:
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
    stim = np.asarray(stim)
    if stim.dtype.kind not in "fiub":
        raise TypeError(f"stim must be numeric, got dtype {stim.dtype}")
    if stim.ndim == 1:
        stim = stim[:, None]
    if stim.ndim != 2:
        raise ValueError(f"stim must have shape (n_frames, n_channels), got {stim.shape}")
    if isinstance(n_lags, bool) or not isinstance(n_lags, (int, np.integer)):
        raise TypeError(f"n_lags must be an integer, got {n_lags!r}")
    if not 1 <= n_lags <= len(stim):
        raise ValueError(f"n_lags must lie between 1 and the number of frames {len(stim)}, got {n_lags}")
    if stim.dtype not in (np.float32, np.float64):
        stim = stim.astype(np.float32)
    stim = np.ascontiguousarray(stim)
    n, c = stim.shape
    step = c * stim.itemsize
    return np.lib.stride_tricks.as_strided(stim, (n - n_lags + 1, n_lags * c), (step, stim.itemsize), writeable=False)
