/* The projection of rows on the columns of P for one data type.  It runs along features where columns would leave lanes
   of its vectors empty, otherwise along columns.  Where memory limits, it fetches half of the rows that follow, in the
   order they lie there: several streams in one page would defeat the hardware's own prefetching. */

/* a and b, lanes in runs of S: the even runs of both in turn, or (hi) the odd ones. */
#define FR_PICK(i, S, hi) (((i) / (S)) & 1 ? (i) + FR_VL - ((hi) ? 0 : (S)) : (i) + ((hi) ? (S) : 0))
#define FR_PICK2(i, S, hi) FR_PICK(i, S, hi), FR_PICK(i + 1, S, hi)
#define FR_PICK4(i, S, hi) FR_PICK2(i, S, hi), FR_PICK2(i + 2, S, hi)
#define FR_PICK8(i, S, hi) FR_PICK4(i, S, hi), FR_PICK4(i + 4, S, hi)
#if FR_VL == 2
#define FR_PICKS(S, hi) FR_PICK2(0, S, hi)
#elif FR_VL == 4
#define FR_PICKS(S, hi) FR_PICK4(0, S, hi)
#elif FR_VL == 8
#define FR_PICKS(S, hi) FR_PICK8(0, S, hi)
#else
#define FR_PICKS(S, hi) FR_PICK8(0, S, hi), FR_PICK8(8, S, hi)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define FR_ZIP(a, b, S, hi) __builtin_shufflevector(a, b, FR_PICKS(S, hi))
#else
#define FR_ZIP(a, b, S, hi) __builtin_shuffle(a, b, (FR_VI){FR_PICKS(S, hi)})
#endif
#define FR_MERGE(S) \
    _Pragma("GCC unroll 8") for (int i = 0; i < n / (2 * S); i++) v[i] = \
        FR_ZIP(v[2 * i], v[2 * i + 1], S, 0) + FR_ZIP(v[2 * i], v[2 * i + 1], S, 1)

/* The first n / FR_VL of v become the sums over the lanes of each of them, n a multiple of FR_VL: one tree for all. */
FR_INLINE void FR_T(lane_sums)(FR_V *v, const int n)
{
    FR_MERGE(1);
#if FR_VL > 2
    FR_MERGE(2);
#endif
#if FR_VL > 4
    FR_MERGE(4);
#endif
#if FR_VL > 8
    FR_MERGE(8);
#endif
}
#undef FR_MERGE

/* z[column * ldz + row], set or (add) increased, for mr rows and kg columns over so many vectors of features, and one
   more (where `ragged`) from `last` on, of which `mask` keeps what was not counted yet.  `next` (or NULL) starts what
   is fetched meanwhile, half as much as is read. */
FR_INLINE void FR_T(dot_tile)(const REAL *x, int64_t stride, int64_t vectors, int ragged, int64_t last, FR_VI mask,
                              const REAL *restrict w, const int mr, const int kg, const REAL *next,
                              double *restrict z, int64_t ldz, int add)
{
    const int sums = (mr * kg + FR_VL - 1) / FR_VL * FR_VL;
    FR_V acc[FR_DOTS + FR_VL], b[8];
#pragma GCC unroll 32
    for (int i = mr * kg; i < sums; i++) acc[i] = (FR_V){0};
#pragma GCC unroll 8
    for (int c = 0; c < kg; c++, w += FR_VL)
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++) acc[c * mr + r] = *(const FR_V *)w;
#define FR_MULTIPLY() \
    _Pragma("GCC unroll 8") for (int c = 0; c < kg; c++, w += FR_VL) \
    { \
        FR_V p = *(const FR_V *)w; \
        FR_KEEP(p); \
        _Pragma("GCC unroll 8") for (int r = 0; r < mr; r++) acc[c * mr + r] += b[r] * p; \
    }
    for (int64_t i = 0; i < vectors; i++) {
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++) b[r] = *(const FR_VU *)(x + r * stride + i * FR_VL);
        if (next)
#pragma GCC unroll 4
            for (int r = 0; r < mr / 2; r++) __builtin_prefetch(next + (i * (mr / 2) + r) * FR_VL, 0, 2);
        FR_MULTIPLY()
    }
    if (ragged) {
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++) b[r] = (FR_V)((FR_VI) * (const FR_VU *)(x + r * stride + last) & mask);
        FR_MULTIPLY()
    }
#undef FR_MULTIPLY
    FR_T(lane_sums)(acc, sums);
    REAL t[FR_DOTS + FR_VL] __attribute__((aligned(64)));
    memcpy(t, acc, (size_t)sums * sizeof(REAL));
#pragma GCC unroll 8
    for (int c = 0; c < kg; c++)
        for (int r = 0; r < mr; r++) z[c * ldz + r] = (add ? z[c * ldz + r] : 0.0) + (double)t[c * mr + r];
}

