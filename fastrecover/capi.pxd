# The C library for Cython: `from fastrecover.capi cimport fastrecover_loss`; compile with fastrecover.get_include() and
# link with fastrecover.get_library().  What everything means stands in include/fastrecover.h.
from libc.stdint cimport int64_t

cdef extern from "fastrecover.h" nogil:
    int FASTRECOVER_VERSION
    int FASTRECOVER_FUNCTION
    int FASTRECOVER_RELU
    int FASTRECOVER_LEAKY_RELU
    int FASTRECOVER_SQUARED_RELU
    int FASTRECOVER_QUADRATIC
    int FASTRECOVER_SIGMOID
    int FASTRECOVER_TANH
    int FASTRECOVER_ERF
    int FASTRECOVER_SOFTPLUS

    int FASTRECOVER_SQUARED
    int FASTRECOVER_MEAN_OF_SIGMOIDS
    int FASTRECOVER_HUBER
    int FASTRECOVER_LOGISTIC
    int FASTRECOVER_SOFTMAX
    int FASTRECOVER_POISSON
    int FASTRECOVER_POISSON_SOFTPLUS
    int FASTRECOVER_LINEAR

    int FASTRECOVER_OK
    int FASTRECOVER_NO_MEMORY
    int FASTRECOVER_INTERRUPTED
    int FASTRECOVER_BAD_ACTIVATION
    int FASTRECOVER_BAD_LOSS
    int FASTRECOVER_BAD_SIZE
    int FASTRECOVER_BAD_PATCHES
    int FASTRECOVER_BAD_MEAN_OF_SIGMOIDS
    int FASTRECOVER_BAD_OUTPUTS
    int FASTRECOVER_BAD_BITS
    int FASTRECOVER_BAD_STRIDE
    int FASTRECOVER_BAD_FEATURES
    int FASTRECOVER_NO_ROWS
    int FASTRECOVER_NULL

    ctypedef void (*fastrecover_function)(const double *z, double *u, double *d1, double *d2, int64_t n) noexcept

    ctypedef struct fastrecover_model:
        int activation
        int loss
        double slope
        double delta
        fastrecover_function function
        int64_t n_features
        int64_t n_hidden
        int64_t n_outputs
        int64_t n_patches
        int hidden_bias
        int linear_term
        int fit_intercept
        const double *output_weights

    ctypedef struct fastrecover_rows:
        const void *x
        int bits
        int64_t n
        int64_t n_features
        int64_t stride
        const double *y
        const double *weight

    ctypedef struct fastrecover_options:
        int n_threads
        int (*poll)(void *context) noexcept
        void *context

    int fastrecover_version() noexcept
    const char *fastrecover_message(int status) noexcept
    int64_t fastrecover_n_parameters(const fastrecover_model *model) noexcept
    int fastrecover_loss(const fastrecover_model *model, const fastrecover_rows *rows, int64_t n_sets,
                         const double *theta, const fastrecover_options *options, double *value, double *grad) noexcept
    int fastrecover_hessian_product(const fastrecover_model *model, const fastrecover_rows *rows, const double *theta,
                                    const double *direction, int gauss_newton, const fastrecover_options *options,
                                    double *product) noexcept
    int fastrecover_outputs(const fastrecover_model *model, const fastrecover_rows *rows, int64_t n_sets,
                            const double *theta, const fastrecover_options *options, double *outputs) noexcept
    int fastrecover_jacobian_product(const fastrecover_model *model, const fastrecover_rows *rows, const double *theta,
                                     const double *direction, const fastrecover_options *options,
                                     double *product) noexcept
    int fastrecover_first_moment(const fastrecover_rows *rows, const fastrecover_options *options,
                                 double *moment) noexcept
    int fastrecover_second_moment(const fastrecover_rows *rows, int64_t m, const double *v,
                                  const fastrecover_options *options, double *product) noexcept
    int fastrecover_third_moment(const fastrecover_rows *rows, int64_t m, const double *v,
                                 const fastrecover_options *options, double *packed) noexcept
