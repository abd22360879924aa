/* Small products between the outputs and the units of a network on one tile: rows of (outputs, ld) and (units, ld) whose
   sums stay in registers, a few rows of either side at a time. */
#ifndef FR_OUTPUTS_H
#define FR_OUTPUTS_H

#include "vec.h"

/* Sums in a fixed order of FR_VD x 4 lanes: without re-association licence the compiler would go scalar. */
FR_INLINE double fr_lanes(fr_vd a)
{
    double t[FR_VD], sum = 0.0;
    memcpy(t, &a, sizeof a);
    for (int i = 0; i < FR_VD; i++) sum += t[i];
    return sum;
}

static double fr_dot(int64_t n, const double *a, const double *b)
{
    fr_vd s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    int64_t i = 0;
    for (; i + 4 * FR_VD <= n; i += 4 * FR_VD) {
        s0 += *(const fr_vdu *)(a + i) * *(const fr_vdu *)(b + i);
        s1 += *(const fr_vdu *)(a + i + FR_VD) * *(const fr_vdu *)(b + i + FR_VD);
        s2 += *(const fr_vdu *)(a + i + 2 * FR_VD) * *(const fr_vdu *)(b + i + 2 * FR_VD);
        s3 += *(const fr_vdu *)(a + i + 3 * FR_VD) * *(const fr_vdu *)(b + i + 3 * FR_VD);
    }
    double sum = fr_lanes((s0 + s1) + (s2 + s3));
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double fr_sum(int64_t n, const double *a)
{
    fr_vd s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + 2 * FR_VD <= n; i += 2 * FR_VD) {
        s0 += *(const fr_vdu *)(a + i);
        s1 += *(const fr_vdu *)(a + i + FR_VD);
    }
    double sum = fr_lanes(s0 + s1);
    for (; i < n; i++) sum += a[i];
    return sum;
}

FR_INLINE void fr_scaled(int64_t n, double c, const double *restrict a, const double *restrict b,
                         double *restrict out)
{
    for (int64_t i = 0; i < n; i++) out[i] = c * a[i] * b[i];
}

/* Of `left` rows so many are taken next: as few groups of at most `most` as can be, of nearly equal size. */
FR_INLINE int64_t fr_next_group(int64_t left, int64_t most)
{
    if (left <= most) return left; /* without a division */
    const int64_t groups = (left + most - 1) / most;
    return (left + groups - 1) / groups;
}

#define FR_MIX 6 /* rows that are made at once: with two vectors of each, and two that are read, in 16 registers */
#define FR_MIX_ALONE 8 /* vectors of a row that is made alone, so that enough sums are under way */

/* n rows of fr_mix from column i on, in steps of nv vectors; returns where less than one is left. */
FR_INLINE int64_t fr_mix_rows(int64_t i, int64_t columns, int64_t ld, int64_t inner, const double *c,
                              int64_t across, int64_t along, const double *in, const double *start,
                              const double *factor, double *out, const int n, const int nv)
{
    for (; i + nv * FR_VD <= columns; i += nv * FR_VD) {
        fr_vd acc[2 * FR_MIX];
#pragma GCC unroll 16
        for (int a = 0; a < n * nv; a++)
            acc[a] = (fr_vd){0} + (start ? start[a / nv] : 0.0);
        for (int64_t b = 0; b < inner; b++) {
            fr_vd x[FR_MIX_ALONE];
#pragma GCC unroll 8
            for (int v = 0; v < nv; v++) x[v] = *(const fr_vdu *)(in + b * ld + i + v * FR_VD);
#pragma GCC unroll 8
            for (int a = 0; a < n; a++) {
                const double s = c[a * across + b * along];
#pragma GCC unroll 8
                for (int v = 0; v < nv; v++) acc[a * nv + v] += s * x[v];
            }
        }
#pragma GCC unroll 16
        for (int a = 0; a < n * nv; a++) {
            const int64_t at = a / nv * ld + i + a % nv * FR_VD;
            if (factor) acc[a] *= *(const fr_vdu *)(factor + at);
            *(fr_vdu *)(out + at) = acc[a];
        }
    }
    return i;
}