/* Whether the projection on q columns runs along features: where fewer than four lanes in five would hold a column,
   or each load would feed a single multiplication. */
static int FR_T(by_dots)(int64_t q, int64_t d)
{
    return d >= FR_VL && q > 0 && (q <= FR_VL || 5 * q < 4 * ((q + FR_VL - 1) / FR_VL * FR_VL));
}

/* Columns from c on that are taken together, and vectors of features whose part of P stays in the first-level cache. */
static int64_t FR_T(dot_group)(int64_t q, int64_t c)
{
    const int64_t groups = (q - c + FR_DOT_K - 1) / FR_DOT_K;
    return (q - c + groups - 1) / groups;
}

static int64_t FR_T(dot_chunk)(int64_t q, int64_t d)
{
    const int64_t vectors = (d + FR_VL - 1) / FR_VL, most = (24 << 10) / (q * FR_VBYTES) + 1;
    const int64_t chunks = (vectors + most - 1) / most;
    return (vectors + chunks - 1) / chunks;
}

#define FR_DOT_ROWS(MR, K) \
    FR_T(dot_tile)(xr, stride, full, ragged, last, mask, w, MR, K, ahead, z + c * ldz + r, ldz, j > 0)
/* A group of fewer columns than the first, by one, would take more rows, but takes those of the first. */
#define FR_DOT(K) \
    case K: \
        if (step == 1) \
            FR_DOT_ROWS(1, K); \
        else if (FR_DOT_R(K) > 2 && FR_DOT_R((K) + 1) == 2 && step == 2) \
            FR_DOT_ROWS(2, K); \
        else \
            FR_DOT_ROWS(FR_DOT_R(K), K); \
        break

static void FR_T(project_dots)(const REAL *x, int64_t stride, int64_t rows, int64_t d, int64_t q, const REAL *packed,
                               double *z, int64_t ldz, const REAL *next)
{
    const int64_t width = FR_T(dot_chunk)(q, d) * FR_VL, together = FR_DOT_R(FR_T(dot_group)(q, 0));
    FR_VI mask;
    for (int i = 0; i < FR_VL; i++) mask[i] = i < FR_VL - d % FR_VL ? 0 : -1;
    for (int64_t j = 0; j < d; j += width) {
        const int ragged = d - j < width && d % FR_VL;
        const int64_t full = FR_MIN(d - j, width) / FR_VL, vectors = full + ragged, last = d - j - FR_VL;
        for (int64_t r = 0, step; r < rows; r += step) {
            const REAL *xr = x + r * stride + j, *w = packed;
            const REAL *ahead = next ? next + r / 2 * stride + j * together / 2 : NULL;
            step = rows - r >= together ? together : 1;
            for (int64_t c = 0, kg; c < q; c += kg, ahead = NULL) {
                kg = FR_T(dot_group)(q, c);
                switch (kg) {
                FR_DOT(1);
                FR_DOT(2);
                FR_DOT(3);
                FR_DOT(4);
#if FR_DOT_K > 4
                FR_DOT(5);
                FR_DOT(6);
                FR_DOT(7);
                FR_DOT(8);
#endif
                }
                w += kg * (vectors + 1) * FR_VL;
            }
        }
        packed += q * (vectors + 1) * FR_VL;
    }
}
#undef FR_DOT
#undef FR_DOT_ROWS

/* z[column * ldz + row] for mr rows starting at x and `np` vectors of columns. */
FR_INLINE void FR_T(project_tile)(const REAL *restrict x, int64_t stride, int64_t d, const REAL *restrict panel,
                                  const int mr, const int np, int64_t columns, double *restrict z, int64_t ldz)
{
    FR_V acc[FR_MR * FR_NP]; /* at least 2 FR_MR */
#pragma GCC unroll 32
    for (int i = 0; i < mr * np; i++) acc[i] = *(const FR_V *)(panel + i % np * FR_VL);
    panel += np * FR_VL;
    int64_t j = 0;
#define FR_STEP(J) \
    do { \
        FR_V p[FR_NP]; \
        _Pragma("GCC unroll 4") for (int v = 0; v < np; v++) p[v] = *(const FR_V *)(panel + v * FR_VL); \
        _Pragma("GCC unroll 16") for (int r = 0; r < mr; r++) \
        { \
            const REAL b = x[r * stride + (J)]; \
            _Pragma("GCC unroll 4") for (int v = 0; v < np; v++) acc[r * np + v] += b * p[v]; \
        } \
        panel += np * FR_VL; \
    } while (0)
    for (; j + 4 <= d; j += 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) FR_STEP(j + i);
    }
    for (; j < d; j++) FR_STEP(j);
