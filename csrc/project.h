/* The projection of rows on the columns of P for one data type.  It runs along features where columns would leave lanes
   of its vectors empty, otherwise along columns.  P is cut in chunks of features that stay in the first-level cache. */

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

#define FR_SWAP(S) \
    _Pragma("GCC unroll 16") for (int i = 0; i < FR_VL; i++) if (!(i & S)) \
    { \
        const FR_V low = FR_ZIP(v[i], v[i + S], S, 0), high = FR_ZIP(v[i], v[i + S], S, 1); \
        v[i] = low; \
        v[i + S] = high; \
    }

/* Transposes FR_VL vectors. */
FR_INLINE void FR_T(turn)(FR_V *v)
{
    FR_SWAP(1)
#if FR_VL > 2
    FR_SWAP(2)
#endif
#if FR_VL > 4
    FR_SWAP(4)
#endif
#if FR_VL > 8
    FR_SWAP(8)
#endif
}
#undef FR_SWAP

/* z[column * ldz + row], set or (add) increased, for mr rows and kg columns over so many vectors of features, and one
   more (where `ragged`) from `last` on, of which `mask` keeps what was not counted yet. */
FR_INLINE void FR_T(dot_tile)(const REAL *x, int64_t stride, int64_t vectors, int ragged, int64_t last, FR_VI mask,
                              const REAL *restrict w, const int mr, const int kg, double *restrict z, int64_t ldz,
                              int add, fr_ahead *stream, int again)
{
    const int sums = (mr * kg + FR_VL - 1) / FR_VL * FR_VL;
    FR_V acc[FR_DOTS + FR_VL], b[8];
    fr_ahead ahead = fr_on(stream, again);
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
#pragma GCC unroll 8
        for (int f = 0; f < FR_HALF(mr * FR_VBYTES); f++) FR_FETCH(ahead);
        FR_MULTIPLY()
    }
    stream->at = ahead.at;
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
   or (for few columns) each load would feed too few multiplications. */
static int FR_T(by_dots)(int64_t q, int64_t d)
{
    return d >= FR_VL && q > 0 && (q <= FR_MIN(FR_VL, 8) || 5 * q < 4 * ((q + FR_VL - 1) / FR_VL * FR_VL));
}

/* Vectors of features of a chunk, of nearly equal size: 16 KiB of P for so many columns. */
static int64_t FR_T(chunk)(int64_t columns, int64_t d)
{
    const int64_t vectors = FR_MOST(d + FR_VL - 1, FR_VL) / FR_VL, most = (16 << 10) / (columns * FR_VBYTES) + 1;
    const int64_t chunks = (vectors + most - 1) / most;
    return (vectors + chunks - 1) / chunks;
}

#define FR_DOT_ROWS(MR, K) \
    FR_T(dot_tile)(xr, stride, full, ragged, last, mask, w, MR, K, z + c * ldz + r, ldz, j > 0, ahead, c > 0)
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
                               double *z, int64_t ldz, fr_ahead *ahead)
{
    const fr_cut groups = fr_cut_of(q, FR_DOT_K);
    const int64_t width = FR_T(chunk)(q, d) * FR_VL, together = FR_DOT_R(fr_part(&groups, 0));
    FR_VI mask;
    for (int i = 0; i < FR_VL; i++) mask[i] = i < FR_VL - d % FR_VL ? 0 : -1;
    for (int64_t j = 0; j < d; j += width) {
        const int ragged = d - j < width && d % FR_VL;
        const int64_t full = FR_MIN(d - j, width) / FR_VL, vectors = full + ragged, last = d - j - FR_VL;
        for (int64_t r = 0, step; r < rows; r += step) {
            const REAL *xr = x + r * stride + j, *w = packed;
            step = rows - r >= together ? together : 1;
            for (int64_t group = 0, c = 0; group < groups.parts; group++) {
                const int64_t kg = fr_part(&groups, group);
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
                c += kg;
            }
        }
        packed += q * (vectors + 1) * FR_VL;
    }
}
#undef FR_DOT
#undef FR_DOT_ROWS

