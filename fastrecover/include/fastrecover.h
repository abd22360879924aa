/* Sweeps over the rows of a table for one-hidden-layer networks, for programs in C and in languages that call it.

   Each function reads every row once: it projects the row on the units, turns the projections into outputs and losses,
   and adds their derivatives up while the row is still in cache.  Sums do not depend on the number of threads; losses,
   gradients and products are bit for bit those of the Python package (fastrecover.objective).

   A network of k units on rows x of d features has the outputs

       f_o(x) = c_o + b_o . x + sum_j v_oj phi(w_j . x + a_j),     o = 1 .. n_outputs,

   and its parameters are one vector theta of doubles, those that the model has in this order:
   weights w (k, d), biases a (k), output weights v (n_outputs, k), linear term b (n_outputs, d), intercept c
   (n_outputs).  All tables are row-major.

   Functions may be called from any number of threads at once.  Those that return int return 0 (FASTRECOVER_OK) or a
   negative number that fastrecover_message tells in words; then results are not to be used.  NULL for the options
   means all processors.  Numbers are not looked at: where rows hold NaN, so do sums. */
#ifndef FASTRECOVER_H
#define FASTRECOVER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changed whenever a program has to be compiled anew; fastrecover_version() is that of the library at hand. */
#define FASTRECOVER_VERSION 1

#if defined(__GNUC__)
#define FASTRECOVER_API __attribute__((visibility("default")))
#else
#define FASTRECOVER_API
#endif

/* Activations phi; |z| is LEAKY_RELU with the slope -1. */
enum {
    FASTRECOVER_FUNCTION = -1, /* the function of the model */
    FASTRECOVER_RELU = 0,
    FASTRECOVER_LEAKY_RELU = 1,
    FASTRECOVER_SQUARED_RELU = 2,
    FASTRECOVER_QUADRATIC = 3,
    FASTRECOVER_SIGMOID = 4,
    FASTRECOVER_TANH = 5,
    FASTRECOVER_ERF = 6,
    FASTRECOVER_SOFTPLUS = 7
};

/* Losses of a row of outputs f and responses y, summed over outputs. */
enum {
    FASTRECOVER_SQUARED = 0,          /* (f - y)^2 / 2 */
    FASTRECOVER_MEAN_OF_SIGMOIDS = 1, /* cross entropy of y in [0, 1] against the mean of the sigmoid units */
    FASTRECOVER_HUBER = 2,            /* the same up to |f - y| = delta, linear beyond */
    FASTRECOVER_LOGISTIC = 3,         /* log(1 + e^f) - y f, y in [0, 1] */
    FASTRECOVER_SOFTMAX = 4,          /* log sum_o e^f_o - sum_o y_o f_o, rows of y are probabilities */
    FASTRECOVER_POISSON = 5,          /* e^f - y f, counts y */
    FASTRECOVER_POISSON_SOFTPLUS = 6, /* r - y log r with the rate r = log(1 + e^f) */
    FASTRECOVER_LINEAR = 7            /* y f: its gradient is the product of y with the Jacobian of the outputs */
};

/* Values u, first derivatives d1 and second ones d2 of an activation at n points; d1 may be NULL, and d2 where it is or
   where no second derivative is asked for.  Called from several threads at once. */
typedef void (*fastrecover_function)(const double *z, double *u, double *d1, double *d2, int64_t n);

/* What a network looks like.  Fields that are 0 say: relu, squared loss, one output, free output weights and no more. */
typedef struct {
    int activation;
    int loss;
    double slope;                  /* of LEAKY_RELU below 0 */
    double delta;                  /* of HUBER, positive */
    fastrecover_function function; /* of FASTRECOVER_FUNCTION */
    int64_t n_features;            /* d; of one patch, where samples are cut into patches */
    int64_t n_hidden;              /* k */
    int64_t n_outputs;             /* 0 counts as 1 */
    int64_t n_patches;             /* rows that make a sample, on which one unit is summed; 0 counts as 1 */
    int hidden_bias;               /* whether theta has biases */
    int linear_term;               /* a linear term */
    int fit_intercept;             /* an intercept */
    const double *output_weights;  /* (n_outputs, n_hidden) that are known and not in theta, or NULL */
} fastrecover_model;

