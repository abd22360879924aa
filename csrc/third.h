/* The packed third moment for one data type: sums of c x_a x_b x_l over a <= b <= l.

   Features are cut in groups of FR_SIDE.  The products c x_a x_b of the pairs of one group multiply all columns,
   those of two groups A < B the columns of the groups after B: every triple is met, and only those inside one group
   more than once, so nearly all work is on distinct entries and in whole vectors.  All operands lie in the order in
   which they are read: a copy of the tile in panels of FR_SIDE columns, and products in panels of FR_SIDE pairs. */

/* Sums of the third moment while a block is under way: for each group of `side` features all columns for the pairs
   within it, then, for each group before it, the columns after it for the pairs of the two; columns in whole groups. */
static int64_t fr_third_sums(int64_t d, int64_t side)
{
    const int64_t columns = (d + side - 1) / side * side;
    int64_t size = 0;
    for (int64_t b = 0; b < d; b += side) {
        const int64_t width = FR_MIN(side, d - b);
        size += width * (width + 1) / 2 * columns + b * side * (columns - b - side);
    }
    return size;
}

/* Room in doubles for a tile of ld rows: the tile; the tile times c, each group twice; pairs; c. */
static int64_t fr_third_room(int64_t d, int64_t side, int64_t ld)
{
    const int64_t columns = (d + side - 1) / side * side;
    return (3 * columns + side * side + 1) * ld;
}

/* Where (a, b, b) with a <= b stands among the distinct entries of order 3, in lexicographic order. */
FR_INLINE int64_t fr_third_at(int64_t d, int64_t a, int64_t b)
{
    const int64_t p = d - a, q = d - b;
    return (d * (d + 1) * (d + 2) - p * (p + 1) * (p + 2)) / 6 + (p * (p + 1) - q * (q + 1)) / 2;
}

/* out = the distinct entries of those sums.  Pair (p, i) within a group of n features is i and (i + p) mod n. */
static void fr_third_unpack(int64_t d, int64_t side, const double *sums, double *out)
{
    const int64_t columns = (d + side - 1) / side * side;
    for (int64_t g = 0; g < d; g += side) {
        const int64_t n = FR_MIN(side, d - g), stop = g + side;
        for (int64_t pair = 0; pair < n * (n + 1) / 2; pair++, sums += columns) {
            const int64_t i = pair % n, j = (i + pair / n) % n, a = g + FR_MIN(i, j), b = g + (i < j ? j : i);
            for (int64_t l = 0; l < g; l++) out[fr_third_at(d, l, a) + b - a] = sums[l];
            memcpy(out + fr_third_at(d, a, b), sums + b, (size_t)(d - b) * sizeof(double));
        }
        for (int64_t h = 0; h < g && stop < d; h += side)
            for (int64_t b = g; b < stop; b++)
                for (int64_t a = h; a < h + side; a++, sums += columns - stop)
                    memcpy(out + fr_third_at(d, a, b) + stop - b, sums, (size_t)(d - stop) * sizeof(double));
    }
}