/* Sums of mr rows by np vectors of columns over so many features, into rows of z, `ldz` apart.  They go on from rows
   of `from`, `ldf` apart. */
FR_INLINE void FR_T(column_tile)(const REAL *x, int64_t stride, int64_t features, const REAL *restrict w, const int mr,
                                 const int np, const REAL *from, int64_t ldf, REAL *z, int64_t ldz, fr_ahead *stream,
                                 int again)
{
    FR_V acc[FR_MOST(FR_MR(1), FR_MR(FR_NP) * FR_NP)]; /* at least FR_MR(np) np */
    const REAL *xr[4]; /* of every third row, so that the two after it are addressed from there */
    fr_ahead ahead = fr_on(stream, again);
#pragma GCC unroll 16
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
        for (int v = 0; v < np; v++) acc[r * np + v] = *(const FR_V *)(from + r * ldf + v * FR_VL);
#pragma GCC unroll 4
    for (int i = 0; i < (mr + 2) / 3; i++) {
        xr[i] = x + 3 * i * stride;
        FR_APART(xr[i]);
    }
#define FR_STEP(J) \
    do { \
        FR_V p[FR_NP]; \
        _Pragma("GCC unroll 4") for (int v = 0; v < np; v++) p[v] = *(const FR_V *)(w + v * FR_VL); \
        _Pragma("GCC unroll 16") for (int r = 0; r < mr; r++) \
        { \
            const REAL b = xr[r / 3][r % 3 * stride + (J)]; \
            _Pragma("GCC unroll 4") for (int v = 0; v < np; v++) acc[r * np + v] += b * p[v]; \
        } \
        w += np * FR_VL; \
    } while (0)
    int64_t j = 0;
    for (; j + 2 <= features; j += 2) {
#pragma GCC unroll 4
        for (int i = 0; i < 2; i++) FR_STEP(i);
#pragma GCC unroll 4
        for (int f = 0; f < FR_HALF(2 * mr * (int)sizeof(REAL)); f++) FR_FETCH(ahead);
#pragma GCC unroll 4
        for (int i = 0; i < (mr + 2) / 3; i++) xr[i] += 2;
    }
    for (; j < features; j++) {
        FR_STEP(0);
#pragma GCC unroll 4
        for (int i = 0; i < (mr + 2) / 3; i++) xr[i]++;
    }
#undef FR_STEP
    stream->at = ahead.at;
#pragma GCC unroll 16
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
        for (int v = 0; v < np; v++) *(FR_V *)(z + r * ldz + v * FR_VL) = acc[r * np + v];
}

/* z (q, ldz) of double from rows of sums; both have room for whole vectors of rows. */
static void FR_T(put_columns)(int64_t rows, int64_t q, const REAL *restrict sums, int64_t lds, double *restrict z,
                              int64_t ldz)
{
    for (int64_t r = 0; r < rows; r += FR_VL)
        for (int64_t c = 0; c < q; c += FR_VL) {
            FR_V v[FR_VL];
#pragma GCC unroll 16
            for (int i = 0; i < FR_VL; i++) v[i] = *(const FR_V *)(sums + (r + i) * lds + c);
            FR_T(turn)(v);
#pragma GCC unroll 16
            for (int i = 0; i < FR_VL; i++)
                if (i < q - c) FR_T(put)(z + (c + i) * ldz + r, v[i]);
        }
}

static int64_t FR_T(column_vectors)(int64_t q) { return (q + FR_VL - 1) / FR_VL; }

#define FR_COLUMNS(MR, NP) \
    FR_T(column_tile)(xr, stride, features, w, MR, NP, from, first ? 0 : lds, to, lds, ahead, c > 0)
#define FR_ROWS(NP) \
    case NP: \
        if (step == 1) \
            FR_COLUMNS(1, NP); \
        else if (FR_MR(NP) > 4 && step == 4) \
            FR_COLUMNS(4, NP); \
        else \
            FR_COLUMNS(FR_MR(NP), NP); \
        break

