/* Row functions as the driver sees them: from projections of one tile of rows to coefficients and sums. */
#ifndef FR_ROWS_H
#define FR_ROWS_H

#include "fastrecover.h"
#include "isa.h"

typedef struct {
    int64_t ld;                       /* rows of room in a tile */
    int64_t d, l;                     /* columns of X, and of the left factor */
    double *z, *u, *d1, *d2;          /* (q | reps k, ld): projections, activations and derivatives */
    double *f, *r, *e, *t;            /* (ld,): output, residual, weighted residual, scratch */
    double *h, *half;                 /* (ld,): scratch of cross entropy */
    const double *zero;               /* (ld,): zeros, for missing responses */
    double *g;                        /* (g, ld): coefficients of the back-projection */
    double *left;                     /* (ld, l): left factor where it is not X itself */
    double *xt;                       /* (d, ld): the tile, transposed, for FR_GRAM */
    double *he;                       /* (m (order + 1), ld): normalised Hermite polynomials */
    double *out;                      /* (rows, reps): where FR_PREDICT writes */
} fr_work;

/* Adds a tile of samples to the sums s and leaves coefficients g (and left) in `work`.  y, w: responses (or NULL for
   zeros) and weights (or NULL for ones). */
typedef void fr_row_fn(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *work, double *s);

extern fr_row_fn *const FR_HERE(fr_row_functions)[]; /* by fr_op.op */

#endif
