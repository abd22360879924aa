# cython: language_level=3
"""A loss and its gradient from Cython, without Python between two sweeps.

Build by setup.py beside this file: python setup.py build_ext --inplace
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

import numpy as np

from fastrecover.capi cimport (
    FASTRECOVER_RELU,
    fastrecover_loss,
    fastrecover_message,
    fastrecover_model,
    fastrecover_n_parameters,
    fastrecover_rows,
)


def descend(const double[:, ::1] x, const double[::1] y, double[::1] theta, int n_hidden, double step, int steps):
    """Gradient steps in place for relu units with free output weights; the loss before the last one."""
    cdef fastrecover_model model
    cdef fastrecover_rows rows
    cdef double value = 0.0
    cdef double[::1] grad = np.empty(theta.shape[0])
    cdef int status = 0, _, j
    cdef int64_t size
    memset(&model, 0, sizeof(model))  # 0 is the default of every field
    model.activation, model.n_features, model.n_hidden = FASTRECOVER_RELU, x.shape[1], n_hidden
    memset(&rows, 0, sizeof(rows))
    rows.x, rows.y, rows.bits, rows.n, rows.n_features = &x[0, 0], &y[0], 64, x.shape[0], x.shape[1]
    size = fastrecover_n_parameters(&model)
    if size < 0:
        raise ValueError(fastrecover_message(<int> size).decode())
    if size != theta.shape[0]:
        raise ValueError(f"theta must have {size} entries, got {theta.shape[0]}")
    if y.shape[0] != x.shape[0]:
        raise ValueError(f"y must have {x.shape[0]} entries, got {y.shape[0]}")
    with nogil:
        for _ in range(steps):
            status = fastrecover_loss(&model, &rows, 1, &theta[0], NULL, &value, &grad[0])
            if status:
                break
            for j in range(theta.shape[0]):
                theta[j] -= step * grad[j]
    if status:
        raise ValueError(fastrecover_message(status).decode())
    return value
