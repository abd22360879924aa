/* The two products of a sweep for one data type (REAL, with its vector FR_V, unaligned twin FR_VU and width
   FR_VL).  Columns of P are the vector dimension of the projection, features that of the back-projection, so
   neither product needs a horizontal sum and the back-projection wastes no lane however few units there are. */

/* z[(column) * ldz + row] for `rows` <= FR_MR rows starting at x and `np` vectors of columns.  `ahead` (elements,
   or 0) is how far in front the rows of a later tile are fetched: several row streams in one page defeat the
   hardware's own prefetching. */
FR_INLINE void FR_T(project_tile)(const REAL *x, int64_t stride, int64_t rows, int64_t d, const REAL *panel,
                                  const int np, int64_t columns, double *z, int64_t ldz, int64_t ahead)
{
    const REAL *xr[FR_MR];
    FR_V acc[FR_MR][FR_NP];
    /* Missing rows repeat the last one: their columns of z are never read. */
#pragma GCC unroll 8
    for (int r = 0; r < FR_MR; r++) {
        xr[r] = x + FR_MIN(r, rows - 1) * stride;
#pragma GCC unroll 4
        for (int v = 0; v < np; v++) acc[r][v] = (FR_V){0};
    }
    for (int64_t j0 = 0; j0 < d; j0 += (int64_t)(64 / sizeof(REAL))) {
        const int64_t stop = FR_MIN(j0 + (int64_t)(64 / sizeof(REAL)), d);
        if (ahead) {
#pragma GCC unroll 8
            for (int r = 0; r < FR_MR; r++) __builtin_prefetch(xr[r] + j0 + ahead, 0, 3);
        }
        for (int64_t j = j0; j < stop; j++, panel += np * FR_VL) {
            FR_V p[FR_NP];
#pragma GCC unroll 4
            for (int v = 0; v < np; v++) p[v] = *(const FR_V *)(panel + v * FR_VL);
#pragma GCC unroll 8
            for (int r = 0; r < FR_MR; r++) {
                const REAL b = xr[r][j];
#pragma GCC unroll 4
                for (int v = 0; v < np; v++) acc[r][v] += b * p[v];
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < np; v++) {
        REAL t[FR_MR][FR_VL] __attribute__((aligned(64)));
        const int64_t used = FR_MIN(columns - v * FR_VL, FR_VL);
#pragma GCC unroll 8
        for (int r = 0; r < FR_MR; r++) memcpy(t[r], &acc[r][v], sizeof acc[r][v]);
        for (int64_t c = 0; c < used; c++)
            for (int r = 0; r < FR_MR; r++) z[(v * FR_VL + c) * ldz + r] = (double)t[r][c];
    }
}

/* Z (q, ldz) of `rows` rows; `packed` holds P in panels of FR_NP vectors, the last one narrower. */
static void FR_T(project)(const REAL *x, int64_t stride, int64_t rows, int64_t d, int64_t q,
                          const REAL *packed, double *z, int64_t ldz, int64_t ahead)
{
    for (int64_t r = 0; r < rows; r += FR_MR) {
        const REAL *panel = packed, *xr = x + r * stride;
        const int64_t left = FR_MIN(rows - r, FR_MR);
        for (int64_t c = 0; c < q; c += FR_NP * FR_VL) {
            const int np = (int)FR_MIN((q - c + FR_VL - 1) / FR_VL, FR_NP);
            double *zc = z + c * ldz + r;
            if (np == 1)
                FR_T(project_tile)(xr, stride, left, d, panel, 1, q - c, zc, ldz, c ? 0 : ahead);
            else if (np == 2)
                FR_T(project_tile)(xr, stride, left, d, panel, 2, q - c, zc, ldz, c ? 0 : ahead);
            else
                FR_T(project_tile)(xr, stride, left, d, panel, FR_NP, q - c, zc, ldz, c ? 0 : ahead);
            panel += np * FR_VL * d;
        }
    }
}

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

/* a[m, :] += sum over rows of g[m, row] x[row, :], for mq coefficient rows and nv vectors of features, of which
   `used` columns are real. */
FR_INLINE void FR_T(back_tile)(const REAL *x, int64_t stride, int64_t rows, const REAL *g, int64_t ldg,
                               const int mq, const int nv, int64_t used, double *a, int64_t lda)
{
    FR_V acc[FR_MQ][FR_NV];
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) acc[m][v] = (FR_V){0};
    for (int64_t r = 0; r < rows; r++, x += stride) {
        FR_V b[FR_NV];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) b[v] = *(const FR_VU *)(x + v * FR_VL);
#pragma GCC unroll 8
        for (int m = 0; m < mq; m++) {
            const REAL c = g[m * ldg + r];
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) acc[m][v] += c * b[v];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < mq; m++) {
        REAL t[FR_NV * FR_VL] __attribute__((aligned(64)));
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) memcpy(t + v * FR_VL, &acc[m][v], sizeof acc[m][v]);
        double *am = a + m * lda;
        if (used == nv * FR_VL)
            for (int i = 0; i < nv * FR_VL; i++) am[i] += (double)t[i];
        else
            for (int64_t i = 0; i < used; i++) am[i] += (double)t[i];
    }
}