/* out_a = start_a + sum_b c[a across + b along] in_b for a < outer and b < inner or, without `start`, that sum times
   factor_a.  Rows are read and written up to the next multiple of two vectors. */
static __attribute__((noinline)) void fr_mix(int64_t rows, int64_t ld, int64_t outer, int64_t inner, const double *c, int64_t across,
                   int64_t along, const double *in, const double *start, const double *factor, double *out)
{
    const int64_t columns = (rows + 2 * FR_VD - 1) / (2 * FR_VD) * (2 * FR_VD);
#define FR_ROWS_OF(N, NV) \
    i = start ? fr_mix_rows(i, columns, ld, inner, c, across, along, in, start, NULL, out, N, NV) \
              : fr_mix_rows(i, columns, ld, inner, c, across, along, in, NULL, factor, out, N, NV)
    for (int64_t n; outer; outer -= n) {
        int64_t i = 0;
        n = fr_next_group(outer, FR_MIX);
        switch (n) {
        case 1: FR_ROWS_OF(1, FR_MIX_ALONE); FR_ROWS_OF(1, 2); break;
        case 2: FR_ROWS_OF(2, 2); break;
        case 3: FR_ROWS_OF(3, 2); break;
        case 4: FR_ROWS_OF(4, 2); break;
        case 5: FR_ROWS_OF(5, 2); break;
        case 6: FR_ROWS_OF(6, 2); break;
        }
        c += n * across;
        out += n * ld;
        if (start)
            start += n;
        else
            factor += n * ld;
    }
#undef FR_ROWS_OF
}

#define FR_DOTS_A 3 /* outputs, and units, of which all products are summed at once */
#define FR_DOTS_B 4

FR_INLINE void fr_dots_tile(int64_t rows, int64_t ld, const double *a, const double *b, double *sums, int64_t lds,
                            const int na, const int nb)
{
    fr_vd acc[FR_DOTS_A][FR_DOTS_B];
#pragma GCC unroll 4
    for (int i = 0; i < na; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nb; j++) acc[i][j] = (fr_vd){0};
    int64_t r = 0;
    for (; r + FR_VD <= rows; r += FR_VD) {
        fr_vd left[FR_DOTS_A];
#pragma GCC unroll 4
        for (int i = 0; i < na; i++) left[i] = *(const fr_vdu *)(a + i * ld + r);
#pragma GCC unroll 4
        for (int j = 0; j < nb; j++) {
            const fr_vd right = *(const fr_vdu *)(b + j * ld + r);
#pragma GCC unroll 4
            for (int i = 0; i < na; i++) acc[i][j] += left[i] * right;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < na; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nb; j++) {
            double sum = fr_lanes(acc[i][j]);
            for (int64_t t = r; t < rows; t++) sum += a[i * ld + t] * b[j * ld + t];
            sums[i * lds + j] += sum;
        }
}

/* sums[a units + b] += sum over rows of outputs_a units_b. */
static __attribute__((noinline)) void fr_dots(int64_t rows, int64_t ld, int64_t outputs, int64_t units, const double *a, const double *b,
                    double *sums)
{
#define FR_TILE_OF(NA, NB) \
    case 8 * NA + NB: fr_dots_tile(rows, ld, a, b + j * ld, sums + j, units, NA, NB); break
    if (outputs == 1) {
        for (int64_t j = 0; j < units; j++) sums[j] += fr_dot(rows, a, b + j * ld);
        return;
    }
    for (int64_t na; outputs; outputs -= na, a += na * ld, sums += na * units) {
        na = fr_next_group(outputs, FR_DOTS_A);
        for (int64_t j = 0, nb; j < units; j += nb) {
            nb = fr_next_group(units - j, FR_DOTS_B);
            switch (8 * na + nb) {
                FR_TILE_OF(2, 1);
                FR_TILE_OF(2, 2);
                FR_TILE_OF(2, 3);
                FR_TILE_OF(2, 4);
                FR_TILE_OF(3, 1);
                FR_TILE_OF(3, 2);
                FR_TILE_OF(3, 3);
                FR_TILE_OF(3, 4);
            }
        }
    }
#undef FR_TILE_OF
}

#endif
