"""Python face of the C driver.  It only translates: shapes, dtypes and values are checked by the callers, and
the GIL is released for the whole of a sweep so that a plain thread pool scales."""

from libc.stdint cimport int32_t, int64_t, uintptr_t

cdef extern from "fastrecover.h" nogil:
    ctypedef void (*fr_user_fn)(const double*, double*, double*, double*, int64_t) noexcept
    ctypedef struct fr_row:
        int op
        int activation
        double slope
        fr_user_fn user
        int loss
        int64_t group
        int64_t reps
        int64_t k
        int64_t linear
        const double *v
        const double *c
        int grad
        int newton
        const double *dv
        double dc
        int free_w
        int free_v
        int free_c
        int64_t m
        int order
        int unit_response
        double alpha2
        double pair
        double single
        int64_t n_features
        const int32_t *factors
    ctypedef struct fr_data:
        const void *x
        int64_t stride
        int64_t n
        int64_t d
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
    ctypedef int (*fr_sweep_fn)(const fr_data*, const fr_row*, int64_t, int64_t, double*, double*) noexcept
    ctypedef void (*fr_activate_fn)(int, double, Py_ssize_t, const double*, double*, double*, double*) noexcept
    ctypedef struct fr_isa:
        const char *name
        fr_sweep_fn sweep_f32
        fr_sweep_fn sweep_f64
        fr_activate_fn activate
    const fr_isa *fr_current_isa()
    int fr_select_isa(const char *name)


ctypedef fused real:
    float
    double


def sweep(const real[:, :] x, const double[::1] y, const double[::1] w, const double[:, ::1] p, object row,
          int64_t tile, int64_t block, int64_t first, int64_t count, double[:, ::1] a, double[::1] s,
          double[:, ::1] out=None):
    """Sums of blocks ``first .. first + count`` into `a` and `s`; see ``kernels.sweep`` for the meaning."""
    cdef fr_data data
    cdef fr_row r
    cdef const double[:, ::1] v = row.v
    cdef const double[::1] c = row.c
    cdef const double[::1] dv = row.dv
    cdef const int32_t[:, ::1] factors = row.factors
    cdef uintptr_t user = row.user_address
    cdef int status
    if x.shape[0] and x.shape[1] > 1 and x.strides[1] != sizeof(real):
        raise ValueError("X must have unit column stride")
    if x.strides[0] % <Py_ssize_t> sizeof(real):
        raise ValueError("X must have a row stride that is a multiple of its item size")
    data.x = <const void*> &x[0, 0] if x.shape[0] and x.shape[1] else NULL
    data.stride = x.strides[0] // <Py_ssize_t> sizeof(real)
    data.n = x.shape[0]
    data.d = x.shape[1]
    data.y = NULL if y is None else &y[0] if y.shape[0] else NULL
    data.w = NULL if w is None else &w[0] if w.shape[0] else NULL
    data.p = &p[0, 0] if p.shape[0] and p.shape[1] else NULL
    data.q = p.shape[0]
    data.g = a.shape[0]
    data.l = a.shape[1]
    data.s = s.shape[0]
    data.tile = tile
    data.block = block
    data.out = NULL if out is None else &out[0, 0] if out.shape[0] else NULL
    r.op = row.op
    r.activation = row.activation.code
    r.slope = row.activation.slope
    r.user = <fr_user_fn> user
    r.loss = row.loss
    r.group = row.group
    r.reps = row.reps
    r.k = row.k
    r.linear = row.linear
    r.v = &v[0, 0] if v.shape[0] and v.shape[1] else NULL
    r.c = &c[0] if c.shape[0] else NULL
    r.grad = row.grad
    r.newton = row.newton
    r.dv = &dv[0] if dv.shape[0] else NULL
    r.dc = row.dc
    r.free_w = row.free_w
    r.free_v = row.free_v
    r.free_c = row.free_c
    r.m = row.m
    r.order = row.order
    r.unit_response = row.unit_response
    r.alpha2 = row.alpha2
    r.pair = row.pair
    r.single = row.single
    r.n_features = row.factors.shape[0]
    r.factors = &factors[0, 0] if factors.shape[0] else NULL
    cdef double *pa = &a[0, 0] if a.shape[0] and a.shape[1] else NULL
    cdef double *ps = &s[0] if s.shape[0] else NULL
    cdef fr_sweep_fn run = fr_current_isa().sweep_f32 if real is float else fr_current_isa().sweep_f64
    with nogil:
        status = run(&data, &r, first, count, pa, ps)
    if status:
        raise MemoryError("no memory for the work space of a sweep")


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