/* Where rows and responses lie.  They are read and not copied. */
typedef struct {
    const void *x;        /* n samples, of n_patches rows each, columns next to each other */
    int bits;             /* 32: float, 64: double */
    int64_t n;            /* samples */
    int64_t n_features;   /* d */
    int64_t stride;       /* numbers from one row to the next; 0: d.  Rows may overlap */
    const double *y;      /* (n, n_outputs) responses, or NULL for 0 */
    const double *weight; /* (n,) weights of samples, not negative, or NULL for 1 */
} fastrecover_rows;

/* How a sweep is run. */
typedef struct {
    int n_threads;             /* at most so many; 0: all processors */
    int (*poll)(void *context); /* asked about twenty times a second whether the sweep shall end, or NULL */
    void *context;
} fastrecover_options;

enum {
    FASTRECOVER_OK = 0,
    FASTRECOVER_NO_MEMORY = -1,
    FASTRECOVER_INTERRUPTED = -2,
    FASTRECOVER_BAD_ACTIVATION = -3,
    FASTRECOVER_BAD_LOSS = -4,
    FASTRECOVER_BAD_SIZE = -5,
    FASTRECOVER_BAD_PATCHES = -6,
    FASTRECOVER_BAD_MEAN_OF_SIGMOIDS = -7,
    FASTRECOVER_BAD_OUTPUTS = -8,
    FASTRECOVER_BAD_BITS = -9,
    FASTRECOVER_BAD_STRIDE = -10,
    FASTRECOVER_BAD_FEATURES = -11,
    FASTRECOVER_NO_ROWS = -12,
    FASTRECOVER_NULL = -13
};

/* FASTRECOVER_VERSION of the library. */
FASTRECOVER_API int fastrecover_version(void);

/* What a negative number means: English, one line, not to be freed. */
FASTRECOVER_API const char *fastrecover_message(int status);

/* Length of theta, or a negative number. */
FASTRECOVER_API int64_t fastrecover_n_parameters(const fastrecover_model *model);

/* Weighted means over samples of the loss, value (n_sets,), and their gradients, grad (n_sets, n_parameters) or NULL,
   at several parameter vectors theta (n_sets, n_parameters) in one sweep. */
FASTRECOVER_API int fastrecover_loss(const fastrecover_model *model, const fastrecover_rows *rows, int64_t n_sets,
                                     const double *theta, const fastrecover_options *options, double *value,
                                     double *grad);

/* Product (n_parameters,) of the Hessian of the mean loss, or of the Gauss-Newton matrix (of a likelihood the Fisher
   information), with a direction (n_parameters,).  Kinks contribute nothing. */
FASTRECOVER_API int fastrecover_hessian_product(const fastrecover_model *model, const fastrecover_rows *rows,
                                                const double *theta, const double *direction, int gauss_newton,
                                                const fastrecover_options *options, double *product);

/* Outputs (n, n_sets, n_outputs) at several parameter vectors; responses and weights are not read. */
FASTRECOVER_API int fastrecover_outputs(const fastrecover_model *model, const fastrecover_rows *rows, int64_t n_sets,
                                        const double *theta, const fastrecover_options *options, double *outputs);

/* Derivatives (n, n_outputs) of the outputs in a direction (n_parameters,).  The product on the other side is the
   gradient of FASTRECOVER_LINEAR. */
FASTRECOVER_API int fastrecover_jacobian_product(const fastrecover_model *model, const fastrecover_rows *rows,
                                                 const double *theta, const double *direction,
                                                 const fastrecover_options *options, double *product);

/* Weighted means over rows with one response each of Hermite tensors of x (Zhong et al. 2017, section 3), for inputs
   N(0, I): E[y x] (d,); M_2 V' row by row, (m, d), with M_2 = E[y (x x' - I)]; the distinct entries of M_3(V, V, V),
   M_3 = E[y (x (x) x (x) x - sym(x, I))], for a <= b <= c in the order of the dictionary, m (m + 1) (m + 2) / 6 of them.
   V is (m, d) and need not be orthonormal. */
FASTRECOVER_API int fastrecover_first_moment(const fastrecover_rows *rows, const fastrecover_options *options,
                                             double *moment);
FASTRECOVER_API int fastrecover_second_moment(const fastrecover_rows *rows, int64_t m, const double *v,
                                              const fastrecover_options *options, double *product);
FASTRECOVER_API int fastrecover_third_moment(const fastrecover_rows *rows, int64_t m, const double *v,
                                             const fastrecover_options *options, double *packed);

#ifdef __cplusplus
}
#endif

#endif
