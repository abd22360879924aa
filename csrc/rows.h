/* Row functions as the driver sees them: from projections of one tile of rows to coefficients and sums. */
#ifndef FR_ROWS_H
#define FR_ROWS_H

#include "kernels.h"
#include "isa.h"

typedef struct {
    int64_t ld;                       /* rows of room in a tile */
    int64_t d, l;                     /* columns of (x, 1) or X, and of the left factor */
    double *z, *u, *d1, *d2;          /* (q | reps k, ld): projections, activations and derivatives */
    double *f, *r, *e, *t;            /* (outputs, ld): output, residual, weighted slope of the loss, scratch */
    double *h, *half;                 /* (ld,): scratch of cross entropy and softmax */
    double *y;                        /* (outputs, ld): responses by output; zeros, where they are missing */
    double *b;                        /* (outputs, ld): room for the weights of the rows of J ... */
    const double *bend;               /* ... which are these (NULL: ones), those of one output `bend_ld` after */
    int64_t bend_ld;                  /* those of another */
    double *g;                        /* (g, ld): coefficients of the back-projection; for a Gram matrix (ld, l) */
    double *left;                     /* (ld, l): left factor where it is not X itself */
    double *xt;                       /* (d, ld): the tile, transposed, for FR_GRAM */
    int64_t part;                     /* FR_GRAM: the set and output whose features are wanted, rep outputs + output */
    double *he;                       /* (m (order + 1), ld): normalised Hermite polynomials */
    double *out;                      /* (rows, reps, outputs): where FR_PREDICT writes */
} fr_work;

/* Adds a tile of samples to the sums s and leaves coefficients g (and left) in `work`.  y, w: responses (or NULL for
   zeros) and weights (or NULL for ones). */
typedef void fr_row_fn(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *work, double *s);

extern fr_row_fn *const FR_HERE(fr_row_functions)[]; /* by fr_op.op */

#endif