#undef FR_STEP
    for (int v = 0; v < np; v++) {
        REAL t[2 * FR_MR * FR_VL] __attribute__((aligned(64)));
        const int64_t used = FR_MIN(columns - v * FR_VL, FR_VL);
#pragma GCC unroll 16
        for (int r = 0; r < mr; r++) memcpy(t + r * FR_VL, &acc[r * np + v], sizeof acc[0]);
        for (int64_t c = 0; c < used; c++)
            for (int r = 0; r < mr; r++) z[(v * FR_VL + c) * ldz + r] = (double)t[r * FR_VL + c];
    }
}

/* Vectors of columns from c on that are taken together: as few panels as can be, of nearly equal width. */
static int64_t FR_T(panel_width)(int64_t q, int64_t c)
{
    const int64_t vectors = (q - c + FR_VL - 1) / FR_VL, panels = (vectors + FR_NP - 1) / FR_NP;
    return (vectors + panels - 1) / panels;
}

#define FR_PROJECT(MR, NP) \
    FR_T(project_tile)(xr, stride, d, panel, MR, NP, q - c, z + c * ldz + r, ldz)

/* Z (q, ldz) of `rows` rows, `packed` as made by pack.  One vector of
   columns alone takes twice the rows at a time, so that enough sums are under way to hide the latency of each. */
static void FR_T(project)(const REAL *x, int64_t stride, int64_t rows, int64_t d, int64_t q,
                          const REAL *packed, double *z, int64_t ldz, const REAL *next)
{
    if (FR_T(by_dots)(q, d)) {
        FR_T(project_dots)(x, stride, rows, d, q, packed, z, ldz, next);
        return;
    }
    const int64_t full = q <= FR_VL ? 2 * FR_MR : FR_MR;
    const REAL *panel = packed;
    /* Panels outside: one of them stays in cache for all rows of the tile. */
    for (int64_t c = 0, np; c < q; c += np * FR_VL) {
        np = FR_T(panel_width)(q, c);
        for (int64_t r = 0, step; r < rows; r += step) {
            const REAL *xr = x + r * stride;
            step = rows - r >= full ? full : 1;
            if (step == 1)
                np == 1 ? FR_PROJECT(1, 1) : np == 2 ? FR_PROJECT(1, 2) : FR_PROJECT(1, FR_NP);
            else if (q <= FR_VL)
                FR_PROJECT(2 * FR_MR, 1);
            else
                np == 1 ? FR_PROJECT(FR_MR, 1) : np == 2 ? FR_PROJECT(FR_MR, 2) : FR_PROJECT(FR_MR, FR_NP);
        }
        panel += np * FR_VL * (d + 1);
    }
}
#undef FR_PROJECT

static int64_t FR_T(packed_size)(int64_t q, int64_t d)
{
    if (!FR_T(by_dots)(q, d)) return (q + FR_VL - 1) / FR_VL * FR_VL * (d + 1);
    const int64_t vectors = (d + FR_VL - 1) / FR_VL, chunk = FR_T(dot_chunk)(q, d);
    return q * (vectors + (vectors + chunk - 1) / chunk) * FR_VL;
}

/* P (q, d + ones) in the order in which the projection reads it: by chunks of features, groups of columns, vectors of
   features and columns; or by panels, features and columns.  Before the features of a group or panel stands where their
   sums begin: at the constants of its columns, or at 0. */
static void FR_T(pack)(const double *p, int64_t ones, int64_t q, int64_t d, REAL *packed)
{
    const int64_t ld = d + ones;
    if (FR_T(by_dots)(q, d)) {
        const int64_t width = FR_T(dot_chunk)(q, d) * FR_VL;
        for (int64_t start = 0; start < d; start += width)
            for (int64_t c = 0, kg; c < q; c += kg) {
                kg = FR_T(dot_group)(q, c);
                memset(packed, 0, (size_t)(kg * FR_VL) * sizeof(REAL));
                for (int64_t i = 0; i < kg && ones && start == 0; i++) packed[i * FR_VL] = (REAL)p[(c + i) * ld + d];
                packed += kg * FR_VL;
                for (int64_t j = start; j < FR_MIN(start + width, d); j += FR_VL, packed += kg * FR_VL)
                    for (int64_t i = 0; i < kg * FR_VL; i++) {
                        const int64_t feature = FR_MIN(j, d - FR_VL) + i % FR_VL;
                        packed[i] = feature >= j ? (REAL)p[(c + i / FR_VL) * ld + feature] : 0;
                    }
            }
        return;
    }
    for (int64_t c = 0, width; c < q; c += width) {
        width = FR_T(panel_width)(q, c) * FR_VL;
        for (int64_t i = 0; i < width; i++) packed[i] = ones && c + i < q ? (REAL)p[(c + i) * ld + d] : 0;
        packed += width;
        for (int64_t j = 0; j < d; j++)
            for (int64_t i = 0; i < width; i++)
                packed[j * width + i] = c + i < q ? (REAL)p[(c + i) * ld + j] : 0;
        packed += width * d;
    }
}