#define FR_BACK(MQ, NV) FR_T(back_tile)(x, stride, rows, g, ldg, MQ, NV, used, a, lda)

FR_INLINE void FR_T(back_rows)(const REAL *x, int64_t stride, int64_t rows, const REAL *g, int64_t ldg,
                               int64_t mq, const int nv, int64_t used, double *a, int64_t lda)
{
    switch (mq) {
    case 1: FR_BACK(1, nv); break;
    case 2: FR_BACK(2, nv); break;
    case 3: FR_BACK(3, nv); break;
#if FR_MQ > 4
    case 4: FR_BACK(4, nv); break;
    case 5: FR_BACK(5, nv); break;
#endif
    default: FR_BACK(FR_MQ, nv);
    }
}
#undef FR_BACK

/* A (gn, l) += G (gn, rows) X (rows, l).  `upper` skips what lies wholly below the diagonal.  A panel of X that is
   used more than once, or is narrower than a vector, is first copied to `copy` (rows x FR_NV FR_VL, aligned): rows
   a power of two apart would share a few sets of the first-level cache. */
static void FR_T(back)(const REAL *x, int64_t stride, int64_t rows, int64_t l, const REAL *g, int64_t ldg,
                       int64_t gn, double *a, int upper, REAL *copy)
{
    for (int64_t j = 0, used; j < l; j += used) {
        const int full = l - j >= FR_NV * FR_VL;
        used = full ? FR_NV * FR_VL : FR_MIN(l - j, FR_VL);
        const int64_t width = full ? FR_NV * FR_VL : FR_VL, last = upper ? FR_MIN(gn, j + used) : gn;
        const REAL *xj = x + j;
        int64_t sj = stride;
        if (full && last > FR_MQ) {
            for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < FR_NV; v++)
                    *(FR_V *)(copy + (r * FR_NV + v) * FR_VL) = *(const FR_VU *)(xj + r * stride + v * FR_VL);
        } else if (!full) {
            memset(copy, 0, (size_t)(rows * width) * sizeof(REAL));
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < used; i++) copy[r * width + i] = xj[r * stride + i];
        }
        if (!full || last > FR_MQ) {
            xj = copy;
            sj = width;
        }
        for (int64_t m = 0; m < last; m += FR_MQ) {
            const int64_t mq = FR_MIN(last - m, FR_MQ);
            if (full)
                FR_T(back_rows)(xj, sj, rows, g + m * ldg, ldg, mq, FR_NV, used, a + m * l + j, l);
            else
                FR_T(back_rows)(xj, sj, rows, g + m * ldg, ldg, mq, 1, used, a + m * l + j, l);
        }
    }
}

#undef REAL
#undef FR_T
#undef FR_V
#undef FR_VU
#undef FR_VL