typedef REAL FR_T(side) __attribute__((vector_size(FR_SIDE * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* Fills the copies; in that of c x each group comes twice, one right after the other, so that it can be read in turn
   from any feature on. */
static void FR_T(third_copy)(int64_t rows, int64_t ld, int64_t d, const REAL *x, int64_t stride, const double *z,
                             const REAL *restrict c, REAL *restrict tile, REAL *restrict scaled, double *first)
{
    for (int64_t j = 0; j < d; j += FR_SIDE) {
        const int64_t width = FR_MIN(d - j, FR_SIDE);
        REAL *restrict t = tile + j * ld;
        if (width < FR_SIDE) memset(t, 0, (size_t)(FR_SIDE * rows) * sizeof(REAL));
        if (!x)
            for (int64_t i = 0; i < width; i++)
                for (int64_t r = 0; r < rows; r++) t[r * FR_SIDE + i] = (REAL)z[(j + i) * ld + r];
        else if (width == FR_SIDE)
            for (int64_t r = 0; r < rows; r++) memcpy(t + r * FR_SIDE, x + r * stride + j, FR_SIDE * sizeof(REAL));
        else
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < width; i++) t[r * FR_SIDE + i] = x[r * stride + j + i];
    }
    for (int64_t j = 0; j < d; j += FR_SIDE, scaled += 2 * FR_SIDE * ld) {
        const int64_t width = FR_MIN(d - j, FR_SIDE);
        const REAL *t = tile + j * ld;
        FR_T(side) sum = {0};
        for (int64_t r = 0; r < rows; r++) {
            const FR_T(side) cx = c[r] * *(const FR_T(side) *)(t + r * FR_SIDE);
            REAL *s = scaled + 2 * FR_SIDE * r;
            sum += cx;
            *(FR_T(side) *)s = cx;
            *(FR_T(side) *)(s + width) = cx;
        }
        for (int64_t i = 0; i < width; i++) first[j + i] += (double)sum[i];
    }
}

/* Panel p of products: x_a s_{a + p} (within a group), or x_a s_p (between two). */
FR_INLINE void FR_T(third_pairs)(int64_t rows, int64_t ld, const int64_t panels, const int within,
                                 const REAL *restrict x, const REAL *restrict s, REAL *restrict g)
{
    for (int64_t p = 0; p < panels; p++, s++, g += ld * FR_SIDE)
        for (int64_t r = 0; r < rows; r++) {
            const FR_T(side) xa = *(const FR_T(side) *)(x + r * FR_SIDE);
            const REAL *sr = s + r * 2 * FR_SIDE;
            if (within)
                *(FR_T(side) *)(g + r * FR_SIDE) = *(const FR_T(side) *)sr * xa;
            else
                *(FR_T(side) *)(g + r * FR_SIDE) = *sr * xa;
        }
}

/* a (count, columns) += G X for whole groups of columns and coefficients in panels of `width`, each (rows, FR_SIDE). */
static void FR_T(third_product)(int64_t rows, int64_t ld, const REAL *x, int64_t columns, const REAL *g, int64_t width,
                                int64_t count, double *a)
{
    const int64_t apart = FR_VL < FR_SIDE ? FR_VL : FR_SIDE * ld;
    const fr_cut vectors = fr_cut_of(columns / FR_VL, FR_NV(FR_MQ));
    fr_ahead none = {NULL, NULL, 0};
    for (int64_t i = 0, j = 0; i < vectors.parts; j += fr_part(&vectors, i++) * FR_VL) {
        const int64_t nv = fr_part(&vectors, i);
        FR_T(panel) p = {.x = x + j / FR_SIDE * FR_SIDE * ld + j % FR_SIDE, .stride = FR_SIDE, .rows = rows,
                         .apart = apart, .last = (nv - 1) * apart, .step = FR_SIDE, .lda = columns,
                         .ahead = &none, .again = 1};
        double *at = a + j;
        for (int64_t first = 0; first < count; first += width) {
            const fr_cut groups = fr_cut_of(FR_MIN(width, count - first), FR_MQ);
            const REAL *from = g + first / width * ld * FR_SIDE;
            for (int64_t group = 0; group < groups.parts; group++) {
                const int64_t mq = fr_part(&groups, group);
                FR_T(back_tiles)[0][mq][nv](&p, from, at);
                from += mq;
                at += mq * columns;
            }
        }
    }
}

/* Adds a tile, whose rows are given by `x` and `stride`, or by columns z (d, ld) where x is NULL; e: coefficients.
   The sums are those of fr_third_unpack; first[j] += sum e x_j. */
void FR_HERE(FR_T(third))(int64_t rows, int64_t ld, int64_t d, const REAL *x, int64_t stride, const double *z,
                          const double *e, double *sums, double *room, double *first)
{
    const int64_t columns = (d + FR_SIDE - 1) / FR_SIDE * FR_SIDE;
    REAL *tile = (REAL *)room;
    REAL *scaled = tile + columns * ld, *pairs = scaled + 2 * columns * ld, *c = pairs + FR_SIDE * FR_SIDE * ld;
    for (int64_t r = 0; r < rows; r++) c[r] = (REAL)e[r];
    FR_T(third_copy)(rows, ld, d, x, stride, z, c, tile, scaled, first);
    for (int64_t b = 0; b < d; b += FR_SIDE) {
        const int64_t width = FR_MIN(FR_SIDE, d - b), own = width * (width + 1) / 2;
        const int64_t after = columns - b - FR_SIDE;
        const REAL *s = scaled + 2 * b * ld;
        FR_T(third_pairs)(rows, ld, width / 2 + 1, 1, tile + b * ld, s, pairs);
        FR_T(third_product)(rows, ld, tile, columns, pairs, width, own, sums);
        sums += own * columns;
        for (int64_t a = 0; a < b && after; a += FR_SIDE, sums += FR_SIDE * FR_SIDE * after) {
            FR_T(third_pairs)(rows, ld, FR_SIDE, 0, tile + a * ld, s, pairs);
            FR_T(third_product)(rows, ld, tile + (b + FR_SIDE) * ld, after, pairs, FR_SIDE, FR_SIDE * FR_SIDE, sums);
        }
    }
}
