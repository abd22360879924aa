/* The back-projection of coefficients on rows for one data type.  It runs along features, panel by panel, and its sums
   lie in the order in which they are made until panels.h puts them in rows. */

/* What the tiles of one panel have in common: so many rows x, `stride` apart, whose vectors of features are `apart`
   apart but for the `last` one, which may overlap the one before; distances between the coefficients of two rows, and
   between rows of sums; where a copy of what is read goes, row by row; whether it was read before. */
typedef struct {
    const REAL *x;
    int64_t stride, rows, apart, last, step, lda;
    REAL *copy;
    fr_ahead *ahead;
    int again;
} FR_T(panel);

/* a[m, :] += sum over rows of g[row, m] x[row, :], for mq coefficients of a row and nv vectors of features. */
FR_INLINE void FR_T(back_tile)(const FR_T(panel) *p, const REAL *g, double *a, const int mq, const int nv,
                               const int copied)
{
    const int64_t stride = p->stride, rows = p->rows, apart = p->apart, last = p->last, step = p->step;
    const REAL *x = p->x;
    REAL *copy = p->copy;
    fr_ahead ahead = fr_on(p->ahead, 0);
    FR_V acc[FR_MQ][FR_NV(1)];
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 8
        for (int v = 0; v < nv; v++) acc[m][v] = (FR_V){0};
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 12
        for (int i = 0; i < nv * FR_VL; i += 8) __builtin_prefetch(a + m * p->lda + i, 1, 3); /* to be added to */
#define FR_ROW(R) \
    do { \
        FR_V b[FR_NV(1)]; \
        _Pragma("GCC unroll 8") for (int v = 0; v < nv; v++) \
        { \
            b[v] = *(const FR_VU *)(x + (v < nv - 1 ? v * apart : last)); \
            if (copied) *(FR_V *)(copy + ((R) * nv + v) * FR_VL) = b[v]; \
            FR_KEEP(b[v]); \
        } \
        _Pragma("GCC unroll 8") for (int m = 0; m < mq; m++) \
        { \
            const REAL c = g[m]; \
            _Pragma("GCC unroll 8") for (int v = 0; v < nv; v++) acc[m][v] += c * b[v]; \
        } \
        x += stride; \
        g += step; \
        FR_APART(x); \
        FR_APART(g); \
    } while (0)
    const int again = p->again;
    int64_t left = rows;
    for (; left >= 2; left -= 2) {
        FR_ROW(0);
        FR_ROW(1);
        if (copied) copy += 2 * nv * FR_VL;
        if (!again)
#pragma GCC unroll 8
            for (int f = 0; f < FR_HALF(2 * nv * FR_VBYTES); f++) FR_FETCH(ahead);
    }
    if (left) FR_ROW(0);
#undef FR_ROW
    p->ahead->at = ahead.at;
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 8
        for (int v = 0; v < nv; v++) FR_T(add)(a + m * p->lda + v * FR_VL, acc[m][v]);
}

/* A function for each shape: as one function they would take the compiler many times as long. */
#define FR_TILE(MQ, NV, COPIED) \
    static __attribute__((noinline)) void FR_T(back_##MQ##_##NV##_##COPIED)(const FR_T(panel) *p, const REAL *g, \
                                                                            double *a) \
    { \
        FR_T(back_tile)(p, g, a, MQ, NV, COPIED); \
    }
FR_BACK_TILES(FR_TILE)
#undef FR_TILE

#define FR_TILE(MQ, NV, COPIED) [COPIED][MQ][NV] = FR_T(back_##MQ##_##NV##_##COPIED),
static void (*const FR_T(back_tiles)[2][FR_MQ + 1][FR_NV(1) + 1])(const FR_T(panel) *, const REAL *, double *) = {
    FR_BACK_TILES(FR_TILE)
};
#undef FR_TILE

/* Coefficients as back takes them: by groups, of which those of one row lie next to each other. */
static void FR_T(back_coefficients)(int64_t gn, int64_t rows, const double *g, int64_t ldg, REAL *restrict to)
{
    const fr_cut groups = fr_cut_of(gn, FR_MQ);
    for (int64_t group = 0; group < groups.parts; group++) {
        const int64_t mq = fr_part(&groups, group);
        for (int64_t m = 0; m < mq; m++, g += ldg)
            for (int64_t r = 0; r < rows; r++) to[r * mq + m] = (REAL)g[r];
        to += mq * rows;
    }
}

/* A += G' X for coefficients G and X (rows, l), A as in panels.h.  G is laid down by back_coefficients (`step` 0) or
   (rows, step).  `copy` is room for rows x FR_COPY doubles: a panel that is read more than once is copied by the first
   group of coefficients, since rows a power of two apart share a few sets of the first-level cache, and so is one that
   is narrower than a vector. */
void FR_HERE(FR_T(back))(const REAL *x, int64_t stride, int64_t rows, int64_t l, const REAL *g, int64_t step,
                         int64_t gn, double *a, int upper, REAL *copy, fr_ahead *ahead)
{
    const fr_panels shape = fr_panels_of(gn, l, FR_VL);
    for (int64_t i = 0, j = 0; i < shape.vectors.parts; i++) {
        const int64_t nv = fr_part(&shape.vectors, i), width = nv * FR_VL, end = FR_MIN(j + width, l);
        FR_T(panel) p = {.x = x + j, .stride = stride, .rows = rows, .apart = FR_VL, .last = end - j - FR_VL,
                         .lda = width, .copy = copy, .ahead = ahead};
        int copied = shape.rows.parts > 1;
        if (l < FR_VL) {
            memset(copy, 0, (size_t)(rows * FR_VL) * sizeof(REAL));
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < l; c++) copy[(r + 1) * FR_VL - l + c] = x[r * stride + c];
            p.x = copy;
            p.stride = FR_VL;
            copied = p.last = 0;
        }
        for (int64_t group = 0, m = 0; group < shape.rows.parts && !(upper && m >= end); group++) {
            const int64_t mq = fr_part(&shape.rows, group);
            p.step = step ? step : mq;
            FR_T(back_tiles)[copied][mq][nv](&p, g + (step ? m : m * rows), a);
            if (copied) {
                p.x = copy;
                p.stride = width;
                p.last = width - FR_VL;
            }
            copied = 0;
            p.again = 1;
            m += mq;
            a += mq * width;
        }
        j = end;
    }
}
