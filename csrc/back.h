/* The back-projection of coefficients on rows for one data type.  It runs along features; where memory limits, it
   fetches the other half of the rows that follow. */

/* What the tiles of one panel have in common: so many rows x, `stride` apart; where the last vector of features begins,
   of which the last `fresh` lanes count; distances between coefficient rows and between rows of sums.  `next` (or
   NULL) starts the half of the following tile that is fetched here. */
typedef struct {
    const REAL *x;
    int64_t stride, rows, last, fresh, ldg, lda;
    const REAL *next;
} FR_T(panel);

/* ROWS: vectors of features lie next to each other, though the last one may overlap the one before.  PANELS: the layout
   of third.h, where vectors are `last` apart and coefficients lie in panels of FR_SIDE. */
enum { FR_ROWS, FR_PANELS, FR_KINDS };

/* a[m, :] += sum over rows of g[m, row] x[row, :], for mq coefficient rows and nv vectors of features. */
FR_INLINE void FR_T(back_tile)(const FR_T(panel) *p, const REAL *g, double *a, const int kind, const int mq,
                               const int nv)
{
    const int panels = kind == FR_PANELS;
    const int64_t stride = p->stride, rows = p->rows, fresh = panels ? FR_VL : p->fresh, last = p->last;
    const int64_t ldg = panels ? 1 : p->ldg, step = panels ? FR_SIDE : 1, lda = p->lda;
    const REAL *x = p->x, *next = panels ? NULL : p->next;
    FR_V acc[8][FR_MOST(FR_NV, FR_NV2)]; /* rows of the largest tile */
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) acc[m][v] = (FR_V){0};
#define FR_ROW(X, R) \
    do { \
        FR_V b[FR_MOST(FR_NV, FR_NV2)]; \
        _Pragma("GCC unroll 4") for (int v = 0; v < nv; v++) \
            b[v] = *(const FR_VU *)((X) + (panels ? v * last : v < nv - 1 ? v * FR_VL : last)); \
        _Pragma("GCC unroll 8") for (int m = 0; m < mq; m++) \
        { \
            const REAL c = g[m * ldg + (R) * step]; \
            _Pragma("GCC unroll 4") for (int v = 0; v < nv; v++) acc[m][v] += c * b[v]; \
        } \
    } while (0)
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2, x += 2 * stride) {
        if (next)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) __builtin_prefetch(next + (r / 2 * nv + v) * FR_VL, 0, 2);
        FR_ROW(x, r);
        FR_ROW(x + stride, r + 1);
    }
    if (r < rows) FR_ROW(x, r);
#undef FR_ROW
    if (fresh < FR_VL) {
        REAL t[8][FR_VL] __attribute__((aligned(64)));
#pragma GCC unroll 8
        for (int m = 0; m < mq; m++) *(FR_V *)t[m] = acc[m][nv - 1];
        for (int m = 0; m < mq; m++)
            for (int64_t i = 0; i < fresh; i++) a[m * lda + (nv - 1) * FR_VL + i] += (double)t[m][FR_VL - fresh + i];
    }
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            if (v < nv - 1 || fresh == FR_VL) FR_T(add)(a + m * lda + v * FR_VL, acc[m][v]);
}

/* A function for each shape: as one function they would take the compiler many times as long. */
#define FR_TILE(KIND, MQ, NV) \
    static __attribute__((noinline)) void FR_T(back_##KIND##_##MQ##_##NV)(const FR_T(panel) *p, const REAL *g, \
                                                                          double *a) \
    { \
        FR_T(back_tile)(p, g, a, FR_##KIND, MQ, NV); \
    }
FR_BACK_TILES(FR_TILE)
#undef FR_TILE

#define FR_TILE(KIND, MQ, NV) [FR_##KIND][NV][MQ] = FR_T(back_##KIND##_##MQ##_##NV),
static void (*const FR_T(back_tiles)[FR_KINDS][5][9])(const FR_T(panel) *, const REAL *, double *) = {
    FR_BACK_TILES(FR_TILE)
};
#undef FR_TILE

/* Panels of `nv` vectors of features, the last one of fewer; it ends with the row, though its last vector then overlaps
   the one before.  Coefficient rows go in groups of nearly equal size of at most `most`: a small last group would wait
   for its own sums.  A panel that is read more than twice, or is narrower than a vector, is first copied to `copy`
   (rows x nv FR_VL, aligned): rows a power of two apart would share a few sets of the first-level cache. */
FR_INLINE void FR_T(back_shape)(const REAL *x, int64_t stride, int64_t rows, int64_t l, const REAL *g, int64_t ldg,
                                int64_t gn, double *a, int upper, REAL *copy, const REAL *next, const int most,
                                const int nv)
{
    for (int64_t j = 0; j < l; j += nv * FR_VL) {
        const int64_t rest = FR_MIN(l - j, nv * FR_VL), vectors = (rest + FR_VL - 1) / FR_VL;
        const int64_t last = upper ? FR_MIN(gn, j + rest) : gn;
        const int copied = last > 2 * most && vectors == nv;
        FR_T(panel) p = {.x = x + j, .stride = stride, .rows = rows, .last = rest - FR_VL,
                         .fresh = rest - (vectors - 1) * FR_VL, .ldg = ldg, .lda = l};
        if (l < FR_VL) {
            memset(copy, 0, (size_t)(rows * FR_VL) * sizeof(REAL));
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < l; i++) copy[(r + 1) * FR_VL - l + i] = x[r * stride + i];
            p.x = copy;
            p.stride = FR_VL;
            p.last = 0;
        }
        if (copied) {
            for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < nv; v++)
                    *(FR_V *)(copy + (r * nv + v) * FR_VL) =
                        *(const FR_VU *)(p.x + r * stride + (v < nv - 1 ? v * FR_VL : p.last));
            p.x = copy;
            p.stride = nv * FR_VL;
            p.last = p.stride - FR_VL;
        }
        int64_t groups = (last + most - 1) / most;
        for (int64_t m = 0, mq; m < last; m += mq, groups--) {
            p.next = m == 0 && next ? next + j * (rows / 2) : NULL;
            mq = (last - m + groups - 1) / groups;
            FR_T(back_tiles)[FR_ROWS][vectors][mq](&p, g + m * ldg, a + m * l + j);
        }
    }
}

/* A (gn, l) += G (gn, rows) X (rows, l).  `upper` skips what lies wholly below the diagonal.  `copy` is room for
   rows x FR_COPY doubles, `next` as above. */
void FR_HERE(FR_T(back))(const REAL *x, int64_t stride, int64_t rows, int64_t l, const REAL *g, int64_t ldg, int64_t gn,
                         double *a, int upper, REAL *copy, const REAL *next)
{
    if ((gn + FR_MQ - 1) / FR_MQ <= (gn + FR_MQ2 - 1) / FR_MQ2)
        FR_T(back_shape)(x, stride, rows, l, g, ldg, gn, a, upper, copy, next, FR_MQ, FR_NV);
    else
        FR_T(back_shape)(x, stride, rows, l, g, ldg, gn, a, upper, copy, next, FR_MQ2, FR_NV2);
}
