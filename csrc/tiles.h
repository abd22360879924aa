/* The two products of a sweep for one data type (REAL, with its vector FR_V, unaligned twin FR_VU and width
   FR_VL).  Columns of P are the vector dimension of the projection, features that of the back-projection, so
   neither product needs a horizontal sum and the back-projection wastes no lane however few units there are. */

/* z[(column) * ldz + row] for mr rows starting at x and `np` vectors of columns.  `next` (or NULL) starts the part of
   the following tile that is fetched meanwhile, in the order of memory and half as much as is read here: several
   row streams in one page defeat the hardware's own prefetching.  The back-projection fetches the other half. */
FR_INLINE void FR_T(project_tile)(const REAL *restrict x, int64_t stride, int64_t d, const REAL *restrict panel,
                                  const int mr, const int np, int64_t columns, double *restrict z, int64_t ldz,
                                  const REAL *next)
{
    FR_V acc[FR_MR * FR_NP]; /* at least 2 FR_MR */
#pragma GCC unroll 32
    for (int i = 0; i < mr * np; i++) acc[i] = (FR_V){0};
    for (int64_t j0 = 0; j0 < d; j0 += FR_LINE) {
        const int64_t stop = FR_MIN(j0 + FR_LINE, d);
        if (next) {
#pragma GCC unroll 8
            for (int r = 0; r < mr / 2; r++) __builtin_prefetch(next + j0 * (mr / 2) + r * FR_LINE, 0, 2);
        }
        for (int64_t j = j0; j < stop; j++, panel += np * FR_VL) {
            FR_V p[FR_NP];
#pragma GCC unroll 4
            for (int v = 0; v < np; v++) p[v] = *(const FR_V *)(panel + v * FR_VL);
#pragma GCC unroll 16
            for (int r = 0; r < mr; r++) {
                const REAL b = x[r * stride + j];
#pragma GCC unroll 4
                for (int v = 0; v < np; v++) acc[r * np + v] += b * p[v];
            }
        }
    }
    for (int v = 0; v < np; v++) {
        REAL t[2 * FR_MR * FR_VL] __attribute__((aligned(64)));
        const int64_t used = FR_MIN(columns - v * FR_VL, FR_VL);
#pragma GCC unroll 16
        for (int r = 0; r < mr; r++) memcpy(t + r * FR_VL, &acc[r * np + v], sizeof acc[0]);
        for (int64_t c = 0; c < used; c++)
            for (int r = 0; r < mr; r++) z[(v * FR_VL + c) * ldz + r] = (double)t[r * FR_VL + c];
    }
}

#define FR_PROJECT(MR, NP) FR_T(project_tile)(xr, stride, d, panel, MR, NP, q - c, z + c * ldz + r, ldz, ahead)

/* Z (q, ldz) of `rows` rows; `packed` holds P in panels of FR_NP vectors, the last one narrower.  One vector of
   columns alone takes twice the rows at a time, so that enough sums are under way to hide the latency of each. */
static void FR_T(project)(const REAL *x, int64_t stride, int64_t rows, int64_t d, int64_t q,
                          const REAL *packed, double *z, int64_t ldz, const REAL *next)
{
    const int64_t full = q <= FR_VL ? 2 * FR_MR : FR_MR;
    const REAL *panel = packed;
    /* Panels outside: one of them stays in cache for all rows of the tile. */
    for (int64_t c = 0; c < q; c += FR_NP * FR_VL, next = NULL) {
        const int64_t np = FR_MIN((q - c + FR_VL - 1) / FR_VL, FR_NP);
        for (int64_t r = 0, step; r < rows; r += step) {
            const REAL *xr = x + r * stride, *ahead = next ? next + r / 2 * stride : NULL;
            step = rows - r >= full ? full : 1;
            if (step == 1)
                np == 1 ? FR_PROJECT(1, 1) : np == 2 ? FR_PROJECT(1, 2) : FR_PROJECT(1, FR_NP);
            else if (q <= FR_VL)
                FR_PROJECT(2 * FR_MR, 1);
            else
                np == 1 ? FR_PROJECT(FR_MR, 1) : np == 2 ? FR_PROJECT(FR_MR, 2) : FR_PROJECT(FR_MR, FR_NP);
        }
        panel += np * FR_VL * d;
    }
}
#undef FR_PROJECT

static int64_t FR_T(packed_size)(int64_t q, int64_t d) { return (q + FR_VL - 1) / FR_VL * FR_VL * d; }

static void FR_T(pack)(const double *p, int64_t q, int64_t d, REAL *packed)
{
    for (int64_t c = 0; c < q; c += FR_NP * FR_VL) {
        const int64_t width = FR_MIN((q - c + FR_VL - 1) / FR_VL, FR_NP) * FR_VL;
        for (int64_t j = 0; j < d; j++)
            for (int64_t i = 0; i < width; i++)
                packed[j * width + i] = c + i < q ? (REAL)p[(c + i) * d + j] : 0;
        packed += width * d;
    }
}

/* a[m, :] += sum over rows of g[m ldg + row step] x[row, :], for mq coefficient rows and nv vectors of features, of
   which `used` columns are real.  Panels of `panel` columns of X are `gap` apart (the same where X is in one piece).
   `next` (or NULL) starts the half of the following tile that is fetched here. */
