/* How the sums of a back-projection lie until a sweep ends: panel by panel of a few vectors of features, group by group
   of coefficient rows, as whole tiles. */
#ifndef FR_PANELS_H
#define FR_PANELS_H

#include "vec.h"

typedef struct {
    fr_cut rows, vectors; /* groups of coefficient rows and panels of vectors */
} fr_panels;

static fr_panels fr_panels_of(int64_t rows, int64_t l, int64_t lanes)
{
    const fr_cut groups = fr_cut_of(rows, FR_MQ);
    return (fr_panels){groups, fr_cut_of((l + lanes - 1) / lanes, FR_NV(fr_part(&groups, 0)))};
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
    for (int64_t i = 0, j = 0; i < shape.vectors.parts; j += fr_part(&shape.vectors, i++)) {
        const int64_t nv = fr_part(&shape.vectors, i);
        /* Of the last vector, which may overlap the one before, the last `fresh` lanes count. */
        const int64_t begin = j * lanes, end = FR_MIN(begin + nv * lanes, l), whole = (nv - 1) * lanes;
        const int64_t fresh = end - begin - whole;
        int64_t group = 0, next = 0, left_out = 0;
        for (int64_t m = 0; m < rows; m++) {
            if (m == next) {
                next += fr_part(&shape.rows, group++);
                left_out = upper && m >= end;
            }
            double *to = a + m * lda + begin;
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

#endif
