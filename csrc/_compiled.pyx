"""Python face of the C driver.  It only translates: shapes, dtypes and values are checked by the callers, and
the GIL is released for the whole of a sweep so that a plain thread pool scales."""

from libc.stdint cimport int64_t

cdef extern from "fastrecover.h" nogil:
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
    ctypedef int (*fr_sweep_fn)(const fr_data*, const fr_op*, int64_t, int64_t, double*, double*) noexcept
    ctypedef void (*fr_activate_fn)(int, double, Py_ssize_t, const double*, double*, double*, double*) noexcept
    ctypedef struct fr_isa:
        const char *name
        fr_sweep_fn sweep_f32
        fr_sweep_fn sweep_f64
        fr_activate_fn activate
    ctypedef struct fr_field:
        const char *name
        size_t offset
        size_t size
    const fr_field *fr_op_fields
    int FR_LOSS_COUNT
    const fr_isa *fr_current_isa()
    int fr_select_isa(const char *name)


ctypedef fused real:
    float
    double


def sweep(const real[:, :] x, object y, const double[::1] w, const double[:, ::1] p, object op,
          int64_t tile, int64_t block, int64_t first, int64_t count, double[:, ::1] a, double[::1] s,
          double[:, ::1] out=None):
    """Sums of blocks ``first .. first + count`` into `a` and `s`; see ``kernels.sweep`` for the meaning."""
    cdef fr_data data
    cdef const unsigned char[::1] record = op.record
    cdef const double[::1] targets = y if y is None or y.ndim == 1 else y.reshape(-1)
    cdef int status
    if record.shape[0] < <Py_ssize_t> sizeof(fr_op):
        raise ValueError("the row record is not that of fastrecover.h")
    if x.shape[0] and x.shape[1] > 1 and x.strides[1] != sizeof(real):
        raise ValueError("X must have unit column stride")
    if x.strides[0] % <Py_ssize_t> sizeof(real):
        raise ValueError("X must have a row stride that is a multiple of its item size")
    if not 0 <= p.shape[1] - x.shape[1] <= 1:
        raise ValueError("P must have the columns of X, or one more")
    data.x = <const void*> &x[0, 0] if x.shape[0] and x.shape[1] else NULL
    data.stride = x.strides[0] // <Py_ssize_t> sizeof(real)
    data.n = x.shape[0]
    data.d = x.shape[1]
    data.ones = p.shape[1] - x.shape[1]
    data.y = NULL if y is None else &targets[0] if targets.shape[0] else NULL
    data.w = NULL if w is None else &w[0] if w.shape[0] else NULL
    data.p = &p[0, 0] if p.shape[0] and p.shape[1] else NULL
    data.q = p.shape[0]
    data.g = a.shape[0]
    data.l = a.shape[1]
    data.s = s.shape[0]
    data.tile = tile
    data.block = block
    data.out = NULL if out is None else &out[0, 0] if out.shape[0] else NULL
    cdef double *pa = &a[0, 0] if a.shape[0] and a.shape[1] else NULL
    cdef double *ps = &s[0] if s.shape[0] else NULL
    cdef fr_sweep_fn run = fr_current_isa().sweep_f32 if real is float else fr_current_isa().sweep_f64
    with nogil:
        status = run(&data, <const fr_op*> &record[0], first, count, pa, ps)
    if status == -2:
        raise ValueError("a loss that the compiled kernels do not have")
    if status:
        raise MemoryError("no memory for the work space of a sweep")


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