/* Z (q, ldz) of `rows` rows, `packed` as made by pack.  `sums` is room for rows of whole vectors of columns, as many
   rows as make whole vectors. */
static void FR_T(project)(const REAL *x, int64_t stride, int64_t rows, int64_t d, int64_t q, const REAL *packed,
                          REAL *sums, double *z, int64_t ldz, fr_ahead *ahead)
{
    if (FR_T(by_dots)(q, d)) {
        FR_T(project_dots)(x, stride, rows, d, q, packed, z, ldz, ahead);
        return;
    }
    if (q == 0) return;
    const int64_t vectors = FR_T(column_vectors)(q), lds = vectors * FR_VL;
    const fr_cut panels = fr_cut_of(vectors, FR_NP);
    const int64_t width = FR_T(chunk)(fr_part(&panels, 0) * FR_VL, d) * FR_VL;
    const REAL *starts = packed, *w = packed + lds;
    for (int64_t j = 0; j < d || j == 0; j += width) {
        const int64_t features = FR_MIN(d - j, width);
        const int first = j == 0;
        for (int64_t panel = 0, c = 0; panel < panels.parts; panel++) {
            const int64_t np = fr_part(&panels, panel);
            for (int64_t r = 0, step; r < rows; r += step) {
                const REAL *xr = x + r * stride + j;
                REAL *to = sums + r * lds + c;
                const REAL *from = first ? starts + c : to;
                const int64_t full = FR_MR(np);
                step = rows - r >= full ? full : rows - r >= 4 ? 4 : 1;
                switch (np) {
                FR_ROWS(1);
                FR_ROWS(2);
                FR_ROWS(3);
#if FR_NP > 3
                FR_ROWS(4);
#endif
                }
            }
            w += np * FR_VL * features;
            c += np * FR_VL;
        }
    }
    FR_T(put_columns)(rows, q, sums, lds, z, ldz);
}
#undef FR_COLUMNS
#undef FR_ROWS

static int64_t FR_T(packed_size)(int64_t q, int64_t d)
{
    if (!FR_T(by_dots)(q, d)) return FR_T(column_vectors)(q) * FR_VL * (d + 1);
    const int64_t vectors = (d + FR_VL - 1) / FR_VL, chunk = FR_T(chunk)(q, d);
    return q * (vectors + (vectors + chunk - 1) / chunk) * FR_VL;
}

/* P (q, d + ones) in the order in which the projection reads it: by chunks of features, groups of columns, vectors of
   features and columns; or by chunks, panels of columns, features and columns.  Before the features of a group in a
   chunk, or of all, stands where their sums begin: at the constants of the columns, or at 0. */
static void FR_T(pack)(const double *p, int64_t ones, int64_t q, int64_t d, REAL *packed)
{
    const int64_t ld = d + ones;
    if (FR_T(by_dots)(q, d)) {
        const fr_cut groups = fr_cut_of(q, FR_DOT_K);
        const int64_t width = FR_T(chunk)(q, d) * FR_VL;
        for (int64_t start = 0; start < d; start += width)
            for (int64_t group = 0, c = 0; group < groups.parts; c += fr_part(&groups, group++)) {
                const int64_t kg = fr_part(&groups, group);
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
    if (q == 0) return;
    const int64_t vectors = FR_T(column_vectors)(q), lds = vectors * FR_VL;
    const fr_cut panels = fr_cut_of(vectors, FR_NP);
    const int64_t width = FR_T(chunk)(fr_part(&panels, 0) * FR_VL, d) * FR_VL;
    for (int64_t c = 0; c < lds; c++) *packed++ = ones && c < q ? (REAL)p[c * ld + d] : 0;
    for (int64_t start = 0; start < d; start += width)
        for (int64_t panel = 0, c = 0; panel < panels.parts; c += fr_part(&panels, panel++) * FR_VL)
            for (int64_t j = start; j < FR_MIN(start + width, d); j++)
                for (int64_t i = c; i < c + fr_part(&panels, panel) * FR_VL; i++)
                    *packed++ = i < q ? (REAL)p[i * ld + j] : 0;
}