FR_INLINE void FR_T(back_tile)(const REAL *x, int64_t stride, const int64_t panel, int64_t gap, int64_t rows,
                               const REAL *g, int64_t ldg, const int64_t step, const int mq, const int nv,
                               int64_t used, double *a, int64_t lda, const REAL *next)
{
    FR_V acc[8][FR_MOST(FR_NV, FR_NV2)]; /* rows of the largest case below */
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) acc[m][v] = (FR_V){0};
    for (int64_t r = 0; r < rows; r++, x += stride) {
        FR_V b[FR_MOST(FR_NV, FR_NV2)];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) b[v] = *(const FR_VU *)(x + v * FR_VL / panel * gap + v * FR_VL % panel);
        if (next && r % 2 == 0) {
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) __builtin_prefetch(next + (r / 2 * nv + v) * FR_VL, 0, 2);
        }
#pragma GCC unroll 8
        for (int m = 0; m < mq; m++) {
            const REAL c = g[m * ldg + r * step];
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) acc[m][v] += c * b[v];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++) {
        double *am = a + m * lda;
        if (used == nv * FR_VL) {
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) FR_T(add)(am + v * FR_VL, acc[m][v]);
        } else {
            REAL t[FR_MOST(FR_NV, FR_NV2) * FR_VL] __attribute__((aligned(64))) = {0};
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) memcpy(t + v * FR_VL, &acc[m][v], sizeof acc[m][v]);
            for (int64_t i = 0; i < used; i++) am[i] += (double)t[i];
        }
    }
}

#define FR_BACK(MQ) \
    case MQ: FR_T(back_tile)(x, stride, panel, gap, rows, g, ldg, step, MQ, nv, used, a, lda, next); break

FR_INLINE void FR_T(back_rows)(const REAL *x, int64_t stride, const int64_t panel, int64_t gap, int64_t rows,
                               const REAL *g, int64_t ldg, const int64_t step, int64_t mq, const int most,
                               const int nv, int64_t used, double *a, int64_t lda, const REAL *next)
{
    switch (mq < most ? mq : most) {
    FR_BACK(1);
    FR_BACK(2);
    FR_BACK(3);
    FR_BACK(4);
    FR_BACK(5);
    FR_BACK(6);
    FR_BACK(7);
    FR_BACK(8);
    }
}
#undef FR_BACK

/* Panels of `nv` vectors of features, coefficient rows in groups of nearly equal size of at most `most`: a small
   last group would wait for its own sums.  A panel of X that is used more than once, or is narrower than a vector,
   is first copied to `copy` (rows x nv FR_VL, aligned): rows a power of two apart would share a few sets of the
   first-level cache. */
FR_INLINE void FR_T(back_shape)(const REAL *x, int64_t stride, int64_t rows, int64_t l, const REAL *g, int64_t ldg,
                                int64_t gn, double *a, int upper, REAL *copy, const REAL *next, const int most,
                                const int nv)
{
    for (int64_t j = 0, used; j < l; j += used) {
        const int full = l - j >= nv * FR_VL;
        used = full ? nv * FR_VL : FR_MIN(l - j, FR_VL);
        const int64_t width = full ? nv * FR_VL : FR_VL, last = upper ? FR_MIN(gn, j + used) : gn;
        const REAL *xj = x + j;
        int64_t sj = stride;
        if (full && last > most) {
            for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < nv; v++)
                    *(FR_V *)(copy + (r * nv + v) * FR_VL) = *(const FR_VU *)(xj + r * stride + v * FR_VL);
        } else if (used < width) {
            memset(copy, 0, (size_t)(rows * width) * sizeof(REAL));
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < used; i++) copy[r * width + i] = xj[r * stride + i];
        }
        if (used < width || (full && last > most)) {
            xj = copy;
            sj = width;
        }
        int64_t groups = (last + most - 1) / most;
        for (int64_t m = 0, mq; m < last; m += mq, groups--) {
            const REAL *ahead = m == 0 && full && next ? next + j * (rows / 2) : NULL;
            double *am = a + m * l + j;
            mq = (last - m + groups - 1) / groups;
            if (full)
                FR_T(back_rows)(xj, sj, FR_VL, FR_VL, rows, g + m * ldg, ldg, 1, mq, most, nv, used, am, l, ahead);
            else
                FR_T(back_rows)(xj, sj, FR_VL, FR_VL, rows, g + m * ldg, ldg, 1, mq, most, 1, used, am, l, NULL);
        }
    }
}

/* A (gn, l) += G (gn, rows) X (rows, l).  `upper` skips what lies wholly below the diagonal.  `copy` is room for
   rows x FR_COPY doubles, `next` as above. */
static void FR_T(back)(const REAL *x, int64_t stride, int64_t rows, int64_t l, const REAL *g, int64_t ldg,
                       int64_t gn, double *a, int upper, REAL *copy, const REAL *next)
{
    if ((gn + FR_MQ - 1) / FR_MQ <= (gn + FR_MQ2 - 1) / FR_MQ2)
        FR_T(back_shape)(x, stride, rows, l, g, ldg, gn, a, upper, copy, next, FR_MQ, FR_NV);
    else
        FR_T(back_shape)(x, stride, rows, l, g, ldg, gn, a, upper, copy, next, FR_MQ2, FR_NV2);
}

#include "third.h"

#undef REAL
#undef FR_T
#undef FR_V
#undef FR_VU
#undef FR_VL
#undef FR_LINE
