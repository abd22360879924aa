/* exp, log, log1p in double precision as branch-free scalar code, because a loop that calls the C library's cannot be
 * vectorised and the compiler's own vector library is not on every platform.
 * Every constant polynomial is a weighted minimax fit (Remez exchange in 50-digit arithmetic, on the interval that the
 * argument reduction leaves), rounded to double; accuracy does not depend on fused multiply-add. */
#ifndef FR_VECMATH_H
#define FR_VECMATH_H

#include <stdint.h>
#include <string.h>

/* a call left inside a loop would keep it from being vectorised */
#define FR_INLINE static inline __attribute__((always_inline))

#define FR_LOG2E 0x1.71547652b82fep+0
#define FR_LN2_HI 0x1.62e42fefa3800p-1 /* 42 bits: n * FR_LN2_HI is exact for |n| < 2^11 */
#define FR_LN2_LO 0x1.ef35793c76730p-45
#define FR_ROUND 0x1.8p+52 /* adding it leaves the nearest integer in the low bits */

/* Results below the normal range are formed FR_LIFT times too large, and brought down by one last product. */
#define FR_LIFT_EXP 100
#define FR_LIFT 0x1p+100
#define FR_DROP 0x1p-100
#define FR_EXP_MAX 750.0 /* e^-750 rounds to 0 even after a factor 27 */

FR_INLINE uint64_t fr_bits(double x)
{
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

FR_INLINE double fr_from_bits(uint64_t b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* min(x, hi), NaN staying NaN */
FR_INLINE double fr_cap(double x, double hi)
{
    return x > hi ? hi : x;
}

/* x without its low 27 bits, so that the product of two such heads is exact */
FR_INLINE double fr_head(double x)
{
    return fr_from_bits(fr_bits(x) & 0xfffffffff8000000ULL);
}

/* (e^r - 1 - r) / r^2 for |r| <= log(2)/2: relative error of e^r - 1 below 2^-55 */
FR_INLINE double fr_exp_poly(double r)
{
    double s = r * r;
    double even = (((0x1.28a2b75997356p-22 * s + 0x1.a019a67a601ccp-16) * s + 0x1.6c16c17f3b1afp-10) * s
                   + 0x1.55555555520e6p-5) * s + 0x1.0000000000005p-1;
    double odd = (((0x1.af76a3a01d33dp-26 * s + 0x1.71ddea0ac1d32p-19) * s + 0x1.a01a01b5d5b86p-13) * s
                  + 0x1.111111110e6dcp-7) * s + 0x1.555555555555cp-3;
    return odd * r + even;
}

/* e^(x + tail) = 2^n (1 + p); n sits in the low bits of n_bits */
typedef struct {
    uint64_t n_bits;
    double p;
} fr_exp_parts;

FR_INLINE fr_exp_parts fr_exp_reduce(double x, double tail)
{
    double shifted = x * FR_LOG2E + FR_ROUND;
    double n = shifted - FR_ROUND;
    double r = (x - n * FR_LN2_HI) - (n * FR_LN2_LO - tail);
    fr_exp_parts parts = {fr_bits(shifted), r + (r * r) * fr_exp_poly(r)};
    return parts;
}

/* 2^(n + lift) */
FR_INLINE double fr_pow2(uint64_t n_bits, int lift)
{
    return fr_from_bits((n_bits << 52) + ((uint64_t)(1023 + lift) << 52));
}

/* e^x, within 1.1 ulp */
FR_INLINE double fr_exp(double x)
{
    double y = fr_cap(x, 710.0);
    y = y < -FR_EXP_MAX ? -FR_EXP_MAX : y;
    fr_exp_parts parts = fr_exp_reduce(y, 0.0);
    double up = fr_pow2(parts.n_bits, FR_LIFT_EXP), down = fr_pow2(parts.n_bits, -FR_LIFT_EXP);
    double scale = y < 0.0 ? up : down;
    return (scale + scale * parts.p) * (y < 0.0 ? FR_DROP : FR_LIFT);
}

/* With w = f / (2 + f): f - log(1 + f) = w (f - R(w^2)), the series of 2 atanh(w). Returns w (f - R). */
FR_INLINE double fr_log1p_gap_of(double f, double w)
{
    double t = w * w, s = t * t;
    double even = (((0x1.56a251e265c66p-4 * s + 0x1.106bddfed9253p-3) * s + 0x1.745cb8a733e5cp-3) * s
                   + 0x1.24924920ebc73p-2) * s + 0x1.555555555553cp-1;
    double odd = (((0x1.5ba7a19b34895p-3 * s + 0x1.ef9cc98dd1c21p-4) * s + 0x1.3b1d833cd9ba3p-3) * s
                  + 0x1.c71c73f58b4b5p-3) * s + 0x1.999999999f821p-2;
    return w * (f - t * (odd * t + even));
}

FR_INLINE double fr_log1p_gap(double f)
{
    return fr_log1p_gap_of(f, f / (2.0 + f));
}

/* log(1 + f) for f in [sqrt(1/2) - 1, 1] only */
FR_INLINE double fr_log1p_near(double f)
{
    return f - fr_log1p_gap(f);
}

/* log(u + tail) for normal u > 0 and |tail| <= ulp(u), plus offset * log(2) */
FR_INLINE double fr_log_normal(double u, double tail, double offset)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcdULL, one = 0x3ff0000000000000ULL;
    uint64_t biased = (fr_bits(u) + (one - root_half)) >> 52; /* 1023 + k */
    double k = fr_from_bits(biased | 0x4330000000000000ULL) - (0x1p+52 + 1023.0);
    double m = fr_from_bits(fr_bits(u) - (biased << 52) + one);
    double inverse = fr_from_bits((2047 - biased) << 52); /* 2^(1 - k), or 0 where tail is nothing */
    double f = (m - 1.0) + 0.5 * (tail * inverse);
    k += offset;
    return k * FR_LN2_HI - ((fr_log1p_gap(f) - k * FR_LN2_LO) - f);
}

/* the values of log at its edges: inf and NaN themselves, -inf at 0, NaN below */
FR_INLINE double fr_log_edges(double u, double inner)
{
    double y = u <= 0x1.fffffffffffffp+1023 ? inner : u;
    y = u == 0.0 ? -__builtin_inf() : y;
    return u < 0.0 ? __builtin_nan("") : y;
}

/* log(x), within 1 ulp */
FR_INLINE double fr_log(double x)
{
    int tiny = x < 0x1p-1022;
    double u = tiny ? x * 0x1p+54 : x;
    return fr_log_edges(x, fr_log_normal(u, 0.0, tiny ? -54.0 : 0.0));
}

/* log(1 + x), within 1.6 ulp */
FR_INLINE double fr_log1p(double x)
{
    double u = 1.0 + x;
    double tail = x > 1.0 ? 1.0 - (u - x) : x - (u - 1.0);
    double inner = fr_log_edges(u, fr_log_normal(u, tail, 0.0));
    return x == 0.0 ? x : inner;
}

#endif
