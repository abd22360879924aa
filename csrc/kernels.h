/* One driver serves every quantity fastrecover needs: rows of X are projected on the columns of P, a row
   function turns the projections into coefficients and sums, and the coefficients are projected back on the
   same rows while those are still in cache.  Row functions work in double on one tile of rows, with the tile
   as the vector dimension, so they are written once for both data types. */
#ifndef FR_KERNELS_H
#define FR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { FR_LOSS, FR_CURVATURE, FR_GRAM, FR_PREDICT, FR_MOMENT, FR_PAIRS, FR_HERMITE, FR_HERMITE_GRAM, FR_LANDSCAPE,
       FR_THIRD };

/* NAME, code, function of losses.h: those that are sums over outputs, with the codes of losses.py. */
#define FR_SCALAR_LOSSES(X) \
    X(HUBER, 2, fr_huber) X(LOGISTIC, 3, fr_logistic) X(POISSON, 5, fr_poisson) \
    X(POISSON_SOFTPLUS, 6, fr_poisson_softplus) X(LINEAR, 7, fr_linear)
/* A code that is not here is refused. */
#define FR_LOSS_CODE(NAME, CODE, FUNCTION) FR_##NAME = CODE,
enum { FR_SQUARED = 0, FR_CROSS_ENTROPY = 1, FR_SOFTMAX = 4, FR_SCALAR_LOSSES(FR_LOSS_CODE) FR_LOSS_COUNT };
#undef FR_LOSS_CODE

/* User activation on n values: d1 may be NULL, and d2 where d1 is or alone. */
typedef void (*fr_user_fn)(const double *z, double *u, double *d1, double *d2, int64_t n);

/* op.py declares the same record; dispatch.c lists where its fields lie.  As it arrives from there, its five arrays
   follow it, and the pointers to them hold distances from where it begins, 0 for none: see fr_resolved. */
typedef struct {
    int op;
    int activation;      /* code of activations.h */
    double slope;
    fr_user_fn user;
    int loss;            /* of the outputs, or FR_CROSS_ENTROPY of the mean of k sigmoid units */
    int64_t group;       /* rows of X that make one sample (patches of a convolutional net), else 1 */
    int64_t reps;        /* parameter sets side by side */
    int64_t k;           /* hidden units of one set, patches counted as units; may be 0 */
    int64_t linear;      /* identity columns that follow the hidden ones: none, or one for each output */
    const double *v;     /* (reps, outputs, k) output weights */
    const double *c;     /* (reps, outputs) intercepts */
    int grad;            /* FR_LOSS: gradient wanted; FR_PREDICT: derivative in a direction wanted */
    int newton;          /* FR_CURVATURE: full Hessian, not Gauss-Newton */
    const double *dv;    /* FR_CURVATURE, FR_PREDICT: (outputs, k) direction in v */
    const double *dc;    /* the same: (outputs,) direction in c */
    int free_w, free_v, free_c; /* FR_GRAM: parameter columns present */
    int64_t m;           /* columns of V for the moment functions */
    int order;           /* FR_MOMENT 2..4; Hermite degree */
    int unit_response;   /* FR_MOMENT: 1 in place of the residual */
    double alpha2;       /* FR_MOMENT: |alpha|^2 */
    double pair, single; /* FR_LANDSCAPE: coefficients of its two quartics */
    int64_t n_features;
    const int32_t *factors; /* (n_features, 4) indices into the Hermite rows, -1 for none */
    int64_t outputs;     /* 1 for the moment functions */
    double delta;        /* FR_HUBER: residual from which it is linear */
} fr_op;

typedef struct {
    const void *x;       /* rows, unit column stride */
    int64_t stride;      /* elements from one row to the next; may be smaller than d */
    int64_t n, d;
    int64_t ones;        /* 1: rows are (x, 1), and P has a column for the constant; else 0 */
    const double *y;     /* (n / group, outputs) or NULL for zeros */
    const double *w;     /* (n / group,) or NULL for ones */
    const double *p;     /* (q, d + ones) */
    int64_t q;           /* columns of P */
    int64_t g;           /* rows projected back */
    int64_t l;           /* columns of the left factor (d + ones, or features) */
    int64_t s;           /* sums */
    int64_t tile, block; /* rows of a tile and of a block, multiples of group */
    double *out;         /* (n / group, reps, outputs) for FR_PREDICT */
} fr_data;

/* The record with addresses in the place of distances. */
fr_op fr_resolved(const fr_op *record);

/* What may end a sweep before its last tile: an error of another thread, or what its caller asks from time to time. */
typedef struct fr_watch fr_watch;
int fr_ended(fr_watch *watch);

/* What a job needs of the driver for one data type.  Sums are in one piece of `sums` doubles, in an order of the
   driver's own but for s, which comes last; unpack makes a (g, l) of them. */
typedef struct {
    int64_t (*packed_bytes)(const fr_data *data);
    void (*pack)(const fr_data *data, void *packed);
    int64_t (*make_room)(const fr_data *data, const fr_op *op, int64_t most, void *memory);
    int64_t (*sums)(const fr_data *data, const fr_op *op);
    void (*sum_blocks)(const fr_data *data, const fr_op *op, const void *packed, int64_t first, int64_t count,
                       void *room, double *sums, fr_watch *watch);
    void (*unpack)(const fr_data *data, const fr_op *op, const double *sums, double *a);
} fr_driver;

/* Whether sums go back to the rows, of which the constant is kept apart until the end. */
static inline int fr_apart(const fr_data *dt, const fr_op *op)
{
    return dt->ones && op->op != FR_GRAM && op->op != FR_HERMITE_GRAM && op->op != FR_THIRD;
}

/* Levels of a tree of so many leaves. */
static inline int fr_levels(int64_t count)
{
    int levels = 1;
    while ((INT64_C(1) << (levels - 1)) < count) levels++;
    return levels;
}

/* The sums of a tree of `count` leaves whose complete subtrees lie in slots by level. */
void fr_add_up(int levels, int64_t count, int64_t size, const double *slots, double *sums);

/* One sweep over blocks [first, first + count), cut into parts of `size` blocks (a power of two, or all of them) that
   any number of threads take in turn.  Whoever made it finishes it: that thread works too, waits for the others, and
   asks `poll` about twenty times a second whether it shall end.  Arrays are not copied.
   Functions with a result return 0 or one of these. */
enum { FR_NO_MEMORY = -1, FR_NO_SUCH_LOSS = -2, FR_INTERRUPTED = -3 };
typedef struct fr_job fr_job;
typedef int (*fr_poll_fn)(void *context);
int fr_job_new(const fr_data *data, const fr_op *op, int bits, int64_t first, int64_t count, int64_t size,
               fr_job **job);
void fr_job_work(fr_job *job);
int fr_job_finish(fr_job *job, fr_poll_fn poll, void *context, double *a, double *s); /* a: (g, l), s: (s,) */
void fr_job_stop(fr_job *job);
void fr_job_free(fr_job *job);

typedef void (*fr_activate_fn)(int code, double slope, ptrdiff_t n, const double *z, double *u, double *d1,
                               double *d2);

typedef struct {
    const char *name;
    const fr_driver *f32, *f64;
    fr_activate_fn activate;
} fr_isa;

typedef struct {
    const char *name;
    size_t offset, size;
} fr_field;

extern const fr_field fr_op_fields[]; /* ends with a field without a name */

const fr_isa *fr_current_isa(void);
int fr_select_isa(const char *name); /* 0, or -1 when this processor or build has no such variant */

#endif
