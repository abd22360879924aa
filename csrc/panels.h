/* How the sums of a back-projection lie until a sweep ends: panel by panel of a few vectors of features, group by group
   of coefficient rows, as whole tiles.  Groups and panels are as few as can be, of nearly equal size: a small last one
   would wait for its own sums. */
#ifndef FR_PANELS_H
#define FR_PANELS_H

#include "vec.h"

typedef struct {
    int64_t rows, groups, vectors, widest; /* coefficient rows and groups of them, vectors in all and of a panel */
} fr_panels;

static fr_panels fr_panels_of(int64_t rows, int64_t l, int64_t lanes)
{
    const int64_t groups = (rows + FR_MQ - 1) / FR_MQ, most = groups ? (rows + groups - 1) / groups : 1;
    return (fr_panels){rows, groups, (l + lanes - 1) / lanes, FR_NV(most)};
}

/* Coefficient rows of the group that begins with row m, and vectors of the panel that begins with vector j. */
static int64_t fr_panel_rows(const fr_panels *shape, int64_t m)
{
    const int64_t left = shape->rows - m, groups = (left + FR_MQ - 1) / FR_MQ;
    return (left + groups - 1) / groups;
}

static int64_t fr_panel(const fr_panels *shape, int64_t j)
{
    const int64_t left = shape->vectors - j, panels = (left + shape->widest - 1) / shape->widest;
    return (left + panels - 1) / panels;
}

static int64_t fr_panels_size(int64_t rows, int64_t l, int64_t lanes)
{
    return rows * ((l + lanes - 1) / lanes) * lanes;
}

/* a (rows, l), rows `lda` apart, from such sums; `upper`: without what lies wholly below the diagonal, which is 0. */
static void fr_panels_unpack(const double *sums, int64_t rows, int64_t l, int64_t lanes, int upper, double *a,
                             int64_t lda)
{
    const fr_panels shape = fr_panels_of(rows, l, lanes);
    for (int64_t j = 0, nv; j < shape.vectors; j += nv) {
        nv = fr_panel(&shape, j);
        /* Of the last vector, which may overlap the one before, the last `fresh` lanes count. */
        const int64_t begin = j * lanes, end = FR_MIN(begin + nv * lanes, l), whole = (nv - 1) * lanes;
        const int64_t fresh = end - begin - whole;
        for (int64_t m = 0, mq; m < rows; m += mq) {
            mq = fr_panel_rows(&shape, m);
            const int left_out = upper && m >= end;
            for (int64_t i = m; i < m + mq; i++) {
                double *to = a + i * lda + begin;
                if (left_out) {
                    memset(to, 0, (size_t)(end - begin) * sizeof(double));
                    continue;
                }
                memcpy(to, sums, (size_t)whole * sizeof(double));
                memcpy(to + whole, sums + nv * lanes - fresh, (size_t)fresh * sizeof(double));
                sums += nv * lanes;
            }
        }
    }
}

#endif
