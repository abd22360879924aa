"""Python face of the C driver.  It only translates: shapes and values are checked by the callers, and each thread
lets go of the GIL once for all that it does of a sweep."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_STRIDES,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport int64_t

import numpy as np

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from "kernels.h" nogil:
    ctypedef struct fr_op:
        pass
    ctypedef struct fr_data:
        const void *x
        int64_t stride
        int64_t n
        int64_t d
        int64_t ones
        const double *y
        const double *w
        const double *p
        int64_t q
        int64_t g
        int64_t l
        int64_t s
        int64_t tile
        int64_t block
        double *out
    ctypedef struct fr_job:
        pass
    ctypedef int (*fr_poll_fn)(void*) noexcept
    ctypedef void (*fr_activate_fn)(int, double, Py_ssize_t, const double*, double*, double*, double*) noexcept
    ctypedef struct fr_isa:
        const char *name
        fr_activate_fn activate
    ctypedef struct fr_field:
        const char *name
        size_t offset
        size_t size
    const fr_field *fr_op_fields
    int FR_LOSS_COUNT
    int FR_NO_MEMORY
    int FR_NO_SUCH_LOSS
    fr_op fr_resolved(const fr_op*) noexcept
    int fr_job_new(const fr_data*, const fr_op*, int, int64_t, int64_t, int64_t, fr_job**) noexcept
    void fr_job_work(fr_job*) noexcept
    int fr_job_finish(fr_job*, fr_poll_fn, void*, double*, double*) noexcept
    void fr_job_stop(fr_job*) noexcept
    void fr_job_free(fr_job*) noexcept
    const fr_isa *fr_current_isa()
    int fr_select_isa(const char *name)


cdef int poll(void *job) noexcept with gil:
    """Whether a signal handler has raised, which only that of the main thread can; finish raises it again."""
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<Job> job).error = error
        return 1
    return 0


cdef class Job:
    """A sweep over blocks ``first .. first + count - 1``, of which any number of threads do parts of `size` blocks.

    Helpers call :meth:`work`, in any number and at any time, and whoever made the job :meth:`finish`.
    """

    cdef fr_job *job
    cdef fr_data data
    cdef Py_buffer views[5]
    cdef int held
    cdef bytes record
    cdef object error

    def __cinit__(self, x, y, w, p, op, int64_t tile, int64_t block, int64_t first, int64_t count, int64_t size,
                  int64_t g, int64_t left, int64_t sums, out=None):
        cdef fr_data *data = &self.data
        cdef Py_buffer *view = self.get(x, PyBUF_STRIDES | PyBUF_FORMAT)
        cdef Py_ssize_t item = view.itemsize
        cdef int status
        cdef fr_op row_function
        self.record = op.record
        if len(self.record) < <Py_ssize_t> sizeof(fr_op):
            raise ValueError("the row record is not that of kernels.h")
        if view.ndim != 2 or not is_format(view, b"f" if item == sizeof(float) else b"d"):
            raise ValueError("X must be a table of float32 or float64")
        data.n, data.d = view.shape[0], view.shape[1]
        if data.n and data.d > 1 and view.strides[1] != item:
            raise ValueError("X must have unit column stride")
        if view.strides[0] % item:
            raise ValueError("X must have a row stride that is a multiple of its item size")
        data.x = view.buf if data.n and data.d else NULL
        data.stride = view.strides[0] // item
        view = self.get(p, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        if view.ndim != 2 or not is_format(view, b"d") or not 0 <= view.shape[1] - data.d <= 1:
            raise ValueError("P must have the columns of X, or one more")
        data.ones = view.shape[1] - data.d
        data.p, data.q = <const double*> filled(view), view.shape[0]
        data.y = NULL if y is None else <const double*> self.doubles(y, PyBUF_C_CONTIGUOUS)
        data.w = NULL if w is None else <const double*> self.doubles(w, PyBUF_C_CONTIGUOUS)
        data.out = NULL if out is None else <double*> self.doubles(out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        data.g, data.l, data.s, data.tile, data.block = g, left, sums, tile, block
        row_function = fr_resolved(<const fr_op*> <const char*> self.record)
        status = fr_job_new(data, &row_function, 8 * item, first, count, size, &self.job)
        if status:
            self.fail(status)

    def __dealloc__(self):
        fr_job_free(self.job)
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])

    cdef Py_buffer *get(self, array, int flags) except NULL:
        cdef Py_buffer *view = &self.views[self.held]
        PyObject_GetBuffer(array, view, flags)
        self.held += 1
        return view

    cdef void *doubles(self, array, int flags) except? NULL:
        cdef Py_buffer *view = self.get(array, flags | PyBUF_FORMAT)
        if not is_format(view, b"d"):
            raise ValueError("responses, weights and results must be float64")
        return filled(view)

    cdef int fail(self, int status) except -1:
        if status == FR_NO_SUCH_LOSS:
            raise ValueError("a loss that the compiled kernels do not have")
        if status == FR_NO_MEMORY:
            raise MemoryError("no memory for the work space of a sweep")
        raise self.error or RuntimeError("the sweep was stopped")

    def work(self):
        """Do parts until none is left."""
        with nogil:
            fr_job_work(self.job)

    def stop(self):
        """End the sweep soon: nobody wants its sums."""
        fr_job_stop(self.job)

    def finish(self):
        """Work, wait for the others, and return the sums; what a signal handler raises ends the sweep."""
        a, s = np.empty((self.data.g, self.data.l)), np.empty(self.data.s)
        self.write(a, s)
        return a, s

    cdef int write(self, double[:, ::1] a, double[::1] s) except -1:
        cdef double *pa = &a[0, 0] if a.shape[0] and a.shape[1] else NULL
        cdef double *ps = &s[0] if s.shape[0] else NULL
        cdef int status
        if (a.shape[0], a.shape[1], s.shape[0]) != (self.data.g, self.data.l, self.data.s):
            raise ValueError("the sums have other shapes")
        with nogil:
            status = fr_job_finish(self.job, poll, <void*> self, pa, ps)
        if status:
            self.fail(status)


cdef bint is_format(const Py_buffer *view, const char *format):
    return view.format != NULL and view.format[0] == format[0] and view.format[1] == 0


cdef void *filled(const Py_buffer *view):
    return view.buf if view.len else NULL


def sweep(x, y, w, p, op, int64_t tile, int64_t block, int64_t first, int64_t count, double[:, ::1] a, double[::1] s,
          out=None):
    """Sums of blocks ``first .. first + count - 1`` into `a` and `s`; see ``kernels.sweep`` for the meaning."""
    Job(x, y, w, p, op, tile, block, first, count, max(count, 1), a.shape[0], a.shape[1], s.shape[0], out).write(a, s)


LOSSES = frozenset(range(FR_LOSS_COUNT))


def record_layout():
    """Name, offset and size of every field of the row record, and the size of all, as the C compiler lays it out."""
    fields = []
    cdef const fr_field *field = fr_op_fields
    while field.name != NULL:
        fields.append((field.name.decode(), field.offset, field.size))
        field += 1
    return fields, sizeof(fr_op)


def activate(int code, double slope, const double[::1] z, double[::1] u, double[::1] d1, double[::1] d2):
    """Activation `code` and its first two derivatives at `z`."""
    cdef Py_ssize_t n = z.shape[0]
    if n == 0:
        return
    with nogil:
        fr_current_isa().activate(code, slope, n, &z[0], &u[0], &d1[0], &d2[0])


def instruction_set():
    """Name of the instruction set that the kernels use: avx512, avx2 or base."""
    return fr_current_isa().name.decode()


def select_instruction_set(name):
    """Use the named instruction set (None: the widest); ValueError where it is not to be had."""
    cdef bytes encoded
    cdef int status
    if name is None:
        for best in ("avx512", "avx2", "base"):
            if fr_select_isa(best.encode()) == 0:
                break
        return
    encoded = name.encode()
    status = fr_select_isa(encoded)
    if status:
        raise ValueError(f"instruction set {name!r} is not available; this machine uses {instruction_set()!r}")
